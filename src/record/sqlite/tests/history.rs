//! What only SQLite can show: plans of questions, and reading beside a daemon.

use super::super::{insert, ledger};
use super::*;
use crate::record::history::tests::{self as stories, past};
use crate::record::{Rows, rollup};

#[tokio::test]
async fn a_database_is_read_beside_its_daemon_and_without_one_and_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig::default();
    let told = |error: StoreError| error.to_string();
    let missing = Sqlite::open_to_read(dir.path(), &config).await.unwrap_err();
    assert!(told(missing).contains("`palisade run` makes it"));

    let daemon = open(dir.path()).await.unwrap();
    daemon.commit(&of_findings(&[finding(1)])).await.unwrap();
    let reader = Sqlite::open_to_read(dir.path(), &config).await.unwrap();
    assert_eq!(reader.findings(None, 9).await.unwrap().len(), 1);
    daemon.commit(&of_findings(&[finding(2)])).await.unwrap();
    assert_eq!(reader.findings(None, 9).await.unwrap().len(), 2, "it sees what is committed meanwhile");
    assert!(matches!(
        reader.allow_add("192.0.2.1/32".parse().unwrap(), "", NOW).await,
        Err(StoreError::NotWritable { .. })
    ));
    drop(reader);
    daemon.close().await;

    let reader = Sqlite::open_to_read(dir.path(), &config).await.unwrap();
    assert_eq!(reader.findings(None, 9).await.unwrap().len(), 2, "no daemon runs");
    drop(reader);
    open(dir.path()).await.expect("the reader holds no lock and left nothing in the way");
}

#[tokio::test]
async fn a_database_of_another_version_is_told_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    for (change, wanted) in [
        (
            "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
            "an older palisade",
        ),
        ("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1", "a newer palisade"),
    ] {
        sqlx::query(change).execute(&store.writer).await.unwrap();
        let error = Sqlite::open_to_read(dir.path(), &StoreConfig::default()).await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("palisade.db"), b"").unwrap();
    let error = Sqlite::open_to_read(empty.path(), &StoreConfig::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    std::fs::write(empty.path().join("palisade.db"), b"no database at all, but long enough to be looked at".repeat(99))
        .unwrap();
    let error = Sqlite::open_to_read(empty.path(), &StoreConfig::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// A database that holds what every store is asked about, with days in place of hours older than two days.
async fn filled(dir: &Path) -> Sqlite {
    use stories::NOW;
    let store = open(dir).await.unwrap();
    let rows = past();
    fill(&store, &rows).await;
    let two_days_ago = NOW.0 - 2 * 86_400_000;
    for change in [
        "INSERT INTO rollups SELECT dimension, 'day', start - start % 86400000, key, sum(findings), sum(blocks), sum(analysed) \
         FROM rollups WHERE span = 'hour' AND start < ?1 - ?1 % 86400000 \
         AND dimension IN ('client', 'network', 'path', 'rule') GROUP BY 1, 3, 4",
        "DELETE FROM rollups WHERE span = 'hour' AND start < ?1 - ?1 % 86400000 \
         AND dimension IN ('client', 'network', 'path', 'rule')",
    ] {
        sqlx::query(change).bind(two_days_ago).execute(&store.writer).await.unwrap();
    }
    store
}

async fn fill(store: &Sqlite, rows: &Rows) {
    use stories::NOW;
    let mut tx = store.writer.begin().await.unwrap();
    for row in &rows.findings {
        let insert = sqlx::query(
            "INSERT INTO findings (id, file, generation, byte_offset, line_number, time, source_ip, client, method, uri, \
             status, user_agent, referer, category, score, rule_ids, evidence, action, verdict, confidence, decided_by, \
             reasoning, recorded_at, flagged, is_system_url, case_id) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        );
        let insert =
            insert.bind(&row.id).bind(&row.file).bind(row.generation.cast_signed()).bind(row.offset.cast_signed());
        let insert =
            insert.bind(row.line_number.map(u64::cast_signed)).bind(row.time.0).bind(&row.source_ip).bind(&row.client);
        let insert = insert.bind(&row.method).bind(&row.uri).bind(row.status).bind(&row.user_agent).bind(&row.referer);
        let insert = insert.bind(&row.category).bind(row.score).bind(serde_json::json!(row.rule_ids).to_string());
        let insert = insert.bind(row.evidence.to_string()).bind(&row.action).bind(&row.verdict).bind(row.confidence);
        let insert = insert.bind(&row.decided_by).bind(&row.reasoning).bind(row.recorded_at.0).bind(row.flagged);
        insert.bind(row.is_system_url).bind(&row.case_id).execute(&mut *tx).await.unwrap();
        sqlx::query(
            "INSERT INTO clients VALUES (?1, ?2, ?2, 1, ?3) ON CONFLICT (client) DO UPDATE SET findings = findings + 1, \
             first_seen = min(first_seen, ?2), last_seen = max(last_seen, ?2)",
        )
        .bind(&row.client)
        .bind(row.time.0)
        .bind(row.score)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    for ((hour, dimension, key), counts) in rollup::count(&rows.findings) {
        let insert = sqlx::query("INSERT INTO rollups VALUES (?, 'hour', ?, ?, ?, ?, ?)");
        let insert = insert.bind(dimension.as_str()).bind(hour.0).bind(key);
        insert.bind(counts.findings).bind(counts.blocks).bind(counts.analysed).execute(&mut *tx).await.unwrap();
    }
    insert::decisions(&mut tx, &rows.decisions, NOW).await.unwrap();
    sqlx::query("DELETE FROM decision_changes").execute(&mut *tx).await.unwrap();
    for change in &rows.changes {
        let insert = sqlx::query("INSERT INTO decision_changes VALUES (?, ?, ?, ?, ?)").bind(change.seq);
        let insert = insert.bind(&change.decision_id).bind(change.state.as_str()).bind(change.at.0).bind(&change.note);
        insert.execute(&mut *tx).await.unwrap();
    }
    let calls: Vec<ModelCall> = rows.calls.iter().map(|(_, call)| call.clone()).collect();
    ledger::calls(&mut tx, &calls).await.unwrap();
    tx.commit().await.unwrap();
}

macro_rules! on_sqlite {
    ($($story:ident)*) => {
        $(#[tokio::test]
        async fn $story() {
            let dir = tempfile::tempdir().unwrap();
            stories::$story(&filled(dir.path()).await).await;
        })*
    };
}

stories::stories!(on_sqlite);
