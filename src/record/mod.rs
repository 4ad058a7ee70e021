//! Takes findings, decisions, file marks and snapshots, keeps them for good in one local SQLite
//! database, each batch in one transaction, and in Postgres, if there is one, what changed. Answers
//! questions about the past. Never decides anything.
//!
//! Numbers that are unsigned 64-bit here are stored as the signed number with the same bits.

mod config;
mod error;
mod history;
mod keep;
mod migrations;
mod moment;
mod postgres;
mod pseudonym;
mod report;
mod rollup;
mod rows;
mod sqlite;
#[cfg(test)]
mod tests;

pub use config::{Addresses, Keep, StoreConfig};
pub use error::StoreError;
pub use history::{
    Answer, ClientRow, Effect, FindingFilter, History, Past, PastFilter, PastFinding, Period, Point, Step, Store, Top,
};
pub use postgres::{Examined, Postgres, Trouble, advice_for};
pub use report::{Ask, Moment, Outlook, Ranked, Report, Tier, Totals};
pub use rollup::{Counts, Dimension, SEVERITIES};
pub use rows::{AnalysisSession, DecisionChange, FindingRow, Json, Rows, SchemaState};
pub use sqlite::{
    AllowEntry, Ban, Batch, Bouncer, Change, ChangeKind, Checkpoint, Correction, DecisionFilter, Forgotten,
    OwnedSession, Recorded, Remembered, RuleNote, Sharing, Span, Spent, Sqlite, Unsent, Waiting,
};
