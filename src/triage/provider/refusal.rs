//! Error bodies of every shape → [`ProviderError`].

use std::time::SystemTime;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{ProviderError, Refused, headers};
use crate::event::{Secret, printable};

/// Bytes of a server's words that are looked at, and that are shown.
const READ_BYTES: usize = 4096;
const SHOWN_BYTES: usize = 200;

/// What a server says is wrong.
pub struct Complaint {
    text: String,
    /// Its `type` and `code`, in lower case.
    kind: String,
    /// The status that the body states.
    status: Option<u16>,
}

impl Complaint {
    /// What the body of an answer complains of whose status is an error: JSON, HTML, text, nothing.
    pub fn read(status: StatusCode, body: &[u8]) -> Complaint {
        if let Ok(json) = serde_json::from_slice::<Value>(body)
            && let Some(complaint) = Complaint::of(&json).or_else(|| Complaint::flat(&json))
        {
            return complaint;
        }
        let text = match String::from_utf8_lossy(&body[..body.len().min(READ_BYTES)]).trim() {
            _ if status.is_redirection() => "it leads elsewhere, which is not followed; is the URL right?".into(),
            "" => status.to_string(),
            page if page.starts_with('<') => format!("{status} as a page: {}", title(page)),
            text => text.to_owned(),
        };
        Complaint { text, kind: String::new(), status: None }
    }

    /// What `answer` complains of, under whatever status; none if it is an answer.
    pub fn of(answer: &Value) -> Option<Complaint> {
        let places = [&answer["error"], &answer["errors"][0], &answer["choices"][0]["error"]];
        let named = places.into_iter().find_map(|place| Complaint::told_by(place, answer));
        // Without a name around it, it is an error only if it says of which kind.
        let has_kind = ["type", "code"].iter().any(|name| answer[name].is_string());
        named.or_else(|| Complaint::flat(answer).filter(|_| has_kind))
    }

    /// Of an answer that is itself the error.
    fn flat(answer: &Value) -> Option<Complaint> {
        first_text(answer).and_then(|_| Complaint::told_by(answer, answer))
    }

    fn told_by(place: &Value, answer: &Value) -> Option<Complaint> {
        let text = match place {
            Value::String(text) if !text.is_empty() => text.clone(),
            Value::Object(_) => first_text(place).map_or_else(|| place.to_string(), String::from),
            _ => return None,
        };
        let kinds = ["type", "code", "status"].map(|name| place[name].as_str().unwrap_or_default());
        let stated = [&answer["status_code"], &place["status_code"], &place["status"], &place["code"]];
        let status = stated.into_iter().filter_map(Value::as_u64).find(|status| (400..600).contains(status));
        Some(Complaint { text, kind: kinds.join(" ").to_lowercase(), status: status.map(|status| status as u16) })
    }

    /// The error that it is, of an answer with this status and these headers.
    pub fn refused(self, status: u16, headers: &HeaderMap, key: &Secret) -> ProviderError {
        let now = SystemTime::now();
        let status = if status < 300 { self.status.unwrap_or(status) } else { status };
        let refusal = self.refusal(status);
        let refill = || if refusal == Refused::TooMany { headers::refill(headers, now) } else { None };
        let retry_after = headers::retry_after(headers, now).or_else(refill);
        ProviderError::Refused { refusal, status, text: shown(&self.text, key), retry_after }
    }

    /// What kind of error it is: by the status, and where that is the same for several by its words.
    fn refusal(&self, status: u16) -> Refused {
        let text = self.text[..self.text.floor_char_boundary(READ_BYTES)].to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word) || self.kind.contains(word));
        let status = if status >= 300 {
            status
        } else if says(&["rate_limit", "rate limit", "too_many_requests", "quota"]) {
            429
        } else if says(&["overloaded", "unavailable", "loading", "busy", "queue_exceeded"]) {
            503
        } else if says(&["authentication", "permission", "api_key", "api key"]) {
            401
        } else if says(&["not_found", "not found", "does not exist"]) {
            404
        } else if says(&["invalid_request", "support", "context"]) {
            400
        } else {
            500
        };
        match status {
            402 => Refused::Payment,
            400..499 if says(&["insufficient_quota", "credit balance", "billing_error"]) => Refused::Payment,
            401 | 403 => Refused::Key,
            413 => Refused::TooLong,
            429 if says(&["queue_exceeded"]) => Refused::Busy,
            429 => Refused::TooMany,
            408 | 409 | 425 | 503 | 529 => Refused::Busy,
            405 | 501 => Refused::Unsupported,
            _ if says(TOO_LONG) => Refused::TooLong,
            400..499 if says(&["model"]) && says(NO_MODEL) => Refused::NoModel,
            ..=500 if says(UNSUPPORTED) => Refused::Unsupported,
            // 499: it thinks that nobody waits any more.
            499.. => Refused::Server,
            _ => Refused::Request,
        }
    }
}

const TOO_LONG: &[&str] =
    &["context_length", "context_size", "context length", "context size", "context window", "prompt is too long"];
const NO_MODEL: &[&str] =
    &["not found", "not_found", "does not exist", "not a valid model", "decommissioned", "no such model"];
const UNSUPPORTED: &[&str] = &["not support", "n't support", "unsupported", "not_supported"];

/// The text for people, under the names that it has.
fn first_text(error: &Value) -> Option<&str> {
    ["message", "detail", "error", "title"].iter().find_map(|name| error[name].as_str().filter(|text| !text.is_empty()))
}

/// What an HTML page calls itself.
fn title(page: &str) -> &str {
    // ASCII alone changes, so places stay.
    let lower = page.to_ascii_lowercase();
    let inside = lower.find("<title>").and_then(|start| {
        let length = lower[start..].find("</title>")?;
        page.get(start + "<title>".len()..start + length)
    });
    inside.map_or("without a title", str::trim)
}

/// A server's words for people: printable, cut, and without the key, which some servers repeat.
pub fn shown(text: &str, key: &Secret) -> String {
    let cut = &text[..text.floor_char_boundary(READ_BYTES)];
    let text = if key.is_empty() { cut.to_owned() } else { cut.replace(key.reveal(), "***") };
    let mut shown = printable(text.as_bytes(), SHOWN_BYTES);
    shown.truncate(shown.floor_char_boundary(SHOWN_BYTES));
    shown
}
