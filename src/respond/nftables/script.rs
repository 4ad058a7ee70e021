//! The text that nft is sent, made of addresses and numbers only. Each function's answer is one
//! line of whole commands, which nft carries out as one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::event::ClientKey;

/// Our table in the family `inet`.
pub(super) const TABLE: &str = "palisade";

/// The chain in it.
pub(super) const CHAIN: &str = "gate";

/// Rules of the chain besides one for each block set.
pub(super) const FIXED_RULES: usize = 3;

/// Targets a set holds at most, so that kernel memory stays bounded.
pub(super) const SET_SIZE: u32 = 131_072;

/// A hash set of all blocked targets of one family and prefix length; a packet's source address
/// is masked to that length before it is looked up.
///
/// Networks of one length cannot overlap, so each keeps its own timeout, and a ban costs the same
/// with 100,000 others present. One interval set for all lengths refuses overlapping networks (or
/// merges them and loses a timeout), and took 10 s a ban with 100,000 present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BlockSet {
    V4(u8),
    V6(u8),
}

impl BlockSet {
    /// Those that exist from the start: IPv4 addresses and the IPv6 networks of clients. Others
    /// are made when the first target of their length comes.
    pub(super) const ALWAYS: [BlockSet; 2] = [BlockSet::V4(32), BlockSet::V6(ClientKey::V6_PREFIX)];

    /// The set that holds `target`.
    pub(super) fn of(target: &IpNet) -> BlockSet {
        match target {
            IpNet::V4(network) => BlockSet::V4(network.prefix_len()),
            IpNet::V6(network) => BlockSet::V6(network.prefix_len()),
        }
    }

    /// The set of this name; none if it is not one of ours.
    pub(super) fn named(name: &str) -> Option<BlockSet> {
        match name {
            "block4" => Some(BlockSet::V4(32)),
            "block6" => Some(BlockSet::V6(ClientKey::V6_PREFIX)),
            _ => match name.split_once('_')? {
                ("net4", len) => len.parse().ok().filter(|len| *len <= 32).map(BlockSet::V4),
                ("net6", len) => len.parse().ok().filter(|len| *len <= 128).map(BlockSet::V6),
                _ => None,
            },
        }
    }

    /// The target that the set's element `address` stands for.
    pub(super) fn target(self, address: IpAddr) -> Option<IpNet> {
        match self {
            BlockSet::V4(len) | BlockSet::V6(len) => IpNet::new(address, len).ok(),
        }
    }

    /// What a rule looks up in the set.
    fn key(self) -> String {
        match self {
            BlockSet::V4(32) => "ip saddr".into(),
            BlockSet::V6(128) => "ip6 saddr".into(),
            BlockSet::V4(len) => format!("ip saddr & {}", Ipv4Net::new_assert([0; 4].into(), len).netmask()),
            BlockSet::V6(len) => format!("ip6 saddr & {}", Ipv6Net::new_assert([0; 16].into(), len).netmask()),
        }
    }

    fn family(self) -> u8 {
        match self {
            BlockSet::V4(_) => 4,
            BlockSet::V6(_) => 6,
        }
    }
}

impl std::fmt::Display for BlockSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BlockSet::V4(32) => f.write_str("block4"),
            BlockSet::V6(ClientKey::V6_PREFIX) => f.write_str("block6"),
            BlockSet::V4(len) => write!(f, "net4_{len}"),
            BlockSet::V6(len) => write!(f, "net6_{len}"),
        }
    }
}

