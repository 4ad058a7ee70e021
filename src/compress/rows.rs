//! Lines of a template that are kept word for word: what they have in common once, then a row for all
//! lines that differ in times and numbers alone. A row says only what the one before it does not.

use std::collections::{HashMap, HashSet};

use super::columns::{is_clock, name, number};
use super::spans::Spans;

/// A value so long, in bytes, has a name where several rows have it.
const LONG: usize = 24;
/// Of rows whose lines follow each other, every so many says which line it is.
const LABELLED: usize = 10;

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
    /// Names of long values that several rows have, by their column.
    names: HashMap<(usize, Box<str>), String>,
}

/// What the rows above have said.
#[derive(Default)]
pub struct Written {
    /// The row before, and how many there are since one said its line.
    previous: Option<(usize, usize)>,
    named: HashSet<String>,
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
        let mut table =
            Table { pattern: String::new(), rows: vec![], constants: vec![String::new()], names: HashMap::new() };
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
        table.give_names();
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

    fn give_names(&mut self) {
        let mut seen: HashMap<(usize, Box<str>), u64> = HashMap::new();
        let mut given = vec![0; self.constants.len()];
        for row in &self.rows {
            for (column, cell) in row.cells.iter().enumerate() {
                let Cell::One(value) = cell else { continue };
                if value.len() < LONG {
                    continue;
                }
                let count = seen.entry((column, value.clone())).or_default();
                *count += 1;
                if *count == 2 {
                    given[column] += 1;
                    self.names.insert((column, value.clone()), format!("{}{}", name(column), given[column]));
                }
            }
        }
    }

    /// What stands for the row, below those that are in `written`.
    pub fn text(&self, at: usize, written: &mut Written) -> String {
        let row = &self.rows[at];
        let before = written.previous.map(|(before, _)| &self.rows[before]);
        let unlabelled = match (before, written.previous) {
            (Some(before), Some((_, since)))
                if before.lines.last() + 1 == row.lines.first() && row.count() == 1 && since < LABELLED =>
            {
                since
            }
            _ => 0,
        };
        written.previous = Some((at, unlabelled + 1));
        let mut parts = vec![];
        for (column, cell) in row.cells.iter().enumerate() {
            parts.push(match cell {
                Cell::One(value) => match self.names.get(&(column, value.clone())) {
                    Some(name) if !written.named.insert(name.clone()) => name.clone(),
                    Some(name) => format!("{name}={value}"),
                    None => value.to_string(),
                },
                Cell::Each(values) => {
                    let before = before.and_then(|before| match &before.cells[column] {
                        Cell::Each(values) => values.last(),
                        Cell::One(_) => None,
                    });
                    series(before.map(|value| &**value), values)
                }
            });
        }
        let cells = parts.join(" | ");
        if unlabelled > 0 { cells } else { format!("L{} {cells}", row.lines) }
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
}

/// Values of one line after the other. A time shows what is new against the one before, which in the row
/// above is `before`; a number its growth, where that is shorter for all.
pub fn series(before: Option<&str>, values: &[Box<str>]) -> String {
    let run = |told: &str, times: usize| if times > 1 { format!("{told}×{times}") } else { told.to_owned() };
    let numbers: Option<Vec<i64>> = values.iter().map(|value| number(value).map(|number| number as i64)).collect();
    let told: Vec<String> = match numbers {
        Some(numbers) => {
            let growth = numbers.windows(2).map(|pair| format!("{:+}", pair[1] - pair[0]));
            let growth: Vec<String> = std::iter::once(values[0].to_string()).chain(growth).collect();
            let plain: Vec<String> = values.iter().map(ToString::to_string).collect();
            let length = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
            let told = if length(&growth) < length(&plain) { growth } else { plain };
            told.chunk_by(|a, b| a == b).map(|alike| run(&alike[0], alike.len())).collect()
        }
        None => {
            let runs: Vec<&[Box<str>]> = values.chunk_by(|a, b| a == b).collect();
            let before = std::iter::once(before).chain(runs.iter().map(|run| Some(&*run[0])));
            before.zip(&runs).map(|(before, alike)| run(since(before, &alike[0]), alike.len())).collect()
        }
    };
    told.join(" ")
}

/// The end of `next` from where it differs from `before`, back to a separator; all of it where they are
/// not of one length.
pub fn since<'a>(before: Option<&str>, next: &'a str) -> &'a str {
    let Some(before) = before.filter(|before| before.len() == next.len()) else { return next };
    if before == next {
        return "=";
    }
    let same = before.bytes().zip(next.bytes()).take_while(|(a, b)| a == b).count();
    next.as_bytes()[..same]
        .iter()
        .rposition(|byte| matches!(byte, b':' | b'.' | b','))
        .map_or(next, |from| &next[from..])
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
        let mut written = Written::default();
        let rows: Vec<String> = (0..table.rows.len()).map(|row| table.text(row, &mut written)).collect();
        assert_eq!(rows, ["L3-4,9,20 22:33:34×2 :35 :34:01 | root | 5000 +2×3", "L7 :33:35 | admin | 5002"]);
        assert_eq!(exact(&[["22:33:34", "root", "1"]]).table(&CONSTANTS).pattern, "at 22:33:34 user root port 1!");
    }

    #[test]
    fn a_row_says_what_the_one_before_does_not() {
        let agent = "Mozilla/5.0 (X11; Linux x86_64)";
        let table = exact(&[["22:33:34", agent, "/a"], ["22:33:34", agent, "/b"], ["22:33:35", "curl", "/c"]]);
        let table = table.table(&CONSTANTS);
        let mut written = Written::default();
        let rows: Vec<String> = (0..3).map(|row| table.text(row, &mut written)).collect();
        assert_eq!(rows, [&*format!("L3 22:33:34 | b1={agent} | /a"), "= | b1 | /b", "L7 :35 | curl | /c"]);
        let alone = table.text(1, &mut Written::default());
        assert_eq!(alone, format!("L4 22:33:34 | b1={agent} | /b"), "alone it says all");
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
