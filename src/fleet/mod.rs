//! Takes signed messages of other agents off a bus that all of them reach, and puts this agent's on it:
//! whom it shut out, and whom it let go. Says which messages hold; never decides what follows from them.

mod config;
mod message;
mod postgres;
mod redis;

use std::pin::Pin;
use std::time::Duration;

pub use config::{FleetConfig, Through};
pub use message::{Key, Message, Reader, Refusal, Signed, What, is_name};
pub use postgres::PostgresBus;
pub use redis::RedisBus;

/// Why a bus does not do what it is asked: a sentence that names the way out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub String);

/// An answer that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send + 'a>>;

/// A message on a bus, and its place there.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    pub cursor: String,
    pub signed: Signed,
}

/// Where agents leave messages for each other. It keeps them in order until the bans that they speak of are
/// over, and it is believed nothing: what holds is what is signed.
pub trait Bus: Send + Sync {
    /// `redis` or `postgres`.
    fn name(&self) -> &'static str;

    /// Puts messages on it, in their order. After an error some may be there; sent again they do no harm.
    fn publish<'a>(&'a self, messages: &'a [Signed]) -> Answer<'a, ()>;

    /// Messages after a cursor (empty: from the first that is kept), in their order, not all at once. Where
    /// there is none it waits so long for one.
    fn take<'a>(&'a self, after: &'a str, wait: Duration) -> Answer<'a, Vec<Posted>>;

    /// Whether the bus has gone on since `cursor`. False: it was emptied or is another one, and must be read
    /// from the first message on.
    fn knows<'a>(&'a self, cursor: &'a str) -> Answer<'a, bool>;

    /// Deletes messages whose bans are over; gives their number. Any agent may, at any time.
    fn prune(&self) -> Answer<'_, u64>;
}
