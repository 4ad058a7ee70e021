//! One daemon, and the test as the agents that it hears of.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use palisade::event::Timestamp;
use palisade::fleet::{Bus, Message, RedisBus, Signed, What};
use palisade::memory::MemoryConfig;
use serde_json::{Value, json};

use super::{KEY, banned, key, lifted, message};
use crate::memory::server::{Server, redis_or_skip};
use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line};

struct Peer {
    home: Home,
    server: Server,
    bus: RedisBus,
    runtime: tokio::runtime::Runtime,
}

impl Peer {
    fn new(more: &str) -> Peer {
        let server = Server::start();
        let home = Home::new();
        let config = MemoryConfig { redis_url: server.url().into(), ..MemoryConfig::default() };
        let log = home.path("access.log").display().to_string();
        home.configure(&format!(
            "agent = \"here\"\n{more}\n[memory]\nredis_url = \"{}\"\n[fleet]\nshare = true\nkey = \"{KEY}\"\n\
             [[source]]\npath = {log:?}\nstart = \"beginning\"\n",
            server.url()
        ));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let peer = Peer { home, server, bus: RedisBus::new(&config), runtime };
        peer.append("");
        peer
    }

    fn append(&self, text: &str) {
        let mut file = fs::File::options().create(true).append(true).open(self.home.path("access.log")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn publish(&self, messages: &[Signed]) {
        self.runtime.block_on(self.bus.publish(messages)).unwrap();
    }

    /// What is on the bus from the daemon.
    fn told(&self) -> Vec<Message> {
        let posted = self.runtime.block_on(self.bus.take("", Duration::from_millis(1))).unwrap();
        let messages = posted.iter().filter_map(|posted| serde_json::from_str::<Message>(&posted.signed.body).ok());
        messages.filter(|message| message.origin == "here").collect()
    }

    fn fleet(&self) -> Value {
        self.home.status()["services"]["fleet"].clone()
    }

    fn of(&self, target: &str) -> Vec<Value> {
        self.home.decisions().into_iter().filter(|one| one["target"] == target).collect()
    }

    /// The decision about `target` of `origin`, once it is in this state.
    fn decided(&self, target: &str, origin: &str, state: &str) -> Value {
        eventually(&format!("{target} of {origin:?} is {state}: {:#?}", self.of(target)), || {
            self.of(target).into_iter().find(|one| one["origin"] == origin && one["state"] == state)
        })
    }

    fn refused(&self, reason: &str, count: u64) {
        eventually(&format!("{count} refused: {reason}"), || {
            (self.fleet()["refused"][reason].as_u64() >= Some(count)).then_some(())
        });
    }
}

#[test]
fn what_others_decide_is_followed_and_told_by_whom_and_bans_of_this_host_come_first() {
    if !redis_or_skip("what_others_decide_is_followed") {
        return;
    }
    let peer = Peer::new("[client]\nallow = [\"198.51.100.99\"]");
    let before = banned("far", "0", "198.51.100.1/32");
    peer.publish(std::slice::from_ref(&before));
    let daemon = peer.home.start();

    // Who was away takes what is kept.
    let first = peer.decided("198.51.100.1", "far", "active");
    assert_eq!((&first["proposer"], &first["simulated"]), (&json!("fleet"), &json!(true)), "dry run: {first:#}");
    assert_eq!(first["reason"], "decided by agent far: sqli-union-select");
    let sent: Message = serde_json::from_str(&before.body).unwrap();
    assert_eq!(first["expires_at"], Timestamp(sent.expires_at).to_string(), "the sender's end");
    assert!(peer.home.palisade(&["banned"]).stdout.contains("decided by agent far"));
    let why = peer.home.palisade(&["why", "198.51.100.1"]).stdout;
    assert!(why.contains("decided by agent far") && why.contains("by fleet"), "{why}");

    // The allowlist of this host wins, and a lift ends its own ban alone.
    peer.publish(&[banned("far", "1", "198.51.100.99/32"), banned("far", "2", "198.51.100.2/32")]);
    let allowed = peer.decided("198.51.100.99", "far", "refused");
    assert_eq!(allowed["note"], "allowlisted by 198.51.100.99/32");
    peer.decided("198.51.100.2", "far", "active");
    peer.publish(&[lifted("near", "2", "198.51.100.2/32"), lifted("far", "0", "198.51.100.1/32")]);
    let gone = peer.decided("198.51.100.1", "far", "lifted");
    assert_eq!(gone["note"], "lifted by agent far");
    assert_eq!(peer.decided("198.51.100.2", "far", "active")["state"], "active", "near has banned nobody");

    // What ended stays ended, also what was lifted before it came.
    peer.publish(&[before, banned("near", "2", "198.51.100.2/32"), lifted("far", "9", "198.51.100.9/32")]);
    peer.publish(&[banned("far", "9", "198.51.100.9/32")]);
    peer.refused("known", 3);
    assert_eq!(peer.of("198.51.100.1").len(), 1);
    assert_eq!(peer.decided("198.51.100.9", "far", "lifted")["note"], "lifted by agent far");

    // Two want the same one out: it is let go when both have lifted.
    peer.publish(&[banned("near", "3", "198.51.100.2/32")]);
    let behind = peer.decided("198.51.100.2", "near", "held");
    assert!(behind["note"].as_str().unwrap().contains("blocked already"), "{behind:#}");
    peer.publish(&[lifted("far", "2", "198.51.100.2/32")]);
    peer.decided("198.51.100.2", "near", "active");

    // A ban of this host takes the place of another's, is told, and no lift from elsewhere ends it.
    peer.append(&attack("198.51.100.2", 1));
    let own = peer.decided("198.51.100.2", "", "active");
    assert_eq!(own["proposer"], "rules");
    peer.decided("198.51.100.2", "near", "held");
    peer.publish(&[lifted("near", "3", "198.51.100.2/32")]);
    peer.decided("198.51.100.2", "near", "lifted");
    peer.decided("198.51.100.2", "", "active");
    assert!(peer.home.status()["problems"].as_array().unwrap().is_empty(), "{:#}", peer.home.status());
    assert_eq!(own["offences"], 0, "what others did is no offence here");

    // An operator's word counts here, for whoever is behind too.
    peer.publish(&[banned("far", "4", "198.51.100.2/32")]);
    peer.decided("198.51.100.2", "far", "held");
    peer.home.json(&["unban", "198.51.100.2"]);
    peer.decided("198.51.100.2", "", "lifted");
    eventually("both are lifted", || {
        let is_over = |one: &Value| one["state"] == "lifted" || one["state"] == "refused";
        peer.of("198.51.100.2").iter().all(is_over).then_some(())
    });
    // In dry run nothing of this host is told to others.
    assert_eq!(peer.told(), []);

    // After a restart all is as it was, and nothing is taken twice.
    peer.publish(&[banned("far", "5", "198.51.100.5/32"), banned("near", "5", "198.51.100.5/32")]);
    peer.decided("198.51.100.5", "near", "held");
    let decisions = peer.home.decisions().len();
    daemon.kill();
    let daemon = peer.home.start();
    peer.decided("198.51.100.5", "far", "active");
    peer.publish(&[lifted("far", "5", "198.51.100.5/32")]);
    peer.decided("198.51.100.5", "near", "active");
    assert_eq!(peer.home.decisions().len(), decisions);
    peer.append(&attack("198.51.100.5", 2));
    assert_eq!(peer.decided("198.51.100.5", "", "active")["offences"], 0, "also as the record counts");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn forged_replayed_and_broken_messages_are_refused_and_counted() {
    if !redis_or_skip("forged_messages_are_refused") {
        return;
    }
    let peer = Peer::new("");
    let mut daemon = peer.home.start();
    let good = banned("far", "1", "198.51.100.1/32");
    let other_key = palisade::fleet::Key::new(&[7; 32]).unwrap();
    let forged = other_key.sign(&message("far", "2", What::Banned, "198.51.100.2/32"));
    let changed = Signed { body: good.body.replace("198.51.100.1", "198.51.100.3"), ..good.clone() };
    let cut = Signed { body: good.body[..good.body.len() / 2].into(), ..good.clone() };
    peer.publish(&[forged, changed, cut, Signed::default()]);
    peer.server.ask(&["XADD", "palisade:1:fleet", "*", "nonsense", "1"]);
    peer.refused("signature", 5);
    let with = |change: fn(&mut Message)| {
        let mut message = message("far", "6", What::Banned, "198.51.100.6/32");
        change(&mut message);
        key().sign(&message)
    };
    peer.publish(&[
        with(|message| message.version = 7),
        with(|message| message.target = "0.0.0.0/0".into()),
        with(|message| message.expires_at = Timestamp::now().plus_secs(31 * 86_400).0),
        with(|message| message.issued_at = Timestamp::now().plus_secs(3600).0),
        with(|message| message.expires_at = Timestamp::now().0),
        with(|message| message.reason = "x".repeat(5000)),
    ]);
    for reason in ["version", "too_wide", "too_far", "future", "over", "too_long"] {
        peer.refused(reason, 1);
    }
    peer.publish(&[good.clone(), good.clone()]);
    peer.decided("198.51.100.1", "far", "active");
    peer.home.json(&["unban", "198.51.100.1"]);
    peer.publish(&[good]);
    peer.refused("known", 2);
    assert_eq!(peer.of("198.51.100.1").len(), 1);
    assert_eq!(peer.of("198.51.100.1")[0]["state"], "lifted", "a replay revives nothing");
    assert_eq!(peer.home.decisions().len(), 1, "nothing else was taken");
    daemon.says("a message of the fleet is refused");
    let said = daemon.said().matches("a message of the fleet is refused").count();
    assert!(said <= 2, "once a minute by origin, said {said} times");
    let seen = peer.fleet();
    assert!(seen["agents"]["far"].is_string() && seen["taken"] == 1, "{seen:#}");

    // Who has this agent's name is told of.
    peer.publish(&[banned("here", "not of this agent", "198.51.100.7/32")]);
    peer.publish(&[banned("here", "7", "198.51.100.7/32")]);
    eventually("the namesake is told of", || {
        peer.home.status()["problems"].to_string().contains("calls itself").then_some(())
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn agents_share_nothing_unless_they_are_told_to() {
    if !redis_or_skip("agents_share_nothing") {
        return;
    }
    let server = Server::start();
    let home = Home::new();
    let log = home.path("access.log").display().to_string();
    fs::write(&log, attack("198.51.100.7", 1)).unwrap();
    home.configure(&format!(
        "[memory]\nredis_url = \"{}\"\n[[source]]\npath = {log:?}\nstart = \"beginning\"\n",
        server.url()
    ));
    let daemon = home.start();
    eventually("it is banned", || (!home.decisions().is_empty()).then_some(()));
    let status = home.status();
    assert_eq!(status["services"]["fleet"]["shares"], false, "{status:#}");
    assert!(status["healthy"] == true && status["services"]["fleet"]["advice"].is_string(), "{status:#}");
    assert_eq!(server.ask(&["EXISTS", "palisade:1:fleet"]), ":0\r\n");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_agent_in_wrong_hands_shuts_out_few_and_takes_nothing_from_this_hosts_own() {
    if !redis_or_skip("an_agent_in_wrong_hands") {
        return;
    }
    let peer = Peer::new("[respond]\nmax_blocks_per_min = 20");
    // Twenty visitors, each served as people are.
    let visitors: Vec<String> = (1..=20).map(|n| format!("203.0.{n}.7")).collect();
    for page in 0..15 {
        let lines: Vec<String> =
            visitors.iter().map(|from| line(from, &format!("GET /lamps/{page}.html"), 200)).collect();
        peer.append(&lines.concat());
    }
    let daemon = peer.home.start();
    eventually("all is read", || (peer.home.status()["lines"] == 300).then_some(()));
    let wrong = |number: usize, target: &str| banned("wrong", &number.to_string(), &format!("{target}/32"));
    let bans: Vec<Signed> = visitors.iter().enumerate().map(|(number, from)| wrong(number, from)).collect();
    peer.publish(&bans);
    eventually("all are decided", || (peer.home.decisions().len() == 20).then_some(()));
    let states = |state: &str| peer.home.decisions().iter().filter(|one| one["state"] == state).count();
    assert!(states("active") < 10, "{} visitors are shut out", states("active"));
    assert_eq!(states("active") + states("held"), 20);

    // Strangers: so many a minute. And this host's own bans have their own limit.
    let bans: Vec<Signed> = (0..100).map(|n| wrong(100 + n, &format!("198.51.{n}.7"))).collect();
    peer.publish(&bans);
    peer.append(&attack("192.0.2.66", 1));
    let started = Instant::now();
    peer.decided("192.0.2.66", "", "active");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    eventually("all are decided", || (peer.home.decisions().len() == 121).then_some(()));
    assert!(states("active") <= 21, "{} are shut out", states("active"));
    let problems = peer.home.status()["problems"].to_string();
    assert!(problems.contains("blocks wait"), "{problems}");
    peer.home.json(&["release"]);
    eventually("all are released", || (states("active") == 121).then_some(()));
    assert_eq!(daemon.stop(), 0);
}
