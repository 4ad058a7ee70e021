//! Reads a line's sections.

use super::dialect;
use super::scan::{Literal, Signs, find, number_end};
use super::{Clock, Extent, Field, Form, Piece, Section, Shape, Site, Template, Timestamp, UTC, Unparsed};
use crate::event::Http;
use crate::parse::access::{bare_quote, host_name, present, request};
use crate::parse::address::{address, address_and_port, leading_v4};
use crate::parse::digits;
use crate::parse::time::{END_OF_9999, clf, iso8601, leading_iso8601, number, unix};

impl Template {
    /// Reads section after section; what was read before an error stays in `parts`.
    #[inline]
    pub(super) fn read<'a>(&self, line: &'a [u8], extent: Extent, parts: &mut Parts<'a>) -> Result<(), Unparsed> {
        let mut signs = Signs::new(line, self.has_tabs);
        let mut at = 0;
        for section in &self.sections {
            let Some(end) = section.end.and_then(|sign| signs.next(sign)) else {
                if extent == Extent::Head {
                    return section.read_head(line, at, parts);
                }
                return match section.end {
                    None if section.form == Form::Literal => {
                        section.ended(line, after(&section.after, line, at)?, line.len())
                    }
                    None => section.read(line, at, line.len(), parts),
                    Some(b'"') => Err(Unparsed("a quote is missing")),
                    Some(_) => Err(Unparsed("a tab is missing")),
                };
            };
            match section.form {
                Form::Literal if section.after.is_at(line, at) && section.after.len() == end - at => {}
                Form::Literal => return Err(Unparsed(NO_LITERAL)),
                Form::Text => parts.set(&section.pieces[0].field, &line[at..end])?,
                Form::Mixed => section.read(line, at, end, parts)?,
                Form::WithUser => {
                    let more_ms = parts.more_ms;
                    if let Err(unparsed) = section.read(line, at, end, parts) {
                        // What was set is set again, but this adds up.
                        let longer = with_empty_user(line, end).ok_or(unparsed)?;
                        parts.more_ms = more_ms;
                        section.read(line, at, longer, parts)?;
                        // The three quotes of this section.
                        while signs.next(b'"').is_some_and(|quote| quote < longer) {}
                        at = longer + 1;
                        continue;
                    }
                }
            }
            at = end + 1;
        }
        Ok(())
    }
}

/// Where a section ends when the quote at `at` belongs to `""`, which Apache writes for an empty user.
#[cold]
fn with_empty_user(line: &[u8], at: usize) -> Option<usize> {
    let after = at + b"\"\"".len();
    let empty = line[at..].starts_with(b"\"\"");
    empty.then(|| bare_quote(&line[after..])).flatten().map(|quote| after + quote)
}

/// A section of `line` begins at `at` and ends at `end`, with the line or with a sign. No literal
/// of a format holds a sign, and no field but a free text does: looking for either beyond `end`
/// finds nothing.
impl Section {
    /// Reads the pieces that end by the next literal. Of a line that was cut in this section, the
    /// first free text is what is left, and other fields must not touch the cut.
    #[inline]
    fn read_head<'a>(&self, line: &'a [u8], at: usize, parts: &mut Parts<'a>) -> Result<(), Unparsed> {
        let at = self.read_words(line, at, line.len(), Extent::Head, parts)?;
        self.pieces.get(self.first_free).map_or(Ok(()), |piece| parts.set(&piece.field, &line[at..]))
    }

    /// Reads the pieces up to the first free text; where that begins, or the literal after them.
    #[inline(always)]
    fn read_words<'a>(
        &self,
        line: &'a [u8],
        mut at: usize,
        end: usize,
        extent: Extent,
        parts: &mut Parts<'a>,
    ) -> Result<usize, Unparsed> {
        for (n, piece) in self.pieces[..self.first_free].iter().enumerate() {
            at = after(&piece.before, line, at)?;
            let to = 'end: {
                let to = match (piece.shape, &piece.field) {
                    (Shape::Word, Field::Client)
                        if let Some((address, len)) = leading_v4(&line[at..])
                            && piece.until.is_some()
                            && line.get(at + len) == piece.until.as_ref() =>
                    {
                        (parts.source_ip, parts.client) = (Some(address), Client::Address);
                        break 'end Some(at + len);
                    }
                    (Shape::Word, _) => self.word_end(piece, line, at, end),
                    (Shape::Number, Field::Status)
                        if let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] = line[at..] =>
                    {
                        parts.http.status = Some(three_digits(a, b, c));
                        break 'end Some(at + 3);
                    }
                    (Shape::Number, Field::Bytes)
                        if let Some((size, len)) = digits::leading(&line[at..])
                            && line.get(at + len) == Some(&b' ') =>
                    {
                        parts.http.bytes = Some(size);
                        break 'end Some(at + len);
                    }
                    (Shape::Number, Field::Skipped) => break 'end Some(number_end(line, at, end)),
                    (Shape::Number, _) => Some(number_end(line, at, end)),
                    (Shape::Iso8601, Field::Time(_)) if extent == Extent::Whole => {
                        let read = leading_iso8601(&line[at..end], parts.site);
                        let (time, len) = read.filter(|(time, _)| is_sensible(time)).ok_or(Unparsed(NO_TIME))?;
                        parts.time = Some(time);
                        break 'end Some(at + len);
                    }
                    (Shape::Iso8601, _) => leading_iso8601(&line[at..end], &UTC).map(|(_, len)| at + len),
                    (Shape::Fixed(len), _) => Some(at + len).filter(|to| *to <= end),
                    (Shape::List, _) => {
                        let literal = self.pieces.get(n + 1).map_or(&self.after, |next| &next.before);
                        list_end(line, at, end, literal)
                    }
                    (Shape::Free, _) => None,
                };
                if let Some(to) = to
                    && (extent == Extent::Whole || to < end)
                {
                    parts.set(&piece.field, &line[at..to])?;
                }
                to
            };
            at = to.filter(|&to| extent == Extent::Whole || to < end).ok_or(Unparsed(NO_END))?;
        }
        self.pieces.get(self.first_free).map_or(Ok(at), |piece| after(&piece.before, line, at))
    }

    #[inline]
    fn word_end(&self, piece: &Piece, line: &[u8], at: usize, end: usize) -> Option<usize> {
        match piece.until {
            Some(sign) => find(line, at, end, sign),
            // Formats get fields appended.
            None if self.end.is_none() => find(line, at, end, b' ').or(Some(end)),
            None => Some(end),
        }
    }

    /// Nothing is left, or what somebody has appended to the format.
    #[inline]
    fn ended(&self, line: &[u8], at: usize, end: usize) -> Result<(), Unparsed> {
        let appended = self.end.is_none() && line.get(at) == Some(&b' ');
        if at == end || appended { Ok(()) } else { Err(Unparsed("more text than the format has")) }
    }

    /// Reads the whole section.
    #[inline]
    fn read<'a>(&self, line: &'a [u8], at: usize, end: usize, parts: &mut Parts<'a>) -> Result<(), Unparsed> {
        let at = self.read_words(line, at, end, Extent::Whole, parts)?;
        if self.first_free == self.pieces.len() {
            return self.ended(line, after(&self.after, line, at)?, end);
        }
        let mut end = before(&self.after, line, at, end)?;
        for piece in self.pieces[self.tail..].iter().rev() {
            let start = match piece.shape {
                Shape::Fixed(len) => end.checked_sub(len).filter(|start| *start >= at),
                _ => piece.before.last_in(line, at, end).map(|start| start + piece.before.len()),
            };
            let start = start.ok_or(Unparsed(NO_LITERAL))?;
            parts.set(&piece.field, &line[start..end])?;
            end = before(&piece.before, line, at, start)?;
        }
        let mut rest = &line[at..end];
        let free = &self.pieces[self.first_free..self.tail];
        if !self.client_chosen {
            return parts.set(&free[0].field, rest);
        }
        for pair in free.windows(2) {
            let Some((text, after)) = pair[1].before.split(rest) else {
                return parts.set(&pair[0].field, rest);
            };
            parts.set(&pair[0].field, text)?;
            rest = after;
        }
        parts.set(&free[free.len() - 1].field, rest)
    }
}

