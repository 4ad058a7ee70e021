//! What every store must do as a [`Store`], and rows to do it with.

mod contract;
#[path = "../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "the tests of the whole program use the rest")]
pub mod server;

use serde_json::json;

use super::*;
use crate::event::{Decision, DecisionState, Ground, ModelCall, Timestamp, VerdictClass, samples};

pub use crate::event::samples::NOW;
pub const DAY: i64 = 86_400_000;

pub fn days_ago(days: i64) -> Timestamp {
    Timestamp(NOW.0 - days * DAY)
}

/// A finding of a client.
pub fn row(id: &str, client: &str) -> FindingRow {
    FindingRow {
        id: id.into(),
        file: "/var/log/nginx/access.log".into(),
        generation: u64::MAX - 3,
        offset: u64::MAX,
        line_number: Some(7),
        time: NOW,
        source_ip: Some(client.split('/').next().unwrap().into()),
        client: Some(client.into()),
        method: "GET".into(),
        uri: "/products?id=1%27".into(),
        status: 200,
        user_agent: "sqlmap/1.8".into(),
        referer: String::new(),
        category: "sqli".into(),
        score: 9,
        rule_ids: vec!["942-tautology".into(), "913-scanner".into()],
        evidence: json!([{"rule_id": "942-tautology", "matched": "1' OR 1=1"}]).into(),
        action: "block".into(),
        verdict: "malicious".into(),
        confidence: 9,
        decided_by: "rules".into(),
        reasoning: "a certain rule hit".into(),
        recorded_at: NOW,
        flagged: true,
        is_system_url: false,
        case_id: "case".into(),
    }
}

pub fn decision(id: &str, target: &str, state: DecisionState) -> Decision {
    Decision {
        id: id.into(),
        target: target.parse().unwrap(),
        ground: Ground { finding_id: Some("f".into()), score: 9, reason: "SQL injection".into(), ..Ground::default() },
        state,
        offences: 2,
        ..samples::decision()
    }
}

pub fn change(id: &str, seq: i64, state: DecisionState) -> DecisionChange {
    DecisionChange { seq, decision_id: id.into(), state, at: NOW, note: "said".into() }
}

pub fn call(at: Timestamp) -> ModelCall {
    ModelCall {
        at,
        service: "tier1".into(),
        model: "m".into(),
        finding_id: "f".into(),
        outcome: "answered".into(),
        millis: 1,
        sent_bytes: 2,
        received_bytes: 3,
        input_tokens: 4,
        output_tokens: 5,
        usd: 0.25,
    }
}

pub fn session(id: &str, at: Timestamp) -> AnalysisSession {
    AnalysisSession {
        id: id.into(),
        at,
        source: "-".into(),
        log_count: 5,
        threat_count: 1,
        overall_score: 9,
        health_status: "critical".into(),
        compression_ratio: 2.5,
        tokens_saved: 100,
    }
}

pub fn correction(finding_id: &str) -> Correction {
    Correction { finding_id: finding_id.into(), verdict: VerdictClass::Benign, view: "GET /".into(), at: NOW }
}

pub fn allowance(network: &str) -> AllowEntry {
    AllowEntry { network: network.parse().unwrap(), note: "office".into(), created_at: NOW }
}

pub fn of_findings(version: i64, findings: Vec<FindingRow>) -> Rows {
    Rows { version, findings, ..Rows::default() }
}
