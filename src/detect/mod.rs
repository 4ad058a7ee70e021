//! Takes events, gives findings. Matching looks at one line and is stateless; counting keeps
//! what clients did, in log time and bounded memory. Never reads a clock, a file or the network.

mod audit;
mod automaton;
mod base64;
mod campaign;
mod config;
mod counter;
mod decode;
mod exclusion;
mod gram;
mod injection;
mod lanes;
mod legacy;
mod literals;
mod memo;
mod network;
mod normalize;
mod ordinary;
mod paths;
mod plain;
mod prefilter;
mod prose;
mod record;
mod rules;
mod ruleset;
mod screen;
mod snapshot;
mod table;
mod texts;
mod trial;
mod watched;
mod window;

pub use config::DetectConfig;
pub use counter::{Client, Counted, Counter, windows_of};
pub use exclusion::ExclusionConfig;
pub use network::networks_of;
pub use paths::path_classes;
pub use plain::PlainUri;
pub use record::{Detail, Record, What};
pub use rules::{BUILT_IN, Example, ExampleRequest, Rule, RuleError, RuleSpec};
pub use ruleset::{Hit, Ruleset, Scratch};
pub use snapshot::DamagedState;
pub use texts::views;
pub use trial::{Trial, TrialKind, cases, lint, redundant, trials};
pub use window::{Repeated, WindowRule, WindowSpec};
