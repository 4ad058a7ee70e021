//! Takes the lines of an input, understood, and what rules said of them; gives threats that cite lines,
//! a risk, and who did what. Pure: no clock, no file, no network.

mod audit;
mod baseline;
mod beacons;
mod case;
mod config;
mod evidence;
mod logins;
mod matcher;
mod risk;
pub mod samples;
mod signs;
mod text;
mod threat;

pub use baseline::{Baseline, TooFew};
pub use case::{Findings, Investigation};
pub use config::{AnalyzeConfig, Sensitivity};
pub use text::is_public;

use crate::event::{Event, Finding};

/// A line, and what is known of it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Counted from 1.
    pub line: u64,
    pub text: &'a [u8],
    pub event: Event<'a>,
    /// What rules and windows made of it.
    pub finding: Option<&'a Finding>,
    /// It is a finding only for what several clients did together.
    pub shared: bool,
}
