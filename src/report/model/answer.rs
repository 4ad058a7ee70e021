//! A model's answer, as far as it can be read.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Bytes of an answer that are looked at: a hundred times what is asked for.
const LIMIT: usize = 1 << 20;
/// Objects in it that are tried.
const STARTS: usize = 64;

/// What a model said; `summary` alone must be there.
#[derive(Deserialize)]
pub struct Answer {
    #[serde(deserialize_with = "claims")]
    pub summary: Vec<Said>,
    #[serde(default, deserialize_with = "claims")]
    pub chain: Vec<Said>,
    #[serde(default, deserialize_with = "maybe")]
    pub goal: Option<Said>,
    #[serde(default, deserialize_with = "claims")]
    pub plan: Vec<Said>,
    #[serde(default, deserialize_with = "claims")]
    pub recommendations: Vec<Said>,
}

/// A sentence as it came, before anything of it is believed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Said {
    pub text: String,
    pub threats: Vec<String>,
    pub lines: Vec<u64>,
}

impl Answer {
    /// The last object in `text` that is an answer, whatever stands around it: models that think aloud write drafts.
    pub fn read(text: &str) -> Option<Answer> {
        let mut end = text.len().min(LIMIT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        // From the front, each object passed over whole, so that nothing is read twice.
        let mut found = None;
        let mut at = 0;
        for _ in 0..STARTS {
            let Some(start) = text[at..].find('{') else { break };
            at += start;
            let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
            match values.next() {
                Some(Ok(value)) => {
                    at += values.byte_offset().max(1);
                    found = serde_json::from_value(value).ok().or(found);
                }
                _ => at += 1,
            }
        }
        found
    }
}

/// Sentences; what is none becomes one without text and citation, which is dropped and counted.
fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Said>, D::Error> {
    let values = Value::deserialize(deserializer)?;
    let items = values.as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().map(|item| serde_json::from_value(item).unwrap_or_default()).collect())
}

fn maybe<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Said>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(if value.is_null() { None } else { Some(serde_json::from_value(value).unwrap_or_default()) })
}
