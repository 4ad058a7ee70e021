//! The table of signs as one automaton: a line that holds none is passed once.

use std::sync::OnceLock;

use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

use super::signs::{HARMLESS, SIGNS, Sign};
use super::text::{self, Peer};
use crate::event::analysis::ThreatKind;

/// Bytes of a line that are looked at.
const MAX_BYTES: usize = 4096;

/// Signs of a line.
#[derive(Default)]
pub struct Found {
    /// Each with what it counts here.
    pub signs: Vec<(&'static Sign, u8)>,
    pub peers: Vec<Peer>,
    /// Something stood in the way of it.
    pub stopped: bool,
    /// The line calls itself grave.
    pub critical: bool,
}

/// See the module.
pub struct Matcher {
    built: &'static Built,
    matched: PatternSet,
}

impl Matcher {
    /// # Errors
    /// A pattern of the tables is wrong, which a test rules out.
    pub fn new() -> anyhow::Result<Matcher> {
        static BUILT: OnceLock<Result<Built, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| Built::new().map_err(|error| error.to_string()));
        let built = built.as_ref().map_err(|error| anyhow::anyhow!("the table of signs: {error}"))?;
        Ok(Matcher { built, matched: PatternSet::new(SIGNS.len()) })
    }

    /// The signs that `line` holds, where nothing takes them away.
    pub fn find(&mut self, line: &[u8]) -> Option<Found> {
        let line = &line[..line.len().min(MAX_BYTES)];
        self.matched.clear();
        self.built.signs.which_overlapping_matches(&Input::new(line), &mut self.matched);
        if self.matched.is_empty() {
            return None;
        }
        // Who speaks to a model says that all is well.
        let is_harmless = self.built.harmless.is_match(line);
        let peers = text::peers(line);
        let critical = self.built.grave.is_match(line);
        let mut signs: Vec<(&'static Sign, u8)> = vec![];
        for at in self.matched.iter().map(|id| id.as_usize()) {
            let taken = self.built.unless[at].as_ref().is_some_and(|unless| unless.is_match(line));
            if !(taken || is_harmless && SIGNS[at].kind != ThreatKind::PromptInjection)
                && SIGNS[at].need.is_met(line, &peers)
            {
                let more = if critical && SIGNS[at].weight >= 6 { 2 } else { 0 };
                signs.push((&SIGNS[at], (SIGNS[at].weight + more).min(10)));
            }
        }
        // That something is odd says nothing where it is said what.
        if signs.iter().any(|(sign, _)| sign.kind != ThreatKind::UnusualPattern) {
            signs.retain(|(sign, _)| sign.kind != ThreatKind::UnusualPattern);
        }
        let mut general = |kind: ThreatKind, special: &[ThreatKind]| {
            if signs.iter().any(|(sign, _)| special.contains(&sign.kind)) {
                signs.retain(|(sign, _)| sign.kind != kind);
            }
        };
        use ThreatKind::{
            Backdoor, CommandAndControl, Cryptomining, Ransomware, SuspiciousOutbound, SuspiciousProcess,
        };
        general(SuspiciousOutbound, &[CommandAndControl, Backdoor]);
        general(SuspiciousProcess, &[Ransomware, Cryptomining, Backdoor]);
        let stopped = self.built.stopped.is_match(line);
        (!signs.is_empty()).then_some(Found { signs, peers, stopped, critical })
    }

    /// The sign that a request speaks to a model, if it does; `text` is its URI or what its client calls itself.
    pub fn addresses_a_model(&self, text: &[u8]) -> Option<&'static Sign> {
        if text.len() < 12 {
            return None;
        }
        let spaced = if memchr::memchr2(b'+', b'%', text).is_some() { decoded(text) } else { text.to_vec() };
        self.built.addressed.1.is_match(&spaced).then_some(self.built.addressed.0)
    }
}

/// The tables, compiled once in a process.
struct Built {
    signs: Regex,
    harmless: Regex,
    unless: Vec<Option<Regex>>,
    stopped: Regex,
    grave: Regex,
    /// The one sign that is looked for in requests too.
    addressed: (&'static Sign, Regex),
}

impl Built {
    fn new() -> anyhow::Result<Built> {
        let many = |patterns: &[&str]| -> anyhow::Result<Regex> {
            let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(true);
            // All of the table that match, not only the first.
            let config = Config::new()
                .match_kind(MatchKind::All)
                .hybrid_cache_capacity(16 << 20)
                .nfa_size_limit(Some(64 << 20))
                .utf8_empty(false);
            Ok(Regex::builder().configure(config).syntax(syntax).build_many(patterns)?)
        };
        let patterns: Vec<&str> = SIGNS.iter().map(|sign| sign.pattern).collect();
        let unless =
            SIGNS.iter().map(|sign| if sign.unless.is_empty() { Ok(None) } else { many(&[sign.unless]).map(Some) });
        let (at, addressed) = SIGNS
            .iter()
            .enumerate()
            .find(|(_, sign)| sign.kind == ThreatKind::PromptInjection)
            .unwrap_or((0, &SIGNS[0]));
        Ok(Built {
            signs: many(&patterns)?,
            harmless: many(HARMLESS)?,
            unless: unless.collect::<anyhow::Result<_>>()?,
            stopped: many(&[STOPPED])?,
            grave: many(&[GRAVE])?,
            addressed: (addressed, many(&[patterns[at]])?),
        })
    }
}

/// Words that say that something was kept from happening.
const STOPPED: &str = r"\b(?:blocked|prevented|denied|quarantined|dropped|rejected|mitigated|contained|removed|cleaned|refused|averted|neutrali[sz]ed|block|drop|deny)\b";
/// A line that calls itself grave.
const GRAVE: &str = r"\b(?:critical|crit|alert|emerg|emergency|fatal|severity[\x22=: ]+(?:high|critical|[89]|10))\b";

/// `text` with `+` and `%XX` undone.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    while at < text.len() {
        match (text[at], hex(text.get(at + 1)), hex(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    out
}
