//! Looks for the literals of many rules at once, in one pass over a text.
//!
//! A literal is known by four of its bytes: see [`gram`](super::gram). A text is
//! hashed four bytes at a time, each place independent of the one before, and two bits of a bitmap that
//! fits the first cache tell almost everywhere that nothing of that hash is wanted. An automaton over
//! thousands of literals asks memory, and waits for the answer, at every byte.

use super::gram::{FORMS, odd_grams};
use super::injection;
use super::lanes::LANES;
use super::ordinary::{fold_into, odd_places};
use super::rules::{Rule, Target};

/// Looks for all literals of the rules that look at some targets.
pub struct Prefilter {
    /// Those by four bytes at any place.
    any: Sieve<2048>,
    /// [Odd](is_odd) ones by two or three bytes at one of their odd places: most texts have few.
    odd: Sieve<1024>,
    /// Bytes that are at such a place of any of them.
    odd_bytes: [bool; 256],
}

/// What was found in texts.
pub struct Marks {
    /// Rules, one of whose literals was in them, possibly several times.
    pub rules: Vec<u16>,
    /// Reused memory: the text, folded, between bytes that are [beyond](BEYOND) it.
    folded: Vec<u8>,
}

impl Default for Marks {
    /// With memory for all texts but long ones.
    fn default() -> Marks {
        Marks { rules: Vec::with_capacity(256), folded: Vec::with_capacity(4096) }
    }
}

impl Prefilter {
    /// Over the literals of those `rules` that look at one of `targets`.
    pub fn new(rules: &[Rule], targets: &[Target]) -> Prefilter {
        let (mut any, mut odd, mut odd_bytes) = (vec![], vec![], [false; 256]);
        for (index, rule) in rules.iter().enumerate() {
            if !rule.spec.target.iter().any(|target| targets.contains(target)) {
                continue;
            }
            for (text, gram) in &*rule.literals {
                let sieve = if gram.is_odd { &mut odd } else { &mut any };
                if let Some(place) = gram.odd_place() {
                    odd_bytes[usize::from(text[place])] = true;
                }
                sieve.push(Literal::new(text, index as u16, gram.at, gram.bytes));
            }
        }
        Prefilter { any: Sieve::over(any), odd: Sieve::over(odd), odd_bytes }
    }

    /// Adds the rules, one of whose literals is in `text`, of this `oddness`, to `marks`.
    pub fn mark(&self, text: &[u8], oddness: Oddness, marks: &mut Marks) {
        let Marks { rules, folded } = marks;
        folded.clear();
        folded.push(BEYOND);
        fold_into(text, folded);
        let end = folded.len();
        folded.extend_from_slice(&[BEYOND; 2 * LANES]);
        let mut at = 1;
        while at < end {
            let eight = u64::from_le_bytes(*folded[at..].first_chunk().unwrap_or(&[0; 8]));
            for more in 0..4 {
                self.any.mark(folded, at + more, (eight >> (8 * more)) as u32, rules);
            }
            at += 4;
        }
        if oddness == Oddness::None {
            return;
        }
        odd_places(&folded[1..end], |before| {
            if !self.odd_bytes[usize::from(folded[before + 1])] {
                return;
            }
            let grams = odd_grams(*folded[before..].first_chunk().unwrap_or(&[0; 4]));
            for (gram, (less, _)) in grams.into_iter().zip(FORMS) {
                self.odd.mark(folded, before + 1 - less, gram, rules);
            }
        });
    }
}

/// What is at the odd places of a text, if it has any.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddness {
    None,
    /// Nothing that a grammar looks for.
    Words,
    /// [Signs](injection::is_sign) of a grammar.
    Signs,
}

impl Oddness {
    #[inline]
    pub fn of(text: &[u8]) -> Oddness {
        let mut oddness = Oddness::None;
        odd_places(text, |at| {
            oddness = oddness.max(if injection::is_sign(text[at]) { Oddness::Signs } else { Oddness::Words });
        });
        oddness
    }
}

/// What surrounds a text: no folded one has it, so that no literal goes on there.
const BEYOND: u8 = b'A';

/// Literals by a few of their bytes, their gram.
struct Sieve<const WORDS: usize> {
    /// Two bits for each hash of a gram.
    wanted: Box<[u64; WORDS]>,
    /// Where the literals begin whose first bit is in each byte of `wanted`.
    starts: Vec<u32>,
    literals: Vec<Literal>,
}

#[derive(Clone, Copy)]
struct Literal {
    gram: u32,
    rule: u16,
    /// Where the gram is in it.
    at: u8,
    /// What sixteen bytes have beyond it, in bits.
    beyond: u8,
    bytes: [u8; LANES],
}

impl Literal {
    fn new(text: &[u8], rule: u16, at: usize, gram: u32) -> Literal {
        let mut bytes = [0; LANES];
        bytes[..text.len()].copy_from_slice(text);
        Literal { gram, rule, at: at as u8, beyond: 8 * (LANES - text.len()) as u8, bytes }
    }

    /// Whether `text` begins with it.
    #[inline]
    fn begins(&self, text: &[u8; LANES]) -> bool {
        (u128::from_le_bytes(*text) ^ u128::from_le_bytes(self.bytes)) << self.beyond == 0
    }
}

