//! OpenTelemetry's collector, or whatever takes OTLP over HTTP. What came of one line is one trace: its finding
//! the root, each step of each decision a span from when it was decided to the step.

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::Url;

use super::{REASON_BYTES, Refused, Sending, Sink, at, client, record_id};
use crate::event::{Secret, Timestamp, digest, printable};
use crate::notify::{ExportConfig, Failure, News, taken};
use crate::wire::Http;

const PATH: &str = "/v1/traces";

pub struct Otlp {
    http: Http,
    traces: Url,
    key: Secret,
    host: String,
}

impl Otlp {
    pub fn new(url: Secret, key: Secret, config: &ExportConfig, host: &str) -> Result<Otlp, String> {
        let http = client(&url, config)?;
        let traces = at(url.reveal().trim_end_matches('/').trim_end_matches(PATH), PATH)?;
        Ok(Otlp { http, traces, key, host: host.to_owned() })
    }

    fn request(&self, batch: &[News]) -> ExportTraceServiceRequest {
        let (name, version) = ("palisade", env!("CARGO_PKG_VERSION"));
        let about = [("service.name", name), ("service.version", version), ("host.name", &self.host)];
        let resource =
            Resource { attributes: about.map(|(key, value)| text(key, value)).into(), ..Resource::default() };
        let scope =
            InstrumentationScope { name: name.into(), version: version.into(), ..InstrumentationScope::default() };
        let spans = batch.iter().map(span).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource_spans = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
    }
}

fn span(news: &News) -> Span {
    let (root, parent) = match news.finding_id.as_str() {
        "" => (&news.id, vec![]),
        finding => (&news.finding_id, span_id(finding)),
    };
    Span {
        trace_id: number("trace", root).to_be_bytes().into(),
        span_id: span_id(&record_id(news)),
        parent_span_id: parent,
        name: format!("{} {}", news.what.as_str(), news.action),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(news.since.unwrap_or(news.at)),
        end_time_unix_nano: nanos(news.at),
        attributes: attributes(news),
        ..Span::default()
    }
}

/// The same whenever it is told, so that what is sent twice is one.
fn span_id(record: &str) -> Vec<u8> {
    (number("span", record) as u64).to_be_bytes().into()
}

fn number(what: &str, name: &str) -> u128 {
    u128::from_str_radix(&digest(&[what.as_bytes(), name.as_bytes()]), 16).unwrap_or(1)
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or_default().saturating_mul(1_000_000)
}

/// By OpenTelemetry's names where it has them.
fn attributes(news: &News) -> Vec<KeyValue> {
    let texts = [
        ("client.address", &news.client),
        ("http.request.method", &news.method),
        ("url.original", &news.uri),
        ("user_agent.original", &news.user_agent),
        ("log.file.path", &news.source),
        ("palisade.id", &news.id),
        ("palisade.case_id", &news.case_id),
        ("palisade.category", &news.category),
        ("palisade.decided_by", &news.by),
        ("palisade.reason", &news.reason),
    ];
    let texts = texts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| text(key, value));
    let status = (news.status > 0).then(|| attribute("http.response.status_code", Value::IntValue(news.status.into())));
    let rules = news.rule_ids.iter().map(|id| AnyValue { value: Some(Value::StringValue(id.clone())) }).collect();
    let others = [
        attribute("palisade.severity", Value::StringValue(news.severity.as_str().into())),
        attribute("palisade.score", Value::IntValue(news.score.into())),
        attribute("palisade.rule_ids", Value::ArrayValue(ArrayValue { values: rules })),
        attribute("palisade.simulated", Value::BoolValue(news.simulated)),
    ];
    texts.chain(status).chain(others).collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

impl Sink for Otlp {
    fn send<'a>(&'a mut self, batch: &'a [News]) -> Sending<'a> {
        Box::pin(async move {
            let request = self.http.client().post(self.traces.clone()).header("content-type", "application/x-protobuf");
            let request = match self.key.is_empty() {
                true => request,
                false => request.bearer_auth(self.key.reveal()),
            };
            let heard = taken(self.http.ask(request.body(self.request(batch).encode_to_vec())).await);
            let heard = heard.map_err(|failure| {
                // What else is refused, such as a wrong key, is no fault of what was to be sent: it stays.
                let is_final = failure.why.starts_with("HTTP 400") || failure.why.starts_with("HTTP 413");
                Failure { is_final, ..failure }
            })?;
            let answer = ExportTraceServiceResponse::decode(heard.body.as_slice())
                .map_err(|_| Failure::passing(format!("no answer of a collector: {}", heard.told())))?;
            let partial = answer.partial_success.unwrap_or_default();
            let why = printable(partial.error_message.as_bytes(), REASON_BYTES);
            Ok(Refused { count: u64::try_from(partial.rejected_spans).unwrap_or_default(), why })
        })
    }
}
