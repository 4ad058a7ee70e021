//! Bans taken over from others: lists, fail2ban, subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use palisade::config::Config;
use palisade::pipeline::blocklists::Blocklist;
use serde_json::{Value, json};

use crate::support::daemon::{Home, eventually, ran};
use crate::support::standin::{self, Answer, Manner, Standin};
use crate::support::{Namespace, namespaces_or_skip};

const MIXED: &str = "\u{feff}# shared\r\n203.0.113.9\r\n198.51.100.0/24 ; SBL1\n2001:db8:9::/48,spam\n10.1.2.3\n\
    192.0.2.50\n192.0.2.51\nnonsense\n127.0.0.1\n198.0.0.0/8\n203.0.113.9\n";

#[test]
fn a_list_passes_the_gate_entry_by_entry_and_says_what_became_of_it() {
    let home = Home::new();
    home.configure("[client]\nallow = [\"192.0.2.48/28\"]\n[respond]\nmax_blocks_per_min = 1\n");
    fs::write(home.path("list.txt"), MIXED).unwrap();
    let refused = home.palisade(&["import", "list", "list.txt"]);
    assert!(refused.code == 1 && refused.stderr.contains("is `palisade run` running?"), "{}", refused.stderr);

    let daemon = home.start();
    let answer = home.json(&["import", "list", "list.txt", "--for", "1h", "--reason", "shared list"]);
    let counts = ["banned", "prolonged", "already_banned", "refused"].map(|key| answer[key].as_u64().unwrap());
    assert_eq!(counts, [3, 0, 0, 5], "{answer:#}");
    let of_reason = |reason: &str| {
        let reasons = answer["reasons"].as_array().unwrap();
        let found = reasons.iter().find(|refused| refused["reason"] == reason).unwrap();
        (found["count"].as_u64().unwrap(), found["examples"].clone())
    };
    assert_eq!(of_reason("allowlisted"), (2, json!(["192.0.2.50", "192.0.2.51"])));
    assert_eq!(of_reason("private"), (1, json!(["10.1.2.3"])));
    assert_eq!(of_reason("too_wide"), (1, json!(["198.0.0.0/8"])));
    assert_eq!(answer["wrong_lines"], json!({ "count": 1, "first": [{ "line_number": 8, "text": "nonsense" }] }));
    let bans = home.json(&["banned"]);
    let targets: Vec<&Value> = bans.as_array().unwrap().iter().map(|ban| &ban["target"]).collect();
    assert_eq!(targets.len(), 3);
    assert!(targets.contains(&&json!("198.51.100.0/24")) && targets.contains(&&json!("2001:db8:9::/48")));
    let first = bans[0].clone();
    assert_eq!((&first["proposer"], &first["reason"]), (&json!("imported"), &json!("shared list")));

    // The same again changes nothing; a later end keeps the decision and its id.
    let again = home.json(&["import", "list", "list.txt", "--for", "30m"]);
    assert_eq!((&again["banned"], &again["already_banned"]), (&json!(0), &json!(3)));
    let longer = home.json(&["import", "list", "list.txt", "--for", "2h"]);
    assert_eq!((&longer["banned"], &longer["prolonged"]), (&json!(0), &json!(3)));
    let bans = home.json(&["banned"]);
    let prolonged = bans.as_array().unwrap().iter().find(|ban| ban["id"] == first["id"]).unwrap();
    assert!(prolonged["expires_at"].as_str() > first["expires_at"].as_str(), "{prolonged:#}");
    assert_eq!(home.decisions().len(), 3);
    let human = home.palisade(&["import", "list", "list.txt", "--for", "1h"]).stdout;
    for said in ["3 were banned already, 5 refused (dry run", "private", "192.0.2.51", "line 8 is neither"] {
        assert!(human.contains(said), "{said}: {human}");
    }

    // What a restart puts back ends when the longer import said; who is let go stays so.
    assert_eq!(home.json(&["unban", "203.0.113.9"]), json!({ "lifted": ["203.0.113.9"] }));
    assert_eq!(daemon.stop(), 0);
    let _daemon = home.start();
    let bans = home.json(&["banned"]);
    assert_eq!(bans.as_array().unwrap().len(), 2);
    let status = home.status();
    assert_eq!(status["active"], 2);

    let long = home.palisade(&["import", "list", "list.txt", "--reason", &"x".repeat(501)]);
    assert!(long.code == 1 && long.stderr.contains("500 bytes at most"), "{}", long.stderr);
    fs::write(home.path("none.txt"), "127.0.0.1\nx\n").unwrap();
    assert_eq!(home.palisade(&["import", "list", "none.txt"]).code, 1, "nothing of it could be used");
    fs::write(home.path("none.txt"), "# nobody today\n").unwrap();
    assert_eq!(home.palisade(&["import", "list", "none.txt"]).code, 0);
}

