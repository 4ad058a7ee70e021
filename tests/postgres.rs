//! Palisade with a real Postgres.

use crate::support::daemon::Home;
use crate::support::postgres::{Server, postgres_or_skip, shared};

/// A home whose database is at `url`, which no file holds.
fn home(url: &str) -> Home {
    let mut home = Home::new();
    home.set("PALISADE__STORE__DATABASE_URL", url);
    home
}

#[test]
fn migrate_tells_what_is_missing_and_applies_it() {
    let Some(server) = shared("palisade migrate") else { return };
    let home = home(&server.database());
    let missing = home.palisade(&["migrate", "--check"]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
    for line in ["local: 1 (record) is missing", "postgres: 1 (history) is missing"] {
        assert!(missing.stdout.contains(line), "{}", missing.stdout);
    }
    let doctor = home.palisade(&["doctor"]);
    assert!(doctor.stdout.contains("migrations are pending"), "{}", doctor.stdout);
    let applied = home.palisade(&["migrate"]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert!(applied.stdout.contains("postgres: 1 (history) applied"), "{}", applied.stdout);
    for arguments in [&["migrate"][..], &["migrate", "--check"]] {
        let done = home.palisade(arguments);
        assert!(done.code == 0 && done.stdout.contains("postgres: up to date"), "{}", done.stdout);
        assert!(done.stdout.contains("local: up to date"), "{}", done.stdout);
    }
    let doctor = home.palisade(&["doctor"]);
    assert!(doctor.stdout.contains("ok       postgres: ") && doctor.stdout.contains("up to date"), "{}", doctor.stdout);
}

#[test]
fn what_is_wrong_with_the_database_is_said_without_its_password() {
    if !postgres_or_skip("wrong databases") {
        return;
    }
    let mut server = Server::start();
    for (url, expected) in [
        (server.url_for("postgres", "hunter2", "postgres"), "does not take the user and password"),
        ("postgres://a:hunter2@127.0.0.1:1/d".into(), "cannot be reached"),
    ] {
        for verb in ["migrate", "doctor"] {
            let ran = home(&url).palisade(&[verb]);
            let said = ran.stdout + &ran.stderr;
            assert!(ran.code == 1 && said.contains(expected) && !said.contains("hunter2"), "{verb}: {said}");
        }
    }
    let no_url = home("mysql://a:hunter2@h/d").palisade(&["migrate"]);
    assert!(no_url.code == 78 && no_url.stderr.contains("store.database_url"), "{}", no_url.stderr);
    assert!(!no_url.stderr.contains("hunter2"), "{}", no_url.stderr);
    server.stop();
}
