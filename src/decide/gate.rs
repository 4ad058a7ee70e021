//! The one gate. Every block, whoever proposes it, passes [`gate`]; nothing else can make a
//! [`Permit`], and a responder takes nothing else.

use std::collections::VecDeque;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

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
    /// Networks that the operator allows: configuration, its files, and `allow add`.
    pub allow: Vec<IpNet>,
    /// What is wrong with those files. What they hold besides counts.
    pub problems: Vec<String>,
    /// Proxies whose address stands for many clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether private and shared networks (RFC 1918, RFC 4193, RFC 6598) may be blocked.
    pub block_private: bool,
}

impl Surroundings {
    /// A snapshot older than this many seconds is not believed any more.
    pub const FRESH_SECS: u64 = 60;
}

/// New blocks of the last minute: the blast radius.
#[derive(Clone, Debug, Default)]
pub struct Blasts {
    recent: VecDeque<Timestamp>,
}

impl Blasts {
    /// New blocks in the minute before `now`.
    pub fn in_last_minute(&mut self, now: Timestamp) -> usize {
        while self.recent.front().is_some_and(|at| now.0 - at.0 >= 60_000) {
            self.recent.pop_front();
        }
        self.recent.len()
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
    #[error("a verified search engine or monitor")]
    VerifiedCrawler,
    #[error("wider than /{0}")]
    TooWide(u8),
    #[error("it ended before it could begin")]
    Over,
    #[error("held: {0} new blocks in a minute are the limit")]
    TooMany(u32),
    #[error("held: this host's own addresses and peers are not known ({0})")]
    Blind(String),
}

impl Refusal {
    /// Whether a later try may pass: held, not refused.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Refusal::TooMany(_) | Refusal::Blind(_))
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
            Refusal::VerifiedCrawler => "verified_crawler",
            Refusal::TooWide(_) => "too_wide",
            Refusal::Over => "over",
            Refusal::TooMany(_) => "too_many",
            Refusal::Blind(_) => "blind",
        }
    }
}

/// Widest networks that may be blocked at all.
const WIDEST: (u8, u8) = (16, 32);

/// The one way to a [`Permit`]. Counts the new block in `blasts` when it grants one.
///
/// # Errors
/// The reason why the target stays open. [`Refusal::is_temporary`] tells held from refused.
pub fn gate(
    proposal: &Proposal,
    surroundings: &Surroundings,
    blasts: &mut Blasts,
    max_per_min: u32,
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
    // A person who bans, a list that a person chose, and bans that were in force before a restart are
    // no blast of ours.
    if proposal.proposer == Proposer::Rules {
        if blasts.in_last_minute(now) >= max_per_min as usize {
            return Err(Refusal::TooMany(max_per_min));
        }
        blasts.recent.push_back(now);
    }
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
    let widest = if target.addr().is_ipv4() { WIDEST.0 } else { WIDEST.1 };
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
    for (list, refusal) in [
        (&surroundings.own, Refusal::Own),
        (&surroundings.gateways, Refusal::Gateway),
        (&surroundings.resolvers, Refusal::Resolver),
        (&surroundings.ssh_peers, Refusal::SshPeer),
        (&surroundings.verified_crawlers, Refusal::VerifiedCrawler),
    ] {
        if inside(list) {
            return Err(refusal);
        }
    }
    for (network, refusal) in RESERVED {
        #[expect(clippy::expect_used, reason = "a constant table, all of which every test of the gate parses")]
        let network: IpNet = network.parse().expect("a network in the table");
        if overlap(&network, &target) && !(refusal == Refusal::Private && surroundings.block_private) {
            return Err(refusal);
        }
    }
    Ok(())
}

