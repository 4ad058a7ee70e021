//! Any nginx `log_format` and any Apache `LogFormat`, compiled to a list of literal texts and fields.
//!
//! Clients choose much of a line: the request, the referrer, the agent, the user. What they cannot
//! write is a bare `"` (nginx logs `\x22`, Apache `\"`) or a bare tab. So the quotes and tabs of a
//! format cut line and format into the same *sections*, and no text reaches beyond its own. Within
//! a section:
//!
//! - Up to its first free text (one that may hold spaces), fields end where the next literal begins.
//! - What follows its last free text is read backwards from the section's end.
//! - Free texts side by side, with nothing but the client's own words between them, end at the next
//!   literal: what moves there was all chosen by one client. If the server's words stand between
//!   them, the first one takes the whole, and the fields between them are absent; a client address
//!   or a time there is refused when the format is compiled.
//!
//! A user called `x [05/Jan/2026:…] ` therefore stays a user, as in `access`.

mod dialect;

use std::sync::OnceLock;

use super::access::{bare_quote, host_name, present, request};
use super::address::{address, address_and_port, leading_v4};
use super::context::{Context, Site};
use super::time::{END_OF_9999, clf, iso8601, leading_iso8601, number, unix};
use super::{Extent, LogFormat, Unparsed, proxies};
use crate::event::{Event, Http, Kind, Timestamp};
use dialect::{Step, Variable};

/// A compiled format.
#[derive(Debug)]
pub struct Template {
    sections: Box<[Section]>,
    /// The client is only what X-Forwarded-For names: a guess.
    client_from_header: bool,
    /// The zone of its time stands elsewhere in the line.
    zone_apart: bool,
}

static UTC: Site = Site { zone: jiff::tz::TimeZone::UTC, trusted_proxies: Vec::new() };

/// What stands between two signs that no client can write.
#[derive(Debug)]
struct Section {
    pieces: Box<[Piece]>,
    /// The literal after the last piece.
    after: Box<[u8]>,
    /// The sign that ends it; none at the end of the line.
    end: Option<u8>,
    /// The first free text, and the piece after the last; both the number of pieces without any.
    first_free: usize,
    tail: usize,
    /// Whether only the client's words stand between its free texts.
    client_chosen: bool,
    form: Form,
}

/// How much work a section is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// Only its literal.
    Literal,
    /// One free text and nothing else, as most fields in quotes.
    Text,
    /// The user is in it, for whom Apache writes `""` when he has no name.
    WithUser,
    Mixed,
}

/// A field and the literal before it.
#[derive(Debug)]
struct Piece {
    before: Box<[u8]>,
    field: Field,
    shape: Shape,
}

/// What a field tells.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Skipped,
    Client,
    /// Address, colon and port, even where an IPv6 address has no brackets.
    ClientAndPort,
    /// The remote name of identd, which tells a host name from a virtual host.
    Ident,
    Time(Clock),
    /// A clock, a zone or a fraction that belongs to a date elsewhere in the line.
    PartOfTime(Box<[Step]>),
    Request,
    Method,
    Uri,
    /// Of a URI that is logged without it.
    Query,
    Protocol,
    Status,
    Bytes,
    Referer,
    Agent,
    User,
    Host,
    /// A header in which proxies name the client.
    Forwarded,
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq)]
enum Clock {
    CommonLog,
    Iso8601,
    /// Since 1970, as the next two.
    Seconds,
    Milliseconds,
    Microseconds,
    Strftime(Box<[Step]>),
}

/// How a field's end is found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Holds no space: ends where the next literal begins.
    Word,
    /// Words joined by `, ` or ` : `, as nginx lists upstreams.
    List,
    /// Digits, signs and dots: ends by itself.
    Number,
    Fixed(usize),
    Iso8601,
    Free,
}

