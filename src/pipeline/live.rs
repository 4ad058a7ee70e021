//! The daemon: follows logs, decides, acts, records, answers over its socket, until it is told to
//! stop. Starts and stops what `reader` and `decider` are.

mod listeners;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc as sync;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::crawlers::{Crawlers, SystemResolver};
use super::decider::{Decider, Given};
use super::discover::ServerLogs;
use super::fleet::{self, Fleet};
use super::known::line_time;
use super::names::{Names, Resolved};
use super::reader::{Control, REPORTS, Reader, ReaderStatus, own_marks};
use super::reload::{Kept, Outlets};
use super::spending::{self, Spending};
use super::supervisor::Supervisor;
use super::{analysis, notify, recovery, sender, surroundings};
use crate::config::{Config, Mode, Place};
use crate::decide::Surroundings;
use crate::detect::Ruleset;
use crate::event::{Status, Timestamp, digest};
use crate::memory::{self, Memory};
use crate::plugin;
use crate::record::Sqlite;
#[cfg(feature = "azure")]
pub use crate::respond::azure::{Azure, Level};
use crate::respond::{self, Responder};
use crate::show::{self, Analyst, Backend, Country, Live, Request};
use crate::tail::{Limits, SourceConfig, Sources, Start};
use crate::triage::reputation::Reporter;
use crate::triage::{Advisers, Geoip, Sureness, Triage, View};

/// Features of cargo, and whether they are compiled in.
const FEATURES: [(&str, bool); 2] = [("azure", cfg!(feature = "azure")), ("otel", cfg!(feature = "otel"))];

/// Where distributions put the logs of nginx and Apache.
pub const USUAL_LOGS: [&str; 4] = [
    "/var/log/nginx/*access*.log",
    "/var/log/apache2/*access*.log",
    "/var/log/httpd/*access_log",
    "/var/log/httpd/*access*.log",
];

/// Where they put what sshd says, ...
const AUTH_LOGS: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];
/// ... and what its unit is called where it says that to the journal alone.
const AUTH_JOURNALS: [&str; 2] = ["journal:ssh.service", "journal:sshd.service"];

/// The surroundings are read this often.
const SURROUNDINGS_SECS: u64 = 10;
/// So long a start waits for the names of `client.allow_names` and of services.
const NAMES_WAIT: Duration = Duration::from_secs(5);
/// Old rows are deleted this often.
const PRUNE_SECS: u64 = 3600;
/// A stop must be done by then.
const STOP_SECS: u64 = 30;

/// What is followed: as configured, else where distributions and the servers' configurations put
/// the logs.
pub fn sources(config: &Config, servers: &ServerLogs) -> Vec<SourceConfig> {
    if !config.source.is_empty() {
        return config.source.clone();
    }
    let usual = |path: &str| SourceConfig::new(path, Start::End);
    let mut sources: Vec<SourceConfig> = USUAL_LOGS.iter().copied().chain(auth_logs()).map(usual).collect();
    let found: HashSet<PathBuf> = present(&sources).iter().filter_map(|path| path.canonicalize().ok()).collect();
    let others = servers.present().filter(|(_, resolved)| !found.contains(*resolved));
    sources.extend(others.map(|(path, _)| usual(&glob::Pattern::escape(&path.to_string_lossy()))));
    sources
}

/// What is followed where nothing is configured, before servers' own configurations are asked.
pub fn usual_logs() -> Vec<String> {
    USUAL_LOGS.iter().copied().chain(auth_logs()).map(str::to_owned).collect()
}

/// Where sshd's messages are on this machine.
fn auth_logs() -> Vec<&'static str> {
    let is_there = |path: &&str| Path::new(path).exists();
    let files: Vec<&str> = AUTH_LOGS.into_iter().filter(is_there).collect();
    // That is there where systemd runs, and so is its journal.
    let has_journal = is_there(&"/run/systemd/system");
    if files.is_empty() && has_journal { AUTH_JOURNALS.into() } else { files }
}

