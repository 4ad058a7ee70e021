//! The types that pass between rooms: plain data, no I/O, no clock in any computation.

mod account;
mod advice;
pub mod analysis;
mod category;
mod client;
mod decision;
mod finding;
mod http;
mod kind;
mod mask;
mod model_call;
#[cfg(test)]
pub mod samples;
mod secret;
mod severity;
mod source;
mod status;
mod time;

pub use account::{AccessKey, AccessKind, Audited, Role, User};
pub use category::Category;
pub use client::{ClientKey, canonical, shown};
pub use decision::{Decision, DecisionState, Ground, Outcome, Proposal, Proposer};
pub use finding::{Action, DecidedBy, Evidence, Finding, Judgement, Verdict, VerdictClass, digest};
pub use http::Http;
pub use kind::{Auth, AuthOutcome, Connection, Event, Kind, Message};
pub use mask::masked;
pub use model_call::ModelCall;
pub use secret::Secret;
pub use severity::Severity;
pub use source::{FileMark, SourceStatus};
pub use status::Status;
pub use time::Timestamp;

/// `text` for people and logs: UTF-8 as is, but control characters, bidirectional overrides and
/// invalid bytes as visible escapes, at most `limit` bytes of input, so that hostile log text can
/// neither forge a line nor drive a terminal.
pub fn printable(text: &[u8], limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit) + 8);
    let cut = &text[..text.len().min(limit)];
    for chunk in cut.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_hidden(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    if cut.len() < text.len() {
        out.push('…');
    }
    out
}

/// Whether `c` is not seen where it is shown: it drives a terminal, turns text around or has no width.
pub fn is_hidden(c: char) -> bool {
    let has_no_shape =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    c.is_control() || has_no_shape
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn hostile_text_prints_as_visible_escapes() {
        assert_eq!(printable(b"a\x1b[31m\nb\xff", 99), "a\\u{1b}[31m\\nb\\xFF");
        assert_eq!(printable("\u{202e}gpj.exe é".as_bytes(), 99), "\\u{202e}gpj.exe é");
        assert_eq!(printable(b"abcdef", 3), "abc…");
    }
}
