//! Sends what is recorded to Postgres, if there is one, in the order of the outbox: at once where it
//! answers, later where it does not. A task of its own, for which nobody waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::event::Timestamp;
use crate::record::{Answer, Postgres, Rows, Sqlite, Store, StoreConfig, StoreError, Unsent};
use crate::show::{Service, Services};

/// Its name among the readers of the outbox, and in `status`.
pub const NAME: &str = "postgres";
/// Changes that are sent at once: as many as go in [`BRISK`], within these bounds.
const FEWEST: u32 = 100;
const FIRST: u32 = 1000;
const MOST: u32 = 30_000;
const BRISK: Duration = Duration::from_secs(2);
/// Rows refused one after the other that are passed over.
const MAX_REFUSED: u32 = 20;
/// Between two looks at what is new, and between two words in `status`.
const LOOK: Duration = Duration::from_secs(1);
/// Until a store that failed is tried again; twice as long each time, up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// It is told that this host lives, and so is found to be there, this often.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Its old rows are deleted this often.
const PRUNE: Duration = Duration::from_secs(3600);
/// A failure that may pass by itself is a problem after so long.
const LONG: Duration = Duration::from_secs(60);
/// So long it is a problem that changes went unsent, and so seldom it is said in the log.
const TOLD: Duration = Duration::from_secs(3600);

/// A store that was reached.
struct Reached {
    store: Arc<dyn Store>,
    /// It has been sent something of this host before.
    knows_us: bool,
}

/// Connects to the store, if there is one, and brings it to this version's schema.
type Reach = Box<dyn Fn() -> Answer<'static, Option<Reached>> + Send + Sync>;

/// Sends what is recorded to the Postgres of `config`, if it names one.
pub async fn run(local: Arc<Sqlite>, config: StoreConfig, agent: String, services: watch::Sender<Services>) {
    let name = agent.clone();
    let reach: Reach = Box::new(move || {
        let (config, agent) = (config.clone(), name.clone());
        Box::pin(async move {
            let Some(store) = Postgres::connect(&config).await? else { return Ok(None) };
            store.migrate().await?;
            let knows_us = store.knows(&agent).await?;
            Ok(Some(Reached { store: Arc::new(store), knows_us }))
        })
    });
    follow(local, agent, reach, services).await;
}

/// Sends everything that is recorded until it is dropped or there is no store; what was sent and not confirmed is sent again.
async fn follow(local: Arc<Sqlite>, agent: String, reach: Reach, services: watch::Sender<Services>) {
    let mut sender = Sender {
        local,
        agent,
        reach,
        services,
        limit: FIRST,
        refused: 0,
        said_at: None,
        failing: None,
        retry_after: RETRY,
        pruned_at: None,
        dropped: 0,
        dropped_at: None,
    };
    while let Err(error) = sender.send().await {
        sender.failed(error);
        sender.wait_to_retry().await;
    }
    // There is nobody to send to: nothing need wait.
    if let Err(error) = sender.local.drop_reader(NAME).await {
        tracing::warn!("changes are kept for Postgres, which is not configured: {error}");
    }
}

struct Sender {
    local: Arc<Sqlite>,
    agent: String,
    reach: Reach,
    services: watch::Sender<Services>,
    limit: u32,
    /// Rows refused since one was taken.
    refused: u32,
    said_at: Option<Instant>,
    /// Since when, and why.
    failing: Option<(Instant, StoreError)>,
    retry_after: Duration,
    pruned_at: Option<Instant>,
    /// Changes that went unsent by now, and when that was found.
    dropped: u64,
    dropped_at: Option<Instant>,
}

impl Sender {
    /// Sends as long as that goes well and there is a store.
    async fn send(&mut self) -> Result<(), StoreError> {
        let Some(Reached { store, knows_us }) = (self.reach)().await? else { return Ok(()) };
        if !knows_us {
            self.local.drop_reader(NAME).await?;
        }
        if !self.local.has_reader(NAME).await? {
            // One that takes nothing is not to be asked again and again to take everything.
            store.put(&self.agent, &Rows::default(), Timestamp::now()).await?;
            self.local.send_all(NAME).await?;
        }
        let mut changed = self.local.changed();
        let mut beat_at = Instant::now();
        // Ends with this: a store that does not answer is not pruned.
        let mut pruning = JoinSet::new();
        let mut ahead = None;
        loop {
            let began = Instant::now();
            let unsent = match ahead.take() {
                Some(unsent) => unsent,
                None => {
                    changed.mark_unchanged();
                    self.local.unsent(NAME, self.limit).await?
                }
            };
            let is_all = unsent.is_all;
            if unsent.changes > 0 || began >= beat_at {
                let (local, upto, limit) = (self.local.clone(), unsent.rows.version, self.limit);
                // What comes next is read while the store is at this. Where nothing is read, what came since the
                // last reading stays to be heard of.
                let next = (!is_all).then(|| {
                    changed.mark_unchanged();
                    tokio::spawn(async move { local.unsent_after(upto, limit).await })
                });
                if !self.deliver(&*store, &unsent).await? {
                    continue;
                }
                if let Some(next) = next {
                    // To free many rows takes a while, too.
                    tokio::task::spawn_blocking(|| drop(unsent));
                    ahead = next.await.ok().transpose()?;
                }
                beat_at = Instant::now() + HEARTBEAT;
            }
            self.went_well(began.elapsed(), is_all).await;
            if self.pruned_at.is_none_or(|at| at.elapsed() > PRUNE) {
                self.pruned_at = Some(Instant::now());
                pruning.spawn(prune(store.clone()));
            }
            if is_all {
                // A flood of small changes goes together.
                tokio::time::sleep(LOOK.saturating_sub(began.elapsed())).await;
                tokio::select! {
                    // It ends after this alone.
                    _ = changed.changed() => {}
                    () = tokio::time::sleep_until(beat_at.into()) => {}
                }
            }
        }
    }

