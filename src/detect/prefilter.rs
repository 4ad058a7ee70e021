//! Looks for the literals of many rules at once, in one pass over a text.
//!
//! A literal is known by four of its bytes, those that ordinary requests have least. A text is
//! hashed four bytes at a time, each place independent of the one before, and a bitmap that fits
//! the first cache tells almost everywhere that nothing of that hash is wanted. An automaton over
//! thousands of literals asks memory, and waits for the answer, at every byte.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::FixedState;

use super::ORDINARY;
use super::decode::{Plus, decode};
use super::literals::chance;
use super::rules::{Rule, Target};

/// Looks for all literals of the rules that look at some targets.
pub struct Prefilter {
    /// Literals of at least five bytes: wherever one begins, it covers four bytes at an even
    /// place, so that every second place is enough.
    long: Sieve<4, 2, 2048>,
    /// Those of four bytes, which cover three.
    short: Sieve<3, 2, 512>,
    /// [Odd](is_odd) ones of at least three bytes. Most texts are not odd and can have none.
    odd: Sieve<3, 1, 512>,
    /// Odd ones of two bytes.
    pairs: Sieve<2, 1, 256>,
}

impl Prefilter {
    /// Over the literals of those `rules` that look at one of `targets`.
    pub fn new(rules: &[Rule], targets: &[Target]) -> Prefilter {
        let (mut long, mut short, mut odd, mut pairs) = (vec![], vec![], vec![], vec![]);
        for (index, rule) in rules.iter().enumerate() {
            if !rule.spec.target.iter().any(|target| targets.contains(target)) {
                continue;
            }
            for literal in &rule.literals {
                let of_kind = match literal.len() {
                    ..=2 => &mut pairs,
                    _ if is_odd(literal) => &mut odd,
                    4 => &mut short,
                    _ => &mut long,
                };
                of_kind.push((literal.as_slice(), index as u16));
            }
        }
        Prefilter {
            long: Sieve::over(&long),
            short: Sieve::over(&short),
            odd: Sieve::over(&odd),
            pairs: Sieve::over(&pairs),
        }
    }

    /// Appends the rules, one of whose literals is in `text`, possibly several times.
    #[inline]
    pub fn mark(&self, text: &[u8], candidates: &mut Vec<u16>) {
        each_four::<2>(text, |at, four| {
            self.long.try_at(text, at, four, candidates);
            self.short.try_at(text, at, four, candidates);
        });
        if is_odd(text) {
            each_four::<1>(text, |at, four| {
                self.odd.try_at(text, at, four, candidates);
                self.pairs.try_at(text, at, four, candidates);
            });
        }
    }
}

/// Calls `each` with the four bytes at every `STEP`th place; at the end with fewer.
#[inline]
fn each_four<const STEP: usize>(text: &[u8], mut each: impl FnMut(usize, u32)) {
    let mut at = 0;
    while let Some(four) = text.get(at..).and_then(<[u8]>::first_chunk) {
        each(at, u32::from_le_bytes(*four));
        at += STEP;
    }
    while at < text.len() {
        each(at, number(&text[at..]));
        at += STEP;
    }
}

/// Whether the text has a byte that ordinary URLs, decoded, seldom have, or the same sign twice in
/// a row other than in `://`. Whatever contains an odd text is odd.
#[inline]
pub fn is_odd(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(chunk) = rest.first_chunk() {
        if is_odd_chunk(chunk) {
            return true;
        }
        rest = &rest[LANES..];
    }
    let mut padded = [b'a'; LANES + 2];
    padded[..rest.len()].copy_from_slice(rest);
    is_odd_chunk(&padded)
}

/// Places that are looked at together.
const LANES: usize = 16;

