//! `palisade doctor`: each fault is made for real, and is told with its way out and the exit code.

mod daemons;
mod host;
mod keys;
mod logs;
mod services;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::daemon::Home;
use crate::support::log::line;
use crate::support::{Namespace, namespaces_or_skip};

/// Visitors' lines, as a healthy log has them.
fn visits(count: u8) -> String {
    (0..count).map(|n| line(&format!("203.0.113.{}", n % 250 + 1), "GET /", 200)).collect()
}

/// Has the home follow `access.log` with this text in it.
fn follow(home: &Home, log: &str, more: &str) {
    fs::write(home.path("access.log"), log).unwrap();
    home.configure(&format!("{more}\n[[source]]\npath = \"{}\"\n", home.path("access.log").display()));
}

/// A home that follows a healthy log, with more in its configuration.
fn home(more: &str) -> Home {
    let home = Home::new();
    follow(&home, &visits(100), more);
    home
}

/// The exit code, and everything that was found.
fn examine(home: &Home) -> (i32, Vec<Value>) {
    let ran = home.palisade(&["doctor", "--output", "json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr));
    let findings = answer["findings"].as_array().unwrap().clone();
    let to_do = findings.iter().any(|one| one["level"] != "note");
    assert_eq!((ran.code, &answer["healthy"]), (i32::from(to_do), &Value::from(!to_do)), "{answer:#}");
    (ran.code, findings)
}

/// The one thing that this check finds, by its level, whose problem and advice have these words.
fn finds(home: &Home, level: &str, check: &str, problem: &str, advice: &str) -> Value {
    let (code, findings) = examine(home);
    let found: Vec<&Value> = findings.iter().filter(|one| one["check"] == check).collect();
    let [found] = &*found else { panic!("{check} is found {} times: {findings:#?}", found.len()) };
    let has = |key: &str, words: &str| found[key].as_str().unwrap().contains(words);
    assert!(has("problem", problem) && has("advice", advice) && found["level"] == level, "{found:#}");
    assert!(level == "note" || code == 1);
    (*found).clone()
}

/// That this check finds nothing.
fn finds_no(home: &Home, check: &str) {
    let (_, findings) = examine(home);
    assert!(findings.iter().all(|one| one["check"] != check), "{findings:#?}");
}

#[test]
fn a_sound_set_up_has_nothing_to_do() {
    if !namespaces_or_skip("a sound set-up") {
        return;
    }
    let namespace = Namespace::new();
    let home = Home::inside(&namespace);
    follow(&home, &visits(100), "mode = \"enforce\"\n[client]\nallow = [\"192.0.2.0/24\"]");
    let _daemon = home.start();
    let (code, findings) = examine(&home);
    let to_do: Vec<&Value> = findings.iter().filter(|one| one["level"] != "note").collect();
    assert!(code == 0 && to_do.is_empty(), "{to_do:#?}");
    let human = home.palisade(&["doctor"]);
    assert!(human.stdout.contains("100 of its last 100 lines are understood, as nginx_combined"), "{}", human.stdout);
    assert!(human.stdout.ends_with("Nothing needs to be done.\n"), "{}", human.stdout);
}

#[test]
fn people_read_the_worst_first_and_hostile_text_as_escapes() {
    let home = Home::new();
    follow(&home, &"\u{1b}]0;owned\u{7} junk \u{202e}\n".repeat(50), "mode = \"enforce\"");
    let ran = home.palisade(&["doctor"]);
    assert_eq!(ran.code, 1);
    let at = |word: &str| ran.stdout.find(word).unwrap_or_else(|| panic!("{word}: {}", ran.stdout));
    assert!(at("\nERROR ") < at("\nWARNING "), "{}", ran.stdout);
    assert!(ran.stdout.contains("\\u{1b}]0;owned\\u{7} junk \\u{202e}"), "{}", ran.stdout);
    assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']));
    let lines = home.palisade(&["doctor", "--output", "jsonl"]);
    assert!(lines.stdout.lines().count() >= 2);
    for line in lines.stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["advice"].is_string(), "{line}");
    }
}

/// Whoever adds a check adds its line to the page, and a test that makes the fault.
#[test]
fn every_check_is_documented_and_its_fault_is_made_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |directory: &str| -> String {
        let files = fs::read_dir(root.join(directory)).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: PathBuf| fs::read_to_string(path).unwrap();
        files
            .filter(|path| path.is_file())
            .map(|path| text(path).split("#[cfg(test)]").next().unwrap().to_owned())
            .collect()
    };
    let is_name = |word: &&str| {
        word.contains('_') && !word.ends_with('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let quoted =
        |text: &str| -> BTreeSet<String> { text.split('"').skip(1).filter(is_name).map(str::to_owned).collect() };
    let mut checks = quoted(&(read("src/doctor") + &read("src/pipeline/doctor")));
    // Words of the configuration.
    for word in ["state_dir", "dry_run", "tenant_id", "client_id", "snake_case"] {
        checks.remove(word);
    }
    let page = fs::read_to_string(root.join("docs/doctor.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
    let first = rows.filter_map(|line| line.split('|').nth(1));
    let documented: BTreeSet<String> =
        first.flat_map(|cell| cell.split('`')).filter(is_name).map(str::to_owned).collect();
    assert_eq!(checks, documented);
    let tests = read("tests/doctor") + &fs::read_to_string(root.join("tests/postgres.rs")).unwrap();
    let untried: Vec<&String> = checks.iter().filter(|check| !tests.contains(&format!("\"{check}\""))).collect();
    // No key was renamed yet: its rule alone has a test.
    assert_eq!(untried, ["key_renamed"]);
}
