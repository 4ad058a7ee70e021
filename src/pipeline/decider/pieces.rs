//! Reports in pieces with few findings each, so that in a flood the decider hears others too.

use std::collections::VecDeque;

use crate::pipeline::reader::Report;

/// Findings that are acted on at a time, and recorded in one transaction: some tenths of a second's work.
const FINDINGS: usize = 1000;

/// What is to be acted on, in order.
#[derive(Default)]
pub(super) struct Pieces(VecDeque<Report>);

impl Pieces {
    pub fn of(reports: Vec<Report>) -> Pieces {
        let mut pieces = VecDeque::with_capacity(reports.len());
        for mut report in reports {
            while report.findings.len() > FINDINGS {
                let rest = report.findings.split_off(FINDINGS);
                let findings = std::mem::replace(&mut report.findings, rest);
                let new_files = std::mem::take(&mut report.new_files);
                pieces.push_back(Report { new_files, findings, ..Report::default() });
            }
            // The last piece has the checkpoint, which holds for all before it.
            pieces.push_back(report);
        }
        Pieces(pieces)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next of them, several where they have few findings.
    pub fn next(&mut self) -> Vec<Report> {
        let mut findings = 0;
        let fits = |report: &&Report| {
            findings += report.findings.len();
            findings <= FINDINGS
        };
        let count = self.0.iter().take_while(fits).count().max(1);
        self.0.drain(..count.min(self.0.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::samples;
    use crate::pipeline::reader::Found;

    #[test]
    fn pieces_are_small_and_what_holds_for_all_comes_last() {
        let report = |count: u64, checkpoint: bool| Report {
            findings: (0..count)
                .map(|_| Found { finding: samples::finding(), proposal: None, network: None, in_doubt: false })
                .collect(),
            checkpoint: checkpoint.then(|| (vec![], vec![1])),
            caught_up: checkpoint,
            ..Report::default()
        };
        let mut pieces = Pieces::of(vec![report(3, false), report(2344, true), report(0, false), report(4, false)]);
        let mut shape = vec![];
        while !pieces.is_empty() {
            let piece = pieces.next();
            let count: usize = piece.iter().map(|report| report.findings.len()).sum();
            shape.push((
                piece.len(),
                count,
                piece.iter().any(|report| report.checkpoint.is_some() && report.caught_up),
            ));
        }
        assert_eq!(shape, [(1, 3, false), (1, 1000, false), (1, 1000, false), (3, 348, true)]);
        assert!(Pieces::of(vec![]).next().is_empty());
    }
}
