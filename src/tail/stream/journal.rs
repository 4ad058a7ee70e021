use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::sleep;

use super::super::Start;
use super::buffer::{Buffer, Lines};
use super::framing::Framer;
use crate::event::{Timestamp, printable};

/// Until journalctl is started again after it ended; twice as long each time up to [`MAX_PAUSE`], and
/// as at first once it has run for so long.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of its output that are read at once.
const BLOCK: usize = 64 * 1024;
/// Of a complaint of journalctl so much is kept.
const COMPLAINT_BYTES: usize = 300;

/// Where in the journal reading begins.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(super) enum Position {
    /// With the entries of this time, in seconds since 1970.
    Since(u64),
    /// Behind the entry with this cursor.
    After(String),
}

impl Position {
    pub fn first(start: Start) -> Position {
        let ago = match start {
            Start::Beginning => return Position::Since(0),
            Start::End => 0,
            Start::Ago(secs) => i64::from(secs),
        };
        Position::Since(u64::try_from(Timestamp::now().secs() - ago).unwrap_or(0))
    }

    /// What [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Position {
        let since = text.strip_prefix('@').and_then(|secs| secs.parse().ok());
        since.map_or_else(|| Position::After(text.to_owned()), Position::Since)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Since(secs) => write!(f, "@{secs}"),
            Position::After(cursor) => f.write_str(cursor),
        }
    }
}

/// The journal of this host, or one unit's part of it, as `journalctl --follow` prints it.
pub(super) struct Journal {
    pub program: PathBuf,
    pub unit: Option<String>,
    pub position: Position,
}

