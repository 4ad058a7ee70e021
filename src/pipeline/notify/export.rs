//! One export: sends what is recorded in order, and goes on only when it was taken. What waits, waits in the
//! outbox.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::alert::resume;
use super::rows::for_machines;
use super::{BATCH, EXPORT, Given, TICK, again, say};
use crate::event::Timestamp;
use crate::notify::{self, ExportConfig, Failure, Sink};
use crate::record::{StoreError, Waiting};

/// From one try to the next: at first, and at most, twice as long after each.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A failure is a problem after so long.
const LONG: Duration = Duration::from_secs(60);

struct Export {
    given: Given,
    name: String,
    config: ExportConfig,
    sink: Box<dyn Sink>,
    /// Changes of the next batch: fewer after one that was refused.
    limit: u32,
    pause: Duration,
    failing: Option<(Instant, String)>,
    sent: u64,
    refused: u64,
    refused_why: String,
}

/// Works until the daemon stops.
pub async fn run(mut given: Given, config: ExportConfig) {
    let name = format!("{EXPORT}{}", config.name);
    let sink = loop {
        let host = given.config.borrow().agent_name();
        let opened = match notify::open_sink(&config, &host) {
            Ok(sink) => resume(&given.store, &name).await.map(|_| sink).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match opened {
            Ok(sink) => break sink,
            Err(why) => {
                if !again(&mut given, &name, why).await {
                    return;
                }
            }
        }
    };
    let (limit, pause) = (BATCH, PAUSE.0);
    let (failing, sent, refused, refused_why) = (None, 0, 0, String::new());
    Export { given, name, config, sink, limit, pause, failing, sent, refused, refused_why }.work().await;
}

impl Export {
    async fn work(mut self) {
        let mut changed = self.given.store.changed();
        let mut stopping = self.given.stopping.clone();
        loop {
            changed.mark_unchanged();
            let stops = *stopping.borrow_and_update();
            let done = self.step().await.map_err(|error| Failure {
                why: error.to_string(),
                retry_after: None,
                is_final: false,
            });
            let wait = match done.and_then(|sent| sent) {
                Ok(true) => continue,
                Ok(false) => TICK,
                Err(failure) => self.failed(&failure).await,
            };
            self.say().await;
            if stops {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.changed() => {}
            }
            if self.failing.is_none() {
                // Nothing is to be said before there is something, or somebody stops.
                tokio::select! {
                    _ = changed.changed() => {}
                    _ = stopping.changed() => {}
                }
            }
        }
    }

    /// Sends the next batch; gives whether there may be more.
    async fn step(&mut self) -> Result<Result<bool, Failure>, StoreError> {
        let store = self.given.store.clone();
        let unsent = store.unsent(&self.name, self.limit).await?;
        if unsent.changes == 0 {
            return Ok(Ok(false));
        }
        let news = for_machines(&store, &unsent.rows, self.config.min_severity).await?;
        if !news.is_empty() {
            match self.sink.send(&news).await {
                Ok(refused) => {
                    self.sent += (news.len() as u64).saturating_sub(refused.count);
                    self.refuse(refused.count, &refused.why).await?;
                }
                Err(failure) if failure.is_final && unsent.changes > 1 => {
                    self.limit = (unsent.changes as u32 / 2).max(1);
                    return Ok(Ok(true));
                }
                Err(failure) if failure.is_final => self.refuse(news.len() as u64, &failure.why).await?,
                Err(failure) => return Ok(Err(failure)),
            }
        }
        store.sent(&self.name, unsent.rows.version).await?;
        self.limit = (self.limit * 2).min(BATCH);
        self.pause = PAUSE.0;
        if self.failing.take().is_some() {
            tracing::info!("{} takes what is recorded again", self.name);
        }
        Ok(Ok(unsent.changes > 0))
    }

    async fn refuse(&mut self, count: u64, why: &str) -> Result<(), StoreError> {
        if count == 0 {
            return Ok(());
        }
        tracing::error!("{}: {count} records are refused for good: {why}", self.name);
        self.refused += count;
        self.refused_why = why.to_owned();
        self.given.store.skipped(&self.name, count).await
    }

    /// How long to wait.
    async fn failed(&mut self, failure: &Failure) -> Duration {
        let since = self.failing.take().map_or_else(Instant::now, |(since, _)| since);
        if self.pause == PAUSE.0 {
            tracing::error!("{} takes nothing: {}; it waits here", self.name, failure.why);
        }
        self.failing = Some((since, failure.why.clone()));
        if let Err(error) = self.given.store.limit_unsent().await {
            tracing::debug!("cannot bound what waits: {error}");
        }
        let wait = self.pause.max(failure.retry_after.unwrap_or_default());
        self.pause = (self.pause * 2).min(PAUSE.1);
        wait
    }

    async fn say(&self) {
        let waiting: Waiting = self.given.store.waiting(&self.name).await.unwrap_or_default();
        let lag_secs = waiting.oldest.map_or(0, |oldest| oldest.secs_until(Timestamp::now()));
        let failing = self.failing.as_ref().filter(|(since, _)| since.elapsed() > LONG);
        let problem = match (failing, self.refused) {
            (Some((_, why)), _) => Some(format!("{why}; {} changes wait for it here", waiting.changes)),
            (None, 0) => None,
            (None, refused) => Some(format!("{refused} records were refused for good: {}", self.refused_why)),
        };
        let figures = json!({
            "healthy": self.failing.is_none(),
            "sent": self.sent,
            "waiting": waiting.changes,
            "dropped": waiting.dropped,
            "lag_secs": lag_secs,
            "last_error": self.failing.as_ref().map(|(_, why)| why),
        });
        say(&self.given.services, &self.name, problem, figures.as_object().cloned().unwrap_or_default());
    }
}
