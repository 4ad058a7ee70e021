use std::io::{Read, Write};
use std::process::ExitCode;

use super::{Output, load_rules, print_json, stdout};
use crate::config::Config;
use crate::pipeline::replay::{self, Explanation};

#[derive(clap::Args)]
pub struct Arguments {
    /// The line, quoted; `-` reads it from standard input.
    line: String,
    /// A name of `palisade config formats`, or `auto`.
    #[arg(long, default_value = "auto")]
    format: String,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let rules = load_rules(config)?;
    let mut line = arguments.line.clone().into_bytes();
    if line == b"-" {
        line.clear();
        std::io::stdin().lock().take(16 << 20).read_to_end(&mut line)?;
    }
    let explanation = replay::explain(config, &rules, &arguments.format, &line)?;
    let mut out = stdout();
    match output {
        Output::Json | Output::Jsonl => print_json(&mut out, &explanation)?,
        Output::Human => human(&mut out, &explanation)?,
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
