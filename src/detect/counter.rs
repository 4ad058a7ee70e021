//! What clients did before: scores that decay, windows, who is flagged and banned. Fed with
//! compact [`Record`]s in file order by one owner; all time is log time.

use std::collections::HashSet;

use bytemuck::Zeroable;
use ipnet::IpNet;
use serde::Serialize;

use super::DetectConfig;
use super::campaign::{self, Campaign};
use super::network;
use super::record::{Detail, Record, Traits, What};
use super::ruleset::{Hit, Ruleset};
use super::table::{Kept, Table};
use super::window::{self, Bucket, Standing};
use crate::event::ClientKey;

/// What counting found out about a line that is a finding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// 1–10.
    pub score: u8,
    /// How much of it came from the client's earlier findings.
    pub from_history: u8,
    /// How much of it came from bans of other clients of its network.
    pub from_network: u8,
    /// Indexes of the windows that overflowed on this line.
    pub overflowed: Vec<usize>,
    /// The line makes a campaign worth telling: how many clients, and the first of them.
    pub campaign: Option<(u32, Vec<u128>)>,
    /// The client was flagged by an earlier block.
    pub flagged: bool,
    /// A ban of the client is running, in log time.
    pub banned: bool,
    /// Bans of the client so far.
    pub offences: u32,
    /// The site served the client well until now, as it does people who read.
    pub was_served: bool,
}

/// What is kept of one client: with its key and time, one cache line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Zeroable)]
pub struct Client {
    /// Scores of its suspicious lines, decaying.
    pub(super) points: f32,
    pub(super) points_at: u32,
    /// Which of 64 classes of suspicions made the points: the same again adds nothing.
    pub(super) seen: u64,
    pub(super) flagged_until: u32,
    pub(super) banned_until: u32,
    /// Which of 32 classes of user agents it showed while it was busy.
    pub(super) agents: u32,
    pub(super) offences: u16,
    /// Quarters of requests that it is ahead of one a second.
    pub(super) ahead: u16,
    pub requests: u32,
    /// Answered 2xx or 304, lately.
    pub served: u16,
    /// Answered 4xx, lately.
    pub refused: u16,
}

impl Kept for Client {
    fn evidence(&self, age_secs: u32) -> u8 {
        /// After so long points count half; an offence does after a day.
        const HALF_SECS: u32 = 1800;
        let points = (self.points.min(100.0) as u8) >> (age_secs / HALF_SECS).min(7);
        let offender = if self.offences > 0 { 128u8 >> (age_secs / 86_400).min(7) } else { 0 };
        points + offender
    }
}

/// Points that raise the score of the client's next suspicious line by one.
const POINTS_PER_STEP: f32 = 3.0;
/// Below this, a client's earlier suspicions are forgotten.
const FORGOTTEN_POINTS: f32 = 0.5;
/// Requests ahead of one a second from which on a client is busy: more than people read, less than any flood.
pub const BUSY: u16 = 30;
/// After so long without a line, how a client behaved is forgotten, but for its points and bans.
pub const FORGOTTEN_SECS: u32 = 3600;
/// Requests answered well from which on a client may be a visitor: attackers are caught sooner, as a rule.
const VISITED: u16 = 10;
/// `served` and `refused` are halved together when one of them comes to this: the last few hundred
/// requests matter.
const OUTCOMES: u16 = 256;

/// All clients and windows: bounded, in log time.
pub struct Counter {
    pub(super) clients: Table<Client>,
    pub(super) buckets: Table<Bucket>,
    /// Of each network, how many of its clients were banned.
    pub(super) networks: Table<Bucket>,
    pub(super) campaigns: Table<Campaign>,
    half_life_secs: f32,
    flagged_secs: u32,
    flag: u8,
}

impl Counter {
    /// `flag`: the score at which a line is a finding.
    pub fn new(config: &DetectConfig, flag: u8) -> Counter {
        let capacity = config.max_clients as usize;
        Counter {
            clients: Table::new(capacity, TABLE_SEED),
            buckets: Table::new(capacity / 4, TABLE_SEED),
            networks: Table::new(capacity / 16, TABLE_SEED),
            campaigns: Table::new(capacity / 256, TABLE_SEED),
            half_life_secs: config.half_life_secs as f32,
            flagged_secs: config.flagged_secs,
            flag,
        }
    }

