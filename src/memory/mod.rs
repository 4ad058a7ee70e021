//! Takes findings, answers what is known of a client; forgets after an hour. Informs grey cases
//! and people; never counts for rules (that is detect's, in log time).

mod config;

pub use config::MemoryConfig;
