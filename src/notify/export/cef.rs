//! ArcSight's Common Event Format, version 0 (revision 25).

use super::address;
use crate::event::{Severity, printable};
use crate::notify::{News, What};

/// Bytes of one value; the format allows 1,023 of most.
const SHOWN_BYTES: usize = 1000;

pub fn line(news: &News) -> String {
    let kind = if news.category.is_empty() { news.what.as_str() } else { news.category.as_str() };
    let name = match news.what {
        What::Finding => format!("{kind} found"),
        _ => format!("{kind}: block {}", news.action),
    };
    let header = [
        "CEF:0",
        "Palisade",
        "palisade",
        env!("CARGO_PKG_VERSION"),
        &head(news.rule_ids.first().map_or(kind, String::as_str)),
        &head(&name),
        severity(news.severity),
    ];
    let mut fields = vec![("rt", news.at.0.to_string()), ("externalId", value(&news.id)), ("act", value(&news.action))];
    let mut add = |key: &'static str, text: &str| {
        if !text.is_empty() {
            fields.push((key, value(text)));
        }
    };
    match address(news) {
        Some(address) if address.contains(':') => {
            add("c6a2", address);
            add("c6a2Label", "Source IPv6 Address");
        }
        Some(address) => add("src", address),
        None if news.client.is_empty() => {}
        None => {
            add("cs3", &news.client);
            add("cs3Label", "network");
        }
    }
    add("cat", &news.category);
    add("requestMethod", &news.method);
    add("request", &news.uri);
    add("requestClientApplication", &news.user_agent);
    if news.status > 0 {
        add("outcome", &news.status.to_string());
    }
    add("cn1", &news.score.to_string());
    add("cn1Label", "score");
    if !news.rule_ids.is_empty() {
        add("cs1", &news.rule_ids.join(","));
        add("cs1Label", "rules");
    }
    if !news.case_id.is_empty() {
        add("cs2", &news.case_id);
        add("cs2Label", "case");
    }
    add("filePath", &news.source);
    if let Some(until) = news.until {
        add("end", &until.0.to_string());
    }
    add("msg", &news.reason);
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{}|{}", header.join("|"), fields.join(" "))
}

/// 0 to 10.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "1",
        Severity::Low => "3",
        Severity::Medium => "5",
        Severity::High => "8",
        Severity::Critical => "10",
    }
}

/// In the header `\` and `|` have a meaning.
fn head(text: &str) -> String {
    printable(text.as_bytes(), SHOWN_BYTES).replace('\\', "\\\\").replace('|', "\\|")
}

/// In values `\` and `=` have one.
fn value(text: &str) -> String {
    printable(text.as_bytes(), SHOWN_BYTES).replace('\\', "\\\\").replace('=', "\\=")
}
