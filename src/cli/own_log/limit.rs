use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use tracing::Level;

use super::line::Line;

/// Of each kind so many messages are written within this time. A minute holds at most sixty new bans unless
/// configured: each of them is said.
pub const WINDOW: Duration = Duration::from_secs(10);
const WRITTEN: u32 = 100;
/// Kinds that are told apart at once; there are fewer places in the program that say something.
const KINDS: usize = 1024;
/// Characters that are repeated of what is left out.
const SHOWN_CHARS: usize = 120;

/// Counts messages by their kind.
pub struct Limiter<K>(HashMap<Option<K>, Count>);

struct Count {
    since: Instant,
    written: u32,
    left_out: u64,
    level: Level,
    like: String,
}

/// What was not written.
#[derive(Debug, PartialEq)]
pub struct LeftOut {
    pub count: u64,
    pub level: Level,
    /// One of them.
    pub like: String,
}

impl<K> Default for Limiter<K> {
    fn default() -> Self {
        Limiter(HashMap::new())
    }
}

impl<K: Eq + Hash> Limiter<K> {
    /// Whether the message is to be written.
    pub fn admits(&mut self, kind: K, line: &Line, now: Instant) -> bool {
        let kind = Some(kind);
        // What is beyond counts as one kind.
        let kind = if self.0.len() < KINDS || self.0.contains_key(&kind) { kind } else { None };
        let new = || Count { since: now, written: 0, left_out: 0, level: line.level, like: String::new() };
        let count = self.0.entry(kind).or_insert_with(new);
        if count.written < WRITTEN {
            count.written += 1;
            return true;
        }
        if count.left_out == 0 {
            count.like = line.message.chars().take(SHOWN_CHARS).collect();
        }
        count.left_out += 1;
        false
    }

    /// What was left out of kinds whose time is over: they begin anew.
    pub fn ended(&mut self, now: Instant) -> Vec<LeftOut> {
        let ended = self.0.extract_if(|_, count| now.saturating_duration_since(count.since) >= WINDOW);
        let left_out = ended.filter(|(_, count)| count.left_out > 0);
        left_out.map(|(_, Count { left_out, level, like, .. })| LeftOut { count: left_out, level, like }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_share_of_each_window_and_the_table_stays_small() {
        let line = Line { level: Level::WARN, message: "x".repeat(1000), fields: vec![] };
        let start = Instant::now();
        let mut limiter = Limiter::default();
        let written = |limiter: &mut Limiter<u32>, kind, times, now| {
            (0..times).filter(|_| limiter.admits(kind, &line, now)).count()
        };
        assert_eq!(written(&mut limiter, 1, 5000, start), 100);
        assert_eq!(written(&mut limiter, 2, 50, start), 50);
        assert_eq!(limiter.ended(start + WINDOW / 2), []);
        let like = "x".repeat(SHOWN_CHARS);
        assert_eq!(limiter.ended(start + WINDOW), [LeftOut { count: 4900, level: Level::WARN, like }]);
        assert_eq!(written(&mut limiter, 1, 5000, start + WINDOW), 100, "anew");
        assert_eq!((10..100_000).filter(|kind| limiter.admits(*kind, &line, start)).count(), KINDS - 1 + 100);
        assert_eq!(limiter.0.len(), KINDS + 1);
    }
}
