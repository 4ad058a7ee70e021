//! `palisade doctor`: tries on this host what is promised: the firewall, or the models.

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
use crate::pipeline::selfproof::{self, Blocker, Outcome, Own};

#[derive(clap::Args)]
pub struct Arguments {
    /// From a network namespace of its own, try that a banned address is dropped on ports of this host and
    /// of containers behind it, and that others pass. Needs root. Without it: whether the models of every
    /// `[[tier]]` are there, as `triage check` says it.
    #[arg(long)]
    firewall: bool,
}

/// The running daemon, which bans as an operator tells it.
struct Daemon {
    socket: PathBuf,
}

/// Should nobody be left to lift a ban, it ends by itself.
const BAN_SECS: u64 = 60;

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
    if !arguments.firewall && config.tier.is_empty() {
        writeln!(stdout(), "No model is configured, so none is missing; `doctor --firewall` tries the firewall.")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.firewall {
        return triage::run(&triage::Verb::Check, config, output);
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
