use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::event::samples::{self, NOW};
use crate::event::{Decision, DecisionState, Finding};
use crate::record::{Batch, Trouble};

/// How the store takes the next rows.
#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    /// Takes them and breaks off before it says so.
    Breaks,
    Away,
    /// One finding at this offset is refused.
    Refuses(u64),
    RefusesAll,
}

/// A store that remembers what it was given, by id.
#[derive(Default)]
struct Far {
    mood: Mutex<Mood>,
    findings: Mutex<BTreeMap<String, i64>>,
    states: Mutex<BTreeMap<String, DecisionState>>,
    /// Puts, by the number of their findings, and what was forgotten between them.
    said: Mutex<Vec<String>>,
}

fn away() -> StoreError {
    StoreError::Postgres { place: String::new(), trouble: Trouble::Unreachable("away".into()) }
}

fn refused() -> StoreError {
    StoreError::Postgres { place: String::new(), trouble: Trouble::Row("no such value".into()) }
}

impl Store for Far {
    fn put<'a>(&'a self, _: &'a str, rows: &'a Rows, _: Timestamp) -> Answer<'a, u64> {
        Box::pin(async move {
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Away => return Err(away()),
                Mood::RefusesAll => return Err(refused()),
                Mood::Refuses(offset) if rows.findings.iter().any(|one| one.offset == offset) => return Err(refused()),
                _ => {}
            }
            for one in &rows.findings {
                *self.findings.lock().unwrap().entry(one.id.clone()).or_default() += 1;
            }
            let mut states = self.states.lock().unwrap();
            states.extend(rows.decisions.iter().map(|one| (one.id.clone(), one.state)));
            self.said.lock().unwrap().push(format!("put {}", rows.findings.len()));
            if mood == Mood::Breaks {
                *self.mood.lock().unwrap() = Mood::Well;
                return Err(away());
            }
            Ok(0)
        })
    }

    fn forget(&self, network: ipnet::IpNet) -> Answer<'_, u64> {
        self.said.lock().unwrap().push(format!("forget {network}"));
        Box::pin(std::future::ready(Ok(1)))
    }

    fn prune(&self, _: Timestamp) -> Answer<'_, u64> {
        self.said.lock().unwrap().push("prune".into());
        Box::pin(std::future::ready(Ok(0)))
    }
}

fn finding(offset: u64) -> Finding {
    Finding { offset, ..samples::finding() }
}

fn decision(id: &str) -> Decision {
    Decision { id: id.into(), ..samples::decision() }
}

/// A local database, a sender, and where it sends to.
struct Pair {
    _dir: tempfile::TempDir,
    local: Arc<Sqlite>,
    far: Arc<Far>,
    services: watch::Receiver<Services>,
    knows_us: Arc<Mutex<bool>>,
    sending: tokio::task::JoinHandle<()>,
    said: watch::Sender<Services>,
}

