//! A record of the kernel's audit as a person would have typed it. `auditd` writes each argument of
//! a program as a field of its own, and text with a space or a quote in hexadecimal.

/// `text` without the names and quotes of arguments (`a1="-c"` is `-c`) and with hexadecimal of
/// arguments, titles and commands undone; as it is, if it is no such record.
pub fn plain<'a>(text: &'a [u8], spare: &'a mut Vec<u8>) -> &'a [u8] {
    let is_record = memchr::memmem::find(text, b"msg=audit(").is_some() || text.starts_with(b"audit:");
    if !is_record {
        return text;
    }
    // Only here are `a0` and the others arguments; in a SYSCALL they are numbers.
    let is_execve = memchr::memmem::find(text, b"type=EXECVE").is_some();
    spare.clear();
    for word in text.split(|&byte| byte == b' ') {
        let (name, value) = match memchr::memchr(b'=', word) {
            Some(at) => (&word[..at], &word[at + 1..]),
            None => (word, &b""[..]),
        };
        let is_argument = is_execve && name.len() > 1 && name[0] == b'a' && name[1..].iter().all(u8::is_ascii_digit);
        if !spare.is_empty() {
            spare.push(b' ');
        }
        if !is_argument {
            spare.extend_from_slice(word);
            if matches!(name, b"proctitle" | b"cmd" | b"data") && is_hexadecimal(value) {
                spare.truncate(spare.len() - value.len());
                unhex(value, spare);
            }
        } else if is_hexadecimal(value) {
            unhex(value, spare);
        } else {
            spare.extend(value.iter().filter(|&&byte| byte != b'"'));
        }
    }
    spare
}

/// As the kernel writes it: pairs of digits and capital letters.
fn is_hexadecimal(text: &[u8]) -> bool {
    text.len() >= 4 && text.len().is_multiple_of(2) && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

/// Appends what the hexadecimal `text` says; a NUL stands between the arguments of a title.
fn unhex(text: &[u8], out: &mut Vec<u8>) {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    let (pairs, _) = text.as_chunks();
    out.extend(pairs.iter().map(|&[high, low]| match digit(high) << 4 | digit(low) {
        0 => b' ',
        byte => byte,
    }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_reads_as_it_was_typed() {
        for (text, expected) in [
            (
                r#"type=EXECVE msg=audit(1.0:2): argc=3 a0="sh" a1="-c" a2=6375726C20687474703A2F2F78"#,
                "type=EXECVE msg=audit(1.0:2): argc=3 sh -c curl http://x",
            ),
            (
                "type=PROCTITLE msg=audit(1.0:2): proctitle=2F62696E2F7368002D63006964",
                "type=PROCTITLE msg=audit(1.0:2): proctitle=/bin/sh -c id",
            ),
            ("type=SYSCALL msg=audit(1.0:2): a0=237F56 a1=0", "type=SYSCALL msg=audit(1.0:2): a0=237F56 a1=0"),
            ("type=EXECVE msg=audit(1.0:2): argc=1 a0=41424", "type=EXECVE msg=audit(1.0:2): argc=1 41424"),
            (r#"nobody said a0="x" proctitle=41424344"#, r#"nobody said a0="x" proctitle=41424344"#),
        ] {
            let mut spare = b"old".to_vec();
            assert_eq!(String::from_utf8_lossy(plain(text.as_bytes(), &mut spare)), expected);
        }
    }

    proptest! {
        #[test]
        fn no_record_grows(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = [&b"type=EXECVE msg=audit(1.0:2): a0="[..], &tail].concat();
            prop_assert!(plain(&text, &mut vec![]).len() <= text.len());
        }
    }
}
