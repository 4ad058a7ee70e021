//! Memory in this process: bounded, safe to share among threads, gone with the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::{Answer, Drawer, Entry, MAX_TTL, MAX_VALUE_BYTES, Memory, MemoryConfig, MemoryState, Remembered, Summary};
use crate::event::{ClientKey, Finding, Timestamp};

/// What is known of clients with findings, and values by drawer: the least recently used give way.
#[derive(Debug)]
pub struct InProcess {
    clients: Cache<ClientKey, Entry>,
    /// In the order of [`Drawer::ALL`].
    drawers: [Cache<String, Kept>; Drawer::ALL.len()],
    ttl: Duration,
    half_life: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone, Debug)]
struct Kept {
    value: String,
    ttl: Duration,
}

impl InProcess {
    pub fn new(config: &MemoryConfig) -> InProcess {
        let half_life = Duration::from_secs(config.half_life_secs);
        InProcess::with_times(Duration::from_secs(config.ttl_secs), half_life, config.max_clients)
    }

    pub(super) fn with_times(ttl: Duration, half_life: Duration, max_clients: u64) -> InProcess {
        let clients = Cache::builder()
            .max_capacity(max_clients)
            // Counted from the last finding: each replaces the entry.
            .time_to_live(ttl.min(MAX_TTL))
            // moka's own policy keeps the often asked for and may turn a new client away at once.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let drawer = || {
            Cache::builder()
                .max_capacity(max_clients)
                .expire_after(ByItself)
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        InProcess {
            clients,
            drawers: std::array::from_fn(|_| drawer()),
            ttl,
            half_life,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&self, client: ClientKey, part: &Entry) {
        // One client's updates run one after the other, so that none is lost.
        self.clients.entry(client).and_compute_with(|known| {
            Op::Put(match known {
                None => part.clone(),
                Some(known) => {
                    let mut entry = known.into_value();
                    entry.merge(part);
                    entry
                }
            })
        });
    }

    pub(super) fn entry(&self, client: ClientKey) -> Option<Entry> {
        self.clients.get(&client)
    }

    pub(super) fn remove(&self, client: ClientKey) {
        self.clients.invalidate(&client);
    }

    pub(super) fn value(&self, drawer: Drawer, key: &str) -> Option<String> {
        self.drawer(drawer).get(key).map(|kept| kept.value)
    }

    pub(super) fn set(&self, drawer: Drawer, key: &str, value: String, ttl: Duration) {
        self.drawer(drawer).insert(key.to_owned(), Kept { value, ttl: ttl.min(MAX_TTL) });
    }

    pub(super) fn unset(&self, drawer: Drawer, key: &str) {
        self.drawer(drawer).invalidate(key);
    }

    pub(super) fn empty(&self, drawer: Drawer) {
        self.drawer(drawer).invalidate_all();
    }

    fn drawer(&self, drawer: Drawer) -> &Cache<String, Kept> {
        let [malicious, benign, escalations, reputation] = &self.drawers;
        match drawer {
            Drawer::Malicious => malicious,
            Drawer::Benign => benign,
            Drawer::Escalations => escalations,
            Drawer::Reputation => reputation,
        }
    }
}

/// The answer that is there already.
fn ready<'a, T: Send + 'a>(answer: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Memory for InProcess {
    fn remember<'a>(&'a self, finding: &'a Finding) -> Answer<'a, ()> {
        if let Some(client) = finding.client {
            self.add(client, &Entry::of(finding, Timestamp::now(), self.ttl));
        }
        ready(())
    }

    fn recall(&self, client: ClientKey) -> Answer<'_, Option<Summary>> {
        ready(self.entry(client).map(|entry| entry.summary(Timestamp::now(), self.half_life)))
    }

    fn recent(&self, client: ClientKey, limit: usize) -> Answer<'_, Vec<Remembered>> {
        ready(self.entry(client).map(|entry| entry.recent(limit)).unwrap_or_default())
    }

    fn forget(&self, client: ClientKey) -> Answer<'_, ()> {
        self.remove(client);
        ready(())
    }

    fn get<'a>(&'a self, drawer: Drawer, key: &'a str) -> Answer<'a, Option<String>> {
        let value = self.value(drawer, key);
        let counter = if value.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        ready(value)
    }

    fn put<'a>(&'a self, drawer: Drawer, key: &'a str, value: String, ttl: Duration) -> Answer<'a, ()> {
        if value.len() <= MAX_VALUE_BYTES {
            self.set(drawer, key, value, ttl);
        }
        ready(())
    }

    fn discard<'a>(&'a self, drawer: Drawer, key: &'a str) -> Answer<'a, ()> {
        self.unset(drawer, key);
        ready(())
    }

    fn clear(&self, drawer: Drawer) -> Answer<'_, ()> {
        self.empty(drawer);
        ready(())
    }

    fn state(&self) -> MemoryState {
        self.clients.run_pending_tasks();
        self.drawers.iter().for_each(Cache::run_pending_tasks);
        let values: u64 = self.drawers.iter().map(Cache::entry_count).sum();
        MemoryState {
            kind: "in_process",
            healthy: true,
            entries: Some(self.clients.entry_count() + values),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            damaged: 0,
            waiting: 0,
            lost: 0,
            last_error: None,
        }
    }
}

/// Each value has a time of its own.
struct ByItself;

impl Expiry<String, Kept> for ByItself {
    fn expire_after_create(&self, _key: &String, kept: &Kept, _now: Instant) -> Option<Duration> {
        Some(kept.ttl)
    }

    fn expire_after_update(&self, _: &String, kept: &Kept, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.ttl)
    }
}
