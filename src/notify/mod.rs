//! Takes news of findings, bans and the daemon itself, gives few messages to people, through channels,
//! and records to SIEMs, through sinks. Never decides, never reads a store: what it is to remember it
//! gives away as state.
//!
//! `desk` is pure and says what is told when; a [`Channel`] carries one message, a [`Sink`] a batch.

mod channel;
mod config;
mod desk;
mod export;
mod message;
mod news;
mod template;

use std::time::Duration;

pub use channel::{Channel, KINDS, Make, Standing, open};
use config::Quiet;
pub use config::{AlertConfig, ExportConfig, Format, Via};
pub use desk::{Desk, Due, Followed, Route};
pub use export::{Refused, Sink, open as open_sink};
pub use message::{Message, Sums};
pub use news::{News, What};
pub use template::FIELDS;

use crate::wire::{self, Heard};

/// Why something was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub why: String,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The same would be refused however often it is sent.
    pub is_final: bool,
}

impl Failure {
    /// It may go well later.
    fn passing(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), retry_after: None, is_final: false }
    }

    fn last(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), retry_after: None, is_final: true }
    }
}

/// What was heard, if it is a yes.
fn taken(heard: Result<Heard, wire::Failure>) -> Result<Heard, Failure> {
    let heard = heard.map_err(|wire::Failure(why)| Failure::passing(why))?;
    match heard.status {
        200..300 => Ok(heard),
        408 | 425 | 429 | 500.. => Err(Failure { why: heard.told(), retry_after: heard.retry_after, is_final: false }),
        _ => Err(Failure::last(heard.told())),
    }
}
