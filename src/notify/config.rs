use std::path::PathBuf;

use jiff::civil::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::channel::mailbox;
use super::template::Template;
use super::{KINDS, What};
use crate::event::{Category, Secret, Severity};
use crate::plugin;

/// `[[alert]]`: whom to tell of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertConfig {
    /// What it is called in `status` and for `palisade alert test`.
    pub name: String,
    /// How it goes: `slack`, `discord`, `webhook`, `email`, `pushover` or `ntfy`.
    pub channel: String,
    /// Where it goes: the webhook's URL, a topic of ntfy, or a mail server as `smtp://HOST:587`. It may hold a secret.
    pub url: Secret,
    /// A file that holds the URL instead.
    pub url_file: Option<PathBuf>,
    /// What a webhook is signed with, an application's or access token, a mail server's password.
    pub key: Secret,
    /// A file that holds the key instead.
    pub key_file: Option<PathBuf>,
    /// Whom the mail server knows by that password.
    pub user: String,
    /// Who writes, an e-mail address.
    pub from: String,
    /// To whom: e-mail addresses, or keys of Pushover's users and groups.
    pub to: Vec<String>,
    /// Certificates in PEM that the server is trusted by in place of the public ones.
    pub ca_file: Option<PathBuf>,
    /// What kinds of news are told.
    pub kinds: Vec<What>,
    /// The least severity of findings, bans and held blocks that are told.
    pub min_severity: Severity,
    /// Of these categories only. Empty: of all.
    pub categories: Vec<String>,
    /// Of files whose path matches one of these patterns only. Empty: of all.
    pub sources: Vec<String>,
    /// While only critical news come, by the clock of `timezone`, such as `22:00-07:00`; the rest comes after it.
    pub quiet_hours: String,
    /// Messages a day; beyond it only critical news come, the rest with the first message of the next day.
    #[schemars(range(min = 1))]
    pub daily_cap: u32,
    /// From one message to the next at least, in seconds; what happens meanwhile comes together.
    #[schemars(range(min = 1, max = 86400))]
    pub group_secs: u64,
    /// A client that goes on as before is no news for so many seconds, unless others are.
    #[schemars(range(min = 1, max = 86400))]
    pub repeat_secs: u64,
    /// The first line, with fields such as `{headline}`.
    pub title: String,
    /// The text, with fields such as `{summary}`.
    pub text: String,
    /// For one try, in seconds.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_secs: u64,
    /// Tries after the first, when the server does not answer or asks for patience.
    #[schemars(range(max = 20))]
    pub retries: u32,
}

impl Default for AlertConfig {
    fn default() -> Self {
        AlertConfig {
            name: String::new(),
            channel: String::new(),
            url: Secret::default(),
            url_file: None,
            key: Secret::default(),
            key_file: None,
            user: String::new(),
            from: String::new(),
            to: vec![],
            ca_file: None,
            kinds: vec![What::Finding, What::Ban, What::Held, What::Degraded, What::Recovered],
            min_severity: Severity::High,
            categories: vec![],
            sources: vec![],
            quiet_hours: String::new(),
            daily_cap: 100,
            group_secs: 600,
            repeat_secs: 3600,
            title: "{host}: {headline}".into(),
            text: "{summary}".into(),
            timeout_secs: 10,
            retries: 5,
        }
    }
}

impl AlertConfig {
    /// What cannot work, each a key and a sentence that follows it.
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = vec![];
        if self.name.is_empty() {
            found.push(("name", "missing".to_owned()));
        }
        match plugin::find(KINDS, &self.channel) {
            None => {
                let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
                found.push((
                    "channel",
                    format!("no channel is called {:?} (known: {})", self.channel, known.join(", ")),
                ));
            }
            Some(kind) => {
                let has = |key: &str| match key {
                    "url" => !self.url.is_empty() || self.url_file.is_some(),
                    "key" => !self.key.is_empty() || self.key_file.is_some(),
                    "from" => !self.from.is_empty(),
                    _ => !self.to.is_empty(),
                };
                let missing = kind.build.needs.iter().filter(|key| !has(key));
                found.extend(missing.map(|key| (*key, format!("missing: {} needs it", kind.name))));
            }
        }
        if self.channel == "email" {
            let wrong = |key, address: &String| mailbox(address).err().map(|why| (key, why));
            found.extend(self.to.iter().filter_map(|to| wrong("to", to)));
            found.extend(wrong("from", &self.from).filter(|_| !self.from.is_empty()));
        }
        found.extend(set_twice(&self.url, &self.url_file, "url_file"));
        found.extend(set_twice(&self.key, &self.key_file, "key_file"));
        for category in self.categories.iter().filter(|name| Category::parse(name).is_none()) {
            found.push(("categories", format!("no category is called {category:?}")));
        }
        for pattern in &self.sources {
            if let Err(error) = glob::Pattern::new(pattern) {
                found.push(("sources", format!("{pattern:?} is no valid pattern: {}", error.msg)));
            }
        }
        found.extend(Quiet::parse(&self.quiet_hours).err().map(|why| ("quiet_hours", why)));
        found.extend(Template::parse(&self.title).err().map(|why| ("title", why)));
        found.extend(Template::parse(&self.text).err().map(|why| ("text", why)));
        found
    }
}

fn set_twice(set: &Secret, file: &Option<PathBuf>, key: &'static str) -> Option<(&'static str, String)> {
    let other = key.trim_end_matches("_file");
    (!set.is_empty() && file.is_some()).then(|| (key, format!("`{other}` is set too; remove one of the two")))
}

/// Hours of a day in which only the worst comes; of one that ends before it begins, over midnight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quiet(Option<(Time, Time)>);

