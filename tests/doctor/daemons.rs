//! The running daemon, others beside it, and who could be locked out.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use super::{examine, finds, finds_no, follow, home, visits};
use crate::support::daemon::{Home, eventually};
use crate::support::{Namespace, namespaces_or_skip};

#[test]
fn a_daemon_that_is_not_there_presses_once_it_has_been() {
    let home = home("");
    finds(&home, "note", "never_ran", "no daemon has run", "palisade run");
    let daemon = home.start();
    finds_no(&home, "daemon_silent");
    daemon.kill();
    finds(&home, "error", "daemon_silent", "no daemon answers", "systemctl restart palisade");
}

#[test]
fn what_the_daemon_complains_of_is_told() {
    let home = Home::new();
    fs::write(home.path("access.log"), "no log line at all\n".repeat(60)).unwrap();
    let log = home.path("access.log").display().to_string();
    home.configure(&format!("[[source]]\npath = \"{log}\"\nformat = \"nginx_combined\"\nstart = \"beginning\"\n"));
    let _daemon = home.start();
    eventually("it has read", || (home.status()["problems"].as_array()?.len() == 1).then_some(()));
    finds(&home, "error", "daemon_complains", "lines are not understood", "palisade status");
}

#[test]
fn a_daemon_of_another_version_is_told() {
    let home = home("");
    let listener = UnixListener::bind(home.path("palisade.sock")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap_or_default();
            let is_status = asked[..length].starts_with(b"GET /api/v1/status");
            let body = if is_status { r#"{"version":"0.0.1","problems":[]}"# } else { "[]" };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    finds(&home, "warning", "other_version", "the daemon is version 0.0.1", "restart");
}

#[test]
fn two_daemons_at_one_firewall_are_told() {
    if !namespaces_or_skip("two daemons") {
        return;
    }
    let namespace = Namespace::new();
    let [one, other] = [(); 2].map(|()| {
        let home = Home::inside(&namespace);
        follow(&home, &visits(100), "");
        home
    });
    let first = one.start();
    finds_no(&one, "several_daemons");
    let second = other.start();
    let found = finds(&one, "warning", "several_daemons", "lift each other's bans", "stop all but one");
    for daemon in [&first, &second] {
        assert!(found["subject"].as_str().unwrap().contains(&daemon.id().to_string()), "{found}");
    }
}

#[test]
fn who_could_be_locked_out_is_told() {
    if !namespaces_or_skip("an operator who is connected by SSH") {
        return;
    }
    let (host, operator) = (Namespace::new(), Namespace::new());
    Namespace::join((&host, &["203.0.113.1/24"]), (&operator, &["203.0.113.7/24"]));
    let listener = host.inside(|| TcpListener::bind("203.0.113.1:22").unwrap());
    let _session = operator.inside(|| TcpStream::connect("203.0.113.1:22").unwrap());
    let _accepted = listener.accept().unwrap();
    let home = Home::inside(&host);
    follow(&home, &visits(100), "mode = \"enforce\"");
    let advice = "palisade allow add 203.0.113.7";
    let found = finds(&home, "warning", "operator_not_allowed", "only as long as that lasts", advice);
    assert_eq!(found["subject"], "203.0.113.7");
    finds(&home, "warning", "allow_empty", "nobody", "client.allow");
    follow(&home, &visits(100), "mode = \"enforce\"\n[client]\nallow = [\"203.0.113.7\"]");
    finds_no(&home, "operator_not_allowed");
    finds_no(&home, "allow_empty");
    follow(&home, &visits(100), "[client]\nallow_names = [\"nowhere.invalid\"]");
    finds(&home, "warning", "allow_not_read", "nowhere.invalid", "client.allow_names");
    finds(&home, "note", "operator_not_allowed", "only as long", advice);
}

#[test]
fn a_host_that_cannot_be_looked_at_is_told() {
    if !namespaces_or_skip("a host without /proc") {
        return;
    }
    let line = "mount -t tmpfs tmpfs /proc; exec \"$@\"";
    let home = Home::run_by(&["unshare", "--mount", "sh", "-ec", line, "sh"]);
    follow(&home, &visits(100), "");
    let found = finds(&home, "error", "surroundings_unreadable", "cannot be read", "nobody new is blocked");
    assert!(found["problem"].as_str().unwrap().contains("/proc/net/route"), "{found}");
    let (code, _) = examine(&home);
    assert_eq!(code, 1);
}
