//! Rules about the text of this repository that no compiler knows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade::{detect, notify, respond};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What each room may import of the others, as prefixes of paths in this crate. Rooms meet in
/// `event`, so that any of them could become a crate of its own.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("plugin", &[]),
    ("wire", &["event"]),
    ("tail", &["event", "plugin"]),
    ("parse", &["event", "plugin"]),
    ("detect", &["event", "plugin"]),
    ("triage", &["event", "plugin", "memory", "detect::PlainUri"]),
    ("decide", &["event", "plugin"]),
    ("respond", &["event", "plugin", "wire", "decide::Permit"]),
    ("memory", &["event", "plugin"]),
    ("record", &["event", "plugin"]),
    ("compress", &["event", "plugin"]),
    ("investigate", &["event", "plugin"]),
    ("report", &["event", "plugin"]),
    ("ask", &["event", "plugin"]),
    ("doctor", &["event"]),
    ("notify", &["event", "plugin", "wire"]),
    ("fleet", &["event", "memory", "record"]),
    ("show", &["event", "plugin", "record", "ask", "report"]),
    (
        "config",
        &[
            "event",
            "tail",
            "parse",
            "detect",
            "triage",
            "decide",
            "respond",
            "memory",
            "record",
            "show",
            "fleet",
            "notify",
            "ask",
            "compress",
            "investigate",
            "report",
        ],
    ),
    ("cli", &["event", "plugin", "config", "pipeline"]),
    // It joins the rooms, so it sees them all; not the command line.
    (
        "pipeline",
        &[
            "event",
            "plugin",
            "tail",
            "parse",
            "detect",
            "triage",
            "decide",
            "respond",
            "memory",
            "record",
            "show",
            "fleet",
            "notify",
            "config",
            "compress",
            "investigate",
            "report",
            "ask",
            "doctor",
        ],
    ),
];

#[test]
fn rooms_import_only_what_they_may() {
    let mut rooms = BTreeSet::new();
    for file in sources("src") {
        let Some(room) = room_of(&file) else { continue };
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("src/{room} is not in the list"));
        for import in imports(&code(&file)) {
            let fits = |prefix: &&str| import == *prefix || import.starts_with(&format!("{prefix}::"));
            assert!(
                fits(&room.as_str()) || allowed.iter().any(fits),
                "{}: {room} may not import crate::{import}",
                file.display()
            );
        }
        rooms.insert(room);
    }
    assert_eq!(rooms.len(), MAY_IMPORT.len(), "every room of the list is there");
}

#[test]
fn imports_are_found_in_every_form() {
    let text =
        "use crate::decide::Permit;\nlet x = crate::event::digest(&[]);\nuse crate::{tail, decide::{self, gate}};";
    assert_eq!(imports(text), ["decide::Permit", "event::digest", "tail", "decide"]);
}

#[test]
fn pure_rooms_know_no_clock_no_file_and_no_network() {
    const IMPURE: [&str; 8] =
        ["Instant", "SystemTime", "Timestamp::now", "std::fs", "std::thread", "std::process", "tokio", "TcpStream"];
    for room in ["parse", "detect", "decide", "doctor"] {
        for file in sources(&format!("src/{room}")) {
            let code = code(&file);
            let found = IMPURE.iter().find(|word| code.contains(**word));
            assert_eq!(found, None, "{} is pure: time and history are arguments", file.display());
        }
    }
}

#[test]
fn every_file_of_labelled_cases_is_tried() {
    let test = read(Path::new("src/detect/trial.rs"));
    let (_, list) = test.split_once("families!(").unwrap();
    let (list, _) = list.split_once(");").unwrap();
    let listed: BTreeSet<String> = list.split_whitespace().map(|name| name.trim_matches('"').to_owned()).collect();
    assert_eq!(listed, stems("tests/cases", "jsonl"));
}

