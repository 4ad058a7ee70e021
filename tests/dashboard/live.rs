//! What programs hear at `/api/v1/events`, as it happens.

use std::io::BufRead;

use serde_json::Value;

use super::{Site, append, first_link};
use crate::support::daemon::eventually;
use crate::support::http::{Answer, request};
use crate::support::log::attack;

/// A stream of events that is read.
struct Events {
    answer: Answer,
    last: String,
}

impl Events {
    fn open(site: &Site, session: &str, last: &str) -> Events {
        let cookie = format!("palisade_session={session}");
        let mut headers = vec![("cookie", cookie.as_str())];
        if !last.is_empty() {
            headers.push(("last-event-id", last));
        }
        let answer = request(&site.address, "GET", "/api/v1/events", &headers, None);
        assert_eq!(answer.status, 200);
        Events { answer, last: last.into() }
    }

    /// What a line that matters says; none when the stream is over.
    fn next(&mut self) -> Option<(&'static str, String)> {
        loop {
            let mut line = String::new();
            if self.answer.body.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            for name in ["id", "data"] {
                if let Some(rest) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")) {
                    return Some((name, rest.trim_end().to_owned()));
                }
            }
        }
    }

    /// The requests of findings that come, up to one that holds `text`.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut uris = vec![];
        while !uris.iter().any(|uri: &String| uri.contains(text)) {
            match self.next().expect("the stream goes on") {
                ("id", id) => self.last = id,
                (_, data) => {
                    let news: Value = serde_json::from_str(&data).unwrap();
                    assert_eq!(news["not_shown"], 0);
                    let found = news["findings"].as_array().unwrap().iter().rev();
                    uris.extend(found.map(|row| row["uri"].as_str().unwrap().to_owned()));
                }
            }
        }
        uris
    }
}

#[test]
fn a_stream_goes_on_where_it_was_when_the_daemon_is_back() {
    let site = Site::new();
    let mut daemon = site.start();
    let session = site.welcome(&first_link(&daemon));
    let write = |n: usize| append(&site.log(), attack("203.0.113.7", n).trim_end());
    let mut events = Events::open(&site, &session, "");
    let (name, id) = events.next().unwrap();
    assert_eq!((name, id.parse::<u64>().is_ok()), ("id", true), "it knows where it is before there is any news");
    for round in 1..=2 {
        let n = round * 10;
        write(n);
        assert_eq!(events.until(&format!("n={n}&")).len(), 1);
        let last = events.last.clone();
        match round {
            1 => assert_eq!(daemon.stop(), 0, "whoever watches keeps nobody"),
            _ => daemon.kill(),
        }
        while events.next().is_some() {}
        write(n + 1);
        daemon = site.start();
        eventually("what came meanwhile is found", || (site.home.findings().len() == round * 3 - 1).then_some(()));
        events = Events::open(&site, &session, &last);
        write(n + 2);
        let told = events.until(&format!("n={}&", n + 2));
        let of = |n: usize| told.iter().filter(|uri| uri.contains(&format!("n={n}&"))).count();
        assert_eq!((of(n), of(n + 1), of(n + 2), told.len()), (0, 1, 1, 2), "{told:?}");
    }
    assert_eq!(daemon.stop(), 0);
}
