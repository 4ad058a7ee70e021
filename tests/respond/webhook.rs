//! A server that is told, and checks signatures as the documentation says.

use std::fs;
use std::time::{Duration, Instant};

use palisade::event::{Secret, Timestamp};
use palisade::respond::{RespondError, Responder, Webhook, WebhookConfig};
use ring::hmac;
use serde_json::{Value, json};

use super::{apply, lift, permits, targets};
use crate::support::standin::{Answer, Manner, Request, Standin};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Answers 204 whatever is told.
pub fn receiver() -> Standin {
    let standin = Standin::start();
    standin.otherwise(|_| Answer::text(204, ""));
    standin
}

pub fn config(receiver: &Standin) -> WebhookConfig {
    WebhookConfig {
        url: Secret::from(format!("{}/hook?secret=s3", receiver.url())),
        key: Secret::from(KEY.to_owned()),
        timeout_secs: 5,
        retries: 2,
        ..WebhookConfig::default()
    }
}

/// What was told, if its signature is that of `key` and not older than five minutes.
fn verified(request: &Request, key: &str) -> Option<Value> {
    let header = request.header("palisade-signature")?;
    let (time, tag) = header.strip_prefix("t=")?.split_once(",v1=")?;
    let age = Timestamp::now().secs() - time.parse::<i64>().ok()?;
    let tag: Vec<u8> = (0..tag.len()).step_by(2).map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap()).collect();
    let signed = [time.as_bytes(), b".", &request.body].concat();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &signed, &tag).ok()?;
    (age.abs() <= 300).then(|| request.json())
}

#[tokio::test]
async fn bans_and_unbans_are_told_in_signed_json() {
    let receiver = receiver();
    let mut responder = Webhook::new(&config(&receiver)).unwrap();
    responder.start().await.unwrap();
    let permits = permits(&["203.0.113.7", "2001:db8:7::/64"], 600);
    responder.apply(&permits, Timestamp::now()).await.unwrap();
    lift(&mut responder, &["203.0.113.7", "203.0.113.9"]).await;
    let requests = receiver.requests();
    let told: Vec<Value> = requests.iter().map(|request| verified(request, KEY).expect("a good signature")).collect();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/hook?secret=s3"));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    let end = permits[0].expires_at();
    let decision = |target: &str, id: &str| json!({ "id": id, "target": target, "expires_at": end, "category": null, "proposer": "operator" });
    let first = decision("203.0.113.7", "203.0.113.7/32");
    assert_eq!((&told[0]["version"], &told[0]["event"]), (&json!(1), &json!("ban")));
    assert!(told[0]["sent_at"].as_str().unwrap().starts_with("20"));
    assert_eq!(told[0]["decisions"], json!([first, decision("2001:db8:7::/64", "2001:db8:7::/64")]));
    assert_eq!(told[1]["event"], "unban");
    let unknown =
        json!({ "id": null, "target": "203.0.113.9", "expires_at": null, "category": null, "proposer": null });
    assert_eq!(told[1]["decisions"], json!([first, unknown]));
    assert_eq!(targets(&mut responder).await, ["2001:db8:7::/64"]);

    assert_eq!(verified(&requests[0], "another key"), None);
    let mut forged = requests[0].clone();
    forged.body = String::from_utf8(forged.body).unwrap().replace("203.0.113.7", "203.0.113.8").into_bytes();
    assert_eq!(verified(&forged, KEY), None);
}

#[tokio::test]
async fn who_asks_for_patience_is_asked_again_with_a_new_signature() {
    let receiver = receiver();
    let mut responder = Webhook::new(&config(&receiver)).unwrap();
    receiver.then(Answer::text(503, "busy")).then(Answer::text(429, "").header("retry-after", "1"));
    let before = Instant::now();
    apply(&mut responder, &["203.0.113.7"], 600).await;
    assert!(before.elapsed() >= Duration::from_millis(1500), "{:?}", before.elapsed());
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| verified(request, KEY).is_some() && request.body == requests[0].body));
    assert_ne!(requests[0].header("palisade-signature"), requests[2].header("palisade-signature"));

    receiver
        .then(Answer::text(200, "").manner(Manner::Close))
        .then(Answer::text(408, ""))
        .then(Answer::text(500, "no\x1b[2J"));
    let error = responder.apply(&permits(&["203.0.113.8"], 600), Timestamp::now()).await.unwrap_err();
    assert!(!error.is_final() && error.to_string().contains("HTTP 500: no\\u{1b}[2J"), "{error}");
    assert_eq!(receiver.requests().len(), 6, "no more than two tries after the first");
    receiver.then(Answer::text(503, "").header("retry-after", "600"));
    responder.apply(&permits(&["203.0.113.8"], 600), Timestamp::now()).await.unwrap_err();
    assert_eq!(receiver.requests().len(), 7, "nobody waits ten minutes");
    assert_eq!(targets(&mut responder).await, ["203.0.113.7/32"]);
}

