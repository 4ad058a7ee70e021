//! The verbs about models: what they cost, whether they are there, how sure they are, where they err.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use indicatif::ProgressBar;
use serde_json::json;

use super::daemon::ask;
use super::operate::{print, text};
use super::{FAILED, Output, load_rules, print_json, stdout};
use crate::config::Config;
use crate::pipeline::{models, replay};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// What models and reputation services were asked and cost, from the running daemon.
    Ledger {
        /// Newest calls to list.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Ask each tier's server for its model. Exits 1 if one is missing.
    Check,
    /// Ask every tier about one line in nginx's combined format, whatever rules think of it.
    Ask {
        /// The line; a model is shown its masked view, which is printed.
        line: String,
    },
    /// Forget what models said of requests; corrections stay.
    Clear,
    /// Have a tier's server fetch its model (Ollama).
    Pull {
        /// The tier's name.
        tier: String,
    },
}

#[derive(clap::Args)]
pub struct Verdict {
    /// The finding's id, as `scan`, `why` and the API show it.
    finding_id: String,
    #[arg(value_parser = ["benign", "malicious"])]
    verdict: String,
}

#[derive(clap::Args)]
pub struct Calibrate {
    /// Labelled requests: JSON lines with `label` (`attack` or `benign`), `method`, `uri`, `user_agent`,
    /// `status`. Default: the built-in ones.
    #[arg(value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// At most so many of each label, evenly taken.
    #[arg(long, default_value_t = 60)]
    each: usize,
}

/// Labelled requests that are built in: attacks of several kinds and what resembles them.
const CASES: &[&str] = &[
    include_str!("../../tests/cases/sqli.jsonl"),
    include_str!("../../tests/cases/xss.jsonl"),
    include_str!("../../tests/cases/rce.jsonl"),
    include_str!("../../tests/cases/lfi.jsonl"),
];

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Ledger { limit } => ledger(*limit, config, output),
        Verb::Check => check(config, output),
        Verb::Ask { line } => ask_all(line, config, output),
        Verb::Clear => {
            let answer = ask(&config.socket, "DELETE", "/api/v1/verdicts", None)?;
            print(output, &answer, |out| writeln!(out, "What models said is forgotten."))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Pull { tier } => pull(tier, config),
    }
}

