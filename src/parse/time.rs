use super::digits;
use crate::event::Timestamp;

/// Bytes of a [`clf`] time.
pub const CLF_LEN: usize = 26;

/// The time of the common log format, `05/Jan/2026:12:30:45 +0100`.
#[inline]
pub fn clf(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; CLF_LEN] = text.try_into().ok()?;
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
    let two =
        |digits: u64, at: u32| i64::from((digits >> (8 * at)) as u8) * 10 + i64::from((digits >> (8 * at + 8)) as u8);
    let (year, day) = (two(year_and_zone, 0) * 100 + two(year_and_zone, 2), two(day, 0));
    let (hour, minute, second) = (two(clock, 0), two(clock, 3), two(clock, 6));
    let (zone_hour, zone_minute) = (two(year_and_zone, 4), two(year_and_zone, 6));
    let sign = match text[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    // 60 is a leap second, which counts as the next second.
    let fits = (1..=31).contains(&day) & (hour <= 23) & (minute <= 59) & (second <= 60);
    if !(fits & (zone_hour <= 23) & (zone_minute <= 59)) {
        return None;
    }
    let days = Timestamp::days_from_civil(year, month, day as u32);
    let local = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp((local - sign * (zone_hour * 3600 + zone_minute * 60)) * 1000))
}

#[inline]
fn month(name: [u8; 3]) -> Option<u32> {
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
    use super::clf;

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
}
