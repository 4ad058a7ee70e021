//! What may be searched for elsewhere: each address, user, path, port, name and digest of the lines that
//! are evidence, exactly, with how often and where. Found by how it is written, never by what it may mean.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::event::analysis::{Indicator, IndicatorKind};

/// Words before a number that say that it is a port; `port` of prose and the names of firewalls' logs.
const PORT_NAMES: &[&str] = &["port", "dpt", "spt", "dport", "sport", "dst_port", "src_port", "dest_port"];
/// Words before a name that say whose it is.
const USER_NAMES: &[&str] = &["user", "username", "login", "acct", "account", "ruser", "uid"];
/// Ends of names that are those of hosts also without an URL around them.
const TOP_DOMAINS: &[&str] = &[
    "com", "net", "org", "info", "biz", "ru", "cn", "su", "top", "xyz", "onion", "example", "test", "invalid", "cc",
    "tk", "io", "club", "online", "site", "pw", "ws",
];

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub count: u64,
    pub first: u64,
    pub last: u64,
}

/// Indicators, exactly.
#[derive(Default)]
pub struct Dictionary(BTreeMap<Indicator, Seen>);

impl Dictionary {
    pub fn add(&mut self, kind: IndicatorKind, value: &str, number: u64) {
        let seen = self.0.entry(Indicator { kind, value: value.to_owned() }).or_insert(Seen {
            count: 0,
            first: number,
            last: number,
        });
        seen.count += u64::from(seen.count == 0 || seen.last != number);
        seen.last = number;
    }

    pub fn has(&self, kind: IndicatorKind, value: &str) -> bool {
        self.0.contains_key(&Indicator { kind, value: value.to_owned() })
    }

    /// By kind, the most frequent first.
    pub fn ranked(&self) -> Vec<(&Indicator, Seen)> {
        let mut all: Vec<(&Indicator, Seen)> = self.0.iter().map(|(indicator, seen)| (indicator, *seen)).collect();
        all.sort_by_key(|(indicator, seen)| (indicator.kind, std::cmp::Reverse(seen.count), seen.first));
        all
    }
}

/// Gives each indicator in `line` to `take`.
pub fn find<'a>(line: &'a str, take: &mut dyn FnMut(IndicatorKind, &'a str)) {
    let mut name = "";
    for word in line.split(|c: char| c.is_ascii_whitespace() || "\"'<>()[]{}=,;|".contains(c)) {
        let word = word.trim_matches(|c: char| matches!(c, '.' | '!' | '`') || c == ':' && !word.starts_with("::"));
        if word.is_empty() {
            continue;
        }
        let lower = name.trim_start_matches("_").to_ascii_lowercase();
        let is_number = word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_digit());
        match () {
            () if address(word, take) => {}
            () if is_number && PORT_NAMES.contains(&&*lower) => take(IndicatorKind::Port, word),
            () if USER_NAMES.contains(&&*lower) && !is_number => take(IndicatorKind::User, word),
            () => in_word(word, take),
        }
        name = word;
    }
}

/// An address, alone, with a port or with a prefix.
pub fn address<'a>(word: &'a str, take: &mut dyn FnMut(IndicatorKind, &'a str)) -> bool {
    if !word.contains(['.', ':']) || word.len() > 60 {
        return false;
    }
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if is_address(word) {
        take(IndicatorKind::Address, word);
        return true;
    }
    let (host, rest) = match word.rfind([':', '/']) {
        Some(at) => word.split_at(at),
        None => return false,
    };
    let is_one = is_address(host);
    if is_one {
        take(IndicatorKind::Address, host);
        let rest = &rest[1..];
        if word.as_bytes()[host.len()] == b':' && rest.parse::<u16>().is_ok() {
            take(IndicatorKind::Port, rest);
        }
    }
    is_one
}

/// Paths, names of hosts and digests.
fn in_word<'a>(word: &'a str, take: &mut dyn FnMut(IndicatorKind, &'a str)) {
    if let Some(at) = word.find("://") {
        let host = &word[at + 3..];
        let host = &host[..host.find(['/', '?', '#', '\\']).unwrap_or(host.len())];
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
        if !name.is_empty() && !address(host, take) {
            take(IndicatorKind::Domain, name);
        }
    } else if word.starts_with('/') && word.len() > 1 {
        take(IndicatorKind::Path, &word[..word.find(['?', '#']).unwrap_or(word.len())]);
    } else if matches!(word.len(), 32 | 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        take(IndicatorKind::Hash, word);
    } else if let Some((_, top)) = word.rsplit_once('.')
        && TOP_DOMAINS.contains(&top)
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    {
        take(IndicatorKind::Domain, word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<String> {
        let mut all = vec![];
        find(line, &mut |kind, value| all.push(format!("{kind:?} {value}")));
        all
    }

    #[test]
    fn what_can_be_searched_for_is_found_by_how_it_is_written() {
        assert_eq!(
            found("Failed password for invalid user bob from 203.0.113.7 port 51234 ssh2"),
            ["User bob", "Address 203.0.113.7", "Port 51234"]
        );
        assert_eq!(
            found("outbound 192.0.2.5:40000 -> 198.51.100.77:4444, SRC=2001:db8::7 DPT=23"),
            ["Address 192.0.2.5", "Port 40000", "Address 198.51.100.77", "Port 4444", "Address 2001:db8::7", "Port 23"]
        );
        assert_eq!(
            found(r#""GET /a/b?c=/etc/passwd HTTP/1.1" 200 7 "http://evil.example/x" query: c2.evil.top"#),
            ["Path /a/b", "Path /etc/passwd", "Domain evil.example", "Domain c2.evil.top"]
        );
        assert_eq!(found("sha256=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff").len(), 1);
        assert_eq!(found("at 22:33:34 version 1.2.3 index.html a laptop said 12 of 200"), [""; 0]);
    }

    #[test]
    fn how_often_counts_lines() {
        let mut dictionary = Dictionary::default();
        for (value, number) in [("b", 3), ("a", 3), ("a", 3), ("a", 8)] {
            dictionary.add(IndicatorKind::User, value, number);
        }
        let ranked: Vec<(&str, Seen)> = dictionary.ranked().into_iter().map(|(of, seen)| (&*of.value, seen)).collect();
        let seen = |count, last| Seen { count, first: 3, last };
        assert_eq!(ranked, [("a", seen(2, 8)), ("b", seen(1, 3))]);
    }
}
