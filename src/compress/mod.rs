//! Takes the lines of an input and which of them are evidence, gives a text of few tokens that keeps
//! every indicator and says where each piece came from. Never guesses what a line means.
//!
//! What is evidence stands word for word, without its secrets, and what its clients wrote besides where that is little;
//! what is not is folded into templates, and into who wrote how many lines of which. `docs/compression.md` explains
//! the text.

mod clients;
mod columns;
mod config;
mod fields;
mod indicators;
mod miner;
mod pieces;
mod restore;
mod rows;
pub mod scaledown;
mod spans;
mod tokens;

pub use config::{CompressConfig, ScaledownConfig};
pub use pieces::{Piece, PieceKind};
pub use restore::Restored;
pub use spans::Spans;
pub use tokens::Tokens;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::event::analysis::{Compression, Indicator, IndicatorKind};
use crate::event::{Timestamp, masked, printable};

use clients::Clients;
use columns::Folded;
use fields::Fields;
use indicators::Dictionary;
use miner::Miner;
use pieces::Draft;
use rows::Exact;

/// Bytes of a line that are kept.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Lines of a template, so few that they are shown as they are.
const FEW: u64 = 3;
/// What clients of flagged lines wrote besides is shown as it is, up to so large a part of all tokens, or so many.
const BESIDES_PART: f64 = 1.0 / 8.0;
const BESIDES_TOKENS: f64 = 16_000.0;

/// A line of the input, as the compressor needs it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Counted from 1, growing.
    pub number: u64,
    pub text: &'a [u8],
    pub time: Option<Timestamp>,
    pub source_ip: Option<IpAddr>,
    pub user: &'a [u8],
}

/// How much may come out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// All evidence and every indicator; of the rest a part that grows with the input.
    #[default]
    Auto,
    /// So many tokens: what weighs most, and what was left out is counted.
    Tokens(u64),
}

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub budget: Budget,
    /// Price of a million tokens that a model takes in.
    pub usd_per_million_tokens: Option<f64>,
    pub tokens: Tokens,
    /// Rules, windows and signs that hit, and the lines on which they did: these are indicators too.
    pub rule_hits: Vec<(String, Spans)>,
}

/// An input in few tokens.
pub struct Compressed {
    pub text: String,
    pub stats: Compression,
    /// What the text is made of, in its order.
    pub pieces: Vec<Piece>,
    /// What may be searched for elsewhere, of the flagged lines.
    pub indicators: Vec<Indicator>,
}

impl Compressed {
    /// The same with a text that a service made of it.
    pub fn in_other_words(mut self, text: String, compressor: &str, options: &Options) -> Compressed {
        let tokens = options.tokens.count(text.as_bytes()).round() as u64;
        self.stats = Compression { compressor: compressor.into(), ..self.stats }.of_text(&text, tokens, options);
        self.text = text;
        self
    }
}

