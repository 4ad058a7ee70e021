//! Mistakes in files of ours, and a state directory that is not what it should be.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use sqlx::{Connection, SqliteConnection};

use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::namespaces_or_skip;

const BAD_CONFIG: i32 = 78;

fn home() -> Home {
    let home = Home::new();
    follow(&home);
    home
}

fn follow(home: &Home) {
    home.configure(&format!("[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", home.path("access.log").display()));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn finds(home: &Home, count: usize) {
    eventually(&format!("{count} findings"), || (home.findings().len() == count).then_some(()));
}

#[test]
fn all_mistakes_of_a_configuration_are_told_at_once_with_their_lines() {
    let home = home();
    home.configure("mode = \"enfroce\"\nstat_dir = \"x\"\n[thresholds]\nblock = 11\n[respond]\nuse = [\"nftable\"]\n");
    for verb in [&["run"][..], &["config", "check"], &["scan", "access.log"], &["status"]] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, BAD_CONFIG, "{verb:?}: {}", ran.stderr);
        for (line, key, hint) in [
            (3, "mode", "enforce"),
            (4, "stat_dir", "state_dir"),
            (6, "thresholds.block", "from 1 to 10"),
            (8, "use", "nftables"),
        ] {
            let place = format!("palisade.toml:{line}:");
            let said = ran.stderr.lines().find(|said| said.contains(&place));
            assert!(
                said.is_some_and(|said| said.contains(key) && said.contains(hint)),
                "{place} {key}: {}",
                ran.stderr
            );
        }
    }
    let checked = home.palisade(&["config", "check", "--output", "json"]);
    assert_eq!(checked.code, BAD_CONFIG);
    let mistakes: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert!(mistakes["mistakes"].as_array().unwrap().len() >= 4, "{mistakes}");
    let missing = home.bare_command(&["--config", "missing.toml", "run"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(BAD_CONFIG));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("missing.toml"));
}

#[test]
fn broken_and_catastrophic_patterns_are_told_with_file_and_line() {
    let home = home();
    let rule = |id: &str, pattern: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\ncategory = \"sqli\"\nscore = 5\ndescription = \"d\"\nreference = \"CWE-89\"\n\
             target = [\"args\"]\npattern = '{pattern}'\nattack = [\"/?a=union\"]\nbenign = [\"/\"]\n"
        )
    };
    fs::create_dir(home.path("rules.d")).unwrap();
    let text = rule("fine", "union") + &rule("broken", "(union") + &rule("huge", "union(a{1000}){1000}");
    fs::write(home.path("rules.d/mine.toml"), text).unwrap();
    for verb in [&["run"][..], &["config", "check"], &["rules", "list"], &["scan", "access.log"], &["explain", "x"]] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, BAD_CONFIG, "{verb:?}: {}", ran.stderr);
        for said in [
            "mine.toml:11: rule broken: the pattern is broken",
            "mine.toml:21: rule huge: the pattern compiles to more than",
        ] {
            assert!(ran.stderr.contains(said), "{verb:?}: {}", ran.stderr);
        }
    }
    fs::write(home.path("rules.d/mine.toml"), rule("fine", "onion")).unwrap();
    let listed = home.palisade(&["rules", "list"]);
    assert!(listed.code == 0 && listed.stdout.contains("fine"), "{}", listed.stderr);
}

#[test]
fn a_reload_of_a_bad_configuration_keeps_the_old_one() {
    let home = home();
    let mut daemon = home.start();
    home.configure("mode = 7");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("the old configuration stays in force");
    daemon.says("palisade.toml:3");
    append(&home, &attack("198.51.100.7", 1));
    follow(&home);
    finds(&home, 1);
    assert_eq!(daemon.stop(), 0);
}

