use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Secret;

/// `[store]`: the local database, `palisade.db` in the state directory, and Postgres for what agents
/// remember together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, to which everything recorded is sent too. Empty: none.
    pub database_url: Secret,
    /// A file that holds the URL instead.
    pub database_url_file: Option<PathBuf>,
    /// Certificates in PEM, of which one may have signed the server's; besides the public ones.
    pub database_ca_file: Option<PathBuf>,
    /// Of which requests text is kept.
    pub record: Keep,
    /// How clients' addresses are kept in findings and counts; live bans need them as they are.
    pub addresses: Addresses,
    /// Findings, ended decisions and calls of models older than this many days are deleted; decisions not before
    /// 30 days, by which the next ban of the same client is longer.
    #[schemars(range(min = 1))]
    pub keep_days: u32,
    /// As for `keep_days`, of requests that were analysed and are no findings.
    #[schemars(range(min = 1))]
    pub keep_analysed_days: u32,
    /// As for `keep_days`, of counts and of when clients were seen.
    #[schemars(range(min = 1))]
    pub keep_totals_days: u32,
    /// Changes kept for readers of the change feed; beyond it the oldest go.
    #[schemars(range(min = 1))]
    pub max_outbox_rows: u32,
    /// Changes that wait for Postgres; beyond it the oldest go unsent, and are counted.
    #[schemars(range(min = 1))]
    pub max_unsent_rows: u32,
}

/// What is kept of which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Decisions and counts alone: no text of a log touches the disk.
    Nothing,
    Findings,
    /// Findings, and whatever else a rule or a model looked at.
    Analysed,
}

/// How clients' addresses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Addresses {
    Plain,
    /// As addresses of fd00::/8 that a key in the state directory makes of them: the same client has the
    /// same one.
    Pseudonyms,
}

impl StoreConfig {
    /// Whether rows of findings are kept, and not only counted.
    pub fn keeps_findings(&self) -> bool {
        self.record != Keep::Nothing
    }

    pub fn keeps_pseudonyms(&self) -> bool {
        self.addresses == Addresses::Pseudonyms
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            database_url: Secret::default(),
            database_url_file: None,
            database_ca_file: None,
            record: Keep::Findings,
            addresses: Addresses::Plain,
            keep_days: 90,
            keep_analysed_days: 14,
            keep_totals_days: 730,
            max_outbox_rows: 100_000,
            max_unsent_rows: 5_000_000,
        }
    }
}
