//! What the variables of nginx and Apache are called, and what they hold.

use super::{Clock, Field, Shape, Timestamp};
use crate::parse::context::Site;
use crate::parse::time::{CLF_LEN, civil, month, number, offset};

/// A part of a format.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable {
    Literal(u8),
    /// Of several variables that tell the same, that of the highest rank counts.
    Field {
        name: String,
        field: Field,
        shape: Shape,
        rank: u8,
    },
}

/// The parts of `format`, each event field told by one of them.
///
/// # Errors
/// A variable is not written as it should be.
pub fn variables(format: &str) -> Result<Vec<Variable>, String> {
    let mut bytes = format.bytes().peekable();
    let nginx = format.as_bytes().windows(2).any(|pair| pair[0] == b'$' && (is_name(pair[1]) || pair[1] == b'{'));
    let mut out = vec![];
    let mut at = 0;
    while let Some(byte) = bytes.next() {
        // Within a character there is no text, and nothing but a literal.
        let rest = format.get(at..).unwrap_or_default();
        let mut taken = 1;
        match byte {
            b'\\' => {
                // As both servers' configuration files write it.
                let escaped = rest.as_bytes().get(1).copied().unwrap_or(b'\\');
                taken = rest.len().min(2);
                out.push(Variable::Literal(match escaped {
                    b't' => b'\t',
                    b'n' => return Err("a line break: a log line is one line".to_owned()),
                    other => other,
                }));
            }
            b'\n' | b'\r' => return Err("a line break: a log line is one line".to_owned()),
            b'$' if nginx => {
                let (name, len) = nginx_name(rest)?;
                taken = len;
                let (field, shape, rank) = nginx_variable(name);
                out.push(Variable::Field { name: format!("${name}"), field, shape, rank });
            }
            b'%' if !nginx && rest.starts_with("%%") => {
                taken = 2;
                out.push(Variable::Literal(b'%'));
            }
            b'%' if !nginx => taken = apache(rest, &mut out)?,
            literal => out.push(Variable::Literal(literal)),
        }
        at += taken;
        for _ in 1..taken {
            bytes.next();
        }
    }
    let mut out = joined(out);
    keep_the_best(&mut out);
    Ok(out)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The name of the variable that `text` begins with, and the length of both.
fn nginx_name(text: &str) -> Result<(&str, usize), String> {
    let after = &text[1..];
    if let Some(inner) = after.strip_prefix('{') {
        let end = inner.find('}').ok_or_else(|| format!("no }} ends {text}"))?;
        return Ok((&inner[..end], end + 3));
    }
    let len = after.bytes().take_while(|&byte| is_name(byte)).count();
    if len == 0 { Err(format!("a $ without a name: {text}")) } else { Ok((&after[..len], len + 1)) }
}

fn nginx_variable(name: &str) -> (Field, Shape, u8) {
    use Shape::{Fixed, Free, List, Number, Word};
    match name {
        "remote_addr" => (Field::Client, Word, 3),
        "realip_remote_addr" => (Field::Client, Word, 1),
        "time_local" => (Field::Time(Clock::CommonLog), Fixed(CLF_LEN), 3),
        "time_iso8601" => (Field::Time(Clock::Iso8601), Shape::Iso8601, 2),
        "msec" => (Field::Time(Clock::Seconds), Number, 4),
        "request" => (Field::Request, Free, 3),
        "request_method" => (Field::Method, Word, 1),
        "request_uri" => (Field::Uri, Free, 3),
        "uri" | "document_uri" => (Field::Uri, Free, 1),
        "args" | "query_string" | "is_args" => (Field::Query, Free, 0),
        "server_protocol" => (Field::Protocol, Word, 1),
        "status" => (Field::Status, Number, 1),
        "body_bytes_sent" => (Field::Bytes, Number, 2),
        "bytes_sent" => (Field::Bytes, Number, 1),
        "http_referer" => (Field::Referer, Free, 1),
        "http_user_agent" => (Field::Agent, Free, 1),
        // A proxy adds to the list what it saw; a header with one address it may hand on as it came.
        "http_x_forwarded_for" | "proxy_add_x_forwarded_for" => (Field::Forwarded, Free, 3),
        "http_forwarded" => (Field::Forwarded, Free, 2),
        "http_cf_connecting_ip" | "http_true_client_ip" | "http_x_real_ip" => (Field::Forwarded, Free, 1),
        "remote_user" => (Field::User, Free, 1),
        "host" => (Field::Host, Word, 3),
        "http_host" => (Field::Host, Free, 2),
        "server_name" => (Field::Host, Word, 1),
        "connection"
        | "connection_requests"
        | "connection_time"
        | "content_length"
        | "gzip_ratio"
        | "pid"
        | "remote_port"
        | "request_length"
        | "request_time"
        | "server_port"
        | "proxy_protocol_port"
        | "realip_remote_port" => (Field::Skipped, Number, 0),
        "_"
        | "binary_remote_addr"
        | "hostname"
        | "http2"
        | "http3"
        | "https"
        | "limit_conn_status"
        | "limit_req_status"
        | "nginx_version"
        | "pipe"
        | "proxy_host"
        | "proxy_port"
        | "proxy_protocol_addr"
        | "request_completion"
        | "request_id"
        | "scheme"
        | "server_addr"
        | "ssl_cipher"
        | "ssl_protocol"
        | "ssl_session_id"
        | "ssl_session_reused"
        | "upstream_cache_status" => (Field::Skipped, Word, 0),
        "upstream_addr"
        | "upstream_bytes_received"
        | "upstream_bytes_sent"
        | "upstream_connect_time"
        | "upstream_first_byte_time"
        | "upstream_header_time"
        | "upstream_queue_time"
        | "upstream_response_length"
        | "upstream_response_time"
        | "upstream_session_time"
        | "upstream_status" => (Field::Skipped, List, 0),
        // Headers, cookies, arguments, and what others set from them.
        _ => (Field::Skipped, Free, 0),
    }
}

/// Adds what the directive that `text` begins with writes; its length.
fn apache(text: &str, out: &mut Vec<Variable>) -> Result<usize, String> {
    let modifiers =
        text[1..].bytes().take_while(|byte| matches!(byte, b'!' | b',' | b'<' | b'>' | b'0'..=b'9')).count();
    let mut at = 1 + modifiers;
    let mut argument = "";
    if let Some(inner) = text[at..].strip_prefix('{') {
        let end = inner.find('}').ok_or_else(|| format!("no }} ends {text}"))?;
        argument = &inner[..end];
        at += end + 2;
        // Modifiers may follow as well.
        at += text[at..].bytes().take_while(|byte| matches!(byte, b'<' | b'>')).count();
    }
    let trailer = usize::from(text[at..].starts_with('^')) * 2;
    let directive = text.as_bytes().get(at + trailer).ok_or_else(|| format!("a % without a directive: {text}"))?;
    if !directive.is_ascii_alphabetic() && *directive != b'_' {
        return Err(format!("a % without a directive: {text}"));
    }
    let len = at + trailer + 1;
    let name = text[..len].to_owned();
    if trailer > 0 {
        out.push(Variable::Field { name, field: Field::Skipped, shape: Shape::Free, rank: 0 });
        return Ok(len);
    }
    if *directive == b't' && argument.is_empty() {
        out.push(Variable::Literal(b'['));
    }
    let (field, shape, rank) = apache_variable(*directive, argument, &text[1..=modifiers])?;
    out.push(Variable::Field { name, field, shape, rank });
    if *directive == b't' && argument.is_empty() {
        out.push(Variable::Literal(b']'));
    }
    Ok(len)
}

fn apache_variable(directive: u8, argument: &str, modifiers: &str) -> Result<(Field, Shape, u8), String> {
    use Shape::{Fixed, Free, Number, Word};
    Ok(match directive {
        b'a' if argument == "c" => (Field::Client, Word, 1),
        b'a' => (Field::Client, Word, 3),
        b'h' => (Field::Client, Word, 2),
        b'l' => (Field::Ident, Word, 0),
        b'u' => (Field::User, Free, 1),
        b't' => return apache_time(argument),
        b'r' => (Field::Request, Free, 3),
        b'm' => (Field::Method, Word, 1),
        b'U' => (Field::Uri, Free, 1),
        b'q' => (Field::Query, Free, 0),
        b'H' => (Field::Protocol, Word, 1),
        b's' => (Field::Status, Number, if modifiers.contains('>') { 2 } else { 1 }),
        b'b' | b'B' => (Field::Bytes, Number, 2),
        b'O' => (Field::Bytes, Number, 1),
        b'v' => (Field::Host, Word, 3),
        b'V' => (Field::Host, Word, 2),
        b'i' => match argument.to_ascii_lowercase().as_str() {
            "referer" => (Field::Referer, Free, 1),
            "user-agent" => (Field::Agent, Free, 1),
            "host" => (Field::Host, Free, 1),
            "x-forwarded-for" => (Field::Forwarded, Free, 3),
            "forwarded" => (Field::Forwarded, Free, 2),
            "cf-connecting-ip" | "true-client-ip" | "x-real-ip" => (Field::Forwarded, Free, 1),
            _ => (Field::Skipped, Free, 0),
        },
        b'D' | b'I' | b'k' | b'p' | b'P' | b'S' | b'T' => (Field::Skipped, Number, 0),
        // The connection's state when the answer is written.
        b'X' => (Field::Skipped, Fixed(1), 0),
        b'_' | b'A' | b'L' | b'R' => (Field::Skipped, Word, 0),
        _ => (Field::Skipped, Free, 0),
    })
}

fn apache_time(argument: &str) -> Result<(Field, Shape, u8), String> {
    let ended = argument.strip_prefix("begin").or_else(|| argument.strip_prefix("end"));
    let format = ended.map_or(argument, |format| format.strip_prefix(':').unwrap_or(format));
    Ok(match format {
        "" => (Field::Time(Clock::CommonLog), Shape::Fixed(CLF_LEN), 3),
        "sec" | "%s" => (Field::Time(Clock::Seconds), Shape::Number, 4),
        "msec" => (Field::Time(Clock::Milliseconds), Shape::Number, 5),
        "usec" => (Field::Time(Clock::Microseconds), Shape::Number, 5),
        _ => {
            let steps = strftime_steps(format)?;
            let shape = Shape::Fixed(steps.iter().map(Step::len).sum());
            if [Step::Year, Step::Day].iter().all(|step| steps.contains(step)) {
                (Field::Time(Clock::Strftime(steps.into())), shape, 2)
            } else {
                (Field::PartOfTime(steps.into()), shape, 0)
            }
        }
    })
}

/// One conversion of `strftime`; each writes the same number of bytes always.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Literal(u8),
    Year,
    Month,
    MonthName,
    Day,
    Hour,
    Minute,
    Second,
    Zone,
    Weekday,
    /// So many digits of a second's fraction.
    Fraction(usize),
}