#[test]
fn ten_thousand_bans_are_one_transaction_in_the_kernel() {
    if !namespaces_or_skip("the test of a long list") {
        return;
    }
    let server = Namespace::new();
    let home = Home::inside(&server);
    home.configure("mode = \"enforce\"\n");
    let list: String = (0..10_000).map(|n| format!("100.128.{}.{}\n", n / 250, n % 250)).collect();
    fs::write(home.path("list.txt"), list).unwrap();
    let daemon = home.start();
    let start = Instant::now();
    let answer = home.json(&["import", "list", "list.txt", "--for", "2h"]);
    let took = start.elapsed();
    eprintln!("10,000 bans in {took:?}");
    assert_eq!((&answer["banned"], &answer["refused"]), (&json!(10_000), &json!(0)), "{answer:#}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let start = Instant::now();
    let longer = home.json(&["import", "list", "list.txt", "--for", "3h"]);
    eprintln!("10,000 prolonged in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(longer["prolonged"], 10_000);
    let command = server.command(&["nft", "list", "set", "inet", "palisade", "block4"]);
    let held = std::process::Command::new(&command[0]).args(&command[1..]).output().unwrap();
    let held = String::from_utf8(held.stdout).unwrap();
    assert_eq!(held.matches(" expires ").count(), 10_000);
    assert!(held.contains("100.128.39.249 timeout 3h"), "the later end holds in the kernel");
    assert_eq!(home.json(&["unban", "--all"])["lifted"].as_array().unwrap().len(), 10_000);
    assert_eq!(daemon.stop(), 0);
}

/// A fail2ban of Debian's, with its own configuration, database and socket; stopped when dropped.
struct Fail2ban<'a> {
    home: &'a Home,
    server: Option<Child>,
}

/// What an administrator has written. `perm` and `odd` have filters of fail2ban's.
const JAIL_LOCAL: &str = "[DEFAULT]\nbantime = 2h\nfindtime = 1d 12h\nbantime.increment = true\nbantime.maxtime = 5w\n\
    ignoreip = 127.0.0.1/8 ::1 192.0.2.0/24\n           2001:db8:1::/48, office.example\n\
    [sshd]\nenabled = yes\nmaxretry = 3\nlogpath = %(sshd_log)s\n\
    [vsftpd]\nenabled = true\nbantime = -1\n\
    [odd]\nenabled = 1\nfilter = kerio\nbanaction = %(banaction_allports)s\nignorecommand = /bin/true\n";
const JAIL_D: &str =
    "[odd]\nlogpath = HOME/odd.log\n          HOME/*.more\n[sshd]\nlogpath = %(known/logpath)s\n  HOME/auth.log\n";

impl Fail2ban<'_> {
    /// Or nothing, where the package is not installed; said, or a failure where it is required.
    #[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
    fn install_or_skip(home: &Home) -> Option<Fail2ban<'_>> {
        if !Path::new("/etc/fail2ban/jail.conf").exists() {
            let required = std::env::var("PALISADE_REQUIRE_FAIL2BAN").is_ok_and(|value| value == "1");
            assert!(!required, "fail2ban is required and not installed");
            let _ = writeln!(std::io::stderr(), "SKIPPED: the test of import needs Debian's package fail2ban");
            return None;
        }
        let dir = home.path("fail2ban");
        let copied = Command::new("cp").args(["-r", "/etc/fail2ban"]).arg(&dir).status().unwrap();
        assert!(copied.success());
        let here = home.dir().display();
        let daemon = format!("[Definition]\ndbfile = {here}/fail2ban.sqlite3\nlogtarget = {here}/fail2ban.log\n");
        let files = [
            ("jail.local", JAIL_LOCAL.into()),
            ("fail2ban.local", daemon),
            ("jail.d/site.local", JAIL_D.replace("HOME", &here.to_string())),
        ];
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        for log in ["odd.log", "auth.log", "vsftpd.log", "a.more"] {
            fs::write(home.path(log), "").unwrap();
        }
        Some(Fail2ban { home, server: None })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let path = |name: &str| self.home.path(name);
        command.arg("-c").arg(path("fail2ban")).arg("-s").arg(path("f2b.sock")).arg("-p").arg(path("f2b.pid"));
        command.args(arguments);
        command
    }

    /// The server, that bans nobody anywhere but in its own memory and database.
    fn start(&mut self) {
        let local = |name: &str| self.home.path("fail2ban").join(name);
        fs::write(
            local("jail.d/zz.local"),
            "[DEFAULT]\naction =\n[vsftpd]\nlogpath = /dev/null\n[sshd]\nlogpath = /dev/null\n",
        )
        .unwrap();
        let mut command = self.command("fail2ban-server", &["-f", "start"]);
        let output = fs::File::create(self.home.path("f2b.out")).unwrap();
        self.server = Some(command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap());
        eventually("fail2ban answers", || {
            let ran = ran(&mut self.command("fail2ban-client", &["status", "odd"]));
            (ran.code == 0).then_some(())
        });
        fs::remove_file(local("jail.d/zz.local")).unwrap();
    }

    fn ban(&self, jail: &str, address: &str) {
        let ran = ran(&mut self.command("fail2ban-client", &["set", jail, "banip", address]));
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    }

    /// What fail2ban itself makes of its configuration: the words of each command for its server.
    fn dump(&self) -> Vec<Vec<String>> {
        let ran = ran(&mut self.command("fail2ban-client", &["-d"]));
        let lines = ran.stdout.lines().filter(|line| line.starts_with("['"));
        lines.map(|line| line.split('\'').skip(1).step_by(2).map(str::to_owned).collect()).collect()
    }
}

