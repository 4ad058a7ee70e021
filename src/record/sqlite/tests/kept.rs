//! Counts, cases, rows of other stores, forgetting, folding, pseudonyms, and databases from before.

use std::collections::BTreeMap;

use sqlx::{Connection, Executor, Row};

use super::*;
use crate::record::{Addresses, DecisionChange, Keep, Rows, Store};

/// A finding of 203.0.113.`client`, so many seconds after `NOW`.
fn by(client: u8, offset: u64, secs: u64) -> Finding {
    let source_ip = std::net::IpAddr::from([203, 0, 113, client]);
    let client = Some(ClientKey::of(source_ip, 64));
    Finding { source_ip: Some(source_ip), client, time: NOW.plus_secs(secs), ..finding(offset) }
}

/// What is counted: dimension, span, key, findings, blocks, analysed.
async fn counts(store: &Sqlite) -> BTreeMap<(String, String, i64, String), [i64; 3]> {
    let rows = sqlx::query("SELECT * FROM rollups").fetch_all(&store.readers).await.unwrap();
    rows.iter()
        .map(|row| ((row.get(0), row.get(1), row.get(2), row.get(3)), [row.get(4), row.get(5), row.get(6)]))
        .collect()
}

/// The sum of each dimension.
async fn sums(store: &Sqlite) -> BTreeMap<String, [i64; 3]> {
    let mut sums = BTreeMap::new();
    for ((dimension, ..), counts) in counts(store).await {
        let sum: &mut [i64; 3] = sums.entry(dimension).or_default();
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

async fn cases(store: &Sqlite) -> Vec<(u64, u64)> {
    let mut rows = store.findings(None, 99).await.unwrap();
    rows.sort_by_key(|row| row.offset);
    let first = |case: &str| rows.iter().find(|row| row.id == case).map_or(u64::MAX, |row| row.offset);
    rows.iter().map(|row| (row.offset, first(&row.case_id))).collect()
}

fn rows_of(store: &Sqlite, findings: &[Finding], version: i64) -> Rows {
    let findings = findings.iter().map(|finding| store.policy.row(finding, NOW)).collect();
    Rows { version, findings, ..Rows::default() }
}

#[tokio::test]
async fn what_is_recorded_is_counted_once_whatever_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let weak = Finding { flagged: false, action: Action::None, ..by(9, 90, 0) };
    let findings = [by(7, 1, 0), by(7, 2, 10), by(8, 3, 20), by(7, 1, 0), weak];
    let batch = of_findings(&findings);
    assert_eq!(store.commit(&batch).await.unwrap().new_findings, 4);
    let before = counts(&store).await;
    let all = &before[&("all".into(), "hour".into(), NOW.0, String::new())];
    assert_eq!(*all, [3, 3, 1]);
    assert_eq!(before[&("client".into(), "hour".into(), NOW.0, "203.0.113.7".into())], [2, 2, 0]);
    assert_eq!(before[&("network".into(), "hour".into(), NOW.0, "203.0.113.0/24".into())], [3, 3, 1]);
    assert_eq!(before[&("path".into(), "hour".into(), NOW.0, "/".into())], [3, 3, 1]);
    store.commit(&batch).await.unwrap();
    store.commit(&of_findings(&findings[1..2])).await.unwrap();
    assert_eq!(counts(&store).await, before);
    let seen: (i64, i64, i64) =
        sqlx::query_as("SELECT findings, last_seen - first_seen, max_score FROM clients WHERE client = '203.0.113.7'")
            .fetch_one(&store.readers)
            .await
            .unwrap();
    assert_eq!(seen, (2, 10_000, 9));
    assert_eq!(count(&store, "clients").await, 2, "who was but analysed was never found");

    let verdict =
        Verdict { class: VerdictClass::Benign, confidence: 9, decided_by: DecidedBy::Tier1, reasoning: String::new() };
    let judged = Judgement { finding_id: by(7, 1, 0).id(), action: Action::None, verdict };
    for _ in 0..2 {
        store.commit(&Batch { at: NOW, judgements: std::slice::from_ref(&judged), ..Batch::default() }).await.unwrap();
        let after = counts(&store).await;
        assert_eq!(after[&("all".into(), "hour".into(), NOW.0, String::new())], [3, 2, 1]);
        assert_eq!(after[&("decided_by".into(), "hour".into(), NOW.0, "tier1".into())], [1, 0, 0]);
    }
}

#[tokio::test]
async fn findings_of_a_client_without_a_pause_of_an_hour_are_one_case() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let findings = [by(7, 1, 0), by(8, 2, 0), by(7, 3, 3600), by(7, 4, 7201), by(7, 5, 7300)];
    store.commit(&of_findings(&findings)).await.unwrap();
    let wanted = [(1, 1), (2, 2), (3, 1), (4, 4), (5, 4)];
    assert_eq!(cases(&store).await, wanted);
    // Another batch, also of a process that knows no case by heart.
    store.commit(&of_findings(&[by(7, 6, 10_000)])).await.unwrap();
    store.cases().clear();
    store.commit(&of_findings(&[by(7, 7, 13_000), by(8, 8, 3601), by(7, 9, 100)])).await.unwrap();
    assert_eq!(cases(&store).await[5..], [(6, 4), (7, 4), (8, 8), (9, 1)]);
}

