//! Threats in the field names of others, a line of JSON each: Elastic Common Schema 8.17, and OCSF
//! 1.4.0 as Detection Findings (class 2004). One table says what is called how in both.

use serde_json::{Map, Value, json};

use super::technique::{ATTACK_VERSION, technique, url};
use super::{is_outbound, named};
use crate::event::analysis::{Analysis, IndicatorKind, Threat, ThreatOutcome};

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    Ecs,
    Ocsf,
}

type Field = fn(&Analysis, &Threat) -> Value;

/// What is told, its path in ECS and its path in OCSF; an empty path: not told there. `[]` in a path spreads an
/// array over an array of objects. Null and what is empty is left out.
const FIELDS: &[(Field, &str, &str)] = &[
    // Who tells it, and in which version.
    (|_, _| json!("8.17.0"), "ecs.version", ""),
    (|_, _| json!("1.4.0"), "", "metadata.version"),
    (|_, _| json!("Palisade"), "observer.vendor", "metadata.product.vendor_name"),
    (|_, _| json!("Palisade"), "observer.product", "metadata.product.name"),
    (|_, _| json!(env!("CARGO_PKG_VERSION")), "observer.version", "metadata.product.version"),
    (|_, _| json!("ids"), "observer.type", ""),
    // What sort of record it is.
    (|_, _| json!("alert"), "event.kind", ""),
    (|_, _| json!(["intrusion_detection"]), "event.category", ""),
    (|_, _| json!(["info"]), "event.type", ""),
    (|_, _| json!("palisade.threat"), "event.dataset", ""),
    (|_, _| json!(2), "", "category_uid"),
    (|_, _| json!("Findings"), "", "category_name"),
    (|_, _| json!(2004), "", "class_uid"),
    (|_, _| json!("Detection Finding"), "", "class_name"),
    (|_, _| json!(1), "", "activity_id"),
    (|_, _| json!("Create"), "", "activity_name"),
    (|_, _| json!(200_401), "", "type_uid"),
    (|_, _| json!("Detection Finding: Create"), "", "type_name"),
    (|_, _| json!(1), "", "status_id"),
    (|_, _| json!("New"), "", "status"),
    (|_, _| json!(true), "", "is_alert"),
    // What was found.
    (|analysis, threat| json!(format!("{}-{}", analysis.id, threat.id)), "event.id", "finding_info.uid"),
    (|_, threat| json!(threat.kind.title()), "rule.name", "finding_info.title"),
    (|_, threat| json!(threat.description), "message", "finding_info.desc"),
    (|_, threat| json!(threat.description), "", "message"),
    (|_, threat| json!(threat.kind), "event.action", ""),
    (|_, threat| json!([threat.kind.title()]), "", "finding_info.types"),
    (|_, threat| json!(threat.category), "rule.category", ""),
    (|_, threat| json!(threat.rule_ids), "rule.id", ""),
    (|_, threat| json!(threat.rule_ids), "", "finding_info.related_analytics[].uid"),
    (|_, threat| json!(vec![1; threat.rule_ids.len()]), "", "finding_info.related_analytics[].type_id"),
    (|_, threat| json!(threat.recommendation), "", "remediation.desc"),
    (|_, threat| json!(threat.severity as u8 + 1), "event.severity", "severity_id"),
    (|_, threat| json!(capital(threat.severity.as_str())), "", "severity"),
    (|_, threat| json!(threat.risk), "event.risk_score", "risk_score"),
    (|_, threat| json!(u32::from(threat.confidence) * 10), "", "confidence_score"),
    (|_, threat| json!(outcome(threat.outcome)), "event.outcome", ""),
    (|_, threat| json!(threat.events), "", "count"),
    (|_, threat| json!(threat.events), "", "finding_info.related_events_count"),
    (|_, threat| samples(threat), "event.original", "raw_data"),
    // When.
    (|analysis, threat| json!(threat.last_time.unwrap_or(analysis.time)), "@timestamp", ""),
    (|analysis, threat| json!(threat.last_time.unwrap_or(analysis.time).0), "", "time"),
    (|analysis, _| json!(analysis.time), "event.created", ""),
    (|analysis, _| json!(analysis.time.0), "", "finding_info.created_time"),
    (|_, threat| json!(threat.first_time), "event.start", ""),
    (|_, threat| json!(threat.first_time.map(|time| time.0)), "", "finding_info.first_seen_time"),
    (|_, threat| json!(threat.last_time), "event.end", ""),
    (|_, threat| json!(threat.last_time.map(|time| time.0)), "", "finding_info.last_seen_time"),
    // Who.
    (|_, threat| addresses(threat, false), "source.ip", "evidences[].src_endpoint.ip"),
    (|_, threat| addresses(threat, true), "destination.ip", "evidences[].dst_endpoint.ip"),
    (|_, threat| json!(threat.addresses), "related.ip", ""),
    (|_, threat| json!(threat.users), "user.name", ""),
    (|_, threat| json!(threat.users), "related.user", ""),
    (|_, threat| observables(threat), "", "observables"),
    (|_, threat| of_kind(threat, IndicatorKind::Hash), "related.hash", ""),
    (|_, threat| of_kind(threat, IndicatorKind::Domain), "related.hosts", ""),
    // How it is known elsewhere.
    (|_, threat| framework(threat), "threat.framework", ""),
    (|_, threat| json!(threat.techniques), "threat.technique.id", "finding_info.attacks[].technique.uid"),
    (|_, threat| techniques(threat, name), "threat.technique.name", "finding_info.attacks[].technique.name"),
    (|_, threat| techniques(threat, url), "threat.technique.reference", "finding_info.attacks[].technique.src_url"),
    (|_, threat| json!(vec![ATTACK_VERSION; threat.techniques.len()]), "", "finding_info.attacks[].version"),
];

