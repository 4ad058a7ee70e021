//! Messages that tell of no request: a time, a level, and what a program says.
//!
//! The address in a message counts as the client's where the program is known and its whole message
//! fits a pattern ([`known`]), or where it is a field by name ([`fields`]). What is found in the text
//! of other programs is a guess ([`guess`]), and the event says so.

mod clock;
mod fields;
mod firewall;
mod guess;
mod known;
mod pattern;
mod request;
mod words;

use std::net::IpAddr;

use super::access::present;
use super::context::Context;
use super::envelope::{Envelope, is_level};
use super::{Extent, LogFormat, Unparsed, json};
use crate::event::{self, Auth, AuthOutcome, Connection, Event, Kind, Timestamp};
use fields::Fields;
pub use fields::{Part as Column, part as column};
use known::{Known, Says};
use words::Words;

/// What many programs write.
pub struct Message;

impl LogFormat for Message {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        // In a file with lines of both sorts, which came first must not decide.
        if context.program.is_empty()
            && let Some(opened) = Envelope::Syslog.open(line, context)
        {
            let program = if opened.program.is_empty() { b"-" } else { opened.program };
            let mut event = read(opened.text, &Context { program, ..*context })?;
            event.time = event.time.or(opened.time);
            return Ok(event);
        }
        read(line, context)
    }

    fn is_general(&self) -> bool {
        true
    }
}

/// Text without a time, in files that nobody acts on.
struct Text;

impl LogFormat for Text {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        read(line, &Context { program: b"-", ..*context })
    }

    fn is_general(&self) -> bool {
        true
    }
}

/// What lines are in that are of no known format.
pub const NAME_OF_TEXT: &str = "text";

/// What any line is at least. Not among the registered formats: a line of a log must not be read by it.
pub static TEXT: super::Format = super::Format {
    name: NAME_OF_TEXT,
    summary: "any text",
    example: "Failed login for user 'alice' from 203.0.113.7",
    build: &Text,
};

/// The event of a record whose columns are called so; its time is the caller's.
pub fn of_columns<'a, 'n>(columns: impl Iterator<Item = (&'n [u8], &'a [u8])>, context: &Context<'a>) -> Event<'a> {
    let message = event::Message { program: present(context.program), ..event::Message::default() };
    let draft = Draft { time: None, source_ip: None, guessed: false, message };
    of_fields(&Fields::of_columns(columns, context), draft)
}

/// The moment that `text` is, in any of the shapes that programs write.
pub fn leading_time(text: &[u8], context: &Context<'_>) -> Option<Timestamp> {
    clock::leading(text, context).filter(|(_, rest)| rest.is_empty())?.0
}

/// `line` without the escapes that colour it on a terminal, and without the name that Docker Compose
/// puts in front: `web-1  | `.
fn plain<'a>(line: &'a [u8], context: &Context<'a>) -> &'a [u8] {
    let mut text = line;
    if memchr::memchr(0x1b, line).is_some() {
        let out = context.arena.alloc_slice_copy(line);
        let (mut from, mut to) = (0, 0);
        while let Some(&byte) = line.get(from) {
            if line[from..].starts_with(b"\x1b[") {
                let is_parameter = |byte: &&u8| matches!(byte, 0x20..=0x3f);
                from += 3 + line[from + 2..].iter().take_while(is_parameter).count();
            } else {
                out[to] = byte;
                (from, to) = (from + 1, to + 1);
            }
        }
        text = &out[..to];
    }
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let name = text.iter().take(64).take_while(is_name).count();
    text[name..]
        .trim_ascii_start()
        .strip_prefix(b"| ")
        .filter(|_| name > 0 && text.get(name) == Some(&b' '))
        .unwrap_or(text)
}

/// A message on its way to an event.
#[derive(Clone, Copy)]
struct Draft<'a> {
    time: Option<Timestamp>,
    source_ip: Option<IpAddr>,
    guessed: bool,
    message: event::Message<'a>,
}

impl<'a> Draft<'a> {
    fn event(self, kind: Kind<'a>) -> Event<'a> {
        Event {
            time: self.time,
            source_ip: self.source_ip,
            guessed: self.guessed && self.source_ip.is_some(),
            via_proxy: false,
            kind,
        }
    }

    /// The event of a login that ended so, or else of an application.
    fn auth(self, outcome: Option<AuthOutcome>) -> Event<'a> {
        let message = self.message;
        self.event(outcome.map_or(Kind::App(message), |outcome| Kind::Auth(Auth { outcome, message })))
    }
}