#[tokio::test]
async fn rows_of_another_store_are_taken_once_and_told_to_nobody() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, other) = (open(dir.path()).await.unwrap(), open(other.path()).await.unwrap());
    let active = decision("d", DecisionState::Active);
    other
        .commit(&Batch {
            at: NOW,
            decisions: std::slice::from_ref(&active),
            findings: &[by(7, 1, 0)],
            ..Batch::default()
        })
        .await
        .unwrap();
    let mut rows = rows_of(&other, &[by(7, 1, 0), by(8, 2, 0)], 10);
    rows.decisions = vec![active.clone()];
    let (seq, decision_id, note) = (3, "d".to_owned(), "by rules".to_owned());
    rows.changes = vec![DecisionChange { seq, decision_id, state: DecisionState::Pending, at: NOW, note }];
    assert_eq!(store.put("host", &rows, NOW).await.unwrap(), 2);
    let counted = counts(&store).await;
    assert_eq!(store.put("host", &rows, NOW).await.unwrap(), 0);
    assert_eq!((counts(&store).await, store.changes(0, 99).await.unwrap()), (counted, vec![]));
    assert_eq!(ids(&store.live_decisions(NOW).await.unwrap()), ["d"]);
    assert_eq!(count(&store, "decision_changes").await, 1);

    let changed = |uri: &str, version| {
        let mut rows = rows_of(&store, &[Finding { uri: uri.into(), action: Action::Monitor, ..by(7, 1, 0) }], version);
        rows.decisions = vec![Decision { state: DecisionState::Lifted, ..active.clone() }];
        rows
    };
    let uri = async || store.finding(&by(7, 1, 0).id()).await.unwrap().unwrap().uri;
    store.put("host", &changed("/older", 9), NOW).await.unwrap();
    assert_eq!((uri().await, store.live_decisions(NOW).await.unwrap().len()), (finding(1).uri, 1));
    store.put("host", &changed("/newer", 11), NOW).await.unwrap();
    assert_eq!((uri().await, store.live_decisions(NOW).await.unwrap().len()), ("/newer".to_owned(), 0));
    assert_eq!(sums(&store).await["all"], [2, 1, 0]);
    // What was recorded here gives way to nobody.
    store.commit(&of_findings(&[by(9, 3, 0)])).await.unwrap();
    store
        .put("host", &rows_of(&store, &[Finding { uri: "/theirs".into(), ..by(9, 3, 0) }], i64::MAX), NOW)
        .await
        .unwrap();
    assert_eq!(store.finding(&by(9, 3, 0).id()).await.unwrap().unwrap().uri, finding(3).uri);
}

