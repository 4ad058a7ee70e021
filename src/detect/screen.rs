//! Of all rules those that may match a text, and of those the ones that do.

use std::cmp::Reverse;

use super::automaton::{Program, States};
use super::base64;
use super::decode::{is_encoded, is_foldable};
use super::injection::Grammar;
use super::memo::{By, Memo, Recalled};
use super::normalize::leads_elsewhere;
use super::prefilter::{Marks, Oddness, Prefilter};
use super::prose::without_prose;
use super::rules::{Rule, RuleSpec, Target, Targets};
use super::ruleset::Hit;
use super::texts::Texts;

/// Finds the rules that match a text.
pub struct Screen {
    all: Candidates,
    /// Of those rules the ones that look at a URI or a query as a whole.
    whole: Candidates,
    /// The rules as they are asked: those first that tell most, a grammar, which takes long, last. And of each rule its
    /// place among them.
    order: Vec<u16>,
    places: Vec<u16>,
}

/// Rules that may match a text: those with a literal in it, and those with a grammar that has signs in it.
struct Candidates {
    prefilter: Prefilter,
    grammars: Vec<(u16, Grammar)>,
}

/// A text taken apart, and what was found in it. Its memory is used again.
pub struct Parts {
    pub texts: Texts,
    marks: Marks,
    /// A bit for each rule, in the order in which they are asked. Its memory is used again.
    places: Vec<u64>,
    known: Memo,
    /// What was found in one part, and a text without its prose. Their memory is used again.
    of_part: Vec<Hit>,
    bare: Vec<u8>,
    /// Of each rule's automata.
    pub states: Vec<States>,
    /// Whether rules are looked for that cannot make the score fuller.
    pub is_thorough: bool,
}

