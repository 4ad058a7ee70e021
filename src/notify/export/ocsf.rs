//! Open Cybersecurity Schema Framework, version 1.4: each record a Detection Finding (class 2004), with the profiles
//! that say what was done and on which host.

use serde_json::{Value, json};

use super::{address, record_id};
use crate::event::Severity;
use crate::notify::{News, What};

const CLASS: u32 = 2004;
const CREATE: u32 = 1;
const UPDATE: u32 = 2;

pub fn record(news: &News, host: &str) -> Value {
    let is_finding = news.what == What::Finding;
    let activity = if is_finding { CREATE } else { UPDATE };
    let kind = if news.category.is_empty() { "block" } else { news.category.as_str() };
    // 1: allowed, 2: denied; dispositions 1: allowed, 2: blocked, 17: logged.
    let is_denied = !is_finding && !news.simulated && matches!(news.action.as_str(), "active" | "pending");
    let (action, disposition) = if is_denied { (2, 2) } else { (1, 17) };
    let mut evidence = json!({ "data": { "rule_ids": news.rule_ids } });
    if let Some(address) = address(news) {
        evidence["src_endpoint"] = json!({ "ip": address });
    }
    if !news.uri.is_empty() {
        evidence["http_request"] = json!({
            "http_method": news.method,
            "url": { "url_string": news.uri },
            "user_agent": news.user_agent,
        });
    }
    if news.status > 0 {
        evidence["http_response"] = json!({ "code": news.status });
    }
    if !news.source.is_empty() {
        evidence["file"] = json!({ "name": news.source, "type_id": 1 });
    }
    let mut analytic = json!({ "type_id": 1, "name": news.by });
    if let Some(rule) = news.rule_ids.first() {
        analytic["uid"] = json!(rule);
    }
    json!({
        "class_uid": CLASS,
        "category_uid": 2,
        "activity_id": activity,
        "type_uid": CLASS * 100 + activity,
        "time": news.at.0,
        "severity_id": severity(news.severity).0,
        "severity": severity(news.severity).1,
        "status_id": 1,
        "action_id": action,
        "disposition_id": disposition,
        "is_alert": is_finding,
        "risk_score": u32::from(news.score) * 10,
        "message": news.reason,
        "metadata": {
            "version": "1.4.0",
            "profiles": ["host", "security_control"],
            "uid": record_id(news),
            "product": { "name": "palisade", "vendor_name": "Palisade", "version": env!("CARGO_PKG_VERSION") },
        },
        "device": { "hostname": host, "type_id": 1 },
        "finding_info": {
            "uid": if news.case_id.is_empty() { &news.id } else { &news.case_id },
            "title": format!("{kind} {}", news.action),
            "desc": news.reason,
            "types": [kind],
            "created_time": news.at.0,
            "analytic": analytic,
        },
        "evidences": [evidence],
        "unmapped": { "client": news.client, "expires_at": news.until, "simulated": news.simulated },
    })
}

/// Number and caption.
fn severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Informational => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}