impl Pair {
    async fn new(before: u64) -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig { max_outbox_rows: 10, ..StoreConfig::default() };
        let local = Arc::new(Sqlite::open(dir.path(), &config).await.unwrap());
        let (said, services) = watch::channel(Services::new());
        let far = Arc::new(Far::default());
        let knows_us = Arc::new(Mutex::new(false));
        let sending = tokio::spawn(async {});
        let mut pair = Pair { _dir: dir, local, far, services, knows_us, sending, said };
        pair.find(0..before).await;
        pair.send();
        pair
    }

    /// Starts the sender, as a daemon does.
    fn send(&mut self) {
        self.sending.abort();
        let (far, knows_us) = (self.far.clone(), self.knows_us.clone());
        let reach: Reach = Box::new(move || {
            let (store, knows_us) = (far.clone(), knows_us.clone());
            Box::pin(async move {
                if *store.mood.lock().unwrap() == Mood::Away {
                    return Err(away());
                }
                let knows_us = std::mem::replace(&mut *knows_us.lock().unwrap(), true);
                Ok(Some(Reached { store, knows_us }))
            })
        });
        self.sending = tokio::spawn(follow(self.local.clone(), "here".into(), reach, self.said.clone()));
    }

    async fn find(&self, offsets: std::ops::Range<u64>) {
        let findings: Vec<Finding> = offsets.map(finding).collect();
        self.local.commit(&Batch { at: NOW, findings: &findings, ..Batch::default() }).await.unwrap();
    }

    fn set(&self, mood: Mood) {
        *self.far.mood.lock().unwrap() = mood;
    }

    async fn until(&self, what: &str, is: impl Fn(&Far) -> bool) {
        for _ in 0..600 {
            if is(&self.far) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not in time: {what}; {:?} {:?}", self.far.said.lock().unwrap(), self.services.borrow());
    }

    async fn until_said(&self, what: &str, is: impl Fn(&Service) -> bool) {
        for _ in 0..600 {
            if self.services.borrow().get(NAME).is_some_and(&is) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not in time: {what}; {:?}", self.services.borrow());
    }
}

impl Far {
    fn count(&self) -> usize {
        self.findings.lock().unwrap().len()
    }
}

#[tokio::test]
async fn what_is_recorded_is_sent_at_once_and_what_was_before_too() {
    let pair = Pair::new(2500).await;
    pair.until("the past", |far| far.count() == 2500).await;
    pair.until("old rows are deleted there", |far| far.said.lock().unwrap().contains(&"prune".into())).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let began = Instant::now();
    pair.find(2500..2501).await;
    pair.until("a new one", |far| far.count() == 2501).await;
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    pair.local.commit(&Batch { at: NOW, decisions: &[decision("d")], ..Batch::default() }).await.unwrap();
    pair.local.set_state(&["d".into()], DecisionState::Active, "", NOW).await.unwrap();
    let is_active = |far: &Far| far.states.lock().unwrap().get("d") == Some(&DecisionState::Active);
    pair.until("a decision and what became of it", is_active).await;
    pair.until_said("all is well", |said| {
        said.problem.is_none() && said.figures["healthy"] == true && said.figures["waiting"] == 0
    })
    .await;
    let puts = pair.far.said.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(pair.far.said.lock().unwrap().len(), puts, "nothing is sent when there is nothing new");
}

#[tokio::test]
async fn what_breaks_off_is_sent_again_and_a_restart_goes_on_where_it_was() {
    let mut pair = Pair::new(0).await;
    pair.until_said("it is there", |said| said.figures["healthy"] == true).await;
    pair.set(Mood::Breaks);
    pair.find(0..10).await;
    pair.until("sent twice", |far| far.findings.lock().unwrap().values().filter(|times| **times == 2).count() == 10)
        .await;
    pair.until_said("noted", |said| said.figures["waiting"] == 0).await;
    pair.send();
    pair.find(10..20).await;
    pair.until("the others", |far| far.count() == 20).await;
    let twice = pair.far.findings.lock().unwrap().values().filter(|times| **times > 1).count();
    assert_eq!(twice, 10, "what was confirmed is not sent again");
}

#[tokio::test]
async fn while_it_is_away_everything_waits_and_then_goes() {
    let pair = Pair::new(0).await;
    pair.until_said("it is there", |said| said.figures["healthy"] == true).await;
    pair.set(Mood::Away);
    pair.find(0..100).await;
    pair.until_said("it is away", |said| {
        said.figures["healthy"] == false && said.figures["waiting"] == 100 && said.figures["last_error"].is_string()
    })
    .await;
    assert_eq!(pair.services.borrow()[NAME].problem, None, "it may pass by itself");
    pair.set(Mood::Well);
    pair.until("all of them", |far| far.count() == 100).await;
    pair.until_said("all is well", |said| said.figures["healthy"] == true && said.figures["waiting"] == 0).await;
    assert_eq!(pair.services.borrow()[NAME].figures["last_error"], Value::Null);
}

#[tokio::test]
async fn a_row_that_is_refused_is_counted_and_keeps_no_other_here() {
    let pair = Pair::new(0).await;
    pair.until_said("it is there", |said| said.figures["healthy"] == true).await;
    pair.set(Mood::Refuses(77));
    pair.find(0..300).await;
    pair.until("all but one", |far| far.count() == 299).await;
    pair.until_said("counted", |said| {
        said.figures["dropped"] == 1 && said.problem.as_ref().is_some_and(|problem| problem.contains("1 changes"))
    })
    .await;
    // A store that refuses everything has another fault.
    pair.set(Mood::RefusesAll);
    pair.find(300..400).await;
    pair.until_said("a problem", |said| said.figures["healthy"] == false && said.problem.is_some()).await;
    assert_eq!(pair.local.waiting(NAME).await.unwrap().dropped, 1 + u64::from(MAX_REFUSED));
    pair.set(Mood::Well);
    pair.until("the others", |far| far.count() == 399 - MAX_REFUSED as usize).await;
}
