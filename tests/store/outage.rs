//! Postgres is away, or not as it should be: everything goes on here, and goes there later.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Far, append, configure, home, is_the_same};
use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::postgres::{self, Server, postgres_or_skip};

fn attacks(from: usize, to: usize) -> String {
    (from..to).map(|n| attack(&format!("198.51.100.{}", n % 20), n)).collect()
}

fn service(home: &Home) -> Value {
    home.status()["services"]["postgres"].clone()
}

#[test]
fn what_is_recorded_is_in_postgres_a_moment_later() {
    let Some(server) = postgres::shared("what is recorded is in Postgres") else { return };
    let (far, url) = Far::new(server);
    let home = home(&url, "");
    append(&home, &attacks(0, 50));
    let daemon = home.start();
    is_the_same(&home, &far, 50, Duration::from_secs(30));
    let mut slowest = Duration::ZERO;
    for n in 50..60 {
        append(&home, &attacks(n, n + 1));
        eventually("it is recorded", || (home.findings().len() > n).then_some(()));
        let recorded = Instant::now();
        eventually("it is sent", || (far.findings().len() > n).then_some(()));
        slowest = slowest.max(recorded.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    eprintln!("the slowest was sent after {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    home.json(&["unban", "198.51.100.7"]);
    is_the_same(&home, &far, 60, Duration::from_secs(30));
    eventually("nothing waits", || (service(&home)["waiting"] == 0).then_some(()));
    let status = home.palisade(&["status"]);
    assert!(status.code == 0 && status.stdout.contains("postgres: well, 0 changes wait"), "{}", status.stdout);
    assert_eq!(daemon.stop(), 0);
    // Another start sends nothing twice, and nothing is lost.
    let _daemon = home.start();
    append(&home, &attacks(60, 61));
    is_the_same(&home, &far, 61, Duration::from_secs(30));
}

#[test]
fn while_postgres_is_down_all_is_kept_and_sent_afterwards() {
    if !postgres_or_skip("Postgres goes down") {
        return;
    }
    let mut server = Server::start();
    let (_, url) = Far::new(&server);
    let database = url.rsplit('/').next().unwrap().to_owned();
    let home = home(&url, "");
    append(&home, &attacks(0, 20));
    let mut daemon = home.start();
    eventually("the first are there", || {
        (Far { server: &server, database: database.clone() }.findings().len() == 20).then_some(())
    });
    server.stop();
    let began = Instant::now();
    for n in 1..10 {
        append(&home, &attacks(n * 20, n * 20 + 20));
        std::thread::sleep(Duration::from_millis(200));
    }
    eventually("all are recorded here", || (home.findings().len() == 200).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for Postgres");
    let away = eventually("it is told", || Some(service(&home)).filter(|said| said["healthy"] == false));
    assert!(away["last_error"].as_str().unwrap().contains("Postgres at 127.0.0.1"), "{away}");
    eventually("what waits is counted", || (service(&home)["waiting"].as_u64() >= Some(180)).then_some(()));
    assert!(home.palisade(&["status"]).stdout.contains("postgres: away"));
    // A daemon that starts meanwhile starts all the same.
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.code(), 0);
    let daemon = home.start();
    server.start_again();
    let far = Far { server: &server, database };
    is_the_same(&home, &far, 200, Duration::from_secs(60));
    let well = eventually("it is well", || Some(service(&home)).filter(|said| said["healthy"] == true));
    assert_eq!((&well["dropped"], &well["waiting"], &well["problem"]), (&0.into(), &0.into(), &Value::Null));
    assert_eq!(daemon.said().matches("is kept here and sent when that is over").count(), 2, "told once each");
}

#[test]
fn whatever_is_wrong_with_postgres_is_told_and_the_daemon_goes_on() {
    let Some(server) = postgres::shared("what is wrong with Postgres") else { return };
    let (far, url) = Far::new(server);
    server.sql("postgres", "CREATE ROLE nobody_special LOGIN PASSWORD 'x'");
    server.sql(
        "postgres",
        "CREATE ROLE reader LOGIN PASSWORD 'x'; ALTER ROLE reader SET default_transaction_read_only = on",
    );
    let name = far.database.clone();
    server.sql("postgres", &format!("GRANT ALL ON DATABASE {name} TO reader"));
    let newer = Far::new(server);
    let home = home(&newer.1, "");
    let daemon = home.start();
    eventually("it has its schema", || newer.0.sql("SELECT 1 FROM palisade.agents").ok());
    assert_eq!(daemon.stop(), 0);
    newer.0.sql("UPDATE palisade.migrations SET version = 4711 WHERE version = 1").unwrap();
    let wrong_password = url.replace("pa%20ss%3Aw%40rd", "wrong");
    let missing = url.replace(&name, "no_such_database");
    let nobody = server.url_for("nobody_special", "x", &name);
    let reader = server.url_for("reader", "x", &name);
    let nowhere = "postgres://a:b@127.0.0.1:1/d".to_owned();
    for (url, word, is_problem) in [
        (wrong_password, "password authentication failed", true),
        (missing, "CREATE DATABASE", true),
        (nobody, "permission", true),
        (newer.1.clone(), "newer", true),
        (reader, "takes no changes", false),
        (nowhere, "Postgres at 127.0.0.1:1", false),
    ] {
        let home = Home::new();
        configure(&home, &url, "");
        append(&home, &attacks(0, 5));
        let mut daemon = home.start();
        eventually("all are recorded here", || (home.findings().len() == 5).then_some(()));
        let said = eventually(word, || Some(service(&home)).filter(|said| said["last_error"].is_string()));
        let error = said["last_error"].as_str().unwrap();
        assert!(error.contains(word) && !error.contains("pa ss"), "{word}: {error}");
        assert_eq!(said["problem"].is_string(), is_problem, "{error}");
        let status = home.palisade(&["status"]);
        assert_eq!(status.code, i32::from(is_problem), "{}", status.stdout);
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(daemon.ended(), None);
        let said = daemon.said();
        assert_eq!(said.matches("is kept here and sent when that is over").count(), 1, "{said}");
        assert!(!said.contains("wrong@") && !said.contains("pa%20ss"), "no password is told: {said}");
        assert_eq!(daemon.stop(), 0);
    }
}