/// Compiles an nginx `log_format` (`$name`, `${name}`) or an Apache `LogFormat` (`%…`). In both,
/// `$_` and `%_` are a word without spaces that is skipped, whatever it is.
///
/// # Errors
/// What is wrong with `format`, for people.
pub fn compile(format: &str) -> Result<Template, String> {
    let variables = dialect::variables(format)?;
    let mut sections = vec![];
    let mut pieces: Vec<Piece> = vec![];
    let mut names: Vec<&str> = vec![];
    let mut literal = vec![];
    for variable in &variables {
        match variable {
            Variable::Literal(sign @ (b'"' | b'\t')) => {
                sections.push(section(std::mem::take(&mut pieces), std::mem::take(&mut literal), Some(*sign), &names)?);
                names.clear();
            }
            Variable::Literal(byte) => literal.push(*byte),
            Variable::Field { name, field, shape, .. } => {
                let before = std::mem::take(&mut literal).into();
                pieces.push(Piece { before, field: field.clone(), shape: *shape });
                names.push(name);
            }
        }
    }
    sections.push(section(pieces, literal, None, &names)?);
    let has = |wanted: &dyn Fn(&Field) -> bool| {
        sections.iter().any(|section| section.pieces.iter().any(|piece| wanted(&piece.field)))
    };
    let client_from_header = !has(&|field| matches!(field, Field::Client | Field::ClientAndPort));
    if client_from_header && !has(&|field| *field == Field::Forwarded) {
        return Err("no client address: add $remote_addr (nginx) or %a (Apache)".to_owned());
    }
    if !has(&|field| matches!(field, Field::Time(_))) {
        return Err("no time: add $time_local (nginx) or %t (Apache)".to_owned());
    }
    let zone_apart = has(&|field| matches!(field, Field::PartOfTime(steps) if steps.contains(&Step::Zone)));
    Ok(Template { sections: sections.into(), zone_apart, client_from_header })
}

/// The section of `pieces`, called `names`.
fn section(pieces: Vec<Piece>, after: Vec<u8>, end: Option<u8>, names: &[&str]) -> Result<Section, String> {
    let free = |piece: &Piece| piece.shape == Shape::Free;
    let first_free = pieces.iter().position(free).unwrap_or(pieces.len());
    let tail = pieces.iter().rposition(free).map_or(pieces.len(), |last| last + 1);
    for (at, pair) in pieces.windows(2).enumerate().filter(|(_, pair)| pair[1].before.is_empty()) {
        let ends = match pair[0].shape {
            Shape::Number => pair[1].shape != Shape::Number,
            Shape::Fixed(_) | Shape::Iso8601 => true,
            // A path begins with the slash that no host name has.
            Shape::Word => pair[0].field == Field::Host && pair[1].field == Field::Uri,
            Shape::List | Shape::Free => false,
        };
        if !ends || at >= first_free {
            return Err(format!("two variables with nothing between them: {}{}", names[at], names[at + 1]));
        }
    }
    let between = if first_free < tail { &pieces[first_free..tail] } else { &[] };
    for (at, piece) in between.iter().enumerate() {
        let what = match piece.field {
            Field::Client | Field::ClientAndPort => "client address",
            Field::Time(_) => "time",
            _ => continue,
        };
        let (name, first, last) = (names[first_free + at], names[first_free], names[tail - 1]);
        return Err(format!(
            "the {what} {name} stands between {first} and {last}, whose text clients choose: put one of them in quotes"
        ));
    }
    let client_chosen =
        between.iter().all(|piece| free(piece) || matches!(piece.field, Field::Method | Field::Protocol));
    let form = match &*pieces {
        [] => Form::Literal,
        pieces if pieces.iter().any(|piece| piece.field == Field::User) => Form::WithUser,
        [Piece { before, shape: Shape::Free, .. }] if before.is_empty() && after.is_empty() => Form::Text,
        _ => Form::Mixed,
    };
    Ok(Section { pieces: pieces.into(), after: after.into(), end, first_free, tail, client_chosen, form })
}

impl LogFormat for Template {
    #[inline]
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        let extent = context.extent;
        let mut parts = Parts::new(if self.zone_apart { &UTC } else { context.site });
        let read = self.read(line, extent, &mut parts);
        let known = parts.client != Client::Absent || self.client_from_header;
        if !(extent == Extent::Head && known && parts.time.is_some()) {
            read?;
        }
        let guessed = self.client_from_header;
        if guessed {
            parts.source_ip = proxies::guess(parts.http.forwarded);
        } else if parts.client == Client::Absent {
            return Err(Unparsed("no client address"));
        }
        if parts.time.is_none() {
            return Err(Unparsed("no time"));
        }
        if parts.client == Client::Named && parts.ident {
            // A virtual host with the client after it.
            return Err(Unparsed("the first field is no client address"));
        }
        let time = parts.time.map(|time| Timestamp(time.0 + parts.more_ms));
        if !parts.query.is_empty() && memchr::memchr(b'?', parts.http.uri).is_none() {
            parts.http.uri = context.joined(&[parts.http.uri, b"?", parts.query]);
        }
        Ok(Event { time, source_ip: parts.source_ip, guessed, kind: Kind::Http(parts.http) })
    }
}