/// Runs until SIGTERM, SIGINT or `stop`, or until nothing more can come. `rules` are loaded while the database is
/// opened. `servers` are those of `config`, which is read again from `place` after SIGHUP and when its files change;
/// `supervisor` hears how it goes.
///
/// # Errors
/// It cannot start: the rules, the state directory, the database, the socket or a source is unusable.
pub async fn run(
    config: Config,
    rules: impl Future<Output = anyhow::Result<Arc<Ruleset>>>,
    servers: ServerLogs,
    place: Option<Place>,
    stop: impl Future<Output = ()>,
    supervisor: Supervisor,
) -> anyhow::Result<()> {
    // First of all: whoever is told to stop while it starts stops in good order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let (rules, store) = tokio::join!(rules, Sqlite::open(&config.state_dir, &config.store));
    let kept = Kept::new(place, config, rules?);
    let (config, rules) = (kept.config().clone(), kept.rules().clone());
    let settings = Arc::new(Mutex::new(surroundings::Settings::of(&config)?));
    let names = Names::of(&config, Arc::new(SystemResolver)).watch();
    let (mut names, newer_names) = names.context("cannot start the names thread")?;
    let store = Arc::new(store?);
    recovery::recover(&store, &config).await?;
    let sources = sources(&config, &servers);
    let limits = Limits { max_line_bytes: config.detect.max_line_bytes as usize, ..Limits::default() };
    let state = store.snapshot().await?;
    let marks = own_marks(&config, store.marks().await?, state.as_deref());
    let tailer = Sources::open(&sources, marks, limits, line_time(&config, sources.clone()))?;
    let waker = tailer.waker();
    let (reader, restored) = Reader::new(&config, rules.clone(), tailer, sources.clone(), servers, state.as_deref());
    if let Err(error) = restored {
        tracing::error!("what was counted before the start is lost: {error:#}");
    }
    let allowed: Vec<IpNet> = store.allow_list().await?.into_iter().map(|entry| entry.network).collect();
    let (allowed, allowed_seen) = watch::channel(allowed);
    // A resolver that is silent must not keep the daemon from its work; what it says later counts too.
    let _ = tokio::time::timeout(NAMES_WAIT, names.changed()).await;
    let (surroundings, surroundings_seen) = watch::channel(surroundings_now(&settings, &allowed_seen, &names).await);
    let (status, status_seen) = watch::channel(ReaderStatus::default());
    let (controls, controls_taken) = sync::channel();
    let (reports, reports_taken) = mpsc::channel(REPORTS);
    let (commands, commands_taken) = mpsc::channel::<Request>(64);
    let listener = listeners::listen(&config.socket).await?;
    let (enforcing, enforcing_seen) = watch::channel(config.mode == Mode::Enforce);
    let bouncers = listeners::serve_bouncers(&config, &store, enforcing_seen).await?;
    let memory = memory::open(&config.memory);
    let (reloads, reloads_taken) = mpsc::channel(1);
    let (sureness, sureness_seen) = watch::channel(sureness(&config));
    let advisers = open_advisers(&config, &store, memory.clone()).await?;
    let triage = open_triage(&config, &rules, advisers.clone(), memory.clone(), sureness_seen);
    let (advisers, advisers_seen) = watch::channel(advisers);
    if let Some(triage) = &triage {
        tokio::spawn(triage.check_models());
    }
    let corrections = store.corrections().await?;
    let configured = config.clone();
    let given = Given {
        responders: Box::new(move |mode| responders(&configured, mode)),
        enforcing,
        config: config.clone(),
        reloads: reloads_taken,
        store: store.clone(),
        memory: memory.clone(),
        triage,
        corrections: corrections.into_iter().map(|one| (View::from_text(one.view), one.verdict)).collect(),
        surroundings: surroundings_seen,
        allowed,
        reader: status_seen.clone(),
        crawlers: Crawlers::configured(&config, Arc::new(SystemResolver)),
        controls: controls.clone(),
        waker: waker.clone(),
        status: Status {
            version: env!("CARGO_PKG_VERSION"),
            features: FEATURES.iter().filter_map(|(name, is_in)| is_in.then_some(*name)).collect(),
            mode: config.mode.as_str(),
            started_at: Timestamp::now(),
            rules: rules.rules.len() + rules.windows.len(),
            ..Status::default()
        },
    };
    let mut decider = Decider::new(given)?;
    decider.restore().await?;
    let (services, services_seen) = watch::channel(show::Services::new());
    // What a reload leaves alone.
    let mut beside = JoinSet::new();
    beside.spawn(sender::run(store.clone(), config.store.clone(), config.agent_name(), services.clone()));
    beside.spawn(recovery::tell(store.clone(), services.clone()));
    if config.fleet.share {
        let road = (controls.clone(), waker.clone());
        let fleet = Fleet::new(&config, store.clone(), commands.clone(), road, services.clone())?;
        beside.spawn(fleet.run());
    } else {
        fleet::alone(&config, &services);
    }
    let (newest, newest_seen) = watch::channel(config.clone());
    let (stopping, stopping_seen) = watch::channel(false);
    let notifying = tokio::spawn(notify::run(notify::Given {
        store: store.clone(),
        services: services.clone(),
        commands: commands.clone(),
        config: newest_seen.clone(),
        stopping: stopping_seen,
    }));
    let look_again = Arc::new(Notify::new());
    let watching = watch_surroundings(settings.clone(), allowed_seen, names, surroundings, look_again.clone());
    let watching = tokio::spawn(watching);
    let pruning = tokio::spawn(prune(store.clone()));
    let (tunes, tunes_taken) = mpsc::channel(8);
    let outlets = Outlets {
        controls: controls.clone(),
        waker: waker.clone(),
        reloads,
        commands: commands.clone(),
        settings,
        look_again,
        names: newer_names,
        sureness,
        advisers,
        services,
        store: store.clone(),
        memory,
        newest,
    };
    let keeping = tokio::spawn(kept.start(outlets).await?.run(hangup, tunes_taken));
    let supervisor = Arc::new(supervisor);
    let attending = {
        let (supervisor, commands) = (supervisor.clone(), commands.clone());
        tokio::spawn(async move { supervisor.attend(status_seen, commands).await })
    };
    let v6_prefix = config.client.v6_prefix;
    let (analyst, analyses) = Analyst::new(config.analyze.max_bytes);
    beside.spawn(spending::watch(store.clone(), advisers_seen.clone()));
    beside.spawn(analysis::serve(newest_seen, store.clone(), advisers_seen, analyses));
    let backend = Backend {
        commands,
        tunes,
        store: store.clone(),
        services: services_seen,
        analyst,
        ask: Arc::new(config.ask.clone()),
        v6_prefix,
        dashboard: Arc::new(config.dashboard.clone()),
        report: Arc::new(config.report.clone()),
        public_url: listeners::public_url(&config).into(),
        country: country(&config),
        live: Live::default(),
        throttle: Arc::default(),
        hashing: Arc::new(Semaphore::new(1)),
    };
    let monitored = listeners::monitoring(&config, backend.clone()).await?;
    beside.spawn(backend.live.clone().run(store.clone()));
    beside.spawn(listeners::dashboard(backend.clone()));
    let serving = tokio::spawn(async move { axum::serve(listener, show::service(backend)).await });
    // Dropped when the reader has ended, if that is by itself.
    let (ending, ended) = oneshot::channel::<()>();
    let reading = std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            let _ending = ending;
            reader.run(&controls_taken, &reports, &status);
        })
        .context("cannot start the reading thread")?;
    let deciding = tokio::spawn(decider.run(reports_taken, commands_taken));
    tracing::info!(mode = config.mode.as_str(), socket = %config.socket.display(), "palisade runs");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stop => {}
        _ = ended => {}
    }
    tracing::info!("stopping");
    attending.abort();
    supervisor.stopping();
    serving.abort();
    keeping.abort();
    let _ = keeping.await;
    bouncers.abort();
    beside.shutdown().await;
    monitored.abort();
    watching.abort();
    pruning.abort();
    let _ = controls.send(Control::Stop);
    waker.wake();
    let ended = tokio::time::timeout(Duration::from_secs(STOP_SECS), deciding).await;
    // A socket that is gone already is as good.
    let _ = std::fs::remove_file(&config.socket);
    match ended {
        Err(_) => {
            bail!("not everything could be recorded within {STOP_SECS} s; it will be read again at the next start")
        }
        Ok(Err(panic)) => bail!("the decider failed: {panic}"),
        Ok(Ok(())) => {}
    }
    if reading.join().is_err() {
        bail!("the reading thread failed");
    }
    // Now that all is recorded.
    stopping.send_replace(true);
    let _ = notifying.await;
    store.close().await;
    tracing::info!("stopped; bans in force run out in the firewall");
    Ok(())
}

