//! Fields by name: of JSON objects, of `key=value` lines, of CEF.

use std::net::IpAddr;

use super::super::access::bare_quote;
use super::super::address::address_and_port;
use super::super::context::Context;
use super::super::members::{Members, Value, unescaped};
use super::super::time::{number, unix};
use super::clock;
use super::words::Words;
use crate::event::Timestamp;

/// What a field is of the event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    Client,
    User,
    /// The message proper.
    Text,
    /// More that may tell how a login ended.
    Said,
    Level,
    Program,
    Time,
    Destination,
    DestinationPort,
    Transport,
    /// `true` or `false`.
    Success,
}

/// Names in small letters, without `_`, `-`, `.` and `@`. Of two for the same part the first counts.
static NAMES: &[(Part, &str)] = {
    use Part::*;
    &[
        (Client, "remoteip"),
        (Client, "clientip"),
        (Client, "remoteaddr"),
        (Client, "remoteaddress"),
        (Client, "clientaddr"),
        (Client, "clientaddress"),
        (Client, "sourceip"),
        (Client, "sourceipaddress"),
        (Client, "sourceaddress"),
        (Client, "srcip"),
        (Client, "srcaddr"),
        (Client, "ipaddress"),
        (Client, "ipaddr"),
        (Client, "rhost"),
        (Client, "peerip"),
        (Client, "peeraddr"),
        (Client, "peeraddress"),
        (Client, "realip"),
        (Client, "callerip"),
        (Client, "visitorip"),
        (Client, "userip"),
        (Client, "addrremote"),
        (Client, "metaremoteip"),
        (Client, "oip"),
        (Client, "rip"),
        (Client, "ip"),
        (Client, "src"),
        (Client, "saddr"),
        (Client, "addr"),
        (Client, "address"),
        (Client, "remote"),
        (Client, "peer"),
        (Client, "client"),
        (User, "username"),
        (User, "user"),
        (User, "suser"),
        (User, "duser"),
        (User, "uname"),
        (User, "loginname"),
        (User, "login"),
        (User, "acct"),
        (User, "account"),
        (User, "accountname"),
        (User, "accountid"),
        (User, "principalname"),
        (User, "principal"),
        (User, "identifier"),
        (User, "targetuser"),
        (User, "targetusername"),
        (User, "email"),
        (Text, "message"),
        (Text, "msg"),
        (Text, "shortmessage"),
        (Text, "log"),
        (Text, "text"),
        (Text, "event"),
        (Said, "error"),
        (Said, "err"),
        (Said, "eventname"),
        (Said, "eventtype"),
        (Said, "action"),
        (Said, "act"),
        (Said, "type"),
        (Said, "reason"),
        (Said, "result"),
        (Said, "res"),
        (Said, "outcome"),
        (Said, "eventoutcome"),
        (Said, "eventaction"),
        (Said, "detail"),
        (Said, "description"),
        (Level, "level"),
        (Level, "loglevel"),
        (Level, "lvl"),
        (Level, "levelname"),
        (Level, "severity"),
        (Program, "program"),
        (Program, "app"),
        (Program, "service"),
        (Program, "logger"),
        (Time, "timestamp"),
        (Time, "time"),
        (Time, "ts"),
        (Time, "eventtime"),
        (Time, "datetime"),
        (Time, "rt"),
        (Time, "t"),
        (Time, "date"),
        (Time, "asctime"),
        (Time, "created"),
        (Time, "t$date"),
        (Destination, "destip"),
        (Destination, "destinationip"),
        (Destination, "dstip"),
        (Destination, "dst"),
        (Destination, "daddr"),
        (DestinationPort, "destport"),
        (DestinationPort, "destinationport"),
        (DestinationPort, "dstport"),
        (DestinationPort, "dpt"),
        (DestinationPort, "dport"),
        (Transport, "proto"),
        (Transport, "transport"),
        (Success, "success"),
        (Success, "authenticationfailed"),
    ]
};

/// Objects that tell of others than the client.
const OTHERS: &[&str] =
    &["destination", "dest", "dst", "server", "local", "host", "upstream", "target", "observer", "agent", "listener"];

/// What the field called `name` is.
pub fn part(name: &[u8]) -> Option<Part> {
    Name::of(b"", name).find().map(|at| NAMES[at].0)
}

/// The fields that were found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    pub client: Option<IpAddr>,
    pub user: &'a [u8],
    pub text: &'a [u8],
    pub level: &'a [u8],
    pub program: &'a [u8],
    pub time: Option<Timestamp>,
    pub destination: Option<IpAddr>,
    pub destination_port: u16,
    pub transport: &'a [u8],
    pub words: Words,
    /// The address that was there first, under any name, and whether another was there too.
    first: Option<IpAddr>,
    pub rivals: bool,
    /// For each part, one more than the rank of the name that it is from.
    from: [u16; 11],
    /// How many names were known.
    pub known: usize,
}