/// All threats of `analysis`, a line each.
///
/// # Errors
/// None that memory does not cause.
pub fn ndjson(analysis: &Analysis, schema: Schema) -> anyhow::Result<Vec<u8>> {
    let mut out = vec![];
    for threat in &analysis.threats {
        let mut record = Map::new();
        for (value, ecs, ocsf) in FIELDS {
            let path = if schema == Schema::Ecs { ecs } else { ocsf };
            if !path.is_empty() {
                put(&mut record, path, value(analysis, threat));
            }
        }
        serde_json::to_writer(&mut out, &record)?;
        out.push(b'\n');
    }
    Ok(out)
}

fn put(record: &mut Map<String, Value>, path: &str, value: Value) {
    let is_empty = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if is_empty {
        return;
    }
    let Some((key, rest)) = path.split_once('.') else {
        record.insert(path.into(), value);
        return;
    };
    let Some(key) = key.strip_suffix("[]") else {
        if let Value::Object(inner) = record.entry(key).or_insert_with(|| json!({})) {
            put(inner, rest, value);
        }
        return;
    };
    let (Value::Array(items), Value::Array(values)) = (record.entry(key).or_insert_with(|| json!([])), value) else {
        return;
    };
    items.resize(items.len().max(values.len()), json!({}));
    for (item, value) in items.iter_mut().zip(values) {
        if let Value::Object(item) = item {
            put(item, rest, value);
        }
    }
}

fn capital(name: &str) -> String {
    name.chars().take(1).flat_map(char::to_uppercase).chain(name.chars().skip(1)).collect()
}

fn outcome(outcome: ThreatOutcome) -> &'static str {
    match outcome {
        ThreatOutcome::Failed => "failure",
        ThreatOutcome::Unknown => "unknown",
        ThreatOutcome::Succeeded => "success",
    }
}

fn samples(threat: &Threat) -> Value {
    let lines: Vec<&str> = threat.samples.iter().map(|sample| sample.text.as_str()).collect();
    json!(lines.join("\n"))
}

fn addresses(threat: &Threat, outbound: bool) -> Value {
    if is_outbound(threat.kind) == outbound { json!(threat.addresses) } else { Value::Null }
}

fn of_kind(threat: &Threat, kind: IndicatorKind) -> Value {
    threat.indicators.iter().filter(|one| one.kind == kind).map(|one| json!(one.value)).collect()
}

fn framework(threat: &Threat) -> Value {
    if threat.techniques.is_empty() { Value::Null } else { json!("MITRE ATT&CK") }
}

/// Something of each technique, its id where that is not known: arrays that belong together stay as long.
fn techniques(threat: &Threat, of: fn(&str) -> Option<String>) -> Value {
    threat.techniques.iter().map(|id| json!(of(id).unwrap_or_else(|| id.clone()))).collect()
}

fn name(id: &str) -> Option<String> {
    technique(id).map(|known| known.name.into())
}

/// What may be searched for elsewhere, with the type ids of OCSF's observables.
fn observables(threat: &Threat) -> Value {
    let endpoint = if is_outbound(threat.kind) { "dst_endpoint" } else { "src_endpoint" };
    let addresses = threat.addresses.iter().enumerate().map(|(at, address)| {
        json!({ "name": format!("evidences[{at}].{endpoint}.ip"), "type": "IP Address", "type_id": 2, "value": address })
    });
    let users = threat
        .users
        .iter()
        .map(|user| json!({ "name": "user.name", "type": "User Name", "type_id": 4, "value": user }));
    let others = threat.indicators.iter().filter_map(|one| {
        let (type_id, type_name) = match one.kind {
            // They stand above.
            IndicatorKind::Address | IndicatorKind::User => return None,
            IndicatorKind::Domain => (1, "Hostname"),
            IndicatorKind::Email => (5, "Email Address"),
            IndicatorKind::Url => (6, "URL String"),
            IndicatorKind::File => (7, "File Name"),
            IndicatorKind::Hash => (8, "Hash"),
            IndicatorKind::Process => (9, "Process Name"),
            IndicatorKind::Port => (11, "Port"),
            IndicatorKind::UserAgent => (16, "HTTP User-Agent"),
            IndicatorKind::Path | IndicatorKind::Rule => (99, "Other"),
        };
        Some(json!({ "name": named(&one.kind), "type": type_name, "type_id": type_id, "value": one.value }))
    });
    addresses.chain(users).chain(others).collect()
}
