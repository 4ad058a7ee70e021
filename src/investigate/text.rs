//! What stands in a line, whatever program wrote it: addresses with ports and directions, sizes,
//! rates, names. Linear in the line's length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::canonical;

/// An address as a line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    /// 0: the line names none.
    pub port: u16,
    pub way: Way,
}

/// On which side of a connection an address stands, by the word in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    From,
    To,
    Unsaid,
}

/// Addresses of one line that are looked at.
const MAX_PEERS: usize = 16;

/// The addresses that `line` names, the first ones of many.
pub fn peers(line: &[u8]) -> Vec<Peer> {
    let mut found: Vec<Peer> = vec![];
    let mut at = 0;
    while at < line.len() && found.len() < MAX_PEERS {
        let inside = at > 0 && (line[at - 1].is_ascii_alphanumeric() || matches!(line[at - 1], b'.' | b'_' | b'-'));
        let starts = line[at].is_ascii_hexdigit() || line[at] == b':';
        if inside || !starts {
            at += 1;
            continue;
        }
        let len =
            line[at..].iter().take(46).take_while(|byte| byte.is_ascii_hexdigit() || b".:".contains(byte)).count();
        let Some((address, used, port)) = address(&line[at..at + len]) else {
            at += len.max(1);
            continue;
        };
        let after = at + used;
        // `[2001:db8::1]:443`.
        let bracketed = line.get(after..after + 2) == Some(b"]:");
        let port = if port == 0 && bracketed { number(&line[after + 2..]).0 as u16 } else { port };
        let ends = line.get(after).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        if ends && !address.is_unspecified() {
            found.push(Peer { address: canonical(address), port, way: way(&line[..at]) });
        }
        at = after.max(at + 1);
    }
    for (key, way) in [(&b"dpt="[..], Way::To), (b"dstport=", Way::To), (b"dport=", Way::To), (b"spt=", Way::From)] {
        let Some(value) = behind(line, key) else { continue };
        let port = number(value).0 as u16;
        found.iter_mut().filter(|peer| peer.way == way && peer.port == 0).for_each(|peer| peer.port = port);
    }
    found
}

/// The address that `text` begins with, how long it is with its port, and the port.
fn address(text: &[u8]) -> Option<(IpAddr, usize, u16)> {
    let dots = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let v4 = std::str::from_utf8(&text[..dots]).ok()?.trim_end_matches('.');
    if let Ok(address) = v4.parse::<Ipv4Addr>() {
        let rest = &text[v4.len()..];
        let (port, digits) = rest.strip_prefix(b":").map_or((0, 0), number);
        let port = u16::try_from(port).unwrap_or(0);
        return Some((address.into(), v4.len() + if digits > 0 { 1 + digits } else { 0 }, port));
    }
    let whole = std::str::from_utf8(text).ok()?;
    let whole = whole.strip_suffix(':').filter(|short| !short.ends_with(':')).unwrap_or(whole);
    let colons = whole.bytes().filter(|byte| *byte == b':').count();
    let address = whole.parse::<Ipv6Addr>().ok().filter(|_| colons >= 2 && whole.len() > 3)?;
    Some((address.into(), whole.len(), 0))
}

/// The number that `text` begins with, with commas between thousands or not, and its length.
fn number(text: &[u8]) -> (u64, usize) {
    let mut value: u64 = 0;
    let mut len = 0;
    while let Some(&byte) = text.get(len) {
        let grouped = byte == b','
            && len > 0
            && text.get(len + 1..len + 4).is_some_and(|next| next.iter().all(u8::is_ascii_digit));
        if byte.is_ascii_digit() {
            value = value.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
        } else if !grouped {
            break;
        }
        len += 1;
    }
    (value, len)
}

/// What the words in front of an address say of it.
fn way(before: &[u8]) -> Way {
    let from = before.len().saturating_sub(40);
    let before = before[from..].trim_ascii_end();
    let before = before.strip_suffix(b"tcp://").or_else(|| before.strip_suffix(b"http://")).unwrap_or(before);
    let before = before.strip_suffix(b"https://").unwrap_or(before);
    let end = before.iter().rposition(|byte| !b" :=\"'([".contains(byte)).map_or(0, |at| at + 1);
    if before[..end].ends_with(b">") {
        return Way::To;
    }
    let start =
        before[..end].iter().rposition(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').map_or(0, |at| at + 1);
    let word = String::from_utf8_lossy(&before[start..end]).to_ascii_lowercase();
    match word.as_str() {
        "from" | "src" | "source" | "client" | "rhost" | "src_ip" | "source_ip" | "by" | "srcip" | "remote" => {
            Way::From
        }
        "to" | "dst" | "dest" | "destination" | "dst_ip" | "dest_ip" | "with" | "against" | "server" | "host"
        | "dstip" | "destination_ip" | "remote_ip" | "raddr" | "into" | "towards" | "peer" => Way::To,
        _ => Way::Unsaid,
    }
}

/// What follows `key` in `line`, letters of either case.
pub fn behind<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = line.windows(key.len()).position(|part| part.eq_ignore_ascii_case(key))?;
    Some(&line[at + key.len()..])
}

