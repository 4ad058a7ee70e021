//! Messages in a table of the Postgres that `[store]` names.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Answer, Bus, BusError, Posted, Signed};
use crate::event::Timestamp;
use crate::record::{Postgres, StoreConfig, StoreError};

/// Messages that are taken at once.
const PAGE: i64 = 200;
/// The table is looked at this often, whether or not there is a hint that it has something new.
const LOOK: Duration = Duration::from_millis(300);
/// So long asking for hints may take, ...
const LISTEN: Duration = Duration::from_secs(5);
/// ... and where there are none, they are asked for again after so long.
const LISTEN_AGAIN: Duration = Duration::from_secs(60);

/// Agents with the same database.
pub struct PostgresBus {
    config: StoreConfig,
    postgres: Mutex<Option<Arc<Postgres>>>,
    hints: Mutex<Hints>,
}

#[derive(Default)]
struct Hints {
    listener: Option<PgListener>,
    tried_at: Option<Instant>,
}

impl PostgresBus {
    pub fn new(config: &StoreConfig) -> PostgresBus {
        PostgresBus { config: config.clone(), postgres: Mutex::default(), hints: Mutex::default() }
    }

    async fn postgres(&self) -> Result<Arc<Postgres>, BusError> {
        let mut known = self.postgres.lock().await;
        if let Some(postgres) = &*known {
            return Ok(postgres.clone());
        }
        let none = || BusError("store.database_url names no database".into());
        let postgres = Arc::new(Postgres::connect(&self.config).await.map_err(said)?.ok_or_else(none)?);
        if !postgres.schema().await.map_err(said)?.pending.is_empty() {
            postgres.migrate().await.map_err(said)?;
        }
        Ok(known.insert(postgres).clone())
    }
}

impl Bus for PostgresBus {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn publish<'a>(&'a self, messages: &'a [Signed]) -> Answer<'a, ()> {
        Box::pin(async move {
            if messages.is_empty() {
                return Ok(());
            }
            let end = |signed: &Signed| signed.expires_at().unwrap_or_else(Timestamp::now);
            let left = messages.iter().map(|signed| (end(signed), signed.body.as_str(), signed.mac.as_str()));
            self.postgres().await?.leave(&left.collect::<Vec<_>>()).await.map_err(said)
        })
    }

    fn take<'a>(&'a self, after: &'a str, wait: Duration) -> Answer<'a, Vec<Posted>> {
        Box::pin(async move {
            let (postgres, until) = (self.postgres().await?, Instant::now() + wait);
            let after = number(after);
            // Before the first look: what is left after it is hinted at.
            self.hints.lock().await.listen(&postgres).await;
            loop {
                let rows = postgres.left(after, PAGE).await.map_err(said)?;
                if !rows.is_empty() || Instant::now() >= until {
                    let posted = |(number, body, mac): (i64, _, _)| {
                        let signed = Signed { body, mac };
                        Posted { cursor: number.to_string(), signed }
                    };
                    return Ok(rows.into_iter().map(posted).collect());
                }
                self.hints.lock().await.wait(until.min(Instant::now() + LOOK)).await;
            }
        })
    }

    fn knows<'a>(&'a self, cursor: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let newest = self.postgres().await?.newest_left().await.map_err(said)?;
            Ok(newest.is_some_and(|newest| newest >= number(cursor)))
        })
    }

    fn prune(&self) -> Answer<'_, u64> {
        Box::pin(async move { self.postgres().await?.sweep_left().await.map_err(said) })
    }
}

impl Hints {
    /// Asks for hints, if there are none and it was not asked lately.
    async fn listen(&mut self, postgres: &Postgres) {
        let was_tried = self.tried_at.is_some_and(|at| at.elapsed() < LISTEN_AGAIN);
        if self.listener.is_some() || was_tried {
            return;
        }
        self.tried_at = Some(Instant::now());
        if !matches!(postgres.is_direct().await, Ok(true)) {
            return;
        }
        let options = postgres.options();
        let listen = async {
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("palisade_fleet").await?;
            Ok::<_, sqlx::Error>(listener)
        };
        self.listener = timeout(LISTEN, listen).await.ok().and_then(Result::ok);
    }

    /// Waits for a hint, at most until then.
    async fn wait(&mut self, until: Instant) {
        if let Some(listener) = &mut self.listener {
            match timeout_at(until, listener.try_recv()).await {
                Err(_) | Ok(Ok(Some(_))) => return,
                // The connection is gone.
                Ok(Ok(None) | Err(_)) => self.listener = None,
            }
        }
        sleep_until(until).await;
    }
}

fn number(cursor: &str) -> i64 {
    cursor.parse().unwrap_or(0)
}

fn said(error: StoreError) -> BusError {
    BusError(error.to_string())
}
