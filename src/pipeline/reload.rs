//! Keeps the configuration while the daemon runs: reads it again when told, or when its files have changed;
//! lays over it what operators set for a while; and gives everybody what concerns them. Whatever cannot be
//! used changes nothing.

mod beside;
mod prints;
mod rules;

use std::sync::mpsc as sync;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use serde_json::{Map, Value, json};
use tokio::signal::unix::Signal;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::crawlers::{Crawlers, SystemResolver};
use super::decider::Reloaded;
use super::live::{open_advisers, open_triage, responder_names, rules_version, sureness};
use super::names::Names;
use super::reader::Control;
use super::replay;
use super::surroundings::Settings;
use super::switched_off::OffList;
use super::tunings::{Tuning, Tunings, is_tunable, pairs};
use crate::config::{self, Config, Known, Loaded, Mistakes, Mode, Place, TUNABLE, Text};
use crate::detect::Ruleset;
use crate::event::{Timestamp, printable};
use crate::memory::Memory;
use crate::record::Sqlite;
use crate::show::{Command, Problem, Request, Service, Services, Tune, TuneRequest};
use crate::tail::Waker;
use crate::triage::{Advisers, Sureness};
use beside::Beside;
use prints::Prints;

/// Files are looked at this often, and taken when they have not changed since the last look: whoever
/// writes one may need a moment. Announcements of the kernel would be a little faster, and fail where
/// files are replaced, mounted or far away.
const LOOK: Duration = Duration::from_secs(1);
/// What it is called among the services in `status`.
const NAME: &str = "configuration";

/// Whom a newer configuration concerns.
pub struct Outlets {
    pub controls: sync::Sender<Control>,
    pub waker: Waker,
    pub reloads: mpsc::Sender<Reloaded>,
    pub commands: mpsc::Sender<Request>,
    pub settings: Arc<Mutex<Settings>>,
    pub look_again: Arc<Notify>,
    pub names: sync::Sender<Names>,
    pub sureness: watch::Sender<Sureness>,
    pub advisers: watch::Sender<Arc<Advisers>>,
    pub services: watch::Sender<Services>,
    pub store: Arc<Sqlite>,
    pub memory: Arc<dyn Memory>,
    /// For who looks at what concerns him by himself.
    pub newest: watch::Sender<Config>,
}

/// What is in force, and where it comes from.
pub struct Kept {
    /// None: nothing is ever read again.
    place: Option<Place>,
    config: Config,
    /// The last text that could be used.
    text: Text,
    tunings: Tunings,
    off: OffList,
    /// The files as they were when they were read, or none that could be.
    read: Option<Prints>,
    /// As they were at the last look, if that was different.
    looked: Option<Prints>,
    rules: Arc<Ruleset>,
    /// Keys that changed and wait for a restart.
    waiting: Vec<String>,
    problem: Option<String>,
}

impl Kept {
    /// Starts with what was loaded, and what was set and switched off before a restart.
    pub fn new(place: Option<Place>, config: Config, rules: Arc<Ruleset>) -> Kept {
        let tunings = Tunings::open(&config.state_dir, Timestamp::now());
        let off = OffList::open(&config.state_dir);
        let read = place.as_ref().map(|place| Prints::of(place, &config));
        let text = place.as_ref().map(Text::read_from_system).unwrap_or_default();
        let (looked, waiting, problem) = (None, vec![], None);
        let mut kept = Kept { place, config, text, tunings, off, read, looked, rules, waiting, problem };
        if kept.place.is_some() && compose(&kept.text, &[]).ok().is_none_or(|loaded| loaded.config != kept.config) {
            // It changed since it was loaded.
            kept.read = None;
        }
        if !kept.tunings.list.is_empty() {
            match compose(&kept.text, &pairs(&kept.tunings.list)) {
                Ok(loaded) => {
                    kept.config = config::taken(&kept.config, &loaded.config);
                    for Tuning { key, value, by, .. } in &kept.tunings.list {
                        tracing::warn!(key, value, by, "set before the start, and still in force");
                    }
                }
                Err(mistakes) => {
                    tracing::error!("what was set before the start does not fit any more: {mistakes}");
                    kept.tunings.list.clear();
                }
            }
        }
        if !kept.off.list.is_empty() {
            match kept.off.rules_over(&kept.config) {
                Ok(rules) => (kept.config, kept.rules) = (kept.off.over(&kept.config), Arc::new(rules)),
                Err(error) => tracing::error!("what was switched off before the start is on: {error:#}"),
            }
        }
        kept
    }

