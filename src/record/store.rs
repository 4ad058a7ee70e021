use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Serialize;
use sqlx::{Connection, QueryBuilder, SqliteConnection, SqlitePool};

use super::{StoreConfig, StoreError, open};
use crate::event::{Decision, DecisionState, FileMark, Finding, Timestamp};

/// The local database, `palisade.db` in the state directory. One daemon at a time has it.
///
/// A call that is cancelled while it writes has written everything or nothing.
#[derive(Debug)]
pub struct Store {
    pub(super) path: PathBuf,
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    config: StoreConfig,
    damaged: Option<PathBuf>,
    /// Declared last: dropped after the connections.
    lock: File,
}

/// What is made durable together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    pub at: Timestamp,
    /// Files seen for the first time, or again after truncation: their generation must outlive a
    /// crash before anything found in them is recorded.
    pub new_files: &'a [FileMark],
    pub findings: &'a [Finding],
    pub decisions: &'a [Decision],
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

impl Store {
    /// Opens the database in `state_dir`, creating both as needed, and brings it to this version's
    /// schema. A damaged database is moved aside and a new one started: see [`Store::damaged`].
    ///
    /// # Errors
    /// The directory cannot be written, another daemon has it, or the database is a newer
    /// version's.
    pub async fn open(state_dir: &Path, config: &StoreConfig) -> Result<Store, StoreError> {
        let lock = open::lock(state_dir)?;
        let path = state_dir.join("palisade.db");
        let (writer, damaged) = open::writer(&path).await?;
        let readers = open::readers(&path);
        Ok(Store { path, writer, readers, config: config.clone(), damaged, lock })
    }

    /// Where the database that was found damaged at start has been moved, if one was.
    pub fn damaged(&self) -> Option<&Path> {
        self.damaged.as_deref()
    }

    /// Writes all of `batch` in one transaction. Replaying a batch changes nothing.
    ///
    /// # Errors
    /// Nothing of the batch was written.
    pub async fn commit(&self, batch: &Batch<'_>) -> Result<Recorded, StoreError> {
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            let recorded = Recorded {
                new_findings: insert_findings(&mut tx, batch.findings, batch.at).await?,
                new_decisions: insert_decisions(&mut tx, batch.decisions, batch.at).await?,
            };
            insert_marks(&mut tx, batch.new_files).await?;
            if let Some(checkpoint) = &batch.checkpoint {
                sqlx::query("DELETE FROM marks").execute(&mut *tx).await?;
                insert_marks(&mut tx, checkpoint.marks).await?;
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

    /// Moves decisions to `state`, with `note` as the reason; gives how many moved. A decision that
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
                "UPDATE decisions SET state = ?, note = ?, changed_at = ? \
                 WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('pending', 'active', 'held')",
            );
            let query = query.bind(state.as_str()).bind(note).bind(at.0).bind(json(&ids)?);
            Ok(query.execute(connection).await?.rows_affected())
        })
        .await
    }

    /// Marks live decisions whose time is over as expired; gives how many.
    pub async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "UPDATE decisions SET state = 'expired', changed_at = ?1 \
                 WHERE state IN ('pending', 'active', 'held') AND expires_at <= ?1",
            );
            Ok(query.bind(now.0).execute(connection).await?.rows_affected())
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
            query.bind(network_text(network)).bind(note).bind(now.0).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Takes `network` off that list; whether it was on it.
    pub async fn allow_remove(&self, network: IpNet) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("DELETE FROM allow WHERE network = ?").bind(network_text(network));
            Ok(query.execute(connection).await?.rows_affected() > 0)
        })
        .await
    }

    /// Deletes what is older than `keep_days` (findings by their own time, decisions by when they
    /// ended; live ones stay) and the oldest changes beyond `max_outbox_rows`; gives the number of
    /// rows. In short transactions, so that commits go on between them.
    pub async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        const OLD_FINDINGS: &str =
            "DELETE FROM findings WHERE rowid IN (SELECT rowid FROM findings WHERE time < ? LIMIT 1000)";
        const OLD_DECISIONS: &str = "DELETE FROM decisions WHERE rowid IN (SELECT rowid FROM decisions \
             WHERE state IN ('expired', 'lifted', 'refused') AND changed_at < ? LIMIT 1000)";
        const OLD_CHANGES: &str = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox \
             WHERE seq <= (SELECT max(seq) FROM outbox) - ? ORDER BY seq LIMIT 1000)";
        let oldest = now.0.saturating_sub(i64::from(self.config.keep_days) * 86_400_000);
        let mut deleted = 0;
        for (sql, bound) in [
            (OLD_FINDINGS, oldest),
            (OLD_DECISIONS, oldest),
            (OLD_CHANGES, i64::from(self.config.max_outbox_rows)),
        ] {
            loop {
                let rows = self
                    .write(async |connection| {
                        let rows = sqlx::query(sql).bind(bound).execute(&mut *connection).await?.rows_affected();
                        // Gives up to 4 MB of freed pages back to the file system.
                        sqlx::query("PRAGMA incremental_vacuum(1024)").execute(connection).await?;
                        Ok(rows)
                    })
                    .await?;
                deleted += rows;
                if rows < 1000 {
                    break;
                }
            }
        }
        Ok(deleted)
    }

    /// Finishes what is under way, folds the write-ahead log into the database and lets go of the
    /// state directory. Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        // Unlocking can fail only where the file is closed already.
        let _ = self.lock.unlock();
    }

    async fn write<T>(
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

    pub(super) fn failed(&self, source: sqlx::Error) -> StoreError {
        let error = StoreError::of(&self.path, source);
        if matches!(error, StoreError::Damaged { .. }) {
            open::mark_suspect(&self.path);
        }
        error
    }
}