impl<const WORDS: usize> Sieve<WORDS> {
    fn over(unsorted: Vec<Literal>) -> Self {
        let mut wanted = Box::new([0u64; WORDS]);
        // Sorted by counting: to compare them took a fifth of the time to load the rules.
        let mut starts = vec![0; 8 * WORDS + 1];
        for literal in &unsorted {
            let (word, bits) = place::<WORDS>(literal.gram);
            wanted[word] |= 1 << bits[0] | 1 << bits[1];
            starts[byte_of::<WORDS>(literal.gram) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let (mut next, mut literals) = (starts.clone(), unsorted.clone());
        for literal in unsorted {
            let at = &mut next[byte_of::<WORDS>(literal.gram)];
            literals[*at as usize] = literal;
            *at += 1;
        }
        Sieve { wanted, starts, literals }
    }

    /// Appends the rules of the literals that are in `text` with `gram` at `at`. [`LANES`] bytes must
    /// follow the place where any may begin.
    #[inline]
    fn mark(&self, text: &[u8], at: usize, gram: u32, rules: &mut Vec<u16>) {
        let (word, bits) = place::<WORDS>(gram);
        if self.wanted[word] >> bits[0] & self.wanted[word] >> bits[1] & 1 != 0 {
            self.compare(text, at, gram, rules);
        }
    }

    #[inline(never)]
    fn compare(&self, text: &[u8], at: usize, gram: u32, rules: &mut Vec<u16>) {
        let byte = byte_of::<WORDS>(gram);
        for literal in &self.literals[self.starts[byte] as usize..self.starts[byte + 1] as usize] {
            if literal.gram != gram {
                continue;
            }
            let from = at.checked_sub(usize::from(literal.at));
            let begin = from.and_then(|from| text.get(from..)?.first_chunk());
            if begin.is_some_and(|begin| literal.begins(begin)) {
                rules.push(literal.rule);
            }
        }
    }
}

/// The word, of so many, and the bits of a gram, by a multiplicative hash.
#[inline]
fn place<const WORDS: usize>(gram: u32) -> (usize, [u32; 2]) {
    let hash = u64::from(gram).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> (64 - WORDS.ilog2())) as usize, [47, 41].map(|shift| (hash >> shift) as u32 & 63))
}

/// The byte of a bitmap of so many words that has the first bit of a gram.
#[inline]
fn byte_of<const WORDS: usize>(gram: u32) -> usize {
    let (word, bits) = place::<WORDS>(gram);
    8 * word + bits[0] as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::rules::{Trust, load};

    #[test]
    fn a_literal_is_found_wherever_it_begins_in_any_case() {
        for literal in ["/etc/passwd", "union", "self", "..x", "c//", "or 1=", "${", "x('", "sleep(", "x9y8z7"] {
            let text = format!(
                "[[rule]]\nid = 'x'\ncategory = 'other'\ndescription = 'd'\nreference = 'r'\ntarget = ['args']\nscore = 5\npattern = '''{}'''\nattack = ['/']\nbenign = ['/']",
                regex_syntax::escape(literal)
            );
            let rules = load("x.toml", &text, Trust::Foreign).unwrap().rules;
            let prefilter = Prefilter::new(&rules, &[Target::Args]);
            let found = |text: &str| {
                let mut marks = Marks::default();
                prefilter.mark(text.as_bytes(), Oddness::of(text.as_bytes()), &mut marks);
                !marks.rules.is_empty()
            };
            for before in 0..20 {
                for after in 0..5 {
                    let (before, after) = ("b".repeat(before), "a".repeat(after));
                    let other_digits = literal.replace('1', "2").replace('9', "0");
                    let text = format!("{before}{}{after}", other_digits.to_uppercase());
                    assert!(found(&text), "{text}");
                    let without_end = &literal[..literal.len() - 1];
                    assert!(!found(&format!("{before}{without_end}{after}")), "{text}");
                }
            }
        }
    }

    #[test]
    fn nothing_beyond_a_text_is_of_a_literal() {
        let text = "[[rule]]\nid = 'x'\ncategory = 'other'\ndescription = 'd'\nreference = 'r'\ntarget = ['args']\nscore = 5\npattern = '(?:\\.png\\x00|\\x00/etc)'\nattack = ['/']\nbenign = ['/']";
        let rules = load("x.toml", text, Trust::Foreign).unwrap().rules;
        let prefilter = Prefilter::new(&rules, &[Target::Args]);
        for (text, expected) in [("a.png", false), ("/etc", false), ("a.png\0", true), ("\0/etc", true)] {
            let mut marks = Marks::default();
            prefilter.mark(text.as_bytes(), Oddness::of(text.as_bytes()), &mut marks);
            assert_eq!(!marks.rules.is_empty(), expected, "{text:?}");
        }
    }

    #[test]
    fn any_number_of_literals_is_told_apart() {
        // More than 16 bits could number.
        let gram = |n: u32| n.wrapping_mul(0x9e37_79b1).rotate_left(7) ^ n << 20;
        let all = (0..100_000).map(|n| Literal::new(&gram(n).to_le_bytes(), n as u16, 0, gram(n)));
        let sieve: Sieve<2048> = Sieve::over(all.collect());
        for n in (0..100_000).step_by(997) {
            let mut found = vec![];
            let text = [gram(n).to_le_bytes(), [0; 4], [0; 4], [0; 4]].concat();
            sieve.mark(&text, 0, gram(n), &mut found);
            assert!(found.contains(&(n as u16)), "{n}");
            assert!(found.len() < 5, "{found:?}");
        }
    }
}
