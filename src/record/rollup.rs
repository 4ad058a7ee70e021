//! What the writer counts of findings as it records them. A pure function, the same for every store.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::quality::RandomState;
use schemars::JsonSchema;
use serde::Serialize;

use super::{FindingRow, Step};
use crate::event::Timestamp;

/// Bytes of a key that are kept: a path is as long as its client likes.
const KEY_BYTES: usize = 200;

macro_rules! dimensions {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// By what findings are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Dimension { $($variant),* }

        impl Dimension {
            pub const ALL: &[Dimension] = &[$(Dimension::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Dimension::$variant => $name),* }
            }
        }
    };
}

dimensions! {
    All = "all", Category = "category", DecidedBy = "decided_by", Severity = "severity", Rule = "rule",
    Client = "client", Network = "network", Path = "path",
}

impl Dimension {
    /// Whether it has so few keys that hours are kept as long as days.
    pub fn is_small(self) -> bool {
        matches!(self, Dimension::All | Dimension::Category | Dimension::DecidedBy | Dimension::Severity)
    }
}

/// What was counted under one key in one hour or day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    pub findings: i64,
    /// Findings whose action was to block.
    pub blocks: i64,
    /// What was analysed and is no finding.
    pub analysed: i64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.findings += other.findings;
        self.blocks += other.blocks;
        self.analysed += other.analysed;
    }

    /// Less those of `other`, which are among them.
    pub fn take(&mut self, other: Counts) {
        self.findings -= other.findings;
        self.blocks -= other.blocks;
        self.analysed -= other.analysed;
    }
}

/// How bad a finding of this score is.
pub fn severity(score: u8) -> &'static str {
    SEVERITIES[usize::from(score.clamp(1, 10) - 1) / 2]
}

/// From harmless to worst: two points of a score each.
pub const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];

/// An hour, a dimension and a key of it.
pub type Key<'a> = (Timestamp, Dimension, Cow<'a, str>);

/// What findings change in the counts of hours. Keys are text of their rows wherever they can be: most rows add to
/// keys that are there.
#[derive(Default)]
pub struct Tally<'a>(HashMap<Key<'a>, Counts, RandomState>);

impl<'a> Tally<'a> {
    pub fn of(rows: impl IntoIterator<Item = &'a FindingRow>) -> Tally<'a> {
        let mut tally = Tally::default();
        rows.into_iter().for_each(|row| tally.add(row));
        tally
    }

    pub fn add(&mut self, row: &'a FindingRow) {
        self.count(row, 1);
    }

    /// Takes a row off again.
    pub fn take(&mut self, row: &'a FindingRow) {
        self.count(row, -1);
    }

    /// The counts that change, in no order.
    pub fn counts(mut self) -> impl Iterator<Item = (Key<'a>, Counts)> {
        // Of a client's rows at once: a network is made of text.
        let of_client = |((hour, dimension, key), counts): (&Key<'a>, &Counts)| {
            let network = if *dimension == Dimension::Client { network_of(key)? } else { return None };
            Some(((*hour, Dimension::Network, network.into()), *counts))
        };
        let networks: Vec<(Key<'a>, Counts)> = self.0.iter().filter_map(of_client).collect();
        for (key, counts) in networks {
            self.0.entry(key).or_default().add(counts);
        }
        self.0.into_iter().filter(|(_, counts)| *counts != Counts::default())
    }

    fn count(&mut self, row: &'a FindingRow, times: i64) {
        let hour = Step::Hour.floor(row.time);
        let (findings, analysed) = if row.flagged { (times, 0) } else { (0, times) };
        let counts = Counts { findings, blocks: if row.action == "block" { findings } else { 0 }, analysed };
        let mut to = |dimension, key: &'a str| {
            let key = Cow::from(&key[..key.floor_char_boundary(KEY_BYTES)]);
            self.0.entry((hour, dimension, key)).or_default().add(counts);
        };
        to(Dimension::All, "");
        to(Dimension::Category, &row.category);
        to(Dimension::DecidedBy, &row.decided_by);
        to(Dimension::Severity, severity(row.score));
        row.rule_ids.iter().for_each(|rule| to(Dimension::Rule, rule));
        if let Some(client) = &row.client {
            to(Dimension::Client, client);
        }
        let path = row.uri.split('?').next().unwrap_or_default();
        if !row.method.is_empty() && !path.is_empty() {
            to(Dimension::Path, path);
        }
    }
}

/// The /24 or /48 of a client as it is written.
fn network_of(client: &str) -> Option<String> {
    use std::net::IpAddr;
    let address: IpAddr = client.split('/').next()?.parse().ok()?;
    let prefix = if address.is_ipv4() { 24 } else { 48 };
    Some(ipnet::IpNet::new(address, prefix).ok()?.trunc().to_string())
}