/// A network as the database writes it: one address bare.
pub(super) fn network_text(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.trunc().to_string()
    }
}

/// Rows of one INSERT. More gain nothing, and SQLite takes at most 32,766 parameters.
const ROWS: usize = 64;

async fn insert_findings(
    connection: &mut SqliteConnection,
    findings: &[Finding],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut inserted = 0;
    for chunk in findings.chunks(ROWS) {
        let mut texts = Vec::with_capacity(chunk.len());
        for finding in chunk {
            texts.push((json(&finding.rule_ids)?, json(&finding.evidence)?));
        }
        let mut query = QueryBuilder::new(
            "INSERT INTO findings (id, file, generation, byte_offset, line_number, time, source_ip, client, method, \
             uri, status, user_agent, referer, category, score, rule_ids, evidence, action, verdict, confidence, \
             decided_by, reasoning, recorded_at) ",
        );
        query.push_values(chunk.iter().zip(texts), |mut row, (finding, (rule_ids, evidence))| {
            row.push_bind(finding.id())
                .push_bind(finding.file.clone())
                .push_bind(finding.generation.cast_signed())
                .push_bind(finding.offset.cast_signed())
                .push_bind(finding.line_number.map(u64::cast_signed))
                .push_bind(finding.time.0)
                .push_bind(finding.source_ip.map(|ip| ip.to_string()))
                .push_bind(finding.client.map(|client| client.to_string()))
                .push_bind(&finding.method)
                .push_bind(&finding.uri)
                .push_bind(finding.status)
                .push_bind(&finding.user_agent)
                .push_bind(&finding.referer)
                .push_bind(finding.category.as_str())
                .push_bind(finding.score)
                .push_bind(rule_ids)
                .push_bind(evidence)
                .push_bind(finding.action.as_str())
                .push_bind(finding.verdict.class.as_str())
                .push_bind(finding.verdict.confidence)
                .push_bind(finding.verdict.decided_by.as_str())
                .push_bind(&finding.verdict.reasoning)
                .push_bind(at.0);
        });
        // Not INSERT OR IGNORE, which would swallow every broken constraint.
        query.push(" ON CONFLICT (id) DO NOTHING");
        inserted += run(connection, query, chunk.len()).await?;
    }
    Ok(inserted)
}

async fn insert_decisions(
    connection: &mut SqliteConnection,
    decisions: &[Decision],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut inserted = 0;
    for chunk in decisions.chunks(ROWS) {
        let mut query = QueryBuilder::new(
            "INSERT INTO decisions (id, target, proposer, finding_id, category, score, reason, created_at, \
             expires_at, simulated, offences, state, note, changed_at) ",
        );
        query.push_values(chunk, |mut row, decision| {
            row.push_bind(&decision.id)
                .push_bind(network_text(decision.target))
                .push_bind(decision.proposer.as_str())
                .push_bind(&decision.ground.finding_id)
                .push_bind(decision.ground.category.map(|category| category.as_str()))
                .push_bind(decision.ground.score)
                .push_bind(&decision.ground.reason)
                .push_bind(decision.created_at.0)
                .push_bind(decision.expires_at.0)
                .push_bind(decision.simulated)
                .push_bind(decision.offences)
                .push_bind(decision.state.as_str())
                .push_bind(&decision.note)
                .push_bind(at.0);
        });
        query.push(" ON CONFLICT (id) DO NOTHING");
        inserted += run(connection, query, chunk.len()).await?;
    }
    Ok(inserted)
}

async fn insert_marks(connection: &mut SqliteConnection, marks: &[FileMark]) -> Result<(), sqlx::Error> {
    for mark in marks {
        let query = sqlx::query(
            "INSERT INTO marks (path, device, inode, generation, byte_offset, head_len, head_hash) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (generation) DO UPDATE SET \
             path = excluded.path, device = excluded.device, inode = excluded.inode, \
             byte_offset = excluded.byte_offset, head_len = excluded.head_len, head_hash = excluded.head_hash",
        );
        query
            .bind(mark.path.as_os_str().as_bytes())
            .bind(mark.device.cast_signed())
            .bind(mark.inode.cast_signed())
            .bind(mark.generation.cast_signed())
            .bind(mark.offset.cast_signed())
            .bind(mark.head_len)
            .bind(mark.head_hash.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn run(
    connection: &mut SqliteConnection,
    mut query: QueryBuilder<sqlx::Sqlite>,
    rows: usize,
) -> Result<u64, sqlx::Error> {
    // A prepared statement is kept for one row and for a full chunk only: 62 sizes between would
    // hold megabytes.
    let keep = rows == 1 || rows == ROWS;
    Ok(query.build().persistent(keep).execute(connection).await?.rows_affected())
}

fn json(value: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}
