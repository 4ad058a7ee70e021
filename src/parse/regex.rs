//! A user's own format: a regular expression with named groups, for the whole line.
//!
//! Slower than a format string by far, and what clients may write into which group is for its
//! author to see to.

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;

use super::access::{present, request};
use super::address::address_and_port;
use super::context::Context;
use super::message::leading_time;
use super::time::{number, unix};
use super::{Extent, LogFormat, Unparsed};
use crate::event::{Auth, AuthOutcome, Event, Http, Kind, Message};

/// What a format begins with that is a regular expression.
pub const PREFIX: &str = "regex:";

/// What a group may be called, and what it tells.
const GROUPS: [&str; 18] = [
    "time",
    "source_ip",
    "request",
    "method",
    "uri",
    "protocol",
    "status",
    "bytes",
    "referer",
    "user_agent",
    "host",
    "forwarded",
    "user",
    "program",
    "level",
    "message",
    "failure",
    "success",
];

/// Bytes that a compiled expression may take.
const SIZE_LIMIT: usize = 1 << 20;

type MakeCaptures = Box<dyn Fn() -> Captures + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// A compiled expression.
pub struct RegexFormat {
    regex: Regex,
    /// For each of [`GROUPS`], its number in the expression.
    groups: [Option<usize>; GROUPS.len()],
    captures: Pool<Captures, MakeCaptures>,
}

/// Compiles what follows [`PREFIX`].
///
/// # Errors
/// What is wrong with it, for people.
pub fn compile(pattern: &str) -> Result<RegexFormat, String> {
    let regex = Regex::builder()
        .configure(Regex::config().utf8_empty(false).nfa_size_limit(Some(SIZE_LIMIT)))
        .syntax(syntax::Config::new().utf8(false).unicode(false))
        .build(&format!("^(?:{pattern})$"))
        .map_err(|error| {
            let why = error.syntax_error().map_or_else(|| error.to_string(), |syntax| syntax.to_string());
            format!("the regular expression does not compile: {why}")
        })?;
    let mut groups = [None; GROUPS.len()];
    for (index, name) in regex.group_info().pattern_names(regex_automata::PatternID::ZERO).enumerate() {
        let Some(name) = name else { continue };
        match GROUPS.iter().position(|known| *known == name) {
            Some(at) => groups[at] = Some(index),
            None => return Err(format!("no group is called {name:?}; known are {}", GROUPS.join(", "))),
        }
    }
    if groups[1].is_none() {
        return Err("no group (?<source_ip>…) says who the client is".to_owned());
    }
    let for_pool = regex.clone();
    let captures: MakeCaptures = Box::new(move || for_pool.create_captures());
    Ok(RegexFormat { regex, groups, captures: Pool::new(captures) })
}

impl LogFormat for RegexFormat {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        if context.extent == Extent::Head {
            return Err(Unparsed("the line is longer than is read, and the expression is for whole lines"));
        }
        let mut captures = self.captures.get();
        self.regex.captures(line, &mut captures);
        if !captures.is_match() {
            return Err(Unparsed("the regular expression does not match"));
        }
        let group = |name: &str| {
            let at = GROUPS.iter().position(|known| *known == name).and_then(|at| self.groups[at])?;
            Some(present(&line[captures.get_group(at)?.range()]))
        };
        let text = |name| group(name).unwrap_or_default();
        let client = text("source_ip");
        let source_ip = address_and_port(client);
        if source_ip.is_none() && !super::access::host_name(client) {
            return Err(Unparsed("the group source_ip is no address"));
        }
        let time = match group("time") {
            None => None,
            Some(time) => {
                let time = unix(time).or_else(|| leading_time(time, context));
                Some(time.ok_or(Unparsed("the group time is in no known shape"))?)
            }
        };
        let message = Message {
            program: group("program").unwrap_or(context.program),
            level: text("level"),
            user: text("user"),
            text: group("message").unwrap_or(line),
        };
        let outcome = match (group("failure"), group("success")) {
            (Some(_), _) => Some(AuthOutcome::Failure),
            (None, Some(_)) => Some(AuthOutcome::Success),
            (None, None) => None,
        };
        let is_request = ["request", "uri", "method", "status"].iter().any(|name| group(name).is_some());
        let kind = match outcome {
            Some(outcome) => Kind::Auth(Auth { outcome, message }),
            None if !is_request => Kind::App(message),
            None => {
                let mut http = Http::default();
                request(text("request"), &mut http);
                let or = |known, name| group(name).unwrap_or(known);
                Kind::Http(Http {
                    method: or(http.method, "method"),
                    uri: or(http.uri, "uri"),
                    protocol: or(http.protocol, "protocol"),
                    status: number(text("status")).and_then(|status| u16::try_from(status).ok()),
                    bytes: number(text("bytes")).map(i64::cast_unsigned),
                    referer: text("referer"),
                    user_agent: text("user_agent"),
                    user: message.user,
                    host: or(http.host, "host"),
                    forwarded: text("forwarded"),
                })
            }
        };
        Ok(Event { time, source_ip, ..Event::of(kind) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, shown_event};
    use super::*;

    fn shown(pattern: &str, line: &str) -> String {
        let format = compile(pattern).unwrap_or_else(|why| panic!("{why}"));
        shown_event(format.parse(line.as_bytes(), &context(Extent::Whole)))
    }

    #[test]
    fn named_groups_are_the_fields() {
        let request = r#"(?<time>\S+ \S+) (?<source_ip>\S+) "(?<request>.*)" (?<status>\d+) ua=(?<user_agent>.*)"#;
        assert_eq!(
            shown(request, r#"2026-01-05 12:30:45 203.0.113.7:80 "GET /a?b HTTP/1.1" 404 ua=curl "x""#),
            r#"2026-01-05T12:30:45.000Z 203.0.113.7 GET|/a?b|HTTP/1.1 404 None ref= ua=curl "x" user= host="#
        );
        let login = r"(?<time>\d+) (?:(?<failure>DENIED)|(?<success>OK)) (?<user>\S+) (?<source_ip>\S+)";
        for (word, outcome) in [("DENIED", "failure"), ("OK", "success")] {
            let line = format!("1767616245 {word} alice 203.0.113.7");
            let expected =
                format!("2026-01-05T12:30:45.000Z 203.0.113.7 auth {outcome} program= level= user=alice {line}");
            assert_eq!(shown(login, &line), expected);
        }
        assert_eq!(shown(login, "1767616245 MAYBE alice 203.0.113.7"), "error: the regular expression does not match");
        assert_eq!(shown(login, "1767616245 OK alice /a"), "error: the group source_ip is no address");
        assert_eq!(shown(login, "1767616245 OK alice 203.0.113.7 x"), "error: the regular expression does not match");
        assert_eq!(shown(login, "12 OK alice 203.0.113.7"), "error: the group time is in no known shape");
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_told() {
        for (pattern, why) in [
            ("(?<source_ip>", "does not compile"),
            (r"(?<ip>\S+)", "no group is called \"ip\"; known are time, source_ip"),
            (r"\S+", "no group (?<source_ip>…)"),
            (r"(?<source_ip>(?:a{1000}){1000})", "does not compile"),
        ] {
            let said = compile(pattern).err().unwrap_or_default();
            assert!(said.contains(why), "{pattern}: {said}");
        }
    }
}
