//! What is found in a log is found in what its compressed form gives back.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::compress::Restored;
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
            let is_plain = uri.is_ascii() && ![" ", "<|", "|>"].iter().any(|sign| uri.contains(sign));
            is_plain && *masked(uri, b"") == **uri
        };
        let uris = |text: &str| -> Vec<String> {
            let cases = replay::cases(text, "attack").unwrap();
            cases.into_iter().filter_map(|case| case.uri).filter(is_shown).collect()
        };
        files.into_iter().flat_map(uris).collect()
    })
}

/// One event of a generated log, at its time: a request with an attack, guesses in a row, a statement, a visit.
fn written(kind: u8, who: u8, what: usize, at: usize) -> Vec<String> {
    let clock = |at: usize| format!("{:02}:{:02}:{:02}", at / 3600, at / 60 % 60, at % 60);
    let request = |client: &str, uri: &str| {
        let (time, bytes) = (clock(at), 200 + what % 9);
        format!(
            r#"{client} - - [05/Feb/2026:{time} +0000] "GET {uri} HTTP/1.1" 200 {bytes} "-" "Mozilla/5.0 (X11) Firefox/140.0""#
        )
    };
    let guess = |nth: usize| {
        let (time, port) = (clock(at + nth), 40_000 + what % 500 + nth);
        format!("Feb  5 {time} web1 sshd[700]: Failed password for root from 198.51.100.{who} port {port} ssh2")
    };
    match kind {
        0 => vec![request(&format!("203.0.113.{who}"), &attacks()[what % attacks().len()])],
        1 => (0..8).map(guess).collect(),
        2 => vec![format!("2026-02-05 {} CRITICAL Ransomware detected on ws-{who}", clock(at))],
        _ => vec![request(&format!("192.0.2.{}", 1 + what % 200), &format!("/products/{}", what % 40))],
    }
}

fn found(text: String) -> (Looked, Findings) {
    let mut investigation = Investigation::new(Sensitivity::Medium, None).unwrap();
    let source = Source::of_text("-", text.into_bytes());
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
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_found_in_a_log_is_found_in_what_its_compressed_form_gives_back(
        events in prop::collection::vec((prop::sample::select(vec![0u8, 1, 2, 3, 3, 3, 3, 3, 3, 3]), 1u8..5, 0usize..100_000), 20..150),
    ) {
        let written = events.iter().enumerate().map(|(at, (kind, who, what))| written(*kind, *who, *what, at * 300));
        let lines: Vec<String> = written.flatten().collect();
        let (mut looked, findings) = found(lines.join("\n"));
        let before = facts(&looked, &findings);
        let restored = looked.compressed(&config(), &findings.threats).restore();
        prop_assert_eq!(restored.len(), lines.len());
        let (exact, folded): (Vec<_>, Vec<_>) = restored.into_iter().partition(|line| line.is_exact);
        let again = |lines: Vec<Restored>| -> Option<_> {
            let lines: Vec<String> = lines.into_iter().map(|line| line.text).collect();
            let (looked, findings) = (!lines.is_empty()).then(|| found(lines.join("\n")))?;
            Some(facts(&looked, &findings))
        };
        // What was found stands in the text word for word, and of the rest nothing is found that was not there.
        prop_assert_eq!(again(exact).unwrap_or_default(), before);
        prop_assert_eq!(again(folded).unwrap_or_default(), Default::default());
    }
}
