//! Takes a finding, gives a verdict. No tier of models is built yet, so rules decide alone: this
//! is where tiers will be asked about findings that are neither certain nor harmless.

mod config;
pub mod provider;
pub mod reputation;

pub use config::{Ask, Privacy, Provider, TierConfig, TriageConfig};

use crate::event::{DecidedBy, Verdict, VerdictClass};

/// The verdict when no model is asked: what rules flagged is malicious, as sure as its score.
pub fn rules_alone(score: u8, decided_by: DecidedBy, reasoning: String) -> Verdict {
    Verdict { class: VerdictClass::Malicious, confidence: score.clamp(1, 10), decided_by, reasoning }
}
