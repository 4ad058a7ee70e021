//! Rule files: what is written in `rules/*.toml`, checked like code. The built-in ones are compiled
//! into the binary.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use regex_syntax::hir::Hir;
use serde::Deserialize;

use super::automaton::{Program, States};
use super::gram::Gram;
use super::injection::Grammar;
use super::literals;
use super::window::{WindowRule, WindowSpec};
use crate::event::{Category, Http};

/// The built-in files, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("913-scanner.toml", include_str!("../../rules/913-scanner.toml")),
    ("920-encoding.toml", include_str!("../../rules/920-encoding.toml")),
    ("920-protocol.toml", include_str!("../../rules/920-protocol.toml")),
    ("930-lfi.toml", include_str!("../../rules/930-lfi.toml")),
    ("932-rce.toml", include_str!("../../rules/932-rce.toml")),
    ("933-code.toml", include_str!("../../rules/933-code.toml")),
    ("934-ssrf.toml", include_str!("../../rules/934-ssrf.toml")),
    ("941-xss.toml", include_str!("../../rules/941-xss.toml")),
    ("942-sqli.toml", include_str!("../../rules/942-sqli.toml")),
    ("943-nosqli.toml", include_str!("../../rules/943-nosqli.toml")),
    ("944-template.toml", include_str!("../../rules/944-template.toml")),
    ("945-xml.toml", include_str!("../../rules/945-xml.toml")),
    ("946-directory.toml", include_str!("../../rules/946-directory.toml")),
    ("947-prototype.toml", include_str!("../../rules/947-prototype.toml")),
    ("950-exploit.toml", include_str!("../../rules/950-exploit.toml")),
    ("960-messages.toml", include_str!("../../rules/960-messages.toml")),
    ("windows-load.toml", include_str!("../../rules/windows-load.toml")),
    ("windows-login.toml", include_str!("../../rules/windows-login.toml")),
    ("windows-scan.toml", include_str!("../../rules/windows-scan.toml")),
];

/// Bytes of compiled program that one pattern may cost, twice what the largest built-in one does. The
/// engine is linear: at worst it visits each of some 8,000 states at each byte of a text, never more.
pub const PATTERN_BUDGET_BYTES: usize = 1 << 18;

/// The score at which a line is a finding, by default: what was served lifts no weak signal to it.
pub const FLAG: u8 = 5;

/// A rule file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<toml::Spanned<RuleSpec>>,
    #[serde(default)]
    window: Vec<toml::Spanned<WindowSpec>>,
}

/// A `[[rule]]` as written.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Stable name, unique among rules and windows.
    pub id: String,
    pub category: Category,
    /// 1–10. Scores of a line add up; below `thresholds.flag` a rule is a weak signal.
    pub score: u8,
    /// What for, in a sentence.
    pub description: String,
    /// CWE, CAPEC, CVE or a public page.
    pub reference: String,
    /// The parts of a request that it looks at.
    pub target: Vec<Target>,
    #[serde(default)]
    pub view: View,
    /// A regular expression of the `regex` crate over bytes; case does not matter, `.` matches any byte.
    #[serde(default)]
    pub pattern: String,
    /// In place of a pattern: what is code of this language and leaves the place that it was put into.
    #[serde(default)]
    pub grammar: Option<Grammar>,
    /// Methods that it applies to; none: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Statuses that it applies to; none: any.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Added to the score where the answer was 2xx: who asked for it got something.
    #[serde(default)]
    pub served: u8,
    /// Requests that it must match.
    pub attack: Vec<Example>,
    /// Requests that it must not match, however close.
    pub benign: Vec<Example>,
}

impl RuleSpec {
    /// Whether it applies to requests like this one, whatever they ask for.
    pub fn applies_to(&self, http: &Http<'_>) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|method| method.as_bytes() == http.method))
            && (self.status.is_empty() || http.status.is_some_and(|status| self.status.contains(&status)))
    }

    /// Whether it applies to every request.
    pub fn is_unconditional(&self) -> bool {
        self.methods.is_empty() && self.status.is_empty()
    }

