//! The daemon as a user who is not root, with what blocking takes and nothing else.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use crate::support::daemon::{Home, eventually};
use crate::support::{Namespace, namespaces_or_skip};

/// `nobody`, with no capability but those that `more` gives.
const NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all,+net_admin",
    "--inh-caps=-all,+net_admin",
];

/// A home of `nobody`, who follows `access.log` and enforces.
fn home(namespace: &Namespace, more: &[&str]) -> Home {
    let home =
        Home::run_by(&namespace.command(&[&NOBODY, more].concat()).iter().map(String::as_str).collect::<Vec<_>>());
    let log = home.path("access.log");
    home.configure(&format!("mode = \"enforce\"\n[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", log.display()));
    fs::write(&log, "").unwrap();
    fs::create_dir(home.path("state")).unwrap();
    for path in [home.dir(), &home.path("state")] {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    home.open_to_others();
    home
}

fn attack(home: &Home) {
    let now = palisade::event::Timestamp::now().clf();
    let line = format!(
        "203.0.113.66 - - [{now}] \"GET /?id=1%27%20UNION%20SELECT%20a,b%20FROM%20users-- HTTP/1.1\" 200 612 \"-\" \"curl/8\"\n"
    );
    fs::write(home.path("access.log"), line).unwrap();
}

fn block_set(namespace: &Namespace) -> String {
    let line = namespace.command(&["nft", "list", "table", "inet", "palisade"]);
    String::from_utf8(Command::new(&line[0]).args(&line[1..]).output().unwrap().stdout).unwrap()
}

#[test]
fn nobody_with_net_admin_alone_blocks() {
    if !namespaces_or_skip("the least privilege") {
        return;
    }
    let namespace = Namespace::new();
    let home = home(&namespace, &["--ambient-caps=-all,+net_admin"]);
    attack(&home);
    let _daemon = home.start();
    eventually("the attacker is in the kernel's set", || block_set(&namespace).contains("203.0.113.66").then_some(()));
    assert_eq!(home.status()["healthy"], true);
}

#[test]
fn a_file_capability_reaches_nft() {
    if !namespaces_or_skip("a file capability") {
        return;
    }
    let namespace = Namespace::new();
    let home = home(&namespace, &["--ambient-caps=-all"]);
    // A copy: the capability is the file's, and a link would be the one that was built.
    fs::copy(env!("CARGO_BIN_EXE_palisade"), home.path("palisade")).unwrap();
    let set = Command::new("setcap").arg("cap_net_admin+p").arg(home.path("palisade")).status().unwrap();
    assert!(set.success());
    attack(&home);
    let _daemon = home.start();
    eventually("the attacker is in the kernel's set", || block_set(&namespace).contains("203.0.113.66").then_some(()));
}

#[test]
fn without_the_capability_it_says_what_is_missing_and_goes_on_observing() {
    if !namespaces_or_skip("a missing capability") {
        return;
    }
    for responder in ["nftables", "iptables"] {
        let namespace = Namespace::new();
        let mut home = home(&namespace, &["--ambient-caps=-all"]);
        home.set("PALISADE__RESPOND__USE", format!("[\"{responder}\"]"));
        attack(&home);
        let _daemon = home.start();
        let said = format!("{responder}: `");
        let problem = eventually("the problem", || {
            let status = home.status();
            let problem = status["responders"][0]["problem"].as_str()?.to_owned();
            (status["healthy"] == false && problem.contains(&said)).then_some(problem)
        });
        assert!(problem.contains("may not change the firewall: run as root or with CAP_NET_ADMIN"), "{problem}");
        assert!(problem.contains("AmbientCapabilities=CAP_NET_ADMIN"), "{problem}");
        eventually("it goes on observing", || (home.findings().len() == 1).then_some(()));
    }
}
