//! Access logs of one JSON object a line: nginx with `escape=json`, Caddy, Traefik, Envoy,
//! Cloudflare, Fastly, the Elastic Common Schema, and whoever names the fields alike.
//!
//! A field is known by its whole path, so that a header called `status` is none. Of a key that is
//! there twice the first counts: servers write what they know themselves ahead of what they were
//! sent, Caddy its `request.headers` last. Strings end at the first bare quote and keep their
//! escapes; which escapes they hold is not looked at, for hand-made configurations write `\x22`.

use std::net::IpAddr;

use super::access::{absolute, present, request};
use super::address::address;
use super::time::{clf, iso8601, unix};
use super::{Extent, LogFormat, Unparsed};
use crate::event::{Event, Http, Kind, Timestamp};

pub struct Json;

/// Objects and arrays within each other; fields are up to four deep.
const MAX_DEPTH: usize = 8;

const CUT: Unparsed = Unparsed("the object does not end");
const NO_REQUEST: Unparsed = Unparsed("no request");

impl LogFormat for Json {
    fn parse<'a>(&self, line: &'a [u8], extent: Extent) -> Result<Event<'a>, Unparsed> {
        let mut scan = Scan { text: line, at: 0, fields: Fields::default() };
        match scan.line() {
            Err(why) if why != CUT || extent == Extent::Whole => Err(why),
            read => scan.fields.event(read.is_ok()),
        }
    }
}

/// Where in a line a key is.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    /// The line's object.
    Line,
    Request,
    RequestHeaders,
    Client,
    Source,
    Url,
    UserAgent,
    User,
    Http,
    HttpRequest,
    HttpResponse,
    HttpResponseBody,
    /// Where no field is.
    Elsewhere,
}

impl Within {
    /// Where the keys of the object are that is the value of `key`.
    fn inner(self, key: &[u8]) -> Within {
        let is = |name: &[u8]| key.eq_ignore_ascii_case(name);
        match self {
            Within::Line if is(b"request") => Within::Request,
            Within::Line if is(b"client") => Within::Client,
            Within::Line if is(b"source") => Within::Source,
            Within::Line if is(b"url") => Within::Url,
            Within::Line if is(b"user_agent") => Within::UserAgent,
            Within::Line if is(b"user") => Within::User,
            Within::Line if is(b"http") => Within::Http,
            Within::Request if is(b"headers") => Within::RequestHeaders,
            Within::Http if is(b"request") => Within::HttpRequest,
            Within::Http if is(b"response") => Within::HttpResponse,
            Within::HttpResponse if is(b"body") => Within::HttpResponseBody,
            _ => Within::Elsewhere,
        }
    }
}

/// What a value says of the request.
#[derive(Clone, Copy)]
enum Part {
    Client,
    Time,
    /// A request line.
    Request,
    Method,
    Uri,
    Protocol,
    Status,
    Bytes,
    Referer,
    UserAgent,
    User,
    Host,
    /// Who wrote the line.
    Logger,
}

const PARTS: usize = Part::Logger as usize + 1;

