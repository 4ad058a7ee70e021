//! Takes a question in words, gives a typed plan of what to look up; answers nothing itself, and writes
//! nothing.
//!
//! A grammar of English questions makes the [`Plan`]; of what it does not understand it says which words, and
//! makes no plan. A language model may fill the same plan instead ([`model`]), and is believed as little as
//! anybody: [`Plan::check`] is the border. What logs contain is shown to neither.

mod config;
mod grammar;
pub mod model;
mod plan;
mod say;
mod service;
mod time;
mod tokens;
mod words;

pub use config::AskConfig;
pub use grammar::{Refusal, Understood, understand};
pub use plan::{Condition, Field, MAX_LIMIT, Order, Plan, Show, Statuses, Step, Subject};
pub use service::{Service, user_of};
pub use words::EXAMPLES;

use jiff::tz::TimeZone;

use crate::event::Timestamp;

/// When and where somebody asks: words such as "yesterday" mean nothing without.
#[derive(Clone, Debug)]
pub struct Moment {
    pub now: Timestamp,
    pub zone: TimeZone,
}
