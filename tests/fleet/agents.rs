//! Three agents, each in a network of its own, and in a fourth what carries their messages: one is attacked,
//! one is cut off.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::KEY;
use crate::memory::server::redis_or_skip;
use crate::support::daemon::{Daemon, Home, eventually};
use crate::support::log::attack;
use crate::support::postgres::{Server, postgres_or_skip};
use crate::support::{Namespace, namespaces_or_skip};

/// Where the bus is, seen from every agent.
const HUB: &str = "10.9.9.9";
/// All must hold by then what one decided; they do much sooner.
const SOON: Duration = Duration::from_secs(5);

struct Agent {
    daemon: Daemon,
    home: Home,
    namespace: Namespace,
    /// The hub's address on the cable.
    gateway: String,
}

impl Agent {
    fn start(hub: &Namespace, number: usize, config: &str) -> Agent {
        let namespace = Namespace::new();
        let gateway = format!("10.9.{number}.1");
        let (there, here) = (format!("{gateway}/24"), format!("10.9.{number}.2/24"));
        Namespace::join((hub, &[&there]), (&namespace, &[&here]));
        namespace.run(&format!("ip route add {HUB} via {gateway}"));
        let home = Home::inside(&namespace);
        let log = home.path("access.log").display().to_string();
        fs::write(&log, "").unwrap();
        home.configure(&format!(
            "mode = \"enforce\"\nagent = \"web-{number}\"\n{config}\n[[source]]\npath = {log:?}\nstart = \"beginning\"\n"
        ));
        let daemon = home.start();
        Agent { daemon, home, namespace, gateway }
    }

    fn is_attacked_by(&self, from: &str, n: usize) {
        let mut file = fs::File::options().append(true).open(self.home.path("access.log")).unwrap();
        file.write_all(attack(from, n).as_bytes()).unwrap();
    }

    /// Whether the kernel itself holds it.
    fn blocks(&self, target: &str) -> bool {
        self.namespace.output(&format!("nft get element inet palisade block4 {{ {target} }}")).contains(target)
    }

    fn comes_to_block(&self, target: &str) {
        eventually(&format!("{} blocks {target}", self.gateway), || self.blocks(target).then_some(()));
    }

    fn comes_to_let_go(&self, target: &str) {
        eventually(&format!("{} lets {target} go", self.gateway), || (!self.blocks(target)).then_some(()));
    }

