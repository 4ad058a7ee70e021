//! Rows of another store, such as those that Postgres has of this host after the local database was lost. They
//! make no entry in the outbox, whose triggers' work is undone in the same transaction: nobody is sent or told
//! of them again.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use sqlx::{Connection, Row, SqliteConnection};

use super::insert::{self, Hiding, json};
use super::read::finding_row;
use super::{Sqlite, ledger, totals};
use crate::event::{Decision, Timestamp};
use crate::record::rollup::Tally;
use crate::record::{AnalysisSession, Answer, FindingRow, Rows, Store, StoreError};

impl Store for Sqlite {
    fn put<'a>(&'a self, _agent: &'a str, rows: &'a Rows, now: Timestamp) -> Answer<'a, u64> {
        Box::pin(self.take_over(rows, now))
    }

    fn forget(&self, network: IpNet) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.forget_clients(network).await?.rows) })
    }

    fn prune(&self, now: Timestamp) -> Answer<'_, u64> {
        Box::pin(Sqlite::prune(self, now))
    }
}

impl Sqlite {
    async fn take_over(&self, rows: &Rows, now: Timestamp) -> Result<u64, StoreError> {
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            let before: i64 =
                sqlx::query_scalar("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)")
                    .fetch_one(&mut *tx)
                    .await?;
            let new = findings(&mut tx, &rows.findings, rows.version).await?;
            self.take_decisions(&mut tx, &rows.decisions, rows.version, now).await?;
            for undo in ["DELETE FROM decision_changes WHERE seq > ?", "DELETE FROM outbox WHERE seq > ?"] {
                sqlx::query(undo).bind(before).execute(&mut *tx).await?;
            }
            for change in &rows.changes {
                let query = sqlx::query(
                    "INSERT INTO decision_changes (seq, decision_id, state, at, note) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT DO NOTHING",
                );
                let query = query.bind(change.seq).bind(&change.decision_id).bind(change.state.as_str());
                query.bind(change.at.0).bind(&change.note).execute(&mut *tx).await?;
            }
            for (id, call) in &rows.calls {
                ledger::call(&mut tx, Some(*id), call).await?;
            }
            for correction in &rows.corrections {
                let query = sqlx::query(
                    "INSERT INTO corrections (finding_id, verdict, view, at) VALUES (?, ?, ?, ?) \
                     ON CONFLICT (finding_id) DO UPDATE SET verdict = excluded.verdict, view = excluded.view, \
                     at = excluded.at WHERE excluded.at > at",
                );
                let query = query.bind(&correction.finding_id).bind(correction.verdict.as_str());
                query.bind(&correction.view).bind(correction.at.0).execute(&mut *tx).await?;
            }
            for one in &rows.sessions {
                session(&mut tx, one).await?;
            }
            for entry in &rows.allowed {
                let query = sqlx::query(
                    "INSERT INTO allow (network, note, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                );
                let query = query.bind(insert::network_text(entry.network)).bind(&entry.note);
                query.bind(entry.created_at.0).execute(&mut *tx).await?;
            }
            sqlx::query("DELETE FROM outbox WHERE seq > ?").bind(before).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(new)
        })
        .await
    }

    async fn take_decisions(
        &self,
        connection: &mut SqliteConnection,
        decisions: &[Decision],
        version: i64,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        const CHANGE: &str = "UPDATE decisions SET expires_at = ?1, state = ?2, note = ?3, changed_at = ?4, version = ?5 \
             WHERE id = ?6 AND version < ?5";
        let ids: Vec<&str> = decisions.iter().map(|decision| decision.id.as_str()).collect();
        let known: HashSet<String> =
            sqlx::query_scalar("SELECT id FROM decisions WHERE id IN (SELECT value FROM json_each(?))")
                .bind(json(&ids)?)
                .fetch_all(&mut *connection)
                .await?
                .into_iter()
                .collect();
        let (known, new): (Vec<_>, Vec<_>) = decisions.iter().partition(|decision| known.contains(&decision.id));
        for decision in known {
            let query = sqlx::query(CHANGE).bind(decision.expires_at.0).bind(decision.state.as_str());
            let query = query.bind(&decision.note).bind(now.0).bind(version).bind(&decision.id);
            query.execute(&mut *connection).await?;
        }
        let new: Vec<Decision> = new.into_iter().cloned().collect();
        let hiding = if self.policy.pseudonyms.is_some() { Hiding::Done } else { Hiding::Never };
        insert::decisions(connection, &new, now, hiding).await?;
        let ids: Vec<&str> = new.iter().map(|decision| decision.id.as_str()).collect();
        let query = sqlx::query("UPDATE decisions SET version = ? WHERE id IN (SELECT value FROM json_each(?))");
        query.bind(version).bind(json(&ids)?).execute(connection).await?;
        Ok(())
    }
}

/// Takes up findings; gives how many are new.
async fn findings(connection: &mut SqliteConnection, rows: &[FindingRow], version: i64) -> Result<u64, sqlx::Error> {
    // Of one that is there twice, the last.
    let by_id: HashMap<&str, &FindingRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let mut rows: Vec<&FindingRow> = by_id.into_values().collect();
    rows.sort_by_key(|row| (row.time, row.offset));
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let query = sqlx::query("SELECT * FROM findings WHERE id IN (SELECT value FROM json_each(?))").bind(json(&ids)?);
    let mut known = HashMap::new();
    for row in query.fetch_all(&mut *connection).await? {
        let may_change = row.try_get::<Option<i64>, _>("version")?.is_some_and(|known| known < version);
        let row = finding_row(row)?;
        known.insert(row.id.clone(), (row, may_change));
    }
    let (mut new, mut changed, mut counted) = (vec![], vec![], Tally::default());
    for row in rows {
        match known.get(&row.id) {
            None => new.push(row.clone()),
            Some((old, true)) => {
                counted.take(old);
                counted.add(row);
                changed.push(row.clone());
            }
            Some((_, false)) => {}
        }
    }
    let ids: Vec<&str> = changed.iter().map(|row| row.id.as_str()).collect();
    let delete = sqlx::query("DELETE FROM findings WHERE id IN (SELECT value FROM json_each(?))").bind(json(&ids)?);
    delete.execute(&mut *connection).await?;
    insert::findings(connection, &changed, Some(version)).await?;
    insert::findings(connection, &new, Some(version)).await?;
    totals::add(connection, counted).await?;
    totals::count(connection, &new).await?;
    Ok(new.len() as u64)
}

/// One run of an analysis; nothing if it is there.
pub(super) async fn session(connection: &mut SqliteConnection, session: &AnalysisSession) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO analysis_sessions (id, at, source, log_count, threat_count, overall_score, \
         health_status, compression_ratio, tokens_saved) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO NOTHING",
    );
    let query = query.bind(&session.id).bind(session.at.0).bind(&session.source);
    let query = query.bind(session.log_count.cast_signed()).bind(session.threat_count.cast_signed());
    let query = query.bind(session.overall_score).bind(&session.health_status);
    let query = query.bind(session.compression_ratio).bind(session.tokens_saved.cast_signed());
    query.execute(connection).await?;
    Ok(())
}