/// The text of `lines`, which come in the order of their numbers, each time the same. `evidence(number)`: the
/// line is flagged and is kept word for word, without its secrets.
pub fn compress<'a>(
    lines: impl Iterator<Item = Line<'a>> + Clone,
    evidence: &dyn Fn(u64) -> bool,
    options: &Options,
) -> Compressed {
    let started = Instant::now();
    let tokens = &options.tokens;
    let mut fields = Fields::default();
    // What clients of flagged lines wrote besides, in tokens.
    let clients = lines.clone().filter(|line| evidence(line.number)).filter_map(|line| line.source_ip);
    let mut besides: HashMap<IpAddr, f64> = clients.map(|client| (client, 0.0)).collect();
    // The first time through: what do lines have in common?
    let (mut miner, mut templates, mut sizes) = (Miner::new(), vec![], vec![]);
    // Of each line, whether it is shown as it is: most are, and are not looked through again.
    let mut unchanged = vec![];
    let (mut original_bytes, mut original_tokens) = (0, 0.0);
    for line in lines.clone() {
        let is_evidence = evidence(line.number);
        let text = shown(&line);
        fields.split(&text);
        let template = miner.take(&text, &fields);
        templates.push(template as u32);
        unchanged.push(matches!(text, Cow::Borrowed(_)));
        let cost = tokens.count(line.text) + tokens.count(b"\n");
        original_bytes += line.text.len() as u64 + 1;
        original_tokens += cost;
        sizes.resize(miner.templates.len(), (0, 0.0));
        if !is_evidence {
            let (count, tokens) = &mut sizes[template];
            *count += 1;
            *tokens += cost;
            if let Some(of_client) = line.source_ip.and_then(|client| besides.get_mut(&client)) {
                *of_client += cost;
            }
        }
    }
    keep_smallest(&mut besides, (original_tokens * BESIDES_PART).max(BESIDES_TOKENS));
    // The second time: what is in the columns?
    let mut draft = Draft::default();
    let (mut flagged, mut beside, mut rare) = (Tables::new(), Tables::new(), Tables::new());
    let mut folded: HashMap<usize, Folded> = HashMap::new();
    let (mut clients, mut named, mut others) = (Clients::default(), Dictionary::default(), Dictionary::default());
    for ((line, template), unchanged) in lines.zip(&templates).zip(unchanged) {
        let template = *template as usize;
        let is_evidence = evidence(line.number);
        let text = match std::str::from_utf8(line.text) {
            Ok(text) if unchanged => Cow::Borrowed(text),
            _ => shown(&line),
        };
        fields.split(&text);
        let values =
            if template == miner::OTHER { vec![&*text] } else { miner.templates[template].values(&text, &fields) };
        draft.saw(&line, is_evidence);
        if is_evidence {
            let mut take = |kind, value: &str| named.add(kind, value, line.number);
            line.source_ip.iter().for_each(|address| take(IndicatorKind::Address, &address.to_string()));
            if !line.user.is_empty() {
                take(IndicatorKind::User, &printable(line.user, MAX_LINE_BYTES));
            }
            indicators::find(&text, &mut take);
            flagged.entry(template).or_default().add(line.number, &values);
            continue;
        }
        if !line.user.is_empty() {
            others.add(IndicatorKind::User, &printable(line.user, MAX_LINE_BYTES), line.number);
        }
        let is_beside = line.source_ip.is_some_and(|client| besides.contains_key(&client));
        if is_beside || sizes[template].0 <= FEW {
            let tables = if is_beside { &mut beside } else { &mut rare };
            tables.entry(template).or_default().add(line.number, &values);
            continue;
        }
        for value in values.iter().filter(|value| value.len() >= 7 && value.contains(['.', ':'])) {
            indicators::address(value, &mut |kind, value| {
                let is_client = line.source_ip.is_some_and(|client| value.parse() == Ok(client));
                if kind == IndicatorKind::Address && !is_client {
                    others.add(kind, value, line.number);
                }
            });
        }
        clients.add(line.source_ip, template, line.number);
        let of = folded.entry(template).or_insert_with(|| Folded::of(sizes[template].1));
        of.add(line.number, &values, line.source_ip);
    }
    for (rule, lines) in &options.rule_hits {
        let rule = printable(rule.as_bytes(), MAX_LINE_BYTES);
        lines.iter().for_each(|number| named.add(IndicatorKind::Rule, &rule, number));
    }
    draft.indicators(&named, &others, options.budget);
    let constants = |template: usize| match template {
        miner::OTHER => vec!["", ""],
        _ => miner.templates[template].constants(),
    };
    draft.tables(PieceKind::Flagged, in_order(flagged), &constants);
    draft.tables(PieceKind::Besides, in_order(beside), &constants);
    draft.tables(PieceKind::Rare, in_order(rare), &constants);
    let titles = draft.templates(&folded, &constants, tokens);
    draft.clients(clients.groups(&|template| titles.get(&template).cloned().unwrap_or_default()));
    let (text, pieces, left_out) = draft.finish(options.budget, tokens);
    let original_tokens = original_tokens.round() as u64;
    let compressed_tokens = tokens.count(text.as_bytes()).round() as u64;
    let stats = Compression {
        original_bytes,
        original_tokens,
        counted_by: "estimated".into(),
        took_ms: started.elapsed().as_millis() as u64,
        partial: !left_out.is_empty(),
        left_out,
        compressor: "own".into(),
        ..Compression::default()
    }
    .of_text(&text, compressed_tokens, options);
    let indicators = named.ranked().into_iter().map(|(indicator, _)| indicator.clone()).collect();
    Compressed { text, stats, pieces, indicators }
}

impl Compression {
    /// What `text` saves.
    fn of_text(self, text: &str, compressed_tokens: u64, options: &Options) -> Compression {
        let part = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let saved_tokens = self.original_tokens.saturating_sub(compressed_tokens);
        Compression {
            compressed_bytes: text.len() as u64,
            compressed_tokens,
            saved_tokens,
            saved_percent: 100.0 * part(saved_tokens, self.original_tokens),
            ratio: part(self.original_tokens, compressed_tokens),
            cost_saved_usd: options.usd_per_million_tokens.map(|price| saved_tokens as f64 / 1e6 * price),
            text: Some(text.to_owned()),
            ..self
        }
    }
}

/// Of clients those that wrote least, as many as have so many tokens together.
fn keep_smallest(clients: &mut HashMap<IpAddr, f64>, most: f64) {
    let mut ranked: Vec<(f64, IpAddr)> = clients.iter().map(|(client, tokens)| (*tokens, *client)).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut spent = 0.0;
    for (tokens, client) in ranked {
        spent += tokens;
        if spent > most {
            clients.remove(&client);
        }
    }
}

type Tables = HashMap<usize, Exact>;

/// Those with the most lines first, of equals the older template.
fn in_order(tables: Tables) -> Vec<(usize, Exact)> {
    let mut tables: Vec<(usize, Exact)> = tables.into_iter().collect();
    tables.sort_by_key(|(template, exact)| (std::cmp::Reverse(exact.len()), *template));
    tables
}

/// The line as it may be shown: printable, without secrets, and without what chat models take for signs
/// of their own.
fn shown<'a>(line: &Line<'a>) -> Cow<'a, str> {
    // Without an early end: many bytes are looked at together.
    let is_printable = line.text.iter().fold(true, |all, byte| all & matches!(byte, b' '..=b'~'));
    let is_plain = line.text.len() <= MAX_LINE_BYTES && is_printable;
    let text = match std::str::from_utf8(line.text) {
        Ok(text) if is_plain => Cow::Borrowed(text),
        _ => Cow::Owned(printable(line.text, MAX_LINE_BYTES)),
    };
    let text = match text {
        Cow::Borrowed(text) => masked(text, line.user),
        Cow::Owned(text) => Cow::Owned(masked(&text, line.user).into_owned()),
    };
    if text.contains('|') && (text.contains("<|") || text.contains("|>")) {
        return Cow::Owned(text.replace("<|", "< |").replace("|>", "| >"));
    }
    text
}

#[cfg(test)]
mod tests;