impl Template {
    /// Reads section after section; what was read before an error stays in `parts`.
    #[inline]
    fn read<'a>(&self, line: &'a [u8], extent: Extent, parts: &mut Parts<'a>) -> Result<(), Unparsed> {
        let mut rest = line;
        for section in &self.sections {
            let end = match section.end {
                None => None,
                Some(b'"') => bare_quote(rest),
                Some(sign) => memchr::memchr(sign, rest),
            };
            let Some(at) = end else {
                if extent == Extent::Head {
                    return section.read_head(rest, parts);
                }
                return match section.end {
                    None => section.read(rest, parts),
                    Some(b'"') => Err(Unparsed("a quote is missing")),
                    Some(_) => Err(Unparsed("a tab is missing")),
                };
            };
            let text = &rest[..at];
            match section.form {
                Form::Literal if *text == *section.after => {}
                Form::Literal => return Err(Unparsed(NO_LITERAL)),
                Form::Text => parts.set(&section.pieces[0].field, text)?,
                Form::Mixed => section.read(text, parts)?,
                Form::WithUser => {
                    let more_ms = parts.more_ms;
                    if let Err(unparsed) = section.read(text, parts) {
                        // What was set is set again, but this adds up.
                        let longer = section.with_empty_user(rest, at).ok_or(unparsed)?;
                        parts.more_ms = more_ms;
                        section.read(&rest[..longer], parts)?;
                        rest = &rest[longer + 1..];
                        continue;
                    }
                }
            }
            rest = &rest[at + 1..];
        }
        Ok(())
    }
}

impl Section {
    /// Where it ends when the quote at `at` belongs to `""`, which Apache writes for an empty user.
    #[cold]
    fn with_empty_user(&self, rest: &[u8], at: usize) -> Option<usize> {
        let after = at + b"\"\"".len();
        let empty = rest[at..].starts_with(b"\"\"");
        empty.then(|| bare_quote(&rest[after..])).flatten().map(|quote| after + quote)
    }

    /// Reads the pieces that end by the next literal. Of a line that was cut in this section, the
    /// first free text is what is left, and other fields must not touch the cut.
    #[inline]
    fn read_head<'a>(&self, text: &'a [u8], parts: &mut Parts<'a>) -> Result<(), Unparsed> {
        let rest = self.read_words(text, Extent::Head, parts)?;
        self.pieces.get(self.first_free).map_or(Ok(()), |piece| parts.set(&piece.field, rest))
    }

    #[inline]
    fn read_words<'a>(&self, text: &'a [u8], extent: Extent, parts: &mut Parts<'a>) -> Result<&'a [u8], Unparsed> {
        let mut rest = text;
        for (at, piece) in self.pieces[..self.first_free].iter().enumerate() {
            rest = literal(rest, &piece.before)?;
            let next = self.pieces.get(at + 1);
            let literal = next.map_or(&self.after, |piece| &piece.before);
            let len = match piece.shape {
                Shape::Word if let [sign, ..] = **literal => {
                    if piece.field == Field::Client
                        && let Some((address, len)) = leading_v4(rest)
                        && rest.get(len) == Some(&sign)
                    {
                        (parts.source_ip, parts.client) = (Some(address), Client::Address);
                        rest = &rest[len..];
                        continue;
                    }
                    rest.iter().position(|&byte| byte == sign)
                }
                Shape::Word if next.is_some_and(|piece| piece.field == Field::Uri) => memchr::memchr(b'/', rest),
                // Formats get fields appended.
                Shape::Word if self.end.is_none() => rest.iter().position(|&byte| byte == b' ').or(Some(rest.len())),
                Shape::Word => Some(rest.len()),
                Shape::List => list_end(rest, literal),
                Shape::Number => Some(rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.')).count()),
                Shape::Fixed(len) => (len <= rest.len()).then_some(len),
                Shape::Iso8601 => leading_iso8601(rest, &UTC).map(|(_, len)| len),
                Shape::Free => None,
            };
            let len = len.filter(|&len| extent == Extent::Whole || len < rest.len()).ok_or(Unparsed(NO_END))?;
            let (field, after) = rest.split_at(len);
            parts.set(&piece.field, field)?;
            rest = after;
        }
        match self.pieces.get(self.first_free) {
            Some(piece) => literal(rest, &piece.before),
            None => Ok(rest),
        }
    }

    /// Reads the whole section.
    #[inline]
    fn read<'a>(&self, text: &'a [u8], parts: &mut Parts<'a>) -> Result<(), Unparsed> {
        let mut rest = self.read_words(text, Extent::Whole, parts)?;
        if self.first_free == self.pieces.len() {
            rest = literal(rest, &self.after)?;
            let appended = self.end.is_none() && rest.starts_with(b" ");
            return if rest.is_empty() || appended { Ok(()) } else { Err(Unparsed("more text than the format has")) };
        }
        rest = rest.strip_suffix(&*self.after).ok_or(Unparsed(NO_LITERAL))?;
        for piece in self.pieces[self.tail..].iter().rev() {
            let start = match piece.shape {
                Shape::Fixed(len) => rest.len().checked_sub(len),
                _ => memchr::memmem::rfind(rest, &piece.before).map(|at| at + piece.before.len()),
            };
            let (before, field) = rest.split_at(start.ok_or(Unparsed(NO_LITERAL))?);
            parts.set(&piece.field, field)?;
            rest = before.strip_suffix(&*piece.before).ok_or(Unparsed(NO_LITERAL))?;
        }
        let free = &self.pieces[self.first_free..self.tail];
        if !self.client_chosen {
            return parts.set(&free[0].field, rest);
        }
        for pair in free.windows(2) {
            let Some(len) = memchr::memmem::find(rest, &pair[1].before) else {
                return parts.set(&pair[0].field, rest);
            };
            parts.set(&pair[0].field, &rest[..len])?;
            rest = &rest[len + pair[1].before.len()..];
        }
        parts.set(&free[free.len() - 1].field, rest)
    }
}

