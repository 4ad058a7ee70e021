//! What wraps the lines of other formats: syslog, Docker, Kubernetes, the journal.

use super::context::Context;
use super::members::{Members, Value, unescaped};
use super::time::{self, leading_iso8601, month, number, unix};
use crate::event::Timestamp;

/// A coat around a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Docker's json-file driver.
    Docker,
    /// Kubernetes' container runtimes (CRI): `2026-01-05T12:30:45.1Z stdout F text`.
    Cri,
    /// `journalctl --output json`.
    Journal,
    /// RFC 5424 and 3164, and what rsyslog and syslog-ng make of them in files.
    Syslog,
}

/// What was inside.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Opened<'a> {
    pub time: Option<Timestamp>,
    /// Who wrote the line; empty when the envelope does not say.
    pub program: &'a [u8],
    pub text: &'a [u8],
    /// The text goes on in the next line of the log.
    pub cut: bool,
}

impl Envelope {
    pub const ALL: [Envelope; 4] = [Envelope::Docker, Envelope::Cri, Envelope::Journal, Envelope::Syslog];

    /// Its name in formats, such as `syslog+nginx_combined`.
    pub fn as_str(self) -> &'static str {
        match self {
            Envelope::Docker => "docker",
            Envelope::Cri => "cri",
            Envelope::Journal => "journal",
            Envelope::Syslog => "syslog",
        }
    }

    /// What is inside, if `line` is in such an envelope.
    pub fn open<'a>(self, line: &'a [u8], context: &Context<'a>) -> Option<Opened<'a>> {
        match self {
            Envelope::Docker => docker(line, context),
            Envelope::Cri => cri(line, context),
            Envelope::Journal => journal(line, context),
            Envelope::Syslog => syslog(line, context),
        }
    }
}

fn docker<'a>(line: &'a [u8], context: &Context<'a>) -> Option<Opened<'a>> {
    let (mut log, mut stream, mut time) = (None, false, None);
    let mut members = Members::of(line);
    for (key, value) in members.by_ref() {
        match (key, value) {
            (b"log", Value::Text(text)) => log = Some(text),
            (b"stream", Value::Text(_)) => stream = true,
            (b"time", Value::Text(text)) => time = time::iso8601(text, context.site),
            _ => {}
        }
    }
    if !stream || time.is_none() || !members.ended() {
        return None;
    }
    let text = unescaped(log?, context);
    // A line longer than 16 KiB is cut; only its last part ends in a newline.
    Some(Opened { time, program: b"", text: super::trim_line(text), cut: !text.ends_with(b"\n") })
}

fn cri<'a>(line: &'a [u8], context: &Context<'a>) -> Option<Opened<'a>> {
    let (time, len) = leading_iso8601(line, context.site)?;
    let rest = line[len..].strip_prefix(b" stdout ").or_else(|| line[len..].strip_prefix(b" stderr "))?;
    let (cut, text) = match rest {
        [b'F', b' ', text @ ..] => (false, text),
        [b'P', b' ', text @ ..] => (true, text),
        _ => return None,
    };
    Some(Opened { time: Some(time), program: b"", text, cut })
}

fn journal<'a>(line: &'a [u8], context: &Context<'a>) -> Option<Opened<'a>> {
    let (mut time, mut message, mut identifier, mut command) = (None, None, None, None);
    let mut members = Members::of(line);
    for (key, value) in members.by_ref() {
        let Value::Text(text) = value else { continue };
        match key {
            b"__REALTIME_TIMESTAMP" => time = unix(text),
            b"MESSAGE" => message = Some(text),
            b"SYSLOG_IDENTIFIER" => identifier = Some(text),
            b"_COMM" => command = Some(text),
            _ => {}
        }
    }
    let message = message.filter(|_| time.is_some() && members.ended())?;
    let program = unescaped(identifier.or(command).unwrap_or_default(), context);
    Some(Opened { time, program, text: unescaped(message, context), cut: false })
}

