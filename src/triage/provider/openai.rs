//! `/chat/completions` and `/models` as OpenAI has them, and with it Cerebras, Groq, OpenRouter,
//! vLLM and llama.cpp.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::http::{Heard, Http};
use super::{Answer, Chat, LlmProvider, Message, ProviderError, Reply, ToolCall, Usage, http, reply};
use crate::event::Secret;
use crate::triage::TierConfig;

/// The limit on the answer under its present name and the one that older servers know.
const LIMIT: &str = "max_completion_tokens";
const OLD_LIMIT: &str = "max_tokens";

pub struct Openai {
    http: Http,
    tier: TierConfig,
    /// The server refused the present name and took the old one.
    knows_old_limit: AtomicBool,
}

impl Openai {
    /// # Errors
    /// As [`Http::new`].
    pub fn new(tier: &TierConfig, key: &Secret) -> anyhow::Result<Openai> {
        let base = http::versioned_base(&tier.url)?;
        let http = Http::new(&base, &super::bearer(key), key, super::deadline(tier))?;
        Ok(Openai { http, tier: tier.clone(), knows_old_limit: AtomicBool::new(false) })
    }

    fn request(&self, chat: &Chat<'_>, limit: &str) -> Value {
        let mut body = json!({
            "model": self.tier.model,
            "messages": chat.messages.iter().map(message).collect::<Value>(),
            "stream": false,
            "temperature": 0,
        });
        body[limit] = chat.max_output_tokens.into();
        if let Some(schema) = chat.schema {
            body["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}});
        }
        if !chat.tools.is_empty() {
            body["tools"] = reply::offer(chat.tools);
        }
        if chat.top_logprobs > 0 {
            body["logprobs"] = true.into();
            body["top_logprobs"] = chat.top_logprobs.into();
        }
        reply::merge(&mut body, &self.tier.extra);
        body
    }

    /// Asks under the present name of the limit; a server that refuses by this name is asked once
    /// more, and from then on, under the old one. Both requests count as sent.
    async fn ask(&self, chat: &Chat<'_>) -> Result<Heard, ProviderError> {
        const PATH: &str = "/chat/completions";
        if self.knows_old_limit.load(Ordering::Relaxed) {
            return self.http.post(PATH, &self.request(chat, OLD_LIMIT)).await;
        }
        let request = self.request(chat, LIMIT);
        match self.http.post(PATH, &request).await {
            Err(ProviderError::Refused { status: 400 | 422, text, .. }) if text.contains(LIMIT) => {}
            answer => return answer,
        }
        let mut heard = self.http.post(PATH, &self.request(chat, OLD_LIMIT)).await?;
        heard.bytes.sent_bytes += request.to_string().len() as u64;
        self.knows_old_limit.store(true, Ordering::Relaxed);
        Ok(heard)
    }
}

impl LlmProvider for Openai {
    fn chat<'a>(&'a self, chat: &'a Chat<'a>) -> Answer<'a, Reply> {
        Box::pin(self.http.in_time(async move { understand(self.ask(chat).await?) }))
    }

    fn models(&self) -> Answer<'_, Vec<String>> {
        Box::pin(self.http.in_time(async {
            let json = self.http.get("/models", &[]).await?.json;
            let list = [&json["data"], &json["models"], &json].into_iter().find_map(reply::names);
            list.ok_or_else(|| ProviderError::Malformed("it has no list of models".into()))
        }))
    }

    fn pull<'a>(&'a self, _progress: &'a (dyn Fn(u64, u64) + Send + Sync)) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Err(super::cannot_pull())))
    }
}

fn understand(heard: Heard) -> Result<Reply, ProviderError> {
    let Heard { json, bytes, allowance } = heard;
    let choice = &json["choices"][0];
    let message = &choice["message"];
    let content = reply::text(&message["content"]).filter(|_| message.is_object());
    let content = content.ok_or_else(|| ProviderError::Malformed("it has no message".into()))?;
    let text = reply::without_thoughts(content.clone());
    let tokens = |name: &str| json["usage"][name].as_u64().unwrap_or(0);
    Ok(Reply {
        first_token: reply::first_token(&choice["logprobs"]["content"]).filter(|_| text == content),
        text,
        calls: reply::calls(&message["tool_calls"]),
        cut: choice["finish_reason"] == "length",
        usage: Usage { input_tokens: tokens("prompt_tokens"), output_tokens: tokens("completion_tokens"), ..bytes },
        allowance,
    })
}

fn message(message: &Message) -> Value {
    match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(text) => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls } if calls.is_empty() => json!({"role": "assistant", "content": text}),
        Message::Assistant { text, calls } => {
            let call = |call: &ToolCall| {
                let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                json!({"id": call.id, "type": "function", "function": function})
            };
            let content = if text.is_empty() { Value::Null } else { text.as_str().into() };
            json!({"role": "assistant", "content": content, "tool_calls": calls.iter().map(call).collect::<Value>()})
        }
        Message::Tool { id, text, .. } => json!({"role": "tool", "tool_call_id": id, "content": text}),
    }
}