    fn link(&self) -> String {
        let shown = self.namespace.output("ip -o -4 route get 10.9.9.9");
        shown.split(" dev ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    fn fleet(&self) -> Value {
        self.home.status()["services"]["fleet"].clone()
    }

    fn is_well(&self) {
        eventually("the fleet is well", || (self.fleet()["healthy"] == true).then_some(()));
    }
}

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hub() -> Namespace {
    let hub = Namespace::new();
    hub.run(&format!("ip address add {HUB}/32 dev lo"));
    hub
}

fn play(hub: &Namespace, carried: &str) {
    let common = format!("{carried}\n[fleet]\nshare = true\nkey = \"{KEY}\"\n");
    let lenient = format!("[client]\nallow = [\"198.51.100.99\"]\n{common}");
    let agents = [(1, &common), (2, &common), (3, &lenient)].map(|(number, config)| Agent::start(hub, number, config));
    let [one, two, three] = &agents;
    agents.iter().for_each(Agent::is_well);

    // One is attacked: all block.
    let mut spans = vec![];
    for n in 1..=20 {
        let target = format!("198.51.100.{n}");
        let attacked = &agents[n % 3];
        attacked.is_attacked_by(&target, n);
        let written = Instant::now();
        attacked.comes_to_block(&target);
        let first = Instant::now();
        while !agents.iter().all(|agent| agent.blocks(&target)) {
            assert!(first.elapsed() < SOON, "{target}: not all block within {SOON:?}");
        }
        spans.push((first.elapsed(), written.elapsed()));
    }
    spans.sort();
    let written = spans.iter().map(|(_, written)| *written).max().unwrap_or_default();
    eprintln!(
        "from the first's ban to all: median {:?}, most {:?}; from the line to all: most {written:?}",
        spans[spans.len() / 2].0,
        spans[spans.len() - 1].0
    );
    let theirs = two.home.json(&["why", "198.51.100.3"])["decision"].clone();
    assert_eq!((&theirs["origin"], &theirs["proposer"]), (&"web-1".into(), &"fleet".into()), "{theirs:#}");

    // An allowlist is its host's own.
    one.is_attacked_by("198.51.100.99", 99);
    two.comes_to_block("198.51.100.99");
    eventually("it is refused", || {
        three.home.decisions().into_iter().find(|one| one["target"] == "198.51.100.99" && one["state"] == "refused")
    });
    assert!(!three.blocks("198.51.100.99"));

    // Who lets go lets go everywhere; somebody else's ban ends only here.
    agents[20 % 3].home.json(&["unban", "198.51.100.20"]);
    agents.iter().for_each(|agent| agent.comes_to_let_go("198.51.100.20"));
    two.home.json(&["unban", "198.51.100.3"]);
    two.comes_to_let_go("198.51.100.3");

    // One is cut off. The others go on, and so does it by itself.
    let link = three.link();
    three.namespace.run(&format!("ip link set {link} down"));
    one.is_attacked_by("198.51.100.101", 101);
    two.comes_to_block("198.51.100.101");
    agents[18 % 3].home.json(&["unban", "198.51.100.18"]);
    agents[19 % 3].home.json(&["unban", "198.51.100.19"]);
    two.comes_to_let_go("198.51.100.19");
    let cut = Instant::now();
    three.is_attacked_by("198.51.100.103", 103);
    three.comes_to_block("198.51.100.103");
    eprintln!("alone it blocks after {:?}", cut.elapsed());
    assert!(cut.elapsed() < SOON, "a bus that is away delays nobody: {:?}", cut.elapsed());
    eventually("it is told that it is alone", || {
        three.home.status()["problems"].to_string().contains("bans are not shared").then_some(())
    });
    assert!(!three.blocks("198.51.100.101") && three.blocks("198.51.100.19"));
    assert!(one.blocks("198.51.100.3") && !one.blocks("198.51.100.103"));
    three.namespace.run(&format!("ip link set {link} up"));
    three.namespace.run(&format!("ip route add {HUB} via {}", three.gateway));
    let up = Instant::now();
    three.comes_to_block("198.51.100.101");
    three.comes_to_let_go("198.51.100.19");
    one.comes_to_block("198.51.100.103");
    two.comes_to_block("198.51.100.103");
    eprintln!("what it missed is there {:?} after the cable", up.elapsed());

    // Who was stopped catches up too, and nobody holds anything twice.
    assert!(one.blocks("198.51.100.3"));
    for agent in &agents {
        let bans = agent.home.json(&["banned"]);
        let mut targets: Vec<&str> = bans.as_array().unwrap().iter().filter_map(|ban| ban["target"].as_str()).collect();
        targets.sort_unstable();
        let all = targets.len();
        targets.dedup();
        assert_eq!(targets.len(), all, "each target once");
        agent.is_well();
    }
    for agent in agents {
        assert_eq!(agent.daemon.stop(), 0);
    }
}

#[test]
fn three_agents_on_one_redis_block_together_and_who_was_cut_off_catches_up() {
    if !namespaces_or_skip("three agents on one Redis") || !redis_or_skip("three agents on one Redis") {
        return;
    }
    let hub = hub();
    let options = ["redis-server", "--bind", HUB, "--port", "6379", "--save", "", "--protected-mode", "no"];
    let command = hub.command(&options);
    let dir = tempfile::tempdir().unwrap();
    let mut command = {
        let mut new = Command::new(&command[0]);
        new.args(&command[1..]);
        new
    };
    let _redis = Redis(command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    play(&hub, &format!("[memory]\nredis_url = \"redis://{HUB}:6379\""));
}

#[test]
fn three_agents_on_one_postgres_block_together_and_who_was_cut_off_catches_up() {
    if !namespaces_or_skip("three agents on one Postgres") || !postgres_or_skip("three agents on one Postgres") {
        return;
    }
    let hub = hub();
    let server = Server::start_in(&hub.command(&[]), HUB, "");
    let url = server.database();
    play(&hub, &format!("[store]\ndatabase_url = \"{url}?sslmode=disable\""));
}
