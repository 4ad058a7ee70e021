//! What the README promises, played with a real web server, real clients and the kernel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, eventually};
use crate::support::web::{Client, Software, WebServer};
use crate::support::{Namespace, namespaces_or_skip};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const SQLI: &str = "/products?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-";

/// Who attacks from where, with what, and what it is called.
const ATTACKS: [(&str, &str, &str, &str); 4] = [
    ("198.51.100.66", SQLI, "curl/8.5.0", "sqli"),
    ("2001:db8:bad:66::66", SQLI, "curl/8.5.0", "sqli"),
    ("2001:db8:bad:67::67", "/download?file=../../../../etc/passwd", "curl/8.5.0", "path_traversal"),
    ("198.51.100.68", "/probe-[1-40].php", "Mozilla/5.00 (Nikto/2.1.6) (Evasions:None) (Test:000003)", "scanner"),
];

/// A shop on the internet: a web server that Palisade watches from the same host, visitors on one
/// cable, attackers on another.
struct Site {
    visitors: Namespace,
    attackers: Namespace,
    home: Home,
    _web: WebServer,
    server: Namespace,
}

impl Site {
    fn open(software: Software, config: &str) -> Site {
        let (server, visitors, attackers) = (Namespace::new(), Namespace::new(), Namespace::new());
        Namespace::join(
            (&server, &["203.0.113.1/24", "2001:db8:a::1/64"]),
            (&visitors, &["203.0.113.20/24", "2001:db8:a::20/64"]),
        );
        Namespace::join(
            (&server, &["198.51.100.1/24", "2001:db8:bad::1/48"]),
            (&attackers, &["198.51.100.66/24", "198.51.100.68/24", "2001:db8:bad:66::66/48", "2001:db8:bad:67::67/48"]),
        );
        let home = Home::inside(&server);
        let web = WebServer::start(software, home.dir(), &server);
        let log = web.access_log.display();
        home.configure(&format!("{config}\n[[source]]\npath = \"{log}\"\n"));
        Site { visitors, attackers, home, _web: web, server }
    }

    fn visitor<'a>(&'a self, from: &'a str) -> Client<'a> {
        let server = if from.contains(':') { "[2001:db8:a::1]" } else { "203.0.113.1" };
        Client { namespace: &self.visitors, from, server }
    }

    fn attacker<'a>(&'a self, from: &'a str) -> Client<'a> {
        let server = if from.contains(':') { "[2001:db8:bad::1]" } else { "198.51.100.1" };
        Client { namespace: &self.attackers, from, server }
    }

    /// Targets in force and why, as `palisade banned` tells it.
    fn banned(&self) -> BTreeMap<String, String> {
        let bans = self.home.json(&["banned"]);
        let text = |ban: &Value, name: &str| ban[name].as_str().unwrap().to_owned();
        bans.as_array().unwrap().iter().map(|ban| (text(ban, "target"), text(ban, "reason"))).collect()
    }

