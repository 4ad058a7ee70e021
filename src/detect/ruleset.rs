//! All rules and windows together, and what one request gives: matching is stateless, so it may
//! run on any core.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use super::decode::{Plus, decode, fold, is_encoded, is_foldable};
use super::memo::CleanMemo;
use super::rules::{self, Loaded, Rule, RuleError, Target, View};
use super::window::WindowRule;
use crate::event::{Event, Evidence, Http, Kind, printable};

/// Every rule and window that is switched on, behind prefilters.
pub struct Ruleset {
    pub rules: Vec<Rule>,
    pub windows: Vec<WindowRule>,
    uri: Prefilter,
    user_agent: Prefilter,
    referer: Prefilter,
}

/// A rule matched a part of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Index into [`Ruleset::rules`].
    pub rule: u16,
    pub target: Target,
}

impl Ruleset {
    /// The built-in rules, `more` rule files (name and text), without those whose ids are in
    /// `disable`. A later rule or window replaces an earlier one of the same id.
    ///
    /// # Errors
    /// Everything that is wrong in any file.
    pub fn new(more: &[(String, String)], disable: &[String]) -> Result<Ruleset, Vec<RuleError>> {
        let built_in = rules::BUILT_IN.iter().map(|(name, text)| (*name, *text));
        let added = more.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let mut all = Loaded { rules: vec![], windows: vec![] };
        let mut errors = vec![];
        for (name, text) in built_in.chain(added) {
            match rules::load(name, text) {
                Err(wrong) => errors.extend(wrong),
                Ok(loaded) => {
                    for rule in loaded.rules {
                        all.rules.retain(|known| known.id != rule.id);
                        all.rules.push(rule);
                    }
                    for window in loaded.windows {
                        all.windows.retain(|known| known.spec.id != window.spec.id);
                        all.windows.push(window);
                    }
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        all.rules.retain(|rule| !disable.contains(&rule.spec.id));
        all.windows.retain(|window| !disable.contains(&window.spec.id));
        Ruleset::of(all).map_err(|what| vec![RuleError { file: "rules".into(), line: 0, what }])
    }

    /// The rules and windows of `loaded` alone.
    ///
    /// # Errors
    /// More than 65,535 rules, or an automaton over its literals that is too big.
    pub fn of(loaded: Loaded) -> Result<Ruleset, String> {
        if loaded.rules.len() > usize::from(u16::MAX) {
            return Err(format!("{} rules are more than {}", loaded.rules.len(), u16::MAX));
        }
        let over = |targets: &[Target]| Prefilter::new(&loaded.rules, targets);
        Ok(Ruleset {
            uri: over(&[Target::Uri, Target::Path, Target::Query, Target::Args])?,
            user_agent: over(&[Target::UserAgent])?,
            referer: over(&[Target::Referer])?,
            rules: loaded.rules,
            windows: loaded.windows,
        })
    }

    /// The rules that match `event`, appended to `hits`; returns the sum of their scores, at
    /// most 10. Allocates nothing once `scratch` has grown.
    #[inline]
    pub fn examine(&self, event: &Event<'_>, scratch: &mut Scratch, hits: &mut Vec<Hit>) -> u8 {
        let Kind::Http(http) = &event.kind;
        let before = hits.len();
        if self.uri_may_match(http.uri, scratch) {
            self.match_uri(http, scratch, hits);
        }
        let clean = |prefilter: &Prefilter, text: &[u8]| !is_encoded(text) && !prefilter.any(text);
        if !scratch.user_agents.is_clean(http.user_agent, |text| clean(&self.user_agent, text)) {
            self.match_text(http, http.user_agent, Target::UserAgent, scratch, hits);
        }
        if !scratch.referers.is_clean(http.referer, |text| clean(&self.referer, text)) {
            self.match_text(http, http.referer, Target::Referer, scratch, hits);
        }
        let sum: u32 = hits[before..].iter().map(|hit| u32::from(self.rules[usize::from(hit.rule)].spec.score)).sum();
        sum.min(10) as u8
    }

    /// What matched, where, for people: one piece of evidence a rule.
    pub fn evidence(&self, event: &Event<'_>, scratch: &mut Scratch, hits: &[Hit]) -> Vec<Evidence> {
        let Kind::Http(http) = &event.kind;
        let explain = |hit: &Hit| {
            let rule = &self.rules[usize::from(hit.rule)];
            match hit.target {
                Target::UserAgent => scratch.split_text(http.user_agent, Target::UserAgent),
                Target::Referer => scratch.split_text(http.referer, Target::Referer),
                _ => scratch.split_uri(http.uri),
            }
            let matched = scratch.texts(hit.target, rule.spec.view).find_map(|text| rule.regex.find(text))?;
            Some(Evidence {
                rule_id: rule.id.clone(),
                target: hit.target.as_str(),
                matched: printable(matched.as_bytes(), 200),
                score: rule.spec.score,
            })
        };
        hits.iter().filter_map(explain).collect()
    }

    /// Whether any literal of a URI rule is in any view of `uri`; leaves the candidates in `scratch`.
    #[inline]
    fn uri_may_match(&self, uri: &[u8], scratch: &mut Scratch) -> bool {
        scratch.candidates.clear();
        if !is_encoded(uri) {
            self.uri.mark(uri, &mut scratch.candidates);
            // Without an escape there is no odd white space; a comment has `*`, a reference `;`.
            if memchr::memchr2(b'*', b';', uri).is_none() || !is_foldable(uri) {
                return !scratch.candidates.is_empty();
            }
        } else {
            scratch.whole.clear();
            decode(uri, Plus::SpaceInQuery, &mut scratch.whole);
            self.uri.mark(&scratch.whole, &mut scratch.candidates);
            if !is_foldable(&scratch.whole) {
                return !scratch.candidates.is_empty();
            }
        }
        // Folding joins text within a part, never across parts: look at each by itself.
        scratch.split_uri(uri);
        let Scratch { candidates, parts, arena, .. } = scratch;
        for part in parts.iter().filter(|part| part.folded != part.decoded) {
            self.uri.mark(&arena[part.folded.0..part.folded.1], candidates);
        }
        !candidates.is_empty()
    }

    fn match_uri(&self, http: &Http<'_>, scratch: &mut Scratch, hits: &mut Vec<Hit>) {
        scratch.split_uri(http.uri);
        self.match_candidates(http, &[Target::Uri, Target::Path, Target::Query, Target::Args], scratch, hits);
    }

    #[cold]
    fn match_text(&self, http: &Http<'_>, text: &[u8], target: Target, scratch: &mut Scratch, hits: &mut Vec<Hit>) {
        let prefilter = if target == Target::UserAgent { &self.user_agent } else { &self.referer };
        scratch.split_text(text, target);
        scratch.candidates.clear();
        let Scratch { candidates, parts, arena, .. } = scratch;
        for part in parts.iter() {
            prefilter.mark(&arena[part.decoded.0..part.decoded.1], candidates);
            if part.folded != part.decoded {
                prefilter.mark(&arena[part.folded.0..part.folded.1], candidates);
            }
        }
        self.match_candidates(http, &[target], scratch, hits);
    }

    /// Runs the candidates' patterns on those of their targets that are among `targets`.
    fn match_candidates(&self, http: &Http<'_>, targets: &[Target], scratch: &mut Scratch, hits: &mut Vec<Hit>) {
        scratch.candidates.sort_unstable();
        scratch.candidates.dedup();
        for &index in &scratch.candidates {
            let rule = &self.rules[usize::from(index)];
            if hits.last().is_some_and(|hit| hit.rule == index) {
                continue;
            }
            if !rule.spec.methods.is_empty() && !rule.spec.methods.iter().any(|method| method.as_bytes() == http.method)
            {
                continue;
            }
            let matching = rule
                .spec
                .target
                .iter()
                .copied()
                .filter(|target| targets.contains(target))
                .find(|&target| scratch.texts(target, rule.spec.view).any(|text| rule.regex.is_match(text)));
            if let Some(target) = matching {
                hits.push(Hit { rule: index, target });
            }
        }
    }
}

/// One automaton over all literals of the rules that look at some targets.
struct Prefilter {
    automaton: AhoCorasick,
    /// Per literal, the rules that need it.
    rules: Vec<Vec<u16>>,
}

impl Prefilter {
    fn new(rules: &[Rule], targets: &[Target]) -> Result<Prefilter, String> {
        let mut literals: Vec<Vec<u8>> = Vec::new();
        let mut wanted: Vec<Vec<u16>> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            if !rule.spec.target.iter().any(|target| targets.contains(target)) {
                continue;
            }
            for literal in &rule.literals {
                let at = literals.iter().position(|known| known == literal).unwrap_or_else(|| {
                    literals.push(literal.clone());
                    wanted.push(Vec::new());
                    literals.len() - 1
                });
                wanted[at].push(index as u16);
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&literals)
            .map_err(|error| format!("the automaton over all literals cannot be built: {error}"))?;
        Ok(Prefilter { automaton, rules: wanted })
    }

    /// Whether any literal is in `text`.
    #[inline]
    fn any(&self, text: &[u8]) -> bool {
        self.automaton.is_match(text)
    }

    /// Appends the rules, one of whose literals is in `text`, possibly several times.
    #[inline]
    fn mark(&self, text: &[u8], candidates: &mut Vec<u16>) {
        // The loop over overlapping matches costs its set-up even where there is none.
        let Some(first) = self.automaton.find(text) else { return };
        let from = Input::new(text).range(first.start()..);
        for found in self.automaton.find_overlapping_iter(from) {
            candidates.extend_from_slice(&self.rules[found.pattern().as_usize()]);
        }
    }
}

/// Reused memory of one matching thread.
pub struct Scratch {
    whole: Vec<u8>,
    arena: Vec<u8>,
    parts: Vec<Part>,
    candidates: Vec<u16>,
    user_agents: CleanMemo,
    referers: CleanMemo,
    hasher: FixedState,
}

/// One text that rules look at, in both views, as ranges of the arena.
#[derive(Clone, Copy)]
struct Part {
    target: Target,
    decoded: (usize, usize),
    folded: (usize, usize),
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch {
            whole: Vec::new(),
            arena: Vec::new(),
            parts: Vec::new(),
            candidates: Vec::new(),
            user_agents: CleanMemo::new(),
            referers: CleanMemo::new(),
            hasher: FixedState::with_seed(1),
        }
    }

    /// Forgets what was found clean by other rules.
    pub fn rules_changed(&mut self) {
        self.user_agents.clear();
        self.referers.clear();
    }

    /// A hash of `text` for windows: the same in every run.
    #[inline]
    pub fn hash(&self, text: &[u8]) -> u32 {
        self.hasher.hash_one(text) as u32
    }

    /// The texts of a part of the request that was split last, in one view.
    fn texts(&self, target: Target, view: View) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter(move |part| part.target == target).map(move |part| {
            let (from, to) = if view == View::Decoded { part.decoded } else { part.folded };
            &self.arena[from..to]
        })
    }

    fn split_text(&mut self, text: &[u8], target: Target) {
        self.arena.clear();
        self.parts.clear();
        self.add(text, Plus::Literal, target);
    }

    /// Splits before it decodes, as servers do: an encoded `&` does not end a parameter.
    fn split_uri(&mut self, uri: &[u8]) {
        self.arena.clear();
        self.parts.clear();
        self.add(uri, Plus::SpaceInQuery, Target::Uri);
        let Some(mark) = memchr::memchr(b'?', uri) else { return self.add(uri, Plus::Literal, Target::Path) };
        self.add(&uri[..mark], Plus::Literal, Target::Path);
        let query = &uri[mark + 1..];
        self.add(query, Plus::Space, Target::Query);
        for pair in query.split(|&byte| byte == b'&') {
            match memchr::memchr(b'=', pair) {
                Some(equals) => {
                    self.add(&pair[..equals], Plus::Space, Target::Args);
                    self.add(&pair[equals + 1..], Plus::Space, Target::Args);
                }
                None => self.add(pair, Plus::Space, Target::Args),
            }
        }
    }

    fn add(&mut self, raw: &[u8], plus: Plus, target: Target) {
        if raw.is_empty() {
            return;
        }
        let from = self.arena.len();
        decode(raw, plus, &mut self.arena);
        let decoded = (from, self.arena.len());
        let mut folded = decoded;
        if is_foldable(&self.arena[decoded.0..decoded.1]) {
            // The source and the end of the arena cannot be borrowed at once.
            self.whole.clear();
            fold(&self.arena[decoded.0..decoded.1], &mut self.whole);
            self.arena.extend_from_slice(&self.whole);
            folded = (decoded.1, self.arena.len());
        }
        self.parts.push(Part { target, decoded, folded });
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

/// The views of a URI's parts that rules look at, by name, each text once: for `explain`.
pub fn views(uri: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut scratch = Scratch::new();
    scratch.split_uri(uri);
    let mut views = vec![];
    for part in scratch.parts.iter().filter(|part| part.target != Target::Uri) {
        views.push((part.target.as_str(), scratch.arena[part.decoded.0..part.decoded.1].to_vec()));
        if part.folded != part.decoded {
            views.push(("folded", scratch.arena[part.folded.0..part.folded.1].to_vec()));
        }
    }
    views
}