/// Whether an address is of the internet, where documentation counts as the internet that it stands for.
pub fn is_public(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || shared
                || a == 0
                || a >= 240)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local())
        }
    }
}

/// Bytes: the largest size with a unit in `line`, such as `4.2 GB`.
pub fn size_bytes(line: &[u8]) -> u64 {
    quantities(line)
        .filter_map(|(value, unit)| {
            let factor = match unit.as_str() {
                "kb" | "kib" => 1e3,
                "mb" | "mib" => 1e6,
                "gb" | "gib" => 1e9,
                "tb" | "tib" => 1e12,
                "bytes" => 1.0,
                _ => return None,
            };
            Some((value * factor) as u64)
        })
        .max()
        .unwrap_or(0)
}

/// The largest number in `line` that is followed by one of these words, or by one word and one of them.
pub fn count_of(line: &[u8], what: &[&str]) -> u64 {
    let words = quantities(line).filter(|(_, unit)| what.contains(&unit.as_str()));
    words.map(|(value, _)| value as u64).max().unwrap_or(0)
}

/// Numbers and the word, or the second word, behind each.
fn quantities(line: &[u8]) -> impl Iterator<Item = (f64, String)> + '_ {
    let mut at = 0;
    let mut pending: Option<(f64, usize)> = None;
    std::iter::from_fn(move || {
        loop {
            if let Some((value, from)) = pending.take() {
                let rest = &line[from..];
                let skipped = rest.iter().take_while(|byte| b" -/(".contains(byte)).count();
                let word = rest[skipped..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                let text = String::from_utf8_lossy(&rest[skipped..skipped + word.min(24)]).to_ascii_lowercase();
                if !text.is_empty() {
                    if text.len() > 3 && !text.ends_with('s') {
                        // `4500 customer records`: the next word counts too.
                        let next = &rest[skipped + word..];
                        let gap = next.iter().take_while(|byte| **byte == b' ').count();
                        let second = next[gap..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                        if gap > 0 && second > 0 {
                            let second = &next[gap..gap + second.min(24)];
                            return Some((value, String::from_utf8_lossy(second).to_ascii_lowercase()));
                        }
                    }
                    return Some((value, text));
                }
            }
            let step = line[at..].iter().position(u8::is_ascii_digit)?;
            let start = at + step;
            let glued =
                start > 0 && (line[start - 1].is_ascii_alphabetic() || matches!(line[start - 1], b'.' | b'_' | b':'));
            let (whole, mut len) = number(&line[start..]);
            let mut value = whole as f64;
            if line.get(start + len) == Some(&b'.') {
                let (fraction, digits) = number(&line[start + len + 1..]);
                if digits > 0 {
                    value += fraction as f64 / 10f64.powi(digits.min(9) as i32);
                    len += 1 + digits;
                }
            }
            at = start + len.max(1);
            if !glued {
                pending = Some((value, at));
            }
        }
    })
}

/// The user whom `line` names: `user=alice`, `for user 'alice'`, `account alice`.
pub fn user(line: &[u8]) -> Option<&[u8]> {
    const KEYS: &[&[u8]] =
        &[b"username", b"user_name", b"user", b"account", b"acct", b"employee", b"suser", b"duser", b"actor"];
    // `add 'alice' to group 'sudo'`.
    if let Some(value) = behind(line, b"add '")
        && let Some(end) = memchr::memchr(b'\'', &value[..value.len().min(65)])
    {
        return Some(&value[..end]);
    }
    for key in KEYS {
        let mut rest = line;
        while let Some(value) = behind(rest, key) {
            let start = value.iter().take_while(|byte| b" :=\"'".contains(byte)).count();
            let before = line.len() - value.len() - key.len();
            let alone = before == 0 || !line[before - 1].is_ascii_alphanumeric();
            let name = &value[start..];
            let len = name.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"._-@$\\+".contains(byte)).count();
            let name = name[..len].strip_suffix(b".").unwrap_or(&name[..len]);
            if alone && start > 0 && len > 1 && len <= 64 && !is_no_name(name) {
                return Some(name);
            }
            rest = value;
        }
    }
    None
}

/// Words behind `user` that are no names.
fn is_no_name(word: &[u8]) -> bool {
    const NO_NAMES: &[&str] = &[
        "account",
        "accounts",
        "agent",
        "and",
        "attempted",
        "authenticated",
        "by",
        "clicked",
        "creation",
        "data",
        "did",
        "does",
        "downloaded",
        "failed",
        "for",
        "from",
        "group",
        "has",
        "id",
        "in",
        "interface",
        "is",
        "locked",
        "logged",
        "login",
        "logout",
        "management",
        "not",
        "of",
        "on",
        "password",
        "profile",
        "reported",
        "session",
        "sessions",
        "space",
        "submitted",
        "table",
        "the",
        "to",
        "unknown",
        "was",
        "who",
        "with",
        "name",
        "named",
        "level",
        "requested",
        "opened",
        "credentials",
        "added",
        "created",
        "deleted",
        "modified",
        "permissions",
        "role",
        "searched",
        "service",
    ];
    let word = word.to_ascii_lowercase();
    NO_NAMES.iter().any(|name| name.as_bytes() == word) || word.iter().all(u8::is_ascii_digit)
}

