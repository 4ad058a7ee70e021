//! How far the local database's schema is, without changing it.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use super::Sqlite;
use crate::record::migrations::SQLITE as MIGRATIONS;
use crate::record::{SchemaState, StoreError};

impl Sqlite {
    /// What is not applied yet to the database in `state_dir`, also while a daemon has it.
    ///
    /// # Errors
    /// It cannot be read, or is a newer version's.
    pub async fn schema(state_dir: &Path) -> Result<SchemaState, StoreError> {
        let path = state_dir.join("palisade.db");
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
        let mut applied: Vec<i64> = vec![];
        if path.exists() {
            let failed = |source| StoreError::of(&path, source);
            let options = SqliteConnectOptions::new().filename(&path).read_only(true);
            let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
            let sql = "SELECT version FROM _sqlx_migrations ORDER BY version";
            applied = sqlx::query_scalar(sql).fetch_all(&mut connection).await.map_err(failed)?;
        }
        if let Some(version) = applied.last().copied().filter(|version| *version > known) {
            return Err(StoreError::TooNew { path, version, known });
        }
        let pending = MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version));
        let pending = pending.map(|migration| (migration.version, migration.description.to_string())).collect();
        Ok(SchemaState { known, pending })
    }
}
