use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::{BAD_CONFIG, Output, load_config, load_rules, print_json, stdout, with_allow_files};
use crate::config::{Loaded, Place};
use crate::pipeline::replay;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Report every mistake at once.
    Check,
    /// Print the effective values and where each comes from.
    Show,
    /// Ask five questions and write a configuration.
    Init(super::init::Arguments),
    /// Print the JSON schema, for editors.
    Schema,
    /// List the log formats.
    Formats,
}

pub fn run(verb: &Verb, place: &Place, output: Output) -> ExitCode {
    if let Verb::Init(arguments) = verb {
        return super::init::run(arguments).unwrap_or_else(|error| {
            eprintln!("palisade: {error:#}");
            ExitCode::FAILURE
        });
    }
    let mut out = stdout();
    let (text, code) = match verb {
        Verb::Schema => (format!("{:#}\n", crate::config::schema()), ExitCode::SUCCESS),
        Verb::Formats => (formats(output), ExitCode::SUCCESS),
        Verb::Init(_) | Verb::Check | Verb::Show => match load_config(place) {
            Err(mistakes) => {
                if output == Output::Human {
                    eprintln!("{mistakes}");
                    return ExitCode::from(BAD_CONFIG);
                }
                (
                    format!("{}\n", json!({ "mistakes": mistakes.to_string().lines().collect::<Vec<_>>() })),
                    ExitCode::from(BAD_CONFIG),
                )
            }
            Ok(loaded) => {
                let rules =
                    load_rules(&loaded.config).and_then(|rules| with_allow_files(&loaded.config).map(|_| rules));
                let text = match (verb, &rules, output) {
                    (_, Err(errors), _) => {
                        eprintln!("{errors:#}");
                        return ExitCode::from(BAD_CONFIG);
                    }
                    (Verb::Check, Ok(rules), Output::Human) => format!(
                        "{}The configuration holds: {}, {} rules, {} windows.\n",
                        warned(&loaded),
                        match loaded.files.as_slice() {
                            [] => "no file, defaults alone".to_owned(),
                            files => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
                        },
                        rules.rules.len(),
                        rules.windows.len()
                    ),
                    (Verb::Check, Ok(_), _) => {
                        format!("{}\n", json!({ "mistakes": [], "warnings": warnings(&loaded) }))
                    }
                    (_, _, Output::Human) => crate::config::show(&loaded),
                    _ => format!("{}\n", json!(loaded.config)),
                };
                (text, ExitCode::SUCCESS)
            }
        },
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            eprintln!("palisade: {error}");
            ExitCode::FAILURE
        }
    }
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn warned(loaded: &Loaded) -> String {
    warnings(loaded).iter().map(|warning| format!("warning: {warning}\n")).collect()
}

fn formats(output: Output) -> String {
    let kinds = replay::format_kinds();
    let rows = kinds.iter().map(|kind| json!({ "name": kind.name, "summary": kind.summary, "example": kind.example }));
    let mut text = Vec::new();
    match output {
        Output::Human => {
            let width = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or_default();
            for kind in kinds {
                text.extend(
                    format!("{:<width$} {}\n{:width$} {}\n", kind.name, kind.summary, "", kind.example).bytes(),
                );
            }
        }
        Output::Json => text.extend(format!("{}\n", json!(rows.collect::<Vec<_>>())).bytes()),
        Output::Jsonl | Output::Csv => {
            for row in rows {
                // Writing to memory cannot fail.
                let _ = print_json(&mut text, &row);
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
