//! Takes findings and verdicts, gives proposals; takes proposals, gives permits (the [gate](gate())).
//! Pure: time, history and surroundings are arguments. Never reads a clock, a file or the network.

mod blast;
mod cdn;
mod combine;
pub mod gate;
pub mod policy;

pub use blast::{Blasts, Limits};
pub use cdn::cdns;
pub use combine::{Grounds, Opinion, combine};
pub use gate::{Permit, Refusal, Surroundings, Widest, gate};
pub use policy::{ClientConfig, CrawlerConfig, Durations, Thresholds, action, ban_secs, ban_seed, is_in_doubt};
