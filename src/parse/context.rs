//! What a line alone does not tell: which year and zone its times are of, who stands behind its
//! proxies.

use bumpalo::Bump;
use ipnet::IpNet;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Extent;
use crate::event::Timestamp;

/// What a line is read with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub extent: Extent,
    /// Takes what an event cannot borrow from its line: text that the log wraps in another coat or
    /// keeps in pieces. Reset by its owner, so that nothing is allocated once it has grown.
    pub arena: &'a Bump,
    /// Who wrote the line, as its envelope says; `-` where that does not, empty without an envelope.
    pub program: &'a [u8],
    pub site: &'a Site,
    /// No line was written later: when it is read, or when its file was written last.
    pub read_at: Timestamp,
}

/// What the configuration says of where logs are written.
#[derive(Clone, Debug)]
pub struct Site {
    /// Of times that name no zone.
    pub zone: TimeZone,
    /// Whose word on the client counts.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for Site {
    fn default() -> Site {
        Site { zone: TimeZone::UTC, trusted_proxies: vec![] }
    }
}

impl Site {
    /// The moment at which clocks here showed this date and time: where they showed it twice, the
    /// first, where never, as far after the gap as it is into it.
    pub fn local(&self, [year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<Timestamp> {
        let part = |value: i64| i8::try_from(value).ok();
        // A leap second counts as the next second.
        let (second, leap) = if second == 60 { (59, 1000) } else { (second, 0) };
        let year = i16::try_from(year).ok()?;
        let shown = DateTime::new(year, part(month)?, part(day)?, part(hour)?, part(minute)?, part(second)?, 0).ok()?;
        let moment = self.zone.to_ambiguous_timestamp(shown).compatible().ok()?;
        Some(Timestamp(moment.as_millisecond() + leap))
    }
}

/// A day of slack for clocks that run ahead, in milliseconds.
const AHEAD: i64 = 86_400_000;

impl<'a> Context<'a> {
    /// `parts` as one text.
    pub fn joined(&self, parts: &[&[u8]]) -> &'a [u8] {
        let text = self.arena.alloc_slice_fill_copy(parts.iter().map(|part| part.len()).sum(), 0);
        let mut at = 0;
        for part in parts {
            text[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        text
    }

    /// The latest such moment that is not after the line was read: for times that name no year.
    pub fn yearless(&self, [month, day]: [i64; 2], clock: [i64; 3]) -> Option<Timestamp> {
        let (this_year, ..) = Timestamp::civil_from_days((self.read_at.0 + AHEAD).div_euclid(86_400_000));
        // 29 February may be eight years ago.
        (0..=8).find_map(|ago| {
            let year = this_year - ago;
            let time = self.site.local([year, month, day], clock)?;
            (time.0 <= self.read_at.0 + AHEAD).then_some(time)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::time::iso8601;

    fn at(text: &str) -> Timestamp {
        iso8601(text.as_bytes(), &Site::default()).unwrap()
    }

    #[test]
    fn local_times_follow_the_zone_through_summer_and_winter() {
        // Central European rules, so that the test needs no database.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let site = Site { zone, ..Site::default() };
        let local = |date, clock| site.local(date, clock).unwrap();
        assert_eq!(local([2026, 1, 5], [12, 30, 45]), at("2026-01-05T11:30:45Z"));
        assert_eq!(local([2026, 7, 5], [12, 30, 45]), at("2026-07-05T10:30:45Z"));
        assert_eq!(local([2026, 3, 29], [2, 30, 0]), at("2026-03-29T01:30:00Z"), "no clock showed it");
        assert_eq!(local([2026, 10, 25], [2, 30, 0]), at("2026-10-25T00:30:00Z"), "clocks showed it twice");
        assert_eq!(site.local([2026, 2, 30], [0, 0, 0]), None);
    }

    #[test]
    fn a_year_that_is_not_said_is_the_latest_that_can_be() {
        let site = Site::default();
        let arena = Bump::new();
        let read = |read_at, date, clock| {
            let context =
                Context { extent: Extent::Whole, arena: &arena, program: b"", site: &site, read_at: at(read_at) };
            context.yearless(date, clock)
        };
        assert_eq!(read("2026-11-22T00:00:00Z", [11, 21], [1, 2, 3]), Some(at("2026-11-21T01:02:03Z")));
        assert_eq!(read("2026-01-01T00:00:05Z", [12, 31], [23, 59, 59]), Some(at("2025-12-31T23:59:59Z")));
        assert_eq!(read("2025-12-31T23:59:58Z", [1, 1], [0, 0, 3]), Some(at("2026-01-01T00:00:03Z")), "a clock ahead");
        assert_eq!(read("2026-11-22T00:00:00Z", [2, 29], [0, 0, 0]), Some(at("2024-02-29T00:00:00Z")));
        assert_eq!(read("2026-11-22T00:00:00Z", [2, 30], [0, 0, 0]), None);
    }
}