async fn flip_the_snapshot(database: &Path) {
    let url = format!("sqlite:{}", database.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let state: Vec<u8> = sqlx::query_scalar("SELECT state FROM snapshot").fetch_one(&mut connection).await.unwrap();
    let flipped: Vec<u8> = state.iter().map(|byte| !byte).collect();
    sqlx::query("UPDATE snapshot SET state = ?").bind(flipped).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_checkpoint_is_told_and_reading_goes_on_where_it_was() {
    let home = home();
    append(&home, &attack("198.51.100.7", 1));
    let daemon = home.start();
    finds(&home, 1);
    assert_eq!(daemon.stop(), 0);
    flip_the_snapshot(&home.path("state/palisade.db")).await;
    append(&home, &attack("198.51.100.8", 2));
    let mut daemon = home.start();
    daemon.says("what was counted before the start is lost");
    finds(&home, 2);
    assert_eq!(home.decisions().len(), 2);
    assert_eq!(daemon.stop(), 0);
    let mut daemon = home.start();
    finds(&home, 2);
    let times = daemon.said().matches("what was counted before the start is lost").count();
    assert_eq!(times, 1, "it is whole again");
    assert_eq!(daemon.ended(), None);
}

#[test]
fn a_damaged_database_is_kept_aside_and_a_new_one_started() {
    let home = home();
    append(&home, &(0..500).map(|n| attack("198.51.100.7", n)).collect::<String>());
    let daemon = home.start();
    finds(&home, 500);
    assert_eq!(daemon.stop(), 0);
    let database = fs::File::options().write(true).open(home.path("state/palisade.db")).unwrap();
    let pages = database.metadata().unwrap().len() / 4096;
    for page in 2..pages {
        database.write_all_at(&[0xa5; 2048], page * 4096).unwrap();
    }
    let mut daemon = home.start();
    daemon.says("the database was damaged and is kept aside");
    let kept = fs::read_dir(home.path("state")).unwrap().filter_map(Result::ok);
    assert!(kept.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(".damaged-")));
    append(&home, &attack("198.51.100.8", 501));
    finds(&home, 501);
}

#[test]
fn two_daemons_do_not_share_a_state_directory_or_a_socket() {
    let home = home();
    let first = home.start();
    let second = home.palisade(&["run"]);
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains(&format!("another palisade (process {}) uses ", first.id())), "{}", second.stderr);
    let elsewhere = Home::new();
    let config = format!(
        "state_dir = \"{}\"\nsocket = \"{}\"\n",
        elsewhere.path("state").display(),
        home.path("palisade.sock").display()
    );
    fs::write(elsewhere.path("palisade.toml"), config).unwrap();
    let third = elsewhere.palisade(&["run"]);
    assert_eq!(third.code, 1);
    assert!(third.stderr.contains("another palisade answers on "), "{}", third.stderr);
    assert_eq!(home.json(&["banned"]), serde_json::json!([]), "the first goes on");
    first.kill();
    let again = home.start();
    assert_eq!(again.stop(), 0, "a socket and a lock that a crash left behind are no hindrance");
    assert!(!home.path("palisade.sock").exists());
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    if !namespaces_or_skip("a state directory of another user") {
        return;
    }
    let home = Home::run_by(&["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    home.open_to_others();
    let ran = home.palisade(&["run"]);
    assert_eq!(ran.code, 1);
    let said = format!("cannot use {}", home.path("state").display());
    assert!(ran.stderr.contains(&said) && ran.stderr.contains("state_dir must be a directory"), "{}", ran.stderr);
    let home = Home::new();
    fs::write(home.path("state"), "a file").unwrap();
    let ran = home.palisade(&["run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("state_dir must be a directory"), "{}", ran.stderr);
}

#[test]
fn on_a_full_disk_it_goes_on_says_so_and_records_when_there_is_space() {
    if !namespaces_or_skip("a full state directory") {
        return;
    }
    let home = Home::run_by(&[
        "unshare",
        "--mount",
        "sh",
        "-ec",
        "mkdir -p state && mount -t tmpfs -o size=2m tmpfs state && exec \"$@\"",
        "sh",
    ]);
    follow(&home);
    append(&home, &attack("198.51.100.7", 0));
    let daemon = home.start();
    finds(&home, 1);
    let state = format!("/proc/{}/root{}", daemon.id(), home.path("state").display());
    let filler = Path::new(&state).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    // More than what is left in SQLite's own files.
    let blow = |from: usize| append(&home, &(from..from + 300).map(|n| attack("198.51.100.8", n)).collect::<String>());
    blow(1);
    eventually("it says that the disk is full", || {
        let problems = home.status()["problems"].to_string();
        problems.contains("no space to write").then_some(())
    });
    assert!(home.palisade(&["status"]).stdout.contains("PROBLEM: no space to write"));
    blow(301);
    eventually("it goes on reading", || (home.status()["lines"] == 601).then_some(()));
    fs::remove_file(filler).unwrap();
    finds(&home, 601);
    eventually("all is well", || home.status()["healthy"].as_bool().filter(|healthy| *healthy));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn nobody_has_to_listen_to_the_daemon() {
    let home = home();
    let mut command = home.command(&["run"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let daemon = home.watch(child);
    append(&home, &attack("198.51.100.7", 1));
    eventually("it answers", || home.get("/api/v1/status"));
    finds(&home, 1);
    append(&home, &attack("198.51.100.8", 2));
    finds(&home, 2);
    assert_eq!(daemon.stop(), 0);
}
