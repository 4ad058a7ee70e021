//! From a state directory to a checked, migrated database that nobody else uses.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::event::Timestamp;
use crate::record::pseudonym::{KEY_BYTES, Pseudonyms};
use crate::record::{StoreConfig, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long to wait for a program that holds the database, such as a `sqlite3` shell.
const BUSY: Duration = Duration::from_secs(5);

/// A larger database is checked at start only after it was found damaged: the check reads all of
/// it (145 MB took 0.8 s from the page cache, in a build without optimisation).
pub(super) const CHECKED_BYTES: u64 = 100 << 20;

/// Creates `state_dir` and takes its lock, which lasts as long as the file is open.
pub(super) fn lock(state_dir: &Path) -> Result<File, StoreError> {
    let path = state_dir.join("palisade.lock");
    let unusable = |source| StoreError::Unusable { path: state_dir.to_owned(), source };
    if fs::metadata(state_dir).is_ok_and(|found| !found.is_dir()) {
        return Err(unusable(io::ErrorKind::NotADirectory.into()));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(unusable)?;
    let mut file = private().read(true).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
            return Err(StoreError::InUse { path, pid });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    // The number is for people; on a full disk the lock holds without it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The writer's pool on the database at `path`, and where a damaged one was moved to.
pub(super) async fn writer(path: &Path, config: &StoreConfig) -> Result<(SqlitePool, Option<PathBuf>), StoreError> {
    match checked(path, config).await {
        Err(StoreError::Damaged { .. }) => {
            let aside = set_aside(path)?;
            Ok((checked(path, config).await?, Some(aside)))
        }
        other => Ok((other?, None)),
    }
}

/// Whether what is deleted must be overwritten, and not only be free.
pub(super) fn is_private(config: &StoreConfig) -> bool {
    !config.keeps_findings() || config.keeps_pseudonyms()
}

/// What makes pseudonyms, if they are asked for, by a key of this host's own: a new one if there is none.
pub(super) fn pseudonyms(state_dir: &Path, config: &StoreConfig) -> Result<Option<Pseudonyms>, StoreError> {
    if !config.keeps_pseudonyms() {
        return Ok(None);
    }
    let path = state_dir.join("pseudonyms.key");
    let unusable = |source| StoreError::Unusable { path: path.clone(), source };
    let mut key = [0; KEY_BYTES];
    let mut file = private().read(true).open(&path).map_err(unusable)?;
    match file.metadata().map_err(unusable)?.len() {
        0 => {
            let random = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key);
            random.map_err(|_| unusable(io::Error::other("no random numbers")))?;
            file.write_all(&key).and_then(|()| file.sync_all()).map_err(unusable)?;
        }
        _ => file.read_exact(&mut key).map_err(unusable)?,
    }
    Ok(Some(Pseudonyms::new(&key)))
}

/// A small pool that only reads.
pub(super) fn readers(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
    SqlitePoolOptions::new().max_connections(4).max_lifetime(None).connect_lazy_with(options)
}

/// Has the next start check the database at `path`, whatever its size.
pub(super) fn mark_suspect(path: &Path) {
    // On a disk that cannot hold an empty file there is nothing better to do.
    let _ = private().open(suspect(path));
}

async fn checked(path: &Path, config: &StoreConfig) -> Result<SqlitePool, StoreError> {
    let unusable = |source| StoreError::Unusable { path: path.to_owned(), source };
    // Made here and not by SQLite, so that log text is for palisade's user alone (-wal and -shm
    // take the mode over), and so that a file that can only be read is found now.
    let bytes = private().open(path).and_then(|file| file.metadata()).map_err(unusable)?.len();
    let mut options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // After a power cut the last commits may be gone, findings and offsets together: replayed.
        .synchronous(SqliteSynchronous::Normal)
        .pragma("journal_size_limit", "16777216")
        // In pages of 4 KB: in a flood the same pages of indexes and counts are written again and again.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("cache_size", "-32768")
        .foreign_keys(true)
        .busy_timeout(BUSY);
    if bytes == 0 {
        // It is for good, and saying it again would write to a database that may be damaged or a newer version's.
        options = options.auto_vacuum(SqliteAutoVacuum::Incremental);
    }
    if is_private(config) {
        options = options.pragma("secure_delete", "ON");
    }
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options)
        .await
        .map_err(|source| StoreError::of(path, source))?;
    let suspect = suspect(path);
    let ready = async {
        if bytes < CHECKED_BYTES || suspect.exists() {
            check(&pool, path).await?;
        }
        MIGRATIONS.run(&pool).await.map_err(|source| schema(path, source))?;
        match fs::remove_file(&suspect) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(unusable(source)),
            _ => Ok(()),
        }
    };
    if let Err(error) = ready.await {
        pool.close().await;
        return Err(error);
    }
    Ok(pool)
}

async fn check(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let answer: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(pool)
        .await
        .map_err(|source| StoreError::of(path, source))?;
    match answer.as_str() {
        "ok" => Ok(()),
        _ => Err(StoreError::Damaged { path: path.to_owned(), what: answer }),
    }
}

fn schema(path: &Path, source: MigrateError) -> StoreError {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    match source {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => StoreError::of(path, source),
        MigrateError::VersionMissing(version) if version > known => {
            StoreError::TooNew { path: path.to_owned(), version, known }
        }
        source => StoreError::Schema { path: path.to_owned(), source },
    }
}

/// Moves the database with its -wal and -shm to `….damaged-<time>`, where `sqlite3` can open it.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let time = Timestamp::now().to_string().replace(['-', ':'], "");
    let aside = beside(path, &format!(".damaged-{time}"));
    for part in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, part), beside(&aside, part)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Unusable { path: path.to_owned(), source });
            }
            _ => {}
        }
    }
    Ok(aside)
}

fn suspect(path: &Path) -> PathBuf {
    beside(path, ".suspect")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}
