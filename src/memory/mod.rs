//! Takes findings, answers what is known of a client; forgets after an hour. Informs grey cases
//! and people; never counts for rules (that is detect's, in log time).

mod config;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::Serialize;

pub use config::MemoryConfig;

use crate::event::{Action, Category, ClientKey, DecidedBy, Finding, Timestamp};

/// What is known of clients with findings, in this process: bounded, safe to share among threads.
#[derive(Debug)]
pub struct Memory {
    clients: Cache<ClientKey, Entry>,
    ttl: Duration,
}

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
    /// Each category once, in the order in which they came.
    pub categories: Vec<Category>,
    /// A block was decided less than `ttl_secs` ago. What is decided only because a client is
    /// flagged does not keep it flagged.
    pub flagged: bool,
}

impl Memory {
    pub fn new(config: &MemoryConfig) -> Memory {
        Memory::with_ttl(Duration::from_secs(config.ttl_secs), config.max_clients)
    }

    /// Adds `finding` to what is known of its client; one without a client is nobody's.
    pub fn remember(&self, finding: &Finding) {
        let Some(client) = finding.client else { return };
        let blocks = finding.action == Action::Block && finding.verdict.decided_by != DecidedBy::Cache;
        // One client's updates run one after the other, so that none is lost.
        self.clients.entry(client).and_compute_with(|known| {
            let mut entry = known.map_or_else(|| Entry::new(finding), |known| known.into_value());
            entry.add(finding);
            if blocks {
                entry.flagged_at = Some(Instant::now());
            }
            Op::Put(entry)
        });
    }

    /// What is known of `client`. Asking does not make it be known longer.
    pub fn recall(&self, client: ClientKey) -> Option<Summary> {
        let entry = self.clients.get(&client)?;
        let flagged = entry.flagged_at.is_some_and(|at| at.elapsed() < self.ttl);
        Some(Summary { flagged, ..entry.summary })
    }

    /// Forgets `client`, as when its ban is lifted by hand.
    pub fn forget(&self, client: ClientKey) {
        self.clients.invalidate(&client);
    }

    /// How many clients are known.
    pub fn len(&self) -> u64 {
        self.clients.run_pending_tasks();
        self.clients.entry_count()
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with_ttl(ttl: Duration, max_clients: u64) -> Memory {
        let clients = Cache::builder()
            .max_capacity(max_clients)
            // Counted from the last finding: each replaces the entry.
            .time_to_live(ttl)
            // moka's own policy keeps the often asked for and may turn a new client away at once.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Memory { clients, ttl }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    summary: Summary,
    flagged_at: Option<Instant>,
}

impl Entry {
    /// Nothing yet but the time of the first finding.
    fn new(finding: &Finding) -> Entry {
        let (first, last) = (finding.time, finding.time);
        let summary = Summary { findings: 0, first, last, highest: 0, categories: Vec::new(), flagged: false };
        Entry { summary, flagged_at: None }
    }

    fn add(&mut self, finding: &Finding) {
        let summary = &mut self.summary;
        summary.findings = summary.findings.saturating_add(1);
        // Files are read side by side: findings need not come in the order of their times.
        summary.first = summary.first.min(finding.time);
        summary.last = summary.last.max(finding.time);
        summary.highest = summary.highest.max(finding.score);
        if !summary.categories.contains(&finding.category) {
            summary.categories.push(finding.category);
        }
    }
}
