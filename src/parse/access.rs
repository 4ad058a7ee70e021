//! The common log format and its relatives:
//! `[vhost:port ]client ident user [time] "request" status bytes[ "referrer" "agent"]`.
//!
//! nginx writes a quote inside a field as `\x22`, Apache as `\"`, so the first bare quote ends a
//! field in both. What follows the known fields is left alone: nothing in a line says whether it
//! is X-Forwarded-For, as in nginx's `main` format, a cookie or a time.

use wide::u8x16;

use super::address::{address, leading_v4};
use super::context::Context;
use super::time::{CLF_LEN, clf};
use super::{Extent, LogFormat, Unparsed, digits};
use crate::event::{Event, Http, Kind};

pub const COMBINED: Access = Access { vhost: Vhost::Absent, tail: Tail::RefererAndAgent };
pub const MAIN: Access = Access { vhost: Vhost::Absent, tail: Tail::AndForwarded };
pub const COMMON: Access = Access { vhost: Vhost::Absent, tail: Tail::Nothing };
pub const VHOST_COMBINED: Access = Access { vhost: Vhost::First, tail: Tail::RefererAndAgent };

/// One of the relatives.
pub struct Access {
    vhost: Vhost,
    tail: Tail,
}

#[derive(PartialEq)]
enum Vhost {
    Absent,
    First,
}

#[derive(PartialEq)]
enum Tail {
    Nothing,
    RefererAndAgent,
    /// And X-Forwarded-For in quotes.
    AndForwarded,
}

impl LogFormat for Access {
    #[inline]
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        let mut http = Http::default();
        let mut rest = line;
        if self.vhost == Vhost::First {
            let vhost = word(&mut rest).ok_or(Unparsed("no virtual host"))?;
            http.host = memchr::memrchr(b':', vhost).map_or(vhost, |colon| &vhost[..colon]);
        }
        let source_ip = if let Some((address, len)) = leading_v4(rest)
            && rest.get(len) == Some(&b' ')
        {
            rest = &rest[len + 1..];
            Some(address)
        } else {
            let client = word(&mut rest).ok_or(Unparsed("no client address"))?;
            let address = address(client);
            // A host name with an ident other than `-` would be a virtual host with the client after it.
            if address.is_none() && !(host_name(client) && rest.starts_with(b"- ")) {
                return Err(Unparsed("the first field is no client address"));
            }
            address
        };
        let time = if let Some(after) = rest.strip_prefix(b"- - [") {
            let time = after.get(..CLF_LEN).and_then(clf).ok_or(Unparsed("no time in brackets"))?;
            rest = &after[CLF_LEN..];
            time
        } else {
            let (user, at) = user_and_time(rest).ok_or(Unparsed("no time in brackets"))?;
            http.user = present(user);
            let time = clf(&rest[at..at + CLF_LEN]).ok_or(Unparsed("no time in brackets"))?;
            rest = &rest[at + CLF_LEN..];
            time
        };
        rest = rest.strip_prefix(b"] \"").ok_or(Unparsed("no request in quotes"))?;
        match self.after_time(rest, &mut http) {
            Err(unparsed) if context.extent == Extent::Whole => return Err(unparsed),
            Err(_) if http.uri.is_empty() => request(rest, &mut http),
            _ => {}
        }
        Ok(Event { time: Some(time), source_ip, guessed: false, via_proxy: false, kind: Kind::Http(http) })
    }
}

impl Access {
    /// Reads the request and what follows it; what was read before an error stays in `http`.
    #[inline]
    fn after_time<'a>(&self, mut rest: &'a [u8], http: &mut Http<'a>) -> Result<(), Unparsed> {
        let whole = rest.len();
        let ends = if self.tail != Tail::Nothing { ends_of_quoted(rest) } else { None };
        let quoted = |rest: &mut &'a [u8], field: usize| match ends {
            Some(ends) => {
                let text = &rest[..ends[field] - (whole - rest.len())];
                *rest = &rest[text.len() + 1..];
                Some(text)
            }
            None => quoted(rest),
        };
        request(quoted(&mut rest, 0).ok_or(Unparsed("the request does not end"))?, http);
        http.status = match rest {
            [b' ', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
                rest = &rest[5..];
                Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
            }
            [b' ', b'-', b' ', ..] => {
                rest = &rest[3..];
                None
            }
            [b' ', ..] => return Err(Unparsed("the status is no number")),
            _ => return Err(Unparsed("no status")),
        };
        http.bytes = number(&mut rest)?;
        if self.tail != Tail::Nothing {
            rest = rest.strip_prefix(b" \"").ok_or(Unparsed("no referrer in quotes"))?;
            http.referer = present(quoted(&mut rest, 1).ok_or(Unparsed("the referrer does not end"))?);
            rest = rest.strip_prefix(b" \"").ok_or(Unparsed("no user agent in quotes"))?;
            http.user_agent = present(quoted(&mut rest, 2).ok_or(Unparsed("the user agent does not end"))?);
            if !matches!(rest, [] | [b' ', ..]) {
                return Err(Unparsed("text sticks to the user agent's quote"));
            }
            if self.tail == Tail::AndForwarded {
                rest = rest.strip_prefix(b" \"").ok_or(Unparsed("no X-Forwarded-For in quotes"))?;
                let end = bare_quote(rest).ok_or(Unparsed("X-Forwarded-For does not end"))?;
                http.forwarded = present(&rest[..end]);
            }
        } else if !rest.is_empty() {
            return Err(Unparsed("more fields than the common log format has"));
        }
        Ok(())
    }
}

