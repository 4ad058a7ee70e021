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
        Ok(Prefilter { automaton, start, rules: wanted })
    }

    /// Appends the rules, one of whose literals is in `text`, possibly several times. The
    /// library's own search does the same with more questions at each byte.
    pub fn mark(&self, text: &[u8], candidates: &mut Vec<u16>) {
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