#[tokio::test]
async fn what_is_refused_for_good_is_kept_and_not_told_again() {
    let (receiver, dir) = (receiver(), tempfile::tempdir().unwrap());
    let file = dir.path().join("refused.jsonl");
    let mut responder = Webhook::new(&WebhookConfig { dead_letter: Some(file.clone()), ..config(&receiver) }).unwrap();
    receiver.then(Answer::text(422, "no such zone"));
    let error = responder.apply(&permits(&["203.0.113.7"], 600), Timestamp::now()).await.unwrap_err();
    assert!(error.is_final() && matches!(error, RespondError::GivenUp { .. }), "{error}");
    assert!(error.to_string().contains("HTTP 422: no such zone") && !error.to_string().contains("s3"), "{error}");
    assert_eq!(receiver.requests().len(), 1, "asked once");
    assert_eq!(targets(&mut responder).await, ["203.0.113.7/32"], "so that nobody tells it again");
    receiver.then(Answer::text(302, "").header("location", &format!("{}/else", receiver.url())));
    assert!(responder.lift(&[super::net("203.0.113.7")]).await.unwrap_err().is_final());
    assert_eq!(receiver.requests().len(), 2, "redirects are not followed");
    let letters: Vec<Value> =
        fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["message"]["decisions"][0]["target"], "203.0.113.7");
    assert!(letters[0]["reason"].as_str().unwrap().contains("no such zone"));
    assert_eq!(letters[1]["message"]["event"], "unban");
    apply(&mut responder, &["203.0.113.8"], 600).await;

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    receiver.then(Answer::text(400, ""));
    let error = responder.apply(&permits(&["203.0.113.9"], 600), Timestamp::now()).await.unwrap_err();
    assert!(!error.is_final() && error.to_string().contains("`dead_letter` cannot be written"), "{error}");
}

#[tokio::test]
async fn many_go_in_several_messages_and_one_that_is_refused_stops_no_other() {
    let receiver = receiver();
    let mut responder = Webhook::new(&config(&receiver)).unwrap();
    let many = (0..2500u32).map(|i| std::net::IpAddr::from((0x0b00_0000 + i).to_be_bytes()).into());
    receiver.then(Answer::text(204, "")).then(Answer::text(413, ""));
    let error = responder.apply(&super::permits_for(many, 600), Timestamp::now()).await.unwrap_err();
    assert!(error.is_final());
    let sizes: Vec<usize> =
        receiver.requests().iter().map(|request| request.json()["decisions"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
}

#[tokio::test]
async fn who_says_nothing_is_given_up_in_time() {
    let receiver = receiver();
    let mut responder = Webhook::new(&WebhookConfig { timeout_secs: 1, retries: 0, ..config(&receiver) }).unwrap();
    for manner in [Manner::Hang, Manner::Stall] {
        receiver.then(Answer::text(200, "some body").manner(manner));
        let before = Instant::now();
        let error = responder.apply(&permits(&["203.0.113.7"], 600), Timestamp::now()).await.unwrap_err();
        assert!(error.to_string().contains("no answer in time"), "{error}");
        assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    }
}

#[test]
fn settings_that_cannot_be_are_told() {
    let good = WebhookConfig {
        url: Secret::from("https://example.com/hook".to_owned()),
        key: Secret::from(KEY.to_owned()),
        ..WebhookConfig::default()
    };
    let with = |change: fn(&mut WebhookConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Webhook::new(&config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(with(|config| config.url = Secret::default()).contains("`url`: no URL"));
    assert!(with(|config| config.key = Secret::default()).contains("set `key`, or `key_file`"));
    assert!(with(|config| config.key = Secret::from("short".to_owned())).contains("shorter than 16 bytes"));
    assert!(with(|config| config.dead_letter = Some("x".into())).contains("`dead_letter` needs an absolute path"));
    assert!(!format!("{good:?}").contains("example.com"), "the URL may hold a secret");
}
