//! The members of a JSON object, for formats that look for a few of them.

use super::context::Context;

/// The members of the object that a text is, one level deep, until its end or nonsense.
pub struct Members<'a> {
    rest: &'a [u8],
}

/// A member's value. Strings are without their quotes and keep their escapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`.
    Plain(&'a [u8]),
    /// An object or array, with its brackets.
    Nested(&'a [u8]),
}

impl<'a> Members<'a> {
    /// Those of `text`; none if it is no object.
    pub fn of(text: &'a [u8]) -> Members<'a> {
        Members { rest: text.trim_ascii_start().strip_prefix(b"{").unwrap_or_default() }
    }

    /// Whether the object was read to its end and nothing follows it.
    pub fn ended(&self) -> bool {
        self.rest.trim_ascii() == b"}"
    }

    fn member(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let rest = self.rest.trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        let (key, rest) = string(rest)?;
        let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, rest) = match rest.first()? {
            b'"' => string(rest).map(|(text, rest)| (Value::Text(text), rest))?,
            b'{' | b'[' => {
                let (nested, rest) = rest.split_at(nested_len(rest)?);
                (Value::Nested(nested), rest)
            }
            _ => {
                let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
                let (plain, rest) = rest.split_at(rest.iter().take_while(|byte| is_plain(byte)).count());
                (Value::Plain((!plain.is_empty()).then_some(plain)?), rest)
            }
        };
        self.rest = rest;
        Some((key, value))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        self.member()
    }
}

/// The string that `text` begins with, and what follows it.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let end = super::access::bare_quote(text)?;
    Some((&text[..end], &text[end + 1..]))
}

/// The length of the object or array that `text` begins with.
fn nested_len(text: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0, 0usize);
    loop {
        match text.get(at)? {
            b'"' => at += super::access::bare_quote(&text[at + 1..])? + 1,
            b'{' | b'[' => open += 1,
            b'}' | b']' => open -= 1,
            _ => {}
        }
        at += 1;
        if open == 0 {
            return Some(at);
        }
    }
}

/// A string with its escapes undone. What is no escape stays as it is; halves of surrogate pairs
/// become U+FFFD.
pub fn unescaped<'a>(text: &'a [u8], context: &Context<'a>) -> &'a [u8] {
    if memchr::memchr(b'\\', text).is_none() {
        return text;
    }
    let out = context.arena.alloc_slice_copy(text);
    let (mut from, mut to) = (0, 0);
    while let Some(&byte) = text.get(from) {
        let (bytes, len): ([u8; 4], usize) = match (byte, text.get(from + 1)) {
            (b'\\', Some(&escape)) => {
                from += 2;
                match escape {
                    b'n' => ([b'\n', 0, 0, 0], 1),
                    b't' => ([b'\t', 0, 0, 0], 1),
                    b'r' => ([b'\r', 0, 0, 0], 1),
                    b'b' => ([8, 0, 0, 0], 1),
                    b'f' => ([12, 0, 0, 0], 1),
                    b'"' | b'\\' | b'/' => ([escape, 0, 0, 0], 1),
                    b'u' if let Some((c, len)) = unicode(&text[from..]) => {
                        from += len;
                        let mut bytes = [0; 4];
                        let len = c.encode_utf8(&mut bytes).len();
                        (bytes, len)
                    }
                    _ => ([b'\\', escape, 0, 0], 2),
                }
            }
            _ => {
                from += 1;
                ([byte, 0, 0, 0], 1)
            }
        };
        // No escape is shorter than what it stands for.
        out[to..to + len].copy_from_slice(&bytes[..len]);
        to += len;
    }
    &out[..to]
}

/// The character that the four digits after `\u` spell, with a low surrogate's escape after a
/// high one's; and how many bytes they are.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let four = |text: &[u8]| {
        let digits = text.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let first = four(text)?;
    if (0xD800..0xDC00).contains(&first)
        && let Some(second) = text[4..].strip_prefix(b"\\u").and_then(four)
        && (0xDC00..0xE000).contains(&second)
    {
        return char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).map(|c| (c, 10));
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4))
}
