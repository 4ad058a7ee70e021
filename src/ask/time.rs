//! Words about time → moments, in the zone of whoever asks.

use jiff::civil::{Date, DateTime, Time, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};

use super::Moment;
use crate::event::Timestamp;

/// Words that have a meaning here.
pub const WORDS: &[&str] = &[
    "today yesterday tonight overnight night morning afternoon evening noon midday midnight weekend",
    "last past previous this current since until till before after between and from to starting up ago day the of at",
    "on in an a am pm st nd rd th",
    UNITS,
    WEEKDAYS,
    MONTHS,
    NUMBERS,
    "fifteen twenty thirty forty fifty",
];
const UNITS: &str = "minute hour day week month year";
const WEEKDAYS: &str = "monday tuesday wednesday thursday friday saturday sunday";
const MONTHS: &str = "january february march april may june july august september october november december";
const NUMBERS: &str = "one two three four five six seven eight nine ten eleven twelve";
const ROUND: &[(&str, i64)] = &[("fifteen", 15), ("twenty", 20), ("thirty", 30), ("forty", 40), ("fifty", 50)];
/// What is common is also written short.
const SHORT: &[(&str, &str)] = &[("tues", "tuesday"), ("thurs", "thursday"), ("sept", "september")];

/// A day without a time said: so many days are looked at.
const USUAL_DAYS: i64 = 7;
const EVENING: Time = Time::constant(18, 0, 0, 0);
const NIGHT: Time = Time::constant(20, 0, 0, 0);
const MORNING: Time = Time::constant(6, 0, 0, 0);
const NOON: Time = Time::constant(12, 0, 0, 0);
const MIDNIGHT: Time = Time::constant(0, 0, 0, 0);

/// What one phrase says of the time.
#[derive(Clone, Copy, Debug)]
pub enum Piece {
    Span(DateTime, DateTime),
    /// A whole day, which a clock may narrow.
    Day(Date),
    /// Between two times of a day.
    Clock(Time, Time),
    From(When),
    To(When),
    /// So long until now.
    Rolling(Span),
}

/// A moment, on a day that is said or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    At(DateTime),
    Clock(Time),
}

/// What the words say that `words` begin with, and how many they are.
pub fn read(words: &[&str], moment: &Moment) -> Option<(Piece, usize)> {
    let reader = Reader { now: local(moment)? };
    reader.piece(words)
}

