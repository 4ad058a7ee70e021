//! What the writer counts of findings as it records them. A pure function, the same for every store.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use foldhash::quality::RandomState;
use schemars::JsonSchema;
use serde::Serialize;

use super::FindingRow;
use crate::event::Timestamp;

const HOUR_MILLIS: i64 = 3_600_000;
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

/// What `rows` add to the counts of hours, in a fixed order: hour, dimension, key.
pub fn count<'a>(rows: impl IntoIterator<Item = &'a FindingRow>) -> BTreeMap<(Timestamp, Dimension, String), Counts> {
    let mut counted = Counted::default();
    for row in rows {
        add(&mut counted, row, 1);
    }
    sorted(counted)
}

/// What it means for the counts that `old` has become `new`.
pub fn recount(old: &FindingRow, new: &FindingRow) -> BTreeMap<(Timestamp, Dimension, String), Counts> {
    let mut counted = Counted::default();
    add(&mut counted, old, -1);
    add(&mut counted, new, 1);
    counted.retain(|_, counts| *counts != Counts::default());
    sorted(counted)
}

/// Counts under keys that are text of their rows, wherever that can be: most rows add to keys that are there.
type Counted<'a> = HashMap<(Timestamp, Dimension, Cow<'a, str>), Counts, RandomState>;

fn sorted(counted: Counted<'_>) -> BTreeMap<(Timestamp, Dimension, String), Counts> {
    counted.into_iter().map(|((hour, dimension, key), counts)| ((hour, dimension, key.into_owned()), counts)).collect()
}

fn add<'a>(counted: &mut Counted<'a>, row: &'a FindingRow, times: i64) {
    let hour = Timestamp(row.time.0.div_euclid(HOUR_MILLIS).saturating_mul(HOUR_MILLIS));
    let is_block = row.flagged && row.action == "block";
    let mut to = |dimension, key: Cow<'a, str>| {
        let counts = counted.entry((hour, dimension, key)).or_default();
        counts.findings += if row.flagged { times } else { 0 };
        counts.blocks += if is_block { times } else { 0 };
        counts.analysed += if row.flagged { 0 } else { times };
    };
    let cut = |key: &'a str| Cow::from(&key[..key.floor_char_boundary(KEY_BYTES)]);
    to(Dimension::All, "".into());
    to(Dimension::Category, cut(&row.category));
    to(Dimension::DecidedBy, cut(&row.decided_by));
    to(Dimension::Severity, severity(row.score).into());
    row.rule_ids.iter().for_each(|rule| to(Dimension::Rule, cut(rule)));
    if let Some(client) = &row.client {
        to(Dimension::Client, cut(client));
        if let Some(network) = network_of(client) {
            to(Dimension::Network, network.into());
        }
    }
    let path = row.uri.split('?').next().unwrap_or_default();
    if !row.method.is_empty() && !path.is_empty() {
        to(Dimension::Path, cut(path));
    }
}

/// The /24 or /48 of a client as it is written.
fn network_of(client: &str) -> Option<String> {
    use std::net::IpAddr;
    let address: IpAddr = client.split('/').next()?.parse().ok()?;
    let prefix = if address.is_ipv4() { 24 } else { 48 };
    Some(ipnet::IpNet::new(address, prefix).ok()?.trunc().to_string())
}
