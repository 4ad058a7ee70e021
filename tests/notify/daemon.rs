//! The daemon: what is found is told, whatever becomes of the services.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::KEY;
use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::standin::{Answer, Manner, Standin};

fn messages(standin: &Standin) -> Vec<Value> {
    standin.requests().iter().map(|request| request.json()["message"].clone()).collect()
}

fn findings(messages: &[Value]) -> u64 {
    messages.iter().map(|message| message["sums"]["findings"].as_u64().unwrap()).sum()
}

fn write(home: &Home, from: usize, count: usize) {
    append(home, &(from..from + count).map(|n| attack(&format!("198.51.100.{}", n % 40 + 1), n)).collect::<String>());
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

/// A flood, a channel that hangs, a restart in the middle: few messages, each finding counted once, and every
/// record in the file once.
#[test]
fn a_flood_is_few_messages_that_count_everything_over_a_restart_and_beside_one_that_hangs() {
    let (good, bad) = (Standin::start(), Standin::start());
    good.otherwise(|_| Answer::text(204, ""));
    bad.otherwise(|_| Answer::text(200, "").manner(Manner::Hang));
    let home = Home::new();
    let alert = |name: &str, url: &str| {
        format!(
            "[[alert]]\nname = \"{name}\"\nchannel = \"webhook\"\nurl = \"{url}/hook\"\nkey = \"{KEY}\"\ngroup_secs = 3\n\
             repeat_secs = 3\ntimeout_secs = 600\nkinds = [\"finding\", \"ban\", \"start\", \"stop\"]\n"
        )
    };
    let dir = home.dir().display();
    home.configure(&format!(
        "public_url = \"https://palisade.example.com\"\n[[source]]\npath = \"{dir}/access.log\"\nstart = \"beginning\"\n{}{}\
         [[export]]\nname = \"file\"\nvia = \"file\"\nurl = \"file://{dir}/records.ndjson\"\n",
        alert("good", &good.url()),
        alert("bad", &bad.url())
    ));
    fs::write(home.path("access.log"), "").unwrap();
    let daemon = home.start();
    write(&home, 0, 1);
    eventually("the first is told at once", || (findings(&messages(&good)) == 1).then_some(()));
    eventually("the other one hangs", || (!bad.requests().is_empty()).then_some(()));
    let first = messages(&good);
    let told = first.iter().find(|message| message["sums"]["findings"] == 1).unwrap();
    assert!(told["title"].as_str().unwrap().contains("sqli from 198.51.100.1, would be banned"), "{told:#}");
    let case = home.findings()[0]["case_id"].as_str().unwrap().to_owned();
    assert_eq!(told["url"], format!("https://palisade.example.com/case/{case}"));
    write(&home, 1, 400);
    eventually("all is found", || (home.findings().len() == 401).then_some(()));
    assert_eq!(daemon.stop(), 0, "one that hangs keeps nobody");
    let daemon = home.start();
    write(&home, 401, 300);
    eventually("all is found", || (home.findings().len() == 701).then_some(()));
    eventually("and told", || (findings(&messages(&good)) == 701).then_some(()));
    let told = eventually("its counters outlive a restart", || {
        let of_good = home.status()["services"]["alert good"].clone();
        assert_eq!(of_good["undelivered"], 0, "{of_good:#}");
        let told = messages(&good);
        (of_good["sent"] == told.len()).then_some(told)
    });
    assert!(told.len() <= 20, "{} messages", told.len());
    let ids: BTreeSet<&str> = told.iter().map(|message| message["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), told.len(), "none comes twice");
    let texts: String = told.iter().map(|message| message["text"].as_str().unwrap().to_owned() + "\n").collect();
    assert!(texts.contains("palisade started") && texts.contains("palisade stopped"), "{texts}");
    let bans: u64 = told.iter().map(|message| message["sums"]["bans"].as_u64().unwrap()).sum();
    let decided = home.decisions().iter().filter(|one| one["state"] == "active").count() as u64;
    assert_eq!(bans, decided, "each ban once");
    let expected: BTreeSet<String> = home.findings().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let records = || {
        let text = fs::read_to_string(home.path("records.ndjson")).unwrap_or_default();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids = rows.iter().filter(|row| row["event"]["dataset"] == "palisade.finding");
        ids.map(|row| row["event"]["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("every record is in the file", || (records().len() == expected.len()).then_some(()));
    assert_eq!(records().into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_refused_message_stands_in_status_and_an_alert_can_be_tried() {
    let standin = Standin::start();
    standin.otherwise(|_| Answer::text(403, "action_prohibited"));
    let home = Home::new();
    let configure = |url: &str, more: &str| {
        home.configure(&format!(
            "[[source]]\npath = \"access.log\"\nstart = \"beginning\"\n[[alert]]\nname = \"chat\"\nchannel = \"slack\"\ngroup_secs = 1\n\
             url = \"{url}/x\"\n{more}"
        ));
    };
    configure(&standin.url(), "text = \"{nonsense}\"\n");
    let checked = home.palisade(&["config", "check"]);
    let said = checked.stdout + &checked.stderr;
    assert_eq!(checked.code, 78, "{said}");
    assert!(said.contains("alert.text: no field is called \"nonsense\""), "{said}");
    assert_eq!(home.spawn().code(), 78, "nor does the daemon start");
    configure(&standin.url(), "");
    fs::write(home.path("access.log"), attack("198.51.100.7", 1)).unwrap();
    let daemon = home.start();
    let problem = eventually("what is refused stands in status", || {
        let status = home.status();
        status["problems"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .find(|one| one.starts_with("alert chat:"))
            .map(str::to_owned)
    });
    assert!(problem.contains("HTTP 403: action_prohibited"), "{problem}");
    let shown = home.palisade(&["status"]);
    assert_eq!(shown.code, 1);
    assert!(
        shown.stdout.contains("alert chat: 0 messages today, 0 in all; 0 news wait, 1 messages undelivered"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("undelivered ") && shown.stdout.contains("sqli"), "{}", shown.stdout);
    let tried = home.palisade(&["alert", "test"]);
    assert_eq!((tried.code, tried.stdout.trim()), (1, "chat: FAILED: HTTP 403: action_prohibited"));
    // Another server, without a restart.
    let other = Standin::start();
    other.otherwise(|_| Answer::text(200, "ok"));
    configure(&other.url(), "");
    assert_eq!(home.palisade(&["alert", "test", "chat"]).stdout.trim(), "chat: sent");
    assert_eq!(other.requests().len(), 1);
    assert_eq!(home.palisade(&["alert", "test", "nobody"]).code, 1);
    eventually("a changed alert takes over", || {
        home.status()["services"]["configuration"]["problem"].is_null().then_some(())?;
        daemon.said().contains("the configuration and the rules are read again").then_some(())
    });
    append(&home, &attack("198.51.100.8", 2));
    eventually("and delivers", || (other.requests().len() >= 2).then_some(()));
    assert_eq!(daemon.stop(), 0);
}
