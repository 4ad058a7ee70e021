//! Messages in a table of the Postgres that `[store]` names.

use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Answer, Bus, BusError, Posted, Signed};
use crate::event::Timestamp;
use crate::record::StoreConfig;

/// Messages that are taken at once.
const PAGE: i64 = 200;
/// The table is looked at this often, whether or not a hint says that it has something new.
const LOOK: Duration = Duration::from_millis(500);
/// What Postgres does not answer by then, it does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until hints are asked for again where there are none.
const LISTEN_AGAIN: Duration = Duration::from_secs(60);
/// The lock under which rows are inserted: numbers of an earlier transaction are seen before those of a later one.
const LOCK: i64 = 0x7061_6c69_666c_6565;

/// Agents with the same database.
pub struct PostgresBus {
    config: StoreConfig,
    pool: Mutex<Option<PgPool>>,
    hints: Mutex<Hints>,
}

#[derive(Default)]
struct Hints {
    listener: Option<PgListener>,
    tried_at: Option<Instant>,
}

impl PostgresBus {
    pub fn new(config: &StoreConfig) -> PostgresBus {
        PostgresBus { config: config.clone(), pool: Mutex::default(), hints: Mutex::default() }
    }

    async fn pool(&self) -> Result<PgPool, BusError> {
        let mut pool = self.pool.lock().await;
        if let Some(pool) = &*pool {
            return Ok(pool.clone());
        }
        let opened = crate::record::open_pool(&self.config).await.map_err(|error| BusError(error.to_string()))?;
        Ok(pool.insert(opened).clone())
    }
}

impl Bus for PostgresBus {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn publish<'a>(&'a self, messages: &'a [Signed]) -> Answer<'a, ()> {
        const INSERT: &str = "INSERT INTO palisade.fleet_messages (expires_at, body, mac) \
             SELECT to_timestamp(row.expires_at / 1000.0), row.body, row.mac \
             FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS row (expires_at, body, mac, place) \
             ORDER BY row.place";
        Box::pin(async move {
            let pool = self.pool().await?;
            let ends = |signed: &Signed| signed.expires_at().unwrap_or_else(Timestamp::now).0;
            let ends: Vec<i64> = messages.iter().map(ends).collect();
            let bodies: Vec<&str> = messages.iter().map(|signed| signed.body.as_str()).collect();
            let macs: Vec<&str> = messages.iter().map(|signed| signed.mac.as_str()).collect();
            in_time(async {
                let mut tx = pool.begin().await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
                sqlx::query(INSERT).bind(ends).bind(bodies).bind(macs).execute(&mut *tx).await?;
                sqlx::query("SELECT pg_notify('palisade_fleet', '')").execute(&mut *tx).await?;
                tx.commit().await
            })
            .await
        })
    }

    fn take<'a>(&'a self, after: &'a str, wait: Duration) -> Answer<'a, Vec<Posted>> {
        const TAKE: &str = "SELECT number, body, mac FROM palisade.fleet_messages WHERE number > $1 ORDER BY number LIMIT $2";
        Box::pin(async move {
            let (pool, until) = (self.pool().await?, Instant::now() + wait);
            let after: i64 = after.parse().unwrap_or(0);
            loop {
                let query = sqlx::query_as::<_, (i64, String, String)>(TAKE).bind(after).bind(PAGE);
                let rows = in_time(query.fetch_all(&pool)).await?;
                if !rows.is_empty() || Instant::now() >= until {
                    let posted =
                        |(number, body, mac): (i64, _, _)| Posted { cursor: number.to_string(), signed: Signed { body, mac } };
                    return Ok(rows.into_iter().map(posted).collect());
                }
                self.hints.lock().await.wait(&pool, LOOK.min(until - Instant::now())).await;
            }
        })
    }

    fn knows<'a>(&'a self, cursor: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let pool = self.pool().await?;
            let query = sqlx::query_scalar::<_, Option<i64>>("SELECT max(number) FROM palisade.fleet_messages");
            let newest = in_time(query.fetch_one(&pool)).await?;
            Ok(newest.is_some_and(|newest| newest >= cursor.parse().unwrap_or(0)))
        })
    }

    fn prune(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let pool = self.pool().await?;
            let query = sqlx::query("DELETE FROM palisade.fleet_messages WHERE expires_at < now()");
            Ok(in_time(query.execute(&pool)).await?.rows_affected())
        })
    }
}

impl Hints {
    /// Waits for a hint, or as long as told.
    async fn wait(&mut self, pool: &PgPool, time: Duration) {
        let until = Instant::now() + time;
        if self.listener.is_none() && self.tried_at.is_none_or(|tried_at| tried_at.elapsed() >= LISTEN_AGAIN) {
            self.tried_at = Some(Instant::now());
            self.listener = timeout(PATIENCE, listen(pool)).await.ok().and_then(Result::ok);
        }
        match &mut self.listener {
            Some(listener) => match tokio::time::timeout_at(until, listener.try_recv()).await {
                Err(_) | Ok(Ok(Some(_))) => return,
                // The connection is gone.
                Ok(Ok(None) | Err(_)) => self.listener = None,
            },
            None => {}
        }
        tokio::time::sleep_until(until).await;
    }
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("palisade_fleet").await?;
    Ok(listener)
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, BusError> {
    match timeout(PATIENCE, work).await {
        Ok(answer) => answer.map_err(|error| BusError(format!("Postgres: {error}"))),
        Err(_) => Err(BusError(format!("Postgres does not answer within {} s", PATIENCE.as_secs()))),
    }
}
