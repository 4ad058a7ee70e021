//! All rules and windows together, and what one request gives: matching is stateless, so it may
//! run on any core.

use super::audit;
use super::automaton::States;
use super::exclusion::{ExclusionConfig, Exclusions};
use super::legacy;
use super::memo::{By, Memo, Recalled};
use super::prose;
use super::record::{Detail, Record};
use super::rules::{self, Loaded, Rule, RuleError, Target, Targets, Trust};
use super::screen::{self, Parts, Screen, states_of};
use super::texts::Texts;
use super::watched::Watched;
use super::window::{Standing, WindowRule};
use crate::event::{Event, Evidence, Http, printable};

/// Every rule and window that is switched on, behind prefilters.
pub struct Ruleset {
    pub rules: Vec<Rule>,
    pub windows: Vec<WindowRule>,
    /// Patterns of files of the older shape that are unfit for use, and why.
    pub refused: Vec<RuleError>,
    pub watched: Watched,
    pub exclusions: Exclusions,
    uri: Screen,
    user_agent: Screen,
    referer: Screen,
    method: Screen,
    message: Screen,
}

/// A rule matched a part of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hit {
    /// Index into [`Ruleset::rules`].
    pub rule: u16,
    pub target: Target,
    /// The rule matches in prose alone: see `prose`.
    pub quoted: bool,
}