fn syslog<'a>(line: &'a [u8], context: &Context<'a>) -> Option<Opened<'a>> {
    let (rest, priority) = match line.strip_prefix(b"<") {
        None => (line, false),
        Some(after) => {
            let end = after.iter().take(4).position(|&byte| byte == b'>')?;
            number(&after[..end]).filter(|&priority| priority < 192)?;
            (&after[end + 1..], true)
        }
    };
    if let Some(rest) = rest.strip_prefix(b"1 ")
        && priority
    {
        return rfc5424(rest, context);
    }
    let (time, len) = header_time(rest, context)?;
    let iso = rest.starts_with(b"2");
    let rest = rest[len..].strip_prefix(b" ")?;
    let host = rest.iter().position(|&byte| byte == b' ')?;
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    // `2026-01-05T12:30:45Z ERROR db: …` is no syslog, nor is `2026-01-05T12:30:45Z 344 [Note] …`.
    let is_number = rest[..host].iter().all(u8::is_ascii_digit);
    if host == 0 || !rest[..host].iter().all(is_host) || is_level(&rest[..host]) || is_number {
        return None;
    }
    let (host, rest) = (&rest[..host], rest[host..].trim_ascii_start());
    let (program, text) = match tag(rest) {
        Some(tag) => tag,
        // Nor is `2026-01-05T12:30:45Z failed to …`, without a program.
        None if iso && host.iter().all(u8::is_ascii_alphabetic) => return None,
        None => (b"".as_slice(), rest),
    };
    Some(Opened { time: Some(time), program, text, cut: false })
}

/// What follows the version of RFC 5424: `TIME HOST APP PROCID MSGID STRUCTURED-DATA MSG`.
fn rfc5424<'a>(mut rest: &'a [u8], context: &Context<'a>) -> Option<Opened<'a>> {
    let mut word = || {
        let end = memchr::memchr(b' ', rest)?;
        let word = &rest[..end];
        rest = &rest[end + 1..];
        Some(word)
    };
    let time = word()?;
    let time = if time == b"-" { None } else { Some(time::iso8601(time, context.site)?) };
    let (_host, program) = (word()?, word()?);
    let (_process, _message_id) = (word()?, word()?);
    let text = match rest.strip_prefix(b"-") {
        Some(text) => text,
        None => {
            let mut text = rest;
            while text.starts_with(b"[") {
                text = &text[element_len(text)?..];
            }
            text
        }
    };
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    Some(Opened { time, program: super::access::present(program), text, cut: false })
}

