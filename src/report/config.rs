//! `[report]`: how documents are written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[report]`: how documents are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReportConfig {
    /// A TrueType or OpenType file for scripts beyond Latin, Greek and Cyrillic in PDF; letters are not joined, and
    /// stand in the order in which they were logged. None: such letters appear as `\u{…}`.
    pub font: Option<PathBuf>,
}
