//! Any string as a format, and lines read by it: the input is cut at its newlines. The first piece is
//! the format; the others are lines, and what a client wrote into a line of that format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade::event::Timestamp;
use palisade::parse::{Context, Extent, Site, compile};

const CLIENT: &str = "203.0.113.7";
/// 2026-01-05T12:30:45Z
const TIME: Timestamp = Timestamp(1_767_616_245_000);

fuzz_target!(|data: &[u8]| {
    let mut pieces = data.split(|&byte| byte == b'\n');
    let Ok(string) = std::str::from_utf8(pieces.next().unwrap_or_default()) else { return };
    let Ok(format) = compile(string) else { return };
    let lines: Vec<&[u8]> = pieces.collect();
    let (arena, site) = (bumpalo::Bump::new(), Site::default());
    let context = Context { extent: Extent::Whole, arena: &arena, program: b"", site: &site, read_at: Timestamp(0) };
    for line in &lines {
        for extent in [Extent::Whole, Extent::Head] {
            let _ = format.parse(line, &Context { extent, ..context });
        }
    }
    let Some(written) = written(string, &lines) else { return };
    let event = format.parse(&written.line, &context);
    let shown = String::from_utf8_lossy(&written.line);
    if written.plain {
        assert!(event.is_ok(), "what the server writes is read: {string}: {shown}: {event:?}");
    }
    if let Ok(event) = event
        && !event.guessed
    {
        let expected = CLIENT.parse().ok();
        assert!(event.source_ip == expected || !written.plain && event.source_ip.is_none(), "{string}: {shown}");
        assert!(!written.plain || event.time == Some(TIME), "{string}: {shown}");
        let status = event.http().and_then(|http| http.status);
        assert!(!written.plain || matches!(status, None | Some(404)), "{string}: {shown}");
    }
});

struct Written {
    line: Vec<u8>,
    /// Whatever a client chooses stands in quotes of its own, and signs that no other value holds
    /// stand between the variables.
    plain: bool,
}

/// A line as nginx writes it in this `log_format`, with `texts` for what clients choose; none if the
/// string is not in nginx's language.
fn written(string: &str, texts: &[&[u8]]) -> Option<Written> {
    if string.starts_with("regex:") || string.starts_with('#') || string.starts_with("csv:") || string.contains('\\') {
        return None;
    }
    let (mut line, mut plain, mut texts) = (vec![], true, texts.iter().cycle());
    let mut rest = string;
    // What the literal before must end with, or what follows must begin with, for `plain`.
    let mut separated = true;
    while let Some(byte) = rest.bytes().next() {
        if byte != b'$' {
            let sign = rest.chars().next()?;
            plain &= " []|\"\t".contains(sign);
            line.extend_from_slice(&rest.as_bytes()[..sign.len_utf8()]);
            rest = &rest[sign.len_utf8()..];
            separated = true;
            continue;
        }
        let (name, after) = match rest[1..].strip_prefix('{') {
            Some(inner) => inner.split_once('}')?,
            None => {
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                rest[1..].split_at(rest[1..].bytes().take_while(|byte| is_name(byte)).count())
            }
        };
        if name.is_empty() {
            return None;
        }
        plain &= separated;
        separated = false;
        match value(name) {
            Some(value) => line.extend_from_slice(value.as_bytes()),
            None => {
                plain &= line.ends_with(b"\"") && after.starts_with('"');
                escape(texts.next().copied().unwrap_or_default(), &mut line);
            }
        }
        rest = after;
    }
    string.contains('$').then_some(Written { line, plain })
}

/// What nginx writes for a variable that no client chooses freely.
fn value(name: &str) -> Option<&'static str> {
    Some(match name {
        "remote_addr" | "realip_remote_addr" => CLIENT,
        "time_local" => "05/Jan/2026:12:30:45 +0000",
        "time_iso8601" => "2026-01-05T12:30:45+00:00",
        "msec" => "1767616245.000",
        "status" => "404",
        "request_method" => "GET",
        "server_protocol" => "HTTP/1.1",
        "scheme" => "https",
        "host" | "server_name" | "hostname" | "proxy_host" => "example.org",
        "body_bytes_sent" | "bytes_sent" | "request_length" | "connection" | "pid" | "remote_port" => "17",
        "request_time" | "upstream_response_time" | "upstream_connect_time" => "0.017",
        "pipe" => ".",
        "ssl_protocol" => "TLSv1.3",
        _ => return None,
    })
}

/// As nginx escapes a value; `-` stands for an empty one.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    if text.is_empty() {
        line.push(b'-');
    }
    for &byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => line.extend(format!("\\x{byte:02X}").bytes()),
            _ => line.push(byte),
        }
    }
}
