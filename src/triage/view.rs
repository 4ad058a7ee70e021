//! A finding as a model is shown it: masked, so that what an attacker writes cannot speak to the
//! model and what a person wrote does not leave. Words stand as they are only if the vocabulary has
//! them; others become their length, numbers `N`, addresses their kind, a user agent its class. Names
//! of clients, hosts, users and referrers are left out. The text is the same for requests that are alike,
//! so it is also what verdicts are remembered by.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use crate::detect::PlainUri;
use crate::event::{Evidence, Finding, digest};

/// Changes whenever the same finding gets another text.
pub const VERSION: &str = "2";

/// Of one text so many tokens are shown and so many bytes; of a longer one its beginning and its end.
const TEXT_TOKENS: usize = 48;
const TEXT_BYTES: usize = 176;
/// Bytes of a parameter's name.
const NAME_BYTES: usize = 48;
/// Parameters that are shown.
const PARTS: usize = 8;
/// Pieces of evidence that are shown.
const EVIDENCE: usize = 6;
/// What a token repeats itself at most, alone or as a pair.
const REPEATS: usize = 3;
/// Masked words in a row that say no more than that there is text.
const PROSE: usize = 4;
/// The rule that finds text which speaks to a model: what it hits no model may excuse.
pub const ADDRESSES_MODEL: &str = "model-address";

/// What a model sees of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View(String);

