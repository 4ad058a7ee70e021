//! Which literals a pattern cannot match without: derived from the pattern, never written by hand.
//!
//! The prefilter looks for all rules' literals at once and runs a rule's regex only where one of
//! its literals was seen.

use std::collections::HashSet;

use foldhash::fast::FixedState;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::ordinary::{CHANCES, RARE, chance, fold, is_odd};

/// Most literals that one pattern may need, and that are spelt out of one part of it.
const MAX_LITERALS: usize = 512;
const MAX_PRODUCT: usize = 320;
/// Most characters of a class, and repetitions of a part, that are spelt out.
const MAX_SPELT_OUT: usize = 26;
/// Runs of parts that are followed at once.
const MAX_RUNS: usize = 3;
/// Longer literals are no better.
const MAX_REPEATED: u32 = 8;

/// Literals of which a text must contain one.
type Set = Vec<Literal>;

/// The last bytes of what is spelt out: more would not be more telling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Literal {
    bytes: [u8; MAX_BYTES],
    len: u8,
}

const MAX_BYTES: usize = 15;

impl Literal {
    fn new(text: &[u8]) -> Literal {
        let mut literal = Literal { bytes: [0; MAX_BYTES], len: 0 };
        literal.push(text);
        literal
    }

    /// Appends `text`, [folded](fold), at the cost of the first bytes.
    fn push(&mut self, text: &[u8]) {
        for &byte in text {
            if usize::from(self.len) == MAX_BYTES {
                self.bytes.rotate_left(1);
                self.len -= 1;
            }
            self.bytes[usize::from(self.len)] = fold(byte);
            self.len += 1;
        }
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The pattern as the engine reads it.
///
/// # Errors
/// It is no regular expression.
pub fn parse(pattern: &str) -> Result<Hir, String> {
    let mut parser =
        ParserBuilder::new().case_insensitive(true).unicode(false).utf8(false).dot_matches_new_line(true).build();
    parser.parse(pattern).map_err(|error| format!("the pattern is broken: {}", error.to_string().replace('\n', " ")))
}

/// [Folded](fold) literals such that every match of the pattern, folded, contains at least one of
/// them; `None` when the pattern guarantees none that is long enough to be worth looking for.
pub fn required(pattern: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut set = best(pattern).filter(|set| is_fit(set))?;
    drop_longer(&mut set);
    Some(set.iter().map(|literal| literal.text().to_vec()).collect())
}

/// Whether the pattern tells one digit from another: texts that differ in their digits alone may then
/// differ in whether it matches.
pub fn tells_digits(pattern: &Hir) -> bool {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.iter().any(u8::is_ascii_digit),
        HirKind::Class(class) => {
            let has = |digit: &u8| match class {
                Class::Bytes(class) => class.iter().any(|range| (range.start()..=range.end()).contains(digit)),
                Class::Unicode(class) => {
                    class.iter().any(|range| (range.start()..=range.end()).contains(&char::from(*digit)))
                }
            };
            !matches!((b'0'..=b'9').filter(has).count(), 0 | 10)
        }
        HirKind::Repetition(repetition) => tells_digits(&repetition.sub),
        HirKind::Capture(capture) => tells_digits(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(tells_digits),
    }
}

/// The most telling set of literals of which each match contains one.
fn best(hir: &Hir) -> Option<Set> {
    match hir.kind() {
        HirKind::Capture(capture) => best(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => at_least(hir).or_else(|| best(&repetition.sub)),
        HirKind::Concat(parts) => concat(None, parts),
        HirKind::Alternation(_) => branches(None, hir),
        _ => whole(hir),
    }
}

/// The best set among those of the parts and those of adjacent parts spelt out together, after
/// what `run` spells out.
fn concat(run: Option<Set>, parts: &[Hir]) -> Option<Set> {
    let mut best_set: Option<Set> = None;
    let mut offer = |set: &Set| {
        if best_set.as_ref().is_none_or(|best| worth(set) >= worth(best)) {
            best_set = Some(set.clone());
        }
    };
    // What the parts up to here spell out, from several parts on, the longest first.
    let mut runs: Vec<Set> = run.into_iter().collect();
    let mut parts = parts.iter().peekable();
    while let Some(part) = parts.next() {
        if let Some(mut next) = one(part) {
            // A word is one part: no piece of it tells more.
            while let Some(more) = parts.peek().and_then(|part| one(part)) {
                next.push(more.text());
                parts.next();
            }
            runs.iter_mut().flatten().for_each(|literal| literal.push(next.text()));
            runs.push(vec![next]);
        } else if let Some(next) = whole(part) {
            runs = runs.iter().filter_map(|run| product(run, &next)).collect();
            runs.push(next);
        } else if let Some(least) = at_least(part) {
            runs.iter().filter_map(|run| product(run, &least)).for_each(|set| offer(&set));
            offer(&least);
            runs = vec![least];
        } else {
            runs.truncate(1);
            runs.drain(..).map(Some).chain([None]).filter_map(|run| branches(run, part)).for_each(|set| offer(&set));
        }
        if runs.len() > MAX_RUNS {
            runs.remove(1);
        }
        runs.iter().for_each(&mut offer);
    }
    best_set
}

/// What a repetition without a small end begins and ends with.
fn at_least(part: &Hir) -> Option<Set> {
    let HirKind::Repetition(repetition) = part.kind() else { return None };
    let once = whole(&repetition.sub).filter(|_| repetition.min > 0)?;
    let more = 1..repetition.min.min(MAX_REPEATED);
    Some(more.fold(once.clone(), |sofar, _| product(&sofar, &once).unwrap_or(sofar)))
}

/// The best set of a part that cannot be spelt out. What precedes an alternation belongs to each of
/// its branches: the parser moves what they have in common before it.
fn branches(run: Option<Set>, part: &Hir) -> Option<Set> {
    match part.kind() {
        HirKind::Capture(capture) => branches(run, &capture.sub),
        HirKind::Alternation(alternatives) => {
            let mut all = Vec::new();
            for alternative in alternatives {
                let parts = match alternative.kind() {
                    HirKind::Concat(parts) => parts,
                    _ => std::slice::from_ref(alternative),
                };
                all.extend(concat(run.clone(), parts)?);
            }
            Some(all)
        }
        _ => best(part),
    }
}

/// The one string, [folded](fold), that `hir` matches: a literal, a letter in either case, a digit.
fn one(hir: &Hir) -> Option<Literal> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(Literal::new(&literal.0)),
        HirKind::Class(Class::Bytes(class)) => {
            let mut bytes = class.iter().flat_map(|range| range.start()..=range.end()).map(fold);
            let first = bytes.next()?;
            bytes.all(|byte| byte == first).then(|| Literal::new(&[first]))
        }
        _ => None,
    }
}

/// Every string that `hir` matches, [folded](fold) and by its last bytes, if they are few. Assertions
/// match nothing wide.
fn whole(hir: &Hir) -> Option<Set> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Literal::new(b"")]),
        HirKind::Literal(literal) => Some(vec![Literal::new(&literal.0)]),
        HirKind::Capture(capture) => whole(&capture.sub),
        HirKind::Class(class) => {
            let mut all: Set = match class {
                Class::Bytes(class) => {
                    let bytes = class.iter().flat_map(|range| range.start()..=range.end());
                    bytes.take(2 * MAX_SPELT_OUT + 1).map(|byte| Literal::new(&[byte])).collect()
                }
                Class::Unicode(class) => {
                    let chars = class.iter().flat_map(|range| range.start()..=range.end());
                    chars
                        .take(2 * MAX_SPELT_OUT + 1)
                        .map(|c| Literal::new(c.encode_utf8(&mut [0; 4]).as_bytes()))
                        .collect()
                }
            };
            all.sort();
            all.dedup();
            (all.len() <= MAX_SPELT_OUT).then_some(all)
        }
        HirKind::Concat(parts) => parts.iter().try_fold(vec![Literal::new(b"")], |mut sofar, part| match one(part) {
            Some(next) => {
                sofar.iter_mut().for_each(|literal| literal.push(next.text()));
                Some(sofar)
            }
            None => product(&sofar, &whole(part)?),
        }),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(whole(branch)?);
            }
            (all.len() <= MAX_PRODUCT).then_some(all)
        }
        HirKind::Repetition(repetition) => {
            let max = repetition.max.filter(|&max| max as usize <= MAX_SPELT_OUT)?;
            let sub = whole(&repetition.sub)?;
            let (mut power, mut all) = (vec![Literal::new(b"")], Vec::new());
            for times in 0..=max {
                if times >= repetition.min {
                    all.extend_from_slice(&power);
                }
                power = if times < max { product(&power, &sub)? } else { power };
            }
            (all.len() <= MAX_PRODUCT).then_some(all)
        }
    }
}

