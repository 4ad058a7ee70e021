//! A line without what must not leave: passwords, tokens, cookies, keys, card numbers, and whose an e-mail
//! address is. What is left says that there was something.

use std::borrow::Cow;

const SECRET: &str = "<secret>";

/// Names whose values are secret, in lower case without `_` and `-`: the ends of names, and whole ones.
const ENDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "sessionid",
    "phpsessid",
    "authorization",
    "cookie",
    "signature",
];
const NAMES: &[&str] = &["pwd", "pass", "pw", "auth", "session", "sid", "sig", "jwt", "bearer"];

/// Where a value may hold an attack, what it is seen by.
const TELLING: &[&str] =
    &["'", "<", "(", "$", "`", "..", "%27", "%22", "%3c", "%28", "%24", "%60", "%20", "+", "\\x22"];

/// `line` without its secrets. `keep` stands as it is though it be an e-mail address: the account that the
/// line is about. Of a line that is evidence a secret's value stays that cannot be told from an attack.
pub fn masked<'a>(line: &'a str, keep: &[u8], is_evidence: bool) -> Cow<'a, str> {
    let bytes = line.as_bytes();
    let mut out = String::new();
    // Up to here `line` is in `out`.
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        let found = match bytes[at] {
            b'=' | b':' => named(line, at, is_evidence).or_else(|| user_info(line, at)),
            b'@' => email(line, at, done, keep),
            b'e' if bytes[at..].starts_with(b"eyJ") => token(line, at),
            b'A' if bytes[at..].starts_with(b"AKIA") => Some((at, run(bytes, at, u8::is_ascii_alphanumeric)))
                .filter(|(start, end)| end - start == 20)
                .map(|(start, end)| (start, end, SECRET)),
            b'3'..=b'6' => card(line, at),
            _ => None,
        };
        match found {
            Some((start, end, instead)) if start >= done => {
                out.push_str(&line[done..start]);
                out.push_str(instead);
                done = end;
                at = end.max(at + 1);
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(line);
    }
    out.push_str(&line[done..]);
    Cow::Owned(out)
}

/// From where to where something else stands, and what.
type Masked = (usize, usize, &'static str);

/// The value behind the sign at `at`, if its name says that it is secret.
fn named(line: &str, at: usize, is_evidence: bool) -> Option<Masked> {
    let bytes = line.as_bytes();
    let end = at - usize::from(at > 0 && matches!(bytes[at - 1], b'"' | b'\''));
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = bytes[..end].iter().rev().take(40).take_while(|byte| is_name(byte)).count();
    if !(2..40).contains(&length) {
        return None;
    }
    // Most names end otherwise; of those nothing is copied.
    if !b"dpentygshwr".contains(&bytes[end - 1].to_ascii_lowercase()) {
        return None;
    }
    let name: String = line[end - length..end].chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let name = name.to_ascii_lowercase();
    // With a colon people write too: "session: opened".
    let is_secret = ENDS.iter().any(|known| name.ends_with(known)) || (bytes[at] == b'=' && NAMES.contains(&&*name));
    if !is_secret {
        return None;
    }
    let mut start = run(bytes, at + 1, |byte| matches!(byte, b' ' | b'"'));
    for scheme in ["Bearer ", "Basic ", "Digest ", "Token "] {
        if bytes[start..].len() > scheme.len() && bytes[start..][..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes())
        {
            start += scheme.len();
        }
    }
    let is_cookie = name.ends_with("cookie");
    let ends = |byte: &u8| match byte {
        b'"' | b'\n' => true,
        b' ' | b'&' | b',' | b';' | b')' | b'}' | b']' | b'|' | b'#' => !is_cookie,
        _ => false,
    };
    let end = run(bytes, start, |byte| !ends(byte));
    let value = &line[start..end];
    let says_nothing = !value.bytes().any(|byte| byte.is_ascii_alphanumeric())
        || matches!(value, "null" | "true" | "false" | "none" | "undefined");
    let is_shown = says_nothing || is_evidence && is_telling(value);
    (!is_shown).then_some((start, end, SECRET))
}

fn is_telling(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    TELLING.iter().any(|sign| lower.contains(sign))
}

/// `user:password@` behind the `://` at `at`.
fn user_info(line: &str, at: usize) -> Option<Masked> {
    let bytes = line.as_bytes();
    bytes[at..].starts_with(b"://").then_some(())?;
    let start = at + 3;
    let end = run(bytes, start, |byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'/' | b'"' | b'?' | b'\''));
    (bytes.get(end) == Some(&b'@') && line[start..end].contains(':')).then_some((start, end, SECRET))
}

