//! Tells people and SIEMs what is recorded. Each alert and each export is a task and a reader of the store's
//! outbox by its own name: nobody waits for it, none waits for another, and each goes on where it was after
//! a restart. The outbox is the spool.

mod alert;
mod digest;
mod export;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::supervisor::ask;
use crate::config::Config;
use crate::event::{Severity, Timestamp};
use crate::notify::{self, AlertConfig, ExportConfig, Message, Sums};
use crate::record::Sqlite;
use crate::show::{Command, Request, Service, Services};

/// What the names of their readers, and of their services in `status`, begin with.
const ALERT: &str = "alert ";
const EXPORT: &str = "export ";
/// Changes that are read at once.
const BATCH: u32 = 1000;
/// What is due by the clock is looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// A store that cannot be read, a channel that cannot be made: tried again after so long.
const RETRY: Duration = Duration::from_secs(30);
/// What is wrong is asked for this often.
const LOOK: Duration = Duration::from_secs(5);
/// So long a stop waits for its last messages.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What all of it works with.
#[derive(Clone)]
pub struct Given {
    pub store: Arc<Sqlite>,
    pub services: watch::Sender<Services>,
    pub commands: mpsc::Sender<Request>,
    /// The newest configuration.
    pub config: watch::Receiver<Config>,
    /// True: the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

/// Says why one of them cannot be used, and waits until it may be tried again; false: the daemon stops.
async fn again(given: &mut Given, name: &str, why: String) -> bool {
    tracing::error!("{name} cannot be used: {why}");
    say(&given.services, name, Some(why), Map::new());
    tokio::select! {
        () = tokio::time::sleep(RETRY) => true,
        _ = given.stopping.wait_for(|stops| *stops) => false,
    }
}

/// What one of them is made of: another one takes its place when any of it changes.
#[derive(Clone, PartialEq)]
enum Kind {
    Alert(Box<AlertConfig>),
    Export(Box<ExportConfig>),
}

/// What of the configuration concerns each.
type Frame = (String, String, String);

/// Works until the daemon stops, and then until all have said their last words, or the time for that is over.
pub async fn run(mut given: Given) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<String, (Kind, Frame, AbortHandle)> = HashMap::new();
    let (problems, problems_seen) = watch::channel(vec![]);
    let mut looking = JoinSet::new();
    let mut is_start = true;
    loop {
        let config = given.config.borrow_and_update().clone();
        let frame = (config.agent_name(), config.public_url.clone(), config.timezone.clone());
        let wanted = wanted(&config);
        let is_wanted = |name: &String, kind: &Kind, of: &Frame| wanted.get(name) == Some(kind) && *of == frame;
        for (name, (_, _, task)) in running.extract_if(|name, (kind, of, _)| !is_wanted(name, kind, of)) {
            task.abort();
            given.services.send_modify(|services| {
                services.remove(&name);
            });
        }
        forget_others(&given.store, &wanted).await;
        for (name, kind) in wanted {
            if running.contains_key(&name) {
                continue;
            }
            let (one, health) = (given.clone(), problems_seen.clone());
            let task = match kind.clone() {
                Kind::Alert(alert) => tasks.spawn(alert::run(one, *alert, health, is_start)),
                Kind::Export(export) => tasks.spawn(export::run(one, *export)),
            };
            running.insert(name, (kind, frame.clone(), task));
        }
        if looking.is_empty() && running.values().any(|(kind, ..)| matches!(kind, Kind::Alert(_))) {
            looking.spawn(look(given.commands.clone(), given.services.subscribe(), problems.clone()));
        }
        is_start = false;
        tokio::select! {
            changed = given.config.changed() => if changed.is_err() { break },
            _ = given.stopping.wait_for(|stops| *stops) => break,
        }
    }
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
        tracing::warn!("not every alert was delivered; what waits is sent after the next start");
    }
}

fn wanted(config: &Config) -> HashMap<String, Kind> {
    let alerts = config.alert.iter().map(|one| (format!("{ALERT}{}", one.name), Kind::Alert(Box::new(one.clone()))));
    let exports =
        config.export.iter().map(|one| (format!("{EXPORT}{}", one.name), Kind::Export(Box::new(one.clone()))));
    alerts.chain(exports).collect()
}

/// For whom nothing need wait any more.
async fn forget_others(store: &Sqlite, wanted: &HashMap<String, Kind>) {
    for prefix in [ALERT, EXPORT] {
        let known = store.readers(prefix).await.unwrap_or_default();
        for (name, ..) in known.iter().filter(|(name, ..)| !wanted.contains_key(name)) {
            if let Err(error) = store.drop_reader(name).await {
                tracing::warn!("changes are kept for {name}, which is not configured: {error}");
            }
        }
    }
}

/// Tells what is wrong, as `status` does.
async fn look(
    commands: mpsc::Sender<Request>,
    services: watch::Receiver<Services>,
    problems: watch::Sender<Vec<String>>,
) {
    loop {
        if let Ok(status) = ask(&commands, Command::Status).await {
            let of_decider = status["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut all: Vec<String> = of_decider.map(str::to_owned).collect();
            all.extend(services.borrow().values().filter_map(|service| service.problem.clone()));
            problems.send_replace(all);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn say(services: &watch::Sender<Services>, name: &str, problem: Option<String>, figures: Map<String, Value>) {
    let problem = problem.map(|problem| format!("{name}: {problem}"));
    services.send_modify(|services| {
        services.insert(name.to_owned(), Service { problem, figures });
    });
}

/// Sends an example through each alert, or the one of this name; gives each with what became of it.
///
/// # Errors
/// There is none, or none of this name.
pub async fn test(config: &Config, name: Option<&str>) -> anyhow::Result<Vec<(String, Result<(), String>)>> {
    let alerts: Vec<&AlertConfig> =
        config.alert.iter().filter(|alert| name.is_none_or(|name| alert.name == name)).collect();
    if alerts.is_empty() {
        let known: Vec<&str> = config.alert.iter().map(|alert| alert.name.as_str()).collect();
        match name {
            Some(name) => anyhow::bail!("no [[alert]] is called {name:?} (known: {})", known.join(", ")),
            None => anyhow::bail!("no [[alert]] is configured: see docs/alerts.md"),
        }
    }
    let host = config.agent_name();
    let now = Timestamp::now();
    let message = Message {
        id: format!("test-{}", now.0),
        at: now,
        severity: Severity::Medium,
        title: format!("{host}: a test of this alert"),
        text: "This is how messages of Palisade come here. Nothing has happened.".into(),
        url: (!config.public_url.is_empty()).then(|| config.public_url.clone()),
        sums: Sums::default(),
    };
    let mut done = vec![];
    for alert in alerts {
        let sent = match notify::open(alert) {
            Ok(channel) => channel.deliver(&message).await.map(drop).map_err(|failure| failure.why),
            Err(why) => Err(why),
        };
        done.push((alert.name.clone(), sent));
    }
    Ok(done)
}
