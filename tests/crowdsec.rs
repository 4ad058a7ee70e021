//! CrowdSec's bouncers, as Debian ships them, enforce what Palisade decides.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::{Namespace, namespaces_or_skip};

const CONFIG: &str = "mode = \"enforce\"\n[crowdsec_api]\nlisten = \"127.0.0.1:8080\"\n";

/// A bouncer of Debian's, asking the daemon of `home` every second; killed when dropped.
struct Bouncer {
    child: Child,
    log: PathBuf,
}

impl Bouncer {
    fn start(program: &str, home: &Home, namespace: &Namespace, config: &str) -> Bouncer {
        let key = home.json(&["bouncer", "add", program])["key"].as_str().unwrap().to_owned();
        let (file, log) = (home.path(&format!("{program}.yaml")), home.path(&format!("{program}.log")));
        let common = format!(
            "api_url: http://127.0.0.1:8080/\napi_key: {key}\nupdate_frequency: 1s\ndaemonize: false\n\
             log_mode: stdout\nlog_level: debug\npid_dir: {dir}\npiddir: {dir}\nprometheus:\n  enabled: false\n",
            dir = home.dir().display()
        );
        fs::write(&file, common + config).unwrap();
        Bouncer::spawn(program, home, namespace, log)
    }

    fn spawn(program: &str, home: &Home, namespace: &Namespace, log: PathBuf) -> Bouncer {
        let config = home.path(&format!("{program}.yaml")).display().to_string();
        let command = namespace.command(&[program, "-c", &config]);
        let said = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = Command::new(&command[0]);
        child.args(&command[1..]).stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        Bouncer { child: child.spawn().unwrap(), log }
    }

    fn says(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} says:\n{}", self.log.display(), self.says());
        }
    }
}

/// A daemon's home in a namespace, with a log to attack in.
fn home(namespace: &Namespace, config: &str) -> Home {
    let home = Home::inside(namespace);
    let log = home.path("access.log");
    fs::write(&log, "").unwrap();
    home.configure(&format!("{config}\n[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", log.display()));
    home
}

fn attacks(home: &Home, from: &str) {
    let mut log = File::options().append(true).open(home.path("access.log")).unwrap();
    std::io::Write::write_all(&mut log, attack(from, 1).as_bytes()).unwrap();
}

/// The seconds for which a set of the firewall bouncer holds `address` still.
fn held_secs(namespace: &Namespace, family: &str, table: &str, address: &str) -> Option<u64> {
    let command = namespace.command(&["nft", "-j", "list", "table", family, table]);
    let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).ok()?;
    let sets = listed["nftables"].as_array()?.iter().filter_map(|entry| entry["set"]["elem"].as_array());
    let mut elements = sets.flatten().map(|element| &element["elem"]);
    elements.find(|element| element["val"] == address)?["expires"].as_u64()
}

