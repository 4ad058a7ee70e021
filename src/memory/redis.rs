//! Memory in Redis, which all agents share. What is told goes into this process's own memory and
//! into the backlog, from where a task brings it to Redis: no caller waits for that. What is asked
//! for comes from Redis by a deadline; while Redis is away this process's own memory answers.

mod backlog;
mod link;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::{
    Answer, Drawer, Entry, InProcess, MAX_TTL, MAX_VALUE_BYTES, Memory, MemoryConfig, MemoryState, Remembered, Summary,
};
use crate::event::{ClientKey, Finding, Timestamp};
use backlog::Kept;
use link::Link;
pub use link::connect;
pub use trouble::Trouble;

/// What is known of clients, and values by drawer, shared by all agents that name the same Redis.
pub struct Redis {
    link: Arc<Link>,
    /// Answers while Redis is away. It knows what this process was told.
    local: InProcess,
    ttl: Duration,
    half_life: Duration,
    keeper: JoinHandle<()>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Redis {
    /// Usable at once; connects in the background. Must be called in a tokio runtime.
    pub fn new(config: &MemoryConfig) -> Redis {
        let link = Arc::new(Link::new(config.clone()));
        Redis {
            keeper: tokio::spawn(link::keep(link.clone())),
            link,
            local: InProcess::new(config),
            ttl: Duration::from_secs(config.ttl_secs),
            half_life: Duration::from_secs(config.half_life_secs),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    async fn entry(&self, client: ClientKey) -> Option<Entry> {
        // Before Redis is asked: what is brought there meanwhile is seen twice, which counts once.
        let (forgotten, waiting) = self.link.backlog().client(client);
        if forgotten {
            return waiting;
        }
        let known = match self.link.fetch(&self.link.client_key(client), Entry::decode).await {
            Err(_) => return self.local.entry(client),
            Ok(known) => known,
        };
        match (known, waiting) {
            (Some(mut known), Some(waiting)) => {
                known.merge(&waiting);
                Some(known)
            }
            (known, waiting) => known.or(waiting),
        }
    }

    async fn value(&self, drawer: Drawer, key: &str) -> Option<String> {
        if let Some(told) = self.link.backlog().value(drawer, key) {
            return told;
        }
        let sound = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_VALUE_BYTES);
            text.map(str::to_owned)
        };
        match self.link.fetch(&self.link.value_key(drawer, key), sound).await {
            Err(_) => self.local.value(drawer, key),
            Ok(value) => value,
        }
    }
}

/// Lets go of the connection.
impl Drop for Redis {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Memory for Redis {
    fn remember<'a>(&'a self, finding: &'a Finding) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(client) = finding.client else { return };
            let part = Entry::of(finding, Timestamp::now(), self.ttl);
            self.local.add(client, &part);
            self.link.change(|backlog| backlog.add(client, part, Instant::now() + self.ttl.min(MAX_TTL)));
        })
    }

    fn recall(&self, client: ClientKey) -> Answer<'_, Option<Summary>> {
        Box::pin(async move {
            let entry = self.entry(client).await;
            entry.map(|entry| entry.summary(Timestamp::now(), self.half_life))
        })
    }

    fn recent(&self, client: ClientKey, limit: usize) -> Answer<'_, Vec<Remembered>> {
        Box::pin(async move {
            let entry = self.entry(client).await;
            entry.map(|entry| entry.recent(limit)).unwrap_or_default()
        })
    }

    fn forget(&self, client: ClientKey) -> Answer<'_, ()> {
        Box::pin(async move {
            self.local.remove(client);
            self.link.change(|backlog| backlog.forget(client));
        })
    }

    fn get<'a>(&'a self, drawer: Drawer, key: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move {
            let value = self.value(drawer, key).await;
            let counter = if value.is_some() { &self.hits } else { &self.misses };
            counter.fetch_add(1, Ordering::Relaxed);
            value
        })
    }

    fn put<'a>(&'a self, drawer: Drawer, key: &'a str, value: String, ttl: Duration) -> Answer<'a, ()> {
        Box::pin(async move {
            if value.len() > MAX_VALUE_BYTES {
                return;
            }
            self.local.set(drawer, key, value.clone(), ttl);
            let kept = Kept { value, until: Instant::now() + ttl.min(MAX_TTL) };
            self.link.change(|backlog| backlog.set(drawer, key, Some(kept)));
        })
    }

    fn discard<'a>(&'a self, drawer: Drawer, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.local.unset(drawer, key);
            self.link.change(|backlog| backlog.set(drawer, key, None));
        })
    }

    fn clear(&self, drawer: Drawer) -> Answer<'_, ()> {
        Box::pin(async move {
            self.local.empty(drawer);
            self.link.change(|backlog| backlog.clear(drawer));
        })
    }

    fn state(&self) -> MemoryState {
        let (waiting, lost) = self.link.backlog().counts();
        let (healthy, last_error) = self.link.health();
        MemoryState {
            kind: "redis",
            healthy,
            entries: None,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            damaged: self.link.damaged(),
            waiting,
            lost,
            last_error,
        }
    }
}
