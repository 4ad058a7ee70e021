//! Applications and honeypots that write the client's address into their own log.

use super::Says::Failure;
use super::{Family, Row};

pub static FAMILIES: &[Family] = &[
    Family { programs: &["cowrie"], own_files: true, heads: &["[{_},{_},{ip}] ", "[{_}] "], rows: COWRIE, rest: None },
    Family { programs: &["gin", "gotify*"], own_files: true, heads: &["| "], rows: GIN, rest: None },
    Family {
        programs: &["opensearch-dashboards", "opensearch-dashboard", "kibana"],
        own_files: false,
        heads: &[""],
        rows: DASHBOARDS,
        rest: None,
    },
];

// A honeypot has no users: who connects or logs in there tries a door that is nobody's.
static COWRIE: &[Row] = &[
    Row(
        Failure,
        "New connection: {ip} ({dst}) [session: {_}]",
        "New connection: 203.0.113.7:40022 (192.0.2.1:2222) [session: 3e5a9212a1f0]",
    ),
    Row(Failure, "login attempt [{*}] {_}", "login attempt [b'root'/b'secret'] failed"),
];

// Gin's log of requests has no form of its own for logins; a POST without leave is one as a rule.
// The path, which clients write, comes last.
static GIN: &[Row] =
    &[Row(Failure, "401 |{*} {ip} | POST {!}", "401 |     505.317\u{b5}s |     203.0.113.7 | POST     \"/client\"")];

// What clients write is in JSON's quotes, which it cannot leave.
static DASHBOARDS: &[Row] = &[
    Row(
        Failure,
        "{{}\"type\":\"response\",\"@timestamp\":\"{_}\",\"tags\":[],\"pid\":{_},\"method\":\"post\",\"statusCode\":401,\"req\":{{}\"url\":\"/auth/login{*},\"remoteAddress\":\"{ip}\",\"{*}",
        "{\"type\":\"response\",\"@timestamp\":\"2026-01-05T12:30:45Z\",\"tags\":[],\"pid\":940,\"method\":\"post\",\"statusCode\":401,\"req\":{\"url\":\"/auth/login?dataSourceId=\",\"method\":\"post\",\"headers\":{\"host\":\"example.org\"},\"referer\":\"x\",\"remoteAddress\":\"203.0.113.7\",\"userAgent\":\"x\"},\"res\":{\"statusCode\":401}}",
    ),
    Row(
        Failure,
        "{{}\"type\":\"response\",\"@timestamp\":\"{_}\",\"tags\":[],\"pid\":{_},\"method\":\"post\",\"statusCode\":401,\"req\":{{}\"url\":\"/internal/security/login{*},\"remoteAddress\":\"{ip}\",\"{*}",
        "{\"type\":\"response\",\"@timestamp\":\"2026-01-05T12:30:45Z\",\"tags\":[],\"pid\":940,\"method\":\"post\",\"statusCode\":401,\"req\":{\"url\":\"/internal/security/login\",\"method\":\"post\",\"headers\":{\"host\":\"example.org\"},\"remoteAddress\":\"203.0.113.7\",\"userAgent\":\"x\"},\"res\":{\"statusCode\":401}}",
    ),
];
