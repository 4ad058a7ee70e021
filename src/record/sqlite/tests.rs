//! What is SQLite's and the file system's own; what every store must do is in `contract`.

mod bad_states;
mod bouncers;
mod contract;
mod history;
mod kept;
mod kill;
mod outbox;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::event::*;

pub(in crate::record) use crate::event::samples::NOW;

pub(super) async fn open(state_dir: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open(state_dir, &StoreConfig { keep_days: 30, max_outbox_rows: 50, ..StoreConfig::default() }).await
}

pub(in crate::record) fn finding(offset: u64) -> Finding {
    let source_ip = "203.0.113.7".parse().unwrap();
    Finding {
        file: "/var/log/nginx/access.log".into(),
        generation: u64::MAX - 3,
        offset,
        line_number: Some(offset.wrapping_add(1)),
        source_ip: Some(source_ip),
        client: Some(ClientKey::of(source_ip, 64)),
        uri: "/?id=1%27%20OR%201=1--".into(),
        user_agent: "sqlmap/1.8".into(),
        rule_ids: vec!["942-sqli-tautology".into(), "913-scanner-ua".into()],
        evidence: vec![Evidence {
            rule_id: "942-sqli-tautology".into(),
            target: "args".into(),
            matched: "1' OR 1=1--".into(),
            score: 9,
        }],
        verdict: Verdict { reasoning: "a certain rule hit".into(), ..samples::finding().verdict },
        ..samples::finding()
    }
}

pub(in crate::record) fn decision(id: &str, state: DecisionState) -> Decision {
    Decision {
        id: id.into(),
        ground: Ground {
            finding_id: Some("f1".into()),
            category: Some(Category::Sqli),
            score: 9,
            reason: "SQL injection in ?id=".into(),
            via_proxy: true,
            was_served: true,
        },
        state,
        offences: 2,
        ..samples::decision()
    }
}

pub(super) fn mark(generation: u64, offset: u64) -> FileMark {
    FileMark {
        path: "/var/log/nginx/access.log".into(),
        device: u64::MAX,
        inode: 1 << 63,
        generation,
        offset,
        head_len: 256,
        head_hash: 0xdead_beef_dead_beef,
    }
}

pub(super) fn of_findings(findings: &[Finding]) -> Batch<'_> {
    Batch { at: NOW, findings, ..Batch::default() }
}

async fn count(store: &Sqlite, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&store.readers).await.unwrap()
}

async fn query_plan(store: &Sqlite, sql: &'static str) -> String {
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(&store.readers)
        .await
        .unwrap();
    rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn an_empty_directory_becomes_a_database_that_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("lib/palisade");
    let store = open(&state_dir).await.unwrap();
    assert_eq!(store.damaged(), None);
    for (pragma, wanted) in [("PRAGMA journal_mode", "wal"), ("PRAGMA synchronous", "1"), ("PRAGMA auto_vacuum", "2")] {
        use sqlx::{Row, ValueRef};
        let row = sqlx::query(pragma).fetch_one(&store.writer).await.unwrap();
        let is_text = row.try_get_raw(0).unwrap().type_info().to_string() == "TEXT";
        let value = if is_text { row.get::<String, _>(0) } else { row.get::<i64, _>(0).to_string() };
        assert_eq!(value, wanted, "{pragma}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state_dir), 0o700);
    assert_eq!(mode(&state_dir.join("palisade.db")), 0o600, "log text is for palisade's user alone");
    store.commit(&of_findings(&[finding(7)])).await.unwrap();
    assert_eq!(mode(&state_dir.join("palisade.db-wal")), 0o600);
    store.close().await;
    assert!(!state_dir.join("palisade.db-wal").exists(), "a clean stop leaves one file");

    let again = open(&state_dir).await.unwrap();
    assert_eq!(again.findings(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_committed_survives_a_stop_without_closing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    store.commit(&of_findings(&[finding(7)])).await.unwrap();
    drop(store);
    let again = open(dir.path()).await.unwrap();
    assert_eq!(again.findings(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn pruning_gives_the_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let findings: Vec<Finding> = (0..6000).map(finding).collect();
    store.commit(&of_findings(&findings)).await.unwrap();
    let pages = async || sqlx::query_scalar::<_, i64>("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    let before = pages().await;
    store.prune(NOW.plus_secs(31 * 86_400)).await.unwrap();
    let after = pages().await;
    assert!(after * 10 < before, "{before} pages before, {after} after");
}

#[tokio::test]
async fn questions_are_answered_from_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    for (sql, index) in [
        ("SELECT * FROM findings ORDER BY time DESC, rowid DESC LIMIT 9", "findings_by_time"),
        ("SELECT * FROM findings WHERE client = 'c' ORDER BY time DESC, rowid DESC LIMIT 9", "findings_by_client"),
        ("SELECT rowid FROM findings WHERE time < 1", "findings_by_time"),
        ("SELECT * FROM decisions WHERE true ORDER BY created_at DESC, rowid DESC LIMIT 9", "decisions_by_time"),
        ("SELECT * FROM decisions WHERE state = 'active' AND expires_at > 1", "decisions_by_state"),
        (
            "SELECT * FROM decisions WHERE true AND target = 't' ORDER BY created_at DESC, rowid DESC",
            "decisions_by_target",
        ),
    ] {
        let plan = query_plan(&store, sql).await;
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_on_while_batches_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(dir.path()).await.unwrap());
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for batch in 0..50u64 {
                let findings: Vec<Finding> = (batch * 20..batch * 20 + 20).map(finding).collect();
                store.commit(&of_findings(&findings)).await.unwrap();
                store.set_state(&["d".into()], DecisionState::Active, "", NOW).await.unwrap();
                store.expire(NOW).await.unwrap();
                store.allow_add("192.0.2.0/24".parse().unwrap(), "", NOW).await.unwrap();
                store.prune(NOW).await.unwrap();
            }
        }
    });
    let reading: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let deadline = Instant::now() + Duration::from_secs(180);
                let mut last = 0;
                while last < 1000 {
                    assert!(Instant::now() < deadline, "only {last} findings are seen");
                    let seen = store.findings(None, 2000).await.unwrap().len();
                    assert_eq!(seen % 20, 0, "a reader sees whole batches");
                    assert!(seen >= last, "nothing vanishes");
                    last = seen;
                }
            })
        })
        .collect();
    writing.await.unwrap();
    for reader in reading {
        reader.await.unwrap();
    }
}
