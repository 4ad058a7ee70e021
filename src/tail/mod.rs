//! Takes files, gives chunks of whole lines with their offsets. Never looks into a line.

mod config;

pub use config::{Start, SourceConfig};
