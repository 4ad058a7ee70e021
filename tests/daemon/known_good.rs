//! What is known good: exclusions, and files of networks that are never blocked.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line};

const BAD_CONFIG: i32 = 78;

fn follow(home: &Home, more: &str) {
    let log = home.path("access.log").display().to_string();
    home.configure(&format!("{more}\n[[source]]\npath = \"{log}\"\nstart = \"beginning\"\n"));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

const EDITOR: &str = "GET /admin/editor?text=%3Cscript%3Ealert(1)%3C/script%3E";
const EXCLUSION: &str = "[[exclusion]]\npath = \"^/admin/editor$\"\nrules = [\"xss-*\"]\nreason = \"it posts HTML\"\n";

#[test]
fn what_is_excluded_is_no_finding_of_the_daemon_nor_of_scan_and_explain_says_why() {
    let home = Home::new();
    follow(&home, EXCLUSION);
    let excluded = line("198.51.100.7", EDITOR, 200);
    append(
        &home,
        &(excluded.clone()
            + &attack("198.51.100.8", 1)
            + &line("198.51.100.9", &EDITOR.replace("editor", "other"), 200)),
    );
    let mut daemon = home.start();
    let clients = |findings: Vec<Value>| findings.iter().map(|one| one["source_ip"].clone()).collect::<Vec<_>>();
    let expected = ["198.51.100.8", "198.51.100.9"].map(Value::from);
    eventually("two findings", || (clients(home.findings()) == expected).then_some(()));
    let scanned = home.palisade(&["scan", "access.log", "--output", "jsonl"]).stdout;
    let rows: Vec<Value> = scanned.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(clients(rows[..rows.len() - 1].to_vec()), expected);
    let explained = home.palisade(&["explain", excluded.trim_end()]).stdout;
    let said = explained.lines().find(|said| said.contains("xss-script-tag")).unwrap_or_default();
    assert!(said.contains("excluded by") && said.contains("palisade.toml:3: it posts HTML"), "{explained}");
    // Rules are tried without exclusions.
    assert_eq!(home.palisade(&["rules", "test"]).code, 0);

    follow(&home, "");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("rules and thresholds are read again");
    append(&home, &excluded);
    eventually("it is excluded no longer", || clients(home.findings()).contains(&"198.51.100.7".into()).then_some(()));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_bad_exclusion_is_told_with_its_line() {
    let home = Home::new();
    follow(
        &home,
        "[[exclusion]]\npath = \"^/a\"\nrules = [\"xss-nothing\"]\n[[exclusion]]\nreason = \"none\"\n[[exclusion]]\npath = \"(\"\n",
    );
    for verb in [&["run"][..], &["config", "check"], &["scan", "access.log"], &["explain", "x"]] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, BAD_CONFIG, "{verb:?}: {}", ran.stderr);
        for said in [
            "toml:3: exclusion: no rule or window",
            "toml:6: exclusion: has no condition",
            "toml:8: exclusion: path: the pattern",
        ] {
            assert!(ran.stderr.contains(said), "{verb:?}: {}", ran.stderr);
        }
    }
}

#[test]
fn who_is_added_to_a_file_of_networks_is_let_go_and_not_blocked_again() {
    let home = Home::new();
    let file = home.path("allow.txt");
    fs::write(&file, "# nobody yet\n").unwrap();
    follow(&home, &format!("[client]\nallow_files = [{:?}]\n", file.display().to_string()));
    append(&home, &(attack("198.51.100.7", 1) + &attack("203.0.113.7", 2)));
    let mut daemon = home.start();
    let states = || {
        let decisions = home.decisions();
        let mut states: Vec<String> = decisions
            .iter()
            .map(|one| {
                let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
                format!("{} {} {}", text("target"), text("state"), text("note"))
            })
            .collect();
        states.sort();
        states
    };
    eventually("both are blocked", || (states() == ["198.51.100.7 active ", "203.0.113.7 active "]).then_some(()));
    fs::write(&file, "198.51.100.0/24\n10.0.0.0/40\n").unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("allow.txt:2: not an address or network");
    let one = ["198.51.100.7 lifted allowlisted", "203.0.113.7 active "];
    eventually("one is let go", || (states() == one).then_some(()));
    assert!(home.status()["problems"].to_string().contains("allow.txt:2"), "{:#}", home.status());
    append(&home, &attack("198.51.100.8", 3));
    eventually("a neighbour is refused", || {
        states().contains(&"198.51.100.8 refused allowlisted by 198.51.100.0/24".to_owned()).then_some(())
    });
    // Offline too.
    let scanned: Value = home.json(&["scan", "access.log"]);
    let refused =
        scanned["would_block"].as_array().unwrap().iter().map(|one| one["refused"].clone()).collect::<Vec<_>>();
    assert_eq!(refused, [Value::from("allowlisted"), Value::Null, Value::from("allowlisted")]);

    // Whom a file that is gone protected is protected on.
    fs::remove_file(&file).unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("what it said last holds");
    append(&home, &attack("198.51.100.9", 4));
    eventually("it is refused still", || {
        states().contains(&"198.51.100.9 refused allowlisted by 198.51.100.0/24".to_owned()).then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    for verb in [&["run"][..], &["config", "check"], &["scan", "access.log"], &["explain", "x"]] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, BAD_CONFIG, "{verb:?}");
        assert!(ran.stderr.contains("client.allow_files") && ran.stderr.contains("allow.txt"), "{}", ran.stderr);
    }
}
