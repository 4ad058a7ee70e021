//! An analysis as a bundle of STIX 2.1. Ids are UUIDs of version 5, so that the same analysis gives
//! the same objects.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::{Value, json};

use super::technique::{technique, url};
use crate::event::analysis::{Analysis, IndicatorKind, Threat};

/// Namespace of this program's own objects: a random UUID.
const OWN: [u8; 16] = 0x8e3d_5a0c_6a4b_4f0e_9f63_2c51_77d1_b0a4_u128.to_be_bytes();
/// Namespace of observables: STIX 2.1, section 2.9.
const OBSERVABLE: [u8; 16] = 0x00ab_edb4_aa42_466c_9c01_fed2_3315_a9b7_u128.to_be_bytes();

/// The bundle: who tells it, a report, and per threat its indicators, techniques and what was observed.
pub fn bundle(analysis: &Analysis) -> Value {
    let mut maker = Maker { analysis, objects: BTreeMap::new(), identity: id("identity", &OWN, "palisade") };
    let identity = maker.identity.clone();
    maker.objects.insert(
        identity.clone(),
        json!({
            "type": "identity", "spec_version": "2.1", "id": identity, "created": EPOCH, "modified": EPOCH,
            "name": "Palisade", "identity_class": "system",
        }),
    );
    for threat in &analysis.threats {
        maker.threat(threat);
    }
    let told: Vec<&str> = analysis.narrative.summary.iter().map(|claim| claim.text.as_str()).collect();
    let refs: Vec<&String> = maker.objects.keys().collect();
    let report = json!({
        "name": format!("Palisade: {} threats", analysis.threats.len()), "description": told.join(" "),
        "report_types": ["threat-report"], "published": analysis.time, "object_refs": refs,
    });
    maker.add("report", "report", report);
    let objects: Vec<Value> = maker.objects.into_values().collect();
    json!({ "type": "bundle", "id": id("bundle", &OWN, &analysis.id), "objects": objects })
}

/// When this program's identity was made: any moment, always the same.
const EPOCH: &str = "2026-01-01T00:00:00.000Z";

struct Maker<'a> {
    analysis: &'a Analysis,
    /// By id, so that what several threats name is there once.
    objects: BTreeMap<String, Value>,
    identity: String,
}

impl Maker<'_> {
    fn threat(&mut self, threat: &Threat) {
        let techniques: Vec<String> = threat.techniques.iter().filter_map(|id| self.technique(id)).collect();
        let start = threat.first_time.or(self.analysis.input.first_time).unwrap_or(self.analysis.time);
        let end = threat.last_time.unwrap_or(start).max(start);
        let observables = observables(threat);
        for observable in &observables {
            let Some(pattern) = &observable.pattern else { continue };
            let indicator = self.add(
                "indicator",
                &format!("{}{pattern}", threat.id),
                json!({
                    "name": format!("{}: {}", threat.kind.title(), observable.value), "description": threat.description,
                    "indicator_types": ["malicious-activity"], "pattern": pattern, "pattern_type": "stix",
                    "pattern_version": "2.1", "valid_from": start, "confidence": u32::from(threat.confidence.min(10)) * 10,
                }),
            );
            for target in &techniques {
                let both = json!({
                    "relationship_type": "indicates", "source_ref": indicator, "target_ref": target,
                });
                self.add("relationship", &format!("{indicator} {target}"), both);
            }
        }
        if observables.is_empty() {
            return;
        }
        let refs: Vec<String> = observables.into_iter().map(|observable| self.observe(observable.object)).collect();
        let observed = json!({
            "first_observed": start, "last_observed": end,
            "number_observed": threat.events.clamp(1, 999_999_999), "object_refs": refs,
        });
        self.add("observed-data", &threat.id, observed);
    }

    /// A technique, under the same id in every report.
    fn technique(&mut self, technique_id: &str) -> Option<String> {
        let reference =
            json!({ "source_name": "mitre-attack", "external_id": technique_id, "url": url(technique_id)? });
        let known = technique(technique_id);
        let id = id("attack-pattern", &OWN, technique_id);
        let mut object = json!({
            "type": "attack-pattern", "spec_version": "2.1", "id": id, "created_by_ref": self.identity,
            "created": EPOCH, "modified": EPOCH, "name": known.map_or(technique_id, |known| known.name),
            "external_references": [reference],
        });
        if let Some(known) = known {
            object["kill_chain_phases"] = json!([{ "kill_chain_name": "mitre-attack", "phase_name": known.tactic }]);
        }
        self.objects.insert(id.clone(), object);
        Some(id)
    }

    /// An object of this analysis.
    fn add(&mut self, kind: &str, name: &str, mut object: Value) -> String {
        let id = id(kind, &OWN, &format!("{} {name}", self.analysis.id));
        object["type"] = json!(kind);
        object["spec_version"] = json!("2.1");
        object["id"] = json!(id);
        object["created_by_ref"] = json!(self.identity);
        object["created"] = json!(self.analysis.time);
        object["modified"] = json!(self.analysis.time);
        self.objects.insert(id.clone(), object);
        id
    }

    fn observe(&mut self, object: Value) -> String {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        self.objects.insert(id.clone(), object);
        id
    }
}

