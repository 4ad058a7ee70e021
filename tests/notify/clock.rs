//! A real daemon through days and nights: Debian's libfaketime moves its clock.

use std::fs;
use std::io::Write;
use std::time::Instant;

use palisade::event::Timestamp;
use serde_json::Value;

use super::{KEY, faketime_or_skip};
use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line_at};
use crate::support::standin::{Answer, Standin};

/// 2026-01-10 12:00 UTC, a Saturday.
const NOON: Timestamp = Timestamp(1_768_046_400_000);
const HOUR: u64 = 3600;

/// One that is bad and not critical.
const RULE: &str = r#"
[[rule]]
id = "export"
category = "sensitive_file"
score = 7
description = "An export that no page links to."
reference = "CWE-538"
target = ["path"]
pattern = '^/debug-export/'
attack = ["/debug-export/orders.sql"]
benign = ["/export/orders.csv"]
"#;

#[derive(Clone, Copy, PartialEq)]
enum How {
    Bad,
    Critical,
}

struct World {
    home: Home,
    standin: Standin,
    now: Timestamp,
    clients: u32,
}

impl World {
    fn new(library: &str) -> World {
        let standin = Standin::start();
        standin.otherwise(|_| Answer::text(204, ""));
        let mut home = Home::new();
        let (dir, url) = (home.dir().display().to_string(), standin.url());
        let alert = |name: &str, more: &str| {
            format!(
                "[[alert]]\nname = \"{name}\"\nchannel = \"webhook\"\nurl = \"{url}/{name}\"\nkey = \"{KEY}\"\n\
                 group_secs = 1\nrepeat_secs = 1\n{more}\n"
            )
        };
        home.configure(&format!(
            "timezone = \"UTC\"\n[[source]]\npath = \"{dir}/access.log\"\nstart = \"beginning\"\n{}{}{}{}{}",
            alert("night", "kinds = [\"finding\"]\nquiet_hours = \"22:00-07:00\""),
            alert("capped", "kinds = [\"finding\"]\ndaily_cap = 2"),
            alert("figures", "kinds = [\"daily\", \"weekly\"]"),
            alert("health", "kinds = [\"start\", \"stop\", \"degraded\", \"recovered\"]"),
            alert("broken", "kinds = [\"finding\"]"),
        ));
        fs::create_dir(home.path("rules.d")).unwrap();
        fs::write(home.path("rules.d/own.toml"), RULE).unwrap();
        fs::write(home.path("access.log"), "").unwrap();
        for (name, value) in [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", &format!("{dir}/clock")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ] {
            home.set(name, value);
        }
        let mut world = World { home, standin, now: NOON, clients: 0 };
        world.at(0);
        world
    }

    /// Now it is so many seconds after that noon.
    fn at(&mut self, secs: u64) {
        self.now = NOON.plus_secs(secs);
        let offset = (self.now.0 - Timestamp::now().0).div_euclid(1000);
        // In one piece: it is read at each look at the clock.
        fs::write(self.home.path("clock.new"), format!("{offset:+}\n")).unwrap();
        fs::rename(self.home.path("clock.new"), self.home.path("clock")).unwrap();
    }

    /// Time passes until `done`, five times as fast as ours: what the daemon reads every few seconds must not
    /// seem old to it.
    fn pass_until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let (from, began) = ((self.now.0 - NOON.0) as u64 / 1000, Instant::now());
        eventually(what, || {
            self.at(from + began.elapsed().as_secs() * 5);
            done(self).then_some(())
        });
    }

    /// Somebody new does something.
    fn find(&mut self, how: How) {
        self.clients += 1;
        let client = format!("203.0.113.{}", self.clients);
        let request = match how {
            How::Bad => "GET /debug-export/orders.sql",
            How::Critical => "GET /products?id=1%27%20UNION%20SELECT%20password%20FROM%20users--%20-",
        };
        let mut file = fs::File::options().append(true).open(self.home.path("access.log")).unwrap();
        file.write_all(line_at(self.now, &client, request, 200).as_bytes()).unwrap();
    }

    fn told(&self, alert: &str) -> Vec<Value> {
        let path = format!("/{alert}");
        let requests = self.standin.requests().into_iter().filter(|request| request.path == path);
        requests.map(|request| request.json()["message"].clone()).collect()
    }

    /// So many messages say `text`.
    fn told_of(&self, alert: &str, text: &str) -> usize {
        self.told(alert).iter().filter(|one| one["text"].as_str().unwrap().contains(text)).count()
    }

    /// Whether all is well, as it was told last.
    fn last_of_health(&self) -> Option<bool> {
        let is_well = |one: &Value| {
            let title = one["title"].as_str().unwrap();
            title.ends_with("all is well again").then_some(true).or(title.ends_with("is wrong").then_some(false))
        };
        self.told("health").iter().rev().find_map(is_well)
    }

    /// Message number `count` comes, of so many findings, and no other.
    fn comes(&self, alert: &str, count: usize, findings: u64) -> Value {
        let told = eventually(&format!("message {count} of {alert}"), || {
            Some(self.told(alert)).filter(|told| told.len() >= count)
        });
        assert_eq!((told.len(), &told[count - 1]["sums"]["findings"]), (count, &findings.into()), "{alert}: {told:#?}");
        told[count - 1].clone()
    }

    /// So many findings wait to be told.
    fn wait(&self, alert: &str, count: u64) {
        eventually(&format!("{count} wait for {alert}"), || {
            (self.home.status()["services"][format!("alert {alert}")]["waiting"] == count).then_some(())
        });
    }
}

