//! The verbs about who may use the dashboard.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Output;
use super::daemon::ask;
use super::operate::{list, print, text};
use crate::config::Config;
use crate::event::Role;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Add somebody; prints the link by which they choose a password.
    Add {
        name: String,
        /// viewer (looks), analyst (bans and lets go too) or admin (may everything).
        #[arg(long, default_value = "viewer", value_parser = role)]
        role: Role,
    },
    /// Print a new link to choose a password, for who lost one.
    Invite { name: String },
    /// Change what somebody may do.
    Role {
        name: String,
        #[arg(value_parser = role)]
        role: Role,
    },
    /// Sign somebody out at once, everywhere, until `on`.
    Off { name: String },
    /// Let somebody sign in again.
    On { name: String },
    /// Remove somebody.
    Del { name: String },
    /// Show everybody, and who signed in when.
    List,
}

pub fn run(verb: &Verb, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let tell = |method, path: &str, body: Option<Value>| ask(&config.socket, method, path, body);
    let change = |name: &str, change: Value| -> anyhow::Result<()> {
        let user = tell("PATCH", &path_of(name)?, Some(change))?;
        print(output, &user, |out| writeln!(out, "{}", line(&user)))
    };
    let invited = |answer: &Value| {
        print(output, answer, |out| {
            writeln!(out, "{} chooses a password here, until {}:", text(&answer["name"]), text(&answer["expires_at"]))?;
            writeln!(out, "{}", text(&answer["link"]))
        })
    };
    match verb {
        Verb::Add { name, role } => {
            invited(&tell("POST", "/api/v1/users", Some(json!({ "name": name, "role": role })))?)?;
            if config.dashboard.listen.is_empty() {
                eprintln!("palisade: the dashboard is not served: set `listen` under [dashboard], then restart");
            }
        }
        Verb::Invite { name } => invited(&tell("POST", &format!("{}/invite", path_of(name)?), None)?)?,
        Verb::Role { name, role } => change(name, json!({ "role": role }))?,
        Verb::Off { name } => change(name, json!({ "is_active": false }))?,
        Verb::On { name } => change(name, json!({ "is_active": true }))?,
        Verb::Del { name } => {
            let answer = tell("DELETE", &path_of(name)?, None)?;
            print(output, &answer, |out| writeln!(out, "{} is no user any more.", text(&answer["name"])))?;
        }
        Verb::List => return list(output, &tell("GET", "/api/v1/users", None)?, "Nobody may sign in.", line),
    }
    Ok(ExitCode::SUCCESS)
}

fn line(user: &Value) -> String {
    let state = match (user["is_active"].as_bool(), user["has_password"].as_bool(), user["last_login"].as_str()) {
        (Some(false), ..) => "off".to_owned(),
        (_, Some(false), _) => "was invited".to_owned(),
        (_, _, Some(at)) => format!("signed in {at}"),
        _ => "never signed in".to_owned(),
    };
    format!("{:<24} {:<8} {state}", text(&user["name"]), text(&user["role"]))
}

/// A name is part of a path: nothing but what names are made of gets into it.
fn path_of(name: &str) -> anyhow::Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    anyhow::ensure!(!name.is_empty() && name.chars().all(is_plain), "there is no user {name:?}");
    Ok(format!("/api/v1/users/{name}"))
}

fn role(name: &str) -> Result<Role, String> {
    let roles = Role::ALL.map(Role::as_str).join(", ");
    Role::parse(name).ok_or_else(|| format!("a role is one of {roles}"))
}