/// The host in front of a syslog line, or the value of a key that names it.
pub fn host(line: &[u8]) -> Option<&[u8]> {
    let name = |text: &[u8]| {
        let len = text.iter().take(64).take_while(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)).count();
        (len > 1).then_some(len)
    };
    for key in [&b"\"hostname\":\""[..], b"\"host\":\"", b"hostname=", b" host=", b"\"computer\":\"", b"computer="] {
        if let Some(value) = behind(line, key)
            && let Some(len) = name(value)
        {
            return Some(&value[..len]);
        }
    }
    // `Jan  5 12:30:45 web1 sshd[7]: …`, `2026-01-05T12:30:45Z web1 sshd[7]: …`.
    let months = line.len() > 20 && line[..3].iter().all(u8::is_ascii_alphabetic) && line[3] == b' ' && line[9] == b':';
    let rest = if months {
        &line[16..]
    } else {
        let space = line.iter().take(40).position(|byte| *byte == b' ')?;
        if space < 19 || !line[0].is_ascii_digit() || line[10] != b'T' {
            return None;
        }
        &line[space + 1..]
    };
    let len = name(rest).filter(|len| rest.get(*len) == Some(&b' '))?;
    let program = &rest[len + 1..];
    let tag =
        program.iter().take(48).take_while(|byte| byte.is_ascii_alphanumeric() || b"._-/[]()".contains(byte)).count();
    (tag > 0 && program.get(tag) == Some(&b':')).then_some(&rest[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_ports_and_directions() {
        let shown = |line: &str| -> Vec<String> {
            peers(line.as_bytes()).iter().map(|peer| format!("{} {} {:?}", peer.address, peer.port, peer.way)).collect()
        };
        assert_eq!(shown("Unusual outbound traffic detected to 198.51.100.77:4444"), ["198.51.100.77 4444 To"]);
        assert_eq!(
            shown("SRC=10.0.0.5 DST=203.0.113.9 PROTO=TCP SPT=5 DPT=443"),
            ["10.0.0.5 5 From", "203.0.113.9 443 To"]
        );
        assert_eq!(shown("from [2001:db8::7]:22 to fe80::1, done"), ["2001:db8::7 22 From", "fe80::1 0 To"]);
        assert_eq!(shown("version 1.2.3.4.5, 12:30:45, ::, 10.0.0.256, v1.2.3.4"), [""; 0]);
        assert_eq!(shown("10.0.0.5:1 -> 203.0.113.9:80."), ["10.0.0.5 1 Unsaid", "203.0.113.9 80 To"]);
        assert_eq!(shown("::ffff:203.0.113.9 said"), ["203.0.113.9 0 Unsaid"]);
    }

    #[test]
    fn sizes_and_counts_carry_their_units() {
        assert_eq!(size_bytes(b"sent 4.2 GB in 3 files"), 4_200_000_000);
        assert_eq!(size_bytes(b"sent 1,500 bytes, 12MB"), 12_000_000);
        assert_eq!(count_of(b"downloaded 4,500 customer records at 12:30:45", &["records"]), 4500);
        assert_eq!(count_of(b"at 09:12 12 requests from cache", &["requests"]), 12);
        assert_eq!(count_of(b"x86 files", &["files"]), 0);
    }

    #[test]
    fn names_stand_behind_their_keys() {
        let user = |line: &'static str| user(line.as_bytes()).map(|name| std::str::from_utf8(name).unwrap());
        assert_eq!(user("login for user 'alice' from x"), Some("alice"));
        assert_eq!(user("User bob downloaded"), Some("bob"));
        assert_eq!(user("superuser mode, user account locked, account=carol."), Some("carol"));
        assert_eq!(user("add 'dave' to group 'sudo'"), Some("dave"));
        assert_eq!(user("no one here"), None);
        let host = |line: &'static str| host(line.as_bytes()).map(|name| std::str::from_utf8(name).unwrap());
        assert_eq!(host("Jan  5 12:30:45 web1 sshd[7]: x"), Some("web1"));
        assert_eq!(host("2026-01-05T12:30:45Z web1 sshd[7]: x"), Some("web1"));
        assert_eq!(host("2026-01-05 12:30:45 INFO User admin"), None);
        assert_eq!(host(r#"{"host":"db-2","x":1}"#), Some("db-2"));
    }

    #[test]
    fn the_internet_is_what_is_not_inside() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for inside in
            ["10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"]
        {
            assert!(!public(inside), "{inside}");
        }
        for outside in ["203.0.113.1", "100.128.0.1", "2001:db8::1"] {
            assert!(public(outside), "{outside}");
        }
    }
}
