//! Pushover. What is critical is an emergency: its servers repeat it until somebody acknowledges it, and a
//! receipt asks them who did.

use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use super::{Channel, Delivery, Given, Heard, Standing};
use crate::event::{Secret, Severity, Timestamp, printable};
use crate::notify::message::parts;
use crate::notify::{Failure, Message, taken};
use crate::wire::Http;

const URL: &str = "https://api.pushover.net/1/messages.json";
/// Pushover takes 250 characters of a title, 1,024 of a message.
const TITLE: usize = 240;
const PART: usize = 1000;
/// What is longer comes in so many parts at most.
const PARTS: usize = 4;
/// Seconds between two repetitions of an emergency, and until it ends by itself.
const REPEAT_SECS: u32 = 60;
const EXPIRE_SECS: u32 = 3600;

pub struct Pushover {
    http: Http,
    url: Secret,
    token: Secret,
    users: String,
}

/// What is said of a receipt, of it what is used. Numbers that say yes or no are 1 or 0.
#[derive(Deserialize)]
struct Receipt {
    acknowledged: u8,
    #[serde(default)]
    acknowledged_at: i64,
    /// A user's key, and the name that they gave the device.
    #[serde(default)]
    acknowledged_by: String,
    #[serde(default)]
    acknowledged_by_device: String,
    expired: u8,
}

impl Pushover {
    pub fn new(mut given: Given<'_>) -> Result<Pushover, String> {
        if given.url.is_empty() {
            given.url = Secret::from(URL.to_owned());
        }
        Ok(Pushover { http: given.http()?, users: given.config.to.join(","), url: given.url, token: given.key })
    }

    /// One body for each part.
    fn bodies(&self, message: &Message) -> Vec<serde_json::Value> {
        let plain = |c, out: &mut String| out.push(c);
        let texts = parts(&message.text, PART, PARTS, plain);
        let title = parts(&message.title, TITLE, 1, plain).concat();
        let (priority, sound) = manner(message.severity);
        let count = texts.len();
        let bodies = texts.into_iter().enumerate().map(|(index, text)| {
            let number = if count > 1 { format!(" ({}/{count})", index + 1) } else { String::new() };
            let mut body = json!({
                "token": self.token.reveal(),
                "user": self.users,
                "title": format!("{title}{number}"),
                // Pushover takes no empty message.
                "message": if text.trim().is_empty() { "-".into() } else { text },
                "timestamp": message.at.secs(),
                "priority": priority,
            });
            if let Some(sound) = sound {
                body["sound"] = json!(sound);
            }
            if priority == 2 {
                (body["retry"], body["expire"]) = (json!(REPEAT_SECS), json!(EXPIRE_SECS));
            }
            if index > 0 {
                // One emergency is acknowledged once.
                body["priority"] = json!(priority.min(0));
            }
            if let Some(url) = &message.url {
                (body["url"], body["url_title"]) = (json!(url), json!("The case"));
            }
            body
        });
        bodies.collect()
    }

    /// Where Pushover speaks of a receipt.
    fn of_receipt(&self, receipt: &str, what: &str) -> Result<Url, Failure> {
        let wrong = || Failure::last(format!("{:?} is no receipt of Pushover's", printable(receipt.as_bytes(), 60)));
        if !is_receipt(receipt) {
            return Err(wrong());
        }
        let messages = Url::parse(self.url.reveal()).map_err(|_| wrong())?;
        messages.join(&format!("receipts/{receipt}{what}")).map_err(|_| wrong())
    }
}

/// It goes into a URL.
fn is_receipt(text: &str) -> bool {
    (1..=60).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Who acknowledged: the device, and enough of the user's key to know whose it is.
fn who(receipt: &Receipt) -> String {
    let user: String = receipt.acknowledged_by.chars().take(4).collect();
    let device = printable(receipt.acknowledged_by_device.as_bytes(), 60);
    format!("{}… on {}", printable(user.as_bytes(), 16), if device.is_empty() { "a device" } else { &device })
}

/// Priority, and the sound where it is not the usual one.
fn manner(severity: Severity) -> (i8, Option<&'static str>) {
    match severity {
        Severity::Critical => (2, Some("siren")),
        Severity::High => (1, Some("falling")),
        Severity::Medium => (0, None),
        Severity::Low | Severity::Informational => (-1, None),
    }
}

impl Channel for Pushover {
    fn deliver<'a>(&'a self, message: &'a Message) -> Delivery<'a> {
        Box::pin(async move {
            let mut receipt = None;
            for body in self.bodies(message) {
                let request = self.http.client().post(self.url.reveal()).json(&body);
                let heard = taken(self.http.ask(request).await)?;
                let said: serde_json::Value = serde_json::from_slice(&heard.body).unwrap_or_default();
                let given = said["receipt"].as_str().filter(|text| is_receipt(text));
                receipt = receipt.or_else(|| given.map(str::to_owned));
            }
            Ok(receipt)
        })
    }

    fn ask_after<'a>(&'a self, receipt: &'a str) -> Heard<'a> {
        Box::pin(async move {
            let mut url = self.of_receipt(receipt, ".json")?;
            url.query_pairs_mut().append_pair("token", self.token.reveal());
            let heard = taken(self.http.ask(self.http.client().get(url)).await)?;
            let receipt: Receipt = serde_json::from_slice(&heard.body)
                .map_err(|error| Failure::passing(format!("what is said of a receipt is not understood: {error}")))?;
            Ok(match (receipt.acknowledged, receipt.expired) {
                (1, _) => Standing::Acknowledged {
                    acknowledged_at: Timestamp(receipt.acknowledged_at.saturating_mul(1000)),
                    acknowledged_by: who(&receipt),
                },
                (_, 1) => Standing::Over,
                _ => Standing::Repeats,
            })
        })
    }

    fn call_off<'a>(&'a self, receipt: &'a str) -> Heard<'a> {
        Box::pin(async move {
            let url = self.of_receipt(receipt, "/cancel.json")?;
            let request = self.http.client().post(url).json(&json!({ "token": self.token.reveal() }));
            taken(self.http.ask(request).await)?;
            Ok(Standing::CalledOff)
        })
    }
}