    /// Prepares for counting the lines of `records`.
    #[inline]
    pub fn warm(&self, records: &[Record]) {
        self.clients.warm(records.iter().map(|record| record.client));
    }

    /// Counts one line: what it is, if it is a finding. `detail` is asked for where a window or a
    /// suspicion needs more of the line than its record.
    #[inline]
    pub fn count(
        &mut self,
        record: &Record,
        hits: &[Hit],
        rules: &Ruleset,
        detail: impl FnOnce() -> Detail,
    ) -> Option<Counted> {
        if record.client == 0 {
            let score = record.score;
            return (score >= self.flag).then(|| Counted { score, ..Counted::default() });
        }
        let (client, idle_secs) = self.clients.visit(record.client, record.time_secs);
        let busy = client.note(record, idle_secs);
        if record.score == 0 && !busy && !rules.is_watched(record) {
            return None;
        }
        self.weigh(record, hits, rules, detail)
    }

    /// Counts a line that may matter, of a client that is known.
    fn weigh(
        &mut self,
        record: &Record,
        hits: &[Hit],
        rules: &Ruleset,
        detail: impl FnOnce() -> Detail,
    ) -> Option<Counted> {
        let now = record.time_secs;
        let client = self.clients.entry(record.client, now);
        let mut standing = client.standing();
        // Who is shut out already need not be found too busy.
        standing.busy &= client.banned_until <= now;
        let mut overflowed = Vec::new();
        let (mut detail, mut known) = (Some(detail), Detail::default());
        let mut asked = || {
            if let Some(detail) = detail.take() {
                known = detail();
            }
            known
        };
        let mut record = *record;
        if standing.busy {
            let detail = asked();
            client.agents |= 1 << (detail.agent & 31);
            standing.agents = client.agents.count_ones() as u8;
            // A line that no other window watches was not looked at closely before.
            (record.subject, record.traits) = (detail.subject, record.traits.with(detail.traits));
        }
        let record = &record;
        for index in rules.watched.windows(record, standing) {
            let window = &rules.windows[index];
            if !window.fits(record, standing) {
                continue;
            }
            let excluding = rules.exclusions.of_window(index);
            if excluding != 0 && asked().excluded & excluding != 0 {
                continue;
            }
            let detail = if window.needs_detail() { asked() } else { Detail::default() };
            let bucket = self.buckets.entry(window.key(record, detail), now);
            if window.pour(bucket, now, record, detail, standing) {
                overflowed.push(index);
            }
        }
        if record.score == 0 && overflowed.is_empty() {
            return None;
        }
        let strongest = |only_own: bool| {
            let specs = overflowed.iter().map(|&index: &usize| &rules.windows[index].spec);
            specs.filter(|spec| !only_own || spec.group_by.is_of_one_client()).map(|spec| spec.score).max().unwrap_or(0)
        };
        let alone = record.score.saturating_add(strongest(false)).min(10);
        let own = record.score.saturating_add(strongest(true)).min(10);
        client.decay(now, self.half_life_secs);
        let from_history = ((client.points / POINTS_PER_STEP) as u8).min(10 - alone);
        let mut score = alone + from_history;
        if own > 0 {
            client.add(own, record, hits, self.flag);
        }
        if score < self.flag {
            return None;
        }
        let from_network = if own >= self.flag && record.is_actionable() && !standing.is_shared() {
            network::points(&self.networks, record.client, now).min(10 - score)
        } else {
            0
        };
        score += from_network;
        let (flagged, banned) = (client.flagged_until > now, client.banned_until > now);
        let campaign = if record.score >= self.flag && record.is_actionable() && !banned {
            let ids = hits.iter().map(|hit| &*rules.rules[usize::from(hit.rule)].id);
            campaign::note(&mut self.campaigns, campaign::key(ids, asked().shape), record.client, now)
        } else {
            None
        };
        let offences = u32::from(client.offences);
        let was_served = client.is_well_served() && !client.is_busy();
        Some(Counted { score, from_history, from_network, overflowed, campaign, flagged, banned, offences, was_served })
    }

    /// Notes that `client` is banned from `now_secs` for `secs`.
    pub fn ban(&mut self, client: u128, now_secs: u32, secs: u64) {
        let flagged_secs = self.flagged_secs;
        let entry = self.clients.entry(client, now_secs);
        entry.banned_until = now_secs.saturating_add(u32::try_from(secs).unwrap_or(u32::MAX));
        entry.flagged_until = entry.flagged_until.max(now_secs.saturating_add(flagged_secs));
        entry.offences = entry.offences.saturating_add(1);
        network::add(&mut self.networks, client, now_secs);
    }