#[test]
fn debians_firewall_bouncer_holds_whom_we_ban() {
    if !namespaces_or_skip("the firewall bouncer") {
        return;
    }
    let namespace = Namespace::new();
    let home = home(&namespace, CONFIG);
    let daemon = home.start();
    let config = "mode: nftables\ndeny_action: DROP\nsupported_decisions_types:\n  - ban\n\
                  nftables:\n  ipv4:\n    enabled: true\n    set-only: false\n    table: crowdsec\n    chain: chain4\n  \
                  ipv6:\n    enabled: true\n    set-only: false\n    table: crowdsec6\n    chain: chain6\n";
    home.json(&["ban", "198.51.100.7", "--for", "1h"]);
    let bouncer = Bouncer::start("crowdsec-firewall-bouncer", &home, &namespace, config);
    let v4 = |address| held_secs(&namespace, "ip", "crowdsec", address);
    let v6 = |address| held_secs(&namespace, "ip6", "crowdsec6", address);
    let secs = eventually("who was banned before it started is held", || v4("198.51.100.7"));
    assert!((3500..=3600).contains(&secs), "{secs}");

    attacks(&home, "198.51.100.66");
    let secs = eventually("who attacks is held", || v4("198.51.100.66"));
    assert!((12_900..=15_840).contains(&secs), "{secs}");
    home.json(&["ban", "2001:db8::bad", "--for", "90s"]);
    let secs = eventually("by IPv6 too", || v6("2001:db8::bad"));
    assert!((60..=90).contains(&secs), "{secs}");

    home.json(&["unban", "198.51.100.66"]);
    eventually("who is let go is not held", || v4("198.51.100.66").is_none().then_some(()));
    assert!(v4("198.51.100.7").is_some(), "and nobody else");

    // What happens while nobody pulls, and a crash in between, is not lost.
    home.json(&["unban", "198.51.100.7"]);
    home.json(&["ban", "198.51.100.8"]);
    daemon.kill();
    let _daemon = home.start();
    let mut bouncer = bouncer;
    eventually("all is right again after the crash", || {
        if bouncer.child.try_wait().unwrap().is_some() {
            // It gives up when nobody answers, and its service starts it again.
            let log = bouncer.log.clone();
            bouncer = Bouncer::spawn("crowdsec-firewall-bouncer", &home, &namespace, log);
        }
        (v4("198.51.100.7").is_none() && v4("198.51.100.8").is_some()).then_some(())
    });

    let listed = home.json(&["bouncer", "list"]);
    assert_eq!(listed[0]["name"], "crowdsec-firewall-bouncer");
    assert!(listed[0]["user_agent"].as_str().unwrap().starts_with("crowdsec-firewall-bouncer/"), "{listed}");
    assert!(listed[0]["last_pull"].is_string(), "{listed}");
    assert!(!listed.to_string().contains("key"), "{listed}");
}

/// In nftables mode this version takes of a network its first address alone; its ipsets hold all of it.
#[test]
fn debians_firewall_bouncer_holds_networks_in_its_ipsets() {
    if !namespaces_or_skip("the firewall bouncer with ipset") {
        return;
    }
    let namespace = Namespace::new();
    let home = home(&namespace, CONFIG);
    let _daemon = home.start();
    let config = "mode: iptables\ndeny_action: DROP\nsupported_decisions_types:\n  - ban\nipset_type: nethash\n\
                  blacklists_ipv4: crowdsec-blacklists\nblacklists_ipv6: crowdsec6-blacklists\n\
                  iptables_chains:\n  - INPUT\n";
    let _bouncer = Bouncer::start("crowdsec-firewall-bouncer", &home, &namespace, config);
    let holds = |set: &str, target: &str| {
        let command = namespace.command(&["ipset", "list", set]);
        let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains(&format!("\n{target} timeout"))
    };
    attacks(&home, "2001:db8:bad:66::66");
    home.json(&["ban", "203.0.113.0/24"]);
    eventually("a client by IPv6 is held", || holds("crowdsec6-blacklists", "2001:db8:bad:66::/64").then_some(()));
    eventually("so is a network", || holds("crowdsec-blacklists", "203.0.113.0/24").then_some(()));
    home.json(&["unban", "203.0.113.0/24"]);
    eventually("it is let go", || (!holds("crowdsec-blacklists", "203.0.113.0/24")).then_some(()));
}

