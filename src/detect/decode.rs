//! The views of logged text that rules look at.
//!
//! *decoded*: what the server was sent — the log's own escapes undone, percent-encoding undone up
//! to [`MAX_PASSES`] times, `%uXXXX`, overlong UTF-8, and `+` in a query.
//! *folded*: what an interpreter behind the server would make of it — decoded, with SQL comments
//! and runs of white space as one space, NULs dropped, HTML character references and the escapes of
//! JavaScript (`\xHH`, `\uHHHH`, `\u{H}`, octal) and of styles (`\HH`) resolved, and signs that are
//! taken for an ASCII one as that one.
//! *normalized*: folded, and of a path where it leads, as servers resolve it: see [`normalize`](super::normalize).
//!
//! A parameter's value that is base64 of text is looked at both as it is and as that text, in both
//! views: see [`base64`](super::base64).

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
    while let Some(&byte) = raw.get(at) {
        if !is_special(byte) {
            at += copy_run(&raw[at..], out);
            continue;
        }
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

/// Whether the first pass has to look at a byte.
#[inline]
fn is_special(byte: u8) -> bool {
    matches!(byte, b'\\' | b'%' | b'+' | b'?')
}

/// Appends what `raw` begins with, up to a byte that [is special](is_special); returns how
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
    out.extend(rest.iter().take_while(|byte| !is_special(**byte)));
    out.len() - start
}

/// One more layer of percent-encoding, in place. Returns whether a `%` is left.
fn percent_pass(out: &mut Vec<u8>, start: usize) -> bool {
    let (mut read, mut write, mut more) = (start, start, false);
    let mut wide = Vec::new();
    while let Some(run) = memchr::memchr(b'%', &out[read..]) {
        out.copy_within(read..read + run, write);
        (read, write) = (read + run, write + run);
        let (decoded, used) = percent(&out[read + 1..], &mut wide);
        read += 1 + used;
        for byte in decoded.into_iter().chain(wide.drain(..)) {
            more |= byte == b'%';
            out[write] = byte;
            write += 1;
        }
    }
    out.copy_within(read.., write);
    out.truncate(out.len() - (read - write));
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
    text.get(..digits)?.iter().try_fold(0, |value, &byte| match HEX[usize::from(byte)] {
        NO_HEX => None,
        digit => Some(value << 4 | u32::from(digit)),
    })
}

/// What each byte is as a hexadecimal digit.
const HEX: [u8; 256] = {
    let (mut digits, mut byte) = ([NO_HEX; 256], 0);
    while byte < 256 {
        if let Some(digit) = (byte as u8 as char).to_digit(16) {
            digits[byte] = digit as u8;
        }
        byte += 1;
    }
    digits
};
const NO_HEX: u8 = 0xff;

/// Two-byte forms of ASCII characters, which decoders of old accepted: `%c0%af` for `/`, and those that some
/// make of signs that they do not check (`%c0%2f`, `%c1%1c`) or of their code page (`%c1%af`).
fn overlong(out: &mut Vec<u8>, start: usize) {
    let Some(first) = memchr::memchr2(0xc0, 0xc1, &out[start..]) else { return };
    let (mut read, mut write) = (start + first, start + first);
    while read < out.len() {
        let lead = out[read];
        let short = match (lead, out.get(read + 1).copied()) {
            (0xc0, Some(sign @ (b'.' | b'/' | b'\\'))) => Some(sign),
            (0xc1, Some(0xaf)) => Some(b'/'),
            (0xc1, Some(0x1c)) => Some(b'\\'),
            (0xc0 | 0xc1, Some(next)) if next & 0x80 != 0 => Some((lead & 1) << 6 | next & 0x3f),
            _ => None,
        };
        out[write] = short.unwrap_or(lead);
        read += 1 + usize::from(short.is_some());
        write += 1;
    }
    out.truncate(write);
}

/// The ASCII character of a form of three to six bytes, and its length. These are in no text: rules see them in
/// the decoded view as they are.
fn overlong_form(rest: &[u8]) -> Option<(u8, usize)> {
    let len = match rest.first()? {
        0xe0 => 3,
        0xf0 => 4,
        0xf8 => 5,
        0xfc => 6,
        _ => return None,
    };
    match rest.get(1..len)? {
        [zeros @ .., high @ (0x80 | 0x81), low @ 0x80..=0xbf] if zeros.iter().all(|byte| *byte == 0x80) => {
            Some(((high & 1) << 6 | low & 0x3f, len))
        }
        _ => None,
    }
}

/// Whether [`fold`] can change anything. An `&` counts where a character reference may follow.
#[inline]
pub fn is_foldable(decoded: &[u8]) -> bool {
    let is_suspect = |[bytes, ..]: [u8x16; 3]| {
        let is = |sign: u8| bytes.simd_eq(u8x16::splat(sign));
        let signs = is(b' ') | is(b'*') | is(b'\\') | is(b'#') | is(b';');
        let leads = is(0xca) | is(0xe0) | is(0xe2) | is(0xef) | is(0xf0) | is(0xf8) | is(0xfc);
        is(0) | within(bytes, b'\t', b'\r') | signs | leads
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
        let run = rest.iter().take_while(|byte| STAYS[usize::from(**byte)]).count();
        if run > 0 {
            out.extend_from_slice(&rest[..run]);
            at += run;
            continue;
        }
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

/// Bytes that [`fold`] leaves as they are, whatever is around them.
const STAYS: [bool; 256] = {
    let (mut stays, mut byte) = ([true; 256], 0);
    while byte < 256 {
        stays[byte] = !matches!(byte as u8, 0 | b'\t'..=b'\r' | b' ' | b'/' | b'*' | b'&' | b'\\' | 0xca..);
        byte += 1;
    }
    stays
};

/// The ASCII character that databases and servers take a Unicode one for, where the character set
/// that they speak has no other (best fit): of full-width forms, of primes and of overlong forms.
fn lookalike(rest: &[u8]) -> Option<(u8, usize)> {
    match *rest {
        [0xef, 0xbc, low @ 0x81..=0xbf, ..] => Some((low - 0x60, 3)),
        [0xef, 0xbd, low @ 0x80..=0x9e, ..] => Some((low - 0x20, 3)),
        [0xe2, 0x80, 0xb2, ..] => Some((b'\'', 3)),
        [0xe2, 0x80, 0xb3, ..] => Some((b'"', 3)),
        [0xca, 0xb9 | 0xbc, ..] => Some((b'\'', 2)),
        [0xca, 0xba, ..] => Some((b'"', 2)),
        _ => overlong_form(rest),
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
        // Any number of zeros may come first.
        let from = from + rest[from..].iter().take_while(|byte| **byte == b'0').count();
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
    memchr::memchr(b';', &rest[..rest.len().min(1 + LONGEST_NAME)])?;
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

#[cfg(test)]
mod tests;