fn product(left: &[Literal], right: &[Literal]) -> Option<Set> {
    if left.len() * right.len() > MAX_PRODUCT {
        return None;
    }
    let mut all = Vec::with_capacity(left.len() * right.len());
    for &start in left {
        for end in right {
            let mut both = start;
            both.push(end.text());
            all.push(both);
        }
    }
    Some(all)
}

/// Drops literals that contain another one of the set: the other is seen wherever they are.
fn drop_longer(set: &mut Set) {
    set.sort_unstable();
    set.dedup();
    let all = set.clone();
    let texts: HashSet<&[u8], FixedState> = all.iter().map(Literal::text).collect();
    let mut lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    set.retain(|literal| {
        let mut shorter = lengths.iter().take_while(|&&len| len < literal.text().len());
        !shorter.any(|&len| literal.text().windows(len).any(|piece| texts.contains(piece)))
    });
}

/// How seldom any literal of the set is in ordinary text, less what many literals cost.
fn worth(set: &[Literal]) -> (bool, i32, std::cmp::Reverse<usize>) {
    let chance: f32 = set.iter().map(|literal| chance(literal.text())).sum();
    let bits = (-chance.log2()).clamp(0.0, SELDOM_BITS) - set.len() as f32 / LITERALS_PER_BIT;
    (is_fit(set), (bits * 4.0) as i32, std::cmp::Reverse(set.len()))
}

