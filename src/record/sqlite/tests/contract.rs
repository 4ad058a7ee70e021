//! What every store must do: each story gets an empty store that keeps 30 days and 50 changes.

use std::os::unix::ffi::OsStrExt;

use super::*;

/// Each story as a test of its own on SQLite; the next engine adds a module like this one.
macro_rules! on_sqlite {
    ($($story:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $story() {
                let dir = tempfile::tempdir().unwrap();
                super::$story(&super::open(dir.path()).await.unwrap()).await;
            })*
        }
    };
}

on_sqlite! {
    a_finding_comes_back_as_it_was
    hostile_text_comes_back_as_it_was
    replaying_a_batch_changes_nothing
    a_replayed_decision_keeps_its_state
    decisions_come_back_as_they_were
    live_decisions_are_those_to_restore
    what_ended_stays_ended
    what_is_prolonged_lives_longer_and_is_a_change
    what_is_said_of_a_pending_ban_stays_when_it_is_carried_out
    offences_are_the_bans_that_came_into_force_and_were_not_lifted
    expiring_ends_what_is_over
    lists_are_newest_first_and_filtered
    a_checkpoint_replaces_marks_and_state_together
    new_files_touch_their_own_mark_only
    the_change_feed_tells_each_change_once
    pruning_keeps_to_its_bounds
    the_allowlist_is_kept
    thousands_of_findings_fit_in_one_batch
}

async fn what_is_said_of_a_pending_ban_stays_when_it_is_carried_out(store: &Sqlite) {
    let states = [DecisionState::Pending, DecisionState::Held];
    let decisions = states.map(|state| Decision { note: "said".into(), ..decision(state.as_str(), state) });
    store.commit(&Batch { at: NOW, decisions: &decisions, ..Batch::default() }).await.unwrap();
    let ids = states.map(|state| state.as_str().to_owned());
    store.set_state(&ids, DecisionState::Active, "", NOW).await.unwrap();
    let mut notes = vec![];
    for id in &ids {
        notes.push(store.decision(id).await.unwrap().unwrap().note);
    }
    assert_eq!(notes, ["said", ""], "why it was held is no news any more");
}

async fn offences_are_the_bans_that_came_into_force_and_were_not_lifted(store: &Sqlite) {
    use DecisionState::*;
    let of = |state: DecisionState| decision(state.as_str(), state);
    let mut decisions = [Pending, Active, Expired, Lifted, Refused, Held].map(of).to_vec();
    decisions.push(Decision { simulated: true, ..decision("simulated", Active) });
    decisions.push(Decision { created_at: Timestamp(NOW.0 - 1000), ..decision("old", Expired) });
    decisions.push(Decision { target: "203.0.113.8/32".parse().unwrap(), ..decision("another", Active) });
    store.commit(&Batch { at: NOW, decisions: &decisions, ..Batch::default() }).await.unwrap();
    let target = decisions[0].target;
    for (ago, simulated, count) in [(1, false, 3), (1, true, 1), (9999, false, 4)] {
        let offences = store.offences(Timestamp(NOW.0 - ago), simulated).await.unwrap();
        assert_eq!(offences.get(&target), Some(&count), "{ago} {simulated}");
    }
}

async fn a_finding_comes_back_as_it_was(store: &Sqlite) {
    let v6 = "2001:db8:1:2:3::9".parse().unwrap();
    let mut ipv6 = finding(u64::MAX);
    ipv6.source_ip = Some(v6);
    ipv6.client = Some(ClientKey::of(v6, 64));
    let mut bare = finding(2);
    (bare.line_number, bare.source_ip, bare.client) = (None, None, None);
    bare.time = Timestamp(NOW.0 - 1);
    let recorded = store.commit(&of_findings(&[ipv6.clone(), bare])).await.unwrap();
    assert_eq!(recorded, Recorded { new_findings: 2, new_decisions: 0 });

    let rows = store.findings(None, 9).await.unwrap();
    assert_eq!(
        serde_json::to_value(&rows[0]).unwrap(),
        serde_json::json!({
            "id": ipv6.id(), "file": "/var/log/nginx/access.log", "generation": u64::MAX - 3, "offset": u64::MAX,
            "line_number": 0, "time": "2026-01-05T00:00:00.000Z", "source_ip": "2001:db8:1:2:3::9",
            "client": "2001:db8:1:2::/64", "method": "GET", "uri": "/?id=1%27%20OR%201=1--", "status": 200,
            "user_agent": "sqlmap/1.8", "referer": "", "category": "sqli", "score": 9,
            "rule_ids": ["942-sqli-tautology", "913-scanner-ua"],
            "evidence": [{"rule_id": "942-sqli-tautology", "target": "args", "matched": "1' OR 1=1--", "score": 9}],
            "decision": "block", "verdict": "malicious", "confidence": 9, "decided_by": "rules",
            "reasoning": "a certain rule hit", "recorded_at": "2026-01-05T00:00:00.000Z", "flagged": true,
            "is_system_url": false, "case_id": ipv6.id(),
        })
    );
    assert_eq!((&rows[1].line_number, &rows[1].source_ip, &rows[1].client), (&None, &None, &None));
}