pub(super) fn sureness(config: &Config) -> Sureness {
    Sureness { act: config.thresholds.act, monitor: config.thresholds.monitor }
}

/// Where an address is, for whoever looks at pages; nothing without a database.
fn country(config: &Config) -> Country {
    let geoip = Geoip::open_or_none(&config.reputation.geoip_files);
    Arc::new(move |address| geoip.look_up(address)?.country)
}

/// Who may be asked, with what this day has left.
pub(super) async fn open_advisers(
    config: &Config,
    store: &Sqlite,
    memory: Arc<dyn Memory>,
) -> anyhow::Result<Arc<Advisers>> {
    let (spending, privacy) = (Spending::today(store).await?, config.triage.privacy);
    let used = |name: &str| spending.of(name);
    Ok(Arc::new(Advisers::open(&config.tier, &config.reputation, privacy, memory, &used)?))
}

/// The models' desk, if any tier may be asked.
pub(super) fn open_triage(
    config: &Config,
    rules: &Ruleset,
    advisers: Arc<Advisers>,
    memory: Arc<dyn Memory>,
    sureness: watch::Receiver<Sureness>,
) -> Option<Triage> {
    Triage::start(&config.triage, sureness, advisers, memory, &rules_version(rules))
}

/// What verdicts of models depend on beside models themselves.
pub(super) fn rules_version(rules: &Ruleset) -> String {
    let rules: Vec<&[u8]> =
        rules.rules.iter().flat_map(|rule| [rule.spec.id.as_bytes(), rule.spec.pattern.as_bytes()]).collect();
    digest(&rules)
}