const NO_LITERAL: &str = "a text of the format is missing";
const NO_END: &str = "a field does not end";
const NO_TIME: &str = "no time where the format has it";

/// Where `literal`, which begins at `at`, ends.
#[inline]
fn after(literal: &Literal, line: &[u8], at: usize) -> Result<usize, Unparsed> {
    if literal.is_at(line, at) { Ok(at + literal.len()) } else { Err(Unparsed(NO_LITERAL)) }
}

/// Where `literal`, which ends at `end`, begins; not before `from`.
#[inline]
fn before(literal: &Literal, line: &[u8], from: usize, end: usize) -> Result<usize, Unparsed> {
    let start = end.checked_sub(literal.len()).filter(|&start| start >= from && literal.is_at(line, start));
    start.ok_or(Unparsed(NO_LITERAL))
}

#[inline]
fn three_digits(a: u8, b: u8, c: u8) -> u16 {
    u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
}

/// Where a list ends: at the first `literal` that belongs to no separator.
fn list_end(line: &[u8], from: usize, end: usize, literal: &Literal) -> Option<usize> {
    let Some(sign) = literal.first() else { return Some(end) };
    let mut at = from;
    loop {
        at = find(line, at, end, sign)?;
        let text = &line[from..at];
        let separates = text.ends_with(b",") || text.ends_with(b" :") || line[at..end].starts_with(b" : ");
        if !separates && literal.is_at(line, at) {
            return Some(at);
        }
        at += 1;
    }
}

/// What has been read of a line.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    site: &'a Site,
    pub(super) time: Option<Timestamp>,
    /// What other fields add to the time.
    pub(super) more_ms: i64,
    pub(super) client: Client,
    pub(super) ident: bool,
    pub(super) source_ip: Option<std::net::IpAddr>,
    pub(super) query: &'a [u8],
    pub(super) http: Http<'a>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Client {
    Absent,
    /// A host name, a Unix socket or `-`.
    Named,
    Address,
}

impl<'a> Parts<'a> {
    pub(super) fn new(site: &'a Site) -> Parts<'a> {
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
            Field::Time(clock) => self.time = Some(clock.read(text, self.site).ok_or(Unparsed(NO_TIME))?),
            Field::PartOfTime(steps) => {
                let part = dialect::strftime(steps, text, &UTC).ok_or(Unparsed(NO_TIME))?;
                self.more_ms += part.0;
            }
            Field::Request => request(text, http),
            Field::Method => http.method = present(text),
            Field::Uri => http.uri = present(text),
            Field::Protocol => http.protocol = present(text),
            Field::Status => {
                http.status = match *text {
                    [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => Some(three_digits(a, b, c)),
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
        time.filter(is_sensible)
    }
}

#[inline]
fn is_sensible(time: &Timestamp) -> bool {
    time.secs() < END_OF_9999
}