#[tokio::test]
async fn who_is_forgotten_is_in_no_table_and_the_sums_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let of = |target: &str, id: &str, state| Decision { target: target.parse().unwrap(), ..decision(id, state) };
    let decisions = [
        of("203.0.113.7/32", "ended", DecisionState::Expired),
        of("203.0.113.7/32", "live", DecisionState::Active),
        of("203.0.113.77/32", "other", DecisionState::Expired),
        of("203.0.113.0/24", "network", DecisionState::Expired),
    ];
    let findings = [by(7, 1, 0), by(7, 2, 0), by(77, 3, 0), Finding { client: None, ..by(7, 4, 0) }];
    let before = {
        store.commit(&Batch { at: NOW, findings: &findings, decisions: &decisions, ..Batch::default() }).await.unwrap();
        sums(&store).await
    };
    let forgotten = store.forget_clients("203.0.113.7/32".parse().unwrap()).await.unwrap();
    assert_eq!((forgotten.clients.len(), forgotten.live.len()), (1, 1));
    assert_eq!(store.findings(None, 9).await.unwrap().iter().map(|row| row.offset).collect::<Vec<_>>(), [3]);
    assert_eq!(sums(&store).await, before);
    let left = store.decisions(DecisionFilter::default(), 9).await.unwrap();
    assert_eq!(
        left.iter().map(|one| one.id.as_str()).collect::<std::collections::BTreeSet<_>>(),
        ["live", "network", "other"].into()
    );
    assert!(!counts(&store).await.keys().any(|(.., key)| key == "203.0.113.7"));
    assert_eq!(count(&store, "clients").await, 1);
    assert_eq!(store.forget("203.0.113.7/32".parse().unwrap()).await.unwrap(), 0);
    assert_eq!(
        store.forget("203.0.112.0/23".parse().unwrap()).await.unwrap(),
        6,
        "a finding, a client, its counts, the network's, two decisions"
    );
}

#[tokio::test]
async fn who_is_forgotten_is_in_no_kept_analysis_however_the_address_stands_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let texts = ["from 203.0.113.7.", "http://203.0.113.7:8080/", "2001:db8::, twice", "203.0.113.77", "1:203"];
    for (n, text) in texts.iter().enumerate() {
        let found = serde_json::json!({ "text": text }).to_string();
        store.keep_session(&crate::record::tests::session(&n.to_string(), NOW), Some(&found), None).await.unwrap();
    }
    for (network, left) in [("203.0.113.7/32", 3), ("2001:db8::/64", 2)] {
        store.forget_clients(network.parse().unwrap()).await.unwrap();
        assert_eq!(count(&store, "analyses").await, left, "{network}");
    }
}

/// Whether any file of a state directory has these bytes.
fn holds(dir: &Path, text: &str) -> bool {
    let files = fs::read_dir(dir).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| memchr::memmem::find(&bytes, text.as_bytes()).is_some())
}

