//! `palisade alert`: whether messages arrive.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Output;
use super::operate::{print, text};
use super::triage::runtime;
use crate::config::Config;
use crate::pipeline::notify;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Send one example message through each alert, or the one named. Exits 1 when one fails.
    Test {
        /// The `name` of an [[alert]].
        name: Option<String>,
    },
}

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let Verb::Test { name } = verb;
    let sent = runtime()?.block_on(notify::test(config, name.as_deref()))?;
    let is_well = sent.iter().all(|(_, sent)| sent.is_ok());
    let row = |(name, sent): &(String, Result<(), String>)| json!({ "name": name, "problem": sent.as_ref().err() });
    let rows: Value = sent.iter().map(row).collect();
    print(output, &rows, |out| {
        for row in rows.as_array().into_iter().flatten() {
            let name = text(&row["name"]);
            match row["problem"].as_str() {
                None => writeln!(out, "{name}: sent")?,
                Some(_) => writeln!(out, "{name}: FAILED: {}", text(&row["problem"]))?,
            }
        }
        Ok(())
    })?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