    /// The IPv4 /24 or IPv6 /56 of `client`, if it may be banned as a whole: many of its other clients were
    /// banned lately, and the site serves none of them well.
    pub fn network_to_ban(&self, client: ClientKey, now_secs: u32) -> Option<IpNet> {
        let network = network::full_network_of(&self.networks, client, now_secs)?;
        let mut clients = network::clients_of(network, client);
        let is_served = |key| self.clients.get(key).is_some_and(Client::is_well_served);
        (!clients.any(is_served)).then_some(network)
    }

    /// Whether a client in `network` is one that the site serves well, as it does people who read.
    pub fn serves(&self, network: IpNet, v6_prefix: u8) -> bool {
        let is_visitor = |client: &Client| client.is_well_served() && !client.is_busy();
        let client = ClientKey::of(network.addr(), v6_prefix);
        if network.prefix_len() >= client.network().prefix_len() {
            return self.clients.get(client.bits()).is_some_and(is_visitor);
        }
        let is_inside = |key| network.contains(&ClientKey::from_bits(key, v6_prefix).network().addr());
        self.clients.iter().any(|(key, _, client)| is_visitor(client) && is_inside(key))
    }

    /// Forgets that anybody is banned; flags, points and offences stay.
    pub fn forget_bans(&mut self) {
        self.clients.values_mut().for_each(|client| client.banned_until = 0);
    }

    /// Forgets a client's ban, flag and points, as an operator who lifts a ban wants: it starts
    /// afresh, but its offences are kept.
    pub fn pardon(&mut self, client: ClientKey) {
        let key = client.bits();
        if let Some(known) = self.clients.get(key) {
            let Client { offences, requests, points_at, .. } = *known;
            *self.clients.entry(key, points_at) = Client { offences, requests, points_at, ..Client::default() };
        }
    }

    /// Takes out the clients in `network`, offences too, with what windows and campaigns know of them. What whole
    /// networks are counted by stays: it names no client.
    pub fn forget(&mut self, network: IpNet, v6_prefix: u8) {
        let is_meant = |key: &u128| network.contains(&ClientKey::from_bits(*key, v6_prefix).network().addr());
        let named = std::iter::once(ClientKey::of(network.addr(), v6_prefix).bits());
        let gone: HashSet<u128> = self.clients.iter().map(|(key, ..)| key).chain(named).filter(is_meant).collect();
        let buckets: HashSet<u128> = gone.iter().map(|client| client & window::OF_CLIENT).collect();
        self.clients.retain(|key, _| !gone.contains(&key));
        self.buckets.retain(|key, _| !buckets.contains(&(key & window::OF_CLIENT)));
        self.campaigns.retain(|_, campaign| !campaign.first.iter().any(|client| gone.contains(client)));
    }

    /// Takes a finding's share from a client's points, as when it turns out to be harmless. Everything
    /// else of the client stays.
    pub fn acquit(&mut self, client: ClientKey, score: u8) {
        let key = client.bits();
        if let Some(points_at) = self.clients.get(key).map(|known| known.points_at) {
            let known = self.clients.entry(key, points_at);
            known.points = (known.points - f32::from(score)).max(0.0);
        }
    }

    /// Takes over what another counter, with other settings, has counted.
    pub fn take_over(&mut self, other: Counter) {
        (self.clients, self.buckets) = (other.clients, other.buckets);
        (self.networks, self.campaigns) = (other.networks, other.campaigns);
    }

    /// What is known of a client.
    pub fn client(&self, client: ClientKey) -> Option<&Client> {
        self.clients.get(client.bits())
    }
}

/// The windows that a line goes into whose client nothing else is known of, by their indexes; and
/// those that it would go into besides if the client were busy.
pub fn windows_of(record: &Record, rules: &Ruleset, detail: Detail) -> [Vec<usize>; 2] {
    if record.client == 0 {
        return Default::default();
    }
    let mut client = Client::default();
    client.note(record, 0);
    let line = Record { traits: record.traits.with(detail.traits), ..*record };
    let into = |busy| {
        let standing = Standing { busy, ..client.standing() };
        rules.watched.windows(record, standing).filter(move |&at| rules.windows[at].fits(&line, standing))
    };
    let now: Vec<usize> = into(false).collect();
    let besides = into(true).filter(|at| !now.contains(at)).collect();
    [now, besides]
}

