//! A disk that is full, here or Postgres' own, and one that cannot be written any more.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{Far, append, configure, is_the_same};
use crate::support::daemon::{Daemon, Home, eventually, ran};
use crate::support::log::attack;
use crate::support::namespaces_or_skip;
use crate::support::postgres::{self, Server};

/// A home whose state lies on a file system of its own, mounted with `options`.
fn home(url: &str, options: &str) -> Home {
    let script = format!("mkdir -p state && mount -t tmpfs -o {options} tmpfs state && exec \"$@\"");
    let home = Home::run_by(&["unshare", "--mount", "sh", "-ec", &script, "sh"]);
    configure(&home, url, "");
    home
}

fn attacks(from: usize, to: usize) -> String {
    (from..to).map(|n| attack(&format!("198.51.100.{}", n % 20), n)).collect()
}

fn has_problem(home: &Home, words: &str) {
    eventually(&format!("it says {words:?}"), || home.status()["problems"].to_string().contains(words).then_some(()));
}

fn remount(daemon: &Daemon, home: &Home, mode: &str) {
    let state = home.path("state").display().to_string();
    let pid = daemon.id().to_string();
    let ran = ran(std::process::Command::new("nsenter").args([
        "-t",
        &pid,
        "-m",
        "mount",
        "-o",
        &format!("remount,{mode}"),
        &state,
    ]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_full_disk_loses_nothing_here_or_there() {
    if !namespaces_or_skip("a full disk with Postgres") {
        return;
    }
    let Some(server) = postgres::shared("a full disk with Postgres") else { return };
    let (far, url) = Far::new(server);
    let home = home(&url, "size=4m");
    append(&home, &attacks(0, 10));
    let daemon = home.start();
    is_the_same(&home, &far, 10, Duration::from_secs(30));
    let filler = format!("/proc/{}/root{}/filler", daemon.id(), home.path("state").display());
    let mut file = fs::File::create(Path::new(&filler)).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    append(&home, &attacks(10, 600));
    has_problem(&home, "no space to write");
    append(&home, &attacks(600, 1200));
    std::thread::sleep(Duration::from_millis(500));
    fs::remove_file(filler).unwrap();
    is_the_same(&home, &far, 1200, Duration::from_secs(60));
    eventually("all is well", || home.status()["healthy"].as_bool().filter(|healthy| *healthy));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_full_disk_of_postgres_itself_loses_nothing() {
    if !namespaces_or_skip("a full disk of Postgres") || !postgres::postgres_or_skip("a full disk of Postgres") {
        return;
    }
    // Where the tables lie, for the server alone.
    let small = tempfile::tempdir().unwrap();
    fs::set_permissions(small.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = small.path().join("tables").display().to_string();
    let mount =
        format!("mkdir -p {place}; mount -t tmpfs -o size=24m tmpfs {place}; chown postgres {place}; exec \"$@\"");
    let prefix = ["unshare", "--mount", "sh", "-ec", mount.as_str(), "sh"].map(str::to_owned);
    let server = Server::start_in(&prefix, "127.0.0.1", "");
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{place}'"));
    server.sql("postgres", "CREATE DATABASE small TABLESPACE small");
    let far = Far { server: &server, database: "small".into() };
    let home = Home::new();
    configure(&home, &server.url("small"), "");
    append(&home, &attacks(0, 10));
    let daemon = home.start();
    is_the_same(&home, &far, 10, Duration::from_secs(30));

    let pid = fs::read_to_string(server.path("data/postmaster.pid")).unwrap();
    let filler = format!("/proc/{}/root{place}/filler", pid.lines().next().unwrap());
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    append(&home, &attacks(10, 1200));
    eventually("all are recorded here", || (home.findings().len() == 1200).then_some(()));
    let said = eventually("it says so", || {
        let said = home.status()["services"]["postgres"]["last_error"].as_str()?.to_owned();
        said.contains("has no space left").then_some(said)
    });
    assert!(said.contains("free some on the server's disk"), "{said}");
    fs::remove_file(filler).unwrap();
    is_the_same(&home, &far, 1200, Duration::from_secs(60));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_file_system_that_cannot_be_written_is_told_and_records_when_it_can_again() {
    if !namespaces_or_skip("a read-only file system") {
        return;
    }
    let Some(server) = postgres::shared("a read-only file system") else { return };
    let (far, url) = Far::new(server);
    let home = home(&url, "size=16m");
    append(&home, &attacks(0, 10));
    let daemon = home.start();
    is_the_same(&home, &far, 10, Duration::from_secs(30));
    // SQLite's files are open for writing: the mount alone would refuse to change.
    let pid = daemon.id().to_string();
    let state = home.path("state").display().to_string();
    let line = ["-t", &pid, "-m", "mount", "-o", "remount,ro", &state];
    let refused = ran(std::process::Command::new("nsenter").args(line));
    if refused.code == 0 {
        append(&home, &attacks(10, 60));
        has_problem(&home, "cannot write");
        remount(&daemon, &home, "rw");
    } else {
        append(&home, &attacks(10, 60));
    }
    is_the_same(&home, &far, 60, Duration::from_secs(60));
    assert_eq!(daemon.stop(), 0);

    // At the start there is nothing to act by.
    let home = self::home(&url, "ro,size=1m");
    let ran = home.palisade(&["run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("state") && ran.stderr.contains("Read-only file system"), "{}", ran.stderr);
}
