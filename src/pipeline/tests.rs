//! The road from bytes to decisions, as `scan` and the daemon walk it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::judge::{Batch, Judge, Lines, Reading, Text, look};
use super::replay::{self, Blocks, Ruleset, Scratch};
use crate::config::Config;
use crate::event::{Action, ClientKey, Finding, Timestamp};
use crate::parse::Formats;

pub const SQLI: &str = "/?id=1%27%20UNION%20SELECT%201,2";

pub fn rules() -> Arc<Ruleset> {
    static RULES: std::sync::LazyLock<Arc<Ruleset>> =
        std::sync::LazyLock::new(|| Arc::new(Ruleset::new(&[], &[]).unwrap_or_else(|errors| panic!("{errors:?}"))));
    RULES.clone()
}

/// A combined log line, `second` seconds after nine.
pub fn line(second: u32, client: &str, uri: &str, status: u16) -> String {
    let (hour, minute, second) = (9 + second / 3600, second / 60 % 60, second % 60);
    format!(
        "{client} - - [05/Jan/2026:{hour:02}:{minute:02}:{second:02} +0000] \"GET {uri} HTTP/1.1\" {status} 12 \"-\" \"Mozilla/5.0\"\n"
    )
}

pub fn file(directory: &Path, name: &str, text: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::File::create(&path).and_then(|mut file| file.write_all(text)).unwrap();
    path
}

pub fn scan(config: &Config, files: &[PathBuf]) -> (Vec<Finding>, Vec<(u64, u64)>, replay::Totals) {
    let (mut findings, mut bans, mut scratch) = (vec![], vec![], Scratch::new());
    let totals = replay::scan(
        config,
        &rules(),
        files,
        "auto",
        &mut |found| {
            let finding = found.finding(&mut scratch).unwrap();
            if let Some(secs) = found.settled.ban_secs {
                bans.push((finding.line_number.unwrap(), secs));
            }
            findings.push(finding);
            Ok(())
        },
        &mut |_| {},
        None,
    );
    (findings, bans, totals.unwrap())
}

#[test]
fn an_attacker_is_banned_once_until_the_ban_ends_and_longer_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let attack = |second| line(second, "203.0.113.7", SQLI, 200);
    let benign = line(1, "203.0.113.8", "/", 200);
    let offset = benign.len() as u64;
    let first_log = file(directory.path(), "first.log", attack(2).as_bytes());
    let (_, first, _) = scan(&Config::default(), &[first_log]);
    let (_, secs) = first[0];
    assert!(secs.abs_diff(4 * 3600) <= 1440, "{secs}");
    let text = [benign, attack(2), attack(3), attack(secs as u32 + 1), attack(secs as u32 + 2)].concat();
    let (findings, bans, totals) = scan(&Config::default(), &[file(directory.path(), "a.log", text.as_bytes())]);
    assert_eq!(findings.len(), 4);
    assert!(findings.iter().all(|finding| finding.action == Action::Block));
    let lines: Vec<u64> = bans.iter().map(|(line, _)| *line).collect();
    assert_eq!((lines, bans[0].1), (vec![2, 5], secs), "the second ban starts when the first has ended");
    assert!(bans[1].1.abs_diff(8 * 3600) <= 2880, "{bans:?}");
    assert_eq!((totals.lines, totals.parsed, totals.unparsed, totals.flagged), (5, 5, 0, 4));
    assert_eq!(findings[0].offset, offset, "offsets are those of the line's first byte");
}

#[test]
fn a_path_scan_is_found_by_its_window() {
    let directory = tempfile::tempdir().unwrap();
    let probes = |client: &str, step| -> String {
        (0..40u32).map(|n| line(n * step, client, &format!("/probe-{n}.php"), 404)).collect()
    };
    let text = probes("203.0.113.7", 1) + &probes("203.0.113.8", 60);
    let (findings, bans, _) = scan(&Config::default(), &[file(directory.path(), "a.log", text.as_bytes())]);
    assert_eq!(bans.len(), 1, "the patient one is no scanner");
    assert_eq!(findings[0].rule_ids[0].as_ref(), "http-path-scan");
    assert_eq!(findings[0].source_ip, "203.0.113.7".parse().ok());
}

