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
    marks: Marks,
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
        Ok(Prefilter { automaton, start, marks: Marks::of(&literals), rules: wanted })
    }

    /// Appends the rules, one of whose literals is in `text`, possibly several times. The
    /// library's own search does the same with more questions at each byte.
    pub fn mark(&self, text: &[u8], candidates: &mut Vec<u16>) {
        if !self.marks.may_be_in(text) {
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

/// Marks that ordinary text seldom has and every text with a literal has: for a literal of three
/// bytes or more the rarest three in a row, for a shorter one its rarest byte. A text without any
/// mark needs no automaton, whose answers must wait for one another byte by byte.
struct Marks {
    /// One bit for each hash of three bytes.
    grams: Box<[u32; GRAM_BITS / 32]>,
    bytes: [bool; 256],
}

const GRAM_BITS: usize = 1 << 15;

impl Marks {
    fn of(literals: &[&[u8]]) -> Marks {
        let mut marks = Marks { grams: Box::new([0; GRAM_BITS / 32]), bytes: [false; 256] };
        for literal in literals {
            if let Some(gram) = literal.windows(3).max_by_key(|gram| rarity(gram)) {
                let hash = gram_hash(u32::from_le_bytes([gram[0], gram[1], gram[2], 0]));
                marks.grams[hash / 32] |= 1 << (hash % 32);
            } else if let Some(&byte) = literal.iter().max_by_key(|byte| rarity(&[**byte])) {
                marks.bytes[usize::from(byte.to_ascii_lowercase())] = true;
                marks.bytes[usize::from(byte.to_ascii_uppercase())] = true;
            }
        }
        marks
    }

    fn may_be_in(&self, text: &[u8]) -> bool {
        let mut any = 0;
        for four in text.windows(4) {
            any |= self.gram(u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            any |= u32::from(self.bytes[usize::from(four[0])]);
        }
        // The last three bytes begin no four.
        let last = &text[text.len().saturating_sub(3)..];
        if let &[a, b, c] = last {
            any |= self.gram(u32::from_le_bytes([a, b, c, 0]));
        }
        any & 1 != 0 || last.iter().any(|&byte| self.bytes[usize::from(byte)])
    }

    #[inline(always)]
    fn gram(&self, four: u32) -> u32 {
        let hash = gram_hash(four);
        self.grams[hash / 32] >> (hash % 32) & 1
    }
}

/// A number below [`GRAM_BITS`] for the first three of four bytes, the same in both cases of a letter.
#[inline(always)]
fn gram_hash(four: u32) -> usize {
    ((four | 0x20_2020) & 0xff_ffff).wrapping_mul(0x9e37_79b1) as usize >> 17
}

/// How seldom ordinary URIs have these bytes: letters by their frequency in English; digits and
/// the signs of paths and queries are frequent.
fn rarity(bytes: &[u8]) -> u32 {
    const LETTERS: &[u8; 26] = b"etaoinsrhldcumfpgwybvkxjqz";
    let of = |byte: &u8| match LETTERS.iter().position(|letter| letter == byte) {
        Some(rank) => rank as u32,
        None if byte.is_ascii_digit() || b"/.-_=&?% +".contains(byte) => 6,
        None => 40,
    };
    bytes.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_literal_goes_unseen() {
        let literals: [&[u8]; 7] = [b"select", b"${", b"../", b"<%", b"a|", b"\xc0\xaf.", b"/etc/passwd"];
        let marks = Marks::of(&literals);
        for literal in literals {
            for (before, after) in [("", ""), ("xx", ""), ("", "y"), ("", "yyy"), ("a b", "c d")] {
                let text = [before.as_bytes(), &literal.to_ascii_uppercase(), after.as_bytes()].concat();
                assert!(marks.may_be_in(&text), "{:?}", String::from_utf8_lossy(&text));
            }
        }
        for text in ["", "/", "/products/lamp-12?page=3", "/assets/site.css"] {
            assert!(!marks.may_be_in(text.as_bytes()), "{text}");
        }
    }
}
