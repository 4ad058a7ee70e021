//! A request in quotes within a line that no known format understands.

use crate::event::Http;
use crate::parse::access::{bare_quote, leading_status, request};

/// The request in the first quotes that hold one, with the status after it.
pub fn find(text: &[u8]) -> Option<Http<'_>> {
    // Quotes before it need not come in pairs.
    let quotes = memchr::memchr_iter(b'"', text).map(|quote| &text[quote + 1..]);
    for rest in quotes.filter(|rest| rest.first().is_some_and(u8::is_ascii_uppercase)) {
        let end = bare_quote(rest)?;
        let mut http = Http::default();
        request(&rest[..end], &mut http);
        if !http.method.is_empty() && !http.protocol.is_empty() {
            let status = rest[end + 1..].strip_prefix(b" ").and_then(leading_status);
            http.status = status.filter(|status| *status < 600);
            return Some(http);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_in_quotes_with_its_protocol() {
        let found = |text: &str| {
            find(text.as_bytes()).map(|http| format!("{} {:?}", String::from_utf8_lossy(http.uri), http.status))
        };
        assert_eq!(found(r#"x "y" 7 "GET /a?b HTTP/1.1" 404 5 "z""#).as_deref(), Some("/a?b Some(404)"));
        assert_eq!(found(r#"an odd " here, request: "GET /a HTTP/1.1", host"#).as_deref(), Some("/a None"));
        assert_eq!(found(r#"401 "POST /a\"b HTTP/2" 3.5"#).as_deref(), Some(r#"/a\"b None"#));
        for none in ["", "\"", r#"user "GET /a" failed"#, r#""HTTP/1.1""#, r#""GET / HTTP/1.1"#] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