async fn hostile_text_comes_back_as_it_was(store: &Sqlite) {
    let long = format!("/{}", "ü\u{1f4a9}".repeat(10_000));
    let texts = ["'; DROP TABLE findings; --", "\"\\'`%_?1$2:a@b", "a\0b\0", "\u{1f4a9}\u{202e}\u{feff}\r\n", &long];
    for (n, text) in (0..).zip(texts) {
        let mut hostile = finding(n);
        for field in [&mut hostile.method, &mut hostile.uri, &mut hostile.user_agent, &mut hostile.referer] {
            *field = text.into();
        }
        hostile.file = text.into();
        hostile.rule_ids = vec![text.into()];
        hostile.evidence[0].matched = text.into();
        hostile.verdict.reasoning = text.into();
        let mut blocked = decision(text, DecisionState::Held);
        (blocked.ground.reason, blocked.note) = (text.into(), text.into());
        let batch = Batch { at: NOW, findings: &[hostile.clone()], decisions: &[blocked], ..Batch::default() };
        store.commit(&batch).await.unwrap();
        store.set_state(&[text.into()], DecisionState::Active, text, NOW).await.unwrap();

        let rows = store.findings(None, 9).await.unwrap();
        let row = rows.iter().find(|row| row.id == hostile.id()).unwrap();
        for field in [&row.method, &row.uri, &row.user_agent, &row.referer, &row.file, &row.reasoning] {
            assert_eq!(field, text);
        }
        assert_eq!(
            (row.rule_ids.first().map(String::as_str), row.evidence.value()[0]["matched"].as_str()),
            (Some(text), Some(text))
        );
        let found = store.decision(text).await.unwrap().unwrap();
        assert_eq!(
            (found.state, found.ground.reason.as_str(), found.note.as_str()),
            (DecisionState::Active, text, text)
        );
    }
}

async fn replaying_a_batch_changes_nothing(store: &Sqlite) {
    let findings = [finding(1), finding(2), finding(1)];
    let decisions = [decision("d", DecisionState::Pending)];
    let batch = Batch { at: NOW, findings: &findings, decisions: &decisions, ..Batch::default() };
    assert_eq!(store.commit(&batch).await.unwrap(), Recorded { new_findings: 2, new_decisions: 1 });
    let (rows, changes) = (store.findings(None, 9).await.unwrap(), store.changes(0, 9).await.unwrap());
    let later = Batch { at: NOW.plus_secs(60), ..batch };
    assert_eq!(store.commit(&later).await.unwrap(), Recorded::default());
    assert_eq!(store.findings(None, 9).await.unwrap(), rows);
    assert_eq!(store.changes(0, 9).await.unwrap(), changes);
}

async fn a_replayed_decision_keeps_its_state(store: &Sqlite) {
    let decisions = [decision("d", DecisionState::Pending)];
    let batch = Batch { at: NOW, decisions: &decisions, ..Batch::default() };
    store.commit(&batch).await.unwrap();
    store.set_state(&["d".into()], DecisionState::Lifted, "by an operator", NOW).await.unwrap();
    store.commit(&batch).await.unwrap();
    let found = store.decision("d").await.unwrap().unwrap();
    assert_eq!((found.state, found.note.as_str()), (DecisionState::Lifted, "by an operator"));
}

