//! The views of logged text that rules look at.
//!
//! *decoded*: what the server was sent — the log's own escapes undone, percent-encoding undone up
//! to [`MAX_PASSES`] times, `%uXXXX`, overlong UTF-8, and `+` in a query.
//! *folded*: what an interpreter behind the server would make of it — decoded, with SQL comments
//! and runs of white space as one space, NULs dropped, HTML character references and the escapes of
//! JavaScript (`\xHH`, `\uHHHH`, `\u{H}`, octal) and of styles (`\HH`) resolved, and signs that are
//! taken for an ASCII one as that one.
//!
//! A parameter's value that is base64 of text is looked at both as it is and as that text, in both
//! views.

use wide::u8x16;

use super::lanes::{LANES, places, within};

/// Times that percent-encoding is undone: attackers encode twice or three times.
pub const MAX_PASSES: usize = 3;

/// Whether `+` stands for a space, as in a query.
#[derive(Clone, Copy, PartialEq)]
pub enum Plus {
    Space,
    Literal,
    /// A whole URI: a space after the first `?`.
    SpaceInQuery,
}

/// Appends the decoded view of `raw` to `out`. `raw` is as logged.
pub fn decode(raw: &[u8], plus: Plus, out: &mut Vec<u8>) {
    let start = out.len();
    let mut more = first_pass(raw, plus, out);
    for _ in 1..MAX_PASSES {
        if !more {
            break;
        }
        more = percent_pass(out, start);
    }
    overlong(out, start);
}

/// Whether [`decode`] can change anything in a URI or query. (Overlong UTF-8 that was sent without
/// percent-encoding, and logged as it is by JSON loggers alone, is left as no server reads it.)
#[inline]
pub fn is_encoded(raw: &[u8]) -> bool {
    memchr::memchr3(b'%', b'+', b'\\', raw).is_some()
}

/// Undoes the log's escapes and one layer of percent-encoding. Returns whether a `%` is left.
fn first_pass(raw: &[u8], plus: Plus, out: &mut Vec<u8>) -> bool {
    let mut space = plus == Plus::Space;
    let mut more = false;
    let mut at = 0;
    out.reserve(raw.len());
    while at < raw.len() {
        at += copy_run(&raw[at..], out);
        let Some(&byte) = raw.get(at) else { break };
        let rest = &raw[at + 1..];
        let (decoded, used) = match byte {
            b'\\' => log_escape(rest, out),
            b'%' => percent(rest, out),
            _ => (Some(byte), 0),
        };
        // Signs that were sent as they are, whether the log escapes them or not.
        let decoded = match decoded {
            Some(b'+') if space && byte != b'%' => Some(b' '),
            Some(b'?') if byte != b'%' => {
                space |= plus == Plus::SpaceInQuery;
                decoded
            }
            _ => decoded,
        };
        if let Some(decoded) = decoded {
            more |= decoded == b'%';
            out.push(decoded);
        }
        at += 1 + used;
    }
    more
}

/// Appends what `raw` begins with, up to a byte that the first pass has to look at; returns how
/// many bytes that is.
#[inline]
fn copy_run(raw: &[u8], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let (chunks, rest) = raw.as_chunks();
    for (index, chunk) in chunks.iter().enumerate() {
        let bytes = u8x16::new(*chunk);
        let is = |sign: u8| bytes.simd_eq(u8x16::splat(sign));
        let special = (is(b'\\') | is(b'%') | is(b'+') | is(b'?')).to_bitmask();
        out.extend_from_slice(chunk);
        if special != 0 {
            let run = LANES * index + special.trailing_zeros() as usize;
            out.truncate(start + run);
            return run;
        }
    }
    let run = rest.iter().take_while(|byte| !matches!(byte, b'\\' | b'%' | b'+' | b'?'));
    out.extend(run);
    out.len() - start
}

/// One more layer of percent-encoding, in place. Returns whether a `%` is left.
fn percent_pass(out: &mut Vec<u8>, start: usize) -> bool {
    let (mut read, mut write, mut more) = (start, start, false);
    let mut wide = Vec::new();
    while read < out.len() {
        let (decoded, used) = match out[read] {
            b'%' => percent(&out[read + 1..], &mut wide),
            byte => (Some(byte), 0),
        };
        read += 1 + used;
        for byte in decoded.into_iter().chain(wide.drain(..)) {
            more |= byte == b'%';
            out[write] = byte;
            write += 1;
        }
    }
    out.truncate(write);
    more
}

