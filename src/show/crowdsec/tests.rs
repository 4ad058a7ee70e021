use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::event::{Category, Decision, DecisionState, Ground, samples};
use crate::record::{Batch, StoreConfig};

/// The API, served, and the key of a bouncer called "one".
struct Served {
    store: Arc<Sqlite>,
    address: std::net::SocketAddr,
    key: String,
    _dir: TempDir,
}

/// A status line and what follows the head.
type Answered = (u16, String);

impl Served {
    async fn new(enforcing: bool) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::open(dir.path(), &StoreConfig::default()).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(store.clone(), watch::channel(enforcing).1);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let served = Served { store, address, key: "k".repeat(64), _dir: dir };
        served.add("one", &served.key).await;
        served
    }

    async fn add(&self, name: &str, key: &str) {
        assert!(self.store.bouncer_add(name, &keys::hash(key.as_bytes()), Timestamp::now()).await.unwrap());
    }

    async fn ask_with(&self, key: &str, method: &str, path: &str, body: &str) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: here\r\nUser-Agent: crowdsec-test-bouncer/v1.2\r\nX-Api-Key: {key}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask_with(&self.key, "GET", path, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// New and deleted targets of a pull.
    async fn pull(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let answer = self.get(&format!("/v1/decisions/stream?{query}")).await;
        (values(&answer["new"]), values(&answer["deleted"]))
    }

    async fn listed(&self, query: &str) -> Vec<String> {
        values(&self.get(&format!("/v1/decisions?{query}")).await)
    }

    async fn ban(&self, target: &str) -> String {
        self.record(decision(target)).await
    }

    async fn record(&self, decision: Decision) -> String {
        let id = decision.id.clone();
        self.store.commit(&Batch { at: Timestamp::now(), decisions: &[decision], ..Batch::default() }).await.unwrap();
        id
    }

    async fn set(&self, id: &str, state: DecisionState) {
        self.store.set_state(&[id.to_owned()], state, "", Timestamp::now()).await.unwrap();
    }
}

fn decision(target: &str) -> Decision {
    Decision {
        id: format!("id of {target}"),
        target: crate::show::api::network(target).unwrap(),
        ground: Ground { category: Some(Category::Sqli), ..Ground::default() },
        created_at: Timestamp::now(),
        expires_at: Timestamp::now().plus_secs(14_400),
        state: DecisionState::Active,
        ..samples::decision()
    }
}

fn values(list: &Value) -> Vec<String> {
    let rows = list.as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect()
}

const NONE: &[&str] = &[];

#[tokio::test]
async fn a_decision_has_crowdsecs_shape() {
    let served = Served::new(true).await;
    served.ban("203.0.113.7").await;
    served.ban("2001:db8:1:2::/64").await;
    served.record(Decision { ground: Ground::default(), ..decision("198.51.100.0/24") }).await;
    let answer = served.get("/v1/decisions/stream?startup=true").await;
    let first = &answer["new"][0];
    let duration = first["duration"].as_str().unwrap();
    assert!(duration == "4h0m0s" || duration.starts_with("3h59m5"), "{duration}");
    let id = first["id"].as_i64().unwrap();
    let expected = json!({
        "id": id, "uuid": "id of 203.0.113.7", "origin": "palisade", "type": "ban", "scope": "Ip",
        "value": "203.0.113.7", "duration": duration, "scenario": "palisade/sqli",
    });
    assert_eq!(*first, expected);
    assert_eq!(answer["new"][1]["scope"], "Range", "a /64 is one client, and a range");
    assert_eq!(answer["new"][1]["value"], "2001:db8:1:2::/64");
    assert_eq!(answer["new"][2]["scenario"], "palisade/manual", "an operator gives no category");
    assert_eq!(answer["deleted"], Value::Null);
    assert_eq!(served.get("/v1/decisions?ip=203.0.113.7").await[0]["id"], id, "one number everywhere");
    assert_eq!(served.get("/v1/decisions?ip=203.0.113.8").await, Value::Null);
}

