//! One tier: a model with its limits, and how its answer becomes an opinion.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Semaphore;

use super::limits::{Barred, Limits, Today, locked};
use super::prompt::{self, Said};
use super::provider::{Chat, LlmProvider, Message, ProviderError, Refused, Reply, Tool, Usage};
use super::tools::{About, Conversation, Toolbox};
use super::{Ask, TierConfig, View};
use crate::event::{ModelCall, Timestamp, VerdictClass};

/// Times that a call is made again after an error that may pass.
const RETRIES: u32 = 1;
/// Longest pause before that; limits that hold longer are an answer of their own.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// A model is loaded by then.
const WARM_UP: Duration = Duration::from_secs(300);
/// Alternatives of a label's first token: as many as any server gives.
const TOP_LOGPROBS: u8 = 20;
/// Tokens of a label: one, and one for servers that begin with a space of its own.
const LABEL_TOKENS: u32 = 2;
/// Of an object with nothing but a label.
const LABEL_OBJECT_TOKENS: u32 = 32;
/// Bytes of English and of code to a token, for limits before a call.
const BYTES_PER_TOKEN: u64 = 3;

/// A model that is asked, and what became of it.
pub struct Tier {
    pub config: TierConfig,
    provider: Box<dyn LlmProvider>,
    limits: Mutex<Limits>,
    slots: Semaphore,
    stats: Mutex<TierStats>,
    /// The server has shown that it gives no log-probabilities, or takes no tools.
    no_logprobs: AtomicBool,
    no_tools: AtomicBool,
}

/// What a tier did since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TierStats {
    pub name: String,
    pub model: String,
    pub calls: u64,
    pub malicious: u64,
    pub benign: u64,
    pub uncertain: u64,
    pub errors: u64,
    pub timeouts: u64,
    /// Answers in which no verdict could be found.
    pub malformed: u64,
    /// Findings that were left to the next tier.
    pub escalated: u64,
    /// Opinions that an earlier tier had too, and those it had not.
    pub agreed: u64,
    pub disagreed: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub sent_bytes: u64,
    pub usd: f64,
    /// Of all calls together.
    pub millis: u64,
    /// What is wrong now, and the way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl TierStats {
    /// What an operator may want to change; nothing before there were enough calls to say so.
    pub fn advice(&self) -> Vec<String> {
        const ENOUGH: u64 = 20;
        let opinions = self.malicious + self.benign + self.uncertain;
        let mut advice = vec![];
        if self.calls >= ENOUGH && self.errors * 20 > self.calls {
            advice.push(format!("{} of {} calls fail: `palisade triage check`", self.errors, self.calls));
        }
        if opinions >= ENOUGH && self.escalated * 10 > opinions * 3 {
            advice.push(format!(
                "{} of {opinions} opinions are left to the next tier: `palisade calibrate`",
                self.escalated
            ));
        }
        if self.calls >= ENOUGH && self.millis > self.calls * 3000 {
            let secs = self.millis / self.calls / 1000;
            advice.push(format!("a call takes {secs} s: a smaller model, or more cores"));
        }
        advice
    }
}

/// Why a tier has no opinion.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unanswered {
    #[error(transparent)]
    Barred(#[from] Barred),
    #[error(transparent)]
    Failed(#[from] ProviderError),
    #[error("no verdict can be found in its answer")]
    NoVerdict,
}

/// What is asked about.
pub struct Asked<'a> {
    pub view: &'a View,
    /// An earlier tier's opinion, and what memory knows.
    pub first: &'a str,
    pub known: &'a str,
    pub about: &'a About,
}

/// An opinion, and what it rests on beside the text of the question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub said: Said,
    /// Tools looked at the client: the opinion is of nobody else.
    pub of_client: bool,
    /// A reputation service knows the address for abuse.
    pub ill_reputed: bool,
}

impl Tier {
    /// `today` is what the day has cost before the start.
    pub fn new(config: TierConfig, provider: Box<dyn LlmProvider>, today: Today) -> Tier {
        let stats = TierStats { name: config.name.clone(), model: config.model.clone(), ..TierStats::default() };
        Tier {
            limits: Mutex::new(Limits::new(config.caps(), today, Instant::now())),
            slots: Semaphore::new(config.max_concurrent as usize),
            stats: Mutex::new(stats),
            provider,
            config,
            no_logprobs: AtomicBool::new(false),
            no_tools: AtomicBool::new(false),
        }
    }

