//! Takes permits, makes the firewall shut those targets out, and says what it holds. Never
//! decides: a [`Permit`] comes from the gate alone.

pub mod azure;
mod child;
mod cloudflare;
mod command;
mod config;
mod dry_run;
mod iptables;
mod nftables;
mod nginx;
mod shared;
mod webhook;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use crate::plugin::Kind;

pub use cloudflare::{Cloudflare, CloudflareConfig};
pub use command::{Command, CommandConfig};
pub use config::RespondConfig;
pub use dry_run::DryRun;
pub use iptables::{Backend, Iptables, IptablesConfig};
pub use nftables::Nftables;
pub use nginx::{Nginx, NginxConfig, NginxFormat};
pub use webhook::{Webhook, WebhookConfig};

/// What a responder's call resolves to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, RespondError>> + Send + 'a>>;

/// Something that shuts targets out, each until its permit ends.
///
/// - Every call is idempotent: after an error, a timeout or a dropped future nobody knows whether
///   the backend acted, and making the same call again is always right.
/// - A call never waits longer than its own deadline, and does not retry what the backend refused.
///   After an error the caller waits, calls [`start`](Self::start) and [`allow`](Self::allow) again,
///   and applies everything that should be held.
/// - Bans outlive the responder: dropping it closes its processes and lets go of nothing.
/// - What somebody else put into the backend is left alone and is not [`held`](Self::held).
pub trait Responder: Send {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// How it is to be called.
    fn manner(&self) -> Manner {
        Manner::KERNEL
    }

    /// Whether the backend has a place for such a target at all; what it has not is never given to it.
    fn takes(&self, _target: &IpNet) -> bool {
        true
    }

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
    /// [`RespondError::Died`], when it is not known, and where the backend has no transactions.
    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()>;

    /// Lets exactly these targets go; those that are not held are fine.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()>;

    /// What the backend itself holds for us now.
    ///
    /// # Errors
    /// The backend cannot be asked, or what it holds for us was removed.
    fn held(&mut self) -> Answer<'_, Vec<Outcome>>;

    /// Whether everything that [`start`](Self::start) made is still there, cheaply: called every
    /// [`Manner::look`].
    ///
    /// # Errors
    /// [`RespondError::Lost`] when somebody removed it; else the backend cannot be asked.
    fn check(&mut self) -> Answer<'_, ()>;

    /// What was dropped since the backend was made, where it counts.
    fn dropped(&mut self) -> Answer<'_, Option<Dropped>> {
        done(None)
    }

    /// Makes these, and only these, the networks that pass whatever is held.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply); the earlier list then stays in force.
    fn allow<'a>(&'a mut self, networks: &'a [IpNet]) -> Answer<'a, ()>;
}

/// How a responder is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// It answers in milliseconds; others need seconds or minutes, and nobody waits for them.
    pub is_quick: bool,
    /// The backend ends bans by its own clock; from others what has ended is [lifted](Responder::lift).
    pub ends_bans: bool,
    /// What comes within this time goes as one call.
    pub gather: Duration,
    /// How often [`Responder::check`] is called.
    pub look: Duration,
    /// It stops requests also of clients behind a proxy, whose packets come from the proxy.
    pub sees_clients_behind_proxies: bool,
}

impl Manner {
    /// A firewall in this host's kernel.
    pub const KERNEL: Manner = Manner {
        is_quick: true,
        ends_bans: true,
        gather: Duration::ZERO,
        look: Duration::from_secs(1),
        sees_clients_behind_proxies: false,
    };
}

/// What a backend refused so far because of us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    pub packets: u64,
    pub bytes: u64,
}

/// Whether `program`, such as nft, is where responders look for it.
pub fn is_installed(program: &str) -> bool {
    child::find(program).is_some()
}

/// No target is held longer than this at one go, in seconds: a year, nft's limit for a timeout
/// ("value too large" beyond, nft 1.0.6).
const MAX_SECS: u64 = 365 * 86_400;

/// An answer that is there already.
fn done<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

