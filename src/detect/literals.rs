//! Which literals a pattern cannot match without: derived from the pattern, never written by hand.
//!
//! The prefilter looks for all rules' literals at once and runs a rule's regex only where one of
//! its literals was seen.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Most literals that one pattern may need, and that are spelt out of one part of it.
const MAX_LITERALS: usize = 512;
const MAX_PRODUCT: usize = 320;
/// Most characters of a class, and repetitions of a part, that are spelt out.
const MAX_SPELT_OUT: usize = 16;
/// Longer literals are no better.
const MAX_REPEATED: u32 = 8;
/// A literal shorter than this would be seen everywhere.
const MIN_LEN: usize = 2;

/// Lower-case literals such that every match of the pattern contains at least one of them, in any
/// case; `None` when the pattern guarantees none that is long enough to be worth looking for.
pub fn required(pattern: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut best = best(pattern)?;
    best.iter_mut().for_each(|literal| *literal = shortest_telling(literal).to_vec());
    drop_longer(&mut best);
    let shortest = best.iter().map(Vec::len).min()?;
    (shortest >= MIN_LEN && best.len() <= MAX_LITERALS).then_some(best)
}

/// The most telling set of literals of which each match contains one.
fn best(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Capture(capture) => best(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            at_least(hir).map_or_else(|| best(&repetition.sub), |[least, _]| Some(least))
        }
        HirKind::Concat(parts) => concat(None, parts),
        HirKind::Alternation(_) => branches(None, hir),
        _ => whole(hir),
    }
}

/// The best set among those of the parts and those of adjacent parts spelt out together, after
/// what `run` spells out.
fn concat(mut run: Option<Vec<Vec<u8>>>, parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut candidates = Vec::new();
    for part in parts {
        match whole(part) {
            Some(next) => {
                let joined = run.as_ref().and_then(|run| product(run, &next));
                candidates.extend(run.take());
                run = joined.or(Some(next));
            }
            None => {
                candidates.extend(run.clone());
                run = match at_least(part) {
                    Some([least, last]) => {
                        candidates.extend(run.as_ref().and_then(|run| product(run, &least)));
                        candidates.push(least);
                        Some(last)
                    }
                    None => {
                        candidates.extend(branches(run.take(), part));
                        candidates.extend(best(part));
                        None
                    }
                };
            }
        }
    }
    candidates.extend(run);
    candidates.into_iter().max_by_key(|set| worth(set))
}

/// What a repetition without a small end spells out at least, and what it ends with.
fn at_least(part: &Hir) -> Option<[Vec<Vec<u8>>; 2]> {
    let HirKind::Repetition(repetition) = part.kind() else { return None };
    let last = whole(&repetition.sub).filter(|_| repetition.min > 0)?;
    let times = repetition.min.min(MAX_REPEATED);
    let least = (1..times).try_fold(last.clone(), |sofar, _| product(&sofar, &last)).unwrap_or_else(|| last.clone());
    Some([least, last])
}

