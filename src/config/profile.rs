use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mistake::Origin;
use super::tree::{self, Node};

/// How large a host is meant: other defaults for what takes memory and disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One core, 512 MB.
    Small,
    /// The defaults as documented.
    #[default]
    Medium,
    /// Eight cores and 16 GB or more, and a million clients.
    Large,
}

const SMALL: &str = "{ detect = { max_clients = 16384 }, memory = { max_clients = 1000 }, \
     triage = { max_waiting = 32 }, store = { max_outbox_rows = 10000, max_unsent_rows = 200000 } }";
const LARGE: &str = "{ detect = { max_clients = 1048576 }, memory = { max_clients = 100000 }, \
     triage = { max_waiting = 2048 }, store = { max_outbox_rows = 1000000, max_unsent_rows = 20000000 } }";

impl Profile {
    /// Its defaults where they differ from those that are built in.
    pub(super) fn defaults(self) -> Node {
        let (name, text) = match self {
            Profile::Small => ("small", SMALL),
            Profile::Medium => ("medium", "{}"),
            Profile::Large => ("large", LARGE),
        };
        let origin = Origin::Profile(name);
        tree::parse_value(text, &origin).unwrap_or_else(|| Node::table(origin))
    }
}
