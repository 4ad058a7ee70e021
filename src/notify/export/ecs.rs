//! Elastic Common Schema, version 8.11.

use serde_json::{Value, json};

use super::{address, record_id};
use crate::notify::{News, What};

pub fn record(news: &News, host: &str) -> Value {
    let is_finding = news.what == What::Finding;
    let kind = match (is_finding, news.action.as_str()) {
        (false, "active" | "pending") if !news.simulated => "denied",
        _ => "info",
    };
    let mut record = json!({
        "@timestamp": news.at,
        "ecs": { "version": "8.11.0" },
        "event": {
            "id": record_id(news),
            "kind": if is_finding { "alert" } else { "event" },
            "category": ["intrusion_detection"],
            "type": [kind],
            "action": format!("{}-{}", news.what.as_str(), news.action),
            "severity": news.score,
            "risk_score": f64::from(news.score) * 10.0,
            "reason": news.reason,
            "provider": "palisade",
            "dataset": if is_finding { "palisade.finding" } else { "palisade.decision" },
        },
        "message": news.reason,
        "host": { "name": host },
        "observer": { "vendor": "Palisade", "product": "palisade", "type": "ids", "version": env!("CARGO_PKG_VERSION") },
        "log": { "level": news.severity.as_str() },
        "palisade": { "id": news.id, "decided_by": news.by, "simulated": news.simulated },
    });
    let mut put = |pointer: [&str; 2], value: Value| record[pointer[0]][pointer[1]] = value;
    if let Some(address) = address(news) {
        put(["source", "ip"], json!(address));
    }
    if !news.client.is_empty() {
        put(["source", "address"], json!(news.client));
    }
    if !news.uri.is_empty() {
        put(["url", "original"], json!(news.uri));
    }
    if !news.method.is_empty() {
        put(["http", "request"], json!({ "method": news.method }));
    }
    if news.status > 0 {
        put(["http", "response"], json!({ "status_code": news.status }));
    }
    if !news.user_agent.is_empty() {
        put(["user_agent", "original"], json!(news.user_agent));
    }
    if !news.rule_ids.is_empty() {
        put(["rule", "id"], json!(news.rule_ids));
        put(["rule", "ruleset"], json!("palisade"));
    }
    if !news.category.is_empty() {
        put(["rule", "category"], json!(news.category));
    }
    if !news.source.is_empty() {
        put(["log", "file"], json!({ "path": news.source }));
    }
    if !news.case_id.is_empty() {
        put(["palisade", "case_id"], json!(news.case_id));
    }
    if let Some(until) = news.until {
        put(["palisade", "expires_at"], json!(until));
    }
    record
}
