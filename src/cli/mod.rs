//! The command line: one file a verb. Takes arguments, prints, and exits 0 (ok), 1 (found or
//! failed), 2 (usage) or 78 (bad configuration).

mod alert;
mod analyze;
mod ask;
mod azure;
mod bench;
mod bouncer;
mod capability;
mod chart;
mod config;
mod daemon;
mod doctor;
mod explain;
mod forget;
mod generate;
mod history;
mod import;
mod init;
mod migrate;
mod operate;
mod own_log;
mod parse;
mod rules;
mod run;
mod scan;
mod scan_page;
mod set;
mod stats;
mod triage;
mod user;
mod why;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{Loaded, Place, Text};
use crate::pipeline::allow_files::{self, AllowFiles};
use crate::pipeline::{reload, replay};

/// A log security agent: follows web-server logs, finds out which clients attack, and shuts the
/// gate on them.
#[derive(Parser)]
#[command(name = "palisade", version, about, max_term_width = 100)]
struct Arguments {
    /// The configuration file; `none` for the built-in defaults alone.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For people or for programs.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

/// What the verbs that read old logs are given.
#[derive(clap::Args)]
struct Logs {
    /// Logs, merged by time; `-` is standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A name of `palisade config formats`, a format string of nginx or Apache, or `auto`.
    #[arg(long, default_value = "auto")]
    format: String,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Human,
    Json,
    /// One JSON object a line, where there is a list.
    Jsonl,
    /// Comma-separated values, of `history` and `stats`.
    Csv,
}

#[derive(Subcommand)]
enum Verb {
    /// Follow logs, find attackers and shut them out: the daemon.
    Run(run::Arguments),
    /// Show what each line of a log is understood as, and what is not.
    Parse(Logs),
    /// Replay old logs: what would have been flagged and blocked. Never acts.
    Scan(scan::Arguments),
    /// Hand over any log: what threatens, how bad it is, who did what. Never acts. Exits 1 when there are threats.
    Analyze(analyze::Arguments),
    /// Take one line through the daemon's own road, step by step.
    Explain(explain::Arguments),
    /// The rules, and whether they keep their own promises.
    #[command(subcommand)]
    Rules(rules::Verb),
    /// What the running daemon reads, finds and suffers from. Exits 1 when something is wrong.
    Status,
    /// Whether the daemon decides and reads: for health checks. Exits 1 when not.
    Ping,
    /// Block for a while what dry run only tells, and fall back unless it is confirmed.
    Enforce(operate::Enforce),
    /// Change a threshold or limit while the daemon runs, for a while.
    Set(set::Arguments),
    /// Shut a client or network out by hand.
    Ban(operate::Ban),
    /// Lift bans at once.
    Unban(operate::Unban),
    /// Shut out now whom the gate holds back because it would be too many at once.
    Release,
    /// Who is shut out now.
    Banned,
    /// Why somebody is shut out, or is not, and what would have avoided it.
    Why(why::Arguments),
    /// What was found and decided in a time, as a list.
    History(history::Arguments),
    /// What happened, asked in words: shows how the question is understood, then the answer.
    Ask(ask::Arguments),
    /// A time in figures, against the time before.
    Stats(stats::Arguments),
    /// Take over bans of others: a list, or what fail2ban is set to and holds.
    #[command(subcommand)]
    Import(import::Verb),
    /// Networks that are never blocked.
    #[command(subcommand)]
    Allow(operate::Allow),
    /// Erase what is kept of a client or network, as whom it is about may ask. Its bans stay until they end.
    Forget(forget::Arguments),
    /// Alerts: whether they arrive.
    #[command(subcommand)]
    Alert(alert::Verb),
    /// CrowdSec's bouncers that enforce our decisions, and their keys.
    #[command(subcommand)]
    Bouncer(bouncer::Verb),
    /// Who may use the dashboard.
    #[command(subcommand)]
    User(user::Verb),
    /// Say that a finding is benign or malicious: holds for all that looks like it, over rules and models.
    Verdict(triage::Verdict),
    /// Models: what they cost, whether they are there.
    #[command(subcommand)]
    Triage(triage::Verb),
    /// Fit a model's two numbers on labelled requests.
    Calibrate(triage::Calibrate),
    /// Try what is configured.
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Say what is wrong with logs, clock, firewall, keys, services and disk, and what to do. Exits 1 if
    /// somebody should do something.
    Doctor(doctor::Arguments),
    /// Bring the databases to this version's schema, with an administrator's URL if need be.
    Migrate(migrate::Arguments),
    /// The Azure responder: make what it needs, verify it.
    #[command(subcommand)]
    Azure(azure::Verb),
    /// Write man pages and completions, for packages.
    #[command(hide = true)]
    Generate(generate::Arguments),
    /// The configuration: check it, show it, describe it.
    #[command(subcommand)]
    Config(config::Verb),
}

/// Exit codes beside 0.
const FAILED: u8 = 1;
const BAD_CONFIG: u8 = 78;

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let place = match &arguments.config {
        None => Place::Default,
        Some(path) if path.as_os_str() == "none" => Place::None,
        Some(path) => Place::File(path.clone()),
    };
    let output = arguments.output;
    if output == Output::Csv && !matches!(arguments.verb, Verb::History(_) | Verb::Stats(_) | Verb::Ask(_)) {
        let kind = clap::error::ErrorKind::InvalidValue;
        Arguments::command()
            .error(kind, "only `history`, `stats` and `ask` print csv; use human, json or jsonl")
            .exit();
    }
    // It must work when the configuration does not.
    if let Verb::Config(verb) = &arguments.verb {
        return config::run(verb, &place, output);
    }
    if let Verb::Generate(arguments) = &arguments.verb {
        return generate::run(arguments);
    }
    let (loaded, is_bad) = match (load_config(&place), &arguments.verb) {
        (Ok(loaded), _) => (loaded, false),
        (Err(mistakes), verb) => {
            eprintln!("{mistakes}");
            match salvage(&place).filter(|_| verb.asks_the_daemon_alone()) {
                Some(loaded) => (loaded, true),
                None => return ExitCode::from(BAD_CONFIG),
            }
        }
    };
    let config = loaded.config.clone();
    let done = match &arguments.verb {
        Verb::Parse(arguments) => parse::run(arguments, &config, output),
        Verb::Scan(arguments) => scan::run(arguments, &config, output),
        Verb::Analyze(arguments) => analyze::run(arguments, &config, output),
        Verb::Explain(arguments) => explain::run(arguments, &config, output),
        Verb::Rules(verb) => rules::run(verb, &config, output),
        Verb::Run(arguments) => run::run(arguments, loaded, &place),
        Verb::Status => operate::status(&config, output),
        Verb::Ping => operate::ping(&config, output),
        Verb::Enforce(arguments) => operate::enforce(arguments, &config, output),
        Verb::Set(arguments) => set::run(arguments, &config, output),
        Verb::Ban(arguments) => operate::ban(arguments, &config, output),
        Verb::Unban(arguments) => operate::unban(arguments, &config, output),
        Verb::Release => operate::release(&config, output),
        Verb::Banned => operate::banned(&config, output),
        Verb::Why(arguments) => why::run(arguments, &config, output),
        Verb::History(arguments) => history::run(arguments, &config, output),
        Verb::Ask(arguments) => ask::run(arguments, &config, output),
        Verb::Stats(arguments) => stats::run(arguments, &config, output),
        Verb::Import(verb) => import::run(verb, &config, output),
        Verb::Allow(verb) => operate::allow(verb, &config, output),
        Verb::Forget(arguments) => forget::run(arguments, &config, output),
        Verb::Alert(verb) => alert::run(verb, &config, output),
        Verb::Bouncer(verb) => bouncer::run(verb, &config, output),
        Verb::User(verb) => user::run(verb, &config, output),
        Verb::Verdict(arguments) => triage::verdict(arguments, &config, output),
        Verb::Triage(verb) => triage::run(verb, &config, output),
        Verb::Calibrate(arguments) => triage::calibrate(arguments, &config, output),
        Verb::Bench(verb) => bench::run(verb, &config, output),
        Verb::Doctor(arguments) => doctor::run(arguments, &loaded, &place, output),
        Verb::Migrate(arguments) => migrate::run(arguments, &config, output),
        Verb::Azure(verb) => azure::run(verb, &config, output),
        Verb::Config(_) | Verb::Generate(_) => Ok(ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("palisade: {error:#}");
            let is_bad_config = is_bad || error.is::<replay::BadRules>() || error.is::<allow_files::Unreadable>();
            ExitCode::from(if is_bad_config { BAD_CONFIG } else { FAILED })
        }
    }
}

