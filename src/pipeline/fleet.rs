//! Carries what this agent decided to the others, and what they decided to the decider. Reads decisions from
//! the store, so that the decider never waits for a bus; how far it has come is kept, so that nothing is lost
//! while a bus is away or this agent is.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::mpsc as sync;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::reader::Control;
use crate::config::Config;
use crate::event::{Decision, DecisionState, Timestamp};
use crate::fleet::{Bus, BusError, Key, Message, Posted, PostgresBus, Reader, RedisBus, Refusal, Signed, Through};
use crate::record::{Sqlite, StoreError};
use crate::show::{Command, Request, Service, Services};
use crate::tail::Waker;

/// In `status`.
const NAME: &str = "fleet";
/// The store is asked at most this often for what is new.
const LOOK: Duration = Duration::from_millis(100);
/// Changes that are read at once.
const CHANGES: u32 = 500;
/// So long one call waits for messages of others.
const WAIT: Duration = Duration::from_secs(10);
/// Between attempts while a bus is away: at first, and at most, twice as long after each.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Messages whose bans are over are deleted this often.
const PRUNE: Duration = Duration::from_secs(3600);
/// So long the reader may take to say whom the site serves.
const ANSWER: Duration = Duration::from_secs(2);
/// One line a minute says what was refused of one agent.
const SAY: Duration = Duration::from_secs(60);
/// Agents that are told apart in `status`.
const MAX_AGENTS: usize = 256;
/// Ids of bans that were sent lately: a decision changes more than once.
const MAX_SENT: usize = 10_000;

/// What both directions work with.
pub struct Fleet {
    bus: Box<dyn Bus>,
    reader: Reader,
    store: Arc<Sqlite>,
    commands: mpsc::Sender<Request>,
    controls: sync::Sender<Control>,
    waker: Waker,
    v6_prefix: u8,
    figures: Mutex<Figures>,
    services: watch::Sender<Services>,
    started_at: Timestamp,
}

#[derive(Default)]
struct Figures {
    agents: BTreeMap<String, Timestamp>,
    taken: u64,
    sent: u64,
    refused: BTreeMap<&'static str, u64>,
    /// Changes of decisions that are being sent; at most as many as are read at once.
    waiting: usize,
    /// By direction.
    errors: [Option<String>; 2],
    last_error: Option<String>,
    namesake: bool,
    said: HashMap<String, Instant>,
}

/// Directions.
const OUT: usize = 0;
const IN: usize = 1;

/// What is said in `status` where agents could share and are not told to.
pub fn alone(config: &Config, services: &watch::Sender<Services>) {
    if config.memory.is_shared() || config.store.is_shared() {
        let figures = Map::from_iter([
            ("shares".into(), json!(false)),
            ("advice".into(), json!("agents share no bans; [fleet] share = true and a key make them")),
        ]);
        services.send_modify(|services| {
            services.insert(NAME.into(), Service { problem: None, figures });
        });
    }
}

