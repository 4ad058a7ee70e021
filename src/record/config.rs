use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[store]`: the local database, `palisade.db` in the state directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Findings and ended decisions older than this many days are deleted.
    #[schemars(range(min = 1))]
    pub keep_days: u32,
    /// Changes kept for readers of the change feed; beyond it the oldest go.
    #[schemars(range(min = 1))]
    pub max_outbox_rows: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { keep_days: 90, max_outbox_rows: 100_000 }
    }
}