    pub fn stats(&self) -> TierStats {
        locked(&self.stats).clone()
    }

    /// Notes how this tier's opinion became what it is for the finding.
    pub fn note(&self, what: impl FnOnce(&mut TierStats)) {
        what(&mut locked(&self.stats));
    }

    /// What is wrong with the model by the server's own list, or with the server; `None` if nothing is.
    pub async fn problem(&self) -> Option<String> {
        let listed = match bounded(self.timeout(), self.provider.models()).await {
            Ok(listed) => listed,
            Err(error) => return Some(format!("tier {}: {error}", self.config.name)),
        };
        // Ollama lists `phi3.5:latest` for `phi3.5`.
        let is_it = |name: &String| *name == self.config.model || *name == format!("{}:latest", self.config.model);
        if listed.iter().any(is_it) {
            return None;
        }
        let some: Vec<&str> = listed.iter().map(String::as_str).take(8).collect();
        Some(format!(
            "tier {}: {} has no model {}; it has {}: set `model`, or fetch it with `palisade triage pull {}`",
            self.config.name,
            self.config.url,
            self.config.model,
            if some.is_empty() { "none".into() } else { some.join(", ") },
            self.config.name
        ))
    }

    /// Has a server nearby load its model and keep the part of the question that is always the same: on a
    /// small machine that takes a minute, which no case should wait for.
    pub async fn warm_up(&self) {
        if self.config.ask() != Ask::Label || !self.config.is_near() {
            return;
        }
        let mut messages = label_messages(&View::from_text(String::new()));
        messages.pop();
        messages.pop();
        let chat = Chat { messages: &messages, schema: None, tools: &[], max_output_tokens: 1, top_logprobs: 0 };
        // Nobody waits for it, and what is wrong shows when a case is asked about.
        let _ = bounded(WARM_UP, self.provider.chat(&chat)).await;
    }

