//! Small charts for a terminal.

use std::io;

/// What charts are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    pub columns: usize,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

/// Where no terminal says how wide it is.
const COLUMNS: usize = 100;

impl Canvas {
    /// That of standard output.
    pub fn of_stdout() -> Canvas {
        let size = rustix::termios::tcgetwinsize(io::stdout());
        let columns = size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Canvas { columns: columns.unwrap_or(COLUMNS).clamp(40, 400), unicode: crate::config::terminal_is_utf8() }
    }

    /// A bar for `value` of `largest`, at most `columns` long.
    pub fn bar(self, value: u64, largest: u64, columns: usize) -> String {
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let eighths = share(value, largest, columns * 8);
        if !self.unicode {
            // What is there is seen.
            return "#".repeat((eighths / 8).max(usize::from(value > 0)));
        }
        let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
        let bar = "█".repeat(eighths / 8) + rest;
        if bar.is_empty() && value > 0 { "▏".into() } else { bar }
    }

    /// A line with one column for each value, or for some neighbours together where there are too many, and how
    /// many stand together.
    pub fn line(self, values: &[u64]) -> (String, usize) {
        const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const PLAIN: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '%', '#'];
        let levels = if self.unicode { LEVELS } else { PLAIN };
        let together = values.len().div_ceil(self.columns.saturating_sub(2).max(1)).max(1);
        let sums: Vec<u64> = values.chunks(together).map(|some| some.iter().sum()).collect();
        let largest = sums.iter().copied().max().unwrap_or(0);
        let level = |sum: &u64| levels.get(share(*sum, largest, 8).max(usize::from(*sum > 0))).copied().unwrap_or(' ');
        (sums.iter().map(level).collect(), together)
    }
}

/// `value` of `largest` as a part of `whole`.
fn share(value: u64, largest: u64, whole: usize) -> usize {
    let share = u128::from(value) * whole as u128 / u128::from(largest.max(1));
    usize::try_from(share).unwrap_or(whole).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_fit_and_what_is_there_is_seen() {
        let canvas = Canvas { columns: 40, unicode: true };
        let plain = Canvas { unicode: false, ..canvas };
        assert_eq!((canvas.bar(50, 100, 10), canvas.bar(1, 1_000_000, 10)), ("█████".into(), "▏".into()));
        assert_eq!((canvas.bar(33, 100, 10), plain.bar(33, 100, 10)), ("███▎".into(), "###".into()));
        assert_eq!((canvas.bar(0, 0, 10), plain.bar(1, 1_000_000, 10)), (String::new(), "#".into()));
        assert_eq!(canvas.bar(u64::MAX, u64::MAX, 10), "█".repeat(10));
        assert_eq!(canvas.line(&[0, 1, 4, 8]), (" ▁▄█".into(), 1));
        assert_eq!(plain.line(&[0, 1, 1000]), (" .#".into(), 1));
        let (line, together) = canvas.line(&[1; 400]);
        assert_eq!((line.chars().count(), together), (37, 11));
        assert_eq!(canvas.line(&[]), (String::new(), 1));
    }
}