#[test]
fn several_files_are_merged_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let odd: String =
        (0..40).filter(|n| n % 2 == 1).map(|n| line(n, "203.0.113.7", &format!("/p{n}.php"), 404)).collect();
    let even: String =
        (0..40).filter(|n| n % 2 == 0).map(|n| line(n, "203.0.113.7", &format!("/p{n}.php"), 404)).collect();
    let one: String = (0..40).map(|n| line(n, "203.0.113.7", &format!("/p{n}.php"), 404)).collect();
    let files =
        [file(directory.path(), "odd.log", odd.as_bytes()), file(directory.path(), "even.log", even.as_bytes())];
    let (merged, ..) = scan(&Config::default(), &files);
    let (whole, ..) = scan(&Config::default(), &[file(directory.path(), "one.log", one.as_bytes())]);
    let times = |findings: &[Finding]| findings.iter().map(|finding| finding.time).collect::<Vec<_>>();
    assert!(!whole.is_empty());
    assert_eq!(times(&merged), times(&whole));
}

#[test]
fn blocks_do_not_change_what_is_found() {
    // Enough for several blocks on several threads, with an attack now and then and junk between.
    let directory = tempfile::tempdir().unwrap();
    let mut text = String::new();
    let mut expected = vec![];
    for n in 0..12_000u32 {
        if n % 997 == 5 {
            expected.push(u64::from(n) + 1);
            text += &line(n, &format!("198.51.100.{}", n % 250), SQLI, 200);
        } else if n % 1000 == 7 {
            text += "\u{0}\u{1b}[31m junk\n";
        } else {
            text += &line(n, "203.0.113.8", &format!("/page/{n}?q=some+words%20here"), 200);
        }
    }
    let path = file(directory.path(), "a.log", text.as_bytes());
    let (findings, _, totals) = scan(&Config::default(), &[path]);
    assert!(text.len() > 1_000_000);
    assert_eq!(findings.iter().filter_map(|finding| finding.line_number).collect::<Vec<_>>(), expected);
    for finding in &findings {
        let at = usize::try_from(finding.offset).unwrap();
        assert!(text[at..].starts_with("198.51.100."), "the offset is the line's");
    }
    assert_eq!((totals.lines, totals.unparsed, totals.bytes), (12_000, 12, text.len() as u64));
}

