//! What ipset and iptables are told, made of addresses and numbers only, and what they answer.

use std::collections::BTreeMap;
use std::fmt::Write;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::event::Outcome;
use crate::respond::Dropped;

/// Targets a set holds at most, so that kernel memory stays bounded.
pub(super) const SET_SIZE: u32 = 131_072;

/// The longest timeout that ipset takes ("out of range" beyond, ipset 7.17): 24.8 days.
pub(super) const MAX_SECS: u64 = 2_147_483;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Family; 2] = [Family::V4, Family::V6];

    fn of(network: &IpNet) -> Family {
        if network.addr().is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn number(self) -> u8 {
        if self == Family::V4 { 4 } else { 6 }
    }

    /// `hash:net`, also for single addresses: networks of all lengths stand beside each other with their
    /// own timeouts, and a packet costs one look-up for each length that is there.
    pub(super) fn block_set(self) -> String {
        format!("palisade-block{}", self.number())
    }

    fn allow_set(self) -> String {
        format!("palisade-allow{}", self.number())
    }
}

/// Makes the sets that are missing.
pub(super) fn sets() -> String {
    let mut out = String::new();
    for family in Family::ALL {
        create(&mut out, family, &family.block_set(), " timeout 0");
        create(&mut out, family, &family.allow_set(), "");
    }
    out
}

fn create(out: &mut String, family: Family, set: &str, timeout: &str) {
    let inet = if family == Family::V4 { "inet" } else { "inet6" };
    let _ = writeln!(out, "create {set} hash:net family {inet} maxelem {SET_SIZE}{timeout}");
}

/// The one rule. It asks for the allowed itself: an `ACCEPT` of theirs would pass the rules of others
/// that follow in the chain.
pub(super) fn rule(family: Family) -> String {
    let (block, allow) = (family.block_set(), family.allow_set());
    format!("! -i lo -m set ! --match-set {allow} src -m set --match-set {block} src -j DROP")
}

/// The chains that lack our rule in a listing of `-v -S`. `PREROUTING` alone, or those of the filter
/// table, with Docker's where it is.
pub(super) fn missing(listing: &str, family: Family, is_filter: bool) -> Vec<&'static str> {
    let has_docker = listing.lines().any(|line| line.starts_with("-N DOCKER-USER"));
    let chains: &[&str] = match (is_filter, has_docker) {
        (false, _) => &["PREROUTING"],
        (true, false) => &["INPUT", "FORWARD"],
        (true, true) => &["INPUT", "FORWARD", "DOCKER-USER"],
    };
    // The counters stand before the rule's end.
    let rule = rule(family).replace(" -j DROP", " ");
    let stands = |chain: &str| {
        listing.lines().any(|line| {
            let rest = line.strip_prefix("-A ").and_then(|rest| rest.strip_prefix(chain));
            rest.is_some_and(|rest| rest.trim_start().starts_with(&rule) && rest.trim_end().ends_with("-j DROP"))
        })
    };
    chains.iter().copied().filter(|chain| !stands(chain)).collect()
}

pub(super) fn is_ours(line: &str) -> bool {
    line.contains("--match-set palisade-block")
}

/// What our rules counted, in a listing of `-v -S`: `… -c PACKETS BYTES -j DROP`.
pub(super) fn dropped(listing: &str) -> Dropped {
    let mut sum = Dropped::default();
    for line in listing.lines().filter(|line| is_ours(line)) {
        let mut words = line.split(' ').skip_while(|word| *word != "-c").skip(1);
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        sum.packets += number();
        sum.bytes += number();
    }
    sum
}

/// Shuts out each target for its seconds; 0 lets it go. For `ipset restore -exist`.
pub(super) fn block(wanted: &BTreeMap<IpNet, u64>) -> String {
    let mut out = String::new();
    // First who is let go, so that there is room.
    for (target, _) in wanted.iter().filter(|(_, secs)| **secs == 0) {
        let _ = writeln!(out, "del {} {target}", Family::of(target).block_set());
    }
    for (target, secs) in wanted.iter().filter(|(_, secs)| **secs > 0) {
        // No end at all would be the set's default.
        let _ = writeln!(out, "add {} {target} timeout {}", Family::of(target).block_set(), (*secs).min(MAX_SECS));
    }
    out
}

/// Replaces what always passes, at one moment: a new set takes the old one's place.
pub(super) fn allow(networks: &[IpNet]) -> String {
    let networks = IpNet::aggregate(&networks.to_vec());
    let mut out = String::new();
    for family in Family::ALL {
        let new = format!("palisade-new{}", family.number());
        create(&mut out, family, &new, "");
        let _ = writeln!(out, "flush {new}");
        for network in networks.iter().filter(|network| Family::of(network) == family) {
            // A hash has no place for all addresses; two halves are all, too.
            match network {
                IpNet::V4(all) if all.prefix_len() == 0 => {
                    all.subnets(1).into_iter().flatten().for_each(|half: Ipv4Net| {
                        let _ = writeln!(out, "add {new} {half}");
                    });
                }
                IpNet::V6(all) if all.prefix_len() == 0 => {
                    all.subnets(1).into_iter().flatten().for_each(|half: Ipv6Net| {
                        let _ = writeln!(out, "add {new} {half}");
                    });
                }
                network => {
                    let _ = writeln!(out, "add {new} {network}");
                }
            }
        }
        let _ = writeln!(out, "swap {new} {}\ndestroy {new}", family.allow_set());
    }
    out
}