impl Quiet {
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Quiet, String> {
        if text.is_empty() {
            return Ok(Quiet(None));
        }
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
        let hours = text.split_once('-').and_then(|(from, to)| time(from).zip(time(to)));
        match hours.filter(|(from, to)| from != to) {
            Some(hours) => Ok(Quiet(Some(hours))),
            None => Err(format!("expected hours such as \"22:00-07:00\", found {text:?}")),
        }
    }

    pub fn holds(self, time: Time) -> bool {
        match self.0 {
            None => false,
            Some((from, to)) if from < to => (from..to).contains(&time),
            Some((from, to)) => time >= from || time < to,
        }
    }
}

/// `[[export]]`: where records of findings and decisions go, for a SIEM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportConfig {
    /// What it is called in `status`.
    pub name: String,
    pub via: Via,
    /// How a record is written to a file or by syslog. None: `ecs` to a file, `rfc5424` by syslog.
    pub format: Option<Format>,
    /// `file:///PATH`, `udp://HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT`, `unix:///PATH`, or where Splunk's
    /// collector, Elasticsearch or a collector of OpenTelemetry's is. It may hold a secret.
    pub url: Secret,
    /// A file that holds the URL instead.
    pub url_file: Option<PathBuf>,
    /// Splunk's token, an API key of Elasticsearch, or a bearer token for a collector.
    pub key: Secret,
    /// A file that holds the key instead.
    pub key_file: Option<PathBuf>,
    /// The index that it goes to. Empty: Splunk's default, `palisade` in Elasticsearch.
    pub index: String,
    /// Certificates in PEM that the server is trusted by in place of the public ones.
    pub ca_file: Option<PathBuf>,
    /// The least severity of findings that are sent; decisions all are.
    pub min_severity: Severity,
    /// For one try, in seconds.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_secs: u64,
}

impl Default for ExportConfig {
    fn default() -> Self {
        ExportConfig {
            name: String::new(),
            via: Via::File,
            format: None,
            url: Secret::default(),
            url_file: None,
            key: Secret::default(),
            key_file: None,
            index: String::new(),
            ca_file: None,
            min_severity: Severity::Informational,
            timeout_secs: 10,
        }
    }
}

pub const WITHOUT_OTEL: &str = "this palisade is built without OpenTelemetry (the cargo feature `otel`)";

/// How records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Lines of a file.
    File,
    /// RFC 5424 by UDP, TCP, TLS or a Unix socket.
    Syslog,
    /// The HTTP event collector.
    Splunk,
    /// The bulk API, of OpenSearch too.
    Elasticsearch,
    /// OpenTelemetry's traces over HTTP.
    Otlp,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The structured data of a syslog message.
    Rfc5424,
    /// ArcSight's Common Event Format.
    Cef,
    /// Elastic Common Schema, JSON.
    Ecs,
    /// Open Cybersecurity Schema Framework, JSON.
    Ocsf,
}

impl ExportConfig {
    pub fn format(&self) -> Format {
        self.format.unwrap_or(if self.via == Via::Syslog { Format::Rfc5424 } else { Format::Ecs })
    }

    /// As for [`AlertConfig::mistakes`].
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = vec![];
        if self.name.is_empty() {
            found.push(("name", "missing".to_owned()));
        }
        let schemes: &[&str] = match self.via {
            Via::File => &["file:///"],
            Via::Syslog => &["udp://", "tcp://", "tls://", "unix:///"],
            Via::Splunk | Via::Elasticsearch | Via::Otlp => &["https://", "http://"],
        };
        if self.via == Via::Otlp && !cfg!(feature = "otel") {
            found.push(("via", WITHOUT_OTEL.to_owned()));
        }
        if self.url.is_empty() && self.url_file.is_none() {
            found.push(("url", "missing".to_owned()));
        } else if self.url_file.is_none() && !schemes.iter().any(|scheme| self.url.reveal().starts_with(scheme)) {
            // What it is may hold a key.
            found.push(("url", format!("must begin with {}", schemes.join(" or "))));
        }
        if self.via == Via::Splunk && self.key.is_empty() && self.key_file.is_none() {
            found.push(("key", "missing: splunk needs its token".to_owned()));
        }
        found.extend(set_twice(&self.url, &self.url_file, "url_file"));
        found.extend(set_twice(&self.key, &self.key_file, "key_file"));
        if self.via == Via::File && self.format == Some(Format::Rfc5424) {
            found.push(("format", "goes by syslog only; to a file: \"cef\", \"ecs\" or \"ocsf\"".to_owned()));
        }
        if self.via == Via::Otlp && self.format.is_some() {
            found.push(("format", "has no meaning for otlp; remove it".to_owned()));
        }
        if matches!(self.via, Via::Splunk | Via::Elasticsearch)
            && matches!(self.format, Some(Format::Rfc5424 | Format::Cef))
        {
            found.push(("format", "is no JSON; use \"ecs\" or \"ocsf\"".to_owned()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_may_go_over_midnight() {
        let time = |text: &str| Time::strptime("%H:%M", text).unwrap();
        let night = Quiet::parse("22:00-07:00").unwrap();
        let held: Vec<bool> = ["21:59", "22:00", "03:00", "06:59", "07:00"].map(|at| night.holds(time(at))).into();
        assert_eq!(held, [false, true, true, true, false]);
        let noon = Quiet::parse("12:00 - 13:00").unwrap();
        assert_eq!([noon.holds(time("12:30")), noon.holds(time("13:00"))], [true, false]);
        assert!(!Quiet::parse("").unwrap().holds(time("00:00")));
        for wrong in ["22", "22:00", "25:00-07:00", "07:00-07:00", "a-b"] {
            assert!(Quiet::parse(wrong).is_err(), "{wrong}");
        }
    }
}
