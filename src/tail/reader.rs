use std::fs::{File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use memchr::{memchr, memrchr};
use nix::libc::O_NONBLOCK;

use super::cut::cut;
use super::head::Head;
use super::since::first_line_since;
use super::{Chunk, FileStatus, Limits, More, Start};
use crate::event::{FileMark, Timestamp};

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Where what is read goes, and under whose name.
pub(super) struct Sink<'a> {
    pub path: &'a Path,
    pub source: usize,
    pub limits: &'a Limits,
    /// One byte longer than a block: the byte before it comes along.
    pub buffer: &'a mut [u8],
    pub each: &'a mut dyn FnMut(Chunk<'_>),
}

/// One open file and how far it is read. It keeps no bytes: the unfinished last line is read again
/// from its start when the file has grown.
pub(super) struct Reader {
    file: File,
    pub id: FileId,
    pub head: Head,
    generation: u64,
    /// Start of the first line not handed out: 0, or behind a newline.
    offset: u64,
    /// No newline lies between `offset` and here.
    searched: u64,
    seen: Seen,
    /// More was there at the last look than was read.
    waiting: bool,
    /// The generation's mark was handed out.
    announced: bool,
    overlong: u64,
    error: Option<String>,
    /// Bytes known to be gone before they were read, for the tailer to collect.
    pub lost: u64,
    /// What the file was before it was truncated, for the tailer to look for a copy of it.
    pub truncated: Option<Truncated>,
    /// Last growth, or when its path was found to lead elsewhere.
    active: Instant,
}

/// A file as it was known before it was truncated.
pub(super) struct Truncated {
    pub mark: FileMark,
    pub size: u64,
}

/// What tells that a file changed.
#[derive(Clone, Copy, PartialEq)]
struct Seen {
    size: u64,
    modified: (i64, i64),
}

