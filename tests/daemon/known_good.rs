//! What is known good: exclusions, and files of networks that are never blocked.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line};
use crate::support::namespaces_or_skip;

const BAD_CONFIG: i32 = 78;

fn follow(home: &Home, more: &str) {
    let log = home.path("access.log").display().to_string();
    home.configure(&format!("{more}\n[[source]]\npath = \"{log}\"\nstart = \"beginning\"\n"));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

const EDITOR: &str = "GET /admin/editor?text=%3Cscript%3Ealert(1)%3C/script%3E";
const EXCLUSION: &str = "[[exclusion]]\npath = \"^/admin/editor$\"\nrules = [\"xss-*\"]\nreason = \"it posts HTML\"\n";

#[test]
fn what_is_excluded_is_no_finding_of_the_daemon_nor_of_scan_and_explain_says_why() {
    let home = Home::new();
    follow(&home, EXCLUSION);
    let excluded = line("198.51.100.7", EDITOR, 200);
    append(
        &home,
        &(excluded.clone()
            + &attack("198.51.100.8", 1)
            + &line("198.51.100.9", &EDITOR.replace("editor", "other"), 200)),
    );
    let mut daemon = home.start();
    let clients = |findings: Vec<Value>| findings.iter().map(|one| one["source_ip"].clone()).collect::<Vec<_>>();
    let expected = ["198.51.100.8", "198.51.100.9"].map(Value::from);
    eventually("two findings", || (clients(home.findings()) == expected).then_some(()));
    let scanned = home.palisade(&["scan", "access.log", "--output", "jsonl"]).stdout;
    let rows: Vec<Value> = scanned.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(clients(rows[..rows.len() - 1].to_vec()), expected);
    let explained = home.palisade(&["explain", excluded.trim_end()]).stdout;
    let said = explained.lines().find(|said| said.contains("xss-script-tag")).unwrap_or_default();
    assert!(said.contains("excluded by") && said.contains("palisade.toml:3: it posts HTML"), "{explained}");
    // Rules are tried without exclusions.
    assert_eq!(home.palisade(&["rules", "test"]).code, 0);

    follow(&home, "");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("the configuration and the rules are read again");
    append(&home, &excluded);
    eventually("it is excluded no longer", || clients(home.findings()).contains(&"198.51.100.7".into()).then_some(()));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_bad_exclusion_is_told_with_its_line() {
    let home = Home::new();
    follow(
        &home,
        "[[exclusion]]\npath = \"^/a\"\nrules = [\"xss-nothing\"]\n[[exclusion]]\nreason = \"none\"\n[[exclusion]]\npath = \"(\"\n",
    );
    for verb in [&["run"][..], &["config", "check"], &["scan", "access.log"], &["explain", "x"]] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, BAD_CONFIG, "{verb:?}: {}", ran.stderr);
        for said in [
            "toml:3: exclusion: no rule or window",
            "toml:6: exclusion: has no condition",
            "toml:8: exclusion: path: the pattern",
        ] {
            assert!(ran.stderr.contains(said), "{verb:?}: {}", ran.stderr);
        }
    }
}