    /// Whether that was sent. If not, fewer are to be tried: one row is refused, which must not keep the others
    /// here for good.
    async fn deliver(&mut self, store: &dyn Store, unsent: &Unsent) -> Result<bool, StoreError> {
        for network in &unsent.forgotten {
            store.forget(*network).await?;
        }
        match store.put(&self.agent, &unsent.rows, Timestamp::now()).await {
            Ok(_) => self.refused = 0,
            Err(error) if error.is_of_rows() && unsent.changes > 1 => {
                self.limit = u32::try_from(unsent.changes / 2).unwrap_or(FEWEST);
                return Ok(false);
            }
            // More of them are no row's fault.
            Err(error) if error.is_of_rows() && self.refused < MAX_REFUSED => {
                self.refused += 1;
                tracing::error!(rows = described(&unsent.rows), "a row is not sent: {error}");
                self.local.skipped(NAME, unsent.changes as u64).await?;
            }
            Err(error) => {
                // Perhaps it was too much for its time.
                self.limit = (self.limit / 2).max(FEWEST);
                return Err(error);
            }
        }
        if unsent.changes > 0 {
            self.local.sent(NAME, unsent.rows.version).await?;
        }
        Ok(true)
    }

    async fn went_well(&mut self, took: Duration, is_all: bool) {
        if !is_all && took < BRISK {
            self.limit = (self.limit * 2).min(MOST);
        } else if took > BRISK * 4 {
            self.limit = (self.limit / 2).max(FEWEST);
        }
        self.retry_after = RETRY;
        let works_again = self.failing.take().is_some();
        if works_again {
            tracing::info!("Postgres takes what is recorded again");
        }
        if works_again || is_all || self.said_at.is_none_or(|at| at.elapsed() >= LOOK) {
            self.say().await;
        }
    }

    fn failed(&mut self, error: StoreError) {
        let (since, before) = match self.failing.take() {
            Some((since, before)) => (since, Some(before.to_string())),
            None => (Instant::now(), None),
        };
        if before.as_ref() != Some(&error.to_string()) {
            tracing::error!("{error}; what is recorded is kept here and sent when that is over");
        }
        self.failing = Some((since, error));
    }

    /// Waits longer each time, and not as long as other agents do that failed at the same moment.
    async fn wait_to_retry(&mut self) {
        let jitter = self.retry_after.mul_f64(f64::from(jitter()) / 255.0 / 2.0);
        let until = Instant::now() + self.retry_after + jitter;
        self.retry_after = (self.retry_after * 2).min(MAX_RETRY);
        if let Err(error) = self.local.limit_unsent().await {
            tracing::debug!("cannot bound what waits: {error}");
        }
        while Instant::now() < until {
            self.say().await;
            tokio::time::sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Tells `status` how it goes.
    async fn say(&mut self) {
        self.said_at = Some(Instant::now());
        // What cannot be read now is the local database's problem.
        let waiting = self.local.waiting(NAME).await.unwrap_or_default();
        if waiting.dropped > self.dropped {
            if self.dropped_at.is_none_or(|at| at.elapsed() >= TOLD) {
                tracing::error!("more waits for Postgres than store.max_unsent_rows: the oldest go unsent");
                self.dropped_at = Some(Instant::now());
            }
            self.dropped = waiting.dropped;
        }
        let now = Timestamp::now();
        let lag_secs = waiting.oldest.map_or(0, |oldest| oldest.secs_until(now));
        let last_error = self.failing.as_ref().map(|(_, error)| error.to_string());
        let figures = [
            ("healthy", json!(self.failing.is_none())),
            ("waiting", json!(waiting.changes)),
            ("dropped", json!(waiting.dropped)),
            ("lag_secs", json!(lag_secs)),
            ("last_error", json!(last_error)),
        ];
        let figures: Map<String, Value> = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let failing = self.failing.as_ref().filter(|(since, error)| since.elapsed() > LONG || !error.is_retryable());
        let unsent = self.dropped_at.filter(|at| at.elapsed() < TOLD);
        let problem = match (failing, unsent) {
            (Some((_, error)), _) => Some(format!("{error}; {} changes wait for it here", waiting.changes)),
            (None, Some(_)) => Some(format!(
                "{} changes went unsent to Postgres, because more waited than store.max_unsent_rows",
                waiting.dropped
            )),
            (None, None) => None,
        };
        self.services.send_modify(|services| {
            services.insert(NAME.into(), Service { problem, figures });
        });
    }
}

async fn prune(store: Arc<dyn Store>) {
    match store.prune(Timestamp::now()).await {
        Ok(0) => {}
        Ok(rows) => tracing::info!(rows, "old rows deleted from Postgres"),
        Err(error) => tracing::warn!("cannot delete old rows from Postgres: {error}"),
    }
}

/// Which row it is, without its text.
fn described(rows: &Rows) -> String {
    let findings = rows.findings.iter().map(|one| format!("finding {}", one.id));
    let decisions = rows.decisions.iter().map(|one| format!("decision {}", one.id));
    let others = rows.corrections.iter().map(|one| format!("correction {}", one.finding_id));
    findings.chain(decisions).chain(others).collect::<Vec<_>>().join(", ")
}

/// Differs from agent to agent.
fn jitter() -> u8 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0).to_le_bytes()[0]
}

#[cfg(test)]
mod tests;
