//! What is SQLite's and the file system's own; what every store must do is in `contract`.

mod contract;
mod kill;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::Connection;

use super::*;
use crate::event::*;

pub(super) const NOW: Timestamp = Timestamp(1_767_571_200_000);

pub(super) async fn open(state_dir: &Path) -> Result<Store, StoreError> {
    Store::open(state_dir, &StoreConfig { keep_days: 30, max_outbox_rows: 50 }).await
}

pub(super) fn finding(offset: u64) -> Finding {
    let source_ip = "203.0.113.7".parse().unwrap();
    Finding {
        file: "/var/log/nginx/access.log".into(),
        generation: u64::MAX - 3,
        offset,
        line_number: Some(offset.wrapping_add(1)),
        time: NOW,
        source_ip: Some(source_ip),
        client: Some(ClientKey::of(source_ip, 64)),
        method: "GET".into(),
        uri: "/?id=1%27%20OR%201=1--".into(),
        status: 200,
        user_agent: "sqlmap/1.8".into(),
        referer: String::new(),
        category: Category::Sqli,
        rule_ids: vec!["942-sqli-tautology".into(), "913-scanner-ua".into()],
        score: 9,
        evidence: vec![Evidence {
            rule_id: "942-sqli-tautology".into(),
            target: "args",
            matched: "1' OR 1=1--".into(),
            score: 9,
        }],
        action: Action::Block,
        verdict: Verdict {
            class: VerdictClass::Malicious,
            confidence: 9,
            decided_by: DecidedBy::Rules,
            reasoning: "a certain rule hit".into(),
        },
    }
}

pub(super) fn decision(id: &str, state: DecisionState) -> Decision {
    Decision {
        id: id.into(),
        target: "203.0.113.7/32".parse().unwrap(),
        proposer: Proposer::Rules,
        ground: Ground {
            finding_id: Some("f1".into()),
            category: Some(Category::Sqli),
            score: 9,
            reason: "SQL injection in ?id=".into(),
        },
        created_at: NOW,
        expires_at: NOW.plus_secs(3600),
        simulated: false,
        state,
        note: String::new(),
        offences: 2,
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

async fn count(store: &Store, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&store.readers).await.unwrap()
}

async fn query_plan(store: &Store, sql: &'static str) -> String {
    let rows: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&store.readers).await.unwrap();
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
async fn only_one_daemon_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await.unwrap();
    let error = open(dir.path()).await.unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, StoreError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{message}");
    assert!(message.contains("palisade.lock") && message.contains("state_dir"), "{message}");
    first.close().await;
    open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_state_directory_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    fs::write(&file, "not a directory").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(!error.is_retryable());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
}

/// Runs `story` on a thread that has no rights of root's on files, whoever runs the tests. The
/// threads that it starts have none either.
fn as_nobody(story: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(story());
    });
    thread.join().unwrap();
}

#[test]
fn a_directory_or_file_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(dir.path(), 0o777);
    let state_dir = dir.path().join("state");
    fs::create_dir(&state_dir).unwrap();

    allow(&state_dir, 0o555);
    let path = state_dir.clone();
    as_nobody(async move || {
        let error = open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    });

    // Left behind by a start as another user.
    allow(&state_dir, 0o777);
    tokio::runtime::Runtime::new().unwrap().block_on(async { open(&state_dir).await.unwrap().close().await });
    allow(&state_dir.join("palisade.lock"), 0o666);
    allow(&state_dir.join("palisade.db"), 0o444);
    let path = state_dir.clone();
    as_nobody(async move || {
        let error = open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains("palisade.db") && error.to_string().contains("user"), "{error}");
    });

    // The files are writable, but SQLite cannot put its log beside them.
    allow(&state_dir.join("palisade.db"), 0o666);
    allow(&state_dir, 0o555);
    as_nobody(async move || {
        let error = open(&state_dir).await.unwrap_err();
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
        assert!(error.to_string().contains("its directory to palisade's user"), "{error}");
    });
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (4711, 'of the future', 0, true, x'00', 1)")
        .execute(&store.writer)
        .await
        .unwrap();
    store.close().await;
    let before = fs::read(dir.path().join("palisade.db")).unwrap();
    let error = open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::TooNew { version: 4711, known: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("palisade.db was written by a newer palisade"), "{error}");
    assert!(fs::read(dir.path().join("palisade.db")).unwrap() == before);
}

