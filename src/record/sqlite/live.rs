//! Decisions that live. A start reads a hundred thousand of them before anybody is shut out again, so they come
//! in parts, each as one text: a row of its own for each costs as much again as SQLite's work.

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};
use tokio::sync::mpsc;

use super::read::{self, DECISION, RawDecision};
use super::{Sqlite, insert};
use crate::event::{Decision, Timestamp};
use crate::record::StoreError;

/// Decisions of one part.
const TOGETHER: usize = 8192;
const LIVE: &str = "state IN ('pending', 'active', 'held') AND pseudonym <> 2";

impl Sqlite {
    /// Decisions that are pending, active or held and not over, oldest first, simulated ones
    /// included. A row that cannot be understood is logged and left out, so that one bad row does
    /// not keep the others from the firewall.
    pub async fn live_decisions(&self, now: Timestamp) -> Result<Vec<Decision>, StoreError> {
        let mut live = vec![];
        for numbers in self.live_numbers(now).await?.chunks(TOGETHER) {
            live.extend(self.live_part(numbers).await?);
        }
        Ok(live)
    }

    /// The same in parts, of which the next is read while somebody works on one. The last thing said may be why
    /// there are no more.
    pub fn live_parts(self: &Arc<Self>, now: Timestamp) -> mpsc::Receiver<Result<Vec<Decision>, StoreError>> {
        let (read, parts) = mpsc::channel(1);
        let store = self.clone();
        tokio::spawn(async move {
            let all = async {
                for numbers in store.live_numbers(now).await?.chunks(TOGETHER) {
                    if read.send(Ok(store.live_part(numbers).await?)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(error) = all.await {
                // Whoever asked may have gone.
                let _ = read.send(Err(error)).await;
            }
        });
        parts
    }

    /// The rows' numbers in their order.
    async fn live_numbers(&self, now: Timestamp) -> Result<Vec<i64>, StoreError> {
        let numbers = "json_group_array(rowid ORDER BY created_at, rowid) AS numbers";
        let mut query = QueryBuilder::new(format!("SELECT {numbers} FROM decisions WHERE {LIVE} AND expires_at > "));
        query.push_bind(now.0);
        let numbers = self.read(query, |row| read::json(&row, "numbers")).await?;
        Ok(numbers.into_iter().next().unwrap_or_default())
    }

    /// Those of these rows that live still.
    async fn live_part(&self, numbers: &[i64]) -> Result<Vec<Decision>, StoreError> {
        let one = format!("SELECT json_array({DECISION}) FROM decisions WHERE rowid = number.value AND {LIVE}");
        // A line each, as bytes: one that is no UTF-8 spoils no other.
        let lines = format!("SELECT CAST(group_concat(({one}), char(10)) AS BLOB) FROM json_each(");
        let mut query = QueryBuilder::new(lines);
        query.push_bind(insert::json(&numbers).map_err(|source| self.failed(source))?).push(") AS number");
        let lines = self.read(query, |row: SqliteRow| row.try_get::<Option<Vec<u8>>, _>(0)).await?;
        let lines = lines.into_iter().flatten().next().unwrap_or_default();
        let raw = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).filter_map(|line| {
            let raw = serde_json::from_slice::<RawDecision>(line);
            raw.inspect_err(|error| tracing::error!("a decision is left out: {error}")).ok()
        });
        Ok(self.understood(raw.collect()))
    }
}
