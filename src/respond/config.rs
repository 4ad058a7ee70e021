use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::azure::AzureConfig;

/// `[respond]`: what carries out a block in `mode = "enforce"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RespondConfig {
    /// Responders, by name.
    #[serde(rename = "use")]
    pub names: Vec<String>,
    /// Length of a client's first ban, in seconds; each further one is twice as long.
    #[schemars(range(min = 1))]
    pub block_duration_secs: u64,
    /// No ban is longer, in seconds.
    #[schemars(range(min = 1))]
    pub max_block_duration_secs: u64,
    /// New blocks in any minute; what goes beyond is held, and said.
    #[schemars(range(min = 1))]
    pub max_blocks_per_min: u32,
    pub azure: AzureConfig,
}

impl Default for RespondConfig {
    fn default() -> Self {
        RespondConfig {
            names: vec!["nftables".into()],
            block_duration_secs: 14_400,
            max_block_duration_secs: 604_800,
            max_blocks_per_min: 60,
            azure: AzureConfig::default(),
        }
    }
}
