//! Killed again and again: the daemon, Postgres, both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Far, append, home, is_the_same};
use crate::support::daemon::{Home, eventually};
use crate::support::log::{Random, attack, line};
use crate::support::postgres::{self, Server, postgres_or_skip};

/// So long each story goes on; hours, for who wants to know.
#[expect(clippy::disallowed_methods, reason = "who runs the tests may ask for more")]
fn duration() -> Duration {
    let secs = std::env::var("PALISADE_CHAOS_SECS").ok().and_then(|secs| secs.parse().ok());
    Duration::from_secs(secs.unwrap_or(12))
}

/// Sets it when dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes a log until `meanwhile` is over; gives how many lines of it are findings.
fn while_a_log_grows(home: &Home, meanwhile: impl FnOnce(&mut Random)) -> usize {
    let stop = AtomicBool::new(false);
    let mut random = Random::new();
    let mut other = Random(random.below(u64::MAX));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut text = String::new();
                for _ in 0..other.below(40) {
                    text += &match other.below(3) {
                        // Nobody asks so often that it counts.
                        0 => line(&format!("203.0.113.{}", other.below(250)), "GET /lamps?page=2", 200),
                        _ => {
                            n += 1;
                            attack(&format!("198.51.100.{}", other.below(60)), n)
                        }
                    };
                }
                append(home, &text);
                other.pause(40);
            }
            n
        });
        // Also when an assertion fails here: the scope waits for the writer.
        let stops = Stopping(&stop);
        meanwhile(&mut random);
        drop(stops);
        writing.join().unwrap()
    })
}

#[test]
fn the_daemon_is_killed_every_second_and_everything_is_in_both_stores_once() {
    let Some(server) = postgres::shared("the daemon is killed every second") else { return };
    let (far, url) = Far::new(server);
    let home = home(&url, "");
    append(&home, &attack("198.51.100.1", 0));
    let daemon = home.start();
    eventually("the first finding", || home.findings().pop());
    daemon.kill();
    let count = while_a_log_grows(&home, |random| {
        let began = Instant::now();
        while began.elapsed() < duration() {
            let daemon = home.spawn();
            random.pause(2000);
            daemon.kill();
        }
    });
    let _daemon = home.start();
    is_the_same(&home, &far, count + 1, Duration::from_secs(60));
    let local = "SELECT count(*) FROM palisade.decision_changes";
    assert!(far.number(local) >= 60, "{}", far.number(local));
}

#[test]
fn postgres_is_killed_again_and_again_and_nothing_is_lost_or_double() {
    if !postgres_or_skip("Postgres is killed") {
        return;
    }
    let mut server = Server::start();
    let url = server.database();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let home = home(&url, "");
    append(&home, &attack("198.51.100.1", 0));
    let _daemon = home.start();
    let mut kills = 0;
    let count = while_a_log_grows(&home, |random| {
        let began = Instant::now();
        while began.elapsed() < duration() {
            random.pause(1500);
            server.kill();
            kills += 1;
            random.pause(300);
            server.start_again();
        }
    });
    eprintln!("{kills} kills, {count} findings");
    is_the_same(&home, &Far { server: &server, database }, count + 1, Duration::from_secs(60));
}