fn read<'a>(line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
    let text = plain(line, context).trim_ascii();
    let enveloped = !context.program.is_empty();
    let program = present(context.program);
    let message = event::Message { program, text, ..event::Message::default() };
    let draft = Draft { time: None, source_ip: None, guessed: false, message };
    // Where a line is cut a client may have chosen: no pattern then knows its end.
    let whole = context.extent == Extent::Whole;
    let known = |text| if whole { known::read(program, text) } else { None };
    if let Some(known) = known(text) {
        return Ok(of_known(known, draft));
    }
    if text.starts_with(b"{") {
        let fields = Fields::of_json(text, whole, context);
        if let Some(fields) = fields.filter(|fields| fields.known > 0) {
            return Ok(of_fields(&fields, draft));
        }
    }
    // Unlike JSON's, these values may lack the quotes that keep what a client wrote within.
    if let Some(fields) = Fields::of_cef(text, context) {
        return Ok(of_fields(&fields, Draft { guessed: fields.rivals, ..draft }));
    }
    if let Some(event) = firewall::packet(draft).or_else(|| firewall::audit(draft, context)) {
        return Ok(event);
    }
    if let Some(pairs) = fields::only_pairs(text)
        && let Ok(event) = json::of_pairs(pairs, context)
        && (event.time.is_some() || enveloped)
    {
        return Ok(Event { guessed: true, ..event });
    }
    let (pairs, only) = Fields::of_pairs(text, context);
    if only && pairs.known > 1 && (enveloped || pairs.time.is_some()) {
        // A writer who puts no quotes around values lets a client write a pair of his own.
        return Ok(of_fields(&pairs, Draft { guessed: true, ..draft }));
    }
    let head = Head::of(text, context);
    if head.time.is_none() && !enveloped {
        return Err(Unparsed("no time in front of a message"));
    }
    let program = if program.is_empty() { head.program } else { program };
    let message = event::Message { program, level: head.level, text: head.text, user: b"" };
    let draft = Draft { time: head.time.flatten(), message, ..draft };
    let stages = [head.behind_time, head.text, head.behind_marks];
    let known = |text| if whole { known::read(program, text) } else { None };
    if let Some(known) = stages.into_iter().find_map(known) {
        let mut event = of_known(known, draft);
        event.source_ip = event.source_ip.or(head.client.filter(|_| !known.holes.has_ip));
        return Ok(event);
    }
    Ok(of_text(draft, head.behind_time, head.client, context))
}

fn of_known<'a>(known: Known<'a>, draft: Draft<'a>) -> Event<'a> {
    let Known { says, holes, text } = known;
    let mut message = event::Message { user: holes.user, text, ..draft.message };
    let draft = Draft { source_ip: holes.ip, ..draft };
    let kind = match says {
        Says::Failure => Kind::Auth(Auth { outcome: AuthOutcome::Failure, message }),
        Says::Success => Kind::Auth(Auth { outcome: AuthOutcome::Success, message }),
        Says::Connection => {
            let (destination, destination_port) = (holes.destination, holes.destination_port);
            Kind::Connection(Connection { destination, destination_port, transport: holes.transport, message })
        }
        Says::Mail => Kind::Mail(message),
        // A web server's error log names the request that went wrong.
        Says::App => request::find(text).map_or(Kind::App(message), Kind::Http),
        Says::Words => {
            let mut words = Words::default();
            words.read(holes.text);
            message.user = guess::user(holes.text);
            return Draft { message, ..draft }.auth(words.outcome());
        }
    };
    draft.event(kind)
}

fn of_fields<'a>(fields: &Fields<'a>, mut draft: Draft<'a>) -> Event<'a> {
    let outcome = fields.words.outcome();
    let or = |field: &mut &'a [u8], value: &'a [u8]| *field = if value.is_empty() { field } else { value };
    or(&mut draft.message.text, fields.text);
    or(&mut draft.message.level, fields.level);
    or(&mut draft.message.user, fields.user);
    if draft.message.program.is_empty() {
        draft.message.program = fields.program;
    }
    if draft.message.user.is_empty() && outcome.is_some() {
        draft.message.user = guess::user(fields.text);
    }
    draft.time = fields.time.or(draft.time);
    draft.source_ip = fields.client;
    if draft.source_ip.is_none() {
        (draft.source_ip, draft.guessed) = (guess::client(fields.text, fields.words.failed()), true);
    }
    if let (Some(_), Some(_), None) = (fields.client, fields.destination, outcome) {
        return draft.event(Kind::Connection(Connection {
            destination: fields.destination,
            destination_port: fields.destination_port,
            transport: fields.transport,
            message: draft.message,
        }));
    }
    draft.auth(outcome)
}

/// The event of free text, which may hold pairs or end in an object.
fn of_text<'a>(mut draft: Draft<'a>, text: &'a [u8], lead: Option<IpAddr>, context: &Context<'a>) -> Event<'a> {
    let mut words = Words::default();
    words.read(text);
    let object = memchr::memmem::find(text, b" {\"").map(|at| text[at..].trim_ascii());
    let object = object.map(|object| object.strip_suffix(b" []").unwrap_or(object));
    let fields = object.and_then(|object| Fields::of_json(object, true, context));
    let fields = fields.unwrap_or_else(|| Fields::of_pairs(text, context).0);
    let outcome = words.outcome().or(fields.words.outcome());
    draft.guessed = true;
    if let Some(http) = request::find(text) {
        // An access log in a format that nobody told us of: rules look at it all the same.
        let before = &text[..memchr::memchr(b'"', text).unwrap_or(text.len())];
        draft.source_ip = lead.or(fields.client).or_else(|| guess::client(before, true));
        return draft.event(Kind::Http(http));
    }
    draft.source_ip = lead.or(fields.client).or_else(|| guess::client(text, words.failed() || outcome.is_some()));
    draft.message.user = fields.user;
    if fields.user.is_empty() && outcome.is_some() {
        draft.message.user = guess::user(text);
    }
    draft.auth(outcome)
}

