//! The bytes of a syslog connection: the lines are the same however the bytes are cut, and are those
//! that were sent. The input begins with the longest line and the length of a piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade::tail::syslog_lines;

fuzz_target!(|data: &[u8]| {
    let [max, piece, bytes @ ..] = data else { return };
    let (max, piece) = (16 + usize::from(*max), 1 + usize::from(*piece));
    let (lines, whole) = check(max, piece, bytes);

    // A count, a space and a `<` in front are octet counting; anything else ends lines with newlines.
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !((1..=7).contains(&digits) && bytes[digits..].starts_with(b" <")) {
        let mut sent: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        sent.pop_if(|last| last.is_empty());
        assert!(whole);
        assert_eq!(lines, sent.into_iter().map(|line| cut(max, line)).collect::<Vec<_>>());
    }

    // The same bytes as counted messages.
    let messages: Vec<Vec<u8>> = bytes.split(|&byte| byte == 0xff).map(|text| [b"<1>", text].concat()).collect();
    let frames = messages.iter().map(|message| [format!("{} ", message.len()).as_bytes(), message].concat());
    let (lines, whole) = check(max, piece, &frames.collect::<Vec<_>>().concat());
    assert!(whole);
    assert_eq!(lines, messages.iter().map(|message| message_line(max, message)).collect::<Vec<_>>());
});

/// The lines of `bytes`, which do not depend on how they are cut.
fn check(max: usize, piece: usize, bytes: &[u8]) -> (Vec<(Vec<u8>, u64)>, bool) {
    let framed = syslog_lines(max, [bytes].into_iter());
    assert_eq!(framed, syslog_lines(max, bytes.chunks(1)), "byte by byte");
    assert_eq!(framed, syslog_lines(max, bytes.chunks(piece)), "in pieces of {piece}");
    for (line, missing) in &framed.0 {
        assert!(!line.contains(&b'\n') && line.len() <= max && (*missing == 0 || line.len() == max));
    }
    framed
}

fn cut(max: usize, line: &[u8]) -> (Vec<u8>, u64) {
    let head = &line[..line.len().min(max)];
    (head.to_vec(), (line.len() - head.len()) as u64)
}

/// A message is one line, whatever is in it.
fn message_line(max: usize, message: &[u8]) -> (Vec<u8>, u64) {
    let (mut head, missing) = cut(max, message);
    while missing == 0 && head.ends_with(b"\n") | head.ends_with(b"\r") | head.ends_with(b"\0") {
        head.pop();
    }
    (head.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect(), missing)
}
