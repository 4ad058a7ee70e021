//! Whether what a model said stands.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;

use serde_json::json;

use super::answer::Said;
use crate::event::Severity;
use crate::event::analysis::{Analysis, Claim, Threat, ThreatKind, ThreatOutcome};

/// Bytes of a sentence; a longer one is dropped.
pub const TEXT: usize = 600;

/// So many words in a row that the log has too are a quotation.
const RUN: usize = 6;

/// Says which sentences stand, and counts the others.
pub struct Checker<'a> {
    threats: BTreeMap<&'a str, &'a Threat>,
    /// Hashes of each run of [`RUN`] words of the log that the model was shown: it may be of megabytes.
    shown: HashSet<u64>,
    pub dropped: u64,
}

/// What a sentence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// What was.
    Fact,
    /// What to do.
    Advice,
}

impl Sort {
    /// So many numbers may be nobody's figures: "for 14 days, on port 22" is advice. An address has four.
    fn foreign_numbers(self) -> usize {
        match self {
            Sort::Fact => 0,
            Sort::Advice => 2,
        }
    }
}

impl<'a> Checker<'a> {
    pub fn new(analysis: &'a Analysis) -> Checker<'a> {
        let shown = analysis.compression.as_ref().and_then(|done| done.text.as_deref()).unwrap_or_default();
        Checker {
            threats: analysis.threats.iter().map(|threat| (threat.id.as_str(), threat)).collect(),
            shown: runs(shown),
            dropped: 0,
        }
    }

    /// The first `limit` of `said` that stand.
    pub fn standing(&mut self, said: Vec<Said>, sort: Sort, limit: usize) -> Vec<Claim> {
        let all = said.len();
        let standing: Vec<Claim> = said.into_iter().filter_map(|said| self.claim(said, sort)).take(limit).collect();
        self.dropped += (all - standing.len()) as u64;
        standing
    }

    fn claim(&self, said: Said, sort: Sort) -> Option<Claim> {
        if said.text.len() > TEXT {
            return None;
        }
        let text = plain(&said.text);
        let cited = self.cited(&said)?;
        let lower = text.to_lowercase();
        let words: Vec<&str> = words(&lower).collect();
        let stands = !words.is_empty()
            && is_english(&words)
            && lower.chars().all(is_readable)
            && cited.has_every_name(&words)
            && cited.has_every_kind(&lower)
            && cited.has_every_severity(&words)
            && cited.foreign_numbers(&lower) <= sort.foreign_numbers()
            && !DISMISSALS.iter().any(|words| contains_words(&lower, words))
            // What clients wrote is evidence, and no sentence of a report.
            && runs(&text).is_disjoint(&self.shown);
        stands.then_some(Claim { text, threats: said.threats, lines: said.lines })
    }

    /// The threats that `said` cites; none where one of them does not exist, or a line is not of them.
    fn cited(&self, said: &Said) -> Option<Cited<'a>> {
        let threats: Vec<&Threat> =
            said.threats.iter().map(|id| self.threats.get(id.as_str()).copied()).collect::<Option<_>>()?;
        let lines: BTreeSet<u64> = threats.iter().flat_map(|threat| threat.lines.iter().copied()).collect();
        let fits = !threats.is_empty() && !said.lines.is_empty() && said.lines.iter().all(|line| lines.contains(line));
        fits.then(|| {
            let text = json!(threats).to_string().to_lowercase();
            Cited { numbers: every_number(&text), text, threats }
        })
    }
}

/// What a sentence stands on.
struct Cited<'a> {
    threats: Vec<&'a Threat>,
    /// All that is known of these threats, and the numbers in it.
    text: String,
    numbers: BTreeSet<String>,
}

