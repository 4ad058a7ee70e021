//! Which findings belong together: those of one client that follow each other within an hour are a case. It
//! is called after its first finding.

use std::collections::HashMap;

use sqlx::{Row, SqliteConnection};

use super::insert;
use crate::event::Timestamp;
use crate::record::FindingRow;

/// A longer pause ends a case.
const PAUSE_MILLIS: i64 = 3_600_000;
/// Clients whose last case is known without asking the database.
const MAX_KNOWN: usize = 100_000;

/// The last case of clients that were found lately, and its last finding.
pub(super) type Cases = HashMap<String, (Timestamp, String)>;

/// The last finding of a client within a pause of a moment.
const LAST: &str = "SELECT wanted.value ->> 0 AS client, (SELECT time || ' ' || case_id FROM findings \
     WHERE client = wanted.value ->> 0 AND time BETWEEN (wanted.value ->> 1) - 3600000 AND (wanted.value ->> 1) + 3600000 \
     AND case_id <> '' ORDER BY time DESC LIMIT 1) AS last FROM json_each(?) AS wanted";

/// Gives each of `rows`, which are new, its case. What was analysed and is no finding has none.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    known: &mut Cases,
    rows: &mut [FindingRow],
) -> Result<(), sqlx::Error> {
    if known.len() > MAX_KNOWN {
        known.clear();
    }
    let follows = |last: Timestamp, time: Timestamp| last.0.abs_diff(time.0) <= PAUSE_MILLIS.unsigned_abs();
    let mut asked: Vec<(&str, Timestamp)> = vec![];
    let mut seen: HashMap<&str, Timestamp> = HashMap::new();
    for (client, row) in in_cases(rows) {
        let is_known = known.get(client).is_some_and(|(last, _)| follows(*last, row.time));
        let is_asked = seen.get(client).is_some_and(|time| follows(*time, row.time));
        if !is_known && !is_asked {
            asked.push((client, row.time));
            seen.insert(client, row.time);
        }
    }
    // Cases of clients that are not their last ones, and of rows before.
    let mut others: HashMap<String, Vec<(Timestamp, String)>> = HashMap::new();
    if !asked.is_empty() {
        let wanted: Vec<(&str, i64)> = asked.into_iter().map(|(client, time)| (client, time.0)).collect();
        for row in sqlx::query(LAST).bind(insert::json(&wanted)?).fetch_all(connection).await? {
            let last: Option<String> = row.try_get("last")?;
            if let Some((time, case)) = last.as_deref().and_then(|last| last.split_once(' ')) {
                let case = (Timestamp(time.parse().unwrap_or(0)), case.to_owned());
                others.entry(row.try_get("client")?).or_default().push(case);
            }
        }
    }
    for row in rows.iter_mut().filter(|row| row.flagged) {
        let Some(client) = &row.client else { continue };
        if let Some((last, case)) = known.get_mut(client).filter(|(last, _)| follows(*last, row.time)) {
            *last = row.time.max(*last);
            row.case_id.clone_from(case);
            continue;
        }
        let other = others.get(client).and_then(|others| others.iter().find(|(last, _)| follows(*last, row.time)));
        let case = other.map_or_else(|| row.id.clone(), |(_, case)| case.clone());
        row.case_id.clone_from(&case);
        if let Some(before) = known.insert(client.clone(), (row.time, case)) {
            others.entry(client.clone()).or_default().push(before);
        }
    }
    Ok(())
}

fn in_cases(rows: &[FindingRow]) -> impl Iterator<Item = (&str, &FindingRow)> {
    rows.iter().filter(|row| row.flagged).filter_map(|row| Some((row.client.as_deref()?, row)))
}
