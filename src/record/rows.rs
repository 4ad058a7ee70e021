//! Rows as they are kept, sent to other stores and shown.

use std::fmt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::{self, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::sqlite::read;
use super::{AllowEntry, Correction};
use crate::event::{Decision, DecisionState, ModelCall, Timestamp};

/// A recorded finding, or a request that was analysed and is none. Read from an array of what SQLite has in its
/// columns; written as an object for people and other programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingRow {
    pub id: String,
    pub file: String,
    #[serde(deserialize_with = "read::unsigned")]
    pub generation: u64,
    #[serde(deserialize_with = "read::unsigned")]
    pub offset: u64,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "read::unsigned_or_null")]
    pub line_number: Option<u64>,
    #[serde(deserialize_with = "read::millis")]
    pub time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub method: String,
    pub uri: String,
    pub status: u16,
    pub user_agent: String,
    pub referer: String,
    pub category: String,
    pub score: u8,
    #[serde(deserialize_with = "read::text_of_json")]
    pub rule_ids: Vec<String>,
    #[schemars(with = "Vec<crate::event::Evidence>")]
    pub evidence: Json,
    /// Before the gate. `decision`, as in the output of `scan`.
    #[serde(rename = "decision")]
    pub action: String,
    pub verdict: String,
    pub confidence: u8,
    pub decided_by: String,
    pub reasoning: String,
    #[serde(deserialize_with = "read::millis")]
    pub recorded_at: Timestamp,
    /// False: it was analysed and stayed below `thresholds.flag`.
    #[serde(deserialize_with = "read::flag")]
    pub flagged: bool,
    /// An exclusion names its path.
    #[serde(deserialize_with = "read::flag")]
    pub is_system_url: bool,
    /// The same for findings of one client that follow each other within an hour.
    pub case_id: String,
}

/// JSON as its text, which is JSON: many rows pass through, and few are asked what is in it. Read from a text, written
/// as what it says.
#[derive(Clone, Debug)]
pub struct Json(Box<str>);

impl Json {
    /// # Errors
    /// It is no JSON.
    pub fn new(text: &str) -> serde_json::Result<Json> {
        serde_json::from_str::<IgnoredAny>(text)?;
        Ok(Json(text.into()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        Json(value.to_string().into())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        self.value() == other.value()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Json, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON as text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Json, E> {
                Json::new(text).map_err(E::custom)
            }
        }
        text.deserialize_str(Text)
    }
}

/// One step in the life of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DecisionChange {
    /// The agent's own number of the change.
    #[serde(skip)]
    pub seq: i64,
    pub decision_id: String,
    pub state: DecisionState,
    pub at: Timestamp,
    /// Why, or by whom.
    pub note: String,
}

/// One run of an analysis on demand.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AnalysisSession {
    pub id: String,
    pub at: Timestamp,
    /// What was analysed: names of files, `-`, or who uploaded it.
    pub source: String,
    pub log_count: u64,
    pub threat_count: u64,
    /// 1–10: the highest score of a finding.
    pub overall_score: u8,
    pub health_status: String,
    /// Tokens before for each token after; 1: nothing was compressed.
    pub compression_ratio: f64,
    pub tokens_saved: u64,
}

/// What one agent sends to another store: rows that changed, each as it is now.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The outbox's number of the last change among them: a row never gives way to one of a smaller number.
    pub version: i64,
    pub findings: Vec<FindingRow>,
    pub decisions: Vec<Decision>,
    pub changes: Vec<DecisionChange>,
    /// Each with the agent's own number.
    pub calls: Vec<(i64, ModelCall)>,
    pub corrections: Vec<Correction>,
    pub sessions: Vec<AnalysisSession>,
    /// Networks that are never blocked here, and those that are so no more.
    pub allowed: Vec<AllowEntry>,
    pub disallowed: Vec<IpNet>,
}

/// How far a database's schema is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SchemaState {
    /// The newest version that this program knows.
    pub known: i64,
    /// What is, or was, not applied: number and what it is about.
    pub pending: Vec<(i64, String)>,
}