struct Key(Within, &'static str, Part);

/// The known keys. Of those that say the same, the first that says anything is taken.
///
/// The peer's address comes before what a server may have from a header; keys that are only ever
/// headers (`X-Forwarded-For`, `real_ip`) are not here. Traefik's `request_NAME` holds the header
/// `NAME`, of the client's choice, so its own fields come before `request_uri` and its like.
#[rustfmt::skip] // One key a line reads best.
const KEYS: &[Key] = &[
    Key(Within::Line, "remote_addr", Part::Client),
    Key(Within::Request, "remote_ip", Part::Client),
    Key(Within::Request, "remote_addr", Part::Client),
    Key(Within::Line, "ClientAddr", Part::Client),
    Key(Within::Line, "downstream_direct_remote_address", Part::Client),
    Key(Within::Line, "downstream_remote_address", Part::Client),
    Key(Within::Line, "ClientIP", Part::Client),
    Key(Within::Source, "ip", Part::Client),
    Key(Within::Line, "source.ip", Part::Client),
    Key(Within::Client, "ip", Part::Client),
    Key(Within::Line, "client.ip", Part::Client),
    // Traefik's is the header X-Forwarded-For, where a proxy that it trusts sent one.
    Key(Within::Line, "ClientHost", Part::Client),
    // Caddy's is what a proxy that it trusts says.
    Key(Within::Request, "client_ip", Part::Client),
    Key(Within::Line, "remote_ip", Part::Client),
    Key(Within::Line, "src_ip", Part::Client),
    Key(Within::Line, "ip", Part::Client),
    Key(Within::Line, "client_ip", Part::Client),
    Key(Within::Line, "client", Part::Client),

    Key(Within::Line, "time_iso8601", Part::Time),
    Key(Within::Line, "msec", Part::Time),
    Key(Within::Line, "time_local", Part::Time),
    Key(Within::Line, "ts", Part::Time),
    Key(Within::Line, "StartUTC", Part::Time),
    Key(Within::Line, "start_time", Part::Time),
    Key(Within::Line, "EdgeStartTimestamp", Part::Time),
    Key(Within::Line, "@timestamp", Part::Time),
    Key(Within::Line, "timestamp", Part::Time),
    Key(Within::Line, "time", Part::Time),

    Key(Within::Line, "RequestMethod", Part::Method),
    Key(Within::Line, "ClientRequestMethod", Part::Method),
    Key(Within::Request, "method", Part::Method),
    Key(Within::HttpRequest, "method", Part::Method),
    Key(Within::Line, "http.request.method", Part::Method),
    Key(Within::Line, "request_method", Part::Method),
    Key(Within::Line, "method", Part::Method),
    Key(Within::Line, ":method", Part::Method),
    Key(Within::Line, "verb", Part::Method),

    // As it was sent, with its query.
    Key(Within::Line, "RequestPath", Part::Uri),
    Key(Within::Line, "ClientRequestURI", Part::Uri),
    Key(Within::Request, "uri", Part::Uri),
    Key(Within::Url, "original", Part::Uri),
    Key(Within::Line, "url.original", Part::Uri),
    Key(Within::Line, "request_uri", Part::Uri),
    Key(Within::Line, "request", Part::Request),
    // Perhaps rewritten, or without a query. (A query that is logged by itself alone, as nginx's
    // `args`, cannot be put behind it without a copy.)
    Key(Within::Line, "url", Part::Uri),
    Key(Within::Line, "uri", Part::Uri),
    Key(Within::Line, "path", Part::Uri),
    Key(Within::Line, ":path", Part::Uri),
    Key(Within::Line, "x-envoy-original-path", Part::Uri),
    Key(Within::Line, "x-envoy-origin-path", Part::Uri),
    Key(Within::Url, "path", Part::Uri),
    Key(Within::Line, "url.path", Part::Uri),

    Key(Within::Line, "RequestProtocol", Part::Protocol),
    Key(Within::Line, "ClientRequestProtocol", Part::Protocol),
    Key(Within::Request, "proto", Part::Protocol),
    Key(Within::Line, "server_protocol", Part::Protocol),
    Key(Within::Line, "protocol", Part::Protocol),

    Key(Within::Line, "DownstreamStatus", Part::Status),
    Key(Within::Line, "OriginStatus", Part::Status),
    Key(Within::Line, "EdgeResponseStatus", Part::Status),
    Key(Within::HttpResponse, "status_code", Part::Status),
    Key(Within::Line, "http.response.status_code", Part::Status),
    Key(Within::Line, "status", Part::Status),
    Key(Within::Line, "response_code", Part::Status),
    Key(Within::Line, "response_status", Part::Status),
    Key(Within::Line, "status_code", Part::Status),
    Key(Within::Line, "code", Part::Status),

    Key(Within::Line, "DownstreamContentSize", Part::Bytes),
    Key(Within::Line, "EdgeResponseBytes", Part::Bytes),
    Key(Within::HttpResponseBody, "bytes", Part::Bytes),
    Key(Within::Line, "http.response.body.bytes", Part::Bytes),
    Key(Within::Line, "body_bytes_sent", Part::Bytes),
    Key(Within::Line, "bytes_sent", Part::Bytes),
    Key(Within::Line, "size", Part::Bytes),
    Key(Within::Line, "bytes", Part::Bytes),

    Key(Within::RequestHeaders, "Referer", Part::Referer),
    Key(Within::Line, "ClientRequestReferer", Part::Referer),
    Key(Within::Line, "request_Referer", Part::Referer),
    Key(Within::Line, "http_referer", Part::Referer),
    Key(Within::Line, "referer", Part::Referer),

    Key(Within::RequestHeaders, "User-Agent", Part::UserAgent),
    Key(Within::Line, "ClientRequestUserAgent", Part::UserAgent),
    Key(Within::Line, "request_User-Agent", Part::UserAgent),
    Key(Within::UserAgent, "original", Part::UserAgent),
    Key(Within::Line, "user_agent.original", Part::UserAgent),
    Key(Within::Line, "http_user_agent", Part::UserAgent),
    Key(Within::Line, "user_agent", Part::UserAgent),
    Key(Within::Line, "user-agent", Part::UserAgent),
    Key(Within::Line, "request_user_agent", Part::UserAgent),
    Key(Within::Line, "agent", Part::UserAgent),

    Key(Within::Line, "ClientUsername", Part::User),
    Key(Within::Line, "remote_user", Part::User),
    Key(Within::Line, "user_id", Part::User),
    Key(Within::User, "name", Part::User),
    Key(Within::Line, "user.name", Part::User),
    Key(Within::Line, "user", Part::User),

    Key(Within::Line, "RequestHost", Part::Host),
    Key(Within::Line, "ClientRequestHost", Part::Host),
    Key(Within::Request, "host", Part::Host),
    Key(Within::Url, "domain", Part::Host),
    Key(Within::Line, "url.domain", Part::Host),
    Key(Within::Line, "authority", Part::Host),
    Key(Within::Line, ":authority", Part::Host),
    Key(Within::Line, "http_host", Part::Host),
    Key(Within::Line, "host", Part::Host),
    Key(Within::Line, "server_name", Part::Host),

    Key(Within::Line, "logger", Part::Logger),
];

/// Where the request line is among the keys.
const REQUEST_LINE: usize = {
    let mut index = 0;
    while !matches!(KEYS[index].2, Part::Request) {
        index += 1;
    }
    index
};

const SLOTS: usize = 512;

/// The keys by their [`slot`], one more than their index; 0 is none.
static TABLE: [u8; SLOTS] = {
    assert!(KEYS.len() < 128, "each has a bit of `Fields::seen`");
    let mut table = [0; SLOTS];
    let mut index = 0;
    while index < KEYS.len() {
        let mut at = slot(KEYS[index].0, KEYS[index].1.as_bytes());
        while table[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        index += 1;
        table[at] = index as u8;
    }
    table
};

/// Where to look for `key`, which is not empty, in either case.
const fn slot(within: Within, key: &[u8]) -> usize {
    let (first, middle, last) = (key[0] | 0x20, key[key.len() / 2] | 0x20, key[key.len() - 1] | 0x20);
    let sum = first as usize + middle as usize * 5 + last as usize * 23 + key.len() * 73 + within as usize * 151;
    sum % SLOTS
}

/// The index of a known key.
#[inline]
fn find(within: Within, key: &[u8]) -> Option<usize> {
    if key.is_empty() || within == Within::Elsewhere {
        return None;
    }
    let mut at = slot(within, key);
    loop {
        let index = usize::from(TABLE[at]).checked_sub(1)?;
        if KEYS[index].0 == within && KEYS[index].1.as_bytes().eq_ignore_ascii_case(key) {
            return Some(index);
        }
        at = (at + 1) % SLOTS;
    }
}

/// A value, without its quotes.
#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a [u8]),
    /// The head of a string that the line's limit cut.
    Head(&'a [u8]),
    Number(&'a [u8]),
}

/// Walks through a line.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    fields: Fields<'a>,
}

impl<'a> Scan<'a> {
    fn line(&mut self) -> Result<(), Unparsed> {
        if self.token() != Ok(b'{') {
            return Err(Unparsed("no JSON object"));
        }
        self.object(Within::Line, 1)?;
        match self.token() {
            Ok(_) => Err(Unparsed("text follows the object")),
            Err(_) => Ok(()),
        }
    }

    /// Takes an object, whose `{` is next.
    fn object(&mut self, within: Within, depth: usize) -> Result<(), Unparsed> {
        self.at += 1;
        if self.token()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.token()? != b'"' {
                return Err(Unparsed("a key is not in quotes"));
            }
            let key = self.string().ok_or(CUT)?;
            if self.token()? != b':' {
                return Err(Unparsed("no colon after a key"));
            }
            self.at += 1;
            self.value(within, key, find(within, key), depth)?;
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// Takes an array, whose `[` is next. Its first element is what `first` says.
    fn array(&mut self, mut first: Option<usize>, depth: usize) -> Result<(), Unparsed> {
        self.at += 1;
        if self.token()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(Within::Elsewhere, b"", first.take(), depth)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes the value of `key`, which is the `known` one.
    #[inline]
    fn value(&mut self, within: Within, key: &[u8], known: Option<usize>, depth: usize) -> Result<(), Unparsed> {
        let value = match self.token()? {
            b'"' => {
                let start = self.at + 1;
                match self.string() {
                    Some(text) => Value::Text(text),
                    None => {
                        if let Some(known) = known {
                            self.fields.take(known, Value::Head(&self.text[start..]));
                        }
                        return Err(CUT);
                    }
                }
            }
            b'{' | b'[' if depth == MAX_DEPTH => return self.skip(),
            b'{' => return self.object(within.inner(key), depth + 1),
            // Headers may come more than once: Caddy writes them as arrays.
            b'[' => return self.array(known.filter(|_| within == Within::RequestHeaders), depth + 1),
            b'-' | b'0'..=b'9' => Value::Number(self.number()?),
            _ => return self.literal(),
        };
        if let Some(known) = known {
            self.fields.take(known, value);
        }
        Ok(())
    }

    /// Passes over an object or array that is too deep to hold a field, without a look at how it is
    /// made. (An error would hide the lines of clients whose JSON a server logs.)
    fn skip(&mut self) -> Result<(), Unparsed> {
        let mut open = 0usize;
        loop {
            match self.token()? {
                b'"' => {
                    self.string().ok_or(CUT)?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// The next byte that is no white space; stays at it.
    #[inline]
    fn token(&mut self) -> Result<u8, Unparsed> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(CUT),
            }
        }
    }

    /// Takes what follows a member or an element: whether it is a comma rather than `end`.
    #[inline]
    fn goes_on(&mut self, end: u8) -> Result<bool, Unparsed> {
        let byte = self.token()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            _ if byte == end => Ok(false),
            _ => Err(Unparsed("no comma after a value")),
        }
    }

    /// Takes a string, whose `"` is next; `None` when it does not end.
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        let rest = &self.text[self.at + 1..];
        let mut from = 0;
        loop {
            let at = from + memchr::memchr2(b'"', b'\\', rest.get(from..)?)?;
            if rest[at] == b'"' {
                self.at += at + 2;
                return Some(&rest[..at]);
            }
            from = at + 2;
        }
    }

    fn number(&mut self) -> Result<&'a [u8], Unparsed> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let len = rest.iter().take_while(is_part).count();
        self.at += len;
        match rest[..len].last() {
            _ if len == rest.len() => Err(CUT), // More digits may have followed.
            Some(b'0'..=b'9') => Ok(&rest[..len]),
            _ => Err(Unparsed("a number is none")),
        }
    }

    fn literal(&mut self) -> Result<(), Unparsed> {
        let rest = &self.text[self.at..];
        for literal in [b"null".as_slice(), b"true", b"false"] {
            if rest.starts_with(literal) {
                self.at += literal.len();
                return Ok(());
            }
            if literal.starts_with(rest) {
                return Err(CUT);
            }
        }
        Err(Unparsed("a value is no JSON"))
    }
}

/// What was found so far.
#[derive(Default)]
struct Fields<'a> {
    http: Http<'a>,
    client: Option<IpAddr>,
    time: Option<Timestamp>,
    request: &'a [u8],
    logger: &'a [u8],
    /// A bit for each of [`KEYS`] that was there.
    seen: u128,
    /// A bit for each part that was there as a text, if an empty one.
    stated: u16,
    /// For each part, one more than the index of the key that it is from.
    from: [u8; PARTS],
}

impl<'a> Fields<'a> {
    /// Takes the value of a known key, unless the key was there before or a preferred one said it.
    #[inline]
    fn take(&mut self, index: usize, value: Value<'a>) {
        let part = KEYS[index].2;
        let again = self.seen >> index & 1 == 1;
        self.seen |= 1 << index;
        let from = usize::from(self.from[part as usize]);
        if !again && (from == 0 || index < from) && self.set(part, value) {
            self.from[part as usize] = index as u8 + 1;
        }
    }

    /// Whether `value` says anything of `part`.
    #[inline]
    fn set(&mut self, part: Part, value: Value<'a>) -> bool {
        let text = match part {
            Part::Client => return keep(&mut self.client, peer(value)),
            Part::Time => return keep(&mut self.time, time(value)),
            Part::Status => {
                let status = number(value).and_then(|status| u16::try_from(status).ok());
                return keep(&mut self.http.status, status.filter(|&status| status < 1000));
            }
            Part::Bytes => {
                let bytes = number(value);
                self.http.bytes = bytes.or(self.http.bytes);
                return bytes.is_some();
            }
            Part::Request => &mut self.request,
            Part::Method => &mut self.http.method,
            Part::Uri => &mut self.http.uri,
            Part::Protocol => &mut self.http.protocol,
            Part::Referer => &mut self.http.referer,
            Part::UserAgent => &mut self.http.user_agent,
            Part::User => &mut self.http.user,
            Part::Host => &mut self.http.host,
            Part::Logger => &mut self.logger,
        };
        let (Value::Text(value) | Value::Head(value)) = value else { return false };
        self.stated |= 1 << part as u16;
        let value = present(value);
        if !value.is_empty() {
            *text = value;
        }
        !value.is_empty()
    }

    /// The event, of a line that was read `whole`.
    fn event(self, whole: bool) -> Result<Event<'a>, Unparsed> {
        // Caddy and others write all they have to say as JSON. Of Caddy only `http.log.access` and
        // those below it tell of requests that were answered.
        if !self.logger.is_empty() && memchr::memmem::find(self.logger, b"access").is_none() {
            return Err(NO_REQUEST);
        }
        let stated = |part: Part| self.stated >> part as u16 & 1 == 1;
        let mut http = self.http;
        if !self.request.is_empty() {
            let mut line = Http::default();
            request(self.request, &mut line);
            let from = usize::from(self.from[Part::Uri as usize]);
            if from == 0 || from > REQUEST_LINE {
                http.uri = line.uri;
            }
            let or = |field: &mut &'a [u8], other| *field = if field.is_empty() { other } else { *field };
            or(&mut http.method, line.method);
            or(&mut http.protocol, line.protocol);
            or(&mut http.host, line.host);
        }
        if !http.uri.starts_with(b"/") {
            let host = http.host;
            absolute(http.uri, &mut http);
            http.host = if host.is_empty() { http.host } else { host };
        }
        let is_request = !http.method.is_empty() && !http.uri.is_empty();
        // To what is no HTTP the server answers 400, without a method.
        let is_junk = http.status > 0 && (stated(Part::Request) || stated(Part::Method) && stated(Part::Uri));
        if !(is_request || is_junk || !whole && self.time.is_some()) {
            return Err(NO_REQUEST);
        }
        let client = self.client.ok_or(Unparsed("no client address"))?;
        Ok(Event { time: self.time, source_ip: Some(client), kind: Kind::Http(http) })
    }
}

