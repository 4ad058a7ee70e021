//! Whatever a server answers, a call ends, in time, with an answer or an error.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade::event::Secret;
use palisade::triage::reputation::{Abuseipdb, Virustotal};
use proptest::prelude::*;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{ALL, client, question, user};
use crate::support::standin::{Answer, Manner, Standin};

/// Words that mean something to some provider.
const NAMES: &str = "message|content|text|type|choices|error|errors|code|status|logprobs|top_logprobs|token|logprob|\
    tool_calls|function|name|arguments|input|tool_use|data|id|models|usage|prompt_tokens|prompt_eval_count|eval_count|\
    abuseConfidenceScore|ipAddress|attributes|last_analysis_stats|malicious|asn|network|country|finish_reason|digest|\
    total|completed|success|status_code";

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        NAMES.prop_map(Value::from),
        "(<think>|</think>|[a-z {}\"\u{0}\u{202e}é]){0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(NAMES, inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Asks everybody everything, and gets this every time.
fn ask_all(runtime: &Runtime, server: &Standin, answer: &Answer) {
    let start = Instant::now();
    let answer = answer.clone();
    server.otherwise(move |_| answer.clone());
    runtime.block_on(async {
        for provider in ALL {
            let client = client(provider, server);
            let schema = Value::Bool(true);
            let messages = [user("x")];
            let mut chat = question(&messages);
            (chat.schema, chat.top_logprobs) = (Some(&schema), 20);
            // What it says must not panic either.
            drop(format!("{:?}{:?}", client.chat(&chat).await, client.models().await));
            drop(format!("{:?}", client.pull(&|done, total| assert!(done <= total)).await));
        }
        let (key, timeout) = (Secret::default(), Duration::from_secs(1));
        let address = IpAddr::from([8, 8, 8, 8]);
        drop(format!("{:?}", Abuseipdb::new(&server.url(), &key, timeout).unwrap().check(address).await));
        drop(format!("{:?}", Virustotal::new(&server.url(), &key, timeout).unwrap().check(address).await));
    });
    // Nine calls, none of which waits for anything.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}

#[test]
fn any_json_is_an_answer_or_an_error() {
    let (runtime, server) = (Runtime::new().unwrap(), Standin::start());
    proptest!(ProptestConfig::with_cases(128), |(json in json(), status in prop_oneof![Just(200), 200..600u16])| {
        ask_all(&runtime, &server, &Answer::json(status, &json));
    });
}

#[test]
fn any_bytes_are_an_answer_or_an_error() {
    let (runtime, server) = (Runtime::new().unwrap(), Standin::start());
    let header = "(retry-after|retry-after-ms|x-ratelimit-remaining-tokens|x-ratelimit-reset-tokens-day|location)";
    let strategy = (prop::collection::vec(any::<u8>(), 0..300), any::<bool>(), header, "[ -~]{0,20}", 200..600u16);
    proptest!(ProptestConfig::with_cases(128), |((body, raw, name, value, status) in strategy)| {
        let mut answer = Answer::text(status, "").header(&name, &value);
        (answer.body, answer.manner) = (body, if raw { Manner::Raw } else { Manner::Plain });
        ask_all(&runtime, &server, &answer);
    });
}

#[test]
fn deep_and_long_answers_are_refused() {
    let (runtime, server) = (Runtime::new().unwrap(), Standin::start());
    let deep = "[".repeat(1 << 19);
    let nested = format!("{{\"error\":{}1{}}}", "[".repeat(120), "]".repeat(120));
    let lines = "{\"status\":\"a\"}\n".repeat(1 << 16);
    for body in [deep, nested, lines, "\n".repeat(1 << 20), "<".repeat(1 << 20)] {
        for status in [200, 500] {
            ask_all(&runtime, &server, &Answer::text(status, &body));
        }
    }
}