impl Ruleset {
    /// The built-in rules, `more` rule files (name and text; the older shape where the name ends in
    /// `.json`), without those whose ids are in `disable`. A later rule or window replaces an earlier one of the same id.
    ///
    /// # Errors
    /// Everything that is wrong in any file.
    pub fn new(more: &[(String, String)], disable: &[String]) -> Result<Ruleset, Vec<RuleError>> {
        let built_in = rules::BUILT_IN.iter().map(|(name, text)| (*name, *text, Trust::BuiltIn));
        let added = more.iter().map(|(name, text)| (name.as_str(), text.as_str(), Trust::Foreign));
        let mut all = Loaded { rules: vec![], windows: vec![] };
        let (mut errors, mut refused) = (vec![], vec![]);
        for (name, text, trust) in built_in.chain(added) {
            let loaded = if name.ends_with(".json") {
                legacy::load(name, text).map_err(|wrong| vec![wrong]).map(|(rules, unfit)| {
                    refused.extend(unfit);
                    Loaded { rules, windows: vec![] }
                })
            } else {
                rules::load(name, text, trust)
            };
            match loaded {
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
        let ruleset = Ruleset::of(all).map_err(|what| vec![RuleError { file: "rules".into(), line: 0, what }])?;
        Ok(Ruleset { refused, ..ruleset })
    }

    /// The rules and windows of `loaded` alone.
    ///
    /// # Errors
    /// More than 65,535 rules.
    pub fn of(loaded: Loaded) -> Result<Ruleset, String> {
        if loaded.rules.len() > usize::from(u16::MAX) {
            return Err(format!("{} rules are more than {}", loaded.rules.len(), u16::MAX));
        }
        let over = |targets: &[Target]| Screen::new(&loaded.rules, targets);
        Ok(Ruleset {
            uri: over(&URI_TARGETS),
            user_agent: over(&[Target::UserAgent]),
            referer: over(&[Target::Referer]),
            method: over(&[Target::Method]),
            message: over(&[Target::Message]),
            watched: Watched::by(&loaded.windows),
            rules: loaded.rules,
            windows: loaded.windows,
            refused: vec![],
            exclusions: Exclusions::default(),
        })
    }

    /// The same with these exclusions.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn excluding(mut self, exclusions: &[ExclusionConfig]) -> Result<Ruleset, Vec<RuleError>> {
        self.exclusions = Exclusions::new(exclusions, &self.rules, &self.windows)?;
        for (index, rule) in self.rules.iter_mut().enumerate() {
            if self.exclusions.of_rule(index as u16) != 0 {
                rule.certain = 0;
            }
        }
        Ok(self)
    }

    /// The rules that match `event`, but for those that an exclusion drops, appended to `hits`; returns
    /// the sum of their scores, at most 10. Allocates nothing once `scratch` has grown, unless a rule matches.
    #[inline]
    pub fn examine(&self, event: &Event<'_>, scratch: &mut Scratch, hits: &mut Vec<Hit>) -> u8 {
        let first = hits.len();
        self.find(event, scratch, hits);
        if hits.len() == first {
            return 0;
        }
        if !self.exclusions.is_empty() {
            let excluded = self.exclusions.holding(event, &mut scratch.parts.texts);
            let mut kept = first;
            for at in first..hits.len() {
                let hit = hits[at];
                if self.exclusions.of_rule(hit.rule) & excluded == 0 {
                    hits[kept] = hit;
                    kept += 1;
                }
            }
            hits.truncate(kept);
        }
        self.sum(&hits[first..], event.http().and_then(|http| http.status))
    }

    /// What exclusions drop from `event`, whose record is `line`, each with its exclusion: for people.
    pub fn excluded(&self, event: &Event<'_>, line: &Record, scratch: &mut Scratch) -> Vec<String> {
        let (holding, mut hits) = (self.exclusions.holding(event, &mut scratch.parts.texts), vec![]);
        self.find(event, scratch, &mut hits);
        let rules = hits.iter().map(|hit| (&*self.rules[usize::from(hit.rule)].id, self.exclusions.of_rule(hit.rule)));
        let windows = self.watched.windows(line, Standing::default()).map(|index| (index, &self.windows[index]));
        let fitting = windows.filter(|(_, window)| window.fits(line, Standing::default()));
        let fitting = fitting.map(|(index, window)| (window.spec.id.as_str(), self.exclusions.of_window(index)));
        let dropped = rules.chain(fitting).filter(|(_, naming)| naming & holding != 0);
        dropped.map(|(id, naming)| format!("{id}: excluded by {}", self.exclusions.told(naming & holding))).collect()
    }

    /// [`examine`](Ruleset::examine) without exclusions.
    #[inline]
    pub(super) fn find(&self, event: &Event<'_>, scratch: &mut Scratch, hits: &mut Vec<Hit>) {
        let Some(http) = event.http() else { return self.find_in_message(event, scratch, hits) };
        let recalled = scratch.recall(http);
        let odd_method = http.method.len() > COMMON_METHOD_BYTES;
        if recalled.iter().all(|text| text.clean) && !odd_method {
            return;
        }
        let first = hits.len();
        let Scratch { parts, known, of_text, .. } = scratch;
        if odd_method {
            self.method.find(&self.rules, Target::Method, http.method, parts, of_text);
            add(of_text, http, &self.rules, first, hits);
        }
        let screens = [&self.uri, &self.user_agent, &self.referer];
        for ((screen, (target, text)), (recalled, known)) in
            screens.into_iter().zip(looked_at(http)).zip(recalled.into_iter().zip(known))
        {
            if recalled.clean {
                continue;
            }
            match known.hits(text, 0, recalled) {
                Ok((found, _)) => add(found, http, &self.rules, first, hits),
                Err(exactly) => {
                    let tells_digits = screen.find(&self.rules, target, text, parts, of_text);
                    known.remember(if tells_digits { exactly } else { recalled }, of_text);
                    add(of_text, http, &self.rules, first, hits);
                }
            }
        }
    }

    /// [`find`](Ruleset::find) for what is no request.
    fn find_in_message(&self, event: &Event<'_>, scratch: &mut Scratch, hits: &mut Vec<Hit>) {
        let Some(message) = event.kind.message() else { return };
        let Scratch { parts, of_text, plain, .. } = scratch;
        let text = audit::plain(message.text, plain);
        self.message.find(&self.rules, Target::Message, text, parts, of_text);
        add(of_text, &Http::default(), &self.rules, hits.len(), hits);
    }

    /// What the hits of a line with this status count together, at most 10.
    fn sum(&self, hits: &[Hit], status: Option<u16>) -> u8 {
        self.scores(hits, status).map(u32::from).sum::<u32>().min(10) as u8
    }

    /// What each hit of a line with this status counts: in prose together no more than [`prose::most`].
    fn scores(&self, hits: &[Hit], status: Option<u16>) -> impl Iterator<Item = u8> {
        let mut left = [prose::QUOTED, prose::REPEATED];
        hits.iter().map(move |hit| {
            let score = self.rules[usize::from(hit.rule)].spec.score_of(status);
            if !hit.quoted {
                return score;
            }
            let left = &mut left[usize::from(hit.target == Target::Referer)];
            let counts = score.min(*left);
            *left -= counts;
            counts
        })
    }

    /// What counting may ask of `event`.
    pub fn detail(&self, event: &Event<'_>) -> Detail {
        let excluded =
            if self.exclusions.is_empty() { 0 } else { self.exclusions.holding(event, &mut Texts::default()) };
        Detail { excluded, ..Detail::of(event) }
    }

    /// Whether an exclusion that names the path holds for `event`.
    pub fn is_system_url(&self, event: &Event<'_>) -> bool {
        !self.exclusions.is_empty()
            && self.exclusions.name_the_path(self.exclusions.holding(event, &mut Texts::default()))
    }

    /// Whether a window may fit the line, whoever its client is; those for busy clients are left out.
    #[inline]
    pub fn is_watched(&self, line: &Record) -> bool {
        self.watched.has(line)
    }

    /// The hits of `event`, of which [`examine`](Ruleset::examine) gave `hits`, with those that it left out because the
    /// score was full without them: whoever excludes what disturbed him has to know all of it.
    pub fn all_hits(&self, event: &Event<'_>, scratch: &mut Scratch, hits: &[Hit]) -> Vec<Hit> {
        if !screen::is_full(&self.rules, hits) {
            return hits.to_vec();
        }
        let mut all = vec![];
        let mut thorough = scratch.thorough.take().unwrap_or_else(|| Box::new(Scratch::thorough()));
        // What patterns' automata have learnt is the same.
        std::mem::swap(&mut scratch.parts.states, &mut thorough.parts.states);
        self.examine(event, &mut thorough, &mut all);
        std::mem::swap(&mut scratch.parts.states, &mut thorough.parts.states);
        scratch.thorough = Some(thorough);
        all
    }

    /// What matched, where, for people: one piece of evidence a rule.
    pub fn evidence(&self, event: &Event<'_>, scratch: &mut Scratch, hits: &[Hit]) -> Vec<Evidence> {
        let mut parted = None;
        let explain = |(hit, score): (&Hit, u8)| {
            let rule = &self.rules[usize::from(hit.rule)];
            if parted.replace(hit.target) != Some(hit.target) {
                split(event, hit.target, scratch);
            }
            let Parts { texts, states, .. } = &mut scratch.parts;
            let states = states_of(states, hit.rule);
            let mut texts = texts.of(hit.target, rule.spec.view);
            let matched = texts.find_map(|text| rule.matched(hit.target, text, states))?;
            Some(Evidence {
                rule_id: rule.id.clone(),
                target: hit.target.as_str().into(),
                matched: printable(&matched, 200),
                score,
            })
        };
        let status = event.http().and_then(|http| http.status);
        hits.iter().zip(self.scores(hits, status)).filter_map(explain).collect()
    }
}

/// Adds the hits of a text to those of its line, which begin at `first`, if their rules apply to the request. A rule
/// counts once a line; what it finds outside of prose counts.
fn add(of_text: &[Hit], http: &Http<'_>, rules: &[Rule], first: usize, hits: &mut Vec<Hit>) {
    for hit in of_text {
        match hits[first..].iter_mut().find(|known| known.rule == hit.rule) {
            Some(known) => known.quoted &= hit.quoted,
            None if rules[usize::from(hit.rule)].spec.applies_to(http) => hits.push(*hit),
            None => {}
        }
    }
}

/// The targets that are parts of the URI.
const URI_TARGETS: [Target; 4] = [Target::Uri, Target::Path, Target::Query, Target::Args];

/// Whether `rule` matches `event`, without any prefilter: for trying a rule by itself.
pub fn matches(rule: &Rule, event: &Event<'_>, scratch: &mut Scratch) -> bool {
    rule.spec.target.iter().any(|&target| {
        split(event, target, scratch);
        let mut states = States::default();
        scratch.parts.texts.of(target, rule.spec.view).any(|text| rule.is_match(target, text, &mut states))
    })
}

/// Takes apart `event` for what looks at `target` alone.
fn split(event: &Event<'_>, target: Target, scratch: &mut Scratch) {
    let Scratch { parts: Parts { texts, .. }, plain, .. } = scratch;
    match (event.http(), event.kind.message(), target) {
        (Some(http), _, Target::Method) => texts.split_text(http.method, target),
        (_, Some(message), Target::Message) => texts.split_text(audit::plain(message.text, plain), target),
        (http, ..) => texts.split(http.unwrap_or(&Http::default()), Targets::from_iter([target])),
    }
}

/// Methods of so many bytes are those of everyday.
const COMMON_METHOD_BYTES: usize = 4;

/// The texts of a request that prefilters look at.
#[inline]
fn looked_at<'a>(http: &Http<'a>) -> [(Target, &'a [u8]); 3] {
    [(Target::Uri, http.uri), (Target::UserAgent, http.user_agent), (Target::Referer, http.referer)]
}

/// Reused memory of one matching thread.
pub struct Scratch {
    parts: Parts,
    /// For each text of [`looked_at`].
    known: [Memo; 3],
    /// What was found in one text. Its memory is used again.
    of_text: Vec<Hit>,
    /// A message without its quotes and hexadecimal.
    plain: Vec<u8>,
    /// To look once more at what is told, once that is asked for.
    thorough: Option<Box<Scratch>>,
}

/// Texts of each kind of which a thread remembers that they are clean: 8 bytes each, together less
/// than a core's second cache.
const REMEMBERED: [(usize, By); 3] = [(16_384, By::Shape), (4096, By::Letter), (4096, By::Shape)];

/// Texts of each kind of which a thread remembers what was found in them.
const FOUND: usize = 4096;

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            parts: Parts::default(),
            known: REMEMBERED.map(|(texts, by)| Memo::new(texts, by, FOUND)),
            of_text: vec![],
            plain: vec![],
            thorough: None,
        }
    }
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// One by which each rule that matches is found, also where the score is full without it.
    pub fn thorough() -> Scratch {
        let mut scratch = Scratch::default();
        scratch.parts.is_thorough = true;
        scratch
    }

    /// What is known of the texts that prefilters look at.
    #[inline]
    fn recall(&self, http: &Http<'_>) -> [Recalled; 3] {
        let mut recall = <[Recalled; 3]>::default();
        for ((recalled, known), (_, text)) in recall.iter_mut().zip(&self.known).zip(looked_at(http)) {
            *recalled = known.recall(text);
        }
        recall
    }

    /// Forgets what was found clean by other rules.
    pub fn rules_changed(&mut self) {
        self.known.iter_mut().for_each(Memo::clear);
        self.parts.rules_changed();
        self.thorough = None;
    }
}

#[cfg(test)]
mod tests;
