//! `[compress]`: how much of a log is shown to a model, and by whom it is made shorter.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Budget, Tokens};
use crate::event::Secret;

/// `[compress]`: what becomes of a log before a model reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompressConfig {
    /// So many tokens may come out. 0: as many as keep all evidence, every indicator, and of the rest a part.
    pub max_tokens: u64,
    /// The model that reads it: how its tokens are counted.
    pub target_model: String,
    /// US dollars that a million tokens of it cost, for what is said to be saved; 0: not told.
    #[schemars(range(min = 0))]
    pub usd_per_million_tokens: f64,
    /// ScaleDown, a service that shortens texts.
    pub scaledown: ScaledownConfig,
}

impl CompressConfig {
    /// How much may come out.
    pub fn budget(&self) -> Budget {
        if self.max_tokens == 0 { Budget::Auto } else { Budget::Tokens(self.max_tokens) }
    }

    /// How tokens are counted.
    pub fn tokens(&self) -> Tokens {
        Tokens::of_model(&self.target_model)
    }
}

/// `[compress.scaledown]`: log text is sent there, without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScaledownConfig {
    /// Whether it is asked at all.
    pub enabled: bool,
    /// Where it is.
    pub url: String,
    /// The key of its API.
    pub key: Secret,
    /// A file that holds the key instead.
    pub key_file: Option<PathBuf>,
    /// No answer by then counts as none.
    #[schemars(range(min = 1))]
    pub timeout_secs: u64,
}

impl Default for ScaledownConfig {
    fn default() -> Self {
        ScaledownConfig {
            enabled: false,
            url: "https://api.scaledown.xyz/compress/raw/".into(),
            key: Secret::default(),
            key_file: None,
            timeout_secs: 30,
        }
    }
}
