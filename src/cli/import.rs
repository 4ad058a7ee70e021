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
use crate::event::{Timestamp, printable, shown};
use crate::pipeline::fail2ban::{self, Carried, LiveBan};
use crate::pipeline::{lists, live};

/// A larger file is no list of a hundred thousand networks.
const MAX_BYTES: u64 = 64 << 20;
/// Bans of fail2ban that people are shown.
const SHOWN: usize = 20;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Ban everyone on a list: an address or network a line, comments after # and ;, of CSV the first
    /// column.
    List(List),
    /// Show what fail2ban's jails become here and what cannot be carried over; take over its bans.
    Fail2ban(Fail2ban),
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

#[derive(clap::Args)]
pub struct Fail2ban {
    /// Its configuration.
    #[arg(long, default_value = "/etc/fail2ban")]
    dir: PathBuf,
    /// Its database, with the bans that it holds.
    #[arg(long, default_value = "/var/lib/fail2ban/fail2ban.sqlite3")]
    database: PathBuf,
    /// Write the settings to this file, which must not exist: one in conf.d beside palisade.toml.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Ban in the running daemon whom fail2ban holds, for the rest of the time.
    #[arg(long)]
    bans: bool,
}

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List(arguments) => list(arguments, config, output),
        Verb::Fail2ban(arguments) => fail2ban(arguments, config, output),
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

fn fail2ban(arguments: &Fail2ban, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let (jails, off) = fail2ban::jails(&arguments.dir)?;
    let mut carried = fail2ban::carry(&jails, &live::usual_logs());
    let now = Timestamp::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let read = runtime.block_on(fail2ban::live_bans(&arguments.database, now));
    let (bans, others) = match read {
        Err(error) if arguments.bans => return Err(error),
        // A stopped or fresh fail2ban has none: its settings are worth showing still.
        Err(error) => {
            carried.not_carried.push(format!("bans in force: {error:#}"));
            (vec![], vec![])
        }
        Ok(read) => read,
    };
    carried.not_carried.extend(others.into_iter().map(|other| format!("a ban of what is no address: {other}")));
    if let Some(path) = &arguments.write {
        let told = || format!("cannot write {}", path.display());
        let mut file = File::options().write(true).create_new(true).open(path).with_context(told)?;
        file.write_all(carried.fragment.as_bytes()).with_context(told)?;
    }
    let longest = config.respond.max_block_duration_secs;
    let imported = if arguments.bans { hand_over(&bans, longest, config, now)? } else { vec![] };
    let shown_ban = |ban: &LiveBan| json!({ "jail": ban.jail, "target": shown(ban.target), "ends_at": ban.ends_at });
    let mut answer = json!(carried);
    answer["jails_off"] = json!(off);
    answer["bans"] = bans.iter().map(shown_ban).collect();
    answer["imported"] = json!(imported);
    print(output, &answer, |out| {
        report(out, &carried, off, &bans)?;
        if let Some(path) = &arguments.write {
            writeln!(out, "\nWritten to {}; `palisade config check` tries it.", path.display())?;
        }
        for answer in &imported {
            write!(out, "\n{}: ", text(&answer["jail"]))?;
            self::imported(out, answer)?;
        }
        if imported.is_empty() && !bans.is_empty() {
            writeln!(out, "\n--bans takes them over, each for the rest of its time.")?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Sends the bans of each jail to the daemon: one request a jail, so that each ban's reason names it.
fn hand_over(bans: &[LiveBan], longest: u64, config: &Config, now: Timestamp) -> anyhow::Result<Vec<Value>> {
    let mut answers = vec![];
    for of_jail in bans.chunk_by(|a, b| a.jail == b.jail) {
        let jail = &of_jail[0].jail;
        let rest = |ban: &LiveBan| ban.ends_at.map_or(longest, |end| now.secs_until(end).max(1));
        let bans = of_jail.iter().map(|ban| json!({ "target": shown(ban.target), "duration_secs": rest(ban) }));
        let body = json!({ "bans": bans.collect::<Vec<_>>(), "reason": format!("fail2ban: {jail}") });
        let mut answer = ask(&config.socket, "POST", "/api/v1/decisions/import", Some(body))?;
        answer["jail"] = json!(jail);
        answers.push(answer);
    }
    Ok(answers)
}

fn report(out: &mut dyn Write, carried: &Carried, off: usize, bans: &[LiveBan]) -> io::Result<()> {
    // The files are the administrator's; a terminal shows no escapes of theirs either.
    let line = |text: &str| printable(text.as_bytes(), 400);
    writeln!(out, "Settings for conf.d:\n")?;
    carried.fragment.lines().try_for_each(|text| writeln!(out, "    {}", line(text)))?;
    writeln!(out, "\nJails that are on, of {}, and what does their work here:", carried.jails.len() + off)?;
    for jail in &carried.jails {
        writeln!(out, "    {:<20} {}", line(&jail.jail.name), jail.covered_by.unwrap_or("nothing"))?;
    }
    writeln!(out, "\nNot carried over:")?;
    if carried.not_carried.is_empty() {
        writeln!(out, "    nothing")?;
    }
    carried.not_carried.iter().try_for_each(|what| writeln!(out, "    {}", line(what)))?;
    writeln!(out, "\nfail2ban holds {} bans:", bans.len())?;
    for ban in bans.iter().take(SHOWN) {
        let end = ban.ends_at.map_or("for good".into(), |end| format!("until {end}"));
        writeln!(out, "    {:<40} {end}  {}", shown(ban.target), line(&ban.jail))?;
    }
    if bans.len() > SHOWN {
        writeln!(out, "    and {} more", bans.len() - SHOWN)?;
    }
    Ok(())
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
