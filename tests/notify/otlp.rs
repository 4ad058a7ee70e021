//! OpenTelemetry's traces, as a collector decodes them.

use std::fs;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use palisade::notify::{ExportConfig, News, Via, What, open_sink};
use prost::Message;

use super::{finding, secret};
use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::standin::{Answer, Request, Standin};

fn config(url: String) -> ExportConfig {
    ExportConfig {
        name: "traces".into(),
        via: Via::Otlp,
        url: secret(url),
        key: secret("k3y"),
        ..ExportConfig::default()
    }
}

fn decoded(request: &Request) -> ExportTraceServiceRequest {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap()
}

fn spans(request: &Request) -> Vec<Span> {
    let resources = decoded(request).resource_spans.into_iter();
    resources.flat_map(|one| one.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|one| one.key == key)?.value.as_ref()?.value.as_ref()
}

fn text(text: &str) -> Option<Value> {
    Some(Value::StringValue(text.into()))
}

#[tokio::test]
async fn a_finding_and_what_came_of_it_are_one_trace() {
    let standin = Standin::start();
    standin.otherwise(|_| Answer::text(200, ""));
    let found = News { rule_ids: vec!["r1".into(), "r2".into()], ..finding("f1") };
    let ban = News {
        what: What::Ban,
        action: "active".into(),
        since: Some(found.at),
        at: found.at.plus_secs(2),
        finding_id: "f1".into(),
        ..finding("d1")
    };
    let mut sink = open_sink(&config(standin.url()), "web-1").unwrap();
    sink.send(&[found.clone(), ban.clone(), finding("f2")]).await.unwrap();
    let request = &standin.requests()[0];
    assert_eq!(request.header("authorization"), Some("Bearer k3y"));
    let resource = decoded(request).resource_spans.remove(0).resource.unwrap();
    assert_eq!(value(&resource.attributes, "service.name").cloned(), text("palisade"));
    assert_eq!(value(&resource.attributes, "host.name").cloned(), text("web-1"));
    let [first, second, third] = <[Span; 3]>::try_from(spans(request)).unwrap();
    assert_eq!((&*first.name, &*second.name), ("finding block", "ban active"));
    assert_eq!((first.trace_id.len(), first.span_id.len()), (16, 8), "as the protocol wants them");
    assert_eq!((&second.trace_id, &second.parent_span_id), (&first.trace_id, &first.span_id));
    assert!(first.parent_span_id.is_empty() && third.trace_id != first.trace_id);
    let began = 1_767_571_200_123_000_000;
    assert_eq!((first.start_time_unix_nano, second.start_time_unix_nano), (began, began));
    assert_eq!(second.end_time_unix_nano - began, 2_000_000_000);
    let of = |key: &str| value(&first.attributes, key).cloned();
    assert_eq!((of("client.address"), of("url.original")), (text(&found.client), text(&found.uri)));
    assert_eq!(of("http.response.status_code"), Some(Value::IntValue(200)));
    let rules = ["r1", "r2"].map(|rule| AnyValue { value: text(rule) });
    assert!(matches!(of("palisade.rule_ids"), Some(Value::ArrayValue(list)) if list.values == rules));
    sink.send(&[found, ban]).await.unwrap();
    assert_eq!(spans(&standin.requests()[1])[..2], [first, second], "what is sent twice has the same ids");
}

#[tokio::test]
async fn what_a_collector_refuses_is_told_and_only_a_batch_that_is_wrong_is_given_up() {
    let standin = Standin::start();
    let mut sink = open_sink(&config(format!("{}/v1/traces", standin.url())), "web-1").unwrap();
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old\u{1b}[31m".into() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    standin.then(Answer { body, ..Answer::text(200, "") });
    let refused = sink.send(&[finding("f1"), finding("f2")]).await.unwrap();
    assert_eq!((refused.count, &*refused.why), (1, "too old\\u{1b}[31m"));
    for (status, body, is_final) in
        [(400, "", true), (413, "", true), (401, "", false), (404, "", false), (503, "", false), (200, "<html>", false)]
    {
        standin.then(Answer::text(status, body));
        let failure = sink.send(&[finding("f1")]).await.unwrap_err();
        assert_eq!(failure.is_final, is_final, "{status}: {failure:?}");
    }
}

#[test]
fn a_daemon_traces_its_decisions() {
    let standin = Standin::start();
    standin.otherwise(|_| Answer::text(200, ""));
    let home = Home::new();
    home.configure(&format!(
        "[[source]]\npath = \"{}/access.log\"\nstart = \"beginning\"\n\
         [[export]]\nname = \"traces\"\nvia = \"otlp\"\nurl = \"{}\"\n",
        home.dir().display(),
        standin.url()
    ));
    fs::write(home.path("access.log"), attack("198.51.100.7", 1)).unwrap();
    let daemon = home.start();
    let (found, ban) = eventually("the block is traced", || {
        let spans: Vec<Span> = standin.requests().iter().flat_map(spans).collect();
        let named = |name: &str| spans.iter().find(|span| span.name == name).cloned();
        named("finding block").zip(named("ban active"))
    });
    assert_eq!((&ban.trace_id, &ban.parent_span_id), (&found.trace_id, &found.span_id));
    assert!(ban.start_time_unix_nano > 0 && ban.start_time_unix_nano <= ban.end_time_unix_nano);
    assert_eq!(value(&ban.attributes, "client.address").cloned(), text("198.51.100.7"));
    assert_eq!(daemon.stop(), 0);
}
