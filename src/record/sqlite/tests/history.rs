//! What only SQLite can show: plans of questions, and reading beside a daemon.

use super::*;
use crate::record::Store;
use crate::record::history::tests::{self as stories, past};

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
    // Nothing is too old in these stories.
    let config = StoreConfig { keep_days: 36_500, keep_analysed_days: 36_500, ..StoreConfig::default() };
    let store = Sqlite::open(dir, &config).await.unwrap();
    store.put("", &past(), stories::NOW).await.unwrap();
    store.prune(stories::NOW).await.unwrap();
    store
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
