//! What a service manager hears of the daemon: ready when it reads, alive while it does, stopping.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::{Home, eventually};
use crate::support::log::line;

/// The next message that begins with `start`.
fn heard(socket: &UnixDatagram, start: &str) -> String {
    eventually(start, || {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned()).filter(|text| text.starts_with(start))
    })
}

#[test]
fn the_service_manager_hears_of_the_daemon_while_it_does_its_work() {
    let mut home = Home::new();
    let log = home.path("access.log");
    home.configure(&format!("[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", log.display()));
    fs::write(&log, line("203.0.113.20", "GET /", 200)).unwrap();
    let socket = UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    home.set("NOTIFY_SOCKET", home.path("notify").display().to_string());
    home.set("WATCHDOG_USEC", "2000000");
    let daemon = home.spawn();
    heard(&socket, "READY=1");
    assert_eq!(home.palisade(&["ping"]).code, 0, "it answers from then on");
    heard(&socket, "WATCHDOG=1");
    let status = heard(&socket, "STATUS=");
    assert!(status.starts_with("STATUS=dry_run, 0 blocked, "), "{status}");

    daemon.signal(Signal::SIGSTOP);
    let ran = home.palisade(&["ping"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "palisade: the daemon did not answer within 5 s\n"));
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 1024]).is_ok() {}
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(socket.recv(&mut [0; 1024]).unwrap_err().kind(), ErrorKind::WouldBlock, "no sign of life");
    socket.set_nonblocking(false).unwrap();
    daemon.signal(Signal::SIGCONT);
    heard(&socket, "WATCHDOG=1");
    daemon.signal(Signal::SIGTERM);
    heard(&socket, "STOPPING=1");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn the_journal_is_told_levels_and_others_are_not() {
    let mut home = Home::new();
    home.configure("[[source]]\npath = \"/nonexistent/access.log\"\n");
    let own = fs::File::create(home.path("palisade.log")).unwrap().metadata().unwrap();
    home.set("PALISADE__LOG__FORMAT", "auto");
    home.set("JOURNAL_STREAM", format!("{}:{}", own.dev(), own.ino()));
    let mut daemon = home.start();
    daemon.says("<6>palisade runs mode=\"dry_run\"");
    daemon.says("<4>nothing to follow yet");
    assert_eq!(daemon.stop(), 0);
    // A shell that the service started, whose standard error goes elsewhere.
    home.set("JOURNAL_STREAM", format!("{}:{}", own.dev(), own.ino() + 1));
    let mut daemon = home.start();
    daemon.says("\"message\":\"palisade runs\"");
    assert_eq!(daemon.stop(), 0);
}
