//! CSV whose first line names the columns. The names are those of JSON and `key=value` logs and of
//! W3C logs; between columns stands `,`, `;` or a tab, and values are quoted as in RFC 4180, with
//! `""` for a quote.
//!
//! What a writer quotes moves no column. But where one puts no quotes around what clients choose,
//! a client's own quotes can swallow the columns behind his text, and his separators make others. So
//! a client's address that stands behind such text is a guess, unless the names are in quotes too:
//! then the writer quotes everything. A record is one line; a break in a value, quoted or not, ends it.

use super::access::present;
use super::built_in::BuiltIn;
use super::context::Context;
use super::json::{self, Part};
use super::message::{self, Column as Named, leading_time};
use super::time::unix;
use super::w3c::field;
use super::{Extent, LogFormat, Unparsed};
use crate::event::{Event, Timestamp};

/// What a format begins with that is such a line.
pub const PREFIX: &str = "csv:";

/// A compiled header.
pub struct Csv {
    separator: u8,
    columns: Box<[Column]>,
    /// Its records are requests, else messages.
    requests: bool,
    /// Clients may write into the client's column.
    guessed: bool,
}

/// What a column tells.
enum Column {
    Skipped,
    /// Of a time of day that has a column of its own.
    Date,
    Time,
    /// The number of a JSON key.
    Request(usize),
    /// A name of a message's field.
    Message(Box<[u8]>),
}

/// Columns that a header may name.
const MAX_COLUMNS: usize = 128;
/// Known names without which a file's first line is no header, whatever else it may be.
const MIN_KNOWN: usize = 3;
/// Longest name of a column, in bytes.
const MAX_NAME: usize = 64;

/// Names that JSON logs have not, and the key that tells the same there.
#[rustfmt::skip] // One field a line reads best.
const ALIASES: &[(&str, &[&str])] = &[
    ("client_ip", &["c_ip", "ipaddress", "remote_host"]),
    ("time", &["created_at", "logged_at"]),
    ("method", &["cs_method", "http_method"]),
    ("uri", &["cs_uri", "cs_uri_stem", "target", "url_path", "endpoint"]),
    ("args", &["query", "cs_uri_query"]),
    ("server_protocol", &["cs_version", "http_version"]),
    ("status", &["sc_status", "http_status", "statuscode"]),
    ("bytes", &["sc_bytes", "response_size"]),
    ("referer", &["referrer", "cs(referer)", "cs(referrer)", "http_referrer"]),
    ("user_agent", &["useragent", "cs(user_agent)", "ua"]),
    ("user", &["cs_username", "username"]),
    ("host", &["cs_host", "cs(host)", "vhost"]),
];

/// A name in a header.
struct Name {
    text: String,
    /// The key of JSON logs and the field of messages that tell the same.
    request: Option<(usize, Part)>,
    message: Option<Named>,
}

impl Name {
    fn of(text: &str) -> Name {
        let text: String = text.trim().to_ascii_lowercase();
        let plain = text.replace(['-', ' ', '.'], "_");
        let message = message::column(plain.as_bytes());
        let alias = || ALIASES.iter().find(|(_, names)| names.contains(&&*plain)).map(|(key, _)| *key);
        let request = json::column(text.as_bytes()).or_else(|| json::column(plain.as_bytes()));
        let request = request.or_else(|| json::column(alias()?.as_bytes())).or_else(|| match message {
            Some(Named::Client) => json::column(b"client_ip"),
            Some(Named::Time) => json::column(b"time"),
            _ => None,
        });
        Name { text: plain, request, message }
    }

    fn is(&self, part: Part) -> bool {
        self.request.is_some_and(|(_, known)| known == part)
    }

    /// Whether no client has a say in what such a column holds.
    fn is_the_servers(&self) -> bool {
        let of_request = |part| matches!(part, Part::Time | Part::Method | Part::Status | Part::Bytes);
        let of_message = |part| matches!(part, Named::Time | Named::Level | Named::Program);
        // What exports put in front.
        let number = matches!(&*self.text, "" | "#" | "id" | "no" | "index" | "row");
        number || self.request.is_some_and(|(_, part)| of_request(part)) || self.message.is_some_and(of_message)
    }
}

/// The separator of `header`, its names, and whether they are in quotes; none if it is no header.
fn names(header: &str) -> Option<(u8, Vec<Name>, bool)> {
    let count = |separator: &u8| header.bytes().filter(|byte| byte == separator).count();
    let separator = *[b'\t', b';', b','].iter().max_by_key(|separator| count(separator))?;
    if count(&separator) >= MAX_COLUMNS {
        return None;
    }
    let (mut rest, mut out, mut quoted) = (Some(header.as_bytes()), vec![], true);
    while let Some(text) = rest {
        quoted &= text.starts_with(b"\"");
        let name = std::str::from_utf8(field(&mut rest, separator)?).ok()?;
        let is_sign = |sign: char| sign.is_ascii_alphanumeric() || "_-. ()@:/#".contains(sign);
        if name.len() > MAX_NAME || !name.chars().all(is_sign) {
            return None;
        }
        out.push(Name::of(name));
    }
    Some((separator, out, quoted))
}

