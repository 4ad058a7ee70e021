//! ntfy: published as JSON, so that no text gets into a header.

use reqwest::Url;
use serde_json::json;

use super::{Channel, Delivery, Given};
use crate::event::{Secret, Severity};
use crate::notify::message::parts;
use crate::notify::{Message, taken};
use crate::wire::Http;

/// ntfy makes a file of what is longer than 4,096 bytes.
const TEXT: usize = 3900;
const TITLE: usize = 240;

pub struct Ntfy {
    http: Http,
    server: Url,
    topic: String,
    token: Secret,
}

impl Ntfy {
    pub fn new(given: Given<'_>) -> Result<Ntfy, String> {
        let http = given.http()?;
        let mut server = Url::parse(given.url.reveal()).map_err(|error| format!("`url`: {error}"))?;
        let topic = server.path_segments().and_then(|segments| segments.rev().find(|one| !one.is_empty()));
        let topic = topic.ok_or("`url` names no topic, as https://ntfy.sh/TOPIC does")?.to_owned();
        // A server may stand below a path.
        let base = server.path().trim_end_matches('/').trim_end_matches(topic.as_str()).to_owned();
        server.set_path(&base);
        Ok(Ntfy { http, server, topic, token: given.key })
    }

    fn body(&self, message: &Message) -> serde_json::Value {
        let plain = |c, out: &mut String| out.push(c);
        let (priority, tag) = match message.severity {
            Severity::Critical => (5, "rotating_light"),
            Severity::High => (4, "warning"),
            Severity::Medium => (3, "shield"),
            Severity::Low => (2, "shield"),
            Severity::Informational => (2, "information_source"),
        };
        let mut body = json!({
            "topic": self.topic,
            "title": parts(&message.title, TITLE, 1, plain).concat(),
            "message": parts(&message.text, TEXT, 1, plain).concat(),
            "priority": priority,
            "tags": [tag],
            "markdown": false,
        });
        if let Some(url) = &message.url {
            body["click"] = json!(url);
        }
        body
    }
}

impl Channel for Ntfy {
    fn deliver<'a>(&'a self, message: &'a Message) -> Delivery<'a> {
        Box::pin(async move {
            let mut request = self.http.client().post(self.server.clone()).json(&self.body(message));
            if !self.token.is_empty() {
                request = request.bearer_auth(self.token.reveal());
            }
            taken(self.http.ask(request).await).map(|_| None)
        })
    }
}
