//! `palisade doctor`: tries on this host what is promised: the firewall, or the models and the database.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::daemon::ask;
use super::{FAILED, Output, print_json, stdout, triage};
use crate::config::{Config, Mode};
use crate::pipeline::databases::{self, Examined};
use crate::pipeline::selfproof::{self, Blocker, Outcome, Own};

#[derive(clap::Args)]
pub struct Arguments {
    /// From a network namespace of its own, try that a banned address is dropped on ports of this host and
    /// of containers behind it, and that others pass. Needs root. Without it: whether the models of every
    /// `[[tier]]` are there, as `triage check` says it, and the Postgres of `[store]`.
    #[arg(long)]
    firewall: bool,
}

/// The running daemon, which bans as an operator tells it.
struct Daemon {
    socket: PathBuf,
}

/// Should nobody be left to lift a ban, it ends by itself.
const BAN_SECS: u64 = 60;

/// Clocks that differ by more are told.
const CLOCK_MILLIS: i64 = 2000;

/// The daemon looks around every second.
const FOLLOWS: Duration = Duration::from_millis(1500);

impl Blocker for Daemon {
    fn ban(&mut self, target: IpNet) -> anyhow::Result<()> {
        let body = json!({ "target": target, "duration_secs": BAN_SECS, "reason": "self-proof" });
        let ban = ask(&self.socket, "POST", "/api/v1/decisions", Some(body))?;
        if ban["simulated"] == true {
            bail!("the daemon is in dry run and blocks nobody: set mode = \"enforce\"");
        }
        Ok(())
    }

    fn unban(&mut self, target: IpNet) -> anyhow::Result<()> {
        ask(&self.socket, "DELETE", &format!("/api/v1/decisions/{target}"), None).map(drop)
    }

    fn allow(&mut self, network: IpNet) -> anyhow::Result<bool> {
        let body = json!({ "network": network, "note": "self-proof" });
        ask(&self.socket, "POST", "/api/v1/allow", Some(body))?;
        Ok(true)
    }

    fn disallow(&mut self, network: IpNet) -> anyhow::Result<()> {
        ask(&self.socket, "DELETE", &format!("/api/v1/allow/{network}"), None)?;
        // The firewall's list follows what the host allows now at the daemon's next look around.
        std::thread::sleep(FOLLOWS);
        Ok(())
    }
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    if !arguments.firewall {
        return services(config, output);
    }
    selfproof::needs_root()?;
    // A daemon in dry run blocks nobody: then what would block is tried without it.
    let status = ask(&config.socket, "GET", "/api/v1/status", None);
    let by_daemon = status.as_ref().is_ok_and(|status| status["mode"] == Mode::Enforce.as_str());
    let mut blocker: Box<dyn Blocker> = match by_daemon {
        true => Box::new(Daemon { socket: config.socket.clone() }),
        false => Box::new(Own::start(config)?),
    };
    let steps = selfproof::run(&mut *blocker)?;
    let failed = steps.iter().any(|step| step.outcome == Outcome::Failed);
    let proven = steps.iter().any(|step| step.outcome == Outcome::Ok);
    let by = if by_daemon { "the running daemon" } else { "the configured responders, without a daemon" };
    let mut out = stdout();
    if output == Output::Human {
        writeln!(out, "The firewall, by {by}:")?;
        for step in &steps {
            writeln!(out, "  {:<9} {}", step.outcome.as_str(), step.what)?;
            if !step.advice.is_empty() {
                writeln!(out, "            {}", step.advice)?;
            }
        }
    } else {
        let answer: Value = json!({ "by": if by_daemon { "daemon" } else { "responders" }, "steps": steps });
        print_json(&mut out, &answer)?;
    }
    out.flush()?;
    Ok(if proven && !failed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The models, and the database.
fn services(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let models = match config.tier.is_empty() {
        true => ExitCode::SUCCESS,
        false => triage::run(&triage::Verb::Check, config, output)?,
    };
    let Some(examined) = triage::runtime()?.block_on(databases::examine(config)) else {
        if config.tier.is_empty() {
            let what = "No model and no Postgres is configured, so none is missing";
            writeln!(stdout(), "{what}; `doctor --firewall` tries the firewall.")?;
        }
        return Ok(models);
    };
    let mut out = stdout();
    let is_well = match &examined {
        Ok(found) => found.lacking.is_empty() && found.clock_millis.abs() < CLOCK_MILLIS,
        Err(_) => false,
    };
    match (output, &examined) {
        (Output::Human, Ok(found)) => database(&mut out, found)?,
        (Output::Human, Err((error, advice))) => {
            writeln!(out, "{error}")?;
            advice.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
        (_, Ok(found)) => print_json(&mut out, &json!({ "postgres": found }))?,
        (_, Err((error, advice))) => {
            print_json(&mut out, &json!({ "postgres": { "problem": error.to_string(), "advice": advice } }))?;
        }
    }
    out.flush()?;
    Ok(if is_well { models } else { ExitCode::from(FAILED) })
}

fn database(out: &mut impl Write, found: &Examined) -> std::io::Result<()> {
    writeln!(out, "{}: version {}", found.place, found.server_version)?;
    match found.schema.pending.len() {
        0 => writeln!(out, "  schema {}, up to date", found.schema.known)?,
        n => {
            writeln!(out, "  {n} migrations are pending: the daemon applies them at its start, or `palisade migrate`")?
        }
    }
    let seconds = Duration::from_millis(found.clock_millis.unsigned_abs()).as_secs_f32();
    if found.clock_millis.abs() >= CLOCK_MILLIS {
        writeln!(out, "  its clock differs from ours by {seconds:.1} s: agents that share need one time, as by NTP")?;
    }
    found.lacking.iter().chain(&found.advice).try_for_each(|line| writeln!(out, "  {line}"))
}
