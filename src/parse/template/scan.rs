//! Finds the ends of fields, many bytes at once and without a branch for each: how long a field is
//! differs from line to line, so that a loop over its bytes would be mispredicted at its end.

use wide::u8x16;

/// A text of the format.
#[derive(Debug)]
pub struct Literal {
    text: Box<[u8]>,
    /// Its first eight bytes, and which bits of eight bytes they are.
    word: u64,
    mask: u64,
}

impl Literal {
    pub fn new(text: Vec<u8>) -> Literal {
        let (mut word, mut mask) = ([0; 8], [0; 8]);
        for (n, &byte) in text.iter().take(8).enumerate() {
            (word[n], mask[n]) = (byte, u8::MAX);
        }
        Literal { text: text.into(), word: u64::from_le_bytes(word), mask: u64::from_le_bytes(mask) }
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    pub fn first(&self) -> Option<u8> {
        self.text.first().copied()
    }

    /// Whether `line` goes on with it at `at`.
    #[inline]
    pub fn is_at(&self, line: &[u8], at: usize) -> bool {
        let Some(rest) = line.get(at..) else { return false };
        match rest.first_chunk() {
            Some(bytes) if self.text.len() <= 8 => (u64::from_le_bytes(*bytes) ^ self.word) & self.mask == 0,
            _ => self.text.is_empty() || rest.starts_with(&self.text),
        }
    }

    /// What stands before and after it in `text`.
    pub fn split<'a>(&self, text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        memchr::memmem::find(text, &self.text).map(|at| (&text[..at], &text[at + self.len()..]))
    }

    /// Where it begins for the last time between `from` and `end` of `line`. It must not be empty.
    pub fn last_in(&self, line: &[u8], from: usize, mut end: usize) -> Option<usize> {
        let last = *self.text.last()?;
        loop {
            end = from + memchr::memrchr(last, &line[from..end])?;
            let start = (end + 1).checked_sub(self.len())?;
            if start >= from && self.is_at(line, start) {
                return Some(start);
            }
        }
    }
}

/// Where `sign` is next between `from` and `end` of `line`.
#[inline]
pub fn find(line: &[u8], from: usize, end: usize, sign: u8) -> Option<usize> {
    first(line, from, end, |bytes| bytes.simd_eq(u8x16::splat(sign)))
}

/// Where the number ends that begins at `from`: digits, signs and dots.
#[inline]
pub fn number_end(line: &[u8], from: usize, end: usize) -> usize {
    // `-`, `.`, `/` and the digits follow each other.
    let other = |bytes: u8x16| {
        let above = bytes - u8x16::splat(b'-');
        !above.min(u8x16::splat(b'9' - b'-')).simd_eq(above) | bytes.simd_eq(u8x16::splat(b'/'))
    };
    first(line, from, end, other).unwrap_or(end)
}

/// The first byte between `from` and `end` of `line` for which `is` sets all bits.
#[inline]
fn first(line: &[u8], from: usize, end: usize, is: impl Fn(u8x16) -> u8x16) -> Option<usize> {
    let mut at = from;
    while at < end {
        let found = match line[at..].first_chunk() {
            Some(bytes) => is(u8x16::new(*bytes)).to_bitmask(),
            // The last ones, some of them again.
            None => match line.last_chunk() {
                Some(bytes) => is(u8x16::new(*bytes)).to_bitmask() >> (at + 16 - line.len()),
                None => {
                    let mut bytes = [0; 16];
                    bytes[..line.len()].copy_from_slice(line);
                    is(u8x16::new(bytes)).to_bitmask() >> at
                }
            },
        };
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize).filter(|&at| at < end);
        }
        at += 16;
    }
    None
}

/// The signs of a line that no client can write: quotes that no backslash escapes, and tabs.
pub struct Signs<'l> {
    line: &'l [u8],
    /// Whether tabs are looked for too.
    tabs: bool,
    /// Where those are that were found last, how many, and which of them comes next.
    found: [usize; MOST],
    count: usize,
    next: usize,
    /// Those of the last block that are not in `found`, and where it starts.
    rest: u64,
    block: usize,
    /// Where the next block starts, and whether a backslash stands before it.
    from: usize,
    after_backslash: bool,
}

/// As many as most formats have.
const MOST: usize = 20;
/// So many of a block are taken without a branch: more stand in few.
const AT_ONCE: usize = 5;

