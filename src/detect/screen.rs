//! Of all rules those that may match a text, and of those the ones that do.

use super::automaton::States;
use super::base64;
use super::decode::{Plus, is_encoded, is_foldable};
use super::injection::Grammar;
use super::memo::{By, Memo};
use super::normalize::leads_elsewhere;
use super::prefilter::{Marks, Oddness, Prefilter};
use super::prose::without_prose;
use super::rules::{Rule, RuleSpec, Target, Targets};
use super::ruleset::Hit;
use super::texts::Texts;

/// Finds the rules that may match a text: those with a literal in it, and those with a grammar that
/// has signs in it.
pub struct Screen {
    prefilter: Prefilter,
    grammars: Vec<(u16, Grammar)>,
}

/// A text taken apart, and what was found in it. Its memory is used again.
pub struct Parts {
    pub texts: Texts,
    marks: Marks,
    known: Memo,
    /// What was found in one part, and a text without its prose. Their memory is used again.
    of_part: Vec<Hit>,
    bare: Vec<u8>,
    /// Of each rule's automata.
    pub states: Vec<States>,
}

/// Parts of texts of which is remembered what matches them: names and values of parameters come again in other
/// company, and attackers try one payload on every parameter of every site.
const INNOCENT: usize = 2048;
const FOUND: usize = 1024;

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            texts: Texts::default(),
            marks: Marks::default(),
            known: Memo::new(INNOCENT, By::Shape, FOUND),
            of_part: vec![],
            bare: vec![],
            states: vec![],
        }
    }
}

impl Parts {
    /// Forgets what other rules found.
    pub fn rules_changed(&mut self) {
        self.known.clear();
        self.states.clear();
    }
}

impl Screen {
    /// Over those `rules` that look at one of `targets`.
    pub fn new(rules: &[Rule], targets: &[Target]) -> Screen {
        let here = |rule: &Rule| rule.spec.target.iter().any(|target| targets.contains(target));
        let with_grammar =
            |(index, rule): (usize, &Rule)| Some((index as u16, rule.spec.grammar.filter(|_| here(rule))?));
        Screen {
            prefilter: Prefilter::new(rules, targets),
            grammars: rules.iter().enumerate().filter_map(with_grammar).collect(),
        }
    }

    /// Finds what matches `text`, which is the URI or the text of `target`, whatever the request's method and status
    /// are: a hit for each rule. Returns whether that holds for this text to the letter alone, and not for every one
    /// that differs from it in digits alone.
    pub fn find(&self, rules: &[Rule], target: Target, text: &[u8], parts: &mut Parts, hits: &mut Vec<Hit>) -> bool {
        hits.clear();
        let mut tells_digits = self.match_text(rules, target, text, parts, hits);
        if hits.is_empty() || !matches!(target, Target::Uri | Target::Referer) {
            return tells_digits;
        }
        let mut bare = std::mem::take(&mut parts.bare);
        bare.clear();
        if without_prose(text, &mut bare) {
            let mut outside = vec![];
            tells_digits |= self.match_text(rules, target, &bare, parts, &mut outside);
            for hit in hits {
                hit.quoted = !outside.iter().any(|other| other.rule == hit.rule);
            }
        }
        parts.bare = bare;
        tells_digits
    }

    /// [`find`](Self::find), prose or not.
    fn match_text(&self, rules: &[Rule], target: Target, text: &[u8], parts: &mut Parts, hits: &mut Vec<Hit>) -> bool {
        // Digits of base64 spell other bytes.
        let holds_base64 = target == Target::Uri && base64::may_be_in(text);
        if !self.may_match(text, target, holds_base64, parts) {
            return holds_base64;
        }
        // No part has a literal that the whole has not: only what these rules look at matters.
        let here = |wanted: &&Target| **wanted == target || target == Target::Uri && Targets::URI.has(**wanted);
        let targets = parts.marks.rules.iter().flat_map(|&index| &rules[usize::from(index)].spec.target);
        let wanted = targets.filter(here).copied().collect();
        if target == Target::Uri {
            parts.texts.split_uri(text, wanted);
        } else {
            parts.texts.split_text(text, target);
        }
        self.match_parts(rules, parts, hits) || holds_base64
    }

