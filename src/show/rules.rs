//! Rules, what they found, and switching them off: `/api/v1/rules`, `/api/v1/switched-off`.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Extension, Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::history::asked;
use super::tunes::tell;
use super::{Backend, Problem, StatsQuery, Tune};
use crate::event::{Category, Timestamp};
use crate::record::Dimension;

const MAX_PATH_BYTES: usize = 1000;
const MAX_REASON_BYTES: usize = 200;

/// A rule or window that operators switched off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwitchedOff {
    pub id: String,
    pub rule: String,
    /// The one path on which it is off, decoded; none: it is off everywhere.
    pub path: Option<String>,
    pub reason: String,
    pub by: String,
    pub at: Timestamp,
}

/// What the daemon says of its rules.
#[derive(Deserialize)]
struct Known {
    on: Vec<Rule>,
    off: Vec<SwitchedOff>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Rule {
    id: String,
    /// `rule` or `window`.
    kind: String,
    category: Category,
    score: u8,
    description: String,
}

/// A rule and what it did.
#[derive(Serialize, JsonSchema)]
pub(super) struct RuleRow {
    #[serde(flatten)]
    rule: Rule,
    /// In thirty days.
    findings: i64,
    /// The hour in which it was last found, as long as counts are kept.
    last_seen: Option<Timestamp>,
    /// Findings of it that people called benign.
    false_positives: u64,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Rules {
    /// The ones that found the most first.
    on: Vec<RuleRow>,
    off: Vec<SwitchedOff>,
}

pub(super) async fn list(State(backend): State<Backend>) -> Result<Json<Rules>, Problem> {
    let Json(known) = tell(&backend, Tune::Rules).await?;
    let Known { on, off } = serde_json::from_value(known).map_err(|error| Problem::Failed(error.to_string()))?;
    let query = StatsQuery { since: Some("30d".into()), top: Some(on.len() as u32), ..StatsQuery::default() };
    let counted = asked(&query, Timestamp::now())?.top(&*backend.store, Dimension::Rule).await?;
    let findings: HashMap<String, i64> = counted.into_iter().map(|one| (one.key, one.counts.findings)).collect();
    let mut notes: HashMap<_, _> =
        backend.store.rule_notes().await?.into_iter().map(|note| (note.rule.clone(), note)).collect();
    let mut on: Vec<RuleRow> = on
        .into_iter()
        .map(|rule| {
            let note = notes.remove(&rule.id);
            RuleRow {
                findings: findings.get(&rule.id).copied().unwrap_or(0),
                last_seen: note.as_ref().and_then(|note| note.last_seen),
                false_positives: note.map_or(0, |note| note.false_positives),
                rule,
            }
        })
        .collect();
    on.sort_by(|a, b| (b.findings, &a.rule.id).cmp(&(a.findings, &b.rule.id)));
    Ok(Json(Rules { on, off }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OffRequest {
    rule: String,
    /// A whole path, decoded, without what follows a question mark; none: everywhere.
    path: Option<String>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn switch_off(
    State(backend): State<Backend>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Json(OffRequest { rule, path, reason }): Json<OffRequest>,
) -> super::api::Answer {
    if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.len() > MAX_PATH_BYTES) {
        return Err(Problem::Invalid(format!("a path begins with / and has {MAX_PATH_BYTES} bytes at most")));
    }
    if reason.len() > MAX_REASON_BYTES {
        return Err(Problem::Invalid(format!("a reason has {MAX_REASON_BYTES} bytes at most")));
    }
    tell(&backend, Tune::SwitchOff { rule, path, reason, by }).await
}

pub(super) async fn switch_on(
    State(backend): State<Backend>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Path(id): Path<String>,
) -> super::api::Answer {
    tell(&backend, Tune::SwitchOn { id, by }).await
}
