//! At least once, recorded once: whatever kills the daemon, wherever it reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Home, eventually};
use crate::support::log::{LogWriter, Random, attack, line};

/// Follows `access.log` from its beginning, in dry run, and lets every block pass.
fn home() -> Home {
    let home = Home::new();
    let log = home.path("access.log");
    home.configure(&format!(
        "[respond]\nmax_blocks_per_min = 1000000\n[[source]]\npath = \"{}\"\nstart = \"beginning\"\n",
        log.display()
    ));
    home
}

/// One line of ordinary life, and of attacks: certain ones, suspicions that only add up, scans
/// and guessed passwords that only their number gives away. `n` is in every line.
fn some_line(n: usize, random: &mut Random) -> String {
    let client = random.below(40);
    match random.below(20) {
        0 => attack(&format!("198.51.100.{client}"), n),
        1 => line(&format!("2001:db8:{client}::7"), &format!("GET /login?n={n}&user=admin%27%23"), 200),
        2 => line(&format!("2001:db8:{client}::8"), &format!("GET /list?n={n}&id=1--%20-"), 200),
        3 | 4 => line(&format!("203.0.113.{}", 200 + client % 3), &format!("GET /missing-{n}.php"), 404),
        5 => format!("no log line number {n}\n"),
        6 => line(&format!("203.0.113.{}", 210 + client % 3), &format!("POST /login?n={n}"), 401),
        _ => line(&format!("203.0.113.{client}"), &format!("GET /lamps/{n}?page=2&sort=price"), 200),
    }
}