/// Keeps the layout of the tables the same in every run, so that replay evicts the same entries.
const TABLE_SEED: u64 = 0x7061_6c69_7361_6465;

impl Client {
    /// Notes a line after `idle_secs` without one; returns whether the client is busy.
    #[inline]
    fn note(&mut self, record: &Record, idle_secs: u32) -> bool {
        self.requests = self.requests.saturating_add(1);
        if idle_secs > FORGOTTEN_SECS {
            (self.served, self.refused, self.agents) = (0, 0, 0);
        }
        let leaked = (idle_secs.min(FORGOTTEN_SECS) * 4) as u16;
        let drops = if record.traits.has(Traits::REFERRED) { 1 } else { 4 };
        // Twice is full: who calms down is soon no longer busy.
        self.ahead = (self.ahead.saturating_sub(leaked) + drops).min(2 * 4 * BUSY);
        if record.what != What::Request {
            return false;
        }
        let (ok, bad) = (record.status / 100 == 2 || record.status == 304, record.status / 100 == 4);
        (self.served, self.refused) = (self.served + u16::from(ok), self.refused + u16::from(bad));
        if self.served | self.refused >= OUTCOMES {
            (self.served, self.refused) = (self.served / 2, self.refused / 2);
        }
        self.is_busy()
    }

    /// Whether most of what it asked for lately was there for it, as for a visitor, and it never was banned.
    fn is_well_served(&self) -> bool {
        self.served >= VISITED && self.refused <= self.served / 4 && self.offences == 0
    }

    fn is_busy(&self) -> bool {
        self.ahead >= 4 * BUSY
    }

    fn standing(&self) -> Standing {
        let agents = self.agents.count_ones() as u8;
        Standing { busy: self.is_busy(), served: self.served, refused: self.refused, agents }
    }

    /// Lets its points decay until `now`. A line out of order does not make them grow.
    fn decay(&mut self, now: u32, half_life_secs: f32) {
        let age = now.saturating_sub(self.points_at) as f32;
        self.points *= (-age / half_life_secs).exp2();
        self.points_at = self.points_at.max(now);
        if self.points < FORGOTTEN_POINTS {
            (self.points, self.seen) = (0.0, 0);
        }
    }

