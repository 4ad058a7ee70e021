//! Of all rules those that may match a text, and of those the ones that do.

use super::base64;
use super::decode::{Plus, is_encoded, is_foldable};
use super::injection::Grammar;
use super::memo::{By, CleanMemo};
use super::normalize::leads_elsewhere;
use super::prefilter::{Marks, Oddness, Prefilter};
use super::rules::{Rule, RuleSpec, Target, Targets};
use super::ruleset::Hit;
use super::texts::Texts;
use crate::event::Http;

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
    /// Parts that no rule matches, or one grammar does not.
    innocent: CleanMemo,
}

/// Parts of texts of which is remembered that no rule matches them, or one grammar does not: names and
/// values of parameters come again in other company.
const INNOCENT: usize = 2048;

impl Default for Parts {
    fn default() -> Parts {
        let innocent = CleanMemo::new(INNOCENT, By::Shape);
        Parts { texts: Texts::default(), marks: Marks::default(), innocent }
    }
}

impl Parts {
    /// The rules that [`Screen::may_match`] found.
    pub fn candidates<'r>(&self, rules: &'r [Rule]) -> impl Iterator<Item = &'r Rule> + Clone {
        self.marks.rules.iter().map(|&index| &rules[usize::from(index)])
    }

    /// Forgets what other rules found innocent.
    pub fn rules_changed(&mut self) {
        self.innocent.clear();
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

    /// Finds the rules that may match any view of `raw`, which is the URI or the text of `target`, for
    /// [`candidates`](Parts::candidates). Returns whether there are any.
    #[inline]
    pub fn may_match(&self, raw: &[u8], target: Target, holds_base64: bool, parts: &mut Parts) -> bool {
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
    /// the text is known to be innocent. A rule counts once a line: `first` is where the line's hits begin.
    /// Returns whether any that was asked [tells digits](Rule::tells_digits).
    pub fn match_parts(
        &self,
        rules: &[Rule],
        http: &Http<'_>,
        parts: &mut Parts,
        first: usize,
        hits: &mut Vec<Hit>,
    ) -> bool {
        let Parts { texts, marks, innocent } = parts;
        let mut tell_digits = false;
        for (target, views, text) in texts.all() {
            let way = views.iter().fold((target as u64) << 8, |way, &view| way | 1 << view as u64);
            let known = innocent.recall_as(text, way);
            if known.clean {
                continue;
            }
            let exactly = innocent.recall_to_the_letter(text, way, known);
            if exactly.clean {
                tell_digits = true;
                continue;
            }
            marks.rules.clear();
            self.mark(target, text, marks);
            marks.rules.sort_unstable();
            marks.rules.dedup();
            let (mut is_innocent, mut by_digits) = (true, false);
            for &index in &marks.rules {
                let rule = &rules[usize::from(index)];
                let RuleSpec { target: wanted, view, .. } = &rule.spec;
                if !wanted.contains(&target) || !views.contains(view) {
                    continue;
                }
                if !rule.spec.applies_to(http) || hits[first..].iter().any(|hit| hit.rule == index) {
                    is_innocent = false;
                    continue;
                }
                if is_match(rule, index, target, text, innocent) {
                    hits.push(Hit { rule: index, target, quoted: false });
                    is_innocent = false;
                }
                by_digits |= rule.tells_digits(text);
            }
            tell_digits |= by_digits;
            if is_innocent {
                innocent.remember(if by_digits { exactly } else { known });
            }
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

/// Whether a rule matches a text. A grammar, which takes long to ask, is asked once about a text.
fn is_match(rule: &Rule, index: u16, target: Target, text: &[u8], innocent: &mut CleanMemo) -> bool {
    if rule.spec.grammar.is_none() {
        return rule.is_match(target, text);
    }
    let way = 1 << 32 | u64::from(index) << 8 | target as u64;
    let known = innocent.recall_as(text, way);
    let exactly = innocent.recall_to_the_letter(text, way, known);
    if known.clean || exactly.clean {
        return false;
    }
    let matches = rule.is_match(target, text);
    if !matches {
        innocent.remember(if rule.tells_digits(text) { exactly } else { known });
    }
    matches
}
