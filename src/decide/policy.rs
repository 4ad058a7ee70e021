//! Scores → actions and durations: small pure functions, each a table of its own.

use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Action, ClientKey, DecidedBy};

/// Where a score becomes an action. All run from 1 to 10.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// What `flag` and `block` are where nobody sets them.
    pub sensitivity: Sensitivity,
    /// A finding exists.
    #[schemars(range(min = 1, max = 10))]
    pub flag: u8,
    /// The combined score that blocks.
    #[schemars(range(min = 1, max = 10))]
    pub block: u8,
    /// Rules alone are sure: no model is asked.
    #[schemars(range(min = 1, max = 10))]
    pub certain: u8,
    /// Tier 1's confidence that is acted on.
    #[schemars(range(min = 1, max = 10))]
    pub act: u8,
    /// Below it, the next tier is asked.
    #[schemars(range(min = 1, max = 10))]
    pub monitor: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        let sensitivity = Sensitivity::default();
        let (flag, block) = sensitivity.flag_and_block();
        Thresholds { sensitivity, flag, block, certain: 9, act: 8, monitor: 4 }
    }
}

/// How soon something is an attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Only what is hardly ever innocent.
    Low,
    /// What attackers do and visitors hardly.
    #[default]
    Normal,
    /// Also what may well be innocent.
    High,
}

impl Sensitivity {
    /// `thresholds.flag` and `thresholds.block`.
    pub fn flag_and_block(self) -> (u8, u8) {
        match self {
            Sensitivity::Low => (6, 9),
            Sensitivity::Normal => (5, 8),
            Sensitivity::High => (4, 7),
        }
    }
}

/// `[client]`: whose requests are whose, and who is never shut out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Networks of proxies: whom they name as the client is believed, and they are never blocked,
    /// because their address stands for many clients.
    #[schemars(with = "Vec<String>", extend("items" = {"type": "string", "format": "ip-network"}))]
    pub trusted_proxies: Vec<IpNet>,
    /// Networks never blocked, besides the built-in ones.
    #[schemars(with = "Vec<String>", extend("items" = {"type": "string", "format": "ip-network"}))]
    pub allow: Vec<IpNet>,
    /// Files of more of them, one network or address a line; read again while the daemon runs.
    pub allow_files: Vec<PathBuf>,
    /// Host names whose addresses are never blocked, as the system's resolver knows them.
    pub allow_names: Vec<String>,
    /// Files of the networks of content delivery networks, which are never blocked. Empty: the
    /// built-in list.
    pub cdn_files: Vec<PathBuf>,
    /// Whether a search engine or monitor that is what it claims is never blocked: names are looked up
    /// of clients that claim to be one and would be blocked.
    pub verify_crawlers: bool,
    /// Whether private networks (10.0.0.0/8, 192.168.0.0/16, fc00::/7, …) may be blocked.
    pub block_private: bool,
    /// Length in bits of the IPv6 network that counts as one client.
    #[schemars(range(min = 32, max = 64))]
    pub v6_prefix: u8,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            trusted_proxies: vec![],
            allow: vec![],
            allow_files: vec![],
            allow_names: vec![],
            cdn_files: vec![],
            verify_crawlers: true,
            block_private: false,
            v6_prefix: ClientKey::V6_PREFIX,
        }
    }
}

/// `[[crawler]]`: a search engine or monitor beside those that are built in, and how it is verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrawlerConfig {
    /// What its user agent contains; case does not matter. Replaces a built-in one with the same.
    pub agent: String,
    /// Domains under which its addresses have names that lead back to them.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Networks that are its own.
    #[serde(default)]
    #[schemars(with = "Vec<String>", extend("items" = {"type": "string", "format": "ip-network"}))]
    pub ranges: Vec<IpNet>,
}

/// How long bans last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Durations {
    /// The first ban of a client, in seconds.
    pub first_secs: u64,
    /// No ban is longer, in seconds.
    pub max_secs: u64,
}

/// What rules decide alone about a finding of `score`, and in whose name: a client that is
/// flagged already needs no second proof, only a finding.
pub fn action(score: u8, flagged: bool, thresholds: &Thresholds) -> (Action, DecidedBy) {
    match () {
        () if score < thresholds.flag => (Action::None, DecidedBy::Rules),
        () if score >= thresholds.certain => (Action::Block, DecidedBy::Rules),
        () if flagged => (Action::Block, DecidedBy::Cache),
        () if score >= thresholds.block => (Action::Block, DecidedBy::Rules),
        () => (Action::Monitor, DecidedBy::Rules),
    }
}

