//! Many lines of a template as one: what stands in each of its columns, in the order of lines where that is
//! no longer than how often, and for times as finely as there is room.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::restore::{Told, Values};
use super::rows::{series, since};
use super::tokens::Tokens;

/// Values of a column that are told apart.
const MAX_VALUES: usize = 1 << 16;
/// Times of a column; where there are more each stands for twice as many lines.
const MAX_TIMES: usize = 1 << 12;
/// Beginnings by which what is not listed is counted.
const MAX_GROUPS: usize = 8;

/// Lines of a template, folded.
#[derive(Default)]
pub struct Folded {
    pub lines: u64,
    pub first: u64,
    pub last: u64,
    /// What they were.
    pub tokens: f64,
    columns: Vec<Column>,
}

#[derive(Default)]
struct Column {
    counts: HashMap<Box<str>, u64, RandomState>,
    lines: u64,
    /// The least and the greatest, where all are numbers.
    range: Option<(u64, u64)>,
    /// All are the line's own client, which is told elsewhere.
    is_client: bool,
    /// All are times of day; only `runs` has them.
    is_clock: bool,
    /// In the order of lines, with how many have it from there on; none where a value comes back that is no time.
    runs: Option<Vec<Run>>,
    /// The latest time.
    last: Box<str>,
    /// Lines that a time stands for at least.
    every: u64,
}

/// A value and how many lines have it.
pub type Run = (Box<str>, u64);

impl Folded {
    /// None yet of lines that have so many tokens.
    pub fn of(tokens: f64) -> Folded {
        Folded { tokens, ..Folded::default() }
    }

    pub fn add(&mut self, number: u64, values: &[&str], client: Option<IpAddr>) {
        if self.lines == 0 {
            self.first = number;
            self.columns = values.iter().map(|value| Column::new(value)).collect();
        }
        self.lines += 1;
        self.last = number;
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.add(value, client);
        }
    }

    /// The template with a name for each column that varies, and below it what stands in them, in about
    /// so many tokens as are allowed.
    pub fn text(&self, constants: &[&str], allowed: f64, tokens: &Tokens) -> (String, Told) {
        let mut text = String::new();
        let mut told = Told::default();
        let mut named = vec![];
        for (column, constant) in self.columns.iter().zip(constants) {
            text.push_str(constant);
            let name = match column.only() {
                _ if column.is_client => "client".into(),
                Some(value) => {
                    text.push_str(value);
                    told.grow(constant);
                    told.grow(value);
                    continue;
                }
                None => {
                    named.push((told.columns.len(), column, column.cost(tokens)));
                    name(named.len() - 1)
                }
            };
            text.push_str(&format!("<{name}>"));
            told.grow(constant);
            told.column(Values::Client);
        }
        let end = constants.last().copied().unwrap_or_default();
        text.push_str(end);
        told.grow(end);
        // Who needs little gets all of it and leaves the rest to others.
        let mut costs: Vec<(f64, usize)> = named.iter().map(|(_, _, cost)| *cost).zip(0..).collect();
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut left, mut shares) = (allowed, vec![0.0; named.len()]);
        for (done, (cost, index)) in costs.iter().enumerate() {
            shares[*index] = cost.min(left / (costs.len() - done) as f64);
            left -= shares[*index];
        }
        for (index, ((at, column, _), share)) in named.iter().zip(shares).enumerate() {
            let (listed, values) = column.text(share, tokens);
            text.push_str(&format!("\n {}{listed}", name(index)));
            told.columns[*at] = values;
        }
        (text, told)
    }
}

/// `a`, `b`, … `z`, `a1`, …
pub fn name(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    if index < 26 { letter.into() } else { format!("{letter}{}", index / 26) }
}

/// `22:33:34` somewhere in it.
pub fn is_clock(value: &str) -> bool {
    let is_it = |window: &[u8]| {
        window.iter().enumerate().all(|(at, byte)| if at % 3 == 2 { *byte == b':' } else { byte.is_ascii_digit() })
    };
    value.len() < 40 && value.as_bytes().windows(8).any(is_it)
}

/// A number that is written as numbers are written back.
pub fn number(value: &str) -> Option<u64> {
    let is_plain = value.len() < 19 && (value == "0" || !value.starts_with(['0', '+']));
    value.parse().ok().filter(|_| is_plain)
}

fn times(count: u64) -> String {
    if count > 1 { format!("×{count}") } else { String::new() }
}

