//! Erases what is kept of a client: through the daemon if one runs, else in its state directory.

use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::ensure;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::Output;
use super::daemon::ask;
use super::operate::{network, print, text};
use crate::config::Config;
use crate::pipeline::erase;

#[derive(clap::Args)]
pub struct Arguments {
    /// An address, whose client is meant, or a network.
    network: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let network = network(&arguments.network)?;
    ensure!(arguments.yes || agrees(network)?, "nothing is forgotten; `--yes` answers for you");
    let answer = if UnixStream::connect(&config.socket).is_ok() {
        ask(&config.socket, "POST", "/api/v1/forget", Some(json!({ "network": network.to_string() })))?
    } else {
        erase::erase(config, network)?
    };
    print(output, &answer, |out| said(out, &answer))?;
    Ok(ExitCode::SUCCESS)
}

fn said(out: &mut dyn Write, answer: &Value) -> std::io::Result<()> {
    writeln!(out, "{} is forgotten: {} rows are gone.", text(&answer["network"]), answer["rows"])?;
    for live in answer["live"].as_array().into_iter().flatten() {
        let live = text(live);
        writeln!(out, "{live} is shut out still, and known as that until it ends: palisade unban {live}")?;
    }
    Ok(())
}

/// Asks whoever sits before the terminal; nobody agrees where there is none.
fn agrees(network: IpNet) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Delete all findings, ended bans and counts of {network} for good? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
