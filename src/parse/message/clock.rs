//! The time in front of a message, in whatever shape.

use super::super::context::Context;
use super::super::time::{civil, month, number, offset, unix};
use crate::event::Timestamp;

/// The time that `text` begins with, in brackets or not, and what follows it. A time of day without
/// a date is a time of which no moment is known.
pub fn leading<'a>(text: &'a [u8], context: &Context<'_>) -> Option<(Option<Timestamp>, &'a [u8])> {
    match text {
        [b'[', inner @ ..] => {
            let (time, rest) = moment(inner, context)?;
            // A thread may follow: `[2026-01-05T12:30:45.678079 #812]`.
            let end = memchr::memchr(b']', &rest[..rest.len().min(24)])?;
            (end == 0 || rest.starts_with(b" ")).then(|| (time, &rest[end + 1..]))
        }
        _ => moment(text, context).filter(|(_, rest)| !rest.first().is_some_and(u8::is_ascii_alphanumeric)),
    }
}

fn moment<'a>(text: &'a [u8], context: &Context<'_>) -> Option<(Option<Timestamp>, &'a [u8])> {
    let mut scan = Scan { text, at: 0 };
    if let Some(date) = scan.date() {
        let (clock, ms) = scan.after_date()?;
        // `Mon Jan 05 12:30:45 2026`.
        let year = date[0].or_else(|| scan.year());
        let zone = scan.zone();
        let time = match (year, zone) {
            (Some(year), Some(zone)) => civil([year, date[1]?, date[2]?], clock, zone)?,
            (Some(year), None) => context.site.local([year, date[1]?, date[2]?], clock)?,
            (None, _) => context.yearless([date[1]?, date[2]?], clock)?,
        };
        return Some((Some(Timestamp(time.0 + ms)), scan.rest()));
    }
    scan.at = 0;
    if scan.clock().is_some() {
        return Some((None, scan.rest()));
    }
    // Seconds since 1970.
    let end = text.iter().take(24).position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(text.len());
    let (word, rest) = text.split_at(end.min(24));
    let seconds = word.splitn(3, |byte| *byte == b'.').take(2).map(<[u8]>::len).sum::<usize>();
    let fraction = usize::from(memchr::memchr(b'.', word).is_some());
    unix(&word[..seconds + fraction]).map(|time| (Some(time), rest))
}

