//! Takes events, gives findings. Matching looks at one line and is stateless; counting keeps
//! what clients did, in log time and bounded memory. Never reads a clock, a file or the network.

mod config;
mod counter;
mod decode;
mod legacy;
mod literals;
mod memo;
mod prefilter;
mod rules;
mod ruleset;
mod table;
mod texts;
mod trial;
mod window;

/// Ordinary requests, one a line, some with a tab and a user agent: what rules must not match, and
/// what literals are rare in.
const ORDINARY: &str = include_str!("ordinary.txt");

pub use config::DetectConfig;
pub use counter::{Client, Counted, Counter, DamagedState, MethodClass, Record};
pub use rules::{BUILT_IN, Example, ExampleRequest, Rule, RuleError, RuleSpec};
pub use ruleset::{Hit, Ruleset, Scratch, hash};
pub use texts::views;
pub use trial::{Trial, TrialKind, lint, trials};
pub use window::{Repeated, WindowRule, WindowSpec};
