use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Secret;

/// `[fleet]`: agents that share their bans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FleetConfig {
    /// Bans of this agent go to the others, and theirs come here, through this gate.
    pub share: bool,
    /// What messages are signed with; the same for all agents.
    pub key: Secret,
    /// A file that holds the key instead.
    pub key_file: Option<PathBuf>,
    pub through: Through,
    /// Names of agents whose bans are taken; `*`: of all.
    pub take_from: Vec<String>,
    /// Bans of others that end later than so many seconds from now are not taken, and longer ones of this agent
    /// are shared for so long.
    #[schemars(range(min = 60, max = 31_536_000))]
    pub max_ban_secs: u64,
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Through {
    /// The Redis of `[memory]` where there is one, else the Postgres of `[store]`.
    #[default]
    Auto,
    Redis,
    Postgres,
}

impl Default for FleetConfig {
    fn default() -> Self {
        FleetConfig {
            share: false,
            key: Secret::default(),
            key_file: None,
            through: Through::Auto,
            take_from: vec!["*".into()],
            max_ban_secs: 30 * 86_400,
        }
    }
}

impl FleetConfig {
    /// A shorter key could be guessed.
    pub const MIN_KEY_BYTES: usize = 32;

    /// Whether bans of the agent of this name are taken.
    pub fn takes_from(&self, agent: &str) -> bool {
        self.take_from.iter().any(|name| name == "*" || name == agent)
    }
}
