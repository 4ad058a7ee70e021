//! Takes findings, decisions, file marks and snapshots, keeps them for good in one local SQLite
//! database, each batch in one transaction. Never decides anything.

mod config;

pub use config::StoreConfig;
