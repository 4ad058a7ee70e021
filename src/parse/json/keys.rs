//! The known keys: where each is in a line, and what its value says of the request.

/// Where in a line a key is.
#[derive(Clone, Copy, PartialEq)]
pub enum Within {
    /// The line's object.
    Line,
    Request,
    RequestHeaders,
    Client,
    Source,
    Url,
    UserAgent,
    User,
    Http,
    HttpRequest,
    HttpResponse,
    HttpResponseBody,
    /// Where no field is.
    Elsewhere,
}

impl Within {
    /// Where the keys of the object are that is the value of `key`.
    pub fn inner(self, key: &[u8]) -> Within {
        let is = |name: &[u8]| key.eq_ignore_ascii_case(name);
        match self {
            Within::Line if is(b"request") => Within::Request,
            Within::Line if is(b"client") => Within::Client,
            Within::Line if is(b"source") => Within::Source,
            Within::Line if is(b"url") => Within::Url,
            Within::Line if is(b"user_agent") => Within::UserAgent,
            Within::Line if is(b"user") => Within::User,
            Within::Line if is(b"http") => Within::Http,
            Within::Request if is(b"headers") => Within::RequestHeaders,
            Within::Http if is(b"request") => Within::HttpRequest,
            Within::Http if is(b"response") => Within::HttpResponse,
            Within::HttpResponse if is(b"body") => Within::HttpResponseBody,
            _ => Within::Elsewhere,
        }
    }
}

/// What a value says of the request.
#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    Client,
    Time,
    /// A request line.
    Request,
    Method,
    Uri,
    /// Of a URI that is logged without it.
    Query,
    Protocol,
    Status,
    Bytes,
    Referer,
    UserAgent,
    User,
    Host,
    Forwarded,
    /// Who wrote the line.
    Logger,
    /// What a program says: without a status that is what the line is about, not the request meanwhile.
    Message,
}

pub const PARTS: usize = Part::Message as usize + 1;