struct Observable {
    object: Value,
    /// What it is searched for by, where meeting it elsewhere means harm.
    pattern: Option<String>,
    value: String,
}

fn observables(threat: &Threat) -> Vec<Observable> {
    let addresses = threat.addresses.iter().map(|address| {
        let kind = if address.is_ipv4() { "ipv4-addr" } else { "ipv6-addr" };
        observable(kind, "value", &address.to_string(), is_public(*address))
    });
    // Accounts are whom it was done to.
    let users = threat
        .users
        .iter()
        .filter(|user| !user.is_empty())
        .map(|user| observable("user-account", "account_login", user, false));
    let others = threat.indicators.iter().filter_map(|one| match one.kind {
        IndicatorKind::Domain if is_host(&one.value) => Some(observable("domain-name", "value", &one.value, true)),
        IndicatorKind::Url if is_url(&one.value) => Some(observable("url", "value", &one.value, true)),
        IndicatorKind::Email if is_email(&one.value) => Some(observable("email-addr", "value", &one.value, true)),
        IndicatorKind::File if !one.value.is_empty() => Some(observable("file", "name", &one.value, true)),
        IndicatorKind::Hash => hash(&one.value),
        _ => None,
    });
    addresses.chain(users).chain(others).collect()
}

fn observable(kind: &str, property: &str, value: &str, is_sign: bool) -> Observable {
    let id = id(kind, &OBSERVABLE, &json!({ property: value }).to_string());
    let object = json!({ "type": kind, "spec_version": "2.1", "id": id, property: value });
    let pattern = is_sign.then(|| format!("[{kind}:{property} = '{}']", quoted(value)));
    Observable { object, pattern, value: value.into() }
}

fn is_host(value: &str) -> bool {
    let is_label = |label: &str| {
        (1..64).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    value.len() < 254 && value.split('.').all(is_label)
}

fn is_url(value: &str) -> bool {
    value.contains("://") && value.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_email(value: &str) -> bool {
    let parts = value.split_once('@');
    parts.is_some_and(|(who, host)| !who.is_empty() && who.bytes().all(|byte| byte.is_ascii_graphic()) && is_host(host))
}

fn hash(value: &str) -> Option<Observable> {
    let algorithm = match value.len() {
        32 => "MD5",
        40 => "SHA-1",
        64 => "SHA-256",
        128 => "SHA-512",
        _ => return None,
    };
    if !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let hashes = json!({ algorithm: value });
    let id = id("file", &OBSERVABLE, &json!({ "hashes": hashes }).to_string());
    Some(Observable {
        object: json!({ "type": "file", "spec_version": "2.1", "id": id, "hashes": hashes }),
        pattern: Some(format!("[file:hashes.'{algorithm}' = '{value}']")),
        value: value.into(),
    })
}

/// Text between the apostrophes of a pattern.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "\\'")
}

/// Whether an address means the same everywhere.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local())
        }
    }
}

/// An id of STIX with a UUID of version 5 (RFC 9562, section 5.5).
fn id(kind: &str, namespace: &[u8; 16], name: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[namespace, name.as_bytes()].concat());
    let mut bits = hash.as_ref().iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    bits = bits & !(0xF << 76) | 5 << 76;
    bits = bits & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("{kind}--{a}-{b}-{c}-{d}-{e}")
}