/// What `ipset save` of a block set shows: `add NAME TARGET timeout SECS`.
pub(super) fn held(saved: &str) -> impl Iterator<Item = Outcome> + '_ {
    saved.lines().filter_map(|line| {
        let mut words = line.strip_prefix("add ")?.split(' ').skip(1);
        let target = words.next()?;
        let target = target.parse().or_else(|_| target.parse().map(|address: std::net::IpAddr| address.into())).ok()?;
        let remaining_secs = words.skip_while(|word| *word != "timeout").nth(1)?.parse().ok()?;
        Some(Outcome { target, remaining_secs })
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn every_target_ends_and_none_later_than_ipset_can_say() {
        let wanted = [
            ("203.0.113.7/32", 60),
            ("203.0.113.9/32", 0),
            ("198.51.100.0/24", 31_536_000),
            ("2001:db8::/64", 7),
            ("2001:db8::1/128", 0),
        ];
        let wanted = wanted.into_iter().map(|(target, secs)| (net(target), secs)).collect();
        expect![[r#"
            del palisade-block4 203.0.113.9/32
            del palisade-block6 2001:db8::1/128
            add palisade-block4 198.51.100.0/24 timeout 2147483
            add palisade-block4 203.0.113.7/32 timeout 60
            add palisade-block6 2001:db8::/64 timeout 7
        "#]]
        .assert_eq(&block(&wanted));
    }

    #[test]
    fn the_allowlist_takes_the_old_ones_place_at_one_moment() {
        expect![[r#"
            create palisade-new4 hash:net family inet maxelem 131072
            flush palisade-new4
            add palisade-new4 192.0.2.0/24
            swap palisade-new4 palisade-allow4
            destroy palisade-new4
            create palisade-new6 hash:net family inet6 maxelem 131072
            flush palisade-new6
            add palisade-new6 ::/1
            add palisade-new6 8000::/1
            swap palisade-new6 palisade-allow6
            destroy palisade-new6
        "#]]
        .assert_eq(&allow(&[net("192.0.2.7/32"), net("192.0.2.9/24"), net("::/0")]));
    }

    #[test]
    fn what_is_saved_is_read_with_its_rest() {
        // As printed by ipset 7.17.
        let saved = "create palisade-block6 hash:net family inet6 hashsize 1024 maxelem 131072 timeout 0 bucketsize 12 \
                     initval 0x2a8d3014\nadd palisade-block6 2001:db8::/64 timeout 598\nadd palisade-block6 2001:db8::5 \
                     timeout 3\nadd palisade-block6 2001:db8:1::/48\n";
        let outcome = |target: &str, remaining_secs| Outcome { target: net(target), remaining_secs };
        let found: Vec<Outcome> = held(saved).collect();
        assert_eq!(found, [outcome("2001:db8::/64", 598), outcome("2001:db8::5/128", 3)]);
    }

    #[test]
    fn a_rule_that_is_missing_changed_or_elsewhere_is_noticed() {
        // As printed by iptables 1.8.9.
        let rule = "! -i lo -m set ! --match-set palisade-allow4 src -m set --match-set palisade-block4 src";
        let raw = format!("-P PREROUTING ACCEPT -c 9 9\n-A PREROUTING {rule} -c 3 180 -j DROP\n");
        assert_eq!(missing(&raw, Family::V4, false), [""; 0]);
        assert_eq!(dropped(&raw), Dropped { packets: 3, bytes: 180 });
        for broken in [
            raw.replace("-A PREROUTING", "-A OTHER"),
            raw.replace("DROP", "ACCEPT"),
            raw.replace("! -i lo", "-i eth0"),
            raw.replace("block4", "block6"),
        ] {
            assert_eq!(missing(&broken, Family::V4, false), ["PREROUTING"], "{broken}");
        }
        let filter = format!("-A INPUT {rule} -c 1 60 -j DROP\n-A DOCKER {rule} -c 1 60 -j DROP\n");
        assert_eq!(missing(&filter, Family::V4, true), ["FORWARD"]);
        let docker = format!("-N DOCKER-USER -c 0 0\n{filter}-A FORWARD {rule} -c 0 0 -j DROP\n");
        assert_eq!(missing(&docker, Family::V4, true), ["DOCKER-USER"]);
        assert_eq!(dropped(&docker), Dropped { packets: 2, bytes: 120 });
    }
}
