use super::*;
use crate::event::{Verdict, VerdictClass};

const NOW: Timestamp = Timestamp(1_767_571_200_000);

fn client(n: u32) -> ClientKey {
    ClientKey::of(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), 64)
}

fn finding(n: u32, action: Action, decided_by: DecidedBy) -> Finding {
    Finding {
        file: "access.log".into(),
        generation: 1,
        offset: 0,
        line_number: None,
        time: NOW,
        source_ip: None,
        client: Some(client(n)),
        method: "GET".into(),
        uri: "/".into(),
        status: 200,
        user_agent: String::new(),
        referer: String::new(),
        category: Category::Sqli,
        rule_ids: vec![],
        score: 6,
        evidence: vec![],
        action,
        verdict: Verdict { class: VerdictClass::Malicious, confidence: 9, decided_by, reasoning: String::new() },
    }
}

fn monitored(n: u32) -> Finding {
    finding(n, Action::Monitor, DecidedBy::Rules)
}

fn memory() -> Memory {
    Memory::new(&MemoryConfig::default())
}

/// Waits until `reached`, at most 20 seconds.
fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_summary_adds_up_findings_in_any_order() {
    let memory = memory();
    assert_eq!((memory.recall(client(1)), memory.len()), (None, 0));
    let at = |secs, category, score| Finding { time: NOW.plus_secs(secs), category, score, ..monitored(1) };
    for finding in [at(50, Category::Xss, 5), at(90, Category::Sqli, 9), at(10, Category::Xss, 7)] {
        memory.remember(&finding);
    }
    memory.remember(&monitored(2));
    memory.remember(&Finding { client: None, ..monitored(3) });
    assert_eq!(
        serde_json::to_value(memory.recall(client(1))).unwrap(),
        serde_json::json!({
            "findings": 3, "first": "2026-01-05T00:00:10.000Z", "last": "2026-01-05T00:01:30.000Z", "highest": 9,
            "categories": ["xss", "sqli"], "flagged": false,
        })
    );
    assert_eq!(memory.len(), 2);
    memory.forget(client(1));
    assert_eq!((memory.recall(client(1)), memory.len()), (None, 1));
    assert!(!memory.is_empty());
}

#[test]
fn only_a_block_flags_and_not_one_that_the_flag_decided() {
    for (action, decided_by, flagged) in [
        (Action::Block, DecidedBy::Rules, true),
        (Action::Block, DecidedBy::Tier2, true),
        (Action::Block, DecidedBy::Cache, false),
        (Action::Monitor, DecidedBy::Rules, false),
        (Action::None, DecidedBy::Rules, false),
    ] {
        let memory = memory();
        memory.remember(&finding(1, action, decided_by));
        assert_eq!(memory.recall(client(1)).unwrap().flagged, flagged, "{action:?} by {decided_by:?}");
        memory.remember(&monitored(1));
        assert_eq!(memory.recall(client(1)).unwrap().flagged, flagged, "and stays so");
    }
}

#[test]
fn a_client_is_forgotten_after_its_last_finding_however_often_it_is_asked_for() {
    let memory = Memory::with_ttl(Duration::from_millis(80), 10);
    memory.remember(&monitored(1));
    assert!(memory.recall(client(1)).is_some());
    eventually("it is not forgotten", || memory.recall(client(1)).is_none());
    eventually("it still takes room", || memory.is_empty());
    memory.remember(&monitored(1));
    assert_eq!(memory.recall(client(1)).unwrap().findings, 1, "and starts anew");
}

#[test]
fn findings_keep_a_client_known_but_a_flag_ends_in_its_time() {
    let memory = Memory::with_ttl(Duration::from_secs(1), 10);
    memory.remember(&finding(1, Action::Block, DecidedBy::Rules));
    assert!(memory.recall(client(1)).unwrap().flagged);
    let started = Instant::now();
    let mut findings = 1;
    eventually("the flag never ends", || {
        memory.remember(&finding(1, Action::Block, DecidedBy::Cache));
        findings += 1;
        !memory.recall(client(1)).unwrap().flagged
    });
    assert!(started.elapsed() >= Duration::from_millis(900), "it ended after {:?}", started.elapsed());
    assert_eq!(memory.recall(client(1)).unwrap().findings, findings, "the client is known all the while");
}

#[test]
fn no_more_than_max_clients_are_known_and_the_newest_are() {
    let memory = Memory::new(&MemoryConfig { max_clients: 100, ..MemoryConfig::default() });
    for n in 0..50 {
        memory.remember(&monitored(n));
        // The most asked for, which must not turn a newcomer away.
        (0..20).for_each(|_| _ = memory.recall(client(n)));
    }
    for n in 50..5000 {
        memory.remember(&monitored(n));
    }
    assert_eq!(memory.len(), 100);
    for n in 4900..5000 {
        assert!(memory.recall(client(n)).is_some(), "{n}");
    }
}

#[test]
fn no_finding_is_lost_when_many_threads_remember_one_client() {
    let memory = memory();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2000).for_each(|n| memory.remember(&monitored(n % 3))));
        }
    });
    let findings: u32 = (0..3).map(|n| memory.recall(client(n)).unwrap().findings).sum();
    assert_eq!(findings, 8000);
}