#[test]
fn only_the_configuration_reads_the_environment() {
    for file in sources("src") {
        let reads = code(&file).contains("env::var");
        assert!(!reads || room_of(&file).as_deref() == Some("config"), "{} reads the environment", file.display());
    }
}

/// The compiler keeps [`palisade::decide::Permit`]'s fields to one file; here it is said what that
/// file does with them.
#[test]
fn nothing_but_the_gate_makes_a_permit() {
    let gate = code(Path::new("src/decide/gate.rs"));
    let (definition, rest) = gate.split_once("pub struct Permit {").unwrap();
    let fields = rest.split_once('}').unwrap().0;
    assert!(!fields.contains("pub"), "its fields are private: {fields}");
    let derives = definition.lines().rfind(|line| line.starts_with("#[derive")).unwrap();
    assert_eq!(derives, "#[derive(Clone, Debug)]", "none of these makes one out of nothing");
    let makers: Vec<&str> = gate.lines().filter(|line| line.contains("Permit {") && !line.contains("impl")).collect();
    assert_eq!(makers.len(), 2, "the definition, and one place that makes it: {makers:?}");
    let returns = gate.lines().filter(|line| line.contains("->") && line.contains("Permit")).count();
    assert_eq!(returns, 1, "one function gives permits away");
}

#[test]
fn every_responder_and_every_rule_file_is_registered() {
    let registered: BTreeSet<String> = respond::KINDS.iter().map(|kind| kind.name.to_owned()).collect();
    let mut files = stems("src/respond", "rs");
    files.retain(|name| !["mod", "config"].contains(&name.as_str()));
    assert_eq!(files, registered, "one file for each of respond::KINDS");
    let channels: BTreeSet<String> = notify::KINDS.iter().map(|kind| kind.name.to_owned()).collect();
    assert_eq!(stems("src/notify/channel", "rs"), channels, "one file for each of notify::KINDS");
    let built_in = detect::BUILT_IN.iter().map(|(name, _)| name.trim_end_matches(".toml").to_owned()).collect();
    assert_eq!(stems("rules", "toml"), built_in, "one file for each of detect::BUILT_IN");
}

/// With `autotests = false` a file that nobody names is not even compiled.
#[test]
fn every_test_file_is_part_of_the_suite() {
    let main = code(Path::new("tests/main.rs"));
    for name in stems("tests", "rs").iter().filter(|name| *name != "main") {
        assert!(main.contains(&format!("mod {name};")), "tests/{name}.rs is not in tests/main.rs");
    }
}

#[test]
fn every_room_says_what_it_is_for() {
    for file in sources("src").iter().filter(|file| file.ends_with("mod.rs")) {
        assert!(read(file).starts_with("//! "), "{} opens with a sentence", file.display());
    }
}

#[test]
fn the_map_is_short_and_names_tests_that_exist() {
    let map = read(Path::new("ARCHITECTURE.md"));
    assert!(map.lines().count() <= 200, "ARCHITECTURE.md has {} lines", map.lines().count());
    let all: String = ["src", "tests"].iter().flat_map(|top| sources(top)).map(|file| read(&file)).collect();
    let invariants = map.split("## What always holds").nth(1).unwrap().split("\n## ").next().unwrap();
    let tests: Vec<&str> =
        invariants.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2).collect();
    assert!(tests.len() >= 10, "{tests:?}");
    for test in tests {
        assert!(all.contains(&format!("fn {test}()")), "ARCHITECTURE.md names a test {test}, which does not exist");
    }
}

