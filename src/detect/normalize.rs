//! Where a path leads, as servers resolve it: `\` is `/`, a segment ends before its `;` (`/..;/` is one up in
//! Tomcat), empty segments and `.` are none, `..` takes back the one before it.

use wide::u8x16;

use super::lanes::places;

/// Appends to `out` where `path`, decoded, leads; nothing, and returns `false`, if it leads where it says.
pub fn normalize(path: &[u8], out: &mut Vec<u8>) -> bool {
    if !leads_elsewhere(path) {
        return false;
    }
    let start = out.len();
    let mut is_open = true;
    for segment in path.split(is_slash) {
        let name = &segment[..memchr::memchr(b';', segment).unwrap_or(segment.len())];
        is_open = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => {
                let up = out[start..].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                out.truncate(start + up);
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if is_open {
        out.push(b'/');
    }
    true
}

fn is_slash(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// Whether a path from the root may lead elsewhere than it says.
#[inline]
pub fn leads_elsewhere(path: &[u8]) -> bool {
    let is_suspect = |[byte, next, _]: [u8x16; 3]| {
        let is = |bytes: u8x16, sign: u8| bytes.simd_eq(u8x16::splat(sign));
        let odd_name = is(next, b'/') | is(next, b'\\') | is(next, b'.');
        is(byte, b';') | is(byte, b'\\') | is(byte, b'/') & odd_name
    };
    let mut elsewhere = false;
    path.first().is_some_and(is_slash)
        && places(path, is_suspect, |at| {
            elsewhere |= match (path[at], &path[at + 1..]) {
                (b'/', [b'/' | b'\\', ..] | [b'.'] | [b'.', b'/' | b'\\' | b';' | b'.', ..]) => true,
                (sign, _) => sign != b'/',
            }
        })
        && elsewhere
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalized(path: &str) -> Option<String> {
        let mut out = b"kept".to_vec();
        let is_changed = normalize(path.as_bytes(), &mut out);
        is_changed.then(|| String::from_utf8_lossy(&out[4..]).into_owned())
    }

    #[test]
    fn a_path_is_where_it_leads() {
        for (path, expected) in [
            ("/a//b/./c", Some("/a/b/c")),
            ("/a/../.env", Some("/.env")),
            ("/a/..;/b;x=y/c", Some("/b/c")),
            ("\\a\\..\\b\\", Some("/b/")),
            ("/../../x", Some("/x")),
            ("/a/b/..", Some("/a/")),
            ("/a/.", Some("/a/")),
            ("//", Some("/")),
            ("/;/a;", Some("/a")),
            ("/a/...", Some("/a/...")),
            ("/.well-known/x", None),
            ("/a/b.c/", None),
            ("http://a.example/../b", None),
            ("", None),
        ] {
            assert_eq!(normalized(path).as_deref(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_normalized_leads_where_it_says(path in "[/\\\\;.a]{0,40}") {
            let once = normalized(&path).unwrap_or(path.clone());
            prop_assert!(once.len() <= path.len() + 1);
            let again = normalized(&once).unwrap_or(once.clone());
            prop_assert_eq!(again, once);
        }
    }
}