#[test]
fn who_is_added_to_a_file_of_networks_is_let_go_and_not_blocked_again() {
    let home = Home::new();
    let file = home.path("allow.txt");
    fs::write(&file, "# nobody yet\n").unwrap();
    follow(&home, &format!("[client]\nallow_files = [{:?}]\n", file.display().to_string()));
    append(&home, &(attack("198.51.100.7", 1) + &attack("203.0.113.7", 2)));
    let mut daemon = home.start();
    let states = || {
        let decisions = home.decisions();
        let mut states: Vec<String> = decisions
            .iter()
            .map(|one| {
                let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
                format!("{} {} {}", text("target"), text("state"), text("note"))
            })
            .collect();
        states.sort();
        states
    };
    eventually("both are blocked", || (states() == ["198.51.100.7 active ", "203.0.113.7 active "]).then_some(()));
    fs::write(&file, "198.51.100.0/24\n10.0.0.0/40\n").unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("allow.txt:2: not an address or network");
    let one = ["198.51.100.7 lifted allowlisted", "203.0.113.7 active "];
    eventually("one is let go", || (states() == one).then_some(()));
    assert!(home.status()["problems"].to_string().contains("allow.txt:2"), "{:#}", home.status());
    append(&home, &attack("198.51.100.8", 3));
    eventually("a neighbour is refused", || {
        states().contains(&"198.51.100.8 refused allowlisted by 198.51.100.0/24".to_owned()).then_some(())
    });
    // Offline too.
    let scanned: Value = home.json(&["scan", "access.log"]);
    let refused =
        scanned["would_block"].as_array().unwrap().iter().map(|one| one["refused"].clone()).collect::<Vec<_>>();
    assert_eq!(refused, [Value::from("allowlisted"), Value::Null, Value::from("allowlisted")]);

    // Whom a file that is gone protected is protected on.
    fs::remove_file(&file).unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("what it said last holds");
    append(&home, &attack("198.51.100.9", 4));
    eventually("it is refused still", || {
        states().contains(&"198.51.100.9 refused allowlisted by 198.51.100.0/24".to_owned()).then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    for verb in [&["run"][..], &["config", "check"], &["scan", "access.log"], &["explain", "x"]] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, BAD_CONFIG, "{verb:?}");
        assert!(ran.stderr.contains("client.allow_files") && ran.stderr.contains("allow.txt"), "{}", ran.stderr);
    }
}

#[test]
fn who_claims_to_be_a_crawler_is_believed_when_its_name_leads_back() {
    if !namespaces_or_skip("names of crawlers") {
        return;
    }
    let hosts = Home::new();
    fs::write(
        hosts.path("hosts"),
        "127.0.0.1 localhost\n198.51.100.66 crawl-66.googlebot.com\n198.51.100.67 crawl-67.example.com\n",
    )
    .unwrap();
    fs::write(hosts.path("nsswitch"), "hosts: files dns\n").unwrap();
    // Nobody answers there.
    fs::write(hosts.path("resolv"), "nameserver 127.9.9.9\noptions timeout:1 attempts:1\n").unwrap();
    let bind = |name: &str, over: &str| format!("mount --bind {} {over} && ", hosts.path(name).display());
    let mounts =
        [bind("hosts", "/etc/hosts"), bind("nsswitch", "/etc/nsswitch.conf"), bind("resolv", "/etc/resolv.conf")];
    let mount = mounts.concat() + "exec \"$@\"";
    let home = Home::run_by(&["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    follow(&home, "[[crawler]]\nagent = \"AcmeWatch\"\nranges = [\"203.0.113.0/24\"]\n");
    let as_agent =
        |from: &str, agent: &str| attack(from, 1).replace("Mozilla/5.0", &format!("Mozilla/5.0 (compatible; {agent})"));
    append(
        &home,
        &["198.51.100.66", "198.51.100.67", "198.51.100.69"].map(|from| as_agent(from, "Googlebot/2.1")).concat(),
    );
    append(&home, &(as_agent("203.0.113.7", "AcmeWatch") + &as_agent("198.51.100.68", "AcmeWatch")));
    let daemon = home.start();
    let states = || {
        let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let decisions = home.decisions();
        let mut states: Vec<String> = decisions
            .iter()
            .map(|one| format!("{} {} {}", text(one, "target"), text(one, "state"), text(one, "note")))
            .collect();
        states.sort();
        states
    };
    let expected = [
        "198.51.100.66 refused a verified search engine or monitor",
        "198.51.100.67 active claims to be Googlebot and is not",
        "198.51.100.68 active claims to be AcmeWatch and is not",
        "198.51.100.69 active claims to be Googlebot, which DNS has not confirmed yet",
        "203.0.113.7 refused a verified search engine or monitor",
    ];
    eventually("all is decided", || {
        let states = states();
        assert!(states.len() <= expected.len(), "{states:?}");
        (states == expected).then_some(())
    });
    let banned = home.palisade(&["ban", "198.51.100.66"]);
    assert!(
        banned.code == 1 && banned.stderr.contains("a verified search engine"),
        "{}{}",
        banned.stdout,
        banned.stderr
    );
    assert_eq!(daemon.stop(), 0);
}
