//! Runs a program of the operator's for each ban and each unban: an argument vector, no shell, an
//! empty environment, a deadline.

use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{self, Held, Program};
use super::{Answer, Manner, RespondError, Responder, done};
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp, shown};

/// `[respond.command]`: programs that shut out and let go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommandConfig {
    /// The program, by an absolute path, and its arguments. `{address}`, `{seconds}`, `{expires_at}`,
    /// `{id}` and `{category}` stand for what they say.
    pub ban: Vec<String>,
    /// The same for who is let go; knows `{address}` alone.
    pub unban: Vec<String>,
    /// One run for all that is due, with a line for each on standard input instead of placeholders.
    pub batch: bool,
    /// A run that takes longer is killed with all that it started.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_secs: u64,
    /// Whether what the program does stops clients behind a proxy or CDN too.
    pub behind_proxies: bool,
}

impl Default for CommandConfig {
    fn default() -> Self {
        CommandConfig { ban: vec![], unban: vec![], batch: false, timeout_secs: 10, behind_proxies: false }
    }
}

const BAN: [&str; 5] = ["address", "seconds", "expires_at", "id", "category"];
const UNBAN: [&str; 1] = ["address"];

/// The command responder.
pub struct Command {
    config: CommandConfig,
    /// What the program was told: it cannot be asked.
    held: Held,
}

impl Command {
    /// # Errors
    /// What is missing in its settings.
    pub fn new(config: &CommandConfig) -> Result<Command, RespondError> {
        for (name, line, known) in [("ban", &config.ban, &BAN[..]), ("unban", &config.unban, &UNBAN[..])] {
            let wrong = |why: String| Err(RespondError::Settings(format!("`{name}`{why}")));
            let Some((program, arguments)) = line.split_first() else {
                return wrong(" is empty: name a program and its arguments".into());
            };
            shared::absolute(Path::new(program), name)?;
            let mut used = false;
            for argument in arguments {
                if let Err(unknown) = fill(argument, |placeholder| {
                    used = true;
                    known.contains(&placeholder).then(String::new)
                }) {
                    let known = known.join("}, {");
                    return wrong(format!(": {{{unknown}}} is no placeholder of it; known are {{{known}}}"));
                }
            }
            match (used, config.batch) {
                (true, true) => {
                    return wrong(" has placeholders, but with `batch` all stands on standard input".into());
                }
                (false, false) => return wrong(" lacks {address}: whom should it be about?".into()),
                _ => {}
            }
        }
        Ok(Command { config: config.clone(), held: Held::default() })
    }

    async fn shut_out(&mut self, permits: &[Permit], now: Timestamp) -> Result<(), RespondError> {
        let (over, due): (Vec<&Permit>, Vec<&Permit>) =
            permits.iter().partition(|permit| now.secs_until(permit.expires_at()) == 0);
        if self.config.batch && !due.is_empty() {
            let lines = due.iter().map(|permit| BAN.map(|name| about(permit, now, name)).join(" "));
            self.run(&self.config.ban, &joined(lines)).await?;
        } else {
            // One that fails keeps nobody else from being shut out.
            let mut failed = Ok(());
            for permit in &due {
                let line = filled(&self.config.ban, |name| about(permit, now, name));
                failed = failed.and(self.run(&line, "").await);
            }
            failed?;
        }
        self.held.apply(permits, now);
        let over: Vec<IpNet> = over.iter().map(|permit| permit.target()).collect();
        self.let_go(&over).await
    }

    async fn let_go(&mut self, targets: &[IpNet]) -> Result<(), RespondError> {
        if self.config.batch && !targets.is_empty() {
            self.run(&self.config.unban, &joined(targets.iter().map(|target| shown(target.trunc())))).await?;
        } else {
            let mut failed = Ok(());
            for target in targets {
                let line = filled(&self.config.unban, |_| shown(target.trunc()));
                failed = failed.and(self.run(&line, "").await);
            }
            failed?;
        }
        self.held.lift(targets);
        Ok(())
    }

    async fn run(&self, line: &[String], input: &str) -> Result<(), RespondError> {
        let deadline = Duration::from_secs(self.config.timeout_secs);
        shared::run(Program { line, input, telling: "", deadline }).await
    }
}

