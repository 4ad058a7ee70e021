use std::collections::BTreeMap;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::*;
use crate::event::samples::{self, NOW};
use crate::event::{Decision, DecisionState, Finding, Role, Timestamp};
use crate::record::{Batch, StoreConfig};

struct Host {
    _dir: tempfile::TempDir,
    store: Arc<Sqlite>,
    live: Live,
    told: Option<i64>,
    found: u64,
}

impl Host {
    async fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::open(dir.path(), &StoreConfig::default()).await.unwrap());
        let mut host = Host { _dir: dir, store, live: Live::default(), told: None, found: 0 };
        host.tick().await;
        host
    }

    /// So many findings more, each older than all before.
    async fn find(&mut self, count: u64) {
        let findings: Vec<Finding> = (self.found..self.found + count).map(finding).collect();
        self.found += count;
        self.store.commit(&Batch { at: NOW, findings: &findings, ..Batch::default() }).await.unwrap();
    }

    async fn decide(&self, decision: &Decision) {
        self.store
            .commit(&Batch { at: NOW, decisions: std::slice::from_ref(decision), ..Batch::default() })
            .await
            .unwrap();
    }

    async fn tick(&mut self) {
        self.told = Some(self.live.tick(&self.store, self.told).await.unwrap());
    }

    /// A page that connects, with the id of the last event that it has.
    fn page(&self, last: Option<i64>) -> Told {
        let (sender, receiver) = mpsc::channel(1);
        let (store, news) = (self.store.clone(), self.live.0.subscribe());
        let caller = Caller { name: "a".into(), role: Role::Viewer, address: "socket".into(), key: None };
        tokio::spawn(async move { Page { store: &store, caller, sender, upto: 0 }.follow(last, news).await });
        Told { receiver, last: 0, found: BTreeMap::new(), decided: vec![], not_shown: 0 }
    }
}

/// What a page was told.
struct Told {
    receiver: mpsc::Receiver<Result<Bytes, Infallible>>,
    last: i64,
    found: BTreeMap<u64, u32>,
    decided: Vec<String>,
    not_shown: u64,
}

impl Told {
    /// The next event that is no sign of life.
    async fn next(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let event = timeout_at(deadline, self.receiver.recv()).await.expect("an event").unwrap();
            let event = String::from_utf8(event.unwrap().to_vec()).unwrap();
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let Some(id) = field("id:") else { continue };
            self.last = id.parse().unwrap();
            let Some(data) = field("data:") else { return };
            assert_eq!(field("event:"), Some("news"));
            let news: Value = serde_json::from_str(data).unwrap();
            for row in news["findings"].as_array().unwrap() {
                *self.found.entry(row["offset"].as_u64().unwrap()).or_default() += 1;
            }
            let decided = news["decisions"].as_array().unwrap().iter();
            self.decided.extend(decided.map(|one| format!("{} {}", one["id"].as_str().unwrap(), one["state"])));
            self.not_shown += news["not_shown"].as_u64().unwrap();
            return;
        }
    }

    async fn until(&mut self, last: i64) {
        while self.last < last {
            self.next().await;
        }
    }

    fn each_once(&self, from: u64, upto: u64) {
        assert_eq!(self.found.keys().copied().collect::<Vec<_>>(), (from..upto).collect::<Vec<_>>());
        assert!(self.found.values().all(|times| *times == 1), "{:?}", self.found);
    }
}

fn finding(offset: u64) -> Finding {
    Finding {
        offset,
        time: Timestamp(NOW.0 - offset as i64 * 1000),
        uri: "/\n\nevent: news\ndata: {}".into(),
        ..samples::finding()
    }
}

#[tokio::test]
async fn pages_hear_of_what_comes_once_for_all_and_of_what_is_old_by_its_log_too() {
    let mut host = Host::new().await;
    host.find(150).await;
    host.tick().await;
    let (mut one, mut other) = (host.page(None), host.page(None));
    one.next().await;
    other.next().await;
    assert_eq!((one.last, one.found.len()), (150, 0), "what was before is asked for elsewhere");
    host.find(3).await;
    host.tick().await;
    for page in [&mut one, &mut other] {
        page.until(153).await;
        page.each_once(150, 153);
        assert_eq!(page.not_shown, 0, "a hundred of these are newer by the clock of their log");
    }
    // Two changes of one decision are one row.
    let ban = samples::decision();
    host.decide(&ban).await;
    host.store.set_state(&[ban.id], DecisionState::Active, "", NOW).await.unwrap();
    host.tick().await;
    one.until(155).await;
    assert_eq!((one.decided, one.not_shown), (vec!["d \"active\"".to_owned()], 0));
    // Of a flood the newest are shown, the others counted.
    host.find(1000).await;
    host.tick().await;
    other.until(1155).await;
    assert_eq!((other.found.len(), other.not_shown), (103, 900));
    assert!(other.found.contains_key(&1152) && !other.found.contains_key(&153));
}

#[tokio::test]
async fn a_page_that_is_slow_or_comes_again_is_told_of_each_once() {
    let mut host = Host::new().await;
    let mut slow = host.page(None);
    slow.next().await;
    for _ in 0..WAITING * 2 {
        host.find(2).await;
        host.tick().await;
        tokio::task::yield_now().await;
    }
    slow.until(host.told.unwrap()).await;
    slow.each_once(0, host.found);
    assert_eq!(slow.not_shown, 0);

    // While it is away there is no tick for it, and one in whose middle it comes.
    let last = slow.last;
    drop(slow);
    let from = host.found;
    host.find(5).await;
    let mut again = host.page(Some(last));
    again.next().await;
    host.find(4).await;
    host.tick().await;
    host.find(1).await;
    host.tick().await;
    again.until(host.told.unwrap()).await;
    again.each_once(from, host.found);

    // The number of a database that is gone, or nonsense.
    for last in [i64::MAX, -1] {
        let mut page = host.page(Some(last));
        page.next().await;
        assert_eq!((page.last, page.found.len()), (host.told.unwrap(), 0));
    }
    // Long ago: the newest are shown, the others counted.
    host.find(6000).await;
    let mut page = host.page(Some(0));
    page.next().await;
    assert_eq!((page.found.len() as u64 + page.not_shown, page.found.len()), (host.found, SHOWN));
}