/// The length of one element of structured data, in whose values `\` escapes `"`, `\` and `]`.
fn element_len(text: &[u8]) -> Option<usize> {
    let (mut at, mut quoted) = (1, false);
    loop {
        match text.get(at)? {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b']' if !quoted => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
}

/// `Jan  5 12:30:45`, with a year or a fraction at will, or ISO 8601.
fn header_time(text: &[u8], context: &Context<'_>) -> Option<(Timestamp, usize)> {
    let Some(month) = text.first_chunk().and_then(|name| month(*name)) else {
        // With a space for the `T` applications write, not syslog.
        return leading_iso8601(text, context.site).filter(|_| text.get(10) != Some(&b' '));
    };
    let date = text.get(3..6)?.strip_prefix(b" ")?;
    let day = number(date.strip_prefix(b" ").unwrap_or(date))?;
    let mut at = 7;
    let year = text.get(7..12).and_then(|year| number(year.strip_suffix(b" ")?));
    at += if year.is_some() { 5 } else { 0 };
    let clock = text.get(at..at + 8).filter(|clock| text[at - 1] == b' ' && clock[2] == b':' && clock[5] == b':')?;
    let clock = [number(&clock[..2])?, number(&clock[3..5])?, number(&clock[6..])?];
    at += 8;
    if text.get(at) == Some(&b'.') {
        at += 1 + text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    let time = match year {
        Some(year) => context.site.local([year, month.into(), day], clock),
        None => context.yearless([month.into(), day], clock),
    };
    Some((time?, at))
}

/// The program in front of a message, `name[pid]: ` or `name: `, and the message.
fn tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'@');
    let len = text.iter().take_while(|byte| is_name(byte)).count();
    let (program, rest) = text.split_at(len);
    let rest = match rest.strip_prefix(b"[") {
        Some(after) => {
            let end = after.iter().take(24).position(|&byte| byte == b']')?;
            &after[end + 1..]
        }
        None => rest,
    };
    let text = rest.strip_prefix(b":")?;
    (len > 0).then(|| (program, text.strip_prefix(b" ").unwrap_or(text)))
}

/// Whether `word` is a level, as programs name them.
pub fn is_level(word: &[u8]) -> bool {
    const LEVELS: [&[u8]; 22] = [
        b"trace",
        b"debug",
        b"dbg",
        b"info",
        b"inf",
        b"information",
        b"notice",
        b"warn",
        b"wrn",
        b"warning",
        b"error",
        b"err",
        b"crit",
        b"critical",
        b"alert",
        b"emerg",
        b"fatal",
        b"ftl",
        b"severe",
        b"panic",
        b"verbose",
        b"audit",
    ];
    LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::super::Extent;
    use super::super::tests::context;
    use super::*;

    fn shown(envelope: Envelope, line: &str) -> String {
        match envelope.open(line.as_bytes(), &context(Extent::Whole)) {
            None => "none".into(),
            Some(Opened { time, program, text, cut }) => format!(
                "{} {}|{}{}",
                time.map_or("-".into(), |time| time.to_string()),
                String::from_utf8_lossy(program),
                String::from_utf8_lossy(text),
                if cut { "|cut" } else { "" }
            ),
        }
    }

    #[test]
    fn syslog_as_servers_and_files_have_it() {
        // Read on 2026-11-22, UTC.
        for (line, expected) in [
            ("Jan  5 12:30:45 web sshd[812]: Failed password", "2026-01-05T12:30:45.000Z sshd|Failed password"),
            ("<34>Dec 11 22:14:15 web su: 'su root' failed", "2025-12-11T22:14:15.000Z su|'su root' failed"),
            ("Jan  5 2026 12:30:45 fw postfix/smtpd[1]: connect", "2026-01-05T12:30:45.000Z postfix/smtpd|connect"),
            (
                "2026-01-05T12:30:45.123456+01:00 web kernel: [1.2] IN=eth0",
                "2026-01-05T11:30:45.123Z kernel|[1.2] IN=eth0",
            ),
            ("<165>1 2026-01-05T12:30:45.5Z web nginx 77 - - hello", "2026-01-05T12:30:45.500Z nginx|hello"),
            (r#"<165>1 - - app - ID47 [x@1 a="b \"] c"][y@2] text"#, "- app|text"),
            ("<165>1 2026-01-05T12:30:45Z web app - - -", "2026-01-05T12:30:45.000Z app|"),
            (
                "Jan  5 12:30:45 web last message repeated 2 times",
                "2026-01-05T12:30:45.000Z |last message repeated 2 times",
            ),
            (r#"2026-01-05T12:30:45Z 10.0.0.1  {"a":1}"#, r#"2026-01-05T12:30:45.000Z |{"a":1}"#),
            ("Foo  5 12:30:45 web sshd[812]: x", "none"),
            ("<999>Jan  5 12:30:45 web sshd[812]: x", "none"),
            ("2026-01-05T12:30:45Z ERROR db: x", "none"),
            ("2026-01-05T12:30:45Z 344 [Note] x", "none"),
            ("2026-01-05 12:30:45 web sshd: x", "none"),
            ("2026-01-05T12:30:45Z failed to say who", "none"),
            ("Jan  5 12:30:4", "none"),
            (r#"<1>1 - - - - - [a b="c"#, "none"),
        ] {
            assert_eq!(shown(Envelope::Syslog, line), expected, "{line}");
        }
    }

    #[test]
    fn containers_and_the_journal() {
        for (envelope, line, expected) in [
            (
                Envelope::Docker,
                r#"{"log":"a \"b\" \\x41 \u00e9\ud83d\ude00\n","stream":"stdout","time":"2026-01-05T12:30:45.123456789Z"}"#,
                "2026-01-05T12:30:45.123Z |a \"b\" \\x41 é😀",
            ),
            (
                Envelope::Docker,
                r#"{"log":"first part","stream":"stderr","attrs":{"a":"}"},"time":"2026-01-05T12:30:45Z"}"#,
                "2026-01-05T12:30:45.000Z |first part|cut",
            ),
            (Envelope::Docker, r#"{"log":"a","time":"2026-01-05T12:30:45Z"}"#, "none"),
            (Envelope::Docker, r#"{"log":"a","stream":"x","time":"2026-01-05T12:30:45Z"} x"#, "none"),
            (Envelope::Cri, "2026-01-05T12:30:45.1+01:00 stdout F a b", "2026-01-05T11:30:45.100Z |a b"),
            (Envelope::Cri, "2026-01-05T12:30:45Z stderr P a", "2026-01-05T12:30:45.000Z |a|cut"),
            (Envelope::Cri, "2026-01-05T12:30:45Z stdout X a", "none"),
            (
                Envelope::Journal,
                r#"{"_COMM":"sshd","MESSAGE":"Failed \"x\"","__REALTIME_TIMESTAMP":"1767616245123456","PRIORITY":"6"}"#,
                "2026-01-05T12:30:45.123Z sshd|Failed \"x\"",
            ),
            (Envelope::Journal, r#"{"MESSAGE":[1,2],"__REALTIME_TIMESTAMP":"1767616245123456"}"#, "none"),
        ] {
            assert_eq!(shown(envelope, line), expected, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)) {
            for envelope in Envelope::ALL {
                let _ = envelope.open(&line, &context(Extent::Whole));
                for dress in ["Jan  5 12:30:45 ", "<1>1 - - - - - [", "{\"log\":\"", "2026-01-05T12:30:45Z stdout "] {
                    let _ = envelope.open(&[dress.as_bytes(), &line].concat(), &context(Extent::Whole));
                }
            }
        }
    }
}
