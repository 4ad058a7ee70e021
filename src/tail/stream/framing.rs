use memchr::memchr;

use super::buffer::Lines;

/// Digits of the longest count of octets that is believed: frames shorter than 10 MB.
const COUNT_DIGITS: usize = 7;

/// A count of octets was expected and something else came: where the next frame begins is unknown.
#[derive(Debug, PartialEq)]
pub(super) struct Broken;

/// The lines in the bytes of one syslog connection, which come in these `pieces`: each at most `max`
/// bytes long and with how many are missing. And whether all of it could be read. For fuzzing.
#[doc(hidden)]
pub fn syslog_lines<'a>(max: usize, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<(Vec<u8>, u64)>, bool) {
    let (mut framer, mut lines) = (Framer::syslog(max), Lines::default());
    let whole = pieces.map(|piece| framer.feed(piece, &mut lines)).all(|fed| fed.is_ok());
    if whole {
        framer.finish(&mut lines);
    }
    let lines = lines.runs().flat_map(|(run, bytes)| {
        let bytes = if run.tail_cut == 0 { bytes.strip_suffix(b"\n").unwrap_or(bytes) } else { bytes };
        bytes.split(|&byte| byte == b'\n').map(move |line| (line.to_vec(), run.tail_cut.saturating_sub(1)))
    });
    (lines.collect(), whole)
}

/// Finds the lines in the bytes of one connection, however they are cut.
///
/// Senders of syslog end each message with a newline, or say its length before it (RFC 6587). Which
/// of the two the first bytes show: a count, a space and the `<` with which every message of syslog
/// begins. A digit alone would not do, since an access log begins with an address.
pub(super) struct Framer {
    max: usize,
    framing: Framing,
    /// The line that has begun, at most `max` bytes of it, ...
    head: Vec<u8>,
    /// ... and how many came after those.
    beyond: u64,
}

enum Framing {
    Unknown,
    Newline,
    /// What the frame's count says so far, and its digits.
    Count(u64, usize),
    /// So many octets of the frame are still to come.
    Octets(u64),
}

impl Framer {
    pub fn syslog(max: usize) -> Framer {
        Framer { framing: Framing::Unknown, ..Framer::newline(max) }
    }

    pub fn newline(max: usize) -> Framer {
        Framer { max, framing: Framing::Newline, head: vec![], beyond: 0 }
    }

    /// Adds the lines that end in `bytes` to `lines`.
    ///
    /// # Errors
    /// The rest of the connection cannot be read; what was whole before is in `lines`.
    pub fn feed(&mut self, mut bytes: &[u8], lines: &mut Lines) -> Result<(), Broken> {
        while !bytes.is_empty() {
            bytes = match self.framing {
                Framing::Unknown => return self.begin(bytes, lines),
                Framing::Newline => match memchr(b'\n', bytes) {
                    Some(newline) => {
                        let (line, rest) = bytes.split_at(newline);
                        if self.head.is_empty() {
                            lines.line_within(line, self.max);
                        } else {
                            self.hold(line);
                            self.give(lines);
                        }
                        rest.get(1..).unwrap_or_default()
                    }
                    None => {
                        self.hold(bytes);
                        &[]
                    }
                },
                Framing::Count(count, digits) => {
                    let (first, rest) = bytes.split_at(1);
                    self.framing = match first {
                        [digit @ b'0'..=b'9'] if digits < COUNT_DIGITS => {
                            Framing::Count(count * 10 + u64::from(digit - b'0'), digits + 1)
                        }
                        b" " if count > 0 => Framing::Octets(count),
                        // Some senders end frames with a newline besides.
                        b"\n" if digits == 0 => Framing::Count(0, 0),
                        _ => return Err(Broken),
                    };
                    rest
                }
                Framing::Octets(left) => {
                    let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (text, rest) = bytes.split_at(here);
                    self.hold(text);
                    self.framing = Framing::Octets(left - here as u64);
                    if left == here as u64 {
                        self.framing = Framing::Count(0, 0);
                        self.give_message(lines);
                    }
                    rest
                }
            };
        }
        Ok(())
    }

    /// The sender is done: a line without its newline is the last one, a frame that is not whole none.
    pub fn finish(mut self, lines: &mut Lines) {
        if matches!(self.framing, Framing::Newline | Framing::Unknown) && !self.head.is_empty() {
            self.give(lines);
        }
    }

    /// Tells the framing by the first bytes, which wait in `head` as long as they do not say.
    fn begin(&mut self, bytes: &[u8], lines: &mut Lines) -> Result<(), Broken> {
        // As many as are looked at, whatever `max` is.
        let mut first = std::mem::take(&mut self.head);
        let (more, rest) = bytes.split_at(bytes.len().min((COUNT_DIGITS + 2).saturating_sub(first.len())));
        first.extend_from_slice(more);
        let digits = first.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.framing = match first.get(digits..).unwrap_or_default() {
            [] | [b' '] if (1..=COUNT_DIGITS).contains(&digits) => {
                self.head = first;
                return Ok(());
            }
            [b' ', b'<', ..] if (1..=COUNT_DIGITS).contains(&digits) => Framing::Count(0, 0),
            _ => Framing::Newline,
        };
        self.feed(&first, lines)?;
        self.feed(rest, lines)
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = self.max.saturating_sub(self.head.len());
        let head = bytes.get(..room).unwrap_or(bytes);
        self.head.extend_from_slice(head);
        self.beyond += (bytes.len() - head.len()) as u64;
    }

    fn give(&mut self, lines: &mut Lines) {
        lines.line(&self.head, self.beyond);
        self.head.clear();
        self.beyond = 0;
    }

    fn give_message(&mut self, lines: &mut Lines) {
        message(&mut self.head, self.beyond, lines);
        self.head.clear();
        self.beyond = 0;
    }
}

/// Adds a datagram or a counted message as one line, whatever is in it.
pub(super) fn message(head: &mut Vec<u8>, beyond: u64, lines: &mut Lines) {
    while beyond == 0 && matches!(head.last(), Some(b'\n' | b'\r' | 0)) {
        head.pop();
    }
    for byte in head.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    if !head.is_empty() {
        lines.line(head, beyond);
    }
}
