//! After a database was found damaged: what is still known elsewhere comes into the new one. The file
//! `palisade.db.recover` beside it says that this has not been done yet, and where the damaged one is.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, QueryBuilder, Row, SqlitePool};
use tokio::sync::watch;

use super::{Batch, DecisionFilter, Sqlite, open};
use crate::event::{Decision, DecisionState, Timestamp};
use crate::record::{AllowEntry, Correction, StoreError};

/// Decisions that are read of a damaged database at most, the newest.
const MOST: u32 = 500_000;

/// What is known elsewhere of what this host recorded.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    pub decisions: Vec<Decision>,
    pub corrections: Vec<Correction>,
    pub allow: Vec<AllowEntry>,
    pub(in crate::record) bouncers: Vec<Key>,
}

/// A bouncer's right to ask.
#[derive(Clone, Debug)]
pub(in crate::record) struct Key {
    name: String,
    key_hash: Vec<u8>,
    created_at: i64,
    user_agent: String,
}

impl Sqlite {
    /// What can still be read of the damaged database that is kept aside: decisions that live or were taken
    /// after `since`, and what was kept by hand. Nothing of what cannot.
    pub async fn salvage(&self, since: Timestamp) -> Remembered {
        let Some(aside) = self.damaged() else { return Remembered::default() };
        let readers = open::readers(aside);
        let past = Sqlite {
            path: aside.to_owned(),
            writer: readers.clone(),
            readers,
            config: self.config.clone(),
            policy: self.policy.clone(),
            cases: Mutex::default(),
            damaged: None,
            changed: watch::Sender::new(()),
            lock: None,
        };
        // By two ways, of which one may be broken.
        let mut decisions = past.live_decisions(Timestamp(i64::MIN)).await.unwrap_or_default();
        decisions.extend(past.decisions(DecisionFilter::default(), MOST).await.unwrap_or_default());
        decisions.retain(|one| !DecisionState::ENDED.contains(&one.state) || one.created_at > since);
        let remembered = Remembered {
            decisions,
            corrections: past.corrections().await.unwrap_or_default(),
            allow: past.allow_list().await.unwrap_or_default(),
            bouncers: past.read(QueryBuilder::new("SELECT * FROM bouncers"), key).await.unwrap_or_default(),
        };
        past.readers.close().await;
        // It is known that it is damaged.
        let _ = fs::remove_file(open::beside(aside, ".suspect"));
        remembered
    }

    /// Takes up what is remembered elsewhere and is not here. A decision that has ended anywhere has ended.
    pub async fn take_up(&self, remembered: &Remembered, at: Timestamp) -> Result<(), StoreError> {
        let Remembered { decisions, corrections, allow, bouncers } = remembered;
        self.commit(&Batch { at, decisions, ..Batch::default() }).await?;
        for state in DecisionState::ENDED {
            let ended = decisions.iter().filter(|one| one.state == state).map(|one| one.id.clone());
            let ended: Vec<String> = ended.collect();
            if !ended.is_empty() {
                self.set_state(&ended, state, "", at).await?;
            }
        }
        for correction in corrections {
            self.correct(correction).await?;
        }
        for entry in allow {
            self.allow_add(entry.network, &entry.note, entry.created_at).await?;
        }
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            for key in bouncers {
                // Of the new numbers of changes it has none.
                let query = sqlx::query(
                    "INSERT INTO bouncers (name, key_hash, created_at, user_agent, cursor) VALUES (?, ?, ?, ?, 0) \
                     ON CONFLICT DO NOTHING",
                );
                let query = query.bind(&key.name).bind(&key.key_hash).bind(key.created_at).bind(&key.user_agent);
                query.execute(&mut *tx).await?;
            }
            tx.commit().await
        })
        .await
    }

    /// All that is known elsewhere is here now.
    pub fn recovered(&self) {
        if let Err(error) = fs::remove_file(marker(&self.path)) {
            tracing::debug!("it is recovered again at the next start: {error}");
        }
    }
}

/// Notes that the damaged database at `path` goes to `aside`, and that nothing of it is recovered.
pub(super) fn begin(path: &Path, aside: &Path) -> io::Result<()> {
    let mut file = open::private().open(marker(path))?;
    file.set_len(0)?;
    file.write_all(aside.as_os_str().as_bytes())?;
    file.sync_all()
}

/// Where the damaged database is that was at `path`, if it is not recovered yet.
pub(super) fn unfinished(path: &Path) -> Option<PathBuf> {
    fs::read(marker(path)).ok().map(|bytes| OsString::from_vec(bytes).into())
}

/// Has the changes of a new database numbered from `first`, as long as there is none: above all that other
/// stores were ever sent of the old one.
pub(super) async fn number_from(writer: &SqlitePool, first: i64) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox', ? \
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'outbox')",
    );
    query.bind(first).execute(writer).await.map(drop)
}

fn marker(path: &Path) -> PathBuf {
    open::beside(path, ".recover")
}

fn key(row: SqliteRow) -> Result<Key, sqlx::Error> {
    Ok(Key {
        name: row.try_get("name")?,
        key_hash: row.try_get("key_hash")?,
        created_at: row.try_get("created_at")?,
        user_agent: row.try_get("user_agent")?,
    })
}