    /// The configuration of `text` with what operators set and switched off over it.
    fn compose(&self, text: &Text, set: &[(String, String)]) -> Result<Loaded, Mistakes> {
        let mut loaded = compose(text, set)?;
        loaded.config = self.off.over(&loaded.config);
        Ok(loaded)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn rules(&self) -> &Arc<Ruleset> {
        &self.rules
    }

    /// Starts what works beside the decider, as configured.
    ///
    /// # Errors
    /// A blocklist or service cannot be spoken to at all: no TLS, no key.
    pub async fn start(self, outlets: Outlets) -> anyhow::Result<Keeper> {
        let mut keeper = Keeper { kept: self, outlets, beside: Beside::default() };
        let change = keeper.beside.prepare(&keeper.kept.config, &keeper.outlets.store).await?;
        keeper.beside.apply(change, &keeper.outlets);
        keeper.tell();
        Ok(keeper)
    }
}

/// [`Kept`], at work.
pub struct Keeper {
    kept: Kept,
    outlets: Outlets,
    beside: Beside,
}

impl Keeper {
    /// Works until it is dropped.
    pub async fn run(mut self, mut hangup: Signal, mut requests: mpsc::Receiver<TuneRequest>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    self.outlets.look_again.notify_one();
                    self.read_again().await;
                }
                Some(TuneRequest { tune, reply }) = requests.recv() => {
                    let answer = self.obey(tune).await;
                    // The asker may have gone.
                    let _ = reply.send(answer);
                }
                _ = ticks.tick() => {
                    self.end_tunings().await;
                    if self.has_changed().await {
                        self.read_again().await;
                    }
                }
            }
        }
    }

    /// Whether the files are others than those that were read, and have been so since the last look.
    async fn has_changed(&mut self) -> bool {
        let Some(now) = self.prints().await else { return false };
        if self.kept.read.as_ref() == Some(&now) {
            self.kept.looked = None;
            return false;
        }
        let is_settled = self.kept.looked.as_ref() == Some(&now);
        self.kept.looked = Some(now);
        is_settled
    }

    async fn prints(&self) -> Option<Prints> {
        let (place, config) = (self.kept.place.clone()?, self.kept.config.clone());
        tokio::task::spawn_blocking(move || Prints::of(&place, &config)).await.ok()
    }

    /// Takes the files as they are now, or says why not.
    async fn read_again(&mut self) {
        let Some(place) = self.kept.place.clone() else { return };
        // First: what changes while it is read is seen at the next look.
        self.kept.read = self.prints().await;
        self.kept.looked = None;
        let read = tokio::task::spawn_blocking(move || Text::read_from_system(&place)).await;
        let done = match read {
            Ok(text) => self.take(text).await,
            Err(error) => Err(error.into()),
        };
        match done {
            Ok(changed) => {
                self.kept.problem = None;
                let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
                tracing::info!(changed, "the configuration and the rules are read again");
                if !self.kept.waiting.is_empty() {
                    tracing::warn!(keys = self.kept.waiting.join(", "), "these keys changed and need a restart");
                }
            }
            Err(error) => {
                tracing::error!("the old configuration stays in force: {error:#}");
                let all = format!("{error:#}");
                let mut lines = all.lines();
                let first = printable(lines.next().unwrap_or_default().as_bytes(), 300);
                let more = match lines.count() {
                    0 => String::new(),
                    more => format!(" (and {more} more: `palisade config check`)"),
                };
                self.kept.problem = Some(format!("the old configuration stays in force: {first}{more}"));
            }
        }
        self.tell();
    }

    /// Takes a newer text; gives the keys that changed.
    async fn take(&mut self, text: Text) -> anyhow::Result<Vec<String>> {
        if let Some(main) = text.lost_since(&self.kept.text) {
            bail!("{} is gone or empty; write it again, or restart palisade to run with the defaults", main.display());
        }
        let set = pairs(&self.kept.tunings.list);
        let (mut loaded, dropped) = match compose(&text, &set) {
            Ok(loaded) => (loaded, false),
            Err(_) if !set.is_empty() => (compose(&text, &[])?, true),
            Err(mistakes) => return Err(mistakes.into()),
        };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        // As at a start: what names a rule that is gone by now keeps nobody from reading the rest.
        let (config, mut off) = (loaded.config.clone(), self.kept.off.clone());
        let read = move || off.rules_over(&config).map(|rules| (rules, off));
        let (rules, off) = tokio::task::spawn_blocking(read).await??;
        loaded.config = off.over(&loaded.config);
        let changed = self.apply(&loaded, Some(Arc::new(rules))).await?;
        (self.kept.text, self.kept.off) = (text, off);
        if dropped {
            let list = std::mem::take(&mut self.kept.tunings.list);
            for Tuning { key, value, by, .. } in list {
                tracing::warn!(key, value, by, "does not fit the new configuration and is no longer set");
            }
            self.save();
        }
        Ok(changed)
    }

    /// Makes ready what can fail, then gives everybody what concerns them. Without `rules` they are as
    /// before. Gives the keys that changed.
    async fn apply(&mut self, loaded: &Loaded, rules: Option<Arc<Ruleset>>) -> anyhow::Result<Vec<String>> {
        let Keeper { kept, outlets, beside } = self;
        let mut config = config::taken(&kept.config, &loaded.config);
        let waiting = config::differences(&config, &loaded.config);
        let changed = config::differences(&kept.config, &config);
        let rules_changed = rules.is_some();
        let rules = rules.unwrap_or_else(|| kept.rules.clone());
        let touches = |tables: &[&str]| {
            changed.iter().any(|key| tables.contains(&key.split(['.', '[']).next().unwrap_or_default()))
        };
        let settings = match touches(&["client", "respond"]) {
            false => None,
            true => {
                let config = config.clone();
                Some(tokio::task::spawn_blocking(move || Settings::of(&config)).await??)
            }
        };
        let asks_others = touches(&["tier", "triage", "reputation"]);
        let triage = match asks_others || rules_changed && rules_version(&kept.rules) != rules_version(&rules) {
            false => None,
            true => {
                let advisers = match asks_others {
                    true => open_advisers(&config, &outlets.store, outlets.memory.clone()).await?,
                    false => outlets.advisers.borrow().clone(),
                };
                let (memory, sureness) = (outlets.memory.clone(), outlets.sureness.subscribe());
                Some((open_triage(&config, &rules, advisers.clone(), memory, sureness), advisers))
            }
        };
        let beside_change = beside.prepare(&config, &outlets.store).await?;

        if config.mode != kept.config.mode || config.mode == Mode::Enforce {
            let (reply, set) = oneshot::channel();
            let command = Command::Mode { enforce: config.mode == Mode::Enforce };
            // The decider may be about to end.
            let _ = outlets.commands.send(Request { command, reply }).await;
            if let Ok(Err(problem)) = set.await {
                config.mode = kept.config.mode;
                return Err(anyhow::anyhow!("the mode cannot be changed: {problem}"));
            }
        }
        outlets.sureness.send_replace(sureness(&config));
        if let Some(settings) = settings {
            *outlets.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
            outlets.look_again.notify_one();
        }
        if !changed.is_empty() {
            // The thread of names ends after this.
            let _ = outlets.names.send(Names::of(&config, Arc::new(SystemResolver)));
        }
        let triage = triage.map(|(triage, advisers)| {
            outlets.advisers.send_replace(advisers);
            triage.inspect(|triage| {
                tokio::spawn(triage.check_models());
            })
        });
        let crawlers = touches(&["crawler", "client"]);
        let crawlers = crawlers.then(|| Crawlers::configured(&config, Arc::new(SystemResolver)));
        let count = rules.rules.len() + rules.windows.len();
        // These two may be about to end.
        let _ = outlets.reloads.send(Reloaded { config: config.clone(), rules: count, crawlers, triage }).await;
        let _ = outlets.controls.send(Control::Reload(Box::new(config.clone()), rules.clone()));
        outlets.waker.wake();
        beside.apply(beside_change, outlets);
        outlets.newest.send_replace(config.clone());
        (kept.config, kept.rules, kept.waiting) = (config, rules, waiting);
        Ok(changed)
    }

    /// What stands in `status`.
    fn tell(&self) {
        let kept = &self.kept;
        let set: Vec<Value> = kept.tunings.list.iter().map(Tuning::shown).collect();
        let figures = Map::from_iter([
            ("set".to_owned(), json!(set)),
            ("switched_off".to_owned(), json!(kept.off.list)),
            ("waits_for_restart".to_owned(), json!(kept.waiting)),
        ]);
        let service = Service { problem: kept.problem.clone(), figures };
        self.outlets.services.send_modify(|services| {
            services.insert(NAME.into(), service);
        });
    }

    async fn obey(&mut self, tune: Tune) -> Result<Value, Problem> {
        match tune {
            Tune::List => Ok(self.list()),
            Tune::Config => self.effective(),
            Tune::Rules => Ok(self.rules()),
            Tune::SwitchOff { rule, path, reason, by } => self.switch_off(rule, path, reason, by).await,
            Tune::SwitchOn { id, by } => self.switch_on(&id, &by).await,
            Tune::Set { key, value, secs, by } => {
                check_key(&key)?;
                let now = Timestamp::now();
                let until_millis = secs.map(|secs| now.plus_secs(secs).0);
                let tuning = Tuning { key, value, until_millis, by };
                let list = self.kept.tunings.with(tuning.clone());
                self.put(list).await?;
                let Tuning { key, value, by, .. } = &tuning;
                let until = until_millis.map_or("the next restart".into(), |millis| Timestamp(millis).to_string());
                tracing::warn!(key, value, until, by, "an operator sets a key");
                Ok(tuning.shown())
            }
            Tune::Reset { key, by } => {
                check_key(&key)?;
                let mut list = self.kept.tunings.list.clone();
                let count = list.len();
                list.retain(|tuning| tuning.key != key);
                if list.len() == count {
                    return Err(Problem::NotFound(format!("{key} is not set; it is as configured")));
                }
                self.put(list).await?;
                let value = self.value(&key);
                tracing::warn!(key, value = %value, by, "an operator resets a key");
                Ok(json!({ "key": key, "value": value }))
            }
        }
    }

    /// Lays `list` over the configuration as it was read last.
    async fn put(&mut self, list: Vec<Tuning>) -> Result<(), Problem> {
        self.reads_a_configuration()?;
        let loaded = self
            .kept
            .compose(&self.kept.text, &pairs(&list))
            .map_err(|mistakes| Problem::Invalid(mistakes.to_string()))?;
        self.apply(&loaded, None).await.map_err(|error| Problem::Failed(format!("{error:#}")))?;
        self.kept.tunings.list = list;
        self.save();
        self.tell();
        Ok(())
    }

    /// Else there is nothing that could be laid over.
    fn reads_a_configuration(&self) -> Result<(), Problem> {
        match self.kept.place {
            Some(_) => Ok(()),
            None => Err(Problem::Refused("this daemon reads no configuration".into())),
        }
    }

    /// What is in force, each value with where it comes from; what is switched off is told by itself.
    fn effective(&self) -> Result<Value, Problem> {
        let Kept { text, tunings, config, .. } = &self.kept;
        let mut loaded =
            compose(text, &pairs(&tunings.list)).map_err(|mistakes| Problem::Failed(mistakes.to_string()))?;
        let mut in_force = config.clone();
        in_force.exclusion = std::mem::take(&mut loaded.config.exclusion);
        in_force.detect.disable = std::mem::take(&mut loaded.config.detect.disable);
        loaded.config = in_force;
        let row = |(key, value, origin)| json!({ "key": key, "value": value, "origin": origin });
        Ok(config::rows(&loaded).into_iter().map(row).collect())
    }

    /// Once a second: what was set for a while is as configured again.
    async fn end_tunings(&mut self) {
        let over = self.kept.tunings.take_over(Timestamp::now());
        if over.is_empty() {
            return;
        }
        let mut list = self.kept.tunings.list.clone();
        if compose(&self.kept.text, &pairs(&list)).is_err() {
            // What is left held only together with what has ended.
            list.clear();
        }
        for Tuning { key, by, .. } in &over {
            tracing::warn!(key, by, "what was set has ended");
        }
        for Tuning { key, value, by, .. } in self.kept.tunings.list.iter().filter(|tuning| !list.contains(tuning)) {
            tracing::warn!(key, value, by, "does not fit what is left and is no longer set");
        }
        if let Err(problem) = self.put(list).await {
            tracing::error!("what was set cannot be taken back: {problem}");
            self.kept.problem = Some(format!("what was set cannot be taken back: {problem}; restart palisade"));
            self.tell();
        }
    }

    /// A failure to keep it over a restart is no reason to undo it now.
    fn save(&self) {
        if let Err(error) = self.kept.tunings.save() {
            tracing::error!("what is set will not survive a restart: {error}");
        }
    }

    fn list(&self) -> Value {
        let row = |key: &str| {
            let set = self.kept.tunings.list.iter().find(|tuning| tuning.key == key);
            let mut row = set.map_or_else(|| json!({ "key": key }), Tuning::shown);
            row["value"] = self.value(key);
            row
        };
        TUNABLE.into_iter().map(row).collect()
    }

    /// What is in force.
    fn value(&self, key: &str) -> Value {
        let pointer = format!("/{}", key.replace('.', "/"));
        let json = serde_json::to_value(&self.kept.config).unwrap_or_default();
        json.pointer(&pointer).cloned().unwrap_or_default()
    }
}

fn check_key(key: &str) -> Result<(), Problem> {
    if is_tunable(key) {
        return Ok(());
    }
    let hint = config::did_you_mean(key, TUNABLE);
    let key = printable(key.as_bytes(), 100);
    Err(Problem::Invalid(format!("{key:?} cannot be set while palisade runs{hint} (keys: {})", TUNABLE.join(", "))))
}

/// The configuration that was read, with `set` over it.
///
/// # Errors
/// Every mistake.
pub fn compose(text: &Text, set: &[(String, String)]) -> Result<Loaded, Mistakes> {
    with_known(|known| text.compose(known, set))
}

/// Gives `f` the names that a configuration may use.
pub fn with_known<T>(f: impl FnOnce(&Known<'_>) -> T) -> T {
    let formats: Vec<&str> = replay::format_kinds().iter().map(|kind| kind.name).collect();
    let responders = responder_names();
    f(&Known { responders: &responders, formats: &formats })
}
