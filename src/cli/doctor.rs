//! `palisade doctor`: what is wrong, with what, and what to do; or the proof that the firewall holds.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::daemon::{ask, ask_within};
use super::triage::runtime;
use super::{FAILED, Output, print_json, stdout};
use crate::config::{Config, Loaded, Mode, Place};
use crate::event::printable;
use crate::pipeline::doctor::{self, Ailment, Examination, Told};
use crate::pipeline::selfproof::{self, Blocker, Outcome, Own};

#[derive(clap::Args)]
pub struct Arguments {
    /// Instead: from a network namespace of its own, try that a banned address is dropped on ports of this
    /// host and of containers behind it, and that others pass. Needs root.
    #[arg(long)]
    firewall: bool,
}

/// The running daemon, which bans as an operator tells it.
struct Daemon {
    socket: PathBuf,
}

/// Should nobody be left to lift a ban, it ends by itself.
const BAN_SECS: u64 = 60;

/// Bytes of a sentence that are shown.
const SHOWN_BYTES: usize = 1000;

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

pub fn run(arguments: &Arguments, loaded: &Loaded, place: &Place, output: Output) -> anyhow::Result<ExitCode> {
    match arguments.firewall {
        true => prove(&loaded.config, output),
        false => examine(loaded, place, output),
    }
}

/// So long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

fn examine(loaded: &Loaded, place: &Place, output: Output) -> anyhow::Result<ExitCode> {
    let socket = &loaded.config.socket;
    let status = ask_within(PATIENCE, socket, "/api/v1/status").map_err(|error| format!("{error:#}"));
    let allowed = ask_within(PATIENCE, socket, "/api/v1/allow").unwrap_or_default();
    let network = |entry: &Value| entry["network"].as_str()?.parse().ok();
    let allowed = allowed.as_array().into_iter().flatten().filter_map(network).collect();
    let runtime = runtime()?;
    let found = runtime.block_on(doctor::examine(loaded, place, Told { status, allowed }));
    // A file system that hangs would keep us here.
    runtime.shutdown_background();
    let Examination { findings, seen } = found?;
    let to_do = findings.iter().filter(|one| one.is_to_do()).count();
    let mut out = stdout();
    match output {
        Output::Human => {
            for well in &seen {
                writeln!(out, "ok       {}", printable(well.as_bytes(), SHOWN_BYTES))?;
            }
            for Ailment { level, subject, problem, advice, .. } in &findings {
                let line = printable(format!("{subject}: {problem}").as_bytes(), SHOWN_BYTES);
                writeln!(
                    out,
                    "{:<8} {line}\n         → {}",
                    level.as_str(),
                    printable(advice.as_bytes(), SHOWN_BYTES)
                )?;
            }
            match to_do {
                0 => writeln!(out, "Nothing needs to be done.")?,
                1 => writeln!(out, "One thing needs to be done.")?,
                n => writeln!(out, "{n} things need to be done.")?,
            }
        }
        Output::Jsonl => findings.iter().try_for_each(|one| print_json(&mut out, one))?,
        _ => print_json(&mut out, &json!({ "healthy": to_do == 0, "findings": findings, "seen": seen }))?,
    }
    out.flush()?;
    Ok(if to_do == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn prove(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
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