/// Parts of texts of which is remembered what matches them: names and values of parameters come again in other
/// company, and attackers try one payload on every parameter of every site.
const INNOCENT: usize = 2048;
const FOUND: usize = 4096;

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            texts: Texts::default(),
            marks: Marks::default(),
            places: Vec::with_capacity(64),
            known: Memo::new(INNOCENT, By::Shape, FOUND),
            of_part: vec![],
            bare: vec![],
            states: vec![],
            is_thorough: false,
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
        let whole: Vec<Target> = targets.iter().copied().filter(|target| is_whole(*target)).collect();
        let mut order: Vec<u16> = (0..rules.len() as u16).collect();
        order.sort_by_key(|&index| {
            let spec = &rules[usize::from(index)].spec;
            (spec.grammar.is_some(), Reverse(spec.score))
        });
        let mut places = vec![0; order.len()];
        (0..).zip(&order).for_each(|(place, index)| places[usize::from(*index)] = place);
        Screen { all: Candidates::new(rules, targets), whole: Candidates::new(rules, &whole), order, places }
    }

    /// Each rule that is marked, once, as they are asked.
    fn put_in_order(&self, marked: &mut Vec<u16>, places: &mut Vec<u64>) {
        places.clear();
        places.resize(self.order.len().div_ceil(64), 0);
        for index in marked.drain(..) {
            let place = self.places[usize::from(index)];
            places[usize::from(place / 64)] |= 1 << (place % 64);
        }
        for (at, word) in places.iter_mut().enumerate() {
            while *word != 0 {
                marked.push(self.order[64 * at + word.trailing_zeros() as usize]);
                *word &= *word - 1;
            }
        }
    }

    /// Finds what matches `text`, which is the URI or the text of `target`, whatever the request's method and status
    /// are: a hit for each rule, until the hits [are full](is_full). Returns whether that holds for this text to the
    /// letter alone, and not for every one that differs from it in digits alone.
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
            for hit in &mut *hits {
                hit.quoted = !outside.iter().any(|other| other.rule == hit.rule);
            }
            // What is in prose may have counted enough before this was looked at.
            add_new(&outside, 0, hits);
        }
        parts.bare = bare;
        tells_digits
    }

    /// [`find`](Self::find), prose or not.
    fn match_text(&self, rules: &[Rule], target: Target, text: &[u8], parts: &mut Parts, hits: &mut Vec<Hit>) -> bool {
        // Digits of base64 spell other bytes.
        let holds_base64 = target == Target::Uri && base64::may_be_in(text);
        let mut is_apart = false;
        let wanted = self.wanted(rules, text, target, holds_base64, parts, &mut is_apart);
        if wanted == Targets::default() {
            return holds_base64;
        }
        split_once(&mut parts.texts, text, target, wanted, &mut is_apart);
        self.match_parts(rules, parts, hits) || holds_base64
    }

    /// The parts of `raw` that rules may match in any view; notes whether it is taken apart.
    fn wanted(
        &self,
        rules: &[Rule],
        raw: &[u8],
        target: Target,
        holds_base64: bool,
        parts: &mut Parts,
        is_apart: &mut bool,
    ) -> Targets {
        let Parts { texts, marks, .. } = parts;
        marks.rules.clear();
        let is_uri = target == Target::Uri;
        let whole = match is_encoded(raw) {
            true if is_uri => {
                *is_apart = true;
                texts.take_apart(raw);
                texts.whole()
            }
            true => texts.decoded(raw),
            false => raw,
        };
        let oddness = Oddness::of(whole);
        if is_uri && oddness == Oddness::Signs {
            // An attack as like as not, whose parts may be known.
            return Targets::URI;
        }
        self.all.mark(target, whole, oddness, marks);
        // Whatever folding changes is odd.
        if oddness != Oddness::None && is_foldable(whole) || is_uri && leads_elsewhere(path_of(whole)) {
            // Folding joins text within a part, never across parts: look at each by itself.
            split_once(texts, raw, target, Targets::URI, is_apart);
            for text in texts.changed() {
                self.all.mark(target, text, Oddness::of(text), marks);
            }
        }
        if holds_base64 && base64::may_be_text_in(raw) {
            split_once(texts, raw, target, Targets::URI, is_apart);
            for (target, _, text) in texts.all().filter(|(target, ..)| *target == Target::Args) {
                self.all.mark(target, text, Oddness::of(text), marks);
            }
        }
        // No part has a literal that the whole has not: only what these rules look at matters.
        let here = |wanted: &&Target| **wanted == target || is_uri && Targets::URI.has(**wanted);
        let targets = marks.rules.iter().flat_map(|&index| &rules[usize::from(index)].spec.target);
        targets.filter(here).copied().collect()
    }

    /// Runs the pattern of each rule on each text that it looks at and one of its literals is in, unless
    /// what matches the text is known, until the hits [are full](is_full). Appends a hit for each rule that matches
    /// any, whatever the request's method and status are, to `hits`. Returns whether any that was asked
    /// [tells digits](Rule::tells_digits).
    fn match_parts(&self, rules: &[Rule], parts: &mut Parts, hits: &mut Vec<Hit>) -> bool {
        let Parts { texts, marks, places, known, of_part, states, is_thorough, .. } = parts;
        let (first, mut tell_digits) = (hits.len(), false);
        let is_full = |hits: &[Hit]| !*is_thorough && is_full(rules, hits);
        // What is known from other company comes first.
        let of = |whole: bool| texts.all().filter(move |(target, ..)| is_whole(*target) == whole);
        for (target, views, text) in of(false).chain(of(true)) {
            if is_full(&hits[first..]) {
                break;
            }
            let way = views.iter().fold((target as u64) << 8, |way, &view| way | 1 << view as u64);
            // What is whole does not come again in other company.
            let is_whole = is_whole(target);
            let recalled = if is_whole { Recalled::default() } else { known.recall_as(text, way) };
            if recalled.clean {
                continue;
            }
            let looked_up = if is_whole { Err(recalled) } else { known.hits(text, way, recalled) };
            let exactly = match looked_up {
                Ok((found, to_the_letter)) => {
                    tell_digits |= to_the_letter;
                    add_new(found, first, hits);
                    continue;
                }
                Err(exactly) => exactly,
            };
            marks.rules.clear();
            let candidates = if is_whole { &self.whole } else { &self.all };
            candidates.mark(target, text, Oddness::of(text), marks);
            self.put_in_order(&mut marks.rules, places);
            marks.rules.retain(|&index| {
                let RuleSpec { target: wanted, view, .. } = &rules[usize::from(index)].spec;
                wanted.contains(&target) && views.contains(view)
            });
            of_part.clear();
            let mut by_digits = false;
            let mut left = &marks.rules[..];
            while let Some(&next) = left.first().filter(|_| !is_full(of_part)) {
                let rule = &rules[usize::from(next)];
                let (asked, matches) = match match_together(rules, left, text, states) {
                    Some(matches) => (TOGETHER, matches),
                    None => (1, [is_match(rule, next, target, text, states_of(states, next), known); TOGETHER]),
                };
                for (&index, is_match) in left[..asked].iter().zip(matches) {
                    by_digits |= rules[usize::from(index)].tells_digits(text);
                    if is_match && !is_full(of_part) {
                        of_part.push(Hit { rule: index, target, quoted: false });
                    }
                }
                left = &left[asked..];
            }
            tell_digits |= by_digits;
            if !is_whole {
                known.remember(if by_digits { exactly } else { recalled }, of_part);
            }
            add_new(of_part, first, hits);
        }
        tell_digits
    }
}

