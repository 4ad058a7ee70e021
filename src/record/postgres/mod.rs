//! Postgres, or Supabase: what agents remember together.
//!
//! The server may be behind a pooler that gives each transaction another session: every statement names
//! its schema, stands in an explicit transaction, has no name of its own and binds only types that need
//! no look-up. [`query`] and [`Postgres::transaction`] are the way to ask.

mod connections;
mod copy;
mod examine;
mod fleet;
mod forget;
mod history;
mod migrate;
mod place;
mod prune;
mod put;
mod remembered;
#[cfg(test)]
mod tests;
mod text;
mod trouble;

pub use examine::{Examined, advice_for};
pub use trouble::Trouble;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use ipnet::IpNet;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use self::connections::Connections;
use self::place::Place;
use super::{Answer, Rows, Store, StoreConfig, StoreError};
use crate::event::Timestamp;

/// For a batch; a question may take as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what is done rarely and may touch much: retention, erasure.
const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// The first of the two numbers of every advisory lock: "PALI". The second says for what.
const LOCKS: i32 = 0x5041_4c49;

/// A database that agents share.
///
/// A call that is cancelled while it writes has written everything or nothing.
#[derive(Debug)]
pub struct Postgres {
    connections: Connections,
    config: StoreConfig,
    /// Days that have their partition, since 1970.
    days: Mutex<BTreeSet<i64>>,
}

impl Postgres {
    /// Opens the database that `config` names, if it names one.
    ///
    /// # Errors
    /// It does not take a connection; the reason says what to change.
    pub async fn connect(config: &StoreConfig) -> Result<Option<Postgres>, StoreError> {
        let place = Place::of(config).map_err(|trouble| StoreError::Postgres { place: String::new(), trouble })?;
        let Some(place) = place else { return Ok(None) };
        let connections = Connections::open(place).await?;
        Ok(Some(Postgres { connections, config: config.clone(), days: Mutex::default() }))
    }
}

impl Store for Postgres {
    fn put<'a>(&'a self, agent: &'a str, rows: &'a Rows, now: Timestamp) -> Answer<'a, u64> {
        Box::pin(self.put_rows(agent, rows, now))
    }

    fn forget(&self, network: IpNet) -> Answer<'_, u64> {
        Box::pin(self.forget_network(network))
    }

    fn prune(&self, now: Timestamp) -> Answer<'_, u64> {
        Box::pin(self.prune_old(now))
    }
}

/// A statement with its values.
type Statement = Query<'static, sqlx::Postgres, PgArguments>;

/// A statement that has no name on the server.
fn query(sql: &'static str) -> Statement {
    sqlx::query(sql).persistent(false)
}