/// After a `%`: `HH`, or `uHHHH` (IIS), whose UTF-8 goes to `wide`. Anything else stays a `%`.
fn percent(rest: &[u8], wide: &mut Vec<u8>) -> (Option<u8>, usize) {
    if let Some(byte) = hex(rest, 2) {
        return (Some(byte as u8), 2);
    }
    if matches!(rest.first(), Some(b'u' | b'U'))
        && let Some(code) = hex(&rest[1..], 4)
    {
        let mut utf8 = [0; 4];
        let c = halfwidth(code);
        wide.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
        return (None, 5);
    }
    (Some(b'%'), 0)
}

/// What IIS makes of a full-width form: the ASCII character it shows.
fn halfwidth(code: u32) -> char {
    let narrow = if (0xff01..=0xff5e).contains(&code) { code - 0xfee0 } else { code };
    char::from_u32(narrow).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// After a `\` in a log: nginx and Apache write `\xHH`, Apache and JSON `\"`, `\\`, `\n`, `\t`, `\r`
/// and `\b`, Apache `\v`, JSON `\f`, `\/` and `\uHHHH`, whose UTF-8 goes to `wide` if it is not ASCII.
fn log_escape(rest: &[u8], wide: &mut Vec<u8>) -> (Option<u8>, usize) {
    match rest.first() {
        Some(b'x' | b'X') => match hex(&rest[1..], 2) {
            Some(byte) => (Some(byte as u8), 3),
            None => (Some(b'\\'), 0),
        },
        Some(b'"') => (Some(b'"'), 1),
        Some(b'\\') => (Some(b'\\'), 1),
        Some(b'/') => (Some(b'/'), 1),
        Some(b'n') => (Some(b'\n'), 1),
        Some(b't') => (Some(b'\t'), 1),
        Some(b'r') => (Some(b'\r'), 1),
        Some(b'b') => (Some(0x08), 1),
        Some(b'v') => (Some(0x0b), 1),
        Some(b'f') => (Some(0x0c), 1),
        Some(b'u') => match utf16(&rest[1..]) {
            Some((c, used)) if c.is_ascii() => (Some(c as u8), 1 + used),
            Some((c, used)) => {
                wide.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                (None, 1 + used)
            }
            None => (Some(b'\\'), 0),
        },
        _ => (Some(b'\\'), 0),
    }
}

/// The character of `HHHH`, or of `HHHH\uHHHH` where these are a surrogate pair, and its length.
fn utf16(text: &[u8]) -> Option<(char, usize)> {
    let code = hex(text, 4)?;
    if (0xd800..0xdc00).contains(&code)
        && text[4..].starts_with(b"\\u")
        && let Some(low @ 0xdc00..0xe000) = hex(&text[6..], 4)
    {
        let both = 0x1_0000 + ((code - 0xd800) << 10 | (low - 0xdc00));
        return Some((char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER), 10));
    }
    Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 4))
}

/// Splits at the first `sign`, written as it is or, as JSON loggers do with `&`, `=` and others, as `\u00HH`.
pub fn split_once(raw: &[u8], sign: u8) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(sign, b'\\', raw.get(from..)?)?;
        let after = &raw[at + 1..];
        if raw[at] == sign {
            return Some((&raw[..at], after));
        }
        if after.first() == Some(&b'u') && hex(&after[1..], 4) == Some(u32::from(sign)) {
            return Some((&raw[..at], &after[5..]));
        }
        from = at + 1 + usize::from(after.first() == Some(&b'\\'));
    }
}

/// The number in the first `digits` hexadecimal digits.
#[inline]
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    text.get(..digits)?.iter().try_fold(0, |value, &byte| Some(value << 4 | (byte as char).to_digit(16)?))
}

