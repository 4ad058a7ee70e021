//! Moments as people and scripts write them.

use jiff::civil::Date;

use super::{Period, Step};
use crate::event::Timestamp;

/// What is asked for where nobody says since when.
const DEFAULT_DAYS: i64 = 7;

impl Period {
    /// From `since` (`7d`, `24h`, `30m` ago, a date, an RFC 3339 time; seven days ago) to `until` (the end of
    /// the present hour). What is so many days ago begins with a day, in UTC, and what is so many hours ago
    /// with an hour, so that lists and counts are of the same time.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn parse(since: Option<&str>, until: Option<&str>, now: Timestamp) -> Result<Period, String> {
        let from = match since {
            Some(text) => moment(text, now)?,
            None => Step::Day.floor(Timestamp(now.0 - DEFAULT_DAYS * Step::Day.millis())),
        };
        let to = match until {
            Some(text) => moment(text, now)?,
            None => Timestamp(Step::Hour.floor(now).0 + Step::Hour.millis()),
        };
        if from >= to {
            return Err(format!("from {from} to {to} is no time at all: `until` must come after `since`"));
        }
        Ok(Period { from, to })
    }
}

fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(date) = text.parse::<Date>()
        && text.len() == "2026-01-05".len()
    {
        let days = Timestamp::days_from_civil(date.year().into(), date.month() as u32, date.day() as u32);
        return Ok(Timestamp(days * Step::Day.millis()));
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(moment.as_millisecond()));
    }
    ago(text, now).ok_or_else(|| {
        format!("{text:?} is no moment; write for example 7d, 24h, 30m, 2026-01-05 or 2026-01-05T12:30:00Z")
    })
}

/// So many days, hours or minutes before `now`.
fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: i64 = digits.parse().ok().filter(|number| *number > 0)?;
    let back = |step: Step| Some(step.floor(Timestamp(now.0.checked_sub(number.checked_mul(step.millis())?)?)));
    match text.get(digits.len()..)? {
        "d" => back(Step::Day),
        "h" => back(Step::Hour),
        "m" | "min" => Some(Timestamp(now.0.checked_sub(number.checked_mul(60_000)?)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ages_dates_and_times() {
        // 2026-01-05T12:34:56Z
        let now = Timestamp(1_767_616_496_000);
        let from = |text: &str| Period::parse(Some(text), None, now).map(|period| period.from.to_string());
        for (text, wanted) in [
            ("7d", "2025-12-29T00:00:00.000Z"),
            ("24h", "2026-01-04T12:00:00.000Z"),
            ("30m", "2026-01-05T12:04:56.000Z"),
            ("2026-01-05", "2026-01-05T00:00:00.000Z"),
            ("2026-01-05T13:30:00+01:00", "2026-01-05T12:30:00.000Z"),
        ] {
            assert_eq!(from(text).as_deref(), Ok(wanted), "{text}");
        }
        for text in [
            "",
            "d",
            "0d",
            "-1d",
            "7",
            "7w",
            "2026-13-01",
            "20260105",
            "yesterday",
            "99999999999999999999d",
            "9223372036854775807d",
            "٣d",
        ] {
            assert!(from(text).unwrap_err().contains("is no moment"), "{text}");
        }
        let default = Period::parse(None, None, now).unwrap();
        assert_eq!(default.to.to_string(), "2026-01-05T13:00:00.000Z", "the present hour is part of it");
        assert_eq!(default.from.to_string(), "2025-12-29T00:00:00.000Z");
        assert!(Period::parse(Some("2026-01-05"), Some("2026-01-05"), now).is_err());
    }
}
