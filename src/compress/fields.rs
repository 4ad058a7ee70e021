//! A line as fields and what stands between them. Two lines of one shape differ in their fields alone.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::quality::FixedState;

/// More fields than these are one: no line makes the miner slow.
const MAX_FIELDS: usize = 48;

/// The fields of a line; used again for the next.
#[derive(Default)]
pub struct Fields {
    pub ranges: Vec<Range<usize>>,
}

impl Fields {
    /// Splits `line`.
    pub fn split(&mut self, line: &str) {
        self.ranges.clear();
        let bytes = line.as_bytes();
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() && self.ranges.len() < MAX_FIELDS - 4 {
            if bytes[at] == b'"' && (start == at) {
                let end = closing(bytes, at + 1);
                self.quoted(line, at + 1..end);
                at = (end + 1).min(bytes.len());
                start = at;
            } else if separates(bytes, at) {
                self.push(start..at);
                at += 1;
                start = at;
            } else {
                at += 1;
            }
            at += bytes[at..].iter().position(|byte| MAY_SEPARATE[usize::from(*byte)]).unwrap_or(bytes.len() - at);
        }
        self.push(start..bytes.len());
    }

    fn push(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.ranges.push(range);
        }
    }

    /// What is quoted is one field, but a request is its method, its target and its protocol.
    fn quoted(&mut self, line: &str, range: Range<usize>) {
        let text = &line[range.clone()];
        if let Some(method) = text.find(' ').filter(|&end| is_method(&text[..end]))
            && let Some(target) = text.rfind(" HTTP/").filter(|&end| end > method)
        {
            self.push(range.start..range.start + method);
            self.push(range.start + method + 1..range.start + target);
            self.push(range.start + target + 1..range.end);
        } else {
            self.push(range);
        }
    }

    /// A digest of the separators of `line`, which these fields are of, and of the words that decide what it is: the
    /// method and the status of a request, the first word of a message.
    pub fn shape(&self, line: &str) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        let (mut end, mut in_message) = (0, false);
        let mut previous = "";
        for (number, range) in self.ranges.iter().enumerate() {
            let (separator, field) = (&line[end..range.start], &line[range.clone()]);
            hasher.write(separator.as_bytes());
            hasher.write_u8(0xff);
            let begins_message = !in_message && separator.ends_with(": ");
            in_message |= begins_message;
            let is_word = (number == 0 || begins_message) && !field.bytes().any(|byte| byte.is_ascii_digit());
            let is_status = is_status(field) && (previous.starts_with("HTTP/") || is_status_name(previous));
            if is_word || is_status || (separator.ends_with('"') && is_method(field)) {
                hasher.write(field.as_bytes());
            }
            previous = field;
            end = range.end;
        }
        hasher.write(&line.as_bytes()[end..]);
        hasher.write_usize(self.ranges.len());
        hasher.finish()
    }
}

/// Where the quoted text that begins at `from` ends: at the next quote that a separator follows.
fn closing(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' if bytes.get(at + 1).is_none_or(|next| !next.is_ascii_alphanumeric()) => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn separates(bytes: &[u8], at: usize) -> bool {
    let neighbour = |at: Option<usize>| at.and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
    match bytes[at] {
        b' ' | b'\t' | b',' | b';' | b'=' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' | b'"' => true,
        b':' => {
            matches!(neighbour(Some(at + 1)), b' ' | b'"' | b'{' | b'[') || matches!(neighbour(at.checked_sub(1)), b'"')
        }
        _ => false,
    }
}

/// What [`separates`] may say yes to.
const MAY_SEPARATE: [bool; 256] = {
    let mut all = [false; 256];
    let (signs, mut at) = (b" \t,;=()[]{}|\":", 0);
    while at < signs.len() {
        all[signs[at] as usize] = true;
        at += 1;
    }
    all
};

fn is_method(word: &str) -> bool {
    (3..=9).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_status(word: &str) -> bool {
    word.len() == 3 && matches!(word.as_bytes(), [b'1'..=b'5', rest @ ..] if rest.iter().all(u8::is_ascii_digit))
}

fn is_status_name(word: &str) -> bool {
    matches!(word, "status" | "status_code" | "sc-status" | "code")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> (Vec<&str>, u64) {
        let mut fields = Fields::default();
        fields.split(line);
        (fields.ranges.iter().map(|range| &line[range.clone()]).collect(), fields.shape(line))
    }

    #[test]
    fn a_request_is_three_fields_and_an_agent_is_one() {
        let (fields, shape) =
            split(r#"203.0.113.7 - - [21/Nov/2026:22:33:34 +0000] "GET /a?b=1,2 c HTTP/1.1" 404 5 "-" "Moz (X; y) z""#);
        let expected = "203.0.113.7|-|-|21/Nov/2026:22:33:34|+0000|GET|/a?b=1,2 c|HTTP/1.1|404|5|-|Moz (X; y) z";
        assert_eq!(fields.join("|"), expected);
        let other = |from: &str, to: &str| {
            let line = r#"203.0.113.7 - - [21/Nov/2026:22:33:34 +0000] "GET /x HTTP/1.1" 404 5 "-" "Moz""#;
            split(&line.replace(from, to)).1
        };
        assert_eq!(other("/x", "/y"), shape, "a path does not decide what a line is");
        assert_ne!(other("404", "200"), shape, "a status does");
        assert_ne!(other("GET", "POST"), shape);
    }

    #[test]
    fn messages_and_members_are_split_where_values_begin() {
        let (fields, failed) =
            split("Nov 21 22:33:34 web sshd[812]: Failed password for root from 203.0.113.7 port 22");
        assert_eq!(fields.join("|"), "Nov|21|22:33:34|web|sshd|812|Failed|password|for|root|from|203.0.113.7|port|22");
        let (_, accepted) = split("Nov 21 22:33:34 web sshd[812]: Accepted password for root from 203.0.113.7 port 22");
        assert_ne!(failed, accepted, "the first word of a message decides what it is");
        assert_eq!(split(r#"{"status":404,"ip":"2001:db8::1"}"#).0.join("|"), "status|404|ip|2001:db8::1");
        assert_eq!(split("SRC=192.0.2.1 DPT=22").0.join("|"), "SRC|192.0.2.1|DPT|22");
    }

    #[test]
    fn no_text_makes_more_fields_than_are_looked_at() {
        for line in ["a ".repeat(4000), "\"".repeat(4000), "\"a\"".repeat(4000), "\\".repeat(99), String::new()] {
            assert!(split(&line).0.len() <= MAX_FIELDS, "{}", &line[..line.len().min(9)]);
        }
    }
}