#[test]
fn the_head_of_an_overlong_line_is_judged_and_the_rest_counted() {
    let directory = tempfile::tempdir().unwrap();
    let long = format!("{SQLI}{}", "x".repeat(5 << 20));
    let text = line(1, "203.0.113.7", &long, 200) + &line(2, "203.0.113.8", SQLI, 200);
    let (findings, _, totals) = scan(&Config::default(), &[file(directory.path(), "a.log", text.as_bytes())]);
    assert_eq!(findings.iter().map(|finding| finding.line_number).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(findings[1].offset, text.find("203.0.113.8").unwrap() as u64);
    assert_eq!((totals.lines, totals.overlong, totals.bytes), (2, 1, text.len() as u64));
}

#[test]
fn blocks_hold_whole_lines_at_their_offsets() {
    let text = [b"a\n\nbb\r\n".as_slice(), &vec![b'x'; 3 << 20], b"\nlast"].concat();
    let mut blocks = Blocks::new(Box::new(std::io::Cursor::new(text.clone())), 1024);
    let (mut block, mut seen) = (vec![], vec![]);
    while let Some(mark) = blocks.next(&mut block).unwrap() {
        assert_eq!(block, text[mark.offset as usize..mark.offset as usize + block.len()]);
        seen.push((mark.offset, block.len(), mark.tail_cut));
    }
    assert_eq!(seen, [(0, 7, 0), (7, 1024, (3 << 20) + 1 - 1024), ((3 << 20) + 8, 4, 0)]);
}

/// A log in which much happens: weak and strong signals, windows, several clients.
fn eventful() -> String {
    let mut text = String::new();
    for n in 0..160u32 {
        let client = ["203.0.113.7", "203.0.113.8", "2001:db8:1:2::9"][n as usize % 3];
        text += &match n % 7 {
            0 => line(n, client, &format!("/missing-{n}.php"), 404),
            1 => line(n, client, "/login", 401),
            2 => line(n, client, &format!("/p?q=it%27s+{n}"), 200),
            3 if n % 21 == 3 => line(n, client, SQLI, 200),
            4 => "not a log line\n".to_owned(),
            _ => line(n, client, &format!("/gone/{n}"), 404),
        };
    }
    text
}

/// A table small enough to make hundreds of.
pub fn small() -> Config {
    let mut config = Config::default();
    config.detect.max_clients = 1024;
    config
}

/// Judges `text` with what `judge` has counted so far.
pub fn judged(judge: &mut Judge, text: &str) -> Vec<(u32, u8, Action, Option<u64>)> {
    let config = Config::default();
    let formats = Formats::named("nginx_combined").unwrap();
    let (mut scratch, mut batch) = (Scratch::new(), Batch::default());
    let lines = Lines { bytes: text.as_bytes(), tail_cut: 0, read_at: Timestamp::default() };
    look(&judge.rules.clone(), &formats, &Reading::of(&config), &mut scratch, lines, &mut batch);
    let mut found = vec![];
    for record in &batch.records {
        let line = &text.as_bytes()[record.start as usize..][..record.len as usize];
        let line = || Text { formats: &formats, line, tail_cut: 0, read_at: Timestamp::default() };
        if let Some(settled) = judge.settle(record, batch.hits_of(record), line) {
            found.push((record.time_secs, settled.counted.score, settled.action, settled.ban_secs));
        }
    }
    found
}

#[test]
fn a_restart_at_any_line_finds_the_same() {
    let config = small();
    let text = eventful();
    let whole = judged(&mut Judge::new(&config, rules()), &text);
    assert!(whole.iter().any(|found| found.3.is_some()) && whole.len() > 5, "{whole:?}");
    for (cut, _) in text.match_indices('\n') {
        let (before, after) = text.split_at(cut + 1);
        let mut first = Judge::new(&config, rules());
        let mut found = judged(&mut first, before);
        let mut second = Judge::new(&config, rules());
        second.counter.restore(&first.counter.save()).unwrap();
        found.extend(judged(&mut second, after));
        assert_eq!(found, whole, "restarted after byte {cut}");
    }
}

#[test]
fn damaged_state_is_refused_whole() {
    let config = small();
    let mut judge = Judge::new(&config, rules());
    judged(&mut judge, &eventful());
    let state = judge.counter.save();
    for cut in [0, 5, state.len() / 2, state.len() - 1] {
        let mut fresh = Judge::new(&config, rules());
        assert!(fresh.counter.restore(&state[..cut]).is_err());
        assert_eq!(fresh.counter.save(), Judge::new(&config, rules()).counter.save(), "nothing was taken up");
    }
}

#[test]
fn who_was_pardoned_starts_afresh_but_stays_known() {
    let config = small();
    let mut judge = Judge::new(&config, rules());
    let client = ClientKey::of("203.0.113.7".parse().unwrap(), 64);
    // In hours, about.
    let bans = |found: Vec<(u32, u8, Action, Option<u64>)>| -> Vec<u64> {
        found.iter().filter_map(|found| found.3).map(|secs| (secs + 1800) / 3600).collect()
    };
    assert_eq!(bans(judged(&mut judge, &line(1, "203.0.113.7", SQLI, 200))), [4]);
    assert_eq!(bans(judged(&mut judge, &line(2, "203.0.113.7", SQLI, 200))), [0; 0], "it is banned");
    judge.counter.pardon(client);
    assert_eq!(bans(judged(&mut judge, &line(3, "203.0.113.7", SQLI, 200))), [8], "an old offender");
    judge.counter.forget_bans();
    let last = bans(judged(&mut judge, &line(4, "203.0.113.7", SQLI, 200)))[0];
    assert!((14..=18).contains(&last), "{last}");
}

#[test]
fn each_header_of_a_w3c_log_names_the_columns_of_the_lines_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let sqli = "id=1'+UNION+SELECT+1,2";
    let old = format!("2026-01-05 09:00:01 203.0.113.7 198.51.100.1 GET /a {sqli} 200\n");
    let new = format!("2026-01-05 09:00:02 198.51.100.1 203.0.113.8 GET /a {sqli} 200\n");
    let text = format!(
        "#Software: x\n#Fields: date time c-ip s-ip cs-method cs-uri-stem cs-uri-query sc-status\n{}{old}\
         #Fields: date time s-ip c-ip cs-method cs-uri-stem cs-uri-query sc-status\n{new}",
        (0..4000)
            .map(|n| format!("2026-01-05 09:00:00 192.0.2.{} 198.51.100.1 GET /a - 200\n", n % 250))
            .collect::<String>()
    );
    let (findings, bans, totals) = scan(&Config::default(), &[file(directory.path(), "u_ex.log", text.as_bytes())]);
    let clients: Vec<String> = findings.iter().map(|found| found.source_ip.unwrap().to_string()).collect();
    assert_eq!(clients, ["203.0.113.7", "203.0.113.8"]);
    assert_eq!((bans.len(), totals.parsed, totals.unparsed), (2, 4002, 0), "headers are no lines to be understood");
    assert!(findings[0].uri.starts_with("/a?id=1"), "the query joins its path: {}", findings[0].uri);
}