/// Whether a finding is for models to judge: rules are not certain, and the client is not flagged,
/// which needs no second proof.
pub fn is_in_doubt(score: u8, flagged: bool, thresholds: &Thresholds) -> bool {
    (thresholds.flag..thresholds.certain).contains(&score) && !flagged
}

/// How long the ban of a client lasts that was banned `offences` times before: doubled each time, up to
/// the maximum, and by up to a tenth more or less, so that clients that were shut out together do not
/// come back together. The same `seed` gives the same length.
pub fn ban_secs(offences: u32, durations: Durations, seed: u64) -> u64 {
    let longer = durations.first_secs.saturating_mul(1u64.checked_shl(offences).unwrap_or(u64::MAX));
    let most = durations.max_secs.max(durations.first_secs);
    let secs = longer.min(most);
    let tenth = secs / 10;
    // The last steps of splitmix64.
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let moved = secs - tenth + (mixed ^ mixed >> 31) % (2 * tenth + 1);
    // What would be too long is as much too short.
    if moved > most { most - (moved - most) } else { moved }
}

/// The seed of a client's ban that begins at `at_secs`: the same whenever its lines are read again.
pub fn ban_seed(client: ClientKey, at_secs: u32) -> u64 {
    let bits = client.bits();
    (bits as u64 ^ (bits >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(at_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_actions() {
        let thresholds = Thresholds::default();
        for (score, flagged, expected) in [
            (4, false, (Action::None, DecidedBy::Rules)),
            (4, true, (Action::None, DecidedBy::Rules)),
            (5, false, (Action::Monitor, DecidedBy::Rules)),
            (7, false, (Action::Monitor, DecidedBy::Rules)),
            (5, true, (Action::Block, DecidedBy::Cache)),
            (8, false, (Action::Block, DecidedBy::Rules)),
            (9, true, (Action::Block, DecidedBy::Rules)),
        ] {
            assert_eq!(action(score, flagged, &thresholds), expected, "{score} {flagged}");
        }
    }

    #[test]
    fn sensitivity_moves_findings_and_blocks() {
        // A line of each score: what it is at low, normal and high sensitivity.
        use Action::{Block, Monitor, None};
        for (score, expected) in [
            (3, [None, None, None]),
            (4, [None, None, Monitor]),
            (5, [None, Monitor, Monitor]),
            (6, [Monitor, Monitor, Monitor]),
            (7, [Monitor, Monitor, Block]),
            (8, [Monitor, Block, Block]),
            (9, [Block, Block, Block]),
        ] {
            let actions = [Sensitivity::Low, Sensitivity::Normal, Sensitivity::High].map(|sensitivity| {
                let (flag, block) = sensitivity.flag_and_block();
                action(score, false, &Thresholds { sensitivity, flag, block, ..Thresholds::default() }).0
            });
            assert_eq!(actions, expected, "{score}");
        }
    }

    #[test]
    fn repeat_offenders_stay_out_longer() {
        let durations = Durations { first_secs: 14_400, max_secs: 604_800 };
        let full = [14_400, 28_800, 57_600, 460_800, 604_800, 604_800, 604_800, 604_800];
        for (offences, full) in [0, 1, 2, 5, 6, 63, 64, 1000].into_iter().zip(full) {
            let lengths: Vec<u64> = (0..1000).map(|seed| ban_secs(offences, durations, seed)).collect();
            let (least, most) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
            assert!(*least >= full * 9 / 10 && *most <= (full * 11 / 10).min(604_800), "{least} {most}");
            assert!(most - least > full / 12, "spread: {least} {most}");
            assert_eq!(ban_secs(offences, durations, 7), lengths[7], "the same again");
        }
        assert_eq!(ban_secs(0, Durations { first_secs: 9, max_secs: 1 }, 3), 9);
        let client = |address: &str| ClientKey::of(address.parse().unwrap(), 64);
        let seeds = [("192.0.2.1", 5), ("192.0.2.2", 5), ("192.0.2.1", 6), ("2001:db8::", 5), ("2001:db8:0:1::", 5)];
        let seeds: std::collections::HashSet<u64> = seeds.iter().map(|(of, at)| ban_seed(client(of), *at)).collect();
        assert_eq!(seeds.len(), 5);
    }
}