impl Drop for Fail2ban<'_> {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            ran(&mut self.command("fail2ban-client", &["stop"]));
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

#[test]
fn what_fail2ban_is_set_to_is_read_as_it_reads_it() {
    let home = Home::new();
    let Some(fail2ban) = Fail2ban::install_or_skip(&home) else { return };
    let import = ["import", "fail2ban", "--dir", "fail2ban", "--database", "fail2ban.sqlite3"];
    let answer = home.json(&import);
    let jails = answer["jails"].as_array().unwrap();
    let dump = fail2ban.dump();
    let said = |jail: &str, option: &str| {
        let of = |words: &&Vec<String>| words.len() > 3 && words[0] == "set" && words[1] == jail && words[2] == option;
        dump.iter().filter(of).map(|words| words[3..].to_vec()).collect::<Vec<_>>()
    };
    let on: BTreeSet<&str> = dump.iter().filter(|words| words[0] == "add").map(|words| words[1].as_str()).collect();
    assert_eq!(on, BTreeSet::from(["sshd", "vsftpd", "odd"]), "{dump:?}");
    assert_eq!(jails.iter().map(|jail| jail["name"].as_str().unwrap()).collect::<BTreeSet<_>>(), on);
    for jail in jails {
        let name = jail["name"].as_str().unwrap();
        for (key, option) in [("ban_secs", "bantime"), ("find_secs", "findtime"), ("max_ban_secs", "bantime.maxtime")] {
            let text = said(name, option)[0][0].clone();
            let theirs = ran(Command::new("fail2ban-client").args(["--str2sec", &text])).stdout;
            assert_eq!(jail[key].to_string(), theirs.trim(), "{name} {option} {text}");
        }
        assert_eq!(json!(said(name, "addignoreip")[0]), jail["ignored"], "{name}");
        let mut logs: Vec<String> = said(name, "addlogpath").into_iter().map(|words| words[0].clone()).collect();
        let globs = jail["logs"].as_array().unwrap().iter().flat_map(|log| glob::glob(log.as_str().unwrap()).unwrap());
        let mut ours: Vec<String> = globs.map(|path| path.unwrap().display().to_string()).collect();
        logs.sort();
        ours.sort();
        assert_eq!(ours, logs, "{name}");
    }
    let told = answer["not_carried"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let told: Vec<&str> = told.collect();
    for said in [
        "odd: filter \"kerio\" has no counterpart",
        "odd: ignorecommand",
        "vsftpd: bans for good",
        "sshd: banned on ports ssh there",
        "\"office.example\": names are not looked up",
        "sshd 3 in 129600 s",
        "cannot read fail2ban's database",
    ] {
        assert!(told.iter().any(|line| line.contains(said)), "{said}: {told:#?}");
    }
    assert!(!told.iter().any(|line| line.starts_with("odd: banned on ports")), "{told:#?}");

    let write = [&import[..], &["--write", "conf.d/fail2ban.toml"]].concat();
    assert!(home.palisade(&write).stderr.contains("cannot write conf.d/fail2ban.toml"));
    fs::create_dir(home.path("conf.d")).unwrap();
    let written = home.palisade(&write);
    assert_eq!(written.code, 0, "{}", written.stderr);
    for said in ["login-failures", "kerio", "fail2ban holds 0 bans", "Written to conf.d/fail2ban.toml"] {
        assert!(written.stdout.contains(said), "{said}: {}", written.stdout);
    }
    assert_eq!(home.palisade(&write).code, 1, "what is there is not overwritten");
    let shown = home.json(&["config", "show"]);
    assert_eq!(shown["client"]["allow"], json!(["192.0.2.0/24", "2001:db8:1::/48"]));
    let respond = ["block_duration_secs", "max_block_duration_secs"].map(|key| shown["respond"][key].as_u64().unwrap());
    assert_eq!(respond, [7200, 3_024_000]);
    let log = home.path("auth.log").display().to_string();
    assert!(shown["source"].as_array().unwrap().iter().any(|source| source["path"] == json!(log)), "{shown:#}");

    for (arguments, said) in [
        (&["--dir", "nowhere"][..], "cannot read fail2ban's configuration in nowhere"),
        (&["--dir", "conf.d"], "no configuration of fail2ban"),
        (&["--dir", "fail2ban", "--database", "nowhere", "--bans"], "name it with --database"),
        (&["--dir", "fail2ban", "--database", "auth.log", "--bans"], "no database of fail2ban"),
    ] {
        let ran = home.palisade(&[&["import", "fail2ban"], arguments].concat());
        assert!(ran.code == 1 && ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn bans_of_a_running_fail2ban_go_on_for_the_rest_of_their_time() {
    let home = Home::new();
    let Some(mut fail2ban) = Fail2ban::install_or_skip(&home) else { return };
    home.configure("[respond]\nmax_block_duration_secs = 86400\n");
    fail2ban.start();
    for (jail, address) in
        [("sshd", "203.0.113.9"), ("odd", "2001:db8:7::9"), ("vsftpd", "203.0.113.10"), ("odd", "10.7.7.7")]
    {
        fail2ban.ban(jail, address);
    }
    let import = ["import", "fail2ban", "--dir", "fail2ban", "--database", "fail2ban.sqlite3"];
    let seen = home.json(&import);
    assert_eq!(seen["bans"].as_array().unwrap().len(), 4, "{:#}", seen["bans"]);
    let _daemon = home.start();
    assert_eq!(home.json(&["banned"]), json!([]), "looking bans nobody");
    let answer = home.json(&[&import[..], &["--bans"]].concat());
    let of =
        |jail: &str| answer["imported"].as_array().unwrap().iter().find(|one| one["jail"] == jail).unwrap().clone();
    assert_eq!((&of("odd")["banned"], &of("odd")["reasons"][0]["reason"]), (&json!(1), &json!("private")));
    let mut bans = BTreeMap::new();
    for ban in home.decisions() {
        let end: jiff::Timestamp = ban["expires_at"].as_str().unwrap().parse().unwrap();
        let rest = end.as_second() - jiff::Timestamp::now().as_second();
        bans.insert(ban["target"].as_str().unwrap().to_owned(), (ban["reason"].as_str().unwrap().to_owned(), rest));
    }
    assert_eq!(bans.len(), 3, "{bans:?}");
    for (target, reason, secs) in [
        ("203.0.113.9", "fail2ban: sshd", 7200),
        ("2001:db8:7::9", "fail2ban: odd", 7200),
        ("203.0.113.10", "fail2ban: vsftpd", 86_400),
    ] {
        let (said, rest) = &bans[target];
        assert_eq!(said, reason);
        assert!((secs - 60..=secs + 1).contains(rest), "{target}: {rest} s");
    }
}

fn subscription(server: &Standin, more: &str) -> String {
    format!("[[blocklist]]\nname = \"drop\"\nurl = \"{}/drop.txt?key=hunter2\"\n{more}", server.url())
}

fn subscribed(server: &Standin, more: &str) -> Blocklist {
    let config: Config = toml::from_str(&subscription(server, more)).unwrap();
    Blocklist::new(&config.blocklist[0]).unwrap()
}

#[test]
fn a_subscribed_list_is_fetched_only_when_it_changed_and_kept_when_it_fails() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Standin::start();
    let mut list = subscribed(&server, "max_bytes = 200");
    let mut fetch = |answers: Vec<Answer>| {
        for answer in answers {
            server.then(answer);
        }
        runtime.block_on(list.fetch()).map(|targets| targets.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let first = Answer::text(200, "; Spamhaus DROP\n198.51.100.0/24 ; SBL1\n203.0.113.7\nx\n");
    let first = first.header("etag", "\"v1\"").header("last-modified", "Mon, 05 Jan 2026 12:30:45 GMT");
    let both = Ok(vec!["198.51.100.0/24".to_owned(), "203.0.113.7/32".to_owned()]);
    assert_eq!(fetch(vec![first]), both);
    assert_eq!(fetch(vec![Answer::text(304, "")]), both);
    let to = |place: &str| Answer::text(302, "").header("location", place);
    for (answers, said) in [
        (vec![Answer::text(500, "oops")], "500"),
        (vec![Answer::text(200, &"203.0.113.7\n".repeat(20))], "longer than max_bytes, 200"),
        (vec![Answer::text(200, "<html>\nlog in\n")], "no list: not one of its lines"),
        (vec![Answer::text(200, "203.0.113.99\n203.0.113.98").manner(Manner::Cut)], "end of file"),
        (vec![Answer::text(200, "").manner(Manner::Close)], "closed"),
        (vec![to("https://127.0.0.1:1/drop.txt")], "302"),
        (vec![to("/1"), to("/2"), to("/3"), to("/4")], "302"),
    ] {
        let told = fetch(answers).unwrap_err();
        assert!(told.contains(said) && !told.contains("hunter2"), "{told}");
    }
    assert_eq!(fetch(vec![Answer::text(304, "")]), both, "after all this it is as it was");
    assert_eq!(
        fetch(vec![to("/1"), to("/2"), to("/3"), Answer::text(200, "203.0.113.8")]).unwrap(),
        ["203.0.113.8/32"]
    );
    assert_eq!(fetch(vec![Answer::text(200, "# nobody\n")]), Ok(vec![]));
    let requests = server.requests();
    assert_eq!((requests[0].header("if-none-match"), requests[0].header("if-modified-since")), (None, None));
    let asked = &requests[1];
    assert_eq!(asked.header("if-none-match"), Some("\"v1\""));
    assert_eq!(asked.header("if-modified-since"), Some("Mon, 05 Jan 2026 12:30:45 GMT"));
}

#[test]
fn a_subscribed_list_is_banned_through_the_gate_and_its_failure_is_a_problem() {
    let server = Standin::start();
    server.then(Answer::text(200, "203.0.113.9\n10.0.0.0/24\n192.0.2.7\n5.0.0.0/8\n"));
    let home = Home::new();
    home.configure(&format!("[client]\nallow = [\"192.0.2.7\"]\n{}", subscription(&server, "refresh_secs = 1800")));
    let daemon = home.start();
    let service = eventually("the list is imported", || {
        let services = home.status()["services"].clone();
        services["blocklist drop"]["banned"].is_number().then(|| services["blocklist drop"].clone())
    });
    assert_eq!((&service["entries"], &service["banned"], &service["refused"]), (&json!(4), &json!(1), &json!(3)));
    let ban = home.json(&["banned"])[0].clone();
    assert_eq!((&ban["target"], &ban["proposer"]), (&json!("203.0.113.9"), &json!("imported")));
    let end: jiff::Timestamp = ban["expires_at"].as_str().unwrap().parse().unwrap();
    let rest = end.as_second() - jiff::Timestamp::now().as_second();
    assert!((3500..=3601).contains(&rest), "twice refresh_secs: {rest} s");
    assert!(home.palisade(&["status"]).stdout.contains("blocklist drop: 4 entries, 3 refused"));
    assert_eq!(daemon.stop(), 0);

    // Away, it is a problem, and whom it had named stays out.
    server.otherwise(|_| Answer::text(503, "later"));
    let _daemon = home.start();
    let problems = eventually("the failure is told", || {
        let status = home.status();
        let problems = status["problems"].to_string();
        (problems.contains("blocklist drop: 503") && status["healthy"] == false).then_some(problems)
    });
    assert!(!problems.contains("hunter2"), "{problems}");
    assert_eq!(home.json(&["banned"])[0]["target"], "203.0.113.9");
}

#[test]
fn bans_by_rules_are_reported_to_abuseipdb_once_and_nothing_of_the_log_with_them() {
    if !namespaces_or_skip("the test of reports to AbuseIPDB") {
        return;
    }
    let namespace = Namespace::new();
    let server = namespace.inside(Standin::start);
    server.otherwise(|_| Answer::json(200, &json!({ "data": { "abuseConfidenceScore": 52 } })));
    let mut home = Home::inside(&namespace);
    home.set("ABUSEIPDB_API_KEY", "hunter2");
    let log = home.path("access.log");
    fs::write(&log, "").unwrap();
    let settings = |mode: &str| {
        let reputation = format!("[reputation]\nabuseipdb_url = \"{}\"\nreport_abuseipdb = true\n", server.url());
        home.configure(&format!("mode = \"{mode}\"\n{reputation}[[source]]\npath = \"{}\"\n", log.display()));
    };
    let attack = |client: &str, n: u32| {
        let time = palisade::event::Timestamp::now().clf();
        let line = format!(
            "{client} - - [{time}] \"GET /secret.example/{n}?id=1%27+UNION+SELECT+password+FROM+users HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n"
        );
        fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(line.as_bytes()).unwrap();
    };
    let ready = |home: &Home| {
        eventually("reports begin", || home.status()["services"]["abuseipdb_report"].is_object().then_some(()));
    };
    settings("dry_run");
    let daemon = home.start();
    ready(&home);
    attack("1.2.3.3", 0);
    eventually("the attack is banned", || (home.decisions().len() == 1).then_some(()));
    assert_eq!(daemon.stop(), 0);

    settings("enforce");
    let daemon = home.start();
    ready(&home);
    attack("1.2.3.4", 1);
    attack("203.0.113.9", 2);
    eventually("it is reported", || server.requests().first().cloned());
    home.json(&["ban", "1.2.3.5"]);
    attack("2606:4700::1111", 3);
    let second = eventually("so is the next", || server.requests().get(1).cloned());
    let first = server.requests()[0].clone();
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/report"));
    assert_eq!((first.header("key"), first.header("accept")), (Some("hunter2"), Some("application/json")));
    let body = String::from_utf8(first.body).unwrap();
    assert!(body.starts_with("ip=1.2.3.4&categories=16%2C21&comment=Palisade%3A+sqli+%28sqli-union-select"), "{body}");
    for secret in ["secret", "UNION", "password", "curl", "access.log"] {
        assert!(!body.contains(secret), "{secret}: {body}");
    }
    assert!(String::from_utf8(second.body).unwrap().starts_with("ip=2606%3A4700%3A%3A1111&"));
    let status = eventually("both are counted", || {
        let status = home.status();
        (status["services"]["abuseipdb_report"]["reported"] == 2).then_some(status)
    });
    assert_eq!(status["problems"], json!([]));
    let ledger = home.get("/api/v1/ledger").unwrap();
    let spent = ledger["services"].as_array().unwrap().iter().find(|one| one["service"] == "abuseipdb_report").unwrap();
    assert_eq!((&spent["calls"], &spent["answered"]), (&json!(2), &json!(2)));

    // Let go and banned again, it is not reported again so soon; what is refused is told.
    server.otherwise(|_| standin::bodies::abuseipdb::error(401, "Authentication failed. Your API key hunter2 is bad."));
    home.json(&["unban", "1.2.3.4"]);
    attack("1.2.3.4", 4);
    eventually("it is banned again", || home.json(&["banned"]).to_string().contains("\"1.2.3.4\"").then_some(()));
    attack("1.2.3.6", 5);
    let problems = eventually("the refusal is told", || {
        let problems = home.status()["problems"].to_string();
        problems.contains("AbuseIPDB takes no report").then_some(problems)
    });
    assert!(!problems.contains("hunter2"), "{problems}");
    let asked: Vec<String> =
        server.requests().iter().map(|asked| String::from_utf8(asked.body.clone()).unwrap()).collect();
    assert_eq!(asked.iter().filter(|body| body.starts_with("ip=1.2.3.4&")).count(), 1, "{asked:?}");
    assert_eq!(asked.len(), 3, "not the simulated, the private, the one by hand: {asked:?}");
    assert_eq!(daemon.stop(), 0);
}
