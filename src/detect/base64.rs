//! Values that are text in base64: what many parameters hold, and what hides an attack from rules.

/// Bytes of a shorter value are not worth decoding.
const MIN_BYTES: usize = 12;

/// Whether the query of `uri`, as logged, may have a value in base64: its shape alone counts, not
/// which digits it has. Base64 of ASCII begins with one of the first 32 signs.
#[inline]
pub fn may_be_in(uri: &[u8]) -> bool {
    values(uri).any(|value| {
        matches!(value.first(), Some(b'A'..=b'Z' | b'a'..=b'f'))
            && value.get(..MIN_BYTES).is_some_and(|head| head.iter().all(is_sign))
    })
}

/// Whether the first signs of any such value are text, as far as they are written as themselves.
pub fn may_be_text_in(uri: &[u8]) -> bool {
    values(uri).any(|value| {
        let Some(head) = value.get(..MIN_BYTES) else { return false };
        let plain = head.iter().position(|byte| !is_sign(byte) || *byte == b'%').unwrap_or(MIN_BYTES);
        // What else stands there is no sign of base64 once it is decoded, but for these.
        head.get(plain).is_none_or(|byte| matches!(byte, b'%' | b'+' | b'\\'))
            && head[..plain].as_chunks::<4>().0.iter().all(|group| text(group).is_some())
    })
}

/// What stands after each `=` of the query, to the end.
fn values(uri: &[u8]) -> impl Iterator<Item = &[u8]> {
    let query = memchr::memchr(b'?', uri).map_or(&b""[..], |at| &uri[at..]);
    memchr::memchr_iter(b'=', query).map(|at| &query[at + 1..])
}

/// Whether a byte of a query may be of base64 as it is sent; a `+` there is a space between words.
fn is_sign(byte: &u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'_' | b'-' | b'%')
}

/// The printable ASCII that up to four signs stand for: big-endian, after a first byte of nothing.
fn text(group: &[u8]) -> Option<[u8; 4]> {
    let bits = group.iter().try_fold(0u32, |bits, &byte| Some(bits << 6 | sextet(byte)?))?;
    let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    bytes[1..group.len()].iter().all(is_printable).then_some(bytes)
}

/// Appends the text that `value`, a decoded parameter, is in base64 of either alphabet. Appends
/// nothing, and returns `false`, if it is not all printable ASCII.
pub fn decode(value: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let end = value.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let digits = &value[..end];
    if digits.len() < MIN_BYTES || digits.len() % 4 == 1 {
        return false;
    }
    for group in digits.chunks(4) {
        let Some(bytes) = text(group) else { break };
        out.extend_from_slice(&bytes[1..group.len()]);
    }
    let is_text = out.len() - start == digits.len() * 3 / 4;
    if !is_text {
        out.truncate(start);
    }
    is_text
}

/// A sign of base64; a `+` may have become a space.
fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' | b' ' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_text_is_text() {
        let text = |value: &str| {
            let mut out = b"kept".to_vec();
            let is_text = decode(value.as_bytes(), &mut out);
            assert_eq!(is_text, out.len() > 4, "{value}");
            is_text.then(|| String::from_utf8_lossy(&out[4..]).into_owned())
        };
        for (value, expected) in [
            ("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", Some("<script>alert(1)</script>")),
            ("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg", Some("<script>alert(1)</script>")),
            ("Pz8/Pj4 Pz8/Pj4-", Some("???>>>???>>>")),
            ("JyBPUiAnYSc9J2En", Some("' OR 'a'='a'")),
            ("PHNjcmlwd", None),
            ("PHNjcmlwdD5hb", None),
            ("Categoryname", None),
            ("PHNjcmlwdD5h!Gx0", None),
            ("////////////////", None),
            ("============", None),
            ("", None),
        ] {
            assert_eq!(text(value).as_deref(), expected, "{value}");
        }
        for (uri, expected) in [
            ("/?q=PHNjcmlwdD5hbGVydCgxKTw", true),
            ("/?a=1&q=PHN%6acmlwdD5hbGVydCgxKTw", true),
            ("/?q=PHNjcmlwdD5h1Gx0", true),
            ("/?q=PHNjcmlwdD5h7Gx0", true),
            ("/q=PHNjcmlwdD5hbGVydCgxKTw", false),
            ("/?q=zHNjcmlwdD5hbGVydCgxKTw", false),
            ("/?q=PHNj.mlwdD5hbGVydCgxKTw", false),
            ("/?q=dark+red+chairs", false),
            ("/?q=short", false),
            ("/?q=", false),
        ] {
            assert_eq!(may_be_in(uri.as_bytes()), expected, "{uri}");
        }
        for (uri, expected) in [
            ("/?q=PHNjcmlwdD5hbGVydCgxKTw", true),
            ("/?q=PHN%6acmlwdD5hbGVydCgxKTw", true),
            ("/?q=PHNj+mlwdD5hbGVydCgxKTw", true),
            ("/?q=a1b2c3d4e5f60718", false),
            ("/?fields=id,name,price&sort=name", false),
        ] {
            assert_eq!(may_be_text_in(uri.as_bytes()), expected, "{uri}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_text_may_be_in_a_uri(value in "[A-Za-z0-9+/=_ -]{0,60}|[A-Za-f][A-Za-z0-9+/]{11,20}") {
            let mut text = vec![];
            if decode(value.as_bytes(), &mut text) {
                assert!(text.len() <= value.len());
                let uri = format!("/?a={value}");
                let plain = !value[..MIN_BYTES].contains([' ', '+']);
                assert_eq!(plain, may_be_in(uri.as_bytes()) && may_be_text_in(uri.as_bytes()), "{value}");
            }
        }
    }
}