/// [`is_odd`] for the first [`LANES`] bytes, and what begins at them. No branches: one instruction
/// does it for all places.
#[inline]
fn is_odd_chunk(text: &[u8; LANES + 2]) -> bool {
    let mut any = false;
    for at in 0..LANES {
        let (byte, next, third) = (text[at], text[at + 1], text[at + 2]);
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let digit_or_sign = byte.wrapping_sub(b'-') <= b':' - b'-';
        let other_sign = (byte == b'_') | (byte == b'=') | (byte == b'&') | (byte == b'?');
        let sign_twice = (byte == next) & ((byte == b'-') | (byte == b'.') | other_sign);
        // Whether two slashes at the start are odd depends on what is before: they are not.
        let slashes = (byte != b':') & (next == b'/') & (third == b'/');
        any |= !(letter | digit_or_sign | other_sign) | sign_twice | slashes;
    }
    any
}

/// Literals by `N` adjacent bytes of theirs, looked for at every `STEP`th place.
struct Sieve<const N: usize, const STEP: usize, const WORDS: usize> {
    /// A bit for each hash of such bytes.
    wanted: Box<[u64; WORDS]>,
    /// The bits before each word: the n-th bit is of the n-th bucket.
    before: Box<[u32; WORDS]>,
    /// Where each bucket's literals begin.
    buckets: Vec<u32>,
    literals: Vec<Literal>,
}

struct Literal {
    /// Its `N` bytes, as [`gram`] has them, and where in it they are.
    gram: u32,
    at: usize,
    /// Lower-case.
    text: Vec<u8>,
    rule: u16,
}

impl<const N: usize, const STEP: usize, const WORDS: usize> Sieve<N, STEP, WORDS> {
    /// Over literals of at least `N + STEP - 1` bytes, each with a rule that needs it.
    fn over(all: &[(&[u8], u16)]) -> Self {
        let mut placed = Vec::with_capacity(all.len() * STEP);
        for &(text, rule) in all {
            for first in 0..STEP {
                let grams = text.windows(N).enumerate().skip(first).step_by(STEP);
                let rarest = grams.min_by(|(_, one), (_, other)| commonness(one).total_cmp(&commonness(other)));
                placed.extend(rarest.map(|(at, bytes)| {
                    let gram = gram::<N>(number(bytes));
                    (place::<WORDS>(gram), Literal { gram, at, text: text.to_vec(), rule })
                }));
            }
        }
        placed.sort_by_key(|(place, _)| *place);
        let mut new = Sieve {
            wanted: Box::new([0; WORDS]),
            before: Box::new([0; WORDS]),
            buckets: vec![],
            literals: Vec::with_capacity(placed.len()),
        };
        for ((word, bit), literal) in placed {
            if new.wanted[word] & 1 << bit == 0 {
                new.wanted[word] |= 1 << bit;
                new.buckets.push(new.literals.len() as u32);
            }
            new.literals.push(literal);
        }
        new.buckets.push(new.literals.len() as u32);
        for word in 1..WORDS {
            new.before[word] = new.before[word - 1] + new.wanted[word - 1].count_ones();
        }
        new
    }

    /// Looks for the literals whose bytes are those at `at`, of which `four` are the first.
    #[inline]
    fn try_at(&self, text: &[u8], at: usize, four: u32, candidates: &mut Vec<u16>) {
        let gram = gram::<N>(four);
        let (word, bit) = place::<WORDS>(gram);
        if self.wanted[word] >> bit & 1 != 0 {
            self.compare(text, at, gram, candidates);
        }
    }

    /// Appends the rules of the literals that are in `text` with `gram` at `at`.
    #[inline(never)]
    fn compare(&self, text: &[u8], at: usize, gram: u32, candidates: &mut Vec<u16>) {
        let (word, bit) = place::<WORDS>(gram);
        let in_word = self.wanted[word] & ((1 << bit) - 1);
        let bucket = (self.before[word] + in_word.count_ones()) as usize;
        for literal in &self.literals[self.buckets[bucket] as usize..self.buckets[bucket + 1] as usize] {
            if literal.gram != gram {
                continue;
            }
            let here = at.checked_sub(literal.at).and_then(|from| text.get(from..from + literal.text.len()));
            if here.is_some_and(|here| here.eq_ignore_ascii_case(&literal.text)) {
                candidates.push(literal.rule);
            }
        }
    }
}