fn ledger(limit: u32, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let ledger = ask(&config.socket, "GET", &format!("/api/v1/ledger?limit={limit}"), None)?;
    print(output, &ledger, |out| {
        let services = ledger["services"].as_array().map_or(&[][..], Vec::as_slice);
        if services.is_empty() {
            writeln!(out, "Nothing was asked of anybody.")?;
        }
        for spent in services {
            writeln!(
                out,
                "{:<12} {:<24} {} calls, {} answered, {} tokens in, {} out, {} bytes sent, {:.4} USD",
                text(&spent["service"]),
                text(&spent["model"]),
                spent["calls"],
                spent["answered"],
                spent["input_tokens"],
                spent["output_tokens"],
                spent["sent_bytes"],
                spent["usd"].as_f64().unwrap_or(0.0)
            )?;
        }
        for call in ledger["calls"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "  {} {:<12} {} ms, {} bytes, {} tokens, finding {}: {}",
                text(&call["at"]),
                text(&call["service"]),
                call["millis"],
                call["sent_bytes"],
                call["input_tokens"],
                text(&call["finding_id"]),
                text(&call["outcome"])
            )?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn check(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let told = runtime()?.block_on(models::check(config))?;
    let mut out = stdout();
    for (tier, answer) in &told {
        match (output, answer) {
            (Output::Human, Ok(())) => writeln!(out, "tier {tier}: its model is there")?,
            (Output::Human, Err(problem)) => writeln!(out, "{problem}")?,
            _ => print_json(&mut out, &json!({ "tier": tier, "problem": answer.as_ref().err() }))?,
        }
    }
    out.flush()?;
    Ok(if told.iter().all(|(_, answer)| answer.is_ok()) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn ask_all(line: &str, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let rules = load_rules(config)?;
    let (view, told) = runtime()?.block_on(models::ask(config, &rules, line))?;
    let row = |(tier, said): &(String, Result<models::Said, String>)| match said {
        Ok(said) => {
            json!({ "tier": tier, "verdict": said.class, "confidence": said.confidence, "reasoning": said.reasoning })
        }
        Err(error) => json!({ "tier": tier, "error": error }),
    };
    let rows: Vec<_> = told.iter().map(row).collect();
    let answer = json!({ "view": view.as_str(), "tiers": rows });
    print(output, &answer, |out| {
        writeln!(out, "{}\n", view.as_str())?;
        for row in &rows {
            let said = match row["error"].as_str() {
                Some(error) => error.to_owned(),
                None => format!("{}, {} of 10: {}", text(&row["verdict"]), row["confidence"], text(&row["reasoning"])),
            };
            writeln!(out, "tier {}: {said}", text(&row["tier"]))?;
        }
        Ok(())
    })?;
    Ok(if told.iter().all(|(_, said)| said.is_ok()) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn pull(tier: &str, config: &Config) -> anyhow::Result<ExitCode> {
    let bar = ProgressBar::new(0);
    bar.set_style(indicatif::ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}")?);
    let progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    runtime()?.block_on(models::pull(config, tier, &progress))?;
    bar.finish_and_clear();
    writeln!(stdout(), "tier {tier}: its model is there")?;
    Ok(ExitCode::SUCCESS)
}

pub fn verdict(arguments: &Verdict, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let id = &arguments.finding_id;
    ensure!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?} is no id of a finding");
    let body = json!({ "verdict": arguments.verdict });
    let answer = ask(&config.socket, "POST", &format!("/api/v1/findings/{id}/verdict"), Some(body))?;
    print(output, &answer, |out| {
        writeln!(out, "Whatever looks like finding {id} is {} from now on.", arguments.verdict)?;
        for network in answer["lifted"].as_array().into_iter().flatten() {
            writeln!(out, "{} is let go.", text(network))?;
        }
        if let Some(refusal) = answer["refused"].as_str() {
            writeln!(out, "Its client is not blocked: {refusal}")?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn calibrate(arguments: &Calibrate, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let rules = load_rules(config)?;
    let mut texts: Vec<(String, String)> = vec![];
    for file in &arguments.cases {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        texts.push((file.display().to_string(), text));
    }
    if texts.is_empty() {
        texts = built_in();
    }
    let cases = labelled(&texts, arguments.each)?;
    let corrections = corrections(config);
    let bar = ProgressBar::new((cases.len() + corrections.len()) as u64);
    let progress = |done: usize| bar.set_position(done as u64);
    let (tier, fit) = runtime()?.block_on(models::calibrate(config, &rules, &cases, &corrections, &progress))?;
    bar.finish_and_clear();
    let answer = json!({
        "tier": tier, "cases": cases.len(), "corrections": corrections.len(), "slope": fit.slope, "offset": fit.offset, "auc": fit.auc,
        "brier_before": fit.brier_before, "brier_after": fit.brier_after,
    });
    print(output, &answer, |out| {
        writeln!(
            out,
            "# tier {tier}, {} cases: AUC {:.3}, Brier {:.3}, before {:.3}",
            cases.len(),
            fit.auc,
            fit.brier_after,
            fit.brier_before
        )?;
        if fit.auc < 0.6 {
            writeln!(out, "# It hardly tells attacks apart: its opinions will be unsure, and escalate.")?;
        }
        writeln!(out, "slope = {:.3}\noffset = {:.3}", fit.slope, fit.offset)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The built-in cases by name.
pub fn built_in() -> Vec<(String, String)> {
    CASES.iter().map(|text| ("built-in cases".to_owned(), (*text).to_owned())).collect()
}

/// At most `each` of the attacks and of the benign requests in `texts`, evenly taken.
pub fn labelled(texts: &[(String, String)], each: usize) -> anyhow::Result<Vec<models::Labelled>> {
    let mut cases = vec![];
    for (label, is_attack) in [("attack", true), ("benign", false)] {
        let mut of_label = vec![];
        for (name, text) in texts {
            of_label.extend(replay::cases(text, label).map_err(|what| anyhow!("{name}: {what}"))?);
        }
        let step = of_label.len().div_ceil(each.max(1)).max(1);
        cases.extend(of_label.into_iter().step_by(step).map(|case| (case, is_attack)));
    }
    Ok(cases)
}

/// What operators said of findings, if the daemon runs: views and whether they are attacks.
fn corrections(config: &Config) -> Vec<(String, bool)> {
    let Ok(rows) = ask(&config.socket, "GET", "/api/v1/corrections", None) else { return vec![] };
    let row = |row: &serde_json::Value| Some((row["view"].as_str()?.to_owned(), row["verdict"] == "malicious"));
    rows.as_array().into_iter().flatten().filter_map(row).collect()
}

pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
