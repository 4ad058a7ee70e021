//! Pushover. What is critical is an emergency: its servers repeat it until somebody acknowledges it.

use serde_json::json;

use super::{Channel, Delivery, Given};
use crate::event::{Secret, Severity};
use crate::notify::message::parts;
use crate::notify::{Message, taken};
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
            for body in self.bodies(message) {
                let request = self.http.client().post(self.url.reveal()).json(&body);
                taken(self.http.ask(request).await)?;
            }
            Ok(())
        })
    }
}
