//! A configuration that changes under a running daemon, and keys that are set for a while.

use std::fs;
use std::io::Write;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line};
use crate::support::standin::{Answer, Standin};

/// Follows `access.log`; `text` stands above the tables.
fn configure(home: &Home, text: &str) {
    let log = home.path("access.log").display().to_string();
    home.configure(&format!("{text}\n[[source]]\npath = \"{log}\"\nstart = \"beginning\"\n"));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Puts a file where another may be, as editors and package managers do.
fn replace(home: &Home, name: &str, text: &str) {
    fs::create_dir_all(home.path(name).parent().unwrap()).unwrap();
    fs::write(home.path("new"), text).unwrap();
    fs::rename(home.path("new"), home.path(name)).unwrap();
}

fn problems(home: &Home) -> Vec<String> {
    let status = home.status();
    status["problems"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn waits_for_restart(home: &Home) -> Value {
    home.status()["services"]["configuration"]["waits_for_restart"].clone()
}

/// What is in force of a key that can be set.
fn value(home: &Home, key: &str) -> Value {
    let rows = home.json(&["set", "--list"]);
    rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap()["value"].clone()
}

fn states(home: &Home, target: &str) -> Vec<String> {
    let of_it = home.decisions().into_iter().filter(|one| one["target"] == target);
    of_it.map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_change_is_taken_by_itself_and_no_line_is_lost() {
    let home = Home::new();
    configure(&home, "");
    append(&home, &attack("198.51.100.7", 1));
    let mut daemon = home.start();
    eventually("it is told", || (states(&home, "198.51.100.7") == ["active"]).then_some(()));
    // Who is allowed now is let go.
    replace(&home, "conf.d/10.toml", "[client]\nallow = [\"198.51.100.7\"]\n");
    daemon.says("changed=\"client.allow\"");
    eventually("it is let go", || (states(&home, "198.51.100.7") == ["lifted"]).then_some(()));
    let mut lines = 1;
    for round in 0..40 {
        for n in 0..10 {
            append(&home, &attack(&format!("203.0.113.{round}"), 100 + n));
            lines += 1;
        }
        if round % 8 == 0 {
            replace(&home, "conf.d/20.toml", &format!("[respond]\nblock_duration_secs = {}\n", 1000 + round));
            replace(&home, "rules.d/own.toml", &format!("# {round}\n"));
            daemon.signal(Signal::SIGHUP);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    eventually("every line is a finding, once", || (home.findings().len() == lines).then_some(()));
    assert_eq!((home.status()["lines"].as_u64(), home.status()["gaps"].as_u64()), (Some(lines as u64), Some(0)));
    assert_eq!(home.decisions().len(), 41, "one ban of each client: what was counted stays");
    fs::remove_file(home.path("conf.d/20.toml")).unwrap();
    eventually("a fragment is gone", || (value(&home, "respond.block_duration_secs") == 14_400).then_some(()));
    // What editors leave is not read.
    fs::write(home.path("conf.d/.10.toml.swp"), "junk").unwrap();
    fs::write(home.path("rules.d/.#own.toml"), "junk").unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.says("changed=\"nothing\"");
    assert_eq!(problems(&home), [""; 0]);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_was_counted_before_a_change_counts_after_it() {
    let home = Home::new();
    configure(&home, "");
    let probe = |n: usize| line("198.51.100.7", &format!("GET /missing-{n}"), 404);
    append(&home, "");
    let mut daemon = home.start();
    append(&home, &(0..15).map(probe).collect::<String>());
    eventually("they are read", || (home.status()["lines"] == 15).then_some(()));
    let before = home.get("/api/v1/clients/198.51.100.7").unwrap()["counted"].clone();
    replace(&home, "conf.d/10.toml", "[thresholds]\nblock = 7\n");
    daemon.says("changed=\"thresholds.block\"");
    let after = home.get("/api/v1/clients/198.51.100.7").unwrap()["counted"].clone();
    assert_eq!(before, after);
    assert!(before.is_object(), "{before}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_until_it_is_good() {
    let home = Home::new();
    configure(&home, "[thresholds]\nblock = 7");
    append(&home, "");
    let mut daemon = home.start();
    configure(&home, "[thresholds]\nblok = 6");
    let told = eventually("it is told", || problems(&home).pop());
    assert!(told.contains("the old configuration stays in force") && told.contains("palisade.toml:4"), "{told}");
    assert!(told.contains("did you mean \"block\"?"), "{told}");
    let status = home.palisade(&["status"]);
    assert!(status.code == 1 && status.stdout.contains("PROBLEM: the old configuration"), "{}", status.stdout);
    assert!(status.stderr.contains("palisade.toml:4: thresholds.blok"), "{}", status.stderr);
    assert_eq!(home.palisade(&["run"]).code, 78);
    assert_eq!(value(&home, "thresholds.block"), 7);
    // A key can be set meanwhile: over what was read last.
    home.json(&["set", "thresholds.block", "6"]);
    assert_eq!(value(&home, "thresholds.block"), 6);

    fs::write(home.path("palisade.toml"), "").unwrap();
    eventually("an empty file is not taken", || problems(&home).pop()?.contains("is gone or empty").then_some(()));
    fs::remove_file(home.path("palisade.toml")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.says("is gone or empty");
    assert_eq!(home.get("/api/v1/status").unwrap()["healthy"], false);

    replace(&home, "rules.d/own.toml", "[[rule]]\nid = \"x\"\n");
    configure(&home, "[thresholds]\nblock = 5");
    eventually("bad rules are told", || problems(&home).pop()?.contains("own.toml").then_some(()));
    fs::remove_file(home.path("rules.d/own.toml")).unwrap();
    eventually("all is well again", || problems(&home).is_empty().then_some(()));
    home.json(&["set", "--reset", "thresholds.block"]);
    assert_eq!(value(&home, "thresholds.block"), 5);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_needs_a_restart_is_named_and_what_does_not_is_taken() {
    let home = Home::new();
    configure(&home, "");
    append(&home, "");
    let lists = Standin::start();
    lists.otherwise(|_| Answer::text(200, "192.0.2.66\n"));
    let mut daemon = home.start();
    let tables = format!(
        "agent = \"other\"\n[client]\nv6_prefix = 56\nallow = [\"192.0.2.1\"]\n[detect]\nmax_clients = 2048\n\
         [respond]\nblock_duration_secs = 60\nuse = [\"nftables\", \"webhook\"]\n[respond.webhook]\n\
         url = \"https://hook.example.com/hunter2\"\n[store]\nkeep_days = 5\n\
         [[blocklist]]\nname = \"drop\"\nurl = \"{}/drop.txt\"\n",
        lists.url()
    );
    configure(&home, &tables);
    let names = eventually("it is read", || waits_for_restart(&home).as_array().filter(|all| !all.is_empty()).cloned());
    let mut names: Vec<&str> = names.iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["agent", "client.v6_prefix", "detect.max_clients", "respond.use", "respond.webhook.url", "store.keep_days"]
    );
    daemon.says("these keys changed and need a restart");
    assert_eq!(value(&home, "respond.block_duration_secs"), 60);
    eventually("the new list is fetched", || (states(&home, "192.0.2.66") == ["active"]).then_some(()));
    assert!(home.palisade(&["status"]).stdout.contains("changed, and needs a restart: agent, "));
    assert!(!daemon.said().contains("hunter2"));

    configure(&home, "");
    eventually("nothing waits any more", || (waits_for_restart(&home) == serde_json::json!([])).then_some(()));
    assert!(home.status()["services"].get("blocklist drop").is_none(), "{:#}", home.status());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_key_is_set_for_a_while_over_reloads_and_restarts() {
    let home = Home::new();
    configure(&home, "");
    append(&home, "");
    let mut daemon = home.start();
    for (arguments, said) in [
        (&["set", "thresholds.block", "11"][..], "expected a whole number from 1 to 10, found 11"),
        (&["set", "thresholds.block", "9.5"], "expected a whole number"),
        (&["set", "thresholds.flag", "9"], "needs thresholds.flag <= thresholds.block"),
        (&["set", "thresholds.blok", "9"], "did you mean \"thresholds.block\"?"),
        (&["set", "client.block_private", "true"], "cannot be set while palisade runs"),
        (&["set", "--reset", "thresholds.block"], "it is as configured"),
    ] {
        let ran = home.palisade(arguments);
        assert!(ran.code == 1 && ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(home.palisade(&["set", "thresholds.block"]).code, 2);
    // A doubtful request that blocks at 5 and does not at 8.
    let doubtful = |from: &str| line(from, "GET /backup.zip", 200);
    append(&home, &doubtful("198.51.100.1"));
    let score = eventually("it is found", || home.findings().first()?["score"].as_u64());
    assert!((5..8).contains(&score), "{score}");
    assert_eq!(home.decisions().len(), 0);

    let answer = home.json(&["set", "thresholds.block", "5", "--for", "1h"]);
    assert_eq!((&answer["value"], &answer["by"]), (&"5".into(), &"root".into()));
    daemon.says("an operator sets a key");
    append(&home, &doubtful("198.51.100.2"));
    eventually("it is told", || (states(&home, "198.51.100.2") == ["active"]).then_some(()));
    assert_eq!(home.status()["services"]["configuration"]["set"][0]["until"], answer["until"]);
    assert!(home.palisade(&["status"]).stdout.contains("set by root: thresholds.block = 5 until "));

    home.json(&["set", "respond.max_blocks_per_min", "3"]);
    configure(&home, "[respond]\nblock_duration_secs = 77");
    eventually("the file is read", || (value(&home, "respond.block_duration_secs") == 77).then_some(()));
    assert_eq!((value(&home, "thresholds.block"), value(&home, "respond.max_blocks_per_min")), (5.into(), 3.into()));
    daemon.kill();

    let mut daemon = home.start();
    assert_eq!((value(&home, "thresholds.block"), value(&home, "respond.max_blocks_per_min")), (5.into(), 60.into()));
    append(&home, &doubtful("198.51.100.3"));
    eventually("it is told", || (states(&home, "198.51.100.3") == ["active"]).then_some(()));
    home.json(&["set", "thresholds.block", "6", "--for", "2s"]);
    daemon.says("what was set has ended");
    eventually("it is as configured", || (value(&home, "thresholds.block") == 8).then_some(()));
    append(&home, &doubtful("198.51.100.4"));
    eventually("it is found", || (home.findings().len() == 4).then_some(()));
    assert_eq!(states(&home, "198.51.100.4"), [""; 0]);

    // What does not fit a new file gives way to it.
    home.json(&["set", "thresholds.certain", "8", "--for", "1h"]);
    configure(&home, "[thresholds]\nblock = 9");
    daemon.says("does not fit the new configuration");
    assert_eq!((value(&home, "thresholds.block"), value(&home, "thresholds.certain")), (9.into(), 9.into()));
    assert_eq!(home.status()["healthy"], true);
    assert_eq!(daemon.stop(), 0);
}