/// The best set of a part that cannot be spelt out. What precedes an alternation belongs to each of
/// its branches: the parser moves what they have in common before it.
fn branches(run: Option<Vec<Vec<u8>>>, part: &Hir) -> Option<Vec<Vec<u8>>> {
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

/// Every string that `hir` matches, lower-cased, if they are few. Assertions match nothing wide.
fn whole(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Capture(capture) => whole(&capture.sub),
        HirKind::Class(class) => {
            let mut bytes: Vec<u8> = match class {
                Class::Bytes(class) => class.iter().flat_map(|range| range.start()..=range.end()).take(64).collect(),
                Class::Unicode(class) => {
                    let chars = class.iter().flat_map(|range| range.start()..=range.end()).take(64);
                    chars.map(|c| u8::try_from(c).ok().filter(u8::is_ascii)).collect::<Option<_>>()?
                }
            };
            bytes.make_ascii_lowercase();
            bytes.sort_unstable();
            bytes.dedup();
            (bytes.len() <= MAX_SPELT_OUT).then(|| bytes.into_iter().map(|byte| vec![byte]).collect())
        }
        HirKind::Concat(parts) => parts.iter().try_fold(vec![Vec::new()], |sofar, part| product(&sofar, &whole(part)?)),
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
            let (mut power, mut all) = (vec![Vec::new()], Vec::new());
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

fn product(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut all: Vec<_> = left.iter().flat_map(|a| right.iter().map(move |b| [a.as_slice(), b].concat())).collect();
    all.sort();
    all.dedup();
    (all.len() <= MAX_PRODUCT).then_some(all)
}

/// Drops literals that contain another one of the set: the other is seen wherever they are.
fn drop_longer(set: &mut Vec<Vec<u8>>) {
    set.sort();
    set.dedup();
    let all = set.clone();
    set.retain(|one| !all.iter().any(|other| other != one && memchr::memmem::find(one, other).is_some()));
}

/// The shortest piece of a literal that is seldom enough by itself: long ones cost memory for nothing.
fn shortest_telling(literal: &[u8]) -> &[u8] {
    let seldom = |piece: &&[u8]| piece.iter().map(|&byte| rarity(byte)).sum::<f64>() >= SELDOM_BITS;
    (MIN_LEN..literal.len()).find_map(|len| literal.windows(len).find(seldom)).unwrap_or(literal)
}

/// How seldom any literal of the set is in ordinary text, less what many literals cost.
fn worth(set: &[Vec<u8>]) -> (bool, i32, std::cmp::Reverse<usize>) {
    let fit = set.len() <= MAX_LITERALS && set.iter().all(|literal| literal.len() >= MIN_LEN);
    let chance: f64 = set.iter().map(|literal| (-literal.iter().map(|&byte| rarity(byte)).sum::<f64>()).exp2()).sum();
    let bits = (-chance.log2()).clamp(0.0, SELDOM_BITS) - set.len() as f64 / LITERALS_PER_BIT;
    (fit, (bits * 4.0) as i32, std::cmp::Reverse(set.len()))
}

/// One place in a million is seldom enough.
const SELDOM_BITS: f64 = 20.0;
/// So many more literals may be taken for half as many false candidates.
const LITERALS_PER_BIT: f64 = 32.0;

/// Bits that seeing this byte at some place of a URI tells, roughly.
fn rarity(byte: u8) -> f64 {
    match byte {
        b'a'..=b'z' => 2.5,
        b'0'..=b'9' => 3.5,
        b'/' | b'.' | b'-' | b'_' | b'=' | b'&' | b'?' => 4.0,
        b' ' => 5.0,
        _ => 8.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(pattern: &str) -> String {
        let parsed =
            regex_syntax::ParserBuilder::new().case_insensitive(true).unicode(false).utf8(false).build().parse(pattern);
        match required(&parsed.unwrap()) {
            None => "-".into(),
            Some(set) => set.iter().map(|literal| String::from_utf8_lossy(literal)).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn what_a_match_must_contain() {
        for (pattern, expected) in [
            (r"union\s+(all\s+)?select", "select"),
            (r"\bselect\b.+\bfrom\b", "select"),
            (r"(sleep|benchmark|pg_sleep)\s*\(", "benchmark sleep"),
            (r"\.\./", "../"),
            (r"\.\.[/\\]", "../ ..\\"),
            (r"(?:\.\./){2,}", "../../"),
            (r"a{3}b", "aaab"),
            (r"/etc/(passwd|shadow)", "/etc/passwd /etc/shadow"),
            (r"^/\.env$", "/.env"),
            (r"[a-z]+\d*", "-"),
            (r"x?", "-"),
            (r"(foo|b)", "-"),
            (r"on[^a]+\s*=\s*", "on"),
            (r"[;|] ?(id|ls)\b", "; id ; ls ;id ;ls | id | ls |id |ls"),
            (r"<(svg|x[a-z]*|\w+:b)>", ":b <svg <x"),
            (r"\.\.+[/\\]+x", ".."),
            (r"\.{24}", "........"),
            (r"a\.+[^b]", "a."),
            (r"or [01]=", "or 0= or 1="),
            (r"sleep\([0-9]", "sleep("),
            (r"(?:php|\.php)x", "phpx"),
            (r"['x]\)?\)?#$", "'# ')# '))# x# x)# x))#"),
        ] {
            assert_eq!(literals(pattern), expected, "{pattern}");
        }
    }
}
