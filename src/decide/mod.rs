//! Takes findings and verdicts, gives proposals; takes proposals, gives permits (the [gate](gate())).
//! Pure: time, history and surroundings are arguments. Never reads a clock, a file or the network.

mod combine;
pub mod gate;
pub mod policy;

pub use combine::{Grounds, Opinion, combine};
pub use gate::{Blasts, Permit, Refusal, Surroundings, gate};
pub use policy::{ClientConfig, CrawlerConfig, Durations, Thresholds, action, ban_secs, is_in_doubt};
