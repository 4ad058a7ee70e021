//! Palisade: reads web-server logs as they are written, finds out which clients attack, and shuts
//! the gate on them. ARCHITECTURE.md has the map; the data travels
//! tail → parse → detect → triage → decide → respond → record.

// Each room says in its own `mod.rs` what it takes, gives and never does.

// Plain data that passes between rooms.
pub mod event;
// How an implementation registers itself in its room.
pub mod plugin;
// How services of others are spoken to.
pub mod wire;

// Findings and verdicts → proposals; proposals → permits at the gate.
pub mod decide;
// Events → findings: rules, windows, client scores.
pub mod detect;
// A question in words → a plan of what to look up.
pub mod ask;
// Many lines → few tokens, no evidence lost.
pub mod compress;
// Facts of a host → what is wrong with it, and what to do.
pub mod doctor;
// What agents tell each other of their bans.
pub mod fleet;
// The lines of an input → threats, risk, who did what.
pub mod investigate;
// What is remembered of a client for an hour.
pub mod memory;
// Findings and decisions → messages to people, records to SIEMs.
pub mod notify;
// A line → an event that borrows from it.
pub mod parse;
// What is remembered for good: SQLite.
pub mod record;
// An analysis → documents.
pub mod report;
// Permits → the firewall.
pub mod respond;
// The HTTP API under `/api/v1`.
pub mod show;
// Files → chunks of whole lines.
pub mod tail;
// A doubtful finding → verdict.
pub mod triage;

// One file a verb.
pub mod cli;
// One config file, made of each room's own part.
pub mod config;
// Joins the rooms: the daemon (`live`) and offline replay.
pub mod pipeline;
