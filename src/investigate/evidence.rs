//! What speaks for one threat, as it adds up line by line; bounded however many lines there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Seen;
use crate::event::analysis::{Indicator, IndicatorKind, Sample, ThreatOutcome};
use crate::event::{Category, ClientKey, Timestamp, printable};

/// Lines that are cited.
pub const MAX_LINES: usize = 200;
/// Lines that are shown.
const MAX_SAMPLES: usize = 5;
/// Bytes of each.
const SAMPLE_BYTES: usize = 500;
/// Addresses, users and indicators that are named, each.
const MAX_NAMES: usize = 1000;

/// A weaker sign adds to others and to nothing by coming again.
pub const WEAK: u8 = 4;

/// Whom a threat is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Actor {
    Client(ClientKey),
    /// The far end of a connection from inside.
    Destination(IpAddr),
    User(String),
    Host(String),
    /// The input names nobody.
    Nobody,
}

impl Actor {
    pub fn name(&self, addresses: &BTreeSet<IpAddr>) -> Option<String> {
        match self {
            // One address of a network is named as such.
            Actor::Client(key) => match addresses
                .iter()
                .filter(|one| ClientKey::of(**one, ClientKey::V6_PREFIX) == *key)
                .collect::<Vec<_>>()[..]
            {
                [one] => Some(one.to_string()),
                _ => Some(key.to_string()),
            },
            Actor::Destination(address) => Some(address.to_string()),
            Actor::User(name) | Actor::Host(name) => Some(name.clone()),
            Actor::Nobody => None,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub lines: Vec<u64>,
    pub events: u64,
    pub samples: Vec<Sample>,
    pub addresses: BTreeSet<IpAddr>,
    pub users: BTreeSet<String>,
    pub indicators: BTreeSet<Indicator>,
    /// Rules, windows and signs: what each counts, and how often it was seen.
    pub signs: BTreeMap<Arc<str>, (u8, u64)>,
    /// Of the strongest rule.
    pub category: Option<(u8, Category)>,
    pub first_time: Option<Timestamp>,
    pub last_time: Option<Timestamp>,
    pub outcome: Option<ThreatOutcome>,
    /// A product said that it is grave.
    pub said_critical: bool,
    /// A port that tools of attackers listen on.
    pub listener: bool,
    /// Something more that makes it worse, for the description.
    pub notes: BTreeSet<&'static str>,
}

impl Evidence {
    /// One more line.
    pub fn line(&mut self, seen: &Seen<'_>) {
        if self.lines.last() == Some(&seen.line) {
            return;
        }
        self.events += 1;
        if self.lines.len() < MAX_LINES {
            self.lines.push(seen.line);
        }
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(Sample { line: seen.line, text: printable(seen.text, SAMPLE_BYTES) });
        }
        if let Some(time) = seen.event.time {
            self.first_time = Some(self.first_time.map_or(time, |first| first.min(time)));
            self.last_time = Some(self.last_time.map_or(time, |last| last.max(time)));
        }
    }

    pub fn sign(&mut self, id: impl Into<Arc<str>>, weight: u8) {
        let known = self.signs.entry(id.into()).or_insert((0, 0));
        *known = (known.0.max(weight), known.1 + 1);
    }

    pub fn address(&mut self, address: IpAddr) {
        if self.addresses.len() < MAX_NAMES && self.addresses.insert(address) {
            self.indicator(IndicatorKind::Address, address.to_string());
        }
    }

    pub fn user(&mut self, name: &[u8]) {
        if name.is_empty() || self.users.len() >= MAX_NAMES {
            return;
        }
        let name = printable(name, 128);
        if self.users.insert(name.clone()) {
            self.indicator(IndicatorKind::User, name);
        }
    }

    pub fn indicator(&mut self, kind: IndicatorKind, value: String) {
        if self.indicators.len() < MAX_NAMES && !value.is_empty() {
            self.indicators.insert(Indicator { kind, value });
        }
    }

    /// What one line shows of whether it worked; one success is enough, and only failures are a failure.
    pub fn outcome(&mut self, outcome: ThreatOutcome) {
        let rank = |outcome| match outcome {
            ThreatOutcome::Failed => 0,
            ThreatOutcome::Unknown => 1,
            ThreatOutcome::Succeeded => 2,
        };
        if self.outcome.is_none_or(|known| rank(outcome) > rank(known)) {
            self.outcome = Some(outcome);
        }
    }

    /// What all signs count together: each once, and a little more when it comes again and again.
    pub fn points(&self) -> u32 {
        let again = |weight: u8, times: u64| match times {
            _ if weight < WEAK => 0,
            0..5 => 0,
            5..20 => 2,
            _ => 4,
        };
        self.signs.values().map(|(weight, times)| u32::from(*weight) + again(*weight, *times)).sum()
    }

    /// The strongest sign.
    pub fn strongest(&self) -> u8 {
        self.signs.values().map(|(weight, _)| *weight).max().unwrap_or(0)
    }

    /// Adds what speaks for another threat that is the same.
    pub fn merge(&mut self, other: Evidence) {
        let known: BTreeSet<u64> = self.lines.iter().copied().collect();
        let same = other.lines.iter().filter(|line| known.contains(line)).count() as u64;
        self.events += other.events - same;
        self.lines.extend(other.lines.into_iter().filter(|line| !known.contains(line)));
        self.lines.sort_unstable();
        self.lines.truncate(MAX_LINES);
        self.samples.extend(other.samples);
        self.samples.sort_by_key(|sample| sample.line);
        self.samples.dedup_by_key(|sample| sample.line);
        self.samples.truncate(MAX_SAMPLES);
        other.addresses.into_iter().for_each(|address| self.address(address));
        self.users.extend(other.users.into_iter().take(MAX_NAMES.saturating_sub(self.users.len())));
        self.indicators.extend(other.indicators.into_iter().take(MAX_NAMES.saturating_sub(self.indicators.len())));
        for (id, (weight, times)) in other.signs {
            let known = self.signs.entry(id).or_insert((0, 0));
            *known = (known.0.max(weight), known.1 + times);
        }
        self.category = self.category.max(other.category);
        self.first_time = [self.first_time, other.first_time].into_iter().flatten().min();
        self.last_time = self.last_time.max(other.last_time);
        if let Some(outcome) = other.outcome {
            self.outcome(outcome);
        }
        self.said_critical |= other.said_critical;
        self.listener |= other.listener;
        self.notes.extend(other.notes);
    }
}
