//! A finding as a model is shown it: masked, so that what an attacker writes cannot speak to the
//! model and what a person wrote does not leave. Words stand as they are only if the vocabulary has
//! them; others become their length, numbers `N`, addresses their kind, a user agent its class. Names
//! of clients, hosts, users and referrers are left out. The text is the same for requests that are alike,
//! so it is also what verdicts are remembered by.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use crate::detect::PlainUri;
use crate::event::{Finding, digest};

/// Changes whenever the same finding gets another text.
pub const VERSION: &str = "2";

/// Tokens of one text that are shown; of a longer one its beginning and its end.
const TEXT_TOKENS: usize = 48;
/// Path segments and parameters that are shown.
const PARTS: usize = 12;
/// Pieces of evidence that are shown.
const EVIDENCE: usize = 6;
/// What a token repeats itself at most, alone or as a pair.
const REPEATS: usize = 3;

/// What a model sees of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View(String);

impl View {
    pub fn of(finding: &Finding) -> View {
        let mut lines = vec![];
        // Found again in any order; what rules matched may lie beyond what is shown of the request.
        let mut hits: Vec<String> = (finding.evidence.iter())
            .filter(|piece| piece.score > 0)
            .map(|piece| format!("{} in {}: {}", piece.rule_id, piece.target, mask(piece.matched.as_bytes())))
            .collect();
        let matched: HashSet<&str> = finding.evidence.iter().map(|piece| &*piece.rule_id).collect();
        let windows = finding.rule_ids.iter().filter(|id| !matched.contains(&***id));
        let windows: Vec<String> = windows.map(|id| format!("{id}, counted over many lines")).collect();
        // What was counted is no matter of the line on which it became too much: all its lines look alike.
        let is_one_of_many = hits.is_empty() && !windows.is_empty();
        hits.extend(windows);
        let uri = finding.uri.as_bytes();
        if finding.method.is_empty() && !uri.starts_with(b"/") {
            lines.push(format!("message: {}", mask(uri)));
        } else if is_one_of_many {
            lines.push("request: one of many".into());
            lines.push(format!("agent: {}", agent(&finding.user_agent)));
        } else {
            lines.extend(request(&finding.method, uri, finding.status));
            lines.push(format!("agent: {}", agent(&finding.user_agent)));
        }
        hits.sort();
        hits.dedup();
        lines.extend(hits.iter().take(EVIDENCE).map(|hit| format!("rule: {hit}")));
        lines.push(format!("looks like: {}", finding.category));
        View(lines.join("\n"))
    }

    /// One that was kept as text.
    pub fn from_text(text: String) -> View {
        View(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What requests that look alike have in common, under everything that a verdict on them depends on.
    pub fn key(&self, depends_on: &[&str]) -> String {
        let mut parts: Vec<&[u8]> = vec![b"view", VERSION.as_bytes(), self.0.as_bytes()];
        parts.extend(depends_on.iter().map(|part| part.as_bytes()));
        digest(&parts)
    }
}

/// The lines of a request.
fn request(method: &str, uri: &[u8], status: u16) -> Vec<String> {
    let answer = match status {
        200..300 => "served",
        300..400 => "redirected",
        401 | 403 => "refused",
        404 | 410 => "not found",
        400..500 => "rejected",
        500.. => "failed",
        _ => "unknown",
    };
    let PlainUri { path, parameters } = PlainUri::of(uri);
    let method = if KNOWN_METHODS.contains(&method) { method } else { "OTHER" };
    let mut lines = vec![format!("request: {method} {}", mask(&path)), format!("answer: {answer}")];
    // A parameter that says nothing is only counted, lest many of them hide the one that does.
    let shown = |name: &[u8], value: &[u8]| {
        let (name, value) = (mask(name), mask(value));
        (!is_plain(&name) || !is_plain(&value)).then(|| format!("parameter {name} = {value}"))
    };
    let mut telling: Vec<String> = parameters.iter().filter_map(|(name, value)| shown(name, value)).collect();
    let plain = parameters.len() - telling.len();
    if telling.len() > PARTS {
        // Both ends: the middle is where nobody would hide alone.
        let cut = telling.len() - PARTS;
        telling.drain(PARTS / 2..PARTS / 2 + cut);
        telling.push(format!("{cut} more parameters"));
    }
    lines.extend(telling);
    if plain > 0 {
        lines.push(format!("{} plain parameters", if plain > 3 { "more than 3".into() } else { plain.to_string() }));
    }
    lines
}

const KNOWN_METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "MKCOL"];

/// Whether a masked text is a word, a number or nothing.
fn is_plain(masked: &str) -> bool {
    masked.split([' ', '-', '_', '.']).all(|token| {
        matches!(token, "" | "w" | "word" | "longword" | "prose" | "N" | "ID")
            || (!token.contains('<') && is_name(token))
    })
}

fn is_name(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_lowercase()) && !attack_words().contains(token)
}

/// What kind of program a user agent names, the suspicious first: of its words none is shown.
fn agent(user_agent: &str) -> &'static str {
    let name = user_agent.to_ascii_lowercase();
    let any = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    match () {
        () if name.is_empty() => "none",
        () if any(&["sqlmap", "nikto", "nuclei", "nmap", "masscan", "zgrab", "wpscan", "dirb", "gobuster", "ffuf"]) => {
            "scanner"
        }
        () if any(&["${", "<script", "() {", "' or ", "/etc/", "select "]) => "attack",
        () if any(&["bot", "crawl", "spider", "slurp", "monitor", "uptime"]) => "claims to be a crawler or monitor",
        () if any(&["curl", "wget", "python", "go-http", "java/", "okhttp", "axios", "libwww", "httpx", "aiohttp"]) => {
            "library"
        }
        () if name.starts_with("mozilla/") || name.starts_with("opera/") => "browser",
        () => "other",
    }
}

