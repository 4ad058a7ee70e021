//! Takes over bans of others: a list of addresses, or a fail2ban installation.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::daemon::ask;
use super::operate::{duration, print, text};
use super::{FAILED, Output};
use crate::config::Config;
use crate::event::shown;
use crate::pipeline::lists;

/// A larger file is no list of a hundred thousand networks.
const MAX_BYTES: u64 = 64 << 20;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Ban everyone on a list: an address or network a line, comments after # and ;, of CSV the first
    /// column.
    List(List),
}

#[derive(clap::Args)]
pub struct List {
    /// The list; `-` is standard input.
    file: PathBuf,
    /// Length, such as 90s, 30m, 4h or 7d; default: `respond.block_duration_secs`.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    length: Option<u64>,
    /// Why, for the record; default: the list's name.
    #[arg(long)]
    reason: Option<String>,
}

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List(arguments) => list(arguments, config, output),
    }
}

fn list(arguments: &List, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let list = lists::parse(&read(&arguments.file)?);
    let name = || format!("list {}", arguments.file.display());
    let reason = arguments.reason.clone().unwrap_or_else(name);
    let bans = list.targets.iter().map(|target| json!({ "target": shown(*target), "duration_secs": arguments.length }));
    let body = json!({ "bans": bans.collect::<Vec<_>>(), "reason": reason });
    let mut answer = ask(&config.socket, "POST", "/api/v1/decisions/import", Some(body))?;
    answer["wrong_lines"] = json!(list.wrong);
    answer["left_out"] = json!(list.over);
    print(output, &answer, |out| imported(out, &answer))?;
    let in_force = ["banned", "prolonged", "already_banned"].iter().any(|key| answer[key] != 0);
    Ok(if in_force || list.targets.is_empty() && list.wrong.count == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![];
    let told = || format!("cannot read {}", path.display());
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(told)?)
    };
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(told)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{} is larger than {} MiB: no list of addresses", path.display(), MAX_BYTES >> 20);
    }
    Ok(bytes)
}

/// What the daemon did with the bans that it was given.
fn imported(out: &mut dyn Write, answer: &Value) -> io::Result<()> {
    let note = match (&answer["simulated"], text(&answer["state"]).as_str()) {
        (Value::Bool(true), _) => " (dry run: only recorded)",
        (_, "pending") => " (not carried out yet: see `palisade status`)",
        _ => "",
    };
    writeln!(
        out,
        "{} banned, {} prolonged, {} were banned already, {} refused{note}",
        answer["banned"], answer["prolonged"], answer["already_banned"], answer["refused"]
    )?;
    for reason in answer["reasons"].as_array().into_iter().flatten() {
        let examples: Vec<String> = reason["examples"].as_array().into_iter().flatten().map(text).collect();
        let more = if reason["count"].as_u64().unwrap_or(0) > examples.len() as u64 { ", …" } else { "" };
        writeln!(out, "  refused: {} {}: {}{more}", reason["count"], text(&reason["message"]), examples.join(", "))?;
    }
    for line in answer["wrong_lines"]["first"].as_array().into_iter().flatten() {
        writeln!(out, "  line {} is neither an address nor a network: {}", line["line_number"], text(&line["text"]))?;
    }
    if let Some(count @ 1..) = answer["wrong_lines"]["count"].as_u64() {
        writeln!(out, "{count} lines are wrong")?;
    }
    if let Some(count @ 1..) = answer["left_out"].as_u64() {
        writeln!(out, "{count} more networks are left out: one import is 100,000 at most")?;
    }
    Ok(())
}