impl Step {
    fn len(&self) -> usize {
        match self {
            Step::Literal(_) => 1,
            Step::Month | Step::Day | Step::Hour | Step::Minute | Step::Second => 2,
            Step::MonthName | Step::Weekday => 3,
            Step::Year => 4,
            Step::Zone => 5,
            Step::Fraction(len) => *len,
        }
    }
}

fn strftime_steps(format: &str) -> Result<Vec<Step>, String> {
    match format {
        "msec_frac" => return Ok(vec![Step::Fraction(3)]),
        "usec_frac" => return Ok(vec![Step::Fraction(6)]),
        _ => {}
    }
    let mut steps = vec![];
    let mut chars = format.bytes();
    while let Some(byte) = chars.next() {
        if byte != b'%' {
            if matches!(byte, b'"' | b'\t' | b'\\') {
                return Err(format!("a time with a quote, a tab or a backslash in it: %{{{format}}}t"));
            }
            steps.push(Step::Literal(byte));
            continue;
        }
        let expanded: &[Step] = match chars.next() {
            Some(b'Y') => &[Step::Year],
            Some(b'm') => &[Step::Month],
            Some(b'b' | b'h') => &[Step::MonthName],
            Some(b'd' | b'e') => &[Step::Day],
            Some(b'H') => &[Step::Hour],
            Some(b'M') => &[Step::Minute],
            Some(b'S') => &[Step::Second],
            Some(b'z') => &[Step::Zone],
            Some(b'a') => &[Step::Weekday],
            Some(b'%') => &[Step::Literal(b'%')],
            Some(b'F') => &[Step::Year, Step::Literal(b'-'), Step::Month, Step::Literal(b'-'), Step::Day],
            Some(b'R') => &[Step::Hour, Step::Literal(b':'), Step::Minute],
            Some(b'T') => &[Step::Hour, Step::Literal(b':'), Step::Minute, Step::Literal(b':'), Step::Second],
            other => {
                let other = other.map_or(String::new(), |byte| char::from(byte).to_string());
                return Err(format!(
                    "%{other} in a time is not understood (%Y %m %b %d %e %H %M %S %T %F %R %z %a are)"
                ));
            }
        };
        steps.extend(expanded);
    }
    Ok(steps)
}

