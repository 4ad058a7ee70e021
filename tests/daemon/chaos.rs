//! What must not happen when everything is wrong at once: a rule that matches everybody, a model that
//! takes everybody for an attacker, a log that somebody else writes.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use palisade::event::Timestamp;
use serde_json::{Value, json};

use crate::support::daemon::{Home, eventually};
use crate::support::log::{Random, attack, line, line_at};
use crate::support::standin::{Standin, bodies};

/// A rule that matches what visitors ask for.
fn wrong_rule(score: u8) -> String {
    format!(
        "[[rule]]\nid = \"wrong\"\ncategory = \"sqli\"\nscore = {score}\ntarget = [\"path\"]\ndescription = \"a mistake\"\n\
         reference = \"CWE-89\"\npattern = '''/lamps/'''\nattack = [\"/lamps/1\"]\nbenign = [\"/\"]\n"
    )
}

/// Follows `access.log` with a wrong rule; `more` is configuration.
fn home(score: u8, more: &str) -> Home {
    let home = Home::new();
    fs::create_dir(home.path("rules")).unwrap();
    fs::write(home.path("rules/wrong.toml"), wrong_rule(score)).unwrap();
    let path = |name: &str| home.path(name).display().to_string();
    home.configure(&format!(
        "{more}\n[client]\nallow = [\"203.0.113.0/24\"]\n[detect]\nrules_dir = {:?}\n[[source]]\npath = {:?}\n\
         start = \"beginning\"\n",
        path("rules"),
        path("access.log")
    ));
    home
}

