//! The local database: always there, and what the daemon acts by.

mod accounts;
mod analyses;
mod bouncers;
mod cases;
mod fleet;
mod forget;
mod hide;
mod history;
mod insert;
mod ledger;
mod live;
mod open;
mod outbox;
mod prune;
mod put;
pub(super) mod read;
mod recover;
mod rules;
mod schema;
#[cfg(test)]
pub(in crate::record) mod tests;
mod totals;

pub use analyses::{OwnedSession, Sharing};
pub use bouncers::{Ban, Bouncer, Span};
pub use forget::Forgotten;
pub use ledger::{Correction, Spent};
pub use outbox::{Unsent, Waiting};
pub use read::{AllowEntry, Change, ChangeKind, DecisionFilter};
pub(super) use read::{RawDecision, network};
pub use recover::Remembered;
pub use rules::RuleNote;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::watch;

use super::keep::Policy;
use super::{FindingRow, Keep, StoreConfig, StoreError};
use crate::event::{Decision, DecisionState, FileMark, Finding, Judgement, ModelCall, Timestamp};
use cases::Cases;

/// The local database, `palisade.db` in the state directory. One daemon at a time has it.
///
/// A call that is cancelled while it writes has written everything or nothing.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    config: StoreConfig,
    policy: Policy,
    /// Taken out while a batch is written.
    cases: Mutex<Cases>,
    damaged: Option<PathBuf>,
    changed: watch::Sender<()>,
    /// Declared last: dropped after the connections. None: it only reads.
    lock: Option<File>,
}

/// Gives up to 4 MB of freed pages back to the file system.
const VACUUM: &str = "PRAGMA incremental_vacuum(1024)";

/// What is made durable together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    pub at: Timestamp,
    /// Files seen for the first time, or again after truncation: their generation must outlive a
    /// crash before anything found in them is recorded.
    pub new_files: &'a [FileMark],
    pub findings: &'a [Finding],
    pub decisions: &'a [Decision],
    /// Of findings recorded earlier or in this batch.
    pub judgements: &'a [Judgement],
    pub calls: &'a [ModelCall],
    pub checkpoint: Option<Checkpoint<'a>>,
}

/// Where reading resumes and the counting state that belongs to exactly that place.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    /// Replace all marks.
    pub marks: &'a [FileMark],
    pub state: &'a [u8],
}

/// What a commit added: rows that were there already are neither counted nor changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub new_findings: u64,
    pub new_decisions: u64,
}

impl Sqlite {
    /// Opens the database in `state_dir`, creating both as needed, and brings it to this version's
    /// schema. A damaged database is moved aside and a new one started: see [`Sqlite::damaged`].
    ///
    /// # Errors
    /// The directory cannot be written, another daemon has it, or the database is a newer
    /// version's.
    pub async fn open(state_dir: &Path, config: &StoreConfig) -> Result<Sqlite, StoreError> {
        let lock = open::lock(state_dir)?;
        let path = state_dir.join("palisade.db");
        let policy = Policy { record: config.record, pseudonyms: open::pseudonyms(state_dir, config)? };
        let (writer, damaged) = open::writer(&path, config).await?;
        let readers = open::readers(&path);
        if damaged.is_some() {
            let numbered = recover::number_from(&writer, Timestamp::now().0.saturating_mul(1000)).await;
            numbered.map_err(|source| StoreError::of(&path, source))?;
        }
        let (config, cases, changed) = (config.clone(), Mutex::default(), watch::Sender::new(()));
        Ok(Sqlite { path, writer, readers, config, policy, cases, damaged, changed, lock: Some(lock) })
    }

    /// Opens the database in `state_dir` to ask it, beside a daemon or without one. Whatever would write fails.
    ///
    /// # Errors
    /// There is none, it may not be read, or it is of another version.
    pub async fn open_to_read(state_dir: &Path, config: &StoreConfig) -> Result<Sqlite, StoreError> {
        let path = state_dir.join("palisade.db");
        let readers = open::to_read(&path).await?;
        let policy = Policy { record: config.record, pseudonyms: open::pseudonyms_to_read(state_dir, config)? };
        let (writer, config, cases) = (readers.clone(), config.clone(), Mutex::default());
        let changed = watch::Sender::new(());
        Ok(Sqlite { path, writer, readers, config, policy, cases, damaged: None, changed, lock: None })
    }