impl Cited<'_> {
    /// Whether each address, network, CVE, host, path, digest and account that looks like one is of these threats.
    fn has_every_name(&self, words: &[&str]) -> bool {
        words.iter().all(|word| {
            let word = word.trim_matches(['.', ':', '-', '/', '_', '@']);
            match address(word) {
                Some(address) => self.threats.iter().any(|threat| {
                    threat.addresses.contains(&address) || threat.actor.as_ref().is_some_and(|actor| actor == word)
                }),
                None => (word.is_ascii() && !is_name(word)) || self.text.contains(word),
            }
        })
    }

    /// Whether each kind of attack that is named was found. What a log line says of itself counts for nothing.
    fn has_every_kind(&self, text: &str) -> bool {
        KINDS.iter().all(|(signs, kinds)| {
            !signs.iter().any(|sign| text.contains(sign)) || self.threats.iter().any(|one| kinds.contains(&one.kind))
        }) && (!SUCCESS.iter().any(|sign| text.contains(sign))
            || self.threats.iter().any(|threat| {
                threat.outcome == ThreatOutcome::Succeeded || threat.kind == ThreatKind::AccountCompromise
            }))
    }

    /// How many numbers there are that these threats do not have.
    fn foreign_numbers(&self, text: &str) -> usize {
        numbers(text).difference(&self.numbers).count()
    }

    /// Whether each severity that is named is of one of these threats.
    fn has_every_severity(&self, words: &[&str]) -> bool {
        words
            .iter()
            .filter(|word| Severity::ALL.iter().any(|severity| severity.as_str() == **word))
            .all(|word| self.threats.iter().any(|threat| threat.severity.as_str() == *word))
    }
}

/// Whether it is a sentence in English, as all that is checked here must be; a few words may be in any language.
fn is_english(words: &[&str]) -> bool {
    let count = words.iter().filter(|word| ENGLISH.contains(word)).count();
    words.len() < 8 || count * 12 >= words.len()
}

/// Words without which hardly a sentence does in English, and of no other language that is written like it.
const ENGLISH: &[&str] = &[
    "the", "of", "and", "to", "from", "with", "by", "is", "are", "were", "that", "this", "for", "at", "has", "have",
    "had", "which", "after", "before", "then", "their", "its", "all", "be", "been", "or", "not", "as", "it", "they",
    "who", "if", "any", "only", "every", "each", "your", "until", "when", "while",
];

/// Words for kinds of attack, and the kinds that they may tell of.
const KINDS: &[(&[&str], &[ThreatKind])] = {
    use ThreatKind::*;
    &[
        (&["ransom", "encrypted files", "extort", "crypto-lock"], &[Ransomware]),
        (
            &["malware", "trojan", "virus", "worm", "botnet", "rootkit", "spyware", "payload"],
            &[Ransomware, CommandAndControl, Cryptomining, Backdoor, SuspiciousProcess, ZeroDay],
        ),
        (
            &["command and control", "command-and-control", "beacon", " c2 ", "c&c"],
            &[CommandAndControl, SuspiciousOutbound],
        ),
        (
            &["exfiltrat", "data theft", "data breach", "stolen", "steal", "leaked"],
            &[DataExfiltration, SuspiciousOutbound, InsiderThreat],
        ),
        (&["cryptomin", "crypto-min", "cryptojack", "coin min", "monero"], &[Cryptomining]),
        (&["phish"], &[Phishing]),
        (&["insider"], &[InsiderThreat]),
        (&["zero-day", "zero day", "0-day", "0day"], &[ZeroDay]),
        (
            &["backdoor", "back door", "webshell", "web shell", "reverse shell"],
            &[Backdoor, SuspiciousProcess, WebAttack],
        ),
        (&["privilege escalat", "escalated privilege", "escalate privilege"], &[PrivilegeEscalation]),
        (&["brute"], &[BruteForce, CredentialStuffing, AccountCompromise]),
        (&["credential stuffing"], &[CredentialStuffing]),
        (&["port scan", "port-scan"], &[PortScan]),
        (&["denial of service", "denial-of-service", "ddos", "flood"], &[RequestFlood]),
        (&["sql injection", "sqli", "cross-site", "xss", "path traversal"], &[WebAttack, WebScan, ZeroDay]),
        (&["prompt injection"], &[PromptInjection]),
    ]
};

/// Words that say that it worked.
const SUCCESS: [&str; 6] = ["compromised", "successfully", "succeeded", "gained access", "broke in", "was breached"];