async fn decisions_come_back_as_they_were(store: &Sqlite) {
    let mut decisions = Vec::new();
    for (n, proposer) in
        [Proposer::Rules, Proposer::Operator, Proposer::Imported, Proposer::Restored].into_iter().enumerate()
    {
        for (m, target) in ["203.0.113.7/32", "198.51.100.0/24", "2001:db8:1:2::/64"].into_iter().enumerate() {
            let mut made = decision(&format!("{n}{m}"), DecisionState::Pending);
            (made.proposer, made.target, made.simulated) = (proposer, target.parse().unwrap(), m == 1);
            decisions.push(made);
        }
    }
    (decisions[0].ground, decisions[0].offences) = (Ground::default(), u32::MAX);
    store.commit(&Batch { at: NOW, decisions: &decisions, ..Batch::default() }).await.unwrap();
    for decision in &decisions {
        let found = store.decision(&decision.id).await.unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{decision:?}"));
    }
    assert!(store.decision("unheard of").await.unwrap().is_none());
}

const STATES: [DecisionState; 6] = [
    DecisionState::Pending,
    DecisionState::Active,
    DecisionState::Held,
    DecisionState::Expired,
    DecisionState::Lifted,
    DecisionState::Refused,
];

/// One decision of each state, its id the state's name, that ends an hour after [`NOW`].
async fn one_of_each(store: &Sqlite) {
    let decisions = STATES.map(|state| decision(state.as_str(), state));
    store.commit(&Batch { at: NOW, decisions: &decisions, ..Batch::default() }).await.unwrap();
}

fn ids(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().map(|decision| decision.id.as_str()).collect()
}

async fn live_decisions_are_those_to_restore(store: &Sqlite) {
    one_of_each(store).await;
    assert_eq!(ids(&store.live_decisions(NOW).await.unwrap()), ["pending", "active", "held"]);
    assert_eq!(store.live_decisions(NOW.plus_secs(3599)).await.unwrap().len(), 3);
    assert_eq!(store.live_decisions(NOW.plus_secs(3600)).await.unwrap().len(), 0);
}

async fn what_ended_stays_ended(store: &Sqlite) {
    one_of_each(store).await;
    let all = STATES.map(|state| state.as_str().to_owned());
    assert_eq!(store.set_state(&all, DecisionState::Active, "in the kernel", NOW).await.unwrap(), 3);
    for state in STATES {
        let found = store.decision(state.as_str()).await.unwrap().unwrap();
        let live = matches!(state, DecisionState::Pending | DecisionState::Active | DecisionState::Held);
        let wanted = if live { (DecisionState::Active, "in the kernel") } else { (state, "") };
        assert_eq!((found.state, found.note.as_str()), wanted);
    }
    assert_eq!(store.set_state(&[], DecisionState::Active, "", NOW).await.unwrap(), 0);
    assert_eq!(store.set_state(&["unheard of".into()], DecisionState::Active, "", NOW).await.unwrap(), 0);
}

async fn what_is_prolonged_lives_longer_and_is_a_change(store: &Sqlite) {
    one_of_each(store).await;
    let seen = store.changes(0, 99).await.unwrap().last().unwrap().seq;
    let ends: Vec<(String, Timestamp)> =
        STATES.into_iter().zip(7200..).map(|(state, secs)| (state.as_str().to_owned(), NOW.plus_secs(secs))).collect();
    assert_eq!(store.prolong(&ends, "by a list", NOW).await.unwrap(), 3);
    for (id, end) in ends {
        let found = store.decision(&id).await.unwrap().unwrap();
        let live = ["pending", "active", "held"].contains(&&*id);
        let wanted = if live { (end, "by a list") } else { (NOW.plus_secs(3600), "") };
        assert_eq!((found.expires_at, found.note.as_str()), wanted, "{id}");
    }
    let changes = store.changes(seen, 99).await.unwrap();
    let mut told: Vec<&str> = changes.iter().map(|change| change.id.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["active", "held", "pending"]);
}

