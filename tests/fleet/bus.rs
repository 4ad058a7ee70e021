//! What every bus does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade::event::Timestamp;
use palisade::fleet::{Bus, Posted, PostgresBus, RedisBus, Signed, What};
use palisade::memory::MemoryConfig;
use palisade::record::StoreConfig;

use super::{banned, key, message};
use crate::memory::server::{Server, redis_or_skip};
use crate::support::postgres;

/// Everything after a cursor.
async fn all(bus: &dyn Bus, after: &str) -> Vec<Posted> {
    let mut found: Vec<Posted> = vec![];
    loop {
        let after = found.last().map_or(after, |posted| &posted.cursor).to_owned();
        let more = bus.take(&after, Duration::from_millis(1)).await.unwrap();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn ids(posted: &[Posted], agent: &str) -> Vec<u64> {
    let of = |posted: &Posted| {
        let message: serde_json::Value = serde_json::from_str(&posted.signed.body).unwrap();
        (message["origin"] == agent).then(|| message["id"].as_str().unwrap().parse().unwrap())
    };
    posted.iter().filter_map(of).collect()
}

async fn contract(one: Arc<dyn Bus>, other: Arc<dyn Bus>) {
    let started = Instant::now();
    assert_eq!(one.take("", Duration::from_millis(300)).await.unwrap(), []);
    assert!(started.elapsed() >= Duration::from_millis(300), "it waits");
    assert!(!one.knows("5").await.unwrap(), "nothing is there yet");

    // Who waits is told at once.
    let waiting = {
        let one = one.clone();
        tokio::spawn(async move { one.take("", Duration::from_secs(20)).await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    other.publish(&[banned("a", "0", "203.0.113.7/32")]).await.unwrap();
    let first = waiting.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(first.len(), 1);
    eprintln!("{}: told after {:?}", one.name(), started.elapsed());
    let cursor = first[0].cursor.clone();
    assert!(other.knows(&cursor).await.unwrap());

    // Several write while one reads: each message once, and each writer's in its order.
    let write = |bus: Arc<dyn Bus>, agent: &'static str| {
        tokio::spawn(async move {
            for batch in 0..40_u64 {
                let ids = batch * 10..batch * 10 + 10;
                let messages: Vec<Signed> = ids.map(|id| banned(agent, &id.to_string(), "203.0.113.7/32")).collect();
                bus.publish(&messages).await.unwrap();
            }
        })
    };
    let writers = [write(one.clone(), "b"), write(other.clone(), "c")];
    let (mut seen, deadline) = (vec![], Instant::now() + Duration::from_secs(30));
    while seen.len() < 800 {
        assert!(Instant::now() < deadline, "{} seen", seen.len());
        let after = seen.last().map_or(cursor.clone(), |posted: &Posted| posted.cursor.clone());
        seen.extend(one.take(&after, Duration::from_millis(200)).await.unwrap());
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for agent in ["b", "c"] {
        assert_eq!(ids(&seen, agent), (0..400).collect::<Vec<_>>(), "{agent}");
    }
    assert_eq!(all(&*other, &cursor).await, seen);
    assert_eq!(all(&*other, "").await.len(), 801, "who is new reads all that is kept");

    // What is over goes.
    let mut over = message("d", "over", What::Banned, "203.0.113.8/32");
    over.expires_at = Timestamp::now().0 - 1000;
    other.publish(&[key().sign(&over), banned("d", "1", "203.0.113.8/32")]).await.unwrap();
    assert_eq!(one.prune().await.unwrap(), 1);
    let last = seen.last().unwrap().cursor.clone();
    assert_eq!(ids(&all(&*one, &last).await, "d"), [1]);
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

#[test]
fn redis_carries_messages() {
    if !redis_or_skip("redis_carries_messages") {
        return;
    }
    let mut server = Server::start();
    let config = MemoryConfig { redis_url: server.url().into(), ..MemoryConfig::default() };
    run(async {
        let open = || Arc::new(RedisBus::new(&config));
        contract(open(), open()).await;
        let elsewhere = RedisBus::new(&MemoryConfig { redis_prefix: "other".into(), ..config.clone() });
        assert_eq!(all(&elsewhere, "").await, [], "another prefix, other agents");
        // What is no message stops nobody.
        let bus = open();
        let last = all(&*bus, "").await.pop().unwrap().cursor;
        server.ask(&["XADD", "palisade:1:fleet", "*", "x", "y"]);
        server.ask(&["XADD", "palisade:1:fleet", "*", "m", "\u{fffd}", "s", ""]);
        let nonsense = all(&*bus, &last).await;
        assert_eq!(nonsense.len(), 2);
        assert_eq!(nonsense[0].signed, Signed::default());
        assert!(!bus.knows("9999999999999-0").await.unwrap(), "of another Redis");
        server.kill();
        assert!(bus.publish(&[banned("a", "9", "203.0.113.9/32")]).await.is_err());
        server.start_again();
        bus.publish(&[banned("a", "9", "203.0.113.9/32")]).await.unwrap();
        assert!(bus.take("", Duration::from_millis(1)).await.is_err(), "who waited learns that the line broke");
        assert_eq!(ids(&all(&*bus, &nonsense[1].cursor).await, "a"), [9]);
    });
}

#[test]
fn postgres_carries_messages() {
    let Some(url) = postgres::database("postgres_carries_messages") else { return };
    let config = StoreConfig { database_url: url.into(), ..StoreConfig::default() };
    run(async {
        let open = || Arc::new(PostgresBus::new(&config));
        contract(open(), open()).await;
        assert!(!open().knows("999999").await.unwrap(), "of another database");
    });
}

#[test]
fn postgres_carries_messages_through_a_pooler_that_passes_no_hints_on() {
    if !postgres::pooler_or_skip("messages through a pooler") {
        return;
    }
    let server = postgres::Server::start();
    let pooler = postgres::Pooler::start(&server);
    let config = StoreConfig { database_url: pooler.url(&server, &server.database()).into(), ..StoreConfig::default() };
    run(async {
        let open = || Arc::new(PostgresBus::new(&config));
        contract(open(), open()).await;
    });
}