#[test]
fn through_nights_and_days_people_hear_what_they_asked_for() {
    let Some(library) = faketime_or_skip("the test of days and nights") else { return };
    let mut world = World::new(&library);
    world.standin.otherwise(|request| match request.path.as_str() {
        "/broken" => Answer::text(403, "no_service"),
        _ => Answer::text(204, ""),
    });
    let daemon = world.home.start();
    for n in 1..=2 {
        world.at(n * 600);
        world.find(How::Bad);
        world.comes("night", n as usize, 1);
        let told = world.comes("capped", n as usize, 1);
        assert_eq!(told["severity"], "high", "{told:#}");
        assert_eq!(told["text"].as_str().unwrap().contains("This is message 2 of at most 2 today"), n == 2, "{told:#}");
    }
    world.at(1800);
    world.find(How::Bad);
    world.comes("night", 3, 1);
    world.wait("capped", 1);
    world.at(2400);
    world.find(How::Critical);
    world.comes("night", 4, 1);
    assert_eq!(world.comes("capped", 3, 2)["severity"], "critical", "the worst comes, and counts what waited");

    world.at(10 * HOUR + 1800);
    world.find(How::Bad);
    world.wait("night", 1);
    world.wait("capped", 1);
    world.at(11 * HOUR);
    world.find(How::Critical);
    world.comes("night", 5, 2);
    world.comes("capped", 4, 2);
    world.at(11 * HOUR + 1200);
    world.find(How::Bad);
    world.wait("night", 1);
    world.wait("capped", 1);

    // All of that is kept over a restart; the day changes meanwhile.
    assert_eq!(daemon.stop(), 0);
    world.at(12 * HOUR + 10);
    let daemon = world.home.start();
    let day = world.comes("figures", 1, 0);
    assert!(day["title"].as_str().unwrap().ends_with(": the last day in figures"), "{day:#}");
    let text = day["text"].as_str().unwrap();
    assert!(text.starts_with("From 2026-01-10T00:00:00.000Z to 2026-01-11T00:00:00.000Z."), "{text}");
    assert!(text.contains("\nFindings: 7, before that 0") && text.contains("sensitive_file (5), sqli (2)"), "{text}");
    world.comes("capped", 5, 1);
    world.wait("night", 1);
    world.at(19 * HOUR + 10);
    world.comes("night", 6, 1);

    // Sunday is over: the week is told in place of the day.
    world.at(36 * HOUR + 10);
    let week = world.comes("figures", 2, 0);
    assert!(week["title"].as_str().unwrap().ends_with(": the last week in figures"), "{week:#}");
    let text = week["text"].as_str().unwrap();
    assert!(text.starts_with("From 2026-01-05T00:00:00.000Z to 2026-01-12T00:00:00.000Z."), "{text}");
    assert!(text.contains("\nFindings: 7,"), "{text}");

    // The one that is broken is news for the others when that lasts, and so is that it is well again.
    world.find(How::Bad);
    eventually("what is broken is known", || {
        world.home.status()["problems"].to_string().contains("alert broken").then_some(())
    });
    world.pass_until("what is wrong is told", |world| world.last_of_health() == Some(false));
    assert!(world.told_of("health", "alert broken: a message could not be delivered") > 0);
    world.standin.otherwise(|_| Answer::text(204, ""));
    world.find(How::Bad);
    world.pass_until("what is right again is told", |world| world.last_of_health() == Some(true));
    let health = |text: &str| world.told_of("health", text);
    assert_eq!((health("palisade started"), health("palisade stopped")), (2, 1));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_the_gate_holds_back_is_told_with_the_way_to_release_it() {
    let standin = Standin::start();
    standin.otherwise(|_| Answer::text(204, ""));
    let home = Home::new();
    let (dir, url) = (home.dir().display(), standin.url());
    home.configure(&format!(
        "public_url = \"https://palisade.example.com/\"\n[respond]\nmax_blocks_per_min = 2\n[[source]]\n\
         path = \"{dir}/access.log\"\nstart = \"beginning\"\n[[alert]]\nname = \"ops\"\nchannel = \"webhook\"\n\
         url = \"{url}/x\"\nkey = \"{KEY}\"\nkinds = [\"held\", \"ban\"]\ngroup_secs = 1\n"
    ));
    let lines: String = (1..=5).map(|n| attack(&format!("203.0.113.{n}"), n)).collect();
    fs::write(home.path("access.log"), lines).unwrap();
    let daemon = home.start();
    let told = eventually("bans and what is held are told", || {
        let told: Vec<Value> = standin.requests().iter().map(|request| request.json()["message"].clone()).collect();
        let sum = |what: &str| told.iter().map(|one| one["sums"][what].as_u64().unwrap()).sum::<u64>();
        (sum("bans") == 2 && sum("held") == 3).then_some(told)
    });
    let said: String = told.iter().map(|one| format!("{}\n{}\n", one["title"], one["text"])).collect();
    assert!(said.contains("held back"), "{said}");
    let cases: Vec<String> = home.findings().iter().map(|row| row["case_id"].as_str().unwrap().to_owned()).collect();
    for one in &told {
        let case = one["url"].as_str().unwrap().strip_prefix("https://palisade.example.com/case/").unwrap();
        assert!(cases.iter().any(|known| known == case), "{case} of {cases:?}");
    }
    assert_eq!(daemon.stop(), 0);
}