impl<'l> Signs<'l> {
    #[inline]
    pub fn new(line: &'l [u8], tabs: bool) -> Signs<'l> {
        Signs { line, tabs, found: [0; MOST], count: 0, next: 0, rest: 0, block: 0, from: 0, after_backslash: false }
    }

    /// Where the next `sign` is; others before it are passed over.
    #[inline(always)]
    pub fn next(&mut self, sign: u8) -> Option<usize> {
        loop {
            if self.next == self.count && !self.fill() {
                return None;
            }
            let at = *self.found.get(self.next)?;
            self.next += 1;
            if !self.tabs || self.line.get(at) == Some(&sign) {
                return Some(at);
            }
        }
    }

    /// Finds the next ones. Takes them without a branch: where they are differs from line to line.
    // Once a line; `next`, which is called for each sign, is better short.
    #[inline(never)]
    fn fill(&mut self) -> bool {
        let (mut count, mut block, mut rest) = (0, self.block, self.rest);
        while let Some(slots) = self.found[count..].first_chunk_mut::<AT_ONCE>() {
            if rest == 0 {
                if self.from >= self.line.len() {
                    break;
                }
                (block, rest) = next_block(self.line, &mut self.from, &mut self.after_backslash, self.tabs);
            }
            for slot in slots {
                // The highest bit spares a test for zero.
                *slot = block + (rest | 1 << 63).trailing_zeros() as usize;
                count += usize::from(rest != 0);
                rest &= rest.wrapping_sub(1);
            }
        }
        (self.block, self.rest) = (block, rest);
        (self.count, self.next) = (count, 0);
        count > 0
    }
}

/// Where the next 64 bytes are and the signs among them.
#[inline]
fn next_block(line: &[u8], from: &mut usize, after_backslash: &mut bool, tabs: bool) -> (usize, u64) {
    let mut copy;
    let (block, bytes): (usize, &[u8; 64]) = match line[*from..].first_chunk() {
        Some(bytes) => (*from, bytes),
        None => match line.last_chunk() {
            // The last ones, some of them again.
            Some(bytes) => (line.len() - 64, bytes),
            None => {
                copy = [0; 64];
                copy[..line.len()].copy_from_slice(line);
                (0, &copy)
            }
        },
    };
    let parts: &[[u8; 16]] = bytes.as_chunks().0;
    let are = |sign: u8| {
        let mut are = 0;
        for (n, part) in parts.iter().enumerate() {
            are |= u64::from(u8x16::new(*part).simd_eq(u8x16::splat(sign)).to_bitmask()) << (16 * n);
        }
        are
    };
    let mut signs = are(b'"');
    if tabs {
        signs |= are(b'\t');
    }
    let backslashes = are(b'\\');
    signs &= u64::MAX << (*from - block);
    if backslashes != 0 || *after_backslash {
        signs = bare(line, block, signs);
    }
    (*from, *after_backslash) = (block + 64, backslashes >> 63 != 0);
    (block, signs)
}

/// Those of the `signs` in the block at `block` that are no escaped quotes.
#[cold]
fn bare(line: &[u8], block: usize, signs: u64) -> u64 {
    let mut bare = signs;
    let mut rest = signs;
    while rest != 0 {
        let at = block + rest.trailing_zeros() as usize;
        let escapes = line[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if line[at] == b'"' && escapes % 2 == 1 {
            bare ^= rest & rest.wrapping_neg();
        }
        rest &= rest - 1;
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::access::bare_quote;

    #[test]
    fn literals_are_found_where_they_are() {
        for text in ["", " ", "] ", "[Client ", " [Sent-to ", "0123456789abcdef"] {
            let literal = Literal::new(text.into());
            for (before, after) in [("", ""), ("x", ""), ("", "y"), (text, "another text"), ("x y z", " ")] {
                let line = [before, text, after].concat().into_bytes();
                let at = before.len();
                assert!(literal.is_at(&line, at), "{text:?} in {before:?}…{after:?}");
                if let Some((_, wrong)) = text.as_bytes().split_last() {
                    let line = [before.as_bytes(), wrong, b"!", after.as_bytes()].concat();
                    assert!(!literal.is_at(&line, at), "{text:?} in {before:?}…{after:?}");
                    let cut = [before.as_bytes(), wrong].concat();
                    assert!(!literal.is_at(&cut, at), "{text:?} at the end");
                }
            }
            assert_eq!(literal.is_at(b"x", 1), text.is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn ends_are_found_as_one_byte_after_the_other_would(
            line in "[ \\[/.0-9-]{0,80}",
            bounds in (0usize..80, 0usize..80),
            literal in "[ \\[]{1,3}",
        ) {
            let line = line.as_bytes();
            let (from, end) = (bounds.0.min(line.len()), bounds.1.min(line.len()));
            let (from, end) = (from.min(end), from.max(end));
            let text = &line[from..end];
            let first = |is: &dyn Fn(u8) -> bool| text.iter().position(|&byte| is(byte)).map(|at| from + at);
            assert_eq!(find(line, from, end, b'['), first(&|byte| byte == b'['));
            let number = |byte: u8| byte.is_ascii_digit() || byte == b'-' || byte == b'.';
            assert_eq!(number_end(line, from, end), first(&|byte| !number(byte)).unwrap_or(end));
            let last = memchr::memmem::rfind(text, literal.as_bytes()).map(|at| from + at);
            assert_eq!(Literal::new(literal.into_bytes()).last_in(line, from, end), last);
        }

        #[test]
        fn signs_are_found_as_one_after_the_other_would(
            line in "([\"\t\\\\x]|\\\\\"|\"{1,9}|.{1,40}){0,80}",
            order in proptest::collection::vec(proptest::prelude::any::<bool>(), 1..8),
        ) {
            let line = line.as_bytes();
            for tabs in [false, true] {
                let mut signs = Signs::new(line, tabs);
                let mut from = 0;
                for tab in order.iter().cycle() {
                    let sign = if tabs && *tab { b'\t' } else { b'"' };
                    let rest = &line[from..];
                    let at = if sign == b'"' { bare_quote(rest) } else { memchr::memchr(sign, rest) };
                    assert_eq!(signs.next(sign), at.map(|at| from + at));
                    let Some(at) = at else { break };
                    from += at + 1;
                }
            }
        }
    }
}