impl Fleet {
    /// # Errors
    /// The key cannot be read or is too short, or the agent's name is none.
    pub fn new(
        config: &Config,
        store: Arc<Sqlite>,
        commands: mpsc::Sender<Request>,
        (controls, waker): (sync::Sender<Control>, Waker),
        services: watch::Sender<Services>,
    ) -> anyhow::Result<Fleet> {
        let fleet = &config.fleet;
        let key = match &fleet.key_file {
            None => fleet.key.reveal().to_owned(),
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("fleet.key_file {} cannot be read", path.display()))?,
        };
        let key = Key::new(key.trim().as_bytes()).context("the key of [fleet] is too short: at least 32 characters")?;
        let name = config.agent_name();
        anyhow::ensure!(
            crate::fleet::is_name(&name),
            "this host's name {name:?} is no name of an agent: set `agent` to letters, digits, `-`, `.` and `_`"
        );
        let by_redis = match fleet.through {
            Through::Auto => config.memory.is_shared(),
            Through::Redis => true,
            Through::Postgres => false,
        };
        let bus: Box<dyn Bus> = match by_redis {
            true => Box::new(RedisBus::new(&config.memory)),
            false => Box::new(PostgresBus::new(&config.store)),
        };
        let reader = Reader { name, key, config: fleet.clone() };
        Ok(Fleet {
            bus,
            reader,
            store,
            commands,
            controls,
            waker,
            v6_prefix: config.client.v6_prefix,
            figures: Mutex::default(),
            services,
            started_at: Timestamp::now(),
        })
    }

    /// Works in both directions until it is dropped.
    pub async fn run(self) {
        tracing::info!(agent = self.reader.name, through = self.bus.name(), "bans are shared with other agents");
        self.tell();
        tokio::join!(self.send(), self.take());
    }

    /// Sends what was decided here, from where it was left off.
    async fn send(&self) {
        let (mut retry, mut sent) = (RETRY.0, Sent::default());
        let (mut position, mut changed) = (None, self.store.changed());
        loop {
            changed.mark_unchanged();
            match self.send_some(&mut position, &mut sent).await {
                Ok(is_done) => {
                    retry = RETRY.0;
                    self.went(OUT, None);
                    if is_done {
                        tokio::time::sleep(LOOK).await;
                        // The store ends after this alone.
                        let _ = changed.changed().await;
                    }
                }
                Err(error) => {
                    self.went(OUT, Some(error));
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Sends what the next changes tell; gives whether that was all.
    async fn send_some(&self, position: &mut Option<i64>, sent: &mut Sent) -> Result<bool, BusError> {
        let direction = format!("to.{}", self.bus.name());
        let after = match *position {
            Some(after) => after,
            None => {
                let known = self.store.fleet_cursor(&direction).await.map_err(failed)?;
                match known.and_then(|cursor| cursor.parse().ok()) {
                    Some(after) => *position.insert(after),
                    None => {
                        let last = self.store.last_change().await.map_err(failed)?;
                        self.send_all().await?;
                        self.store.set_fleet_cursor(&direction, &last.to_string()).await.map_err(failed)?;
                        *position.insert(last)
                    }
                }
            }
        };
        let changes = self.store.decision_changes(after, CHANGES).await.map_err(failed)?;
        let Some((last, _)) = changes.last().cloned() else { return Ok(true) };
        self.figures().waiting = changes.len();
        let mut messages = vec![];
        let mut seen = HashSet::new();
        for (_, id) in &changes {
            if !seen.insert(id) {
                continue;
            }
            let Some(decision) = self.store.decision(id).await.map_err(failed)? else { continue };
            // Pending and active are one to the others.
            if decision.state != DecisionState::Active || sent.is_new(&decision.id) {
                messages.extend(self.message(&decision).await.map_err(failed)?);
            }
        }
        self.publish(&messages).await?;
        let banned = |message: &&Message| message.what == crate::fleet::What::Banned;
        messages.iter().filter(banned).for_each(|message| sent.note(&message.id));
        self.store.set_fleet_cursor(&direction, &last.to_string()).await.map_err(failed)?;
        *position = Some(last);
        self.figures().waiting = 0;
        Ok(changes.len() < CHANGES as usize)
    }

    /// Sends all bans of this agent that are in force: to a bus that knows none of them.
    async fn send_all(&self) -> Result<(), BusError> {
        let mut messages = vec![];
        for decision in self.store.live_decisions(Timestamp::now()).await.map_err(failed)? {
            messages.extend(self.message(&decision).await.map_err(failed)?);
        }
        self.publish(&messages).await
    }

    async fn message(&self, decision: &Decision) -> Result<Option<Message>, StoreError> {
        let Reader { name, config, .. } = &self.reader;
        let finding = match &decision.ground.finding_id {
            Some(id) => self.store.finding(id).await?,
            None => None,
        };
        let rules = finding.map(|finding| finding.rule_ids).unwrap_or_default();
        Ok(Message::of(decision, name, &rules, config.max_ban_secs, Timestamp::now()))
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), BusError> {
        for some in messages.chunks(CHANGES as usize) {
            let signed: Vec<Signed> = some.iter().map(|message| self.reader.key.sign(message)).collect();
            self.bus.publish(&signed).await?;
            self.figures().sent += some.len() as u64;
        }
        Ok(())
    }

    /// Takes what others decided, from where it was left off.
    async fn take(&self) {
        let (mut retry, mut cursor) = (RETRY.0, None);
        let (mut is_known, mut pruned_at) = (false, None::<Instant>);
        loop {
            match self.take_some(&mut cursor, &mut is_known).await {
                Ok(()) => {
                    retry = RETRY.0;
                    self.went(IN, None);
                    if pruned_at.is_none_or(|at| at.elapsed() >= PRUNE) {
                        pruned_at = Some(Instant::now());
                        if let Err(error) = self.bus.prune().await {
                            tracing::debug!("old messages of the fleet are not deleted: {error}");
                        }
                    }
                }
                Err(error) => {
                    is_known = false;
                    self.went(IN, Some(error));
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY.1);
                }
            }
        }
    }

    async fn take_some(&self, cursor: &mut Option<String>, is_known: &mut bool) -> Result<(), BusError> {
        let direction = format!("from.{}", self.bus.name());
        let after = match cursor {
            Some(after) => after,
            None => cursor.insert(self.store.fleet_cursor(&direction).await.map_err(failed)?.unwrap_or_default()),
        };
        if !*is_known {
            if !after.is_empty() && !self.bus.knows(after).await? {
                // It may have lost what this agent told, too.
                after.clear();
                self.send_all().await?;
            }
            *is_known = true;
        }
        let posted = self.bus.take(after, WAIT).await?;
        let Some(last) = posted.last().map(|posted| posted.cursor.clone()) else { return Ok(()) };
        if self.pass_on(&posted).await? {
            self.store.set_fleet_cursor(&direction, &last).await.map_err(failed)?;
        }
        *after = last;
        Ok(())
    }

    /// Has the decider follow what holds of these; gives whether that is recorded.
    async fn pass_on(&self, posted: &[Posted]) -> Result<bool, BusError> {
        let now = Timestamp::now();
        let mut decisions = vec![];
        for Posted { signed, .. } in posted {
            match self.reader.read(signed, now) {
                Ok(message) => {
                    self.seen(&message.origin, now);
                    decisions.extend(self.reader.decision(&message, now));
                }
                Err((_, Refusal::Own)) => self.look_at_own(signed).await,
                Err((origin, refusal)) => self.refuse(origin, &refusal),
            }
        }
        if decisions.is_empty() {
            return Ok(true);
        }
        self.ask_who_is_served(&mut decisions).await?;
        let (reply, answer) = oneshot::channel();
        let stopping = || BusError("the daemon is stopping".into());
        let request = Request { command: Command::Fleet { decisions }, reply };
        self.commands.send(request).await.map_err(|_| stopping())?;
        let answer = answer.await.map_err(|_| stopping())?.map_err(|problem| BusError(problem.to_string()))?;
        {
            let mut figures = self.figures();
            figures.taken += answer["new"].as_u64().unwrap_or(0);
            let known = answer["known"].as_u64().unwrap_or(0);
            if known > 0 {
                *figures.refused.entry("known").or_default() += known;
            }
        }
        Ok(answer["recorded"] == Value::Bool(true))
    }

    /// Notes which bans would meet visitors of this host. Who cannot see does not shoot.
    async fn ask_who_is_served(&self, decisions: &mut [Decision]) -> Result<(), BusError> {
        let (reply, answer) = oneshot::channel();
        let targets = decisions.iter().map(|decision| decision.target).collect();
        // The reader may be gone while the daemon stops.
        let _ = self.controls.send(Control::Served(targets, self.v6_prefix, reply));
        self.waker.wake();
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(served)) => {
                decisions.iter_mut().zip(served).for_each(|(decision, served)| decision.ground.was_served = served);
                Ok(())
            }
            _ => Err(BusError("bans of others wait: the reading of logs does not say whom this host serves".into())),
        }
    }

    fn seen(&self, origin: &str, now: Timestamp) {
        let agents = &mut self.figures().agents;
        if agents.len() < MAX_AGENTS || agents.contains_key(origin) {
            agents.insert(origin.to_owned(), now);
        }
    }

    fn refuse(&self, origin: Option<String>, refusal: &Refusal) {
        let mut figures = self.figures();
        *figures.refused.entry(refusal.as_str()).or_default() += 1;
        let origin = origin.unwrap_or_else(|| "unknown".into());
        if refusal.is_ordinary() || figures.said.get(&origin).is_some_and(|at| at.elapsed() < SAY) {
            return;
        }
        if figures.said.len() >= MAX_AGENTS {
            figures.said.clear();
        }
        figures.said.insert(origin.clone(), Instant::now());
        drop(figures);
        tracing::warn!(origin, "a message of the fleet is refused: {refusal}");
    }

    /// Somebody who signs with this agent's name and whose decisions this agent does not know has its name.
    async fn look_at_own(&self, signed: &Signed) {
        let Ok(message) = serde_json::from_str::<Message>(&signed.body) else { return };
        if Timestamp(message.issued_at) > self.started_at
            && matches!(self.store.decision(&message.id).await, Ok(None))
            && !std::mem::replace(&mut self.figures().namesake, true)
        {
            tracing::error!("another agent calls itself {:?} too; set `agent` on one of them", self.reader.name);
        }
    }

    /// Notes how a direction goes; says what is new of it.
    fn went(&self, direction: usize, error: Option<BusError>) {
        let mut figures = self.figures();
        let was_away = figures.errors.iter().any(Option::is_some);
        let error = error.map(|error| error.0);
        figures.last_error = error.clone().or(figures.last_error.take());
        figures.errors[direction] = error;
        let now = figures.errors.iter().flatten().next().cloned();
        drop(figures);
        match now {
            Some(error) if !was_away => tracing::warn!("bans are not shared for now: {error}"),
            None if was_away => tracing::info!(through = self.bus.name(), "bans are shared again"),
            _ => {}
        }
        self.tell();
    }

    fn tell(&self) {
        let figures = self.figures();
        let error = figures.errors.iter().flatten().next();
        let mut problem = error.map(|error| format!("bans are not shared with other agents: {error}"));
        if figures.namesake {
            let name = &self.reader.name;
            problem =
                Some(format!("another agent calls itself {name:?} too: bans of both are not shared; set `agent`"));
        }
        let told = json!({
            "shares": true,
            "agent": self.reader.name,
            "healthy": problem.is_none(),
            "through": self.bus.name(),
            "agents": figures.agents,
            "sent": figures.sent,
            "taken": figures.taken,
            "refused": figures.refused,
            "waiting": figures.waiting,
            "last_error": figures.last_error,
        });
        drop(figures);
        let Value::Object(figures) = told else { return };
        let service = Service { problem, figures };
        self.services.send_if_modified(|services| {
            let known = services.get(NAME);
            let is_new = known.is_none_or(|known| known.problem != service.problem || known.figures != service.figures);
            if is_new {
                services.insert(NAME.into(), service);
            }
            is_new
        });
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bans that were sent lately.
#[derive(Default)]
struct Sent {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Sent {
    fn is_new(&self, id: &str) -> bool {
        !self.ids.contains(id)
    }

    fn note(&mut self, id: &str) {
        if self.ids.insert(id.to_owned()) {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MAX_SENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

fn failed(error: StoreError) -> BusError {
    BusError(error.to_string())
}
