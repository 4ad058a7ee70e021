//! The W3C extended log format: a `#Fields:` line names the columns. IIS, AWS CloudFront and
//! others write it, with spaces or tabs between columns, with or without quotes around them.
//!
//! What clients choose cannot move a column: servers write a space in it as `+` or `%20`, or put
//! the text in quotes. A line with more or fewer columns than the header is not understood.

use super::access::{origin_form, present};
use super::address::address_and_port;
use super::built_in::BuiltIn;
use super::context::Context;
use super::time::{civil, number};
use super::{Extent, LogFormat, Unparsed};
use crate::event::{Event, Http, Kind, Timestamp};

/// What the line begins with that names the columns.
pub const HEADER: &str = "#Fields:";

/// A compiled `#Fields:` line.
pub struct W3c {
    columns: Box<[Column]>,
}

/// What a column tells.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Skipped,
    Date,
    Time,
    Client,
    Method,
    Stem,
    Query,
    Protocol,
    Status,
    Bytes,
    Referer,
    Agent,
    User,
    Host,
    Forwarded,
}

/// Columns that a header may name.
const MAX_COLUMNS: usize = 128;

/// Compiles a header line.
///
/// # Errors
/// What it lacks, for people.
pub fn compile(header: &str) -> Result<W3c, String> {
    let names = header.strip_prefix(HEADER).ok_or("a W3C header begins with #Fields:")?;
    let columns: Box<[Column]> = names.split_ascii_whitespace().map(column).collect();
    let has = |column| columns.contains(&column);
    if !has(Column::Client) || !has(Column::Stem) {
        return Err("the #Fields: line names no client (c-ip) or no URI (cs-uri-stem)".to_owned());
    }
    if columns.len() > MAX_COLUMNS {
        return Err(format!("the #Fields: line names more than {MAX_COLUMNS} columns"));
    }
    Ok(W3c { columns })
}

fn column(name: &str) -> Column {
    match name.to_ascii_lowercase().as_str() {
        "date" => Column::Date,
        "time" => Column::Time,
        "c-ip" => Column::Client,
        "cs-method" => Column::Method,
        "cs-uri-stem" | "cs-uri" => Column::Stem,
        "cs-uri-query" => Column::Query,
        "cs-version" | "cs-protocol-version" => Column::Protocol,
        "sc-status" | "c-status" => Column::Status,
        "sc-bytes" => Column::Bytes,
        "cs(referer)" | "cs(referrer)" => Column::Referer,
        "cs(user-agent)" => Column::Agent,
        "cs-username" => Column::User,
        "cs-host" | "cs(host)" => Column::Host,
        "x-forwarded-for" | "cs(x-forwarded-for)" => Column::Forwarded,
        _ => Column::Skipped,
    }
}

impl LogFormat for W3c {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        if context.extent == Extent::Head {
            return Err(Unparsed("the line is too long to count its columns"));
        }
        let separator = if memchr::memchr(b'\t', line).is_some() { b'\t' } else { b' ' };
        let (mut http, mut query, mut date, mut time) = (Http::default(), b"".as_slice(), None, None);
        let mut client = None;
        let mut rest = Some(line);
        for column in &self.columns {
            let text = field(&mut rest, separator).ok_or(Unparsed("fewer columns than the header names"))?;
            match column {
                Column::Skipped => {}
                Column::Date => date = Some(day(text).ok_or(Unparsed("no date where the header has it"))?),
                Column::Time => time = Some(clock(text).ok_or(Unparsed("no time where the header has it"))?),
                Column::Client => {
                    client = address_and_port(text);
                    if client.is_none() && text != b"-" {
                        return Err(Unparsed("the client column is no address"));
                    }
                }
                Column::Method => {
                    http.method = present(text);
                    if !http.method.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_')) {
                        return Err(Unparsed("the method column is no method"));
                    }
                }
                Column::Stem => http.uri = present(text),
                Column::Query => query = present(text),
                Column::Protocol => http.protocol = present(text),
                Column::Status => {
                    http.status = number(text).and_then(|status| u16::try_from(status).ok());
                    if http.status.is_none() && text != b"-" {
                        return Err(Unparsed("the status column is no number"));
                    }
                }
                Column::Bytes => http.bytes = number(text).map(i64::cast_unsigned),
                Column::Referer => http.referer = present(text),
                Column::Agent => http.user_agent = present(text),
                Column::User => http.user = present(text),
                Column::Host => http.host = present(text),
                Column::Forwarded => http.forwarded = present(text),
            }
        }
        if rest.is_some_and(|rest| !rest.is_empty()) {
            return Err(Unparsed("more columns than the header names"));
        }
        origin_form(&mut http);
        if !query.is_empty() {
            http.uri = context.joined(&[http.uri, b"?", query]);
        }
        // Always UTC.
        let time = date.zip(time.or(Some(([0; 3], 0))));
        let time = time.and_then(|(date, (clock, ms))| Some(Timestamp(civil(date, clock, 0)?.0 + ms)));
        Ok(Event { time, source_ip: client, ..Event::of(Kind::Http(http)) })
    }
}

