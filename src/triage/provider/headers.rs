//! What a server's headers say of its limits: how much is left, and how long to wait.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;

use super::{Allowance, Left};

/// Nothing waits longer, whatever a header says.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Headers with what remains and when it is full again. Behind both, some write the window's name:
/// `-day`, `-minute`.
const REQUESTS: &[(&str, &str)] = &[
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
];
const TOKENS: &[(&str, &str)] = &[
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];
/// One count for everything, as reputation services have it.
const ALL: &[(&str, &str)] = &[("x-ratelimit-remaining", "x-ratelimit-reset")];

/// What is left of requests and of tokens; of several windows the one that ends first.
pub fn allowance(headers: &HeaderMap, now: SystemTime) -> Allowance {
    let least = |families| windows(headers, families, now).min_by_key(|left: &Left| left.remaining);
    Allowance { requests: least(REQUESTS), tokens: least(TOKENS) }
}

/// How long the server asks to be left alone.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let millis = text("retry-after-ms").and_then(|ms| ms.trim().parse::<f64>().ok());
    millis.and_then(|ms| seconds(ms / 1000.0)).or_else(|| wait(text("retry-after")?, now))
}

/// When the windows that are used up are full again.
pub fn refill(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let of = |families| windows(headers, families, now);
    let all = of(REQUESTS).chain(of(TOKENS)).chain(of(ALL));
    all.filter(|left| left.remaining == 0).map(|left| left.resets_after).max()
}

fn windows<'a>(
    headers: &'a HeaderMap,
    families: &'static [(&str, &str)],
    now: SystemTime,
) -> impl Iterator<Item = Left> + 'a {
    let in_family = move |(remaining, reset): &'static (&str, &str)| {
        headers.iter().filter_map(move |(name, value)| {
            let window = name.as_str().strip_prefix(remaining)?;
            let remaining: f64 = value.to_str().ok()?.trim().parse().ok()?;
            let reset = headers.get(format!("{reset}{window}"))?;
            // `as` ends at 0 and at the greatest number.
            Some(Left { remaining: remaining as u64, resets_after: wait(reset.to_str().ok()?, now)? })
        })
    };
    families.iter().flat_map(in_family)
}

/// A time to wait: seconds (`11.38`), Go's way (`1m2.5s`), seconds or milliseconds since 1970, a
/// date of HTTP or of RFC 3339. What is over is zero.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let until = |moment: SystemTime| Some(moment.duration_since(now).unwrap_or_default().min(LONGEST));
    if let Ok(number) = text.parse::<f64>() {
        return match number {
            1e12.. => until(SystemTime::UNIX_EPOCH.checked_add(seconds_at_all(number / 1000.0)?)?),
            1e9.. => until(SystemTime::UNIX_EPOCH.checked_add(seconds_at_all(number)?)?),
            _ => seconds(number),
        };
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return until(moment.into());
    }
    if let Ok(moment) = jiff::fmt::rfc2822::parse(text) {
        return until(moment.timestamp().into());
    }
    go_duration(text)
}

/// Numbers, each with its unit.
fn go_duration(mut text: &str) -> Option<Duration> {
    let mut sum = if text.is_empty() { return None } else { 0.0 };
    while !text.is_empty() {
        let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, rest) = rest.split_at(rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len()));
        let factor = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * factor;
        text = rest;
    }
    seconds(sum)
}

fn seconds(number: f64) -> Option<Duration> {
    Some(seconds_at_all(number)?.min(LONGEST))
}

/// None for a negative number, and for one that is none.
fn seconds_at_all(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_614_400)
    }

    #[test]
    fn waits_are_read_in_every_notation() {
        let cases = [
            ("29241", 29_241_000),
            ("11.382867097854614", 11_382),
            ("0.5", 500),
            ("1m2.5s", 62_500),
            ("6m0s", 360_000),
            ("17ms", 17),
            ("1h2m3s", 3_723_000),
            ("1d", 86_400_000),
            ("Mon, 05 Jan 2026 12:00:30 GMT", 30_000),
            ("Mon, 05 Jan 2026 11:00:30 GMT", 0),
            ("2026-01-05T12:01:00Z", 60_000),
            ("1767614410", 10_000),
            ("1767614410000", 10_000),
            ("1000000000", 0),
            ("99999999", LONGEST.as_millis()),
        ];
        for (text, millis) in cases {
            assert_eq!(wait(text, now()).map(|wait| wait.as_millis()), Some(millis), "{text}");
        }
        for text in ["", "soon", "-5", "NaN", "inf", "1e400", "1x", "m", "1.2.3s", "5 minutes"] {
            assert_eq!(wait(text, now()), None, "{text}");
        }
    }

    #[test]
    fn the_window_that_ends_first_counts_under_any_of_its_names() {
        let left = |remaining, secs| Some(Left { remaining, resets_after: Duration::from_secs(secs) });
        let headers = headers(&[
            ("x-ratelimit-remaining-requests-day", "14000"),
            ("x-ratelimit-reset-requests-day", "33011.0"),
            ("x-ratelimit-remaining-requests-minute", "3"),
            ("x-ratelimit-reset-requests-minute", "20"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "1m1s"),
            ("x-ratelimit-remaining-tokens-hour", "1"),
        ]);
        assert_eq!(allowance(&headers, now()), Allowance { requests: left(3, 20), tokens: left(0, 61) });
        assert_eq!(refill(&headers, now()), Some(Duration::from_secs(61)));
        assert_eq!(retry_after(&headers, now()), None);
    }

    #[test]
    fn a_count_for_everything_says_when_it_is_full_again() {
        let spent = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1767614460")]);
        assert_eq!(refill(&spent, now()), Some(Duration::from_secs(60)));
        let left = headers(&[("x-ratelimit-remaining", "998"), ("x-ratelimit-reset", "1767614460")]);
        assert_eq!((refill(&left, now()), allowance(&left, now())), (None, Allowance::default()));
        let in_time = [
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-01-05T12:00:09Z"),
        ];
        assert_eq!(refill(&headers(&in_time), now()), Some(Duration::from_secs(9)));
    }

    #[test]
    fn milliseconds_come_before_seconds() {
        let both = headers(&[("retry-after-ms", "250"), ("retry-after", "2")]);
        assert_eq!(retry_after(&both, now()), Some(Duration::from_millis(250)));
        let odd = headers(&[("retry-after-ms", "soon"), ("retry-after", "1.5")]);
        assert_eq!(retry_after(&odd, now()), Some(Duration::from_millis(1500)));
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    proptest! {
        #[test]
        fn no_header_makes_anything_wait_for_ever(
            text in "[0-9a-zA-Z:., +-]{0,40}|[0-9.]{1,9}(ms|s|m|h|d)[0-9.]{0,400}s",
        ) {
            let all = [("retry-after", &*text), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &*text)];
            let headers = headers(&all);
            for wait in [retry_after(&headers, now()), refill(&headers, now())].into_iter().flatten() {
                prop_assert!(wait <= LONGEST);
            }
        }
    }
}
