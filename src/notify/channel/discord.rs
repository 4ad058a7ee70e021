//! Discord's webhooks. Text stands in a code block, where nothing is a link, a mention or formatting, and
//! mentions are allowed nowhere.

use serde_json::json;

use super::{Channel, Delivery, Given};
use crate::event::{Secret, Severity};
use crate::notify::message::parts;
use crate::notify::{Message, taken};
use crate::wire::Http;

/// Discord takes 256 characters in an embed's title, 4,096 in its description.
const TITLE: usize = 250;
const TEXT: usize = 3900;

pub struct Discord {
    http: Http,
    url: Secret,
}

impl Discord {
    pub fn new(given: Given<'_>) -> Result<Discord, String> {
        Ok(Discord { http: given.http()?, url: given.url })
    }

    fn body(message: &Message) -> serde_json::Value {
        let title = parts(&message.title, TITLE, 1, escape).concat();
        // Three in a row would end the block; a word joiner between them is not seen.
        let text = parts(&message.text, TEXT, 1, |c, out| match c {
            '`' => out.push_str("`\u{2060}"),
            c => out.push(c),
        });
        let mut embed = json!({
            "title": title,
            "description": format!("```\n{}\n```", text.concat()),
            "color": color(message.severity),
            "timestamp": message.at,
        });
        if let Some(url) = &message.url {
            embed["url"] = json!(url);
        }
        json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
    }
}

/// Signs of Markdown, and those that begin a mention or a link, each behind a backslash.
fn escape(c: char, out: &mut String) {
    if "\\*_~`|>#-+[]()<@:".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

fn color(severity: Severity) -> u32 {
    match severity {
        Severity::Critical => 0xc0_1c_28,
        Severity::High => 0xe6_61_00,
        Severity::Medium => 0xe5_a5_0a,
        Severity::Low | Severity::Informational => 0x3d_8b_d6,
    }
}

impl Channel for Discord {
    fn deliver<'a>(&'a self, message: &'a Message) -> Delivery<'a> {
        Box::pin(async move {
            let request = self.http.client().post(self.url.reveal()).json(&Discord::body(message));
            taken(self.http.ask(request).await).map(|_| None)
        })
    }
}
