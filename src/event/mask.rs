//! A line without what must not leave: passwords, tokens, cookies, keys, card numbers, and whose an e-mail
//! address is. What is left says that there was something.

use std::borrow::Cow;

const SECRET: &str = "<secret>";
/// A run of letters and digits of a secret that holds signs of an attack, however long.
const HIDDEN: char = '•';

/// Names whose values are secret, in lower case without `_` and `-`: what they have in them, as in
/// `password_confirmation`, the ends of names, and whole ones or their last words.
const INSIDE: &str = "passw";
const ENDS: &[&str] = &[
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
    "cardnumber",
];
const NAMES: &[&str] =
    &["pwd", "pass", "pw", "auth", "session", "sid", "sig", "jwt", "bearer", "key", "pin", "otp", "card", "cvv", "cvc"];

/// Where a value may hold an attack, what it is seen by.
const TELLING: &[&str] =
    &["'", "<", "(", "$", "`", "..", "%27", "%22", "%3c", "%28", "%24", "%60", "%20", "+", "\\x22"];

/// Words of the languages that attacks are written in: they say what was tried and nobody's secret.
const ATTACK: &str = "alert and as bash benchmark bin by case cast cat char chr cmd concat convert curl database \
    declare delay delete dns drop dual else end env etc eval exec exists false from group gt having id if img insert \
    into is javascript jndi ldap like limit ne not null onerror onload or order passwd powershell regex schema script \
    select set sh sleep src svg system table tables then true union update user values version waitfor wget when \
    where whoami";

