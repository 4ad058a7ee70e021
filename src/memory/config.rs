use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[memory]`: what is remembered of clients with findings, in process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// A client's summary is forgotten this many seconds after its last finding.
    #[schemars(range(min = 1))]
    pub ttl_secs: u64,
    /// Summaries kept at once.
    #[schemars(range(min = 1))]
    pub max_clients: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig { ttl_secs: 3600, max_clients: 10_000 }
    }
}