impl<'a> Fields<'a> {
    /// Those of the JSON object `text`, and of objects in it; `None` if it is none, or `whole` and not all there.
    pub fn of_json(text: &'a [u8], whole: bool, context: &Context<'a>) -> Option<Fields<'a>> {
        let mut fields = Fields::default();
        let mut members = Members::of(text);
        for (key, value) in members.by_ref() {
            match value {
                Value::Text(text) | Value::Plain(text) => fields.take(b"", key, text, context),
                Value::Nested(object) => {
                    for (inner, value) in Members::of(object) {
                        if let Value::Text(text) | Value::Plain(text) = value {
                            fields.take(key, inner, text, context);
                        }
                    }
                }
            }
        }
        (!whole || members.ended()).then_some(fields)
    }

    /// Those of the pairs in `text`, and whether it has nothing but pairs.
    pub fn of_pairs(text: &'a [u8], context: &Context<'a>) -> (Fields<'a>, bool) {
        let mut fields = Fields::default();
        let mut pairs = Pairs { rest: text, only: true };
        for (key, value) in pairs.by_ref() {
            fields.take(b"", key, value, context);
        }
        (fields, pairs.only)
    }

    /// Those of a record whose columns are called so.
    pub fn of_columns<'n>(columns: impl Iterator<Item = (&'n [u8], &'a [u8])>, context: &Context<'a>) -> Fields<'a> {
        let mut fields = Fields::default();
        for (name, value) in columns {
            fields.take(b"", name, value, context);
        }
        fields
    }

    /// Those of a message in the Common Event Format: behind seven fields with bars between, pairs
    /// whose values may hold spaces.
    pub fn of_cef(text: &'a [u8], context: &Context<'a>) -> Option<Fields<'a>> {
        let rest = text.strip_prefix(b"CEF:").unwrap_or(text).trim_ascii_start();
        if !matches!(rest, [b'0' | b'1', b'|', ..]) {
            return None;
        }
        let mut fields = Fields::default();
        let mut rest = &rest[2..];
        for field in 1..7 {
            let end = bare(b'|', rest)?;
            if field == 4 {
                fields.text = &rest[..end];
                fields.words.read(fields.text);
            }
            rest = &rest[end + 1..];
        }
        let mut key: &[u8] = b"";
        while !rest.is_empty() {
            // The value goes on to the space before the next key.
            let equals = bare(b'=', rest).unwrap_or(rest.len());
            let space = if equals == rest.len() { Some(equals) } else { memchr::memrchr(b' ', &rest[..equals]) };
            let value = &rest[..space.unwrap_or(0)];
            if !key.is_empty() {
                fields.take(b"", key, value, context);
            }
            key = &rest[space.map_or(0, |space| (space + 1).min(equals))..equals];
            rest = rest.get(equals + 1..).unwrap_or_default();
        }
        Some(fields)
    }

    /// Takes the value of the field `key` of the object `of`.
    fn take(&mut self, of: &[u8], key: &[u8], value: &'a [u8], context: &Context<'a>) {
        let both = Name::of(of, key);
        let inner = || {
            let others = OTHERS.iter().any(|other| of.eq_ignore_ascii_case(other.as_bytes()));
            Name::of(b"", key).find().filter(|_| !others).map(|at| (at, NAMES.len()))
        };
        let found = both.find().map(|at| (at, 0));
        let Some((at, behind)) = (if of.is_empty() { found } else { found.or_else(inner) }) else { return };
        let part = NAMES[at].0;
        let rank = (at + behind + 1) as u16;
        let from = self.from[part as usize];
        self.known += 1;
        if matches!(part, Part::Text | Part::Said) {
            self.words.read(value);
        }
        if part == Part::Client
            && let Some(ip) = address_and_port(value)
        {
            self.rivals |= self.first.is_some_and(|first| first != ip);
            self.first = self.first.or(Some(ip));
        }
        if from != 0 && rank > from {
            return;
        }
        let again = rank == from;
        let value = if matches!(value, b"-" | b"--" | b"null" | b"?") { b"" } else { value };
        let set = match part {
            // A name that stands there twice says nothing: one of the two may be the client's own.
            Part::Client => {
                let ip = address_and_port(value);
                self.client = if !again || self.client == ip { ip } else { None };
                ip.is_some() || again
            }
            Part::User => {
                let user = unescaped(value, context);
                self.user = if !again || self.user == user { user } else { b"" };
                !user.is_empty() || again
            }
            Part::Text => set(&mut self.text, unescaped(value, context)),
            Part::Level => set(&mut self.level, value),
            Part::Program => set(&mut self.program, unescaped(value, context)),
            Part::Transport => set(&mut self.transport, value),
            Part::Time => {
                let time = unix(value).or_else(|| clock::leading(value, context)?.0);
                self.time = time.or(self.time);
                time.is_some()
            }
            Part::Destination => {
                let ip = address_and_port(value);
                self.destination = ip.or(self.destination);
                ip.is_some()
            }
            Part::DestinationPort => {
                let port = number(value).and_then(|port| u16::try_from(port).ok());
                self.destination_port = port.unwrap_or(self.destination_port);
                port.is_some()
            }
            Part::Success => {
                let failed = both.as_bytes() == b"authenticationfailed";
                match value {
                    b"true" | b"yes" if failed => self.words.read(b"authentication failed"),
                    b"false" | b"no" if !failed => self.words.fail(),
                    b"true" | b"yes" => self.words.read(b"success"),
                    _ => {}
                }
                true
            }
            Part::Said => true,
        };
        if set {
            self.from[part as usize] = rank;
        }
    }
}