/// `text`, decoded, as the masked tokens that stand for it.
pub fn mask(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut tokens = fold_repeats(tokens(&text));
    if tokens.len() > TEXT_TOKENS {
        let cut = tokens.len() - TEXT_TOKENS;
        let half = TEXT_TOKENS / 2;
        tokens.splice(half..half + cut, [Token::plain(" [cut] ")]);
    }
    let mut out = String::new();
    for token in tokens {
        if token.is_word && out.ends_with(|c: char| c.is_ascii_alphanumeric()) {
            out.push(' ');
        }
        out.push_str(&token.text);
    }
    // So begin and end the control tokens of chat models.
    out.trim().replace("<|", "< |").replace("|>", "| >")
}

#[derive(Clone, PartialEq)]
struct Token {
    text: std::borrow::Cow<'static, str>,
    is_word: bool,
}

impl Token {
    fn plain(text: &'static str) -> Token {
        Token { text: text.into(), is_word: false }
    }

    fn word(text: &'static str) -> Token {
        Token { text: text.into(), is_word: true }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = vec![];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = match first {
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(len);
        if is_word(first) {
            if let Some((kind, used)) = address(rest) {
                tokens.push(Token::word(kind));
                rest = &rest[used..];
                continue;
            }
            tokens.push(word(piece, after));
        } else if first.is_whitespace() {
            if tokens.last().is_none_or(|last: &Token| last.text != " ") {
                tokens.push(Token::plain(" "));
            }
        } else if first.is_ascii_graphic() {
            tokens.push(Token { text: piece.to_owned().into(), is_word: false });
        } else if first.is_control() {
            tokens.push(Token::plain("<control>"));
        }
        // What is left is drawn by nobody or has no meaning to an interpreter: it is dropped.
        rest = after;
    }
    prose(tokens)
}

/// A word of the vocabulary, or what stands for another.
fn word(piece: &str, after: &str) -> Token {
    let lower = piece.to_ascii_lowercase();
    if let Some(known) = vocabulary().get(lower.as_str()) {
        return Token::word(known);
    }
    // Names of functions that are common words elsewhere.
    if after.starts_with('(')
        && let Some(known) = ["system", "user"].into_iter().find(|name| *name == lower)
    {
        return Token::word(known);
    }
    let has_digit = piece.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = piece.chars().any(char::is_alphabetic);
    let len = piece.chars().count();
    Token::word(match (has_letter, has_digit) {
        (false, true) => "N",
        (true, true) if len > 7 => "ID",
        _ if len <= 3 => "w",
        _ if len <= 12 => "word",
        _ => "longword",
    })
}

/// What kind of address `text` begins with, and how long it is.
fn address(text: &str) -> Option<(&'static str, usize)> {
    let len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let dotted = text[..len].trim_end_matches('.');
    let address: Ipv4Addr = dotted.parse().ok()?;
    let kind = match () {
        () if address == Ipv4Addr::new(169, 254, 169, 254) => "<metadata-address>",
        () if address.is_loopback() || address.is_unspecified() => "<loopback-address>",
        () if address.is_private() || address.is_link_local() => "<private-address>",
        () => "<address>",
    };
    Some((kind, dotted.len()))
}

/// Four unknown words or more in a row, which say no more than that there is text.
fn prose(tokens: Vec<Token>) -> Vec<Token> {
    let is_unknown = |token: &Token| matches!(&*token.text, "w" | "word" | "longword");
    let mut out: Vec<Token> = vec![];
    let mut at = 0;
    while at < tokens.len() {
        let run = tokens[at..].iter().take_while(|token| is_unknown(token) || token.text == " ").count();
        let words = tokens[at..at + run].iter().filter(|token| is_unknown(token)).count();
        if words >= 4 {
            out.push(Token::word("prose"));
            // The space after it.
            out.extend((tokens[at + run - 1].text == " ").then(|| Token::plain(" ")));
            at += run;
        } else {
            out.extend_from_slice(&tokens[at..at + run.max(1)]);
            at += run.max(1);
        }
    }
    out
}

/// Takes out what repeats itself: `../../../../..` says no more than `../../..`.
fn fold_repeats(tokens: Vec<Token>) -> Vec<Token> {
    let mut out: Vec<Token> = vec![];
    for token in tokens {
        out.push(token);
        for period in 1..=4 {
            let len = out.len();
            let all = period * (REPEATS + 1);
            if len >= all && (0..all - period).all(|back| out[len - 1 - back] == out[len - 1 - back - period]) {
                out.truncate(len - period);
                break;
            }
        }
    }
    out
}

/// Words that may be shown.
fn vocabulary() -> &'static HashSet<&'static str> {
    static WORDS: OnceLock<HashSet<&'static str>> = OnceLock::new();
    WORDS.get_or_init(|| sections().flat_map(|(_, words)| words).collect())
}

/// Those of them that are no part of ordinary paths and parameters.
fn attack_words() -> &'static HashSet<&'static str> {
    static WORDS: OnceLock<HashSet<&'static str>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let of = |ordinary: bool| {
            let those = sections().filter(move |(title, _)| title.contains("ordinary") == ordinary);
            those.flat_map(|(_, words)| words).collect::<HashSet<&str>>()
        };
        &of(false) - &of(true)
    })
}

/// The sections of the vocabulary: titles and words.
fn sections() -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str>)> {
    include_str!("vocabulary.txt").split("\n\n").map(|section| {
        let title = section.lines().next().unwrap_or_default();
        (title, section.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace))
    })
}
