//! What other stores are sent: everything, in order, and what goes unsent is counted.

use super::*;
use crate::record::{Addresses, Rows, Unsent, Waiting};

const READER: &str = "postgres";

async fn open_with(dir: &Path, max_outbox_rows: u32, max_unsent_rows: u32) -> Sqlite {
    let config = StoreConfig { keep_days: 30, max_outbox_rows, max_unsent_rows, ..StoreConfig::default() };
    Sqlite::open(dir, &config).await.unwrap()
}

fn of_decisions(decisions: &[Decision]) -> Batch<'_> {
    Batch { at: NOW, decisions, ..Batch::default() }
}

fn call() -> ModelCall {
    ModelCall {
        at: NOW,
        service: "local".into(),
        model: "small".into(),
        finding_id: finding(1).id(),
        outcome: "answered".into(),
        millis: 12,
        sent_bytes: 1,
        received_bytes: 2,
        input_tokens: 3,
        output_tokens: 4,
        usd: 0.5,
    }
}

/// Everything that waits, by batches of `limit` changes.
async fn drain(store: &Sqlite, limit: u32) -> Vec<Unsent> {
    let mut batches = vec![];
    loop {
        let batch = store.unsent(READER, limit).await.unwrap();
        if batch.changes == 0 {
            return batches;
        }
        assert!(batches.len() < 10_000, "it never ends");
        store.sent(READER, batch.rows.version).await.unwrap();
        batches.push(batch);
    }
}

fn ids(rows: &Rows) -> Vec<&str> {
    let mut ids: Vec<&str> = rows.findings.iter().map(|finding| &*finding.id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_row_that_changed_is_read_as_it_is_now_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 50, 1000).await;
    store.send_all(READER).await.unwrap();
    let (findings, calls) = ([finding(1), finding(2)], [call()]);
    let decisions = [decision("d", DecisionState::Pending)];
    store
        .commit(&Batch { at: NOW, findings: &findings, decisions: &decisions, calls: &calls, ..Batch::default() })
        .await
        .unwrap();
    let verdict =
        Verdict { class: VerdictClass::Benign, confidence: 8, decided_by: DecidedBy::Tier1, reasoning: "no".into() };
    let judgements = [Judgement { finding_id: finding(2).id(), action: Action::None, verdict }];
    store.commit(&Batch { at: NOW, judgements: &judgements, ..Batch::default() }).await.unwrap();
    store.set_state(&["d".into()], DecisionState::Active, "", NOW.plus_secs(1)).await.unwrap();
    let correction =
        Correction { finding_id: finding(1).id(), verdict: VerdictClass::Malicious, view: "v".into(), at: NOW };
    store.correct(&correction).await.unwrap();

    let first = store.unsent(READER, 1000).await.unwrap();
    let mut wanted = [finding(1).id(), finding(2).id()];
    wanted.sort();
    assert_eq!(ids(&first.rows), wanted);
    let judged = first.rows.findings.iter().find(|row| row.id == finding(2).id()).unwrap();
    assert_eq!((&*judged.verdict, &*judged.action), ("benign", "none"));
    assert_eq!(first.rows.decisions.iter().map(|one| one.state).collect::<Vec<_>>(), [DecisionState::Active]);
    let states: Vec<_> = first.rows.changes.iter().map(|change| (change.state, change.at)).collect();
    assert_eq!(states, [(DecisionState::Pending, NOW), (DecisionState::Active, NOW.plus_secs(1))]);
    assert_eq!((first.rows.corrections.as_slice(), first.rows.calls.len()), (&[correction][..], 1));
    assert_eq!(first.rows.calls[0].1.service, "local");
    let waiting = store.waiting(READER).await.unwrap();
    assert_eq!(waiting, Waiting { changes: 7, dropped: 0, oldest: Some(NOW) });

    let again = store.unsent(READER, 1000).await.unwrap();
    assert_eq!((again.rows.version, ids(&again.rows)), (first.rows.version, ids(&first.rows)), "nothing was sent yet");
    store.sent(READER, first.rows.version).await.unwrap();
    store.sent(READER, 1).await.unwrap();
    assert_eq!(store.unsent(READER, 1000).await.unwrap().changes, 0, "and a late confirmation turns nothing back");
    assert_eq!(store.waiting(READER).await.unwrap(), Waiting::default());
    store.commit(&of_findings(&[finding(3)])).await.unwrap();
    let next = store.unsent(READER, 1000).await.unwrap();
    assert_eq!(ids(&next.rows), [finding(3).id()]);
    assert!(next.rows.version > first.rows.version && next.rows.changes.is_empty());
}

