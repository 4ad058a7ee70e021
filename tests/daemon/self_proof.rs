//! `palisade doctor --firewall`, with a namespace for the host.

use serde_json::Value;

use crate::support::daemon::{Home, Ran};
use crate::support::{Namespace, namespaces_or_skip};

/// One at a time: what the proof makes has names.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn prove(home: &Home) -> (i32, Vec<(String, String)>, Ran) {
    let ran = home.palisade(&["doctor", "--firewall", "--output", "json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = answer["steps"].as_array().into_iter().flatten();
    (ran.code, steps.map(|step| (text(step, "outcome"), text(step, "what"))).collect(), ran)
}

#[test]
fn it_is_proven_that_bans_hold_on_this_hosts_ports_and_on_containers() {
    if !namespaces_or_skip("the self-proof") {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for responder in ["nftables", "iptables"] {
        let namespace = Namespace::new();
        namespace.run("sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let home = Home::inside(&namespace);
        home.configure(&format!(
            "mode = \"enforce\"\n[[source]]\npath = \"/nonexistent\"\n[respond]\nuse = [\"{responder}\"]\n"
        ));
        // By itself, then through the daemon.
        for allows in [false, true] {
            let _daemon = allows.then(|| home.start());
            let (code, steps, ran) = prove(&home);
            assert_eq!(code, 0, "{responder}: {}{}", ran.stdout, ran.stderr);
            assert_eq!(steps.len(), 12, "{steps:?}");
            for (outcome, what) in &steps {
                assert_eq!(outcome, "ok", "{responder}: {what}");
            }
            assert_eq!(steps.iter().any(|(_, what)| what.contains("who is allowed passes")), allows, "{steps:?}");
            let links = namespace.output("ip link");
            assert!(!links.contains("palisade-probe"), "{links}");
            if allows {
                assert_eq!(home.json(&["banned"]), serde_json::json!([]));
                assert_eq!(home.json(&["allow", "list"]), serde_json::json!([]));
            }
        }
    }
}

#[test]
fn a_ban_that_does_not_hold_fails_the_proof_and_leftovers_are_removed() {
    if !namespaces_or_skip("the self-proof") {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let namespace = Namespace::new();
    // A host with containers hands its forwarding on to namespaces.
    namespace.run("sysctl -q net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    // As a killed one leaves it.
    namespace.run("ip link add palisade-probe0 type veth peer name probe");
    namespace.run("ip address add 192.0.2.241/28 dev palisade-probe0");
    let home = Home::inside(&namespace);
    // Says of every ban that it is in force.
    home.configure("mode = \"enforce\"\n[[source]]\npath = \"/nonexistent\"\n[respond]\nuse = [\"dry_run\"]\n");
    let _daemon = home.start();
    let (code, steps, ran) = prove(&home);
    assert_eq!(code, 1, "{}{}", ran.stdout, ran.stderr);
    let failed: Vec<&str> =
        steps.iter().filter(|(outcome, _)| outcome == "failed").map(|(_, what)| what.as_str()).collect();
    let host = ["this host's port, IPv4: who is banned is dropped", "this host's port, IPv6: who is banned is dropped"];
    assert_eq!(failed, host, "{steps:?}");
    let unproven = steps.iter().filter(|(outcome, _)| outcome == "unproven").count();
    assert_eq!(unproven, 2, "it forwards nothing: {steps:?}");
    let human = home.palisade(&["doctor", "--firewall"]).stdout;
    assert!(human.contains("FAILED    this host's port, IPv4: who is banned is dropped"), "{human}");
    assert!(human.contains("nft list ruleset"), "{human}");
}

#[test]
fn without_root_it_says_what_it_needs() {
    if !namespaces_or_skip("the self-proof as another user") {
        return;
    }
    let home = Home::run_by(&["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    home.open_to_others();
    let ran = home.palisade(&["doctor", "--firewall"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("run as root: sudo palisade doctor --firewall"), "{}", ran.stderr);
}
