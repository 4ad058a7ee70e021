//! What `palisade status` says, as Prometheus reads it (text format 0.0.4): one truth, two writings. Labels are
//! names of the configuration alone, never what clients write.

use std::fmt::Write;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

use self::Type::{Counter, Gauge};
use super::{Backend, Problem, api};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What monitoring asks and nothing else, for a listener that everyone may reach.
pub fn router(backend: Backend) -> Router {
    let routes = Router::new().route("/metrics", get(metrics));
    routes.route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(backend)
}

pub(super) async fn metrics(State(backend): State<Backend>) -> Result<Response, Problem> {
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&api::status_now(&backend).await?)).into_response())
}

/// Whether the daemon answers at all: who restarts it asks this.
pub(super) async fn healthz(State(backend): State<Backend>) -> Result<&'static str, Problem> {
    api::status_now(&backend).await.map(|_| "ok\n")
}

/// Whether nothing is wrong; what is, in words.
pub(super) async fn readyz(State(backend): State<Backend>) -> Result<Response, Problem> {
    let status = api::status_now(&backend).await?;
    let problems: Vec<&str> = status["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok(match problems.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response(),
    })
}

#[derive(Clone, Copy)]
enum Type {
    Counter,
    Gauge,
}

/// Name, type, what it is, and where `status` has it.
struct Metric(&'static str, Type, &'static str, &'static str);

/// Metrics of each element of a list or map of `status`: where it is, the label, and where an element has its
/// name; none: in a map, under its key.
struct Group(&'static str, &'static str, Option<&'static str>, &'static [Metric]);

const METRICS: &[Metric] = &[
    Metric("palisade_healthy", Gauge, "1 if nothing is wrong.", "/healthy"),
    Metric("palisade_problems", Gauge, "What is wrong: `palisade status` says it in words.", "/problems"),
    Metric("palisade_start_time_seconds", Gauge, "When the daemon started, since 1970.", "/started_at"),
    Metric("palisade_tail_lines_total", Counter, "Lines read.", "/lines"),
    Metric("palisade_tail_gap_bytes_total", Counter, "Bytes that were gone before they could be read.", "/gaps"),
    Metric("palisade_parse_lines_parsed_total", Counter, "Lines understood.", "/parsed"),
    Metric("palisade_parse_lines_unparsed_total", Counter, "Lines not understood.", "/unparsed"),
    Metric("palisade_detect_findings_total", Counter, "Suspicious lines.", "/findings"),
    Metric("palisade_detect_rules", Gauge, "Rules and windows in force.", "/rules"),
    Metric("palisade_decide_blocks_total", Counter, "Bans, those of dry run too.", "/blocks"),
    Metric("palisade_decide_refused_total", Counter, "Blocks that the gate refused.", "/refused"),
    Metric("palisade_decide_held_total", Counter, "Blocks that the gate put off.", "/held"),
    Metric("palisade_decide_bans_active", Gauge, "Bans in force now.", "/active"),
    Metric("palisade_memory_healthy", Gauge, "1 if short-term memory works.", "/memory/healthy"),
    Metric("palisade_memory_hits_total", Counter, "Values asked for that were there.", "/memory/hits"),
    Metric("palisade_memory_misses_total", Counter, "Values asked for that were not there.", "/memory/misses"),
    Metric("palisade_memory_lost_total", Counter, "Changes that never came into the memory.", "/memory/lost"),
];

const GROUPS: &[Group] = &[
    Group(
        "/responders",
        "responder",
        Some("name"),
        &[
            Metric("palisade_respond_failing", Gauge, "1 if it does not do what it should.", "/problem"),
            Metric("palisade_respond_targets_held", Gauge, "Targets that it should hold.", "/held"),
            Metric("palisade_respond_orders_waiting", Gauge, "Of those, not carried out yet.", "/waiting"),
            Metric("palisade_respond_repairs_total", Counter, "How often it was made right again.", "/repairs"),
            Metric("palisade_respond_dropped_packets_total", Counter, "Packets dropped.", "/dropped/packets"),
            Metric("palisade_respond_dropped_bytes_total", Counter, "Bytes dropped.", "/dropped/bytes"),
        ],
    ),
    Group(
        "/sources",
        "path",
        Some("path"),
        &[
            Metric("palisade_tail_source_failing", Gauge, "1 if it cannot be read.", "/error"),
            Metric("palisade_tail_source_behind_bytes", Gauge, "Bytes written and not yet read.", "/behind_bytes"),
            Metric("palisade_tail_source_lines_total", Counter, "Lines read of it.", "/lines"),
            Metric("palisade_parse_source_lines_unparsed_total", Counter, "Lines not understood.", "/unparsed"),
        ],
    ),
    Group(
        "/triage/tiers",
        "tier",
        Some("name"),
        &[
            Metric("palisade_triage_failing", Gauge, "1 if the model does not answer as it should.", "/problem"),
            Metric("palisade_triage_calls_total", Counter, "Questions.", "/calls"),
            Metric("palisade_triage_errors_total", Counter, "Questions that failed.", "/errors"),
            Metric("palisade_triage_timeouts_total", Counter, "Questions without an answer in time.", "/timeouts"),
            Metric("palisade_triage_duration_seconds_total", Counter, "Time of all questions.", "/millis"),
            Metric("palisade_triage_input_tokens_total", Counter, "Tokens sent.", "/input_tokens"),
            Metric("palisade_triage_output_tokens_total", Counter, "Tokens received.", "/output_tokens"),
            Metric("palisade_triage_cost_usd_total", Counter, "By the prices of the configuration.", "/usd"),
        ],
    ),
    Group(
        "/services",
        "service",
        None,
        &[Metric("palisade_service_failing", Gauge, "1 if it does not work.", "/problem")],
    ),
];

/// `status` as Prometheus reads it.
pub fn text(status: &Value) -> String {
    let mut out = String::new();
    for metric in METRICS {
        family(&mut out, metric, [(None, status)].into_iter());
    }
    for Group(place, label, name, metrics) in GROUPS {
        let elements: Vec<(String, &Value)> = match (status.pointer(place), name) {
            (Some(Value::Array(list)), Some(name)) => {
                list.iter().filter_map(|element| Some((element[*name].as_str()?.to_owned(), element))).collect()
            }
            (Some(Value::Object(map)), None) => map.iter().map(|(name, element)| (name.clone(), element)).collect(),
            _ => continue,
        };
        for metric in *metrics {
            family(&mut out, metric, elements.iter().map(|(name, element)| (Some((*label, &**name)), *element)));
        }
    }
    let text = |key: &str| escaped(status[key].as_str().unwrap_or_default());
    let (version, mode) = (text("version"), text("mode"));
    out.push_str("# HELP palisade_info Version and mode of the daemon.\n# TYPE palisade_info gauge\n");
    let _ = writeln!(out, "palisade_info{{version=\"{version}\",mode=\"{mode}\"}} 1");
    out
}

fn family<'a>(
    out: &mut String,
    Metric(name, kind, help, place): &Metric,
    samples: impl Iterator<Item = (Option<(&'a str, &'a str)>, &'a Value)>,
) {
    let mut is_first = true;
    for (label, element) in samples {
        // Who has no problem may leave it out.
        let nothing = (*place == "/problem").then_some(&Value::Null);
        let Some(value) = element.pointer(place).or(nothing).and_then(number) else { continue };
        // Prometheus counts in seconds.
        let value = if *place == "/millis" { value / 1000.0 } else { value };
        if is_first {
            let kind = match kind {
                Counter => "counter",
                Gauge => "gauge",
            };
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            is_first = false;
        }
        let _ = match label {
            Some((label, text)) => writeln!(out, "{name}{{{label}=\"{}\"}} {value}", escaped(text)),
            None => writeln!(out, "{name} {value}"),
        };
    }
}

/// A number as it is; whether something is so, or is said to be wrong, as 1 or 0; how many of a list; a time in
/// seconds.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(is_so) => Some(f64::from(u8::from(*is_so))),
        Value::Null => Some(0.0),
        Value::Array(list) => Some(list.len() as f64),
        Value::String(text) => {
            let time = text.parse::<jiff::Timestamp>();
            Some(time.map_or(1.0, |time| time.as_millisecond() as f64 / 1000.0))
        }
        Value::Object(_) => None,
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn what_status_says_is_what_prometheus_reads() {
        let status = json!({
            "version": "0.1.0", "mode": "enforce", "healthy": false, "problems": ["a"], "lines": 7,
            "started_at": "2026-01-05T00:00:00.500Z", "memory": {"healthy": true},
            "responders": [{"name": "nftables", "problem": null, "held": 3, "dropped": {"packets": 9, "bytes": 540}},
                           {"name": "azure", "problem": "no token", "held": 3, "dropped": null}],
            "sources": [{"path": "/a\"b\\c\n", "behind_bytes": 12, "error": null}],
            "triage": {"tiers": [{"name": "local", "usd": 0.25, "millis": 1500}]}, "services": {"drop": {"problem": "gone"}},
        });
        let text = text(&status);
        for line in [
            "palisade_healthy 0",
            "palisade_problems 1",
            "palisade_tail_lines_total 7",
            "palisade_start_time_seconds 1767571200.5",
            "palisade_memory_healthy 1",
            "palisade_respond_failing{responder=\"nftables\"} 0",
            "palisade_respond_failing{responder=\"azure\"} 1",
            "palisade_respond_dropped_bytes_total{responder=\"nftables\"} 540",
            "palisade_tail_source_behind_bytes{path=\"/a\\\"b\\\\c\\n\"} 12",
            "palisade_triage_failing{tier=\"local\"} 0",
            "palisade_triage_cost_usd_total{tier=\"local\"} 0.25",
            "palisade_triage_duration_seconds_total{tier=\"local\"} 1.5",
            "palisade_service_failing{service=\"drop\"} 1",
            "palisade_info{version=\"0.1.0\",mode=\"enforce\"} 1",
            "# TYPE palisade_tail_lines_total counter",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("packets_total{responder=\"azure\"}") && !text.contains("triage_calls"), "{text}");
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned);
        let names: Vec<String> = names.collect();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(names, once, "a family is told once");
    }
}