impl Journal {
    /// Fills `buffer` for ever; journalctl is started again when it ends, and killed with this.
    pub async fn follow(mut self, buffer: Arc<Buffer>, max_line_bytes: usize) {
        let mut pause = PAUSE;
        loop {
            let started = Instant::now();
            let why = match self.run(&buffer, max_line_bytes).await {
                Ok(why) => why,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    "journalctl is not there; install systemd's journal, or name the log's file instead".into()
                }
                Err(error) => format!("journalctl cannot be used: {error}"),
            };
            if started.elapsed() > MAX_PAUSE {
                pause = PAUSE;
            }
            let said = format!("{why}; it is tried again in {} s", pause.as_secs());
            tracing::warn!(unit = self.unit.as_deref().unwrap_or_default(), "{said}");
            buffer.set_error(Some(said));
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Runs journalctl once, and says how it ended.
    async fn run(&mut self, buffer: &Buffer, max_line_bytes: usize) -> io::Result<String> {
        let mut child = Command::new(&self.program)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        buffer.set_error(None);
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (read, complaint) =
            tokio::join!(self.read_entries(stdout, buffer, max_line_bytes), read_complaints(stderr, buffer));
        read?;
        Ok(format!("journalctl ended ({}){complaint}", child.wait().await?))
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["--follow", "--no-tail", "--no-pager", "--output=json", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM"]
                .map(String::from)
                .into();
        // Else a text of more than 4096 bytes is printed as null: a way to hide.
        arguments.push("--all".into());
        arguments.extend(self.unit.as_ref().map(|unit| format!("--unit={unit}")));
        match &self.position {
            Position::Since(0) => {}
            Position::Since(secs) => arguments.push(format!("--since=@{secs}")),
            Position::After(cursor) => arguments.push(format!("--after-cursor={cursor}")),
        }
        arguments
    }

    async fn read_entries(
        &mut self,
        mut stdout: impl AsyncRead + Unpin,
        buffer: &Buffer,
        max_line_bytes: usize,
    ) -> io::Result<()> {
        // Text that is not UTF-8 is printed as numbers, four bytes each.
        let mut framer = Framer::newline(max_line_bytes.saturating_mul(6).saturating_add(16 * 1024));
        let (mut printed, mut lines) = (Lines::default(), Lines::default());
        let mut block = vec![0; BLOCK];
        loop {
            let n = stdout.read(&mut block).await?;
            if n == 0 {
                return Ok(());
            }
            // Lines are never broken.
            let _ = framer.feed(block.get(..n).unwrap_or_default(), &mut printed);
            for (run, bytes) in printed.runs() {
                if run.tail_cut > 0 {
                    tracing::warn!(bytes = bytes.len() as u64 + run.tail_cut, "an entry of the journal is too long");
                    continue;
                }
                for line in bytes.split(|&byte| byte == b'\n') {
                    let Some(entry) = Entry::read(line, max_line_bytes) else { continue };
                    self.position = Position::After(entry.cursor);
                    lines.line_within(&entry.line, max_line_bytes);
                    buffer.push_at(&mut lines, Some((entry.offset, self.position.clone()))).await;
                }
            }
            printed.clear();
        }
    }
}

/// Shows what journalctl complains of as long as it runs, such as journals that it may not read.
/// Gives the last complaint, to be added to a sentence.
async fn read_complaints(mut stderr: impl AsyncRead + Unpin, buffer: &Buffer) -> String {
    let (mut framer, mut lines) = (Framer::newline(COMPLAINT_BYTES), Lines::default());
    let mut block = vec![0; 1024];
    let mut last = String::new();
    while let Ok(n @ 1..) = stderr.read(&mut block).await {
        // Lines are never broken.
        let _ = framer.feed(block.get(..n).unwrap_or_default(), &mut lines);
        let complaint = lines.runs().flat_map(|(_, bytes)| bytes.split(|&byte| byte == b'\n'));
        if let Some(complaint) = complaint.filter(|line| !line.is_empty()).last() {
            last = format!(": {}", printable(complaint, COMPLAINT_BYTES));
            buffer.set_error(Some(format!("journalctl complains{last}")));
        }
        lines.clear();
    }
    last
}

/// One entry, as it is handed on.
#[derive(Debug, PartialEq)]
struct Entry {
    cursor: String,
    /// Grows with time and differs between entries, also of one microsecond: the time in microseconds and
    /// the last ten bits of the sequence number. The sequence number alone begins again when the journal
    /// is emptied.
    offset: u64,
    /// A JSON object with the fields that are looked at, each as text: journalctl prints what is not
    /// UTF-8, or has control characters, as numbers.
    line: Vec<u8>,
}

#[derive(Serialize)]
struct Fields {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    realtime: String,
    #[serde(rename = "SYSLOG_IDENTIFIER", skip_serializing_if = "Option::is_none")]
    identifier: Option<String>,
    #[serde(rename = "_COMM", skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(rename = "MESSAGE")]
    message: String,
}

impl Entry {
    /// `None` for what is no entry. Of a text that would make the line longer than `max_line_bytes` the
    /// head is kept.
    fn read(line: &[u8], max_line_bytes: usize) -> Option<Entry> {
        let mut members: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let mut take = |name: &str| members.remove(name).and_then(text);
        let cursor = take("__CURSOR")?;
        let mut fields = Fields {
            realtime: take("__REALTIME_TIMESTAMP")?,
            identifier: take("SYSLOG_IDENTIFIER"),
            command: take("_COMM"),
            message: take("MESSAGE").unwrap_or_default(),
        };
        let micros: u64 = fields.realtime.parse().ok()?;
        let sequence = cursor.split(';').find_map(|part| u64::from_str_radix(part.strip_prefix("i=")?, 16).ok());
        let offset = (micros << 10) | (sequence.unwrap_or(0) & 0x3ff);
        let mut line = serde_json::to_vec(&fields).ok()?;
        if line.len() > max_line_bytes {
            let around = line.len() - fields.message.chars().map(json_len).sum::<usize>();
            let mut room = max_line_bytes.saturating_sub(around);
            let end = fields.message.char_indices().find_map(|(at, char)| match room.checked_sub(json_len(char)) {
                Some(left) => {
                    room = left;
                    None
                }
                None => Some(at),
            });
            fields.message.truncate(end.unwrap_or(fields.message.len()));
            line = serde_json::to_vec(&fields).ok()?;
        }
        Some(Entry { cursor, offset, line })
    }
}

/// Bytes of `char` in a JSON string as it is written here.
fn json_len(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\x08' | '\x0c' => 2,
        char if char < ' ' => 6,
        char => char.len_utf8(),
    }
}

/// A field's text: a string, its bytes, or the first of several that it was given.
fn text(value: Value) -> Option<String> {
    let bytes = |values: &[Value]| -> Option<Vec<u8>> {
        values.iter().map(|value| value.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect()
    };
    match value {
        Value::String(text) => Some(text),
        Value::Array(values) => match bytes(&values) {
            Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            None => match values.into_iter().next()? {
                Value::String(text) => Some(text),
                Value::Array(values) => Some(String::from_utf8_lossy(&bytes(&values)?).into_owned()),
                _ => None,
            },
        },
        _ => None,
    }
}
