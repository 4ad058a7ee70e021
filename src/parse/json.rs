//! Access logs of one JSON object a line: nginx with `escape=json`, Caddy, Traefik, Envoy,
//! Cloudflare, Fastly, the Elastic Common Schema, and whoever names the fields alike.
//!
//! A field is known by its whole path, so that a header called `status` is none. Of a key that is
//! there twice the first counts: servers write what they know themselves ahead of what they were
//! sent, Caddy its `request.headers` last. Strings end at the first bare quote and keep their
//! escapes; which escapes they hold is not looked at, for hand-made configurations write `\x22`.

mod keys;

use std::net::IpAddr;

pub use keys::Part;
use keys::{KEYS, PARTS, REQUEST_LINE, Within, find};

use super::access::{origin_form, present, request};
use super::address::address_and_port;
use super::context::{Context, Site};
use super::time::{clf, iso8601, unix};
use super::{Extent, LogFormat, Unparsed, proxies};
use crate::event::{Event, Http, Kind, Timestamp};

pub struct Json;

/// Objects and arrays within each other; fields are up to four deep.
const MAX_DEPTH: usize = 8;

const CUT: Unparsed = Unparsed("the object does not end");
const NO_REQUEST: Unparsed = Unparsed("no request");

impl LogFormat for Json {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        let mut scan = Scan { text: line, at: 0, fields: Fields::default(), site: context.site };
        match scan.line() {
            Err(why) if why != CUT || context.extent == Extent::Whole => Err(why),
            read => scan.fields.event(read.is_ok(), context),
        }
    }
}

/// The request that `pairs` of the same names tell of, all of one line.
pub fn of_pairs<'a>(
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    context: &Context<'a>,
) -> Result<Event<'a>, Unparsed> {
    let mut fields = Fields::default();
    for (key, value) in pairs {
        if let Some(known) = find(Within::Line, key) {
            fields.take(known, Value::Text(value), context.site);
        }
    }
    fields.event(true, context)
}

/// The number of the key called `name` in the line's own object, and what it says.
pub fn column(name: &[u8]) -> Option<(usize, Part)> {
    find(Within::Line, name).map(|index| (index, KEYS[index].2)).filter(|(_, part)| *part != Part::Message)
}

/// The request that a record tells of, whose columns are these keys by their number.
pub fn of_columns<'a>(
    columns: impl Iterator<Item = (usize, &'a [u8])>,
    context: &Context<'a>,
) -> Result<Event<'a>, Unparsed> {
    let mut fields = Fields::default();
    for (key, value) in columns {
        fields.take(key, Value::Text(value), context.site);
    }
    let http = fields.http(context);
    fields.of_client(http)
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
    site: &'a Site,
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

    /// Takes an array, whose `[` is next. Its first element is what `known` says; of what proxies
    /// add to, the last.
    fn array(&mut self, mut known: Option<usize>, depth: usize) -> Result<(), Unparsed> {
        self.at += 1;
        if self.token()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(Within::Elsewhere, b"", known, depth)?;
            known = known.filter(|&index| self.fields.forget_forwarded(index));
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
                            self.fields.take(known, Value::Head(&self.text[start..]), self.site);
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
            self.fields.take(known, value, self.site);
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
    query: &'a [u8],
    logger: &'a [u8],
    message: &'a [u8],
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
    fn take(&mut self, index: usize, value: Value<'a>, site: &Site) {
        let part = KEYS[index].2;
        let again = self.seen >> index & 1 == 1;
        self.seen |= 1 << index;
        let from = usize::from(self.from[part as usize]);
        if !again && (from == 0 || index < from) && self.set(part, value, site) {
            self.from[part as usize] = index as u8 + 1;
        }
    }

    /// Lets a key that names a client be taken once more, if `index` is that of one.
    fn forget_forwarded(&mut self, index: usize) -> bool {
        let forwarded = matches!(KEYS[index].2, Part::Forwarded);
        if forwarded {
            self.seen &= !(1 << index);
            self.from[Part::Forwarded as usize] = 0;
        }
        forwarded
    }

    /// Whether `value` says anything of `part`.
    #[inline]
    fn set(&mut self, part: Part, value: Value<'a>, site: &Site) -> bool {
        let text = match part {
            Part::Client => return keep(&mut self.client, peer(value)),
            Part::Time => return keep(&mut self.time, time(value, site)),
            Part::Status => {
                let status = number(value).and_then(|status| u16::try_from(status).ok());
                let status = status.filter(|&status| status < 1000);
                self.http.status = status.or(self.http.status);
                return status.is_some();
            }
            Part::Bytes => {
                let bytes = number(value);
                self.http.bytes = bytes.or(self.http.bytes);
                return bytes.is_some();
            }
            Part::Request => &mut self.request,
            Part::Method => &mut self.http.method,
            Part::Uri => &mut self.http.uri,
            Part::Query => &mut self.query,
            Part::Protocol => &mut self.http.protocol,
            Part::Referer => &mut self.http.referer,
            Part::UserAgent => &mut self.http.user_agent,
            Part::User => &mut self.http.user,
            Part::Host => &mut self.http.host,
            Part::Forwarded => &mut self.http.forwarded,
            Part::Logger => &mut self.logger,
            Part::Message => &mut self.message,
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
    fn event(self, whole: bool, context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        // Caddy and others write all they have to say as JSON. Of Caddy only `http.log.access` and
        // those below it tell of requests that were answered.
        if !self.logger.is_empty() && memchr::memmem::find(self.logger, b"access").is_none() {
            return Err(NO_REQUEST);
        }
        // Nextcloud and others log what they say beside the request that they said it at.
        let says = !self.message.is_empty() && self.client.is_some() && !self.http.method.is_empty();
        if whole && says && self.http.status.is_none() {
            return Err(NO_REQUEST);
        }
        let stated = |part: Part| self.stated >> part as u16 & 1 == 1;
        let http = self.http(context);
        let is_request = !http.uri.is_empty() && (!http.method.is_empty() || !http.user_agent.is_empty())
            || http.status.is_some() && !http.user_agent.is_empty();
        // To what is no HTTP the server answers 400, without a method.
        let is_junk = http.status.is_some_and(|status| status > 0)
            && (stated(Part::Request) || stated(Part::Method) && stated(Part::Uri));
        if !(is_request || is_junk || !whole && self.time.is_some()) {
            return Err(NO_REQUEST);
        }
        self.of_client(http)
    }

    /// The request, put together.
    #[inline]
    fn http(&self, context: &Context<'a>) -> Http<'a> {
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
        origin_form(&mut http);
        if !self.query.is_empty() && memchr::memchr(b'?', http.uri).is_none() {
            http.uri = context.joined(&[http.uri, b"?", self.query]);
        }
        http
    }

    /// The event of a request by the client that was found.
    #[inline]
    fn of_client(self, http: Http<'a>) -> Result<Event<'a>, Unparsed> {
        let source_ip = self.client.or_else(|| proxies::guess(http.forwarded));
        if source_ip.is_none() {
            return Err(Unparsed("no client address"));
        }
        Ok(Event {
            time: self.time,
            source_ip,
            guessed: self.client.is_none(),
            via_proxy: false,
            kind: Kind::Http(http),
        })
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
    address_and_port(text)
}

#[inline]
fn time(value: Value<'_>, site: &Site) -> Option<Timestamp> {
    match value {
        Value::Text(text) => iso8601(text, site).or_else(|| clf(text)).or_else(|| unix(text)),
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
mod tests;
