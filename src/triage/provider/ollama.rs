//! Ollama's own API: `/api/chat`, `/api/tags`, `/api/pull`.

use serde_json::{Value, json};

use super::http::{Heard, Http, Progress};
use super::{Answer, Chat, LlmProvider, Message, ProviderError, Refused, Reply, ToolCall, Usage, http, reply};
use crate::event::Secret;
use crate::triage::TierConfig;

/// A prompt that leaves fewer tokens of the context unused was cut, or would be with the next word.
const SPARE_TOKENS: u64 = 16;

/// Layers of a model whose progress is told apart.
const MAX_LAYERS: usize = 64;

pub struct Ollama {
    http: Http,
    tier: TierConfig,
}

impl Ollama {
    /// # Errors
    /// As [`Http::new`].
    pub fn new(tier: &TierConfig, key: &Secret) -> anyhow::Result<Ollama> {
        let base = http::base(&tier.url)?;
        let base = ["/v1", "/api"].iter().find_map(|end| base.strip_suffix(end)).unwrap_or(&base);
        let http = Http::new(base, &super::bearer(key), key, super::deadline(tier))?;
        Ok(Ollama { http, tier: tier.clone() })
    }

    fn request(&self, chat: &Chat<'_>) -> Value {
        let mut body = json!({
            "model": self.tier.model,
            "messages": chat.messages.iter().map(message).collect::<Value>(),
            "stream": false,
            "options": {
                "num_ctx": self.tier.context_tokens,
                "num_predict": chat.max_output_tokens,
                "temperature": 0,
                "top_p": 1,
                "seed": 1,
            },
            // A number of seconds is a number there, a duration a text.
            "keep_alive": self.tier.keep_alive.parse::<i64>().map_or_else(|_| json!(self.tier.keep_alive), Value::from),
            // Else it cuts what is too long from the front, silently. Servers before both ignore them.
            "truncate": false,
            "shift": false,
        });
        if let Some(schema) = chat.schema {
            body["format"] = schema.clone();
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

    fn reply(&self, heard: Heard) -> Result<Reply, ProviderError> {
        let Heard { json, bytes, allowance } = heard;
        let message = &json["message"];
        let content = reply::text(&message["content"]).filter(|_| message.is_object());
        let content = content.ok_or_else(|| ProviderError::Malformed("it has no message".into()))?;
        let usage = Usage {
            input_tokens: json["prompt_eval_count"].as_u64().unwrap_or(0),
            output_tokens: json["eval_count"].as_u64().unwrap_or(0),
            ..bytes
        };
        let context = u64::from(self.tier.context_tokens);
        let used = usage.input_tokens.saturating_add(usage.output_tokens);
        if used.saturating_add(SPARE_TOKENS) > context {
            return Err(ProviderError::Refused {
                refusal: Refused::TooLong,
                status: 200,
                text: format!("{used} tokens fill the context of {context}, so the prompt was cut"),
                retry_after: None,
            });
        }
        let text = reply::without_thoughts(content.clone());
        Ok(Reply {
            first_token: reply::first_token(&json["logprobs"]).filter(|_| text == content),
            text,
            calls: reply::calls(&message["tool_calls"]),
            cut: json["done_reason"] == "length",
            usage,
            allowance,
        })
    }
}

impl LlmProvider for Ollama {
    fn chat<'a>(&'a self, chat: &'a Chat<'a>) -> Answer<'a, Reply> {
        Box::pin(self.http.in_time(async move {
            let heard = self.http.post("/api/chat", &self.request(chat)).await?;
            self.reply(heard)
        }))
    }

    fn models(&self) -> Answer<'_, Vec<String>> {
        Box::pin(self.http.in_time(async {
            let heard = self.http.get("/api/tags", &[]).await?;
            reply::names(&heard.json["models"])
                .ok_or_else(|| ProviderError::Malformed("it has no list of models".into()))
        }))
    }

    fn pull<'a>(&'a self, progress: &'a (dyn Fn(u64, u64) + Send + Sync)) -> Answer<'a, ()> {
        let body = json!({"model": self.tier.model, "stream": true});
        let mut layers: Vec<Layer> = vec![];
        let mut last = String::new();
        Box::pin(async move {
            let take = |line: Value| {
                let status = line["status"].as_str().unwrap_or_default();
                if status == "success" {
                    return Ok(Progress::Done);
                }
                let mut news = status != last;
                last = status.to_owned();
                if let Some(layer) = Layer::of(&line) {
                    if let Some(known) = layers.iter_mut().find(|known| known.digest == layer.digest) {
                        news |= layer.done > known.done;
                        *known = layer;
                    } else if layers.len() < MAX_LAYERS {
                        layers.push(layer);
                    }
                    let sum = |of: fn(&Layer) -> u64| layers.iter().map(of).fold(0, u64::saturating_add);
                    progress(sum(|layer| layer.done), sum(|layer| layer.total));
                }
                Ok(if news { Progress::News } else { Progress::Same })
            };
            self.http.follow("/api/pull", &body, take).await
        })
    }
}

/// How far one part of a model is, in bytes.
struct Layer {
    digest: String,
    done: u64,
    total: u64,
}

impl Layer {
    fn of(line: &Value) -> Option<Layer> {
        let total = line["total"].as_u64()?;
        let done = line["completed"].as_u64().unwrap_or(0).min(total);
        Some(Layer { digest: line["digest"].as_str()?.to_owned(), done, total })
    }
}

fn message(message: &Message) -> Value {
    match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(text) => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls } if calls.is_empty() => json!({"role": "assistant", "content": text}),
        Message::Assistant { text, calls } => {
            let call =
                |call: &ToolCall| json!({"function": {"name": call.name, "arguments": reply::object(&call.arguments)}});
            json!({"role": "assistant", "content": text, "tool_calls": calls.iter().map(call).collect::<Value>()})
        }
        Message::Tool { name, text, .. } => json!({"role": "tool", "tool_name": name, "content": text}),
    }
}
