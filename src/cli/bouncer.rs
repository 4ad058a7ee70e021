//! The verbs about bouncers: programs of CrowdSec's that enforce our decisions.

use std::process::ExitCode;

use anyhow::ensure;
use serde_json::json;

use super::Output;
use super::daemon::ask;
use super::operate::{list, print, text};
use crate::config::Config;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Give a bouncer a key, which is shown this once.
    Add { name: String },
    /// Take its key away at once. What it has been given it holds until that ends.
    Del { name: String },
    /// Show who has a key, and when and with what it asked last.
    List,
}

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Add { name } => {
            let answer = ask(&config.socket, "POST", "/api/v1/bouncers", Some(json!({ "name": name })))?;
            print(output, &answer, |out| {
                writeln!(out, "Bouncer {} has this key, which is shown only now:", text(&answer["name"]))?;
                writeln!(out, "{}", text(&answer["key"]))
            })?;
            if config.crowdsec_api.listen.is_empty() {
                eprintln!("palisade: bouncers are not served yet: set `listen` under [crowdsec_api], then restart");
            }
        }
        Verb::Del { name } => {
            // Nothing else gets into a path.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            ensure!(!name.is_empty() && name.chars().all(is_plain), "there is no bouncer {name:?}");
            let answer = ask(&config.socket, "DELETE", &format!("/api/v1/bouncers/{name}"), None)?;
            print(output, &answer, |out| writeln!(out, "Bouncer {} has no key any more.", text(&answer["name"])))?;
        }
        Verb::List => {
            let bouncers = ask(&config.socket, "GET", "/api/v1/bouncers", None)?;
            return list(output, &bouncers, "No bouncer has a key.", |bouncer| {
                let last = bouncer["last_pull"].as_str().map_or("never asked".into(), |at| format!("last asked {at}"));
                format!(
                    "{:<24} since {}  {last}  {}",
                    text(&bouncer["name"]),
                    text(&bouncer["created_at"]),
                    text(&bouncer["user_agent"])
                )
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
