//! What is known of one client, the same wherever it is kept. Pure: now is an argument.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::skeleton::{is_skeleton, skeleton};
use crate::event::{Action, Category, DecidedBy, Finding, Timestamp};

/// Findings of one client that are remembered one by one. One of them, told again, counts once.
pub const LAST: usize = 16;
/// Distinct paths of one client that are remembered: those seen last.
pub const PATHS: usize = 16;
/// An entry is never longer in JSON.
const MAX_JSON_BYTES: usize = 32 * 1024;
/// Of an entry in JSON; another is not understood.
pub(super) const VERSION: u32 = 1;

/// Methods that are remembered by name. Sorted.
const METHODS: [&str; 14] = [
    "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LOCK", "MKCOL", "MOVE", "OPTIONS", "PATCH", "POST", "PROPFIND", "PUT",
    "TRACE",
];
const OTHER_METHOD: &str = "other";

/// What is known of one client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many findings, at most `u32::MAX`.
    pub findings: u32,
    /// The earliest of them, in log time.
    pub first: Timestamp,
    /// The latest of them, in log time.
    pub last: Timestamp,
    /// The highest score.
    pub highest: u8,
    /// Scores of the last findings, each worth half after every `half_life_secs`.
    pub decayed_score: f64,
    /// By how many findings came before the last one.
    pub risk: Risk,
    pub categories: BTreeSet<Category>,
    pub methods: BTreeSet<String>,
    /// Masked, those seen last first, at most [`PATHS`].
    pub paths: Vec<String>,
    /// Of the verdicts.
    pub confidences: Confidences,
    /// A block was decided less than `ttl_secs` ago. What is decided only because a client is
    /// flagged does not keep it flagged.
    pub flagged: bool,
}

/// What a client's earlier findings say of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    Low,
    Medium,
    High,
}

