//! What `doctor` tells of a database.

use std::time::Instant;

use serde::Serialize;
use sqlx::Row;

use super::{PATIENCE, Place, Postgres, query};
use crate::event::Timestamp;
use crate::record::{SchemaState, StoreConfig, StoreError};

/// A database as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// Host, port, database and user.
    pub place: String,
    pub server_version: String,
    pub schema: SchemaState,
    /// The server's clock against ours.
    pub clock_millis: i64,
    /// Rights that this user lacks.
    pub lacking: Vec<String>,
    /// What to set, or to know.
    pub advice: Vec<String>,
}

/// The server's clock in milliseconds, its version, whether it takes changes, and rights: on the database,
/// the schema, the tables and the functions, each where it is there.
const ASK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, current_setting('server_version'), \
     pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AND current_setting('default_transaction_read_only')::bool, \
     current_setting('server_version_num')::int, \
     has_database_privilege(current_database(), 'CREATE'), to_regnamespace('palisade') IS NOT NULL, \
     (SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'palisade'), \
     ARRAY(SELECT relname::text FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace('palisade') \
     AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'migrations' \
     AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') \
     AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')) ORDER BY 1)";

/// The oldest server whose dialect is used.
const OLDEST: i32 = 130_000;

impl Postgres {
    /// # Errors
    /// It does not answer, or has a newer version's schema.
    pub async fn examine(&self) -> Result<Examined, StoreError> {
        let schema = self.schema().await?;
        let row = self
            .transaction("BEGIN READ ONLY", PATIENCE, async |connection| {
                let start = Instant::now();
                let row = query(ASK).fetch_one(connection).await?;
                let asked_millis = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
                let clock = row.try_get::<i64, _>(0)? - (Timestamp::now().0 - asked_millis / 2);
                Ok((clock, row))
            })
            .await;
        let (clock_millis, row) = row?;
        let read = || -> Result<Examined, sqlx::Error> {
            let may_create: bool = row.try_get(4)?;
            let (exists, owns): (bool, Option<bool>) = (row.try_get(5)?, row.try_get(6)?);
            let tables: Vec<String> = row.try_get(7)?;
            let mut lacking = vec![];
            if !exists && !may_create {
                lacking.push(format!(
                    "cannot make the schema `palisade`: GRANT CREATE ON DATABASE {:?} TO {:?}, or run `palisade migrate` \
                     with the URL of an administrator",
                    self.place().database, self.place().user
                ));
            }
            if exists && owns != Some(true) && !schema.pending.is_empty() {
                lacking.push(
                    "does not own the schema `palisade`: run `palisade migrate` with the URL of its owner".into(),
                );
            }
            if !tables.is_empty() {
                lacking.push(format!(
                    "may not read and write {}: GRANT service_role, or the owner's role, to it",
                    tables.join(", ")
                ));
            }
            if row.try_get(2)? {
                lacking
                    .push("cannot write: the server takes no changes; store.database_url must name the primary".into());
            }
            let mut advice = advice(self.place());
            if row.try_get::<i32, _>(3)? < OLDEST {
                advice.push("this server is older than 13, which Palisade needs: upgrade it".into());
            }
            Ok(Examined {
                place: self.place().to_string(),
                server_version: row.try_get(1)?,
                schema: schema.clone(),
                clock_millis,
                lacking,
                advice,
            })
        };
        read().map_err(|error| super::Trouble::of(&error).at(self.place()))
    }
}

/// What to set for the place that `config` names, also when it does not answer.
pub fn advice_for(config: &StoreConfig) -> Vec<String> {
    Place::of(config).ok().flatten().map(|place| advice(&place)).unwrap_or_default()
}

/// Recognises Supabase and poolers by host, port and user.
fn advice(place: &Place) -> Vec<String> {
    let host = place.host.to_ascii_lowercase();
    let mut advice = vec![];
    let is_pooler = host.ends_with(".pooler.supabase.com");
    if let Some(reference) = host.strip_prefix("db.").and_then(|rest| rest.strip_suffix(".supabase.co")) {
        match place.port {
            6543 => advice.push("Supabase's pooler for this project alone, by transaction: works; no LISTEN, so agents ask for news each second".into()),
            _ => advice.push(format!(
                "Supabase directly: this host has an IPv6 address only, unless the project pays for IPv4; without IPv6 \
                 here take the session pooler: port 5432 of the pooler's host, user \"postgres.{reference}\""
            )),
        }
    }
    if is_pooler {
        advice.push(match place.port {
            6543 => "Supabase's transaction pooler: works; no LISTEN, so agents ask for news each second; the session \
                     pooler is port 5432 of the same host"
                .into(),
            _ => "Supabase's session pooler: works; each of this agent's up to 4 connections takes one of the pool"
                .into(),
        });
        if !place.user.contains('.') {
            advice
                .push(format!("at this pooler the user is \"{}.REFERENCE\", with the project's reference", place.user));
        }
    } else if place.port == 6432 {
        advice.push("port 6432 is pgbouncer's: works in each of its modes; by transaction there is no LISTEN".into());
    }
    if (is_pooler || host.ends_with(".supabase.co")) && !place.has_authority() {
        advice.push(
            "Supabase's certificates are signed by an authority of its own: download it (Database, Settings, SSL \
             configuration) and set store.database_ca_file"
                .into(),
        );
    }
    if place.is_unsafe() {
        advice.push(
            "sslmode=disable or require: whoever is on the way can read and change what is sent; without sslmode the \
             server's certificate is verified"
                .into(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poolers_are_recognised() {
        let of = |url: &str| advice(&Place::parse(url).unwrap()).join("\n");
        let direct = of("postgres://postgres:x@db.abcdefgh.supabase.co/postgres");
        assert!(
            direct.contains("IPv6") && direct.contains("postgres.abcdefgh") && direct.contains("database_ca_file"),
            "{direct}"
        );
        let transaction =
            of("postgres://postgres.abc:x@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?sslrootcert=/ca");
        assert!(transaction.contains("transaction pooler") && transaction.contains("no LISTEN"), "{transaction}");
        assert!(!transaction.contains("REFERENCE") && !transaction.contains("database_ca_file"), "{transaction}");
        let session = of("postgres://postgres:x@aws-0-eu-central-1.pooler.supabase.com/postgres?sslmode=require");
        assert!(session.contains("session pooler") && session.contains("\"postgres.REFERENCE\""), "{session}");
        assert!(session.contains("whoever is on the way"), "{session}");
        assert!(of("postgres://a:x@10.0.0.1:6432/d").contains("pgbouncer"));
        assert_eq!(of("postgres://a:x@127.0.0.1/d"), "");
    }
}
