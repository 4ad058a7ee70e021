use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[detect]`: rules, and how much is remembered of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// Directory of more rule files (`*.toml`, or the older `patterns.json`), read beside the
    /// built-in ones. Absent: `rules.d` beside the configuration file, if it exists.
    pub rules_dir: Option<PathBuf>,
    /// Ids of rules and windows that are switched off.
    pub disable: Vec<String>,
    /// Clients that are counted at once; memory is about 90 bytes each.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub max_clients: u32,
    /// A client's earlier findings weigh half after this many seconds.
    #[schemars(range(min = 1))]
    pub half_life_secs: u32,
    /// A client that was blocked counts as flagged for this many seconds.
    #[schemars(range(min = 1))]
    pub flagged_secs: u32,
    /// Longest line that is judged whole, in bytes; of a longer one the head is.
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub max_line_bytes: u32,
}

impl Default for DetectConfig {
    fn default() -> Self {
        DetectConfig {
            rules_dir: None,
            disable: vec![],
            max_clients: 131_072,
            half_life_secs: 300,
            flagged_secs: 3600,
            max_line_bytes: 65_536,
        }
    }
}
