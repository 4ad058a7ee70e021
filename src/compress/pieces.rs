//! The pieces that a text is made of, and which of them fit into a budget.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::Timestamp;
use crate::event::analysis::{Counted, Indicator, IndicatorKind};

use super::clients::{Group, Share};
use super::columns::Folded;
use super::indicators::{Dictionary, Seen};
use super::restore::Told;
use super::rows::{Exact, Table, Written};
use super::tokens::Tokens;
use super::{Budget, FEW, Line, Spans};

/// Indicators of one piece.
const INDICATORS: usize = 40;
/// Of what templates were, so large a part their columns may be.
const COLUMNS_PART: f64 = 1.0 / 20.0;
/// And so many tokens may all of them be in any case.
const COLUMNS_TOKENS: f64 = 2000.0;
/// More of a single template nobody reads.
const COLUMNS_MOST: f64 = 6000.0;

const LEGEND: &str = "Ln: number of a line; ×n: so many times; L9-30/7: every seventh of these lines. <a>, <b>, …: \
columns, whose values follow below: a> in the order of lines, a: by frequency. In rows they stand in their order. = is \
the same time as the one before, :35 that time but for its end, +2 a number greater by two; b1=x calls x b1 from there \
on; a row without Ln is the line after the one before.";

/// A part of the text.
pub struct Piece {
    pub kind: PieceKind,
    /// The lines that it is about; of those that are folded the first and the last.
    pub lines: Spans,
    /// How many things of its kind it is.
    pub count: u64,
    pub text: String,
    pub(super) content: Content,
    /// What stands above it and others.
    head: Option<usize>,
    /// Its place among those with the same head.
    row: usize,
}

pub(super) enum Content {
    Words,
    /// A row of lines as they were.
    Row(Arc<Table>, usize),
    /// Its number, and what is told of its lines.
    Template(usize, Told),
    Shares(Vec<Share>),
}

/// What a piece tells, in the order of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PieceKind {
    /// What may be searched for, of flagged lines.
    Indicators,
    /// Flagged lines, word for word.
    Flagged,
    /// What clients of flagged lines wrote besides, as it is.
    Besides,
    /// Lines that are like at most two others, as they are.
    Rare,
    /// What many lines have in common, and what stands in their columns.
    Template,
    /// Who wrote how many lines of which template.
    Clients,
    /// Addresses and users of lines that are not flagged.
    Others,
}

impl PieceKind {
    fn title(self) -> &'static str {
        match self {
            PieceKind::Indicators => "# Indicators of flagged lines",
            PieceKind::Flagged => "# Flagged lines, word for word",
            PieceKind::Besides => "# Other lines of their clients",
            PieceKind::Rare => "# Lines unlike others",
            PieceKind::Template => "# Templates of all other lines, by column",
            PieceKind::Clients => "# Clients of these lines",
            PieceKind::Others => "# Users and other addresses of lines that are not flagged",
        }
    }

    /// What is counted when it is left out.
    pub fn counted(self) -> &'static str {
        match self {
            PieceKind::Indicators => "indicators",
            PieceKind::Flagged => "flagged_lines",
            PieceKind::Besides => "lines_besides",
            PieceKind::Rare => "rare_lines",
            PieceKind::Template => "templates",
            PieceKind::Clients => "clients",
            PieceKind::Others => "other_indicators",
        }
    }

    /// What weighs most comes first, and may take so large a part of a budget before the others have
    /// had theirs.
    const BY_WEIGHT: [(PieceKind, f64); 7] = [
        (PieceKind::Indicators, 0.3),
        (PieceKind::Flagged, 0.7),
        (PieceKind::Template, 0.85),
        (PieceKind::Clients, 0.95),
        (PieceKind::Besides, 1.0),
        (PieceKind::Rare, 1.0),
        (PieceKind::Others, 1.0),
    ];
}

/// The pieces so far.
#[derive(Default)]
pub(super) struct Draft {
    pieces: Vec<Piece>,
    heads: Vec<String>,
    lines: u64,
    flagged: u64,
    times: Option<(Timestamp, Timestamp)>,
}