/// The time that all `pieces` mean together; a week until now where there are none.
///
/// # Errors
/// A sentence for people.
pub fn together(pieces: &[Piece], moment: &Moment) -> Result<(Timestamp, Timestamp), String> {
    let broken = || "that time cannot be counted".to_owned();
    let now = local(moment).ok_or_else(broken)?;
    let at = |time: DateTime| at(time, &moment.zone).ok_or_else(broken);
    let day = pieces.iter().find_map(|piece| if let Piece::Day(day) = piece { Some(*day) } else { None });
    // On the day that is said, else the last time that it was so late.
    let on_day = |time: Time| match day {
        Some(day) => Some(day.to_datetime(time)),
        None if now.date().to_datetime(time) <= now => Some(now.date().to_datetime(time)),
        None => Some(now.date().yesterday().ok()?.to_datetime(time)),
    };
    let when = |when: When| match when {
        When::At(time) => Some(time),
        When::Clock(time) => on_day(time),
    };
    let (mut from, mut to): (Option<Timestamp>, Option<Timestamp>) = (None, None);
    let mut narrow = |start: Option<Timestamp>, end: Option<Timestamp>| {
        from = from.max(start);
        to = match (to, end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    };
    let mut has_clock = false;
    for piece in pieces {
        match *piece {
            Piece::Span(start, end) => narrow(Some(at(start)?), Some(at(end)?)),
            Piece::Day(day) => {
                let next = day.tomorrow().map_err(|_| broken())?;
                // A night may go on after the day's end.
                let beyond = pieces.iter().any(|one| matches!(one, Piece::Clock(start, end) if end <= start));
                let end = if beyond { None } else { Some(at(next.to_datetime(MIDNIGHT))?) };
                narrow(Some(at(day.to_datetime(MIDNIGHT))?), end);
            }
            Piece::Clock(start, end) => {
                has_clock = true;
                let start_at = on_day(start).ok_or_else(broken)?;
                let until = start_at.date().to_datetime(end);
                let until = if end <= start { until.checked_add(1.day()).map_err(|_| broken())? } else { until };
                narrow(Some(at(start_at)?), Some(at(until)?));
            }
            Piece::From(start) => narrow(Some(at(when(start).ok_or_else(broken)?)?), None),
            Piece::To(end) => narrow(None, Some(at(when(end).ok_or_else(broken)?)?)),
            Piece::Rolling(span) => {
                // Hours are counted, days are those of the calendar.
                let zoned = now.to_zoned(moment.zone.clone()).and_then(|now| now.checked_sub(span));
                let start = zoned.map_err(|_| broken())?.timestamp().as_millisecond();
                narrow(Some(Timestamp(start)), Some(moment.now));
            }
        }
    }
    if has_clock && day.is_none() && pieces.len() > 1 {
        return Err("a time of day goes with one day".into());
    }
    let usual = || {
        let day = now.date().checked_sub(USUAL_DAYS.days()).map_err(|_| broken())?;
        at(day.to_datetime(MIDNIGHT))
    };
    let end = to.unwrap_or(moment.now);
    let start = match from {
        Some(start) => start,
        None if usual()? < end => usual()?,
        None => Timestamp(end.0 - USUAL_DAYS * 86_400_000),
    };
    if start >= end {
        return Err("the times that are named have nothing in common".into());
    }
    Ok((start, end))
}

fn local(moment: &Moment) -> Option<DateTime> {
    let now = jiff::Timestamp::from_millisecond(moment.now.0).ok()?;
    Some(now.to_zoned(moment.zone.clone()).datetime())
}

fn at(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    Some(Timestamp(time.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond()))
}

/// A point of time, as long as its words are vague.
struct Point {
    from: DateTime,
    to: DateTime,
    /// The day, if it is nothing else.
    day: Option<Date>,
}

struct Reader {
    now: DateTime,
}

impl Reader {
    fn piece(&self, words: &[&str]) -> Option<(Piece, usize)> {
        self.range(words)
            .or_else(|| self.bound(words))
            .or_else(|| self.rolling(words))
            .or_else(|| self.ago(words))
            .or_else(|| {
                let (point, used) = self.point(words)?;
                Some((point.day.map_or(Piece::Span(point.from, point.to), Piece::Day), used))
            })
            .or_else(|| {
                // An hour: "at 3 am".
                let (time, used) = clock(words, None)?;
                Some((Piece::Clock(time, time.wrapping_add(1.hour())), used))
            })
    }

    /// "between 2 and 4 am", "from monday to wednesday".
    fn range(&self, words: &[&str]) -> Option<(Piece, usize)> {
        let joints: &[&str] = match *words.first()? {
            "between" => &["and"],
            "from" => &["to", "until", "till"],
            _ => return None,
        };
        let joint = 1 + words.iter().skip(1).take(6).position(|word| joints.contains(word))?;
        let (left, right) = (words.get(1..joint)?, words.get(joint + 1..)?);
        let left = left.strip_prefix(&["the"]).unwrap_or(left);
        if let (Some((start, used)), Some((end, end_used))) = (self.point(left), self.point(right))
            && used == left.len()
        {
            return Some((Piece::Span(start.from, end.to), joint + 1 + end_used));
        }
        let (end, end_used) = clock(right, None)?;
        // "2 and 4 am": the first has its half of the day from the second.
        let half = right.get(..end_used)?.iter().copied().find(|word| ["am", "pm"].contains(word));
        let (start, used) = clock(left, half)?;
        (used == left.len()).then_some((Piece::Clock(start, end), joint + 1 + end_used))
    }

    /// "since monday", "before 6 am".
    fn bound(&self, words: &[&str]) -> Option<(Piece, usize)> {
        let (kind, skip) = match words {
            ["starting", "from", ..] => ("since", 2),
            ["up", "to", ..] => ("until", 2),
            ["since" | "until" | "till" | "before" | "after", ..] => (*words.first()?, 1),
            ["starting", ..] => ("since", 1),
            _ => return None,
        };
        let rest = words.get(skip..)?;
        let skip = skip + usize::from(rest.first() == Some(&"the"));
        let rest = words.get(skip..)?;
        let ago = |(span, used): (Span, usize)| Some((When::At(self.now.checked_sub(span).ok()?), used));
        let (start, end, used) = match (self.span_ago(rest).and_then(ago), self.point(rest), clock(rest, None)) {
            (Some((when, used)), ..) => (when, when, used),
            (None, Some((point, used)), _) => (When::At(point.from), When::At(point.to), used),
            (None, None, Some((time, used))) => (When::Clock(time), When::Clock(time), used),
            _ => return None,
        };
        let piece = match kind {
            // "before 6 am today" is of today.
            "before" | "until" | "till"
                if let When::At(at) = end
                    && clock(rest, None).is_some() =>
            {
                Piece::Span(at.date().to_datetime(MIDNIGHT), at)
            }
            "since" => Piece::From(start),
            "after" => Piece::From(end),
            "before" => Piece::To(start),
            _ => Piece::To(end),
        };
        Some((piece, skip + used))
    }

    /// "last 3 hours", "past week", "24 h".
    fn rolling(&self, words: &[&str]) -> Option<(Piece, usize)> {
        let skip = usize::from(["last", "past", "previous"].contains(words.first()?));
        match words.get(skip..)? {
            [count, unit, ..] if number(count).is_some() && is_unit(unit) && words.get(skip + 2) != Some(&"ago") => {
                Some((Piece::Rolling(span(number(count)?, unit)?), skip + 2))
            }
            // "last week" is one of the calendar, "past week" is not.
            [unit, ..] if skip == 1 && is_unit(unit) && (words.first() == Some(&"past") || is_short(unit)) => {
                Some((Piece::Rolling(span(1, unit)?), 2))
            }
            _ => None,
        }
    }

    /// "3 days ago".
    fn ago(&self, words: &[&str]) -> Option<(Piece, usize)> {
        let (span, used) = self.span_ago(words)?;
        let unit = words.get(used - 2)?;
        (!is_short(unit) || *unit == "day").then_some(())?;
        Some((Piece::Day(self.now.checked_sub(span).ok()?.date()), used))
    }

    fn span_ago(&self, words: &[&str]) -> Option<(Span, usize)> {
        match words {
            [count, unit, "ago", ..] => {
                let count = if ["a", "an"].contains(count) { 1 } else { number(count)? };
                Some((span(count, unit)?, 3))
            }
            _ => None,
        }
    }

    /// A day with or without a clock or a part of it, a night, a week, a month.
    fn point(&self, words: &[&str]) -> Option<(Point, usize)> {
        if let Some(found) = self.named(words) {
            return Some(found);
        }
        // "6 am today", "14:00 on monday"
        if let Some((time, used)) = clock(words, None) {
            let rest = words.get(used..)?;
            let joint = usize::from(["on", "of"].contains(rest.first()?));
            let (day, day_used) = self.day(rest.get(joint..)?)?;
            let at = day.to_datetime(time);
            return Some((Point { from: at, to: at, day: None }, used + joint + day_used));
        }
        let (day, used) = self.day(words)?;
        let rest = words.get(used..).unwrap_or_default();
        if let Some(&part) = rest.first()
            && let Some((from, to)) = part_of(day, part)
        {
            return Some((Point { from, to, day: None }, used + 1));
        }
        let joint = usize::from(rest.first() == Some(&"at"));
        if let Some((time, clock_used)) = clock(rest.get(joint..).unwrap_or_default(), None)
            && (joint == 1 || rest.get(1).is_some_and(|word| ["am", "pm"].contains(word)) || rest[0].contains(':'))
        {
            let from = day.to_datetime(time);
            // A moment, unless somebody asks what was then.
            return Some((Point { from, to: from, day: None }, used + joint + clock_used));
        }
        let (from, to) = (day.to_datetime(MIDNIGHT), day.tomorrow().ok()?.to_datetime(MIDNIGHT));
        Some((Point { from, to, day: Some(day) }, used))
    }

    fn named(&self, words: &[&str]) -> Option<(Point, usize)> {
        let today = self.now.date();
        let span = |(from, to): (DateTime, DateTime), used| Some((Point { from, to, day: None }, used));
        let of_days = |from: Date, to: Date| (from.to_datetime(MIDNIGHT), to.to_datetime(MIDNIGHT));
        let back = |days: i64| today.checked_sub(days.days()).ok();
        let monday = back(today.weekday().to_monday_zero_offset().into())?;
        match words {
            // The night that was, also when it is not yet over.
            ["last" | "this" | "past", "night", ..] => span(part_of(back(1)?, "night")?, 2),
            ["overnight", ..] => span(part_of(back(1)?, "night")?, 1),
            ["tonight", ..] => span(part_of(today, "night")?, 1),
            ["this", part @ ("morning" | "afternoon" | "evening"), ..] => span(part_of(today, part)?, 2),
            ["this" | "current", "week", ..] => span(of_days(monday, monday.checked_add(7.days()).ok()?), 2),
            ["last" | "previous", "week", ..] => span(of_days(monday.checked_sub(7.days()).ok()?, monday), 2),
            ["last" | "this" | "past" | "previous", "weekend", ..] => {
                let saturday = monday.checked_sub(2.days()).ok()?;
                span(of_days(saturday, monday), 2)
            }
            ["weekend", ..] => span(of_days(monday.checked_sub(2.days()).ok()?, monday), 1),
            ["this" | "current", "month", ..] => span(month(today.first_of_month())?, 2),
            ["last" | "previous", "month", ..] => {
                span(month(today.first_of_month().yesterday().ok()?.first_of_month())?, 2)
            }
            ["this" | "current", "year", ..] => span(year(today.year())?, 2),
            ["last" | "previous", "year", ..] => span(year(today.year() - 1)?, 2),
            // Alone it is a verb.
            ["in", "may", rest @ ..] if rest.first().is_none_or(|word| word.parse::<u8>().is_err()) => {
                let may = Date::new(today.year() - i16::from(today.month() < 5), 5, 1).ok()?;
                span(month(may)?, 2)
            }
            ["midnight", ..] => span((today.to_datetime(MIDNIGHT), today.to_datetime(MIDNIGHT)), 1),
            [name, rest @ ..] if position(MONTHS, name).is_some() => {
                // "may" alone is a verb more often than a month; a day before or behind it makes a date of it.
                if self.day(words).is_some() || *name == "may" {
                    return None;
                }
                let number = position(MONTHS, name)?;
                let (of_year, used) = match rest.first().and_then(|word| full_year(word)) {
                    Some(year) => (year, 2),
                    None if number > today.month() => (today.year() - 1, 1),
                    None => (today.year(), 1),
                };
                span(month(Date::new(of_year, number, 1).ok()?)?, used)
            }
            _ => self.moment(words),
        }
    }

    /// `2026-05-10T14:00`.
    fn moment(&self, words: &[&str]) -> Option<(Point, usize)> {
        let word = words.first()?;
        let at = word.contains('t').then(|| word.to_uppercase().trim_end_matches('Z').parse::<DateTime>().ok())??;
        Some((Point { from: at, to: at, day: None }, 1))
    }

    fn day(&self, words: &[&str]) -> Option<(Date, usize)> {
        let today = self.now.date();
        let back = |days: i64| today.checked_sub(days.days()).ok();
        let of_week = |name: &str, is_last: bool| {
            let weekday = Weekday::from_monday_one_offset(position(WEEKDAYS, name)?).ok()?;
            let days = i64::from(today.weekday().since(weekday));
            // "last thursday" is not today.
            back(if is_last && days == 0 { 7 } else { days })
        };
        match words {
            ["day", "before", "yesterday", ..] => Some((back(2)?, 3)),
            ["the", "day", "before", "yesterday", ..] => Some((back(2)?, 4)),
            ["today" | "tonight", ..] => Some((today, 1)),
            ["yesterday", ..] => Some((back(1)?, 1)),
            ["last" | "past" | "previous", name, ..] if of_week(name, true).is_some() => {
                Some((of_week(name, true)?, 2))
            }
            ["this", name, ..] if of_week(name, false).is_some() => Some((of_week(name, false)?, 2)),
            [name, ..] if of_week(name, false).is_some() => Some((of_week(name, false)?, 1)),
            [word, ..] if word.len() == "2026-05-10".len() && word.parse::<Date>().is_ok() => {
                Some((word.parse().ok()?, 1))
            }
            [number, "of", name, rest @ ..] | [number, name, rest @ ..] if position(MONTHS, name).is_some() => {
                let used = words.len() - rest.len();
                self.date(number, name, rest, used)
            }
            [name, "the", number, rest @ ..] | [name, number, rest @ ..] if position(MONTHS, name).is_some() => {
                let used = words.len() - rest.len();
                self.date(number, name, rest, used)
            }
            _ => None,
        }
    }

    /// The last one that was, where no year is said.
    fn date(&self, day: &str, name: &str, rest: &[&str], used: usize) -> Option<(Date, usize)> {
        let (day, month) = (day.parse().ok()?, position(MONTHS, name)?);
        let today = self.now.date();
        if let Some(year) = rest.first().and_then(|word| full_year(word)) {
            return Some((Date::new(year, month, day).ok()?, used + 1));
        }
        let this_year = Date::new(today.year(), month, day).ok();
        let found = this_year.filter(|date| *date <= today).or_else(|| Date::new(today.year() - 1, month, day).ok());
        // A 31st of February there never was.
        this_year.and(found).map(|date| (date, used))
    }
}

fn part_of(day: Date, part: &str) -> Option<(DateTime, DateTime)> {
    let next = day.tomorrow().ok()?;
    Some(match part {
        "morning" => (day.to_datetime(MORNING), day.to_datetime(NOON)),
        "afternoon" => (day.to_datetime(NOON), day.to_datetime(EVENING)),
        "evening" => (day.to_datetime(EVENING), next.to_datetime(MIDNIGHT)),
        "night" => (day.to_datetime(NIGHT), next.to_datetime(MORNING)),
        _ => return None,
    })
}

fn month(first: Date) -> Option<(DateTime, DateTime)> {
    let next = first.checked_add(1.month()).ok()?;
    Some((first.to_datetime(MIDNIGHT), next.to_datetime(MIDNIGHT)))
}

fn year(number: i16) -> Option<(DateTime, DateTime)> {
    Some((date(number, 1, 1).to_datetime(MIDNIGHT), Date::new(number + 1, 1, 1).ok()?.to_datetime(MIDNIGHT)))
}

/// A time of day; `half` is its half if it says none itself, without which a number is no time.
fn clock(words: &[&str], half: Option<&str>) -> Option<(Time, usize)> {
    let first = *words.first()?;
    match first {
        "noon" | "midday" => return Some((NOON, 1)),
        "midnight" => return Some((MIDNIGHT, 1)),
        _ => {}
    }
    let own = words.get(1).copied().filter(|word| ["am", "pm"].contains(word));
    let used = 1 + usize::from(own.is_some());
    let (hour, minute, is_full) = match first.split_once(':') {
        Some((hour, minute)) if minute.len() == 2 => (number(hour)?, number(minute)?, true),
        _ => (number(first)?, 0, false),
    };
    let hour = match own.or(half.filter(|_| !is_full)) {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("pm") => hour % 12 + 12,
        Some(_) => hour % 12,
        None if is_full => hour,
        None => return None,
    };
    Some((Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()?, used))
}

/// A number in digits or in a word.
pub fn number(word: &str) -> Option<i64> {
    match word.parse() {
        Ok(number) => Some(number),
        Err(_) => {
            let round = ROUND.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
            position(NUMBERS, word).map(i64::from).or(round)
        }
    }
}

fn span(count: i64, unit: &str) -> Option<Span> {
    let span = Span::new();
    match unit {
        "minute" => span.try_minutes(count),
        "hour" => span.try_hours(count),
        "day" => span.try_days(count),
        "week" => span.try_weeks(count),
        "month" => span.try_months(count),
        "year" => span.try_years(count),
        _ => return None,
    }
    .ok()
    .filter(|_| count > 0)
}

fn is_unit(word: &str) -> bool {
    UNITS.split(' ').any(|unit| unit == word)
}

/// A calendar has no last minute, hour or day that anybody means.
fn is_short(unit: &str) -> bool {
    ["minute", "hour", "day"].contains(&unit)
}

fn full_year(word: &str) -> Option<i16> {
    word.parse().ok().filter(|year| (1970..=9998).contains(year) && word.len() == 4)
}

/// Where `word`, or a usual short form of at least three letters, stands in a list, counted from 1.
fn position(list: &str, word: &str) -> Option<i8> {
    let word = SHORT.iter().find(|(short, _)| *short == word).map_or(word, |(_, long)| *long);
    let is_it = |long: &str| long == word || (word.len() == 3 && list != NUMBERS && long.starts_with(word));
    i8::try_from(list.split(' ').position(is_it)? + 1).ok()
}