    /// What the kernel itself holds.
    fn kernel_holds(&self, text: &str) -> bool {
        let command = self.server.command(&["nft", "list", "table", "inet", "palisade"]);
        let output = std::process::Command::new(&command[0]).args(&command[1..]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains(text)
    }

    fn attack(&self, from: &str) {
        let (_, target, agent, _) = ATTACKS.iter().find(|attack| attack.0 == from).unwrap();
        // The answer to the last of many may be lost already.
        self.attacker(from).get(target, agent, 3);
    }

    fn attack_until_shut_out(&self, from: &str) {
        assert!(self.attacker(from).is_served(), "{from}: open before");
        self.attack(from);
        eventually(&format!("{from} is shut out"), || self.attacker(from).is_shut_out().then_some(()));
    }
}

/// How a client is named in bans: an address, or the /64 that is one customer's.
fn target(from: &str) -> String {
    match from.strip_suffix("::66").or(from.strip_suffix("::67")) {
        Some(network) => format!("{network}::/64"),
        None => from.to_owned(),
    }
}

/// People who browse without a pause, on both protocols, until they are asked what happened.
struct Browsing {
    stop: Arc<AtomicBool>,
    person: JoinHandle<Vec<String>>,
}

impl Browsing {
    fn start(site: &Arc<Site>) -> Browsing {
        let stop = Arc::new(AtomicBool::new(false));
        let (site, stopped) = (site.clone(), stop.clone());
        let person = std::thread::spawn(move || {
            let (mut pages, mut troubles) = (0, vec![]);
            while pages < 12 || !stopped.load(Ordering::Relaxed) {
                for (from, page, status) in [
                    ("203.0.113.20", "/", 200),
                    ("2001:db8:a::20", "/lamps.html?sort=price&q=select+a+lamp+from+the+union+jack+range", 200),
                    ("203.0.113.20", "/no-such-lamp.png", 404),
                ] {
                    let answer = site.visitor(from).get(page, BROWSER, 10);
                    pages += 1;
                    if answer != Some(status) {
                        troubles.push(format!("{from} {page}: {answer:?}"));
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            troubles
        });
        Browsing { stop, person }
    }

    fn never_noticed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let troubles = self.person.join().unwrap();
        assert_eq!(troubles, Vec::<String>::new());
    }
}

/// What is recorded up to each client's ban, and the bans: all that may not depend on the mode.
/// What a client does after its ban does: in enforce mode it no longer gets there.
fn record(site: &Site) -> Value {
    let mut findings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in site.home.findings() {
        let rows = findings.entry(row["client"].as_str().unwrap().to_owned()).or_default();
        if rows.last().is_none_or(|last| last["decision"] != "block") {
            rows.push(pick(&row, &["uri", "category", "score", "rule_ids", "decision", "reasoning", "decided_by"]));
        }
    }
    let fields = ["target", "category", "score", "reason", "proposer", "state", "offences"];
    let mut decisions: Vec<Value> = site.home.decisions().iter().map(|row| pick(row, &fields)).collect();
    decisions.sort_by_key(|row| row["target"].to_string());
    json!({ "findings": findings, "decisions": decisions })
}

fn pick(row: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn simulated(site: &Site) -> Vec<bool> {
    site.home.decisions().iter().map(|row| row["simulated"].as_bool().unwrap()).collect()
}

/// Enforce: who attacks is shut out, by IPv4 and IPv6, and nobody else; operators open the gate.
fn enforce(software: Software) -> Value {
    let site = Arc::new(Site::open(software, "mode = \"enforce\""));
    let daemon = site.home.start();
    let browsing = Browsing::start(&site);

    for (from, ..) in ATTACKS {
        site.attack_until_shut_out(from);
    }
    let banned = site.banned();
    for (from, _, _, category) in ATTACKS {
        let reason = &banned[&target(from)];
        assert!(reason.contains(" +"), "{from}: the reason names rules and what they count: {reason}");
        let decision = site.home.get(&format!("/api/v1/decisions?target={}", target(from))).unwrap();
        assert_eq!(decision[0]["category"], category, "{from}");
        assert!(site.kernel_holds(&target(from).replace("/64", "")), "{from}: in the kernel");
    }
    assert_eq!(banned.len(), ATTACKS.len(), "nobody else: {banned:?}");
    let human = site.home.palisade(&["banned"]).stdout;
    assert!(human.contains("198.51.100.66") && human.contains("sqli-union-select"), "{human}");
    let recorded = record(&site);
    assert_eq!(simulated(&site), [false; ATTACKS.len()]);

    // An operator opens the gate; what the client does then counts again, for twice as long.
    let [unbanned, allowed] = ["198.51.100.66", "2001:db8:bad:66::66"];
    assert_eq!(site.home.json(&["unban", unbanned])["lifted"], json!([unbanned]));
    assert!(site.attacker(unbanned).is_served(), "unban opens the gate at once");
    site.attack_until_shut_out(unbanned);
    let decisions = site.home.decisions();
    assert_eq!(decisions.last().unwrap()["offences"], 1);

    // Who is allowed is let go at once and not shut out again, whatever it does.
    let before = site.home.findings().len();
    assert_eq!(site.home.json(&["allow", "add", allowed])["lifted"], json!([target(allowed)]));
    assert!(site.attacker(allowed).is_served(), "allow lifts at once");
    site.attack(allowed);
    eventually("the attack of the allowed client is refused at the gate", || {
        let last = site.home.decisions().pop()?;
        (last["state"] == "refused" && last["target"] == target(allowed)).then_some(())
    });
    assert!(site.home.findings().len() > before, "it is found, all the same");
    assert!(site.attacker(allowed).is_served(), "the allowed pass");
    assert!(!site.banned().contains_key(&target(allowed)));

    browsing.never_noticed();
    assert_eq!(daemon.stop(), 0);
    assert!(site.attacker("198.51.100.68").is_shut_out(), "bans outlive the daemon");
    recorded
}

/// Dry run: the same road to the last step, and nobody is shut out.
fn dry_run(software: Software) -> Value {
    let site = Arc::new(Site::open(software, "mode = \"dry_run\""));
    let _daemon = site.home.start();
    let browsing = Browsing::start(&site);
    for (index, (from, ..)) in ATTACKS.iter().enumerate() {
        site.attack(from);
        eventually(&format!("{from} would be shut out"), || (site.home.decisions().len() > index).then_some(()));
    }
    for (from, ..) in ATTACKS {
        assert!(site.attacker(from).is_served(), "{from}: nobody is shut out");
    }
    assert!(!site.kernel_holds("palisade"), "the firewall is not touched");
    assert_eq!(simulated(&site), [true; ATTACKS.len()]);
    browsing.never_noticed();
    record(&site)
}

fn story(software: Software) {
    if !namespaces_or_skip("the story") {
        return;
    }
    // Compared as text, which is easier on whoever reads the difference.
    let [enforced, dry] = [enforce(software), dry_run(software)].map(|record| format!("{record:#}"));
    assert_eq!(enforced, dry, "what is found and decided does not depend on the mode");
}

#[test]
fn attackers_of_nginx_are_shut_out_and_nobody_else() {
    story(Software::Nginx);
}

#[test]
fn attackers_of_apache_are_shut_out_and_nobody_else() {
    story(Software::Apache);
}

const SHORT: &str = "mode = \"enforce\"\n[respond]\nblock_duration_secs = 6\n";

/// With the daemon alive to the end, or dead since the ban began.
fn a_ban_ends(meanwhile: impl FnOnce(&Site, Daemon) -> Option<Daemon>) {
    if !namespaces_or_skip("the end of a ban") {
        return;
    }
    let site = Site::open(Software::Nginx, SHORT);
    let daemon = site.home.start();
    let both = ["198.51.100.66", "2001:db8:bad:66::66"];
    both.iter().for_each(|from| site.attack(from));
    for from in both {
        eventually("it is shut out", || site.attacker(from).is_shut_out().then_some(()));
    }
    let daemon = meanwhile(&site, daemon);
    for from in both {
        eventually("it gets through again", || site.attacker(from).is_served().then_some(()));
    }
    if daemon.is_some() {
        eventually("nobody is banned", || site.banned().is_empty().then_some(()));
        let states: Vec<Value> = site.home.decisions().iter().map(|row| row["state"].clone()).collect();
        assert_eq!(states, ["expired", "expired"]);
    }
}

#[test]
fn a_ban_ends_after_its_time() {
    a_ban_ends(|_, daemon| Some(daemon));
}

#[test]
fn a_ban_ends_after_its_time_also_when_nobody_is_there_to_end_it() {
    a_ban_ends(|site, daemon| {
        daemon.kill();
        assert!(site.attacker("198.51.100.66").is_shut_out(), "it does not end with the daemon");
        None
    });
}

#[test]
fn bans_survive_a_crash_of_the_daemon_and_a_flush_of_the_firewall() {
    if !namespaces_or_skip("bans after a crash") {
        return;
    }
    let site = Site::open(Software::Nginx, "mode = \"enforce\"");
    let [first, second, third] = ["198.51.100.66", "2001:db8:bad:66::66", "198.51.100.68"];
    let shut_out = |from| site.attacker(from).is_shut_out();
    let shut_out_again = |from| eventually(&format!("{from} is shut out again"), || shut_out(from).then_some(()));
    let daemon = site.home.start();
    site.attack_until_shut_out(first);
    site.attack_until_shut_out(second);
    let before = site.home.decisions();
    daemon.kill();
    assert!(shut_out(first) && shut_out(second), "bans do not end with the daemon");

    let daemon = site.home.start();
    assert_eq!(site.banned().len(), 2, "listed at once");
    assert!(shut_out(first) && shut_out(second));
    site.attack_until_shut_out(third);
    let after = site.home.decisions();
    assert_eq!(after.len(), 3, "nobody is banned twice: {after:#?}");
    assert_eq!(before, after[..2], "the record of a ban does not change");
    assert_eq!(site.home.status()["blocks"], 1, "what was decided before the crash is not decided again");

    // A crash of the whole host takes the kernel's sets along.
    daemon.kill();
    site.server.run("nft delete table inet palisade");
    assert!(site.attacker(first).is_served());
    let daemon = site.home.start();
    for from in [first, second, third] {
        assert!(shut_out(from), "{from}: back in the kernel");
    }

    // What an operator undid stays undone, though the lines are read again.
    site.home.json(&["unban", second]);
    daemon.kill();
    let _daemon = site.home.start();
    eventually("all lines are read again", || {
        let source = &site.home.status()["sources"][0];
        (source["offset"].as_u64()? > 0 && source["behind_bytes"] == 0).then_some(())
    });
    assert!(site.attacker(second).is_served());
    assert_eq!(site.banned().into_keys().collect::<Vec<_>>(), [first, third]);

    // Someone restarts nftables.service, which flushes every table.
    site.server.run("nft flush ruleset");
    site.home.json(&["ban", "192.0.2.99"]);
    shut_out_again(first);
    shut_out_again(third);
    assert!(site.kernel_holds("192.0.2.99"));
    eventually("all is well again", || site.home.status()["healthy"].as_bool().filter(|healthy| *healthy));

    site.server.run("nft flush ruleset");
    site.home.json(&["unban", first]);
    shut_out_again(third);
    assert!(site.attacker(first).is_served());

    site.server.run("nft flush ruleset");
    assert!(site.attacker(third).is_served());
    shut_out_again(third);
}
