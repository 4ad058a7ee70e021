//! Who a message of a program that is not known is about: by the words in front of an address or a
//! name. It is a guess: a client may have written it.

use std::net::IpAddr;

use super::pattern::leading_address;
use super::words::Word;

/// Words in front of a client's address.
const CLIENT: &[&str] = &[
    "from",
    "ip",
    "client",
    "host",
    "rhost",
    "by",
    "for",
    "address",
    "addr",
    "peer",
    "remote",
    "source",
    "src",
    "ipv4",
    "ipv6",
    "ipaddress",
    "clientip",
    "remoteip",
    "hostname",
    "connection",
    "with",
];
/// Words in front of addresses that are no client's.
const OTHER: &[&str] = &[
    "to",
    "on",
    "at",
    "listen",
    "listening",
    "bind",
    "dst",
    "local",
    "server",
    "upstream",
    "via",
    "version",
    "against",
    "lip",
    "laddr",
    "destination",
    "target",
];
const USER: &[&str] = &["user", "username", "account", "login", "name", "email", "identity"];

/// Longest name in quotes, in bytes: many quotes that do not end must not take more than linear time.
const MAX_NAME: usize = 256;

/// How good a reason is to take an address for the client's.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Reason {
    None,
    /// It stands alone in brackets or at the end.
    Place,
    /// A word in front says so.
    Word,
}

/// The one address that `text` has best reason to name as the client's; none if another has as
/// good a reason. Without any reason a single address counts only where the text says that something `failed`.
pub fn client(text: &[u8], failed: bool) -> Option<IpAddr> {
    let mut best: Option<(Reason, Option<IpAddr>)> = None;
    let mut quotes = Quotes::default();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let before = at.checked_sub(1).map(|at| text[at]);
        quotes.see(byte, before, text.get(at + 1).copied(), at);
        let starts = byte.is_ascii_hexdigit() || matches!(byte, b':' | b'[');
        let inside = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._-@%/".contains(&byte) || byte > 127);
        // A port or the rest of a name is no address.
        let inside = inside || before == Some(b':') && at >= 2 && text[at - 2].is_ascii_digit();
        let Some((ip, len)) = (starts && !inside).then(|| leading_address(&text[at..])).flatten() else {
            at += 1;
            continue;
        };
        let after = &text[at + len..];
        let quoted = quotes.open.is_some();
        if !ip.is_unspecified() && (!quoted || quotes.fill(at, after)) {
            let reason = reason(&text[..at], &text[at..at + len], after);
            if let Some(reason) = reason.filter(|&reason| reason > Reason::None || failed) {
                best = match best {
                    Some((least, _)) if reason < least => best,
                    Some((least, known)) if reason == least => Some((least, known.filter(|known| *known == ip))),
                    _ => Some((reason, Some(ip))),
                };
            }
        }
        at += len;
    }
    best?.1
}

/// Why `address` between `before` and `after` may be the client's; none if it is another's.
fn reason(before: &[u8], address: &[u8], after: &[u8]) -> Option<Reason> {
    let is_mark = |byte: &u8| b" \t:=[](<\"'`{".contains(byte);
    let end = before.iter().rposition(|byte| !is_mark(byte)).map_or(0, |at| at + 1);
    let start = before[..end].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
    let word = Word::of(&before[start..end]);
    if CLIENT.contains(&word.as_str()) {
        return Some(Reason::Word);
    }
    let (front, back) = (before.trim_ascii_end(), after.trim_ascii_start());
    if OTHER.contains(&word.as_str()) || front.ends_with(b">") {
        return None;
    }
    let ends = |marks: &[&[u8]]| marks.iter().any(|mark| before.ends_with(mark));
    let starts = |marks: &[&[u8]]| marks.iter().any(|mark| after.starts_with(mark));
    let alone = address.starts_with(b"[")
        || before.ends_with(b"[") && starts(&[b"]"])
        // `(192.0.2.1 -> POST:/login)`.
        || before.ends_with(b"(") && starts(&[b")", b" ", b","])
        || ends(&[b": ", b"- ", b". "]) && (back.is_empty() || starts(&[b": ", b" - "]))
        || front.ends_with(b"|") && back.starts_with(b"|");
    Some(if alone { Reason::Place } else { Reason::None })
}

