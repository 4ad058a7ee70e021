//! What is found in a log is found in what its compressed form gives back.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::event::masked;
use crate::investigate::Findings;

/// Attacks of every family that has labelled ones, as they are requested; none in which something must be hidden: what
/// stands instead of it may be judged otherwise.
fn attacks() -> &'static [String] {
    static ATTACKS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    ATTACKS.get_or_init(|| {
        let files = [
            include_str!("../../../../tests/cases/sqli.jsonl"),
            include_str!("../../../../tests/cases/xss.jsonl"),
            include_str!("../../../../tests/cases/lfi.jsonl"),
            include_str!("../../../../tests/cases/rce.jsonl"),
        ];
        let is_shown = |uri: &String| {
            let is_plain = uri.is_ascii() && ![" ", "\"", "<|", "|>"].iter().any(|sign| uri.contains(sign));
            is_plain && *masked(uri, b"") == **uri
        };
        let uris = |text: &str| -> Vec<String> {
            let cases = replay::cases(text, "attack").unwrap();
            cases.into_iter().filter_map(|case| case.uri).filter(is_shown).collect()
        };
        files.into_iter().flat_map(uris).collect()
    })
}

/// Lines of attackers in a log: of more those that were not flagged may be folded.
const OF_ATTACKERS: usize = 150;
/// How long in seconds after the one before a line is written at most.
const PAUSE: usize = 90;

/// Something that happens, in lines of one format.
#[derive(Clone, Debug)]
struct Happening {
    kind: Kind,
    who: u8,
    what: usize,
    pause: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Somebody reads some pages.
    Visit,
    /// The same, of an application that logs JSON.
    Call,
    /// A login that succeeds, a job that runs.
    Routine,
    /// A line that nobody parses.
    Words,
    Attack,
    /// Passwords of SSH.
    Guesses,
    /// Passwords of a web page.
    Logins,
    /// Pages that do not exist: clearly fewer than a window allows, or clearly more. What is counted by its kinds is
    /// counted nearly, and folded lines of other clients may have a client's paths.
    Scan,
    Statement,
}

const KINDS: [Kind; 18] = {
    use Kind::*;
    [
        Visit, Visit, Visit, Visit, Visit, Visit, Visit, Call, Call, Call, Routine, Routine, Words, Attack, Guesses,
        Logins, Scan, Statement,
    ]
};

fn scanner(what: usize) -> String {
    format!("203.0.113.{}", 100 + what % 100)
}