fn keep<T: From<U>, U>(field: &mut T, value: Option<U>) -> bool {
    let is_some = value.is_some();
    if let Some(value) = value {
        *field = value.into();
    }
    is_some
}

/// An address, with a port or without.
#[inline]
fn peer(value: Value<'_>) -> Option<IpAddr> {
    let Value::Text(text) = value else { return None };
    address(text).or_else(|| {
        let colon = memchr::memrchr(b':', text)?;
        let (host, port) = (&text[..colon], &text[colon + 1..]);
        let is_port = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
        // Without brackets it would be an IPv6 address that is none.
        let is_host = host.starts_with(b"[") || !host.contains(&b':');
        address(host).filter(|_| is_port && is_host)
    })
}

#[inline]
fn time(value: Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Text(text) => iso8601(text).or_else(|| clf(text)).or_else(|| unix(text)),
        Value::Number(text) => unix(text),
        Value::Head(_) => None,
    }
}

/// A whole number, in quotes or not.
#[inline]
fn number(value: Value<'_>) -> Option<u64> {
    let (Value::Text(text) | Value::Number(text)) = value else { return None };
    let digit = |value: u64, byte: &u8| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'));
    (1..=19).contains(&text.len()).then(|| text.iter().try_fold(0, digit)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_of(line: &[u8], extent: Extent) -> String {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        match Json.parse(line, extent) {
            Err(why) => format!("error: {why}"),
            Ok(Event { time, source_ip, kind: Kind::Http(http) }) => format!(
                "{} {} {}|{}|{} {} {:?} ref={} ua={} user={} host={}",
                time.map_or("-".into(), |time| time.to_string()),
                source_ip.map_or("-".into(), |ip| ip.to_string()),
                text(http.method),
                text(http.uri),
                text(http.protocol),
                http.status,
                http.bytes,
                text(http.referer),
                text(http.user_agent),
                text(http.user),
                text(http.host),
            ),
        }
    }

    fn shown(line: &str) -> String {
        shown_of(line.as_bytes(), Extent::Whole)
    }

    #[test]
    fn every_product_says_the_same_in_its_own_words() {
        for (product, line) in [
            (
                "nginx",
                r#"{"time_local":"05/Jan/2026:12:30:45 +0000","remote_addr":"203.0.113.7","remote_user":"bob","request":"GET /a?b=c HTTP/1.1","status": "404","body_bytes_sent":"612","http_referer":"https://r/","http_user_agent":"curl/8","http_host":"h","http_x_forwarded_for":"198.51.100.1"}"#,
            ),
            (
                "nginx, field by field",
                r#"{"msec":1767616245.000,"real_ip":"198.51.100.1","client_ip":"198.51.100.1","remote_addr":"203.0.113.7","remote_user":"bob","uri":"/index.php","args":"b=c","request_method":"GET","request_uri":"/a?b=c","server_protocol":"HTTP/1.1","status":404,"bytes_sent":612,"http_referer":"https://r/","http_user_agent":"curl/8","host":"h"}"#,
            ),
            (
                "Caddy",
                r#"{"level":"info","ts":1767616245.0001,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"203.0.113.7","remote_port":"4","client_ip":"198.51.100.1","proto":"HTTP/1.1","method":"GET","host":"h","uri":"/a?b=c","headers":{"Uri":["/evil"],"X-Forwarded-For":["198.51.100.1"],"Referer":["https://r/"],"User-Agent":["curl/8","x"]},"tls":{"proto":"h2","server_name":"h"}},"bytes_read":0,"user_id":"bob","duration":0.1,"size":612,"status":404,"resp_headers":{"Status":["200"],"User-Agent":["no"]}}"#,
            ),
            (
                "Caddy before 2.5",
                r#"{"ts":1767616245,"logger":"http.log.access","request":{"remote_addr":"203.0.113.7:4321","proto":"HTTP/1.1","method":"GET","host":"h","uri":"/a?b=c","headers":{"Referer":["https://r/"],"User-Agent":["curl/8"]}},"user_id":"bob","size":612,"status":404}"#,
            ),
            (
                "Traefik",
                r#"{"ClientAddr":"203.0.113.7:39496","ClientHost":"198.51.100.1","ClientUsername":"bob","DownstreamContentSize":612,"DownstreamStatus":404,"OriginStatus":200,"RequestHost":"h","RequestMethod":"GET","RequestPath":"/a?b=c","RequestProtocol":"HTTP/1.1","ServiceURL":{"Scheme":"http","User":null,"Path":"/p"},"StartLocal":"2026-01-05T13:30:45+01:00","StartUTC":"2026-01-05T12:30:45.000000192Z","request_Method":"PUT","request_Uri":"/evil","request_Referer":"https://r/","request_User-Agent":"curl/8","request_User_agent":"evil","time":"2026-01-05T12:30:46Z"}"#,
            ),
            (
                "Envoy",
                r#"{":authority":"h","bytes_received":0,"bytes_sent":612,"downstream_remote_address":"203.0.113.7:59292","method":"GET","protocol":"HTTP/1.1","referer":"https://r/","response_code":404,"start_time":"2026-01-05T12:30:45.000Z","upstream_cluster":null,"user":"bob","user_agent":"curl/8","x-envoy-origin-path":"/a?b=c","x-forwarded-for":"198.51.100.1"}"#,
            ),
            (
                "Cloudflare",
                r#"{"ClientIP":"203.0.113.7","ClientRequestHost":"h","ClientRequestMethod":"GET","ClientRequestProtocol":"HTTP/1.1","ClientRequestReferer":"https://r/","ClientRequestURI":"/a?b=c","ClientRequestUserAgent":"curl/8","EdgeResponseBytes":612,"EdgeResponseStatus":404,"EdgeStartTimestamp":1767616245000000000,"remote_user":"bob"}"#,
            ),
            (
                "ECS",
                r#"{"@timestamp":"2026-01-05T12:30:45.000Z","client":{"ip":"198.51.100.1"},"source":{"address":"x","ip":"203.0.113.7"},"http":{"request":{"method":"GET","referrer":"-"},"response":{"body":{"bytes":612},"status_code":404}},"url":{"original":"/a?b=c","path":"/a","domain":"h"},"user":{"name":"bob"},"user_agent":{"original":"curl/8"},"server_protocol":"HTTP/1.1","referer":"https://r/"}"#,
            ),
            (
                "ECS with dots",
                r#"{"@timestamp":"2026-01-05T12:30:45.000Z","source.ip":"203.0.113.7","http.request.method":"GET","http.response.status_code":404,"http.response.body.bytes":612,"url.original":"http://h/a?b=c","user.name":"bob","user_agent.original":"curl/8","protocol":"HTTP/1.1","referer":"https://r/"}"#,
            ),
            (
                "plain words, any case",
                "{ \"Timestamp\" : \"2026-01-05 12:30:45\",\t\"IP\":\"203.0.113.7\", \"Verb\":\"GET\", \"URL\":\"/a?b=c\", \"Path\":\"/a\", \"Code\":404, \"Bytes\":612, \"agent\":\"curl/8\", \"user\":\"bob\", \"host\":\"h\", \"protocol\":\"HTTP/1.1\", \"referer\":\"https://r/\", \"ok\":true } ",
            ),
        ] {
            assert_eq!(
                shown(line),
                "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/a?b=c|HTTP/1.1 404 Some(612) ref=https://r/ ua=curl/8 user=bob host=h",
                "{product}"
            );
        }
    }

    #[test]
    fn every_key_is_found_and_none_is_there_twice() {
        for (index, key) in KEYS.iter().enumerate() {
            assert_eq!(find(key.0, key.1.to_ascii_uppercase().as_bytes()), Some(index), "{}", key.1);
        }
        assert_eq!((find(Within::Line, b""), find(Within::Line, b"x-forwarded-for")), (None, None));
        assert_eq!((find(Within::Elsewhere, b"status"), find(Within::RequestHeaders, b"status")), (None, None));
    }

    #[test]
    fn hostile_values_move_no_field() {
        let line = |agent: &str| {
            format!(
                r#"{{"ip":"203.0.113.7","method":"GET","url":"/","agent":"{agent}","status":404,"time":1767616245}}"#
            )
        };
        for agent in [
            r#"\",\"status\":200,\"remote_addr\":\"1.2.3.4"#,
            r#"\u0022,\u0022status\u0022:200"#,
            r#"x\\\",\"ip\":\"1.2.3.4\\"#,
            r#"{\"request\":{\"remote_ip\":\"1.2.3.4\"}}"#,
            r#"\x22,\x22status\x22"#,
        ] {
            assert_eq!(
                shown(&line(agent)),
                format!("2026-01-05T12:30:45.000Z 203.0.113.7 GET|/| 404 None ref= ua={agent} user= host=")
            );
        }
    }

    #[test]
    fn of_a_key_that_is_there_twice_the_first_counts() {
        let twice =
            |first: &str, more: &str| shown(&format!(r#"{{{first},"method":"GET","url":"/",{more},"size":3}}"#));
        let expected = "- 203.0.113.7 GET|/| 404 Some(3) ref= ua= user= host=";
        let known = r#""ip":"203.0.113.7","status":404"#;
        assert_eq!(twice(known, r#""ip":"1.2.3.4","status":200,"url":"/b","METHOD":"PUT""#), expected);
        assert_eq!(twice(known, r#""client_ip":"1.2.3.4","client":"1.2.3.4","code":200,"path":"/b""#), expected);
        assert_eq!(
            twice(r#""client":"1.2.3.4","status":404"#, r#""remote_addr":"203.0.113.7""#),
            expected,
            "preferred"
        );
        assert_eq!(twice(known, r#""headers":{"ip":"1.2.3.4","status":1},"x":[{"ip":"1.2.3.4"},"ip"]"#), expected);
        let said = r#""remote_addr":"unix:","ip":"203.0.113.7","status":404,"user":"-","agent":"""#;
        assert_eq!(twice(said, r#""remote_addr":"1.2.3.4","agent":"x""#), expected, "what says nothing counts too");
    }

    #[test]
    fn what_tells_of_no_request_says_so() {
        for (line, error) in [
            (r#"{"log":"203.0.113.7 - - [05/Jan/2026","stream":"stdout","time":"2026-01-05T12:30:45Z"}"#, "no request"),
            (r#"{"ip":"203.0.113.7","method":"local","code":"T1000W"}"#, "no request"),
            (r#"{"ip":"203.0.113.7","request":"5f3a","msg":"x"}"#, "no request"),
            (
                r#"{"ts":1,"logger":"http.log.error","request":{"remote_ip":"203.0.113.7","method":"GET","uri":"/"}}"#,
                "no request",
            ),
            (r#"{"ts":1,"logger":"admin.api","method":"GET","uri":"/","remote_ip":"203.0.113.7"}"#, "no request"),
            (
                r#"{"method":"GET","url":"/","x_forwarded_for":"203.0.113.7","real_ip":"203.0.113.7"}"#,
                "no client address",
            ),
            (r#"{"method":"GET","url":"/","ip":"203.0.113.7, 198.51.100.1"}"#, "no client address"),
            (r#"{"method":"GET","url":"/","ip":["203.0.113.7"]}"#, "no client address"),
            ("", "no JSON object"),
            (r#"["a"]"#, "no JSON object"),
            (r#"{"method":"GET","url":"/","ip":"203.0.113.7"} x"#, "text follows the object"),
            (r#"{"method":"GET","url":"/","ip":"203.0.113.7""#, "the object does not end"),
            (r#"{"method":"GET","url":"/","ip":"203.0.113.7",}"#, "a key is not in quotes"),
            (r#"{"method" "GET"}"#, "no colon after a key"),
            (r#"{"method":"GET" "url":"/"}"#, "no comma after a value"),
            (r#"{"method":["GET"}"#, "no comma after a value"),
            (r#"{"status":}"#, "a value is no JSON"),
            (r#"{"status":nul}"#, "a value is no JSON"),
            (r#"{"status":-}"#, "a number is none"),
        ] {
            assert_eq!(shown(line), format!("error: {error}"), "{line}");
        }
        let junk = r#"{"remote_addr":"203.0.113.7","request":"\u0016\u0003\u0001","status":400}"#;
        assert_eq!(shown(junk), r"- 203.0.113.7 |\u0016\u0003\u0001| 400 None ref= ua= user= host=");
        let parts = r#"{"remote_addr":"203.0.113.7","request_method":"","request_uri":"","status":400}"#;
        assert_eq!(shown(parts), "- 203.0.113.7 || 400 None ref= ua= user= host=");
    }

    #[test]
    fn what_is_nested_deep_is_passed_over() {
        let nested = |open: &str, close: &str, depth: usize| {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            shown(&format!(r#"{{"a":{open}1{close},"ip":"203.0.113.7","method":"GET","url":"/"}}"#))
        };
        for (open, close) in [(r#"{"ip":"1.2.3.4","a":"#, "}"), ("[", "]"), (r#"[{"b":["}\"",2,"#, "]}]")] {
            for depth in [1, MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, 100_000] {
                let expected = "- 203.0.113.7 GET|/| 0 None ref= ua= user= host=";
                assert_eq!(nested(open, close, depth), expected, "{open} {depth}");
                assert!(nested(open, &close[1..], depth).starts_with("error: "), "{open} {depth}");
            }
        }
    }

    #[test]
    fn the_head_of_a_cut_line_is_understood() {
        let head = |line: &str| shown_of(line.as_bytes(), Extent::Head);
        let start = r#"{"time":"2026-01-05T12:30:45Z","ip":"203.0.113.7","method":"GET""#;
        let known = "2026-01-05T12:30:45.000Z 203.0.113.7 GET|";
        assert_eq!(head(&format!(r#"{start},"url":"/aaaa"#)), format!("{known}/aaaa| 0 None ref= ua= user= host="));
        assert_eq!(head(&format!(r#"{start},"agent":"x\"#)), format!(r"{known}| 0 None ref= ua=x\ user= host="));
        assert_eq!(head(&format!(r#"{start},"status":20"#)), format!("{known}| 0 None ref= ua= user= host="));
        assert_eq!(head(&format!(r#"{start} "url":"/"#)), "error: no comma after a value");
        assert_eq!(
            head(r#"{"method":"GET","url":"/","ip":"203.0.113.7"#),
            "error: no client address",
            "more may follow"
        );
        let timeless = r#"{"ClientAddr":"203.0.113.7:1","RequestMethod":"GET","RequestPath":"/aaaa"#;
        assert_eq!(head(timeless), "- 203.0.113.7 GET|/aaaa| 0 None ref= ua= user= host=", "its time is at the end");
    }

    #[test]
    fn peers_come_with_ports_or_without() {
        let shown = |text: &str| peer(Value::Text(text.as_bytes())).map(|address| address.to_string());
        for (text, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:80", "203.0.113.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8::1:443", "2001:db8::1:443"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
        for text in
            ["", ":80", "203.0.113.7:", "203.0.113.7:8x", "host:80", "1:2:3:4:5:6:7:8:80", "203.0.113.7,203.0.113.8"]
        {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            text in r#"[{}\[\]",:\\a-c0-9.eE+ -]{0,80}"#,
        ) {
            for line in [bytes.as_slice(), text.as_bytes()] {
                for dressed in [line.to_vec(), [b"{\"ip\":\"203.0.113.7\",\"request\":", line].concat(), [b"{\"time\":\"", line, b"\"}"].concat()] {
                    let whole = Json.parse(&dressed, Extent::Whole);
                    let _ = Json.parse(&dressed, Extent::Head);
                    assert!(whole.is_err() || std::str::from_utf8(&dressed).is_err()
                        || dressed.first().is_some_and(|byte| b"{ \t\n\r".contains(byte)));
                }
            }
        }

        #[test]
        fn any_text_stays_in_its_field(agent in ".*", uri in "/.*") {
            let agent = format!("a{agent}");
            let line = serde_json::json!({
                "remote_addr": "203.0.113.7", "request_method": "GET", "request_uri": uri, "http_user_agent": agent,
                "status": 404, "time_iso8601": "2026-01-05T12:30:45Z", "zz": [agent, { "status": agent }],
            })
            .to_string();
            let event = Json.parse(line.as_bytes(), Extent::Whole).unwrap();
            let Kind::Http(http) = event.kind;
            let unescaped = |field: &[u8]| -> String {
                serde_json::from_slice(&[b"\"", field, b"\""].concat()).unwrap()
            };
            assert_eq!((unescaped(http.user_agent), unescaped(http.uri)), (agent, uri));
            let others = Http { user_agent: b"", uri: b"", ..http };
            assert_eq!(others, Http { method: b"GET", status: 404, ..Http::default() });
            assert_eq!(event.source_ip, Some(std::net::Ipv4Addr::new(203, 0, 113, 7).into()));
            assert_eq!(event.time.map(|time| time.0), Some(1_767_616_245_000));
        }
    }
}