#[test]
fn debians_custom_bouncer_calls_its_program_with_our_decisions() {
    if !namespaces_or_skip("the custom bouncer") {
        return;
    }
    let namespace = Namespace::new();
    let home = home(&namespace, CONFIG);
    let daemon = home.start();
    let (hook, calls) = (home.path("hook.sh"), home.path("calls"));
    fs::write(&hook, format!("#!/bin/sh\necho \"$1 $2 $3 $4\" >> {}\n", calls.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("bin_path: {}\nfeed_via_stdin: false\ncache_retention_duration: 1s\n", hook.display());
    let program = "crowdsec-custom-bouncer";
    let mut bouncer = Bouncer::start(program, &home, &namespace, &config);
    // Words of the calls about one target, in order.
    let calls = |target: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(&calls).unwrap_or_default();
        let words = text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        words.filter(|words| words[1] == target).collect()
    };
    let called = |what: &str, target: &str, count: usize| {
        eventually(what, || Some(calls(target)).filter(|calls| calls.len() >= count)).pop().unwrap()
    };

    attacks(&home, "198.51.100.66");
    let words = called("an attacker is added", "198.51.100.66", 1);
    assert_eq!((&*words[0], &*words[3]), ("add", "palisade/sqli"));
    let secs: u64 = words[2].parse().unwrap();
    assert!((12_900..=15_840).contains(&secs), "{secs}");
    attacks(&home, "2001:db8:bad:66::66");
    let words = called("a /64 is a range, whole", "2001:db8:bad:66::/64", 1);
    assert_eq!(words[0], "add");
    home.json(&["ban", "203.0.113.0/24", "--for", "10m"]);
    let words = called("so is a network", "203.0.113.0/24", 1);
    assert_eq!((&*words[0], &*words[3]), ("add", "palisade/manual"));

    home.json(&["unban", "198.51.100.66"]);
    assert_eq!(called("who is let go is deleted", "198.51.100.66", 2)[0], "del");
    home.json(&["ban", "198.51.100.9", "--for", "3s"]);
    assert_eq!(called("who was out long enough is deleted too", "198.51.100.9", 2)[0], "del");

    home.json(&["ban", "198.51.100.10"]);
    home.json(&["unban", "203.0.113.0/24"]);
    daemon.kill();
    let daemon = home.start();
    eventually("nothing is lost in a crash", || {
        if bouncer.child.try_wait().unwrap().is_some() {
            let log = bouncer.log.clone();
            bouncer = Bouncer::spawn(program, &home, &namespace, log);
        }
        let told = calls("203.0.113.0/24").len() > 1 && !calls("198.51.100.10").is_empty();
        told.then_some(())
    });
    assert_eq!(calls("203.0.113.0/24")[1][0], "del");

    // A key that is taken away is worth nothing, and says so.
    home.json(&["bouncer", "del", program]);
    home.json(&["ban", "198.51.100.11"]);
    eventually("the bouncer is turned away", || bouncer.says().contains("access forbidden").then_some(()));
    assert!(calls("198.51.100.11").is_empty());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn bouncers_have_keys_and_in_dry_run_nothing_to_do() {
    if !namespaces_or_skip("bouncers in dry run") {
        return;
    }
    let namespace = Namespace::new();
    let home = home(&namespace, "[crowdsec_api]\nlisten = \"0.0.0.0:8080\"\n");
    let mut daemon = home.start();
    daemon.says("plain HTTP on an address");
    let added = home.palisade(&["bouncer", "add", "front"]);
    let key = added.stdout.lines().last().unwrap().to_owned();
    assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{}", added.stdout);
    let again = home.palisade(&["bouncer", "add", "front"]);
    assert!(again.code == 1 && again.stderr.contains("bouncer del front"), "{}", again.stderr);
    for name in ["", "..", "a/b", "a b", &"x".repeat(65)] {
        assert_eq!(home.palisade(&["bouncer", "add", name]).code, 1, "{name:?}");
        assert_eq!(home.palisade(&["bouncer", "del", name]).code, 1, "{name:?}");
    }
    let database: Vec<u8> = ["palisade.db", "palisade.db-wal"]
        .iter()
        .flat_map(|name| fs::read(home.path("state").join(name)).unwrap())
        .collect();
    assert!(!database.windows(64).any(|bytes| bytes == key.as_bytes()), "the key is kept nowhere");
    home.json(&["ban", "198.51.100.7"]);
    let get = |key: &str| {
        let request = format!(
            "GET /v1/decisions/stream?startup=true HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\nConnection: close\r\n\r\n"
        );
        namespace.inside(move || {
            let mut stream = TcpStream::connect("127.0.0.1:8080").unwrap();
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            std::io::read_to_string(stream).unwrap()
        })
    };
    assert!(get(&key).ends_with("{\"new\":null,\"deleted\":null}"), "{}", get(&key));
    assert!(get("wrong").starts_with("HTTP/1.1 403"));
    assert_eq!(home.json(&["bouncer", "list"])[0]["name"], "front");
    assert_eq!(home.palisade(&["bouncer", "del", "front"]).code, 0);
    assert!(get(&key).starts_with("HTTP/1.1 403"));

    // A port that somebody else has is told at the start.
    let second = Home::inside(&namespace);
    second.configure("[crowdsec_api]\nlisten = \"127.0.0.1:8080\"\n");
    let mut other = second.spawn();
    assert_eq!(other.code(), 1);
    assert!(other.said().contains("cannot serve bouncers on 127.0.0.1:8080"), "{}", other.said());
}
