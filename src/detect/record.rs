//! What matching leaves of a line for counting.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::Deserialize;

use super::paths;
use crate::event::{AuthOutcome, ClientKey, Connection, Event, Kind};

/// One line, without its text: may cross threads.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The client; 0 when the line names none, and not an address when it was guessed.
    pub client: u128,
    /// Seconds since 1970; 0 when the line states no time.
    pub time_secs: u32,
    /// Where the line is in its batch.
    pub start: u32,
    pub len: u32,
    /// Lines before it in its batch.
    pub line: u32,
    /// A hash of what it is about: the path of a request, the user of a login, the port of a
    /// connection, with the host if it was refused; 0 where nothing asks for it: without hits, outside all windows.
    pub subject: u32,
    /// The line's hits, as a range of its batch's hits.
    pub first_hit: u32,
    pub hits: u16,
    pub status: u16,
    /// The sum of the hits' scores, 0–10.
    pub score: u8,
    pub what: What,
    pub method: MethodClass,
    /// Those of the path only where a window asks.
    pub traits: Traits,
}

impl Record {
    /// What counting needs to know of an event of `client` that no rule matched.
    #[inline]
    pub fn of(event: &Event<'_>, client: Option<ClientKey>) -> Record {
        let mut traits = Traits::default();
        let (what, status, method) = match &event.kind {
            Kind::Http(http) => {
                if !http.referer.is_empty() {
                    traits = Traits::REFERRED;
                }
                (What::Request, http.status.unwrap_or(0), MethodClass::of(http.method))
            }
            Kind::Auth(auth) if auth.outcome == AuthOutcome::Failure => (What::LoginFailed, 0, MethodClass::Other),
            Kind::Connection(connection) if is_turned_away(connection.message.text) => {
                (What::ConnectionRefused, 0, MethodClass::Other)
            }
            Kind::Connection(_) => (What::Connection, 0, MethodClass::Other),
            Kind::Mail(mail) if is_refusal(mail.text) => (What::MailRefused, 0, MethodClass::Other),
            _ => (What::Other, 0, MethodClass::Other),
        };
        let mut client = client.map_or(0, ClientKey::bits);
        if event.guessed && event.source_ip.is_some() {
            traits = traits.with(Traits::GUESSED);
            client = !client;
        }
        Record {
            client,
            time_secs: event.time.map_or(0, |time| u32::try_from(time.secs()).unwrap_or(0)),
            start: 0,
            len: 0,
            line: 0,
            subject: 0,
            first_hit: 0,
            hits: 0,
            status,
            score: 0,
            what,
            method,
            traits,
        }
    }

    /// A request that says nothing.
    #[cfg(test)]
    pub fn blank() -> Record {
        Record::of(&Event::of(Kind::Http(crate::event::Http::default())), None)
    }

    /// Adds what windows and suspicions ask for: the subject, the same in every run, and, if a window
    /// `asks_paths`, the kind of the path.
    pub fn look_closer(&mut self, event: &Event<'_>, asks_paths: bool) {
        self.subject = match &event.kind {
            Kind::Http(http) => {
                let path = http.path();
                if asks_paths {
                    self.traits = self.traits.with(paths::traits(path));
                }
                hash(path)
            }
            // One port of many hosts is a scan too, but only of those that did not let the client in.
            Kind::Connection(Connection { destination: Some(host), destination_port: port, .. })
                if self.what == What::ConnectionRefused =>
            {
                hash(&ClientKey::of(*host, 128).bits().to_le_bytes()) ^ u32::from(*port)
            }
            Kind::Connection(connection) => hash(&connection.destination_port.to_le_bytes()),
            other => hash(other.message().map_or(b"", |message| message.user)),
        };
    }

    /// Whether counters may hold it against a real client: its address is not a guess.
    #[inline]
    pub fn is_actionable(&self) -> bool {
        self.client != 0 && !self.traits.has(Traits::GUESSED)
    }
}

/// What is asked of a request only when its client is busy, or a window wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Detail {
    /// As in [`Record`].
    pub subject: u32,
    pub traits: Traits,
    /// A hash of the user agent.
    pub agent: u32,
    /// A hash of the path with all numbers the same.
    pub shape: u32,
    /// The sum of the numbers in the URI, modulo 2³²: of consecutive ones it grows by one.
    pub number: u32,
    /// The exclusions that hold for the line.
    pub excluded: u64,
}

