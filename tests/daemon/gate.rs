//! Whom the gate refuses by the configuration, whom no responder reaches, and how long bans last.

use std::fs;
use std::io::Write;

use nix::sys::signal::Signal;
use palisade::event::Timestamp;
use palisade::record::{Batch, Checkpoint, Sqlite, StoreConfig};
use serde_json::{Value, json};

use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line_at};
use crate::support::{Namespace, namespaces_or_skip};

fn follow(home: &Home, more: &str) {
    let log = home.path("access.log").display().to_string();
    home.configure(&format!("{more}\n[[source]]\npath = {log:?}\nstart = \"beginning\"\n"));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The newest decision about `target`, when there is one in this state.
fn decided(home: &Home, target: &str, state: &str) -> Value {
    eventually(&format!("{target} is {state}"), || {
        home.decisions().into_iter().rev().find(|one| one["target"] == target).filter(|one| one["state"] == state)
    })
}

#[test]
fn names_services_and_cdns_are_never_blocked() {
    let home = Home::new();
    let cdns = home.path("cdns.txt");
    let tier = "[[tier]]\nname = \"far\"\nprovider = \"openai\"\nurl = \"http://198.51.100.50:9/v1\"\nmodel = \"m\"\n";
    let client = "[client]\nallow_names = [\"localhost\", \"office.invalid\"]\n";
    let narrow = "[respond]\nwidest_v4 = 24\n";
    follow(&home, &format!("{tier}{client}{narrow}"));
    append(&home, &["198.51.100.50", "172.67.1.1", "127.0.0.1", "203.0.113.7"].map(|from| attack(from, 1)).concat());
    let daemon = home.start();
    let note = |target| decided(&home, target, "refused")["note"].as_str().unwrap().to_owned();
    assert!(note("198.51.100.50").contains("a service that Palisade itself uses"));
    assert!(note("172.67.1.1").contains("172.64.0.0/13") && note("172.67.1.1").contains("client.trusted_proxies"));
    assert_eq!(note("127.0.0.1"), "allowlisted by 127.0.0.1/32");
    decided(&home, "203.0.113.7", "active");
    let problems = home.status()["problems"].to_string();
    assert!(problems.contains("office.invalid") && problems.contains("client.allow_names"), "{problems}");
    let wide = home.palisade(&["ban", "192.0.2.0/23"]);
    assert!(wide.code == 1 && wide.stderr.contains("wider than /24"), "{}", wide.stderr);
    assert_eq!(daemon.stop(), 0);

    fs::write(&cdns, "203.0.113.0/24\n").unwrap();
    follow(&home, &format!("[client]\ncdn_files = [{:?}]\n", cdns.display().to_string()));
    append(&home, &["172.67.1.2", "203.0.113.8"].map(|from| attack(from, 1)).concat());
    let daemon = home.start();
    decided(&home, "172.67.1.2", "active");
    assert!(note("203.0.113.8").contains("a CDN, in 203.0.113.0/24"));
    assert_eq!(decided(&home, "203.0.113.7", "lifted")["note"], note("203.0.113.8"), "what was in force is let go");
    assert_eq!(daemon.stop(), 0);

    follow(&home, "[client]\nallow_names = [\"192.0.2.1\", \"no such name\"]\n");
    let ran = home.palisade(&["config", "check"]);
    assert!(ran.code == 78 && ran.stderr.contains("belongs into client.allow"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\"no such name\" is no name of a host"), "{}", ran.stderr);
}

const PROXIED: &str =
    r#"format = '$remote_addr - - [$time_local] "$request" $status $body_bytes_sent "$http_x_forwarded_for"'"#;

/// An attack of `client` that comes through `proxy`.
fn through(proxy: &str, client: &str) -> String {
    attack(proxy, 1).replace("\"-\" \"Mozilla/5.0\"", &format!("\"{client}\""))
}

#[test]
fn who_comes_through_a_proxy_is_blocked_and_it_is_said_who_reaches_him() {
    if !namespaces_or_skip("responders that do not see clients behind proxies") {
        return;
    }
    for (mode, is_problem) in [("dry_run", false), ("enforce", true)] {
        let namespace = Namespace::new();
        let home = Home::inside(&namespace);
        let log = home.path("access.log").display().to_string();
        home.configure(&format!(
            "mode = \"{mode}\"\n[client]\ntrusted_proxies = [\"192.0.2.0/24\"]\n[[source]]\npath = {log:?}\n{PROXIED}\n\
             start = \"beginning\"\n"
        ));
        append(&home, &(through("192.0.2.9", "198.51.100.7") + &through("198.51.100.8", "203.0.113.7")));
        let daemon = home.start();
        let proxied = decided(&home, "198.51.100.7", "active");
        assert!(proxied["note"].as_str().unwrap().contains("came through a proxy"), "{proxied:#}");
        let direct = decided(&home, "198.51.100.8", "active");
        assert_eq!(direct["note"], "", "what a stranger says of himself is not believed");
        let problems = home.status()["problems"].to_string();
        assert_eq!(problems.contains("behind a trusted proxy"), is_problem, "{mode}: {problems}");
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn a_permanent_ban_is_made_by_hand_and_lasts() {
    let home = Home::new();
    follow(&home, "");
    append(&home, "");
    let daemon = home.start();
    let ban = home.json(&["ban", "198.51.100.7", "--for", "permanent"]);
    assert_eq!(ban["permanent"], true, "{ban:#}");
    assert_eq!(home.json(&["ban", "198.51.100.8", "--for", "365d"])["permanent"], false);
    daemon.kill();
    let daemon = home.start();
    let banned = home.palisade(&["banned"]).stdout;
    let line = banned.lines().find(|line| line.starts_with("198.51.100.7 ")).unwrap();
    assert!(line.contains("until it is lifted"), "{banned}");
    assert_eq!(home.status()["active"], 2, "both are back");
    assert_eq!(home.json(&["unban", "198.51.100.7"]), json!({ "lifted": ["198.51.100.7"] }));
    assert_eq!(daemon.stop(), 0);
}

/// Seconds that a decision lasts from its cause on, as far as the clock of the test tells.
fn lasts(decision: &Value) -> i64 {
    let secs = |name: &str| {
        let text = decision[name].as_str().unwrap();
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    };
    secs("expires_at") - secs("created_at")
}

#[test]
fn offences_are_remembered_when_what_was_counted_is_lost() {
    let home = Home::new();
    follow(&home, "[respond]\nblock_duration_secs = 4\n");
    let daemon = home.start();
    append(&home, &attack("198.51.100.7", 1));
    assert_eq!(decided(&home, "198.51.100.7", "active")["offences"], 0);
    decided(&home, "198.51.100.7", "expired");
    append(&home, &attack("198.51.100.8", 2));
    decided(&home, "198.51.100.8", "active");
    home.json(&["unban", "198.51.100.8"]);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.stop(), 0);
    damage_snapshot(&home);

    follow(&home, "[respond]\nblock_duration_secs = 1000\n");
    let mut daemon = home.start();
    daemon.says("what was counted before the start is lost");
    append(&home, &["198.51.100.7", "198.51.100.8", "198.51.100.9"].map(|from| attack(from, 3)).concat());
    let again = decided(&home, "198.51.100.7", "active");
    assert!(again["offences"] == 1 && (1700..=2200).contains(&lasts(&again)), "{again:#}");
    for first in ["198.51.100.8", "198.51.100.9"] {
        let first = decided(&home, first, "active");
        assert!(first["offences"] == 0 && (850..=1100).contains(&lasts(&first)), "a lifted ban is none: {first:#}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::main(flavor = "current_thread")]
async fn damage_snapshot(home: &Home) {
    let store = Sqlite::open(&home.path("state"), &StoreConfig::default()).await.unwrap();
    let marks = store.marks().await.unwrap();
    let checkpoint = Some(Checkpoint { marks: &marks, state: b"nonsense" });
    store.commit(&Batch { at: Timestamp::now(), checkpoint, ..Batch::default() }).await.unwrap();
    store.close().await;
}

#[test]
fn a_network_of_attackers_is_blocked_as_a_whole_unless_a_visitor_is_in_it() {
    let home = Home::new();
    follow(&home, "[respond]\nblock_networks = true\n");
    let start = Timestamp(Timestamp::now().0 - 900_000);
    let visits = (0..12).map(|n| line_at(start.plus_secs(n * 60), "203.0.113.200", &format!("GET /page/{n}"), 200));
    append(&home, &visits.collect::<String>());
    let daemon = home.start();
    for network in ["203.0.113", "198.51.100"] {
        append(&home, &(1..=9).map(|n| attack(&format!("{network}.{n}"), n)).collect::<String>());
    }
    let whole = decided(&home, "198.51.100.0/24", "active");
    assert!(whole["reason"].as_str().unwrap().contains("many clients of 198.51.100.0/24"), "{whole:#}");
    append(&home, &attack("198.51.100.10", 10));
    decided(&home, "198.51.100.10", "active");
    let targets: Vec<Value> = home.decisions().iter().map(|one| one["target"].clone()).collect();
    assert_eq!(targets.iter().filter(|target| target.as_str().unwrap().contains('/')).count(), 1, "{targets:?}");
    assert_eq!(targets.len(), 20);
    assert_eq!(daemon.stop(), 0);
}
