use std::net::IpAddr;

use super::{Http, Timestamp};

/// One log line, understood. Borrows every field from the line; text stays as it was logged.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When the logged thing happened, by the log's own clock and zone.
    pub time: Option<Timestamp>,
    /// The client, canonical: only ever from a field that the server itself wrote.
    pub source_ip: Option<IpAddr>,
    /// `source_ip` was found by general means in the text of a program that is not known: shown,
    /// never acted on, since a client might have chosen it.
    pub guessed: bool,
    /// `source_ip` is what a trusted proxy said: the packets come from that proxy.
    pub via_proxy: bool,
    /// What the line tells.
    pub kind: Kind<'a>,
}

impl<'a> Event<'a> {
    /// An event of which only the kind is known.
    pub fn of(kind: Kind<'a>) -> Event<'a> {
        Event { time: None, source_ip: None, guessed: false, via_proxy: false, kind }
    }

    /// The request, if it tells of one.
    #[inline]
    pub fn http(&self) -> Option<&Http<'a>> {
        match &self.kind {
            Kind::Http(http) => Some(http),
            _ => None,
        }
    }
}

/// What a line tells. Each kind has its own fields; an absent one is empty.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A request to a web server.
    Http(Http<'a>),
    /// Somebody logged in, or failed to.
    Auth(Auth<'a>),
    /// A connection or packet, as a firewall or a service without logins saw it.
    Connection(Connection<'a>),
    /// Mail taken or refused.
    Mail(Message<'a>),
    /// What the kernel's audit or an administrator's tool recorded.
    Audit(Message<'a>),
    /// Anything else that a program says.
    App(Message<'a>),
}

impl<'a> Kind<'a> {
    /// The kind's name in `parse` output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Kind::Http(_) => "http",
            Kind::Auth(_) => "auth",
            Kind::Connection(_) => "connection",
            Kind::Mail(_) => "mail",
            Kind::Audit(_) => "audit",
            Kind::App(_) => "app",
        }
    }

    /// The message, of every kind but requests.
    pub fn message(&self) -> Option<&Message<'a>> {
        match self {
            Kind::Http(_) => None,
            Kind::Auth(Auth { message, .. }) | Kind::Connection(Connection { message, .. }) => Some(message),
            Kind::Mail(message) | Kind::Audit(message) | Kind::App(message) => Some(message),
        }
    }
}

/// What a program says, and in whose name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Message<'a> {
    /// `sshd`, `kernel`, …
    pub program: &'a [u8],
    /// `error`, `WARN`, …
    pub level: &'a [u8],
    /// The user whom it is about.
    pub user: &'a [u8],
    /// The message without time, level and program.
    pub text: &'a [u8],
}

/// A login.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auth<'a> {
    pub outcome: AuthOutcome,
    pub message: Message<'a>,
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthOutcome {
    Success,
    Failure,
}

impl AuthOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            AuthOutcome::Success => "success",
            AuthOutcome::Failure => "failure",
        }
    }
}

/// A connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Connection<'a> {
    pub destination: Option<IpAddr>,
    /// 0 when the log states none.
    pub destination_port: u16,
    /// `TCP`, `UDP`, …
    pub transport: &'a [u8],
    pub message: Message<'a>,
}