#[tokio::test]
async fn however_the_batches_are_cut_everything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 50, 1000).await;
    store.send_all(READER).await.unwrap();
    for number in 0..20 {
        let decisions = [decision(&format!("d{number}"), DecisionState::Pending)];
        let findings = [finding(number)];
        store.commit(&Batch { findings: &findings, ..of_decisions(&decisions) }).await.unwrap();
    }
    let all: Vec<String> = (0..20).map(|number| format!("d{number}")).collect();
    store.set_state(&all, DecisionState::Active, "", NOW).await.unwrap();
    let start = store.unsent(READER, 1000).await.unwrap().rows.changes[0].seq - 2;
    for limit in [1, 2, 3, 7, 1000] {
        sqlx::query("UPDATE outbox_readers SET seq = ?").bind(start).execute(&store.writer).await.unwrap();
        let batches = drain(&store, limit).await;
        let mut last = 0;
        let (mut findings, mut changes) = (std::collections::BTreeSet::new(), vec![]);
        for batch in &batches {
            assert!(batch.rows.version > last);
            last = batch.rows.version;
            findings.extend(ids(&batch.rows).into_iter().map(str::to_owned));
            changes.extend(batch.rows.changes.iter().map(|change| change.seq));
            for change in &batch.rows.changes {
                assert!(batch.rows.decisions.iter().any(|one| one.id == change.decision_id), "with its decision");
            }
        }
        assert_eq!((findings.len(), changes.len()), (20, 40), "{limit} at once");
        assert!(changes.is_sorted_by(|a, b| a < b), "each change once, in order");
    }
}

#[tokio::test]
async fn a_new_reader_gets_each_finding_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 50, 1000).await;
    store.commit(&of_findings(&[finding(1), finding(2), finding(3)])).await.unwrap();
    sqlx::query("DELETE FROM outbox WHERE id = ?").bind(finding(2).id()).execute(&store.writer).await.unwrap();
    store.send_all(READER).await.unwrap();
    let batches = drain(&store, 1).await;
    let read: Vec<&str> = batches.iter().flat_map(|batch| ids(&batch.rows)).collect();
    assert_eq!(
        read,
        [finding(1).id(), finding(3).id(), finding(2).id()],
        "those that the outbox has still, then the rest"
    );
}

#[tokio::test]
async fn long_rows_go_in_smaller_batches() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 50, 1000).await;
    store.send_all(READER).await.unwrap();
    let findings: Vec<Finding> = (0..600).map(|n| Finding { uri: "u".repeat(60_000), ..finding(n) }).collect();
    store.commit(&of_findings(&findings)).await.unwrap();
    let first = store.unsent(READER, 1000).await.unwrap();
    assert!((280..=540).contains(&first.changes) && !first.is_all, "{}", first.changes);
    let batches = drain(&store, 1000).await;
    assert_eq!(batches.iter().map(|batch| batch.rows.findings.len()).sum::<usize>(), 600);
    let (last, before) = batches.split_last().unwrap();
    assert!(last.is_all && before.iter().all(|batch| !batch.is_all));
}

#[tokio::test]
async fn what_was_deleted_meanwhile_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 50, 1000).await;
    store.send_all(READER).await.unwrap();
    store.commit(&of_findings(&[finding(1), finding(2)])).await.unwrap();
    sqlx::query("DELETE FROM findings WHERE id = ?").bind(finding(1).id()).execute(&store.writer).await.unwrap();
    let batch = store.unsent(READER, 1000).await.unwrap();
    assert_eq!((ids(&batch.rows), batch.changes), (vec![&*finding(2).id()], 2));
}

#[tokio::test]
async fn what_is_old_by_its_log_is_kept_until_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 5, 1000).await;
    store.send_all(READER).await.unwrap();
    let time = Timestamp(NOW.0 - 40 * 86_400_000);
    let old = [Finding { time, ..finding(1) }];
    store.commit(&of_findings(&old)).await.unwrap();
    store.prune(NOW).await.unwrap();
    let batch = store.unsent(READER, 1000).await.unwrap();
    assert_eq!(ids(&batch.rows), [finding(1).id()], "another store keeps it as long as it likes");
    store.sent(READER, batch.rows.version).await.unwrap();
    store.prune(NOW).await.unwrap();
    assert_eq!(count(&store, "findings").await, 0);
}