/// Up to four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// The first `N` bytes of a number, letters in either case the same (and some signs, which does
/// no harm).
#[inline]
fn gram<const N: usize>(bytes: u32) -> u32 {
    (bytes | 0x2020_2020) & u32::MAX >> (32 - 8 * N)
}

/// The word, of so many, and the bit of a gram, by a multiplicative hash.
#[inline]
fn place<const WORDS: usize>(gram: u32) -> (usize, u32) {
    let hash = gram.wrapping_mul(0x9e37_79b1);
    (hash as usize >> (32 - WORDS.ilog2()), hash >> (26 - WORDS.ilog2()) & 63)
}

/// How often ordinary requests have these bytes; of those that they never have, how likely that is.
fn commonness(bytes: &[u8]) -> f32 {
    let chance = chance(bytes);
    if bytes.len() < 3 {
        return chance;
    }
    COMMON.get(bytes).map_or(chance, |&times| times as f32)
}

static COMMON: LazyLock<HashMap<Vec<u8>, u32, FixedState>> = LazyLock::new(|| {
    let mut common = HashMap::with_hasher(FixedState::with_seed(0));
    let mut decoded = vec![];
    for line in ORDINARY.lines().filter(|line| !line.starts_with('#')) {
        decoded.clear();
        decode(line.as_bytes(), Plus::SpaceInQuery, &mut decoded);
        decoded.make_ascii_lowercase();
        for bytes in decoded.windows(3).chain(decoded.windows(4)) {
            *common.entry(bytes.to_vec()).or_default() += 1;
        }
    }
    common
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::rules::{Trust, load};

    #[test]
    fn a_literal_is_found_wherever_it_begins_in_any_case() {
        for literal in ["/etc/passwd", "union", "self", "..x", "c//", "or 1=", "${"] {
            let text = format!(
                "[[rule]]\nid = 'x'\ncategory = 'other'\ndescription = 'd'\nreference = 'r'\ntarget = ['args']\nscore = 5\npattern = '{}'\nattack = ['/']\nbenign = ['/']",
                regex_syntax::escape(literal)
            );
            let rules = load("x.toml", &text, Trust::Foreign).unwrap().rules;
            let prefilter = Prefilter::new(&rules, &[Target::Args]);
            let found = |text: &str| {
                let mut found = vec![];
                prefilter.mark(text.as_bytes(), &mut found);
                !found.is_empty()
            };
            for before in 0..9 {
                for after in 0..5 {
                    let (before, after) = ("b".repeat(before), "a".repeat(after));
                    let text = format!("{before}{}{after}", literal.to_uppercase());
                    assert!(found(&text), "{text}");
                    let without_end = &literal[..literal.len() - 1];
                    assert!(!found(&format!("{before}{without_end}{after}")), "{text}");
                }
            }
        }
    }

    #[test]
    fn any_number_of_literals_is_told_apart() {
        // More than a bucket number of 16 bits could tell.
        let letters = |n: u32| {
            let hash = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (0..8).map(|at| char::from(b'a' + (hash >> (8 * at) & 255) as u8 % 26)).collect()
        };
        let texts: Vec<String> = (0..100_000).map(letters).collect();
        let numbers = (0..=u16::MAX).cycle();
        let all: Vec<(&[u8], u16)> = texts.iter().map(String::as_bytes).zip(numbers).collect();
        let sieve: Sieve<4, 2, 2048> = Sieve::over(&all);
        assert!(sieve.buckets.len() > 70_000);
        for (text, rule) in all.iter().step_by(997) {
            let mut found = vec![];
            each_four::<2>(text, |at, four| sieve.try_at(text, at, four, &mut found));
            assert!(found.contains(rule), "{text:?}");
            assert!(found.len() < 5, "{found:?}");
        }
    }

    #[test]
    fn what_is_odd() {
        for text in ["a b", "x'", "\0", "(", "~", "/é", "..", "///", "a//"] {
            assert!(is_odd(text.as_bytes()), "{text}");
        }
        for text in ["", "/", "//", "/./a/b-c_d.html?e=f&G=1", "https://a.b:80/c"] {
            assert!(!is_odd(text.as_bytes()), "{text}");
        }
    }
}
