//! Takes findings, decisions, file marks and snapshots, keeps them for good in one local SQLite
//! database, each batch in one transaction. Never decides anything.
//!
//! Numbers that are unsigned 64-bit here are stored as the signed number with the same bits.

mod bouncers;
mod config;
mod error;
mod insert;
mod ledger;
mod open;
mod read;
mod store;
#[cfg(test)]
mod tests;

pub use bouncers::{Ban, Bouncer, Span};
pub use config::StoreConfig;
pub use error::StoreError;
pub use ledger::{Correction, Spent};
pub use read::{AllowEntry, Change, ChangeKind, DecisionFilter, FindingRow};
pub use store::{Batch, Checkpoint, Recorded, Store};
