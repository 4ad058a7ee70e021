use std::io::{Read, Write};
use std::process::ExitCode;

use super::daemon::ask;
use super::{Output, load_rules, print_json, stdout, with_allow_files};
use crate::config::Config;
use crate::pipeline::replay::{self, Explanation};

#[derive(clap::Args)]
pub struct Arguments {
    /// The line, quoted; `-` reads it from standard input.
    line: String,
    /// A name of `palisade config formats`, a format string of nginx or Apache, or `auto`.
    #[arg(long, default_value = "auto")]
    format: String,
    /// Also ask the running daemon what it knows of the line's client.
    #[arg(long)]
    live: bool,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let rules = load_rules(config)?;
    let config = &with_allow_files(config)?;
    let mut line = arguments.line.clone().into_bytes();
    if line == b"-" {
        line.clear();
        std::io::stdin().lock().take(16 << 20).read_to_end(&mut line)?;
    }
    let explanation = replay::explain(config, &rules, &arguments.format, &line)?;
    let known = match explanation.source_ip {
        Some(address) if arguments.live => {
            Some(ask(&config.socket, "GET", &format!("/api/v1/clients/{address}"), None)?)
        }
        _ => None,
    };
    let mut out = stdout();
    match output {
        Output::Json | Output::Jsonl | Output::Csv => {
            let mut value = serde_json::to_value(&explanation)?;
            value["live"] = known.into();
            print_json(&mut out, &value)?;
        }
        Output::Human => {
            human(&mut out, &explanation)?;
            if let Some(known) = known {
                writeln!(out, "\nThe daemon knows of this client: {known:#}")?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn human(out: &mut impl Write, explanation: &Explanation) -> anyhow::Result<()> {
    for step in &explanation.steps {
        writeln!(out, "{:<8} {}", step.room, step.said)?;
        for detail in &step.details {
            writeln!(out, "{:8}   {detail}", "")?;
        }
    }
    writeln!(out, "\nDecision: {}, because {}", explanation.decision, explanation.because)?;
    Ok(())
}