fn cost((value, count): &(&str, u64), tokens: &Tokens) -> f64 {
    tokens.count(value.as_bytes())
        + 0.3
        + if *count > 1 { 1.0 + tokens.count(count.to_string().as_bytes()) } else { 0.0 }
}

impl Column {
    fn new(first: &str) -> Column {
        Column {
            range: number(first).map(|number| (number, number)),
            is_client: true,
            is_clock: is_clock(first),
            runs: Some(vec![]),
            ..Column::default()
        }
    }

    fn add(&mut self, value: &str, client: Option<IpAddr>) {
        self.lines += 1;
        self.is_client = self.is_client && client.is_some() && value.parse().ok() == client;
        if self.is_clock && !is_clock(value) {
            (self.is_clock, self.runs) = (false, None);
        }
        if let Some(runs) = &mut self.runs {
            match runs.last_mut() {
                Some((last, count)) if **last == *value => *count += 1,
                Some((_, count)) if self.is_clock && (*count < self.every || *self.last == *value) => *count += 1,
                _ if self.is_clock || self.counts.len() < MAX_VALUES && !self.counts.contains_key(value) => {
                    runs.push((value.into(), 1))
                }
                _ => self.runs = None,
            }
        }
        if self.is_clock {
            if *self.last != *value {
                self.last = value.into();
            }
            if let Some(runs) = self.runs.as_mut().filter(|runs| runs.len() > MAX_TIMES) {
                thin(runs);
                self.every = (2 * self.every).max(2);
            }
            return;
        }
        self.range = self.range.zip(number(value)).map(|((low, high), value)| (low.min(value), high.max(value)));
        if let Some(count) = self.counts.get_mut(value) {
            *count += 1;
        } else if self.counts.len() < MAX_VALUES {
            self.counts.insert(value.into(), 1);
        }
    }

    /// Lines whose values are not in the counts.
    fn beyond(&self) -> u64 {
        self.lines - self.counts.values().sum::<u64>()
    }

    /// The value, if it is always the same.
    fn only(&self) -> Option<&str> {
        self.runs.as_ref().filter(|runs| runs.len() == 1).map(|runs| &*runs[0].0)
    }

