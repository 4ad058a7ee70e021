//! `azure`: makes and verifies what the Azure responder needs.

use std::process::ExitCode;

use super::Output;
use crate::config::Config;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Make what is missing: IP groups and the rule that denies them, security rules, a custom rule.
    Init {
        /// Print each request and send none.
        #[arg(long)]
        dry_run: bool,
    },
    /// Say whether all is there, whether a rule names it, and whether we may change it. Exits 1 if not.
    Check,
}

#[cfg(not(feature = "azure"))]
pub fn run(_: &Verb, _: &Config, _: Output) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this palisade is built without Azure (the cargo feature `azure`)")
}

#[cfg(feature = "azure")]
pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    use std::io::Write;

    use super::operate::print;
    use super::triage::runtime;
    use super::{FAILED, stdout};
    use crate::pipeline::live::{Azure, Level};

    let mut azure = Azure::new(&config.respond.azure)?;
    match verb {
        Verb::Init { dry_run } => {
            let requests = runtime()?.block_on(azure.init(*dry_run))?;
            print(output, &serde_json::json!({ "dry_run": dry_run, "requests": requests }), |out| {
                for request in &requests {
                    writeln!(out, "{request}")?;
                }
                match (requests.len(), dry_run) {
                    (0, _) => writeln!(out, "All is there."),
                    (_, true) => writeln!(out, "Nothing was sent."),
                    (count, false) => writeln!(out, "{count} made or changed."),
                }
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Check => {
            let notes = runtime()?.block_on(azure.inspect());
            let mut out = stdout();
            for note in &notes {
                let word = match note.level {
                    Level::Ok => "ok",
                    Level::Warning => "warning",
                    Level::Problem => "PROBLEM",
                };
                match output {
                    Output::Human => writeln!(out, "{word:<8} {}", note.text)?,
                    _ => super::print_json(&mut out, note)?,
                }
            }
            out.flush()?;
            let is_fine = notes.iter().all(|note| note.level != Level::Problem);
            Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
        }
    }
}
