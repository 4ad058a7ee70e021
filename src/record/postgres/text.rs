//! What a log may say and Postgres cannot hold, made so that it can.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::event::Timestamp;

pub const DAY_MILLIS: i64 = 86_400_000;

/// 0001-01-01 and 9999-12-31: what is beyond is a mistake of a clock, and Postgres' own range ends.
const FIRST: i64 = -62_135_596_800_000;
const LAST: i64 = 253_402_300_799_999;

/// Between array elements that travel as one text.
pub const SEPARATOR: char = '\u{1f}';

/// Text cannot hold NUL.
pub fn clean(text: &str) -> Cow<'_, str> {
    if memchr::memchr(0, text.as_bytes()).is_some() { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

pub fn joined(texts: &[String]) -> String {
    let clean = |text: &String| text.replace(['\0', SEPARATOR], "\u{fffd}");
    texts.iter().map(clean).collect::<Vec<_>>().join("\u{1f}")
}

/// JSON as jsonb can hold it: it cannot hold `\u0000`.
pub fn clean_json(text: &str) -> Cow<'_, str> {
    if memchr::memmem::find(text.as_bytes(), b"\\u0000").is_none() {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        clean.push_str(before);
        // One escape at a time: after `\\` a `u0000` is text.
        let (escape, after) = match escape.strip_prefix("\\u0000") {
            Some(after) => ("\u{fffd}", after),
            None => escape.split_at(2),
        };
        clean.push_str(escape);
        rest = after;
    }
    (clean + rest).into()
}

/// A moment that Postgres knows, in milliseconds.
pub fn millis(time: Timestamp) -> i64 {
    time.0.clamp(FIRST, LAST)
}

/// The day that a moment is of, since 1970.
pub fn day(time: Timestamp) -> i64 {
    millis(time).div_euclid(DAY_MILLIS)
}

/// An address for inet; `None` for what is none.
pub fn address(text: Option<&str>) -> Option<IpAddr> {
    text?.parse().ok()
}

/// A client for cidr: without bits behind its prefix.
pub fn network(text: Option<&str>) -> Option<IpNet> {
    // Most are single addresses, which are told apart in less time.
    let text = text?;
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>()).ok()?;
    Some(network.trunc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn nul_becomes_the_character_for_what_is_unknown() {
        assert_eq!((clean("a\0b").as_ref(), clean("ab").as_ref()), ("a\u{fffd}b", "ab"));
        assert_eq!(joined(&["a\u{1f}".into(), "b".into()]), "a\u{fffd}\u{1f}b");
        let value = json!({"a\0": ["\0", "\\u0000", "\\\0\\", "\u{1}\"\\"]});
        let expected = json!({"a\u{fffd}": ["\u{fffd}", "\\u0000", "\\\u{fffd}\\", "\u{1}\"\\"]});
        assert_eq!(serde_json::from_str::<Value>(&clean_json(&value.to_string())).unwrap(), expected);
    }

    #[test]
    fn what_is_no_client_is_none() {
        let of = |text| network(Some(text)).map(|network| network.to_string());
        assert_eq!(of("203.0.113.7").as_deref(), Some("203.0.113.7/32"));
        assert_eq!(of("2001:db8::9/64").as_deref(), Some("2001:db8::/64"));
        assert_eq!((of("x"), of(""), network(None), address(Some("1.2"))), (None, None, None, None));
        assert_eq!((day(Timestamp(-1)), day(Timestamp(i64::MIN))), (-1, -719_162));
    }

    proptest! {
        #[test]
        fn json_is_the_same_but_for_nul(text in "[\\\\u0\0\"a-c]{0,40}") {
            let cleaned: Value = serde_json::from_str(&clean_json(&json!([text]).to_string())).unwrap();
            prop_assert_eq!(cleaned, json!([text.replace('\0', "\u{fffd}")]));
        }
    }
}
