//! `palisade migrate`: brings the databases to this version's schema, as the daemon does at its start.

use std::io::Write;
use std::process::ExitCode;

use super::triage::runtime;
use super::{FAILED, Output, print_json, stdout};
use crate::config::Config;
use crate::pipeline::databases;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only tell what is missing; exits 1 if anything is.
    #[arg(long)]
    check: bool,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let schemas = runtime()?.block_on(databases::migrate(config, arguments.check))?;
    let mut out = stdout();
    for schema in &schemas {
        if output != Output::Human {
            print_json(&mut out, schema)?;
            continue;
        }
        let (database, known) = (schema.database, schema.state.known);
        if schema.state.pending.is_empty() {
            writeln!(out, "{database}: up to date (schema {known})")?;
        }
        for (version, about) in &schema.state.pending {
            let what = if arguments.check { "is missing" } else { "applied" };
            writeln!(out, "{database}: {version} ({about}) {what}")?;
        }
    }
    out.flush()?;
    let is_missing = arguments.check && schemas.iter().any(|schema| !schema.state.pending.is_empty());
    Ok(if is_missing { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