/// What is written of it from `at` on, in seconds of the day.
fn written(Happening { kind, who, what, .. }: &Happening, at: usize) -> Vec<(usize, String)> {
    let clock = |at: usize| format!("{:02}:{:02}:{:02}", at / 3600, at / 60 % 60, at % 60);
    let line = |at: usize, client: &str, method: &str, uri: &str, status: u16| {
        let (time, bytes) = (clock(at), 200 + (what + at) % 900);
        let agent = ["Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "Mozilla/5.0 (Macintosh) Safari/605.1"][what % 2];
        format!(r#"{client} - - [05/Feb/2026:{time} +0000] "{method} {uri} HTTP/1.1" {status} {bytes} "-" "{agent}""#)
    };
    let visitor = format!("192.0.2.{}", 1 + what % 200);
    let attacker = format!("203.0.113.{who}");
    let several = |count: usize, every: usize, line: &dyn Fn(usize, usize) -> String| {
        (0..count).map(|nth| (at + nth * every, line(nth, at + nth * every))).collect()
    };
    match kind {
        Kind::Visit => several(1 + what % 4, 7, &|nth, at| {
            let status = [200, 200, 200, 304, 200, 404][(what + nth) % 6];
            line(at, &visitor, "GET", &format!("/products/{}", (what + nth) % 40), status)
        }),
        Kind::Call => several(1 + what % 3, 1, &|nth, at| {
            let (time, id) = (clock(at), what % 700 + nth);
            format!(
                r#"{{"time":"2026-02-05T{time}Z","remote_addr":"{visitor}","method":"GET","uri":"/api/items/{id}","status":200,"user_agent":"app/2"}}"#
            )
        }),
        Kind::Routine => several(2, 1, &|nth, at| match nth {
            0 => format!(
                "Feb  5 {} web1 sshd[{what}]: Accepted publickey for deploy from {visitor} port 50{who}22 ssh2",
                clock(at)
            ),
            _ => format!("Feb  5 {} web1 CRON[{}]: (root) CMD (run-parts /etc/cron.hourly)", clock(at), what + 7),
        }),
        Kind::Words => several(1, 1, &|_, at| format!("2026-02-05 {} INFO cache has {} entries", clock(at), what % 50)),
        Kind::Attack => several(1, 1, &|_, at| line(at, &attacker, "GET", &attacks()[what % attacks().len()], 200)),
        Kind::Guesses => several(4 + what % 30, 3, &|nth, at| {
            let (time, user) = (clock(at), ["root", "admin", "invalid user test"][nth * (what % 2) % 3]);
            format!(
                "Feb  5 {time} web1 sshd[700]: Failed password for {user} from 198.51.100.{who} port 4{nth:04} ssh2"
            )
        }),
        Kind::Logins => several(3 + what % 20, 4, &|_, at| line(at, &attacker, "POST", "/login", 401)),
        Kind::Scan => several([3 + what % 15, 40 + what % 10][what / 15 % 2], 1, &|nth, at| {
            line(at, &scanner(*what), "GET", &format!("/old-{}{nth}.php", what % 9), 404)
        }),
        Kind::Statement => {
            several(1, 1, &|_, at| format!("2026-02-05 {} CRITICAL Ransomware detected on ws-{who}", clock(at)))
        }
    }
}

/// The lines of a day, by the time at which they are written. Nobody scans twice: what he asks for would add up.
fn log(happenings: &[Happening]) -> Vec<String> {
    let (mut at, mut left, mut lines, mut scanners) = (0, OF_ATTACKERS, vec![], HashSet::new());
    for happening in happenings {
        at += happening.pause;
        if matches!(happening.kind, Kind::Scan) && !scanners.insert(scanner(happening.what)) {
            continue;
        }
        let written = written(happening, at);
        if matches!(happening.kind, Kind::Attack | Kind::Guesses | Kind::Logins | Kind::Scan) {
            match left.checked_sub(written.len()) {
                Some(fewer) => left = fewer,
                None => continue,
            }
        }
        lines.extend(written);
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

prop_compose! {
    fn happening()(kind in prop::sample::select(&KINDS[..]), who in 1u8..5, what in 0usize..100_000, pause in 0..PAUSE) -> Happening {
        Happening { kind, who, what, pause }
    }
}

fn found(lines: &[String]) -> (Looked, Findings) {
    let mut investigation = Investigation::new(Sensitivity::Medium, None).unwrap();
    let source = Source::of_text("-", lines.join("\n").into_bytes());
    let looked = look(&config(), &rules(), vec![source], &Options::default(), &mut investigation, &mut |_| {}).unwrap();
    (looked, investigation.finish())
}

/// How many lines each rule and window hit, and what threatens, without the places of lines.
fn facts(looked: &Looked, findings: &Findings) -> (BTreeMap<String, usize>, Vec<serde_json::Value>) {
    let hits = looked.rule_hits.iter().map(|(rule, lines)| (rule.clone(), lines.len())).collect();
    let threat = |threat: &Threat| {
        serde_json::json!([
            threat.kind,
            threat.severity,
            threat.outcome,
            threat.actor,
            threat.addresses,
            threat.users,
            threat.events,
            threat.rule_ids,
            threat.indicators,
            threat.first_time,
            threat.last_time
        ])
    };
    let mut threats: Vec<_> = findings.threats.iter().map(threat).collect();
    threats.sort_by_key(ToString::to_string);
    (hits, threats)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_found_in_a_log_is_found_in_what_its_compressed_form_gives_back(
        happenings in prop::collection::vec(happening(), 1..120),
    ) {
        let lines = log(&happenings);
        let (mut looked, findings) = found(&lines);
        let before = facts(&looked, &findings);
        let restored = looked.compressed(&config(), &findings.threats).restore();
        let restored: Vec<String> = restored.into_iter().map(|line| line.text).collect();
        prop_assert_eq!(restored.len(), lines.len());
        let (looked, findings) = found(&restored);
        prop_assert_eq!(facts(&looked, &findings), before, "{}\n\nfrom\n\n{}", restored.join("\n"), lines.join("\n"));
    }
}
