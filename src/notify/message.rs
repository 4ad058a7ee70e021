use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Severity, Timestamp};

/// What people are told, once. All of it is printable; each channel escapes it for its own place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same at every try.
    pub id: String,
    pub at: Timestamp,
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// Lines.
    pub text: String,
    /// The page of the case.
    pub url: Option<String>,
    pub sums: Sums,
}

/// What a message counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    pub findings: u64,
    pub bans: u64,
    pub held: u64,
    pub categories: BTreeMap<String, u64>,
    /// News of each client; of very many the first.
    pub clients: BTreeMap<String, u64>,
    /// News of clients that found no room in `clients`.
    pub of_others: u64,
}

impl Sums {
    /// Clients that are told apart: bounds the memory, and what is kept over a restart.
    const MAX_CLIENTS: usize = 2000;

    pub fn total(&self) -> u64 {
        self.findings + self.bans + self.held
    }

    pub fn count(&mut self, client: &str, category: &str) {
        if !category.is_empty() {
            *self.categories.entry(category.to_owned()).or_default() += 1;
        }
        if client.is_empty() {
            return;
        }
        if let Some(count) = self.clients.get_mut(client) {
            *count += 1;
        } else if self.clients.len() < Sums::MAX_CLIENTS {
            self.clients.insert(client.to_owned(), 1);
        } else {
            self.of_others += 1;
        }
    }

    /// The largest of `counts`, each with its number, and how many others there are.
    fn top(counts: &BTreeMap<String, u64>) -> (Vec<(&str, u64)>, usize) {
        const SHOWN: usize = 5;
        let mut all: Vec<(&str, u64)> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let others = all.len().saturating_sub(SHOWN);
        all.truncate(SHOWN);
        (all, others)
    }

    pub fn top_clients(&self) -> String {
        let (top, others) = Sums::top(&self.clients);
        let mut said = listed(&top);
        if self.of_others > 0 {
            said += &format!(" and more than {} others", grouped(others as u64));
        } else if others > 0 {
            said += &format!(" and {} others", grouped(others as u64));
        }
        said
    }

    pub fn top_categories(&self) -> String {
        let (top, others) = Sums::top(&self.categories);
        let more = if others > 0 { format!(" and {others} other kinds") } else { String::new() };
        listed(&top) + &more
    }

    /// `56 clients`, of very many `more than 2,000 clients`.
    pub fn client_count(&self) -> String {
        let more = if self.of_others > 0 { "more than " } else { "" };
        format!("{more}{}", counted(self.clients.len() as u64, "client"))
    }

    /// `1,234 findings by 56 clients, 12 bans, 3 blocks held back`, without what there is none of.
    pub fn told(&self) -> String {
        let mut parts = vec![];
        if self.findings > 0 {
            parts.push(counted(self.findings, "finding"));
        }
        if self.bans > 0 {
            parts.push(counted(self.bans, "ban"));
        }
        if self.held > 0 {
            parts.push(format!("{} held back", counted(self.held, "block")));
        }
        if let (Some(first), false) = (parts.first_mut(), self.clients.is_empty()) {
            *first += &format!(" by {}", self.client_count());
        }
        parts.join(", ")
    }
}

fn listed(top: &[(&str, u64)]) -> String {
    top.iter().map(|(name, count)| format!("{name} ({})", grouped(*count))).collect::<Vec<_>>().join(", ")
}

/// `1 finding`, `1,234 findings`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `text` in at most `most` parts of at most `limit` bytes after `escape`, cut at ends of lines where that is
/// possible. What is left over is left out, and a sign says so.
pub fn parts(text: &str, limit: usize, most: usize, escape: impl Fn(char, &mut String)) -> Vec<String> {
    let (mut parts, mut one) = (vec![], String::new());
    for line in text.split_inclusive('\n') {
        let mut whole = String::new();
        line.chars().for_each(|c| escape(c, &mut whole));
        if one.len() + whole.len() > limit && whole.len() <= limit && !one.is_empty() {
            parts.push(std::mem::take(&mut one));
        }
        for c in line.chars() {
            let before = one.len();
            escape(c, &mut one);
            if one.len() > limit {
                let rest = one.split_off(before);
                parts.push(std::mem::replace(&mut one, rest));
            }
        }
    }
    parts.push(one);
    if parts.len() > most {
        parts.truncate(most);
        if let Some(last) = parts.last_mut() {
            last.push('…');
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_told_in_words() {
        let mut sums = Sums { findings: 1234, bans: 1, ..Sums::default() };
        for n in 0..2500_u32 {
            sums.count(&format!("client {}", n % 2100), "sqli");
        }
        sums.count("client 7", "xss");
        assert_eq!(sums.told(), "1,234 findings by more than 2,000 clients, 1 ban");
        assert!(sums.top_clients().starts_with("client 7 (3), client 0 (2), client 1 (2)"), "{}", sums.top_clients());
        assert!(sums.top_clients().ends_with(" and more than 1,995 others"), "{}", sums.top_clients());
        assert_eq!(sums.top_categories(), "sqli (2,500), xss (1)");
        assert_eq!((grouped(0), grouped(999), grouped(1_000_000)), ("0".into(), "999".into(), "1,000,000".into()));
    }

    #[test]
    fn a_text_is_cut_at_lines_and_never_within_an_escape() {
        let escape = |c: char, out: &mut String| match c {
            '<' => out.push_str("&lt;"),
            c => out.push(c),
        };
        assert_eq!(parts("ab\ncd\nef", 6, 9, escape), ["ab\ncd\n", "ef"]);
        assert_eq!(parts("<<<", 9, 9, escape), ["&lt;&lt;", "&lt;"]);
        assert_eq!(parts("<<<", 4, 2, escape), ["&lt;", "&lt;…"]);
        assert_eq!(parts("", 4, 2, escape), [""]);
    }
}
