//! Whole messages of known programs, as literals and holes:
//!
//! | hole | takes |
//! |---|---|
//! | `{ip}`, `{dst}` | the client's or the other end's address, with a port or without; a host name in its place gives none |
//! | `{peer}` | the client's address with a port that is always there, if behind an IPv6 address without brackets |
//! | `{port}`, `{dport}` | digits; `{dport}` is the other end's port |
//! | `{_}`, `{proto}` | up to what follows, without a space; `{proto}` is the transport |
//! | `{?text}` | `text`, if it is there |
//! | `{{}` | a `{` |
//! | `{user}`, `{text}`, `{*}` | anything up to the *last* place where what follows fits |
//! | `{!}` | what clients may have written, at the end: the address before it counts only if no other stands behind the same text |
//!
//! So a user name such as `x from 192.0.2.1 port 5` cannot choose the address of
//! `Failed password for {user} from {ip} port {port} ssh2`.

use std::net::IpAddr;

use memchr::memmem;

use super::super::address::{address, address_and_port};
use super::super::time::number;

/// What the holes took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Holes<'a> {
    pub ip: Option<IpAddr>,
    /// `{ip}` was there, if as a host name.
    pub has_ip: bool,
    pub user: &'a [u8],
    /// An application's own words.
    pub text: &'a [u8],
    pub destination: Option<IpAddr>,
    pub destination_port: u16,
    pub transport: &'a [u8],
}

/// Most holes of any length that a pattern may have.
const MAX_LONG: usize = 8;

/// Longest word, in bytes, so that no pattern takes more than linear time.
const MAX_WORD: usize = 256;

/// Longest address with its port and zone, in bytes.
const MAX_ADDRESS: usize = 80;

/// What the holes of `pattern` take if it is the whole of `text`; those of `holes` stay where it has none.
pub fn whole<'a>(pattern: &str, text: &'a [u8], mut holes: Holes<'a>) -> Option<Holes<'a>> {
    let (first, mut rest) = segment(pattern.as_bytes());
    let floor = fit(first, text, &mut holes)?;
    if rest.is_empty() {
        return (floor == text.len()).then_some(holes);
    }
    // Each hole of any length, and the segment behind it.
    let mut long: [(&[u8], &[u8]); MAX_LONG] = [(b"", b""); MAX_LONG];
    let mut count = 0;
    while !rest.is_empty() {
        let (Token::Hole(name), after) = token(rest)? else { return None };
        let (segment, after) = segment(after);
        *long.get_mut(count)? = (name, segment);
        (rest, count) = (after, count + 1);
    }
    let mut limit = text.len();
    for at in (0..count).rev() {
        let (_, segment) = long[at];
        let (start, end) = if segment.is_empty() {
            (limit, limit)
        } else {
            let hostile_behind = long.get(at + 1).is_some_and(|(name, _)| *name == b"!");
            let found = last_fit(segment, text, floor, limit, at + 1 == count, &mut holes)?;
            if hostile_behind && another(segment, text, floor, found.0, &holes) {
                holes.ip = None;
            }
            found
        };
        // What lies between this segment and the next belongs to the hole there.
        if let Some((name, _)) = long.get(at + 1) {
            holes.take(name, &text[end..limit]);
        }
        limit = start;
    }
    holes.take(long[0].0, &text[floor..limit]);
    Some(holes)
}

impl<'a> Holes<'a> {
    fn take(&mut self, name: &[u8], text: &'a [u8]) {
        match name {
            b"user" => self.user = text,
            b"text" => self.text = text,
            _ => {}
        }
    }
}

/// What follows `pattern`, which has no hole of any length, at the start of `text`.
pub fn start<'a>(pattern: &str, text: &'a [u8]) -> Option<(Holes<'a>, &'a [u8])> {
    let mut holes = Holes::default();
    let len = fit(pattern.as_bytes(), text, &mut holes)?;
    Some((holes, &text[len..]))
}

/// The last place between `floor` and `limit` where `segment` fits, to the very `limit` if it is to `end` there.
fn last_fit<'a>(
    segment: &[u8],
    text: &'a [u8],
    floor: usize,
    limit: usize,
    end: bool,
    holes: &mut Holes<'a>,
) -> Option<(usize, usize)> {
    let (Token::Literal(literal), _) = token(segment)? else { return None };
    let mut below = limit;
    loop {
        let at = floor + memmem::rfind(text.get(floor..below)?, literal)?;
        let mut taken = *holes;
        if let Some(len) = fit(segment, &text[at..limit], &mut taken)
            && (!end || at + len == limit)
        {
            *holes = taken;
            return Some((at, at + len));
        }
        below = (at + literal.len()).checked_sub(1)?;
    }
}

/// Whether `segment` also fits before `found` with another address.
fn another(segment: &[u8], text: &[u8], floor: usize, mut found: usize, holes: &Holes<'_>) -> bool {
    let mut other = Holes::default();
    while let Some((at, _)) = last_fit(segment, text, floor, found, false, &mut other) {
        if other.ip.is_some() && other.ip != holes.ip {
            return true;
        }
        found = at;
    }
    false
}

