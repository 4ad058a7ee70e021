//! What many lines show together, from a log to findings.

use std::path::PathBuf;

use super::judge::Judge;
use super::tests::{SQLI, file, judged, line, rules, scan, small};
use crate::config::Config;
use crate::event::{Action, Finding};

/// A suspicion, and no more.
const SIX: &str = "/.git/config";

fn found_in(text: &str) -> (Vec<Finding>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let (findings, bans, _) = scan(&Config::default(), &[file(directory.path(), "a.log", text.as_bytes())]);
    (findings, bans.len())
}

fn has(finding: &Finding, id: &str) -> bool {
    finding.rule_ids.iter().any(|known| known.as_ref() == id)
}

#[test]
fn a_guessed_address_is_told_and_never_banned() {
    // Of an unknown program, with the address in a pair.
    let attempt = |n: u32, address: &str| {
        format!("2026-01-05T09:00:{n:02}.000Z WARN shop: authentication failed user=bob ip={address}\n")
    };
    let text: String = (0..40).map(|n| attempt(n, "203.0.113.7")).collect();
    let (findings, bans) = found_in(&text);
    assert!(findings.iter().any(|finding| has(finding, "login-failures")), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.source_ip == "203.0.113.7".parse().ok()));
    assert_eq!((bans, findings.iter().filter(|finding| finding.client.is_some()).count()), (0, 0));
    // What somebody says in another's name is not held against him.
    let directory = tempfile::tempdir().unwrap();
    let said = file(directory.path(), "shop.log", text.as_bytes());
    let own = file(directory.path(), "access.log", line(120, "203.0.113.7", SIX, 404).as_bytes());
    let score = |files: &[PathBuf]| scan(&Config::default(), files).0.last().unwrap().score;
    assert_eq!(score(&[said, own.clone()]), score(&[own]));
}

#[test]
fn guesses_fill_no_windows_of_many_and_are_no_campaign() {
    let found = |line: &dyn Fn(u32) -> String| found_in(&(10..50).map(line).collect::<String>()).0;
    let any = |findings: &[Finding], id| findings.iter().any(|finding| has(finding, id));
    let known = found(&|n| {
        format!("Jan  5 09:00:{n:02} web sshd[1]: Failed password for bob from 198.51.{n}.7 port 4711 ssh2\n")
    });
    assert!(any(&known, "login-one-user"), "{known:?}");
    let guessed =
        found(&|n| format!("2026-01-05T09:00:{n:02}.000Z WARN shop: authentication failed user=bob ip=198.51.{n}.7\n"));
    assert!(!any(&guessed, "login-one-user"), "{guessed:?}");
    let guessed =
        found(&|n| format!("2026-01-05T09:00:{n:02}.000Z INFO shop: from 198.51.{n}.7 \"GET {SQLI} HTTP/1.1\" 200\n"));
    assert!(guessed.len() == 40 && !any(&guessed, "campaign"), "{guessed:?}");
    assert!(guessed.iter().all(|finding| finding.source_ip.is_some()));
}

#[test]
fn many_clients_with_one_request_are_a_campaign_that_names_them() {
    let text: String = (0..24).map(|n| line(n, &format!("198.{}.100.7", n + 10), SQLI, 200)).collect();
    let (findings, _) = found_in(&text);
    let told: Vec<&Finding> = findings.iter().filter(|finding| has(finding, "campaign")).collect();
    assert_eq!(told.len(), 2, "at ten clients and at twenty");
    let named = &told[0].evidence.iter().find(|piece| piece.target == "clients").unwrap().matched;
    assert!(named.starts_with("10 clients in an hour: 198.10.100.7, 198.11.100.7"), "{named}");
    let alone = judged(&mut Judge::new(&small(), rules()), &line(0, "203.0.113.7", SQLI, 200));
    assert!(findings.iter().all(|finding| finding.score == alone[0].1), "it adds nothing to anybody's score");
}

