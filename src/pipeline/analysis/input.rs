//! An input as lines: unpacked, bounded, an array of JSON unrolled.

use std::io::{self, Read};

use anyhow::{Context, bail};

use crate::event::Timestamp;
use crate::tail;

/// Where lines are read from.
pub struct Source {
    /// For people: a path, or `-`.
    pub name: String,
    pub reader: Box<dyn Read + Send>,
    /// None of its lines was written later.
    pub read_at: Timestamp,
}

impl Source {
    /// What somebody handed over just now.
    pub fn of_text(name: &str, text: Vec<u8>) -> Source {
        Source { name: name.to_owned(), reader: Box::new(io::Cursor::new(text)), read_at: Timestamp::now() }
    }
}

/// A source in memory, a line for each line or each element of an array.
pub struct Text {
    pub name: String,
    pub bytes: Vec<u8>,
    /// As which line of the source each one counts, where that is not its place.
    numbers: Option<Vec<u64>>,
    /// Lines of the source.
    pub lines: u64,
}

impl Text {
    /// Its lines with the number of each; blank ones too.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let lines = self.bytes.split_inclusive(|byte| *byte == b'\n');
        lines.enumerate().map(|(at, line)| {
            let number = self.numbers.as_ref().and_then(|numbers| numbers.get(at).copied()).unwrap_or(at as u64 + 1);
            (number, line)
        })
    }
}

/// Reads `source`, of which `left` bytes are allowed.
///
/// # Errors
/// It cannot be read or unpacked, or is too large.
pub fn read(source: Source, left: u64) -> anyhow::Result<Text> {
    let Source { name, reader, .. } = source;
    let failed = || format!("cannot read {name}");
    let mut bytes = vec![];
    let mut unpacked = tail::unpacked(reader).with_context(failed)?.take(left.saturating_add(1));
    match unpacked.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bail!("{name} ends in the middle: it was not packed to its end")
        }
        Err(error) => return Err(error).with_context(failed),
    }
    if bytes.len() as u64 > left {
        bail!(
            "{name} has more than the {left} bytes that are left of [analyze] max_bytes; raise it, or give less at once"
        );
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count() as u64;
    let (bytes, numbers) = match unrolled(&bytes) {
        Some((elements, numbers)) => (elements, Some(numbers)),
        None => (bytes, None),
    };
    Ok(Text { name, bytes, numbers, lines })
}

/// The elements of the array that `text` is or holds, or objects over several lines: a line each, and in which
/// line each began. None for everything else, JSON lines among it.
fn unrolled(text: &[u8]) -> Option<(Vec<u8>, Vec<u64>)> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let (mut out, mut numbers) = (vec![], vec![]);
    let mut line = 1 + text[..start].iter().filter(|byte| **byte == b'\n').count() as u64;
    let mut at = start;
    // In which array elements are looked for: that of the whole text, or one inside its first object.
    let first = *text.get(start)?;
    match first {
        b'[' => at += 1,
        b'{' => {
            let end = value_end(&text[start..])?;
            let first_line = memchr::memchr(b'\n', &text[start..]).unwrap_or(text.len() - start);
            let inner = array_within(&text[start..start + end]);
            if end <= first_line + 1 && (inner.is_none() || text[start + end..].contains(&b'{')) {
                return None;
            }
            if let Some(inner) = inner {
                line += text[start..start + inner].iter().filter(|byte| **byte == b'\n').count() as u64;
                at += inner + 1;
            }
        }
        _ => return None,
    }
    while let Some(step) = text[at..].iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b',') {
        line += text[at..at + step].iter().filter(|byte| **byte == b'\n').count() as u64;
        at += step;
        if text[at] == b']' {
            break;
        }
        let len = value_end(&text[at..]).unwrap_or(text.len() - at);
        let element = &text[at..at + len];
        numbers.push(line);
        if let Ok(string) = serde_json::from_slice::<String>(element) {
            out.extend(string.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
        } else {
            // Outside of strings a newline is white space, and within none can be.
            out.extend(
                element.iter().filter(|byte| **byte != b'\r').map(|byte| if *byte == b'\n' { b' ' } else { *byte }),
            );
        }
        out.push(b'\n');
        line += element.iter().filter(|byte| **byte == b'\n').count() as u64;
        at += len;
    }
    // Text such as `[error] disk full` begins like an array and is none.
    let is_json = |line: &[u8]| {
        matches!(line.first(), Some(b'{' | b'"'))
            || first == b'[' && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
    };
    (is_json(&out) && !numbers.is_empty()).then_some((out, numbers))
}

/// Where the value that `text` begins with ends; none if it does not.
fn value_end(text: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0u32, false, false);
    for (at, &byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = false;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Where the first array of objects or strings begins that is a member of the object `text`.
fn array_within(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'[' => {
                let inner = text[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
                if inner == Some(&b'{') {
                    return Some(at);
                }
                at += value_end(&text[at..])?;
            }
            b'"' | b'{' => at += value_end(&text[at..])?,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read_bytes(bytes: &[u8], left: u64) -> anyhow::Result<Text> {
        read(Source::of_text("-", bytes.to_vec()), left)
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        let text = read_bytes(bytes, 1 << 20).unwrap();
        text.numbered().map(|(number, line)| format!("{number} {}", String::from_utf8_lossy(line).trim_end())).collect()
    }

    #[test]
    fn arrays_and_objects_over_lines_become_lines_with_their_places() {
        assert_eq!(lines(b"a\nb"), ["1 a", "2 b"]);
        assert_eq!(
            lines(b"[\n {\"a\": 1},\n {\n  \"b\": \"x]\\\"\"\n }\n]\n"),
            ["2 {\"a\": 1}", "3 {   \"b\": \"x]\\\"\"  }"]
        );
        assert_eq!(lines(br#"["one", "two\nthree"]"#), ["1 one", "1 two three"]);
        assert_eq!(lines(b"{\"a\":1}\n{\"b\":2}\n"), ["1 {\"a\":1}", "2 {\"b\":2}"]);
        assert_eq!(lines(b"{\"Records\": [\n{\"x\":1},\n{\"x\":2}]}"), ["2 {\"x\":1}", "3 {\"x\":2}"]);
        assert_eq!(lines(b"{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n"), ["1 {  \"a\": 1 }", "4 {  \"a\": 2 }"]);
        assert_eq!(lines(b"[error] disk full\n[error] again\n"), ["1 [error] disk full", "2 [error] again"]);
        assert_eq!(lines(b"[{\"a\":1},{\"b\":"), ["1 {\"a\":1}", "1 {\"b\":"], "what was cut is text");
        assert_eq!(lines(b"{\"tags\":[\"x\"],\"m\":1}\n"), ["1 {\"tags\":[\"x\"],\"m\":1}"]);
    }

    #[test]
    fn what_is_packed_is_unpacked_and_bounded() {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        packed.write_all(b"one\ntwo\n").unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(lines(&packed), ["1 one", "2 two"]);
        assert!(read_bytes(&packed[..packed.len() - 9], 99).err().unwrap().to_string().contains("-"));
        let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        bomb.write_all(&vec![0; 4 << 20]).unwrap();
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 10_000);
        let error = read_bytes(&bomb, 1 << 20).err().unwrap().to_string();
        assert!(error.contains("[analyze] max_bytes"), "{error}");
        assert!(read_bytes(&[b'x'; 10], 10).is_ok() && read_bytes(&[b'x'; 11], 10).is_err());
    }
}
