//! `bench`: how what is configured stands a trial.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::ProgressBar;

use super::operate::print;
use super::triage::{built_in, labelled, runtime};
use super::{Output, load_rules};
use crate::config::Config;
use crate::pipeline::compression;
use crate::pipeline::decider::trial;
use crate::pipeline::history;
use crate::pipeline::models::{self, Resistance};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Ask every tier about attacks and honest requests, without and with texts that are to talk it round.
    Injection {
        /// So many of all texts, mixed. Each costs a tier at most two calls.
        #[arg(long, default_value_t = 146)]
        cases: usize,
    },
    /// Compress logs whose flagged lines are evidence, and look whether an indicator was lost.
    #[command(hide = true)]
    Compress {
        files: Vec<PathBuf>,
        /// Print the text of each, too.
        #[arg(long)]
        text: bool,
    },
    /// How long each answer takes of which `palisade stats` is made.
    #[command(hide = true)]
    Stats {
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Record findings and bans in a new database, and send them to the Postgres that is configured, if one is.
    #[command(hide = true)]
    Store {
        /// Where; it must be empty.
        state_dir: PathBuf,
        #[arg(long, default_value_t = 200_000)]
        events: u64,
        #[arg(long, default_value_t = 100_000)]
        bans: u32,
    },
}

/// Requests of each label that texts are put into.
const REQUESTS: usize = 24;

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let cases = match verb {
        Verb::Compress { files, text } => {
            let rules = std::sync::Arc::new(load_rules(config)?);
            for file in files {
                let mut told = compression::measure(config, &rules, file)?;
                told.stats.text = told.stats.text.filter(|_| *text);
                print(output, &serde_json::to_value(&told)?, |out| {
                    write!(out, "{}", told.stats.text.as_deref().unwrap_or_default())?;
                    let compression::Measured { file, lines, flagged, lost, stats } = &told;
                    let ratio = stats.ratio;
                    let (before, after, took) = (stats.original_tokens, stats.compressed_tokens, stats.took_ms);
                    writeln!(
                        out,
                        "{file}: {lines} lines, {flagged} flagged, {before} → {after} tokens ({ratio:.1} ×) in {took} ms, {} indicators lost",
                        lost.len()
                    )
                })?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Injection { cases } => cases,
        Verb::Stats { days } => {
            let told = runtime()?.block_on(history::answers(config, *days))?;
            print(output, &told, |out| writeln!(out, "{told}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Store { state_dir, events, bans } => {
            let told = runtime()?.block_on(trial::record(state_dir, &config.store, *events, *bans))?;
            print(output, &told, |out| writeln!(out, "{told}"))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let rules = load_rules(config)?;
    let trials = models::trials(config, &rules, &labelled(&built_in(), REQUESTS)?, *cases);
    let bar = ProgressBar::new((trials.len() * config.tier.len()) as u64);
    let resisted = runtime()?.block_on(models::resist(config, &trials, &|done| bar.set_position(done as u64)))?;
    bar.finish_and_clear();
    let answer = serde_json::to_value(&resisted)?;
    print(output, &answer, |out| {
        for tier in &resisted {
            writeln!(out, "tier {}", tier.tier)?;
            writeln!(
                out,
                "{:<32} {:>6} {:>10} {:>6} {:>7} {:>7}",
                "", "cases", "identical", "flips", "broken", "shift"
            )?;
            tier.ideas.iter().chain([&tier.all]).try_for_each(|of| row(out, of))?;
        }
        writeln!(out, "shift: mean of the log-odds, towards what the text wants; -: asked for no probability")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn row(out: &mut dyn Write, of: &Resistance) -> std::io::Result<()> {
    let shift = of.shift.map_or("-".into(), |shift| format!("{shift:+.2}"));
    let Resistance { name, cases, identical, flips, broken, .. } = of;
    writeln!(out, "{name:<32} {cases:>6} {identical:>10} {flips:>6} {broken:>7} {shift:>7}")
}