/// Takes the text up to the next space: short, so that a loop beats a search.
#[inline]
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let space = rest.iter().position(|&byte| byte == b' ')?;
    let word = &rest[..space];
    *rest = &rest[space + 1..];
    (!word.is_empty()).then_some(word)
}

/// Where the request, the referrer and the agent end in what follows the first quote of a combined
/// line; `None` for lines that need a closer look: long ones, with a `\` or too few quotes. First looks at
/// everything, 64 bytes at once, and then takes the quotes: where they are differs from line to line, and to
/// guess wrong costs more than to look.
#[inline]
fn ends_of_quoted(text: &[u8]) -> Option<[usize; 3]> {
    const WORD: usize = 64;
    let last = text.len().checked_sub(WORD)?;
    let whole = text.len() / WORD;
    let (mut words, mut backslashes) = ([0u64; 8], u8x16::default());
    let mut quotes_from = |start: usize| {
        let parts = text[start..start + WORD].as_chunks().0.iter().zip((0..).step_by(16));
        parts.fold(0, |quotes, (part, shift)| {
            let bytes = u8x16::new(*part);
            backslashes |= bytes.simd_eq(u8x16::splat(b'\\'));
            quotes | u64::from(bytes.simd_eq(u8x16::splat(b'"')).to_bitmask()) << shift
        })
    };
    for (word, start) in words.iter_mut().zip((0..=last).step_by(WORD)) {
        *word = quotes_from(start);
    }
    // What is left, with bytes before it that were looked at.
    *words.get_mut(whole)? = quotes_from(last).checked_shr((WORD * whole - last) as u32).unwrap_or(0);
    let mut at = 0;
    let mut next = || {
        while *words.get(at)? == 0 {
            at += 1;
        }
        let quote = WORD * at + words[at].trailing_zeros() as usize;
        words[at] &= words[at] - 1;
        Some(quote)
    };
    let ends = [next()?, next().and_then(|_| next())?, next().and_then(|_| next())?];
    backslashes.none().then_some(ends)
}

/// Takes the text up to the closing quote and the quote.
#[inline]
fn quoted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let quote = bare_quote(rest)?;
    let text = &rest[..quote];
    *rest = &rest[quote + 1..];
    Some(text)
}

/// Where the first quote is that no backslash escapes.
#[inline]
pub(super) fn bare_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + memchr::memchr(b'"', &text[from..])?;
        let escapes = text[..quote].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(quote);
        }
        from = quote + 1;
    }
}

/// In `ident user [time] "…`: the user and where the time starts. A user's name is the client's
/// choice and may hold spaces and brackets, but no bare quote: the first `] "` ends the time.
fn user_and_time(rest: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memmem::find(rest, b"] \"")?;
    let start = end.checked_sub(CLF_LEN)?;
    let before = rest[..start].strip_suffix(b" [")?;
    let ident = memchr::memchr(b' ', before)?;
    Some((&before[ident + 1..], start))
}

/// Splits a request line. One that is none (TLS bytes, a bare word) goes whole into `uri`.
#[inline]
pub(super) fn request<'a>(line: &'a [u8], http: &mut Http<'a>) {
    http.uri = present(line);
    let method = line.iter().take(MAX_METHOD).take_while(|byte| matches!(byte, b'A'..=b'Z' | b'-' | b'_')).count();
    if method == 0 || line.get(method) != Some(&b' ') {
        return;
    }
    let (method, mut target) = (&line[..method], &line[method + 1..]);
    if let Some(protocol) = protocol(target) {
        http.protocol = &target[protocol + 1..];
        target = &target[..protocol];
    } else if !target.starts_with(b"/") {
        return;
    }
    http.method = method;
    http.uri = target;
    if !target.starts_with(b"/") {
        absolute(target, http);
    }
}

/// Bytes of the longest method that is one.
const MAX_METHOD: usize = 32;