impl Detail {
    pub fn of(event: &Event<'_>) -> Detail {
        let Some(http) = event.http() else { return Detail::default() };
        // FNV-1a, byte by byte: a number leaves one trace however long it is.
        let (mut shape, mut sum, mut number) = (0x811c_9dc5u32, 0u32, 0u32);
        let (mut in_path, mut in_number) = (true, false);
        for &byte in http.uri {
            in_path &= byte != b'?';
            let is_digit = byte.is_ascii_digit();
            if is_digit {
                number = number.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
            } else {
                sum = sum.wrapping_add(std::mem::take(&mut number));
            }
            if in_path && !(is_digit && in_number) {
                shape = (shape ^ u32::from(if is_digit { b'0' } else { byte })).wrapping_mul(0x0100_0193);
            }
            in_number = is_digit;
        }
        let (path, agent, number) = (http.path(), hash(http.user_agent), sum.wrapping_add(number));
        Detail { subject: hash(path), traits: paths::traits(path), agent, shape, number, excluded: 0 }
    }
}

/// The same in every run.
pub fn hash(text: &[u8]) -> u32 {
    FixedState::with_seed(1).hash_one(text) as u32
}

/// Whether a mail server says that it refused mail, as Postfix (`reject:`), Exim (`rejected`) and
/// Sendmail (`reject=`) do. A client that writes the word in its greeting is held to have been refused.
fn is_refusal(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"reject").is_some()
}

/// Whether a connection came to nothing, in the words of firewalls (the prefix is the administrator's),
/// sshd, TCP wrappers, WireGuard and strongSwan. Most connections that are logged did not.
fn is_turned_away(text: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[
        b"DROP",
        b"BLOCK",
        b"DENY",
        b"DENIED",
        b"REJECT",
        b"drop",
        b"block",
        b"deny",
        b"denied",
        b"reject",
        b"refused",
        b"Unable to negotiate",
        b"Bad protocol version",
        b"banner exchange",
        b"identification string",
        b"Invalid handshake",
        b"half open",
    ];
    WORDS.iter().any(|word| memchr::memmem::find(text, word).is_some())
}

/// What windows tell events apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    #[default]
    Request,
    LoginFailed,
    /// Any connection.
    Connection,
    /// A connection that came to nothing.
    ConnectionRefused,
    /// Mail that the server did not take: relaying, unknown recipients, spam.
    MailRefused,
    Other,
}

impl What {
    pub const ALL: [What; 6] =
        [What::Request, What::LoginFailed, What::Connection, What::ConnectionRefused, What::MailRefused, What::Other];

    /// Whether a window of `self` is about events of `other` too.
    #[inline]
    pub fn includes(self, other: What) -> bool {
        self == other || self == What::Connection && other == What::ConnectionRefused
    }
}

/// The methods that windows tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodClass {
    Get,
    Post,
    Head,
    Other,
}

impl MethodClass {
    pub const ALL: [MethodClass; 4] = [MethodClass::Get, MethodClass::Post, MethodClass::Head, MethodClass::Other];

    #[inline]
    pub fn of(method: &[u8]) -> MethodClass {
        match method {
            b"GET" => MethodClass::Get,
            b"POST" => MethodClass::Post,
            b"HEAD" => MethodClass::Head,
            _ => MethodClass::Other,
        }
    }

    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            MethodClass::Get => b"GET",
            MethodClass::Post => b"POST",
            MethodClass::Head => b"HEAD",
            MethodClass::Other => b"",
        }
    }
}

/// Some yes-or-no facts of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits(u8);

impl Traits {
    /// The request names where it came from.
    pub const REFERRED: Traits = Traits(1);
    /// The client's address is a guess: never acted on.
    pub const GUESSED: Traits = Traits(1 << 1);
    pub const PAGE: Traits = Traits(1 << 2);
    pub const ASSET: Traits = Traits(1 << 3);
    pub const OTHER: Traits = Traits(1 << 4);
    pub const LOGIN: Traits = Traits(1 << 5);
    pub const CREDENTIALS: Traits = Traits(1 << 6);
    pub const RANDOM: Traits = Traits(1 << 7);

    #[inline]
    pub fn with(self, other: Traits) -> Traits {
        Traits(self.0 | other.0)
    }

    /// Whether it has any of `wanted`.
    #[inline]
    pub fn has(self, wanted: Traits) -> bool {
        self.0 & wanted.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Http;

    #[test]
    fn a_record_is_48_bytes() {
        assert_eq!(size_of::<Record>(), 48);
    }

    #[test]
    fn consecutive_numbers_differ_by_one_in_the_same_shape() {
        let of = |uri: &str| Detail::of(&Event::of(Kind::Http(Http { uri: uri.as_bytes(), ..Http::default() })));
        let (one, next, far) =
            (of("/v2/users/99/orders?x=3"), of("/v2/users/100/orders?x=3"), of("/v2/users/99/items?x=3"));
        assert_eq!(one.shape, next.shape);
        assert_eq!(one.number + 1, next.number);
        assert_ne!(one.shape, far.shape);
        assert_eq!(of("/a").shape, of("/a?b=c").shape, "the query is no part of the shape");
        assert_eq!(of("/99999999999999999999999").number, of("/99999999999999999999999").number);
    }
}
