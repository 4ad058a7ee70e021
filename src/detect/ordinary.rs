//! What ordinary requests are made of: the measure of what is telling in a literal.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::FixedState;
use wide::u8x16;

use super::decode::{Plus, decode};
use super::lanes::{LANES, places, within};

/// Ordinary requests, one a line, some with a tab and a user agent: what rules must not match, and
/// what literals are rare in.
pub const ORDINARY: &str = include_str!("ordinary.txt");

/// A byte as prefilters see it: letters in either case are the same, and so are all digits, which
/// make the difference between most requests that are otherwise alike.
#[inline]
pub const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_digit() { b'0' } else { byte.to_ascii_lowercase() }
}

/// Appends `text`, [folded](fold), to `out`.
#[inline]
pub fn fold_into(text: &[u8], out: &mut Vec<u8>) {
    let fold = |bytes: [u8; LANES]| {
        let bytes = u8x16::new(bytes);
        let upper = within(bytes, b'A', b'Z') & u8x16::splat(0x20);
        let digits = within(bytes, b'0', b'9') & u8x16::splat(0x0f);
        ((bytes | upper) & !digits).to_array()
    };
    let (chunks, rest) = text.as_chunks();
    out.reserve(text.len() + LANES);
    for chunk in chunks {
        out.extend_from_slice(&fold(*chunk));
    }
    let mut last = [0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    out.extend_from_slice(&fold(last)[..rest.len()]);
}

/// The chance to see the [folded](fold) `text` at some place of ordinary text, roughly.
pub fn chance(text: &[u8]) -> f32 {
    text.iter().map(|&byte| CHANCES[usize::from(byte)]).product()
}

/// The chance of a byte that ordinary URIs seldom have.
pub const RARE: f32 = 1.0 / 256.0;

/// The chance of each byte at some place of a URI, roughly.
pub const CHANCES: [f32; 256] = {
    let mut chances = [RARE; 256];
    let mut byte = 0;
    while byte < 256 {
        chances[byte] = match byte as u8 {
            b'a'..=b'z' => 0.18,
            b'0' => 0.25,
            b'/' | b'.' | b'-' | b'_' | b'=' | b'&' | b'?' | b'%' | b'+' | b':' => 0.06,
            b' ' => 0.03,
            _ => RARE,
        };
        byte += 1;
    }
    chances
};

/// How often ordinary requests have these two to four [folded](fold) bytes; of those that they never have, how
/// likely that is.
pub fn commonness(bytes: &[u8]) -> f32 {
    COMMON.get(&key(bytes)).map_or_else(|| chance(bytes), |&times| times as f32)
}

/// Up to four bytes and how many they are.
fn key(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |key, &byte| key << 8 | u64::from(byte))
}

static COMMON: LazyLock<HashMap<u64, u32, FixedState>> = LazyLock::new(|| {
    let mut common = HashMap::with_hasher(FixedState::with_seed(0));
    let mut decoded = vec![];
    for line in ORDINARY.lines().filter(|line| !line.starts_with('#')) {
        decoded.clear();
        decode(line.as_bytes(), Plus::SpaceInQuery, &mut decoded);
        decoded.iter_mut().for_each(|byte| *byte = fold(*byte));
        for bytes in (2..=4).flat_map(|len| decoded.windows(len)) {
            *common.entry(key(bytes)).or_default() += 1;
        }
    }
    common
});

/// Whether the text has an [odd place](odd_places).
#[inline]
pub fn is_odd(text: &[u8]) -> bool {
    odd_places(text, |_| {})
}

/// Calls `each` with the odd places of a text: where a byte is that ordinary URLs, decoded, seldom
/// have, where the same sign begins twice in a row, or before two slashes that follow no colon.
/// What is odd in a text is odd in all that contains it. Returns whether there is any.
#[inline]
pub fn odd_places(text: &[u8], each: impl FnMut(usize)) -> bool {
    places(text, is_odd_at, each)
}

#[inline]
fn is_odd_at([byte, next, third]: [u8x16; 3]) -> u8x16 {
    let is = |sign: u8| byte.simd_eq(u8x16::splat(sign));
    let letter = within(byte | u8x16::splat(0x20), b'a', b'z');
    let digit_or_sign = within(byte, b'-', b':');
    let other_sign = is(b'_') | is(b'=') | is(b'&') | is(b'?');
    let sign_twice = byte.simd_eq(next) & (is(b'-') | is(b'.') | other_sign);
    // Whether two slashes at the start are odd depends on what is before: they are not.
    let slash = u8x16::splat(b'/');
    let slashes = !is(b':') & next.simd_eq(slash) & third.simd_eq(slash);
    !(letter | digit_or_sign | other_sign) | sign_twice | slashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_many_bytes_is_folding_each() {
        let text: Vec<u8> = (0..=255).chain(b'0'..b'Z').collect();
        let mut folded = vec![];
        fold_into(&text, &mut folded);
        assert_eq!(folded, text.iter().map(|&byte| fold(byte)).collect::<Vec<u8>>());
        assert_eq!((fold(b'7'), fold(b'Q'), fold(b'@'), fold(0xff)), (b'0', b'q', b'@', 0xff));
    }

    #[test]
    fn what_is_odd() {
        let odd = |text: &str| {
            let mut places = vec![];
            let any = odd_places(text.as_bytes(), |at| places.push(at));
            assert_eq!(any, !places.is_empty());
            places
        };
        for (text, places) in [
            ("a b", vec![1]),
            ("x'", vec![1]),
            ("\0(", vec![0, 1]),
            ("/é", vec![1, 2]),
            ("..a", vec![0]),
            ("///", vec![0]),
            ("a//", vec![0]),
            ("", vec![]),
            ("//", vec![]),
            ("/./a/b-c_d.html?e=f&G=1", vec![]),
            ("https://a.b:80/c", vec![]),
        ] {
            assert_eq!(odd(text), places, "{text}");
        }
        for len in 0..80 {
            assert_eq!(odd(&format!("{}'--", "a".repeat(len))), [len, len + 1], "{len}");
        }
    }
}
