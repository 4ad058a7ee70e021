//! Access logs of Python's ASGI servers: `INFO:     203.0.113.7:52782 - "GET / HTTP/1.1" 200 OK`,
//! whatever level, time or logger stands in front.

use super::access::{bare_quote, leading_status, request};
use super::address::address;
use super::context::Context;
use super::time::leading_iso8601;
use super::{LogFormat, Unparsed};
use crate::event::{Event, Http, Kind};

pub struct Uvicorn;

impl LogFormat for Uvicorn {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        // All before the first quote is the server's own.
        let quote = memchr::memchr(b'"', line).ok_or(Unparsed("no request in quotes"))?;
        let head = line[..quote].strip_suffix(b" - ").ok_or(Unparsed("no request after a dash"))?;
        let client = memchr::memrchr(b' ', head).map_or(head, |space| &head[space + 1..]);
        // An IPv6 address has no brackets there.
        let port = memchr::memrchr(b':', client).ok_or(Unparsed("no client with its port"))?;
        let source_ip = address(&client[..port]).ok_or(Unparsed("no client address"))?;
        let rest = &line[quote + 1..];
        let end = bare_quote(rest).ok_or(Unparsed("the request does not end"))?;
        let mut http = Http::default();
        request(&rest[..end], &mut http);
        let status = rest[end + 1..].strip_prefix(b" ").and_then(leading_status);
        http.status = Some(status.ok_or(Unparsed("no status after the request"))?);
        // Somewhere in front, in brackets or not.
        let time = head.iter().position(u8::is_ascii_digit).and_then(|at| leading_iso8601(&head[at..], context.site));
        Ok(Event { time: time.map(|(time, _)| time), source_ip: Some(source_ip), ..Event::of(Kind::Http(http)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Extent;
    use super::super::tests::{context, shown_event};
    use super::*;

    #[test]
    fn the_client_stands_before_the_dash() {
        let shown = |line: &str| shown_event(Uvicorn.parse(line.as_bytes(), &context(Extent::Whole)));
        for (line, expected) in [
            (
                r#"INFO:     203.0.113.7:52782 - "GET /a?b=c HTTP/1.1" 200 OK"#,
                "- 203.0.113.7 GET|/a?b=c|HTTP/1.1 200 None ref= ua= user= host=",
            ),
            (
                r#"[API][2026-01-05 12:30:45] 2001:db8::7:443 - "GET / - \"x\" 1.2.3.4:5 - HTTP/1.1" 404"#,
                r#"2026-01-05T12:30:45.000Z 2001:db8::7 GET|/ - \"x\" 1.2.3.4:5 -|HTTP/1.1 404 None ref= ua= user= host="#,
            ),
            (r#"INFO: nobody:1 - "GET / HTTP/1.1" 200"#, "error: no client address"),
            (
                r#"2026-01-05 12:30:45,123 INFO [2001:db8::7]:443 - "GET / 1.2.3.4:5 - HTTP/1.1" 404 Not Found"#,
                "2026-01-05T12:30:45.123Z 2001:db8::7 GET|/ 1.2.3.4:5 -|HTTP/1.1 404 None ref= ua= user= host=",
            ),
            (r#"INFO: 203.0.113.7 - "GET / HTTP/1.1" 200"#, "error: no client with its port"),
            (r#"INFO: 203.0.113.7:1 - "GET / HTTP/1.1" OK"#, "error: no status after the request"),
            (r#"INFO: 203.0.113.7:1 "GET / HTTP/1.1" 200"#, "error: no request after a dash"),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }
}