/// Two-byte forms of ASCII characters (`%c0%af` for `/`), which decoders of old accepted.
fn overlong(out: &mut Vec<u8>, start: usize) {
    let Some(first) = memchr::memchr2(0xc0, 0xc1, &out[start..]) else { return };
    let (mut read, mut write) = (start + first, start + first);
    while read < out.len() {
        let lead = out[read];
        match out.get(read + 1) {
            Some(&next) if matches!(lead, 0xc0 | 0xc1) && next & 0x80 != 0 => {
                out[write] = (lead & 1) << 6 | next & 0x3f;
                read += 2;
            }
            _ => {
                out[write] = lead;
                read += 1;
            }
        }
        write += 1;
    }
    out.truncate(write);
}

/// Whether [`fold`] can change anything. An `&` counts where a character reference may follow.
#[inline]
pub fn is_foldable(decoded: &[u8]) -> bool {
    let is_suspect = |[bytes, ..]: [u8x16; 3]| {
        let is = |sign: u8| bytes.simd_eq(u8x16::splat(sign));
        let signs = is(b' ') | is(b'*') | is(b'\\') | is(b'#') | is(b';');
        is(0) | within(bytes, b'\t', b'\r') | signs | is(0xca) | is(0xe2) | is(0xef)
    };
    let mut foldable = false;
    places(decoded, is_suspect, |at| {
        let previous = if at == 0 { 0 } else { decoded[at - 1] };
        foldable |= match decoded[at] {
            b' ' => previous == b' ',
            b'*' => previous == b'/' || decoded.get(at + 1) == Some(&b'/'),
            b'\\' => decoded
                .get(at + 1)
                .is_some_and(|&next| matches!(next, b'x' | b'u' | b'X' | b'U') || next.is_ascii_hexdigit()),
            b'#' => previous == b'&',
            0xca.. => lookalike(&decoded[at..]).is_some(),
            b';' => memchr::memchr(b'&', &decoded[at.saturating_sub(LONGEST_NAME)..at]).is_some(),
            _ => true,
        };
    });
    foldable
}

/// Bytes of the longest named character reference that [`fold`] knows, with its `&`.
const LONGEST_NAME: usize = 8;

/// Appends the folded view of `decoded` to `out`.
pub fn fold(decoded: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut at = 0;
    while at < decoded.len() {
        let rest = &decoded[at..];
        let (byte, used) = match rest[0] {
            0 => (None, 1),
            b'/' if rest.starts_with(b"/*") => (Some(b' '), comment(rest)),
            b'*' if rest.starts_with(b"*/") => (Some(b' '), 2),
            byte if byte.is_ascii_whitespace() || byte == 0x0b => (Some(b' '), 1),
            b'&' => reference(rest).map_or((Some(b'&'), 1), |(byte, used)| (Some(byte), used)),
            0xca.. => lookalike(rest).map_or((Some(rest[0]), 1), |(byte, used)| (Some(byte), used)),
            b'\\' => script_escape(rest).map_or((Some(b'\\'), 1), |(byte, used)| (Some(byte), used)),
            byte => (Some(byte), 1),
        };
        at += used;
        match byte {
            Some(b' ') if out.len() > start && out.last() == Some(&b' ') => {}
            Some(byte) => out.push(byte),
            None => {}
        }
    }
}

/// The ASCII character that databases and servers take a Unicode one for, where the character set
/// that they speak has no other (best fit): of full-width forms and of primes.
fn lookalike(rest: &[u8]) -> Option<(u8, usize)> {
    match *rest {
        [0xef, 0xbc, low @ 0x81..=0xbf, ..] => Some((low - 0x60, 3)),
        [0xef, 0xbd, low @ 0x80..=0x9e, ..] => Some((low - 0x20, 3)),
        [0xe2, 0x80, 0xb2, ..] => Some((b'\'', 3)),
        [0xe2, 0x80, 0xb3, ..] => Some((b'"', 3)),
        [0xca, 0xb9 | 0xbc, ..] => Some((b'\'', 2)),
        [0xca, 0xba, ..] => Some((b'"', 2)),
        _ => None,
    }
}

