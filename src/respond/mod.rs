//! Takes permits, makes the firewall shut those targets out, and says what it holds. Never
//! decides: a [`Permit`] comes from the gate alone.

mod config;
mod dry_run;
mod nftables;

use std::future::Future;
use std::pin::Pin;

use ipnet::IpNet;

use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use crate::plugin::Kind;

pub use config::RespondConfig;
pub use dry_run::DryRun;
pub use nftables::Nftables;

/// What a responder's call resolves to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, RespondError>> + Send + 'a>>;

/// Something that shuts targets out, each until its permit ends.
///
/// - Every call is idempotent: after an error, a timeout or a dropped future nobody knows whether
///   the backend acted, and making the same call again is always right.
/// - A call never waits longer than its own deadline, and does not retry what the backend refused.
///   After an error that [is retryable](RespondError::is_retryable) the caller waits, calls
///   [`start`](Self::start) and [`allow`](Self::allow) again, and applies everything that should be held.
/// - Bans outlive the responder: dropping it closes its processes and lets go of nothing.
pub trait Responder: Send {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Makes the backend ready; called before anything else. What it already holds stays held.
    ///
    /// # Errors
    /// The backend is missing, may not be used, or does not answer.
    fn start(&mut self) -> Answer<'_, ()>;

    /// Shuts out all targets, or none of them, each until its permit's end (at most a year from
    /// `now`); a target already held gets the new end, and one whose end has passed is let go.
    ///
    /// # Errors
    /// Nothing of this call is in force, except after [`RespondError::TimedOut`] or
    /// [`RespondError::Died`], when it is not known.
    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()>;

    /// Lets exactly these targets go; those that are not held are fine.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()>;

    /// What the backend itself holds now.
    ///
    /// # Errors
    /// The backend cannot be asked, or what it holds for us was removed.
    fn held(&mut self) -> Answer<'_, Vec<Outcome>>;

    /// Makes these, and only these, the networks that pass whatever is held.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply); the earlier list then stays in force.
    fn allow<'a>(&'a mut self, networks: &'a [IpNet]) -> Answer<'a, ()>;
}

/// No target is held longer than this at one go, in seconds: a year, nft's limit for a timeout
/// ("value too large" beyond, nft 1.0.6).
const MAX_SECS: u64 = 365 * 86_400;

/// How a kind makes its responder, which does nothing before [`start`](Responder::start).
pub type Build = fn() -> Box<dyn Responder>;

/// Every responder.
pub static KINDS: &[Kind<Build>] = &[
    Kind {
        name: "dry_run",
        summary: "Remembers what would be shut out; touches nothing.",
        example: "mode = \"dry_run\"",
        build: || Box::new(DryRun::default()),
    },
    Kind {
        name: "nftables",
        summary: "Drops packets in the Linux kernel, before connection tracking, with kernel-side expiry.",
        example: "[respond]\nuse = [\"nftables\"]",
        build: || Box::new(Nftables::default()),
    },
];

/// Why a responder could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    #[error("`{program}` is not installed: install it (apt-get install nftables), or set mode = \"dry_run\"")]
    Missing { program: String },
    #[error(
        "`{program}` may not change the firewall: run as root or with CAP_NET_ADMIN \
         (systemd: AmbientCapabilities=CAP_NET_ADMIN), or set mode = \"dry_run\""
    )]
    NotPermitted { program: String },
    #[error(
        "the firewall table of ours was removed by someone else (a restart of nftables.service flushes every table): \
         it and its bans have to be made again"
    )]
    Lost,
    #[error("a firewall set is full ({limit} targets): lift bans, shorten them, or ban networks instead of addresses")]
    Full { limit: u32 },
    #[error("`{program}` did not answer within {secs} s")]
    TimedOut { program: String, secs: u64 },
    #[error("`{program}` ended before it answered: {reason}")]
    Died { program: String, reason: String },
    #[error("`{program}` refused: {message}")]
    Rejected { program: String, message: String },
}

impl RespondError {
    /// Whether the same may succeed after a while, or after a new [`Responder::start`], without
    /// anybody changing the system.
    pub fn is_retryable(&self) -> bool {
        match self {
            RespondError::Lost
            | RespondError::Full { .. }
            | RespondError::TimedOut { .. }
            | RespondError::Died { .. } => true,
            RespondError::Missing { .. } | RespondError::NotPermitted { .. } | RespondError::Rejected { .. } => false,
        }
    }
}
