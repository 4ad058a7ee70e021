//! A question → its words, with what is no word of a language kept apart.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{time, words};

/// Bytes of a question that are looked at: nobody asks longer ones.
pub const MAX_BYTES: usize = 1000;

#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    /// As it was written, without what surrounds it.
    pub raw: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A word that the grammar knows, in the form in which it does.
    Known(String),
    /// Any other.
    Unknown,
    Number(u64),
    Client(IpNet),
    Path,
    /// In double quotes.
    Quoted,
    /// A comma and the like: what was said before is over.
    Break,
}

impl Token {
    /// The word that is known, or a number as it is written.
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Known(word) => Some(word),
            Kind::Number(_) => Some(&self.raw),
            _ => None,
        }
    }
}

/// The tokens of `question`, and which words were taken for others: as written, as read.
pub fn tokens(question: &str) -> (Vec<Token>, Vec<(String, String)>) {
    let (mut tokens, mut corrected) = (vec![], vec![]);
    for (number, part) in question.split('"').enumerate() {
        if number % 2 == 1 {
            tokens.push(Token { kind: Kind::Quoted, raw: part.to_owned() });
            continue;
        }
        for piece in part.split_whitespace() {
            pieces(piece, &mut tokens, &mut corrected);
            multiply(&mut tokens);
        }
    }
    (tokens, corrected)
}

/// "two hundred", "a thousand" at the end of `tokens` as one number.
fn multiply(tokens: &mut Vec<Token>) {
    let times = match tokens.last().and_then(Token::word) {
        Some("hundred") => 100,
        Some("thousand") => 1000,
        _ => return,
    };
    let count = match tokens.iter().rev().nth(1).and_then(Token::word) {
        Some("a") => Some(1),
        Some(word) => time::number(word).and_then(|number| u64::try_from(number).ok()),
        None => None,
    };
    if let Some(number) = count.and_then(|count| count.checked_mul(times)) {
        tokens.truncate(tokens.len() - 2);
        tokens.push(Token { kind: Kind::Number(number), raw: number.to_string() });
    }
}

fn pieces(piece: &str, tokens: &mut Vec<Token>, corrected: &mut Vec<(String, String)>) {
    let inner = piece.trim_matches(|c: char| "?!.,;:()[]<>'`’".contains(c) && !(c == '.' && piece.starts_with("./")));
    let ends = piece.ends_with([',', ';', ':', '.']) && !inner.is_empty();
    if inner.is_empty() {
        // Dashes divide; anything else that is no word is not understood.
        let kind = if piece.chars().all(|c| "-–—,.?!:".contains(c)) { Kind::Break } else { Kind::Unknown };
        tokens.push(Token { kind, raw: piece.to_owned() });
        return;
    }
    if let Some(kind) = client(inner) {
        tokens.push(Token { kind, raw: inner.to_owned() });
    } else if inner.starts_with('/') {
        tokens.push(Token { kind: Kind::Path, raw: inner.trim_end_matches('*').to_owned() });
    } else {
        word(inner, tokens, corrected);
    }
    if ends {
        tokens.push(Token { kind: Kind::Break, raw: String::new() });
    }
}

fn client(text: &str) -> Option<Kind> {
    let network = text.parse::<IpNet>().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))?;
    let network = match network {
        IpNet::V6(v6) if v6.prefix_len() == 128 => IpNet::from(crate::event::canonical(v6.addr().into())),
        other => other,
    };
    Some(Kind::Client(network.trunc()))
}

fn word(written: &str, tokens: &mut Vec<Token>, corrected: &mut Vec<(String, String)>) {
    let lower = written.to_lowercase();
    let lower = lower.strip_suffix("'s").or_else(|| lower.strip_suffix("’s")).unwrap_or(&lower);
    let mut push = |kind, raw: &str| tokens.push(Token { kind, raw: raw.to_owned() });
    if let Ok(number) = lower.parse() {
        return push(Kind::Number(number), written);
    }
    if let Some(known) = words::known(lower) {
        return push(Kind::Known(known.to_owned()), written);
    }
    // "24h" is a number and a unit, "3pm" and "12th" one and what it is.
    let digits = lower.len() - lower.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0
        && let Some((number, unit)) = lower.split_at_checked(digits)
        && let (Ok(value), Some(unit)) = (number.parse(), words::unit(unit))
    {
        push(Kind::Number(value), number);
        if !unit.is_empty() {
            push(Kind::Known(unit.to_owned()), unit);
        }
        return;
    }
    // Dates, times, statuses, ids of rules, names: what they mean, their neighbours say.
    if lower.starts_with(|c: char| c.is_ascii_digit() || c == '>') {
        return push(Kind::Unknown, written);
    }
    let parts: Vec<&str> = lower.split(['-', '/', '&']).collect();
    if parts.len() > 1 && parts.iter().all(|part| words::known(part).is_some()) {
        let all = parts.iter().filter_map(|part| words::known(part));
        // The whole as it was written stands at its first part, for the id of a rule.
        return all.enumerate().for_each(|(at, part)| {
            push(Kind::Known(part.to_owned()), if at == 0 { written } else { part });
        });
    }
    match words::nearest(lower) {
        Some(known) => {
            corrected.push((lower.to_owned(), known.to_owned()));
            push(Kind::Known(known.to_owned()), written);
        }
        None => push(Kind::Unknown, written),
    }
}
