//! Anthropic's `/v1/messages`. It has no log-probabilities; an answer after a schema is the
//! argument of a tool that the model must call.

use serde_json::{Value, json};

use super::http::{Heard, Http};
use super::{Answer, Chat, LlmProvider, Message, ProviderError, Reply, Tool, ToolCall, Usage, http, reply};
use crate::event::Secret;
use crate::triage::TierConfig;

/// The version of the API that is spoken here.
const VERSION: &str = "2023-06-01";

/// The tool that takes the answer.
const ANSWER: &str = "answer";

pub struct Anthropic {
    http: Http,
    tier: TierConfig,
}

impl Anthropic {
    /// # Errors
    /// As [`Http::new`].
    pub fn new(tier: &TierConfig, key: &Secret) -> anyhow::Result<Anthropic> {
        let mut headers = vec![("anthropic-version", VERSION.to_owned())];
        if !key.is_empty() {
            headers.push(("x-api-key", key.reveal().to_owned()));
        }
        let http = Http::new(&http::versioned_base(&tier.url)?, &headers, key, super::deadline(tier))?;
        Ok(Anthropic { http, tier: tier.clone() })
    }

    fn request(&self, chat: &Chat<'_>) -> Value {
        let mut body = json!({
            "model": self.tier.model,
            "max_tokens": chat.max_output_tokens,
            "messages": turns(chat.messages),
        });
        let system: Vec<&str> = chat.messages.iter().filter_map(system).collect();
        if !system.is_empty() {
            body["system"] = system.join("\n\n").into();
        }
        let offer =
            |tool: &Tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters});
        let mut tools: Vec<Value> = chat.tools.iter().map(offer).collect();
        if let Some(schema) = chat.schema {
            tools.push(json!({"name": ANSWER, "description": "Takes the final answer.", "input_schema": schema}));
            body["tool_choice"] = match chat.tools {
                [] => json!({"type": "tool", "name": ANSWER}),
                _ => json!({"type": "any"}),
            };
        }
        if !tools.is_empty() {
            body["tools"] = tools.into();
        }
        reply::merge(&mut body, &self.tier.extra);
        body
    }
}

impl LlmProvider for Anthropic {
    fn chat<'a>(&'a self, chat: &'a Chat<'a>) -> Answer<'a, Reply> {
        Box::pin(self.http.in_time(async move {
            let heard = self.http.post("/messages", &self.request(chat)).await?;
            understand(heard, chat.schema.is_some())
        }))
    }

    fn models(&self) -> Answer<'_, Vec<String>> {
        Box::pin(self.http.in_time(async {
            let heard = self.http.get("/models", &[("limit", "1000")]).await?;
            let list = reply::names(&heard.json["data"]);
            list.ok_or_else(|| ProviderError::Malformed("it has no list of models".into()))
        }))
    }

    fn pull<'a>(&'a self, _progress: &'a (dyn Fn(u64, u64) + Send + Sync)) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Err(super::cannot_pull())))
    }
}

fn understand(heard: Heard, with_schema: bool) -> Result<Reply, ProviderError> {
    let Heard { json, bytes, allowance } = heard;
    let blocks = json["content"].as_array().ok_or_else(|| ProviderError::Malformed("it has no content".into()))?;
    let mut text = String::new();
    let of_type = |name: &'static str| blocks.iter().filter(move |block| block["type"] == name);
    for block in of_type("text") {
        text.push_str(block["text"].as_str().unwrap_or_default());
    }
    let mut calls = reply::tool_uses(of_type("tool_use"));
    if with_schema && let Some(place) = calls.iter().position(|call| call.name == ANSWER) {
        text = calls.remove(place).arguments.to_string();
    }
    let tokens = |name: &str| json["usage"][name].as_u64().unwrap_or(0);
    let input = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
    Ok(Reply {
        text: reply::without_thoughts(text),
        calls,
        first_token: None,
        cut: json["stop_reason"] == "max_tokens" || json["stop_reason"] == "model_context_window_exceeded",
        usage: Usage {
            input_tokens: input.map(tokens).into_iter().fold(0, u64::saturating_add),
            output_tokens: tokens("output_tokens"),
            ..bytes
        },
        allowance,
    })
}

fn system(message: &Message) -> Option<&str> {
    match message {
        Message::System(text) => Some(text),
        _ => None,
    }
}

/// What user and assistant said in turn. What tools gave is the user's, all of it in one turn.
fn turns(messages: &[Message]) -> Value {
    let mut turns: Vec<(&str, Vec<Value>)> = vec![];
    for message in messages {
        let (role, blocks) = match message {
            Message::System(_) => continue,
            Message::User(text) => ("user", vec![said(text)]),
            Message::Assistant { text, calls } => {
                let text = (!text.is_empty()).then(|| said(text));
                ("assistant", text.into_iter().chain(calls.iter().map(used)).collect())
            }
            Message::Tool { id, text, .. } => {
                ("user", vec![json!({"type": "tool_result", "tool_use_id": id, "content": text})])
            }
        };
        if blocks.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some((last, before)) if *last == role => before.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    turns.into_iter().map(|(role, blocks)| json!({"role": role, "content": blocks})).collect()
}

fn said(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn used(call: &ToolCall) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": reply::object(&call.arguments)})
}
