//! The local database is damaged while bans are in force: nobody is let go.

use std::fs;
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use super::Far;
use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::{Namespace, namespaces_or_skip, postgres};

const ATTACKERS: [&str; 3] = ["198.51.100.66", "198.51.100.67", "2001:db8:bad:66::66"];

fn configure(home: &Home, url: &str) {
    home.configure(&format!(
        "mode = \"enforce\"\nagent = \"web-1\"\n[store]\ndatabase_url = \"{url}\"\n[[source]]\npath = \"{}\"\nstart = \"beginning\"\n",
        home.path("access.log").display()
    ));
}

fn append(home: &Home, text: &str) {
    use std::io::Write;
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn banned(home: &Home) -> Vec<String> {
    let mut targets: Vec<String> = home
        .json(&["banned"])
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| ban["target"].as_str().unwrap().to_owned())
        .collect();
    targets.sort();
    targets
}

fn kernel_holds(namespace: &Namespace) -> usize {
    let said = namespace.output("nft list table inet palisade");
    ["198.51.100.66", "198.51.100.67", "2001:db8:bad:66::", "192.0.2.99"]
        .iter()
        .filter(|target| said.contains(**target))
        .count()
}

/// A daemon that has banned; the log that led to it is gone when the next one starts.
fn banned_and_stopped(namespace: &Namespace, url: &str, before_it_stops: impl FnOnce()) -> Home {
    let home = Home::inside(namespace);
    configure(&home, url);
    append(&home, &ATTACKERS.iter().enumerate().map(|(n, from)| attack(from, n)).collect::<String>());
    let daemon = home.start();
    eventually("all are banned", || (banned(&home).len() == 3).then_some(()));
    home.json(&["ban", "192.0.2.99", "--reason", "by hand"]);
    home.json(&["allow", "add", "192.0.2.0/28", "--note", "office"]);
    assert_eq!(kernel_holds(namespace), 4);
    before_it_stops();
    assert_eq!(daemon.stop(), 0);
    // What is read again would ban again.
    fs::write(home.path("access.log"), "").unwrap();
    home
}

/// Nobody was let go, also after everything was read again, and it is told.
fn nobody_is_let_go(home: &Home, namespace: &Namespace, before: &[String]) -> Vec<Value> {
    let mut daemon = home.start();
    daemon.says("the database was damaged and is kept aside");
    eventually("they are banned", || (banned(home) == before).then_some(()));
    append(home, &attack("203.0.113.66", 99));
    eventually("all is read", || (banned(home).len() == 5).then_some(()));
    // The firewall is compared with what was decided when all is read, and then every minute.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(kernel_holds(namespace), 4, "{}", namespace.output("nft list table inet palisade"));
    let status = home.status();
    assert!(status["services"]["database"]["problem"].as_str().unwrap().contains("kept aside"), "{status:#}");
    assert_eq!(home.palisade(&["status"]).code, 1);
    let decisions = home.decisions();
    assert_eq!(daemon.stop(), 0);
    // It is told once.
    let daemon = home.start();
    assert_eq!(banned(home).len(), 5);
    assert_eq!(home.status()["services"]["database"], Value::Null);
    assert_eq!(daemon.said().matches("was damaged and is kept aside").count(), 1);
    decisions
}

#[test]
fn with_nothing_but_the_firewall_nobody_is_let_go() {
    if !namespaces_or_skip("a damaged database, and the firewall") {
        return;
    }
    let namespace = Namespace::new();
    let home = banned_and_stopped(&namespace, "", || {});
    let before = ["192.0.2.99", "198.51.100.66", "198.51.100.67", "2001:db8:bad:66::/64"].map(str::to_owned);
    fs::write(home.path("state/palisade.db"), "no database ".repeat(2000)).unwrap();
    let decisions = nobody_is_let_go(&home, &namespace, &before);
    let reasons = decisions.iter().filter(|one| one["reason"].as_str().unwrap().contains("was held by the firewall"));
    assert_eq!(reasons.count(), 4, "{decisions:#?}");
}

#[test]
fn what_the_damaged_database_still_says_is_taken_up_too() {
    if !namespaces_or_skip("a damaged database that can be read in part") {
        return;
    }
    let namespace = Namespace::new();
    let home = banned_and_stopped(&namespace, "", || {});
    let before = banned_before();
    // The page of the outbox's first rows, which is where a table's are that was made late.
    damage_table(&home, "outbox");
    let decisions = nobody_is_let_go(&home, &namespace, &before);
    assert!(decisions.iter().any(|one| one["reason"] == "by hand"), "{decisions:#?}");
}

fn banned_before() -> [String; 4] {
    ["192.0.2.99", "198.51.100.66", "198.51.100.67", "2001:db8:bad:66::/64"].map(str::to_owned)
}

/// Overwrites a table's first page.
fn damage_table(home: &Home, table: &str) {
    let path = home.path("state/palisade.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let page: i64 = runtime.block_on(async {
        use sqlx::Connection;
        let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        let query = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = ?").bind(table);
        let page = query.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        page
    });
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0xa5; 4096], (page as u64 - 1) * 4096).unwrap();
}

#[test]
fn with_postgres_decisions_are_what_they_were() {
    if !namespaces_or_skip("a damaged database, and Postgres") {
        return;
    }
    if !postgres::postgres_or_skip("a damaged database, and Postgres") {
        return;
    }
    let namespace = Namespace::new();
    let server = postgres::Server::start_in(&namespace.command(&[]), "127.0.0.1", "");
    let (far, url) = Far::new(&server);
    let home = banned_and_stopped(&namespace, &url, || {
        let allowed = || far.number("SELECT count(*) FROM palisade.allow");
        eventually("all is sent", || (far.decisions().len() == 4 && allowed() == 1).then_some(()));
    });
    fs::write(home.path("state/palisade.db"), "no database ".repeat(2000)).unwrap();
    let decisions = nobody_is_let_go(&home, &namespace, &banned_before());
    let by = |reason: &str| decisions.iter().filter(|one| one["reason"].as_str().unwrap().contains(reason)).count();
    assert_eq!((by("by hand"), by("was held by the firewall")), (1, 0), "{decisions:#?}");
    let sqli = decisions.iter().find(|one| one["target"] == "198.51.100.66").unwrap();
    assert_eq!((&sqli["category"], &sqli["state"]), (&json!("sqli"), &json!("active")));
    // The new database's changes are newer than the old one's: they arrive.
    let daemon = home.start();
    let allowed = home.json(&["allow", "list"]);
    let allowed = allowed.as_array().unwrap().iter().map(|one| (one["network"].clone(), one["note"].clone()));
    assert_eq!(allowed.collect::<Vec<_>>(), [(json!("192.0.2.0/28"), json!("office"))]);
    home.json(&["unban", "198.51.100.66"]);
    let id = sqli["id"].as_str().unwrap();
    eventually("it is known there", || far.decisions().get(id)?.starts_with("lifted").then_some(()));
    assert_eq!(daemon.stop(), 0);
}
