//! Many lines of a template as one: what stands in each of its columns and how often, no longer in which
//! line.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::tokens::Tokens;

/// Values of a column that are told apart.
const MAX_VALUES: usize = 1 << 16;
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

struct Column {
    counts: HashMap<Box<str>, u64, RandomState>,
    lines: u64,
    /// The least and the greatest, where all are numbers.
    range: Option<(u64, u64)>,
    /// All are times of day: the first and the last that came.
    clock: Option<(Box<str>, Box<str>)>,
    /// All are the line's own client, which is told elsewhere.
    is_client: bool,
}

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
    pub fn text(&self, constants: &[&str], allowed: f64, tokens: &Tokens) -> String {
        let mut pattern = String::new();
        let mut named = vec![];
        for (column, constant) in self.columns.iter().zip(constants) {
            pattern.push_str(constant);
            match column.only() {
                _ if column.is_client => pattern.push_str("<client>"),
                Some(value) => pattern.push_str(value),
                None => {
                    let name = name(named.len());
                    pattern.push_str(&format!("<{name}>"));
                    named.push((name, column, column.ranked()));
                }
            }
        }
        pattern.push_str(constants.last().copied().unwrap_or_default());
        // Who needs little gets all of it and leaves the rest to others.
        let cost = |values: &[(&str, u64)]| values.iter().map(|value| cost(value, tokens)).sum::<f64>();
        let mut costs: Vec<(f64, usize)> = named.iter().map(|(_, _, values)| cost(values)).zip(0..).collect();
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut left, mut shares) = (allowed, vec![0.0; named.len()]);
        for (done, (cost, index)) in costs.iter().enumerate() {
            shares[*index] = cost.min(left / (costs.len() - done) as f64);
            left -= shares[*index];
        }
        for ((name, column, values), share) in named.iter().zip(shares) {
            pattern.push_str(&format!("\n {name}: {}", column.text(values, share, tokens)));
        }
        pattern
    }

    /// The line that stands for all: in each column what is most frequent there. In two parts, where the
    /// client stands between them.
    pub fn typical(&self, constants: &[&str]) -> (String, Option<String>) {
        let (mut line, mut before) = (String::new(), None);
        for (column, constant) in self.columns.iter().zip(constants) {
            line.push_str(constant);
            if column.is_client && before.is_none() {
                before = Some(std::mem::take(&mut line));
            } else {
                line.push_str(column.most_frequent());
            }
        }
        line.push_str(constants.last().copied().unwrap_or_default());
        match before {
            Some(before) => (before, Some(line)),
            None => (line, None),
        }
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
            counts: HashMap::default(),
            lines: 0,
            range: number(first).map(|number| (number, number)),
            clock: is_clock(first).then(|| (first.into(), first.into())),
            is_client: true,
        }
    }

    fn add(&mut self, value: &str, client: Option<IpAddr>) {
        self.lines += 1;
        self.is_client = self.is_client && client.is_some() && value.parse().ok() == client;
        if self.is_client {
            // Counted with the clients; what was counted so far is, should another turn up, few.
            return self.count(value);
        }
        if let Some((_, last)) = &mut self.clock {
            if is_clock(value) {
                if **last != *value {
                    *last = value.into();
                    self.counts.clear();
                }
                return self.count(value);
            }
            self.clock = None;
        }
        self.range = self.range.zip(number(value)).map(|((low, high), value)| (low.min(value), high.max(value)));
        self.count(value);
    }

    fn count(&mut self, value: &str) {
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
        let is_one = match &self.clock {
            Some((first, last)) => first == last,
            None => self.counts.len() == 1 && self.beyond() == 0,
        };
        self.counts.keys().next().filter(|_| is_one).map(|value| &**value)
    }

    fn most_frequent(&self) -> &str {
        let counts = self.counts.iter().map(|(value, count)| (&**value, *count));
        counts.max_by_key(|(value, count)| (*count, std::cmp::Reverse(*value))).map_or("", |(value, _)| value)
    }

    /// The values, the most frequent first.
    fn ranked(&self) -> Vec<(&str, u64)> {
        if self.clock.is_some() {
            return vec![];
        }
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(value, count)| (&**value, *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all
    }

    fn text(&self, values: &[(&str, u64)], allowed: f64, tokens: &Tokens) -> String {
        if let Some((first, last)) = &self.clock {
            return format!("{first} … {last}");
        }
        let mut spent = 0.0;
        let mut fits = |value: &&(&str, u64)| {
            spent += cost(value, tokens);
            spent <= allowed
        };
        let shown = values.iter().take_while(&mut fits).count();
        let mut text: Vec<String> =
            values[..shown].iter().map(|(value, count)| format!("{value}{}", times(*count))).collect();
        let rest = &values[shown..];
        let beyond = self.beyond();
        if rest.is_empty() && beyond == 0 {
            return text.join("  ");
        }
        let lines: u64 = rest.iter().map(|(_, count)| count).sum::<u64>() + beyond;
        let more = if beyond > 0 { "more than " } else { "" };
        let range = match self.range {
            Some((low, high)) => format!(" from {low} to {high}"),
            None => groups(rest),
        };
        text.push(format!("and {more}{} other values in {lines} lines{range}", rest.len()));
        text.join("  ")
    }
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
        let all = folded.text(&CONSTANTS, 1e9, &Tokens::default());
        let expected = "<client> [<a>] GET <b> <c> end\n a: 22:33:34 … 22:33:39\n b: /a/x×2  /a/y  /a/z\n c: 7×3  19";
        assert_eq!(all, expected);
        let few = folded.text(&CONSTANTS, 0.0, &Tokens::default());
        assert!(few.contains("b: and 3 other values in 4 lines: /a/…×3"), "{few}");
        assert!(few.contains("c: and 2 other values in 4 lines from 7 to 19"), "{few}");
        assert_eq!(folded.typical(&CONSTANTS), (String::new(), Some(" [22:33:39] GET /a/x 7 end".into())));
    }

    #[test]
    fn a_column_that_is_not_always_the_client_tells_its_values() {
        let folded = folded(&[["192.0.2.1", "x", "/", "1"], ["-", "x", "/", "1"]]);
        assert_eq!(folded.text(&CONSTANTS, 99.0, &Tokens::default()), "<a> [x] GET / 1 end\n a: -  192.0.2.1");
    }
}
