//! Joins the rooms. `judge` is the one road from bytes to decisions, walked by the daemon
//! (`live`, made of `reader` and `decider`) and by offline work (`replay`, `explain`) alike.

#[cfg(test)]
mod agreement;
pub mod allow_files;
#[cfg(test)]
mod behaviour;
pub mod blocklists;
pub mod crawlers;
pub mod decider;
pub mod discover;
mod explain;
pub mod fail2ban;
pub mod judge;
mod known;
pub mod lists;
pub mod live;
pub mod models;
pub mod names;
mod peers;
pub mod reader;
pub mod replay;
mod reports;
pub mod selfproof;
pub mod supervisor;
pub mod surroundings;
#[cfg(test)]
mod tests;
pub mod why;