async fn expiring_ends_what_is_over(store: &Sqlite) {
    one_of_each(store).await;
    assert_eq!(store.expire(NOW.plus_secs(3599)).await.unwrap(), 0);
    assert_eq!(store.expire(NOW.plus_secs(3600)).await.unwrap(), 3);
    assert_eq!(store.expire(NOW.plus_secs(3600)).await.unwrap(), 0);
    let expired = DecisionFilter { state: Some(DecisionState::Expired), ..DecisionFilter::default() };
    assert_eq!(ids(&store.decisions(expired, 9).await.unwrap()), ["expired", "held", "active", "pending"]);
    assert_eq!(store.decision("lifted").await.unwrap().unwrap().state, DecisionState::Lifted);
}

async fn lists_are_newest_first_and_filtered(store: &Sqlite) {
    let findings: Vec<Finding> = (0..6)
        .map(|n| {
            let source_ip = format!("203.0.113.{}", n % 2).parse().unwrap();
            let client = Some(ClientKey::of(source_ip, 64));
            Finding { source_ip: Some(source_ip), client, time: NOW.plus_secs(n), ..finding(n) }
        })
        .collect();
    let decisions: Vec<Decision> = (0..6u64)
        .map(|n| Decision {
            target: format!("203.0.113.{}/32", n % 2).parse().unwrap(),
            created_at: NOW.plus_secs(n),
            ..decision(&n.to_string(), if n < 4 { DecisionState::Active } else { DecisionState::Held })
        })
        .collect();
    store.commit(&Batch { at: NOW, findings: &findings, decisions: &decisions, ..Batch::default() }).await.unwrap();

    let offsets = async |client, limit| {
        store.findings(client, limit).await.unwrap().iter().map(|row| row.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(None, 4).await, [5, 4, 3, 2]);
    assert_eq!(offsets(findings[1].client, 9).await, [5, 3, 1]);
    assert_eq!(offsets(Some(ClientKey::of("192.0.2.1".parse().unwrap(), 64)), 9).await, [0; 0]);

    let target = Some("203.0.113.1/32".parse().unwrap());
    let state = Some(DecisionState::Active);
    let listed = async |filter, limit| ids(&store.decisions(filter, limit).await.unwrap()).join("");
    assert_eq!(listed(DecisionFilter::default(), 4).await, "5432");
    assert_eq!(listed(DecisionFilter { state, target: None }, 9).await, "3210");
    assert_eq!(listed(DecisionFilter { state: None, target }, 9).await, "531");
    assert_eq!(listed(DecisionFilter { state, target }, 9).await, "31");
}

async fn a_checkpoint_replaces_marks_and_state_together(store: &Sqlite) {
    assert_eq!((store.marks().await.unwrap(), store.snapshot().await.unwrap()), (vec![], None));
    let mut odd = mark(u64::MAX, u64::MAX);
    odd.path = std::ffi::OsStr::from_bytes(b"/var/log/\xff\n.log").into();
    let marks = [mark(3, 100), odd, mark(1, 0)];
    let state = vec![0u8, 255, 39, 0];
    let checkpoint = Some(Checkpoint { marks: &marks, state: &state });
    store.commit(&Batch { at: NOW, checkpoint, ..Batch::default() }).await.unwrap();
    assert_eq!((store.marks().await.unwrap(), store.snapshot().await.unwrap()), (marks.to_vec(), Some(state)));

    let marks = [mark(1, 77)];
    let checkpoint = Some(Checkpoint { marks: &marks, state: b"" });
    store.commit(&Batch { at: NOW, checkpoint, ..Batch::default() }).await.unwrap();
    assert_eq!((store.marks().await.unwrap(), store.snapshot().await.unwrap()), (marks.to_vec(), Some(vec![])));
}

async fn new_files_touch_their_own_mark_only(store: &Sqlite) {
    let checkpoint = Some(Checkpoint { marks: &[mark(1, 10), mark(2, 20)], state: b"state" });
    store.commit(&Batch { at: NOW, checkpoint, ..Batch::default() }).await.unwrap();
    let new_files = [mark(2, 0), mark(3, 0)];
    store.commit(&Batch { at: NOW, new_files: &new_files, ..Batch::default() }).await.unwrap();
    assert_eq!(store.marks().await.unwrap(), [mark(1, 10), mark(2, 0), mark(3, 0)]);
    assert_eq!(store.snapshot().await.unwrap().unwrap(), b"state");
}

async fn the_change_feed_tells_each_change_once(store: &Sqlite) {
    let decisions = [decision("d", DecisionState::Pending)];
    let batch = Batch { at: NOW, findings: &[finding(1)], decisions: &decisions, ..Batch::default() };
    store.commit(&batch).await.unwrap();
    store.commit(&batch).await.unwrap();
    let (ids, at) = (["d".to_owned()], NOW.plus_secs(1));
    for state in [DecisionState::Active, DecisionState::Active, DecisionState::Lifted, DecisionState::Active] {
        store.set_state(&ids, state, "", at).await.unwrap();
    }
    let change = |seq, kind, id: &str, at| Change { seq, kind, id: id.into(), at };
    let all = [
        change(1, ChangeKind::Finding, &finding(1).id(), NOW),
        change(2, ChangeKind::Decision, "d", NOW),
        change(3, ChangeKind::Decision, "d", at),
        change(4, ChangeKind::Decision, "d", at),
    ];
    assert_eq!(store.changes(0, 99).await.unwrap(), all);
    assert_eq!(store.changes(1, 2).await.unwrap(), all[1..3]);
    assert_eq!(store.changes(4, 99).await.unwrap(), []);
}

async fn pruning_keeps_to_its_bounds(store: &Sqlite) {
    let days = |days: u64| NOW.plus_secs(days * 86_400);
    // More than one deletion's worth of old findings.
    let mut findings: Vec<Finding> = (0..2500).map(finding).collect();
    findings.extend((2500..2510).map(|n| Finding { time: days(1), ..finding(n) }));
    store.commit(&of_findings(&findings)).await.unwrap();
    one_of_each(store).await;
    assert_eq!(store.prune(days(30)).await.unwrap(), 2516 - 50, "exactly 30 days old is not older");
    let kept = store.changes(0, 9999).await.unwrap();
    assert_eq!((kept.len(), kept[0].seq, kept[49].seq), (50, 2467, 2516));

    assert_eq!(store.prune(Timestamp(days(30).0 + 1)).await.unwrap(), 2503);
    assert_eq!(store.findings(None, 9999).await.unwrap().len(), 10);
    let left = store.decisions(DecisionFilter::default(), 9).await.unwrap();
    assert_eq!(ids(&left), ["held", "active", "pending"], "live decisions are kept whatever their age");
    assert_eq!(store.prune(Timestamp(days(30).0 + 1)).await.unwrap(), 0);

    // A number is never given twice: a cursor stays true.
    store.commit(&of_findings(&[finding(9999)])).await.unwrap();
    assert_eq!(store.changes(2516, 9).await.unwrap()[0].seq, 2517);
}

async fn the_allowlist_is_kept(store: &Sqlite) {
    let office = "198.51.100.77/24".parse().unwrap();
    let phone = "2001:db8::1/128".parse().unwrap();
    store.allow_add(office, "office", NOW).await.unwrap();
    store.allow_add(phone, "it's mine", NOW.plus_secs(1)).await.unwrap();
    store.allow_add(office, "the office", NOW.plus_secs(2)).await.unwrap();
    let entry = |network: &str, note: &str, created_at| AllowEntry {
        network: network.parse().unwrap(),
        note: note.into(),
        created_at,
    };
    let wanted = [entry("198.51.100.0/24", "the office", NOW), entry("2001:db8::1/128", "it's mine", NOW.plus_secs(1))];
    assert_eq!(store.allow_list().await.unwrap(), wanted);
    assert!(store.allow_remove("198.51.100.1/24".parse().unwrap()).await.unwrap());
    assert!(!store.allow_remove(office).await.unwrap());
    assert_eq!(store.allow_list().await.unwrap(), wanted[1..]);
}

async fn thousands_of_findings_fit_in_one_batch(store: &Sqlite) {
    let findings: Vec<Finding> = (0..5000).map(finding).collect();
    assert_eq!(store.commit(&of_findings(&findings)).await.unwrap().new_findings, 5000);
    assert_eq!(store.findings(None, 9999).await.unwrap().len(), 5000);
}