    /// What a match in a line with this status counts.
    pub fn score_of(&self, status: Option<u16>) -> u8 {
        let served = status.is_some_and(|status| (200..300).contains(&status));
        self.score + if served { self.served } else { 0 }
    }
}

/// The part of a request that a rule looks at, or what a program says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Path and query together.
    #[default]
    Uri,
    Path,
    /// The query as one text.
    Query,
    /// Each parameter's name, and each one's value, by itself.
    Args,
    UserAgent,
    Referer,
    /// A method of more than four letters: `GET`, `HEAD`, `POST` and `PUT` tell nothing.
    Method,
    /// The text of an event that is no request: see [`audit`](super::audit).
    Message,
}

/// Some targets.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Targets(u8);

impl Targets {
    /// The parts of the URI.
    pub const URI: Targets =
        Targets(1 << Target::Uri as u8 | 1 << Target::Path as u8 | 1 << Target::Query as u8 | 1 << Target::Args as u8);

    pub fn has(self, target: Target) -> bool {
        self.0 >> target as u8 & 1 != 0
    }
}

impl FromIterator<Target> for Targets {
    fn from_iter<I: IntoIterator<Item = Target>>(targets: I) -> Targets {
        Targets(targets.into_iter().fold(0, |all, target| all | 1 << target as u8))
    }
}

impl Target {
    pub fn as_str(self) -> &'static str {
        match self {
            Target::Uri => "uri",
            Target::Path => "path",
            Target::Query => "query",
            Target::Args => "args",
            Target::UserAgent => "user_agent",
            Target::Referer => "referer",
            Target::Method => "method",
            Target::Message => "message",
        }
    }
}

/// Which view of its targets a rule looks at: see [`decode`](super::decode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    Decoded,
    #[default]
    Folded,
    Normalized,
}

/// A request that a rule is tried on: a URI as a log shows it, or any of a request's fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Example {
    Uri(String),
    Request(ExampleRequest),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExampleRequest {
    pub method: Option<String>,
    pub uri: Option<String>,
    pub user_agent: Option<String>,
    pub referer: Option<String>,
    pub status: Option<u16>,
    /// What a program says, in place of a request.
    pub message: Option<String>,
    /// For windows of failed logins: who tried.
    pub user: Option<String>,
    /// For windows of connections: to which port.
    pub port: Option<String>,
    /// The client's address; absent: always the same.
    pub client: Option<String>,
}

impl Example {
    /// The example with every field filled in.
    pub fn request(&self) -> ExampleRequest {
        match self {
            Example::Uri(uri) => ExampleRequest { uri: Some(uri.clone()), ..ExampleRequest::default() },
            Example::Request(request) => request.clone(),
        }
    }
}

/// A rule, ready to match.
pub struct Rule {
    pub id: Arc<str>,
    pub spec: RuleSpec,
    /// What a match counts at least, whatever else the request is.
    pub certain: u8,
    /// Of a rule without a grammar.
    pattern: Option<Pattern>,
    /// Lower-case literals, at least one of which every match contains, and what each is known by; none where the
    /// rule has a grammar.
    pub literals: Cow<'static, [(Cow<'static, [u8]>, Gram)]>,
}

/// A compiled pattern.
#[derive(Clone)]
struct Pattern {
    program: Program,
    tells_digits: bool,
}

impl Pattern {
    fn compile(hir: &Hir) -> Result<Pattern, String> {
        Ok(Pattern { program: Program::new(hir, PATTERN_BUDGET_BYTES)?, tells_digits: literals::tells_digits(hir) })
    }
}

impl Rule {
    /// Whether `text`, about which it was asked, and one that differs from it in digits alone may differ in
    /// whether it matches.
    pub fn tells_digits(&self, text: &[u8]) -> bool {
        self.pattern.as_ref().map_or_else(|| Grammar::tells_digits(text), |pattern| pattern.tells_digits)
    }