#[tokio::test]
async fn a_pull_gives_what_changed_since_the_last_one_of_this_key() {
    let served = Served::new(true).await;
    served.add("two", "another").await;
    let first = served.ban("203.0.113.1").await;
    assert_eq!(served.pull("startup=true").await, (vec!["203.0.113.1".into()], vec![]));
    assert_eq!(served.pull("").await, (vec![], vec![]));
    served.ban("203.0.113.2").await;
    served.set(&first, DecisionState::Lifted).await;
    // A ban that goes on to wait, or that the responder has yet to carry out, or that is refused.
    for (target, state) in [
        ("203.0.113.3", DecisionState::Held),
        ("203.0.113.4", DecisionState::Pending),
        ("203.0.113.5", DecisionState::Refused),
    ] {
        served.record(Decision { state, ..decision(target) }).await;
    }
    let over = Decision { expires_at: Timestamp::now(), ..decision("203.0.113.6") };
    served.record(over).await;
    served.record(Decision { simulated: true, ..decision("203.0.113.7") }).await;
    assert_eq!(
        served.pull("startup=false").await,
        (vec!["203.0.113.2".into(), "203.0.113.4".into()], vec!["203.0.113.1".into()])
    );
    served.set("id of 203.0.113.3", DecisionState::Active).await;
    served.store.expire(Timestamp::now()).await.unwrap();
    assert_eq!(served.pull("").await, (vec!["203.0.113.3".into()], vec!["203.0.113.6".into()]));
    assert_eq!(served.pull("").await, (vec![], vec![]));
    // A ping moves nothing.
    served.ban("203.0.113.9").await;
    for path in ["/v1/decisions/stream?startup=true", "/v1/decisions"] {
        assert_eq!(served.ask_with(&served.key, "HEAD", path, "").await, (200, String::new()));
    }
    // Another key has a cursor of its own, and everything in force without saying that it starts.
    let (_, body) = served.ask_with("another", "GET", "/v1/decisions/stream?", "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(values(&body["new"]), ["203.0.113.2", "203.0.113.4", "203.0.113.3", "203.0.113.9"]);
    assert_eq!(body["deleted"], Value::Null);
    assert_eq!(served.pull("").await, (vec!["203.0.113.9".into()], vec![]));
    // A bouncer that starts again hears, too, what ended while it was away.
    served.set("id of 203.0.113.9", DecisionState::Lifted).await;
    let (new, deleted) = served.pull("startup=true").await;
    assert_eq!(new, ["203.0.113.2", "203.0.113.4", "203.0.113.3"]);
    assert_eq!(deleted, ["203.0.113.9"]);
}

/// Bouncers know targets, not decisions: to them the target is shut out until the last one on it ends.
#[tokio::test]
async fn several_bans_on_one_target_are_one_until_the_last_ends() {
    let served = Served::new(true).await;
    let with = |id: &str, secs: u64| Decision {
        id: id.into(),
        expires_at: Timestamp::now().plus_secs(secs),
        ..decision("203.0.113.1")
    };
    served.record(with("short", 60)).await;
    assert_eq!(served.pull("startup=true").await.0, ["203.0.113.1"]);
    served.record(with("long", 6000)).await;
    let answer = served.get("/v1/decisions/stream?").await;
    assert_eq!((&answer["new"][0]["uuid"], answer["new"].as_array().unwrap().len()), (&json!("long"), 1));
    served.set("short", DecisionState::Expired).await;
    assert_eq!(served.pull("").await, (vec![], vec![]), "the other still holds it");
    let answer = served.get("/v1/decisions/stream?startup=true").await;
    assert_eq!((&answer["new"][0]["uuid"], answer["new"].as_array().unwrap().len()), (&json!("long"), 1));
    served.record(with("shorter", 30)).await;
    assert_eq!(served.pull("").await, (vec![], vec![]), "what is known holds longer");
    assert_eq!(served.get("/v1/decisions?ip=203.0.113.1").await[0]["uuid"], "long");
    served.set("shorter", DecisionState::Lifted).await;
    served.set("long", DecisionState::Lifted).await;
    assert_eq!(served.pull("").await.1, ["203.0.113.1"], "and is told once");
}

#[tokio::test]
async fn in_dry_run_nothing_is_served_and_nothing_is_missed_after_it() {
    let mut served = Served::new(false).await;
    served.ban("203.0.113.1").await;
    assert_eq!(served.get("/v1/decisions/stream?startup=true").await, json!({ "new": null, "deleted": null }));
    assert_eq!(served.get("/v1/decisions/stream?").await, json!({ "new": null, "deleted": null }));
    for query in ["", "?ip=203.0.113.1", "?range=203.0.113.0/24&contains=false"] {
        assert_eq!(served.get(&format!("/v1/decisions{query}")).await, Value::Null, "{query}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    served.address = listener.local_addr().unwrap();
    let router = router(served.store.clone(), watch::channel(true).1);
    tokio::spawn(async move { axum::serve(listener, router).await });
    assert_eq!(served.pull("").await, (vec!["203.0.113.1".into()], vec![]));
}

#[tokio::test]
async fn only_a_key_opens() {
    let served = Served::new(true).await;
    served.ban("203.0.113.1").await;
    let forbidden = (403, "{\"message\":\"access forbidden\"}".to_owned());
    for key in ["", "wrong", &"k".repeat(63), &"K".repeat(64), "' OR 1=1 --"] {
        for (method, path) in
            [("GET", "/v1/decisions"), ("GET", "/v1/decisions/stream?startup=true"), ("POST", "/v1/usage-metrics")]
        {
            assert_eq!(served.ask_with(key, method, path, "{}").await, forbidden, "{key:?} {method} {path}");
        }
        assert_eq!(served.ask_with(key, "HEAD", "/v1/decisions", "").await.0, 403);
    }
    assert!(served.store.bouncers().await.unwrap()[0].last_pull.is_none());
    served.pull("startup=true").await;
    let bouncer = served.store.bouncers().await.unwrap().remove(0);
    assert_eq!(bouncer.user_agent, "crowdsec-test-bouncer/v1.2");
    assert!(bouncer.last_pull.is_some() && bouncer.cursor > 0);
    assert!(served.store.bouncer_remove("one").await.unwrap());
    assert_eq!(served.ask_with(&served.key, "GET", "/v1/decisions", "").await, forbidden, "gone at once");
}

#[tokio::test]
async fn questions_are_filtered_as_crowdsec_does() {
    let served = Served::new(true).await;
    for target in ["203.0.113.7", "203.0.113.0/24", "203.0.0.0/16", "2001:db8:1:2::/64", "198.51.100.9"] {
        served.ban(target).await;
    }
    served.record(Decision { ground: Ground::default(), ..decision("192.0.2.1") }).await;
    let all = served.listed("").await;
    assert_eq!(all.len(), 6);
    for (query, expected) in [
        ("ip=203.0.113.7", &["203.0.113.7", "203.0.113.0/24", "203.0.0.0/16"][..]),
        ("ip=::ffff:203.0.113.9", &["203.0.113.0/24", "203.0.0.0/16"]),
        ("ip=203.0.113.7&contains=false", &["203.0.113.7"]),
        ("ip=2001:db8:1:2::99", &["2001:db8:1:2::/64"]),
        ("ip=2001:db8:1:3::99", NONE),
        ("range=203.0.113.128/25", &["203.0.113.0/24", "203.0.0.0/16"]),
        ("range=203.0.0.0/8&contains=false", &["203.0.113.7", "203.0.113.0/24", "203.0.0.0/16"]),
        ("scope=Ip&value=203.0.113.7", &["203.0.113.7"]),
        ("scope=range&value=203.0.113.7", NONE),
        ("scope=Country&value=FR", NONE),
        ("scopes=range&ip=203.0.113.7", &["203.0.113.0/24", "203.0.0.0/16"]),
        ("type=captcha", NONE),
        ("type=ban&ip=198.51.100.9&banned=true&nonsense=%ff", &["198.51.100.9"]),
        ("origins=crowdsec,cscli", NONE),
        ("origins=cscli,palisade&ip=198.51.100.9", &["198.51.100.9"]),
        ("scenarios_containing=ssh,Manual", &["192.0.2.1"]),
        ("scenarios_not_containing=sqli", &["192.0.2.1"]),
    ] {
        assert_eq!(served.listed(query).await, expected, "{query}");
        if !query.contains("ip=") && !query.contains("range=") && !query.contains("value=") {
            assert_eq!(served.pull(&format!("startup=true&{query}")).await.0, expected, "stream: {query}");
        }
    }
    assert_eq!(served.listed("scopes=ip,range&scenarios_containing=&origins=").await, all);
    for query in ["ip=nobody", "ip=", "ip=203.0.113.0/24", "range=203.0.113.0/33", "contains=maybe", "startup=2"] {
        let (status, body) = served.ask_with(&served.key, "GET", &format!("/v1/decisions?{query}"), "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(status == 400 && body["message"].is_string(), "{query}: {status} {body}");
    }
    assert_eq!(served.ask_with(&served.key, "POST", "/v1/usage-metrics", "{\"log_processors\":null}").await.0, 201);
    assert_eq!(served.ask_with(&served.key, "POST", "/v1/usage-metrics", "{").await.0, 400);
    assert_eq!(served.ask_with(&served.key, "GET", "/v1/watchers", "").await.0, 404);
}

/// While everything is given to several bouncers at once, the decider's questions and records go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_decisions_hold_nobody_up() {
    const BANS: u32 = 100_000;
    let served = Arc::new(Served::new(true).await);
    let began = Instant::now();
    for chunk in (0..BANS).collect::<Vec<_>>().chunks(10_000) {
        let decisions: Vec<Decision> = chunk
            .iter()
            .map(|n| Decision {
                id: format!("{n:032x}"),
                target: std::net::Ipv4Addr::from(0x0a00_0000 + n)
                    .to_string()
                    .parse::<std::net::IpAddr>()
                    .unwrap()
                    .into(),
                ..decision("203.0.113.7")
            })
            .collect();
        let batch = Batch { at: Timestamp::now(), decisions: &decisions, ..Batch::default() };
        served.store.commit(&batch).await.unwrap();
    }
    eprintln!("{BANS} decisions recorded in {:?}", began.elapsed());
    let count = async |served: &Served| {
        let (_, body) = served.ask_with(&served.key, "GET", "/v1/decisions/stream?startup=true", "").await;
        body.matches("\"uuid\"").count()
    };
    let began = Instant::now();
    assert_eq!(count(&served).await, BANS as usize);
    eprintln!("all given in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());

    let pulls: Vec<_> = (0..3)
        .map(|_| {
            let served = served.clone();
            tokio::spawn(async move { count(&served).await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    let mut rounds = 0;
    while !pulls.iter().all(tokio::task::JoinHandle::is_finished) {
        let began = Instant::now();
        served.store.decision("none").await.unwrap();
        served.ban(&format!("198.51.{}.{}", rounds / 250, rounds % 250)).await;
        slowest = slowest.max(began.elapsed());
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eprintln!("three pulls at once: of {rounds} decisions meanwhile the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    for pull in pulls {
        assert!(pull.await.unwrap() >= BANS as usize);
    }
    let began = Instant::now();
    assert_eq!(served.listed("ip=10.0.5.5").await, ["10.0.5.5"]);
    eprintln!("one looked up in {:?}", began.elapsed());
    let recorded = served.store.bouncers().await.unwrap()[0].cursor;
    let (new, _) = served.pull("").await;
    let last = served.store.last_change().await.unwrap();
    assert_eq!(i64::try_from(new.len()).unwrap(), last - recorded, "all that came during the last pull, and each once");
}

#[test]
fn lengths_of_time_are_gos() {
    for (millis, text) in [
        (14_396_000, "3h59m56s"),
        (1, "1s"),
        (0, "0s"),
        (59_001, "1m0s"),
        (3_600_000, "1h0m0s"),
        (-1500, "-2s"),
        (-7_261_000, "-2h1m1s"),
        (604_800_000, "168h0m0s"),
    ] {
        assert_eq!(go_duration(millis), text);
    }
}

proptest! {
    #[test]
    fn no_query_panics_and_what_it_asks_for_is_bounded(query in "[ -~]{0,80}", part in ".{0,40}") {
        let escaped: String = part.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for key in ["ip", "range", "value", "scope", "contains", "startup", "scenarios_containing"] {
            for text in [&query.replace([' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}', '#'], ""), &escaped] {
                let Ok(uri) = format!("/v1/decisions?{key}={text}").parse::<Uri>() else { continue };
                if let Ok(Filter { asked: Asked::OneOf(targets), .. }) = Filter::parse(&uri) {
                    prop_assert!(targets.len() <= 129);
                }
            }
        }
    }

    #[test]
    fn whoever_is_held_is_found_by_address(bits in any::<u32>(), length in 0u8..=32) {
        let address = std::net::Ipv4Addr::from(bits);
        let uri: Uri = format!("/?ip={address}").parse().unwrap();
        let held = ipnet::Ipv4Net::new(address, length).unwrap().trunc();
        let Ok(Filter { asked: Asked::OneOf(targets), .. }) = Filter::parse(&uri) else { panic!() };
        prop_assert!(targets.contains(&held.into()));
        prop_assert!(targets.iter().all(|target| target.contains(&std::net::IpAddr::V4(address))));
    }
}

#[tokio::test]
async fn a_ban_that_is_prolonged_is_given_again_with_its_new_end() {
    let served = Served::new(true).await;
    let id = served.ban("203.0.113.7").await;
    assert_eq!(served.pull("startup=true").await.0, ["203.0.113.7"]);
    assert_eq!(served.pull("").await, (vec![], vec![]));
    let now = Timestamp::now();
    assert_eq!(served.store.prolong(&[(id, now.plus_secs(864_000))], "longer", now).await.unwrap(), 1);
    let answer = served.get("/v1/decisions/stream?").await;
    assert_eq!((values(&answer["new"]), &answer["deleted"]), (vec!["203.0.113.7".into()], &Value::Null));
    let duration = answer["new"][0]["duration"].as_str().unwrap();
    assert!(duration.starts_with("240h") || duration.starts_with("239h59m"), "{duration}");
}