#[test]
fn what_siblings_did_raises_a_finding_and_is_no_finding() {
    let siblings: String = (0..9).map(|n| line(n, &format!("203.0.113.{n}"), SQLI, 200)).collect();
    let after = |request: &str, client: &str| {
        let mut judge = Judge::new(&small(), rules());
        judged(&mut judge, &siblings);
        judged(&mut judge, &line(60, client, request, 404))
    };
    let (near, far) = (after(SIX, "203.0.113.99"), after(SIX, "198.51.100.99"));
    assert_eq!(near[0].1, (far[0].1 + 2).min(10), "eight siblings give two points");
    assert_eq!(after("/", "203.0.113.99"), []);
    // An office in that network: ten requests a second of many browsers, which are served.
    let office = |n: u32| line(n / 10, "203.0.113.99", "/api/x", 200).replace("Mozilla", &format!("Browser{}", n / 20));
    let served: String = (0..320).map(office).collect();
    let mut judge = Judge::new(&small(), rules());
    assert_eq!(judged(&mut judge, &(siblings.clone() + &served)).len(), siblings.lines().count());
    let shared = judged(&mut judge, &line(32, "203.0.113.99", SIX, 404));
    assert_eq!(shared[0].1, far[0].1, "neighbours of a shared address say nothing");
}

#[test]
fn a_restart_in_the_middle_of_a_flood_finds_the_same() {
    let mut text = String::new();
    for n in 0..400u32 {
        text += &line(n / 8, "203.0.113.7", &format!("/record/{n}"), 200);
        text += &line(n / 8, "203.0.113.8", &format!("/gone-{n}.php"), if n % 3 == 0 { 200 } else { 404 });
    }
    let whole = judged(&mut Judge::new(&small(), rules()), &text);
    assert!(whole.iter().any(|found| found.2 == Action::Block) && whole.iter().any(|found| found.2 == Action::Monitor));
    for cut in text.match_indices('\n').map(|(at, _)| at + 1).step_by(17) {
        let (before, after) = text.split_at(cut);
        let (mut first, mut second) = (Judge::new(&small(), rules()), Judge::new(&small(), rules()));
        let mut found = judged(&mut first, before);
        second.counter.restore(&first.counter.save()).unwrap();
        found.extend(judged(&mut second, after));
        assert_eq!(found, whole, "restarted after byte {cut}");
    }
}

#[test]
fn one_port_of_many_hosts_is_a_scan_if_it_was_shut() {
    let packets = |verdict: &str| -> String {
        let packet = |n: u32| {
            format!(
                "Jan  5 09:00:{n:02} gw kernel: [UFW {verdict}] IN=eth0 OUT= SRC=203.0.113.7 DST=192.0.2.{n} PROTO=TCP SPT=4711 DPT=445\n"
            )
        };
        (0..30).map(packet).collect()
    };
    let (findings, bans) = found_in(&packets("BLOCK"));
    assert!(findings.iter().any(|finding| has(finding, "port-scan")) && bans == 1, "{findings:?}");
    assert!(found_in(&packets("ALLOW")).0.is_empty());
}

#[test]
fn nobody_erases_himself_with_other_addresses() {
    let mut judge = Judge::new(&small(), rules());
    assert!(judged(&mut judge, &line(0, "203.0.113.7", SQLI, 200))[0].3.is_some());
    // Fifty times as many as there is room for, each with something against it.
    let client = |n: u32| format!("2001:db8:{:x}:{:x}::1", n >> 8, n & 255);
    let flood: String = (0..50_000).map(|n| line(1, &client(n), "/?a=it%27s", 404)).collect();
    judged(&mut judge, &flood);
    let again = judged(&mut judge, &line(5 * 3600, "203.0.113.7", SQLI, 200));
    let secs = again[0].3.unwrap();
    assert!(secs.abs_diff(8 * 3600) <= 2880, "a known offender: {secs}");
}