impl View {
    pub fn of(finding: &Finding) -> View {
        let mut lines = vec![];
        // Found again in any order; what rules matched may lie beyond what is shown of the request. That a
        // text addresses models is for `decide` to weigh: no model is told.
        let mut hits: Vec<(Reverse<u8>, String)> = (finding.evidence.iter())
            .filter(|piece| piece.score > 0 && &*piece.rule_id != ADDRESSES_MODEL)
            .map(|piece| (Reverse(piece.score), hit(piece)))
            .collect();
        let matched: HashSet<&str> = finding.evidence.iter().map(|piece| &*piece.rule_id).collect();
        let windows = finding.rule_ids.iter().filter(|id| !matched.contains(&***id) && &***id != ADDRESSES_MODEL);
        let windows: Vec<_> = windows.map(|id| (Reverse(0), format!("{id}, counted over many lines"))).collect();
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
        lines.extend(hits.iter().take(EVIDENCE).map(|(_, hit)| format!("rule: {hit}")));
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
    pub fn key(&self, depends_on: &str) -> String {
        digest(&[b"view", VERSION.as_bytes(), self.0.as_bytes(), depends_on.as_bytes()])
    }
}

/// A rule's match. Of what a client says of itself no text is shown.
fn hit(piece: &Evidence) -> String {
    let Evidence { rule_id, target, matched, .. } = piece;
    match &**target {
        "user_agent" | "referer" => format!("{rule_id} in {target}"),
        _ => format!("{rule_id} in {target}: {}", mask(matched.as_bytes())),
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
        let (name, value) = (mask_within(name, NAME_BYTES), mask(value));
        (!is_plain(&name) || !is_plain(&value)).then(|| format!("parameter {name} = {value}"))
    };
    let mut telling: Vec<String> = parameters.iter().filter_map(|(name, value)| shown(name, value)).collect();
    let plain = parameters.len() - telling.len();
    if telling.len() > PARTS {
        // Both ends: the middle is where nobody would hide alone.
        let cut = telling.len() - PARTS;
        telling.drain(PARTS / 2..PARTS / 2 + cut);
        telling.push("more parameters".into());
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
    token.bytes().all(|byte| byte.is_ascii_lowercase()) && !words().of_attacks.contains(token)
}

/// What kind of program a user agent names, the suspicious first: of its words none is shown. What
/// attacks is looked for everywhere, what else it claims to be in its name alone.
fn agent(user_agent: &str) -> &'static str {
    let all = user_agent.to_ascii_lowercase();
    let is_browser = all.starts_with("mozilla/") || all.starts_with("opera/");
    let name = match all.split_once("compatible;") {
        Some((_, name)) if is_browser => name.trim_start(),
        _ if is_browser => "",
        _ => &all,
    };
    let name = name.split([' ', ';', ')', '(', ',']).next().unwrap_or_default();
    let any = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
    match () {
        () if all.is_empty() || all == "-" => "none",
        () if any(&all, SCANNERS) => "scanner",
        () if any(&all, &["${", "<script", "() {", "' or ", "/etc/", "select "]) => "attack",
        () if any(name, &["bot", "crawl", "spider", "slurp", "monitor", "uptime"]) => {
            "claims to be a crawler or monitor"
        }
        () if any(name, LIBRARIES) => "library",
        () if is_browser => "browser",
        () => "other",
    }
}

const SCANNERS: &[&str] =
    &["sqlmap", "nikto", "nuclei", "nmap", "masscan", "zgrab", "wpscan", "dirbuster", "gobuster", "ffuf"];

const LIBRARIES: &[&str] =
    &["curl", "wget", "python", "go-http", "java/", "okhttp", "axios", "libwww", "httpx", "aiohttp"];

/// `text`, decoded, as the masked tokens that stand for it.
pub fn mask(text: &[u8]) -> String {
    mask_within(text, TEXT_BYTES)
}

fn mask_within(text: &[u8], max_bytes: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let tokens = fold_repeats(prose(tokens(&text)));
    let mut out = String::new();
    let mut put = |tokens: &[Token]| {
        for token in tokens {
            if token.is_word && out.ends_with(|c: char| c.is_ascii_alphanumeric()) {
                out.push(' ');
            }
            out.push_str(&token.text);
        }
    };
    let head = fitting(tokens.iter(), max_bytes);
    if tokens.len() <= TEXT_TOKENS && fitting(tokens.iter().skip(head), max_bytes) == tokens.len() - head {
        put(&tokens);
    } else {
        let tail = fitting(tokens.iter().skip(head).rev(), max_bytes);
        put(&tokens[..head]);
        put(&[Token::plain(" [cut] ")]);
        put(&tokens[tokens.len() - tail..]);
    }
    // So ends a control token of chat models; none begins, since nothing of a client's follows a `<` at once.
    out.trim().replace("|>", "| >")
}

/// How many of `tokens` are half of what is shown of a text, and of `max_bytes`.
fn fitting<'a>(tokens: impl Iterator<Item = &'a Token>, max_bytes: usize) -> usize {
    let mut bytes = 0;
    let fits = |token: &&Token| {
        // And the space before a word.
        bytes += token.text.len() + usize::from(token.is_word);
        bytes <= max_bytes / 2
    };
    tokens.take(TEXT_TOKENS / 2).take_while(fits).count()
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
            if let Some((kind, used)) = address(rest).or_else(|| uuid(rest)) {
                tokens.push(Token::word(kind));
                rest = &rest[used..];
                continue;
            }
            // A control token's name.
            let named = matches!(&tokens[..], [.., open, bar] if open.text == "< " && bar.text == "|");
            tokens.push(if named { Token::word("word") } else { word(piece, after) });
        } else if first.is_whitespace() {
            if tokens.last().is_none_or(|last: &Token| last.text != " ") {
                tokens.push(Token::plain(" "));
            }
        } else if first == '<' {
            // Chat models know `<s>`, `<think>`, `<|im_end|>` and the like as signs, not as text.
            tokens.push(Token::plain("< "));
        } else if first.is_ascii_graphic() {
            tokens.push(Token { text: piece.to_owned().into(), is_word: false });
            let before = &text[..text.len() - after.len()];
            if let Some(used) = host(after).filter(|_| before == "//" || before.ends_with("://")) {
                tokens.push(Token::word("<host>"));
                rest = &after[used..];
                continue;
            }
        } else if first.is_control() {
            tokens.push(Token::plain("<control>"));
        }
        // What is left is drawn by nobody or has no meaning to an interpreter: it is dropped.
        rest = after;
    }
    tokens
}

