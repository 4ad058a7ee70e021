//! `palisade run` and nothing else, on a machine of which only the directories of logs, state and
//! sockets are make-believe: a mount namespace.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, eventually, get, ran};
use crate::support::log::attack;
use crate::support::namespaces_or_skip;

/// A machine of its own kind: `prepare` has run in it, and then, `by` someone, the daemon.
fn machine(by: &str, prepare: &str) -> Home {
    let script = format!("mount -t tmpfs tmpfs /var/log && {prepare} && exec {by} \"$@\"");
    Home::run_by(&["unshare", "--mount", "sh", "-ec", &script, "sh"])
}

/// The daemon on that machine without any configuration, and its root directory as seen from here.
fn run(home: &Home) -> (Daemon, PathBuf) {
    let daemon = home.spawn_command(home.bare_command(&["run"]));
    let root = PathBuf::from(format!("/proc/{}/root", daemon.id()));
    (daemon, root)
}

fn findings(socket: &std::path::Path) -> Vec<String> {
    let rows = get(socket, "/api/v1/findings");
    let rows = rows.as_ref().and_then(Value::as_array).into_iter().flatten();
    rows.map(|row| row["file"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_finds_the_logs_of_nginx_and_apache_and_says_what_it_does() {
    if !namespaces_or_skip("zero configuration as root") {
        return;
    }
    let home = machine(
        "",
        "mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && mkdir /var/log/nginx /var/log/apache2 \
         && touch /var/log/nginx/access.log /var/log/apache2/other_vhosts_access.log /var/log/nginx/error.log",
    );
    let (mut daemon, root) = run(&home);
    daemon.says("following /var/log/nginx/access.log");
    daemon.says("following /var/log/apache2/other_vhosts_access.log");
    daemon.says("dry run: attackers are found and recorded, nobody is blocked");
    daemon.says("set mode = \"enforce\" in /etc/palisade/palisade.toml");
    daemon.says("palisade runs");
    assert!(!daemon.said().contains("error.log"));
    fs::write(root.join("var/log/nginx/access.log"), attack("203.0.113.7", 1)).unwrap();
    let vhost = format!("shop.example:443 {}", attack("2001:db8::7", 2));
    fs::write(root.join("var/log/apache2/other_vhosts_access.log"), vhost).unwrap();
    let socket = root.join("run/palisade/palisade.sock");
    let mut files = eventually("both are read", || Some(findings(&socket)).filter(|files| files.len() == 2));
    files.sort();
    assert_eq!(files, ["/var/log/apache2/other_vhosts_access.log", "/var/log/nginx/access.log"]);
    assert!(root.join("var/lib/palisade/palisade.db").exists());
    let status = get(&socket, "/api/v1/status").unwrap();
    assert_eq!((&status["mode"], &status["healthy"]), (&"dry_run".into(), &true.into()), "{status:#}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_ordinary_user_with_nothing_to_follow_is_told_so_and_it_waits() {
    if !namespaces_or_skip("zero configuration as an ordinary user") {
        return;
    }
    let mut home = machine("setpriv --reuid 65534 --regid 65534 --clear-groups", "true");
    for (variable, name) in [("XDG_STATE_HOME", "state-home"), ("XDG_RUNTIME_DIR", "runtime")] {
        let path = home.path(name);
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        home.set(variable, path.display().to_string());
    }
    home.open_to_others();
    let (mut daemon, root) = run(&home);
    daemon.says("nothing to follow yet; waiting for /var/log/nginx/*access*.log, /var/log/apache2/");
    daemon.says("palisade runs");
    let socket = home.path("runtime/palisade.sock");
    assert!(home.path("state-home/palisade/palisade.db").exists());
    assert_eq!(findings(&socket), Vec::<String>::new());

    fs::create_dir(root.join("var/log/nginx")).unwrap();
    fs::write(root.join("var/log/nginx/shop.access.log"), attack("203.0.113.7", 1)).unwrap();
    let files = eventually("the new file is read", || Some(findings(&socket)).filter(|files| !files.is_empty()));
    assert_eq!(files, ["/var/log/nginx/shop.access.log"]);

    // The verbs find the daemon where it is, without configuration too.
    let output = home.bare_command(&["status"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("mode dry_run") && said.contains("shop.access.log"), "{said}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_sshd_says_is_read_from_its_file_or_else_from_the_journal() {
    if !namespaces_or_skip("zero configuration of sshd's messages") {
        return;
    }
    let prepare = "mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system";
    let mut home = machine("", prepare);
    fs::create_dir(home.path("bin")).unwrap();
    fs::write(home.path("bin/journalctl"), "#!/bin/sh\necho \"$@\" >> /run/asked\nexec sleep 1000\n").unwrap();
    fs::set_permissions(home.path("bin/journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    home.set("PATH", format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", home.dir().display()));
    let (mut daemon, root) = run(&home);
    daemon.says("following journal:ssh.service");
    daemon.says("following journal:sshd.service");
    eventually("both are asked for", || {
        let asked = fs::read_to_string(root.join("run/asked")).ok()?;
        (asked.contains("--unit=ssh.service --since=@") && asked.contains("--unit=sshd.service")).then_some(())
    });
    assert_eq!(daemon.stop(), 0);

    let home = machine("", &format!("{prepare} && touch /var/log/auth.log"));
    let (mut daemon, _) = run(&home);
    daemon.says("following /var/log/auth.log");
    daemon.says("palisade runs");
    assert!(!daemon.said().contains("following journal:") && !daemon.said().contains("/var/log/secure"));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn five_questions_on_a_terminal_make_a_configuration_that_holds() {
    let home = Home::new();
    let line = format!("{} config init --to made.toml", env!("CARGO_BIN_EXE_palisade"));
    // `script` is the terminal.
    let mut script = Command::new("script");
    let script = script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(home.dir());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"\nyes\nenforce\n192.0.2.0/24\n\nnone\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("5. A model"), "{said}");
    assert!(said.contains("enforce or dry_run\r\n"), "what is no answer is asked again: {said}");
    assert!(said.contains("made.toml is written. Next: palisade doctor, palisade run"), "{said}");

    let made = |arguments: &[&str]| ran(&mut home.bare_command(&[&["--config", "made.toml"], arguments].concat()));
    assert_eq!(made(&["config", "check"]).code, 0);
    let shown: Value = serde_json::from_str(&made(&["config", "show", "--output", "json"]).stdout).unwrap();
    assert_eq!((&shown["mode"], &shown["client"]["allow"]), (&"enforce".into(), &json!(["192.0.2.0/24"])), "{shown:#}");
    let again = ["config", "init", "--to", "made.toml", "--yes"];
    let refused = made(&again);
    assert!(refused.code == 1 && refused.stderr.contains("--force writes over it"), "{}", refused.stderr);
    assert_eq!(made(&[&again[..], &["--force"]].concat()).code, 0);
    let shown: Value = serde_json::from_str(&made(&["config", "show", "--output", "json"]).stdout).unwrap();
    assert_eq!(shown["mode"], "dry_run", "{shown:#}");
}