/// Makes the table and whatever is missing in it, keeps the elements of its sets, and makes the
/// chain's rules exactly ours.
pub(super) fn table(sets: &BTreeSet<BlockSet>) -> String {
    let mut out = format!("add table inet {TABLE}; ");
    for family in [4, 6] {
        push(&mut out, format_args!("add set inet {TABLE} allow{family} {{ type ipv{family}_addr; flags interval; }}"));
        push(&mut out, format_args!("add counter inet {TABLE} dropped{family}"));
    }
    for set in sets {
        let family = set.family();
        push(
            &mut out,
            format_args!("add set inet {TABLE} {set} {{ type ipv{family}_addr; flags timeout; size {SET_SIZE}; }}"),
        );
    }
    // Before connection tracking, Docker's DNAT and everybody's input chain, so that established
    // connections and containers are shut too. `accept` ends this chain only: other tables still judge.
    push(
        &mut out,
        format_args!("add chain inet {TABLE} {CHAIN} {{ type filter hook prerouting priority -310; policy accept; }}"),
    );
    push(&mut out, format_args!("flush chain inet {TABLE} {CHAIN}"));
    let mut rule = |rule: std::fmt::Arguments<'_>| push(&mut out, format_args!("add rule inet {TABLE} {CHAIN} {rule}"));
    rule(format_args!("iif lo accept"));
    rule(format_args!("ip saddr @allow4 accept"));
    rule(format_args!("ip6 saddr @allow6 accept"));
    for set in sets {
        rule(format_args!("{} @{set} counter name dropped{} drop", set.key(), set.family()));
    }
    out
}

/// Shuts out each target for its seconds; one with 0 is left out, and so is the end of one that is there.
pub(super) fn block(wanted: &BTreeMap<IpNet, u64>) -> String {
    let mut out = String::new();
    let kept = wanted.iter().filter(|(_, secs)| **secs > 0);
    let timed = kept.map(|(target, secs)| (target, format!("{} timeout {secs}s", target.addr())));
    for (set, elements) in by_set(timed) {
        push(&mut out, format_args!("add element inet {TABLE} {set} {{ {elements} }}"));
    }
    out
}

/// Lets the targets go. A missing element fails a whole transaction, so each is added first.
/// Their sets must exist.
pub(super) fn lift<'a>(targets: impl IntoIterator<Item = &'a IpNet>) -> String {
    let mut out = String::new();
    for (set, elements) in by_set(targets.into_iter().map(|target| (target, target.addr().to_string()))) {
        push(&mut out, format_args!("add element inet {TABLE} {set} {{ {elements} }}"));
        push(&mut out, format_args!("delete element inet {TABLE} {set} {{ {elements} }}"));
    }
    out
}

/// Lets one target go that is held.
pub(super) fn delete(target: &IpNet) -> String {
    format!("delete element inet {TABLE} {} {{ {} }}; ", BlockSet::of(target), target.addr())
}

/// Replaces what always passes.
pub(super) fn allow(networks: &[IpNet]) -> String {
    // Disjoint, because interval sets refuse overlaps.
    let networks = IpNet::aggregate(&networks.to_vec());
    let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) = networks.iter().partition(|network| network.addr().is_ipv4());
    let mut out = String::new();
    for (set, networks) in [("allow4", v4), ("allow6", v6)] {
        push(&mut out, format_args!("flush set inet {TABLE} {set}"));
        if !networks.is_empty() {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            push(&mut out, format_args!("add element inet {TABLE} {set} {{ {} }}", networks.join(", ")));
        }
    }
    out
}

fn push(out: &mut String, command: std::fmt::Arguments<'_>) {
    let _ = write!(out, "{command}; ");
}

