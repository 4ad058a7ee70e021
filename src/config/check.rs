//! Holds a tree against the JSON schema of [`Config`](super::Config).

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value as Json;

use super::mistake::{Mistake, Origin, did_you_mean};
use super::tree::{Node, Value, join};
use crate::tail::{START, Start};

/// Reports everything in `node` that the schema does not allow and takes it out, so that what is
/// left can be read and compared. Networks are brought to their one form.
pub(super) fn check(node: &mut Node, root: &Json, mistakes: &mut Vec<Mistake>) {
    Walker { root, keys: keys(root), mistakes }.keeps(node, root, "");
}

/// Every key path that the schema allows, lists of tables as `source[].path`.
pub(super) fn keys(root: &Json) -> Vec<String> {
    leaves(root).into_iter().map(|(key, _)| key).collect()
}

/// The same, each with its schema as it stands there.
pub(super) fn leaves(root: &Json) -> Vec<(String, &Json)> {
    fn collect<'a>(root: &'a Json, schema: &'a Json, key: &str, leaves: &mut Vec<(String, &'a Json)>) {
        let resolved = resolve(root, schema);
        let is_list = kind(resolved) == "array";
        let table = if is_list { resolve(root, &resolved["items"]) } else { resolved };
        match table["properties"].as_object() {
            None => leaves.push((key.to_owned(), schema)),
            Some(properties) => {
                let key = if is_list { format!("{key}[]") } else { key.to_owned() };
                properties.iter().for_each(|(name, property)| collect(root, property, &join(&key, name), leaves));
            }
        }
    }
    let mut leaves = vec![];
    collect(root, root, "", &mut leaves);
    leaves
}

/// Whether the value at this path is a string of some kind.
pub(super) fn wants_text(root: &Json, path: &[String]) -> bool {
    let schema = path.iter().fold(resolve(root, root), |schema, name| resolve(root, &schema["properties"][name]));
    kind(schema) == "string" || !choices(schema).is_empty()
}

/// `text` as a TOML string, cut where it is long, for a message.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{:?}", cut + more)
}

const NETWORK: &str = r#"expected an address or network such as "192.0.2.7" or "2001:db8::/32""#;

struct Walker<'a> {
    root: &'a Json,
    /// Every key path of the schema.
    keys: Vec<String>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Walker<'_> {
    /// Whether `node` may stay.
    fn keeps(&mut self, node: &mut Node, schema: &Json, key: &str) -> bool {
        let schema = resolve(self.root, schema);
        let choices = choices(schema);
        let wrong = match (kind(schema), &mut node.value) {
            ("object", Value::Table(_)) => return self.keeps_table(node, schema, key),
            ("array", Value::List(items)) => {
                items.retain_mut(|item| self.keeps(item, &schema["items"], key));
                return true;
            }
            (_, Value::Scalar(Json::String(text))) if !choices.is_empty() => {
                if choices.contains(&text.as_str()) {
                    return true;
                }
                format!("{}, found {}", one_of(&choices), quoted(text)) + &did_you_mean(text, choices)
            }
            ("string", Value::Scalar(Json::String(text))) if schema["format"] == "ip-network" => match network(text) {
                Some(network) => {
                    *text = network.to_string();
                    return true;
                }
                None => format!("{NETWORK}, found {}", quoted(text)),
            },
            ("string", Value::Scalar(Json::String(text))) if schema["format"] == "start" => {
                if Start::try_from(text.clone()).is_ok() {
                    return true;
                }
                format!("{START}, found {}", quoted(text)) + &did_you_mean(text, ["end", "beginning"])
            }
            ("integer", Value::Scalar(Json::Number(number))) if number.is_i64() => {
                let (least, most) = range(schema);
                if number.as_i64().is_some_and(|number| (least..=most).contains(&number)) {
                    return true;
                }
                format!("{}{}", whole_number(schema), found(&node.value))
            }
            ("string", Value::Scalar(Json::String(_)))
            | ("boolean", Value::Scalar(Json::Bool(_)))
            | ("number", Value::Scalar(Json::Number(_))) => return true,
            _ => format!("{}{}", expected(self.root, schema, key), found(&node.value)),
        };
        self.report(&node.origin, key, wrong);
        false
    }

    fn keeps_table(&mut self, node: &mut Node, schema: &Json, key: &str) -> bool {
        let properties = schema["properties"].as_object();
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
        let required: Vec<&str> = required.collect();
        for name in &required {
            if node.entry(name).is_none() {
                self.report(&node.origin, &join(key, name), "missing".to_owned());
            }
        }
        let Value::Table(entries) = &mut node.value else { return true };
        entries.retain(|name, entry| {
            let key = join(key, name);
            match properties.and_then(|properties| properties.get(name)) {
                Some(property) => self.keeps(entry, property, &key),
                // A table of names that are not ours.
                None if !matches!(schema["additionalProperties"], Json::Null | Json::Bool(false)) => true,
                None => {
                    let message = format!("unknown key{}", self.hint(name, schema));
                    self.report(&entry.origin, &key, message);
                    false
                }
            }
        });
        required.iter().all(|name| entries.contains_key(*name))
    }

    /// Where an unknown key may belong: a name much like it here, or the same name elsewhere.
    fn hint(&self, name: &str, schema: &Json) -> String {
        let here = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let close = did_you_mean(name, here);
        if !close.is_empty() {
            return close;
        }
        let elsewhere = self.keys.iter().find_map(|key| match key.rsplit_once('.') {
            Some((table, last)) if last == name => Some(match table.strip_suffix("[]") {
                Some(list) => format!("; it belongs under [[{list}]]"),
                None => format!("; it belongs under [{table}]"),
            }),
            None if key == name => Some("; it belongs above the first [table]".to_owned()),
            _ => None,
        });
        elsewhere.unwrap_or_default()
    }

    fn report(&mut self, origin: &Origin, key: &str, message: String) {
        self.mistakes.push(Mistake { origin: origin.clone(), key: key.to_owned(), message });
    }
}

