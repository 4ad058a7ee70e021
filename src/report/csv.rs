//! Comma-separated values as RFC 4180 has them, in which no program takes a value for a formula.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::line_ranges;
use crate::event::analysis::{Analysis, Threat};
use crate::event::printable;

/// Bytes of a value that are shown: all of a logged line.
const LIMIT: usize = 1 << 20;

/// What is told of each threat.
type Column = (&'static str, fn(&Threat) -> Value);
const COLUMNS: &[Column] = &[
    ("id", |threat| json!(threat.id)),
    ("kind", |threat| json!(threat.kind)),
    ("severity", |threat| json!(threat.severity)),
    ("confidence", |threat| json!(threat.confidence)),
    ("risk", |threat| json!(threat.risk)),
    ("outcome", |threat| json!(threat.outcome)),
    ("category", |threat| json!(threat.category)),
    ("actor", |threat| json!(threat.actor)),
    ("addresses", |threat| json!(threat.addresses)),
    ("users", |threat| json!(threat.users)),
    ("first_time", |threat| json!(threat.first_time)),
    ("last_time", |threat| json!(threat.last_time)),
    ("events", |threat| json!(threat.events)),
    ("lines", |threat| json!(line_ranges(&threat.lines, usize::MAX))),
    ("indicators", |threat| threat.indicators.iter().map(|indicator| json!(indicator.value)).collect()),
    ("rule_ids", |threat| json!(threat.rule_ids)),
    ("techniques", |threat| json!(threat.techniques)),
    ("description", |threat| json!(threat.description)),
    ("recommendation", |threat| json!(threat.recommendation)),
];

/// The threats of `analysis`, a record each, after a header.
///
/// # Errors
/// None that memory does not cause.
pub fn threats(analysis: &Analysis) -> anyhow::Result<Vec<u8>> {
    let mut out = vec![];
    record(&mut out, &COLUMNS.iter().map(|(name, _)| json!(name)).collect::<Vec<_>>())?;
    for threat in &analysis.threats {
        record(&mut out, &COLUMNS.iter().map(|(_, value)| value(threat)).collect::<Vec<_>>())?;
    }
    Ok(out)
}

/// One record.
pub fn record<'a>(out: &mut dyn Write, values: impl IntoIterator<Item = &'a Value>) -> io::Result<()> {
    for (number, value) in values.into_iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        match value {
            Value::Null => write!(out, "{comma}")?,
            Value::Bool(_) | Value::Number(_) => write!(out, "{comma}{value}")?,
            Value::String(text) => write!(out, "{comma}{}", cell(text))?,
            Value::Array(texts) => {
                let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
                write!(out, "{comma}{}", cell(&texts.join(" ")))?;
            }
            Value::Object(_) => write!(out, "{comma}{}", cell(&value.to_string()))?,
        }
    }
    out.write_all(b"\r\n")
}

/// Text between quotes. Spreadsheets take for a formula what begins with one of these signs, also as wide
/// letters and after spaces; after an apostrophe it is text.
fn cell(text: &str) -> String {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%'])
        || text.starts_with(['\t', '\r', '\n']);
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", printable(text.as_bytes(), LIMIT).replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(values: &[Value]) -> String {
        let mut out = vec![];
        record(&mut out, values).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_quoted_and_no_formula_begins_one() {
        let values =
            [json!("a,b \"c\""), json!(-7), json!(null), json!(true), json!(["x", "y"]), json!("é\u{202e}\x1b[2J\r\n")];
        assert_eq!(one(&values), "\"a,b \"\"c\"\"\",-7,,true,\"x y\",\"é\\u{202e}\\u{1b}[2J\\r\\n\"\r\n");
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "|calc", "=cmd|' /C calc'!A0"] {
            assert!(one(&[json!(text)]).starts_with("\"'"), "{text:?}");
        }
        assert_eq!(one(&[json!("/a=1")]), "\"/a=1\"\r\n");
    }

    proptest! {
        /// A reader of RFC 4180 gets one record of as many fields, each text printable and no formula.
        #[test]
        fn whatever_is_logged_is_one_field(texts in proptest::collection::vec("\\PC*|[=+@\",\r\n\t;'-]{0,6}", 1..5)) {
            let values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
            let line = one(&values);
            let body = line.strip_suffix("\r\n").unwrap();
            prop_assert!(!body.contains(['\r', '\n', '\t', '\x1b']));
            let mut fields = vec![];
            let mut rest = body;
            loop {
                let mut field = String::new();
                rest = rest.strip_prefix('"').unwrap();
                loop {
                    let (part, after) = rest.split_once('"').unwrap();
                    field.push_str(part);
                    match after.strip_prefix('"') {
                        Some(more) => (field, rest) = (field + "\"", more),
                        None => { rest = after; break }
                    }
                }
                fields.push(field);
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            prop_assert_eq!(rest, "");
            prop_assert_eq!(fields.len(), texts.len());
            for field in fields {
                prop_assert!(!field.trim_start().starts_with(['=', '+', '-', '@']), "{}", field);
            }
        }
    }
}