    /// Adds a suspicious line's score to its points, unless the same suspicion is in them already:
    /// for a weak signal its rules, for more the request's path too.
    fn add(&mut self, score: u8, record: &Record, hits: &[Hit], flag: u8) {
        let mut class = if score < flag { 0 } else { record.subject };
        for hit in hits {
            class = class.rotate_left(5) ^ u32::from(hit.rule).wrapping_mul(0x9e37_79b9);
        }
        let bit = 1u64 << (class.wrapping_mul(0x9e37_79b9) >> 26);
        if self.seen & bit != 0 {
            return;
        }
        self.seen |= bit;
        self.points += f32::from(score);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_its_key_and_time_is_one_cache_line() {
        assert!(size_of::<Client>() + size_of::<u128>() + size_of::<u32>() <= 64, "{}", size_of::<Client>());
    }

    #[test]
    fn who_asks_faster_than_people_read_is_busy_for_a_while() {
        let asked = |referred: bool, times: u32, per_sec: u32| {
            let mut client = Client::default();
            let traits = if referred { Traits::REFERRED } else { Traits::default() };
            let line = |n: u32| Record { traits, time_secs: 1000 + n / per_sec, ..Record::blank() };
            (0..times).any(|n| client.note(&line(n), u32::from(n % per_sec == 0)))
        };
        assert!(!asked(false, 29, 100) && asked(false, 31, 100), "a burst");
        assert!(!asked(false, 1000, 1) && asked(false, 1000, 2), "a rate");
        assert!(!asked(true, 110, 100) && asked(true, 130, 100), "a page with what belongs to it");
    }

    #[test]
    fn who_is_forgotten_is_in_nothing_that_is_saved_and_others_stay() {
        let mut counter = Counter::new(&DetectConfig { max_clients: 1024, ..DetectConfig::default() }, 5);
        let clients = ["203.0.113.7", "203.0.113.8", "2001:db8:1:2::9", "2001:db8:1:3::9"];
        let keys = clients.map(|client| ClientKey::of(client.parse().unwrap(), 64).bits());
        for key in keys {
            counter.ban(key, 1000, 60);
            // As a window makes keys of paths.
            *counter.buckets.entry(key ^ 0xabcd << 96 ^ 0x1234 << 32, 1000) =
                Bucket { level: 1.0, ..Bucket::default() };
            campaign::note(&mut counter.campaigns, key, key, 1000);
        }
        let forget = |counter: &mut Counter, network: &str| counter.forget(network.parse().unwrap(), 64);
        let known = |counter: &Counter| {
            let named = keys.map(|key| counter.campaigns.get(key).is_some());
            assert_eq!(named, keys.map(|key| counter.buckets.get(key ^ 0xabcd << 96 ^ 0x1234 << 32).is_some()));
            assert_eq!(named, keys.map(|key| counter.clients.get(key).is_some()));
            let saved = counter.save();
            let is_saved = |key: &u128| saved.windows(16).any(|bytes| bytes == key.to_le_bytes());
            assert_eq!(named, keys.map(|key| is_saved(&key)));
            named
        };
        assert_eq!(known(&counter), [true; 4]);
        forget(&mut counter, "203.0.113.7/32");
        assert_eq!(known(&counter), [false, true, true, true]);
        forget(&mut counter, "2001:db8:1:2::/64");
        assert_eq!(known(&counter), [false, true, false, true]);
        forget(&mut counter, "203.0.113.0/24");
        assert_eq!(known(&counter), [false, false, false, true]);
        forget(&mut counter, "::/0");
        assert_eq!(known(&counter), [false; 4]);
    }

    #[test]
    fn an_offender_of_yesterday_outweighs_suspects_of_now() {
        let offender = Client { offences: 1, ..Client::default() };
        let suspect = Client { points: 30.0, ..Client::default() };
        assert!(offender.evidence(86_400) > suspect.evidence(0) && suspect.evidence(0) > Client::default().evidence(0));
        assert!(offender.evidence(10 * 86_400) < suspect.evidence(0), "not for ever");
        assert!(suspect.evidence(7200) < suspect.evidence(0));
    }

    #[test]
    fn who_is_served_well_is_a_visitor_until_he_is_banned() {
        let served =
            |served, refused, offences| Client { served, refused, offences, ..Client::default() }.is_well_served();
        assert!(served(10, 0, 0) && served(100, 25, 0));
        assert!(!served(9, 0, 0) && !served(100, 26, 0) && !served(100, 0, 1));
    }

    #[test]
    fn a_network_full_of_the_banned_may_be_banned_unless_a_visitor_is_in_it() {
        let key = |address: &str| ClientKey::of(address.parse().unwrap(), 64);
        for (clients, another, visitor, network) in [
            (
                (1..9).map(|n| format!("203.0.113.{n}")).collect::<Vec<_>>(),
                "203.0.113.9",
                "203.0.113.250",
                "203.0.113.0/24",
            ),
            (
                (1..5).map(|n| format!("2001:db8:0:10{n}::1")).collect(),
                "2001:db8:0:105::1",
                "2001:db8:0:1ff::7",
                "2001:db8:0:100::/56",
            ),
        ] {
            let mut counter = Counter::new(&DetectConfig::default(), 5);
            for client in &clients {
                assert_eq!(counter.network_to_ban(key(another), 1000), None, "{client}");
                counter.ban(key(client).bits(), 1000, 3600);
            }
            assert_eq!(counter.network_to_ban(key(another), 1001), Some(network.parse().unwrap()));
            assert_eq!(counter.network_to_ban(key("198.51.100.1"), 1001), None, "another network");
            *counter.clients.entry(key(visitor).bits(), 1001) = Client { served: 20, ..Client::default() };
            assert_eq!(counter.network_to_ban(key(another), 1001), None, "a visitor is in it");
        }
    }

    #[test]
    fn outcomes_are_of_the_last_few_hundred_requests() {
        let mut client = Client::default();
        let mut note = |status, times| {
            (0..times).for_each(|_| {
                client.note(&Record { status, ..Record::blank() }, 0);
            });
            (client.served, client.refused)
        };
        assert_eq!(note(302, 50), (0, 0), "neither");
        assert_eq!(note(200, 100), (100, 0));
        let (served, refused) = note(404, 2000);
        assert!(served == 0 && refused >= 128, "{served} {refused}");
        client.note(&Record { status: 304, ..Record::blank() }, FORGOTTEN_SECS + 1);
        assert_eq!((client.served, client.refused), (1, 0), "long ago");
    }
}
