use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;

use super::postgres::Trouble;

/// Why the database could not do what it was asked. Each names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use {}: {source}; state_dir must be a directory that palisade's user may write to", .path.display())]
    Unusable { path: PathBuf, source: std::io::Error },
    #[error("another palisade{} uses {}; stop it, or give this one a state_dir of its own", of_process(.pid), .path.display())]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error("cannot write {}: {source}; give the file and its directory to palisade's user", .path.display())]
    NotWritable { path: PathBuf, source: sqlx::Error },
    #[error(
        "{} was written by a newer palisade (its schema is {version}, this one knows {known}); \
         run that version, or move the file away to start a new one", .path.display()
    )]
    TooNew { path: PathBuf, version: i64, known: i64 },
    #[error(
        "{} was written by an older palisade (its schema is {version}, this one's {known}); \
         the next `palisade run` of this version brings it up to date", .path.display()
    )]
    TooOld { path: PathBuf, version: i64, known: i64 },
    #[error("there is no {} yet; `palisade run` makes it, or state_dir is another one", .path.display())]
    Missing { path: PathBuf },
    #[error("may not read {}: {source}; ask as root or as palisade's user", .path.display())]
    NotReadable { path: PathBuf, source: std::io::Error },
    #[error("cannot bring {} to this version's schema: {source}; move the file away to start a new one", .path.display())]
    Schema { path: PathBuf, source: MigrateError },
    #[error("{} is damaged: {what}; restart palisade, which keeps it aside and starts a new one", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{} is locked by another program: {source}; close the program that holds it open", .path.display())]
    Busy { path: PathBuf, source: sqlx::Error },
    #[error("no space to write {}: {source}; free some on its file system", .path.display())]
    Full { path: PathBuf, source: sqlx::Error },
    #[error("row {id} of {} says {what}, which this version does not know; correct or delete the row", .path.display())]
    Row { path: PathBuf, id: String, what: String },
    #[error("{} failed: {source}; look at the disk and the kernel log", .path.display())]
    Sql { path: PathBuf, source: sqlx::Error },
    #[error("{place}{trouble}")]
    Postgres { place: String, trouble: Trouble },
}

impl StoreError {
    /// Whether the same call may succeed later with nothing changed in palisade.
    pub fn is_retryable(&self) -> bool {
        match self {
            StoreError::Busy { .. } | StoreError::Full { .. } => true,
            StoreError::Postgres { trouble, .. } => trouble.is_retryable(),
            _ => false,
        }
    }

    /// Whether one of the rows is the reason, and others may be taken.
    pub fn is_of_rows(&self) -> bool {
        matches!(self, StoreError::Postgres { trouble: Trouble::Row(_), .. })
    }

    /// What `source` means for the database at `path`.
    pub(in crate::record) fn of(path: &Path, source: sqlx::Error) -> StoreError {
        let path = path.to_owned();
        if matches!(source, sqlx::Error::PoolTimedOut) {
            return StoreError::Busy { path, source };
        }
        let code = source.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        // Result codes of https://www.sqlite.org/rescode.html; the low byte is the primary one.
        match code.map(|code| (code & 0xff, code)) {
            Some((5 | 6, _)) => StoreError::Busy { path, source },
            // IOERR_SHMSIZE: the -shm file, which cannot grow on a full disk.
            Some((13, _) | (_, 4874)) => StoreError::Full { path, source },
            Some((11 | 26, _)) => StoreError::Damaged { path, what: source.to_string() },
            Some((3 | 8 | 14 | 23, _)) => StoreError::NotWritable { path, source },
            _ => StoreError::Sql { path, source },
        }
    }
}

fn of_process(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
