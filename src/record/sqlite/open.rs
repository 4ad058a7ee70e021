//! From a state directory to a checked, migrated database that nobody else uses.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection, SqlitePool};

use super::recover;
use crate::event::Timestamp;
use crate::record::migrations::SQLITE as MIGRATIONS;
use crate::record::pseudonym::{KEY_BYTES, Pseudonyms};
use crate::record::{Addresses, StoreConfig, StoreError};

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

/// The writer's pool on the database at `path`, and where a damaged one was moved to, now or by a start that
/// did not get so far as to recover it.
pub(super) async fn writer(path: &Path, config: &StoreConfig) -> Result<(SqlitePool, Option<PathBuf>), StoreError> {
    match checked(path, config).await {
        Err(StoreError::Damaged { .. }) => {
            let aside = set_aside(path)?;
            Ok((checked(path, config).await?, Some(aside)))
        }
        other => Ok((other?, recover::unfinished(path))),
    }
}

/// Whether what is deleted must be overwritten, and not only be free.
fn is_private(config: &StoreConfig) -> bool {
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

/// The pseudonyms of a database that is only read: there is no key before somebody wrote.
pub(super) fn pseudonyms_to_read(state_dir: &Path, config: &StoreConfig) -> Result<Option<Pseudonyms>, StoreError> {
    let path = state_dir.join("pseudonyms.key");
    if config.addresses == Addresses::Plain || !path.exists() {
        return Ok(None);
    }
    let mut key = [0; KEY_BYTES];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut key));
    read.map_err(|source| StoreError::NotReadable { path, source })?;
    Ok(Some(Pseudonyms::new(&key)))
}

/// A small pool that only reads.
pub(super) fn readers(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
    SqlitePoolOptions::new().max_connections(4).max_lifetime(None).connect_lazy_with(options)
}

/// A pool that only reads the database at `path`, which must be there and of this version.
pub(super) async fn to_read(path: &Path) -> Result<SqlitePool, StoreError> {
    const NO_TABLE: &str = "no such table";
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { path: path.to_owned() },
        _ => StoreError::NotReadable { path: path.to_owned(), source },
    })?;
    let version = |pool: SqlitePool| async move {
        let version = sqlx::query_scalar::<_, i64>("SELECT coalesce(max(version), 0) FROM _sqlx_migrations");
        (version.fetch_one(&pool).await, pool)
    };
    let (mut found, mut pool) = version(readers(path)).await;
    if found.as_ref().is_err_and(cannot_open) && !beside(path, "-wal").exists() {
        // Nobody writes, and the files that readers and writers share cannot be made here.
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
        (found, pool) = version(SqlitePoolOptions::new().max_connections(4).connect_lazy_with(options)).await;
    }
    let known = known();
    match found {
        Ok(version) if version == known => Ok(pool),
        Ok(version) if version > known => Err(StoreError::TooNew { path: path.to_owned(), version, known }),
        Ok(version) => Err(StoreError::TooOld { path: path.to_owned(), version, known }),
        Err(source) if source.to_string().contains(NO_TABLE) => Err(StoreError::Missing { path: path.to_owned() }),
        Err(source) => Err(match StoreError::of(path, source) {
            StoreError::NotWritable { path, source } => {
                StoreError::NotReadable { path, source: io::Error::other(source) }
            }
            other => other,
        }),
    }
}

/// Has the next start check the database at `path`, whatever its size.
pub(super) fn mark_suspect(path: &Path) {
    // On a disk that cannot hold an empty file there is nothing better to do.
    let _ = private().open(suspect(path));
}

/// A writer on the database at `path`, which must be there and of this version, beside the one who has it.
pub(super) fn second(path: &Path, config: &StoreConfig) -> SqlitePool {
    pool().connect_lazy_with(to_write(path, config))
}

fn pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None)
}

fn to_write(path: &Path, config: &StoreConfig) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
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
    if is_private(config) { options.pragma("secure_delete", "ON") } else { options }
}

async fn checked(path: &Path, config: &StoreConfig) -> Result<SqlitePool, StoreError> {
    let unusable = |source| StoreError::Unusable { path: path.to_owned(), source };
    let failed = |source| StoreError::of(path, source);
    // Made here and not by SQLite, so that log text is for palisade's user alone (-wal and -shm
    // take the mode over), and so that a file that can only be read is found now.
    let file = private().open(path).map_err(unusable)?;
    let bytes = file.metadata().map_err(unusable)?.len();
    if bytes == 0 {
        make(path).await.map_err(failed)?;
        file.sync_all().map_err(unusable)?;
    }
    // Closed later it would take SQLite's own locks with it.
    drop(file);
    let pool = pool().connect_with(to_write(path, config)).await.map_err(failed)?;
    let suspect = suspect(path);
    let ready = async {
        if bytes < CHECKED_BYTES || suspect.exists() {
            check(&pool, path).await?;
        }
        // What is missing comes in one transaction: each of its own would wait for the disk.
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        MIGRATIONS.run(&mut transaction).await.map_err(|source| schema(path, source))?;
        transaction.commit().await.map_err(failed)?;
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

/// Makes of an empty file a database without tables. What it is for good is said here alone: saying it again would write
/// to a database that may be damaged or a newer version's. SQLite would wait for the disk eight times, though nothing is
/// in it yet.
async fn make(path: &Path) -> Result<(), sqlx::Error> {
    const WAYS: &str = "PRAGMA synchronous = OFF; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL";
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await?;
    sqlx::raw_sql(WAYS).execute(&mut connection).await?;
    connection.close().await
}

/// SQLite could not open or make a file.
fn cannot_open(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    // SQLITE_CANTOPEN, and what SQLite says of a WAL for which it may not make the shared memory.
    code.is_some_and(|code| [8, 14].contains(&(code & 0xff)))
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

/// The newest schema that this version knows.
fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

fn schema(path: &Path, source: MigrateError) -> StoreError {
    let known = known();
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
    let unusable = |source| StoreError::Unusable { path: path.to_owned(), source };
    // First, so that a crash between leaves it known.
    recover::begin(path, &aside).map_err(unusable)?;
    for part in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, part), beside(&aside, part)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(unusable(source)),
            _ => {}
        }
    }
    Ok(aside)
}

fn suspect(path: &Path) -> PathBuf {
    beside(path, ".suspect")
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}
