use std::net::IpAddr;

use super::Timestamp;

/// One log line, understood. Borrows every field from the line; text stays as it was logged.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When the logged thing happened, by the log's own clock and zone.
    pub time: Option<Timestamp>,
    /// The client, canonical: only ever from a field that the server itself wrote.
    pub source_ip: Option<IpAddr>,
    /// What the line tells.
    pub kind: Kind<'a>,
}

/// What a line tells. Each kind has its own fields.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A request to a web server.
    Http(Http<'a>),
}

impl Kind<'_> {
    /// The kind's name in `parse` output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Kind::Http(_) => "http",
        }
    }
}

/// A request as an access log shows it. An absent field is empty; `-` counts as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Http<'a> {
    /// `GET`, … Empty when the request line was junk.
    pub method: &'a [u8],
    /// Origin form with query; a junk request line whole.
    pub uri: &'a [u8],
    /// `HTTP/1.1`, …
    pub protocol: &'a [u8],
    /// 0 when the log states none.
    pub status: u16,
    /// Size of the answer in bytes.
    pub bytes: Option<u64>,
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    /// The authenticated user.
    pub user: &'a [u8],
    /// The virtual host, where the log names one.
    pub host: &'a [u8],
}

impl<'a> Http<'a> {
    /// The URI without its query.
    pub fn path(&self) -> &'a [u8] {
        memchr::memchr(b'?', self.uri).map_or(self.uri, |at| &self.uri[..at])
    }
}
