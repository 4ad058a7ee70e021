//! What OpenAI's and Ollama's answers have in common, taken from JSON of any shape: what is not as
//! expected is absent.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{Tool, ToolCall};

/// No answer asks for more at once that is heard.
const MAX_CALLS: usize = 16;

/// No server gives more alternatives.
const MAX_ALTERNATIVES: usize = 20;

/// A message's content: text, parts of which some are text, or null.
pub fn text(content: &Value) -> Option<String> {
    let part = |part: &Value| part.as_str().or_else(|| part["text"].as_str()).map(String::from);
    match content {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(part).collect()),
        _ => None,
    }
}

/// `text` without what a model thought aloud: `<think>…</think>`, also when it has no end or no
/// beginning. JSON stays whole, whatever stands in its strings.
pub fn without_thoughts(text: String) -> String {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    if !text.contains(OPEN) && !text.contains(CLOSE) || serde_json::from_str::<IgnoredAny>(&text).is_ok() {
        return text;
    }
    let mut rest = match (text.find(OPEN), text.find(CLOSE)) {
        (open, Some(close)) if open.is_none_or(|open| close < open) => &text[close + CLOSE.len()..],
        _ => text.as_str(),
    };
    let mut said = String::new();
    while let Some((before, thought)) = rest.split_once(OPEN) {
        said.push_str(before);
        rest = thought.split_once(CLOSE).map_or("", |(_, after)| after);
    }
    said.push_str(rest);
    said.replace(CLOSE, "").trim().to_owned()
}

/// Alternatives for the first of `tokens`, each `{"token", "logprob", "top_logprobs"}`.
pub fn first_token(tokens: &Value) -> Option<Vec<(String, f64)>> {
    let pair = |one: &Value| Some((one["token"].as_str()?.to_owned(), one["logprob"].as_f64()?));
    let first = tokens.get(0)?;
    let top = first["top_logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut all: Vec<(String, f64)> = top.iter().take(MAX_ALTERNATIVES).filter_map(pair).collect();
    // The one that was taken need not be among the likeliest.
    if let Some(taken) = pair(first)
        && all.iter().all(|(token, _)| *token != taken.0)
    {
        all.push(taken);
    }
    (!all.is_empty()).then_some(all)
}

/// `tool_calls`, whose arguments are an object or, in OpenAI's way, JSON as a text.
pub fn calls(calls: &Value) -> Vec<ToolCall> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let call = |call: &Value| ToolCall {
        id: text(&call["id"]),
        name: text(&call["function"]["name"]),
        arguments: match &call["function"]["arguments"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
            other => other.clone(),
        },
    };
    calls.as_array().map(Vec::as_slice).unwrap_or_default().iter().take(MAX_CALLS).map(call).collect()
}

/// The same in Anthropic's way: blocks with an `input`.
pub fn tool_uses<'a>(blocks: impl Iterator<Item = &'a Value>) -> Vec<ToolCall> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let call = |block: &Value| ToolCall {
        id: text(&block["id"]),
        name: text(&block["name"]),
        arguments: block["input"].clone(),
    };
    blocks.take(MAX_CALLS).map(call).collect()
}

/// `tools` as they are offered.
pub fn offer(tools: &[Tool]) -> Value {
    let function =
        |tool: &Tool| json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
    tools.iter().map(|tool| json!({"type": "function", "function": function(tool)})).collect()
}

/// Arguments as the object that most servers want back.
pub fn object(arguments: &Value) -> Value {
    if arguments.is_object() { arguments.clone() } else { json!({}) }
}

/// The names in a list of `{"id"}` or `{"name"}`.
pub fn names(models: &Value) -> Option<Vec<String>> {
    let name = |model: &Value| ["id", "name", "model"].iter().find_map(|key| model[key].as_str().map(String::from));
    Some(models.as_array()?.iter().filter_map(name).collect())
}

/// Puts what the operator added into a request; of what is an object in both, its fields.
pub fn merge(body: &mut Value, extra: &std::collections::BTreeMap<String, Value>) {
    for (key, value) in extra {
        match (&mut body[key], value) {
            (Value::Object(ours), Value::Object(added)) => {
                ours.extend(added.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (place, _) => *place = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thoughts_are_left_out() {
        let cases = [
            ("{\"a\":1}", "{\"a\":1}"),
            ("<think>one</think>\n\n{\"a\":1}", "{\"a\":1}"),
            ("<think></think>benign", "benign"),
            ("<think>never ends {\"a\":1}", ""),
            ("the beginning was in the prompt</think>benign", "benign"),
            ("a<think>1</think>b<think>2</think>c", "abc"),
            ("<think>1</think>a</think>b", "ab"),
            ("{\"why\":\"<think> in a path\"}", "{\"why\":\"<think> in a path\"}"),
        ];
        for (text, said) in cases {
            assert_eq!(without_thoughts(text.into()), said, "{text}");
        }
    }

    #[test]
    fn the_token_that_was_taken_is_among_its_alternatives() {
        let tokens = json!([{"token": "c", "logprob": -3.0, "top_logprobs": [
            {"token": "a", "logprob": -0.5}, {"token": "b", "logprob": null}, {"token": 5, "logprob": -1}, "x",
        ]}, {"token": "later", "logprob": 0.0}]);
        assert_eq!(first_token(&tokens), Some(vec![("a".into(), -0.5), ("c".into(), -3.0)]));
        assert_eq!(first_token(&json!([])), None);
        assert_eq!(first_token(&json!("none")), None);
    }

    #[test]
    fn what_an_operator_adds_comes_last_and_into_objects() {
        let mut body = json!({"temperature": 0, "options": {"num_ctx": 4096, "seed": 1}});
        let extra = json!({"temperature": 1, "options": {"seed": 2, "num_thread": 2}, "think": false});
        merge(&mut body, &serde_json::from_value(extra).unwrap());
        let merged =
            json!({"temperature": 1, "options": {"num_ctx": 4096, "seed": 2, "num_thread": 2}, "think": false});
        assert_eq!(body, merged);
    }

    proptest! {
        #[test]
        fn no_tag_of_a_thought_is_left(parts in prop::collection::vec("<think>|</think>|[a-z{}\" <]{0,3}", 0..12)) {
            let said = without_thoughts(parts.concat());
            let whole = serde_json::from_str::<IgnoredAny>(&said).is_ok();
            prop_assert!(whole || !said.contains("</think>"), "{said}");
        }
    }
}