/// What stands in front of a message.
struct Head<'a> {
    /// A time of day without a date is there, but tells no moment.
    time: Option<Option<Timestamp>>,
    level: &'a [u8],
    /// As a header without an envelope names it: `time host program[pid] text`.
    program: &'a [u8],
    /// An address before the time.
    client: Option<IpAddr>,
    behind_time: &'a [u8],
    /// Behind time and level.
    text: &'a [u8],
    /// Behind whatever else programs put in brackets there: threads, modules, numbers.
    behind_marks: &'a [u8],
}

/// Words that may stand before a time, and marks that may follow it.
const MAX_MARKS: usize = 6;

impl<'a> Head<'a> {
    fn of(text: &'a [u8], context: &Context<'_>) -> Head<'a> {
        let mut head =
            Head { time: None, level: b"", program: b"", client: None, behind_time: text, text, behind_marks: text };
        let mut rest = text;
        for _ in 0..MAX_MARKS {
            if let Some((time, behind)) = clock::leading(rest, context) {
                head.time = Some(time);
                rest = behind;
                break;
            }
            if let Some((address, len)) = pattern::leading_address(rest)
                && rest.get(len) == Some(&b' ')
                && clock::leading(&rest[len + 1..], context).is_some()
            {
                head.client = Some(address);
                rest = &rest[len + 1..];
                continue;
            }
            let Some(behind) = head.mark(rest) else { break };
            rest = behind;
        }
        if head.time.is_none() {
            rest = text;
        }
        head.behind_time = rest.trim_ascii_start();
        if head.time.is_some()
            && let Some((program, behind)) = program(head.behind_time)
        {
            head.program = program;
            head.behind_time = behind;
        }
        head.text = behind_marks(head.behind_time);
        rest = head.text;
        for _ in 0..MAX_MARKS {
            let had_level = !head.level.is_empty();
            let Some(behind) = head.mark(rest) else { break };
            rest = behind;
            if !had_level && !head.level.is_empty() {
                head.text = rest;
            }
        }
        head.behind_marks = rest;
        head
    }

    /// What follows the mark that `text` begins with: a level, a group in brackets, a number.
    fn mark(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let start = text.iter().position(|byte| !b" \t|-:,".contains(byte))?;
        let text = &text[start..];
        let closing = match text.first()? {
            b'[' => b']',
            b'(' => b')',
            b'{' => b'}',
            _ => {
                let end = text.iter().position(|byte| b" \t|:,[".contains(byte)).unwrap_or(text.len());
                let (word, rest) = text.split_at(end);
                // An address is no number: what begins with one may be a request that no format knows.
                let is_number = word.len() <= 12
                    && word.iter().all(|byte| byte.is_ascii_digit() || b".%".contains(byte))
                    && word.iter().filter(|byte| **byte == b'.').count() < 2;
                let short = word.len() == 1 && rest.starts_with(b",");
                return (self.take_level(word) || is_number || short).then(|| behind_marks(rest));
            }
        };
        let end = memchr::memchr(closing, &text[..text.len().min(128)])?;
        self.take_level(&text[1..end]);
        Some(behind_marks(&text[end + 1..]))
    }

    /// Takes `word` for the level if it is one, with a module before it or not.
    fn take_level(&mut self, word: &'a [u8]) -> bool {
        let word = word.trim_ascii();
        let start = word.iter().rposition(|byte| b".:".contains(byte)).map_or(0, |at| at + 1);
        let is_level = self.level.is_empty() && is_level(&word[start..]);
        if is_level {
            self.level = &word[start..];
        }
        is_level
    }
}

/// `text` without what separates it from the mark before.
fn behind_marks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !b" \t|-:,".contains(byte)).unwrap_or(text.len());
    &text[start..]
}

/// The program of a header `host program[pid] `, and what follows.
fn program(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/');
    let host = memchr::memchr(b' ', &text[..text.len().min(64)]).filter(|&at| at > 0)?;
    let rest = &text[host + 1..];
    let len = rest.iter().take(64).take_while(|byte| is_name(byte)).count();
    let (name, rest) = rest.split_at(len);
    let rest = rest.strip_prefix(b"[")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest[digits..].strip_prefix(b"]")?;
    let rest = rest.strip_prefix(b":").unwrap_or(rest).strip_prefix(b" ")?;
    (len > 0 && digits > 0 && text[..host].iter().all(is_name) && !is_level(&text[..host])).then_some((name, rest))
}

#[cfg(test)]
mod tests;
