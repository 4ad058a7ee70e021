//! From dry run to enforcing and back while the daemon runs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::{Namespace, namespaces_or_skip};

fn configure(home: &Home, mode: &str) {
    let log = home.path("access.log").display().to_string();
    home.configure(&format!("mode = \"{mode}\"\n[[source]]\npath = \"{log}\"\nstart = \"beginning\"\n"));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Whether nft has this in one of our sets.
fn holds(server: &Namespace, address: &str) -> bool {
    let command = server.command(&["nft", "list", "ruleset"]);
    let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().contains(address)
}

/// The states of a client's decisions, oldest first, `dry` before those of dry run.
fn states(home: &Home, address: &str) -> Vec<String> {
    let mut all = home.decisions();
    all.retain(|one| one["target"] == address);
    let word = |one: &serde_json::Value| {
        format!("{}{}", if one["simulated"] == true { "dry " } else { "" }, one["state"].as_str().unwrap())
    };
    all.iter().map(word).collect()
}

#[test]
fn a_trial_enforces_and_falls_back_by_itself() {
    if !namespaces_or_skip("a trial") {
        return;
    }
    let server = Namespace::new();
    let home = Home::inside(&server);
    configure(&home, "dry_run");
    append(&home, &attack("198.51.100.7", 1));
    let daemon = home.start();
    eventually("it is told", || (states(&home, "198.51.100.7") == ["dry active"]).then_some(()));
    assert!(!holds(&server, "198.51.100.7"));

    let answer = home.json(&["enforce", "--for", "6s"]);
    assert_eq!(answer["mode"], "enforce");
    assert_eq!(home.status()["mode"], "enforce");
    assert_eq!(home.status()["trial_ends_at"], answer["trial_ends_at"]);
    assert!(!holds(&server, "198.51.100.7"), "who was only told is not blocked for what he did before");
    append(&home, &(attack("198.51.100.7", 2) + &attack("198.51.100.8", 3)));
    for attacker in ["198.51.100.7", "198.51.100.8"] {
        eventually("it is blocked", || holds(&server, attacker).then_some(()));
    }
    let decisions = home.decisions();
    let real = decisions.iter().filter(|one| one["simulated"] == false).inspect(|one| {
        assert!(one["expires_at"].as_str() <= answer["trial_ends_at"].as_str(), "no ban outlasts the trial: {one:#}");
    });
    assert_eq!(real.count(), 2);

    eventually("dry run again", || (home.status()["mode"] == "dry_run").then_some(()));
    for attacker in ["198.51.100.7", "198.51.100.8"] {
        eventually("it is let go", || (!holds(&server, attacker)).then_some(()));
    }
    assert!(home.status().get("trial_ends_at").is_none());
    append(&home, &attack("198.51.100.8", 4));
    eventually("it is told again", || (states(&home, "198.51.100.8").last()? == "dry active").then_some(()));
    assert!(!holds(&server, "198.51.100.8"));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn the_file_confirms_a_trial_and_takes_enforcing_back() {
    if !namespaces_or_skip("a confirmed trial") {
        return;
    }
    let server = Namespace::new();
    let home = Home::inside(&server);
    configure(&home, "dry_run");
    append(&home, "");
    let mut daemon = home.start();
    home.json(&["enforce", "--for", "1h"]);
    configure(&home, "enforce");
    daemon.signal(Signal::SIGHUP);
    eventually("it is no trial any more", || home.status().get("trial_ends_at").is_none().then_some(()));
    assert_eq!(home.status()["mode"], "enforce");
    let refused = home.palisade(&["enforce", "--for", "1h"]);
    assert!(refused.code == 1 && refused.stderr.contains("no trial"), "{}", refused.stderr);
    append(&home, &attack("198.51.100.7", 1));
    eventually("it is blocked", || holds(&server, "198.51.100.7").then_some(()));

    configure(&home, "dry_run");
    daemon.signal(Signal::SIGHUP);
    daemon.says("the configuration and the rules are read again");
    eventually("it is let go", || (!holds(&server, "198.51.100.7")).then_some(()));
    eventually("that is recorded", || (states(&home, "198.51.100.7") == ["lifted"]).then_some(()));
    assert_eq!(home.palisade(&["enforce"]).code, 2, "a trial has a length");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_does_not_end_bans_by_itself_is_told_when_a_trial_ends() {
    let home = Home::new();
    let (program, calls) = (home.path("shut"), home.path("calls"));
    fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> {}\n", calls.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let log = home.path("access.log").display().to_string();
    let program = program.display();
    home.configure(&format!(
        "[respond]\nuse = [\"command\"]\n[respond.command]\nban = [\"{program}\", \"ban\", \"{{address}}\"]\n\
         unban = [\"{program}\", \"unban\", \"{{address}}\"]\n[[source]]\npath = \"{log}\"\nstart = \"beginning\"\n"
    ));
    append(&home, "");
    let daemon = home.start();
    home.json(&["enforce", "--for", "4s"]);
    append(&home, &attack("198.51.100.7", 1));
    let called = |what: &str| fs::read_to_string(&calls).unwrap_or_default().lines().any(|call| call == what);
    eventually("it is banned", || called("ban 198.51.100.7").then_some(()));
    eventually("dry run again", || (home.status()["mode"] == "dry_run").then_some(()));
    eventually("it is let go", || called("unban 198.51.100.7").then_some(()));
    assert!(!home.decisions().iter().any(|one| one["simulated"] == false && one["state"] == "active"));
    assert_eq!(daemon.stop(), 0);
}
