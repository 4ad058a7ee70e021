//! Why a client is shut out, or is not: what it did, who decided, and what would have avoided it.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::daemon::ask;
use super::operate::{print, text};
use super::{Output, with_allow_files};
use crate::config::Config;
use crate::pipeline::why::{Decisive, Replay, replay};

/// Findings that are shown, the decisive ones.
const SHOWN: usize = 10;

#[derive(clap::Args)]
pub struct Arguments {
    /// An address, a network, or the id of a decision.
    what: String,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let what = &arguments.what;
    let is_plain = what.chars().all(|sign| sign.is_ascii_alphanumeric() || ":./".contains(sign));
    ensure!(is_plain, "{what:?} is neither an address or network nor the id of a decision");
    let mut told = ask(&config.socket, "GET", &format!("/api/v1/why/{what}"), None)?;
    let target = told["decision"]["target"].clone();
    let replayed = decisive(&told).map(|finding| tried(&with_allow_files(config)?, finding, &target));
    told["replay"] = match &replayed {
        None => Value::Null,
        Some(Ok(replay)) => json!(replay),
        Some(Err(error)) => json!({ "error": format!("{error:#}") }),
    };
    print(output, &told, |out| {
        show_decision(out, &told)?;
        if !config.store.keeps_findings() {
            writeln!(out, "What it did is not kept: store.record = \"nothing\".")?;
        } else {
            show_findings(out, &told)?;
        }
        show_calls(out, &told)?;
        if let Some(replayed) = &replayed {
            show_replay(out, replayed)?;
        }
        for advice in told["advice"].as_array().into_iter().flatten() {
            writeln!(out, "Next: {}", text(advice))?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The finding because of which it was decided.
fn decisive(told: &Value) -> Option<&Value> {
    let id = told["decision"]["finding_id"].as_str()?;
    told["findings"].as_array()?.iter().find(|finding| finding["id"] == id)
}

fn tried(config: &Config, finding: &Value, target: &Value) -> anyhow::Result<Replay> {
    // In the log stands the address itself: the ban has it while it is in force.
    let is_pseudonym = config.store.keeps_pseudonyms();
    let source_ip = if is_pseudonym { target } else { &finding["source_ip"] };
    let uri = finding["uri"].as_str().unwrap_or_default();
    let rule_ids: Vec<String> = serde_json::from_value(finding["rule_ids"].clone())?;
    replay(
        config,
        &Decisive {
            file: Path::new(finding["file"].as_str().unwrap_or_default()),
            offset: finding["offset"].as_u64().unwrap_or_default(),
            source_ip: source_ip.as_str().unwrap_or_default().parse().context("the client's address is not kept")?,
            path: uri.split(['?', '#']).next().unwrap_or_default(),
            rule_ids: &rule_ids,
            score: finding["score"].as_u64().and_then(|score| u8::try_from(score).ok()).unwrap_or(10),
        },
    )
}

fn show_decision(out: &mut dyn Write, told: &Value) -> std::io::Result<()> {
    let decision = &told["decision"];
    let dry = if decision["simulated"] == true { " (dry run: told, not done)" } else { "" };
    let target = text(&decision["target"]);
    writeln!(out, "{target}: {}{dry}, decision {}", text(&decision["state"]), text(&decision["id"]))?;
    writeln!(
        out,
        "  decided {} by {}, ends {}",
        text(&decision["created_at"]),
        text(&decision["proposer"]),
        text(&decision["expires_at"])
    )?;
    writeln!(out, "  because: {} (score {} of 10)", text(&decision["reason"]), decision["score"])?;
    if decision["note"].as_str().is_some_and(|note| !note.is_empty()) {
        writeln!(out, "  note: {}", text(&decision["note"]))?;
    }
    if decision["offences"].as_u64().unwrap_or(0) > 0 {
        writeln!(out, "  banned {} times before", decision["offences"])?;
    }
    let earlier = told["earlier"].as_array().map_or(0, Vec::len);
    if earlier > 0 {
        writeln!(out, "  {earlier} earlier decisions about it")?;
    }
    if ["active", "pending", "held"].contains(&decision["state"].as_str().unwrap_or_default()) {
        writeln!(out, "  to undo it: palisade unban {target}")?;
        writeln!(out, "  never again: palisade allow add {target}")?;
    }
    Ok(())
}

fn show_findings(out: &mut dyn Write, told: &Value) -> std::io::Result<()> {
    let findings = told["findings"].as_array().map_or(&[][..], Vec::as_slice);
    if findings.is_empty() {
        return writeln!(out, "No finding of it is kept.");
    }
    writeln!(out, "What it did ({} findings, the newest first):", findings.len())?;
    for finding in findings.iter().take(SHOWN) {
        let place = match finding["line_number"].as_u64() {
            Some(number) => format!("line {number}"),
            None => format!("byte {}", finding["offset"]),
        };
        writeln!(
            out,
            "  {} {} of {}: {} {} {}",
            text(&finding["time"]),
            place,
            text(&finding["file"]),
            text(&finding["method"]),
            text(&finding["uri"]),
            finding["status"]
        )?;
        for piece in finding["evidence"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "      {} +{}: {} has {:?}",
                text(&piece["rule_id"]),
                piece["score"],
                text(&piece["target"]),
                text(&piece["matched"])
            )?;
        }
        writeln!(
            out,
            "      {} of 10, {}: {} says {}, {} of 10: {}",
            finding["score"],
            text(&finding["decision"]),
            text(&finding["decided_by"]),
            text(&finding["verdict"]),
            finding["confidence"],
            text(&finding["reasoning"])
        )?;
    }
    Ok(())
}

fn show_calls(out: &mut dyn Write, told: &Value) -> std::io::Result<()> {
    for call in told["calls"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "  {} was asked at {}: {} ({} ms)",
            text(&call["service"]),
            text(&call["at"]),
            text(&call["outcome"]),
            call["millis"]
        )?;
    }
    Ok(())
}

fn show_replay(out: &mut dyn Write, replayed: &anyhow::Result<Replay>) -> std::io::Result<()> {
    match replayed {
        Err(error) => writeln!(out, "What would have avoided it was not tried: {error:#}"),
        Ok(replay) if !replay.blocks => writeln!(
            out,
            "Its {} lines in the log would not block it today: rules or thresholds have changed, or more than this log counted.",
            replay.lines
        ),
        Ok(replay) => {
            writeln!(out, "What would have avoided it, tried on its {} lines:", replay.lines)?;
            for remedy in &replay.remedies {
                let helps = if remedy.helps { "not blocked" } else { "blocked all the same" };
                writeln!(out, "  {}: {helps}", remedy.change)?;
            }
            Ok(())
        }
    }
}