/// Walks through a time.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn take(&mut self, literal: &[u8]) -> bool {
        let there = self.rest().starts_with(literal);
        self.at += if there { literal.len() } else { 0 };
        there
    }

    /// Takes a number of `1..=most` digits.
    fn number(&mut self, most: usize) -> Option<(i64, usize)> {
        let len = self.rest().iter().take(most + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let value = number(self.rest().get(..len)?).filter(|_| len <= most)?;
        self.at += len;
        Some((value, len))
    }

    /// Takes a month's or a weekday's name.
    fn name<T>(&mut self, known: impl Fn([u8; 3]) -> Option<T>) -> Option<T> {
        let found = known(*self.rest().first_chunk()?)?;
        self.at += 3;
        Some(found)
    }

    /// Takes a date: year, if it is said here, month and day.
    fn date(&mut self) -> Option<[Option<i64>; 3]> {
        if self.name(weekday).is_some() {
            self.take(b",");
            self.take(b" ").then_some(())?;
        }
        if let Some(month) = self.name(month) {
            self.take(b" ").then_some(())?;
            self.take(b" ");
            let (day, _) = self.number(2)?;
            let start = self.at;
            self.take(b",");
            let year = if self.take(b" ") { self.year_here() } else { None };
            self.at = if year.is_some() { self.at } else { start };
            return Some([year, Some(month.into()), Some(day)]);
        }
        let (first, digits) = self.number(6)?;
        if digits == 6 {
            // `260105 12:30:45`.
            return Some([Some(2000 + first / 10_000), Some(first / 100 % 100), Some(first % 100)]);
        }
        let separator = *self.rest().first()?;
        matches!(separator, b'-' | b'/' | b'.' | b' ').then_some(())?;
        self.at += 1;
        let named = self.name(month);
        let second = match named {
            Some(month) => i64::from(month),
            None if separator == b' ' => return None,
            None => self.number(2)?.0,
        };
        self.take(&[separator]).then_some(())?;
        let (third, third_digits) = self.number(4)?;
        let year = |value: i64, digits: usize| if digits == 2 { 2000 + value } else { value };
        let [year, month, day] = match (digits, named) {
            (4, _) => [first, second, third],
            (_, Some(_)) => [year(third, third_digits), second, first],
            // With slashes the month comes first, unless it is none.
            _ if separator == b'/' && first <= 12 => [year(third, third_digits), first, second],
            _ => [year(third, third_digits), second, first],
        };
        Some([Some(year), Some(month), Some(day)])
    }

    /// Takes what separates a date from its time of day, and the latter.
    fn after_date(&mut self) -> Option<([i64; 3], i64)> {
        let separators: [&[u8]; 7] = [b" - ", b", ", b"  ", b" ", b"T", b":", b"-"];
        separators.iter().any(|separator| self.take(separator)).then(|| self.clock())?
    }

    /// Takes a time of day; the fraction in milliseconds.
    fn clock(&mut self) -> Option<([i64; 3], i64)> {
        let (mut hour, _) = self.number(2)?;
        self.take(b":").then_some(())?;
        let (minute, 2) = self.number(2)? else { return None };
        self.take(b":").then_some(())?;
        let (second, 2) = self.number(2)? else { return None };
        let mut ms = 0;
        if let [b'.' | b',', digit, ..] = self.rest()
            && digit.is_ascii_digit()
        {
            self.at += 1;
            for place in [100, 10, 1] {
                if let Some(digit @ b'0'..=b'9') = self.rest().first() {
                    ms += i64::from(digit - b'0') * place;
                    self.at += 1;
                }
            }
            self.at += self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        }
        if self.take(b" PM") {
            hour += if hour < 12 { 12 } else { 0 };
        } else if self.take(b" AM") && hour == 12 {
            hour = 0;
        }
        (hour <= 23 && minute <= 59 && second <= 60).then_some(([hour, minute, second], ms))
    }

    /// Takes a year behind a time of day.
    fn year(&mut self) -> Option<i64> {
        let start = self.at;
        let year = if self.take(b" ") { self.year_here() } else { None };
        self.at = if year.is_some() { self.at } else { start };
        year
    }

    fn year_here(&mut self) -> Option<i64> {
        let start = self.at;
        let year = self.number(4).filter(|&(_, len)| len == 4).map(|(year, _)| year);
        let year = year.filter(|_| !matches!(self.rest().first(), Some(b':' | b'.' | b'-' | b'/')));
        self.at = if year.is_some() { self.at } else { start };
        year
    }

    /// Takes a zone: its offset from UTC in seconds. Of names only those of UTC say one.
    fn zone(&mut self) -> Option<i64> {
        let spaced = self.rest().strip_prefix(b" ").unwrap_or(self.rest());
        let space = self.rest().len() - spaced.len();
        // `- text` is no zone.
        if let Some((zone, len)) = offset(spaced).filter(|&(_, len)| len != 1 || space == 0) {
            self.at += space + len;
            return Some(zone);
        }
        let letters = spaced.iter().take(6).take_while(|byte| byte.is_ascii_uppercase()).count();
        let name = &spaced[..letters];
        const NAMES: [&[u8]; 12] =
            [b"UTC", b"GMT", b"CET", b"CEST", b"EET", b"EEST", b"EST", b"EDT", b"CST", b"CDT", b"PST", b"PDT"];
        if space == 1 && NAMES.contains(&name) {
            self.at += 1 + letters;
        }
        matches!(name, b"UTC" | b"GMT").then_some(0)
    }
}

fn weekday(name: [u8; 3]) -> Option<()> {
    matches!(&name, b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun").then_some(())
}
