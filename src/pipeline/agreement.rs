//! Whoever is asked, the answer is the same: `scan`, `explain` and the judge that the daemon's reader drives.

use bumpalo::Bump;

use super::judge::{Batch, Judge, Lines, Reading, Text, look};
use super::replay::{self, Explanation, Scratch};
use super::tests::{SQLI, file, line, rules, scan, small};
use crate::config::Config;
use crate::event::Timestamp;
use crate::parse::{Extent, Formats, trim_line};

/// Without formats of servers that are configured on the machine.
fn config() -> Config {
    Config { server_configs: vec![], ..small() }
}

fn explain(line: &str) -> Explanation {
    replay::explain(&config(), &rules(), "auto", line.as_bytes()).unwrap()
}

/// Some hundreds of lines of all sorts: visits, attacks, suspicions, logins, packets, mail, junk.
fn lines() -> Vec<String> {
    const CLIENTS: [&str; 4] = ["203.0.113.7", "2001:db8::7", "10.0.0.9", "-"];
    const URIS: [&str; 14] = [
        "/",
        "/page?q=some+words",
        "/login",
        "/api/v1/items/7",
        "/static/app.js",
        "/aB3xK9fQ2z",
        "/.env",
        "/wp-login.php",
        SQLI,
        "/?a=it%27s",
        "/?id=1--%20-",
        "/../../etc/passwd",
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "/?next=http://169.254.169.254/latest/meta-data/",
    ];
    const MESSAGES: [&str; 12] = [
        "Jan  5 09:00:00 web sshd[812]: Failed password for bob from 203.0.113.7 port 4711 ssh2",
        "Jan  5 09:00:00 web sshd[812]: Accepted password for bob from 203.0.113.7 port 4711 ssh2",
        "Jan  5 09:00:00 web sshd[812]: Invalid user ${jndi:ldap://x} from 203.0.113.7 port 4711",
        "Jan  5 09:00:00 web kernel: [UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.7 DST=192.0.2.1 PROTO=TCP SPT=4711 DPT=22",
        "Jan  5 09:00:00 web postfix/smtpd[9]: NOQUEUE: reject: RCPT from unknown[203.0.113.7]: 554 5.7.1 <a@example.org>: Relay access denied",
        "Jan  5 09:00:00 web sudo: alice : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id",
        "2026-01-05T09:00:00Z WARN shop: authentication failed user=bob ip=203.0.113.7",
        "2026-01-05T09:00:00Z INFO shop: started",
        "{\"time\":\"2026-01-05T09:00:00Z\",\"remote_ip\":\"203.0.113.7\",\"msg\":\"login failed\",\"user\":\"bob\"}",
        "{\"time\":\"2026-01-05T09:00:00Z\",\"remote_addr\":\"203.0.113.7\",\"method\":\"GET\",\"uri\":\"/?id=1%27%20UNION%20SELECT%201\",\"status\":200}",
        "203.0.113.7 - - junk",
        "\u{0}\u{1b}[31m",
    ];
    let mut all: Vec<String> = MESSAGES.map(|message| format!("{message}\n")).into();
    for (client, uri) in CLIENTS.iter().flat_map(|client| URIS.map(|uri| (client, uri))) {
        for (method, status) in [("GET", 200), ("GET", 404), ("POST", 401), ("POST", 200), ("PROPFIND", 207)] {
            all.push(line(7, client, uri, status).replace("\"GET", &format!("\"{method}")));
        }
    }
    all
}

/// As the daemon's reader does it, with the formats that the line alone shows.
fn judged(text: &str) -> (&'static str, u8) {
    let (config, rules) = (config(), rules());
    let reading = Reading::of(&config);
    let (mut scratch, mut batch) = (Scratch::new(), Batch::default());
    let arena = Bump::new();
    let context = reading.context(Extent::Whole, Timestamp::default(), &arena);
    let formats = Formats::learn("", std::iter::once(trim_line(text.as_bytes())), &context);
    let lines = Lines { bytes: text.as_bytes(), tail_cut: 0, read_at: Timestamp::default() };
    look(&rules, &formats, &reading, &mut scratch, lines, &mut batch);
    let mut judge = Judge::new(&config, rules);
    let Some(record) = batch.records.first() else { return ("none", 0) };
    let shown = || Text { formats: &formats, line: text.as_bytes(), tail_cut: 0, read_at: Timestamp::default() };
    let settled = judge.settle(record, batch.hits_of(record), shown);
    settled.map_or(("none", 0), |settled| (settled.action.as_str(), settled.counted.score))
}

#[test]
fn scan_explain_and_the_judge_agree_on_every_line() {
    let directory = tempfile::tempdir().unwrap();
    let (mut decisions, lines) = (std::collections::BTreeMap::<_, usize>::new(), lines());
    for text in &lines {
        let (findings, ..) = scan(&config(), &[file(directory.path(), "one.log", text.as_bytes())]);
        let scanned = findings.first().map_or(("none", 0), |finding| (finding.action.as_str(), finding.score));
        assert_eq!(judged(text), scanned, "{text}");
        let explained = explain(text);
        assert_eq!(explained.decision, scanned.0, "{text}");
        if let Some(finding) = findings.first() {
            assert_eq!(explained.source_ip, finding.source_ip, "{text}");
            assert!(explained.because.starts_with(&finding.verdict.reasoning), "{text}: {}", explained.because);
        }
        *decisions.entry(scanned.0).or_default() += 1;
    }
    assert!(lines.len() > 250 && decisions.len() == 3 && decisions.values().all(|&some| some > 20), "{decisions:?}");
}

#[test]
fn explain_lists_the_windows_that_a_line_goes_into() {
    let count = |line: &str| {
        let steps = explain(line).steps;
        let step = steps.into_iter().find(|step| step.room == "count").unwrap();
        (step.said, step.details.join("\n"))
    };
    let (said, details) = count(&line(1, "203.0.113.7", "/login", 401).replace("GET", "POST"));
    assert!(details.starts_with("the path is of: page, login, credentials\n"), "{details}");
    for window in
        ["http-login-failures: 1 of 7, one lost every 45 s; +8 when it overflows", "http-flood, of busy clients: "]
    {
        assert!(details.contains(window), "{window} is not in {said}: {details}");
    }
    assert!(!details.contains("http-path-scan") && !details.contains("network"), "{details}");
    let (_, details) = count(&line(1, "203.0.113.7", "/gone.php", 404));
    assert!(details.contains("http-path-scan: 1 of 25 if its path is new, one lost every 10 s"), "{details}");
    let (_, details) = count(&line(1, "203.0.113.7", "/gone.png", 404));
    assert!(!details.contains("http-path-scan"), "{details}");
    let (said, details) =
        count("Jan  5 09:00:00 web sshd[812]: Failed password for bob from 203.0.113.7 port 4711 ssh2");
    assert!(details.contains("login-failures: 1 of 8") && details.contains("login-one-user"), "{said}: {details}");
    let (_, details) = count(&line(1, "203.0.113.7", SQLI, 200));
    assert!(details.contains("network: +1 when 3 other clients of its /24 are banned, +2 when 8 are"), "{details}");
    let (said, _) = count("Jan  5 09:00:00 web sshd[812]: Failed password for bob from example.org port 4711 ssh2");
    assert_eq!(said, "goes into 0 windows, and into 0 more if its client is busy", "of nobody");
    let because = explain(&line(1, "203.0.113.7", "/server-status", 404)).because;
    assert!(because.contains(" +") && because.contains("together, is below thresholds.flag = 5"), "{because}");
}
