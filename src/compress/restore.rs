//! The way back: lines again, as far as the text tells them.

use std::collections::HashMap;
use std::net::IpAddr;

use super::clients::Share;
use super::columns::Run;
use super::pieces::Content;
use super::{Compressed, PieceKind};

/// A line that the text tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// Of a folded line one between the first and the last that is told of its client.
    pub number: u64,
    /// Without its secrets. Of a folded line values of its template's columns.
    pub text: String,
    /// Who wrote it, where it is folded: of others the text says so.
    pub source_ip: Option<IpAddr>,
    /// It stands in the text word for word.
    pub is_exact: bool,
}

impl Compressed {
    /// All lines that the text tells of, in their order: those that are evidence, those of the same clients and rare
    /// ones word for word; of the others as many as there were, each with its client and its template, hence its
    /// method and status, at a time of its template, with values as frequent as they were.
    pub fn restore(&self) -> Vec<Restored> {
        let (mut lines, mut folded, mut templates) = (vec![], vec![], HashMap::new());
        for piece in &self.pieces {
            match &piece.content {
                Content::Words => {}
                Content::Row(table, row) => {
                    lines.extend(table.lines(&table.rows[*row]).map(|(number, text)| Restored {
                        number,
                        text,
                        source_ip: None,
                        is_exact: true,
                    }))
                }
                Content::Template(template, told) => {
                    templates.insert(*template, (told, 0));
                }
                Content::Shares(shares) => folded.extend(spread(shares, piece.lines.first(), piece.lines.last())),
            }
        }
        folded.sort_by_key(|(number, _)| *number);
        for (number, Share { client, template, .. }) in folded {
            if let Some((told, nth)) = templates.get_mut(template) {
                let text = told.line(*nth, *client);
                *nth += 1;
                lines.push(Restored { number, text, source_ip: *client, is_exact: false });
            }
        }
        lines.sort_by_key(|line| line.number);
        lines
    }

    /// Flagged lines that stand in the text, word for word.
    pub fn flagged(&self) -> u64 {
        self.pieces.iter().filter(|piece| piece.kind == PieceKind::Flagged).map(|piece| piece.count).sum()
    }
}

/// The lines of `shares`, evenly between the `first` and the `last` of all.
fn spread(shares: &[Share], first: u64, last: u64) -> impl Iterator<Item = (u64, &Share)> {
    let all = shares.len() as u64;
    (0..).zip(shares).flat_map(move |(at, share)| {
        let steps = (share.count * all - 1).max(1);
        (0..share.count).map(move |nth| (first + (last - first) * (nth * all + at) / steps, share))
    })
}

/// What is told of folded lines.
pub(super) struct Told {
    /// Texts before, between and after the columns.
    constants: Vec<String>,
    pub columns: Vec<Values>,
}

pub(super) enum Values {
    Client,
    /// Values with how many lines have one up to it.
    Listed {
        ends: Vec<(u64, Box<str>)>,
        /// From the value of a line to that of the next.
        step: u64,
    },
}

impl Default for Told {
    fn default() -> Told {
        Told { constants: vec![String::new()], columns: vec![] }
    }
}

impl Told {
    /// Adds what all lines have behind the last column.
    pub fn grow(&mut self, text: &str) {
        if let Some(last) = self.constants.last_mut() {
            last.push_str(text);
        }
    }

    pub fn column(&mut self, values: Values) {
        self.columns.push(values);
        self.constants.push(String::new());
    }

    /// The `nth` of the lines, which is of `client`: its values stand where they are listed in the order of lines, else
    /// each is as frequent as it is told.
    pub fn line(&self, nth: u64, client: Option<IpAddr>) -> String {
        let mut line = String::new();
        for (constant, column) in self.constants.iter().zip(&self.columns) {
            line.push_str(constant);
            match (column, client) {
                (Values::Client, Some(client)) => line.push_str(&client.to_string()),
                (Values::Client, None) => {}
                (Values::Listed { ends, step }, _) => {
                    let all = ends.last().map_or(1, |(end, _)| *end);
                    let place = (u128::from(nth) * u128::from(*step) % u128::from(all)) as u64;
                    line.push_str(ends.get(ends.partition_point(|(end, _)| *end <= place)).map_or("-", |(_, of)| of));
                }
            }
        }
        line + self.constants.last().map_or("", String::as_str)
    }
}

impl Values {
    pub fn in_order(runs: &[Run]) -> Values {
        Values::listed(runs.iter().map(|(value, count)| (&**value, *count)), 1)
    }

    /// Mixed evenly: the step is near the golden section of all and meets each of them once.
    pub fn mixed(values: &[(&str, u64)]) -> Values {
        let all: u64 = values.iter().map(|(_, count)| count).sum();
        let step = ((all as f64 * 0.618) as u64..).find(|step| greatest_divisor(*step, all) == 1);
        Values::listed(values.iter().copied(), step.unwrap_or(1))
    }

    fn listed<'a>(values: impl Iterator<Item = (&'a str, u64)>, step: u64) -> Values {
        let mut end = 0;
        let ends = values.map(|(value, count)| {
            end += count;
            (end, value.into())
        });
        Values::Listed { ends: ends.collect(), step }
    }
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}