    /// The values, the most frequent first.
    fn ranked(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(value, count)| (&**value, *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all
    }

    /// What all of it would cost.
    fn cost(&self, tokens: &Tokens) -> f64 {
        match &self.runs {
            Some(runs) => tokens.count(self.in_order(runs).as_bytes()),
            None => self.ranked().iter().map(|value| cost(value, tokens)).sum(),
        }
    }

    /// Times and numbers by what is new against the one before.
    fn in_order(&self, runs: &[Run]) -> String {
        let is_number = self.range.is_some() && runs.iter().all(|(_, count)| *count == 1);
        if is_number {
            let values: Vec<Box<str>> = runs.iter().map(|(value, _)| value.clone()).collect();
            return series(None, &values);
        }
        let before = std::iter::once(None).chain(runs.iter().map(|(value, _)| Some(&**value)));
        let told = before.zip(runs).map(|(before, (value, count))| match self.is_clock {
            true => since(before, value).to_owned() + &times(*count),
            false => value.to_string() + &times(*count),
        });
        let told = told.collect::<Vec<_>>().join("  ");
        match runs {
            [(first, _)] if self.is_clock => format!("{first} … {}", self.last),
            [.., (value, _)] if self.is_clock && **value != *self.last => format!("{told} … {}", self.last),
            _ => told,
        }
    }

    fn text(&self, allowed: f64, tokens: &Tokens) -> (String, Values) {
        let mut runs = self.runs.clone().unwrap_or_default();
        while !runs.is_empty() {
            let text = self.in_order(&runs);
            if tokens.count(text.as_bytes()) <= allowed || self.is_clock && runs.len() == 1 {
                return (format!("> {text}"), Values::in_order(&runs));
            }
            if self.is_clock { thin(&mut runs) } else { runs.clear() }
        }
        let values = self.ranked();
        let mut spent = 0.0;
        let mut fits = |value: &&(&str, u64)| {
            spent += cost(value, tokens);
            spent <= allowed
        };
        let (shown, rest) = values.split_at(values.iter().take_while(&mut fits).count());
        let mut text: Vec<String> = shown.iter().map(|(value, count)| format!("{value}{}", times(*count))).collect();
        let beyond = self.beyond();
        if !rest.is_empty() || beyond > 0 {
            let lines: u64 = rest.iter().map(|(_, count)| count).sum::<u64>() + beyond;
            let more = if beyond > 0 { "more than " } else { "" };
            let range = match self.range {
                Some((low, high)) => format!(" from {low} to {high}"),
                None => groups(rest),
            };
            text.push(format!("and {more}{} other values in {lines} lines{range}", rest.len()));
        }
        (format!(": {}", text.join("  ")), Values::mixed(shown))
    }
}

/// Every second of the runs, as long as two.
fn thin(runs: &mut Vec<Run>) {
    let pair = |pair: &[Run]| (pair[0].0.clone(), pair.iter().map(|(_, count)| count).sum());
    *runs = runs.chunks(2).map(pair).collect();
}

/// How often what is not listed begins alike: paths by their first directory.
fn groups(values: &[(&str, u64)]) -> String {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (value, _) in values {
        let end = value.bytes().skip(1).position(|byte| byte == b'/').map(|at| at + 2);
        if let Some(end) = end.filter(|end| value.starts_with('/') && *end < 40) {
            *counts.entry(&value[..end]).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    counts.iter().take(MAX_GROUPS).enumerate().fold(String::new(), |text, (number, (value, count))| {
        text + if number == 0 { ": " } else { "  " } + &format!("{value}…×{count}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(lines: &[[&str; 4]]) -> Folded {
        let mut folded = Folded::default();
        for (number, values) in lines.iter().enumerate() {
            folded.add(number as u64 + 1, values, values[0].parse().ok());
        }
        folded
    }

    const CONSTANTS: [&str; 5] = ["", " [", "] GET ", " ", " end"];

    #[test]
    fn columns_say_how_often_and_what_does_not_fit_is_counted() {
        let folded = folded(&[
            ["192.0.2.1", "22:33:34", "/a/x", "7"],
            ["192.0.2.2", "22:33:34", "/a/x", "7"],
            ["192.0.2.2", "22:33:35", "/a/y", "19"],
            ["192.0.2.2", "22:33:39", "/a/z", "7"],
        ]);
        let (all, told) = folded.text(&CONSTANTS, 1e9, &Tokens::default());
        let expected = "<client> [<a>] GET <b> <c> end\n a> 22:33:34×2  :35  :39\n b> /a/x×2  /a/y  /a/z\n c: 7×3  19";
        assert_eq!(all, expected);
        let back: Vec<String> = (0..4).map(|nth| told.line(nth, "192.0.2.9".parse().ok())).collect();
        assert_eq!(back[0], "192.0.2.9 [22:33:34] GET /a/x 7 end");
        assert_eq!(back[2], "192.0.2.9 [22:33:35] GET /a/y 7 end");
        let nineteen = back.iter().filter(|line| line.ends_with(" 19 end")).count();
        assert_eq!(nineteen, 1, "as often as it was: {back:?}");
        let (few, told) = folded.text(&CONSTANTS, 0.0, &Tokens::default());
        assert!(few.contains("a> 22:33:34 … 22:33:39"), "{few}");
        assert!(few.contains("b: and 3 other values in 4 lines: /a/…×3"), "{few}");
        assert!(few.contains("c: and 2 other values in 4 lines from 7 to 19"), "{few}");
        assert_eq!(told.line(3, None), " [22:33:34] GET - - end", "what is not told is not made up");
    }

    #[test]
    fn a_column_that_is_not_always_the_client_tells_its_values() {
        let folded = folded(&[["192.0.2.1", "x", "/", "1"], ["-", "x", "/", "1"]]);
        let (text, _) = folded.text(&CONSTANTS, 99.0, &Tokens::default());
        assert_eq!(text, "<a> [x] GET / 1 end\n a> 192.0.2.1  -");
    }

    #[test]
    fn times_are_told_as_finely_as_there_is_room() {
        let times: Vec<String> =
            (0..10_000).map(|n| format!("{:02}:{:02}:{:02}", n / 3600, n / 60 % 60, n % 60)).collect();
        let mut folded = Folded::default();
        (1..).zip(&times).for_each(|(number, time)| folded.add(number, &[time], None));
        let (text, told) = folded.text(&["at ", "!"], 200.0, &Tokens::default());
        assert!(Tokens::default().count(text.as_bytes()) < 250.0, "{text}");
        assert!(text.starts_with("at <a>!\n a> 00:00:00×") && text.ends_with(" … 02:46:39"), "{text}");
        for nth in [0, 777, 9_999usize] {
            let back = told.line(nth as u64, None);
            assert!(back[3..11] <= *times[nth] && back[3..8] >= times[nth.saturating_sub(1100)][..5], "{nth}: {back}");
        }
    }
}