/// A word of the vocabulary, or what stands for another.
fn word(piece: &str, after: &str) -> Token {
    let lower = piece.to_ascii_lowercase();
    if let Some(known) = words().shown.get(lower.as_str()) {
        return Token::word(known);
    }
    if after.starts_with(['(', '`'])
        && let Some(known) = words().functions.get(lower.as_str())
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

/// The length of the UUID that `text` begins with, which stands for nothing but itself.
fn uuid(text: &str) -> Option<(&'static str, usize)> {
    let bytes = text.as_bytes().get(..36)?;
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    bytes.iter().enumerate().all(fits).then_some(("ID", 36))
}

/// The length of the host name with a dot that `text` begins with; an address is none, nor is a name
/// that is known or means the server's own network.
fn host(text: &str) -> Option<usize> {
    let len = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-')).unwrap_or(text.len());
    let name = text[..len].trim_end_matches(['.', '-']);
    let last = name.rsplit_once('.')?.1;
    let is_own = ["internal", "local", "localhost"].iter().any(|own| last.eq_ignore_ascii_case(own));
    (name.starts_with(|c: char| c.is_ascii_alphanumeric()) && last.starts_with(|c: char| c.is_ascii_alphabetic()))
        .then_some(name.len())
        .filter(|_| !is_own)
}

/// Unknown words in a row, which say no more than that there is text, and with them those known words
/// that people write too.
fn prose(tokens: Vec<Token>) -> Vec<Token> {
    let is_unknown = |token: &Token| matches!(&*token.text, "w" | "word" | "longword");
    let is_known = |token: &Token| token.is_word && words().of_prose.contains(&*token.text);
    let is_between =
        |token: &Token| matches!(&*token.text, " " | "," | "." | "-" | "!" | "?" | ":" | "N" | "<address>");
    let mut out: Vec<Token> = vec![];
    let mut rest = &tokens[..];
    while let Some(first) = rest.first() {
        // Up to the last word: what stands after it is no part of the text.
        let (mut run, mut unknown) = (0, 0);
        for (at, token) in rest.iter().enumerate() {
            if is_unknown(token) || is_known(token) {
                run = at + 1;
                unknown += usize::from(is_unknown(token));
            } else if run == 0 || !is_between(token) {
                break;
            }
        }
        if unknown >= PROSE {
            out.push(Token::word("prose"));
        } else if run > 0 {
            out.extend_from_slice(&rest[..run]);
        } else {
            out.push(first.clone());
            run = 1;
        }
        rest = &rest[run..];
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

/// The vocabulary.
struct Words {
    shown: HashSet<&'static str>,
    /// Those that are no part of ordinary paths and parameters.
    of_attacks: HashSet<&'static str>,
    /// Those that are shown as names of functions alone.
    functions: HashSet<&'static str>,
    /// Those that people write too.
    of_prose: HashSet<&'static str>,
}

fn words() -> &'static Words {
    static WORDS: OnceLock<Words> = OnceLock::new();
    WORDS.get_or_init(|| {
        let mut words = Words {
            shown: HashSet::new(),
            of_attacks: HashSet::new(),
            functions: HashSet::new(),
            of_prose: HashSet::new(),
        };
        let mut ordinary = HashSet::new();
        for section in include_str!("vocabulary.txt").split("\n\n") {
            let (title, listed) = section.split_once('\n').unwrap_or((section, ""));
            let listed = || listed.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
            match title {
                title if title.starts_with("# functions") => words.functions.extend(listed()),
                title if title.starts_with("# prose") => words.of_prose.extend(listed()),
                title if title.contains("ordinary") => ordinary.extend(listed()),
                _ => words.of_attacks.extend(listed()),
            }
        }
        words.shown = &words.of_attacks | &ordinary;
        words.of_prose.extend(&ordinary);
        words.of_attacks = &words.of_attacks - &ordinary;
        words
    })
}

#[cfg(test)]
mod tests;