#[test]
fn the_first_line_of_a_csv_log_names_its_columns_and_no_other_does() {
    let directory = tempfile::tempdir().unwrap();
    let header = "time,client_ip,method,uri,status,note\n";
    let sqli = |second, client: &str| {
        format!("2026-01-05T09:00:{second:02}Z,{client},GET,\"/a?id=1'+UNION+SELECT+1,2\",200,198.51.100.1\n")
    };
    // A client whose words hold a line break may write a header; nobody stands where it says.
    let text = [
        header,
        &sqli(1, "203.0.113.7"),
        header,
        "time,a,method,uri,status,client_ip\n",
        &sqli(2, "203.0.113.8"),
        "2026-01-05T09:00:03Z,203.0.113.9,GET,/,200\n",
    ];
    let path = file(directory.path(), "export.csv", text.concat().as_bytes());
    let (findings, bans, totals) = scan(&Config::default(), std::slice::from_ref(&path));
    let clients: Vec<String> = findings.iter().map(|found| found.source_ip.unwrap().to_string()).collect();
    assert_eq!(clients, ["203.0.113.7", "203.0.113.8"]);
    assert_eq!((bans.len(), totals.lines, totals.parsed, totals.unparsed), (2, 6, 2, 2));
    assert!(findings[0].uri.ends_with("1,2"), "{}", findings[0].uri);
}

#[test]
fn explain_knows_the_formats_that_servers_here_are_configured_with() {
    let directory = tempfile::tempdir().unwrap();
    let own = "$status|$remote_addr|$time_iso8601|$request";
    let longer = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \"$http_x_real_ip\"";
    let text = format!(
        "http {{ log_format own '{own}'; log_format longer '{longer}'; access_log a.log; access_log b.log own; access_log c.log longer; }}"
    );
    let server_configs = vec![file(directory.path(), "nginx.conf", text.as_bytes())];
    let config = Config { server_configs, ..Config::default() };
    let explain = |line: &str| replay::explain(&config, &rules(), "auto", line.as_bytes()).unwrap();
    let explained = explain(&format!("200|203.0.113.7|2026-01-05T09:00:00Z|GET {SQLI} HTTP/1.1"));
    assert_eq!(explained.steps[0].said, format!("understood as {own}"));
    assert_eq!((explained.decision, explained.source_ip), ("block", "203.0.113.7".parse().ok()));
    let combined = line(1, "203.0.113.7", "/", 200);
    assert_eq!(explain(&combined).steps[0].said, "understood as nginx_combined");
    let longer_line = combined.replace("\n", " \"-\"");
    assert_eq!(explain(&longer_line).steps[0].said, format!("understood as {longer}"), "what says more comes first");
    let other = "Jan  5 09:00:00 web sshd[812]: Failed password for bob from 203.0.113.7 port 4711 ssh2";
    assert_eq!(explain(other).steps[0].said, "understood as syslog+message", "others are learned");
}