/// What `scan` says of a log, as the daemon's records say it: findings by their request, bans in order.
fn scanned(home: &Home, log: &[u8]) -> (BTreeMap<String, Value>, Vec<Value>) {
    let whole = home.path("whole");
    std::fs::write(&whole, log).unwrap();
    let ran = home.palisade(&["scan", whole.to_str().unwrap(), "--output", "jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = rows.pop().unwrap()["summary"].take();
    assert_eq!(summary["flagged"], rows.len());
    let blocks = summary["would_block"].as_array().unwrap().iter();
    let blocks = blocks.map(|block| json!([block["source_ip"], block["category"], block["score"]])).collect();
    (rows.iter().map(|row| finding(row, "reason")).collect(), blocks)
}

/// The same of what the daemon has recorded.
fn recorded(home: &Home) -> (BTreeMap<String, Value>, Vec<Value>) {
    let rows = home.findings();
    let findings: BTreeMap<_, _> = rows.iter().map(|row| finding(row, "reasoning")).collect();
    assert_eq!(findings.len(), rows.len(), "no line is a finding twice");
    let sources: BTreeMap<&str, &Value> =
        rows.iter().map(|row| (row["id"].as_str().unwrap(), &row["source_ip"])).collect();
    let block = |row: &Value| json!([sources[row["finding_id"].as_str().unwrap()], row["category"], row["score"]]);
    (findings, home.decisions().iter().map(block).collect())
}

fn finding(row: &Value, reason: &str) -> (String, Value) {
    let uri = row["uri"].as_str().unwrap().to_owned();
    let names = ["time", "source_ip", "method", "status", "category", "rule_ids", "score", "decision", "decided_by"];
    let mut fields: Vec<Value> = names.iter().map(|name| row[*name].clone()).collect();
    fields.push(row[reason].clone());
    (uri, fields.into())
}

/// Everything in `log` is recorded: exactly what `scan` finds in it, and nothing else.
fn is_recorded(home: &Home, log: &[u8]) {
    let (findings, blocks) = scanned(home, log);
    // Not `eventually`: what is missing is of interest.
    let (mut progress, mut known) = (Instant::now(), 0);
    while known < findings.len() && progress.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
        let now = home.findings().len();
        if now != known {
            (progress, known) = (Instant::now(), now);
        }
    }
    let (found, decided) = recorded(home);
    let less: BTreeMap<_, _> = findings.iter().filter(|(uri, _)| !found.contains_key(*uri)).collect();
    assert!(less.is_empty(), "{} of {} were not found: {less:#?}\n{:#}", less.len(), findings.len(), home.status());
    for (uri, row) in &findings {
        assert_eq!(found.get(uri), Some(row), "{uri}");
    }
    let more: BTreeMap<_, _> = found.iter().filter(|(uri, _)| !findings.contains_key(*uri)).collect();
    assert!(more.is_empty(), "what scan does not find: {more:#?}");
    let sorted = |mut rows: Vec<Value>| {
        rows.sort_by_key(Value::to_string);
        rows
    };
    assert_eq!(sorted(decided), sorted(blocks));
}

/// Sets it when dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn killed_again_and_again_it_records_every_finding_exactly_once() {
    const KILLS: u32 = 16;
    let home = home();
    let mut random = Random::new();
    let mut other_random = Random(random.below(u64::MAX));
    let mut log = LogWriter::new(&home.path("access.log"));
    // What is rotated away before it was ever seen is nobody's loss: it sees the first file once.
    log.write(&attack("198.51.100.1", 0), &mut random);
    let daemon = home.start();
    eventually("the first finding", || home.findings().pop());
    daemon.kill();
    let stop = AtomicBool::new(false);
    let whole = std::thread::scope(|scope| {
        let stop = &stop;
        let writing = scope.spawn(move || {
            let random = &mut other_random;
            let mut n = 0;
            let mut write = |log: &mut LogWriter, lines: u64, random: &mut Random| {
                for _ in 0..lines {
                    n += 1;
                    log.write(&some_line(n, random), random);
                }
            };
            while !stop.load(Ordering::Relaxed) {
                let lines = random.below(60);
                write(&mut log, lines, random);
                if random.below(25) == 0 {
                    log.rotate();
                    // The server goes on writing to the old file until it is told.
                    let lines = random.below(20);
                    write(&mut log, lines, random);
                    random.pause(30);
                    log.reopen();
                }
                random.pause(30);
            }
            log.whole
        });
        // Also when an assertion fails here: the scope waits for the writer.
        let writing_stops = Stopping(stop);
        for kill in 0..KILLS {
            // Ready or not: starting is a moment to be killed in too.
            let stopping = kill % 6 == 5;
            let daemon = if !stopping && random.below(3) == 0 { home.spawn() } else { home.start() };
            random.pause(500);
            if stopping {
                assert_eq!(daemon.stop(), 0);
            } else {
                daemon.kill();
            }
            random.pause(150);
        }
        drop(writing_stops);
        writing.join().unwrap()
    });
    let daemon = home.start();
    is_recorded(&home, &whole);
    assert_eq!(home.status()["gaps"], 0);
    let (_, blocks) = recorded(&home);
    for category in ["sqli", "scanner"] {
        assert!(blocks.iter().any(|block| block[1] == category), "too tame a log: {blocks:?}");
    }
    // It is all read: another start finds nothing new.
    let before = recorded(&home);
    assert_eq!(daemon.stop(), 0);
    let _daemon = home.start();
    eventually("it is read to the end", || {
        let source = &home.status()["sources"][0];
        (source["offset"].as_u64()? > 0 && source["behind_bytes"] == 0).then_some(())
    });
    assert_eq!(recorded(&home), before);
}

#[test]
fn told_to_stop_in_the_middle_it_ends_in_time_and_goes_on_where_it_was() {
    let home = home();
    let mut random = Random::new();
    let mut log = LogWriter::new(&home.path("access.log"));
    let text: String = (0..30_000).map(|n| some_line(n, &mut random)).collect();
    log.write(&text, &mut random);
    let mut stops = 0;
    let mut found = 0;
    loop {
        let mut daemon = home.start();
        let behind = || home.status()["sources"][0]["behind_bytes"].as_u64().unwrap_or(u64::MAX);
        eventually("it has found more, or all", || (home.findings().len() > found || behind() == 0).then_some(()));
        let behind = behind();
        let asked = Instant::now();
        daemon.signal(if stops % 2 == 0 { Signal::SIGTERM } else { Signal::SIGINT });
        assert_eq!(daemon.code(), 0);
        assert!(asked.elapsed() < Duration::from_secs(30));
        stops += 1;
        if behind == 0 || stops == 4 {
            break;
        }
        let daemon = home.start();
        found = home.findings().len();
        daemon.kill();
    }
    let _daemon = home.start();
    is_recorded(&home, &log.whole);
}