#[tokio::test]
async fn pseudonyms_stand_in_the_database_when_bans_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { addresses: Addresses::Pseudonyms, ..StoreConfig::default() };
    let store = Sqlite::open(dir.path(), &config).await.unwrap();
    let mode = fs::metadata(dir.path().join("pseudonyms.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let quoting = Finding { uri: "/?from=203.0.113.7".into(), ..finding(1) };
    let mut ban = decision("d", DecisionState::Active);
    (ban.ground.reason, ban.note) = ("203.0.113.7 did it".into(), "of 203.0.113.7".into());
    let findings = [quoting];
    store.commit(&Batch { at: NOW, findings: &findings, decisions: &[ban], ..Batch::default() }).await.unwrap();
    assert_eq!(
        store.live_decisions(NOW).await.unwrap()[0].target,
        "203.0.113.7/32".parse().unwrap(),
        "who is shut out is known"
    );
    let client = findings[0].client;
    assert_eq!(store.findings(client, 9).await.unwrap().len(), 1, "who asks for the address finds it");
    // Lifted, but a bouncer has not heard of it.
    store.bouncer_add("one", b"hash", NOW).await.unwrap();
    store.set_state(&["d".into()], DecisionState::Lifted, "let 203.0.113.7 go", NOW).await.unwrap();
    store.expire(NOW.plus_secs(1)).await.unwrap();
    assert_eq!(store.decision("d").await.unwrap().unwrap().target, "203.0.113.7/32".parse().unwrap());
    store.bouncer_pulled("one", Some(store.last_change().await.unwrap()), "", NOW).await.unwrap();
    store.expire(NOW.plus_secs(2)).await.unwrap();
    let kept = store.as_kept("203.0.113.7/32".parse().unwrap());
    assert_eq!(store.decision("d").await.unwrap().unwrap().target, kept);
    assert_eq!(store.offences(Timestamp(0), false).await.unwrap().len(), 0);
    store.close().await;
    assert!(!holds(dir.path(), "203.0.113.7"));

    let again = Sqlite::open(dir.path(), &config).await.unwrap();
    assert_eq!(again.as_kept("203.0.113.7/32".parse().unwrap()), kept, "the key stays the same");
    assert_eq!(again.forget("203.0.113.7/32".parse().unwrap()).await.unwrap(), 4, "finding, client, count, ban");
}

#[tokio::test]
async fn where_nothing_is_kept_findings_are_counted_once_and_no_text_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { record: Keep::Nothing, ..StoreConfig::default() };
    let store = Sqlite::open(dir.path(), &config).await.unwrap();
    let findings = [1, 2].map(|n| Finding { uri: "/canary".into(), user_agent: "canary".into(), ..by(7, n, 0) });
    let batch = of_findings(&findings);
    for new in [2, 0] {
        assert_eq!(store.commit(&batch).await.unwrap().new_findings, new);
    }
    let marks = [mark(1, 10)];
    let checkpoint = Some(Checkpoint { marks: &marks, state: b"" });
    let third = [by(7, 2, 0), by(7, 3, 0)];
    store.commit(&Batch { checkpoint, ..of_findings(&third) }).await.unwrap();
    assert_eq!(sums(&store).await["all"], [3, 3, 0]);
    assert!(!sums(&store).await.contains_key("path"));
    assert_eq!(
        (count(&store, "findings").await, count(&store, "counted").await),
        (0, 1),
        "what is read again after a crash"
    );
    store.commit(&of_findings(&third[1..])).await.unwrap();
    assert_eq!(sums(&store).await["all"], [3, 3, 0]);
    assert!(!holds(dir.path(), "canary"), "nor does the log");
}

#[tokio::test]
async fn old_counts_are_folded_and_nothing_of_the_sums_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let fill = "WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 6999) \
         INSERT INTO rollups SELECT 'path', 'hour', ?, printf('/%05d', n), 1 + (n % 7 = 0), n % 2, 0 FROM n";
    for hour in 0..3 {
        sqlx::query(fill).bind(NOW.0 + hour * 3_600_000).execute(&store.writer).await.unwrap();
    }
    let before = sums(&store).await;
    let of =
        async |span: &'static str| counts(&store).await.into_iter().filter(|((_, kept, ..), _)| kept == span).count();
    // The hour that runs is left alone.
    store.prune(NOW.plus_secs(2 * 3600 + 60)).await.unwrap();
    assert_eq!((of("hour").await, sums(&store).await), (2 * 1001 + 7000, before.clone()));
    let kept = counts(&store).await;
    let hour = |key: &str| kept.get(&("path".into(), "hour".into(), NOW.0, key.into()));
    assert!(hour("/00007").is_some() && hour("/00008").is_none(), "the largest are kept");
    store.prune(NOW.plus_secs(2 * 86_400)).await.unwrap();
    assert_eq!((of("day").await, of("hour").await > 0), (0, true), "its day is not over for two days");
    store.prune(NOW.plus_secs(3 * 86_400)).await.unwrap();
    assert_eq!((of("day").await, of("hour").await, sums(&store).await), (1001, 0, before.clone()));
    // What comes late joins its day.
    sqlx::query("INSERT INTO rollups VALUES ('path', 'hour', ?, '/00007', 5, 0, 0)")
        .bind(NOW.0)
        .execute(&store.writer)
        .await
        .unwrap();
    store.prune(NOW.plus_secs(3 * 86_400)).await.unwrap();
    assert_eq!((of("day").await, sums(&store).await["path"][0]), (1001, before["path"][0] + 5));
    assert_eq!(store.prune(NOW.plus_secs(731 * 86_400)).await.unwrap(), 1001);
}

