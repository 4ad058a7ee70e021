//! What the documentation shows works: its configurations and rules are taken, its commands are understood,
//! and its picture is what the first command prints.

mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect_file;

/// README and every page of `docs/`, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    pages.push(root.join("README.md"));
    pages.sort();
    pages.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The blocks fenced as `language`, with the line on which each begins.
fn fenced<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
    let fence = format!("```{language}");
    text.lines().enumerate().filter(move |(_, line)| line.trim() == fence).map(move |(at, _)| {
        let block = text.lines().skip(at + 1).take_while(|line| line.trim() != "```");
        (at + 1, block.map(|line| format!("{line}\n")).collect())
    })
}

/// Commands of Palisade in indented blocks, fenced shell blocks and between backticks. Those that only
/// name verbs (`why IP|ID`, `enforce --for`) are no commands.
fn commands(text: &str) -> Vec<String> {
    let mut commands = vec![];
    let mut in_fence = false;
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        in_fence ^= is_fence;
        if is_fence {
            continue;
        }
        if in_fence || line.starts_with("    ") {
            let line = line.trim_start().trim_start_matches("$ ").trim_start_matches("sudo ");
            let line = line.split_once(" | ").map_or(line, |(command, _)| command);
            let command = line.split("  #").next().unwrap_or_default().split(" # ").next().unwrap_or_default().trim();
            if let Some(rest) = command.strip_prefix("palisade ") {
                commands.push(rest.to_owned());
            }
        } else {
            let quoted = line.split('`').skip(1).step_by(2);
            commands.extend(quoted.filter_map(|code| code.strip_prefix("palisade ")).map(str::to_owned));
        }
    }
    commands
}

/// The arguments of a command as a shell would cut them, with something in place of what stands for something.
fn arguments(command: &str) -> Vec<String> {
    let words = command.split('\'').enumerate().flat_map(|(at, part)| match at % 2 {
        1 => vec![part.to_owned()],
        _ => part.split('"').enumerate().flat_map(cut).collect(),
    });
    let known = |word: String| match word.as_str() {
        "ADDRESS" | "IP" => "203.0.113.7".to_owned(),
        "NETWORK" => "203.0.113.0/24".to_owned(),
        _ => word,
    };
    words.map(known).collect()
}

fn cut((at, part): (usize, &str)) -> Vec<String> {
    if at % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
}

#[test]
fn configurations_and_rules_in_the_documentation_are_taken() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("palisade.toml");
    fs::create_dir(home.path().join("rules.d")).unwrap();
    let rules = home.path().join("rules.d/shown.toml");
    fs::write(&file, "").unwrap();
    let mut tried = 0;
    for (page, text) in pages() {
        for (line, block) in fenced(&text, "toml") {
            // Files with keys are named by their places, which are not here.
            let block = block.replace("/etc/palisade/", &format!("{}/", home.path().display()));
            for word in block.split('"').filter(|word| Path::new(word).starts_with(home.path())) {
                fs::write(word, "a-key-of-some-length-0123456789").unwrap();
            }
            let is_rules = block.contains("[[rule]]") || block.contains("[[window]]");
            fs::write(if is_rules { &rules } else { &file }, &block).unwrap();
            let verb = if is_rules { ["rules", "test"] } else { ["config", "check"] };
            let mut palisade = Command::new(env!("CARGO_BIN_EXE_palisade"));
            let ran = palisade.arg("--config").arg(&file).args(verb).output().unwrap();
            let _ = fs::remove_file(&rules);
            let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
            assert!(ran.status.success(), "{}:{line}:\n{block}\n{said}", page.display());
            tried += 1;
        }
    }
    assert!(tried > 10, "only {tried} were found");
}

#[test]
fn commands_in_the_documentation_are_understood() {
    let mut tried = 0;
    for (page, text) in pages() {
        for command in commands(&text) {
            if command.contains(['|', '…']) || command.ends_with("--for") {
                continue;
            }
            // With `--help` at its end a command is read, and not carried out.
            let arguments = arguments(&command);
            let ran = Command::new(env!("CARGO_BIN_EXE_palisade")).args(&arguments).arg("--help").output().unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{}: palisade {command}\n{said}", page.display());
            tried += 1;
        }
    }
    assert!(tried > 60, "only {tried} were found");
}

/// With `UPDATE_EXPECT=1` the picture is drawn anew.
#[test]
fn the_picture_in_readme_is_what_the_first_command_prints() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let first = readme.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
    assert_eq!(first, "cargo run -- run --demo");
    assert!(readme.contains("](docs/demo.svg)"));
    let program = env!("CARGO_BIN_EXE_palisade");
    let ran = Command::new("sh").args(["-c", "exec \"$0\" --config none run --demo 2>&1", program]).output().unwrap();
    assert!(ran.status.success());
    let shown = String::from_utf8(ran.stdout).unwrap();
    let lines = shown.lines().enumerate().map(|(at, line)| at_noon(line, at));
    let lines: Vec<String> = [format!("$ {first}")].into_iter().chain(lines).collect();
    expect_file!["../docs/demo.svg"].assert_eq(&terminal::picture(&lines));
}

/// A line as it would have been printed in the seconds after noon of one certain day.
fn at_noon(line: &str, second: usize) -> String {
    let is_time = |word: &str| word.len() == 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
    let word = |word: &str| match word.split_once('=') {
        _ if is_time(word) => format!("2026-01-05T12:00:{second:02}.000Z"),
        Some(("until", end)) if is_time(end) => format!("until=2026-01-05T16:00:{second:02}.000Z"),
        _ => word.to_owned(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
