//! Takes out of a text what may be somebody's secret, before it leaves for a service of others.

use std::ops::Range;

/// Parts of names whose values are nobody's business.
const SECRETS: [&str; 10] = ["pass", "pwd", "token", "secret", "key", "auth", "session", "cookie", "card", "mail"];
/// Digits in a row, with a blank or a dash between some of them, that may be the number of a card.
const CARD_DIGITS: usize = 13;

/// `text` with values of parameters named like secrets, e-mail addresses and long numbers as `***`.
pub fn mask(text: &str) -> String {
    let mut hidden = values(text);
    hidden.extend(text.match_indices('@').filter_map(|(at, _)| mailbox(text, at)));
    hidden.extend(cards(text));
    hidden.sort_by_key(|range| range.start);
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for range in hidden {
        if range.start >= end {
            out.push_str(&text[end..range.start]);
            out.push_str("***");
        }
        end = end.max(range.end);
    }
    out + &text[end..]
}

/// What follows `=` behind such a name, up to where a value ends.
fn values(text: &str) -> Vec<Range<usize>> {
    let value = |at: usize| {
        let name = text[..at].rsplit(|c: char| !c.is_alphanumeric() && !"_-.[]%".contains(c)).next()?;
        let name = name.to_ascii_lowercase();
        let rest = &text[at + 1..];
        let length = rest.find(|c: char| c.is_whitespace() || "&;,#\"'".contains(c)).unwrap_or(rest.len());
        (length > 0 && SECRETS.iter().any(|secret| name.contains(secret))).then(|| at + 1..at + 1 + length)
    };
    text.match_indices('=').filter_map(|(at, _)| value(at)).collect()
}

/// The e-mail address around the `@` at `at`.
fn mailbox(text: &str, at: usize) -> Option<Range<usize>> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let start =
        text[..at].rfind(|c| !of_name(c)).map_or(0, |end| end + text[end..].chars().next().map_or(1, char::len_utf8));
    let host = &text[at + 1..];
    let length = host.find(|c: char| !c.is_ascii_alphanumeric() && !".-".contains(c)).unwrap_or(host.len());
    (start < at && host[..length].trim_matches('.').contains('.')).then(|| start..at + 1 + length)
}

fn cards(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut start, mut digits, mut end) = (vec![], 0, 0, 0);
    for (at, c) in text.char_indices().chain([(text.len(), '\0')]) {
        if c.is_ascii_digit() {
            if digits == 0 {
                start = at;
            }
            (digits, end) = (digits + 1, at + 1);
        } else if digits == 0 || at > end || !matches!(c, ' ' | '-') {
            if digits >= CARD_DIGITS {
                found.push(start..end);
            }
            digits = 0;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn secrets_of_people_are_hidden_and_the_rest_stays() {
        for (text, masked) in [
            ("GET /a?id=1&user_password=hunter2&x=2", "GET /a?id=1&user_password=***&x=2"),
            ("/a?API_KEY=k1;Session-Id=s1#x", "/a?API_KEY=***;Session-Id=***#x"),
            ("a=b@example.com, é.x+y@mail.example.org!", "a=***, é***!"),
            ("/pay?n=4111-1111 1111 1111&m=12345", "/pay?n=***&m=12345"),
            ("token=a@example.com&token=", "token=***&token="),
            ("@everyone <@here> a@b 203.0.113.5", "@everyone <@here> a@b 203.0.113.5"),
            ("", ""),
        ] {
            assert_eq!(mask(text), masked);
        }
    }
}