const NO_LITERAL: &str = "a text of the format is missing";
const NO_END: &str = "a field does not end";

#[inline]
fn literal<'a>(rest: &'a [u8], literal: &[u8]) -> Result<&'a [u8], Unparsed> {
    match literal {
        [] => Ok(rest),
        [byte] if rest.first() == Some(byte) => Ok(&rest[1..]),
        _ => rest.strip_prefix(literal).ok_or(Unparsed(NO_LITERAL)),
    }
}

/// Where a list ends: at the first `literal` that belongs to no separator.
fn list_end(text: &[u8], literal: &[u8]) -> Option<usize> {
    if literal.is_empty() {
        return Some(text.len());
    }
    let separates =
        |at: &usize| text[..*at].ends_with(b",") || text[..*at].ends_with(b" :") || text[*at..].starts_with(b" : ");
    memchr::memmem::find_iter(text, literal).find(|at| !separates(at))
}

/// What has been read of a line.
#[derive(Clone, Copy)]
struct Parts<'a> {
    site: &'a Site,
    time: Option<Timestamp>,
    /// What other fields add to the time.
    more_ms: i64,
    client: Client,
    ident: bool,
    source_ip: Option<std::net::IpAddr>,
    query: &'a [u8],
    http: Http<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Client {
    Absent,
    /// A host name, a Unix socket or `-`.
    Named,
    Address,
}

impl<'a> Parts<'a> {
    fn new(site: &'a Site) -> Parts<'a> {
        Parts {
            site,
            time: None,
            more_ms: 0,
            client: Client::Absent,
            ident: false,
            source_ip: None,
            query: b"",
            http: Http::default(),
        }
    }

    #[inline]
    fn set(&mut self, field: &Field, text: &'a [u8]) -> Result<(), Unparsed> {
        let http = &mut self.http;
        match field {
            Field::Skipped => {}
            Field::Query => {
                let query = text.strip_prefix(b"?").unwrap_or(text);
                self.query = if query.is_empty() { self.query } else { present(query) };
            }
            Field::Client | Field::ClientAndPort => {
                self.source_ip = if *field == Field::Client {
                    address_and_port(text)
                } else {
                    memchr::memrchr(b':', text).and_then(|colon| address(&text[..colon]))
                };
                self.client = if self.source_ip.is_some() { Client::Address } else { Client::Named };
                if self.source_ip.is_none() && (text.is_empty() || !host_name(text)) {
                    self.client = Client::Absent;
                    return Err(Unparsed("the client field is no address"));
                }
            }
            Field::Ident => self.ident = text != b"-",
            Field::Time(clock) => {
                self.time = Some(clock.read(text, self.site).ok_or(Unparsed("no time where the format has it"))?)
            }
            Field::PartOfTime(steps) => {
                let part = dialect::strftime(steps, text, &UTC).ok_or(Unparsed("no time where the format has it"))?;
                self.more_ms += part.0;
            }
            Field::Request => request(text, http),
            Field::Method => http.method = present(text),
            Field::Uri => http.uri = present(text),
            Field::Protocol => http.protocol = present(text),
            Field::Status => {
                http.status = match *text {
                    [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                        Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
                    }
                    [b'0'] => Some(0),
                    [b'-'] | [b'-', b'1'] => None,
                    _ => return Err(Unparsed("the status is no number")),
                }
            }
            Field::Bytes => {
                let value = number(text).map(i64::cast_unsigned);
                if value.is_none() && text != b"-" {
                    return Err(Unparsed("the size is no number"));
                }
                http.bytes = value;
            }
            Field::Referer => http.referer = present(text),
            Field::Agent => http.user_agent = present(text),
            Field::User => http.user = if text == b"\"\"" { b"" } else { present(text) },
            Field::Host => http.host = present(text),
            Field::Forwarded => http.forwarded = present(text),
        }
        Ok(())
    }
}

impl Clock {
    #[inline]
    fn read(&self, text: &[u8], site: &Site) -> Option<Timestamp> {
        let time = match self {
            Clock::CommonLog => clf(text),
            Clock::Iso8601 => iso8601(text, site),
            Clock::Seconds => unix(text),
            Clock::Milliseconds => number(text).map(Timestamp),
            Clock::Microseconds => number(text).map(|micros| Timestamp(micros / 1000)),
            Clock::Strftime(steps) => dialect::strftime(steps, text, site),
        };
        time.filter(|time| time.secs() < END_OF_9999)
    }
}

/// A built-in format, compiled when it is first asked.
pub struct BuiltIn {
    format: &'static str,
    template: OnceLock<Result<Template, String>>,
}

impl BuiltIn {
    pub const fn new(format: &'static str) -> BuiltIn {
        BuiltIn { format, template: OnceLock::new() }
    }
}

impl LogFormat for BuiltIn {
    #[inline]
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        match self.template.get_or_init(|| compile(self.format)) {
            Ok(template) => template.parse(line, context),
            Err(_) => Err(Unparsed("the format does not compile")),
        }
    }
}

