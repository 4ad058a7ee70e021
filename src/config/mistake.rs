use std::fmt;

use serde::Serialize;

use crate::event::printable;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    Default,
    /// Built in for hosts of this size.
    Profile(&'static str),
    /// A file. Line and column (in bytes) count from 1; 0 means the file as a whole.
    File { path: String, line: usize, column: usize },
    /// The environment variable of this name.
    Environment(String),
    /// `palisade set`, while the daemon runs.
    Set,
}

/// What stands where a file is named otherwise.
const SET: &str = "palisade set";

impl Origin {
    /// Line and column in the file, 0 for what has none.
    pub(super) fn position(&self) -> (usize, usize) {
        match self {
            Origin::File { line, column, .. } => (*line, *column),
            _ => (0, 0),
        }
    }

    /// The file or the variable, and the line in it.
    pub(super) fn place(&self) -> (String, usize) {
        match self {
            Origin::Default | Origin::Profile(_) => (String::new(), 0),
            Origin::File { path, line, .. } => (path.clone(), *line),
            Origin::Environment(name) => (name.clone(), 0),
            Origin::Set => (SET.to_owned(), 0),
        }
    }

    pub(super) fn line(&self) -> usize {
        self.position().0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Profile(name) => write!(f, "profile {name}"),
            Origin::File { path, line: 0, .. } => f.write_str(path),
            Origin::File { path, line, .. } => write!(f, "{path}:{line}"),
            Origin::Environment(name) => f.write_str(name),
            Origin::Set => f.write_str(SET),
        }
    }
}

/// One thing that is wrong, and the way out where it can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub origin: Origin,
    /// Such as `thresholds.block`; of an item in a list, the list's, such as `source.path`. Empty
    /// where a whole file is meant.
    pub key: String,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        let line = format!("{}: {key}{}", self.origin, self.message);
        f.write_str(&printable(line.as_bytes(), 1000))
    }
}

/// Every mistake of all files and the environment, in their order. Printed one a line; of more
/// than a hundred (somebody named a log) the rest as their number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 100;
        for (index, mistake) in self.0.iter().take(SHOWN).enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{mistake}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more mistakes"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// `; did you mean "…"?` with the candidate closest to `name`, or nothing if none is close.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, candidates) {
        Some(candidate) => format!("; did you mean {candidate:?}?"),
        None => String::new(),
    }
}

/// The candidate that was probably meant: about a third of its characters differ at most, or
/// `name` is its beginning.
fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No name is this long, and the distance takes quadratic time.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_lowercase();
    let close = |candidate: &&str| {
        let length = name.chars().count().max(candidate.chars().count());
        distance(&name, candidate) <= (length + 1) / 3 || (name.len() >= 3 && candidate.starts_with(&name))
    };
    candidates.into_iter().filter(close).min_by_key(|candidate| distance(&name, candidate))
}

/// Insertions, deletions and replacements of one character, and swaps of two beside each other.
fn distance(a: &str, b: &str) -> usize {
    let [a, b]: [Vec<char>; 2] = [a, b].map(|text| text.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(x != y);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && (*x, a[i - 1]) == (b[j - 1], *y) {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            next.push(least);
        }
        rows.push(next);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        let names = ["flag", "path", "block", "certain", "nftables", "dry_run"];
        for (name, expected) in [
            ("blok", Some("block")),
            ("blcok", Some("block")),
            ("paht", Some("path")),
            ("Flag", Some("flag")),
            ("dry-run", Some("dry_run")),
            ("nft", Some("nftables")),
            ("certainly", Some("certain")),
            ("act", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }
}
