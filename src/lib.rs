//! Palisade: reads web-server logs as they are written, finds out which clients attack, and shuts
//! the gate on them. The rooms, in the order the data travels (ARCHITECTURE.md has the map):

/// Plain data that passes between rooms.
pub mod event;
/// How an implementation registers itself in its room.
pub mod plugin;

/// Files → chunks of whole lines.
pub mod tail;
/// A line → an [`event::Event`] that borrows from it.
pub mod parse;
/// Events → [`event::Finding`]s: rules, windows, client scores.
pub mod detect;
/// A doubtful finding → [`event::Verdict`].
pub mod triage;
/// Findings and verdicts → proposals; proposals → permits at the gate.
pub mod decide;
/// Permits → the firewall.
pub mod respond;
/// What is remembered of a client for an hour.
pub mod memory;
/// What is remembered for good: SQLite.
pub mod record;
/// The HTTP API under `/api/v1`.
pub mod show;

/// One config file, made of each room's own part.
pub mod config;
/// Joins the rooms: the daemon (`live`) and offline replay.
pub mod pipeline;
/// One file a verb.
pub mod cli;