pub static NGINX_PROXY_MANAGER: BuiltIn = BuiltIn::new(
    r#"[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] "$http_user_agent" "$http_referer""#,
);
pub static NGINX_PROXY_MANAGER_STANDARD: BuiltIn = BuiltIn::new(
    r#"[$time_local] $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] "$http_user_agent" "$http_referer""#,
);
pub static NGINX_PROXY_MANAGER_SENT_TO: BuiltIn = BuiltIn::new(
    r#"[$time_local] $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] "$http_user_agent" "$http_referer""#,
);
pub static NGINX_PROXY_MANAGER_CACHE: BuiltIn = BuiltIn::new(
    r#"[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] "$http_user_agent" "$http_referer""#,
);
pub static NPMPLUS: BuiltIn = BuiltIn::new(
    r#"[$time_local] $host $remote_addr $request_time "$request" $status $body_bytes_sent $bytes_sent $http_referer $http_user_agent"#,
);
pub static BUNKERWEB: BuiltIn = BuiltIn::new(
    r#"$host $remote_addr - $request_id $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#,
);
pub static AWS_ALB: BuiltIn = BuiltIn::new(
    r#"$_ $time_iso8601 $_ $remote_addr $_ $_ $_ $_ $status $_ $_ $bytes_sent "$request" "$http_user_agent" $_ $_"#,
);
pub static HAPROXY: BuiltIn = BuiltIn::new(
    r#"%a:%{remote}p [%{%d/%b/%Y:%H:%M:%S}t.%{msec_frac}t] %_ %_ %_ %s %B %{cookies, state, queues, captured headers}n "%r""#,
);
pub static ZORAXY: BuiltIn = BuiltIn::new(
    r"%{%Y/%m/%d %H:%M:%S}t [%_ %_] [router:%_] [origin:%V] [client: %a] [useragent: %{User-Agent}i] %m %U %s",
);
pub static ENVOY: BuiltIn = BuiltIn::new(
    r#"[$time_iso8601] "$request" $status $_ $_ $bytes_sent $_ $_ "$http_x_forwarded_for" "$http_user_agent" "$_" "$http_host" "$_""#,
);
pub static NGINX_WITHOUT_USER: BuiltIn = BuiltIn::new(
    r#"$remote_addr - [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#,
);
pub static CPANEL_LOGIN: BuiltIn = BuiltIn::new(r#"[%{%Y-%m-%d %H:%M:%S %z}t] %_ [%_] %a - %u "%r" %{outcome}n"#);
pub static CPANEL: BuiltIn =
    BuiltIn::new(r#"%a - %u [%{%m/%d/%Y:%H:%M:%S %z}t] "%r" %s %B "%{Referer}i" "%{User-Agent}i" "%_" "%_" %p"#);

#[cfg(test)]
mod tests;
