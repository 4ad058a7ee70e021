//! What was told and is not in Redis yet. Changes of one thing are one change, so that it stays small;
//! bounded all the same.

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::event::ClientKey;
use crate::memory::{Drawer, Entry};

/// A value, and when it is over.
#[derive(Clone, Debug)]
pub struct Kept {
    pub value: String,
    pub until: Instant,
}

/// What happened to one client: it was forgotten, or not, and then `part` was found.
#[derive(Clone, Debug)]
pub struct ClientChange {
    pub forgotten: bool,
    pub part: Option<Entry>,
    /// When `part` is over.
    pub until: Instant,
}

/// Changes, in the order in which they apply.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Drawers that were emptied.
    pub cleared: BTreeSet<Drawer>,
    /// Values that were put, and those that were discarded.
    pub values: HashMap<(Drawer, String), Option<Kept>>,
    pub clients: HashMap<ClientKey, ClientChange>,
}

impl Changes {
    fn len(&self) -> usize {
        self.cleared.len() + self.values.len() + self.clients.len()
    }
}

/// What waits, and what is on its way.
#[derive(Debug)]
pub struct Backlog {
    waiting: Changes,
    sent: Changes,
    /// Clients that may wait, and values.
    max: usize,
    lost: u64,
}

impl Backlog {
    pub fn new(max: usize) -> Backlog {
        Backlog { waiting: Changes::default(), sent: Changes::default(), max, lost: 0 }
    }

    pub fn add(&mut self, client: ClientKey, part: Entry, until: Instant) {
        let is_full = self.waiting.clients.len() >= self.max;
        match self.waiting.clients.entry(client) {
            Place::Occupied(mut place) => {
                let change = place.get_mut();
                match &mut change.part {
                    Some(known) => known.merge(&part),
                    None => change.part = Some(part),
                }
                change.until = until;
            }
            Place::Vacant(_) if is_full => self.lost += 1,
            Place::Vacant(place) => {
                place.insert(ClientChange { forgotten: false, part: Some(part), until });
            }
        }
    }

    pub fn forget(&mut self, client: ClientKey) {
        if self.waiting.clients.len() >= self.max && !self.waiting.clients.contains_key(&client) {
            self.lost += 1;
        } else {
            let change = ClientChange { forgotten: true, part: None, until: Instant::now() };
            self.waiting.clients.insert(client, change);
        }
    }

    /// Puts a value, or discards it.
    pub fn set(&mut self, drawer: Drawer, key: &str, kept: Option<Kept>) {
        let key = (drawer, key.to_owned());
        if self.waiting.values.len() >= self.max && !self.waiting.values.contains_key(&key) {
            self.lost += 1;
        } else {
            self.waiting.values.insert(key, kept);
        }
    }

    pub fn clear(&mut self, drawer: Drawer) {
        self.waiting.values.retain(|(other, _), _| *other != drawer);
        self.waiting.cleared.insert(drawer);
    }

    /// Whether `client` is forgotten, though Redis may still know it, and what was found since.
    pub fn client(&self, client: ClientKey) -> (bool, Option<Entry>) {
        let (mut forgotten, mut part) = (false, None::<Entry>);
        for change in [&self.sent, &self.waiting].into_iter().filter_map(|changes| changes.clients.get(&client)) {
            if change.forgotten {
                (forgotten, part) = (true, None);
            }
            match (&mut part, &change.part) {
                (Some(known), Some(more)) => known.merge(more),
                (part, more) => *part = part.take().or_else(|| more.clone()),
            }
        }
        (forgotten, part)
    }

    /// What was told of a value: that it is there, or (`Some(None)`) that it is not.
    pub fn value(&self, drawer: Drawer, key: &str) -> Option<Option<String>> {
        let key = (drawer, key.to_owned());
        [&self.waiting, &self.sent].into_iter().find_map(|changes| match changes.values.get(&key) {
            Some(kept) => Some(kept.as_ref().filter(|kept| kept.until > Instant::now()).map(|kept| kept.value.clone())),
            None => changes.cleared.contains(&drawer).then_some(None),
        })
    }

    /// Changes to bring to Redis now, at most `limit` of a kind. They are on their way until
    /// [`settle`](Self::settle) or [`restore`](Self::restore).
    pub fn send(&mut self, limit: usize) -> Option<Changes> {
        let (now, waiting) = (Instant::now(), &mut self.waiting);
        let mut batch = Changes { cleared: std::mem::take(&mut waiting.cleared), ..Changes::default() };
        let keys: Vec<_> = waiting.values.keys().take(limit).cloned().collect();
        batch.values.extend(keys.into_iter().filter_map(|key| waiting.values.remove_entry(&key)));
        let clients: Vec<_> = waiting.clients.keys().take(limit).copied().collect();
        batch.clients.extend(clients.into_iter().filter_map(|client| waiting.clients.remove_entry(&client)));
        // What is over meanwhile must not come back to life.
        batch.clients.values_mut().filter(|change| change.until <= now).for_each(|change| change.part = None);
        self.sent = batch;
        (self.sent.len() > 0).then(|| self.sent.clone())
    }

    /// What was on its way is in Redis, but for the parts of the clients in `missed`.
    pub fn settle(&mut self, missed: &[ClientKey]) {
        let mut sent = std::mem::take(&mut self.sent);
        let missed = missed.iter().filter_map(|client| sent.clients.remove_entry(client));
        // Who was to be forgotten was.
        let clients = missed.map(|(client, change)| (client, ClientChange { forgotten: false, ..change })).collect();
        self.put_back(Changes { clients, ..Changes::default() });
    }

    /// What was on its way may not have arrived. Sent again it does no harm.
    pub fn restore(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        self.put_back(sent);
    }

    /// Changes that are not in Redis, and those that never will be.
    pub fn counts(&self) -> (u64, u64) {
        ((self.waiting.len() + self.sent.len()) as u64, self.lost)
    }

    /// Puts `earlier` changes in front of those that wait.
    fn put_back(&mut self, earlier: Changes) {
        let waiting = &mut self.waiting;
        for (key, kept) in earlier.values {
            if !waiting.cleared.contains(&key.0) {
                waiting.values.entry(key).or_insert(kept);
            }
        }
        waiting.cleared.extend(earlier.cleared);
        for (client, earlier) in earlier.clients {
            match waiting.clients.entry(client) {
                Place::Vacant(place) => {
                    place.insert(earlier);
                }
                Place::Occupied(mut place) if !place.get().forgotten => {
                    let change = place.get_mut();
                    change.forgotten = earlier.forgotten;
                    match (&mut change.part, earlier.part) {
                        (Some(known), Some(part)) => known.merge(&part),
                        (part, earlier) => *part = part.take().or(earlier),
                    }
                }
                Place::Occupied(_) => {}
            }
        }
    }
}