/// The database of one that was damaged by `how` is kept aside and a new one works.
async fn damaged(how: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("palisade.db");
    let store = open(dir.path()).await.unwrap();
    let findings: Vec<Finding> = (0..500).map(finding).collect();
    store.commit(&of_findings(&findings)).await.unwrap();
    store.close().await;
    how(&path);
    let bytes = fs::read(&path).unwrap();

    let store = open(dir.path()).await.unwrap();
    let aside = store.damaged().expect("it says where the damaged one is").to_owned();
    assert!(aside.to_str().unwrap().contains("palisade.db.damaged-20"), "{aside:?}");
    assert!(fs::read(&aside).unwrap() == bytes, "nothing of the evidence is lost");
    assert_eq!(count(&store, "findings").await, 0);
    store.commit(&of_findings(&[finding(1)])).await.unwrap();
    store.close().await;
    let store = open(dir.path()).await.unwrap();
    assert_eq!((store.damaged(), count(&store, "findings").await), (None, 1));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_kept_aside() {
    damaged(|path| fs::write(path, "palisade ".repeat(1000)).unwrap()).await;
}

#[tokio::test]
async fn a_database_with_overwritten_pages_is_kept_aside() {
    damaged(|path| {
        let mut bytes = fs::read(path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..half + 20_000].fill(0xa5);
        fs::write(path, bytes).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_truncated_database_is_kept_aside() {
    damaged(|path| fs::File::options().write(true).open(path).unwrap().set_len(10_000).unwrap()).await;
}

#[tokio::test]
async fn damage_found_while_running_is_told_and_checked_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let error = store.failed(sqlx::query("SELECT * FROM nowhere").execute(&store.writer).await.unwrap_err());
    assert!(matches!(error, StoreError::Sql { .. }), "an ordinary error is no damage: {error:?}");
    assert!(!dir.path().join("palisade.db.suspect").exists());

    let findings: Vec<Finding> = (0..500).map(finding).collect();
    store.commit(&of_findings(&findings)).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&store.writer).await.unwrap();
    let path = dir.path().join("palisade.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error = store.findings(None, 500).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restart"), "{error}");
    assert!(dir.path().join("palisade.db.suspect").exists());
    store.close().await;
    let store = open(dir.path()).await.unwrap();
    assert!(store.damaged().is_some());
    assert!(!dir.path().join("palisade.db.suspect").exists());
}

#[tokio::test]
async fn a_full_disk_loses_only_the_batch_and_is_over_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    store.commit(&of_findings(&[finding(0)])).await.unwrap();
    // The limit ends with the connection, which a failed write replaces.
    sqlx::query("PRAGMA max_page_count = 40").execute(&store.writer).await.unwrap();
    let findings: Vec<Finding> = (1..2000).map(finding).collect();
    let error = store.commit(&of_findings(&findings)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.is_retryable() && error.to_string().contains("free some"), "{error}");
    assert_eq!(count(&store, "findings").await, 1, "all or nothing");
    let recorded = store.commit(&of_findings(&findings)).await.unwrap();
    assert_eq!(recorded.new_findings, 1999);
}

#[tokio::test]
async fn a_program_that_holds_the_database_makes_it_busy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    sqlx::query("PRAGMA busy_timeout = 10").execute(&store.writer).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("palisade.db"));
    let mut shell = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut shell).await.unwrap();
    let error = store.commit(&of_findings(&[finding(1)])).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }) && error.is_retryable(), "{error:?}");
    shell.close().await.unwrap();
    assert_eq!(store.commit(&of_findings(&[finding(1)])).await.unwrap().new_findings, 1);
}

#[tokio::test]
async fn a_row_that_is_not_understood_keeps_no_other_from_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let decisions = [decision("good", DecisionState::Active), decision("odd", DecisionState::Active)];
    store.commit(&Batch { decisions: &decisions, at: NOW, ..Batch::default() }).await.unwrap();
    sqlx::query("UPDATE decisions SET proposer = 'martian' WHERE id = 'odd'").execute(&store.writer).await.unwrap();
    let live = store.live_decisions(NOW).await.unwrap();
    assert_eq!(live.iter().map(|decision| decision.id.as_str()).collect::<Vec<_>>(), ["good"]);
    let error = store.decision("odd").await.unwrap_err();
    assert!(error.to_string().contains("row odd") && error.to_string().contains("martian"), "{error}");
}

#[tokio::test]
async fn pruning_gives_the_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let findings: Vec<Finding> = (0..3000).map(finding).collect();
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
        ("SELECT * FROM findings ORDER BY time DESC, id LIMIT 9", "findings_by_time"),
        ("SELECT * FROM findings WHERE client = 'c' ORDER BY time DESC, id LIMIT 9", "findings_by_client"),
        ("SELECT rowid FROM findings WHERE time < 1", "findings_by_time"),
        ("SELECT * FROM decisions WHERE true ORDER BY created_at DESC, id LIMIT 9", "decisions_by_time"),
        ("SELECT * FROM decisions WHERE state = 'active' AND expires_at > 1", "decisions_by_state"),
        ("SELECT * FROM decisions WHERE true AND target = 't' ORDER BY created_at DESC", "decisions_by_target"),
    ] {
        let plan = query_plan(&store, sql).await;
        assert!(plan.contains(index), "{sql}: {plan}");
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
            }
        }
    });
    let reading: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let deadline = Instant::now() + Duration::from_secs(30);
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
