//! The databases that are configured, looked at and brought up to date without the daemon.

use serde::Serialize;

use crate::config::Config;
pub use crate::record::Examined;
use crate::record::{Postgres, SchemaState, Sqlite, StoreError, advice_for};

/// One database and its schema.
#[derive(Debug, Serialize)]
pub struct Schema {
    /// `local` or `postgres`.
    pub database: &'static str,
    #[serde(flatten)]
    pub state: SchemaState,
}

/// What was missing in the local database and in Postgres, if there is one; applied unless it is a `check`.
///
/// # Errors
/// A database cannot be used: its reason says what to change.
pub async fn migrate(config: &Config, check: bool) -> Result<Vec<Schema>, StoreError> {
    let local = Sqlite::schema(&config.state_dir).await?;
    if !check && !local.pending.is_empty() {
        Sqlite::open(&config.state_dir, &config.store).await?.close().await;
    }
    let mut schemas = vec![Schema { database: "local", state: local }];
    if let Some(postgres) = Postgres::connect(&config.store).await? {
        let state = if check { postgres.schema().await? } else { postgres.migrate().await? };
        schemas.push(Schema { database: "postgres", state });
    }
    Ok(schemas)
}

/// What Postgres is, if one is configured; or why it is not there.
pub async fn examine(config: &Config) -> Option<Result<Examined, StoreError>> {
    let examined = match Postgres::connect(&config.store).await {
        Ok(None) => return None,
        Ok(Some(postgres)) => postgres.examine().await,
        Err(error) => Err(error),
    };
    Some(examined)
}

/// What is to know of the place of Postgres, as its URL names it.
pub fn hints(config: &Config) -> Vec<String> {
    advice_for(&config.store)
}
