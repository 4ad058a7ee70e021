use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::{Finding, Timestamp};
use crate::memory::tests::{client, finding};

const HOUR: Duration = Duration::from_secs(3600);

/// What is told, and how bringing it to Redis goes.
#[derive(Clone, Debug)]
enum Step {
    Found(u32),
    Forget(u32),
    Put(Drawer, u8),
    Discard(Drawer, u8),
    Clear(Drawer),
    Send,
    /// All arrived; of a client with an even number, another agent was faster.
    Arrived,
    /// Nobody knows how much arrived: all or nothing of it did.
    Failed(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let drawer = prop::sample::select(&Drawer::ALL[..2]);
    let step = prop_oneof![
        3 => (0..3u32).prop_map(Step::Found),
        1 => (0..3u32).prop_map(Step::Forget),
        3 => (drawer.clone(), 0..3u8).prop_map(|(drawer, key)| Step::Put(drawer, key)),
        1 => (drawer.clone(), 0..3u8).prop_map(|(drawer, key)| Step::Discard(drawer, key)),
        1 => drawer.prop_map(Step::Clear),
        3 => Just(Step::Send),
        2 => Just(Step::Arrived),
        1 => any::<bool>().prop_map(Step::Failed),
    ];
    // So few that no finding is beyond those that are remembered one by one.
    prop::collection::vec(step, 1..40)
}

/// What a Redis holds.
#[derive(Default)]
struct Held {
    values: HashMap<(Drawer, String), String>,
    clients: HashMap<ClientKey, Entry>,
}

impl Held {
    fn take(&mut self, changes: &Changes, missed: &[ClientKey]) {
        self.values.retain(|(drawer, _), _| !changes.cleared.contains(drawer));
        for (key, kept) in &changes.values {
            match kept {
                Some(kept) => _ = self.values.insert(key.clone(), kept.value.clone()),
                None => _ = self.values.remove(key),
            }
        }
        for (client, change) in &changes.clients {
            if change.forgotten {
                self.clients.remove(client);
            }
            if let (Some(part), false) = (&change.part, missed.contains(client)) {
                self.add(*client, part);
            }
        }
    }

    fn add(&mut self, client: ClientKey, part: &Entry) {
        self.clients.entry(client).and_modify(|known| known.merge(part)).or_insert_with(|| part.clone());
    }
}

proptest! {
    #[test]
    fn whatever_fails_what_was_told_is_seen_at_once_and_arrives(steps in steps()) {
        let mut backlog = Backlog::new(100);
        let (mut redis, mut told) = (Held::default(), Held::default());
        let mut sent: Option<Changes> = None;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Found(who) => {
                    let part = Entry::of(&Finding { offset: n as u64, ..finding(who) }, Timestamp(0), HOUR);
                    told.add(client(who), &part);
                    backlog.add(client(who), part, Instant::now() + HOUR);
                }
                Step::Forget(who) => {
                    told.clients.remove(&client(who));
                    backlog.forget(client(who));
                }
                Step::Put(drawer, key) => {
                    told.values.insert((drawer, key.to_string()), n.to_string());
                    let kept = Kept { value: n.to_string(), until: Instant::now() + HOUR };
                    backlog.set(drawer, &key.to_string(), Some(kept));
                }
                Step::Discard(drawer, key) => {
                    told.values.remove(&(drawer, key.to_string()));
                    backlog.set(drawer, &key.to_string(), None);
                }
                Step::Clear(drawer) => {
                    told.values.retain(|(other, _), _| *other != drawer);
                    backlog.clear(drawer);
                }
                Step::Send if sent.is_none() => sent = backlog.send(2),
                Step::Arrived => if let Some(changes) = sent.take() {
                    let missed: Vec<_> = changes.clients.keys().copied().filter(|client| client.bits() % 2 == 0).collect();
                    redis.take(&changes, &missed);
                    backlog.settle(&missed);
                },
                Step::Failed(arrived) => if let Some(changes) = sent.take() {
                    if arrived {
                        redis.take(&changes, &[]);
                    }
                    backlog.restore();
                },
                Step::Send => {}
            }
            for who in (0..3).map(client) {
                let (forgotten, part) = backlog.client(who);
                let mut seen = Held::default();
                let known = redis.clients.get(&who).filter(|_| !forgotten);
                known.into_iter().chain(&part).for_each(|part| seen.add(who, part));
                prop_assert_eq!(seen.clients.get(&who), told.clients.get(&who));
            }
            for key in Drawer::ALL.into_iter().flat_map(|drawer| (0..3).map(move |key| (drawer, key.to_string()))) {
                let seen = backlog.value(key.0, &key.1).unwrap_or_else(|| redis.values.get(&key).cloned());
                prop_assert_eq!(seen.as_ref(), told.values.get(&key));
            }
        }
        backlog.restore();
        while let Some(changes) = backlog.send(2) {
            redis.take(&changes, &[]);
            backlog.settle(&[]);
        }
        prop_assert_eq!(redis.values, told.values);
        prop_assert_eq!(redis.clients, told.clients);
        prop_assert_eq!(backlog.counts(), (0, 0));
    }
}

#[test]
fn no_more_than_max_wait_and_the_rest_is_counted() {
    let mut backlog = Backlog::new(10);
    for n in 0..30 {
        backlog.add(client(n), Entry::of(&finding(n), Timestamp(0), HOUR), Instant::now() + HOUR);
        backlog.set(Drawer::Benign, &n.to_string(), None);
    }
    backlog.forget(client(40));
    backlog.forget(client(1));
    assert_eq!(backlog.counts(), (20, 41));
}

#[test]
fn what_is_over_before_it_arrives_does_not_come_to_life_again() {
    let mut backlog = Backlog::new(10);
    backlog.add(client(1), Entry::of(&finding(1), Timestamp(0), HOUR), Instant::now());
    let kept = Kept { value: "x".into(), until: Instant::now() };
    backlog.set(Drawer::Benign, "a", Some(kept));
    assert_eq!(backlog.value(Drawer::Benign, "a"), Some(None));
    assert!(backlog.send(9).unwrap().clients[&client(1)].part.is_none());
}