/// The elements of each set, separated by commas.
fn by_set<'a>(elements: impl Iterator<Item = (&'a IpNet, String)>) -> BTreeMap<BlockSet, String> {
    let mut sets: BTreeMap<BlockSet, String> = BTreeMap::new();
    for (target, element) in elements {
        let list = sets.entry(BlockSet::of(target)).or_default();
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&element);
    }
    sets
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// One command a line.
    fn lines(script: &str) -> String {
        let script =
            script.replace("; add ", "\nadd ").replace("; delete ", "\ndelete ").replace("; flush ", "\nflush ");
        script.strip_suffix("; ").unwrap().to_string() + "\n"
    }

    #[test]
    fn the_chain_lets_loopback_and_the_allowed_pass_before_it_drops() {
        let sets = BTreeSet::from([BlockSet::V4(32), BlockSet::V4(24), BlockSet::V6(64), BlockSet::V6(128)]);
        expect![[r#"
            add table inet palisade
            add set inet palisade allow4 { type ipv4_addr; flags interval; }
            add counter inet palisade dropped4
            add set inet palisade allow6 { type ipv6_addr; flags interval; }
            add counter inet palisade dropped6
            add set inet palisade net4_24 { type ipv4_addr; flags timeout; size 131072; }
            add set inet palisade block4 { type ipv4_addr; flags timeout; size 131072; }
            add set inet palisade block6 { type ipv6_addr; flags timeout; size 131072; }
            add set inet palisade net6_128 { type ipv6_addr; flags timeout; size 131072; }
            add chain inet palisade gate { type filter hook prerouting priority -310; policy accept; }
            flush chain inet palisade gate
            add rule inet palisade gate iif lo accept
            add rule inet palisade gate ip saddr @allow4 accept
            add rule inet palisade gate ip6 saddr @allow6 accept
            add rule inet palisade gate ip saddr & 255.255.255.0 @net4_24 counter name dropped4 drop
            add rule inet palisade gate ip saddr @block4 counter name dropped4 drop
            add rule inet palisade gate ip6 saddr & ffff:ffff:ffff:ffff:: @block6 counter name dropped6 drop
            add rule inet palisade gate ip6 saddr @net6_128 counter name dropped6 drop
        "#]]
        .assert_eq(&lines(&table(&sets)));
    }

    #[test]
    fn a_target_is_taken_away_before_it_gets_its_new_end() {
        let wanted = [("203.0.113.7/32", 60), ("203.0.113.9/32", 0), ("198.51.100.0/24", 5), ("2001:db8::/64", 7)];
        let wanted: BTreeMap<IpNet, u64> = wanted.into_iter().map(|(target, secs)| (net(target), secs)).collect();
        expect![[r#"
            add element inet palisade net4_24 { 198.51.100.0 }
            delete element inet palisade net4_24 { 198.51.100.0 }
            add element inet palisade block4 { 203.0.113.7, 203.0.113.9 }
            delete element inet palisade block4 { 203.0.113.7, 203.0.113.9 }
            add element inet palisade block6 { 2001:db8:: }
            delete element inet palisade block6 { 2001:db8:: }
            add element inet palisade net4_24 { 198.51.100.0 timeout 5s }
            add element inet palisade block4 { 203.0.113.7 timeout 60s }
            add element inet palisade block6 { 2001:db8:: timeout 7s }
        "#]]
        .assert_eq(&lines(&(lift(wanted.keys()) + &block(&wanted))));
    }

    #[test]
    fn the_allowlist_is_replaced_whole_and_without_overlaps() {
        expect![[r#"
            flush set inet palisade allow4
            add element inet palisade allow4 { 192.0.2.0/24 }
            flush set inet palisade allow6
        "#]]
        .assert_eq(&lines(&allow(&[net("192.0.2.7/32"), net("192.0.2.9/24")])));
    }

    #[test]
    fn every_target_has_its_set_and_every_set_its_name() {
        for (target, name) in [
            ("203.0.113.7/32", "block4"),
            ("203.0.113.0/24", "net4_24"),
            ("2001:db8:1:2::/64", "block6"),
            ("2001:db8:1::/48", "net6_48"),
            ("2001:db8::1/128", "net6_128"),
        ] {
            let set = BlockSet::of(&net(target));
            assert_eq!(set.to_string(), name);
            assert_eq!(BlockSet::named(name), Some(set));
            assert_eq!(set.target(net(target).addr()), Some(net(target)));
        }
        for foreign in ["allow4", "net4_33", "net6_129", "net4_x", "net4", "blocklist"] {
            assert_eq!(BlockSet::named(foreign), None, "{foreign}");
        }
    }
}
