//! Lines of a template that are kept word for word: what they have in common once, then a row for all
//! lines that differ in times and numbers alone.

use std::collections::HashMap;

use super::columns::{is_clock, name, number};
use super::spans::Spans;

/// Lines of a template, with what stands in the fields that vary.
#[derive(Default)]
pub struct Exact {
    lines: Vec<(u64, Vec<Box<str>>)>,
}

/// Lines as rows below their pattern.
pub struct Table {
    /// What all lines have in common, with names for what they have not.
    pub pattern: String,
    pub rows: Vec<Row>,
    /// Texts before, between and after the columns.
    constants: Vec<String>,
}

/// Lines that differ in times and numbers alone.
pub struct Row {
    pub lines: Spans,
    cells: Vec<Cell>,
}

enum Cell {
    /// The same in all lines of the row.
    One(Box<str>),
    /// One value for each line.
    Each(Vec<Box<str>>),
}

impl Exact {
    pub fn add(&mut self, number: u64, values: &[&str]) {
        self.lines.push((number, values.iter().map(|value| (*value).into()).collect()));
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// The table of these lines, whose template has `constants`.
    pub fn table(self, constants: &[&str]) -> Table {
        let columns = constants.len().saturating_sub(1);
        let first = self.lines.first().map_or(&[][..], |(_, values)| values);
        let mut kinds = vec![];
        for (column, value) in first.iter().enumerate() {
            let mut values = self.lines.iter().map(|(_, values)| &values[column]);
            kinds.push(match () {
                () if values.clone().all(|other| other == value) => Kind::Constant,
                () if values.clone().all(|value| is_clock(value)) || values.all(|value| number(value).is_some()) => {
                    Kind::Each
                }
                () => Kind::Key,
            });
        }
        let mut table = Table { pattern: String::new(), rows: vec![], constants: vec![String::new()] };
        for column in 0..columns {
            table.grow(constants[column]);
            match kinds.get(column) {
                Some(Kind::Constant) => table.grow(&first[column]),
                _ => {
                    table.pattern.push_str(&format!("<{}>", name(table.constants.len() - 1)));
                    table.constants.push(String::new());
                }
            }
        }
        table.grow(constants.last().copied().unwrap_or_default());
        let mut known: HashMap<Vec<Box<str>>, usize> = HashMap::new();
        for (number, values) in self.lines {
            let of = |kind: Kind| values.iter().zip(&kinds).filter(move |(_, own)| **own == kind);
            let key = of(Kind::Key).map(|(value, _)| value.clone()).collect();
            let at = *known.entry(key).or_insert(table.rows.len());
            if at == table.rows.len() {
                let cells = values.iter().zip(&kinds).filter_map(|(value, kind)| match kind {
                    Kind::Constant => None,
                    Kind::Key => Some(Cell::One(value.clone())),
                    Kind::Each => Some(Cell::Each(vec![])),
                });
                table.rows.push(Row { lines: Spans::default(), cells: cells.collect() });
            }
            let row = &mut table.rows[at];
            row.lines.push(number);
            let each = row.cells.iter_mut().filter_map(|cell| match cell {
                Cell::Each(values) => Some(values),
                Cell::One(_) => None,
            });
            each.zip(of(Kind::Each)).for_each(|(values, (value, _))| values.push(value.clone()));
        }
        table
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The same in all lines.
    Constant,
    /// Lines that differ in it are different rows.
    Key,
    /// Told for each line of a row.
    Each,
}

impl Table {
    fn grow(&mut self, text: &str) {
        self.pattern.push_str(text);
        if let Some(last) = self.constants.last_mut() {
            last.push_str(text);
        }
    }

    /// The lines of `row`, as they were.
    pub fn lines<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (u64, String)> + 'a {
        row.lines.iter().enumerate().map(|(index, number)| {
            let mut text = String::new();
            for (constant, cell) in self.constants.iter().zip(&row.cells) {
                text.push_str(constant);
                text.push_str(match cell {
                    Cell::One(value) => value,
                    Cell::Each(values) => &values[index],
                });
            }
            text.push_str(self.constants.last().map_or("", String::as_str));
            (number, text)
        })
    }
}

impl Row {
    /// How many lines it is.
    pub fn count(&self) -> u64 {
        self.lines.iter().count() as u64
    }

