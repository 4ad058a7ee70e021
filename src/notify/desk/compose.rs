//! From what waits to the message that says it.

use super::{Group, Route};
use crate::event::{Severity, Timestamp, digest as hashed, printable};
use crate::notify::message::{Message, Sums};
use crate::notify::{News, What};

/// Bytes of a client's text that are shown.
const SHOWN_BYTES: usize = 300;
/// Bytes of a title.
const TITLE_BYTES: usize = 200;

/// All of `group`. `is_last`: the day's cap is reached with it.
pub fn message(route: &Route, group: &Group, is_last: bool, now: Timestamp) -> Message {
    let lead = group.lead.clone().unwrap_or_default();
    let severity = group.severity.unwrap_or(lead.severity);
    let url = (!route.public_url.is_empty() && !lead.case_id.is_empty())
        .then(|| format!("{}/case/{}", route.public_url, lead.case_id));
    let (headline, mut lines) = (headline(group, severity), lines(group));
    if is_last {
        lines.push(format!(
            "This is message {0} of at most {0} today: until midnight only what is critical is told; what else \
             happens is counted in the first message of tomorrow.",
            route.config.daily_cap
        ));
    }
    let summary = lines.join("\n");
    let field = |name: &str| match name {
        "host" => printable(route.host.as_bytes(), SHOWN_BYTES),
        "headline" => headline.clone(),
        "summary" => summary.clone(),
        "severity" => severity.as_str().into(),
        "findings" => group.sums.findings.to_string(),
        "bans" => group.sums.bans.to_string(),
        "held" => group.sums.held.to_string(),
        "clients" => group.sums.clients.len().to_string(),
        "client" => shown(&lead.client),
        "category" => shown(&lead.category),
        "score" => lead.score.to_string(),
        "request" => request(&lead),
        "rules" => rules(&lead),
        "reason" => shown(&lead.reason),
        "source" => shown(&lead.source),
        "time" => lead.at.to_string(),
        "top_clients" => group.sums.top_clients(),
        "categories" => group.sums.top_categories(),
        "since" => group.since.to_string(),
        _ => url.clone().unwrap_or_default(),
    };
    let title = printable(route.title.fill(field).as_bytes(), TITLE_BYTES);
    let text = route.text.fill(field);
    finished(Message { id: String::new(), at: now, severity, title, text, url, sums: group.sums.clone() })
}

/// The figures of a day or week.
pub fn digest(route: &Route, what: What, lines: &[String], now: Timestamp) -> Message {
    let of = if what == What::Weekly { "the last week" } else { "the last day" };
    let title = printable(format!("{}: {of} in figures", route.host).as_bytes(), TITLE_BYTES);
    let text = lines.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n");
    let url = (!route.public_url.is_empty()).then(|| format!("{}/history", route.public_url));
    let (id, severity, sums) = (String::new(), Severity::Informational, Sums::default());
    finished(Message { id, at: now, severity, title, text, url, sums })
}

/// With its id.
fn finished(message: Message) -> Message {
    let id = hashed(&[b"message", &message.at.0.to_le_bytes(), message.title.as_bytes(), message.text.as_bytes()]);
    Message { id, ..message }
}

fn headline(group: &Group, severity: Severity) -> String {
    let mut said = vec![];
    if let Some(notice) = group.notices.back() {
        said.push(notice_title(notice).to_owned());
    }
    match &group.lead {
        Some(lead) if is_one(group) => {
            let of = if lead.client.is_empty() { String::new() } else { format!(" from {}", shown(&lead.client)) };
            let kind = if lead.category.is_empty() { "an attack".into() } else { shown(&lead.category) };
            let done = match (lead.until, group.sums.held) {
                (Some(_), _) if lead.simulated => ", would be banned",
                (Some(_), _) => ", banned",
                (None, 1..) => ", its block is held back",
                (None, 0) => "",
            };
            said.push(format!("{}: {kind}{of}{done}", severity.as_str()));
        }
        Some(_) => said.push(format!("{}: {}", severity.as_str(), group.sums.told())),
        None => {}
    }
    said.join("; ")
}

fn lines(group: &Group) -> Vec<String> {
    let mut lines: Vec<String> =
        group.notices.iter().map(|notice| format!("{}: {}", notice_title(notice), shown(&notice.reason))).collect();
    let Some(lead) = &group.lead else { return lines };
    if !is_one(group) {
        lines.push(format!("{} since {}.", group.sums.told(), group.since));
        lines.push(format!("By: {}", group.sums.top_clients()));
        if !group.sums.categories.is_empty() {
            lines.push(format!("Kinds: {}", group.sums.top_categories()));
        }
        lines.push("The worst:".into());
    }
    lines.extend(story(lead));
    lines
}

/// A finding and what became of it.
fn story(lead: &News) -> Vec<String> {
    let mut lines = vec![format!("Time: {}", lead.at)];
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{name}: {value}"));
        }
    };
    add("Client", shown(&lead.client));
    add("Request", request(lead));
    if lead.score > 0 {
        let kind = if lead.category.is_empty() { String::new() } else { format!("{}, ", shown(&lead.category)) };
        add("Attack", format!("{kind}score {} ({})", lead.score, lead.severity.as_str()));
    }
    add("Rules", rules(lead));
    add("Why", shown(&lead.reason));
    let line = lead.line_number.map_or(String::new(), |line| format!(":{line}"));
    add("Source", if lead.source.is_empty() { String::new() } else { shown(&lead.source) + &line });
    if let Some(until) = lead.until {
        let dry = if lead.simulated { " (dry run: nobody is blocked)" } else { "" };
        add("Ban", format!("until {until}{dry}"));
    }
    if lead.what == What::Held {
        add("Held back", "`palisade release` carries it out, `palisade status` says why".into());
    }
    if !lead.client.is_empty() {
        let client = shown(&lead.client);
        let undo = if lead.until.is_some() { format!("; `palisade unban {client}` undoes it") } else { String::new() };
        add("To do", format!("`palisade why {client}` tells what led to it{undo}"));
    }
    lines
}

/// One client's one story.
fn is_one(group: &Group) -> bool {
    let Sums { findings, bans, held, clients, .. } = &group.sums;
    *findings <= 1 && *bans <= 1 && *held <= 1 && clients.len() <= 1
}

fn notice_title(notice: &News) -> &'static str {
    match notice.what {
        What::Degraded => "something is wrong",
        What::Recovered => "all is well again",
        What::Stop => "palisade stopped",
        _ => "palisade started",
    }
}

fn request(news: &News) -> String {
    if news.uri.is_empty() && news.method.is_empty() {
        return String::new();
    }
    let status = if news.status > 0 { format!(" (status {})", news.status) } else { String::new() };
    shown(format!("{} {}", news.method, news.uri).trim()) + &status
}

fn rules(news: &News) -> String {
    shown(&news.rule_ids.join(", "))
}

fn shown(text: &str) -> String {
    printable(text.as_bytes(), SHOWN_BYTES)
}
