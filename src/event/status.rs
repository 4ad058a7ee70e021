use schemars::JsonSchema;
use serde::Serialize;

use super::{SourceStatus, Timestamp};

/// What the daemon says of itself. Counters run since its start.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Status {
    pub version: &'static str,
    /// Parts that are compiled in and could be left out.
    pub features: Vec<&'static str>,
    /// `dry_run` or `enforce`.
    pub mode: &'static str,
    /// Then dry run begins again, unless somebody confirms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_ends_at: Option<Timestamp>,
    pub started_at: Timestamp,
    pub healthy: bool,
    /// What is wrong, if anything: each a sentence that names the way out.
    pub problems: Vec<String>,
    pub lines: u64,
    pub parsed: u64,
    pub unparsed: u64,
    pub findings: u64,
    pub blocks: u64,
    /// Bans in force now.
    pub active: usize,
    pub refused: u64,
    pub held: u64,
    /// Blocks that wait now: how many, and why.
    pub holding: serde_json::Value,
    /// Bytes that were gone before they could be read.
    pub gaps: u64,
    pub rules: usize,
    /// Models and what they did since the start; null where none is configured.
    pub triage: serde_json::Value,
    /// What carries out blocks: each with what it holds, what waits, and what is wrong with it.
    pub responders: serde_json::Value,
    /// Of short-term memory.
    pub memory: serde_json::Value,
    pub sources: Vec<SourceStatus>,
}