/// Where the space before the protocol is, `HTTP/` and a version at the end of a request line.
#[inline]
fn protocol(target: &[u8]) -> Option<usize> {
    let usual = target.len().checked_sub(b" HTTP/1.1".len())?;
    if target[usual..].starts_with(b" HTTP/") {
        return Some(usual);
    }
    memchr::memrchr(b' ', target).filter(|space| target[space + 1..].starts_with(b"HTTP/"))
}

/// `http://host/path` → host and origin form. Other targets (`*`, `host:443`) stay as they are.
fn absolute<'a>(target: &'a [u8], http: &mut Http<'a>) {
    let Some(scheme) = memchr::memmem::find(&target[..target.len().min(16)], b"://") else { return };
    if !target[..scheme].iter().all(u8::is_ascii_alphanumeric) {
        return;
    }
    let after = &target[scheme + 3..];
    let slash = memchr::memchr2(b'/', b'?', after).unwrap_or(after.len());
    http.host = &after[..slash];
    http.uri = if slash == after.len() { b"/" } else { &after[slash..] };
}

/// Brings a URI that is logged apart from its request line to its origin form. A host that is
/// logged apart too comes before the URI's.
pub(super) fn origin_form(http: &mut Http<'_>) {
    if !http.uri.starts_with(b"/") {
        let host = http.host;
        absolute(http.uri, http);
        http.host = if host.is_empty() { http.host } else { host };
    }
}

/// The status that `text` begins with, up to a space or the end.
pub(super) fn leading_status(text: &[u8]) -> Option<u16> {
    let ([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']
    | [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..]) = text
    else {
        return None;
    };
    Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
}

#[inline]
pub(super) fn present(field: &[u8]) -> &[u8] {
    if field == b"-" { b"" } else { field }
}

/// Takes a number, or `-` for none.
#[inline]
fn number(rest: &mut &[u8]) -> Result<Option<u64>, Unparsed> {
    if let Some(after) = rest.strip_prefix(b"-") {
        *rest = after;
        return Ok(None);
    }
    if let Some((value, len)) = digits::leading(rest) {
        *rest = &rest[len..];
        return Ok(Some(value));
    }
    let mut value = 0u64;
    let mut len = 0;
    while let Some(digit) = rest.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        len += 1;
    }
    *rest = &rest[len..];
    if (1..=19).contains(&len) { Ok(Some(value)) } else { Err(Unparsed("the size is no number")) }
}

