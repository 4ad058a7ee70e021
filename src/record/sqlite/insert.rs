//! Rows go in here; what is there already stays as it is.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;

use ipnet::IpNet;
use serde::Serialize;
use sqlx::{QueryBuilder, SqliteConnection};

use crate::event::{Decision, FileMark, Timestamp};
use crate::record::FindingRow;

/// Parameters of one INSERT: more gain nothing, and SQLite takes at most 32,766.
const PARAMETERS: usize = 3456;

/// Those of `rows` that were never recorded here, each once.
pub(super) async fn unknown(
    connection: &mut SqliteConnection,
    rows: Vec<FindingRow>,
) -> Result<Vec<FindingRow>, sqlx::Error> {
    const KNOWN: &str = "SELECT id FROM findings WHERE id IN (SELECT value FROM json_each(?1)) \
         UNION ALL SELECT id FROM counted WHERE id IN (SELECT value FROM json_each(?1))";
    if rows.is_empty() {
        return Ok(rows);
    }
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let known = sqlx::query_scalar::<_, String>(KNOWN).bind(json(&ids)?).fetch_all(connection).await?;
    let mut known: HashSet<String> = known.into_iter().collect();
    let mut rows = rows;
    rows.retain(|row| known.insert(row.id.clone()));
    Ok(rows)
}

/// Notes that these are counted, of which no row is kept.
pub(super) async fn counted(connection: &mut SqliteConnection, rows: &[FindingRow]) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let query = sqlx::query("INSERT INTO counted (id) SELECT value FROM json_each(?)");
    query.bind(json(&ids)?).execute(connection).await?;
    Ok(())
}

/// Rows that are not there. `version`: of another store.
pub(super) async fn findings(
    connection: &mut SqliteConnection,
    rows: &[FindingRow],
    version: Option<i64>,
) -> Result<(), sqlx::Error> {
    in_chunks(connection, rows, 27, |chunk| {
        let rule_ids = chunk.iter().map(|row| json(&row.rule_ids)).collect::<Result<Vec<_>, _>>()?;
        let mut query = QueryBuilder::new(
            "INSERT OR ROLLBACK INTO findings (id, file, generation, byte_offset, line_number, time, source_ip, client, method, \
             uri, status, user_agent, referer, category, score, rule_ids, evidence, action, verdict, confidence, \
             decided_by, reasoning, recorded_at, flagged, is_system_url, case_id, version) ",
        );
        query.push_values(chunk.iter().zip(rule_ids), |mut values, (row, rule_ids)| {
            values
                .push_bind(&row.id)
                .push_bind(&row.file)
                .push_bind(row.generation.cast_signed())
                .push_bind(row.offset.cast_signed())
                .push_bind(row.line_number.map(u64::cast_signed))
                .push_bind(row.time.0)
                .push_bind(&row.source_ip)
                .push_bind(&row.client)
                .push_bind(&row.method)
                .push_bind(&row.uri)
                .push_bind(row.status)
                .push_bind(&row.user_agent)
                .push_bind(&row.referer)
                .push_bind(&row.category)
                .push_bind(row.score)
                .push_bind(rule_ids)
                .push_bind(row.evidence.text())
                .push_bind(&row.action)
                .push_bind(&row.verdict)
                .push_bind(row.confidence)
                .push_bind(&row.decided_by)
                .push_bind(&row.reasoning)
                .push_bind(row.recorded_at.0)
                .push_bind(row.flagged)
                .push_bind(row.is_system_url)
                .push_bind(&row.case_id)
                .push_bind(version);
        });
        Ok(query)
    })
    .await?;
    Ok(())
}

/// What is done about a decision's target: `decisions.pseudonym`.
#[derive(Clone, Copy)]
pub(super) enum Hiding {
    Never = 0,
    /// When it has ended.
    Later = 1,
    /// It came as a pseudonym.
    Done = 2,
}

pub(super) async fn decisions(
    connection: &mut SqliteConnection,
    decisions: &[Decision],
    at: Timestamp,
    pseudonym: Hiding,
) -> Result<u64, sqlx::Error> {
    in_chunks(connection, decisions, 18, |chunk| {
        let mut query = QueryBuilder::new(
            "INSERT OR ROLLBACK INTO decisions (id, target, proposer, finding_id, category, score, reason, created_at, \
             expires_at, simulated, offences, state, note, changed_at, via_proxy, was_served, pseudonym, origin) ",
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
                .push_bind(at.0)
                .push_bind(decision.ground.via_proxy)
                .push_bind(decision.ground.was_served)
                .push_bind(pseudonym as u8)
                .push_bind(&decision.origin);
        });
        // Not INSERT OR IGNORE, which would swallow every broken constraint.
        query.push(" ON CONFLICT (id) DO NOTHING");
        Ok(query)
    })
    .await
}

pub(super) async fn marks(connection: &mut SqliteConnection, marks: &[FileMark]) -> Result<(), sqlx::Error> {
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

/// Has `make` make statements for `rows`, each row with so many parameters: the next one while SQLite is at the
/// one before. Gives how many rows they touched.
///
/// They should say OR ROLLBACK: what fails takes the whole transaction with it. SQLite keeps a copy of each page
/// that a statement changes if it may have to undo this statement alone: a third of the time that findings took.
pub(super) async fn in_chunks<T>(
    connection: &mut SqliteConnection,
    rows: &[T],
    parameters: usize,
    make: impl Fn(&[T]) -> Result<QueryBuilder<sqlx::Sqlite>, sqlx::Error>,
) -> Result<u64, sqlx::Error> {
    let full = PARAMETERS / parameters;
    let mut chunks = rows.chunks(full);
    let mut next = || chunks.next().map(|chunk| Ok::<_, sqlx::Error>((make(chunk)?, chunk.len()))).transpose();
    let mut made = next()?;
    let mut touched = 0;
    while let Some((mut query, count)) = made {
        // A prepared statement is kept for one row and for a full chunk only: those of all sizes between would
        // hold megabytes.
        let running = query.build().persistent(count == 1 || count == full).execute(&mut *connection);
        let (done, following) = tokio::join!(biased; running, async { next() });
        touched += done?.rows_affected();
        made = following?;
    }
    Ok(touched)
}

pub(super) fn json(value: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// A network as the database writes it: one address bare.
pub(super) fn network_text(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.trunc().to_string()
    }
}
