//! One line through the daemon's own road, step by step.

use std::net::IpAddr;
use std::sync::Arc;

use bumpalo::Bump;
use serde::Serialize;

use super::discover::ServerLogs;
use super::judge::{Batch, Judge, Lines, Origin, Reading, Text, look, standing_refusal};
use crate::config::Config;
use crate::detect::{Detail, Record, Ruleset, Scratch, networks_of, path_classes, views, windows_of};
use crate::event::{Action, Event, Timestamp, printable};
use crate::parse::{Extent, Formats, trim_line};
use crate::triage::View;

/// What became of a line, and the step that settled it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Whom the line is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<IpAddr>,
    pub steps: Vec<Step>,
    /// `block`, `monitor` or `none`.
    pub decision: &'static str,
    pub because: String,
}

/// What one room made of it.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub room: &'static str,
    pub said: String,
    pub details: Vec<String>,
}

/// Explains `line` as the first that is known of its client. For the format `auto` those come first
/// that the servers' configurations on this host name for any log.
///
/// # Errors
/// There is no such format.
pub fn explain(config: &Config, rules: &Arc<Ruleset>, format: &str, line: &[u8]) -> anyhow::Result<Explanation> {
    let line = trim_line(line);
    let mut steps = vec![];
    let mut step = |room, said: String, details| steps.push(Step { room, said, details });
    let reading = Reading::of(config);
    let read_at = Timestamp::now();
    let formats = match format {
        "auto" => {
            let arena = Bump::new();
            let context = reading.context(Extent::Whole, read_at, &arena);
            ServerLogs::read(&config.server_configs).all_formats().or_learn("", std::iter::once(line), &context)
        }
        _ => Formats::named(format).map_err(anyhow::Error::msg)?,
    };
    let (head, extent) = reading.extent(line, 0);
    let arena = Bump::new();
    let context = reading.context(extent, read_at, &arena);
    let event = match formats.parse(head, &context) {
        Err(why) => {
            step("parse", format!("not understood: {why}"), vec![]);
            let because = format!("the line was not understood: {why}");
            return Ok(Explanation { source_ip: None, steps, decision: "none", because });
        }
        Ok(event) => {
            let format = formats.name_for(head, &context);
            let mut details = vec![];
            let mut detail = |name: &str, value: &[u8]| {
                if !value.is_empty() {
                    details.push(format!("{name}: {}", printable(value, 400)));
                }
            };
            let client = if event.guessed { "client, as a guess" } else { "client" };
            detail(client, event.source_ip.map_or(String::new(), |address| address.to_string()).as_bytes());
            detail("time", event.time.map_or(String::new(), |time| time.to_string()).as_bytes());
            if let Some(http) = event.http() {
                detail("method", http.method);
                detail("uri", http.uri);
                detail("status", http.status.map_or(String::new(), |status| status.to_string()).as_bytes());
                detail("referrer", http.referer);
                detail("user agent", http.user_agent);
            }
            if let Some(message) = event.kind.message() {
                detail("program", message.program);
                detail("level", message.level);
                detail("user", message.user);
                detail("message", message.text);
            }
            step("parse", format!("understood as {format}"), details);
            event
        }
    };
    let source_ip = event.source_ip;
    if let Some(http) = event.http() {
        let views = views(http.uri).into_iter().map(|(name, text)| format!("{name}: {}", printable(&text, 400)));
        step("decode", "what the server was sent".into(), views.collect());
    }
    let mut scratch = Scratch::new();
    let mut batch = Batch::default();
    let lines = Lines { bytes: head, tail_cut: (line.len() - head.len()) as u64, read_at };
    look(rules, &formats, &reading, &mut scratch, lines, &mut batch);
    let mut judge = Judge::new(config, rules.clone()).asking_models(config);
    let Some(record) = batch.records.first() else {
        return Ok(Explanation { source_ip, steps, decision: "none", because: "the line was not understood".into() });
    };
    let hits = batch.hits_of(record);
    let all = rules.all_hits(&event, &mut scratch, hits);
    let evidence = rules.evidence(&event, &mut scratch, &all);
    let is_quoted = |id: &str| all.iter().any(|hit| hit.quoted && &*rules.rules[usize::from(hit.rule)].id == id);
    let details = evidence.iter().map(|piece| {
        let quoted = if is_quoted(&piece.rule_id) { ", quoted in prose" } else { "" };
        format!("{} +{}: {} has {:?}{quoted}", piece.rule_id, piece.score, piece.target, piece.matched)
    });
    let details: Vec<String> = details.collect();
    let said = format!("{} rules match, {} of 10 together", details.len(), record.score);
    step("detect", said, details.into_iter().chain(rules.excluded(&event, record, &mut scratch)).collect());
    let sum: Vec<String> = evidence.iter().map(|piece| format!("{} +{}", piece.rule_id, piece.score)).collect();
    let (said, details) = counting(rules, record, &event, config.thresholds.flag);
    step("count", said, details);
    let text = || Text { formats: &formats, line, tail_cut: 0, read_at };
    let Some(settled) = judge.settle(record, hits, text) else {
        let because = match sum.join(", ") {
            sum if sum.is_empty() => format!("0 is below thresholds.flag = {}", config.thresholds.flag),
            sum => format!("{sum}, {} together, is below thresholds.flag = {}", record.score, config.thresholds.flag),
        };
        step("decide", because.clone(), vec![]);
        return Ok(Explanation { source_ip, steps, decision: "none", because });
    };
    let origin = Origin { file: &"-".into(), generation: 0, offset: 0, line_number: Some(1), tail_cut: 0, read_at };
    let finding = judge.finding(&origin, &formats, line, hits, &settled, &mut scratch);
    let sum = finding.as_ref().map_or(String::new(), |finding| finding.verdict.reasoning.clone());
    let thresholds = &config.thresholds;
    let because = match settled.action.as_str() {
        "block" => format!("{sum} reaches thresholds.block = {}", thresholds.block),
        _ if !record.is_actionable() && settled.counted.score >= thresholds.block => {
            format!(
                "{sum} reaches thresholds.block = {}, but the line does not say for sure whose it is",
                thresholds.block
            )
        }
        _ => {
            format!("{sum} reaches thresholds.flag = {}, not thresholds.block = {}", thresholds.flag, thresholds.block)
        }
    };
    step("decide", format!("score {} of 10: {}", settled.counted.score, settled.action.as_str()), vec![]);
    if let (true, Some(tier), Some(finding)) = (settled.in_doubt, config.tier.first(), &finding) {
        let view = View::of(finding).as_str().lines().map(str::to_owned).collect();
        step("triage", format!("is in doubt: tier {} would be shown this before anything is done", tier.name), view);
    }
    if let (Some(client), Some(secs)) =
        (finding.and_then(|finding| finding.client), settled.ban_secs.filter(|_| settled.action == Action::Block))
    {
        let said = match standing_refusal(client.network(), &config.client) {
            Some(refusal) => format!("would refuse to block {client}: {refusal}"),
            None => format!(
                "would let {client} be blocked for {secs} s, unless it is an address of this host, its gateway, resolver or SSH peer"
            ),
        };
        step("gate", said, vec![]);
    }
    Ok(Explanation { source_ip, steps, decision: settled.action.as_str(), because })
}