/// Whether the client field may be a host name (Apache with `HostnameLookups On`), `-` or `unix:`.
pub(super) fn host_name(field: &[u8]) -> bool {
    field == b"unix:" || field.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::super::Extent;
    use super::super::tests::context;
    use super::*;

    fn shown(format: &Access, line: &[u8]) -> String {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        match format.parse(line, &context(Extent::Whole)) {
            Err(why) => format!("error: {why}"),
            Ok(Event { time, source_ip, kind: Kind::Http(http), .. }) => format!(
                "{} {} {}|{}|{}|{} {} {:?} ref={} ua={} user={} host={}",
                time.map_or("-".into(), |time| time.to_string()),
                source_ip.map_or("-".into(), |ip| ip.to_string()),
                text(http.method),
                text(http.uri),
                text(http.path()),
                text(http.protocol),
                http.status.unwrap_or(0),
                http.bytes,
                text(http.referer),
                text(http.user_agent),
                text(http.user),
                text(http.host),
            ),
            Ok(_) => "no request".into(),
        }
    }

    #[test]
    fn combined_lines() {
        let line = |request: &str| {
            format!(r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "{request}" 404 - "-" "curl/8""#).into_bytes()
        };
        for (request, expected) in [
            ("GET /a?b=c HTTP/1.1", "GET|/a?b=c|/a|HTTP/1.1"),
            ("GET /a b c HTTP/1.1", "GET|/a b c|/a b c|HTTP/1.1"),
            ("GET /only", "GET|/only|/only|"),
            (r"\x16\x03\x01\x02\x00", r"|\x16\x03\x01\x02\x00|\x16\x03\x01\x02\x00|"),
            ("-", "|||"),
            ("", "|||"),
            ("get /lower HTTP/1.1", "|get /lower HTTP/1.1|get /lower HTTP/1.1|"),
            ("CONNECT example.org:443 HTTP/1.1", "CONNECT|example.org:443|example.org:443|HTTP/1.1"),
            ("OPTIONS * HTTP/1.0", "OPTIONS|*|*|HTTP/1.0"),
            (r#"GET /\"x HTTP/1.1"#, r#"GET|/\"x|/\"x|HTTP/1.1"#),
        ] {
            let expected =
                format!("2026-01-05T12:30:45.000Z 203.0.113.7 {expected} 404 None ref= ua=curl/8 user= host=");
            assert_eq!(shown(&COMBINED, &line(request)), expected);
        }
        assert!(shown(&COMBINED, &line("GET http://x.example/p?q HTTP/1.1")).contains("GET|/p?q|/p|HTTP/1.1"));
        assert!(shown(&COMBINED, &line("GET http://x.example/p?q HTTP/1.1")).ends_with("host=x.example"));
    }

    #[test]
    fn a_user_name_cannot_choose_the_fields() {
        let line = br#"203.0.113.7 - x [01/Jan/1999:00:00:00 +0000] 198.51.100.1 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 401 0 "-" "-""#;
        let shown = shown(&COMBINED, line);
        assert!(shown.starts_with("2026-01-05T12:30:45.000Z 203.0.113.7 GET|/|"), "{shown}");
        assert!(shown.contains("user=x [01/Jan/1999:00:00:00 +0000] 198.51.100.1 - -"), "{shown}");
    }

    #[test]
    fn relatives_and_what_is_none_of_them() {
        let vhost = br#"example.org:443 2001:db8::9 - bob [05/Jan/2026:12:30:45 +0000] "GET / HTTP/2.0" 200 5 "https://r/" "A \"B\"""#;
        assert_eq!(
            shown(&VHOST_COMBINED, vhost),
            r#"2026-01-05T12:30:45.000Z 2001:db8::9 GET|/|/|HTTP/2.0 200 Some(5) ref=https://r/ ua=A \"B\" user=bob host=example.org"#
        );
        assert!(shown(&COMBINED, vhost).starts_with("error"));
        let common = br#"host.example - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.0" 200 5"#;
        assert!(shown(&COMMON, common).starts_with("2026-01-05T12:30:45.000Z - GET|/|/|HTTP/1.0 200 Some(5)"));
        assert_eq!(shown(&COMBINED, common), "error: no referrer in quotes");
        let main = [&vhost[16..], b" \"198.51.100.1\""].concat();
        assert!(shown(&COMBINED, &main).contains("2001:db8::9"), "nginx's main format adds a field");
        for (line, error) in [
            (&b""[..], "error: no client address"),
            (b"hello world", "error: the first field is no client address"),
            (b"{\"a\":1} x", "error: the first field is no client address"),
            (b"1.2.3.4 - - [nonsense] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"", "error: no time in brackets"),
            (b"1.2.3.4 - - [05/Jan/2026:12:30:45 +0000] \"GET /", "error: the request does not end"),
            (
                b"1.2.3.4 - - [05/Jan/2026:12:30:45 +0000] \"GET / HTTP/1.1\" 2x0 1 \"-\" \"-\"",
                "error: the status is no number",
            ),
            (
                b"1.2.3.4 - - [05/Jan/2026:12:30:45 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"x",
                "error: text sticks to the user agent's quote",
            ),
        ] {
            assert_eq!(shown(&COMBINED, line), error);
        }
    }

    #[test]
    fn the_main_format_tells_whom_proxies_name() {
        let line = br#"192.0.2.1 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 200 5 "-" "a \"b\"" "203.0.113.7, \"x" 0.1"#;
        let event = MAIN.parse(line, &context(Extent::Whole)).unwrap();
        assert_eq!(event.http().unwrap().forwarded, br#"203.0.113.7, \"x"#);
        let combined = COMBINED.parse(line, &context(Extent::Whole)).unwrap();
        assert_eq!(combined.http().unwrap().forwarded, b"", "it may as well be a cookie");
        let without = line.strip_suffix(br#" "203.0.113.7, \"x" 0.1"#).unwrap();
        assert!(MAIN.parse(without, &context(Extent::Whole)).is_err());
    }

    #[test]
    fn the_head_of_a_cut_line_is_understood() {
        let head = |line: &[u8]| match COMBINED.parse(line, &context(Extent::Head)) {
            Ok(Event { kind: Kind::Http(http), .. }) => String::from_utf8_lossy(http.uri).into_owned(),
            Ok(_) => "no request".into(),
            Err(why) => format!("error: {why}"),
        };
        assert_eq!(head(b"1.2.3.4 - - [05/Jan/2026:12:30:45 +0000] \"GET /aaaa"), "/aaaa");
        assert_eq!(head(b"1.2.3.4 - - [05/Jan/2026:12:30:45 +0000] \"GET /a HTTP/1.1\" 200 5 \"htt"), "/a");
        assert_eq!(head(b"1.2.3.4 - - [05/Jan"), "error: no time in brackets");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            for format in [&COMBINED, &COMMON, &VHOST_COMBINED] {
                let _ = format.parse(&line, &context(Extent::Whole));
                let _ = format.parse(&line, &context(Extent::Head));
                let dressed = [b"1.2.3.4 - - [05/Jan/2026:12:30:45 +0000] \"".as_slice(), &line].concat();
                let _ = format.parse(&dressed, &context(Extent::Whole));
                assert!(format.vhost == Vhost::First || format.parse(&dressed, &context(Extent::Head)).is_ok());
            }
        }
    }
}
