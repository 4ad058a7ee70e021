//! The clock is set back, and forward again, while the daemon runs.

use std::fs;
use std::io::Write;
use std::time::Duration;

use palisade::event::Timestamp;

use super::{Far, append, home, is_the_same};
use crate::support::daemon::eventually;
use crate::support::log::line_at;
use crate::support::postgres;

/// The library that shows a program another time; none, when it is not installed: says so on the real stderr, or
/// fails where all servers are required.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
fn faketime_or_skip() -> Option<String> {
    let found = glob::glob("/usr/lib/*/faketime/libfaketime.so.1").unwrap().flatten().next();
    if found.is_none() {
        let required = std::env::var("PALISADE_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
        assert!(!required, "libfaketime is required, but not there");
        let _ = writeln!(std::io::stderr(), "SKIPPED: a clock that is set back needs libfaketime");
    }
    found.map(|path| path.display().to_string())
}

#[test]
fn a_clock_that_is_set_back_and_forward_again_loses_nothing_doubles_nothing_and_lets_nobody_go() {
    let Some(library) = faketime_or_skip() else { return };
    let Some(server) = postgres::shared("the clock is set back") else { return };
    let (far, url) = Far::new(server);
    let mut home = home(&url, "");
    let clock = home.path("clock");
    let set = |hours: i64| fs::write(&clock, format!("{hours:+}h")).unwrap();
    set(0);
    home.set("LD_PRELOAD", library);
    home.set("FAKETIME_TIMESTAMP_FILE", clock.display().to_string());
    home.set("FAKETIME_NO_CACHE", "1");
    home.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let daemon = home.start();
    for (stage, hours) in [0, -2, 0].into_iter().enumerate() {
        set(hours);
        let now = Timestamp(Timestamp::now().0 + hours * 3_600_000);
        // Ten new attackers, and five that are shut out already.
        for n in (stage * 10).saturating_sub(5)..stage * 10 + 10 {
            let request =
                format!("GET /products?n={stage}-{n}&id=1%27%20UNION%20SELECT%20password%20FROM%20users--%20-");
            append(&home, &line_at(now, &format!("198.51.100.{n}"), &request, 200));
        }
        let count = 10 + 15 * stage;
        eventually("all are found", || (home.findings().len() == count).then_some(()));
        is_the_same(&home, &far, count, Duration::from_secs(30));
    }
    let recorded = far.number("SELECT count(*) FROM palisade.findings WHERE recorded_at < now() - interval '1 hour'");
    assert_eq!(recorded, 15, "the daemon's clock was another");
    let decisions = home.decisions();
    let mut targets: Vec<String> = decisions.iter().map(|one| one["target"].to_string()).collect();
    targets.sort();
    targets.dedup();
    assert_eq!((decisions.len(), targets.len()), (30, 30), "each is shut out once");
    assert!(decisions.iter().all(|one| one["state"] == "active"), "{decisions:#?}");
    assert_eq!(home.status()["healthy"], true, "{}", home.status()["problems"]);
    assert_eq!(daemon.stop(), 0);
}
