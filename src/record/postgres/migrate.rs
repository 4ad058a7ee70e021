//! Brings the database to this version's schema. By hand, not by sqlx's migrator, whose statements have
//! names that a transaction pooler gives to others, and which needs rights also when there is nothing to do.

use std::time::Duration;

use sqlx::migrate::Migration;
use sqlx::{PgConnection, Row};

use super::{LOCKS, PATIENCE, Postgres, Trouble, query};
use crate::record::migrations::POSTGRES as MIGRATIONS;
use crate::record::{SchemaState, StoreError};

/// An index of hundreds of millions of rows takes its time; given up, it would begin again and again.
const MIGRATING: Duration = Duration::from_secs(3600);

/// For roles that came since, as for the first time.
const ROLES: &str = include_str!("roles.sql");

const TABLE: &str = "CREATE TABLE IF NOT EXISTS palisade.migrations (version bigint NOT NULL PRIMARY KEY, \
     description text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), checksum bytea NOT NULL)";

impl Postgres {
    /// What is applied and what is not; changes nothing.
    ///
    /// # Errors
    /// The schema is a newer version's, or not ours.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        let applied =
            self.transaction("BEGIN READ ONLY", PATIENCE, async |connection| applied(connection).await).await?;
        compare(&applied).map_err(|trouble| trouble.at(self.place()))
    }

    /// Applies what is missing, all or nothing, and gives rights to the roles that are there; gives what was
    /// missing. Several agents may do so at once.
    ///
    /// # Errors
    /// As for [`schema`](Self::schema), or a right is missing.
    pub async fn migrate(&self) -> Result<SchemaState, StoreError> {
        let done = self.transaction("BEGIN", MIGRATING, async |connection| {
            query("SELECT pg_advisory_xact_lock($1, 1)").bind(LOCKS).execute(&mut *connection).await?;
            let state = match compare(&applied(connection).await?) {
                Ok(state) => state,
                Err(trouble) => return Ok(Err(trouble)),
            };
            for migration in MIGRATIONS.iter().filter(|one| state.pending.iter().any(|(version, _)| *version == one.version)) {
                apply(connection, migration).await?;
            }
            // Only the owner may; others find it done.
            let owner = "SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'palisade'";
            if query(owner).fetch_one(&mut *connection).await?.try_get(0)? {
                sqlx::raw_sql(ROLES).execute(connection).await?;
            }
            Ok(Ok(state))
        });
        done.await?.map_err(|trouble| trouble.at(self.place()))
    }
}

async fn apply(connection: &mut PgConnection, migration: &Migration) -> Result<(), sqlx::Error> {
    // `IF NOT EXISTS` needs the right to make one, even if it is there.
    let there = query("SELECT to_regnamespace('palisade') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !there.try_get::<bool, _>(0)? {
        sqlx::raw_sql("CREATE SCHEMA palisade").execute(&mut *connection).await?;
    }
    sqlx::raw_sql(TABLE).execute(&mut *connection).await?;
    sqlx::raw_sql(migration.sql.clone()).execute(&mut *connection).await?;
    let note = query("INSERT INTO palisade.migrations (version, description, checksum) VALUES ($1, $2, $3)");
    let note = note.bind(migration.version).bind(migration.description.to_string());
    note.bind(migration.checksum.to_vec()).execute(connection).await?;
    Ok(())
}

/// Versions and checksums.
async fn applied(connection: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
    let there = query("SELECT to_regclass('palisade.migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !there.try_get::<bool, _>(0)? {
        return Ok(vec![]);
    }
    let rows =
        query("SELECT version, checksum FROM palisade.migrations ORDER BY version").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

fn compare(applied: &[(i64, Vec<u8>)]) -> Result<SchemaState, Trouble> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    for (version, checksum) in applied {
        match MIGRATIONS.iter().find(|migration| migration.version == *version) {
            None => return Err(Trouble::TooNew { version: *version, known }),
            Some(migration) if *migration.checksum != **checksum => return Err(Trouble::Changed(*version)),
            Some(_) => {}
        }
    }
    let is_pending = |migration: &&Migration| applied.iter().all(|(version, _)| *version != migration.version);
    let pending = MIGRATIONS.iter().filter(is_pending);
    let pending = pending.map(|migration| (migration.version, migration.description.to_string())).collect();
    Ok(SchemaState { known, pending })
}
