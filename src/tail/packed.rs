use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memchr::memchr;

use super::cut::cut;
use super::head::Head;
use super::reader::{FileId, Sink, random};
use super::unpack::unpack;
use super::{Chunk, FileStatus};
use crate::event::FileMark;

/// What was not yet read of a file that was rotated away and compressed. It never grows; offsets
/// and head are those of its text, so its lines have the ids they had before.
pub(super) struct Packed {
    name: PathBuf,
    pub id: FileId,
    pub modified: Option<SystemTime>,
    pub head: Head,
    generation: u64,
    text: Box<dyn Read + Send>,
    /// Start of the first line not handed out.
    offset: u64,
    /// How much is still to be passed over, before anything is handed out.
    skip: u64,
    /// The byte before the first line is to be a newline.
    before: u8,
    /// Read and not handed out: it begins at `offset`.
    held: Vec<u8>,
    /// Bytes of an overlong line behind `held`, which is its head then.
    beyond: u64,
    announced: bool,
    /// Nothing more comes.
    pub done: bool,
    overlong: u64,
    /// Bytes that could not be read any more.
    pub lost: u64,
}

impl Packed {
    /// Opens a file that was not read before.
    pub fn open(name: &Path) -> io::Result<Packed> {
        let fresh = Head::default();
        Packed::begin(name, fresh)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Opens what `mark` was made for, if the text begins as it did then.
    pub fn resume(name: &Path, mark: &FileMark) -> io::Result<Option<Packed>> {
        let Some(new) = Packed::begin(name, Head::of(mark))? else { return Ok(None) };
        let (generation, offset) = (mark.generation, mark.offset);
        Ok(Some(Packed { generation, offset, skip: offset, announced: true, ..new }))
    }

    fn begin(name: &Path, head: Head) -> io::Result<Option<Packed>> {
        let mut file = File::open(name)?;
        let metadata = file.metadata()?;
        let Some(head) = head.grown_stream(&mut unpack(name, file.try_clone()?)?)? else { return Ok(None) };
        file.rewind()?;
        Ok(Some(Packed {
            name: name.to_path_buf(),
            id: FileId::of(&metadata),
            modified: metadata.modified().ok(),
            head,
            generation: random(),
            text: unpack(name, file)?,
            offset: 0,
            skip: 0,
            before: b'\n',
            held: Vec::new(),
            beyond: 0,
            announced: false,
            done: false,
            overlong: 0,
            lost: 0,
        }))
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

    /// How much is left is not known before it is unpacked.
    pub fn status(&self, path: &Path) -> FileStatus {
        FileStatus {
            path: path.to_path_buf(),
            generation: self.generation,
            offset: self.offset,
            behind_bytes: 0,
            overlong: self.overlong,
            error: None,
        }
    }

    /// Unpacks one block and hands out its lines. What cannot be unpacked will not become better.
    pub fn read(&mut self, sink: &mut Sink<'_>) {
        if !self.announced {
            self.announced = true;
            let mark = self.mark(sink.path);
            self.give(sink, &[], 0, Some(mark));
        }
        let block = std::mem::take(&mut sink.buffer);
        let left = if self.skip > 0 {
            self.pass_over(block)
        } else if self.beyond > 0 {
            self.search_on(sink, block)
        } else {
            self.read_block(sink, block)
        };
        sink.buffer = block;
        self.done = !left.unwrap_or_else(|error| {
            tracing::warn!(file = %self.name.display(), %error, "what was left of a compressed log cannot be read");
            self.lost += 1;
            false
        });
    }

    fn pass_over(&mut self, block: &mut [u8]) -> io::Result<bool> {
        let most = usize::try_from(self.skip).unwrap_or(usize::MAX).min(block.len());
        let bytes = block.get_mut(..most).unwrap_or_default();
        let n = fill(&mut self.text, bytes)?;
        self.skip -= n as u64;
        self.before = n.checked_sub(1).and_then(|last| bytes.get(last)).copied().unwrap_or(self.before);
        let is_within_line = self.skip == 0 && self.before != b'\n';
        match n < most || is_within_line {
            false => Ok(true),
            // Its last line, which no newline ends, was handed out.
            true if n == most && fill(&mut self.text, &mut [0])? == 0 => Ok(false),
            true => Err(io::Error::other("it is not what was read before it was compressed")),
        }
    }

    fn read_block(&mut self, sink: &mut Sink<'_>, block: &mut [u8]) -> io::Result<bool> {
        let (old, new) = block.split_at_mut_checked(self.held.len()).ok_or(io::ErrorKind::InvalidData)?;
        old.copy_from_slice(&self.held);
        let n = fill(&mut self.text, new)?;
        let (ended, total) = (n < new.len(), self.held.len() + n);
        let bytes = block.get(..total).unwrap_or_default();
        let (start, max) = (self.offset, sink.limits.max_line_bytes);
        let done = cut(bytes, max, |range, tail_cut| {
            self.offset = start + range.start as u64;
            self.overlong += u64::from(tail_cut > 0);
            self.give(sink, bytes.get(range).unwrap_or_default(), tail_cut, None);
        });
        self.offset = start + done as u64;
        let rest = bytes.get(done..).unwrap_or_default();
        self.hold(rest, max);
        if ended && !rest.is_empty() {
            self.finish(sink);
        }
        Ok(!ended)
    }

    /// Goes on looking for the end of an overlong line.
    fn search_on(&mut self, sink: &mut Sink<'_>, block: &mut [u8]) -> io::Result<bool> {
        let n = fill(&mut self.text, block)?;
        let bytes = block.get(..n).unwrap_or_default();
        match memchr(b'\n', bytes) {
            Some(newline) => {
                self.beyond += newline as u64 + 1;
                self.finish(sink);
                self.held.extend_from_slice(bytes.get(newline + 1..).unwrap_or_default());
                Ok(true)
            }
            None => {
                self.beyond += n as u64;
                if n < block.len() {
                    self.finish(sink);
                }
                Ok(n == block.len())
            }
        }
    }

    /// Keeps the beginning of a line, of an overlong one its head.
    fn hold(&mut self, rest: &[u8], max: usize) {
        let kept = rest.get(..max).unwrap_or(rest);
        self.held.clear();
        self.held.extend_from_slice(kept);
        self.beyond = (rest.len() - kept.len()) as u64;
    }

    /// Hands out what is held as the last, or overlong, line that it is.
    fn finish(&mut self, sink: &mut Sink<'_>) {
        let held = std::mem::take(&mut self.held);
        self.overlong += u64::from(self.beyond > 0);
        self.give(sink, &held, self.beyond, None);
        self.offset += held.len() as u64 + self.beyond;
        self.beyond = 0;
    }

    fn give(&self, sink: &mut Sink<'_>, bytes: &[u8], tail_cut: u64, mark: Option<FileMark>) {
        let (path, source, generation, offset) = (sink.path, sink.source, self.generation, self.offset);
        (sink.each)(Chunk { path, source, generation, offset, bytes, tail_cut, mark });
    }
}

/// Reads until `buffer` is full or nothing is left.
fn fill(text: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while let Some(free) = buffer.get_mut(n..).filter(|free| !free.is_empty()) {
        match text.read(free) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}
