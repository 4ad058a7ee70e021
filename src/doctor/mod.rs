//! Takes plain facts of a host, of its configuration and of the services that this names; gives what is wrong,
//! with which of them, and what to do. Pure: `pipeline::doctor` finds the facts. Never does I/O, changes
//! nothing.

mod clock;
mod daemon;
mod files;
mod firewall;
mod host;
mod keys;
mod lockout;
mod logs;
mod proxies;
mod services;

use serde::Serialize;

pub use clock::{Keeper, clock};
pub use daemon::{Daemon, Daemons, daemon};
pub use files::{OwnFile, files, renamed};
pub use firewall::{Firewall, firewall};
pub use host::{Disk, Limits, Stored, disks, limits, stored};
pub use keys::{Key, KeyFile, Shape, keys};
pub use lockout::{Lockout, lockout};
pub use logs::{Followed, Log, Refused, Tail, logs};
pub use proxies::proxies;
pub use services::{Database, Said, Service, database, services};

/// One thing that is wrong, or good to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ailment {
    pub level: Level,
    /// The name of the check, for scripts: it stays what it is.
    pub check: &'static str,
    /// What it is about: a path, a key of the configuration, a service, an address.
    pub subject: String,
    pub problem: String,
    /// What to do.
    pub advice: String,
}

/// How much it presses, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something does not work now.
    Error,
    /// It works, and will fail or hurt somebody one day.
    Warning,
    /// Good to know; nothing needs to be done.
    Note,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warning => "WARNING",
            Level::Note => "note",
        }
    }
}

impl Ailment {
    /// Whether somebody should do something.
    pub fn is_to_do(&self) -> bool {
        self.level < Level::Note
    }
}

fn ailment(
    level: Level,
    check: &'static str,
    subject: impl Into<String>,
    problem: impl Into<String>,
    advice: impl Into<String>,
) -> Ailment {
    Ailment { level, check, subject: subject.into(), problem: problem.into(), advice: advice.into() }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Level and name of each, for tests.
#[cfg(test)]
fn told(found: &[Ailment]) -> Vec<(Level, &'static str)> {
    for one in found {
        let is_said = !one.subject.is_empty() && one.problem.len() > 10 && one.advice.len() > 10;
        assert!(is_said, "it says what, with what, and what to do: {one:?}");
    }
    found.iter().map(|one| (one.level, one.check)).collect()
}