impl Candidates {
    /// Of those `rules` that look at one of `targets`.
    fn new(rules: &[Rule], targets: &[Target]) -> Candidates {
        let here = |rule: &Rule| rule.spec.target.iter().any(|target| targets.contains(target));
        let with_grammar =
            |(index, rule): (usize, &Rule)| Some((index as u16, rule.spec.grammar.filter(|_| here(rule))?));
        Candidates {
            prefilter: Prefilter::new(rules, targets),
            grammars: rules.iter().enumerate().filter_map(with_grammar).collect(),
        }
    }

    /// Adds those for `text`, which is `target` or a part of it and has this `oddness`, to `marks`.
    #[inline]
    fn mark(&self, target: Target, text: &[u8], oddness: Oddness, marks: &mut Marks) {
        self.prefilter.mark(text, oddness, marks);
        if oddness == Oddness::Signs {
            for (index, grammar) in &self.grammars {
                if grammar.may_match(target, text) {
                    marks.rules.push(*index);
                }
            }
        }
    }
}

/// Whether hits in one text count 10 together, whatever else the request is.
pub fn is_full(rules: &[Rule], hits: &[Hit]) -> bool {
    hits.iter().map(|hit| u32::from(rules[usize::from(hit.rule)].certain)).sum::<u32>() >= 10
}

/// Splits `text` for what looks at `wanted`, of a URI; takes a URI apart unless it is.
fn split_once(texts: &mut Texts, text: &[u8], target: Target, wanted: Targets, is_apart: &mut bool) {
    if target != Target::Uri {
        return texts.split_text(text, target);
    }
    if !std::mem::replace(is_apart, true) {
        texts.take_apart(text);
    }
    texts.look_at(wanted);
}

/// Whether parts of a URI are parts of this one.
fn is_whole(target: Target) -> bool {
    matches!(target, Target::Uri | Target::Query)
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

/// Patterns that are walked together.
const TOGETHER: usize = 4;

/// Whether each of the first few `asked` matches a text; none where these are fewer, or one has a grammar.
fn match_together(rules: &[Rule], asked: &[u16], text: &[u8], states: &mut Vec<States>) -> Option<[bool; TOGETHER]> {
    let asked: [u16; TOGETHER] = *asked.first_chunk()?;
    let [Some(a), Some(b), Some(c), Some(d)] = asked.map(|index| rules[usize::from(index)].program()) else {
        return None;
    };
    states_of(states, asked.into_iter().max()?);
    let states = states.get_disjoint_mut(asked.map(usize::from)).ok()?;
    Some(Program::match_together([a, b, c, d], text, states))
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