#[tokio::test]
async fn other_stores_get_pseudonyms_also_of_bans_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { addresses: Addresses::Pseudonyms, ..StoreConfig::default() };
    let store = Sqlite::open(dir.path(), &config).await.unwrap();
    store.send_all(READER).await.unwrap();
    let live = Decision { note: "blocking 203.0.113.7".into(), ..decision("live", DecisionState::Active) };
    let gone = decision("gone", DecisionState::Active);
    store.commit(&of_decisions(&[live, gone])).await.unwrap();
    store.set_state(&["gone".into()], DecisionState::Lifted, "203.0.113.7 was let go", NOW).await.unwrap();
    store.expire(NOW.plus_secs(1)).await.unwrap();
    let hidden: i64 = sqlx::query_scalar("SELECT count(*) FROM decisions WHERE pseudonym = 2")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    assert_eq!(hidden, 1);
    let batch = store.unsent(READER, 1000).await.unwrap();
    let kept = store.as_kept("203.0.113.7/32".parse().unwrap());
    assert_eq!(batch.rows.decisions.iter().map(|one| one.target).collect::<Vec<_>>(), [kept, kept]);
    let said = format!("{:?}", batch.rows);
    assert!(!said.contains("203.0.113.7"), "{said}");
    assert_eq!(store.live_decisions(NOW).await.unwrap()[0].target, "203.0.113.7/32".parse().unwrap());
}

#[tokio::test]
async fn who_is_to_be_forgotten_is_told_with_the_rows_that_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { database_url: "postgres://a:b@c/d".to_owned().into(), ..StoreConfig::default() };
    let store = Sqlite::open(dir.path(), &config).await.unwrap();
    store.send_all(READER).await.unwrap();
    store.commit(&of_findings(&[finding(1)])).await.unwrap();
    store.forget_clients("203.0.113.0/24".parse().unwrap()).await.unwrap();
    store.commit(&of_findings(&[finding(2)])).await.unwrap();
    let batch = store.unsent(READER, 1000).await.unwrap();
    assert_eq!(batch.forgotten, ["203.0.113.0/24".parse().unwrap()]);
    assert_eq!(ids(&batch.rows), [finding(2).id()], "what is forgotten is not sent any more");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_other_here() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 50, 1000).await;
    store.send_all(READER).await.unwrap();
    store.commit(&of_findings(&[finding(1), finding(2)])).await.unwrap();
    let broken = sqlx::query("UPDATE findings SET rule_ids = '[' WHERE id = ?").bind(finding(1).id());
    broken.execute(&store.writer).await.unwrap();
    assert_eq!(ids(&store.unsent(READER, 1000).await.unwrap().rows), [finding(2).id()]);
}

#[tokio::test]
async fn who_has_nothing_gets_what_is_kept_also_of_before_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 5, 1000).await;
    assert!(!store.has_reader(READER).await.unwrap());
    let findings: Vec<Finding> = (0..40).map(finding).collect();
    let (decisions, calls) =
        ([decision("new", DecisionState::Active), decision("old", DecisionState::Active)], [call()]);
    store.commit(&Batch { findings: &findings, calls: &calls, ..of_decisions(&decisions) }).await.unwrap();
    // From before changes were kept.
    sqlx::query("DELETE FROM decision_changes WHERE decision_id = 'old'").execute(&store.writer).await.unwrap();
    assert!(store.prune(NOW).await.unwrap() > 30, "nobody reads: the outbox is cut to its bound");

    store.send_all(READER).await.unwrap();
    assert!(store.has_reader(READER).await.unwrap());
    let sent = drain(&store, 9).await;
    let found: std::collections::BTreeSet<&str> = sent.iter().flat_map(|batch| ids(&batch.rows)).collect();
    assert_eq!(found.len(), 40);
    for id in ["new", "old"] {
        assert!(sent.iter().any(|batch| batch.rows.decisions.iter().any(|one| one.id == id)), "{id}");
    }
    assert_eq!(sent.iter().map(|batch| batch.rows.changes.len()).sum::<usize>(), 1);
    assert!(sent.iter().any(|batch| !batch.rows.calls.is_empty()));

    // Another store takes its place.
    store.send_all(READER).await.unwrap();
    assert!(drain(&store, 1000).await.iter().map(|batch| batch.rows.findings.len()).sum::<usize>() >= 40);
    store.drop_reader(READER).await.unwrap();
    assert!(!store.has_reader(READER).await.unwrap());
}