fn set<'a>(field: &mut &'a [u8], value: &'a [u8]) -> bool {
    *field = if value.is_empty() { field } else { value };
    !value.is_empty()
}

/// Where `byte` first is without a `\` before it.
fn bare(byte: u8, text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(byte, b'\\', text.get(from..)?)?;
        if text[at] == byte {
            return Some(at);
        }
        from = at + 2;
    }
}

/// A field's name as [`NAMES`] has it; empty if it is longer than those.
#[derive(Default)]
struct Name {
    bytes: [u8; 24],
    len: usize,
}

impl Name {
    fn of(outer: &[u8], inner: &[u8]) -> Name {
        let mut name = Name::default();
        for byte in outer.iter().chain(inner).filter(|byte| !b"_-.@".contains(byte)) {
            let Some(slot) = name.bytes.get_mut(name.len) else { return Name::default() };
            *slot = byte.to_ascii_lowercase();
            name.len += 1;
        }
        name
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Where in [`NAMES`] it is.
    fn find(&self) -> Option<usize> {
        NAMES.iter().position(|(_, known)| known.as_bytes() == self.as_bytes())
    }
}

/// The pairs of a text that is nothing but pairs.
pub fn only_pairs(text: &[u8]) -> Option<Pairs<'_>> {
    let mut pairs = Pairs { rest: text, only: true };
    let count = pairs.by_ref().count();
    (count > 1 && pairs.only).then_some(Pairs { rest: text, only: true })
}

/// The `key=value` pairs in a text.
pub struct Pairs<'a> {
    rest: &'a [u8],
    /// Nothing else was there so far.
    only: bool,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        loop {
            let is_separator = |byte: &&u8| matches!(byte, b' ' | b'\t' | b',' | b';');
            self.rest = &self.rest[self.rest.iter().take_while(is_separator).count()..];
            let is_key = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@');
            let (key, rest) = self.rest.split_at(self.rest.iter().take_while(is_key).count());
            self.only &= key.is_empty() || !rest.is_empty();
            match rest.split_first()? {
                (b'=', value) if !key.is_empty() => {
                    let (value, rest) = value_of(value);
                    self.rest = rest;
                    return Some((key, value));
                }
                (b'"', text) => {
                    // Nothing between quotes is a pair.
                    self.rest = bare_quote(text).map_or(&[][..], |end| &text[end + 1..]);
                }
                (_, text) => self.rest = text,
            }
            self.only = false;
        }
    }
}

/// Longest value in brackets, in bytes: many that do not end must not take more than linear time.
const MAX_BRACKETS: usize = 512;

/// The value that `text` begins with, without its quotes, and what follows it.
fn value_of(text: &[u8]) -> (&[u8], &[u8]) {
    let closing = match text.first() {
        Some(b'"') => bare_quote(&text[1..]),
        Some(b'\'') => memchr::memchr(b'\'', &text[1..]),
        Some(b'<') => memchr::memchr(b'>', &text[1..text.len().min(MAX_BRACKETS)]),
        _ => None,
    };
    if let Some(end) = closing {
        return (&text[1..1 + end], &text[2 + end..]);
    }
    let bracket = if text.starts_with(b"[") {
        memchr::memchr(b']', &text[..text.len().min(MAX_BRACKETS)]).map_or(0, |at| at + 1)
    } else {
        0
    };
    let is_end = |byte: &u8| matches!(byte, b' ' | b'\t' | b',' | b';' | b']' | b')');
    let end = text[bracket..].iter().position(is_end).map_or(text.len(), |end| bracket + end);
    text.split_at(end)
}
