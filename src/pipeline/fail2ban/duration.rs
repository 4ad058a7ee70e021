//! Lengths of time as fail2ban writes them: `600`, `10m`, `1d 12h`, `1year-6mo`, `60*60`, `-1`.

/// Seconds of each unit, by what its name may be cut to (fail2ban's `str2seconds`; its month is a
/// twelfth of 365.25 days).
const UNITS: [(&[&str], f64); 7] = [
    (&["s", "ss", "se", "sec", "second", "seconds"], 1.0),
    (&["m", "mm", "mi", "min", "minute", "minutes"], 60.0),
    (&["h", "hh", "ho", "hou", "hour", "hours"], 3600.0),
    (&["d", "dd", "da", "day", "days"], 86_400.0),
    (&["w", "ww", "we", "wee", "week", "weeks"], 604_800.0),
    (&["mo", "mon", "month", "months"], 2_629_800.0),
    (&["y", "yy", "ye", "yea", "year", "years"], 31_557_600.0),
];

/// The seconds that `text` says; below zero means for good. None if it says no length of time.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let text = text.trim().to_lowercase();
    let mut rest = text.as_str();
    let (mut sum, mut product, mut first) = (0.0, 1.0, true);
    while !rest.is_empty() {
        let (operator, after) = match rest.chars().next()? {
            sign @ ('+' | '-' | '*') => (sign, rest[1..].trim_start()),
            _ => ('+', rest),
        };
        let (negative, after) = match after.strip_prefix('-') {
            Some(after) => (true, after),
            None => (false, after),
        };
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, after) = after.split_at(digits);
        let after = after.trim_start();
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "" => 1.0,
            unit => UNITS.iter().find(|(names, _)| names.contains(&unit))?.1,
        };
        let mut value = number.parse::<f64>().ok()? * unit;
        if negative {
            value = -value;
        }
        match operator {
            '*' if first => return None,
            '*' => product *= value,
            sign => {
                sum += if first { 0.0 } else { product };
                product = if sign == '-' { -value } else { value };
            }
        }
        first = false;
        rest = after.trim_start();
    }
    let total = sum + product;
    // Beyond a hundred million years nobody waits for the end.
    (!first && total.abs() < 3e15).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_fail2ban_reads_them() {
        for (text, secs) in [
            ("600", 600),
            ("10m", 600),
            (" 1h ", 3600),
            ("1w", 604_800),
            ("-1", -1),
            ("1d12h", 129_600),
            ("1d 12h", 129_600),
            ("1hour+30min", 5400),
            ("1year-6mo", 15_778_800),
            ("6 months", 15_778_800),
            ("60*60*2", 7200),
            ("2*1h + 5", 7205),
            ("1.5h", 5400),
            ("-1h", -3600),
        ] {
            assert_eq!(seconds(text), Some(secs), "{text}");
        }
        for text in ["", "soon", "10q", "h", "*5", "1e9h", "(5)", "5*", "10m,", "99999999999999999999"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9.smhdwyo +*ü-]{0,40}") {
            let _ = seconds(&text);
        }
    }
}
