//! What other stores have not got yet. The outbox is the spool: each reader has the number up to which it
//! has read, and what it has still to read is kept, up to a bound.

use std::collections::{BTreeSet, HashSet};

use foldhash::quality::RandomState;
use ipnet::IpNet;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, QueryBuilder, Row};

use super::insert::json;
use super::ledger::{correction, model_call};
use super::read::{DECISION, FINDING, allow_entry, network, number, raw_decision};
use super::{Sqlite, VACUUM, read};
use crate::event::{Decision, DecisionState, Timestamp};
use crate::record::{AnalysisSession, DecisionChange, FindingRow, Rows, StoreError};

/// What goes unsent when more waits than is kept, in this order: the oldest first. Never decisions, what an
/// operator said, and what is to be forgotten.
const DROPPED: [&str; 3] = ["finding", "call", "session"];
/// `decisions.pseudonym` of a decision that has no real target any more.
const HIDDEN: i64 = 2;
/// Rows of one transaction that deletes.
const CHUNK: i64 = 1000;
/// Bytes of findings beyond which no more are read at once.
const MAX_BYTES: usize = 16 << 20;
/// Changes that are read by one statement.
const PART: u32 = 256;
/// More that wait are not counted one by one.
const COUNTED: i64 = 100_000;

/// What a reader has not read yet, as it is now.
#[derive(Clone, Debug, Default)]
pub struct Unsent {
    /// Networks whose clients are to be forgotten before `rows` are taken up.
    pub forgotten: Vec<IpNet>,
    /// Several changes of one row are one; what was deleted meanwhile is left out.
    pub rows: Rows,
    /// Changes of which this is made.
    pub changes: usize,
    /// There are no more.
    pub is_all: bool,
}

/// How far behind a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Changes not read yet; of very many an estimate.
    pub changes: u64,
    /// Changes that went unread because too many waited.
    pub dropped: u64,
    /// When the first of those that wait happened.
    pub oldest: Option<Timestamp>,
}

/// Consecutive changes of the outbox.
#[derive(Default)]
struct Part {
    /// The number of the last one.
    upto: Option<i64>,
    changes: u32,
    /// Each an array in a line of its own.
    findings: String,
    /// Kind and id of what is no finding.
    others: Vec<(String, String)>,
}

impl Sqlite {
    /// Whether anybody reads the outbox under this name.
    pub async fn has_reader(&self, reader: &str) -> Result<bool, StoreError> {
        let mut query = QueryBuilder::new("SELECT 1 FROM outbox_readers WHERE name = ");
        query.push_bind(reader);
        Ok(!self.read(query, |_| Ok(())).await?.is_empty())
    }

