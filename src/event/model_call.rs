use schemars::JsonSchema;
use serde::Serialize;

use super::Timestamp;

/// One call of a model or of a reputation service, for the ledger: every byte that left is in it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ModelCall {
    pub at: Timestamp,
    /// The tier's or service's name.
    pub service: String,
    /// Empty for what is no model.
    pub model: String,
    /// The finding that it was about.
    pub finding_id: String,
    /// `answered`, or why not.
    pub outcome: String,
    pub millis: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub usd: f64,
}
