use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::{FAILED, Output, load_rules, print_json, stdout};
use crate::config::Config;
use crate::event::printable;
use crate::pipeline::replay::{self, Ruleset, Trial};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Every rule and window that is switched on.
    List,
    /// Try every rule on its own examples and on ordinary requests. Exits 1 if one fails. Names the
    /// rules that catch nothing that no other catches.
    Test {
        /// More attacks for that: JSON lines with a `label` (`attack` or `benign`) and `method`, `uri`,
        /// `user_agent`, `referer`, `status` or `message`.
        #[arg(long, value_name = "FILE")]
        cases: Vec<PathBuf>,
    },
}

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    // Rules are tried by themselves.
    let rules = load_rules(&Config { exclusion: vec![], ..config.clone() })?;
    let mut out = stdout();
    match verb {
        Verb::Test { cases } => return test(&rules, cases, output),
        Verb::List => {
            let of_rules = rules.rules.iter().map(|rule| {
                let spec = &rule.spec;
                let targets: Vec<&str> = spec.target.iter().map(|target| target.as_str()).collect();
                json!({ "id": spec.id, "kind": "rule", "category": spec.category, "score": spec.score,
                    "description": spec.description, "reference": spec.reference, "target": targets })
            });
            let of_windows = rules.windows.iter().map(|window| {
                let spec = &window.spec;
                json!({ "id": spec.id, "kind": "window", "category": spec.category, "score": spec.score,
                    "description": spec.description, "reference": spec.reference,
                    "capacity": spec.capacity, "leak_speed_secs": spec.leak_speed_secs })
            });
            let rows: Vec<_> = of_rules.chain(of_windows).collect();
            match output {
                Output::Json => print_json(&mut out, &rows)?,
                Output::Jsonl | Output::Csv => rows.iter().try_for_each(|row| print_json(&mut out, row))?,
                Output::Human => {
                    for row in &rows {
                        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                        writeln!(
                            out,
                            "{:<32} {:<18} {:>2}  {}",
                            text("id"),
                            text("category"),
                            row["score"],
                            text("description")
                        )?;
                    }
                }
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what failed (for programs: everything), and says how many were tried.
fn test(rules: &Ruleset, files: &[PathBuf], output: Output) -> anyhow::Result<ExitCode> {
    let mut attacks = vec![];
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let more = replay::cases(&text, "attack").map_err(|what| anyhow!("{}: {what}", file.display()))?;
        attacks.extend(more);
    }
    let redundant = replay::redundant(rules, &attacks);
    let trials = replay::trials(rules);
    let failed = trials.iter().filter(|trial| !trial.passed).count();
    let row = |trial: &Trial| json!({ "rule_id": trial.rule_id, "kind": trial.kind.as_str(), "example": trial.example, "passed": trial.passed });
    let mut out = stdout();
    match output {
        Output::Json | Output::Jsonl | Output::Csv => {
            let adds_nothing = |id: &&str| json!({ "rule_id": id, "kind": "redundant", "passed": true });
            let rows: Vec<_> = trials.iter().map(row).chain(redundant.iter().map(adds_nothing)).collect();
            match output {
                Output::Jsonl | Output::Csv => rows.iter().try_for_each(|row| print_json(&mut out, row))?,
                _ => print_json(&mut out, &rows)?,
            }
        }
        Output::Human => {
            for id in &redundant {
                writeln!(out, "REDUNDANT  {id} catches nothing that no other rule catches")?;
            }
            for trial in trials.iter().filter(|trial| !trial.passed) {
                let example = printable(trial.example.as_bytes(), 300);
                writeln!(out, "FAILED  {} on its {} example {example}", trial.rule_id, trial.kind.as_str())?;
            }
            writeln!(out, "{} examples tried, {failed} failed", trials.len())?;
        }
    }
    out.flush()?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
