//! Takes findings that rules leave in doubt, asks models about them, gives opinions. What a model is
//! shown is the masked [`View`]; what its opinion may change is `decide::combine`'s to say. Never decides,
//! never blocks, and never needs to answer: rules go on without.

mod advisers;
mod calibrate;
mod config;
mod desk;
mod geoip;
pub mod injection;
mod limits;
mod prompt;
pub mod provider;
pub mod reputation;
mod tier;
mod tools;
mod view;

use std::path::Path;

use anyhow::Context;

pub use advisers::Advisers;
pub use calibrate::{Fit, fit};
pub use config::{Ask, Privacy, Provider, ReputationConfig, TierConfig, TriageConfig};
pub use desk::{Case, Judged, Sureness, Triage};
pub use geoip::Geoip;
pub use limits::Today;
pub use prompt::{Said, known_of, typical_question};
pub use provider::{Chat, Message};
pub use reputation::{Reputation, is_public};
pub use tier::{Asked, Tier, Unanswered};
pub use tools::{About, Toolbox};
pub use view::{ADDRESSES_MODEL, View, mask};

use crate::event::{DecidedBy, Secret, Verdict, VerdictClass};

/// What a tier or service was used on this day before the start, by name.
pub type UsedToday<'a> = &'a dyn Fn(&str) -> Today;

/// The tiers of `configs` that may be asked under `privacy`.
///
/// # Errors
/// A URL, key or file of the configuration cannot be used.
pub fn tiers(configs: &[TierConfig], privacy: Privacy, used: UsedToday<'_>) -> anyhow::Result<Vec<Tier>> {
    let mut tiers = vec![];
    for config in configs {
        if !config.may_be_asked(privacy) {
            tracing::warn!(tier = config.name, url = config.url, "is not asked: triage.privacy is \"local_only\"");
            continue;
        }
        tiers.push(Tier::new(config.clone(), provider::build(config)?, used(&config.name)));
    }
    Ok(tiers)
}

/// The key that is set, or else the one that `file` holds.
fn key(set: &Secret, file: Option<&Path>) -> anyhow::Result<Secret> {
    let Some(file) = file.filter(|_| set.is_empty()) else { return Ok(set.clone()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the key in {}", file.display()))?;
    anyhow::ensure!(!text.trim().is_empty(), "{} holds no key", file.display());
    Ok(Secret::from(text.trim().to_owned()))
}

/// The verdict when no model is asked: what rules flagged is malicious, as sure as its score.
pub fn rules_alone(score: u8, decided_by: DecidedBy, reasoning: String) -> Verdict {
    Verdict { class: VerdictClass::Malicious, confidence: score.clamp(1, 10), decided_by, reasoning }
}
