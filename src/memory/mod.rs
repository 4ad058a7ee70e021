//! Takes findings, answers what is known of a client; forgets after an hour. Keeps short texts for
//! others in drawers. Informs grey cases and people; never counts for rules (that is detect's, in
//! log time).
//!
//! [`InProcess`] keeps it here, [`Redis`] where several agents share it; what is known of a client
//! is an [`Entry`] in both.

mod config;
mod entry;
mod in_process;
mod redis;
mod skeleton;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use config::MemoryConfig;
pub use entry::{Confidences, Entry, LAST, PATHS, Remembered, Risk, Summary};
pub use in_process::InProcess;
pub use redis::{Redis, Trouble, connect};

use crate::event::{ClientKey, Finding};

/// What a call resolves to. There are no errors: memory that is away knows less, and
/// [`state`](Memory::state) says so.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is known of clients, and texts by their keys, each for a while.
///
/// A call that asks ends by a deadline of its own; one that tells never waits, and what was told is
/// seen by the next call.
pub trait Memory: Send + Sync {
    /// Adds `finding` to what is known of its client; one without a client is nobody's. The same
    /// finding, told again soon, changes nothing.
    fn remember<'a>(&'a self, finding: &'a Finding) -> Answer<'a, ()>;

    /// What is known of `client`. Asking does not make it be known longer.
    fn recall(&self, client: ClientKey) -> Answer<'_, Option<Summary>>;

    /// The client's last findings, the latest first, at most `limit`; no more than [`LAST`] are kept.
    fn recent(&self, client: ClientKey, limit: usize) -> Answer<'_, Vec<Remembered>>;

    /// Forgets `client`, as when its ban is lifted by hand.
    fn forget(&self, client: ClientKey) -> Answer<'_, ()>;

    /// What `drawer` holds under `key`.
    fn get<'a>(&'a self, drawer: Drawer, key: &'a str) -> Answer<'a, Option<String>>;

    /// Keeps `value`, at most [`MAX_VALUE_BYTES`] long, for `ttl`, at most a year; a longer one is not kept.
    fn put<'a>(&'a self, drawer: Drawer, key: &'a str, value: String, ttl: Duration) -> Answer<'a, ()>;

    /// Throws away what `drawer` holds under `key`.
    fn discard<'a>(&'a self, drawer: Drawer, key: &'a str) -> Answer<'a, ()>;

    /// Empties `drawer`.
    fn clear(&self, drawer: Drawer) -> Answer<'_, ()>;

    /// For people.
    fn state(&self) -> MemoryState;
}

/// Values longer than this are not kept.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;
/// Nothing is kept longer: a year.
const MAX_TTL: Duration = Duration::from_secs(31_536_000);

/// What is kept apart: a flood of one kind does not put out another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drawer {
    /// Verdicts of shapes that are malicious.
    Malicious,
    /// Verdicts of shapes that are benign.
    Benign,
    /// Which cases went to the next tier.
    Escalations,
    /// What reputation services said of addresses.
    Reputation,
}

impl Drawer {
    /// Those that hold what models said of shapes.
    pub const VERDICTS: [Drawer; 3] = [Drawer::Malicious, Drawer::Benign, Drawer::Escalations];

    pub const ALL: [Drawer; 4] = [Drawer::Malicious, Drawer::Benign, Drawer::Escalations, Drawer::Reputation];

    pub fn as_str(self) -> &'static str {
        match self {
            Drawer::Malicious => "malicious",
            Drawer::Benign => "benign",
            Drawer::Escalations => "escalations",
            Drawer::Reputation => "reputation",
        }
    }
}

/// What memory says of itself. Counters run since the start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryState {
    /// `in_process` or `redis`.
    pub kind: &'static str,
    /// What is told is kept, and where others see it if they are meant to.
    pub healthy: bool,
    /// Clients and values; unknown of a store that others write to.
    pub entries: Option<u64>,
    /// Values asked for that were there, and that were not.
    pub hits: u64,
    pub misses: u64,
    /// What was in the store but could not be understood; it was thrown away.
    pub damaged: u64,
    /// Changes that are not in the store yet.
    pub waiting: u64,
    /// Changes that never came into the store: too many waited.
    pub lost: u64,
    /// What is wrong; after it is over, what was wrong last.
    pub last_error: Option<String>,
}

/// The memory that `config` asks for. With Redis it is usable at once, whether Redis answers or not.
///
/// Must be called in a tokio runtime if Redis is configured: a task of it keeps the connection.
pub fn open(config: &MemoryConfig) -> Arc<dyn Memory> {
    if config.is_shared() { Arc::new(Redis::new(config)) } else { Arc::new(InProcess::new(config)) }
}