/// `line` without its secrets. `keep` stands as it is though it be an e-mail address: the account that the line is
/// about. Of a secret that holds signs of an attack the signs stay, and the words that attacks are written in.
pub fn masked<'a>(line: &'a str, keep: &[u8]) -> Cow<'a, str> {
    let bytes = line.as_bytes();
    let mut out = String::new();
    // Up to here `line` is in `out`.
    let mut done = 0;
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|&byte| BEGINS[usize::from(byte)]) {
        at += next;
        let found = match bytes[at] {
            b'=' | b':' => named(line, at).or_else(|| user_info(line, at)),
            b'@' => email(line, at, "@", done, keep),
            b'%' if bytes[at..].starts_with(b"%40") => email(line, at, "%40", done, keep),
            b'e' if bytes[at..].starts_with(b"eyJ") => token(line, at),
            b'A' if bytes[at..].starts_with(b"AKIA") => Some((at, run(bytes, at, u8::is_ascii_alphanumeric)))
                .filter(|(start, end)| end - start == 20)
                .map(|(start, end)| (start, end, SECRET.into())),
            b'3'..=b'6' => card(line, at),
            _ => None,
        };
        match found {
            Some((start, end, instead)) if start >= done => {
                out.push_str(&line[done..start]);
                out.push_str(&instead);
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

/// The bytes at which something that is masked is seen.
const BEGINS: [bool; 256] = {
    let mut begins = [false; 256];
    let mut at = 0;
    while at < 256 {
        begins[at] = matches!(at as u8, b'=' | b':' | b'@' | b'%' | b'e' | b'A' | b'3'..=b'6');
        at += 1;
    }
    begins
};

/// From where to where something else stands, and what.
type Masked = (usize, usize, Cow<'static, str>);

/// The value behind the sign at `at`, if its name says that it is secret.
fn named(line: &str, at: usize) -> Option<Masked> {
    let bytes = line.as_bytes();
    let mut end = at;
    // `"password": …`, `user[password]=…`
    for closing in ["\"", "'", "\\", "]", "%5D", "%5d"] {
        end -= if bytes[..end].ends_with(closing.as_bytes()) { closing.len() } else { 0 };
    }
    // `password1=…&password2=…`
    end -= bytes[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = bytes[..end].iter().rev().take(40).take_while(|byte| is_name(byte)).count();
    if !(2..40).contains(&length) {
        return None;
    }
    // Most names end otherwise; of those nothing is copied.
    if !b"cdpentyghmsvwr".contains(&bytes[end - 1].to_ascii_lowercase()) {
        return None;
    }
    let written = line[end - length..end].to_ascii_lowercase();
    let is_escaped = bytes[..end - length].last() == Some(&b'%');
    let written = if is_escaped { written.get(2..).unwrap_or_default() } else { &written };
    let name: String = written.chars().filter(char::is_ascii_alphanumeric).collect();
    let last = written.rsplit(['_', '-']).next().unwrap_or_default();
    // With a colon people write too: "session: opened".
    let is_secret = name.contains(INSIDE)
        || ENDS.iter().any(|known| name.ends_with(known))
        || (bytes[at] == b'=' && NAMES.contains(&last));
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
        || matches!(value, "null" | "true" | "false" | "none" | "undefined" | SECRET);
    let instead = if is_telling(value) { shape(value).into() } else { SECRET.into() };
    (!says_nothing).then_some((start, end, instead))
}

fn is_telling(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    TELLING.iter().any(|sign| lower.contains(sign))
}

/// `value` with its signs, escaped or not, and the words of attacks; what else there is says only that it is there.
fn shape(value: &str) -> String {
    let mut out = String::new();
    // A run of letters and digits as it is written, and as it reads.
    let (mut written, mut read) = (String::new(), String::new());
    let mut put = |sign: &str, written: &mut String, read: &mut String| {
        let is_digit = written.len() == 1 && written.bytes().all(|byte| byte.is_ascii_digit());
        if is_digit || ATTACK.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(read)) {
            out.push_str(written);
        } else if !written.is_empty() {
            out.push(HIDDEN);
        }
        out.push_str(sign);
        written.clear();
        read.clear();
    };
    let mut at = 0;
    while let Some(c) = value[at..].chars().next() {
        if let Some(len) = host(&value[at..]) {
            put(&value[at..at + len], &mut written, &mut read);
            at += len;
            continue;
        }
        let (c, len) = escaped(&value[at..]).unwrap_or((c, c.len_utf8()));
        let piece = &value[at..at + len];
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' {
            put(piece, &mut written, &mut read);
        } else {
            written.push_str(piece);
            read.push(c);
        }
        at += len;
    }
    put("", &mut written, &mut read);
    out
}

/// The length of `://` and the host that an attack calls, if `text` begins so; none where somebody signs in there.
fn host(text: &str) -> Option<usize> {
    text.starts_with("://").then_some(())?;
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let end = run(text.as_bytes(), 3, is_host);
    (text.as_bytes().get(end) != Some(&b'@')).then_some(end)
}

/// What the escape that `text` begins with stands for, also one that was escaped again, and its length.
fn escaped(text: &str) -> Option<(char, usize)> {
    let digits = match text.as_bytes() {
        [b'%', again @ ..] => 1 + again.chunks(2).take_while(|pair| *pair == b"25").count() * 2,
        [b'\\', b'x' | b'u', ..] => 2,
        _ => return None,
    };
    let end = digits + if text.starts_with("\\u") { 4 } else { 2 };
    let code = u32::from_str_radix(text.get(digits..end)?, 16).ok()?;
    // Bytes beyond ASCII are letters of some script.
    Some((char::from_u32(code)?, end))
}

/// `user:password@` behind the `://` at `at`.
fn user_info(line: &str, at: usize) -> Option<Masked> {
    let bytes = line.as_bytes();
    bytes[at..].starts_with(b"://").then_some(())?;
    let start = at + 3;
    let end = run(bytes, start, |byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'/' | b'"' | b'?' | b'\''));
    (bytes.get(end) == Some(&b'@') && line[start..end].contains(':')).then_some((start, end, SECRET.into()))
}

/// The part of an e-mail address before the `sign` at `at`.
fn email(line: &str, at: usize, sign: &str, done: usize, keep: &[u8]) -> Option<Masked> {
    let (bytes, after) = (line.as_bytes(), at + sign.len());
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    let length = bytes[done..at].iter().rev().take(64).take_while(|byte| is_local(byte)).count();
    let end = run(bytes, after, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let domain = line[after..end].trim_end_matches(['.', '-']);
    let top = domain.rsplit_once('.')?.1;
    let is_address = length > 0 && top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let start = at - length;
    let is_kept = !keep.is_empty() && keep == &bytes[start..after + domain.len()];
    (is_address && !is_kept).then_some((start, at, "<email>".into()))
}

/// A JSON web token.
fn token(line: &str, at: usize) -> Option<Masked> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'=');
    let end = run(line.as_bytes(), at, is_part);
    (end - at > 30 && line[at..end].matches('.').count() >= 1).then_some((at, end, SECRET.into()))
}

/// 13 to 19 digits, alone or in groups, whose check digit is right.
fn card(line: &str, at: usize) -> Option<Masked> {
    let bytes = line.as_bytes();
    if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'.' | b'-' | b'_' | b'%')) {
        return None;
    }
    let end = run(bytes, at, u8::is_ascii_digit);
    // Whatever number follows it: four groups of four, or one run.
    let text = if end == at + 4 { line.get(at..at + 19)? } else { &line[at..end] };
    let digits: Vec<u32> = text.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0')).collect();
    let is_grouped =
        digits.len() == text.len() || (digits.len() == 16 && text.split([' ', '-']).all(|part| part.len() == 4));
    let doubled = digits.iter().rev().enumerate().map(|(n, digit)| match digit * (1 + n as u32 % 2) {
        sum @ 10.. => sum - 9,
        sum => sum,
    });
    let ends = !bytes.get(at + text.len()).is_some_and(u8::is_ascii_alphanumeric);
    (is_grouped && ends && (13..=19).contains(&digits.len()) && doubled.sum::<u32>().is_multiple_of(10))
        .then(|| (at, at + text.len(), "<card>".into()))
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
            (
                "paid with 4111111111111111 2026-01-05 and 4111-1111-1111-1111 12",
                "paid with <card> 2026-01-05 and <card> 12",
            ),
            (
                "/a?password_confirmation=x1y&password1=x2y&pass2=x3y",
                "/a?password_confirmation=<secret>&password1=<secret>&pass2=<secret>",
            ),
            ("key AKIAIOSFODNN7EXAMPLE end", "key <secret> end"),
            ("t eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x", "t <secret>"),
            ("/a?user[password]=x1y&user%5Bpwd%5D=x2y", "/a?user[password]=<secret>&user%5Bpwd%5D=<secret>"),
            ("/a?API_KEY=k1;Session-Id=s1#x&db_pass=y", "/a?API_KEY=<secret>;Session-Id=<secret>#x&db_pass=<secret>"),
            ("/a?to=bob.b%40example.org&n=4111-1111-1111-1111", "/a?to=<email>%40example.org&n=<card>"),
        ] {
            assert_eq!(masked(line, b""), expected);
        }
        for kept in [
            "Failed password for root from 203.0.113.7 port 22",
            "pam_unix(sshd:auth): authentication failure; user=root",
            "order 4111111111111112 at 1767571200123 id 12345",
            "session: opened for alice",
            "@everyone <@here> a@b 203.0.113.5 bypass=x compass=y monkey=z",
        ] {
            assert_eq!(masked(kept, b""), kept);
        }
        assert_eq!(masked("login alice@example.org", b"alice@example.org"), "login alice@example.org");
    }

    #[test]
    fn of_an_attack_in_a_secrets_place_the_signs_stay_and_the_secret_goes() {
        for (value, shown) in [
            ("%27%20or%201=1--", "%27%20or%201=1--"),
            ("hunter2%27%20OR%20%27a1b%27=%27a1b", "•%27%20OR%20%27•%27=%27•"),
            ("hunter2%2527+UNION+SELECT+NULL", "•%2527+UNION+SELECT+NULL"),
            ("%68unter2'--", "•'--"),
            ("x<script>alert(1)</script>", "•<script>alert(1)</script>"),
            ("${jndi:ldap://192.0.2.1:1389/xyz}", "${jndi:ldap://192.0.2.1:1389/•}"),
            ("x'+http://user:hunter2@192.0.2.1/", "•'+•://user:•@•.0.2.1/"),
            ("hunter2\\x22+or+1", "•\\x22+or+1"),
            ("pässwort'", "•'"),
            ("Tr0ub4dor$3xyz", "•$•"),
            ("hunter2", "<secret>"),
            ("selectfrom", "<secret>"),
        ] {
            let [line, expected] = [value, shown].map(|text| format!("POST /login?user=a&password={text}"));
            // A brace ends a value.
            assert_eq!(masked(&line, b"").trim_end_matches('}'), expected.trim_end_matches('}'), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_masked_and_masking_again_changes_nothing(
            line in r#"([a-z@:=/ "]|password=|token: |eyJ|41111111|é|://a:b@|%27){0,40}"#,
        ) {
            let once = masked(&line, b"").into_owned();
            prop_assert_eq!(masked(&once, b""), once.as_str());
        }
    }
}
