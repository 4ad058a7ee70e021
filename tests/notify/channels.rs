//! What each service is posted, and what its answers mean.

use std::time::{Duration, Instant};

use palisade::event::Severity;
use palisade::notify::{AlertConfig, KINDS, Message, open};
use ring::hmac;
use serde_json::{Value, json};

use super::{HOSTILE, alert, message, secret};
use crate::support::standin::{Answer, Manner, Request, Standin};

fn server(answer: Answer) -> Standin {
    let standin = Standin::start();
    standin.otherwise(move |_| answer.clone());
    standin
}

/// What `config`'s server was asked to deliver `message`.
async fn posted(standin: &Standin, config: &AlertConfig, message: &Message) -> Vec<Request> {
    open(config).unwrap().deliver(message).await.unwrap();
    standin.requests()
}

#[tokio::test]
async fn slack_gets_plain_text_that_calls_nobody() {
    let standin = server(Answer::text(200, "ok"));
    let config = alert("slack", &format!("{}/services/T0/B0/S", standin.url()));
    let request = posted(&standin, &config, &message()).await.remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/services/T0/B0/S"));
    let body = request.json();
    assert_eq!(body["blocks"][0]["text"]["text"], "web-1: critical: &lt;@here&gt; *sqli*");
    assert_eq!(body["text"], body["blocks"][0]["text"]["text"]);
    let text = &body["blocks"][1]["text"];
    assert_eq!(text["type"], "plain_text", "in which nothing is interpreted");
    assert!(
        text["text"].as_str().unwrap().starts_with("&lt;!channel&gt; @everyone &lt;b&gt;&amp;amp; **bold**"),
        "{text}"
    );
    assert_eq!(body["blocks"][2]["text"]["text"], "<https://palisade.example.com/case/c1|The case>");
    let raw = String::from_utf8(request.body).unwrap();
    assert!(!raw.contains("<!") && !raw.contains("<@"), "{raw}");
    // Slack's bounds.
    let long = Message { title: "&".repeat(400), text: "<".repeat(40_000), ..message() };
    let body = posted(&standin, &config, &long).await.remove(1).json();
    let length = |block: &Value| block["text"]["text"].as_str().unwrap().chars().count();
    assert!(length(&body["blocks"][0]) <= 150);
    assert!(body["blocks"].as_array().unwrap().iter().all(|block| length(block) <= 3000));
}

#[tokio::test]
async fn discord_mentions_nobody_and_formats_nothing() {
    let standin = server(Answer::text(204, ""));
    let config = alert("discord", &format!("{}/api/webhooks/1/S", standin.url()));
    let body = posted(&standin, &config, &message()).await.remove(0).json();
    assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
    let embed = &body["embeds"][0];
    assert_eq!(embed["title"], "web\\-1\\: critical\\: \\<\\@here\\> \\*sqli\\*");
    let text = embed["description"].as_str().unwrap();
    let inside = text.strip_prefix("```\n").and_then(|text| text.strip_suffix("\n```")).unwrap();
    assert!(!inside.contains("```") && inside.contains("@everyone"), "the block ends where it should: {inside}");
    let long = Message { text: "é".repeat(9000), title: "*".repeat(900), ..message() };
    let body = posted(&standin, &config, &long).await.remove(1).json();
    let length = |value: &Value| value.as_str().unwrap().chars().count();
    assert!(length(&body["embeds"][0]["title"]) <= 256 && length(&body["embeds"][0]["description"]) <= 4096);
}

#[tokio::test]
async fn ntfy_is_told_by_json_and_by_topic() {
    let standin = server(Answer::json(200, &json!({ "id": "x", "event": "message" })));
    let config = AlertConfig { key: secret("tk_1"), ..alert("ntfy", &format!("{}/a-topic", standin.url())) };
    let request = posted(&standin, &config, &message()).await.remove(0);
    assert_eq!((request.path.as_str(), request.header("authorization")), ("/", Some("Bearer tk_1")));
    let body = request.json();
    assert_eq!((&body["topic"], &body["priority"], &body["markdown"]), (&"a-topic".into(), &5.into(), &false.into()));
    assert_eq!((&body["message"], &body["click"]), (&HOSTILE.into(), &"https://palisade.example.com/case/c1".into()));
    assert!(open(&alert("ntfy", &standin.url())).is_err_and(|why| why.contains("names no topic")));
}