/// Takes one column and the separator after it; none when nothing is left.
pub(super) fn field<'a>(rest: &mut Option<&'a [u8]>, separator: u8) -> Option<&'a [u8]> {
    let text = (*rest)?;
    // In quotes, `""` stands for one.
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let mut from = 0;
        let end = loop {
            let quote = from + memchr::memchr(b'"', &quoted[from..])?;
            match quoted.get(quote + 1) {
                Some(b'"') => from = quote + 2,
                Some(after) if *after != separator => return None,
                _ => break quote,
            }
        };
        *rest = quoted.get(end + 2..);
        return Some(&quoted[..end]);
    }
    match memchr::memchr(separator, text) {
        Some(end) => {
            *rest = Some(&text[end + 1..]);
            Some(&text[..end])
        }
        None => {
            *rest = None;
            Some(text)
        }
    }
}

/// `2026-01-05`
fn day(text: &[u8]) -> Option<[i64; 3]> {
    let text: &[u8; 10] = text.try_into().ok()?;
    (text[4] == b'-' && text[7] == b'-').then_some(())?;
    Some([number(&text[..4])?, number(&text[5..7])?, number(&text[8..])?])
}

/// `12:30:45`, with a fraction at will; also the milliseconds.
fn clock(text: &[u8]) -> Option<([i64; 3], i64)> {
    let (clock, fraction) = text.split_at_checked(8)?;
    (clock[2] == b':' && clock[5] == b':').then_some(())?;
    let ms = match fraction {
        [] => 0,
        [b'.', digits @ ..] => {
            let digits = &digits[..digits.len().min(3)];
            number(digits)? * [100, 10, 1][digits.len() - 1]
        }
        _ => return None,
    };
    Some(([number(&clock[..2])?, number(&clock[3..5])?, number(&clock[6..])?], ms))
}

// For files that lack their header.

/// The fields that IIS logs unless told otherwise.
pub static IIS: BuiltIn<W3c> = BuiltIn::new(
    "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken",
    compile,
);
pub static CLOUDFRONT: BuiltIn<W3c> = BuiltIn::new(
    "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start sc-range-end",
    compile,
);

#[cfg(test)]
mod tests {
    use super::super::tests::{context, shown_event};
    use super::*;

    fn shown(header: &str, line: &str) -> String {
        shown_event(compile(header).unwrap().parse(line.as_bytes(), &context(Extent::Whole)))
    }

    #[test]
    fn columns_stand_where_the_header_says() {
        let header = "#Fields: c-ip date time cs-method cs-uri-stem cs-uri-query sc-status cs(User-Agent) x-any";
        assert_eq!(
            shown(header, "203.0.113.7 2026-01-05 12:30:45 GET /a.aspx b=c+d 404 Mozilla/5.0+(X11) -"),
            "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/a.aspx?b=c+d| 404 None ref= ua=Mozilla/5.0+(X11) user= host="
        );
        assert_eq!(
            shown(header, "203.0.113.7\t2026-01-05\t12:30:45.25\tGET\thttps://h/a\t-\t200\t\"A \"\"B\"\" C\"\t-"),
            "2026-01-05T12:30:45.250Z 203.0.113.7 GET|/a| 200 None ref= ua=A \"\"B\"\" C user= host=h"
        );
        for (line, why) in [
            ("203.0.113.7 2026-01-05 12:30:45 GET /a - 404 x", "fewer columns than the header names"),
            ("203.0.113.7 2026-01-05 12:30:45 GET /a - 404 x - y", "more columns than the header names"),
            ("/a 2026-01-05 12:30:45 GET /a - 404 x -", "the client column is no address"),
            ("203.0.113.7 2026-01-05 12:30:45 [1] /a - 404 x -", "the method column is no method"),
            ("203.0.113.7 2026-01-05 12:30:45 GET /a - OK x -", "the status column is no number"),
            ("203.0.113.7 2026/01/05 12:30:45 GET /a - 404 x -", "no date where the header has it"),
            ("203.0.113.7 2026-01-05 12:30:45 GET \"/a - 404 x -", "fewer columns than the header names"),
        ] {
            assert_eq!(shown(header, line), format!("error: {why}"), "{line}");
        }
        assert!(compile("#Fields: date time cs-uri-stem").is_err_and(|why| why.contains("c-ip")));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let format = compile("#Fields: c-ip date time cs-uri-stem cs-uri-query").unwrap();
            for dress in ["", "203.0.113.7 ", "203.0.113.7\t2026-01-05\t", "203.0.113.7 2026-01-05 12:30:45."] {
                let _ = format.parse(&[dress.as_bytes(), &line].concat(), &context(Extent::Whole));
            }
        }
    }
}
