//! Takes events, gives findings. Matching looks at one line and is stateless; counting keeps
//! what clients did, in log time and bounded memory. Never reads a clock, a file or the network.

mod base64;
mod config;
mod counter;
mod decode;
mod injection;
mod lanes;
mod legacy;
mod literals;
mod memo;
mod ordinary;
mod prefilter;
mod rules;
mod ruleset;
mod table;
mod texts;
mod trial;
mod window;

pub use config::DetectConfig;
pub use counter::{Client, Counted, Counter, DamagedState, Record, subject};
pub use rules::{BUILT_IN, Example, ExampleRequest, Rule, RuleError, RuleSpec};
pub use ruleset::{Hit, Ruleset, Scratch};
pub use texts::views;
pub use trial::{Trial, TrialKind, lint, trials};
pub use window::{Repeated, WindowRule, WindowSpec};