/// Who tells AbuseIPDB of bans, if anybody does.
pub(super) async fn open_reporter(config: &Config, store: &Sqlite) -> anyhow::Result<Option<Reporter>> {
    let today = Spending::today(store).await?.of(Reporter::NAME);
    Reporter::open(&config.reputation, config.triage.privacy, today)
}

/// What carries out blocks: nothing in dry run.
pub(super) fn responders(config: &Config, mode: Mode) -> anyhow::Result<Vec<Box<dyn Responder>>> {
    let names: &[String] = match mode {
        Mode::DryRun => &["dry_run".into()],
        Mode::Enforce => &config.respond.names,
    };
    let build = |name: &String| {
        let kind = plugin::find(respond::KINDS, name).with_context(|| format!("no responder is called {name:?}"))?;
        (kind.build)(&config.respond).with_context(|| format!("respond.{name}"))
    };
    names.iter().map(build).collect()
}

async fn surroundings_now(
    settings: &Arc<Mutex<surroundings::Settings>>,
    allowed: &watch::Receiver<Vec<IpNet>>,
    names: &watch::Receiver<Resolved>,
) -> Surroundings {
    let (settings, allowed, names) = (settings.clone(), allowed.borrow().clone(), names.borrow().clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut settings = settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.refresh();
        surroundings::read(&settings, &allowed, &names, Timestamp::now())
    });
    read.await.unwrap_or_else(|error| Surroundings { unreadable: Some(error.to_string()), ..Surroundings::default() })
}

/// Keeps the surroundings fresh, at once when the allowlist changes or somebody asks to `look_again`.
async fn watch_surroundings(
    settings: Arc<Mutex<surroundings::Settings>>,
    mut allowed: watch::Receiver<Vec<IpNet>>,
    mut names: watch::Receiver<Resolved>,
    surroundings: watch::Sender<Surroundings>,
    look_again: Arc<Notify>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(SURROUNDINGS_SECS)) => {}
            changed = allowed.changed() => if changed.is_err() { return },
            // Where there are no names, nothing is heard of them.
            Ok(()) = names.changed() => {}
            () = look_again.notified() => {}
        }
        surroundings.send_replace(surroundings_now(&settings, &allowed, &names).await);
    }
}

async fn prune(store: Arc<Sqlite>) {
    loop {
        match store.prune(Timestamp::now()).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows deleted"),
            Err(error) => tracing::warn!("cannot delete old rows: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(PRUNE_SECS)).await;
    }
}

/// The names of all responders.
pub fn responder_names() -> Vec<&'static str> {
    respond::KINDS.iter().map(|kind| kind.name).collect()
}

/// One file, followed from its beginning.
pub fn whole_file(path: &Path) -> SourceConfig {
    SourceConfig::new(path.display().to_string(), Start::Beginning)
}

/// The files that `sources` match now, and what is no file.
pub fn present(sources: &[SourceConfig]) -> Vec<PathBuf> {
    let (streams, files): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.stream().is_some());
    let files = files.iter().filter_map(|source| glob::glob(&source.path).ok()).flatten();
    let files = files.filter_map(Result::ok).filter(|path| path.is_file());
    files.chain(streams.iter().map(|source| PathBuf::from(&source.path))).collect()
}