/// Compiles the names of the columns, as the header has them.
///
/// # Errors
/// What they lack, for people.
pub fn compile(header: &str) -> Result<Csv, String> {
    let Some((separator, names, quoted)) = names(header) else {
        return Err("csv: is followed by the names of the columns, separated by `,`, `;` or tabs".to_owned());
    };
    let has = |part| names.iter().any(|name| name.is(part));
    let named = |part| names.iter().any(|name| name.message == Some(part));
    let requests = has(Part::Client) && (has(Part::Uri) || has(Part::Request));
    if !requests && !(has(Part::Time) && (named(Named::Text) || named(Named::Client))) {
        return Err("the columns of a CSV log are a client and a URI, or a time and a message or client; \
                    such names are client_ip, uri, time, message"
            .to_owned());
    }
    let times = names.iter().filter(|name| name.is(Part::Time)).count();
    // Of several, the one that JSON logs would prefer.
    let time = names.iter().filter(|name| name.text != "date" || times == 1);
    let time = time.filter(|name| name.is(Part::Time)).min_by_key(|name| name.request.map(|(at, _)| at));
    let column = |name: &Name| match name.request {
        Some((_, Part::Time)) if time.is_some_and(|time| std::ptr::eq(time, name)) => Column::Time,
        Some((_, Part::Time)) if name.text == "date" => Column::Date,
        Some((_, Part::Time)) => Column::Skipped,
        Some((at, _)) if requests => Column::Request(at),
        _ if !requests && name.message.is_some() => Column::Message(name.text.as_bytes().into()),
        _ => Column::Skipped,
    };
    let columns = names.iter().map(column).collect();
    let is_client = |name: &Name| if requests { name.is(Part::Client) } else { name.message == Some(Named::Client) };
    let before = names.iter().rposition(is_client).map_or(&[][..], |client| &names[..client]);
    let guessed = !quoted && !before.iter().all(|name| name.is_the_servers() || is_client(name));
    Ok(Csv { separator, columns, requests, guessed })
}

/// The format of the lines after `line`, the first of a file, if that names columns.
pub fn header(line: &[u8]) -> Option<String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let (_, names, _) = names(std::str::from_utf8(line).ok()?)?;
    let known = names.iter().filter(|name| name.request.is_some() || name.message.is_some()).count();
    let header = std::str::from_utf8(line).ok().filter(|_| known >= MIN_KNOWN)?;
    compile(header).is_ok().then(|| format!("{PREFIX}{header}"))
}

impl LogFormat for Csv {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        if context.extent == Extent::Head {
            return Err(Unparsed("the line is too long to count its columns"));
        }
        let mut values = Values { rest: Some(line), separator: self.separator };
        let (mut date, mut time) = (b"".as_slice(), b"".as_slice());
        for column in &self.columns {
            let (text, _) = values.next().ok_or(Unparsed("fewer columns than the header names"))?;
            match column {
                Column::Date => date = present(text.trim_ascii()),
                Column::Time => time = present(text.trim_ascii()),
                _ => {}
            }
        }
        if values.rest.is_some() {
            return Err(Unparsed("more columns than the header names"));
        }
        let time = moment(date, time, context)?;
        let values = Values { rest: Some(line), separator: self.separator };
        let columns = self.columns.iter().zip(values);
        let text = |(text, quoted): (&'a [u8], bool)| if quoted { unquoted(text, context) } else { text.trim_ascii() };
        let event = if self.requests {
            let keys = columns.filter_map(|(column, value)| match column {
                Column::Request(key) => Some((*key, text(value))),
                _ => None,
            });
            json::of_columns(keys, context)?
        } else {
            let fields = columns.filter_map(|(column, value)| match column {
                Column::Message(name) => Some((&**name, text(value))),
                _ => None,
            });
            message::of_columns(fields, context)
        };
        Ok(Event { time, guessed: event.source_ip.is_some() && (event.guessed || self.guessed), ..event })
    }
}

/// The time of a record: `time`, which may be a time of day alone where there is a `date`.
fn moment<'a>(date: &'a [u8], time: &'a [u8], context: &Context<'a>) -> Result<Option<Timestamp>, Unparsed> {
    if time.is_empty() {
        return Ok(None);
    }
    let read = |text: &[u8]| unix(text).or_else(|| leading_time(text, context));
    let joined = || read(context.joined(&[date, b" ", time]));
    let moment = if date.is_empty() { read(time) } else { joined().or_else(|| read(time)) };
    moment.map(Some).ok_or(Unparsed("no time where the header has it"))
}

/// The values of a record, each with whether it stood in quotes, until the end or what is no value.
struct Values<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Values<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<(&'a [u8], bool)> {
        let quoted = self.rest?.starts_with(b"\"");
        field(&mut self.rest, self.separator).map(|text| (text, quoted))
    }
}

/// The text of a quoted value: `""` stands for a quote.
fn unquoted<'a>(text: &'a [u8], context: &Context<'a>) -> &'a [u8] {
    if memchr::memchr(b'"', text).is_none() {
        return text;
    }
    let out = context.arena.alloc_slice_copy(text);
    let (mut from, mut to) = (0, 0);
    while let Some(&byte) = text.get(from) {
        out[to] = byte;
        from += if byte == b'"' { 2 } else { 1 };
        to += 1;
    }
    &out[..to]
}

/// The columns of files without a header, unless a format names others.
pub static USUAL: BuiltIn<Csv> = BuiltIn::new("time,client_ip,method,uri,status,bytes,referer,user_agent", compile);

#[cfg(test)]
mod tests;