#[tokio::test]
async fn pushover_has_priorities_and_parts() {
    let standin = server(Answer::json(200, &json!({ "status": 1, "request": "r" })));
    let config = AlertConfig {
        key: secret("token"),
        to: vec!["u1".into(), "u2".into()],
        ..alert("pushover", &format!("{}/1/messages.json", standin.url()))
    };
    for (severity, priority) in
        [(Severity::Low, -1), (Severity::Medium, 0), (Severity::High, 1), (Severity::Critical, 2)]
    {
        let one = Message { severity, ..message() };
        let body = posted(&standin, &config, &one).await.pop().unwrap().json();
        assert_eq!(
            (&body["priority"], &body["user"], &body["token"]),
            (&priority.into(), &"u1,u2".into(), &"token".into())
        );
        let emergency = (body["retry"].as_u64(), body["expire"].as_u64());
        assert_eq!(emergency, if priority == 2 { (Some(60), Some(3600)) } else { (None, None) });
    }
    let before = standin.requests().len();
    let long: String = (0..200).map(|n| format!("line {n} of a long story\n")).collect();
    let parts = posted(&standin, &config, &Message { text: long.clone(), ..message() }).await.split_off(before);
    assert!((2..=4).contains(&parts.len()), "{}", parts.len());
    let bodies: Vec<Value> = parts.iter().map(Request::json).collect();
    assert!(bodies[0]["title"].as_str().unwrap().ends_with(&format!("(1/{})", bodies.len())));
    assert!(bodies.iter().all(|body| body["message"].as_str().unwrap().len() <= 1024));
    let priorities: Vec<i64> = bodies.iter().map(|body| body["priority"].as_i64().unwrap()).collect();
    assert_eq!((priorities[0], priorities[1]), (2, 0), "one emergency is acknowledged once");
    assert!(long.starts_with(bodies[0]["message"].as_str().unwrap()));
}

#[tokio::test]
async fn a_webhook_is_signed() {
    let standin = server(Answer::text(204, ""));
    let key = "0123456789abcdef0123456789abcdef";
    let config = AlertConfig { key: secret(key), ..alert("webhook", &format!("{}/hook", standin.url())) };
    let request = posted(&standin, &config, &message()).await.remove(0);
    let header = request.header("palisade-signature").unwrap();
    let (time, tag) = header.strip_prefix("t=").and_then(|header| header.split_once(",v1=")).unwrap();
    let tag: Vec<u8> = (0..tag.len()).step_by(2).map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap()).collect();
    let signed = [time.as_bytes(), b".", &request.body].concat();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &signed, &tag).expect("a good signature");
    let body = request.json();
    assert_eq!((&body["event"], &body["message"]["id"]), (&"alert".into(), &message().id.into()));
    assert_eq!((&body["message"]["text"], &body["message"]["sums"]["findings"]), (&HOSTILE.into(), &3.into()));
    assert!(open(&AlertConfig { key: secret("short"), ..config }).is_err_and(|why| why.contains("shorter than 16")));
}

#[tokio::test]
async fn an_answer_says_whether_another_try_makes_sense() {
    for (answer, is_final, retry_after, said) in [
        (Answer::text(429, "slow down").header("retry-after", "7"), false, Some(7), "HTTP 429: slow down"),
        (Answer::text(500, ""), false, None, "HTTP 500"),
        (Answer::text(403, "action_prohibited"), true, None, "HTTP 403: action_prohibited"),
        (Answer::text(404, "no_service"), true, None, "HTTP 404: no_service"),
        (Answer::text(302, "").header("location", "http://192.0.2.1/"), true, None, "HTTP 302"),
        (Answer::text(200, "ok").manner(Manner::Close), false, None, ""),
        (Answer::text(200, "ok").manner(Manner::Hang), false, None, "no answer in time"),
    ] {
        let standin = server(answer);
        let channel = open(&alert("slack", &format!("{}/x", standin.url()))).unwrap();
        let began = Instant::now();
        let failure = channel.deliver(&message()).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20), "one that hangs is given up");
        assert_eq!(
            (failure.is_final, failure.retry_after),
            (is_final, retry_after.map(Duration::from_secs)),
            "{failure:?}"
        );
        assert!(failure.why.contains(said), "{failure:?}");
        assert_eq!(standin.requests().len(), 1, "once: who calls tries again");
    }
}

#[test]
fn every_kind_understands_its_example() {
    for kind in KINDS {
        let config: AlertConfig = toml::from_str(&format!("name = \"x\"\n{}", kind.example)).unwrap();
        assert_eq!((config.channel.as_str(), config.mistakes()), (kind.name, vec![]));
        let bare = AlertConfig { name: "x".into(), channel: kind.name.into(), ..AlertConfig::default() };
        let missing: Vec<&str> = bare.mistakes().iter().map(|(key, _)| *key).collect();
        assert_eq!(missing, kind.build.needs, "{}", kind.name);
    }
}
