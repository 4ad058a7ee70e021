//! Looks for the literals of many rules at once, in one pass over a text.

use std::collections::BTreeMap;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

use super::rules::{Rule, Target};

/// Looks for all literals of the rules that look at some targets.
pub struct Prefilter {
    /// Literals of ordinary bytes alone.
    plain: Automaton,
    /// Literals with an odd byte, which few texts have at all: most never enter this one. Together
    /// in one automaton they would need several times the memory, and caches are small.
    odd: Automaton,
}

impl Prefilter {
    /// Over the literals of those `rules` that look at one of `targets`.
    ///
    /// # Errors
    /// An automaton would be too big.
    pub fn new(rules: &[Rule], targets: &[Target]) -> Result<Prefilter, String> {
        let (mut plain, mut odd) = (BTreeMap::new(), BTreeMap::new());
        for (index, rule) in rules.iter().enumerate() {
            if !rule.spec.target.iter().any(|target| targets.contains(target)) {
                continue;
            }
            for literal in &rule.literals {
                let of_kind = if has_odd_byte(literal) { &mut odd } else { &mut plain };
                of_kind.entry(literal.as_slice()).or_insert_with(Vec::new).push(index as u16);
            }
        }
        Ok(Prefilter { plain: Automaton::over(plain)?, odd: Automaton::over(odd)? })
    }

    /// Appends the rules, one of whose literals is in `text`, possibly several times.
    #[inline]
    pub fn mark(&self, text: &[u8], candidates: &mut Vec<u16>) {
        self.plain.mark(text, candidates);
        if has_odd_byte(text) {
            self.odd.mark(text, candidates);
        }
    }
}

/// Whether any byte is none of those that ordinary decoded URIs are made of.
#[inline]
fn has_odd_byte(text: &[u8]) -> bool {
    text.iter().fold(false, |any, &byte| any | ODD[usize::from(byte)])
}

const ODD: [bool; 256] = {
    let mut odd = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() || byte >= 128 {
            odd[byte] = false;
        }
        byte += 1;
    }
    let signs = b"/.-_=&?+ ";
    let mut at = 0;
    while at < signs.len() {
        odd[signs[at] as usize] = false;
        at += 1;
    }
    odd
};

/// One automaton over some literals.
struct Automaton {
    nfa: NFA,
    /// Where every text begins.
    start: StateID,
    /// Per literal, the rules that need it.
    rules: Vec<Vec<u16>>,
}

impl Automaton {
    fn over(literals: BTreeMap<&[u8], Vec<u16>>) -> Result<Automaton, String> {
        let nfa = NFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            // Made for long texts with few matches; ours are short.
            .prefilter(false)
            .build(literals.keys())
            .map_err(|error| format!("the automaton over all literals cannot be built: {error}"))?;
        let start = nfa.start_state(Anchored::No).map_err(|error| format!("the automaton does not start: {error}"))?;
        Ok(Automaton { nfa, start, rules: literals.into_values().collect() })
    }

    /// The library's own search does the same with more questions at each byte.
    fn mark(&self, text: &[u8], candidates: &mut Vec<u16>) {
        let mut state = self.start;
        for &byte in text {
            state = self.nfa.next_state(Anchored::No, state, byte);
            if self.nfa.is_special(state) && self.nfa.is_match(state) {
                for index in 0..self.nfa.match_len(state) {
                    candidates.extend_from_slice(&self.rules[self.nfa.match_pattern(state, index).as_usize()]);
                }
            }
        }
    }
}
