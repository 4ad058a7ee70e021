//! How far this agent has come with what it tells others and what others tell it.

use sqlx::{QueryBuilder, Row};

use super::Sqlite;
use crate::record::StoreError;

impl Sqlite {
    /// Up to `limit` changes of decisions that followed the one numbered `after`, by their numbers and the
    /// decisions' ids. They are kept as long as the decisions, whatever becomes of the outbox.
    pub async fn decision_changes(&self, after: i64, limit: u32) -> Result<Vec<(i64, String)>, StoreError> {
        let mut query = QueryBuilder::new("SELECT seq, decision_id FROM decision_changes WHERE seq > ");
        query.push_bind(after).push(" ORDER BY seq LIMIT ").push_bind(limit);
        self.read(query, |row| Ok((row.try_get("seq")?, row.try_get("decision_id")?))).await
    }

    /// Up to where everything of `direction`, such as a bus, was taken or sent.
    pub async fn fleet_cursor(&self, direction: &str) -> Result<Option<String>, StoreError> {
        let mut query = QueryBuilder::new("SELECT cursor FROM fleet_cursors WHERE direction = ");
        query.push_bind(direction);
        Ok(self.read(query, |row| row.try_get("cursor")).await?.into_iter().next())
    }

    pub async fn set_fleet_cursor(&self, direction: &str, cursor: &str) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("INSERT OR REPLACE INTO fleet_cursors (direction, cursor) VALUES (?, ?)");
            query.bind(direction).bind(cursor).execute(connection).await?;
            Ok(())
        })
        .await
    }
}