/// Whether looking for the set is worth while: a short literal would be seen everywhere, unless it
/// is odd.
fn is_fit(set: &[Literal]) -> bool {
    let telling = |literal: &[u8]| match literal {
        [] | [_] => false,
        [a, b] => is_odd(literal) && CHANCES[usize::from(*a)].min(CHANCES[usize::from(*b)]) <= RARE,
        [_, _, _] => is_odd(literal),
        _ => true,
    };
    !set.is_empty() && set.len() <= MAX_LITERALS && set.iter().all(|literal| telling(literal.text()))
}

/// One place in a few hundred million is seldom enough.
const SELDOM_BITS: f32 = 28.0;
/// So many more literals may be taken for half as many false candidates.
const LITERALS_PER_BIT: f32 = 32.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(pattern: &str) -> String {
        let parsed = parse(pattern).unwrap();
        match required(&parsed) {
            None => "-".into(),
            Some(set) => set.iter().map(|literal| String::from_utf8_lossy(literal)).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn what_a_match_must_contain() {
        for (pattern, expected) in [
            (r"union\s+(all\s+)?select_", "select_"),
            (r"\bselect\b.+\bfrom\b", "select"),
            (r"(sleep|benchmark|pg_sleep)\s*\(", "benchmark sleep"),
            (r"\.\./", "../"),
            (r"\.\.[/\\]", "../ ..\\"),
            (r"(?:\.\./){2,}", "../../"),
            (r"\.{2,}[/\\]+x", "../ ..\\"),
            (r"\.{24}", "........"),
            (r"a{3}b", "aaab"),
            (r"/etc/(passwd|shadow)", "/etc/passwd /etc/shadow"),
            (r"^/\.env$", "/.env"),
            (r"[a-z]+\d*", "-"),
            (r"x?", "-"),
            (r"(foo|b)", "-"),
            (r"on[^a]+\s*=\s*", "-"),
            (r"x{2}\.\.+y", "xx.."),
            (r"[;|] ?(id|ls)\b", "; id ; ls ;id ;ls | id | ls |id |ls"),
            (r"<(svg|x[a-z]*|\w+:b)>", "-"),
            (r"<(svg|x[a-z]*|\w+:bc)>", "-"),
            (r"or [01]=", "or 0="),
            (r"sleep\([0-9]", "sleep(0"),
            (r"(?:php|\.php)x", "phpx"),
            (r"['x]\)\)?#$", "')# '))# x)# x))#"),
            (r"(?:and|or)[ '(]+[^a]", "and  and' and( or  or' or("),
        ] {
            assert_eq!(literals(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_tells_digits_apart() {
        for pattern in [r"select\s+\d+", r"\bunion\b[^a]*\w{4}", "[0-9a-f]{2}|(x|y)?", "."] {
            assert!(!tells_digits(&parse(pattern).unwrap()), "{pattern}");
        }
        for pattern in ["or 1=1", "sleep[(][1-9]", "(?:a|b(?:c[^0])?)+", "x|8", "(a1)"] {
            assert!(tells_digits(&parse(pattern).unwrap()), "{pattern}");
        }
    }
}
