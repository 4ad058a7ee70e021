use std::ops::Range;

use memchr::{memchr, memrchr};

/// Cuts a block that begins at the start of a line into runs of whole lines of at most `max` bytes
/// and the heads of longer ones. `give` gets the range of each, in order, and for a head how many
/// bytes of its line follow, newline included (0 otherwise). Returns where the unfinished line at
/// the end of the block begins.
///
/// It looks for the last newline of every `max + 1` bytes instead of for each newline: what lies
/// between two lookups cannot hold a line longer than `max`.
pub(super) fn cut(block: &[u8], max: usize, mut give: impl FnMut(Range<usize>, u64)) -> usize {
    let (mut run, mut line) = (0, 0);
    while line < block.len() {
        let rest = block.get(line..).unwrap_or_default();
        let window = rest.get(..=max).unwrap_or(rest);
        if let Some(newline) = memrchr(b'\n', window) {
            line += newline + 1;
            continue;
        }
        let beyond = rest.get(window.len()..).unwrap_or_default();
        let Some(newline) = memchr(b'\n', beyond) else { break };
        if run < line {
            give(run..line, 0);
        }
        let end = window.len() + newline + 1;
        give(line..line + max, (end - max) as u64);
        line += end;
        run = line;
    }
    if run < line {
        give(run..line, 0);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::cut;

    fn check(block: &str, expected: &[(&str, u64)], left: &str) {
        let mut got = Vec::new();
        let done = cut(block.as_bytes(), 4, |range, tail_cut| got.push((&block[range], tail_cut)));
        assert_eq!((got.as_slice(), &block[done..]), (expected, left), "{block:?}");
    }

    #[test]
    fn runs_heads_and_the_unfinished_line() {
        check("", &[], "");
        check("ab", &[], "ab");
        check("abcd\n", &[("abcd\n", 0)], "");
        check("a\n\nb\nabcd\nx", &[("a\n\nb\nabcd\n", 0)], "x");
        check("abcde\n", &[("abcd", 2)], "");
        check("a\nabcdefghi\nb\nc", &[("a\n", 0), ("abcd", 6), ("b\n", 0)], "c");
        check("a\nabcdefghi", &[("a\n", 0)], "abcdefghi");
        check("abcdefghi\nabcdefghij\n\n", &[("abcd", 6), ("abcd", 7), ("\n", 0)], "");
    }
}
