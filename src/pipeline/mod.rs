//! Joins the rooms. `judge` is the one road from bytes to decisions, walked by the daemon
//! (`live`, made of `reader` and `decider`) and by offline work (`replay`, `explain`, `analysis`) alike.

#[cfg(test)]
mod agreement;
pub mod allow_files;
pub mod analysis;
pub mod ask;
#[cfg(test)]
mod behaviour;
pub mod blocklists;
pub mod compression;
pub mod crawlers;
pub mod databases;
pub mod decider;
pub mod discover;
pub mod doctor;
pub mod erase;
mod explain;
pub mod fail2ban;
mod fleet;
pub mod history;
pub mod judge;
mod known;
pub mod lists;
pub mod live;
pub mod models;
pub mod names;
pub mod notify;
mod peers;
pub mod reader;
mod recovery;
pub mod reload;
pub mod replay;
mod reports;
pub mod selfproof;
mod sender;
pub mod shadow;
pub mod spending;
pub mod supervisor;
pub mod surroundings;
mod switched_off;
#[cfg(test)]
mod tests;
mod tunings;
pub mod why;

// How records and pages are written, for whoever prints some: one way for reports and for verbs.
pub use crate::report::{csv, page};