#[test]
fn behind_trusted_proxies_the_client_whom_they_name_is_banned() {
    let directory = tempfile::tempdir().unwrap();
    let format = r#"$remote_addr [$time_iso8601] "$request" $status "$http_x_forwarded_for""#;
    let line = |peer: &str, forwarded: &str| {
        format!("{peer} [2026-01-05T09:00:01Z] \"GET {SQLI} HTTP/1.1\" 200 \"{forwarded}\"\n")
    };
    // The second client sends a forged header by the proxy, the third one past it.
    let text = [
        line("192.0.2.1", "203.0.113.7"),
        line("192.0.2.1", "198.51.100.1, 203.0.113.8"),
        line("203.0.113.9", "198.51.100.1"),
    ];
    let path = file(directory.path(), "a.log", text.concat().as_bytes());
    let mut config = Config::default();
    let clients = |config: &Config| {
        let (mut clients, mut scratch) = (vec![], Scratch::new());
        let mut each = |found: &replay::Found<'_>| {
            clients.push(found.finding(&mut scratch).unwrap().source_ip.unwrap().to_string());
            Ok(())
        };
        replay::scan(config, &rules(), std::slice::from_ref(&path), format, &mut each, &mut |_| {}, None).unwrap();
        clients
    };
    assert_eq!(clients(&config), ["192.0.2.1", "192.0.2.1", "203.0.113.9"], "nobody is trusted");
    config.client.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    assert_eq!(clients(&config), ["203.0.113.7", "203.0.113.8", "203.0.113.9"]);
}

#[test]
fn whom_a_client_may_have_named_is_never_acted_on() {
    let directory = tempfile::tempdir().unwrap();
    let line = format!(
        "[2026-01-05T09:00:01.310Z] \"GET {SQLI} HTTP/2\" 200 - 154 0 226 100 \"198.51.100.1\" \"x\" \"y\" \"h\" \"tcp://10.0.2.1:80\"\n"
    );
    let (findings, bans, _) = scan(&Config::default(), &[file(directory.path(), "envoy.log", line.as_bytes())]);
    assert_eq!((findings.len(), bans.len()), (1, 0));
    assert!(findings[0].source_ip.is_some() && findings[0].client.is_none());
    assert!(findings[0].score >= Config::default().thresholds.certain);
    assert_eq!(findings[0].action, Action::Monitor, "nobody can be blocked");
    let explained = replay::explain(&Config::default(), &rules(), "auto", line.as_bytes()).unwrap();
    assert_eq!(explained.decision, "monitor");
    assert!(explained.because.contains("does not say for sure whose it is"), "{}", explained.because);
}

#[test]
fn who_guesses_passwords_over_ssh_is_banned_and_nobody_whom_he_names() {
    let directory = tempfile::tempdir().unwrap();
    let line = |second: u32, said: &str| format!("2026-01-05T09:00:{second:02}+00:00 web sshd[812]: {said}\n");
    let mut text = line(0, "Accepted publickey for bob from 198.51.100.1 port 4711 ssh2: ED25519 SHA256:abc");
    for n in 0..12 {
        text +=
            &line(n + 1, "Failed password for invalid user x from 198.51.100.1 port 5 from 203.0.113.7 port 4711 ssh2");
    }
    text += &line(20, "Failed password for bob from 198.51.100.1 port 4712 ssh2");
    let (findings, bans, totals) = scan(&Config::default(), &[file(directory.path(), "auth.log", text.as_bytes())]);
    assert_eq!((totals.parsed, totals.unparsed, bans.len()), (14, 0, 1));
    assert_eq!(findings[0].source_ip, Some("203.0.113.7".parse().unwrap()));
    assert_eq!(findings[0].category.as_str(), "bruteforce");
    assert!(
        findings[0].uri.starts_with("Failed password"),
        "the message stands where a request would: {:?}",
        findings[0]
    );
    assert!(findings.iter().all(|finding| finding.source_ip != Some("198.51.100.1".parse().unwrap())));
}