/// Where it is, its name, and what its value says.
pub struct Key(pub Within, pub &'static str, pub Part);

/// The known keys. Of those that say the same, the first that says anything is taken.
///
/// Whom a server that knows its proxies takes for the client comes first, then the peer's address,
/// then what may be from a header. Traefik's `request_NAME` holds the header
/// `NAME`, of the client's choice, so its own fields come before `request_uri` and its like.
#[rustfmt::skip] // One key a line reads best.
pub const KEYS: &[Key] = &[
    // Of a server that knows its proxies: whom those name, else the peer.
    Key(Within::Request, "client_ip", Part::Client),
    Key(Within::Line, "ClientHost", Part::Client),
    Key(Within::Line, "remote_addr", Part::Client),
    Key(Within::Request, "remote_ip", Part::Client),
    Key(Within::Request, "remote_addr", Part::Client),
    Key(Within::Line, "ClientAddr", Part::Client),
    Key(Within::Line, "downstream_direct_remote_address", Part::Client),
    Key(Within::Line, "downstream_remote_address", Part::Client),
    Key(Within::Line, "ClientIP", Part::Client),
    Key(Within::Source, "ip", Part::Client),
    Key(Within::Line, "source.ip", Part::Client),
    Key(Within::Client, "ip", Part::Client),
    Key(Within::Line, "client.ip", Part::Client),
    Key(Within::Line, "remote_ip", Part::Client),
    Key(Within::Line, "src_ip", Part::Client),
    Key(Within::Line, "ip", Part::Client),
    Key(Within::Line, "client_ip", Part::Client),
    Key(Within::Line, "client", Part::Client),
    Key(Within::Line, "remoteAddr", Part::Client),

    Key(Within::Line, "time_iso8601", Part::Time),
    Key(Within::Line, "msec", Part::Time),
    Key(Within::Line, "time_local", Part::Time),
    Key(Within::Line, "ts", Part::Time),
    Key(Within::Line, "StartUTC", Part::Time),
    Key(Within::Line, "start_time", Part::Time),
    Key(Within::Line, "EdgeStartTimestamp", Part::Time),
    Key(Within::Line, "@timestamp", Part::Time),
    Key(Within::Line, "timestamp", Part::Time),
    Key(Within::Line, "time", Part::Time),

    Key(Within::Line, "RequestMethod", Part::Method),
    Key(Within::Line, "ClientRequestMethod", Part::Method),
    Key(Within::Request, "method", Part::Method),
    Key(Within::HttpRequest, "method", Part::Method),
    Key(Within::Line, "http.request.method", Part::Method),
    Key(Within::Line, "request_method", Part::Method),
    Key(Within::Line, "method", Part::Method),
    Key(Within::Line, ":method", Part::Method),
    Key(Within::Line, "verb", Part::Method),

    // As it was sent, with its query.
    Key(Within::Line, "RequestPath", Part::Uri),
    Key(Within::Line, "ClientRequestURI", Part::Uri),
    Key(Within::Request, "uri", Part::Uri),
    Key(Within::Url, "original", Part::Uri),
    Key(Within::Line, "url.original", Part::Uri),
    Key(Within::Line, "request_uri", Part::Uri),
    Key(Within::Line, "request", Part::Request),
    // Perhaps rewritten, or without a query.
    Key(Within::Line, "url", Part::Uri),
    Key(Within::Line, "uri", Part::Uri),
    Key(Within::Line, "path", Part::Uri),
    Key(Within::Line, "path_info", Part::Uri),
    Key(Within::Line, ":path", Part::Uri),
    Key(Within::Line, "x-envoy-original-path", Part::Uri),
    Key(Within::Line, "x-envoy-origin-path", Part::Uri),
    Key(Within::Url, "path", Part::Uri),
    Key(Within::Line, "url.path", Part::Uri),

    Key(Within::Line, "args", Part::Query),
    Key(Within::Line, "query_string", Part::Query),
    Key(Within::Url, "query", Part::Query),
    Key(Within::Line, "url.query", Part::Query),

    Key(Within::Line, "RequestProtocol", Part::Protocol),
    Key(Within::Line, "ClientRequestProtocol", Part::Protocol),
    Key(Within::Request, "proto", Part::Protocol),
    Key(Within::Line, "server_protocol", Part::Protocol),
    Key(Within::Line, "protocol", Part::Protocol),

    Key(Within::Line, "DownstreamStatus", Part::Status),
    Key(Within::Line, "OriginStatus", Part::Status),
    Key(Within::Line, "EdgeResponseStatus", Part::Status),
    Key(Within::HttpResponse, "status_code", Part::Status),
    Key(Within::Line, "http.response.status_code", Part::Status),
    Key(Within::Line, "status", Part::Status),
    Key(Within::Line, "response_code", Part::Status),
    Key(Within::Line, "response_status", Part::Status),
    Key(Within::Line, "status_code", Part::Status),
    Key(Within::Line, "code", Part::Status),
    Key(Within::Line, "httpStatus", Part::Status),

    Key(Within::Line, "DownstreamContentSize", Part::Bytes),
    Key(Within::Line, "EdgeResponseBytes", Part::Bytes),
    Key(Within::HttpResponseBody, "bytes", Part::Bytes),
    Key(Within::Line, "http.response.body.bytes", Part::Bytes),
    Key(Within::Line, "body_bytes_sent", Part::Bytes),
    Key(Within::Line, "bytes_sent", Part::Bytes),
    Key(Within::Line, "size", Part::Bytes),
    Key(Within::Line, "bytes", Part::Bytes),

    Key(Within::RequestHeaders, "Referer", Part::Referer),
    Key(Within::Line, "ClientRequestReferer", Part::Referer),
    Key(Within::Line, "request_Referer", Part::Referer),
    Key(Within::Line, "http_referer", Part::Referer),
    Key(Within::Line, "referer", Part::Referer),

    Key(Within::RequestHeaders, "User-Agent", Part::UserAgent),
    Key(Within::Line, "ClientRequestUserAgent", Part::UserAgent),
    Key(Within::Line, "request_User-Agent", Part::UserAgent),
    Key(Within::UserAgent, "original", Part::UserAgent),
    Key(Within::Line, "user_agent.original", Part::UserAgent),
    Key(Within::Line, "http_user_agent", Part::UserAgent),
    Key(Within::Line, "user_agent", Part::UserAgent),
    Key(Within::Line, "user-agent", Part::UserAgent),
    Key(Within::Line, "request_user_agent", Part::UserAgent),
    Key(Within::Line, "agent", Part::UserAgent),
    Key(Within::Line, "userAgent", Part::UserAgent),

    Key(Within::Line, "ClientUsername", Part::User),
    Key(Within::Line, "remote_user", Part::User),
    Key(Within::Line, "user_id", Part::User),
    Key(Within::User, "name", Part::User),
    Key(Within::Line, "user.name", Part::User),
    Key(Within::Line, "user", Part::User),

    Key(Within::Line, "RequestHost", Part::Host),
    Key(Within::Line, "ClientRequestHost", Part::Host),
    Key(Within::Request, "host", Part::Host),
    Key(Within::Url, "domain", Part::Host),
    Key(Within::Line, "url.domain", Part::Host),
    Key(Within::Line, "authority", Part::Host),
    Key(Within::Line, ":authority", Part::Host),
    Key(Within::Line, "http_host", Part::Host),
    Key(Within::Line, "host", Part::Host),
    Key(Within::Line, "server_name", Part::Host),

    // A proxy adds to the list what it saw; a header with one address it may hand on as it came.
    Key(Within::Line, "http_x_forwarded_for", Part::Forwarded),
    Key(Within::Line, "x_forwarded_for", Part::Forwarded),
    Key(Within::Line, "request_X-Forwarded-For", Part::Forwarded),
    Key(Within::RequestHeaders, "X-Forwarded-For", Part::Forwarded),
    Key(Within::RequestHeaders, "Forwarded", Part::Forwarded),
    Key(Within::RequestHeaders, "Cf-Connecting-Ip", Part::Forwarded),
    Key(Within::Line, "x-forwarded-for", Part::Forwarded),
    Key(Within::Line, "request_ip", Part::Forwarded),

    Key(Within::Line, "logger", Part::Logger),

    Key(Within::Line, "message", Part::Message),
    Key(Within::Line, "msg", Part::Message),
];

/// Where the request line is among the keys.
pub const REQUEST_LINE: usize = {
    let mut index = 0;
    while !matches!(KEYS[index].2, Part::Request) {
        index += 1;
    }
    index
};

const SLOTS: usize = 512;

/// The keys by their [`slot`], one more than their index; 0 is none.
static TABLE: [u8; SLOTS] = {
    assert!(KEYS.len() < 128, "each has a bit of `Fields::seen`");
    let mut table = [0; SLOTS];
    let mut index = 0;
    while index < KEYS.len() {
        let mut at = slot(KEYS[index].0, KEYS[index].1.as_bytes());
        while table[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        index += 1;
        table[at] = index as u8;
    }
    table
};

/// Where to look for `key`, which is not empty, in either case.
const fn slot(within: Within, key: &[u8]) -> usize {
    let (first, middle, last) = (key[0] | 0x20, key[key.len() / 2] | 0x20, key[key.len() - 1] | 0x20);
    let sum = first as usize + middle as usize * 5 + last as usize * 23 + key.len() * 73 + within as usize * 151;
    sum % SLOTS
}

/// The index of a known key.
#[inline]
pub fn find(within: Within, key: &[u8]) -> Option<usize> {
    if key.is_empty() || within == Within::Elsewhere {
        return None;
    }
    let mut at = slot(within, key);
    loop {
        let index = usize::from(TABLE[at]).checked_sub(1)?;
        if KEYS[index].0 == within && KEYS[index].1.as_bytes().eq_ignore_ascii_case(key) {
            return Some(index);
        }
        at = (at + 1) % SLOTS;
    }
}