/// The name that `text` gives of the user: rather in quotes, rather behind `user` than behind `for`.
pub fn user(text: &[u8]) -> &[u8] {
    let mut best: (u8, &[u8]) = (u8::MAX, b"");
    let mut at = 0;
    while at < text.len() {
        let len = text[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if len == 0 {
            at += 1;
            continue;
        }
        let word = Word::of(&text[at..at + len]);
        at += len;
        let rank = match word.as_str() {
            word if USER.contains(&word) => 0,
            "for" => 1,
            _ => continue,
        };
        let rest = &text[at..];
        let value = &rest[rest.iter().take_while(|byte| b" :=".contains(byte)).count()..];
        if value.len() == rest.len() {
            continue;
        }
        let (rank, name) = match value {
            [quote @ (b'"' | b'\'' | b'`' | b'[' | b'<'), inner @ ..] => {
                let closing = match quote {
                    b'[' => b']',
                    b'<' => b'>',
                    quote => *quote,
                };
                (
                    rank,
                    memchr::memchr(closing, &inner[..inner.len().min(MAX_NAME)]).map_or(&[][..], |end| &inner[..end]),
                )
            }
            _ => {
                let end = value.iter().position(|byte| b" \t,;()[]\"'|{".contains(byte)).unwrap_or(value.len());
                let name = &value[..end];
                let name = name.strip_suffix(b".").or_else(|| name.strip_suffix(b":")).unwrap_or(name);
                (rank + 2, if is_name(name) { name } else { b"" })
            }
        };
        if rank < best.0 && !name.is_empty() {
            best = (rank, name);
        }
    }
    best.1
}

/// Whether a word behind `user` or `for` can be a name.
fn is_name(word: &[u8]) -> bool {
    const NO_NAMES: &[&str] = &[
        "a",
        "action",
        "an",
        "and",
        "at",
        "attempt",
        "authentication",
        "by",
        "does",
        "error",
        "failed",
        "failure",
        "for",
        "found",
        "from",
        "has",
        "in",
        "invalid",
        "ip",
        "is",
        "login",
        "name",
        "not",
        "on",
        "or",
        "password",
        "the",
        "to",
        "unknown",
        "user",
        "username",
        "was",
        "with",
        "successful",
        "success",
        "database",
        "db",
        "method",
        "input",
    ];
    !NO_NAMES.contains(&Word::of(word).as_str()) && leading_address(word).is_none() && !word.contains(&b'=')
}

/// Which quotes are open.
#[derive(Default)]
struct Quotes {
    open: Option<(u8, usize)>,
}

impl Quotes {
    fn see(&mut self, byte: u8, before: Option<u8>, after: Option<u8>, at: usize) {
        if !matches!(byte, b'"' | b'\'' | b'`') {
            return;
        }
        self.open = match self.open {
            // `the user's` closes nothing.
            Some((quote, _))
                if quote == byte && (byte == b'"' || !after.is_some_and(|byte| byte.is_ascii_alphanumeric())) =>
            {
                None
            }
            None if byte == b'"' || before.is_none_or(|byte| b" ([{<=:,".contains(&byte)) => Some((byte, at)),
            open => open,
        };
    }

    /// Whether the open quotes hold nothing but what stands from `at` up to `after`, or a full stop.
    fn fill(&self, at: usize, after: &[u8]) -> bool {
        let after = after.strip_prefix(b".").unwrap_or(after);
        self.open.is_some_and(|(quote, start)| start + 1 == at && after.first() == Some(&quote))
    }
}
