//! ScaleDown, a service that rewrites texts so that they have fewer tokens. It may lose what matters, so
//! what comes back is looked through: a text that lacks an indicator is refused.

use std::error::Error;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::ScaledownConfig;
use super::indicators;
use super::{Compressed, PieceKind, Tokens};
use crate::event::printable;

/// No answer that can be used is longer.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Bytes of a server's words that are shown.
const SHOWN_BYTES: usize = 300;

/// The service, ready to be asked.
pub struct Scaledown {
    client: Client,
    url: Url,
    deadline: Duration,
}

/// Why the own text stands.
#[derive(Debug, thiserror::Error)]
pub enum ScaledownError {
    #[error("cannot reach ScaleDown: {0}")]
    Unreachable(String),
    #[error("ScaleDown did not answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("ScaleDown refuses with HTTP {status}: {text}{}", hint(*.status))]
    Refused { status: u16, text: String },
    #[error("the answer of ScaleDown cannot be understood: {0}")]
    Malformed(String),
    /// What it gave back is not all that matters.
    #[error("ScaleDown lost {lost} of {of} indicators, such as {example}; its text is not used")]
    LostIndicators { lost: usize, of: usize, example: String },
    #[error("what ScaleDown gave back has no fewer tokens; its text is not used")]
    NotShorter,
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => " (is compress.scaledown.key right?)",
        _ => "",
    }
}

impl Scaledown {
    /// # Errors
    /// The URL or the key cannot be used, or no CA certificates are installed.
    pub fn new(config: &ScaledownConfig) -> anyhow::Result<Scaledown> {
        let url = Url::parse(&config.url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.with_context(|| format!("compress.scaledown.url: {:?} is no URL of a web server", config.url))?;
        let key = match &config.key_file {
            Some(file) if config.key.is_empty() => {
                let failed = || format!("compress.scaledown.key_file: cannot read {}", file.display());
                std::fs::read_to_string(file).with_context(failed)?.trim().to_owned()
            }
            _ => config.key.reveal().to_owned(),
        };
        anyhow::ensure!(!key.is_empty(), "compress.scaledown has no key: set key, key_file or SCALEDOWN_API_KEY");
        // reqwest brings no cryptography of its own; it is an error if another part was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut value = reqwest::header::HeaderValue::try_from(key)
            .map_err(|_| anyhow::anyhow!("compress.scaledown.key has characters that no header may hold"))?;
        value.set_sensitive(true);
        let mut client = Client::builder()
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .default_headers([(reqwest::header::HeaderName::from_static("x-api-key"), value)].into_iter().collect())
            .redirect(reqwest::redirect::Policy::none());
        // Without TLS a host needs no certificate authorities, and may have none.
        if url.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        let client = client.build().context("cannot make an HTTP client; are CA certificates installed?")?;
        Ok(Scaledown { client, url, deadline: Duration::from_secs(config.timeout_secs) })
    }

    /// `own` with a text that ScaleDown made of its text, for a model that is then asked `prompt`. What
    /// is sent has no secrets; log text it is all the same.
    ///
    /// # Errors
    /// No answer in time, a refusal, an answer that is none or lacks an indicator: `own` is to be used.
    pub async fn shorten(&self, own: &Compressed, prompt: &str, tokens: &Tokens) -> Result<String, ScaledownError> {
        let asked = tokio::time::timeout(self.deadline, self.ask(&own.text, prompt)).await;
        let text = asked.unwrap_or(Err(ScaledownError::TimedOut(self.deadline)))?;
        let text = text.lines().map(|line| printable(line.as_bytes(), line.len())).collect::<Vec<_>>().join("\n");
        check(own, &text)?;
        if tokens.count(text.as_bytes()) >= tokens.count(own.text.as_bytes()) {
            return Err(ScaledownError::NotShorter);
        }
        Ok(text)
    }

    async fn ask(&self, context: &str, prompt: &str) -> Result<String, ScaledownError> {
        let body = json!({ "context": context, "prompt": prompt, "scaledown": { "rate": "auto" } });
        let request = self.client.post(self.url.clone()).header("accept", "application/json");
        let request = request.header("content-type", "application/json").body(body.to_string());
        let mut response = request.send().await.map_err(unreachable)?;
        let mut answer = vec![];
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ScaledownError::Malformed(format!("it is longer than {MAX_ANSWER_BYTES} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
        let shown = || printable(answer.trim_ascii(), SHOWN_BYTES);
        if !response.status().is_success() {
            return Err(ScaledownError::Refused { status: response.status().as_u16(), text: shown() });
        }
        let json: Value = serde_json::from_slice(&answer).map_err(|_| ScaledownError::Malformed(shown()))?;
        text_of(&json).ok_or_else(|| ScaledownError::Malformed(shown()))
    }
}

fn unreachable(error: reqwest::Error) -> ScaledownError {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    ScaledownError::Unreachable(printable(cause.to_string().as_bytes(), SHOWN_BYTES))
}

/// The answer in its documented form, and in the nested one that is seen too.
#[derive(Deserialize)]
struct Answer {
    compressed_prompt: String,
    #[serde(alias = "success")]
    successful: Option<bool>,
}

fn text_of(json: &Value) -> Option<String> {
    let is_refused = |json: &Value| json.get("successful").and_then(Value::as_bool) == Some(false);
    let inner = json.get("results").unwrap_or(json);
    let answer = Answer::deserialize(inner).ok()?;
    let is_good = answer.successful != Some(false) && !is_refused(json) && !answer.compressed_prompt.is_empty();
    is_good.then_some(answer.compressed_prompt)
}

/// Whether every indicator of the flagged lines is in `text`.
fn check(own: &Compressed, text: &str) -> Result<(), ScaledownError> {
    let mut wanted: Vec<&str> = own.indicators.iter().map(|indicator| &*indicator.value).collect();
    let rows = own.restore();
    let flagged = own.pieces.iter().filter(|piece| piece.kind == PieceKind::Flagged);
    let numbers: std::collections::HashSet<u64> = flagged.flat_map(|piece| piece.lines.iter()).collect();
    for row in rows.iter().filter(|row| row.is_exact && numbers.contains(&row.number)) {
        indicators::find(&row.text, &mut |_, value| wanted.push(value));
    }
    wanted.sort_unstable();
    wanted.dedup();
    let lost: Vec<&str> = wanted.iter().copied().filter(|value| !stands_in(text, value)).collect();
    match lost.first() {
        None => Ok(()),
        Some(example) => {
            Err(ScaledownError::LostIndicators { lost: lost.len(), of: wanted.len(), example: (*example).to_owned() })
        }
    }
}

/// `value` alone, not as a part of a longer one: 192.0.2.1 is not in 192.0.2.10.
fn stands_in(text: &str, value: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric();
    text.match_indices(value).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + value.len()..].chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::compress::{Line, Options, compress};
    use crate::event::Secret;

    fn own() -> Compressed {
        let texts: Vec<String> =
            (1..60).map(|n| format!("sshd: Failed password for root from 203.0.113.{} port 22", n % 3)).collect();
        let lines = (1..).zip(&texts).map(|(number, text)| Line {
            number,
            text: text.as_bytes(),
            time: None,
            source_ip: None,
            user: b"root",
        });
        compress(lines, &|number| number % 20 < 3, &Options::default())
    }

    const GOOD: &str = "root 203.0.113.0 203.0.113.1 203.0.113.2 port 22";

    /// Asks a server that gives `answer` to the first request, and what it was asked.
    fn asked(answer: &'static str, key: &str) -> (Result<String, ScaledownError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/compress/raw/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut heard, mut chunk) = (vec![], [0; 65536]);
            loop {
                let count = stream.read(&mut chunk).unwrap();
                heard.extend_from_slice(&chunk[..count]);
                let text = String::from_utf8_lossy(&heard).into_owned();
                if count == 0 || text.ends_with("}}") {
                    if !answer.is_empty() {
                        stream.write_all(answer.as_bytes()).unwrap();
                    } else {
                        // Says nothing until the client leaves.
                        while stream.read(&mut chunk).is_ok_and(|count| count > 0) {}
                    }
                    return text;
                }
            }
        });
        let config = ScaledownConfig { url, key: Secret::from(key.to_owned()), timeout_secs: 1, ..Default::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = Scaledown::new(&config).unwrap();
        let own = own();
        let result = runtime.block_on(service.shorten(&own, "What happened?", &Tokens::default()));
        (result, server.join().unwrap())
    }

    fn answer(status: &str, body: &str) -> &'static str {
        let text = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Box::leak(text.into_boxed_str())
    }