impl Responder for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn manner(&self) -> Manner {
        Manner {
            is_quick: false,
            ends_bans: false,
            gather: if self.config.batch { Duration::from_millis(200) } else { Duration::ZERO },
            look: Duration::from_secs(1),
            sees_clients_behind_proxies: self.config.behind_proxies,
        }
    }

    fn start(&mut self) -> Answer<'_, ()> {
        done(())
    }

    /// Those before the one that failed are in force: the program was run for them.
    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(self.shut_out(permits, now))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(self.let_go(targets))
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        done(self.held.outcomes())
    }

    fn check(&mut self) -> Answer<'_, ()> {
        done(())
    }

    fn allow<'a>(&'a mut self, _networks: &'a [IpNet]) -> Answer<'a, ()> {
        done(())
    }
}

/// What the placeholder `name` stands for: no space, no quote, no control character.
fn about(permit: &Permit, now: Timestamp, name: &str) -> String {
    match name {
        "address" => shown(permit.target()),
        "seconds" => now.secs_until(permit.expires_at()).min(super::MAX_SECS).to_string(),
        "expires_at" => permit.expires_at().to_string(),
        "id" => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
            permit.id().chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
        }
        _ => permit.category().map_or("none", |category| category.as_str()).to_owned(),
    }
}

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// `line` with its placeholders filled in; the program itself has none.
fn filled(line: &[String], value: impl Fn(&str) -> String) -> Vec<String> {
    let fill = |(place, word): (usize, &String)| match place {
        0 => word.clone(),
        // None is unknown: settings were checked.
        _ => fill(word, |name| Some(value(name))).unwrap_or_default(),
    };
    line.iter().enumerate().map(fill).collect()
}

/// `text` with each `{name}` replaced; other braces stand for themselves.
///
/// # Errors
/// The first name that has no value.
fn fill<'a>(text: &'a str, mut value: impl FnMut(&'a str) -> Option<String>) -> Result<String, &'a str> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let name = after.split_once('}').map(|(name, _)| name);
        let is_name =
            |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        match name.filter(is_name) {
            Some(name) => {
                filled.push_str(&value(name).ok_or(name)?);
                rest = &after[name.len() + 1..];
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(config: CommandConfig) -> String {
        Command::new(&config).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(String::from).collect()
    }

    #[test]
    fn placeholders_stand_in_arguments_and_other_braces_for_themselves() {
        let value = |name: &str| (name == "address").then(|| "{seconds}".to_owned());
        assert_eq!(
            fill("--ip={address}", value),
            Ok("--ip={seconds}".into()),
            "what was filled in is not filled again"
        );
        assert_eq!(fill("{{address}} {} {A} {", value), Ok("{{seconds}} {} {A} {".into()));
        assert_eq!(fill("{address}{port}", value), Err("port"));
        let line = ["/bin/{address}", "{address}"].map(String::from);
        assert_eq!(filled(&line, |_| "x".into()), ["/bin/{address}", "x"]);
    }

    #[test]
    fn settings_that_cannot_be_are_told() {
        let good = CommandConfig {
            ban: words("/bin/x add {address} {seconds} {expires_at} {id} {category}"),
            unban: words("/bin/x del {address}"),
            ..CommandConfig::default()
        };
        assert_eq!(told(good.clone()), "");
        assert_eq!(told(CommandConfig::default()), "`ban` is empty: name a program and its arguments");
        assert!(
            told(CommandConfig { ban: words("x {address}"), ..good.clone() }).contains("`ban` needs an absolute path")
        );
        assert!(
            told(CommandConfig { ban: words("/bin/x {address} {name}"), ..good.clone() })
                .contains("{name} is no placeholder")
        );
        assert!(
            told(CommandConfig { unban: words("/bin/x {address} {id}"), ..good.clone() })
                .contains("known are {address}")
        );
        assert!(told(CommandConfig { unban: words("/bin/x all"), ..good.clone() }).contains("`unban` lacks {address}"));
        assert!(told(CommandConfig { batch: true, ..good }).contains("`ban` has placeholders"));
        let batch = CommandConfig {
            ban: words("/bin/x add"),
            unban: words("/bin/x del"),
            batch: true,
            ..CommandConfig::default()
        };
        assert_eq!(told(batch), "");
    }
}
