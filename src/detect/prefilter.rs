//! Looks for the literals of many rules at once, in one pass over a text.

use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind};

use super::rules::{Rule, Target};

/// One automaton over all literals of the rules that look at some targets.
pub struct Prefilter {
    automaton: DFA,
    /// Where every text begins.
    start: aho_corasick::automaton::StateID,
    grams: Grams,
    /// Per literal, the rules that need it.
    rules: Vec<Vec<u16>>,
}

impl Prefilter {
    /// Over the literals of those `rules` that look at one of `targets`.
    ///
    /// # Errors
    /// The automaton would be too big.
    pub fn new(rules: &[Rule], targets: &[Target]) -> Result<Prefilter, String> {
        let mut literals: Vec<&[u8]> = Vec::new();
        let mut wanted: Vec<Vec<u16>> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            if !rule.spec.target.iter().any(|target| targets.contains(target)) {
                continue;
            }
            for literal in &rule.literals {
                let at = literals.iter().position(|known| known == literal).unwrap_or_else(|| {
                    literals.push(literal);
                    wanted.push(Vec::new());
                    literals.len() - 1
                });
                wanted[at].push(index as u16);
            }
        }
        let automaton = DFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            // Made for long texts with few matches; ours are short.
            .prefilter(false)
            .build(&literals)
            .map_err(|error| format!("the automaton over all literals cannot be built: {error}"))?;
        let start =
            automaton.start_state(Anchored::No).map_err(|error| format!("the automaton does not start: {error}"))?;
        Ok(Prefilter { automaton, start, grams: Grams::of(&literals), rules: wanted })
    }

    /// Appends the rules, one of whose literals is in `text`, possibly several times. The
    /// library's own search does the same with more questions at each byte.
    pub fn mark(&self, text: &[u8], candidates: &mut Vec<u16>) {
        if !self.grams.may_be_in(text) {
            return;
        }
        let mut state = self.start;
        for &byte in text {
            state = self.automaton.next_state(Anchored::No, state, byte);
            if self.automaton.is_special(state) && self.automaton.is_match(state) {
                for index in 0..self.automaton.match_len(state) {
                    let literal = self.automaton.match_pattern(state, index).as_usize();
                    candidates.extend_from_slice(&self.rules[literal]);
                }
            }
        }
    }
}

/// Which three-byte sequences stand for a literal: one of each literal's own, the one that
/// ordinary text has least. A text without any of them needs no automaton; asking is cheaper,
/// because the answers for its bytes do not depend on one another.
struct Grams(Box<[u64; GRAM_BITS / 64]>);

const GRAM_BITS: usize = 1 << 15;

impl Grams {
    fn of(literals: &[&[u8]]) -> Grams {
        let mut grams = Grams(Box::new([0; GRAM_BITS / 64]));
        for literal in literals {
            match literal.windows(3).max_by_key(|gram| rarity(gram)) {
                Some(gram) => grams.set(gram_index(gram[0], gram[1], gram[2])),
                // Two bytes: whatever follows them.
                None => (0..=255).for_each(|third| grams.set(gram_index(literal[0], literal[1], third))),
            }
        }
        grams
    }

    fn set(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn may_be_in(&self, text: &[u8]) -> bool {
        let has = |index: usize| self.0[index / 64] >> (index % 64) & 1;
        let inside = text.windows(3).fold(0, |any, gram| any | has(gram_index(gram[0], gram[1], gram[2])));
        // A literal of two bytes may be the last.
        let last = text.last_chunk::<2>().map_or(0, |&[first, second]| has(gram_index(first, second, 0)));
        inside | last != 0
    }
}

/// A number below [`GRAM_BITS`]: five bits of each byte, the same for both cases of a letter.
#[inline(always)]
fn gram_index(first: u8, second: u8, third: u8) -> usize {
    usize::from(first & 31) << 10 | usize::from(second & 31) << 5 | usize::from(third & 31)
}

/// How seldom ordinary URIs have these bytes: letters by their frequency in English, digits and
/// the signs of paths and queries as the most frequent.
fn rarity(gram: &[u8]) -> u32 {
    const LETTERS: &[u8; 26] = b"etaoinsrhldcumfpgwybvkxjqz";
    let of = |byte: &u8| match LETTERS.iter().position(|letter| letter == byte) {
        Some(rank) => rank as u32,
        None if byte.is_ascii_digit() || b"/.-_=&?%".contains(byte) => 8,
        None => 40,
    };
    gram.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_literal_goes_unseen() {
        let literals: [&[u8]; 6] = [b"select", b"${", b"../", b"<%", b"\xc0\xaf", b"/etc/passwd"];
        let grams = Grams::of(&literals);
        for literal in literals {
            for (before, after) in [("", ""), ("xx", ""), ("", "yy"), ("a b", "c d")] {
                let text = [before.as_bytes(), &literal.to_ascii_uppercase(), after.as_bytes()].concat();
                assert!(grams.may_be_in(&text), "{:?}", String::from_utf8_lossy(&text));
            }
        }
        for text in ["", "/", "/products/lamp-12?page=3", "/assets/site.css"] {
            assert!(!grams.may_be_in(text.as_bytes()), "{text}");
        }
    }
}