    pub fn text(&self) -> String {
        let mut text = format!("L{}", self.lines);
        for (number, cell) in self.cells.iter().enumerate() {
            text.push_str(if number == 0 { " " } else { " | " });
            match cell {
                Cell::One(value) => text.push_str(value),
                Cell::Each(values) => text.push_str(&series(values)),
            }
        }
        text
    }
}

/// Values of one line after the other. A time shows what is new against the one before; a number its
/// growth, where that is shorter for all.
fn series(values: &[Box<str>]) -> String {
    let numbers: Option<Vec<i64>> = values.iter().map(|value| number(value).map(|number| number as i64)).collect();
    let plain = || values.windows(2).map(|pair| since(&pair[0], &pair[1])).collect::<Vec<_>>();
    let rest = match numbers {
        Some(numbers) => {
            let growth: Vec<String> = numbers.windows(2).map(|pair| format!("{:+}", pair[1] - pair[0])).collect();
            let raw: Vec<String> = values[1..].iter().map(ToString::to_string).collect();
            let length = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
            if length(&growth) < length(&raw) { growth } else { raw }
        }
        None => plain(),
    };
    let mut text = values[0].to_string();
    let mut at = 0;
    // What is the same as before is counted with it.
    let first = values.iter().take_while(|value| **value == values[0]).count();
    if first > 1 {
        text.push_str(&format!("×{first}"));
        at = first - 1;
    }
    while at < rest.len() {
        let same = rest[at..].iter().take_while(|other| **other == rest[at]).count();
        // A time that repeats itself has nothing new; it is told with the one before.
        let (shown, count) = if rest[at].is_empty() { ("=", same) } else { (rest[at].as_str(), same) };
        text.push_str(&format!(" {shown}{}", if count > 1 { format!("×{count}") } else { String::new() }));
        at += same;
    }
    text
}

/// The end of `next` from where it differs from `before`, back to a separator; all of it where they are
/// not of one length, and nothing where they are the same.
fn since(before: &str, next: &str) -> String {
    if before == next {
        return String::new();
    }
    let same = before.bytes().zip(next.bytes()).take_while(|(a, b)| a == b).count();
    let from = next.as_bytes()[..same].iter().rposition(|byte| matches!(byte, b':' | b'.' | b','));
    match from {
        Some(from) if before.len() == next.len() => next[from..].to_owned(),
        _ => next.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(lines: &[[&str; 3]]) -> Exact {
        let mut exact = Exact::default();
        lines.iter().zip([3, 4, 7, 9, 20]).for_each(|(values, number)| exact.add(number, values));
        exact
    }

    const CONSTANTS: [&str; 4] = ["at ", " user ", " port ", "!"];

    #[test]
    fn lines_that_differ_in_times_and_numbers_are_one_row() {
        let table = exact(&[
            ["22:33:34", "root", "5000"],
            ["22:33:34", "root", "5002"],
            ["22:33:35", "admin", "5002"],
            ["22:33:35", "root", "5004"],
            ["22:34:01", "root", "5006"],
        ])
        .table(&CONSTANTS);
        assert_eq!(table.pattern, "at <a> user <b> port <c>!");
        let rows: Vec<String> = table.rows.iter().map(Row::text).collect();
        assert_eq!(rows, ["L3-4,9,20 22:33:34×2 :35 :34:01 | root | 5000 +2×3", "L7 22:33:35 | admin | 5002"]);
        assert_eq!(exact(&[["22:33:34", "root", "1"]]).table(&CONSTANTS).pattern, "at 22:33:34 user root port 1!");
    }

    proptest! {
        #[test]
        fn every_line_comes_back_as_it_was(
            lines in prop::collection::vec(prop::array::uniform3("(root|[0-9]{1,3}|0[0-9]|22:33:3[0-9]|é <a>)"), 1..40),
        ) {
            let mut exact = Exact::default();
            for (number, values) in (1..).zip(&lines) {
                exact.add(number * number, &[&values[0], &values[1], &values[2]]);
            }
            let table = exact.table(&CONSTANTS);
            let mut back: Vec<(u64, String)> = table.rows.iter().flat_map(|row| table.lines(row)).collect();
            back.sort();
            let expected: Vec<(u64, String)> = (1..).zip(&lines)
                .map(|(number, [a, b, c])| (number * number, format!("at {a} user {b} port {c}!"))).collect();
            prop_assert_eq!(back, expected);
        }
    }
}
