//! Takes events, gives findings. Matching looks at one line and is stateless; counting keeps
//! what clients did, in log time and bounded memory. Never reads a clock, a file or the network.

mod config;
mod counter;
mod decode;
mod literals;
mod memo;
mod prefilter;
mod rules;
mod ruleset;
mod table;
mod texts;
mod window;

pub use config::DetectConfig;
pub use counter::{Client, Counted, Counter, DamagedState, MethodClass, Record};
pub use rules::{BUILT_IN, Example, ExampleRequest, Rule, RuleError, RuleSpec};
pub use ruleset::{Hit, Ruleset, Scratch, hash};
pub use texts::views;
pub use window::{Repeated, WindowRule, WindowSpec};