impl Verb {
    /// Whether it needs the configuration only to find the daemon, which may well run with an earlier one.
    fn asks_the_daemon_alone(&self) -> bool {
        matches!(
            self,
            Verb::Status
                | Verb::Ping
                | Verb::Enforce(_)
                | Verb::Set(_)
                | Verb::Ban(_)
                | Verb::Unban(_)
                | Verb::Release
                | Verb::Banned
                | Verb::Allow(_)
        )
    }
}

/// Reads the configuration.
fn load_config(place: &Place) -> Result<Loaded, crate::config::Mistakes> {
    reload::compose(&Text::read_from_system(place), &[])
}

/// What is left of one with mistakes.
fn salvage(place: &Place) -> Option<Loaded> {
    reload::with_known(|known| Text::read_from_system(place).salvage(known))
}

/// The configuration with the networks of `client.allow_files` among those of `client.allow`, as for the
/// daemon. Says which lines are wrong.
fn with_allow_files(config: &crate::config::Config) -> anyhow::Result<crate::config::Config> {
    let files = AllowFiles::open("client.allow_files", &config.client.allow_files)?;
    files.problems().for_each(|problem| eprintln!("palisade: {problem}"));
    let mut config = config.clone();
    config.client.allow.extend(files.networks());
    Ok(config)
}

/// The rules of this configuration. Says which patterns of a file of the older shape are not used.
fn load_rules(config: &crate::config::Config) -> anyhow::Result<Arc<replay::Ruleset>> {
    let rules = replay::load_rules(config)?;
    for unfit in &rules.refused {
        eprintln!("palisade: not used: {unfit}");
    }
    Ok(Arc::new(rules))
}

/// Somebody closed our standard output, as `head` does: no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
        Some(error) => Some(error.kind()),
        None => cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind),
    };
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// Standard output, buffered.
fn stdout() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// One JSON value on a line of its own.
fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}