impl Draft {
    pub fn saw(&mut self, line: &Line<'_>, is_evidence: bool) {
        self.lines += 1;
        self.flagged += u64::from(is_evidence);
        if let Some(time) = line.time {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
    }

    fn push(&mut self, kind: PieceKind, lines: Spans, count: u64, text: String, content: Content) {
        self.pieces.push(Piece { kind, lines, count, text, content, head: None, row: self.pieces.len() });
    }

    /// What `flagged` has, and what only `others` have.
    pub fn indicators(&mut self, flagged: &Dictionary, others: &Dictionary, budget: Budget) {
        for (kind, dictionary) in [(PieceKind::Indicators, flagged), (PieceKind::Others, others)] {
            let mut ranked = dictionary.ranked();
            ranked.retain(|(of, _)| kind == PieceKind::Indicators || !flagged.has(of.kind, &of.value));
            // Without a budget every flagged line is there, and with it a path that few have.
            let is_told = |of: &Indicator, seen: Seen| of.kind == IndicatorKind::Path && seen.count <= FEW;
            ranked.retain(|(of, seen)| budget != Budget::Auto || !is_told(of, *seen));
            for alike in ranked.chunk_by(|a, b| a.0.kind == b.0.kind) {
                for chunk in alike.chunks(INDICATORS) {
                    let told = chunk.iter().map(|(of, seen)| told(&of.value, *seen));
                    let text = format!("{}: {}", plural(alike[0].0.kind), told.collect::<Vec<_>>().join("  "));
                    let mut numbers: Vec<u64> = chunk.iter().flat_map(|(_, seen)| [seen.first, seen.last]).collect();
                    numbers.sort_unstable();
                    numbers.dedup();
                    self.push(kind, numbers.into_iter().collect(), chunk.len() as u64, text, Content::Words);
                }
            }
        }
    }

    pub fn tables<'a>(
        &mut self,
        kind: PieceKind,
        tables: Vec<(usize, Exact)>,
        constants: &dyn Fn(usize) -> Vec<&'a str>,
    ) {
        for (template, exact) in tables {
            let count = exact.len();
            let table = Arc::new(exact.table(&constants(template)));
            if let [row] = &table.rows[..]
                && count == 1
            {
                let text = format!("L{} {}", row.lines, table.pattern);
                self.push(kind, row.lines.clone(), 1, text, Content::Row(Arc::clone(&table), 0));
                continue;
            }
            let head = self.heads.len();
            self.heads.push(format!("×{count} {}", table.pattern));
            for (at, row) in table.rows.iter().enumerate() {
                let text = table.text(at, &mut Written::default());
                self.push(kind, row.lines.clone(), row.count(), text, Content::Row(Arc::clone(&table), at));
                if let Some(piece) = self.pieces.last_mut() {
                    (piece.head, piece.row) = (Some(head), at);
                }
            }
        }
    }

