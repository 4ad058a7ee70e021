//! Messages that agents leave for each other.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::Row;

use super::{LOCKS, Postgres, query};
use crate::event::Timestamp;
use crate::record::StoreError;

/// Somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
const READ: &str = "BEGIN READ ONLY";

/// A message as it was left: its end, its text, and what signs it.
pub type Left<'a> = (Timestamp, &'a str, &'a str);

impl Postgres {
    /// Leaves messages, in their order. Whoever reads by their numbers misses none: under the lock an earlier
    /// transaction's are seen before a later one's.
    pub async fn leave(&self, messages: &[Left<'_>]) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO palisade.fleet_messages (expires_at, body, mac) \
             SELECT to_timestamp(one.expires_at / 1000::float8), one.body, one.mac \
             FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS one (expires_at, body, mac, place) \
             ORDER BY one.place";
        let ends: Vec<i64> = messages.iter().map(|(end, ..)| end.0).collect();
        let bodies: Vec<&str> = messages.iter().map(|(_, body, _)| *body).collect();
        let macs: Vec<&str> = messages.iter().map(|(.., mac)| *mac).collect();
        self.transaction("BEGIN", PATIENCE, async |connection| {
            query("SELECT pg_advisory_xact_lock($1, 3)").bind(LOCKS).execute(&mut *connection).await?;
            query(INSERT).bind(ends).bind(bodies).bind(macs).execute(&mut *connection).await?;
            // A hint: who does not hear it looks by himself.
            query("SELECT pg_notify('palisade_fleet', '')").execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Up to `limit` messages after a number, with theirs: number, text, and what signs it.
    pub async fn left(&self, after: i64, limit: i64) -> Result<Vec<(i64, String, String)>, StoreError> {
        self.transaction(READ, PATIENCE, async |connection| {
            let rows = query(
                "SELECT number, body, mac FROM palisade.fleet_messages WHERE number > $1 ORDER BY number LIMIT $2",
            );
            let rows = rows.bind(after).bind(limit).fetch_all(connection).await?;
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
        })
        .await
    }

    /// The number of the newest message, if any is kept.
    pub async fn newest_left(&self) -> Result<Option<i64>, StoreError> {
        self.transaction(READ, PATIENCE, async |connection| {
            query("SELECT max(number) FROM palisade.fleet_messages").fetch_one(connection).await?.try_get(0)
        })
        .await
    }

    /// Whether the server itself is at the address that is dialled. Only then may a session listen: a pooler
    /// would hand it, and what it hears, to somebody else.
    pub async fn is_direct(&self) -> Result<bool, StoreError> {
        let asked = self.transaction(READ, PATIENCE, async |connection| {
            let row = query("SELECT host(inet_server_addr()), inet_server_port()").fetch_one(connection).await?;
            Ok((row.try_get::<Option<String>, _>(0)?, row.try_get::<Option<i32>, _>(1)?))
        });
        let (address, port) = asked.await?;
        let options = self.options();
        let dialled = tokio::net::lookup_host((options.get_host(), options.get_port())).await;
        let is_it = |dialled: SocketAddr| {
            address.as_deref() == Some(&*dialled.ip().to_string()) && port == Some(i32::from(dialled.port()))
        };
        Ok(options.get_socket().is_none() && dialled.is_ok_and(|mut dialled| dialled.any(is_it)))
    }

    /// Deletes messages whose end has come; gives their number.
    pub async fn sweep_left(&self) -> Result<u64, StoreError> {
        self.transaction("BEGIN", PATIENCE, async |connection| {
            let sweep = query("DELETE FROM palisade.fleet_messages WHERE expires_at < now()");
            Ok(sweep.execute(connection).await?.rows_affected())
        })
        .await
    }
}