fn write(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The decisions in this state.
fn in_state(home: &Home, state: &str) -> Vec<Value> {
    home.decisions().into_iter().filter(|one| one["state"] == state).collect()
}

fn none_is_allowed(decisions: &[Value]) {
    for one in decisions {
        assert!(!one["target"].as_str().unwrap().starts_with("203.0.113."), "an allowed client is blocked: {one}");
    }
}

/// A client of a network of its own.
fn client(n: usize) -> String {
    format!("{}.{}.{}.7", 20 + n / 250 % 60, n % 250, n / 15_000)
}

#[test]
fn a_rule_that_matches_everything_blocks_few_visitors_and_waits_for_a_person() {
    const VISITORS: usize = 40;
    let home = home(10, "");
    // An hour of ordinary life, then the page that the rule takes for an attack.
    let start = Timestamp(Timestamp::now().0 - 1_800_000);
    let visitors: Vec<String> = (0..VISITORS).map(client).chain(["203.0.113.7".to_owned()]).collect();
    let visit = |n: usize| -> String {
        let at = start.plus_secs(n as u64 * 60);
        visitors.iter().map(|from| line_at(at, from, &format!("GET /home/{n}"), 200)).collect()
    };
    write(&home, &(0..12).map(visit).collect::<String>());
    let daemon = home.start();
    write(&home, &visitors.iter().map(|from| line(from, "GET /lamps/1", 200)).collect::<String>());
    eventually("all is decided", || (home.decisions().len() == VISITORS + 1).then_some(()));
    // Whatever comes after a limit was passed is held, whoever it is.
    write(&home, &attack("198.51.100.66", 1));
    eventually("the attacker's too", || (home.decisions().len() == VISITORS + 2).then_some(()));
    let blocked = in_state(&home, "active");
    assert_eq!(blocked.len(), 9, "{blocked:#?}");
    none_is_allowed(&blocked);
    let refused = in_state(&home, "refused");
    assert_eq!((refused.len(), &refused[0]["target"]), (1, &json!("203.0.113.7")));
    assert!(in_state(&home, "held").iter().any(|one| one["target"] == "198.51.100.66"));

    let status = home.status();
    let holding = &status["holding"][0];
    let held = VISITORS - 9 + 1;
    assert_eq!((&holding["reason"], &holding["count"]), (&json!("too_many_served"), &json!(held)), "{status:#}");
    assert!(status["problems"].to_string().contains("palisade release"), "{status:#}");
    assert!(home.palisade(&["status"]).stdout.contains("blocks wait; held: more than 30 %"), "people are told");

    // A restart lets nobody through.
    daemon.kill();
    let daemon = home.start();
    eventually("it holds on", || (home.status()["holding"][0]["reason"] == "too_many_served").then_some(()));
    assert_eq!(in_state(&home, "active").len(), 9);

    let answer = home.json(&["release"]);
    assert_eq!(answer["released"].as_array().unwrap().len(), held, "{answer:#}");
    assert_eq!(in_state(&home, "active").len(), VISITORS + 1);
    none_is_allowed(&in_state(&home, "active"));
    let status = home.status();
    assert_eq!((&status["holding"], &status["problems"]), (&json!([]), &json!([])), "{status:#}");
    assert!(in_state(&home, "active").iter().any(|one| one["note"] == "released by an operator"));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_model_that_takes_everybody_for_an_attacker_blocks_so_many_a_minute() {
    const CLIENTS: usize = 60;
    let model = Standin::start();
    model.otherwise(|request| match request.path.as_str() {
        "/api/tags" => bodies::ollama::tags(&["phi3.5:3.8b"]),
        _ => bodies::ollama::label(&[("mal", 0.9999f64.ln()), ("ben", 0.0001f64.ln())]),
    });
    let tier = format!("[[tier]]\nname = \"local\"\nprovider = \"ollama\"\nurl = \"{}\"\n", model.url());
    let home = home(6, &format!("{tier}[respond]\nmax_blocks_per_min = 10\n"));
    let daemon = home.start();
    let began = Instant::now();
    let ask = |n: usize| line(&client(n), &format!("GET /lamps/{n}?q={n}"), 200);
    write(&home, &((0..CLIENTS).map(ask).collect::<String>() + &line("203.0.113.7", "GET /lamps/1", 200)));
    eventually("the model is believed", || (home.decisions().len() >= CLIENTS).then_some(()));
    let minutes = began.elapsed().as_secs() / 60 + 1;
    let blocked = in_state(&home, "active");
    assert!((10..=10 * minutes as usize).contains(&blocked.len()), "{}", blocked.len());
    none_is_allowed(&blocked);
    let status = home.status();
    assert_eq!(status["holding"][0]["reason"], "too_many", "{status:#}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_flood_of_forged_clients_blocks_so_many_a_minute_and_the_daemon_answers() {
    const FORGED: usize = 100_000;
    let home = home(10, "");
    let mut random = Random::new();
    let forged = |n: usize, random: &mut Random| match random.below(50) {
        0 => attack(&format!("203.0.113.{}", random.below(256)), n),
        1 => attack(["127.0.0.1", "10.0.0.1", "172.67.1.1", "255.255.255.255"][n % 4], n),
        _ => attack(&client(n), n),
    };
    let text: String = (0..FORGED).map(|n| forged(n, &mut random)).collect();
    let daemon = home.start();
    let began = Instant::now();
    write(&home, &text);
    let mut slowest = Duration::ZERO;
    loop {
        let asked = Instant::now();
        let status = home.status();
        slowest = slowest.max(asked.elapsed());
        if status["lines"] == FORGED && status["findings"] == FORGED {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(240), "{status:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let minutes = began.elapsed().as_secs() as usize / 60 + 1;
    eprintln!("{FORGED} forged clients in {:?}, the slowest answer {slowest:?}", began.elapsed());
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    let status = home.status();
    let active = status["active"].as_u64().unwrap() as usize;
    assert!((60..=60 * minutes).contains(&active), "{active} in {minutes} minutes");
    let blocked = home.get("/api/v1/decisions?state=active&limit=100000").unwrap();
    let blocked = blocked.as_array().unwrap();
    none_is_allowed(blocked);
    for one in blocked {
        let target = one["target"].as_str().unwrap();
        assert!(!["127.0.0.1", "10.0.0.1", "172.67.1.1", "255.255.255.255"].contains(&target), "{one}");
    }
    assert_eq!(status["holding"][0]["reason"], "too_many", "{:#}", status["holding"]);
    assert_eq!(status["holding"][0]["count"], 10_000, "memory is bounded");
    assert_eq!(daemon.stop(), 0);
}
