//! Which literals a pattern cannot match without: derived from the pattern, never written by hand.
//!
//! The prefilter looks for all rules' literals at once and runs a rule's regex only where one of
//! its literals was seen.

use regex_syntax::hir::{Class, Hir, HirKind};

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
type Set = Vec<Vec<u8>>;

/// Lower-case literals such that every match of the pattern contains at least one of them, in any
/// case; `None` when the pattern guarantees none that is long enough to be worth looking for.
pub fn required(pattern: &Hir) -> Option<Set> {
    let mut best = best(pattern)?;
    best.iter_mut().for_each(|literal| *literal = shortest_telling(literal).to_vec());
    drop_longer(&mut best);
    is_fit(&best).then_some(best)
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
    for part in parts {
        if let Some(next) = whole(part) {
            runs = runs.iter().filter_map(|run| product(run, &next)).collect();
            runs.push(next);
            if runs.len() > MAX_RUNS {
                runs.remove(1);
            }
        } else if let Some(least) = at_least(part) {
            runs.iter().filter_map(|run| product(run, &least)).for_each(|set| offer(&set));
            offer(&least);
            runs = vec![least];
        } else {
            runs.drain(..).map(Some).chain([None]).filter_map(|run| branches(run, part)).for_each(|set| offer(&set));
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

/// Every string that `hir` matches, lower-cased, if they are few. Assertions match nothing wide.
fn whole(hir: &Hir) -> Option<Set> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Capture(capture) => whole(&capture.sub),
        HirKind::Class(class) => {
            let mut all: Set = match class {
                Class::Bytes(class) => {
                    let bytes = class.iter().flat_map(|range| range.start()..=range.end());
                    bytes.take(2 * MAX_SPELT_OUT + 1).map(|byte| vec![byte.to_ascii_lowercase()]).collect()
                }
                Class::Unicode(class) => {
                    let chars = class.iter().flat_map(|range| range.start()..=range.end());
                    chars.take(2 * MAX_SPELT_OUT + 1).map(|c| c.to_ascii_lowercase().to_string().into_bytes()).collect()
                }
            };
            all.sort();
            all.dedup();
            (all.len() <= MAX_SPELT_OUT).then_some(all)
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

fn product(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<Set> {
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
    let seldom = |piece: &&[u8]| bits(piece) >= SELDOM_BITS;
    (3..literal.len()).find_map(|len| literal.windows(len).find(seldom)).unwrap_or(literal)
}

/// How seldom any literal of the set is in ordinary text, less what many literals cost.
fn worth(set: &[Vec<u8>]) -> (bool, i32, std::cmp::Reverse<usize>) {
    let chance: f64 = set.iter().map(|literal| (-bits(literal)).exp2()).sum();
    let bits = (-chance.log2()).clamp(0.0, SELDOM_BITS) - set.len() as f64 / LITERALS_PER_BIT;
    (is_fit(set), (bits * 4.0) as i32, std::cmp::Reverse(set.len()))
}

/// Whether looking for the set is worth while: a shorter literal would be seen everywhere, unless
/// one of its two bytes is rare.
fn is_fit(set: &[Vec<u8>]) -> bool {
    let telling = |literal: &[u8]| match literal {
        [a, b] => rarity(*a).max(rarity(*b)) >= RARE_BITS,
        _ => literal.len() > 2,
    };
    !set.is_empty() && set.len() <= MAX_LITERALS && set.iter().all(|literal| telling(literal))
}

/// Bits that seeing the literal at some place tells, roughly.
fn bits(literal: &[u8]) -> f64 {
    literal.iter().map(|&byte| rarity(byte)).sum()
}

/// One place in a million is seldom enough.
const SELDOM_BITS: f64 = 20.0;
/// Bits of a byte that ordinary URIs seldom have.
const RARE_BITS: f64 = 8.0;
/// So many more literals may be taken for half as many false candidates.
const LITERALS_PER_BIT: f64 = 32.0;

/// Bits that seeing this byte at some place of a URI tells, roughly.
fn rarity(byte: u8) -> f64 {
    match byte {
        b'a'..=b'z' => 2.5,
        b'0'..=b'9' => 3.5,
        b'/' | b'.' | b'-' | b'_' | b'=' | b'&' | b'?' | b'%' | b'+' => 4.0,
        b' ' => 5.0,
        _ => RARE_BITS,
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
            (r"union\s+(all\s+)?select_", "select_"),
            (r"\bselect\b.+\bfrom\b", "select"),
            (r"(sleep|benchmark|pg_sleep)\s*\(", "benchmar sleep"),
            (r"\.\./", "../"),
            (r"\.\.[/\\]", "../ ..\\"),
            (r"(?:\.\./){2,}", "../.."),
            (r"\.{2,}[/\\]+x", "../ ..\\"),
            (r"\.{24}", "....."),
            (r"a{3}b", "aaab"),
            (r"/etc/(passwd|shadow)", "/etc/pa /etc/sh"),
            (r"^/\.env$", "/.env"),
            (r"[a-z]+\d*", "-"),
            (r"x?", "-"),
            (r"(foo|b)", "-"),
            (r"on[^a]+\s*=\s*", "-"),
            (r"x{2}\.\.+y", "xx.."),
            (r"[;|] ?(id|ls)\b", "; id ; ls ;id ;ls | id | ls |id |ls"),
            (r"<(svg|x[a-z]*|\w+:b)>", ":b <svg <x"),
            (r"<(svg|x[a-z]*|\w+:bc)>", ":bc <svg <x"),
            (r"or [01]=", "or 0= or 1="),
            (r"sleep\([0-9]", "sleep("),
            (r"(?:php|\.php)x", "phpx"),
            (r"['x]\)\)?#$", "')# ')) ))# x)#"),
            (r"(?:and|or)[ '(]+[^a]", "and  and' and( or  or' or("),
        ] {
            assert_eq!(literals(pattern), expected, "{pattern}");
        }
    }
}
