//! A real fail2ban's settings and bans.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};

use serde_json::json;

use crate::support::daemon::{Home, eventually, ran};

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
