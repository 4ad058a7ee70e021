//! What is kept of requests: `record` and `addresses` of `[store]`, and `palisade forget`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line};

/// A log outside of the home, and a home whose Palisade follows it.
fn home(more: &str) -> (Home, TempDir, PathBuf) {
    let (home, logs) = (Home::new(), tempfile::tempdir().unwrap());
    let log = logs.path().join("access.log");
    fs::write(&log, "").unwrap();
    home.configure(&format!("{more}\n[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", log.display()));
    (home, logs, log)
}

fn append(log: &Path, text: &str) {
    fs::File::options().append(true).open(log).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Files below `dir` that have `text` in them.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files_with(&entry, text));
        } else if fs::read(&entry).is_ok_and(|bytes| memchr::memmem::find(&bytes, text.as_bytes()).is_some()) {
            found.push(entry);
        }
    }
    found
}

#[test]
fn what_was_analysed_is_recorded_where_that_is_asked_for_and_nothing_follows_from_it() {
    for (record, rows) in [("analysed", 2), ("findings", 1)] {
        let (home, _logs, log) = home(&format!("[store]\nrecord = \"{record}\"\n"));
        let daemon = home.start();
        let weak = line("203.0.113.5", "GET /server-status", 404);
        append(&log, &(weak + &line("203.0.113.6", "GET /lamps", 200) + &attack("198.51.100.7", 1)));
        eventually("the attack is found", || (home.findings().len() == rows).then_some(()));
        let findings = home.findings();
        assert_eq!(findings.last().unwrap()["flagged"], true);
        if record == "analysed" {
            let weak = &findings[0];
            assert_eq!((&weak["flagged"], &weak["uri"]), (&false.into(), &"/server-status".into()));
            assert_eq!((&weak["decision"], &weak["verdict"]), (&"none".into(), &"uncertain".into()), "{weak}");
            assert!(weak["score"].as_u64().unwrap() > 0 && weak["rule_ids"][0].is_string(), "{weak}");
        }
        assert_eq!(home.status()["findings"], 1, "it is no finding");
        assert_eq!(home.decisions().len(), 1, "nor is anybody blocked by it");
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn where_nothing_is_kept_no_word_of_a_log_touches_the_disk() {
    let (mut home, _logs, log) = home("[store]\nrecord = \"nothing\"\n");
    home.set("PALISADE__LOG__LEVEL", "debug");
    let daemon = home.start();
    let time = palisade::event::Timestamp::now().clf();
    let lines: String = (1..200)
        .map(|n| {
            format!(
                "198.51.100.{n} - canaryuser [{time}] \"GET /canarypath?n={n}&canaryquery=1%27%20UNION%20SELECT%20a%20FROM%20b--%20- HTTP/1.1\" \
                 200 5 \"https://canaryreferrer.example/\" \"canaryagent\"\ncanaryjunk that nobody understands\n"
            )
        })
        .collect();
    append(&log, &lines);
    eventually("all are found", || (home.status()["findings"] == 199).then_some(()));
    let decided = eventually("it is decided", || home.decisions().pop());
    assert!(decided["reason"].as_str().unwrap().contains("sqli-"), "{decided}");
    assert_eq!(home.findings().len(), 0);

    let id = decided["finding_id"].as_str().unwrap();
    let verdict = home.palisade(&["verdict", id, "benign"]);
    assert!(verdict.code == 1 && verdict.stderr.contains("findings are not kept"), "{}", verdict.stderr);
    let why = home.palisade(&["why", decided["target"].as_str().unwrap()]);
    assert!(why.code == 0 && why.stdout.contains("What it did is not kept"), "{}{}", why.stdout, why.stderr);

    assert_eq!(files_with(home.dir(), "canary"), Vec::<PathBuf>::new(), "while it runs");
    daemon.kill();
    assert_eq!(files_with(home.dir(), "canary"), Vec::<PathBuf>::new(), "killed");
    // What is read again is not counted again, and nothing is written of it either.
    let daemon = home.start();
    append(&log, &attack("203.0.113.9", 1).replace("products", "canarypath"));
    eventually("the next is decided", || {
        home.decisions().iter().any(|one| one["target"] == "203.0.113.9").then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    assert_eq!(files_with(home.dir(), "canary"), Vec::<PathBuf>::new(), "stopped");
}

#[test]
fn who_is_forgotten_is_gone_and_stays_shut_out() {
    let (home, _logs, log) = home("");
    let daemon = home.start();
    append(&log, &(attack("198.51.100.7", 1) + &attack("198.51.100.8", 1)));
    eventually("both are decided", || (home.decisions().len() == 2 && home.findings().len() == 2).then_some(()));
    let asked = home.palisade(&["forget", "198.51.100.7"]);
    assert!(asked.code == 1 && asked.stderr.contains("--yes"), "nobody agreed: {}", asked.stderr);
    let told = home.json(&["forget", "198.51.100.7", "--yes"]);
    assert_eq!(told["live"], serde_json::json!(["198.51.100.7"]), "{told}");
    assert!(told["rows"].as_u64().unwrap() >= 2, "{told}");
    let left: Vec<_> = home.findings().iter().map(|finding| finding["client"].clone()).collect();
    assert_eq!(left, ["198.51.100.8"]);
    assert_eq!(home.status()["active"], 2);
    let said = daemon.said();
    let audit = said.lines().find(|line| line.contains("had a client or network forgotten")).unwrap();
    assert!(!audit.contains("198.51.100.7"), "{audit}");
    assert_eq!(daemon.stop(), 0);
    // In the counters too, where an address is a number.
    let holds = |last: u8| {
        let key = u128::from(std::net::Ipv4Addr::new(198, 51, 100, last).to_ipv6_mapped()).to_le_bytes();
        let database = fs::read(home.path("state/palisade.db")).unwrap();
        memchr::memmem::find(&database, &key).is_some()
    };
    assert_eq!((holds(7), holds(8)), (false, true));
    // Without a daemon too.
    let told = home.json(&["forget", "198.51.100.0/24", "--yes"]);
    assert_eq!(told["live"].as_array().unwrap().len(), 2, "{told}");
    assert!(!holds(8));
    let daemon = home.start();
    assert_eq!((home.findings().len(), home.decisions().len()), (0, 2));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn pseudonyms_are_found_by_the_address_and_lifted_bans_lose_it() {
    let (home, _logs, log) = home("[store]\naddresses = \"pseudonyms\"\n");
    let daemon = home.start();
    append(&log, &attack("198.51.100.7", 1));
    let finding = eventually("it is found", || home.findings().pop());
    assert!(finding["client"].as_str().unwrap().starts_with("fd"), "{finding}");
    let why = home.json(&["why", "198.51.100.7"]);
    assert_eq!((why["findings"].as_array().unwrap().len(), &why["replay"]["blocks"]), (1, &true.into()), "{why}");
    assert_eq!(daemon.stop(), 0);
    let daemon = home.start();
    assert_eq!(home.json(&["banned"])[0]["target"], "198.51.100.7", "a ban comes back with its address");
    let told = home.json(&["verdict", finding["id"].as_str().unwrap(), "benign"]);
    assert_eq!(told["lifted"], serde_json::json!(["198.51.100.7"]), "{told}");
    eventually("the ban has a pseudonym", || (home.decisions()[0]["target"] == finding["client"]).then_some(()));
    let why = home.json(&["why", "198.51.100.7"]);
    assert_eq!(why["decision"]["state"], "lifted");
    assert_eq!(daemon.stop(), 0);
}
