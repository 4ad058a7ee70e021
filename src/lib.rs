//! Palisade: reads web-server logs as they are written, finds out which clients attack, and shuts
//! the gate on them. The rooms, in the order the data travels (ARCHITECTURE.md has the map):

/// Plain data that passes between rooms.
pub mod event;
/// How an implementation registers itself in its room.
pub mod plugin;

/// Findings and verdicts → proposals; proposals → permits at the gate.
pub mod decide;
/// Events → [`event::Finding`]s: rules, windows, client scores.
pub mod detect;
/// What is remembered of a client for an hour.
pub mod memory;
/// A line → an [`event::Event`] that borrows from it.
pub mod parse;
/// What is remembered for good: SQLite.
pub mod record;
/// Permits → the firewall.
pub mod respond;
/// The HTTP API under `/api/v1`.
pub mod show;
/// Files → chunks of whole lines.
pub mod tail;
/// A doubtful finding → [`event::Verdict`].
pub mod triage;

/// One file a verb.
pub mod cli;
/// One config file, made of each room's own part.
pub mod config;
/// Joins the rooms: the daemon (`live`) and offline replay.
pub mod pipeline;
