use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Secret;

/// `[memory]`: what is remembered of clients with findings, in this process or in Redis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// A client's summary is forgotten this many seconds after its last finding.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub ttl_secs: u64,
    /// Clients that are remembered at once in this process, and as many values of each drawer.
    #[schemars(range(min = 1))]
    pub max_clients: u64,
    /// After so many seconds a finding weighs half in the summary's score.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub half_life_secs: u64,
    /// `redis://` or `rediss://`, which all agents that are to share their memory name. Empty: in process.
    pub redis_url: Secret,
    /// A file that holds the URL instead.
    pub redis_url_file: Option<PathBuf>,
    /// What every key in Redis begins with.
    pub redis_prefix: String,
    /// An answer that takes longer than this many milliseconds counts as none.
    #[schemars(range(min = 1, max = 10_000))]
    pub redis_timeout_millis: u64,
    /// Certificates in PEM, of which one must have signed the server's; in place of the public ones.
    pub redis_ca_file: Option<PathBuf>,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig {
            ttl_secs: 3600,
            max_clients: 10_000,
            half_life_secs: 1800,
            redis_url: Secret::default(),
            redis_url_file: None,
            redis_prefix: "palisade".into(),
            redis_timeout_millis: 150,
            redis_ca_file: None,
        }
    }
}

impl MemoryConfig {
    /// Whether agents share a Redis.
    pub fn is_shared(&self) -> bool {
        !self.redis_url.is_empty() || self.redis_url_file.is_some()
    }

    /// What is wrong with `redis_url`, which is not repeated: it holds a password.
    ///
    /// # Errors
    /// It is no URL of a Redis.
    pub fn check_url(&self) -> Result<(), &'static str> {
        let url = self.redis_url.reveal();
        if url.is_empty() {
            return Ok(());
        }
        match ::redis::parse_redis_url(url).as_ref().map(|url| (url.scheme(), url.host_str())) {
            Some(("redis" | "rediss", Some(_))) if ::redis::Client::open(url).is_ok() => Ok(()),
            _ => Err("no URL such as \"redis://127.0.0.1:6379\" or \"rediss://default:PASSWORD@HOST:6379\"; \
                      write characters of the password that have a meaning in URLs as %40, %2F, …"),
        }
    }
}
