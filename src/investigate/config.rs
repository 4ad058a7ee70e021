use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[analyze]`: what `palisade analyze` and `/api/v1/analyze` take and how they judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnalyzeConfig {
    /// An input may have so many bytes, unpacked; a larger one is refused.
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
    pub sensitivity: Sensitivity,
    /// What was learned from clean logs. Empty: `baseline.json` in the state directory, if it is there.
    pub baseline: PathBuf,
}

impl Default for AnalyzeConfig {
    fn default() -> Self {
        AnalyzeConfig { max_bytes: 256 << 20, sensitivity: Sensitivity::default(), baseline: PathBuf::new() }
    }
}

/// How much must speak for a threat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Only what is sure.
    Low,
    #[default]
    Medium,
    /// Weak signs too; some of it will be harmless.
    High,
}

impl Sensitivity {
    /// The points that signs of one actor must have together.
    pub(super) fn points(self) -> u32 {
        match self {
            Sensitivity::Low => 9,
            Sensitivity::Medium => 8,
            Sensitivity::High => 5,
        }
    }

    /// The score that one finding of rules must have.
    pub(super) fn score(self) -> u8 {
        match self {
            Sensitivity::Low => 8,
            Sensitivity::Medium | Sensitivity::High => 5,
        }
    }

    /// Failed logins that are guessing though no window overflowed.
    pub(super) fn failures(self) -> u64 {
        match self {
            Sensitivity::Low => 20,
            Sensitivity::Medium => 10,
            Sensitivity::High => 3,
        }
    }
}