/// The schema itself, with references followed and the null of an optional value left out.
pub(super) fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    let mut schema = schema;
    // More steps than any type of ours takes; a circle ends too.
    for _ in 0..8 {
        let options = schema["anyOf"].as_array().into_iter().flatten();
        let next = match schema["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
            Some(name) => root.pointer(name),
            None => options.into_iter().find(|option| option["type"] != "null"),
        };
        match next {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// The schema's type, `null` left out.
pub(super) fn kind(schema: &Json) -> &str {
    let kinds = schema["type"].as_array().into_iter().flatten();
    let mut kinds = kinds.chain([&schema["type"]]).filter_map(Json::as_str);
    kinds.find(|kind| *kind != "null").unwrap_or_default()
}

/// The words of an enumeration, with or without a description each.
pub(super) fn choices(schema: &Json) -> Vec<&str> {
    let plain = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten();
    let described = described.flat_map(|one| one["enum"].as_array().into_iter().flatten().chain([&one["const"]]));
    plain.chain(described).filter_map(Json::as_str).collect()
}

/// The bounds that the schema states, else those of the integer's size.
fn range(schema: &Json) -> (i64, i64) {
    let (least, most) = match schema["format"].as_str() {
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some(other) if other.starts_with("uint") => (0, i64::MAX),
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    };
    (schema["minimum"].as_i64().unwrap_or(least), schema["maximum"].as_i64().unwrap_or(most))
}

fn whole_number(schema: &Json) -> String {
    match range(schema) {
        (least, i64::MAX) => format!("expected a whole number of at least {least}"),
        (least, most) => format!("expected a whole number from {least} to {most}"),
    }
}

fn one_of(choices: &[&str]) -> String {
    format!("expected {}", choices.iter().map(|choice| quoted(choice)).collect::<Vec<_>>().join(" or "))
}

fn expected(root: &Json, schema: &Json, key: &str) -> String {
    let choices = choices(schema);
    match kind(schema) {
        _ if !choices.is_empty() => one_of(&choices),
        "object" => "expected a table".to_owned(),
        "array" if kind(resolve(root, &schema["items"])) == "object" => format!("expected a list of tables, [[{key}]]"),
        "array" => "expected a list such as [\"…\", \"…\"]".to_owned(),
        "integer" => whole_number(schema),
        "boolean" => "expected true or false".to_owned(),
        "number" => "expected a number".to_owned(),
        _ if schema["format"] == "ip-network" => NETWORK.to_owned(),
        _ if schema["format"] == "start" => START.to_owned(),
        _ => "expected a string".to_owned(),
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Scalar(Json::String(text)) => format!(", found {}", quoted(text)),
        Value::Scalar(scalar) => format!(", found {scalar}"),
        Value::Foreign(what) => format!(", found {what}"),
        Value::List(_) => ", found a list".to_owned(),
        Value::Table(_) => ", found a table".to_owned(),
    }
}

/// A network or single address in its one form: no host bits, and never an IPv4 address in
/// IPv6's clothes, which would match no client.
pub fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped {
        Some((address, length)) => Ipv4Net::new(address, length).ok().map(|v4| IpNet::V4(v4).trunc()),
        None => Some(network.trunc()),
    }
}