/// The time that `text` is; what `steps` do not tell is that of 1970, and the zone of `site`.
pub fn strftime(steps: &[Step], text: &[u8], site: &Site) -> Option<Timestamp> {
    let (mut date, mut clock, mut zone, mut ms) = ([1970, 1, 1], [0; 3], None, 0);
    let mut rest = text;
    for step in steps {
        let (part, after) = rest.split_at_checked(step.len())?;
        rest = after;
        match step {
            Step::Literal(byte) if part[0] == *byte => {}
            Step::Literal(_) => return None,
            Step::Year => date[0] = number(part)?,
            Step::Month => date[1] = number(part)?,
            Step::MonthName => date[1] = month(part.try_into().ok()?)?.into(),
            Step::Day => date[2] = number(part.strip_prefix(b" ").unwrap_or(part))?,
            Step::Hour => clock[0] = number(part)?,
            Step::Minute => clock[1] = number(part)?,
            Step::Second => clock[2] = number(part)?,
            Step::Zone => zone = Some(offset(part).filter(|(_, len)| *len == part.len())?.0),
            Step::Weekday => part.iter().all(u8::is_ascii_alphabetic).then_some(())?,
            Step::Fraction(3) => ms = number(part)?,
            Step::Fraction(_) => ms = number(part)? / 1000,
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let time = match zone {
        Some(offset) => civil(date, clock, offset)?,
        None => site.local(date, clock)?,
    };
    Some(Timestamp(time.0 + ms))
}

/// Joins what one value is split into: `$uri$is_args$args`, `$uri?$args` and `%U%q` are a URI,
/// `$remote_addr:$remote_port` an address with its port.
fn joined(variables: Vec<Variable>) -> Vec<Variable> {
    let mut out: Vec<Variable> = vec![];
    for variable in variables {
        let Variable::Field { name: new, field, shape, .. } = &variable else {
            out.push(variable);
            continue;
        };
        let mut literals = out.iter().rev().take_while(|part| matches!(part, Variable::Literal(_))).count();
        let literal = |count: usize| match (count, out.last()) {
            (0, _) => Some(None),
            (1, Some(Variable::Literal(byte))) => Some(Some(*byte)),
            _ => None,
        };
        let between = literal(literals);
        let before = out.len() - literals;
        if let Some(Variable::Field { name, field: known, rank, .. }) = out[..before].last_mut() {
            let query = *known == Field::Uri && *field == Field::Query && matches!(between, Some(None | Some(b'?')));
            let port = *known == Field::Client
                && *field == Field::Skipped
                && *shape == Shape::Number
                && between == Some(Some(b':'));
            if query || port {
                name.push_str(new);
                if query {
                    *rank = 2;
                } else {
                    *known = Field::ClientAndPort;
                }
                while literals > 0 {
                    out.pop();
                    literals -= 1;
                }
                continue;
            }
        }
        out.push(variable);
    }
    out
}

/// Skips every variable that tells what another one tells better, or as well before it.
fn keep_the_best(variables: &mut [Variable]) {
    /// What both a request and its parts tell.
    fn role(field: &Field) -> Option<u8> {
        Some(match field {
            Field::Client | Field::ClientAndPort => 0,
            Field::Time(_) => 1,
            Field::Request | Field::Uri => 2,
            Field::Status => 3,
            Field::Bytes => 4,
            Field::Host => 5,
            Field::Referer => 6,
            Field::Agent => 7,
            Field::User => 8,
            Field::Method => 9,
            Field::Protocol => 10,
            Field::Forwarded => 11,
            Field::Skipped | Field::Ident | Field::Query | Field::PartOfTime(_) => return None,
        })
    }
    let mut best: [Option<(u8, usize)>; 12] = [None; 12];
    for (at, variable) in variables.iter().enumerate() {
        let Variable::Field { field, rank, .. } = variable else { continue };
        let Some(role) = role(field) else { continue };
        // A request has a method and a protocol, and comes before a URI.
        let rank = if *field == Field::Request { 10 } else { *rank };
        let slot = &mut best[usize::from(role)];
        if slot.is_none_or(|(known, _)| rank > known) {
            *slot = Some((rank, at));
        }
    }
    let request = best[2].is_some_and(|(rank, _)| rank == 10);
    let in_parts = best[1].is_some_and(|(_, at)| {
        matches!(&variables[at], Variable::Field { field: Field::Time(Clock::Strftime(_)), .. })
    });
    for (at, variable) in variables.iter_mut().enumerate() {
        let Variable::Field { field, .. } = variable else { continue };
        let told = match field {
            Field::Method | Field::Protocol | Field::Query => request,
            // Only a date that another field does not tell needs its parts.
            Field::PartOfTime(_) => !in_parts,
            _ => false,
        };
        let better = role(field).is_some_and(|role| best[usize::from(role)].is_some_and(|(_, best)| best != at));
        if told || better {
            *field = Field::Skipped;
        }
    }
}