/// Length of the comment that `rest` starts with. `/*!50000` (MySQL runs what follows) is only its mark.
fn comment(rest: &[u8]) -> usize {
    if rest.get(2) == Some(&b'!') {
        return 3 + rest[3..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    memchr::memmem::find(&rest[2..], b"*/").map_or(2, |end| end + 4)
}

/// The ASCII character of an HTML character reference, and the reference's length. `&amp;` begins
/// another one where it was encoded several times.
fn reference(rest: &[u8]) -> Option<(u8, usize)> {
    const AMP: &[u8] = b"amp;";
    let after = |at: usize| rest.get(at + 1..at + 1 + AMP.len());
    let mut at = 0;
    while after(at).is_some_and(|name| name.eq_ignore_ascii_case(AMP)) {
        at += AMP.len();
    }
    match single_reference(&rest[at..]) {
        Some((byte, used)) => Some((byte, at + used)),
        None => (at > 0).then_some((b'&', at + 1)),
    }
}

/// [`reference`] where whatever comes first stands for the `&`.
fn single_reference(rest: &[u8]) -> Option<(u8, usize)> {
    if rest.get(1) == Some(&b'#') {
        let hexadecimal = matches!(rest.get(2), Some(b'x' | b'X'));
        let (from, radix) = if hexadecimal { (3, 16) } else { (2, 10) };
        let digits = rest[from..].iter().take(8).take_while(|&&byte| (byte as char).is_digit(radix)).count();
        let code = u32::from_str_radix(std::str::from_utf8(&rest[from..from + digits]).ok()?, radix).ok()?;
        let end = from + digits + usize::from(rest.get(from + digits) == Some(&b';'));
        return u8::try_from(code).ok().filter(u8::is_ascii).map(|byte| (byte, end));
    }
    const NAMED: &[(&[u8], u8)] = &[
        (b"lt;", b'<'),
        (b"gt;", b'>'),
        (b"quot;", b'"'),
        (b"apos;", b'\''),
        (b"nbsp;", b' '),
        (b"tab;", b'\t'),
        (b"newline;", b'\n'),
        (b"colon;", b':'),
        (b"lpar;", b'('),
        (b"rpar;", b')'),
        (b"sol;", b'/'),
        (b"bsol;", b'\\'),
        (b"grave;", b'`'),
        (b"equals;", b'='),
        (b"lsqb;", b'['),
        (b"rsqb;", b']'),
        (b"lcub;", b'{'),
        (b"rcub;", b'}'),
        (b"semi;", b';'),
        (b"comma;", b','),
        (b"period;", b'.'),
        (b"num;", b'#'),
        (b"dollar;", b'$'),
        (b"excl;", b'!'),
        (b"quest;", b'?'),
        (b"plus;", b'+'),
    ];
    NAMED.iter().find_map(|(name, byte)| {
        let text = rest.get(1..=name.len())?;
        text.eq_ignore_ascii_case(name).then_some((*byte, 1 + name.len()))
    })
}

/// The ASCII character of an escape of JavaScript (`\x3c`, `\u003c`, `\u{3c}`, `\074`) or of a style
/// (`\3c`, with a space after it that belongs to it), and the escape's length. Digits that may be
/// either are the style's.
fn script_escape(rest: &[u8]) -> Option<(u8, usize)> {
    let ascii = |code: u32| u8::try_from(code).ok().filter(|byte| matches!(byte, b' '..=b'~'));
    let fixed = |from: usize, digits: usize| ascii(hex(&rest[from..], digits)?).map(|byte| (byte, from + digits));
    match rest.get(1)? {
        b'x' | b'X' => fixed(2, 2),
        b'u' | b'U' if rest.get(2) == Some(&b'{') => {
            let digits = rest[3..].iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let (byte, end) = fixed(3, digits)?;
            (rest.get(end) == Some(&b'}')).then_some((byte, end + 1))
        }
        b'u' | b'U' => fixed(2, 4),
        _ => {
            let digits = rest[1..].iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            if let Some((byte, end)) = fixed(1, digits).filter(|_| digits > 1) {
                return Some((byte, end + usize::from(rest.get(end) == Some(&b' '))));
            }
            let octal = rest.get(1..4)?.iter().try_fold(0, |code, &byte| Some(code << 3 | (byte as char).to_digit(8)?));
            octal.and_then(ascii).map(|byte| (byte, 4))
        }
    }
}

/// Bytes of a shorter value are not worth decoding as base64.
const MIN_BASE64: usize = 12;

/// Whether the query of `uri`, as logged, may have a value in base64: its shape alone counts, not
/// which digits it has. Base64 of ASCII begins with one of the first 32 signs.
#[inline]
pub fn may_hold_base64(uri: &[u8]) -> bool {
    let Some(query) = memchr::memchr(b'?', uri) else { return false };
    memchr::memchr_iter(b'=', &uri[query..]).any(|at| {
        let value = &uri[query + at + 1..];
        matches!(value.first(), Some(b'A'..=b'Z' | b'a'..=b'f'))
            && value
                .get(..MIN_BASE64)
                .is_some_and(|head| head.iter().all(|&byte| sextet(byte).is_some() || byte == b'%'))
    })
}

/// Appends the text that `value`, a decoded parameter, is in base64 of either alphabet. Appends
/// nothing, and returns `false`, if it is not all printable ASCII.
pub fn base64(value: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let end = value.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let digits = &value[..end];
    if digits.len() < MIN_BASE64 || digits.len() % 4 == 1 {
        return false;
    }
    for group in digits.chunks(4) {
        let bits = group.iter().try_fold(0u32, |bits, &byte| Some(bits << 6 | sextet(byte)?));
        let Some(bits) = bits else { break };
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        let text = &bytes[1..group.len()];
        if !text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')) {
            break;
        }
        out.extend_from_slice(text);
    }
    let is_text = out.len() - start == digits.len() * 3 / 4;
    if !is_text {
        out.truncate(start);
    }
    is_text
}

/// A sign of base64; a `+` may have become a space.
fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' | b' ' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(raw: &str, plus: Plus) -> String {
        let mut out = b"kept".to_vec();
        decode(raw.as_bytes(), plus, &mut out);
        String::from_utf8_lossy(&out[4..]).into_owned()
    }

    fn folded(text: &str) -> String {
        let mut out = Vec::new();
        fold(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn decoding_undoes_what_attackers_do() {
        for (raw, expected) in [
            ("/a%2e%2E/b", "/a../b"),
            ("%252e%252e%252f", "../"),
            ("%25252e", "."),
            ("%2525252e", "%2e"),
            ("..%c0%af..%c0%ae", "../..."),
            ("%u003cscript%u003e%uff1c", "<script><"),
            ("%25u003c", "<"),
            ("\\x22 \\\" \\\\ \\x5Cx22", "\" \" \\ \\x22"),
            (r"\u003cscript\u003E \u0027 \u0025\u0032e \/", "<script> ' . /"),
            (r"\u00e9 \ud83d\ude00 \ud83d \ude00 \ud83dx \u12 \u", "é 😀 \u{fffd} \u{fffd} \u{fffd}x \\u12 \\u"),
            (r"a\tb\nc\rd\be\ff\vg\q", "a\tb\nc\rd\u{8}e\u{c}f\u{b}g\\q"),
            (r"\\u003c \\n", r"\u003c \n"),
            ("100% a%2", "100% a%2"),
            ("", ""),
        ] {
            assert_eq!(decoded(raw, Plus::Literal), expected, "{raw}");
        }
        assert_eq!(decoded("a+b", Plus::Space), "a b");
        assert_eq!(decoded("a+b", Plus::Literal), "a+b");
        assert_eq!(decoded("/a+b?c+d?e+f", Plus::SpaceInQuery), "/a+b?c d?e f");
        assert_eq!(decoded(r"/a\u002bb?c\u002bd\u0026", Plus::SpaceInQuery), "/a+b?c d&");
        assert_eq!(decoded(r"/a+b\u003fc+d", Plus::SpaceInQuery), "/a+b?c d");
        assert!(!is_encoded(b"/plain/path?a=b-c"));
    }

    #[test]
    fn signs_are_found_however_json_writes_them() {
        for (raw, expected) in [
            ("a&b&c", Some(("a", "b&c"))),
            (r"a\u0026b", Some(("a", "b"))),
            (r"\u003d\\u0026\u0026", Some((r"\u003d\\u0026", ""))),
            (r"a\&b", Some((r"a\", "b"))),
            (r"a\\u0026\\&", Some((r"a\\u0026\\", ""))),
            (r"a\u002", None),
            ("\\", None),
            ("", None),
        ] {
            let found = split_once(raw.as_bytes(), b'&');
            assert_eq!(
                found,
                expected.map(|(before, after): (&str, &str)| (before.as_bytes(), after.as_bytes())),
                "{raw}"
            );
        }
    }

    #[test]
    fn folding_joins_what_was_split() {
        for (text, expected) in [
            ("union/**/select", "union select"),
            ("union/*x*/ \t\n select", "union select"),
            ("1/*!50000union*/select", "1 union select"),
            ("a\0b", "ab"),
            ("&lt;img&#x20;src&#61x &LT;", "<img src=x <"),
            ("\\x3cscript\\u003e", "<script>"),
            ("\\u{3c}a\\u{00003e} \\u{} \\u{3c", "<a> \\u{} \\u{3c"),
            ("\\141\\154\\145rt \\999", "alert \\999"),
            ("j\\61 v\\000061script \\3c", "javascript <"),
            ("&amp;lt;a&amp;amp;#x3e; &amp; &AMP;b", "<a> & &b"),
            ("&lsqb;&nbsp;&rsqb;", "[ ]"),
            ("\u{ff1c}\u{ff53}vg\u{ff5e} \u{2032}\u{2033}\u{2bc}", "<svg~ '\"'"),
            ("1\u{ff1d}1 日本\u{2019}", "1=1 日本\u{2019}"),
            ("a & b &c; 5 \\ 6 /* open", "a & b &c; 5 \\ 6 open"),
        ] {
            assert_eq!(folded(text), expected, "{text}");
            assert!(is_foldable(text.as_bytes()), "{text}");
        }
        for text in ["select a from b & c", "c:\\boot.ini", "日本語 l\u{2019}été \u{2026}"] {
            assert!(!is_foldable(text.as_bytes()) || folded(text) == text, "{text}");
        }
        assert!(!is_foldable("日本語 l\u{2019}été \u{2026}".as_bytes()));
    }

    #[test]
    fn base64_of_text_is_text() {
        let text = |value: &str| {
            let mut out = b"kept".to_vec();
            let is_text = base64(value.as_bytes(), &mut out);
            assert_eq!(is_text, out.len() > 4, "{value}");
            is_text.then(|| String::from_utf8_lossy(&out[4..]).into_owned())
        };
        for (value, expected) in [
            ("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", Some("<script>alert(1)</script>")),
            ("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg", Some("<script>alert(1)</script>")),
            ("Pz8/Pj4 Pz8/Pj4-", Some("???>>>???>>>")),
            ("JyBPUiAnYSc9J2En", Some("' OR 'a'='a'")),
            ("PHNjcmlwd", None),
            ("PHNjcmlwdD5hb", None),
            ("Categoryname", None),
            ("PHNjcmlwdD5h!Gx0", None),
            ("////////////////", None),
            ("============", None),
            ("", None),
        ] {
            assert_eq!(text(value).as_deref(), expected, "{value}");
        }
        for (uri, expected) in [
            ("/?q=PHNjcmlwdD5hbGVydCgxKTw", true),
            ("/?a=1&q=PHN%6acmlwdD5hbGVydCgxKTw", true),
            ("/?q=PHNjcmlwdD5h1Gx0", true),
            ("/?q=PHNjcmlwdD5h7Gx0", true),
            ("/q=PHNjcmlwdD5hbGVydCgxKTw", false),
            ("/?q=zHNjcmlwdD5hbGVydCgxKTw", false),
            ("/?q=PHNj.mlwdD5hbGVydCgxKTw", false),
            ("/?q=short", false),
            ("/?q=", false),
        ] {
            assert_eq!(may_hold_base64(uri.as_bytes()), expected, "{uri}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            decode(&raw, Plus::SpaceInQuery, &mut out);
            assert!(out.len() <= raw.len());
            let mut view = Vec::new();
            fold(&out, &mut view);
            assert!(view.len() <= out.len());
            if !is_encoded(&raw) && memchr::memchr2(0xc0, 0xc1, &raw).is_none() { assert_eq!(out, raw); }
            if !is_foldable(&out) { assert_eq!(view, out); }
            view.clear();
            if base64(&out, &mut view) {
                assert!(view.len() <= out.len());
                assert!(may_hold_base64(&[b"/?a=", &out[..]].concat()) || out.contains(&b' '));
            }
        }
    }
}