    #[test]
    fn both_shapes_of_an_answer_are_read_and_the_key_is_sent() {
        let flat = json!({ "compressed_prompt": GOOD, "successful": true, "latency_ms": 2300 }).to_string();
        let (text, heard) = asked(answer("200 OK", &flat), "a-key");
        assert_eq!(text.unwrap(), GOOD);
        assert!(heard.starts_with("POST /compress/raw/ HTTP/1.1\r\n") && heard.contains("x-api-key: a-key"), "{heard}");
        assert!(heard.contains(r#""scaledown":{"rate":"auto"}"#) && heard.contains("What happened?"), "{heard}");
        let nested =
            json!({ "results": { "success": true, "compressed_prompt": GOOD }, "successful": true }).to_string();
        assert_eq!(asked(answer("200 OK", &nested), "k").0.unwrap(), GOOD);
    }

    #[test]
    fn what_lacks_an_indicator_or_is_none_is_refused() {
        let lossy = json!({ "compressed_prompt": "root 203.0.113.0 203.0.113.10 port 22" }).to_string();
        match asked(answer("200 OK", &lossy), "k").0 {
            Err(ScaledownError::LostIndicators { lost: 2, example, .. }) => assert_eq!(example, "203.0.113.1"),
            other => panic!("{other:?}"),
        }
        let long = json!({ "compressed_prompt": GOOD.repeat(500) }).to_string();
        assert!(matches!(asked(answer("200 OK", &long), "k").0, Err(ScaledownError::NotShorter)));
        for body in ["<html>", "{}", r#"{"compressed_prompt":"x","successful":false}"#] {
            let failed = asked(answer("200 OK", body), "k").0;
            assert!(matches!(failed, Err(ScaledownError::Malformed(_))), "{body}: {failed:?}");
        }
        let told = asked(answer("403 Forbidden", r#"{"message":"Forbidden"}"#), "k").0.unwrap_err().to_string();
        assert!(told.contains("403") && told.contains("compress.scaledown.key"), "{told}");
    }

    #[test]
    fn nobody_waits_for_it_longer_than_configured() {
        assert!(matches!(asked("", "k").0, Err(ScaledownError::TimedOut(_))));
        let without = Scaledown::new(&ScaledownConfig::default()).err().unwrap().to_string();
        assert!(without.contains("SCALEDOWN_API_KEY"), "{without}");
    }
}