/// Ranges of the IANA special-purpose registries that no stranger on the internet can own.
/// Documentation and benchmark ranges are ordinary addresses here.
const RESERVED: [(&str, Refusal); 14] = [
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
];

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ground;

    const NOW: Timestamp = Timestamp(1_767_571_200_000);

    fn proposal(target: &str, proposer: Proposer) -> Proposal {
        let target = target.parse::<IpNet>().or_else(|_| target.parse::<IpAddr>().map(IpNet::from)).unwrap();
        Proposal {
            id: "1".into(),
            target,
            proposer,
            ground: Ground::default(),
            at: NOW,
            duration_secs: 3600,
            offences: 0,
        }
    }

    fn host() -> Surroundings {
        let ip = |text: &str| vec![text.parse().unwrap()];
        let net = |text: &str| vec![text.parse().unwrap()];
        Surroundings {
            taken_at: NOW,
            own: ip("203.0.113.1"),
            gateways: ip("203.0.113.254"),
            resolvers: ip("2001:db8:53::53"),
            ssh_peers: ip("198.51.100.22"),
            verified_crawlers: ip("198.51.100.66"),
            allow: net("192.0.2.0/24"),
            trusted_proxies: net("2001:db8:cd::/48"),
            ..Surroundings::default()
        }
    }

    fn answer(target: &str, surroundings: &Surroundings) -> Result<(), &'static str> {
        gate(&proposal(target, Proposer::Rules), surroundings, &mut Blasts::default(), 60, NOW)
            .map(|_| ())
            .map_err(|refusal| refusal.as_str())
    }

    #[test]
    fn the_gate_refuses_everything_that_must_stay_open() {
        for (target, refusal) in [
            ("192.0.2.77", "allowlisted"),
            ("2001:db8:cd:1::/64", "trusted_proxy"),
            ("203.0.113.1", "own"),
            ("203.0.113.254", "gateway"),
            ("2001:db8:53::/64", "resolver"),
            ("198.51.100.0/24", "ssh_peer"),
            ("198.51.100.66", "verified_crawler"),
            ("127.0.0.1", "loopback"),
            ("::ffff:127.0.0.1/128", "loopback"),
            ("::ffff:192.0.2.0/120", "allowlisted"),
            ("::1", "loopback"),
            ("169.254.1.1", "link_local"),
            ("fe80::/64", "link_local"),
            ("224.0.0.1", "special"),
            ("0.0.0.0", "special"),
            ("10.1.2.3", "private"),
            ("172.31.0.1", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "private"),
            ("fd00::/64", "private"),
            ("198.0.0.0/8", "too_wide"),
            ("2001::/16", "too_wide"),
        ] {
            assert_eq!(answer(target, &host()), Err(refusal), "{target}");
        }
        for target in ["203.0.113.7", "198.51.100.7", "2001:db8:1:2::/64", "8.8.8.8"] {
            assert_eq!(answer(target, &host()), Ok(()), "{target}");
        }
    }

    #[test]
    fn private_networks_are_blocked_only_when_configured() {
        let lab = Surroundings { block_private: true, ..host() };
        assert_eq!(answer("10.1.2.3", &lab), Ok(()));
        assert_eq!(answer("127.0.0.1", &lab), Err("loopback"));
    }

    #[test]
    fn who_cannot_see_does_not_shoot() {
        let stale = Surroundings { taken_at: Timestamp(NOW.0 - 61_000), ..host() };
        assert_eq!(answer("203.0.113.7", &stale), Err("blind"));
        let unreadable = Surroundings { unreadable: Some("no /proc".into()), ..host() };
        assert_eq!(answer("203.0.113.7", &unreadable), Err("blind"));
    }

    #[test]
    fn a_minute_holds_only_so_many_new_blocks() {
        let mut blasts = Blasts::default();
        let mut ask = |proposer, now| {
            gate(&proposal("203.0.113.7", proposer), &Surroundings { taken_at: now, ..host() }, &mut blasts, 2, now)
        };
        assert!(ask(Proposer::Rules, NOW).is_ok());
        assert!(ask(Proposer::Rules, NOW).is_ok());
        let held = ask(Proposer::Rules, NOW).unwrap_err();
        assert_eq!(held, Refusal::TooMany(2));
        assert!(held.is_temporary());
        assert!(ask(Proposer::Operator, NOW).is_ok(), "a person is not held");
        assert!(ask(Proposer::Imported, NOW).is_ok(), "nor is a list");
        assert!(ask(Proposer::Restored, NOW).is_ok(), "nor are bans that were in force");
        assert!(ask(Proposer::Rules, NOW.plus_secs(60)).is_ok(), "the next minute lets go");
    }

    #[test]
    fn a_ban_counts_from_its_cause_and_one_that_is_over_is_not_applied() {
        let permit =
            gate(&proposal("203.0.113.7", Proposer::Rules), &host(), &mut Blasts::default(), 9, NOW.plus_secs(10))
                .unwrap();
        assert_eq!(permit.expires_at(), NOW.plus_secs(3600));
        let late = NOW.plus_secs(3600);
        let there = Surroundings { taken_at: late, ..host() };
        assert_eq!(
            gate(&proposal("203.0.113.7", Proposer::Rules), &there, &mut Blasts::default(), 9, late).unwrap_err(),
            Refusal::Over
        );
    }
}
