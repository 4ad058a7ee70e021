//! The one gate. Every block, whoever proposes it, passes [`gate`]; nothing else can make a
//! [`Permit`], and a responder takes nothing else.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net};

use super::blast::{Blasts, Limits};
use crate::event::{Category, Proposal, Proposer, Timestamp, canonical};

/// What must never be shut out, as read from the host a moment ago.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// When it was read. Too old (see [`Surroundings::FRESH_SECS`]) refuses everything.
    pub taken_at: Timestamp,
    /// Why it could not be read, if it could not: refuses everything.
    pub unreadable: Option<String>,
    /// Addresses of this host's interfaces.
    pub own: Vec<IpAddr>,
    /// Next hops of the default routes.
    pub gateways: Vec<IpAddr>,
    /// Name servers in use.
    pub resolvers: Vec<IpAddr>,
    /// The other ends of established SSH sessions.
    pub ssh_peers: Vec<IpAddr>,
    /// Search engines and monitors that are what they claim.
    pub verified_crawlers: Vec<IpAddr>,
    /// Networks that the operator allows: configuration, its files, names and `allow add`.
    pub allow: Vec<IpNet>,
    /// Addresses of what Palisade itself talks to: Redis, models, …
    pub services: Vec<IpAddr>,
    /// Networks of content delivery networks.
    pub cdns: Vec<IpNet>,
    /// What is wrong with those files and names. What they hold besides counts.
    pub problems: Vec<String>,
    /// Proxies whose address stands for many clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether private and shared networks (RFC 1918, RFC 4193, RFC 6598) may be blocked.
    pub block_private: bool,
    pub widest: Widest,
}

impl Surroundings {
    /// A snapshot older than this many seconds is not believed any more.
    pub const FRESH_SECS: u64 = 60;

    /// Whom bans that are in force already must let go.
    pub fn kept_open(&self) -> Vec<IpNet> {
        self.allow.iter().copied().chain(self.services.iter().copied().map(IpNet::from)).collect()
    }
}

/// Lengths in bits of the widest networks that may be blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widest {
    pub v4: u8,
    pub v6: u8,
}

impl Default for Widest {
    fn default() -> Self {
        Widest { v4: 16, v6: 32 }
    }
}

/// Leave to shut out one target until a moment. Only [`gate`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    id: String,
    target: IpNet,
    expires_at: Timestamp,
    proposer: Proposer,
    category: Option<Category>,
}

impl Permit {
    /// The id of the decision that this permit carries out.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn target(&self) -> IpNet {
        self.target
    }

    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    pub fn proposer(&self) -> Proposer {
        self.proposer
    }

    /// Of the attack; none where a person or a list gave no reason.
    pub fn category(&self) -> Option<Category> {
        self.category
    }
}

/// Why the gate stays open for a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("allowlisted by {0}")]
    Allowlisted(IpNet),
    #[error("a loopback address")]
    Loopback,
    #[error("a link-local address")]
    LinkLocal,
    #[error("a multicast, broadcast or unspecified address")]
    Special,
    #[error("a private address (set client.block_private to allow it)")]
    Private,
    #[error("an address of this host")]
    Own,
    #[error("a gateway of this host")]
    Gateway,
    #[error("a name server of this host")]
    Resolver,
    #[error("the other end of an SSH session")]
    SshPeer,
    #[error("a trusted proxy in {0}")]
    TrustedProxy(IpNet),
    #[error(
        "an address of a CDN, in {0}: many visitors stand behind it (set client.trusted_proxies to its networks and \
         log X-Forwarded-For, so that they are told apart)"
    )]
    Cdn(IpNet),
    #[error("an address of a service that Palisade itself uses")]
    Service,
    #[error("a verified search engine or monitor")]
    VerifiedCrawler,
    #[error("wider than /{0}")]
    TooWide(u8),
    #[error("it ended before it could begin")]
    Over,
    #[error("as many bans as there is room for are in force")]
    Full,
    #[error("held: {0} new blocks in a minute are the limit")]
    TooMany(u32),
    #[error(
        "held: more than {0} % of the clients blocked in ten minutes had been served well just before, as visitors \
         are: a rule may be wrong"
    )]
    TooManyServed(u8),
    #[error("held: too many of the clients blocked in ten minutes are of {0}")]
    TooManyOfNetwork(IpNet),
    #[error("held: this host's own addresses and peers are not known ({0})")]
    Blind(String),
}

impl Refusal {
    /// Whether a later try may pass: held, not refused.
    pub fn is_temporary(&self) -> bool {
        self.is_of_all() || matches!(self, Refusal::TooManyOfNetwork(_))
    }

    /// Whether it holds whatever is proposed by rules now.
    pub fn is_of_all(&self) -> bool {
        matches!(self, Refusal::TooMany(_) | Refusal::TooManyServed(_) | Refusal::Blind(_))
    }

