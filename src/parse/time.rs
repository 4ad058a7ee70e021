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
    let mut wrong = 0;
    let mut two = |at: usize| {
        let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        wrong |= u32::from(tens > 9) | u32::from(ones > 9);
        u32::from(tens) * 10 + u32::from(ones)
    };
    let (day, year) = (two(0), two(7) * 100 + two(9));
    let (hour, minute, second) = (two(12), two(15), two(18));
    let (zone_hour, zone_minute) = (two(22), two(24));
    let sign = match text[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    // 60 is a leap second, which counts as the next second.
    if wrong != 0
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
        || zone_hour > 23
        || zone_minute > 59
    {
        return None;
    }
    let days = Timestamp::days_from_civil(i64::from(year), month, day);
    let local = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    Some(Timestamp((local - sign * i64::from(zone_hour * 3600 + zone_minute * 60)) * 1000))
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
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