    /// Whether it matches `text`, which is a `target`. `states` are of this rule alone.
    pub fn is_match(&self, target: Target, text: &[u8], states: &mut States) -> bool {
        match (&self.pattern, self.spec.grammar) {
            (Some(pattern), _) => pattern.program.is_match(text, states),
            (None, grammar) => grammar.is_some_and(|grammar| grammar.find(target, text).is_some()),
        }
    }

    /// What its pattern is compiled to, if it has one.
    pub fn program(&self) -> Option<&Program> {
        self.pattern.as_ref().map(|pattern| &pattern.program)
    }

    /// What it matches in `text`, which is a `target`, for people. `states` are of this rule alone.
    pub fn matched(&self, target: Target, text: &[u8], states: &mut States) -> Option<Vec<u8>> {
        if let Some(pattern) = &self.pattern {
            return pattern.program.find(text, states).map(|at| text[at].to_vec());
        }
        let found = self.spec.grammar?.find(target, text)?;
        Some(match found.fingerprint.as_str() {
            "" => found.piece.to_vec(),
            tokens => [tokens.as_bytes(), b": ", found.piece].concat(),
        })
    }
}

/// Why a pattern does not compile: it is over its budget, or broken.
pub fn why_unfit(error: &dyn std::error::Error, limit: Option<usize>) -> String {
    match limit {
        Some(limit) => format!("the pattern compiles to more than {limit} bytes"),
        None => format!("the pattern is broken: {error}"),
    }
}

/// Where a rule file comes from.
#[derive(Clone, Copy, PartialEq)]
pub enum Trust {
    /// The tests have checked its patterns: they need not be read until they are used.
    BuiltIn,
    Foreign,
}

/// One thing wrong in a rule file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct RuleError {
    pub file: String,
    pub line: usize,
    pub what: String,
}

/// What a rule file holds.
pub struct Loaded {
    pub rules: Vec<Rule>,
    pub windows: Vec<WindowRule>,
}

/// Reads one rule file.
///
/// # Errors
/// Everything that is wrong in it, with lines.
pub fn load(file: &str, text: &str, trust: Trust) -> Result<Loaded, Vec<RuleError>> {
    let wrong = |span: Range<usize>, what: String| RuleError {
        file: file.into(),
        line: text[..span.start.min(text.len())].bytes().filter(|&byte| byte == b'\n').count() + 1,
        what,
    };
    let parsed: File =
        toml::from_str(text).map_err(|error| vec![wrong(error.span().unwrap_or(0..0), error.message().to_owned())])?;
    let (mut loaded, mut errors) = (Loaded { rules: vec![], windows: vec![] }, vec![]);
    for spec in parsed.rule {
        let (span, id) = (spec.span(), spec.get_ref().id.clone());
        match compile(spec.into_inner(), trust) {
            Ok(rule) => loaded.rules.push(rule),
            Err(what) => errors.push(wrong(span, format!("rule {id}: {what}"))),
        }
    }
    for spec in parsed.window {
        let (span, id) = (spec.span(), spec.get_ref().id.clone());
        match WindowRule::compile(spec.into_inner()) {
            Ok(window) => loaded.windows.push(window),
            Err(what) => errors.push(wrong(span, format!("window {id}: {what}"))),
        }
    }
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

/// Checks one rule, which must have examples, and whether its pattern compiles if it comes from
/// elsewhere.
///
/// # Errors
/// What is wrong with it.
pub fn compile(spec: RuleSpec, trust: Trust) -> Result<Rule, String> {
    if spec.attack.is_empty() || spec.benign.is_empty() {
        return Err("needs at least one attack and one benign example".into());
    }
    without_examples(spec, trust)
}

/// [`compile`] for the older shape, which has no examples.
///
/// # Errors
/// What is wrong with it.
pub fn without_examples(spec: RuleSpec, trust: Trust) -> Result<Rule, String> {
    if !(1..=10).contains(&spec.score) {
        return Err(format!("score {} is not between 1 and 10", spec.score));
    }
    let most = if spec.score < FLAG { FLAG - 1 } else { 10 };
    if spec.score + spec.served.min(10) > most {
        return Err(format!("score {} and served {} are together more than {most}", spec.score, spec.served));
    }
    if spec.target.is_empty() {
        return Err("target is empty".into());
    }
    let id: Arc<str> = spec.id.as_str().into();
    let certain = if spec.is_unconditional() { spec.score } else { 0 };
    match (&spec.grammar, spec.pattern.is_empty()) {
        (Some(_), true) => return Ok(Rule { id, certain, spec, pattern: None, literals: Cow::default() }),
        (Some(_), false) => return Err("has a pattern and a grammar: one of them".into()),
        (None, _) => {}
    }
    if trust == Trust::BuiltIn
        && let Ok(at) = PATTERNS.binary_search_by_key(&spec.id.as_str(), |built_in| built_in.rule)
    {
        let BuiltInPattern { literals, pattern, .. } = &PATTERNS[at];
        return Ok(Rule { id, certain, spec, pattern: Some(pattern.clone()), literals: Cow::Borrowed(literals) });
    }
    let hir = literals::parse(&spec.pattern)?;
    if hir.properties().minimum_len() == Some(0) {
        return Err("the pattern matches the empty text".into());
    }
    let pattern = Some(Pattern::compile(&hir)?);
    let literals = literals::required(&hir)
        .ok_or("no literal of at least four bytes must be in every match (fewer, with unusual signs), so it would run on every line")?;
    let literals = literals.into_iter().map(|literal| {
        let gram = Gram::of(&literal);
        (literal.into(), gram)
    });
    Ok(Rule { id, certain, spec, pattern, literals: literals.collect() })
}

/// The pattern of a built-in rule and its literals, made when this was built.
struct BuiltInPattern {
    rule: &'static str,
    literals: &'static [(Cow<'static, [u8]>, Gram)],
    pattern: Pattern,
}

