//! Sources that are no files: standard input, listeners for syslog, the journal.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use palisade::event::Timestamp;
use serde_json::Value;

use crate::support::daemon::{Daemon, Home, eventually};
use crate::support::log::{attack, line};

/// `line` as nginx sends it to a syslog server.
fn syslog(line: &str) -> String {
    format!("<190>{} web nginx: {line}", "Jan  5 12:30:45")
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The daemon with `input` as its standard input.
fn fed(home: &Home, input: Stdio) -> Daemon {
    let log = fs::File::options().create(true).append(true).open(home.path("palisade.log")).unwrap();
    let mut command = home.command(&["run"]);
    home.watch(command.stdin(input).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

fn clients(home: &Home) -> Vec<String> {
    let rows = home.findings();
    let mut clients: Vec<String> = rows.iter().map(|row| row["source_ip"].as_str().unwrap().to_owned()).collect();
    clients.sort();
    clients
}

fn source<'a>(status: &'a Value, path: &str) -> &'a Value {
    let sources = status["sources"].as_array().unwrap();
    sources.iter().find(|source| source["path"] == path).unwrap_or_else(|| panic!("{path}: {status:#}"))
}

#[test]
fn attacks_that_come_over_the_network_and_standard_input_are_found() {
    let home = Home::new();
    let (tcp, udp) = (free_port(), free_port());
    home.configure(&format!(
        "[[source]]\npath = \"-\"\n[[source]]\npath = \"tcp://{tcp}\"\n[[source]]\npath = \"udp://0.0.0.0:{}\"\n",
        udp.port()
    ));
    let (read, mut write) = std::io::pipe().unwrap();
    let mut daemon = fed(&home, read.into());
    daemon.says("palisade runs");
    daemon.says("whoever reaches this port can forge log lines");
    assert!(!daemon.said().contains(&format!("tcp://{tcp}: whoever")), "loopback is nobody else's");
    write.write_all(attack("203.0.113.1", 1).as_bytes()).unwrap();

    let mut sender = eventually("it listens", || TcpStream::connect(tcp).ok());
    let said: String = [line("203.0.113.2", "GET /", 200), attack("203.0.113.2", 2)].map(|line| syslog(&line)).concat();
    sender.write_all(said.as_bytes()).unwrap();
    let mut counted = TcpStream::connect(tcp).unwrap();
    let message = syslog(attack("203.0.113.3", 3).trim_end());
    write!(counted, "{} {message}", message.len()).unwrap();
    // A second line in a datagram is part of the first: who is named there is nobody.
    let forged = format!("{}{}", syslog(&line("203.0.113.4", "GET /", 200)), syslog(&attack("203.0.113.99", 4)));
    eventually("it listens for datagrams", || UdpSocket::bind(udp).is_err().then_some(()));
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.send_to(forged.as_bytes(), udp).unwrap();
    datagrams.send_to(syslog(&attack("203.0.113.4", 5)).as_bytes(), udp).unwrap();

    let expected = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"];
    eventually("all are found", || (clients(&home) == expected).then_some(()));
    drop(write);
    // Standard input has ended; the others go on.
    sender.write_all(syslog(&attack("203.0.113.5", 6)).as_bytes()).unwrap();
    eventually("the next too", || (clients(&home).len() == 5).then_some(()));
    let status = eventually("the status says so", || {
        let status = home.status();
        (status["lines"] == 7).then_some(status)
    });
    let formats = |path: &str| source(&status, path)["formats"].clone();
    assert_eq!(formats("-"), serde_json::json!(["nginx_combined"]));
    for path in [format!("tcp://{tcp}"), format!("udp://0.0.0.0:{}", udp.port())] {
        assert_eq!(formats(&path), serde_json::json!(["syslog[nginx]+nginx_combined"]), "{status:#}");
    }
    let ran = home.palisade(&["status"]);
    assert!(ran.stdout.contains(&format!("tcp://{tcp} [syslog[nginx]+nginx_combined]: 4 lines")), "{}", ran.stdout);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn with_nothing_but_standard_input_it_ends_when_all_is_recorded() {
    let home = Home::new();
    home.configure("[[source]]\npath = \"-\"\n");
    let log: String = (0..5000)
        .map(|n| match n % 50 {
            0 => attack(&format!("203.0.113.{}", n / 50), n),
            _ => line(&format!("198.51.100.{}", n % 200), &format!("GET /lamps/{n}"), 200),
        })
        .collect();
    let (read, mut write) = std::io::pipe().unwrap();
    let mut daemon = fed(&home, read.into());
    write.write_all(log.trim_end().as_bytes()).unwrap();
    drop(write);
    assert_eq!(daemon.code(), 0, "{}", daemon.said());
    // The record can be read by the next daemon.
    let _daemon = {
        home.configure(&format!("[[source]]\npath = \"{}\"\n", home.path("other.log").display()));
        home.start()
    };
    assert_eq!(home.findings().len(), 100);
}

#[test]
fn the_journal_is_read_on_where_the_last_daemon_was() {
    let mut home = Home::new();
    let script = format!(
        "#!/bin/sh\nafter= on=1\nfor argument; do case $argument in --after-cursor=*) on= after=${{argument#*=}};; \
         esac; done\nexec 3<{}/entries\nwhile :; do\nif IFS= read -r line <&3; then\n[ \"$on\" ] && printf '%s\\n' \
         \"$line\"\ncase $line in *\"\\\"$after\\\"\"*) on=1;; esac\nelse sleep 0.05; fi\ndone\n",
        home.dir().display()
    );
    fs::create_dir(home.path("bin")).unwrap();
    fs::write(home.path("bin/journalctl"), script).unwrap();
    fs::set_permissions(home.path("bin/journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    home.set("PATH", format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", home.dir().display()));
    home.configure("[[source]]\npath = \"journal:nginx.service\"\nstart = \"beginning\"\n");
    let path = home.path("entries");
    let write = |from: usize, to: usize| {
        let mut file = fs::File::options().create(true).append(true).open(&path).unwrap();
        for n in from..to {
            let entry = serde_json::json!({
                "__CURSOR": format!("s=1;i={n:x};b=1;m=1;t=1;x=1"),
                "__REALTIME_TIMESTAMP": format!("{}000", Timestamp::now().0),
                "SYSLOG_IDENTIFIER": "nginx",
                "_COMM": "nginx",
                "MESSAGE": attack(&format!("203.0.113.{n}"), n).trim_end(),
            });
            // At once, as the script does not wait for the end of a line.
            file.write_all(format!("{entry}\n").as_bytes()).unwrap();
        }
    };
    let found = |count: usize| eventually("all are found", || (clients(&home).len() == count).then_some(()));
    write(0, 10);
    let daemon = home.start();
    found(10);
    // Stopped, it knows where it was; killed, it reads some again, which are the same findings.
    assert_eq!(daemon.stop(), 0);
    write(10, 12);
    let daemon = home.start();
    found(12);
    // These come after its last checkpoint.
    write(12, 20);
    found(20);
    let lines = eventually("the status says so", || source(&home.status(), "journal:nginx.service")["lines"].as_u64());
    assert!(lines <= 10, "what was read before is not read again, but {lines} lines were");
    daemon.kill();
    write(20, 30);
    let daemon = home.start();
    found(30);
    let status = home.status();
    let journal = source(&status, "journal:nginx.service");
    assert_eq!(journal["formats"], serde_json::json!(["journal[nginx]+nginx_combined"]), "{status:#}");
    assert_eq!(daemon.stop(), 0);
    let daemon = home.start();
    let mut all: Vec<String> = (0..30).map(|n| format!("203.0.113.{n}")).collect();
    all.sort();
    assert_eq!(clients(&home), all, "each once");
    assert_eq!(daemon.stop(), 0);
}
