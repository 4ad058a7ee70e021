use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::{capability, load_rules, own_log, stdout};
use crate::config::{
    Config, Loaded, LogConfig, LogFormat, LogLevel, Mode, Place, journal_from_system, supervision_from_system,
};
use crate::event::Timestamp;
use crate::pipeline::discover::ServerLogs;
use crate::pipeline::live;
use crate::pipeline::replay::Ruleset;
use crate::pipeline::supervisor::Supervisor;

#[derive(clap::Args)]
pub struct Arguments {
    /// Show the main job on a sample: follow a log that is written while you watch, in dry run
    /// and in a directory of its own, then say what would have been done.
    #[arg(long)]
    demo: bool,
}

/// The log of the demonstration.
const SAMPLE: &str = include_str!("../../config/sample-access.log");

pub fn run(arguments: &Arguments, loaded: Loaded, place: &Place) -> anyhow::Result<ExitCode> {
    let Loaded { config, warnings, .. } = loaded;
    let demo_log = LogConfig { level: LogLevel::Warn, format: LogFormat::Human, ..LogConfig::default() };
    // Before there are threads: each has capabilities of its own.
    let passed_on = capability::pass_on();
    let _log = own_log::start(if arguments.demo { &demo_log } else { &config.log }, journal_from_system())?;
    if let Err(error) = passed_on {
        tracing::warn!("cannot pass this program's capabilities on to nft: {error}");
    }
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let of = config.clone();
    let loading = runtime.spawn_blocking(move || load_rules(&of));
    let rules = async { loading.await? };
    if arguments.demo {
        return demo(config, rules, &runtime);
    }
    let servers = ServerLogs::read(&config.server_configs);
    introduce(&config, &servers);
    let supervisor = Supervisor::connect(&supervision_from_system()).unwrap_or_else(|error| {
        tracing::warn!("the service manager's socket cannot be used: {error}");
        Supervisor::default()
    });
    let ended = live::run(config, rules, servers, Some(place.clone()), std::future::pending(), supervisor);
    runtime.block_on(ended)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what it follows, what it would do, and how to have it done.
fn introduce(config: &Config, servers: &ServerLogs) {
    let sources = live::sources(config, servers);
    let present = live::present(&sources);
    if present.is_empty() {
        let patterns: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
        tracing::warn!("nothing to follow yet; waiting for {}", patterns.join(", "));
    }
    for path in &present {
        tracing::info!("following {}", path.display());
    }
    match config.mode {
        Mode::DryRun => tracing::info!(
            "dry run: attackers are found and recorded, nobody is blocked; to block them, set mode = \"enforce\" \
             in {} (or PALISADE__MODE=enforce)",
            crate::config::DEFAULT_FILE
        ),
        Mode::Enforce => tracing::info!("enforcing: attackers are blocked by {}", config.respond.names.join(", ")),
    }
}

/// Follows a file to which the sample's lines are written, and reports.
fn demo(
    config: Config,
    rules: impl Future<Output = anyhow::Result<Arc<Ruleset>>>,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<ExitCode> {
    let directory = std::env::temp_dir().join(format!("palisade-demo-{}", std::process::id()));
    // Nobody else may have put it there: it must not exist yet.
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let shown = demo_in(&directory, config, rules, runtime);
    std::fs::remove_dir_all(&directory)?;
    shown
}

fn demo_in(
    directory: &Path,
    config: Config,
    rules: impl Future<Output = anyhow::Result<Arc<Ruleset>>>,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<ExitCode> {
    let log = directory.join("access.log");
    let mut config = Config {
        mode: Mode::DryRun,
        state_dir: directory.join("state"),
        socket: directory.join("palisade.sock"),
        source: vec![live::whole_file(&log)],
        ..config
    };
    // It ends before anybody could look at it.
    config.dashboard.listen.clear();
    let socket = config.socket.clone();
    writeln!(stdout(), "A web server's log is being written; Palisade follows it in dry run.\n")?;
    let writer = {
        let log = log.clone();
        async move {
            // The daemon first learns that the file is not there yet.
            tokio::time::sleep(Duration::from_millis(300)).await;
            for line in SAMPLE.lines() {
                // A ban counts from its cause, so the sample must happen now.
                let line = line.replacen("[TIME]", &format!("[{}]", Timestamp::now().clf()), 1);
                let append = std::fs::File::options().create(true).append(true).open(&log);
                if let Err(error) = append.and_then(|mut file| writeln!(file, "{line}")) {
                    tracing::error!("cannot write {}: {error}", log.display());
                    return;
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
            let asked = tokio::task::spawn_blocking(move || report(&socket)).await;
            if let Ok(Err(error)) = asked {
                tracing::error!("{error:#}");
            }
        }
    };
    let servers = ServerLogs::read(&[]);
    runtime.block_on(live::run(config, rules, servers, None, writer, Supervisor::default()))?;
    Ok(ExitCode::SUCCESS)
}

/// What the demonstration ends on.
fn report(socket: &Path) -> anyhow::Result<()> {
    use super::daemon::ask;
    let status = ask(socket, "GET", "/api/v1/status", None)?;
    let bans = ask(socket, "GET", "/api/v1/decisions?limit=100", None)?;
    let mut out = stdout();
    writeln!(
        out,
        "\nPalisade read {} lines, understood {}, found {} attacks and would have shut out {} clients:\n",
        status["lines"], status["parsed"], status["findings"], status["blocks"]
    )?;
    for ban in bans.as_array().into_iter().flatten().rev() {
        let text = |name: &str| ban[name].as_str().unwrap_or_default();
        writeln!(out, "  {:<22} {:<18} {}", text("target"), text("category"), text("reason"))?;
    }
    writeln!(
        out,
        "\nEverybody else was left alone. Next:\n  \
         palisade scan /var/log/nginx/access.log   what it would have done with your own log\n  \
         palisade run                              follow the logs of this machine, still in dry run\n  \
         palisade explain 'LOG LINE'               why a line is, or is not, an attack"
    )?;
    Ok(out.flush()?)
}
