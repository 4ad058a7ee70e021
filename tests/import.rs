//! Bans taken over from others: lists, fail2ban, subscriptions.

mod fail2ban;
mod services;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::Home;
use crate::support::{Namespace, namespaces_or_skip};

const MIXED: &str = "\u{feff}# shared\r\n203.0.113.9\r\n198.51.100.0/24 ; SBL1\n2001:db8:9::/48,spam\n10.1.2.3\n\
    192.0.2.50\n192.0.2.51\nnonsense\n127.0.0.1\n198.0.0.0/8\n203.0.113.9\n";

#[test]
fn a_list_passes_the_gate_entry_by_entry_and_says_what_became_of_it() {
    let home = Home::new();
    home.configure("[client]\nallow = [\"192.0.2.48/28\"]\n[respond]\nmax_blocks_per_min = 1\n");
    fs::write(home.path("list.txt"), MIXED).unwrap();
    let refused = home.palisade(&["import", "list", "list.txt"]);
    assert!(refused.code == 1 && refused.stderr.contains("is `palisade run` running?"), "{}", refused.stderr);

    let daemon = home.start();
    let answer = home.json(&["import", "list", "list.txt", "--for", "1h", "--reason", "shared list"]);
    let counts = ["banned", "prolonged", "already_banned", "refused"].map(|key| answer[key].as_u64().unwrap());
    assert_eq!(counts, [3, 0, 0, 5], "{answer:#}");
    let of_reason = |reason: &str| {
        let reasons = answer["reasons"].as_array().unwrap();
        let found = reasons.iter().find(|refused| refused["reason"] == reason).unwrap();
        (found["count"].as_u64().unwrap(), found["examples"].clone())
    };
    assert_eq!(of_reason("allowlisted"), (2, json!(["192.0.2.50", "192.0.2.51"])));
    assert_eq!(of_reason("private"), (1, json!(["10.1.2.3"])));
    assert_eq!(of_reason("too_wide"), (1, json!(["198.0.0.0/8"])));
    assert_eq!(answer["wrong_lines"], json!({ "count": 1, "first": [{ "line_number": 8, "text": "nonsense" }] }));
    let bans = home.json(&["banned"]);
    let targets: Vec<&Value> = bans.as_array().unwrap().iter().map(|ban| &ban["target"]).collect();
    assert_eq!(targets.len(), 3);
    assert!(targets.contains(&&json!("198.51.100.0/24")) && targets.contains(&&json!("2001:db8:9::/48")));
    let first = bans[0].clone();
    assert_eq!((&first["proposer"], &first["reason"]), (&json!("imported"), &json!("shared list")));

    // The same again changes nothing; a later end keeps the decision and its id.
    let again = home.json(&["import", "list", "list.txt", "--for", "30m"]);
    assert_eq!((&again["banned"], &again["already_banned"]), (&json!(0), &json!(3)));
    let longer = home.json(&["import", "list", "list.txt", "--for", "2h"]);
    assert_eq!((&longer["banned"], &longer["prolonged"]), (&json!(0), &json!(3)));
    let bans = home.json(&["banned"]);
    let prolonged = bans.as_array().unwrap().iter().find(|ban| ban["id"] == first["id"]).unwrap();
    assert!(prolonged["expires_at"].as_str() > first["expires_at"].as_str(), "{prolonged:#}");
    assert_eq!(home.decisions().len(), 3);
    let human = home.palisade(&["import", "list", "list.txt", "--for", "1h"]).stdout;
    for said in ["3 were banned already, 5 refused (dry run", "private", "192.0.2.51", "line 8 is neither"] {
        assert!(human.contains(said), "{said}: {human}");
    }

    // What a restart puts back ends when the longer import said; who is let go stays so.
    assert_eq!(home.json(&["unban", "203.0.113.9"]), json!({ "lifted": ["203.0.113.9"] }));
    assert_eq!(daemon.stop(), 0);
    let _daemon = home.start();
    let bans = home.json(&["banned"]);
    assert_eq!(bans.as_array().unwrap().len(), 2);
    let status = home.status();
    assert_eq!(status["active"], 2);

    let long = home.palisade(&["import", "list", "list.txt", "--reason", &"x".repeat(501)]);
    assert!(long.code == 1 && long.stderr.contains("500 bytes at most"), "{}", long.stderr);
    fs::write(home.path("none.txt"), "127.0.0.1\nx\n").unwrap();
    assert_eq!(home.palisade(&["import", "list", "none.txt"]).code, 1, "nothing of it could be used");
    fs::write(home.path("none.txt"), "# nobody today\n").unwrap();
    assert_eq!(home.palisade(&["import", "list", "none.txt"]).code, 0);
}

#[test]
fn ten_thousand_bans_are_one_transaction_in_the_kernel() {
    if !namespaces_or_skip("the test of a long list") {
        return;
    }
    let server = Namespace::new();
    let home = Home::inside(&server);
    home.configure("mode = \"enforce\"\n");
    let list: String = (0..10_000).map(|n| format!("100.128.{}.{}\n", n / 250, n % 250)).collect();
    fs::write(home.path("list.txt"), list).unwrap();
    let daemon = home.start();
    let start = Instant::now();
    let answer = home.json(&["import", "list", "list.txt", "--for", "2h"]);
    let took = start.elapsed();
    eprintln!("10,000 bans in {took:?}");
    assert_eq!((&answer["banned"], &answer["refused"]), (&json!(10_000), &json!(0)), "{answer:#}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let start = Instant::now();
    let longer = home.json(&["import", "list", "list.txt", "--for", "3h"]);
    eprintln!("10,000 prolonged in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(longer["prolonged"], 10_000);
    let command = server.command(&["nft", "list", "set", "inet", "palisade", "block4"]);
    let held = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    let held = String::from_utf8(held.stdout).unwrap();
    assert_eq!(held.matches(" expires ").count(), 10_000);
    assert!(held.contains("100.128.39.249 timeout 3h"), "the later end holds in the kernel");
    assert_eq!(home.json(&["unban", "--all"])["lifted"].as_array().unwrap().len(), 10_000);
    assert_eq!(daemon.stop(), 0);
}