    /// From now on `reader` is to read everything that is kept, whatever it has read already: it has
    /// everything to send to a store that knows nothing of this host.
    pub async fn send_all(&self, reader: &str) -> Result<(), StoreError> {
        const READER: &str = "INSERT INTO outbox_readers (name, seq) SELECT ?, coalesce(min(seq) - 1, \
             (SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0) \
             FROM (SELECT min(seq) AS seq FROM outbox UNION ALL SELECT min(seq) FROM decision_changes) \
             WHERE true ON CONFLICT (name) DO UPDATE SET seq = excluded.seq";
        // The few of other kinds that the outbox has still are sent twice, which is harmless. Decisions have their changes.
        const PAST: [&str; 6] = [
            "INSERT INTO outbox (kind, id, at, place) SELECT 'finding', id, recorded_at, rowid FROM findings \
             WHERE id NOT IN (SELECT id FROM outbox WHERE kind = 'finding') ORDER BY rowid",
            "INSERT INTO outbox (kind, id, at) SELECT 'decision', id, changed_at FROM decisions AS one WHERE NOT EXISTS \
             (SELECT 1 FROM decision_changes WHERE decision_id = one.id)",
            "INSERT INTO outbox (kind, id, at) SELECT 'call', id, at FROM model_calls ORDER BY id",
            "INSERT INTO outbox (kind, id, at) SELECT 'correction', finding_id, at FROM corrections",
            "INSERT INTO outbox (kind, id, at) SELECT 'session', id, at FROM analysis_sessions",
            "INSERT INTO outbox (kind, id, at) SELECT 'allow', network, created_at FROM allow",
        ];
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(READER).bind(reader).execute(&mut *tx).await?;
            for sql in PAST {
                sqlx::query(sql).execute(&mut *tx).await?;
            }
            tx.commit().await
        })
        .await?;
        self.limit_unsent().await.map(drop)
    }

    /// Nobody reads under this name any more, so that nothing waits for it.
    pub async fn drop_reader(&self, reader: &str) -> Result<(), StoreError> {
        if !self.has_reader(reader).await? {
            return Ok(());
        }
        self.write(async |connection| {
            sqlx::query("DELETE FROM outbox_readers WHERE name = ?").bind(reader).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// What `reader` has to read next: of `limit` changes, or fewer. The same again until they are
    /// [`sent`](Self::sent).
    pub async fn unsent(&self, reader: &str, limit: u32) -> Result<Unsent, StoreError> {
        self.unsent_after(self.position(reader).await?, limit).await
    }

    /// What follows change number `after`: of `limit` changes, or fewer.
    pub async fn unsent_after(&self, after: i64, limit: u32) -> Result<Unsent, StoreError> {
        let (mut findings, mut entries, mut upto) = (vec![], vec![], after);
        let (mut changes, mut bytes, mut is_all) = (0, 0, false);
        while !is_all && changes < limit && bytes <= MAX_BYTES {
            let part = PART.min(limit - changes);
            let read = self.part_after(upto, part).await?;
            (changes, bytes, is_all) = (changes + read.changes, bytes + read.findings.len(), read.changes < part);
            upto = read.upto.unwrap_or(upto);
            entries.extend(read.others);
            for text in read.findings.lines() {
                // One row that cannot be read must not keep the others here for good.
                match serde_json::from_str::<FindingRow>(text) {
                    Ok(finding) => findings.push(finding),
                    Err(error) => {
                        let id = text.split('"').nth(1).unwrap_or_default();
                        tracing::error!("finding {id} is not sent: {error}");
                    }
                }
            }
        }
        let mut known: HashSet<&str, RandomState> = HashSet::default();
        let mut is_new = findings.iter().map(|row| known.insert(&row.id)).collect::<Vec<_>>().into_iter();
        findings.retain(|_| is_new.next().unwrap_or_default());
        let of = |kind: &str| -> BTreeSet<&str> {
            entries.iter().filter(|(of, _)| of == kind).map(|(_, id)| id.as_str()).collect()
        };
        let forgotten = of("forgotten").into_iter().filter_map(network).collect();
        let mut allowed = self.rows_of("SELECT * FROM allow WHERE network IN", &of("allow"), allow_entry).await?;
        let mut disallowed: Vec<IpNet> = of("allow").into_iter().filter_map(network).collect();
        disallowed.retain(|network| allowed.iter().all(|entry| entry.network != *network));
        if self.policy.pseudonyms.is_some() {
            // Real addresses stay here.
            (allowed, disallowed) = (vec![], vec![]);
        }
        let (decisions, steps) = self.decisions_of(&of("decision"), after, upto).await?;
        let rows = Rows {
            version: upto,
            findings,
            decisions,
            changes: steps,
            calls: self
                .rows_of("SELECT * FROM model_calls WHERE id IN", &of("call"), |row| {
                    Ok((row.try_get("id")?, model_call(row)?))
                })
                .await?,
            corrections: self
                .rows_of("SELECT * FROM corrections WHERE finding_id IN", &of("correction"), correction)
                .await?,
            sessions: self.rows_of("SELECT * FROM analysis_sessions WHERE id IN", &of("session"), session).await?,
            allowed,
            disallowed,
        };
        Ok(Unsent { forgotten, rows, changes: changes as usize, is_all })
    }

    /// Of so many changes that follow number `after`, or fewer.
    async fn part_after(&self, after: i64, limit: u32) -> Result<Part, StoreError> {
        // The changes of decisions are kept as long as decisions: what is gone of the outbox is not lost. Findings
        // come as one text: a value of its own for each of their columns, or each of them, takes longer than SQLite's
        // work. Their ids are hashes: by them each would be looked for on another page.
        let mut query = QueryBuilder::new(format!(
            "SELECT max(seq), count(*), coalesce(group_concat(finding, char(10)), ''), \
             json_group_array(json_array(kind, id)) FILTER (WHERE kind <> 'finding') FROM (SELECT seq, kind, id, \
             CASE kind WHEN 'finding' THEN coalesce( \
             (SELECT json_array({FINDING}) FROM findings WHERE rowid = outbox.place AND findings.id = outbox.id), \
             (SELECT json_array({FINDING}) FROM findings WHERE findings.id = outbox.id)) END AS finding \
             FROM outbox WHERE seq > "
        ));
        query.push_bind(after);
        query.push(" UNION ALL SELECT seq, 'decision', decision_id, NULL FROM decision_changes WHERE seq > ");
        query.push_bind(after).push(" ORDER BY seq LIMIT ").push_bind(limit).push(")");
        let part = self.read(query, |row| {
            Ok(Part {
                upto: row.try_get(0)?,
                changes: row.try_get(1)?,
                findings: row.try_get(2)?,
                others: read::json(&row, 3)?,
            })
        });
        Ok(part.await?.pop().unwrap_or_default())
    }

    /// `reader` has everything up to change number `upto`.
    pub async fn sent(&self, reader: &str, upto: i64) -> Result<(), StoreError> {
        self.write_quietly(async |connection| {
            let query = sqlx::query(
                "INSERT INTO outbox_readers (name, seq) VALUES (?, ?) \
                 ON CONFLICT (name) DO UPDATE SET seq = max(seq, excluded.seq)",
            );
            query.bind(reader).bind(upto).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// As [`sent`](Self::sent), together with what the reader remembers of it.
    pub async fn read_with(&self, reader: &str, upto: i64, state: &str) -> Result<(), StoreError> {
        self.write_quietly(async |connection| {
            let query = sqlx::query(
                "INSERT INTO outbox_readers (name, seq, state) VALUES (?, ?, ?) \
                 ON CONFLICT (name) DO UPDATE SET seq = max(seq, excluded.seq), state = excluded.state",
            );
            query.bind(reader).bind(upto).bind(state).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// How far each reader whose name begins with `prefix` has come, and what it remembers.
    pub async fn readers(&self, prefix: &str) -> Result<Vec<(String, i64, String)>, StoreError> {
        let mut query = QueryBuilder::new("SELECT name, seq, state FROM outbox_readers WHERE substr(name, 1, ");
        query.push_bind(prefix.len() as i64).push(") = ").push_bind(prefix.to_owned());
        self.read(query, |row| Ok((row.try_get("name")?, row.try_get("seq")?, row.try_get("state")?))).await
    }

    /// So many changes that `reader` read cannot be sent: they count as dropped.
    pub async fn skipped(&self, reader: &str, changes: u64) -> Result<(), StoreError> {
        self.write_quietly(async |connection| {
            let query = sqlx::query("UPDATE outbox_readers SET dropped = dropped + ? WHERE name = ?");
            query.bind(changes.cast_signed()).bind(reader).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// How far behind `reader` is.
    pub async fn waiting(&self, reader: &str) -> Result<Waiting, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT dropped, (SELECT min(at) FROM (SELECT at FROM outbox WHERE outbox.seq > readers.seq \
             ORDER BY seq LIMIT 1)) AS oldest, (SELECT count(*) FROM (SELECT 1 FROM outbox \
             WHERE outbox.seq > readers.seq LIMIT ",
        );
        query.push_bind(COUNTED).push(
            ")) AS counted, (SELECT coalesce(max(outbox.seq), 0) FROM outbox) - readers.seq AS estimated \
             FROM outbox_readers AS readers WHERE name = ",
        );
        query.push_bind(reader);
        let waiting = self.read(query, |row| {
            let counted: i64 = row.try_get("counted")?;
            let changes = if counted < COUNTED { counted } else { row.try_get("estimated")? };
            Ok(Waiting {
                changes: changes.max(0).cast_unsigned(),
                dropped: number(&row, "dropped")?,
                oldest: row.try_get::<Option<i64>, _>("oldest")?.map(Timestamp),
            })
        });
        Ok(waiting.await?.into_iter().next().unwrap_or_default())
    }

    /// Lets the oldest changes go where more than `max_unsent_rows` wait; gives how many. Each reader that
    /// has not read them has them counted.
    pub async fn limit_unsent(&self) -> Result<u64, StoreError> {
        const WAITING: &str = "SELECT count(*) FROM outbox WHERE seq > (SELECT min(seq) FROM outbox_readers)";
        // The last number of a chunk, all of one kind.
        const LAST: &str =
            "SELECT max(seq) FROM (SELECT seq FROM outbox WHERE kind = ? AND seq > ? ORDER BY seq LIMIT ?)";
        const COUNT: &str = "UPDATE outbox_readers SET dropped = dropped + (SELECT count(*) FROM outbox \
             WHERE kind = ?1 AND outbox.seq > max(?2, outbox_readers.seq) AND outbox.seq <= ?3)";
        const DROP: &str = "DELETE FROM outbox WHERE kind = ? AND seq > ? AND seq <= ?";
        let most = i64::from(self.config.max_unsent_rows);
        let first = QueryBuilder::new(WAITING);
        let waiting: i64 = self.read(first, |row| row.try_get(0)).await?.into_iter().next().unwrap_or(0);
        let mut over = waiting - most;
        let mut dropped = 0;
        for kind in DROPPED {
            let mut after = 0;
            while over > 0 {
                let chunk = over.min(CHUNK);
                let rows = self
                    .write_quietly(async |connection| {
                        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
                        let last = sqlx::query_scalar(LAST).bind(kind).bind(after).bind(chunk);
                        let Some(last) = last.fetch_one(&mut *tx).await? else { return Ok(0) };
                        let last: i64 = last;
                        sqlx::query(COUNT).bind(kind).bind(after).bind(last).execute(&mut *tx).await?;
                        let gone = sqlx::query(DROP).bind(kind).bind(after).bind(last).execute(&mut *tx).await?;
                        tx.commit().await?;
                        after = last;
                        Ok(gone.rows_affected())
                    })
                    .await?;
                if rows == 0 {
                    break;
                }
                dropped += rows;
                over -= rows.cast_signed();
            }
        }
        Ok(dropped)
    }

    /// When the first change happened that a reader has not read; none: all have read everything.
    pub(super) async fn oldest_unsent(&self) -> Result<Option<Timestamp>, StoreError> {
        let query = QueryBuilder::new(
            "SELECT at FROM outbox WHERE seq > (SELECT min(seq) FROM outbox_readers) ORDER BY seq LIMIT 1",
        );
        Ok(self.read(query, |row| row.try_get(0).map(Timestamp)).await?.into_iter().next())
    }

    /// Deletes changes that all readers have read, the oldest beyond `max_outbox_rows`; gives how many.
    pub(super) async fn prune_changes(&self) -> Result<u64, StoreError> {
        const OLD: &str = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE seq <= \
             (SELECT min(max(seq) - ?1, coalesce((SELECT min(seq) FROM outbox_readers), max(seq))) FROM outbox) \
             ORDER BY seq LIMIT ?2)";
        let mut deleted = self.limit_unsent().await?;
        loop {
            let rows = self
                .write_quietly(async |connection| {
                    let query = sqlx::query(OLD).bind(i64::from(self.config.max_outbox_rows)).bind(CHUNK);
                    let rows = query.execute(&mut *connection).await?.rows_affected();
                    sqlx::query(VACUUM).execute(connection).await?;
                    Ok(rows)
                })
                .await?;
            deleted += rows;
            if rows < CHUNK.cast_unsigned() {
                return Ok(deleted);
            }
        }
    }

    async fn position(&self, reader: &str) -> Result<i64, StoreError> {
        let mut query = QueryBuilder::new("SELECT seq FROM outbox_readers WHERE name = ");
        query.push_bind(reader);
        Ok(self.read(query, |row| row.try_get(0)).await?.into_iter().next().unwrap_or(0))
    }

    async fn rows_of<T>(
        &self,
        select: &str,
        ids: &BTreeSet<&str>,
        decode: impl Fn(SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        // One row that cannot be read must not keep the others here for good.
        let decode = |row| Ok(decode(row).inspect_err(|error| tracing::error!("a row is not sent: {error}")).ok());
        Ok(self.read(self.with_ids(select, ids)?, decode).await?.into_iter().flatten().collect())
    }

    /// `select` of the rows with one of these ids.
    pub(super) fn with_ids(
        &self,
        select: &str,
        ids: &BTreeSet<&str>,
    ) -> Result<QueryBuilder<sqlx::Sqlite>, StoreError> {
        let mut query = QueryBuilder::new(select.to_owned());
        query.push(" (SELECT value FROM json_each(").push_bind(json(ids).map_err(|source| self.failed(source))?);
        query.push("))");
        Ok(query)
    }

    /// Decisions with the changes between two numbers, as other stores get them.
    async fn decisions_of(
        &self,
        ids: &BTreeSet<&str>,
        after: i64,
        upto: i64,
    ) -> Result<(Vec<Decision>, Vec<DecisionChange>), StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM decision_changes WHERE seq > ");
        query.push_bind(after).push(" AND seq <= ").push_bind(upto).push(" ORDER BY seq");
        let mut changes = self.read(query, decision_change).await?;
        let decode =
            |row: SqliteRow| Ok((row.try_get::<i64, _>("pseudonym")? != HIDDEN, self.decode(raw_decision(row)?)));
        let select = format!("SELECT {DECISION}, pseudonym FROM decisions WHERE id IN");
        let mut decisions = vec![];
        for (is_real, decision) in self.rows_of(&select, ids, decode).await? {
            let Ok(decision) = decision.inspect_err(|error| tracing::error!("a decision is not sent: {error}")) else {
                continue;
            };
            if !is_real || self.policy.pseudonyms.is_none() {
                decisions.push(decision);
                continue;
            }
            for change in changes.iter_mut().filter(|change| change.decision_id == decision.id) {
                let note = std::mem::take(&mut change.note);
                change.note = self.policy.decision(Decision { note, ..decision.clone() }).note;
            }
            decisions.push(self.policy.decision(decision));
        }
        Ok((decisions, changes))
    }
}

pub(super) fn decision_change(row: SqliteRow) -> Result<DecisionChange, sqlx::Error> {
    let state: String = row.try_get("state")?;
    let state = DecisionState::parse(&state)
        .ok_or_else(|| sqlx::Error::Decode(format!("{state:?} is no state of a decision").into()))?;
    Ok(DecisionChange {
        seq: row.try_get("seq")?,
        decision_id: row.try_get("decision_id")?,
        state,
        at: Timestamp(row.try_get("at")?),
        note: row.try_get("note")?,
    })
}

pub(super) fn session(row: SqliteRow) -> Result<AnalysisSession, sqlx::Error> {
    Ok(AnalysisSession {
        id: row.try_get("id")?,
        at: Timestamp(row.try_get("at")?),
        source: row.try_get("source")?,
        log_count: number(&row, "log_count")?,
        threat_count: number(&row, "threat_count")?,
        overall_score: row.try_get("overall_score")?,
        health_status: row.try_get("health_status")?,
        compression_ratio: row.try_get("compression_ratio")?,
        tokens_saved: number(&row, "tokens_saved")?,
    })
}
