//! What is counted of findings, and of clients, as they are recorded.

use std::collections::{BTreeMap, HashMap};

use sqlx::SqliteConnection;

use super::insert::json;
use crate::event::Timestamp;
use crate::record::FindingRow;
use crate::record::rollup::{self, Counts, Dimension};

/// Counts `rows`, which are new.
pub(super) async fn count(connection: &mut SqliteConnection, rows: &[FindingRow]) -> Result<(), sqlx::Error> {
    add(connection, &rollup::count(rows)).await?;
    see(connection, rows).await
}

/// What to add to the counts of hours.
pub(super) type Added = BTreeMap<(Timestamp, Dimension, String), Counts>;

pub(super) fn merge(all: &mut Added, more: Added) {
    for (key, counts) in more {
        let sum = all.entry(key).or_default();
        sum.findings += counts.findings;
        sum.blocks += counts.blocks;
        sum.analysed += counts.analysed;
    }
}

/// Adds to the counts of hours.
pub(super) async fn add(connection: &mut SqliteConnection, counted: &Added) -> Result<(), sqlx::Error> {
    const ADD: &str = "INSERT INTO rollups SELECT value ->> 0, 'hour', value ->> 1, value ->> 2, value ->> 3, \
         value ->> 4, value ->> 5 FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET \
         findings = findings + excluded.findings, blocks = blocks + excluded.blocks, \
         analysed = analysed + excluded.analysed";
    if counted.is_empty() {
        return Ok(());
    }
    // In the order of the table's key.
    let mut rows: Vec<_> = counted
        .iter()
        .map(|((start, dimension, key), counts)| {
            (dimension.as_str(), start.0, key.as_str(), counts.findings, counts.blocks, counts.analysed)
        })
        .collect();
    rows.sort_unstable();
    sqlx::query(ADD).bind(json(&rows)?).execute(connection).await?;
    Ok(())
}

/// What is known of a client of some rows.
struct Seen {
    first: i64,
    last: i64,
    findings: i64,
    max_score: u8,
}

async fn see(connection: &mut SqliteConnection, rows: &[FindingRow]) -> Result<(), sqlx::Error> {
    const SEE: &str = "INSERT INTO clients SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 \
         FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET first_seen = min(first_seen, excluded.first_seen), \
         last_seen = max(last_seen, excluded.last_seen), findings = findings + excluded.findings, \
         max_score = max(max_score, excluded.max_score)";
    let mut clients: HashMap<&str, Seen> = HashMap::new();
    for row in rows.iter().filter(|row| row.flagged) {
        let Some(client) = &row.client else { continue };
        let at = row.time.0;
        let seen = clients.entry(client).or_insert(Seen { first: at, last: at, findings: 0, max_score: 0 });
        seen.first = seen.first.min(at);
        seen.last = seen.last.max(at);
        seen.findings += 1;
        seen.max_score = seen.max_score.max(row.score);
    }
    if clients.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<_> =
        clients.iter().map(|(client, seen)| (*client, seen.first, seen.last, seen.findings, seen.max_score)).collect();
    rows.sort_unstable();
    sqlx::query(SEE).bind(json(&rows)?).execute(connection).await?;
    Ok(())
}