    /// Opens the database in `state_dir` to add calls and analyses to it, of which no daemon keeps anything in
    /// memory, beside a daemon or without one.
    ///
    /// # Errors
    /// There is none, it may not be read, or it is of another version.
    pub async fn open_beside(state_dir: &Path, config: &StoreConfig) -> Result<Sqlite, StoreError> {
        let read = Sqlite::open_to_read(state_dir, config).await?;
        Ok(Sqlite { writer: open::second(&read.path, config), ..read })
    }

    /// Where the database that was found damaged at start has been moved, if one was, now or by a start that
    /// ended before all was [`recovered`](Self::recovered).
    pub fn damaged(&self) -> Option<&Path> {
        self.damaged.as_deref()
    }

    /// Writes all of `batch` in one transaction. Replaying a batch changes nothing.
    ///
    /// # Errors
    /// Nothing of the batch was written.
    pub async fn commit(&self, batch: &Batch<'_>) -> Result<Recorded, StoreError> {
        let rows: Vec<FindingRow> = batch.findings.iter().map(|finding| self.policy.row(finding, batch.at)).collect();
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            let recorded = Recorded {
                new_findings: self.record(&mut tx, rows, batch.checkpoint.is_some()).await?,
                new_decisions: insert::decisions(&mut tx, batch.decisions, batch.at, self.hiding()).await?,
            };
            ledger::judgements(&mut tx, batch.judgements).await?;
            ledger::calls(&mut tx, batch.calls).await?;
            insert::marks(&mut tx, batch.new_files).await?;
            if let Some(checkpoint) = &batch.checkpoint {
                sqlx::query("DELETE FROM marks").execute(&mut *tx).await?;
                insert::marks(&mut tx, checkpoint.marks).await?;
                sqlx::query("INSERT OR REPLACE INTO snapshot (id, at, state) VALUES (1, ?, ?)")
                    .bind(batch.at.0)
                    .bind(checkpoint.state)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(recorded)
        })
        .await
    }

    /// Moves decisions to `state`, with `note` as the reason (an empty one leaves what is said of a
    /// pending decision as it is); gives how many moved. A decision that
    /// has ended (expired, lifted, refused) stays ended, so that a late confirmation cannot revive
    /// a ban that somebody lifted.
    pub async fn set_state(
        &self,
        ids: &[String],
        state: DecisionState,
        note: &str,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "UPDATE decisions SET state = ?1, changed_at = ?3, version = NULL, \
                 note = CASE WHEN ?2 = '' AND state = 'pending' THEN note ELSE ?2 END \
                 WHERE id IN (SELECT value FROM json_each(?4)) AND state IN ('pending', 'active', 'held')",
            );
            let query = query.bind(state.as_str()).bind(note).bind(at.0).bind(insert::json(&ids)?);
            Ok(query.execute(connection).await?.rows_affected())
        })
        .await
    }

    /// Gives live decisions a new end, each its own, with `note` as the reason; gives how many. Each is
    /// a change of the feed, though its state is the same: readers count down by themselves.
    pub async fn prolong(&self, ends: &[(String, Timestamp)], note: &str, at: Timestamp) -> Result<u64, StoreError> {
        // `+`: by id, not every live decision for each end.
        const PROLONG: &str = "UPDATE decisions SET expires_at = ends.value ->> 1, note = ?, changed_at = ?, version = NULL \
             FROM json_each(?) AS ends WHERE decisions.id = ends.value ->> 0 AND +state IN ('pending', 'active', 'held')";
        const TELL: &str = "INSERT INTO outbox (kind, id, at) SELECT 'decision', id, ? FROM decisions \
             WHERE id IN (SELECT value ->> 0 FROM json_each(?)) AND state IN ('pending', 'active', 'held')";
        // Bouncers are served what changed after their cursor.
        const SERVE: &str = "UPDATE decisions SET changed_seq = (SELECT max(seq) FROM outbox) \
             WHERE id IN (SELECT value ->> 0 FROM json_each(?)) AND +state IN ('pending', 'active', 'held')";
        let ends: Vec<(&str, i64)> = ends.iter().map(|(id, end)| (id.as_str(), end.0)).collect();
        self.write(async |connection| {
            let ends = insert::json(&ends)?;
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            let prolong = sqlx::query(PROLONG).bind(note).bind(at.0).bind(&ends);
            let rows = prolong.execute(&mut *tx).await?.rows_affected();
            sqlx::query(TELL).bind(at.0).bind(&ends).execute(&mut *tx).await?;
            sqlx::query(SERVE).bind(&ends).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(rows)
        })
        .await
    }

    /// Marks live decisions whose time is over as expired; gives how many. Where addresses are kept as
    /// pseudonyms, ended decisions get theirs.
    pub async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "UPDATE decisions SET state = 'expired', changed_at = ?1, version = NULL \
                 WHERE state IN ('pending', 'active', 'held') AND expires_at <= ?1",
            );
            let rows = query.bind(now.0).execute(&mut *connection).await?.rows_affected();
            self.hide_ended(connection, now).await?;
            Ok(rows)
        })
        .await
    }

    /// Adds `network` to the networks that are never blocked, or replaces its note.
    pub async fn allow_add(&self, network: IpNet, note: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "INSERT INTO allow (network, note, created_at) VALUES (?, ?, ?) \
                 ON CONFLICT (network) DO UPDATE SET note = excluded.note",
            );
            query.bind(insert::network_text(network)).bind(note).bind(now.0).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Takes `network` off that list; whether it was on it.
    pub async fn allow_remove(&self, network: IpNet) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("DELETE FROM allow WHERE network = ?").bind(insert::network_text(network));
            Ok(query.execute(connection).await?.rows_affected() > 0)
        })
        .await
    }

    /// Takes up findings; gives how many are new.
    async fn record(
        &self,
        connection: &mut SqliteConnection,
        rows: Vec<FindingRow>,
        is_checkpoint: bool,
    ) -> Result<u64, sqlx::Error> {
        let mut rows = insert::unknown(connection, rows).await?;
        if is_checkpoint {
            // What came before this batch is not read again. What is in it may be, where it was put together
            // of several.
            sqlx::query("DELETE FROM counted").execute(&mut *connection).await?;
        }
        if rows.is_empty() {
            return Ok(0);
        }
        if self.policy.record == Keep::Nothing {
            insert::counted(connection, &rows).await?;
        } else {
            // Not held while waiting. Who is cancelled loses what can be looked up.
            let mut cases = std::mem::take(&mut *self.cases());
            cases::settle(connection, &mut cases, &mut rows).await?;
            *self.cases() = cases;
            insert::findings(connection, &rows, None).await?;
        }
        totals::count(connection, &rows).await?;
        Ok(rows.len() as u64)
    }

    fn cases(&self) -> MutexGuard<'_, Cases> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finishes what is under way, folds the write-ahead log into the database and lets go of the
    /// state directory. Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        // Unlocking can fail only where the file is closed already.
        let _ = self.lock.as_ref().map(File::unlock);
    }

    /// Told of everything that is written from now on.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let done = self.write_quietly(work).await;
        if done.is_ok() {
            self.changed.send_replace(());
        }
        done
    }

    /// What no reader of the outbox need hear of.
    async fn write_quietly<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(|source| self.failed(source))?;
        let done = work(&mut connection).await;
        if done.is_err() {
            // SQLite ends a transaction by itself on some errors (disk full, I/O) and sqlx does not
            // notice: only a new connection is sure to be out of it.
            connection.close_on_drop();
        }
        done.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: sqlx::Error) -> StoreError {
        let error = StoreError::of(&self.path, source);
        if matches!(error, StoreError::Damaged { .. }) {
            open::mark_suspect(&self.path);
        }
        error
    }
}
