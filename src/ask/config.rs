//! `[ask]`: questions that have a name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[ask]`: questions that have a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AskConfig {
    /// A name, and the question that it stands for in `palisade ask NAME` and `/api/v1/ask?q=NAME`.
    pub saved: BTreeMap<String, String>,
}

impl AskConfig {
    /// The question that `asked` is, or is the name of.
    pub fn question<'a>(&'a self, asked: &'a str) -> &'a str {
        self.saved.get(asked.trim()).map_or(asked, String::as_str)
    }
}