    /// Gives what each template is called.
    pub fn templates<'a>(
        &mut self,
        folded: &HashMap<usize, Folded>,
        constants: &dyn Fn(usize) -> Vec<&'a str>,
        tokens: &Tokens,
    ) -> HashMap<usize, String> {
        let mut ranked: Vec<(&usize, &Folded)> = folded.iter().collect();
        ranked.sort_by_key(|(template, folded)| (std::cmp::Reverse(folded.lines), **template));
        let least = COLUMNS_TOKENS / ranked.len().max(1) as f64;
        let mut titles = HashMap::new();
        for (number, (template, folded)) in ranked.into_iter().enumerate() {
            let title = format!("T{}", number + 1);
            let Folded { lines, first, last, tokens: was, .. } = folded;
            let allowed = (was * COLUMNS_PART).min(COLUMNS_MOST).max(least);
            let (columns, told) = folded.text(&constants(*template), allowed, tokens);
            let text = format!("{title} ×{lines} L{first}-{last} {columns}");
            let span = [*first, *last].into_iter().collect();
            self.push(PieceKind::Template, span, 1, text, Content::Template(*template, told));
            titles.insert(*template, title);
        }
        titles
    }

    pub fn clients(&mut self, groups: Vec<Group>) {
        for Group { text, clients, first, last, shares, .. } in groups {
            let lines = if first == last { vec![first] } else { vec![first, last] };
            let lines = lines.into_iter().collect();
            self.push(PieceKind::Clients, lines, clients as u64, text, Content::Shares(shares));
        }
    }

    /// The text, the pieces that are in it, and what is not.
    pub fn finish(mut self, budget: Budget, tokens: &Tokens) -> (String, Vec<Piece>, Vec<Counted>) {
        let mut top = format!("{} lines, {} of them flagged", self.lines, self.flagged);
        if let Some((first, last)) = self.times {
            top.push_str(&format!(", from {first} to {last}"));
        }
        top.push_str(&format!(".\n{LEGEND}\n"));
        let is_in = match budget {
            Budget::Auto => vec![true; self.pieces.len()],
            Budget::Tokens(most) => self.fitting(most as f64 - tokens.count(top.as_bytes()), tokens),
        };
        let mut left_out: Vec<Counted> = vec![];
        for (piece, _) in self.pieces.iter().zip(&is_in).filter(|(_, is_in)| !**is_in) {
            let name = piece.kind.counted();
            match left_out.iter_mut().find(|counted| counted.name == name) {
                Some(counted) => counted.count += piece.count,
                None => left_out.push(Counted { name: name.into(), count: piece.count }),
            }
        }
        let mut text = top;
        if !left_out.is_empty() {
            let told = left_out.iter().map(|Counted { name, count }| format!("{count} {}", name.replace('_', " ")));
            text.push_str(&format!("PARTIAL: left out {}.\n", told.collect::<Vec<_>>().join(", ")));
        }
        let mut keep = is_in.iter();
        self.pieces.retain(|_| keep.next().copied().unwrap_or_default());
        let (mut kind, mut head) = (None, None);
        let mut written = Written::default();
        for piece in &mut self.pieces {
            if kind != Some(piece.kind) {
                text.push_str(&format!("\n{}\n", piece.kind.title()));
            }
            if let Some(of) = piece.head.filter(|_| piece.head != head) {
                text.push_str(&format!("{}\n", self.heads[of]));
                written = Written::default();
            }
            if let (Some(_), Content::Row(table, row)) = (piece.head, &piece.content) {
                piece.text = table.text(*row, &mut written);
            }
            (kind, head) = (Some(piece.kind), piece.head);
            let indent = if head.is_some() { " " } else { "" };
            text.push_str(&format!("{indent}{}\n", piece.text));
        }
        (text, self.pieces, left_out)
    }

    /// Which pieces fit into so many tokens: of each kind what its part holds, then what else has room.
    fn fitting(&self, most: f64, tokens: &Tokens) -> Vec<bool> {
        let titles = PieceKind::BY_WEIGHT.iter().map(|(kind, _)| tokens.count(kind.title().as_bytes()) + 2.0);
        // Room for the sentence that says what is not there.
        let most = most - titles.sum::<f64>() - 40.0;
        let mut is_in = vec![false; self.pieces.len()];
        let mut has_head = vec![false; self.heads.len()];
        let mut spent = 0.0;
        for is_last in [false, true] {
            for (kind, part) in PieceKind::BY_WEIGHT {
                let part = if is_last { 1.0 } else { part };
                let mut of_kind: Vec<usize> =
                    (0..self.pieces.len()).filter(|&at| self.pieces[at].kind == kind).collect();
                // A row of each table before a second one of any.
                of_kind.sort_by_key(|&at| self.pieces[at].row);
                for at in of_kind {
                    let Piece { text, head, .. } = &self.pieces[at];
                    let above = head.filter(|&head| !has_head[head]);
                    let above_cost = above.map_or(0.0, |head| tokens.count(self.heads[head].as_bytes()) + 1.0);
                    let cost = tokens.count(text.as_bytes()) + 1.0 + above_cost;
                    if !is_in[at] && spent + cost <= most * part {
                        spent += cost;
                        is_in[at] = true;
                        above.into_iter().for_each(|head| has_head[head] = true);
                    }
                }
            }
        }
        is_in
    }
}

fn told(value: &str, Seen { count, first, last }: Seen) -> String {
    match count {
        1 => format!("{value} L{first}"),
        _ => format!("{value}×{count} L{first}-{last}"),
    }
}

fn plural(kind: IndicatorKind) -> &'static str {
    match kind {
        IndicatorKind::Address => "addresses",
        IndicatorKind::User => "users",
        IndicatorKind::Path => "paths",
        IndicatorKind::Url => "URLs",
        IndicatorKind::Domain => "domains",
        IndicatorKind::Port => "ports",
        IndicatorKind::Hash => "digests",
        IndicatorKind::Email => "e-mail addresses",
        IndicatorKind::Process => "processes",
        IndicatorKind::File => "files",
        IndicatorKind::UserAgent => "user agents",
        IndicatorKind::Rule => "rules",
    }
}
