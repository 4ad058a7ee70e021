//! Takes paths and globs to follow, other sources of lines, and the marks of the last run, gives chunks
//! of whole lines with their offsets. Never looks into a line (but into the journal's entries, for
//! their cursors), never hands out part of a line as if it were whole, never writes, and never waits for
//! anything but [`Sources::wait`].

mod config;
mod cut;
mod head;
mod names;
mod packed;
mod pattern;
mod reader;
mod resume;
mod row;
mod scan;
mod since;
mod sources;
mod stream;
mod tailer;
#[cfg(test)]
mod tests;
mod unpack;
mod wake;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use config::{START, SourceConfig, Start};
pub use sources::Sources;
pub use stream::Stream;
#[doc(hidden)]
pub use stream::syslog_lines;
pub use tailer::Tailer;
pub use unpack::unpacked;
pub use wake::Waker;

use crate::event::{FileMark, Timestamp};

/// Reads the time of a line of the file at a path, which the source with this index names. The tailer
/// knows no formats; it asks only where reading starts at a time.
pub type LineTime = Box<dyn Fn(usize, &Path, &[u8]) -> Option<Timestamp> + Send>;

/// What bounds the work and the memory of a [`Tailer`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// A longer line (its newline not counted) is handed out as its first `max_line_bytes` alone.
    pub max_line_bytes: usize,
    /// At most this much is read from one file before it is the next one's turn.
    pub read_bytes: usize,
    /// How long a file that its path no longer leads to is still watched after its last growth: a
    /// web server writes to the renamed file until it is told to reopen its logs.
    pub grace: Duration,
    /// How often files are looked at when the kernel announces nothing, as on network file systems.
    pub poll: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_line_bytes: 64 * 1024,
            read_bytes: 256 * 1024,
            grace: Duration::from_secs(60),
            poll: Duration::from_millis(250),
        }
    }
}

/// Whether [`Tailer::read`] left something that can be read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    Yes,
    No,
}

/// Consecutive lines of one file or stream.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// The path under which the file is followed, also after it was renamed.
    pub path: &'a Path,
    /// Index of the source whose pattern found it.
    pub source: usize,
    /// Random: new when a file is first seen and when it was truncated, and for each run's standard input
    /// and listeners; of the journal always the same. With an offset it names a line for good.
    pub generation: u64,
    /// Where in the file `bytes` begins; in the journal its time, see `stream::journal`.
    pub offset: u64,
    /// Whole lines, each ending in `\n`; only the last line of a file that was rotated away may
    /// lack it. Empty when `mark` is given.
    pub bytes: &'a [u8],
    /// 0, or how many bytes of an overlong line follow `bytes` in the file, its newline included:
    /// then `bytes` is the head of that one line, without a newline.
    pub tail_cut: u64,
    /// Given once for every new generation, before its first line, so that it can be made durable
    /// before anything is found in it. Never for what is no file.
    pub mark: Option<FileMark>,
}

/// How far one followed file is read, or what keeps a path from being followed.
#[derive(Clone, Debug, PartialEq)]
pub struct FileStatus {
    /// The path under which the file is followed.
    pub path: PathBuf,
    /// 0 when nothing is open under this path.
    pub generation: u64,
    /// Start of the first line not handed out.
    pub offset: u64,
    /// Bytes known to be there and not handed out; an unfinished last line is among them.
    pub behind_bytes: u64,
    /// Lines longer than [`Limits::max_line_bytes`] since the start.
    pub overlong: u64,
    /// A sentence that names the path, what is wrong and the way out.
    pub error: Option<String>,
}