impl Risk {
    /// Of a client with so many `earlier` findings.
    pub fn of(earlier: u32) -> Risk {
        match earlier {
            0 => Risk::Low,
            1 | 2 => Risk::Medium,
            _ => Risk::High,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Confidences {
    pub lowest: u8,
    pub highest: u8,
    pub mean: f64,
}

/// One finding, without a word that the client wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remembered {
    #[serde(with = "Millis")]
    pub time: Timestamp,
    pub finding_id: String,
    /// Masked; none of an event that is no request.
    pub path: Option<String>,
    pub category: Category,
    pub score: u8,
    #[serde(with = "ActionName")]
    pub action: Action,
    pub confidence: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Timestamp")]
struct Millis(i64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Action", rename_all = "snake_case")]
enum ActionName {
    None,
    Monitor,
    Block,
}

/// Findings of one client, added up. Which of them came first makes no difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    findings: u32,
    #[serde(with = "Millis")]
    first: Timestamp,
    #[serde(with = "Millis")]
    last: Timestamp,
    highest: u8,
    categories: BTreeSet<Category>,
    methods: BTreeSet<String>,
    /// Skeletons, and when each was seen last in milliseconds.
    paths: BTreeMap<String, i64>,
    lowest_confidence: u8,
    highest_confidence: u8,
    sum_of_confidences: u64,
    /// By the wall clock.
    #[serde(with = "Millis")]
    flagged_until: Timestamp,
    /// The last [`LAST`], the earliest first.
    recent: Vec<Remembered>,
}

impl Entry {
    /// One finding, which became known `now`; a block flags its client for `ttl`.
    pub fn of(finding: &Finding, now: Timestamp, ttl: Duration) -> Entry {
        let path = (!finding.method.is_empty()).then(|| skeleton(&finding.uri));
        let blocks = finding.action == Action::Block && finding.verdict.decided_by != DecidedBy::Cache;
        let ttl_millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let confidence = finding.verdict.confidence;
        Entry {
            version: VERSION,
            findings: 1,
            first: finding.time,
            last: finding.time,
            highest: finding.score,
            categories: [finding.category].into(),
            methods: path.iter().map(|_| method(&finding.method).to_owned()).collect(),
            paths: path.iter().map(|path| (path.clone(), finding.time.0)).collect(),
            lowest_confidence: confidence,
            highest_confidence: confidence,
            sum_of_confidences: confidence.into(),
            flagged_until: if blocks { Timestamp(now.0.saturating_add(ttl_millis)) } else { Timestamp(0) },
            recent: vec![Remembered {
                time: finding.time,
                finding_id: finding.id(),
                path,
                category: finding.category,
                score: finding.score,
                action: finding.action,
                confidence,
            }],
        }
    }

    /// Adds what `other` knows of the same client. In whatever order parts are merged, the whole is the
    /// same. A finding that both remember one by one counts once.
    pub fn merge(&mut self, other: &Entry) {
        let mut findings = u64::from(self.findings) + u64::from(other.findings);
        let mut sum = self.sum_of_confidences.saturating_add(other.sum_of_confidences);
        for event in &other.recent {
            match self.recent.iter_mut().find(|mine| mine.finding_id == event.finding_id) {
                Some(mine) => {
                    findings -= 1;
                    sum -= u64::from(mine.confidence.min(event.confidence)).min(sum);
                    if event > mine {
                        mine.clone_from(event);
                    }
                }
                None => self.recent.push(event.clone()),
            }
        }
        self.recent.sort_unstable();
        self.recent.drain(..self.recent.len().saturating_sub(LAST));
        self.findings = u32::try_from(findings).unwrap_or(u32::MAX);
        self.sum_of_confidences = sum;
        // Files are read side by side: findings need not come in the order of their times.
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.highest = self.highest.max(other.highest);
        self.lowest_confidence = self.lowest_confidence.min(other.lowest_confidence);
        self.highest_confidence = self.highest_confidence.max(other.highest_confidence);
        self.flagged_until = self.flagged_until.max(other.flagged_until);
        self.categories.extend(&other.categories);
        self.methods.extend(other.methods.iter().cloned());
        for (path, &seen) in &other.paths {
            let known = self.paths.entry(path.clone()).or_insert(seen);
            *known = seen.max(*known);
        }
        while self.paths.len() > PATHS {
            let Some(oldest) = self.paths_by_age().pop().map(str::to_owned) else { break };
            self.paths.remove(&oldest);
        }
    }

    /// What it says at `now`; scores weigh half after every `half_life`.
    pub fn summary(&self, now: Timestamp, half_life: Duration) -> Summary {
        let worth = |event: &Remembered| {
            let age = now.0.saturating_sub(event.time.0).max(0) as f64 / 1000.0;
            f64::from(event.score) * (-age / half_life.as_secs_f64()).exp2()
        };
        Summary {
            findings: self.findings,
            first: self.first,
            last: self.last,
            highest: self.highest,
            decayed_score: tenths(self.recent.iter().map(worth).sum()),
            risk: Risk::of(self.findings.saturating_sub(1)),
            categories: self.categories.clone(),
            methods: self.methods.clone(),
            paths: self.paths_by_age().into_iter().map(str::to_owned).collect(),
            confidences: Confidences {
                lowest: self.lowest_confidence,
                highest: self.highest_confidence,
                mean: tenths(self.sum_of_confidences as f64 / f64::from(self.findings.max(1))),
            },
            flagged: now < self.flagged_until,
        }
    }

    /// The last findings, the latest first.
    pub fn recent(&self, limit: usize) -> Vec<Remembered> {
        self.recent.iter().rev().take(limit).cloned().collect()
    }

    /// For a store elsewhere.
    pub fn encode(&self) -> String {
        // Nothing in it can fail: no map has keys other than text.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`encode`](Self::encode) gave; nothing if it is damaged, of another version, or holds what an
    /// entry never holds: whoever can write to the store cannot put words into it.
    pub fn decode(text: &[u8]) -> Option<Entry> {
        if text.len() > MAX_JSON_BYTES {
            return None;
        }
        serde_json::from_slice(text).ok().filter(Entry::is_sound)
    }

    fn is_sound(&self) -> bool {
        let event_is_sound = |event: &Remembered| {
            let is_id = event.finding_id.len() == 32 && event.finding_id.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_id && event.score <= 10 && event.confidence <= 10 && event.path.as_deref().is_none_or(is_skeleton)
        };
        let ids: BTreeSet<&str> = self.recent.iter().map(|event| event.finding_id.as_str()).collect();
        self.version == VERSION
            && (1..=LAST).contains(&self.recent.len())
            && self.findings as usize >= self.recent.len()
            && ids.len() == self.recent.len()
            && self.recent.is_sorted()
            && self.recent.iter().all(event_is_sound)
            && self.paths.len() <= PATHS
            && self.paths.keys().all(|path| is_skeleton(path))
            && self.methods.iter().all(|name| name == OTHER_METHOD || METHODS.binary_search(&name.as_str()).is_ok())
            && self.first <= self.last
            && self.highest <= 10
            && self.lowest_confidence <= self.highest_confidence
            && self.highest_confidence <= 10
    }

    /// Those seen last first.
    fn paths_by_age(&self) -> Vec<&str> {
        let mut paths: Vec<(i64, &str)> = self.paths.iter().map(|(path, &seen)| (seen, path.as_str())).collect();
        paths.sort_unstable_by(|one, other| other.cmp(one));
        paths.into_iter().map(|(_, path)| path).collect()
    }
}

/// `name` if it is a customary method: anybody can send any.
fn method(name: &str) -> &'static str {
    METHODS.binary_search(&name).map_or(OTHER_METHOD, |at| METHODS[at])
}

/// For people and models: more digits say nothing.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
