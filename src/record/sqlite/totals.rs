//! What is counted of findings, and of clients, as they are recorded.

use std::collections::HashMap;

use sqlx::{QueryBuilder, SqliteConnection};

use super::insert;
use crate::record::FindingRow;
use crate::record::rollup::Tally;

/// Counts `rows`, which are new.
pub(super) async fn count(connection: &mut SqliteConnection, rows: &[FindingRow]) -> Result<(), sqlx::Error> {
    add(connection, Tally::of(rows)).await?;
    see(connection, rows).await
}

/// Adds to the counts of hours.
pub(super) async fn add(connection: &mut SqliteConnection, tally: Tally<'_>) -> Result<(), sqlx::Error> {
    // In the order of the table's key.
    let mut rows: Vec<_> =
        tally.counts().map(|((start, dimension, key), counts)| (dimension.as_str(), start.0, key, counts)).collect();
    rows.sort_unstable_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    insert::in_chunks(connection, &rows, 6, |chunk| {
        let mut query = QueryBuilder::new("INSERT OR ROLLBACK INTO rollups ");
        query.push_values(chunk, |mut values, (dimension, start, key, counts)| {
            values.push_bind(*dimension).push("'hour'").push_bind(*start).push_bind(&**key);
            values.push_bind(counts.findings).push_bind(counts.blocks).push_bind(counts.analysed);
        });
        query.push(
            " ON CONFLICT DO UPDATE SET findings = findings + excluded.findings, \
             blocks = blocks + excluded.blocks, analysed = analysed + excluded.analysed",
        );
        Ok(query)
    })
    .await?;
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
    let mut rows: Vec<_> = clients.into_iter().collect();
    rows.sort_unstable_by_key(|(client, _)| *client);
    insert::in_chunks(connection, &rows, 5, |chunk| {
        let mut query = QueryBuilder::new("INSERT OR ROLLBACK INTO clients ");
        query.push_values(chunk, |mut values, (client, seen)| {
            values.push_bind(*client).push_bind(seen.first).push_bind(seen.last);
            values.push_bind(seen.findings).push_bind(seen.max_score);
        });
        query.push(
            " ON CONFLICT DO UPDATE SET first_seen = min(first_seen, excluded.first_seen), \
             last_seen = max(last_seen, excluded.last_seen), findings = findings + excluded.findings, \
             max_score = max(max_score, excluded.max_score)",
        );
        Ok(query)
    })
    .await?;
    Ok(())
}
