//! A few connections, each with a deadline for whatever it does. Not sqlx's pool, which tells that time
//! is over where one must know why nobody answers.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{PATIENCE, Place, Postgres, Trouble};
use crate::record::StoreError;

/// At once; a server has few for all agents.
const MAX: usize = 4;
/// Name look-up, TCP, TLS and log-in together.
const CONNECT: Duration = Duration::from_secs(10);
/// One that was idle for longer may have died unnoticed: firewalls forget.
const IDLE: Duration = Duration::from_secs(60);

/// What is asked for is in memory or on a disk without heads; by the server's default it would take a whole table for
/// cheaper than an index that holds all it needs.
const ASK: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL random_page_cost = 1.1";

pub struct Connections {
    place: Place,
    options: PgConnectOptions,
    permits: Semaphore,
    idle: Mutex<Vec<(Instant, PgConnection)>>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.place, f)
    }
}

impl Connections {
    /// With one connection, so that what is wrong is known.
    pub async fn open(place: Place) -> Result<Connections, StoreError> {
        let connections =
            Connections { options: place.options(), place, permits: Semaphore::new(MAX), idle: Mutex::default() };
        let first = connections.connect().await.map_err(|trouble| trouble.at(&connections.place))?;
        connections.put_back(first);
        Ok(connections)
    }

    async fn connect(&self) -> Result<PgConnection, Trouble> {
        match timeout(CONNECT, PgConnection::connect_with(&self.options)).await {
            Ok(connected) => connected.map_err(|error| Trouble::of(&error)),
            Err(_) => Err(Trouble::TimedOut(CONNECT)),
        }
    }

    fn take_idle(&self) -> Option<PgConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, _)| since.elapsed() < IDLE);
        idle.pop().map(|(_, connection)| connection)
    }

    fn put_back(&self, connection: PgConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), connection));
    }
}

impl Postgres {
    /// Runs `work` in one transaction that begins with `begin`, and commits it. After `limit` the server
    /// gives up as well.
    ///
    /// # Errors
    /// Nothing was done; or, if the connection broke at the end, it is not known.
    pub(in crate::record) async fn transaction<T>(
        &self,
        begin: &str,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.tried(begin, limit, work).await.map_err(|trouble| trouble.at(&self.connections.place))
    }

    /// The same for questions, which change nothing.
    pub(in crate::record) async fn ask<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.transaction(ASK, PATIENCE, work).await
    }

    async fn tried<T>(
        &self,
        begin: &str,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Trouble> {
        let connections = &self.connections;
        let permit = timeout(limit, connections.permits.acquire()).await.map_err(|_| Trouble::TimedOut(limit))?;
        let _permit = permit.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let begin = format!("{begin}; SET LOCAL statement_timeout = {}", limit.as_millis());
        let mut connection = self.begun(&begin).await?;
        let done = timeout(limit, async {
            let value = work(&mut connection).await?;
            sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
            Ok(value)
        });
        match done.await {
            Ok(Ok(value)) => {
                connections.put_back(connection);
                Ok(value)
            }
            // The connection is dropped, whatever it was at; with it goes the transaction.
            Ok(Err(error)) => Err(Trouble::of(&error)),
            Err(_) => Err(Trouble::TimedOut(limit)),
        }
    }

    /// A connection in a transaction.
    async fn begun(&self, begin: &str) -> Result<PgConnection, Trouble> {
        let start = async |mut connection: PgConnection| {
            sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        // It may have been closed meanwhile.
        if let Some(idle) = self.connections.take_idle()
            && let Ok(Ok(connection)) = timeout(CONNECT, start(idle)).await
        {
            return Ok(connection);
        }
        let connection = self.connections.connect().await?;
        match timeout(CONNECT, start(connection)).await {
            Ok(begun) => begun.map_err(|error| Trouble::of(&error)),
            Err(_) => Err(Trouble::TimedOut(CONNECT)),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.connections.place
    }

    /// For a connection that stays, such as one that listens.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.connections.options
    }
}