/// A piece of a pattern.
enum Token<'p> {
    Literal(&'p [u8]),
    Optional(&'p [u8]),
    Hole(&'p [u8]),
}

/// The piece that `pattern` begins with, and the rest.
fn token(pattern: &[u8]) -> Option<(Token<'_>, &[u8])> {
    match pattern {
        [] => None,
        [b'{', b'{', b'}', rest @ ..] => Some((Token::Literal(b"{"), rest)),
        [b'{', inner @ ..] => {
            let end = memchr::memchr(b'}', inner)?;
            let (name, rest) = (&inner[..end], &inner[end + 1..]);
            Some((name.strip_prefix(b"?").map_or(Token::Hole(name), Token::Optional), rest))
        }
        _ => {
            let end = memchr::memchr(b'{', pattern).unwrap_or(pattern.len());
            Some((Token::Literal(&pattern[..end]), &pattern[end..]))
        }
    }
}

/// `pattern` up to its first hole of any length, and from there.
fn segment(pattern: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = pattern;
    while let Some((token, after)) = token(rest) {
        if matches!(token, Token::Hole(b"*" | b"!" | b"user" | b"text")) {
            break;
        }
        rest = after;
    }
    pattern.split_at(pattern.len() - rest.len())
}

/// The length of what `segment` takes at the start of `text`.
fn fit<'a>(segment: &[u8], text: &'a [u8], holes: &mut Holes<'a>) -> Option<usize> {
    let mut pattern = segment;
    let mut left = text;
    while let Some((piece, after)) = token(pattern) {
        let len = match piece {
            Token::Literal(literal) => left.starts_with(literal).then_some(literal.len())?,
            Token::Optional(literal) => {
                if left.starts_with(literal) {
                    literal.len()
                } else {
                    0
                }
            }
            Token::Hole(b"ip") => {
                let (ip, len) = address_or_host(left)?;
                (holes.ip, holes.has_ip) = (ip, true);
                len
            }
            Token::Hole(b"dst") => {
                let (ip, len) = address_or_host(left)?;
                (holes.destination, holes.destination_port) = (ip, port(&left[..len]));
                len
            }
            Token::Hole(b"peer") => {
                let is_part = |byte: &&u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
                let len = left.iter().take(MAX_ADDRESS).take_while(is_part).count();
                let port = memchr::memrchr(b':', &left[..len])?;
                // What follows may begin with a colon as well.
                let ported = || address(&left[..memchr::memrchr(b':', &left[..port])?]);
                (holes.ip, holes.has_ip) = (address(&left[..port]).or_else(ported), true);
                len
            }
            Token::Hole(b"port" | b"dport") => {
                let len = left.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
                let port = number(&left[..len]).and_then(|port| u16::try_from(port).ok())?;
                if piece.is(b"dport") {
                    holes.destination_port = port;
                }
                len
            }
            Token::Hole(_) => {
                let len = word_len(left, after);
                if piece.is(b"proto") {
                    holes.transport = &left[..len];
                }
                len
            }
        };
        left = &left[len..];
        pattern = after;
    }
    Some(text.len() - left.len())
}

impl Token<'_> {
    fn is(&self, name: &[u8]) -> bool {
        matches!(self, Token::Hole(own) if *own == name)
    }
}

/// The length of a word that ends where the literal that `after` begins with does first occur, or else at a space.
fn word_len(text: &[u8], after: &[u8]) -> usize {
    let head = &text[..text.len().min(MAX_WORD)];
    let word = memchr::memchr(b' ', head).unwrap_or(head.len());
    match token(after) {
        Some((Token::Literal(literal), _)) => {
            let within = &text[..text.len().min(word + literal.len())];
            memmem::find(within, literal).unwrap_or(word)
        }
        _ => word,
    }
}

/// The address, or else the host name, that `text` begins with, and its length.
fn address_or_host(text: &[u8]) -> Option<(Option<IpAddr>, usize)> {
    if let Some((address, len)) = leading_address(text) {
        return Some((Some(address), len));
    }
    let is_host = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'?');
    let len = text.iter().take(MAX_WORD).take_while(is_host).count();
    (len > 0).then_some((None, len))
}

/// The port behind an address; 0 if there is none.
fn port(address: &[u8]) -> u16 {
    let Some(colon) = memchr::memrchr(b':', address) else { return 0 };
    let is_port = address.starts_with(b"[") || memchr::memchr(b':', address) == Some(colon);
    number(&address[colon + 1..]).filter(|_| is_port).and_then(|port| u16::try_from(port).ok()).unwrap_or(0)
}

/// The address that `text` begins with, in brackets or not, with a port or not, and its length.
pub fn leading_address(text: &[u8]) -> Option<(IpAddr, usize)> {
    let head = &text[..text.len().min(MAX_ADDRESS)];
    let digits = |from: usize| head[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if head.starts_with(b"[") {
        let end = memchr::memchr(b']', head)? + 1;
        let address = address(&head[1..end - 1])?;
        let port = if head.get(end) == Some(&b':') { digits(end + 1) } else { 0 };
        return Some((address, end + if port > 0 { port + 1 } else { 0 }));
    }
    let is_part = |byte: &&u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let mut len = head.iter().take_while(is_part).count();
    if head.get(len) == Some(&b'%') {
        let is_zone = |byte: &&u8| byte.is_ascii_alphanumeric();
        len += 1 + head[len + 1..].iter().take_while(is_zone).count();
    }
    // A host name may begin like an address.
    match &head[len..] {
        [byte, ..] if byte.is_ascii_alphanumeric() || *byte == b'_' => return None,
        [b'-', byte, ..] if byte.is_ascii_alphanumeric() => return None,
        _ => {}
    }
    let whole = &head[..len];
    let trimmed = whole.strip_suffix(b".").or_else(|| whole.strip_suffix(b":")).unwrap_or(whole);
    [whole, trimmed].into_iter().find_map(|text| Some((address_and_port(text)?, text.len())))
}
