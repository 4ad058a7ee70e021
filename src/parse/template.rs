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
mod read;
mod scan;

use super::built_in::BuiltIn;
use super::context::{Context, Site};
use super::{Extent, LogFormat, Unparsed, proxies};
use crate::event::{Event, Kind, Timestamp};
use dialect::{Step, Variable};
use read::{Client, Parts};
use scan::Literal;

/// A compiled format.
#[derive(Debug)]
pub struct Template {
    sections: Box<[Section]>,
    /// Whether tabs end sections.
    has_tabs: bool,
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
    after: Literal,
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
    before: Literal,
    field: Field,
    shape: Shape,
    /// What a word ends before; none where the section ends it.
    until: Option<u8>,
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
                let before = Literal::new(std::mem::take(&mut literal));
                pieces.push(Piece { before, field: field.clone(), shape: *shape, until: None });
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
    let has_tabs = sections.iter().any(|section| section.end == Some(b'\t'));
    Ok(Template { sections: sections.into(), has_tabs, zone_apart, client_from_header })
}

/// The section of `pieces`, called `names`.
fn section(mut pieces: Vec<Piece>, after: Vec<u8>, end: Option<u8>, names: &[&str]) -> Result<Section, String> {
    let after = Literal::new(after);
    let free = |piece: &Piece| piece.shape == Shape::Free;
    let first_free = pieces.iter().position(free).unwrap_or(pieces.len());
    let tail = pieces.iter().rposition(free).map_or(pieces.len(), |last| last + 1);
    for (at, pair) in pieces.windows(2).enumerate().filter(|(_, pair)| pair[1].before.len() == 0) {
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
    for at in 0..pieces.len() {
        let next = pieces.get(at + 1);
        pieces[at].until = next.map_or(&after, |next| &next.before).first().or(match next {
            Some(next) => (next.field == Field::Uri).then_some(b'/'),
            None => None,
        });
    }
    let form = match &*pieces {
        [] => Form::Literal,
        pieces if pieces.iter().any(|piece| piece.field == Field::User) => Form::WithUser,
        [Piece { before, shape: Shape::Free, .. }] if before.len() + after.len() == 0 => Form::Text,
        _ => Form::Mixed,
    };
    Ok(Section { pieces: pieces.into(), after, end, first_free, tail, client_chosen, form })
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
        Ok(Event { time, source_ip: parts.source_ip, guessed, via_proxy: false, kind: Kind::Http(parts.http) })
    }
}

const fn built_in(format: &'static str) -> BuiltIn<Template> {
    BuiltIn::new(format, compile)
}

pub static NGINX_PROXY_MANAGER: BuiltIn<Template> = built_in(
    r#"[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] "$http_user_agent" "$http_referer""#,
);
pub static NGINX_PROXY_MANAGER_STANDARD: BuiltIn<Template> = built_in(
    r#"[$time_local] $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] "$http_user_agent" "$http_referer""#,
);
pub static NGINX_PROXY_MANAGER_SENT_TO: BuiltIn<Template> = built_in(
    r#"[$time_local] $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] "$http_user_agent" "$http_referer""#,
);
pub static NGINX_PROXY_MANAGER_CACHE: BuiltIn<Template> = built_in(
    r#"[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] "$http_user_agent" "$http_referer""#,
);
pub static NPMPLUS: BuiltIn<Template> = built_in(
    r#"[$time_local] $host $remote_addr $request_time "$request" $status $body_bytes_sent $bytes_sent $http_referer $http_user_agent"#,
);
pub static BUNKERWEB: BuiltIn<Template> = built_in(
    r#"$host $remote_addr - $request_id $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#,
);
pub static AWS_ALB: BuiltIn<Template> = built_in(
    r#"$_ $time_iso8601 $_ $remote_addr $_ $_ $_ $_ $status $_ $_ $bytes_sent "$request" "$http_user_agent" $_ $_"#,
);
pub static HAPROXY: BuiltIn<Template> = built_in(
    r#"%a:%{remote}p [%{%d/%b/%Y:%H:%M:%S}t.%{msec_frac}t] %_ %_ %_ %s %B %{cookies, state, queues, captured headers}n "%r""#,
);
pub static ZORAXY: BuiltIn<Template> = built_in(
    r"%{%Y/%m/%d %H:%M:%S}t [%_ %_] [router:%_] [origin:%V] [client: %a] [useragent: %{User-Agent}i] %m %U %s",
);
pub static ENVOY: BuiltIn<Template> = built_in(
    r#"[$time_iso8601] "$request" $status $_ $_ $bytes_sent $_ $_ "$http_x_forwarded_for" "$http_user_agent" "$_" "$http_host" "$_""#,
);
pub static NGINX_WITHOUT_USER: BuiltIn<Template> =
    built_in(r#"$remote_addr - [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#);
pub static CPANEL_LOGIN: BuiltIn<Template> = built_in(r#"[%{%Y-%m-%d %H:%M:%S %z}t] %_ [%_] %a - %u "%r" %{outcome}n"#);
pub static CPANEL: BuiltIn<Template> =
    built_in(r#"%a - %u [%{%m/%d/%Y:%H:%M:%S %z}t] "%r" %s %B "%{Referer}i" "%{User-Agent}i" "%_" "%_" %p"#);

#[cfg(test)]
mod tests;