#[tokio::test]
async fn what_waits_is_not_pruned_and_beyond_the_bound_findings_go_first_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 5, 100).await;
    store.send_all(READER).await.unwrap();
    let findings: Vec<Finding> = (0..60).map(finding).collect();
    store.commit(&of_findings(&findings)).await.unwrap();
    assert_eq!(store.prune(NOW).await.unwrap(), 0);
    assert_eq!(store.waiting(READER).await.unwrap().changes, 60, "nobody but the reader makes them go");

    let more: Vec<Finding> = (60..90).map(finding).collect();
    let decisions: Vec<Decision> = (0..30).map(|n| decision(&format!("d{n}"), DecisionState::Active)).collect();
    store.commit(&Batch { findings: &more, ..of_decisions(&decisions) }).await.unwrap();
    assert_eq!(store.prune(NOW).await.unwrap(), 20);
    assert_eq!(store.waiting(READER).await.unwrap(), Waiting { changes: 100, dropped: 20, oldest: Some(NOW) });
    let batch = store.unsent(READER, 1000).await.unwrap();
    let mut kept: Vec<String> = (20..90).map(|number| finding(number).id()).collect();
    kept.sort();
    assert_eq!(ids(&batch.rows), kept, "the oldest go");
    assert_eq!((batch.rows.decisions.len(), batch.rows.changes.len()), (30, 30));

    // Decisions alone are more than the bound: they stay.
    let decisions: Vec<Decision> = (30..200).map(|n| decision(&format!("d{n}"), DecisionState::Active)).collect();
    store.commit(&of_decisions(&decisions)).await.unwrap();
    store.prune(NOW).await.unwrap();
    assert_eq!(store.waiting(READER).await.unwrap(), Waiting { changes: 200, dropped: 90, oldest: Some(NOW) });
    let sent = drain(&store, 64).await;
    assert_eq!(sent.iter().map(|batch| batch.rows.changes.len()).sum::<usize>(), 200);
    assert!(sent.iter().all(|batch| batch.rows.findings.is_empty()));
    // Who has read everything lets it go.
    assert_eq!(store.prune(NOW).await.unwrap(), 195);
    assert_eq!(store.waiting(READER).await.unwrap(), Waiting { changes: 0, dropped: 90, oldest: None });
}

#[tokio::test]
async fn the_slowest_reader_is_waited_for_and_only_who_missed_something_has_it_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 5, 50).await;
    store.send_all("slow").await.unwrap();
    store.send_all(READER).await.unwrap();
    let findings: Vec<Finding> = (0..40).map(finding).collect();
    store.commit(&of_findings(&findings)).await.unwrap();
    drain(&store, 1000).await;
    assert_eq!(store.prune(NOW).await.unwrap(), 0);
    let more: Vec<Finding> = (40..70).map(finding).collect();
    store.commit(&of_findings(&more)).await.unwrap();
    assert_eq!(store.prune(NOW).await.unwrap(), 20);
    assert_eq!((store.waiting("slow").await.unwrap().dropped, store.waiting(READER).await.unwrap().dropped), (20, 0));
}

#[tokio::test]
async fn a_clock_that_was_set_back_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 50, 1000).await;
    store.send_all(READER).await.unwrap();
    let decisions = [decision("d", DecisionState::Active)];
    store.commit(&Batch { findings: &[finding(1)], ..of_decisions(&decisions) }).await.unwrap();
    drain(&store, 1000).await;
    for back in [Timestamp(NOW.0 - 10 * 365 * 86_400_000), Timestamp(0), Timestamp(-86_400_000)] {
        assert_eq!((store.expire(back).await.unwrap(), store.prune(back).await.unwrap()), (0, 0), "{back:?}");
    }
    let back = Timestamp(NOW.0 - 10 * 365 * 86_400_000);
    store
        .commit(&Batch { at: back, findings: &[Finding { time: back, ..finding(2) }], ..Batch::default() })
        .await
        .unwrap();
    store.set_state(&["d".into()], DecisionState::Lifted, "", back).await.unwrap();
    let sent = drain(&store, 1000).await;
    assert_eq!(sent.len(), 1);
    let rows = &sent[0].rows;
    assert_eq!((rows.findings.len(), rows.decisions.len(), rows.changes.len()), (1, 1, 1));
    assert!(rows.version > rows.changes[0].seq - 1, "numbers do not come from the clock");
}

#[tokio::test]
async fn what_waits_is_found_without_reading_what_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let plan = query_plan(
        &store,
        "SELECT seq, kind, id FROM outbox WHERE seq > 5 UNION ALL \
         SELECT seq, 'decision', decision_id FROM decision_changes WHERE seq > 5 ORDER BY seq LIMIT 9",
    )
    .await;
    assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN"), "{plan}");
}
