//! Models behind an API: one trait, one file a provider. A provider speaks its wire format and
//! knows its errors; it neither retries nor counts, that is the tier's.

mod anthropic;
mod headers;
pub(in crate::triage) mod http;
mod ollama;
mod openai;
mod refusal;
mod reply;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::config::{Provider, TierConfig};
use crate::event::Secret;

/// The model of `tier`, asked in the way that its server has.
///
/// # Errors
/// The URL or the key cannot be used, or no CA certificates are installed.
pub fn build(tier: &TierConfig) -> anyhow::Result<Box<dyn LlmProvider>> {
    let built = || -> anyhow::Result<Box<dyn LlmProvider>> {
        let key = super::key(&tier.api_key, tier.api_key_file.as_deref())?;
        Ok(match tier.provider {
            Provider::Ollama => Box::new(ollama::Ollama::new(tier, &key)?),
            Provider::Openai => Box::new(openai::Openai::new(tier, &key)?),
            Provider::Anthropic => Box::new(anthropic::Anthropic::new(tier, &key)?),
        })
    };
    built().with_context(|| format!("tier {}", tier.name))
}

/// Whether the server at `url` is on this host or at a private address.
pub fn is_near(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| http::is_near(&url))
}

fn bearer(key: &Secret) -> Vec<(&'static str, String)> {
    if key.is_empty() { vec![] } else { vec![("authorization", format!("Bearer {}", key.reveal()))] }
}

fn deadline(tier: &TierConfig) -> Duration {
    Duration::from_secs(tier.timeout_secs)
}

fn cannot_pull() -> ProviderError {
    ProviderError::Refused {
        refusal: Refused::Unsupported,
        status: 0,
        text: "this server fetches no models".into(),
        retry_after: None,
    }
}

/// What a provider's call resolves to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// A server that runs language models.
///
/// A call ends by the tier's deadline whatever the server does; dropping its future closes the connection.
pub trait LlmProvider: Send + Sync {
    /// One completion.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or says what cannot be understood.
    fn chat<'a>(&'a self, chat: &'a Chat<'a>) -> Answer<'a, Reply>;

    /// Names of the models that can be asked for.
    ///
    /// # Errors
    /// As for [`chat`](Self::chat).
    fn models(&self) -> Answer<'_, Vec<String>>;

    /// Fetches the configured model where the server can do so, telling how far it is: bytes done
    /// and bytes in all.
    ///
    /// # Errors
    /// As for [`chat`](Self::chat); the server cannot fetch models, or knows none of that name.
    fn pull<'a>(&'a self, progress: &'a (dyn Fn(u64, u64) + Send + Sync)) -> Answer<'a, ()>;
}

/// What a model is asked.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    pub messages: &'a [Message],
    /// JSON schema of the answer; none: free text.
    pub schema: Option<&'a Value>,
    pub tools: &'a [Tool],
    /// Longer answers are cut.
    pub max_output_tokens: u32,
    /// So many alternatives for the answer's first token, with their log-probabilities; 0 asks for none.
    pub top_logprobs: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    System(String),
    User(String),
    Assistant {
        text: String,
        calls: Vec<ToolCall>,
    },
    /// What a tool gave for the call of this id.
    Tool {
        id: String,
        name: String,
        text: String,
    },
}

/// What a model may ask for.
#[derive(Clone, Debug)]
pub struct Tool {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON schema of its arguments.
    pub parameters: Value,
}

/// What a model asks for. Nothing in it is to be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Empty where the server gives none.
    pub id: String,
    pub name: String,
    /// Whatever JSON came; a text that is none comes as that text.
    pub arguments: Value,
}

/// What a model said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Without what stands in `<think>`.
    pub text: String,
    pub calls: Vec<ToolCall>,
    /// Alternatives for the first token of the text and their natural log-probabilities; `None`
    /// where the server gives none.
    pub first_token: Option<Vec<(String, f64)>>,
    /// It was longer than `max_output_tokens`.
    pub cut: bool,
    pub usage: Usage,
    pub allowance: Allowance,
}

/// What a call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// As the server counts them; 0 where it does not say.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Bytes of the request's body and of the answer's.
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

/// What the server says is left, from its rate-limit headers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowance {
    pub requests: Option<Left>,
    pub tokens: Option<Left>,
}

/// So much is left until it is full again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Left {
    pub remaining: u64,
    pub resets_after: Duration,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProviderError {
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The server answers with an error; its text is printable and cut. Status 0: it was not asked.
    #[error("{refusal}: {text}")]
    Refused { refusal: Refused, status: u16, text: String, retry_after: Option<Duration> },
    #[error("the answer cannot be understood: {0}")]
    Malformed(String),
}

/// What kind of error a server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the key is missing, wrong or without permission")]
    Key,
    #[error("payment is required")]
    Payment,
    #[error("there is no such model")]
    NoModel,
    #[error("too many requests or tokens")]
    TooMany,
    #[error("the model is loading or the server is busy")]
    Busy,
    /// The request does not fit the model's context.
    #[error("the request is too long")]
    TooLong,
    /// The model or server lacks what was asked for: log-probabilities, a schema, tools.
    #[error("not supported")]
    Unsupported,
    #[error("the request was not accepted")]
    Request,
    #[error("the server failed")]
    Server,
}

impl ProviderError {
    /// Whether the same request may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            ProviderError::Unreachable { .. } | ProviderError::TimedOut(_) => true,
            ProviderError::Refused { refusal, .. } => {
                matches!(refusal, Refused::TooMany | Refused::Busy | Refused::Server)
            }
            ProviderError::Malformed(_) => false,
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ProviderError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