impl Seen {
    fn of(metadata: &Metadata) -> Seen {
        Seen { size: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

impl Reader {
    /// Opens a file that was not read before.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let (file, metadata) = open_file(path)?;
        let mut reader = Reader::new(file, &metadata);
        reader.head = reader.head.grown(&reader.file)?.unwrap_or_default();
        Ok(reader)
    }

    /// Passes over what a file that was not read before holds already and `start` leaves out.
    pub fn begin_at(&mut self, start: Start, time: &dyn Fn(&[u8]) -> Option<Timestamp>) -> io::Result<()> {
        match start {
            Start::Beginning => return Ok(()),
            Start::End => {}
            Start::Ago(secs) => {
                let moment = Timestamp(Timestamp::now().0 - i64::from(secs) * 1000);
                if let Some(line) = first_line_since(&self.file, self.seen.size, moment, time)? {
                    (self.offset, self.searched) = (line, line);
                    return Ok(());
                }
            }
        }
        self.skip_to_last_line(self.seen.size)
    }

    /// Opens the file that `mark` was made for, if `path` leads to it: the same inode, the same head,
    /// and a line beginning at the marked offset.
    pub fn resume(path: &Path, mark: &FileMark) -> io::Result<Option<Reader>> {
        let (file, metadata) = open_file(path)?;
        let id = FileId { device: mark.device, inode: mark.inode };
        if FileId::of(&metadata) != id || metadata.len() < mark.offset {
            return Ok(None);
        }
        Reader::go_on(file, &metadata, mark)
    }

    /// Opens a copy of the file that `mark` was made for: the same head, and a line beginning at the
    /// marked offset. In a copy that ends before it, nothing is left to be read.
    pub fn resume_copy(path: &Path, mark: &FileMark) -> io::Result<Option<Reader>> {
        let (file, metadata) = open_file(path)?;
        if metadata.len() >= mark.offset {
            return Reader::go_on(file, &metadata, mark);
        }
        let Some(head) = Head::of(mark).grown(&file)? else { return Ok(None) };
        let mut reader = Reader::new(file, &metadata);
        reader.skip_to_last_line(metadata.len())?;
        Ok(Some(Reader { head, generation: mark.generation, announced: true, ..reader }))
    }

    fn go_on(file: File, metadata: &Metadata, mark: &FileMark) -> io::Result<Option<Reader>> {
        let mut before = [b'\n'];
        if mark.offset > 0 {
            file.read_exact_at(&mut before, mark.offset - 1)?;
        }
        let Some(head) = Head::of(mark).grown(&file)? else { return Ok(None) };
        if before != [b'\n'] {
            return Ok(None);
        }
        let new = Reader::new(file, metadata);
        let (generation, offset) = (mark.generation, mark.offset);
        Ok(Some(Reader { head, generation, offset, searched: offset, announced: true, ..new }))
    }

    fn new(file: File, metadata: &Metadata) -> Reader {
        Reader {
            file,
            id: FileId::of(metadata),
            head: Head::default(),
            generation: random(),
            offset: 0,
            searched: 0,
            seen: Seen::of(metadata),
            waiting: true,
            announced: false,
            overlong: 0,
            error: None,
            lost: 0,
            truncated: None,
            active: Instant::now(),
        }
    }

    pub fn mark(&self, path: &Path) -> FileMark {
        FileMark {
            path: path.to_path_buf(),
            device: self.id.device,
            inode: self.id.inode,
            generation: self.generation,
            offset: self.offset,
            head_len: self.head.len,
            head_hash: self.head.hash,
        }
    }

    pub fn status(&self, path: &Path) -> FileStatus {
        FileStatus {
            path: path.to_path_buf(),
            generation: self.generation,
            offset: self.offset,
            behind_bytes: self.seen.size.saturating_sub(self.offset),
            overlong: self.overlong,
            error: self.error.clone(),
        }
    }

    /// How long the file was at the last look.
    pub fn size(&self) -> u64 {
        self.seen.size
    }

    /// Whether this file may be a copy of `other`, whole or in the making: one begins with what is
    /// known of the other.
    pub fn may_copy(&self, other: &Reader) -> bool {
        let begins = |head: Head, file: &File| head.len > 0 && head.grown(file).is_ok_and(|head| head.is_some());
        begins(other.head, &self.file) || begins(self.head, &other.file)
    }

    /// When the file was made, where the file system tells; else when it was last written to.
    pub fn born(&self) -> io::Result<SystemTime> {
        let metadata = self.file.metadata()?;
        metadata.created().or_else(|_| metadata.modified())
    }

    pub fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Its path leads elsewhere now: the time in which a late writer may still come begins.
    pub fn leave(&mut self) {
        self.active = Instant::now();
    }

    /// More was there at the last look than was read, and it can be read.
    pub fn is_behind(&self) -> bool {
        self.waiting && self.error.is_none()
    }

    /// Read to the end, as far as that is possible, and not grown for `grace`.
    pub fn is_expired(&self, grace: Duration) -> bool {
        (!self.waiting || self.error.is_some()) && self.active.elapsed() >= grace
    }

    /// Hands out at most one block of what was written since the last look. Looks at nothing but
    /// size and time while nothing changed. What fails is tried again at the next call.
    pub fn read(&mut self, sink: &mut Sink<'_>) -> More {
        if !self.announced {
            self.announced = true;
            self.give(sink, 0..0, self.offset, 0, Some(self.mark(sink.path)));
        }
        match self.read_change(sink) {
            Ok(()) => self.error = None,
            Err(error) => {
                self.waiting = true;
                self.error = Some(explain(sink.path, &error));
                return More::No;
            }
        }
        if self.waiting { More::Yes } else { More::No }
    }

    /// Hands out the last line, which nobody will finish any more. `false` when it has grown and
    /// must be read first.
    pub fn finish(&mut self, sink: &mut Sink<'_>) -> bool {
        let left = match self.file.metadata() {
            Ok(metadata) if Seen::of(&metadata) != self.seen => return false,
            _ => self.seen.size.saturating_sub(self.offset),
        };
        if left > 0 {
            let len = sink.limits.max_line_bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
            let line = sink.buffer.get_mut(..len).unwrap_or_default();
            match self.file.read_exact_at(line, self.offset) {
                Ok(()) => self.give(sink, 0..len, self.offset, left - len as u64, None),
                Err(_) => self.lost += left,
            }
        }
        true
    }

    fn read_change(&mut self, sink: &mut Sink<'_>) -> io::Result<()> {
        let now = Seen::of(&self.file.metadata()?);
        let before = self.seen;
        if now == before && !self.waiting {
            return Ok(());
        }
        self.seen = now;
        if now.size > before.size {
            self.active = Instant::now();
        }
        let was_same = match now.size {
            size if size < self.offset => false,
            size => {
                if size < self.searched {
                    self.searched = self.offset;
                }
                if self.searched - self.offset > sink.limits.max_line_bytes as u64 {
                    self.search_on(sink)?
                } else {
                    self.read_block(sink)?
                }
            }
        };
        if was_same { Ok(()) } else { self.restart(sink.path, before) }
    }

    /// Reads a block and hands out its lines. `false` when the file is not what it was.
    fn read_block(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        let lead = usize::from(self.offset > 0);
        let n = self.file.read_at(sink.buffer, self.offset - lead as u64)?;
        // The head is looked at after the block: were it the other way round, a truncation between
        // the two would go unseen.
        let Some(head) = self.head.grown(&self.file)? else { return Ok(false) };
        if lead == 1 && sink.buffer.first().is_some_and(|before| n > 0 && *before != b'\n') {
            return Ok(false);
        }
        self.head = head;
        let start = self.offset;
        let block = std::mem::take(&mut sink.buffer);
        let bytes = block.get(lead..n).unwrap_or_default();
        let done = cut(bytes, sink.limits.max_line_bytes, |range, tail_cut| {
            self.overlong += u64::from(tail_cut > 0);
            (sink.each)(Chunk {
                path: sink.path,
                source: sink.source,
                generation: self.generation,
                offset: start + range.start as u64,
                bytes: bytes.get(range).unwrap_or_default(),
                tail_cut,
                mark: None,
            });
        });
        self.offset = start + done as u64;
        self.searched = start + bytes.len() as u64;
        self.waiting = self.searched < self.seen.size && !bytes.is_empty();
        sink.buffer = block;
        Ok(true)
    }

    /// Goes on looking for the end of an overlong line; once it is there, hands out the line's head.
    fn search_on(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        let n = self.file.read_at(sink.buffer, self.searched)?;
        let newline = memchr(b'\n', sink.buffer.get(..n).unwrap_or_default());
        let max = sink.limits.max_line_bytes;
        if newline.is_some() {
            self.file.read_exact_at(sink.buffer.get_mut(..max).unwrap_or_default(), self.offset)?;
        }
        let Some(head) = self.head.grown(&self.file)? else { return Ok(false) };
        self.head = head;
        match newline {
            None => self.searched += n as u64,
            Some(newline) => {
                let end = self.searched + newline as u64 + 1;
                self.give(sink, 0..max, self.offset, end - self.offset - max as u64, None);
                (self.offset, self.searched) = (end, end);
                self.overlong += 1;
            }
        }
        self.waiting = self.searched < self.seen.size && n > 0;
        Ok(true)
    }

    /// The file was truncated: what is in it now is another one.
    fn restart(&mut self, path: &Path, before: Seen) -> io::Result<()> {
        let head = Head::default().grown(&self.file)?.unwrap_or_default();
        self.truncated = Some(Truncated { mark: self.mark(path), size: before.size });
        self.head = head;
        self.generation = random();
        (self.offset, self.searched) = (0, 0);
        self.announced = false;
        self.waiting = true;
        Ok(())
    }

    /// What is there when a file is first followed from its end on: nothing but a line being written.
    fn skip_to_last_line(&mut self, size: u64) -> io::Result<()> {
        let mut block = vec![0; 64 * 1024];
        let mut end = size;
        while end > 0 {
            let start = end.saturating_sub(block.len() as u64);
            let bytes = block.get_mut(..(end - start) as usize).unwrap_or_default();
            self.file.read_exact_at(bytes, start)?;
            if let Some(newline) = memrchr(b'\n', bytes) {
                self.offset = start + newline as u64 + 1;
                break;
            }
            end = start;
        }
        self.searched = self.offset;
        Ok(())
    }

    fn give(
        &self,
        sink: &mut Sink<'_>,
        range: std::ops::Range<usize>,
        offset: u64,
        tail_cut: u64,
        mark: Option<FileMark>,
    ) {
        (sink.each)(Chunk {
            path: sink.path,
            source: sink.source,
            generation: self.generation,
            offset,
            bytes: sink.buffer.get(range).unwrap_or_default(),
            tail_cut,
            mark,
        });
    }
}

/// Why `path` is not read, and the way out.
pub(super) fn explain(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path} does not exist yet; it is followed as soon as it appears"),
        io::ErrorKind::IsADirectory => {
            format!("{path} is a directory; name a file, or the files in it with a glob such as {path}/*.log")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{path} may not be read (permission denied); run as a user who may, often one of group adm")
        }
        io::ErrorKind::InvalidInput => format!("{path} is a pipe, socket or device; only regular files are followed"),
        _ => format!("{path} cannot be read: {error}; it is tried again every second"),
    }
}

/// Opens a regular file; anything else is an error of kind `IsADirectory` or `InvalidInput`.
fn open_file(path: &Path) -> io::Result<(File, Metadata)> {
    // Non-blocking: should a pipe have taken the file's place since it was looked at, opening it
    // would wait for a writer.
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    Ok((file, metadata))
}

pub(super) fn regular(metadata: &Metadata) -> io::Result<()> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Each `RandomState` has other keys, seeded by the operating system.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(())
}
