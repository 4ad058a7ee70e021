//! `palisade set`: keys that can be changed while the daemon runs.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Output;
use super::daemon::ask;
use super::operate::{duration, list, print, text};
use crate::config::Config;

#[derive(clap::Args)]
pub struct Arguments {
    /// Such as `thresholds.block`.
    #[arg(required_unless_present_any = ["list", "reset"], requires = "value")]
    key: Option<String>,
    /// As it would stand in the configuration file.
    value: Option<String>,
    /// How long it holds, such as 30m or 2h; then it is as configured again. Without it, until the daemon stops.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "key")]
    length: Option<u64>,
    /// Show all keys that can be set, and what is in force.
    #[arg(long, conflicts_with_all = ["key", "reset"])]
    list: bool,
    /// Take a key back to what is configured.
    #[arg(long, value_name = "KEY", conflicts_with = "key")]
    reset: Option<String>,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let socket = &config.socket;
    if arguments.list {
        let rows = ask(socket, "GET", "/api/v1/settings", None)?;
        return list(output, &rows, "no key can be set", |row| {
            let by = row["by"].as_str().map(|by| format!("  set by {by} until {}", until(row)));
            format!("{:<32} {}{}", text(&row["key"]), row["value"], by.unwrap_or_default())
        });
    }
    let answer = match (&arguments.reset, &arguments.key) {
        (Some(key), _) => {
            let is_odd = |c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c);
            anyhow::ensure!(!key.is_empty() && !key.contains(is_odd), "{key:?} is no key");
            ask(socket, "DELETE", &format!("/api/v1/settings/{key}"), None)?
        }
        (None, key) => {
            let request = json!({ "key": key, "value": arguments.value, "for_secs": arguments.length });
            ask(socket, "POST", "/api/v1/settings", Some(request))?
        }
    };
    print(output, &answer, |out| match answer["by"].is_string() {
        true => writeln!(out, "{} = {} until {}", text(&answer["key"]), text(&answer["value"]), until(&answer)),
        false => writeln!(out, "{} = {} as configured", text(&answer["key"]), answer["value"]),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// When what is set ends.
pub fn until(row: &Value) -> &str {
    row["until"].as_str().unwrap_or("the daemon stops")
}
