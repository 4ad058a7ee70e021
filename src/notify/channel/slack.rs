//! Slack's incoming webhooks. Text is plain text in blocks, which Slack does not interpret; `&`, `<` and `>`
//! are escaped all the same, as it asks.

use serde_json::json;

use super::{Channel, Delivery, Given};
use crate::event::Secret;
use crate::notify::message::parts;
use crate::notify::{Message, taken};
use crate::wire::Http;

/// Slack takes 150 characters in a header and 3,000 in a section.
const TITLE: usize = 145;
const PART: usize = 2900;
const PARTS: usize = 4;

pub struct Slack {
    http: Http,
    url: Secret,
}

impl Slack {
    pub fn new(given: Given<'_>) -> Result<Slack, String> {
        Ok(Slack { http: given.http()?, url: given.url })
    }

    fn body(message: &Message) -> serde_json::Value {
        let plain = |text: &str| json!({ "type": "plain_text", "text": text, "emoji": false });
        let title = parts(&message.title, TITLE, 1, escape).concat();
        let mut blocks = vec![json!({ "type": "header", "text": plain(&title) })];
        let texts = parts(&message.text, PART, PARTS, escape).into_iter().filter(|text| !text.trim().is_empty());
        blocks.extend(texts.map(|text| json!({ "type": "section", "text": plain(&text) })));
        if let Some(url) = &message.url {
            let mut link = String::new();
            url.chars().for_each(|c| escape(c, &mut link));
            let link = format!("<{link}|The case>");
            blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": link } }));
        }
        json!({ "text": title, "mrkdwn": false, "unfurl_links": false, "unfurl_media": false, "blocks": blocks })
    }
}

fn escape(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

impl Channel for Slack {
    fn deliver<'a>(&'a self, message: &'a Message) -> Delivery<'a> {
        Box::pin(async move {
            let request = self.http.client().post(self.url.reveal()).json(&Slack::body(message));
            taken(self.http.ask(request).await).map(|_| None)
        })
    }
}