/// How a kind makes its responder, which does nothing before [`start`](Responder::start).
///
/// # Errors
/// What is missing in its settings.
pub type Build = fn(&RespondConfig) -> Result<Box<dyn Responder>, RespondError>;

/// Every responder.
pub static KINDS: &[Kind<Build>] = &[
    Kind {
        name: "dry_run",
        summary: "Remembers what would be shut out; touches nothing.",
        example: "mode = \"dry_run\"",
        build: |_| Ok(Box::new(DryRun::default())),
    },
    Kind {
        name: "nftables",
        summary: "Drops packets in the Linux kernel, before connection tracking, with kernel-side expiry.",
        example: "[respond]\nuse = [\"nftables\"]",
        build: |_| Ok(Box::new(Nftables::default())),
    },
    Kind {
        name: "iptables",
        summary: "The same for hosts without nftables: one rule a family and chain, and ipset.",
        example: "[respond]\nuse = [\"iptables\"]",
        build: |config| Ok(Box::new(Iptables::new(config.iptables.clone()))),
    },
    Kind {
        name: "nginx",
        summary: "Has nginx answer 403 by a file that its configuration includes: for clients behind a proxy or CDN.",
        example: "[respond]\nuse = [\"nginx\"]",
        build: |config| Ok(Box::new(Nginx::new(&config.nginx)?)),
    },
    Kind {
        name: "cloudflare",
        summary: "Keeps an IP list of a Cloudflare account, which a custom rule there refuses.",
        example: "[respond]\nuse = [\"nftables\", \"cloudflare\"]",
        build: |config| Ok(Box::new(Cloudflare::new(&config.cloudflare)?)),
    },
    Kind {
        name: "command",
        summary: "Runs a program of yours for each ban and each unban, without a shell.",
        example: "[respond]\nuse = [\"command\"]",
        build: |config| Ok(Box::new(Command::new(&config.command)?)),
    },
    Kind {
        name: "webhook",
        summary: "Posts bans and unbans to a server of yours, as signed JSON.",
        example: "[respond]\nuse = [\"nftables\", \"webhook\"]",
        build: |config| Ok(Box::new(Webhook::new(&config.webhook)?)),
    },
    Kind {
        name: "azure",
        summary: "Lists targets in Azure: IP groups, network security groups, WAF policies. Takes seconds to minutes.",
        example: "[respond]\nuse = [\"nftables\", \"azure\"]",
        build: |config| azure::build(&config.azure),
    },
];

/// Debian's package of a program of the firewall.
fn package(program: &str) -> &'static str {
    match program {
        _ if program.ends_with("ipset") => "ipset",
        _ if program.contains("tables") => "iptables",
        _ => "nftables",
    }
}

/// What using it takes.
fn capabilities(program: &str) -> &'static str {
    // iptables asks the kernel for a set's number through a raw socket.
    if package(program) == "iptables" { "CAP_NET_ADMIN CAP_NET_RAW" } else { "CAP_NET_ADMIN" }
}

/// Why a responder could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    #[error(
        "`{program}` is not installed: install it (apt-get install {}), or set mode = \"dry_run\"",
        package(program)
    )]
    Missing { program: String },
    #[error(
        "`{program}` may not change the firewall: run as root or with {capabilities} \
         (systemd: AmbientCapabilities={capabilities}), or set mode = \"dry_run\"",
        capabilities = capabilities(program)
    )]
    NotPermitted { program: String },
    #[error(
        "the firewall's rules or sets of ours were removed by someone else (a restart of nftables.service flushes \
         every table): they and their bans have to be made again"
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
    #[error("`{program}` will not do this however often it is asked: {message}")]
    GivenUp { program: String, message: String },
    #[error("{0}")]
    Settings(String),
}

impl RespondError {
    /// Whether the same call is not to be made again. Whatever else it was for is done, and what was
    /// given up is [held](Responder::held) until it is lifted.
    pub fn is_final(&self) -> bool {
        matches!(self, RespondError::GivenUp { .. })
    }
}