/// In the order of the rules' ids.
static PATTERNS: &[BuiltInPattern] = include!(concat!(env!("OUT_DIR"), "/patterns.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(rule: &str) -> String {
        let text = format!(
            "[[rule]]\nid = 'x'\ncategory = 'sqli'\ndescription = 'd'\nreference = 'CWE-89'\ntarget = ['args']\nattack = ['/']\nbenign = ['/']\n{rule}"
        );
        match load("my.toml", &text, Trust::Foreign) {
            Ok(_) => "ok".into(),
            Err(errors) => errors.iter().map(RuleError::to_string).collect::<Vec<_>>().join(" | "),
        }
    }

    #[test]
    fn a_bad_rule_file_says_where_and_why() {
        assert_eq!(errors("score = 5\npattern = 'union'"), "ok");
        for (rule, expected) in [
            ("score = 11\npattern = 'union'", "my.toml:1: rule x: score 11 is not between 1 and 10"),
            (
                "score = 4\nserved = 1\npattern = 'union'",
                "my.toml:1: rule x: score 4 and served 1 are together more than 4",
            ),
            ("score = 9\nserved = 255\npattern = 'union'", "my.toml:1: rule x: score 9 and served 255 are together"),
            ("score = 5\npattern = '(union'", "my.toml:1: rule x: the pattern is broken"),
            (
                "score = 5\npattern = '(a{1000}){1000}b'",
                "my.toml:1: rule x: the pattern compiles to more than 262144 bytes",
            ),
            ("score = 5\npattern = '.*'", "my.toml:1: rule x: the pattern matches the empty text"),
            ("score = 5\npattern = '[a-z]+'", "my.toml:1: rule x: no literal of at least four bytes"),
            ("score = 5\npattern = 'union'\nscroe = 3", "my.toml:11: unknown field `scroe`"),
            ("score = 5\npattern = 'union'\nmethods = [", "my.toml:11: "),
        ] {
            assert!(errors(rule).starts_with(expected), "{} for {rule}", errors(rule));
        }
    }

    #[test]
    fn the_built_in_files_load() {
        for (name, text) in BUILT_IN {
            let loaded = load(name, text, Trust::Foreign).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert!(!loaded.rules.is_empty() || !loaded.windows.is_empty(), "{name} is empty");
        }
    }
}