/// The paths of somebody's machine help nobody else. (Rules and samples show what attackers ask for.)
#[test]
fn no_file_names_a_place_on_one_machine() {
    let places =
        ["/wo~rk/", "/tmp/w~t", "/Us~ers/", "C:\\Us~ers", ".car~go/registry"].map(|place| place.replace('~', ""));
    for file in files(Path::new(""), &|_| true) {
        let sample = file.extension().is_some_and(|end| end == "log" || end == "txt");
        if sample || file.starts_with("rules") || file.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(Path::new(ROOT).join(&file)) else { continue };
        for place in &places {
            assert!(!text.contains(place.as_str()), "{} names {place}", file.display());
        }
    }
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let deny: toml::Table = read(Path::new("deny.toml")).parse().unwrap();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let features = if cfg!(feature = "otel") { "--all-features" } else { "--features=default" };
    let arguments = ["metadata", "--format-version=1", "--locked", "--offline", features, "--filter-platform", &host];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{} packages", packages.len());
    for package in packages {
        // An SPDX expression; some old crates write `/` for OR.
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        let fits = |all: &str| all.trim_matches(['(', ')']).split(" OR ").any(|one| allowed.contains(&one));
        assert!(licence.split(" AND ").all(fits), "{}: {licence:?}", package["name"]);
    }
}

#[test]
fn what_the_program_is_made_of_gets_into_an_image() {
    let ignore = read(Path::new(".dockerignore"));
    let kept: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut tried = 0;
    for file in sources("src") {
        let directory = file.parent().unwrap();
        for include in code(&file)
            .split("include_")
            .skip(1)
            .filter(|rest| rest.starts_with("str!(") || rest.starts_with("bytes!("))
        {
            let Some(path) = include.split('"').nth(1).filter(|path| path.starts_with("../")) else { continue };
            let above = path.matches("../").count();
            let path = directory.ancestors().nth(above).unwrap().join(path.trim_start_matches("../"));
            assert!(kept.iter().any(|kept| path.starts_with(kept)), "{} includes {}", file.display(), path.display());
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} were found");
}

/// The room that a source file belongs to; none for `main.rs` and `lib.rs`.
fn room_of(file: &Path) -> Option<String> {
    let mut parts = file.strip_prefix("src").ok()?.iter().map(|part| part.to_string_lossy().into_owned());
    let room = parts.next()?.trim_end_matches(".rs").to_owned();
    (!["main", "lib"].contains(&room.as_str())).then_some(room)
}

/// The paths after `crate::`, and of `crate::{…}` the first names.
fn imports(code: &str) -> Vec<String> {
    let path = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
        text[..end].trim_end_matches(':').to_owned()
    };
    let mut found = vec![];
    for after in code.split("crate::").skip(1) {
        let Some(mut list) = after.strip_prefix('{') else {
            found.push(path(after));
            continue;
        };
        while !list.trim_start().is_empty() {
            list = list.trim_start();
            found.push(path(list));
            let mut depth = 0;
            let end = list.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth < 0 || depth == 0 && c == ','
            });
            match end {
                Some(end) if list[end..].starts_with(',') => list = &list[end + 1..],
                _ => break,
            }
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// A file's text without its comments: they may speak of anything.
fn code(file: &Path) -> String {
    let text = read(file);
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Names, without their ending, of the files directly in `directory` that have this one.
fn stems(directory: &str, ending: &str) -> BTreeSet<String> {
    let here = Path::new(directory);
    let files = files(here, &|file| file.parent() == Some(here) && file.extension().is_some_and(|end| end == ending));
    files.iter().map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// All Rust files below `directory`.
fn sources(directory: &str) -> Vec<PathBuf> {
    files(Path::new(directory), &|file| file.extension().is_some_and(|end| end == "rs"))
}

/// The repository's files below `directory` that fit, as paths from its root; nothing that was built.
fn files(directory: &Path, fits: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(Path::new(ROOT).join(directory)).unwrap() {
        let path = directory.join(entry.unwrap().file_name());
        if Path::new(ROOT).join(&path).is_dir() {
            if path != Path::new("target") && path != Path::new(".git") {
                found.extend(files(&path, fits));
            }
        } else if fits(&path) && path != Path::new(".git") {
            found.push(path);
        }
    }
    found.sort();
    found
}
