//! CouchDB's log of requests:
//! `[notice] time node <pid> nonce host client user method path status ok|error milliseconds`.
//!
//! The host is the client's word, the user may be, and nothing is in quotes. A space in either makes
//! a line of more words than there are fields, and none of the server's own can be left out: so only
//! a line of exactly so many words is understood.

use super::access::{host_name, present};
use super::address::address;
use super::context::Context;
use super::time::{iso8601, number};
use super::{Extent, LogFormat, Unparsed};
use crate::event::{Event, Http, Kind};

pub struct CouchDb;

impl LogFormat for CouchDb {
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        let mut words = [b"".as_slice(); 13];
        let mut rest = line.splitn(words.len() + 1, |&byte| byte == b' ');
        for word in &mut words {
            *word = rest.next().ok_or(Unparsed("fewer words than CouchDB writes"))?;
        }
        if rest.next().is_some() || context.extent == Extent::Head {
            return Err(Unparsed("more words than CouchDB writes"));
        }
        let [level, time, _node, process, _nonce, host, client, user, method, path, status, outcome, took] = words;
        let time = iso8601(time, context.site).filter(|_| level.starts_with(b"[") && level.ends_with(b"]"));
        let time = time.filter(|_| process.starts_with(b"<") && process.ends_with(b">"));
        let time = time.filter(|_| number(outcome).is_none() && number(took).is_some());
        let time = time.ok_or(Unparsed("not as CouchDB writes"))?;
        let source_ip = address(client);
        if source_ip.is_none() && !host_name(client) {
            return Err(Unparsed("no client address"));
        }
        let status = number(status).and_then(|status| u16::try_from(status).ok()).filter(|status| *status < 1000);
        let user = if user == b"undefined" { b"" } else { present(user) };
        let http = Http { method, uri: path, status, user, host: present(host), ..Http::default() };
        Ok(Event { time: Some(time), source_ip, ..Event::of(Kind::Http(http)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, shown_event};
    use super::*;

    #[test]
    fn only_a_line_of_exactly_its_words_is_understood() {
        let shown = |host: &str, user: &str, path: &str| {
            let line = format!(
                "[notice] 2026-01-05T12:30:45.579985Z nonode@nohost <0.17607.12> e1fed412f8 {host} 203.0.113.7 {user} GET {path} 404 ok 1"
            );
            shown_event(CouchDb.parse(line.as_bytes(), &context(Extent::Whole)))
        };
        assert_eq!(
            shown("db.example.org", "alice", "/a?b=c"),
            "2026-01-05T12:30:45.579Z 203.0.113.7 GET|/a?b=c| 404 None ref= ua= user=alice host=db.example.org"
        );
        for (host, user, path) in [("h 198.51.100.1", "undefined", "/a"), ("h", "x y", "/a"), ("h", "x", "/a b")] {
            assert_eq!(shown(host, user, path), "error: more words than CouchDB writes");
        }
        assert_eq!(
            shown_event(CouchDb.parse(b"[notice] a b", &context(Extent::Whole))),
            "error: fewer words than CouchDB writes"
        );
    }
}
