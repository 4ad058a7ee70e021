//! The verbs that an operator says to the running daemon: status, banned, ban, unban, release, allow.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::daemon::{ask, ask_within};
use super::set::until;
use super::{Output, print_json, stdout};
use crate::config::Config;
use crate::event::printable;

#[derive(clap::Args)]
pub struct Ban {
    /// An address or a network.
    target: String,
    /// Length, such as 90s, 30m, 4h or 7d, or `permanent`; default: `respond.block_duration_secs`.
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    length: Option<Length>,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(clap::Args)]
pub struct Unban {
    /// An address or a network; every ban that touches it is lifted.
    #[arg(required_unless_present = "all")]
    target: Option<String>,
    /// Lift every ban.
    #[arg(long, conflicts_with = "target")]
    all: bool,
}

#[derive(clap::Args)]
pub struct Enforce {
    /// Length of the trial, such as 30m or 2h; then dry run begins again and its bans end. What confirms it is
    /// mode = "enforce" in the configuration file and SIGHUP.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, required_unless_present = "stop")]
    length: Option<u64>,
    /// End the trial now.
    #[arg(long, conflicts_with = "length")]
    stop: bool,
}

#[derive(clap::Subcommand)]
pub enum Allow {
    /// Never block this network, and lift its bans at once.
    Add {
        network: String,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Take it off the list again.
    Del { network: String },
    /// Show the list.
    List,
}

/// So long the daemon may take to say that it is there.
const PING: Duration = Duration::from_secs(5);

pub fn ping(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let answer = ask_within(PING, &config.socket, "/api/v1/ping")?;
    print(output, &answer, |out| {
        let mode = answer["mode"].as_str().unwrap_or_default();
        Ok(writeln!(out, "palisade {} answers, in mode {mode}", text(&answer["version"]))?)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn status(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let status = ask(&config.socket, "GET", "/api/v1/status", None)?;
    let healthy = status["healthy"].as_bool().unwrap_or(false);
    print(output, &status, |out| {
        let mode = status["mode"].as_str().unwrap_or_default();
        writeln!(out, "palisade {} in mode {mode} since {}", text(&status["version"]), text(&status["started_at"]))?;
        if let Some(end) = status["trial_ends_at"].as_str() {
            writeln!(
                out,
                "on trial until {end}: then dry run again, unless the configuration says mode = \"enforce\""
            )?;
        }
        writeln!(
            out,
            "{} lines read, {} understood, {} not; {} findings, {} blocks ({} in force, {} refused, {} held), {} rules",
            status["lines"],
            status["parsed"],
            status["unparsed"],
            status["findings"],
            status["blocks"],
            status["active"],
            status["refused"],
            status["held"],
            status["rules"]
        )?;
        for held in status["holding"].as_array().into_iter().flatten() {
            writeln!(out, "  {} blocks wait; {}", held["count"], text(&held["why"]))?;
        }
        if status["gaps"] != 0 {
            writeln!(out, "{} bytes were gone before they could be read", status["gaps"])?;
        }
        for source in status["sources"].as_array().into_iter().flatten() {
            let formats: Vec<_> = source["formats"].as_array().into_iter().flatten().map(text).collect();
            writeln!(
                out,
                "  {} [{}]: {} lines, {} not understood, {} bytes behind{}",
                text(&source["path"]),
                formats.join(" "),
                source["lines"],
                source["unparsed"],
                source["behind_bytes"],
                source["error"].as_str().map_or(String::new(), |error| format!("; {error}"))
            )?;
            for sample in source["unparsed_samples"].as_array().into_iter().flatten() {
                writeln!(out, "      not understood: {}", text(sample))?;
            }
        }
        for responder in status["responders"].as_array().into_iter().flatten() {
            let dropped = &responder["dropped"];
            let dropped = dropped["packets"]
                .as_u64()
                .map(|packets| format!(", {packets} packets dropped ({} bytes)", dropped["bytes"]));
            writeln!(
                out,
                "  {}: {} held, {} waiting, repaired {} times{}",
                text(&responder["name"]),
                responder["held"],
                responder["waiting"],
                responder["repairs"],
                dropped.unwrap_or_default()
            )?;
        }
        if status["memory"]["kind"] == "redis" {
            let waiting = &status["memory"]["waiting"];
            writeln!(
                out,
                "  memory in Redis: {}, {waiting} changes on their way",
                if status["memory"]["healthy"] == true { "well" } else { "away" }
            )?;
        }
        for tier in status["triage"]["tiers"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "  model {} [{}]: {} calls, {} malicious, {} benign, {} unsure, {} errors; {} escalated, {} tokens, {:.4} USD",
                text(&tier["name"]),
                text(&tier["model"]),
                tier["calls"],
                tier["malicious"],
                tier["benign"],
                tier["uncertain"],
                tier["errors"],
                tier["escalated"],
                tier["input_tokens"].as_u64().unwrap_or(0) + tier["output_tokens"].as_u64().unwrap_or(0),
                tier["usd"].as_f64().unwrap_or(0.0)
            )?;
        }
        for advice in status["triage"]["advice"].as_array().into_iter().flatten() {
            writeln!(out, "      {}", text(advice))?;
        }
        let configuration = &status["services"]["configuration"];
        for set in configuration["set"].as_array().into_iter().flatten() {
            let (key, value, by) = (text(&set["key"]), text(&set["value"]), text(&set["by"]));
            writeln!(out, "  set by {by}: {key} = {value} until {}", until(set))?;
        }
        let waiting: Vec<_> = configuration["waits_for_restart"].as_array().into_iter().flatten().map(text).collect();
        if !waiting.is_empty() {
            writeln!(out, "  changed, and needs a restart: {}", waiting.join(", "))?;
        }
        let fleet = &status["services"]["fleet"];
        if fleet["shares"] == true {
            let agents = fleet["agents"].as_object().map_or(0, serde_json::Map::len);
            let (through, agent) = (text(&fleet["through"]), text(&fleet["agent"]));
            let (sent, taken) = (&fleet["sent"], &fleet["taken"]);
            writeln!(out, "  fleet: {agent} through {through}, {agents} others heard of, {sent} told, {taken} taken")?;
        }
        for (name, service) in status["services"].as_object().into_iter().flatten() {
            if service["entries"].is_number() {
                writeln!(
                    out,
                    "  {}: {} entries, {} refused; fetched {}",
                    printable(name.as_bytes(), 100),
                    service["entries"],
                    service["refused"],
                    text(&service["fetched_at"])
                )?;
            }
            if service["sent_today"].is_number() {
                writeln!(
                    out,
                    "  {}: {} messages today, {} in all; {} news wait, {} messages undelivered",
                    printable(name.as_bytes(), 100),
                    service["sent_today"],
                    service["sent"],
                    service["waiting"],
                    service["undelivered"]
                )?;
                for dead in service["dead_letters"].as_array().into_iter().flatten() {
                    let (at, title, why) = (text(&dead["at"]), text(&dead["title"]), text(&dead["why"]));
                    writeln!(out, "      undelivered {at}: {title}: {why}")?;
                }
                for one in service["emergencies"].as_array().into_iter().flatten() {
                    writeln!(out, "      {}", emergency(one))?;
                }
            }
            if service["lag_secs"].is_number() {
                let well = if service["healthy"] == true { "well" } else { "away" };
                writeln!(
                    out,
                    "  {}: {well}, {} changes wait, {} s behind, {} went unsent",
                    printable(name.as_bytes(), 100),
                    service["waiting"],
                    service["lag_secs"],
                    service["dropped"]
                )?;
            }
        }
        for problem in status["problems"].as_array().into_iter().flatten() {
            writeln!(out, "PROBLEM: {}", text(problem))?;
        }
        Ok(())
    })?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn enforce(arguments: &Enforce, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let request = match arguments.length {
        Some(secs) => json!({ "mode": "enforce", "for_secs": secs }),
        None => json!({ "mode": "dry_run" }),
    };
    let answer = ask(&config.socket, "POST", "/api/v1/mode", Some(request))?;
    print(output, &answer, |out| {
        match answer["trial_ends_at"].as_str() {
            Some(end) => writeln!(out, "enforcing until {end}; to keep it so, set mode = \"enforce\" and send SIGHUP")?,
            None => writeln!(out, "mode {}", text(&answer["mode"]))?,
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn banned(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let bans = ask(&config.socket, "GET", "/api/v1/decisions?state=active&limit=100000", None)?;
    list(output, &bans, "Nobody is banned.", |ban| {
        let simulated = if ban["simulated"] == true { " (dry run)" } else { "" };
        format!("{:<40} {}  {}{simulated}", text(&ban["target"]), end(ban), text(&ban["reason"]))
    })
}

pub fn ban(arguments: &Ban, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let mut body = json!({ "target": arguments.target, "reason": arguments.reason });
    match arguments.length {
        None => {}
        Some(Length::Secs(secs)) => body["duration_secs"] = json!(secs),
        Some(Length::Permanent) => body["permanent"] = json!(true),
    }
    let ban = ask(&config.socket, "POST", "/api/v1/decisions", Some(body))?;
    print(output, &ban, |out| {
        let simulated = if ban["simulated"] == true { " (dry run: only recorded)" } else { "" };
        writeln!(out, "{} is banned {}{simulated}", text(&ban["target"]), end(&ban))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// When a ban ends.
fn end(ban: &Value) -> String {
    if ban["permanent"] == true { "until it is lifted".into() } else { format!("until {}", text(&ban["expires_at"])) }
}

pub fn release(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let answer = ask(&config.socket, "POST", "/api/v1/release", None)?;
    print(output, &answer, |out| {
        let of = |name: &str| answer[name].as_array().map_or(0, Vec::len);
        writeln!(out, "{} held blocks carried out, {} refused.", of("released"), of("refused"))
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn unban(arguments: &Unban, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let path = match &arguments.target {
        Some(target) => format!("/api/v1/decisions/{}", network(target)?),
        None => "/api/v1/decisions".into(),
    };
    let answer = ask(&config.socket, "DELETE", &path, None)?;
    print(output, &answer, |out| lifted(out, &answer))?;
    Ok(ExitCode::SUCCESS)
}

pub fn allow(verb: &Allow, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    match verb {
        Allow::Add { network, note } => {
            let body = json!({ "network": network, "note": note });
            let answer = ask(&config.socket, "POST", "/api/v1/allow", Some(body))?;
            print(output, &answer, |out| {
                writeln!(out, "{} is never blocked from now on.", text(&answer["network"]))?;
                lifted(out, &answer)
            })?;
        }
        Allow::Del { network: target } => {
            let answer = ask(&config.socket, "DELETE", &format!("/api/v1/allow/{}", network(target)?), None)?;
            print(output, &answer, |out| writeln!(out, "{} is off the list.", text(&answer["network"])))?;
        }
        Allow::List => {
            let entries = ask(&config.socket, "GET", "/api/v1/allow", None)?;
            return list(output, &entries, "Only the built-in and configured networks are allowed.", |entry| {
                format!(
                    "{:<40} since {}  {}",
                    text(&entry["network"]),
                    text(&entry["created_at"]),
                    text(&entry["note"])
                )
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lifted(out: &mut dyn Write, answer: &Value) -> std::io::Result<()> {
    let lifted = answer["lifted"].as_array().map_or(0, Vec::len);
    writeln!(out, "{lifted} ban{} lifted.", if lifted == 1 { "" } else { "s" })
}

pub fn print(
    output: Output,
    value: &Value,
    human: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = stdout();
    match output {
        Output::Human => human(&mut out)?,
        Output::Json | Output::Jsonl | Output::Csv => print_json(&mut out, value)?,
    }
    out.flush()?;
    Ok(())
}

pub fn list(output: Output, rows: &Value, nothing: &str, line: impl Fn(&Value) -> String) -> anyhow::Result<ExitCode> {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    let mut out = stdout();
    match output {
        Output::Json => print_json(&mut out, &rows)?,
        Output::Jsonl | Output::Csv => rows.iter().try_for_each(|row| print_json(&mut out, row))?,
        Output::Human if rows.is_empty() => writeln!(out, "{nothing}")?,
        Output::Human => rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A value's text, safe for a terminal.
pub fn text(value: &Value) -> String {
    value.as_str().map_or(String::new(), |text| printable(text.as_bytes(), 400))
}

/// How it stands with a message that is repeated until somebody acknowledges it.
fn emergency(one: &Value) -> String {
    let standing = match text(&one["state"]).as_str() {
        "repeats" => "is not acknowledged yet".to_owned(),
        "acknowledged" => {
            format!("was acknowledged {} by {}", text(&one["acknowledged_at"]), text(&one["acknowledged_by"]))
        }
        "called_off" => "was called off: the client was let go".to_owned(),
        _ => "was acknowledged by nobody".to_owned(),
    };
    let why = text(&one["why"]);
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    format!("{} {standing}{why}: {}", text(&one["at"]), text(&one["title"]))
}

/// `text` as an address or network, so that nothing else gets into a path.
pub(super) fn network(text: &str) -> anyhow::Result<IpNet> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).map_err(|_| anyhow::anyhow!("{text:?} is neither an IP address nor a network"))
}

/// How long somebody is to be shut out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Length {
    Secs(u64),
    Permanent,
}

fn length(text: &str) -> Result<Length, String> {
    if text == "permanent" { Ok(Length::Permanent) } else { duration(text).map(Length::Secs) }
}

/// Seconds in `90s`, `30m`, `4h`, `7d` or a bare number of seconds.
pub fn duration(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => return Err(format!("{other:?} is no unit of time; use s, m, h or d")),
    };
    let number: u64 =
        digits.parse().map_err(|_| format!("{text:?} is no duration; write for example 90s, 30m, 4h or 7d"))?;
    number.checked_mul(unit).filter(|secs| *secs > 0).ok_or_else(|| format!("{text:?} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::{Length, duration, length};

    #[test]
    fn durations_have_units() {
        for (text, secs) in [("90", 90), ("90s", 90), ("30m", 1800), ("4h", 14_400), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(secs));
        }
        assert_eq!((length("permanent"), length("2m")), (Ok(Length::Permanent), Ok(Length::Secs(120))));
        for text in ["", "h", "0s", "4 h", "-1h", "4w", "99999999999999999999d", "99999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