#[tokio::test]
async fn what_was_but_analysed_goes_sooner_and_decisions_stay_as_long_as_offences_count() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { keep_days: 20, keep_analysed_days: 5, ..StoreConfig::default() };
    let store = Sqlite::open(dir.path(), &config).await.unwrap();
    let findings = [by(7, 1, 0), Finding { flagged: false, ..by(7, 2, 0) }];
    let decisions = [decision("d", DecisionState::Expired)];
    store.commit(&Batch { at: NOW, findings: &findings, decisions: &decisions, ..Batch::default() }).await.unwrap();
    for (day, left) in [(5, (2, 1)), (6, (1, 1)), (21, (0, 1)), (31, (0, 0))] {
        store.prune(NOW.plus_secs(day * 86_400)).await.unwrap();
        assert_eq!((count(&store, "findings").await, count(&store, "decisions").await), left, "day {day}");
    }
}

#[tokio::test]
async fn a_database_of_the_release_before_opens_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("palisade.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut old = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let before = sqlx::migrate::Migrator {
        migrations: crate::record::migrations::SQLITE.iter().take(4).cloned().collect::<Vec<_>>().into(),
        ..sqlx::migrate::Migrator::DEFAULT
    };
    before.run(&mut old).await.unwrap();
    let at = NOW.0;
    for sql in [
        format!(
            "INSERT INTO findings VALUES ('f', 'log', 1, 2, 3, {at}, '203.0.113.7', '203.0.113.7', 'GET', '/x', 200, 'a', 'r', 'sqli', 9, '[\"r\"]', '[]', 'block', 'malicious', 9, 'rules', 'why', {at})"
        ),
        format!(
            "INSERT INTO decisions (id, target, proposer, score, reason, created_at, expires_at, simulated, offences, state, note, changed_at) VALUES ('d', '203.0.113.7', 'rules', 9, '', {at}, {}, 0, 0, 'active', '', {at})",
            at + 9_000
        ),
        "INSERT INTO marks VALUES (1, x'2f', 1, 2, 3, 4, 5, 6)".into(),
        "INSERT INTO snapshot VALUES (1, 1, x'00')".into(),
        "INSERT INTO allow VALUES ('192.0.2.0/24', 'n', 1)".into(),
        format!("INSERT INTO model_calls VALUES (1, {at}, 's', 'm', 'f', 'answered', 1, 1, 1, 1, 1, 0.5)"),
        format!("INSERT INTO corrections VALUES ('f', 'benign', 'v', {at})"),
        "INSERT INTO bouncers VALUES ('b', x'01', 1, NULL, '', 0)".into(),
    ] {
        old.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
    }
    old.close().await.unwrap();
    let store = open(dir.path()).await.unwrap();
    assert_eq!(store.damaged(), None);
    let row = &store.findings(None, 9).await.unwrap()[0];
    assert_eq!((row.flagged, row.is_system_url, row.case_id.as_str()), (true, false, ""));
    assert_eq!(ids(&store.live_decisions(NOW).await.unwrap()), ["d"]);
    assert_eq!((store.marks().await.unwrap().len(), store.allow_list().await.unwrap().len()), (1, 1));
    assert_eq!((store.corrections().await.unwrap().len(), store.bouncers().await.unwrap().len()), (1, 1));
    assert_eq!(store.spent(Timestamp(0)).await.unwrap()[0].calls, 1);
    // It goes on: a case of its own, and a ban that ends.
    store.commit(&of_findings(&[by(7, 9, 60)])).await.unwrap();
    assert_eq!(store.findings(None, 1).await.unwrap()[0].case_id, by(7, 9, 60).id());
    assert_eq!(store.expire(NOW.plus_secs(10)).await.unwrap(), 1);
    store.prune(NOW.plus_secs(40 * 86_400)).await.unwrap();
    assert_eq!((count(&store, "findings").await, count(&store, "decisions").await), (0, 0));
}

fn ids(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().map(|decision| decision.id.as_str()).collect()
}