    /// Finds the rules that may match any view of `raw` for `parts.marks`. Returns whether there are any.
    fn may_match(&self, raw: &[u8], target: Target, holds_base64: bool, parts: &mut Parts) -> bool {
        let Parts { texts, marks, .. } = parts;
        marks.rules.clear();
        let plus = if target == Target::Uri { Plus::SpaceInQuery } else { Plus::Literal };
        let whole = if is_encoded(raw) { texts.decoded(raw, plus) } else { raw };
        // Whatever folding changes is odd.
        let is_odd = self.mark(target, whole, marks) != Oddness::None;
        if is_odd && is_foldable(whole) || target == Target::Uri && leads_elsewhere(path_of(whole)) {
            // Folding joins text within a part, never across parts: look at each by itself.
            if target == Target::Uri {
                texts.split_uri(raw, Targets::URI);
            } else {
                texts.split_text(raw, target);
            }
            for text in texts.changed() {
                self.mark(target, text, marks);
            }
        }
        if holds_base64 && base64::may_be_text_in(raw) {
            texts.split_uri(raw, Targets::from_iter([Target::Args]));
            for (target, _, text) in texts.all() {
                self.mark(target, text, marks);
            }
        }
        !marks.rules.is_empty()
    }

    /// Runs the pattern of each rule on each text that it looks at and one of its literals is in, unless
    /// what matches the text is known. Appends a hit for each rule that matches any, whatever the request's method
    /// and status are, to `hits`. Returns whether any that was asked [tells digits](Rule::tells_digits).
    fn match_parts(&self, rules: &[Rule], parts: &mut Parts, hits: &mut Vec<Hit>) -> bool {
        let Parts { texts, marks, known, of_part, states, .. } = parts;
        let (first, mut tell_digits) = (hits.len(), false);
        for (target, views, text) in texts.all() {
            let way = views.iter().fold((target as u64) << 8, |way, &view| way | 1 << view as u64);
            let recalled = known.recall_as(text, way);
            if recalled.clean {
                continue;
            }
            let exactly = match known.hits(text, way, recalled) {
                Ok((found, to_the_letter)) => {
                    tell_digits |= to_the_letter;
                    add_new(found, first, hits);
                    continue;
                }
                Err(exactly) => exactly,
            };
            marks.rules.clear();
            self.mark(target, text, marks);
            marks.rules.sort_unstable();
            marks.rules.dedup();
            of_part.clear();
            let mut by_digits = false;
            for &index in &marks.rules {
                let rule = &rules[usize::from(index)];
                let RuleSpec { target: wanted, view, .. } = &rule.spec;
                if !wanted.contains(&target) || !views.contains(view) {
                    continue;
                }
                if is_match(rule, index, target, text, states_of(states, index), known) {
                    of_part.push(Hit { rule: index, target, quoted: false });
                }
                by_digits |= rule.tells_digits(text);
            }
            tell_digits |= by_digits;
            known.remember(if by_digits { exactly } else { recalled }, of_part);
            add_new(of_part, first, hits);
        }
        tell_digits
    }

    /// Adds the rules that may match `text`, which is `target` or a part of it, to `marks`. Returns
    /// what its odd places are.
    #[inline]
    fn mark(&self, target: Target, text: &[u8], marks: &mut Marks) -> Oddness {
        let oddness = self.prefilter.mark(text, marks);
        if oddness == Oddness::Signs {
            for (index, grammar) in &self.grammars {
                if grammar.may_match(target, text) {
                    marks.rules.push(*index);
                }
            }
        }
        oddness
    }
}

/// The path of a decoded URI, and no less: an encoded `?` does not end it.
fn path_of(uri: &[u8]) -> &[u8] {
    memchr::memrchr(b'?', uri).map_or(uri, |at| &uri[..at])
}

/// The states of a rule's automata.
pub fn states_of(states: &mut Vec<States>, rule: u16) -> &mut States {
    let rule = usize::from(rule);
    if states.len() <= rule {
        states.resize_with(rule + 1, States::default);
    }
    &mut states[rule]
}

/// Whether a rule matches a text. A grammar, which takes long to ask, is asked once about a text, even if the part that
/// it was asked about is put out of memory.
fn is_match(rule: &Rule, index: u16, target: Target, text: &[u8], states: &mut States, known: &mut Memo) -> bool {
    if rule.spec.grammar.is_none() {
        return rule.is_match(target, text, states);
    }
    let way = 1 << 32 | u64::from(index) << 8 | target as u64;
    let recalled = known.recall_as(text, way);
    let exactly = match known.hits(text, way, recalled) {
        _ if recalled.clean => return false,
        Ok((hits, _)) => return !hits.is_empty(),
        Err(exactly) => exactly,
    };
    let matches = rule.is_match(target, text, states);
    if !matches {
        known.remember(if rule.tells_digits(text) { exactly } else { recalled }, &[]);
    }
    matches
}

/// Appends those hits whose rules are not among `hits` from `first` on.
fn add_new(more: &[Hit], first: usize, hits: &mut Vec<Hit>) {
    for &hit in more {
        if !hits[first..].iter().any(|known| known.rule == hit.rule) {
            hits.push(hit);
        }
    }
}
