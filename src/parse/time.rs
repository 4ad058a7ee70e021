use std::cell::Cell;

use super::context::Site;
use super::digits;
use crate::event::Timestamp;

/// Bytes of a [`clf`] time.
pub const CLF_LEN: usize = 26;

thread_local! {
    /// The last time that [`clf`] read, as text and value: most lines are of the second of the line before.
    static LAST_CLF: Cell<([u8; CLF_LEN], Timestamp)> = const { Cell::new(([0; CLF_LEN], Timestamp(0))) };
}

/// The time of the common log format, `05/Jan/2026:12:30:45 +0100`.
#[inline]
pub fn clf(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; CLF_LEN] = text.try_into().ok()?;
    let (last, time) = LAST_CLF.get();
    if *text == last {
        return Some(time);
    }
    let time = read_clf(text)?;
    LAST_CLF.set((*text, time));
    Some(time)
}

fn read_clf(text: &[u8; CLF_LEN]) -> Option<Timestamp> {
    let separators = [text[2], text[6], text[11], text[14], text[17], text[20]];
    if separators != *b"//::: " {
        return None;
    }
    let month = month([text[3], text[4], text[5]])?;
    // All digits at once: `YYYYhhmm` of year and zone, then `hh:mm:ss` and the day.
    let eight = |from: usize| text[from..].first_chunk().map_or(0, |bytes| digits::from_zero(*bytes));
    let year_and_zone = eight(7) & 0xffff_ffff | eight(18) & !0xffff_ffff;
    let clock = eight(12) & 0xffff_00ff_ff00_ffff;
    let day = eight(0) & 0xffff;
    if digits::not_digits(year_and_zone) | digits::not_digits(clock) | digits::not_digits(day) != 0 {
        return None;
    }
    let [century, _, year, _, zone_hour, _, zone_minute, _] = digits::pairs(year_and_zone);
    let [hour, _, _, minute, _, _, second, _] = digits::pairs(clock);
    let [day, ..] = digits::pairs(day);
    let sign = match text[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if zone_hour > 23 || zone_minute > 59 {
        return None;
    }
    let date = [i64::from(century) * 100 + i64::from(year), month.into(), day.into()];
    let zone = i64::from(zone_hour) * 3600 + i64::from(zone_minute) * 60;
    civil(date, [hour, minute, second].map(i64::from), sign * zone)
}

/// A local date and time with its offset from UTC in seconds; `None` when it is no date.
#[inline]
pub fn civil([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3], offset: i64) -> Option<Timestamp> {
    // 60 is a leap second, which counts as the next second.
    let fits = (1..=12).contains(&month) & (1..=31).contains(&day) & (hour <= 23) & (minute <= 59) & (second <= 60);
    if !fits {
        return None;
    }
    let days = Timestamp::days_from_civil(year, month as u32, day as u32);
    Some(Timestamp((days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1000))
}

/// The ISO 8601 time that `text` is: `2026-01-05T12:30:45+01:00`.
pub fn iso8601(text: &[u8], site: &Site) -> Option<Timestamp> {
    leading_iso8601(text, site).filter(|(_, len)| *len == text.len()).map(|(time, _)| time)
}

/// The ISO 8601 time that `text` begins with, and its length. A space may stand for the `T`, the
/// fraction begins with `.` or `,`, and what has no zone is of the zone of `site`.
pub fn leading_iso8601(text: &[u8], site: &Site) -> Option<(Timestamp, usize)> {
    let seconds: &[u8; 19] = text.first_chunk()?;
    let separators = [seconds[4], seconds[7], seconds[13], seconds[16]];
    if separators != *b"--::" || !matches!(seconds[10], b'T' | b't' | b' ') {
        return None;
    }
    // All digits at once: `YYYY-MM-`, the day, `hh:mm:ss`.
    let eight = |from: usize| seconds[from..].first_chunk().map_or(0, |bytes| digits::from_zero(*bytes));
    let year_and_month = eight(0) & 0x00ff_ff00_ffff_ffff;
    let day = eight(8) & 0xffff;
    let clock = eight(11) & 0xffff_00ff_ff00_ffff;
    if digits::not_digits(year_and_month) | digits::not_digits(day) | digits::not_digits(clock) != 0 {
        return None;
    }
    let [century, _, year, _, _, month, ..] = digits::pairs(year_and_month);
    let [day, ..] = digits::pairs(day);
    let [hour, _, _, minute, _, _, second, _] = digits::pairs(clock);
    let date = [i64::from(century) * 100 + i64::from(year), month.into(), day.into()];
    let clock = [hour, minute, second].map(i64::from);
    let mut len = 19;
    let mut ms = 0;
    if let Some(b'.' | b',') = text.get(len) {
        let digits = text[len + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        ms = thousandths(&text[len + 1..len + 1 + digits])?;
        len += 1 + digits;
    }
    let (time, zone) = match offset(&text[len..]) {
        Some((offset, zone)) => (civil(date, clock, offset)?, zone),
        None => (site.local(date, clock)?, 0),
    };
    Some((Timestamp(time.0 + ms), len + zone))
}

/// The offset from UTC in seconds that `text` begins with, and its length: `Z`, `+01:00`, `+0100`, `+01`.
pub fn offset(text: &[u8]) -> Option<(i64, usize)> {
    let sign = match text.first()? {
        b'Z' | b'z' => return Some((0, 1)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let colon = usize::from(text.get(3) == Some(&b':'));
    let two = |from: usize| match text.get(from..)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => Some(i64::from((tens - b'0') * 10 + (ones - b'0'))),
        _ => None,
    };
    let hour = two(1)?;
    let (minute, len) = match two(3 + colon) {
        Some(minute) => (minute, 5 + colon),
        None => (0, 3),
    };
    (hour <= 23 && minute <= 59).then_some((sign * (hour * 3600 + minute * 60), len))
}

/// Seconds since 1970, whole or with a fraction; by their magnitude also milliseconds,
/// microseconds and nanoseconds. What is no time since 1973 (a duration) is refused.
pub fn unix(text: &[u8]) -> Option<Timestamp> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, fraction) = text.split_at(len);
    let ms = match fraction {
        [] => 0,
        [b'.', fraction @ ..] => thousandths(fraction)?,
        _ => return None,
    };
    // Nanoseconds have 19 digits until 2286.
    let value = whole.iter().take(20).fold(0i64, |value, byte| value.wrapping_mul(10) + i64::from(byte - b'0'));
    match len {
        9..=10 => Some(Timestamp(value * 1000 + ms)),
        12..=13 => Some(Timestamp(value)),
        15..=16 => Some(Timestamp(value / 1000)),
        18..=19 if value > 0 => Some(Timestamp(value / 1_000_000)),
        _ => None,
    }
}

/// Seconds from 1970 to the first year of five digits.
pub const END_OF_9999: i64 = 253_402_300_800;

/// The number that up to sixteen digits spell.
pub fn number(text: &[u8]) -> Option<i64> {
    let fits = (1..=16).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

/// A fraction's first three digits.
fn thousandths(fraction: &[u8]) -> Option<i64> {
    let value = number(&fraction[..fraction.len().min(3)])?;
    fraction.iter().all(u8::is_ascii_digit).then(|| value * [100, 10, 1][fraction.len().min(3) - 1])
}

#[inline]
pub fn month(name: [u8; 3]) -> Option<u32> {
    Some(match &name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Site, Timestamp, clf, unix};

    fn iso8601(text: &[u8]) -> Option<Timestamp> {
        super::iso8601(text, &Site::default())
    }

    #[test]
    fn times_carry_their_zone() {
        let shown = |text: &str| clf(text.as_bytes()).map(|time| time.to_string());
        for (text, expected) in [
            ("05/Jan/2026:12:30:45 +0000", "2026-01-05T12:30:45.000Z"),
            ("05/Jan/2026:12:30:45 +0100", "2026-01-05T11:30:45.000Z"),
            ("31/Dec/2025:23:59:60 -0130", "2026-01-01T01:30:00.000Z"),
            ("29/Feb/2024:00:00:00 +0545", "2024-02-28T18:15:00.000Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
        for text in [
            "",
            "05/Foo/2026:12:30:45 +0000",
            "05/Jan/2026:24:30:45 +0000",
            "05-Jan-2026:12:30:45 +0000",
            "05/Jan/2026:12:30:45 00000",
            "0x/Jan/2026:12:30:45 +0000",
            "05/Jan/20:6:12:30:45 +0000",
            "05/Jan/2026:12:3/:45 +0000",
            "05/Jan/2026:12:30:45 +00 0",
            "05/Jan/2026:12:30:61 +0000",
            "00/Jan/2026:12:30:45 +0000",
            "05/Jan/2026:12:60:45 +0000",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn iso_8601_and_seconds_since_1970() {
        let shown = |time: Option<Timestamp>| time.map(|time| time.to_string());
        for (text, expected) in [
            ("2026-01-05T12:30:45+01:00", "2026-01-05T11:30:45.000Z"),
            ("2026-01-05T12:30:45Z", "2026-01-05T12:30:45.000Z"),
            ("2026-01-05 12:30:45", "2026-01-05T12:30:45.000Z"),
            ("2026-01-05T12:30:45.7-0130", "2026-01-05T14:00:45.700Z"),
            ("2021-12-08T14:02:43.587782192Z", "2021-12-08T14:02:43.587Z"),
            ("2023-01-31 15:05:01,896", "2023-01-31T15:05:01.896Z"),
            ("2024-02-29t00:00:00+05", "2024-02-28T19:00:00.000Z"),
        ] {
            assert_eq!(shown(iso8601(text.as_bytes())).as_deref(), Some(expected));
        }
        for text in [
            "",
            "2026-01-05",
            "2026-13-05T12:30:45Z",
            "2026-01-05T24:30:45Z",
            "2026-01-05T12:30:45.Z",
            "2026-01-05T12:30:45.1x",
            "2026-01-05T12:30:45+01:0",
            "2026-01-05T12:30:45+24:00",
            "2026-01-05T12:3x:45Z",
            "2026/01/05 12:30:45",
        ] {
            assert_eq!(shown(iso8601(text.as_bytes())), None, "{text}");
        }
        for text in ["1767616245", "1767616245.000", "1767616245000", "1767616245000123", "1767616245000123456"] {
            assert_eq!(shown(unix(text.as_bytes())).as_deref(), Some("2026-01-05T12:30:45.000Z"), "{text}");
        }
        assert_eq!(unix(b"1693840791.7564995").map(|time| time.0), Some(1_693_840_791_756));
        for text in ["", "0", "0.123", "-1767616245", "1767616245.", "1767616245e3", "99999999999999999999999", "17x"] {
            assert_eq!(shown(unix(text.as_bytes())), None, "{text}");
        }
    }
}
