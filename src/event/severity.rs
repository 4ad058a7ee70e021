use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad something is. Follows a score of 1–10; the highest one present is the threat level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// Every severity, the worst last.
    pub const ALL: [Severity; 5] =
        [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// That of a score: 1–2 informational, 3–4 low, 5–6 medium, 7–8 high, 9–10 critical.
    pub fn of(score: u8) -> Severity {
        match score {
            0..=2 => Severity::Informational,
            3..=4 => Severity::Low,
            5..=6 => Severity::Medium,
            7..=8 => Severity::High,
            9.. => Severity::Critical,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}
