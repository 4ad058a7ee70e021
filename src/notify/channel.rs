//! The channels to people: one file each.

mod discord;
mod email;
mod ntfy;
mod pushover;
mod slack;
mod webhook;

use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AlertConfig, Failure, Message};
use crate::event::{Secret, Timestamp};
use crate::plugin::{self, Kind};
use crate::wire::{self, Http};

pub(super) use email::mailbox;

/// A way to people.
pub trait Channel: Send + Sync {
    /// Delivers `message`, once, within its own deadline. The same message may come again when it is not
    /// known whether it arrived.
    ///
    /// # Errors
    /// It was not taken.
    fn deliver<'a>(&'a self, message: &'a Message) -> Delivery<'a>;

    /// How it stands with an emergency of this receipt.
    ///
    /// # Errors
    /// It cannot be told.
    fn ask_after<'a>(&'a self, _receipt: &'a str) -> Heard<'a> {
        Box::pin(async { Ok(Standing::Over) })
    }

    /// Has it repeated no more.
    ///
    /// # Errors
    /// It goes on.
    fn call_off<'a>(&'a self, _receipt: &'a str) -> Heard<'a> {
        Box::pin(async { Ok(Standing::Over) })
    }
}

/// What a delivery resolves to: a receipt, where the message is repeated until somebody acknowledges it.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, Failure>> + Send + 'a>>;

/// What a question about an emergency resolves to.
pub type Heard<'a> = Pin<Box<dyn Future<Output = Result<Standing, Failure>> + Send + 'a>>;

/// How it stands with an emergency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It is repeated, and nobody has acknowledged it.
    Repeats,
    Acknowledged {
        acknowledged_at: Timestamp,
        acknowledged_by: String,
    },
    CalledOff,
    /// It is repeated no more, and nobody has acknowledged it.
    Over,
}

/// How a kind makes its channel.
pub struct Make {
    /// Keys of its configuration without which it cannot be: of `url`, `key`, `from`, `to`.
    pub needs: &'static [&'static str],
    /// Errors are sentences.
    pub open: fn(Given<'_>) -> Result<Box<dyn Channel>, String>,
}

/// What a channel is made of.
pub struct Given<'a> {
    pub config: &'a AlertConfig,
    pub url: Secret,
    /// Empty: none.
    pub key: Secret,
}

impl Given<'_> {
    fn http(&self) -> Result<Http, String> {
        let ca_file = self.config.ca_file.as_deref();
        Http::new(self.url.reveal(), "url", self.deadline(), ca_file)
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.config.timeout_secs)
    }
}

/// Every channel.
pub static KINDS: &[Kind<Make>] = &[
    Kind {
        name: "slack",
        summary: "Posts to an incoming webhook of Slack, or of what speaks like it.",
        example: "channel = \"slack\"\nurl = \"https://hooks.slack.com/services/T0/B0/SECRET\"",
        build: Make { needs: &["url"], open: |given| Ok(Box::new(slack::Slack::new(given)?)) },
    },
    Kind {
        name: "discord",
        summary: "Posts to a webhook of a Discord channel; mentions nobody.",
        example: "channel = \"discord\"\nurl = \"https://discord.com/api/webhooks/1/SECRET\"",
        build: Make { needs: &["url"], open: |given| Ok(Box::new(discord::Discord::new(given)?)) },
    },
    Kind {
        name: "webhook",
        summary: "Posts signed JSON to a server of yours.",
        example: "channel = \"webhook\"\nurl = \"https://example.com/alerts\"\nkey_file = \"/etc/palisade/alert.key\"",
        build: Make { needs: &["url", "key"], open: |given| Ok(Box::new(webhook::Webhook::new(given)?)) },
    },
    Kind {
        name: "email",
        summary: "Writes through a mail server, by STARTTLS (smtp://) or TLS (smtps://).",
        example: "channel = \"email\"\nurl = \"smtp://mail.example.com:587\"\nfrom = \"palisade@example.com\"\nto = [\"ops@example.com\"]",
        build: Make { needs: &["url", "from", "to"], open: |given| Ok(Box::new(email::Email::new(given)?)) },
    },
    Kind {
        name: "pushover",
        summary: "Pushes to phones; what is critical repeats each minute for an hour until somebody acknowledges it.",
        example: "channel = \"pushover\"\nkey_file = \"/etc/palisade/pushover.token\"\nto = [\"USERKEY\"]",
        build: Make { needs: &["key", "to"], open: |given| Ok(Box::new(pushover::Pushover::new(given)?)) },
    },
    Kind {
        name: "ntfy",
        summary: "Publishes to a topic of ntfy.",
        example: "channel = \"ntfy\"\nurl = \"https://ntfy.sh/a-topic-nobody-guesses\"",
        build: Make { needs: &["url"], open: |given| Ok(Box::new(ntfy::Ntfy::new(given)?)) },
    },
];

/// The channel of one `[[alert]]`.
///
/// # Errors
/// A sentence: a file cannot be read, or what is set makes no sense.
pub fn open(config: &AlertConfig) -> Result<Box<dyn Channel>, String> {
    let kind =
        plugin::find(KINDS, &config.channel).ok_or_else(|| format!("no channel is called {:?}", config.channel))?;
    let optional = |set: &Secret, file: Option<&std::path::Path>, name: &str| match (set.is_empty(), file) {
        (true, None) => Ok(Secret::default()),
        _ => wire::secret(set, file, name),
    };
    let url = optional(&config.url, config.url_file.as_deref(), "url")?;
    let key = optional(&config.key, config.key_file.as_deref(), "key")?;
    (kind.build.open)(Given { config, url, key })
}
