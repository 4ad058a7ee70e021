//! Exclusions: what is known good though rules take it for an attack. Of the lines where all its
//! conditions hold, an exclusion drops the hits of its rules, and keeps them out of its windows.

use ipnet::IpNet;
use regex_automata::meta::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::literals;
use super::rules::{self, Rule, RuleError, Target, Targets};
use super::texts::Texts;
use super::window::WindowRule;
use crate::event::{Event, canonical};

/// `[[exclusion]]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExclusionConfig {
    /// A regular expression that the path matches, however it is encoded: `^` and `$` anchor it, and
    /// case does not matter.
    pub path: Option<String>,
    /// A regular expression that the user agent matches, as for `path`.
    pub user_agent: Option<String>,
    /// Networks of the client, any of them; an address that is a guess is in none.
    #[schemars(with = "Vec<String>", extend("items" = {"type": "string", "format": "ip-network"}))]
    pub network: Vec<IpNet>,
    /// Ids of rules and windows, or their beginnings as in `xss-*`. None: all.
    pub rules: Vec<String>,
    /// What `explain` says of it.
    pub reason: String,
    /// The file and line where it is written.
    #[serde(skip)]
    pub place: (String, usize),
}

/// All exclusions, ready to be asked. Sets of them are a bit each.
#[derive(Default)]
pub struct Exclusions {
    all: Vec<Exclusion>,
    /// Those that name each rule.
    rules: Vec<u64>,
    /// Those that name each window.
    windows: Vec<u64>,
}

struct Exclusion {
    path: Option<Regex>,
    user_agent: Option<Regex>,
    networks: Vec<IpNet>,
    told: String,
}

/// As many as a set has bits.
const MOST: usize = u64::BITS as usize;

impl Exclusions {
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn new(
        written: &[ExclusionConfig],
        rules: &[Rule],
        windows: &[WindowRule],
    ) -> Result<Exclusions, Vec<RuleError>> {
        let mut exclusions = Exclusions { all: vec![], rules: vec![0; rules.len()], windows: vec![0; windows.len()] };
        let mut errors = vec![];
        for one in written {
            let (file, line) = &one.place;
            let mut wrong = |what: String| {
                errors.push(RuleError { file: file.clone(), line: *line, what: format!("exclusion: {what}") });
            };
            if exclusions.all.len() == MOST {
                wrong(format!("more than {MOST} of them"));
                break;
            }
            if one.path.is_none() && one.user_agent.is_none() && one.network.is_empty() {
                wrong("has no condition: it needs a path, a user_agent or a network".into());
            }
            let bit = 1 << exclusions.all.len();
            for wanted in &one.rules {
                if !exclusions.name(wanted, bit, rules, windows) {
                    wrong(format!("no rule or window is called {wanted:?}"));
                }
            }
            if one.rules.is_empty() {
                exclusions.rules.iter_mut().chain(&mut exclusions.windows).for_each(|set| *set |= bit);
            }
            let mut pattern = |name: &str, text: &Option<String>| {
                let compiled = text.as_deref().map(compile).transpose();
                compiled.unwrap_or_else(|what| {
                    wrong(format!("{name}: {what}"));
                    None
                })
            };
            let (path, user_agent) = (pattern("path", &one.path), pattern("user_agent", &one.user_agent));
            let told = format!("{file}:{line}{}{}", if one.reason.is_empty() { "" } else { ": " }, one.reason);
            exclusions.all.push(Exclusion { path, user_agent, networks: one.network.clone(), told });
        }
        if errors.is_empty() { Ok(exclusions) } else { Err(errors) }
    }

    /// Adds the exclusion `bit` to what `wanted` names; false if that is nothing.
    fn name(&mut self, wanted: &str, bit: u64, rules: &[Rule], windows: &[WindowRule]) -> bool {
        let is_meant = |id: &str| match wanted.strip_suffix('*') {
            Some(beginning) => id.starts_with(beginning),
            None => id == wanted,
        };
        let rules = self.rules.iter_mut().zip(rules.iter().map(|rule| &*rule.id));
        let windows = self.windows.iter_mut().zip(windows.iter().map(|window| window.spec.id.as_str()));
        let mut found = false;
        for (set, _) in rules.chain(windows).filter(|(_, id)| is_meant(id)) {
            *set |= bit;
            found = true;
        }
        found
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that name the rule of this index.
    pub fn of_rule(&self, rule: u16) -> u64 {
        self.rules.get(usize::from(rule)).copied().unwrap_or(0)
    }

    /// Those that name the window of this index.
    #[inline]
    pub fn of_window(&self, window: usize) -> u64 {
        self.windows.get(window).copied().unwrap_or(0)
    }

    /// Those whose conditions `event` meets. What `texts` held is gone.
    pub fn holding(&self, event: &Event<'_>, texts: &mut Texts) -> u64 {
        let http = event.http();
        if let Some(http) = http.filter(|_| !self.is_empty()) {
            texts.split_uri(http.uri, Targets::from_iter([Target::Path]));
        }
        let client = event.source_ip.filter(|_| !event.guessed).map(canonical);
        let holds = |exclusion: &Exclusion| {
            let Exclusion { path, user_agent, networks, .. } = exclusion;
            // As it is decoded, and where it does not lead elsewhere.
            let path_matches = |path: &Regex| {
                http.is_some_and(|http| !http.path().is_empty())
                    && texts.all().all(|(.., text)| path.is_match(text) && !climbs(text))
            };
            let agent_matches = |agent: &Regex| http.is_some_and(|http| agent.is_match(http.user_agent));
            path.as_ref().is_none_or(path_matches)
                && user_agent.as_ref().is_none_or(agent_matches)
                && (networks.is_empty()
                    || client.is_some_and(|client| networks.iter().any(|net| net.contains(&client))))
        };
        let held = self.all.iter().enumerate().filter(|(_, exclusion)| holds(exclusion));
        held.fold(0, |set, (index, _)| set | 1 << index)
    }

    /// Whether one of `set` names the path.
    pub fn name_the_path(&self, set: u64) -> bool {
        self.all.iter().enumerate().any(|(index, exclusion)| set >> index & 1 == 1 && exclusion.path.is_some())
    }

    /// The first of `set`, for people.
    pub fn told(&self, set: u64) -> &str {
        self.all.get(set.trailing_zeros() as usize).map_or("", |exclusion| &exclusion.told)
    }
}

/// Whether a path has a segment that leads up, as `/editor/../x` and `/editor/..;/x`.
fn climbs(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment.starts_with(b".."))
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let config = Regex::config().utf8_empty(false).nfa_size_limit(Some(rules::PATTERN_BUDGET_BYTES));
    let regex = Regex::builder().configure(config).build_from_hir(&literals::parse(pattern)?);
    let regex = regex.map_err(|error| rules::why_unfit(&error, error.size_limit()))?;
    // What nobody sends is matched by what matches everything.
    let matches_all = [&b""[..], b"/", b"/\x01"].into_iter().filter(|text| regex.is_match(*text)).count();
    if regex.is_match(b"") || matches_all > 1 {
        return Err(format!("{pattern:?} matches everything"));
    }
    Ok(regex)
}

#[cfg(test)]
mod tests;
