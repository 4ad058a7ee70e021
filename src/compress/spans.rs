//! Numbers of lines, as people write them: `3-7,12,20-840/4`.

use std::fmt;

/// Growing numbers, as runs of equal steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Run>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    step: u64,
}

impl Spans {
    /// Adds `number`, which is greater than all so far.
    pub fn push(&mut self, number: u64) {
        let run = |first, last, step| Run { first, last, step };
        match self.0.last_mut() {
            Some(last) if last.first == last.last => *last = run(last.first, number, number - last.last),
            Some(last) if number - last.last == last.step => last.last = number,
            // Two that stand far apart are no run; the second may begin one.
            Some(last) if last.last - last.first == last.step && last.step > 1 => {
                let second = last.last;
                *last = run(last.first, last.first, 0);
                self.0.push(run(second, number, number - second));
            }
            _ => self.0.push(run(number, number, 0)),
        }
    }

    pub fn first(&self) -> u64 {
        self.0.first().map_or(0, |run| run.first)
    }

    pub fn last(&self) -> u64 {
        self.0.last().map_or(0, |run| run.last)
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|run| (run.first..=run.last).step_by(run.step.max(1) as usize))
    }
}

impl FromIterator<u64> for Spans {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Spans {
        let mut spans = Spans::default();
        numbers.into_iter().for_each(|number| spans.push(number));
        spans
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Run { first, last, step }) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match step {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first}-{last}")?,
                // Two are shorter as two.
                _ if last - first == *step => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}/{step}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Spans;

    #[test]
    fn runs_are_written_short() {
        let shown = |numbers: &[u64]| numbers.iter().copied().collect::<Spans>().to_string();
        assert_eq!(shown(&[1, 2, 3, 7, 9, 12, 15, 18]), "1-3,7,9-18/3");
        assert_eq!(shown(&[5]), "5");
        assert_eq!(shown(&[5, 900, 901, 902]), "5,900-902");
        assert_eq!(shown(&[]), "");
    }

    proptest! {
        #[test]
        fn they_hold_exactly_what_was_put_in(numbers in prop::collection::btree_set(1u64..300, 0..80)) {
            let spans: Spans = numbers.iter().copied().collect();
            prop_assert_eq!(spans.iter().collect::<Vec<_>>(), numbers.into_iter().collect::<Vec<_>>());
        }
    }
}