    /// The word that scripts read: `private`, `allowlisted`, …
    pub fn as_str(&self) -> &'static str {
        match self {
            Refusal::Allowlisted(_) => "allowlisted",
            Refusal::Loopback => "loopback",
            Refusal::LinkLocal => "link_local",
            Refusal::Special => "special",
            Refusal::Private => "private",
            Refusal::Own => "own",
            Refusal::Gateway => "gateway",
            Refusal::Resolver => "resolver",
            Refusal::SshPeer => "ssh_peer",
            Refusal::TrustedProxy(_) => "trusted_proxy",
            Refusal::Cdn(_) => "cdn",
            Refusal::Service => "service",
            Refusal::VerifiedCrawler => "verified_crawler",
            Refusal::TooWide(_) => "too_wide",
            Refusal::Over => "over",
            Refusal::Full => "full",
            Refusal::TooMany(_) => "too_many",
            Refusal::TooManyServed(_) => "too_many_served",
            Refusal::TooManyOfNetwork(_) => "too_many_of_network",
            Refusal::Blind(_) => "blind",
        }
    }
}

/// The one way to a [`Permit`]. Counts the new block in `blasts` when it grants one.
///
/// # Errors
/// The reason why the target stays open. [`Refusal::is_temporary`] tells held from refused.
pub fn gate(
    proposal: &Proposal,
    surroundings: &Surroundings,
    blasts: &mut Blasts,
    limits: &Limits,
    now: Timestamp,
) -> Result<Permit, Refusal> {
    let expires_at = proposal.at.plus_secs(proposal.duration_secs);
    let target = canonical_network(proposal.target);
    standing(target, surroundings)?;
    if now.secs_until(expires_at) == 0 {
        return Err(Refusal::Over);
    }
    if let Some(why) = &surroundings.unreadable {
        return Err(Refusal::Blind(why.clone()));
    }
    let age = surroundings.taken_at.secs_until(now);
    if age > Surroundings::FRESH_SECS {
        return Err(Refusal::Blind(format!("last read {age} s ago")));
    }
    if let Some(refusal) = blasts.holds(proposal, limits, now) {
        return Err(refusal);
    }
    blasts.count(proposal, limits, now);
    let (proposer, category) = (proposal.proposer, proposal.ground.category);
    Ok(Permit { id: proposal.id.clone(), target, expires_at, proposer, category })
}

/// The network without host bits, and an IPv4-mapped one as the IPv4 network that it is.
fn canonical_network(network: IpNet) -> IpNet {
    let network = network.trunc();
    match (canonical(network.addr()), network.prefix_len()) {
        (IpAddr::V4(v4), prefix @ 96..) if network.addr().is_ipv6() => {
            Ipv4Net::new(v4, prefix - 96).map_or(network, IpNet::from)
        }
        _ => network,
    }
}

/// Whether `target` touches anything that must never be shut out. What it can tell without
/// looking at the host, it tells even when `surroundings` is empty, as `scan` does.
///
/// # Errors
/// The reason, if it does.
pub fn standing(target: IpNet, surroundings: &Surroundings) -> Result<(), Refusal> {
    let Widest { v4, v6 } = surroundings.widest;
    let widest = if target.addr().is_ipv4() { v4 } else { v6 };
    if target.prefix_len() < widest {
        return Err(Refusal::TooWide(widest));
    }
    let inside = |list: &[IpAddr]| list.iter().any(|address| target.contains(&canonical(*address)));
    let touching = |list: &[IpNet]| list.iter().copied().find(|network| overlap(network, &target));
    if let Some(network) = touching(&surroundings.allow) {
        return Err(Refusal::Allowlisted(network));
    }
    if let Some(network) = touching(&surroundings.trusted_proxies) {
        return Err(Refusal::TrustedProxy(network));
    }
    if let Some(network) = touching(&surroundings.cdns) {
        return Err(Refusal::Cdn(network));
    }
    for (list, refusal) in [
        (&surroundings.own, Refusal::Own),
        (&surroundings.gateways, Refusal::Gateway),
        (&surroundings.resolvers, Refusal::Resolver),
        (&surroundings.ssh_peers, Refusal::SshPeer),
        (&surroundings.services, Refusal::Service),
        (&surroundings.verified_crawlers, Refusal::VerifiedCrawler),
    ] {
        if inside(list) {
            return Err(refusal);
        }
    }
    for (network, refusal) in &*RESERVED {
        if overlap(network, &target) && !(*refusal == Refusal::Private && surroundings.block_private) {
            return Err(refusal.clone());
        }
    }
    Ok(())
}

/// Ranges of the IANA special-purpose registries that no stranger on the internet can own.
/// Documentation and benchmark ranges are ordinary addresses here.
#[expect(clippy::expect_used, reason = "a constant table, all of which every test of the gate parses")]
static RESERVED: LazyLock<[(IpNet, Refusal); 14]> = LazyLock::new(|| {
    [
        ("127.0.0.0/8", Refusal::Loopback),
        ("::1/128", Refusal::Loopback),
        ("169.254.0.0/16", Refusal::LinkLocal),
        ("fe80::/10", Refusal::LinkLocal),
        ("0.0.0.0/8", Refusal::Special),
        ("::/128", Refusal::Special),
        ("224.0.0.0/4", Refusal::Special),
        ("ff00::/8", Refusal::Special),
        ("255.255.255.255/32", Refusal::Special),
        ("10.0.0.0/8", Refusal::Private),
        ("172.16.0.0/12", Refusal::Private),
        ("192.168.0.0/16", Refusal::Private),
        ("100.64.0.0/10", Refusal::Private),
        ("fc00::/7", Refusal::Private),
    ]
    .map(|(network, refusal)| (network.parse().expect("a network in the table"), refusal))
});

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests;