/// Words by which a threat is talked down, somebody is told to guard less, or a model is spoken to: whoever reads a
/// report is none.
const DISMISSALS: &[&str] = &[
    "benign",
    "harmless",
    "false positive",
    "false alarm",
    "no threat",
    "no threats",
    "not a threat",
    "not malicious",
    "no action",
    "no further action",
    "nothing to worry",
    "ignore",
    "ignored",
    "disregard",
    "legitimate",
    "authorized test",
    "authorised test",
    "penetration test",
    "safe",
    "allowlist",
    "whitelist",
    "unblock",
    "stop monitoring",
    "instructions",
    "your task",
    "your policy",
    "your model",
    "system prompt",
    "developer mode",
    "verdict",
    "obey",
    "hypothetically",
    "remember",
];

fn contains_words(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// Hashes of each [`RUN`] words of `text` that follow each other; in URLs spaces are escaped.
fn runs(text: &str) -> HashSet<u64> {
    let text = text.replace("%20", " ").to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let hash = BuildHasherDefault::<DefaultHasher>::default();
    words.windows(RUN).map(|run| hash.hash_one(run)).collect()
}

/// Letters, and signs of ASCII and of typography: among the others are dots and digits that look like these.
fn is_readable(c: char) -> bool {
    c.is_ascii() || c.is_alphabetic() || matches!(c, '‘' | '’' | '“' | '”' | '–' | '—' | '…')
}

/// Words of lower-case `text`, with the signs that addresses, paths and hosts hold.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| {
        !(c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '/' | '_' | '@' | '%' | '=' | '?' | '&'))
    })
    .filter(|word| word.chars().any(char::is_alphanumeric))
}

/// An address, also with a port or a prefix behind it.
fn address(word: &str) -> Option<IpAddr> {
    let host = word.split('/').next()?;
    let found = host.parse().ok().or_else(|| host.rsplit_once(':')?.0.parse().ok())?;
    Some(crate::event::canonical(found))
}

/// Whether `word` looks like a CVE, host, file, path, digest or account, and not like a word of prose.
fn is_name(word: &str) -> bool {
    let is_cve = word.starts_with("cve-");
    let is_dotted = word.split('.').count() > 1 && word.split('.').all(|part| !part.is_empty());
    let is_digest = word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_cve || is_dotted || is_digest || word.contains([':', '@', '=', '?', '&', '%', '_', '/'])
}

/// The numbers in `text`, also those that commas part into thousands.
fn numbers(text: &str) -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        // `T1` and `sha256` are names.
        if !before.ends_with(|c: char| c.is_alphabetic()) {
            let parts: Vec<&str> = digits.trim_end_matches(',').split(',').collect();
            if parts.iter().skip(1).all(|part| part.len() == 3) {
                numbers.insert(parts.concat());
            } else {
                numbers.extend(parts.into_iter().map(String::from));
            }
        }
        rest = after;
    }
    numbers
}

/// All digits in `text` that stand together.
fn every_number(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).map(String::from).collect()
}

/// `text` as one line of prose: no control sequence, no hidden sign, no tag and no mark of Markdown, and dots as dots.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // An escape sequence goes with its parameters, up to its final letter.
            '\u{1b}' | '\u{9b}' => {
                if c == '\u{9b}' || rest.next_if_eq(&'[').is_some() {
                    while rest.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                    rest.next_if(|c| matches!(c, '@'..='~'));
                }
            }
            '<' => {
                let tag: String = rest.clone().take_while(|c| *c != '>').collect();
                // A sign of "less than" is followed by no letter.
                if tag.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!')) {
                    rest.by_ref().take(tag.chars().count() + 1).for_each(drop);
                }
                out.push(' ');
            }
            '>' | '`' | '*' | '#' | '|' | '\\' => out.push(' '),
            c if c.is_whitespace() => out.push(' '),
            c if c.is_control() || is_hidden(c) => {}
            c => out.push(c),
        }
    }
    let out = ["[.]", "(.)", "[dot]", "(dot)", "{.}"].iter().fold(out, |text, dot| text.replace(dot, "."));
    let out = out.replace(['[', ']'], " ");
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Signs that change the order of others or take no room.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}