/// The part of an e-mail address before the `@` at `at`.
fn email(line: &str, at: usize, done: usize, keep: &[u8]) -> Option<Masked> {
    let bytes = line.as_bytes();
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-');
    let length = bytes[done..at].iter().rev().take(64).take_while(|byte| is_local(byte)).count();
    let end = run(bytes, at + 1, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let domain = line[at + 1..end].trim_end_matches(['.', '-']);
    let top = domain.rsplit_once('.')?.1;
    let is_address = length > 0 && top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let start = at - length;
    let is_kept = !keep.is_empty() && keep == &bytes[start..at + 1 + domain.len()];
    (is_address && !is_kept).then_some((start, at, "<email>"))
}

/// A JSON web token.
fn token(line: &str, at: usize) -> Option<Masked> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'=');
    let end = run(line.as_bytes(), at, is_part);
    (end - at > 30 && line[at..end].matches('.').count() >= 1).then_some((at, end, SECRET))
}

/// 13 to 19 digits, alone or in groups, whose check digit is right.
fn card(line: &str, at: usize) -> Option<Masked> {
    let bytes = line.as_bytes();
    if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'.' | b'-' | b'_' | b'%')) {
        return None;
    }
    let end = run(bytes, at, |byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'));
    let text = line[at..end].trim_end_matches([' ', '-']);
    let digits: Vec<u32> = text.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0')).collect();
    let groups = text.split([' ', '-']);
    let is_grouped = digits.len() == text.len() || (digits.len() == 16 && groups.clone().all(|part| part.len() == 4));
    let doubled = digits.iter().rev().enumerate().map(|(n, digit)| match digit * (1 + n as u32 % 2) {
        sum @ 10.. => sum - 9,
        sum => sum,
    });
    let ends = !bytes.get(at + text.len()).is_some_and(u8::is_ascii_alphanumeric);
    (is_grouped && ends && (13..=19).contains(&digits.len()) && doubled.sum::<u32>().is_multiple_of(10))
        .then(|| (at, at + text.len(), "<card>"))
}

/// Where the run of bytes that fit ends.
fn run(bytes: &[u8], from: usize, fits: impl Fn(&u8) -> bool) -> usize {
    from + bytes[from.min(bytes.len())..].iter().take_while(|byte| fits(byte)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::masked;

    #[test]
    fn secrets_are_masked_and_what_they_belong_to_stays() {
        for (line, expected) in [
            ("GET /a?password=hunter2&b=1", "GET /a?password=<secret>&b=1"),
            ("GET /a?pass=&b=1", "GET /a?pass=&b=1"),
            (r#"{"api_key": "abc123","x":1}"#, r#"{"api_key": "<secret>","x":1}"#),
            ("Authorization: Bearer abc.def_123", "Authorization: Bearer <secret>"),
            (r#"cookie="a=1; sid=2" 200"#, r#"cookie="<secret>" 200"#),
            ("postgres://palisade:pw@192.0.2.1/db", "postgres://<secret>@192.0.2.1/db"),
            ("from=<alice.b@example.org> to", "from=<<email>@example.org> to"),
            ("paid with 4111 1111 1111 1111 today", "paid with <card> today"),
            ("key AKIAIOSFODNN7EXAMPLE end", "key <secret> end"),
            ("t eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x", "t <secret>"),
        ] {
            assert_eq!(masked(line, b"", false), expected);
        }
        for kept in [
            "Failed password for root from 203.0.113.7 port 22",
            "pam_unix(sshd:auth): authentication failure; user=root",
            "order 4111111111111112 at 1767571200123 id 12345",
            "session: opened for alice",
        ] {
            assert_eq!(masked(kept, b"", false), kept);
        }
        assert_eq!(masked("login alice@example.org", b"alice@example.org", true), "login alice@example.org");
    }

    #[test]
    fn an_attack_in_a_secrets_place_is_evidence() {
        let line = "POST /login?user=a&password=%27%20or%201=1";
        assert_eq!(masked(line, b"", true), line);
        assert_eq!(masked("GET /?password=hunter2", b"", true), "GET /?password=<secret>", "but no secret is");
    }

    proptest! {
        #[test]
        fn any_text_is_masked_and_masking_again_changes_nothing(
            line in r#"([a-z@:=/ "]|password=|token: |eyJ|41111111|é|://a:b@|%27){0,40}"#,
        ) {
            let once = masked(&line, b"", false).into_owned();
            prop_assert_eq!(masked(&once, b"", false), once.as_str());
        }
    }
}
