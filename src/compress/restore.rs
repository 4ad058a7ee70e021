//! The way back: lines again, as far as the text tells them.

use std::net::IpAddr;

use super::columns::Folded;
use super::pieces::Content;
use super::{Compressed, PieceKind};

/// A line that the text tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// Of a folded line a number between the first and the last of its client and template.
    pub number: u64,
    /// Without its secrets. Of a folded line what is most frequent in its template.
    pub text: String,
    /// Who wrote it, where it is folded: of others the text says so.
    pub source_ip: Option<IpAddr>,
    /// It stands in the text word for word.
    pub is_exact: bool,
}

/// What a folded line looks like: a line that is most frequent, with the place of its client.
pub(super) struct Background {
    before: String,
    after: Option<String>,
}

impl Background {
    pub fn of(folded: &Folded, constants: &[&str]) -> Background {
        let (before, after) = folded.typical(constants);
        Background { before, after }
    }

    fn line(&self, client: Option<IpAddr>) -> String {
        match (&self.after, client) {
            (Some(after), Some(client)) => format!("{}{client}{after}", self.before),
            _ => self.before.clone(),
        }
    }
}

impl Compressed {
    /// All lines that the text tells of, in their order: those that are evidence word for word; of the
    /// others as many as there were, each with its client and its template, hence its method and status.
    pub fn restore(&self) -> Vec<Restored> {
        let mut lines = vec![];
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
                Content::Shares(shares) => {
                    for share in shares {
                        let Some(background) = self.background.get(&share.template) else { continue };
                        let text = background.line(share.client);
                        lines.extend((0..share.count).map(|nth| Restored {
                            number: share.first + (share.last - share.first) * nth / (share.count - 1).max(1),
                            text: text.clone(),
                            source_ip: share.client,
                            is_exact: false,
                        }));
                    }
                }
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
