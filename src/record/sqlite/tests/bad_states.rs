//! Bad states of the disk, the directory and the database: each a clear error that names the file
//! and the way out, and nothing lost.

use std::os::unix::fs::{FileExt, PermissionsExt};

use sqlx::Connection;

use super::*;

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
    assert!(matches!(error, StoreError::TooNew { version: 4711, known: 12, .. }), "{error:?}");
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
    assert_eq!(store.damaged(), Some(&*aside), "nobody has recovered it yet");
    store.recovered();
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
async fn damage_found_while_running_has_even_a_large_database_checked_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (path, suspect) = (dir.path().join("palisade.db"), dir.path().join("palisade.db.suspect"));
    let store = open(dir.path()).await.unwrap();
    let error = store.failed(sqlx::query("SELECT * FROM nowhere").execute(&store.writer).await.unwrap_err());
    assert!(matches!(error, StoreError::Sql { .. }) && !suspect.exists(), "an ordinary error is no damage: {error:?}");
    let state = vec![0; super::super::open::CHECKED_BYTES as usize];
    let checkpoint = Some(Checkpoint { marks: &[], state: &state });
    store.commit(&Batch { at: NOW, findings: &[finding(1)], checkpoint, ..Batch::default() }).await.unwrap();
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'findings'")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    store.close().await;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4096], (page as u64 - 1) * 4096).unwrap();

    let store = open(dir.path()).await.unwrap();
    assert_eq!(store.damaged(), None, "a large database is not read through at every start");
    let error = store.findings(None, 9).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restart") && suspect.exists(), "{error}");
    store.close().await;
    let store = open(dir.path()).await.unwrap();
    assert!(store.damaged().is_some() && !suspect.exists());
}

#[tokio::test]
async fn a_batch_that_fails_at_its_end_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    sqlx::raw_sql("CREATE TRIGGER refuse BEFORE INSERT ON snapshot BEGIN SELECT RAISE(ABORT, 'refused'); END")
        .execute(&store.writer)
        .await
        .unwrap();
    let (findings, decisions) = ([finding(1)], [decision("d", DecisionState::Pending)]);
    let (new_files, checkpoint) = ([mark(1, 0)], Some(Checkpoint { marks: &[mark(1, 9)], state: b"state" }));
    let batch = Batch {
        at: NOW,
        new_files: &new_files,
        findings: &findings,
        decisions: &decisions,
        checkpoint,
        ..Batch::default()
    };
    let error = store.commit(&batch).await.unwrap_err();
    assert!(error.to_string().contains("refused") && !error.is_retryable(), "{error}");
    for table in ["findings", "decisions", "marks", "snapshot", "outbox"] {
        assert_eq!(count(&store, table).await, 0, "{table}");
    }
    sqlx::raw_sql("DROP TRIGGER refuse").execute(&store.writer).await.unwrap();
    assert_eq!(store.commit(&batch).await.unwrap(), Recorded { new_findings: 1, new_decisions: 1 });
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

/// A real full disk: a small tmpfs in a mount namespace of its own, where this test runs again.
#[tokio::test]
async fn a_full_file_system_is_survived_too() {
    const HERE: &str = "a-small-file-system";
    if !Path::new(HERE).exists() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("mount -t tmpfs -o size=2m none . && cd \"$PWD\" && : > {HERE} || exit 42; exec \"$@\"");
        let output = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "record::tests::bad_states::a_full_file_system_is_survived_too", "--nocapture"])
            .current_dir(dir.path())
            .output();
        match output {
            Ok(output) if output.status.success() => {}
            // What a failed test exits with; anything else comes from unshare, mount or the shell.
            Ok(output) if output.status.code() == Some(101) => {
                panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
            }
            other => eprintln!("SKIPPED: a full file system needs unshare(1) and the right to mount: {other:?}"),
        }
        return;
    }
    fs::write("ballast", vec![0; 1 << 20]).unwrap();
    let state_dir = Path::new("state");
    let store = open(state_dir).await.unwrap();
    let mut written = 0;
    let error = loop {
        let findings: Vec<Finding> = (written..written + 50).map(finding).collect();
        match store.commit(&of_findings(&findings)).await {
            Ok(recorded) => written += recorded.new_findings,
            Err(error) => break error,
        }
        assert!(written < 10_000, "it never fills");
    };
    assert!(matches!(error, StoreError::Full { .. }) && written > 0, "after {written}: {error:?}");
    store.close().await;
    // Opening needs no space, and what is there can be read.
    let store = open(state_dir).await.unwrap();
    assert_eq!(count(&store, "findings").await as u64, written, "nothing recorded is lost");
    // More than what is left over of the last page.
    let many: Vec<Finding> = (written..written + 200).map(finding).collect();
    let error = store.commit(&of_findings(&many)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    fs::remove_file("ballast").unwrap();
    assert_eq!(store.commit(&of_findings(&[finding(written)])).await.unwrap().new_findings, 1);
    store.close().await;

    fs::write("ballast", vec![0; 2 << 20]).unwrap_err();
    let error = open(Path::new("another")).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
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
async fn what_a_damaged_database_still_says_is_taken_up() {
    use crate::record::Remembered;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("palisade.db");
    let store = open(dir.path()).await.unwrap();
    let findings: Vec<Finding> = (0..500).map(finding).collect();
    let old = Decision { created_at: Timestamp(0), ..decision("old", DecisionState::Expired) };
    let decisions = [decision("live", DecisionState::Active), decision("lifted", DecisionState::Lifted), old];
    store.commit(&Batch { findings: &findings, decisions: &decisions, at: NOW, ..Batch::default() }).await.unwrap();
    store.allow_add("192.0.2.0/24".parse().unwrap(), "office", NOW).await.unwrap();
    store.bouncer_add("edge", b"hash", NOW).await.unwrap();
    let correction = Correction { finding_id: "f".into(), verdict: VerdictClass::Benign, view: "v".into(), at: NOW };
    store.correct(&correction).await.unwrap();
    let last = store.last_change().await.unwrap();
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'findings'")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    store.close().await;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4096], (page as u64 - 1) * 4096).unwrap();

    let store = open(dir.path()).await.unwrap();
    let remembered = store.salvage(Timestamp(NOW.0 - 1000)).await;
    // Another store has not heard yet that one was lifted, and knows one that this host has lost.
    let far = [decision("lifted", DecisionState::Active), decision("far", DecisionState::Active)];
    let far = Remembered { decisions: far.to_vec(), ..Remembered::default() };
    for _ in 0..2 {
        store.take_up(&far, NOW).await.unwrap();
        store.take_up(&remembered, NOW).await.unwrap();
    }
    let live: Vec<String> = store.live_decisions(NOW).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(live, ["far", "live"]);
    assert_eq!((count(&store, "decisions").await, count(&store, "findings").await), (3, 0));
    assert_eq!(store.allow_list().await.unwrap()[0].note, "office");
    assert_eq!(store.bouncer_with(b"hash").await.unwrap().unwrap().cursor, 0);
    assert_eq!(store.corrections().await.unwrap(), [correction]);
    assert!(store.last_change().await.unwrap() > last + 1_000_000, "its changes are newer than all before");
    store.close().await;

    // Whatever ended the start that was to recover it: the next one does.
    let store = open(dir.path()).await.unwrap();
    assert!(store.damaged().is_some());
    store.recovered();
    store.close().await;
    let before = open(dir.path()).await.unwrap();
    assert_eq!(before.damaged(), None);
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let suspects: Vec<String> = names.filter(|name| name.contains("suspect") || name.contains("recover")).collect();
    assert_eq!(suspects, Vec::<String>::new());
}