    /// Has the server fetch the model.
    pub async fn pull(&self, progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<(), ProviderError> {
        self.provider.pull(progress).await
    }

    /// Asks for an opinion; adds to `ledger` every call that was made.
    pub async fn ask(
        &self,
        asked: &Asked<'_>,
        toolbox: &Toolbox,
        ledger: &mut Vec<ModelCall>,
    ) -> Result<Answered, Unanswered> {
        let answer = match self.config.ask() {
            Ask::Label => {
                self.ask_label(asked, ledger).await.map(|said| Answered { said, of_client: false, ill_reputed: false })
            }
            Ask::Verdict => self.ask_verdict(asked, toolbox, ledger).await,
        };
        self.note(|stats| match &answer {
            Ok(answer) => {
                stats.problem = None;
                match answer.said.class {
                    VerdictClass::Malicious => stats.malicious += 1,
                    VerdictClass::Benign => stats.benign += 1,
                    VerdictClass::Uncertain => stats.uncertain += 1,
                }
            }
            Err(Unanswered::NoVerdict) => stats.malformed += 1,
            Err(error) => {
                let problem = format!("tier {}: {error}", stats.name);
                if stats.problem.as_ref() != Some(&problem) {
                    tracing::warn!("{problem}; rules decide without it");
                }
                stats.problem = Some(problem);
            }
        });
        answer
    }

    /// The log-odds of malice that the model gives a view: what calibration fits.
    ///
    /// # Errors
    /// It does not answer, or gives no log-probabilities.
    pub async fn log_odds(&self, view: &View, ledger: &mut Vec<ModelCall>) -> Result<f64, Unanswered> {
        let messages = label_messages(view);
        let chat = label_chat(&messages);
        let reply = self.chat(&chat, "", ledger).await?;
        let first = reply.first_token.ok_or(Unanswered::NoVerdict)?;
        prompt::log_odds(&first).ok_or(Unanswered::NoVerdict)
    }

    async fn ask_label(&self, asked: &Asked<'_>, ledger: &mut Vec<ModelCall>) -> Result<Said, Unanswered> {
        let messages = label_messages(asked.view);
        if !self.no_logprobs.load(Relaxed) {
            match self.chat(&label_chat(&messages), &asked.about.finding_id, ledger).await {
                Ok(Reply { first_token: Some(first), .. }) => {
                    let said = prompt::read_label(&first, self.config.slope, self.config.offset);
                    return said.ok_or(Unanswered::NoVerdict);
                }
                Ok(_) | Err(Unanswered::Failed(ProviderError::Refused { refusal: Refused::Unsupported, .. })) => {
                    tracing::info!(tier = self.config.name, "no log-probabilities: a plain label is asked for");
                    self.no_logprobs.store(true, Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        let schema = prompt::label_schema();
        let chat = Chat {
            messages: &messages,
            schema: Some(&schema),
            tools: &[],
            max_output_tokens: LABEL_OBJECT_TOKENS,
            top_logprobs: 0,
        };
        let reply = self.chat(&chat, &asked.about.finding_id, ledger).await?;
        prompt::read_verdict(&reply.text).ok_or(Unanswered::NoVerdict)
    }

    async fn ask_verdict(
        &self,
        asked: &Asked<'_>,
        toolbox: &Toolbox,
        ledger: &mut Vec<ModelCall>,
    ) -> Result<Answered, Unanswered> {
        let case = prompt::case(asked.view, asked.first, asked.known);
        let mut messages = vec![Message::System(prompt::VERDICT_SYSTEM.into()), Message::User(case)];
        let schema = prompt::verdict_schema();
        let mut talk = Conversation::new(toolbox, asked.about);
        while let Some(tools) = talk.tools().filter(|_| !self.no_tools.load(Relaxed)) {
            let reply =
                match self.chat(&self.verdict_chat(&messages, None, tools), &asked.about.finding_id, ledger).await {
                    Err(Unanswered::Failed(ProviderError::Refused { refusal: Refused::Unsupported, .. })) => {
                        tracing::info!(tier = self.config.name, "takes no tools: it judges without");
                        self.no_tools.store(true, Relaxed);
                        break;
                    }
                    other => other?,
                };
            if reply.calls.is_empty() {
                if let Some(said) = prompt::read_verdict(&reply.text) {
                    return Ok(talk.concluded(said));
                }
                break;
            }
            talk.answer(reply, &mut messages, ledger).await;
        }
        // No more tools: an answer, and by the schema.
        let chat = self.verdict_chat(&messages, Some(&schema), &[]);
        let reply = self.chat(&chat, &asked.about.finding_id, ledger).await?;
        let said = prompt::read_verdict(&reply.text).ok_or(Unanswered::NoVerdict)?;
        Ok(talk.concluded(said))
    }

    fn verdict_chat<'a>(
        &self,
        messages: &'a [Message],
        schema: Option<&'a serde_json::Value>,
        tools: &'a [Tool],
    ) -> Chat<'a> {
        Chat { messages, schema, tools, max_output_tokens: self.config.max_output_tokens, top_logprobs: 0 }
    }

    /// What others asked of it today counts too.
    pub fn learn(&self, today: Today) {
        locked(&self.limits).learn(today);
    }

    /// One call within the limits, and again if its error may pass; adds to `ledger` what was sent.
    ///
    /// # Errors
    /// It may not be asked now, or does not answer.
    pub async fn chat(&self, chat: &Chat<'_>, about: &str, ledger: &mut Vec<ModelCall>) -> Result<Reply, Unanswered> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let estimate = estimated_tokens(chat);
        let mut attempt = 0;
        loop {
            self.admitted(estimate).await?;
            let guard = Admitted(Some(&self.limits));
            let (at, started) = (Timestamp::now(), Instant::now());
            let outcome = bounded(self.timeout(), self.provider.chat(chat)).await;
            guard.known();
            ledger.push(self.account((at, started), about, chat, &outcome));
            let error = match outcome {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if attempt == RETRIES || !error.is_retryable() || matches!(error, ProviderError::TimedOut(_)) {
                return Err(error.into());
            }
            attempt += 1;
            // Longer each time, and not in step with others.
            let jitter = Duration::from_millis(u64::from(started.elapsed().subsec_nanos() % 250));
            let pause = error.retry_after().unwrap_or(Duration::from_millis(250 << attempt)) + jitter;
            if pause > MAX_WAIT {
                return Err(error.into());
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits a moment for the limits.
    async fn admitted(&self, estimate: u64) -> Result<(), Barred> {
        let admit = || locked(&self.limits).admit(estimate, Instant::now(), Timestamp::now());
        match admit() {
            Err(Barred::Until(wait)) if wait <= MAX_WAIT => {
                tokio::time::sleep(wait).await;
                admit()
            }
            answer => answer,
        }
    }

    fn account(
        &self,
        (at, started): (Timestamp, Instant),
        finding_id: &str,
        chat: &Chat<'_>,
        outcome: &Result<Reply, ProviderError>,
    ) -> ModelCall {
        let estimate = estimated_tokens(chat);
        let now = Instant::now();
        let millis = u64::try_from(now.duration_since(started).as_millis()).unwrap_or(u64::MAX);
        // What is refused has left all the same; only of an answer is it known to the byte.
        let sent_at_least = Usage { sent_bytes: text_bytes(chat), ..Usage::default() };
        let usage = outcome.as_ref().map_or(sent_at_least, |reply| reply.usage);
        let usd = (usage.input_tokens as f64 * self.config.usd_per_million_input
            + usage.output_tokens as f64 * self.config.usd_per_million_output)
            / 1e6;
        match outcome {
            Ok(reply) => locked(&self.limits).answered(usage, estimate, usd, reply.allowance, now),
            Err(error) => locked(&self.limits).failed(error, now),
        }
        self.note(|stats| {
            stats.calls += 1;
            stats.errors += u64::from(outcome.is_err());
            stats.timeouts += u64::from(matches!(outcome, Err(ProviderError::TimedOut(_))));
            stats.input_tokens += usage.input_tokens;
            stats.output_tokens += usage.output_tokens;
            stats.sent_bytes += usage.sent_bytes;
            stats.usd += usd;
            stats.millis += millis;
        });
        ModelCall {
            at,
            service: self.config.name.clone(),
            model: self.config.model.clone(),
            finding_id: finding_id.to_owned(),
            outcome: outcome.as_ref().map_or_else(ToString::to_string, |_| "answered".into()),
            millis,
            sent_bytes: usage.sent_bytes,
            received_bytes: usage.received_bytes,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            usd,
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.config.timeout_secs)
    }
}

/// A call under way: if it is given up, its breaker must not wait for it for ever.
struct Admitted<'a>(Option<&'a Mutex<Limits>>);

impl Admitted<'_> {
    fn known(mut self) {
        self.0 = None;
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(limits) = self.0 {
            locked(limits).abandoned();
        }
    }
}

fn label_messages(view: &View) -> Vec<Message> {
    let mut messages = vec![Message::System(prompt::LABEL_SYSTEM.into())];
    for (shown, label) in prompt::SHOTS {
        messages.push(Message::User((*shown).into()));
        messages.push(Message::Assistant { text: (*label).into(), calls: vec![] });
    }
    messages.push(Message::User(view.as_str().into()));
    messages
}

fn label_chat(messages: &[Message]) -> Chat<'_> {
    Chat { messages, schema: None, tools: &[], max_output_tokens: LABEL_TOKENS, top_logprobs: TOP_LOGPROBS }
}

fn estimated_tokens(chat: &Chat<'_>) -> u64 {
    text_bytes(chat) / BYTES_PER_TOKEN + u64::from(chat.max_output_tokens)
}

fn text_bytes(chat: &Chat<'_>) -> u64 {
    let text = |message: &Message| match message {
        Message::System(text) | Message::User(text) | Message::Tool { text, .. } => text.len(),
        Message::Assistant { text, .. } => text.len(),
    };
    chat.messages.iter().map(text).sum::<usize>() as u64
}

async fn bounded<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    tokio::time::timeout(deadline, call).await.unwrap_or(Err(ProviderError::TimedOut(deadline)))
}