/// What the line adds to the counters, and what they would add to it.
fn counting(rules: &Ruleset, record: &Record, event: &Event<'_>, flag: u8) -> (String, Vec<String>) {
    let [now, busy] = windows_of(record, rules, Detail::of(event));
    let said = format!("goes into {} windows, and into {} more if its client is busy", now.len(), busy.len());
    let mut details = vec![];
    if let Some(http) = event.http() {
        let classes: Vec<String> =
            path_classes(http.path()).map(|class| format!("{class:?}").to_ascii_lowercase()).collect();
        details.push(format!("the path is of: {}", classes.join(", ")));
    }
    let windows = now.iter().map(|at| (at, "")).chain(busy.iter().map(|at| (at, ", of busy clients")));
    details.extend(windows.map(|(&at, of)| {
        let spec = &rules.windows[at].spec;
        let distinct = spec.distinct.map_or(String::new(), |what| format!(" if its {} is new", what.as_str()));
        format!(
            "{}{of}: 1 of {}{distinct}, one lost every {} s; +{} when it overflows",
            spec.id, spec.capacity, spec.leak_speed_secs, spec.score
        )
    }));
    if record.is_actionable() && record.score >= flag {
        details.extend(networks_of(record.client).map(|(bits, one, two)| {
            format!("network: +1 when {one} other clients of its /{bits} are banned, +2 when {two} are")
        }));
        details.push("campaign: told when many clients send the same, adds nothing".into());
    }
    (said, details)
}
