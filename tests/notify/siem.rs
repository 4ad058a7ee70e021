//! Splunk's collector and Elasticsearch's bulk API, by their documented shapes.

use palisade::notify::{ExportConfig, Format, News, Via, What, open_sink};
use serde_json::{Value, json};

use super::{finding, secret};
use crate::support::standin::{Answer, Request, Standin};

fn config(via: Via, url: String) -> ExportConfig {
    ExportConfig {
        name: "siem".into(),
        via,
        url: secret(url),
        key: secret("k3y"),
        timeout_secs: 5,
        ..ExportConfig::default()
    }
}

fn lines(request: &Request) -> Vec<Value> {
    let text = std::str::from_utf8(&request.body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn splunk_has_taken_it_when_it_is_indexed() {
    let standin = Standin::start();
    let (ok, ack) =
        (json!({ "text": "Success", "code": 0, "ackId": 7 }), |done: bool| json!({ "acks": { "7": done } }));
    standin.then(Answer::json(200, &ok)).then(Answer::json(200, &ack(false))).then(Answer::json(200, &ack(true)));
    let config = ExportConfig { index: "sec".into(), ..config(Via::Splunk, standin.url()) };
    let mut sink = open_sink(&config, "web-1").unwrap();
    sink.send(&[finding("f1"), finding("f2")]).await.unwrap();
    let requests = standin.requests();
    assert_eq!(requests.len(), 3, "asked until it is indexed");
    assert_eq!(
        (requests[0].path.as_str(), requests[0].header("authorization")),
        ("/services/collector/event", Some("Splunk k3y"))
    );
    let channel = requests[0].header("x-splunk-request-channel").unwrap();
    assert_eq!(channel.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "a GUID: {channel}");
    assert_eq!(requests[1].path, format!("/services/collector/ack?channel={channel}"));
    assert_eq!(requests[1].json(), json!({ "acks": [7] }));
    let events = lines(&requests[0]);
    assert_eq!((&events[0]["time"], &events[0]["index"]), (&json!(1_767_571_200.123), &json!("sec")));
    assert_eq!((&events[1]["event"]["event"]["id"], &events[1]["host"]), (&json!("f2"), &json!("web-1")));
    // Without acknowledgement.
    standin.then(Answer::json(200, &json!({ "text": "Success", "code": 0 })));
    sink.send(&[finding("f3")]).await.unwrap();
    for (answer, is_final) in [
        (Answer::json(503, &json!({ "text": "Server is busy", "code": 9 })), false),
        (Answer::json(403, &json!({ "text": "Invalid token", "code": 4 })), false),
        (Answer::json(400, &json!({ "text": "Data channel is missing", "code": 10 })), false),
        (Answer::json(400, &json!({ "text": "Invalid data format", "code": 6, "invalid-event-number": 0 })), true),
        (Answer::text(413, "too large"), true),
    ] {
        standin.then(answer.clone());
        let failure = sink.send(&[finding("f4")]).await.unwrap_err();
        assert_eq!(failure.is_final, is_final, "only what is in the batch can make it final: {failure:?} {answer:?}");
    }
}

#[tokio::test]
async fn elasticsearch_tells_what_it_refuses_one_by_one() {
    let standin = Standin::start();
    let item = |id: &str, status: u16| match status {
        200..300 => json!({ "index": { "_index": "palisade", "_id": id, "status": status, "result": "created" } }),
        _ => json!({ "index": { "_index": "palisade", "_id": id, "status": status,
                     "error": { "type": "mapper_parsing_exception", "reason": "failed to parse field [x]" } } }),
    };
    let answer = |items: Vec<Value>| {
        let errors = items.iter().any(|item| item["index"].get("error").is_some());
        Answer::json(200, &json!({ "took": 3, "errors": errors, "items": items }))
    };
    let mut sink = open_sink(&config(Via::Elasticsearch, format!("{}/", standin.url())), "web-1").unwrap();
    let held = News { what: What::Held, action: "held".into(), ..finding("d1") };
    standin.then(answer(vec![item("f1", 201), item("d1-held", 200)]));
    assert_eq!(sink.send(&[finding("f1"), held]).await.unwrap().count, 0);
    let request = &standin.requests()[0];
    assert_eq!((request.path.as_str(), request.header("authorization")), ("/_bulk", Some("ApiKey k3y")));
    assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
    assert!(request.body.ends_with(b"\n"));
    let told = lines(request);
    assert_eq!(told[0], json!({ "index": { "_index": "palisade", "_id": "f1" } }));
    assert_eq!(told[2]["index"]["_id"], "d1-held", "each step of a decision is a record of its own");
    assert_eq!(
        (&told[1]["url"]["original"], &told[1]["ecs"]["version"]),
        (&json!(finding("f1").uri), &json!("8.11.0"))
    );
    standin.then(answer(vec![item("f1", 400), item("f2", 201), item("f3", 400)]));
    let refused = sink.send(&[finding("f1"), finding("f2"), finding("f3")]).await.unwrap();
    assert_eq!((refused.count, &*refused.why), (2, "mapper_parsing_exception: failed to parse field [x]"));
    for answer in [
        answer(vec![item("f1", 201), item("f2", 429)]),
        Answer::json(429, &json!({ "error": { "type": "es_rejected_execution_exception" } })),
        Answer::json(401, &json!({ "error": "security_exception" })),
        Answer::text(200, "<html>a portal</html>"),
    ] {
        standin.then(answer.clone());
        let failure = sink.send(&[finding("f1"), finding("f2")]).await.unwrap_err();
        assert!(!failure.is_final, "it is kept and sent again: {failure:?} {answer:?}");
    }
    standin.then(Answer::text(413, ""));
    assert!(sink.send(&[finding("f1")]).await.unwrap_err().is_final, "half of it may pass");
    let ocsf = ExportConfig {
        format: Some(Format::Ocsf),
        index: "ocsf-1".into(),
        ..config(Via::Elasticsearch, standin.url())
    };
    standin.then(answer(vec![item("f1", 201)]));
    open_sink(&ocsf, "web-1").unwrap().send(&[finding("f1")]).await.unwrap();
    let told = lines(standin.requests().last().unwrap());
    assert_eq!((&told[0]["index"]["_index"], &told[1]["class_uid"]), (&json!("ocsf-1"), &json!(2004)));
}
