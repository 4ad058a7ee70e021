//! Models and reputation services, played by a server that answers as it is told.

mod answers;
mod daemon;
mod hostile;
mod injection;
mod manners;
mod providers;
mod real_model;
mod reputation;
mod servers;

use std::future::Future;

use palisade::triage::provider::{self, Chat, LlmProvider, Message, ProviderError, Refused};
use palisade::triage::{Provider, TierConfig};

use crate::support::standin::Standin;

const ALL: [Provider; 3] = [Provider::Ollama, Provider::Openai, Provider::Anthropic];

/// What the tests' key is.
const KEY: &str = "sk-0123456789abcdef";

/// A tier with a deadline of one second.
fn tier(provider: Provider, url: &str) -> TierConfig {
    let kind = format!("{provider:?}").to_lowercase();
    let text = format!(
        "name = \"t\"\nprovider = \"{kind}\"\nurl = \"{url}\"\nmodel = \"m\"\napi_key = \"{KEY}\"\ntimeout_secs = 1"
    );
    toml::from_str(&text).unwrap()
}

fn client(provider: Provider, server: &Standin) -> Box<dyn LlmProvider> {
    provider::build(&tier(provider, &server.url())).unwrap()
}

/// A short question that asks for nothing but text.
fn question(messages: &[Message]) -> Chat<'_> {
    Chat { messages, schema: None, tools: &[], max_output_tokens: 64, top_logprobs: 0 }
}

fn user(text: &str) -> Message {
    Message::User(text.into())
}

/// Runs `test` to its end.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// What kind of refusal an error is; none when it is another error.
fn refusal(error: &ProviderError) -> Option<Refused> {
    match error {
        ProviderError::Refused { refusal, .. } => Some(*refusal),
        _ => None,
    }
}
