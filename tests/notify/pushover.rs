//! Emergencies by Pushover: repeated until somebody acknowledges them, and asked after by their receipts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};

use palisade::event::{Severity, Timestamp};
use palisade::notify::{AlertConfig, Message, Standing, open};
use serde_json::{Value, json};

use super::{alert, faketime_or_skip, message, secret};
use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::standin::{Answer, Request, Standin};

const TOKEN: &str = "azGDORePK8gMaC0QOYAMyEEuzJnyUi";
const USER: &str = "uQiRzpo4DXghDmr9QzzfQu27cmVRsG";

/// Answers as Pushover's own description of its messages and receipts has it.
struct Pushover {
    standin: Standin,
    /// What is said of each receipt.
    receipts: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Pushover {
    fn start() -> Pushover {
        let (standin, receipts) = (Standin::start(), Arc::<Mutex<BTreeMap<String, Value>>>::default());
        let known = receipts.clone();
        standin.otherwise(move |request| answer(&mut known.lock().unwrap(), request));
        Pushover { standin, receipts }
    }

    fn config(&self) -> AlertConfig {
        let url = format!("{}/1/messages.json", self.standin.url());
        AlertConfig { key: secret(TOKEN), to: vec![USER.into()], ..alert("pushover", &url) }
    }

    fn set(&self, receipt: &str, members: &Value) {
        let mut receipts = self.receipts.lock().unwrap();
        let known = receipts.get_mut(receipt).unwrap().as_object_mut().unwrap();
        known.extend(members.as_object().unwrap().clone());
    }

    fn asked(&self, path: &str) -> usize {
        self.standin.requests().iter().filter(|request| request.path.starts_with(path)).count()
    }
}

fn answer(receipts: &mut BTreeMap<String, Value>, request: &Request) -> Answer {
    let refused = |status, why: &str| {
        Answer::json(
            status,
            &json!({ "status": 0, "errors": [why], "request": "5042853c-402d-4a18-abcb-168734a801de" }),
        )
    };
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if query != format!("token={TOKEN}") && body["token"] != TOKEN {
        return refused(400, "application token is invalid");
    }
    if (request.method.as_str(), path) == ("POST", "/1/messages.json") {
        let mut said = json!({ "status": 1, "request": "647d2300-702c-4b38-8b2f-d56326ae460b" });
        if body["priority"] == 2 {
            if !(body["retry"].as_u64() >= Some(30) && body["expire"].as_u64().is_some_and(|secs| secs <= 10_800)) {
                return refused(400, "retry and expire are needed for an emergency");
            }
            let receipt = format!("r{:029}", receipts.len());
            said["receipt"] = json!(receipt);
            let standing = json!({
                "status": 1, "acknowledged": 0, "acknowledged_at": 0, "acknowledged_by": "",
                "acknowledged_by_device": "", "last_delivered_at": 0, "expired": 0, "expires_at": 1_767_574_800,
                "called_back": 0, "called_back_at": 0, "request": "647d2300-702c-4b38-8b2f-d56326ae460b",
            });
            receipts.insert(receipt, standing);
        }
        return Answer::json(200, &said);
    }
    let Some(rest) = path.strip_prefix("/1/receipts/") else { return refused(404, "no such path") };
    let (receipt, cancels) = match rest.strip_suffix("/cancel.json") {
        Some(receipt) => (receipt, true),
        None => (rest.strip_suffix(".json").unwrap_or_default(), false),
    };
    let Some(known) = receipts.get_mut(receipt) else { return refused(404, "receipt not found") };
    match (request.method.as_str(), cancels) {
        ("POST", true) => {
            known["expired"] = json!(1);
            Answer::json(200, &json!({ "status": 1, "request": "647d2300-702c-4b38-8b2f-d56326ae460b" }))
        }
        ("GET", false) => Answer::json(200, known),
        _ => refused(405, "method not allowed"),
    }
}

#[tokio::test]
async fn a_receipt_tells_who_acknowledged_an_emergency() {
    let pushover = Pushover::start();
    let channel = open(&pushover.config()).unwrap();
    let calm = Message { severity: Severity::High, ..message() };
    assert_eq!(channel.deliver(&calm).await.unwrap(), None, "what is not repeated has no receipt");
    let long = Message { text: "a line of a long story\n".repeat(200), ..message() };
    let receipt = channel.deliver(&long).await.unwrap().unwrap();
    assert_eq!(pushover.receipts.lock().unwrap().len(), 1, "in however many parts, it is one emergency");
    assert_eq!(channel.ask_after(&receipt).await.unwrap(), Standing::Repeats);
    pushover.set(
        &receipt,
        &json!({ "acknowledged": 1, "acknowledged_at": 1_767_571_300, "acknowledged_by": USER, "acknowledged_by_device": "night\u{1b}[31m" }),
    );
    let Standing::Acknowledged { acknowledged_at, acknowledged_by } = channel.ask_after(&receipt).await.unwrap() else {
        panic!("it is acknowledged")
    };
    assert_eq!(acknowledged_at, Timestamp(1_767_571_300_000));
    assert_eq!(acknowledged_by, "uQiR… on night\\u{1b}[31m", "whose it is, and no key to write to them with");

    let other = channel.deliver(&message()).await.unwrap().unwrap();
    assert_eq!(channel.call_off(&other).await.unwrap(), Standing::CalledOff);
    assert_eq!(channel.ask_after(&other).await.unwrap(), Standing::Over);
    let unknown = channel.ask_after("r9").await.unwrap_err();
    assert!(unknown.is_final && unknown.why.contains("receipt not found"), "{unknown:?}");
    // Nothing but a receipt gets into the address of a question.
    let before = pushover.standin.requests().len();
    for hostile in ["../messages", "a?token=b", "", "é"] {
        assert!(channel.ask_after(hostile).await.unwrap_err().is_final);
        assert!(channel.call_off(hostile).await.unwrap_err().is_final);
    }
    assert_eq!(pushover.standin.requests().len(), before);
    for said in [json!({ "status": 1, "receipt": "../../x" }), json!("r"), json!({ "receipt": 7 })] {
        pushover.standin.then(Answer::json(200, &said));
        assert_eq!(channel.deliver(&message()).await.unwrap(), None, "{said}");
    }
}

/// One emergency is called off since its client is let go, another one acknowledged; both over a restart.
#[test]
fn an_emergency_is_followed_over_a_restart_until_it_is_acknowledged_or_undone() {
    let pushover = Pushover::start();
    let mut home = Home::new();
    let dir = home.dir().display().to_string();
    home.configure(&format!(
        "[[source]]\npath = \"{dir}/access.log\"\nstart = \"beginning\"\n[[alert]]\nname = \"night\"\nchannel = \"pushover\"\n\
         url = \"{}/1/messages.json\"\nkey = \"{TOKEN}\"\nto = [\"{USER}\"]\ngroup_secs = 1\nkinds = [\"ban\"]\n",
        pushover.standin.url()
    ));
    fs::write(home.path("access.log"), attack("203.0.113.7", 1)).unwrap();
    let daemon = home.start();
    let receipts = || pushover.receipts.lock().unwrap().keys().cloned().collect::<Vec<_>>();
    eventually("an emergency is told", || (receipts().len() == 1).then_some(()));
    let mut log = fs::File::options().append(true).open(home.path("access.log")).unwrap();
    log.write_all(attack("203.0.113.8", 2).as_bytes()).unwrap();
    eventually("and another one", || (receipts().len() == 2).then_some(()));
    let of_night = |home: &Home| home.status()["services"]["alert night"].clone();
    eventually("status shows both", || (of_night(&home)["unacknowledged"] == 2).then_some(()));
    assert_eq!(home.palisade(&["status"]).stdout.matches("is not acknowledged yet: ").count(), 2);
    assert_eq!(daemon.stop(), 0);

    let [of_7, of_8] = [0, 1].map(|at| receipts()[at].clone());
    let name = "an_emergency_is_followed_over_a_restart_until_it_is_acknowledged_or_undone";
    if let Some(library) = faketime_or_skip(name) {
        // They are asked after each half minute.
        for (name, value) in [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", "+40s"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ] {
            home.set(name, value);
        }
        pushover.set(&of_8, &json!({ "acknowledged": 1, "acknowledged_at": 1_767_571_300, "acknowledged_by": USER, "acknowledged_by_device": "phone" }));
    }
    let daemon = home.start();
    assert_eq!(home.palisade(&["unban", "203.0.113.7"]).code, 0);
    eventually("it is repeated no more", || {
        (pushover.asked(&format!("/1/receipts/{of_7}/cancel.json")) == 1).then_some(())
    });
    eventually("status tells that too", || home.palisade(&["status"]).stdout.contains("was called off").then_some(()));
    if faketime_or_skip(name).is_some() {
        let said = "was acknowledged 2026-01-05T00:01:40.000Z by uQiR… on phone: ";
        eventually("and who acknowledged the other one", || {
            let shown = home.palisade(&["status"]).stdout;
            (shown.contains(said) && of_night(&home)["unacknowledged"] == 0).then_some(())
        });
        assert_eq!(pushover.asked(&format!("/1/receipts/{of_8}.json")), 1, "then nobody asks any more");
    }
    assert_eq!(pushover.asked("/1/messages.json"), 2, "nothing is told twice");
    assert_eq!(daemon.stop(), 0);
}
