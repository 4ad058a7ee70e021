//! One alert: reads what is recorded, lets the desk say what is told when, and delivers it.

use tokio::sync::watch;

use super::rows::{Told, for_people};
use super::{ALERT, BATCH, Given, TICK, again, digest, say};
use crate::event::{Severity, Timestamp};
use crate::notify::{self, AlertConfig, Channel, Desk, Due, Followed, Message, News, Route, Standing, What};
use crate::record::{Sqlite, StoreError, Unsent};

/// In a flood it is noted after so many changes up to where it has read: each note waits for the recorder, and
/// what was read since then is read again after a crash.
const NOTED: i64 = 20_000;

struct Alert {
    given: Given,
    /// As a reader of the outbox, and in `status`.
    name: String,
    route: Route,
    channel: Box<dyn Channel>,
    desk: Desk,
    told: Told,
    /// Up to where it has read.
    upto: i64,
    /// Up to where a restart would find it to have read.
    saved: i64,
}

/// Works until the daemon has stopped. `is_start`: it has just started.
pub async fn run(mut given: Given, config: AlertConfig, health: watch::Receiver<Vec<String>>, is_start: bool) {
    let name = format!("{ALERT}{}", config.name);
    loop {
        match Alert::open(&given, &name, &config).await {
            Ok(alert) => return alert.work(health, is_start).await,
            Err(why) => {
                if !again(&mut given, &name, why).await {
                    return;
                }
            }
        }
    }
}

impl Alert {
    async fn open(given: &Given, name: &str, config: &AlertConfig) -> Result<Alert, String> {
        let channel = notify::open(config)?;
        let general = given.config.borrow().clone();
        let zone = general.zone().map_err(|error| error.to_string())?;
        let route = Route::new(config, zone, &general.agent_name(), &general.public_url)?;
        let (upto, state) = resume(&given.store, name).await.map_err(|error| error.to_string())?;
        // Of another version, it begins anew.
        let desk = serde_json::from_str(&state).unwrap_or_default();
        let (given, name, told) = (given.clone(), name.to_owned(), Told::default());
        Ok(Alert { given, name, route, channel, desk, told, upto, saved: upto })
    }

    async fn work(mut self, mut health: watch::Receiver<Vec<String>>, is_start: bool) {
        let mut changed = self.given.store.changed();
        let mut stopping = self.given.stopping.clone();
        if is_start {
            self.notice(What::Start);
        }
        // What it has not read yet, it has not heard of.
        changed.mark_changed();
        loop {
            let reads = changed.has_changed().unwrap_or(true);
            changed.mark_unchanged();
            let stops = *stopping.borrow_and_update();
            let done = self.step(&mut health, reads, stops).await;
            if let Err(error) = &done {
                say(&self.given.services, &self.name, Some(error.to_string()), serde_json::Map::new());
            }
            match done {
                Ok(true) => changed.mark_changed(),
                _ if stops => return,
                Ok(false) => {
                    // A flood of small changes is read together.
                    tokio::select! {
                        () = tokio::time::sleep(TICK) => {}
                        _ = stopping.changed() => {}
                    }
                }
                Err(_) => {
                    changed.mark_changed();
                    tokio::time::sleep(TICK).await;
                }
            }
        }
    }

    /// Reads and delivers once; gives whether there is more to do now.
    async fn step(
        &mut self,
        health: &mut watch::Receiver<Vec<String>>,
        reads: bool,
        stops: bool,
    ) -> Result<bool, StoreError> {
        let now = Timestamp::now();
        let unsent = match reads {
            true => self.given.store.unsent_after(self.upto, BATCH).await?,
            false => Unsent::default(),
        };
        let is_all = unsent.is_all || !reads;
        let (news, let_go) = for_people(&self.given.store, &unsent.rows, &mut self.told).await?;
        for news in news {
            self.desk.take(&self.route, news, now);
        }
        for client in let_go {
            self.desk.emergencies.settle(&client, now);
        }
        self.upto = self.upto.max(unsent.rows.version);
        if stops && is_all {
            self.notice(What::Stop);
        } else {
            let own = format!("{}:", self.name);
            let wrong: Vec<String> =
                health.borrow_and_update().iter().filter(|one| !one.starts_with(&own)).cloned().collect();
            self.desk.hear(&self.route, &wrong, now);
        }
        let due = match self.desk.due(&self.route, now) {
            Some(Due::Digest { what, from, to }) => {
                let lines = digest::lines(&self.given.store, from, to).await?;
                self.desk.digest(&self.route, what, &lines, now);
                self.desk.due(&self.route, now)
            }
            due => due,
        };
        let has_caught_up = is_all && (stops || self.saved < self.upto);
        if due.is_some() || has_caught_up || self.upto - self.saved >= NOTED {
            self.save().await?;
        }
        if let Some(Due::Deliver(message)) = due {
            self.deliver(&message).await;
            self.save().await?;
        } else if let (false, Some(followed)) = (stops, self.desk.emergencies.due(now)) {
            self.follow(followed).await;
            self.save().await?;
        }
        let (problem, figures) = self.desk.told();
        say(&self.given.services, &self.name, problem, figures);
        Ok(!is_all)
    }

    async fn deliver(&mut self, message: &Message) {
        let delivered = self.channel.deliver(message).await;
        let now = Timestamp::now();
        match delivered {
            Ok(receipt) => {
                self.desk.delivered(&self.route, receipt, now);
                tracing::info!(alert = self.name, title = message.title, "told");
            }
            Err(failure) => {
                tracing::warn!(alert = self.name, "a message is not delivered: {}", failure.why);
                self.desk.failed(&self.route, &failure, now);
            }
        }
    }

    /// Hears how it stands with an emergency, or has it repeated no more.
    async fn follow(&mut self, followed: Followed) {
        let (receipt, heard) = match &followed {
            Followed::AskAfter(receipt) => (receipt, self.channel.ask_after(receipt).await),
            Followed::CallOff(receipt) => (receipt, self.channel.call_off(receipt).await),
        };
        match &heard {
            Ok(Standing::Acknowledged { acknowledged_by, .. }) => {
                tracing::info!(alert = self.name, by = acknowledged_by, "an emergency is acknowledged");
            }
            Err(failure) => tracing::warn!(alert = self.name, "an emergency cannot be followed: {}", failure.why),
            Ok(_) => {}
        }
        self.desk.emergencies.heard(receipt, heard, Timestamp::now());
    }

    fn notice(&mut self, what: What) {
        let now = Timestamp::now();
        let mode = self.given.config.borrow().mode.as_str();
        let reason = format!("version {}, mode {mode}", env!("CARGO_PKG_VERSION"));
        let news = News { what, at: now, severity: Severity::Informational, reason, ..News::default() };
        self.desk.take(&self.route, news, now);
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        let state = serde_json::to_string(&self.desk).unwrap_or_default();
        self.given.store.read_with(&self.name, self.upto, &state).await?;
        self.saved = self.upto;
        Ok(())
    }
}

/// Where a reader goes on, and what it remembers; a new one begins with what happens from now on.
pub(super) async fn resume(store: &Sqlite, name: &str) -> Result<(i64, String), StoreError> {
    let known = store.readers(name).await?.into_iter().find(|(known, ..)| known == name);
    if let Some((_, upto, state)) = known {
        return Ok((upto, state));
    }
    let last = store.last_change().await?;
    store.sent(name, last).await?;
    Ok((last, String::new()))
}
