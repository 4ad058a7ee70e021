use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One `[[source]]`: files to follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A path or glob, such as `/var/log/nginx/*access.log`.
    pub path: String,
    /// A name of `palisade config formats`, a format string of nginx or Apache such as
    /// `$remote_addr [$time_local] "$request"`, or `auto`: learned from the file's first lines.
    #[serde(default = "auto")]
    pub format: String,
    /// Where reading starts the first time a file is seen.
    #[serde(default)]
    pub start: Start,
}

/// Where reading starts the first time a file is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Only what is written from now on. (A file that appears later is read whole.)
    #[default]
    End,
    /// The whole file.
    Beginning,
}

fn auto() -> String {
    "auto".into()
}
