//! Offline: the daemon's own road over files, without a socket, a state directory or an action.
//! Lines are matched on all cores and counted in order by one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use bumpalo::Bump;

use super::discover::ServerLogs;
use super::judge::{Batch, Judge, Lines, Origin, Settled, Text, look};
use super::shadow::{self, Shadow};
use crate::config::Config;
use crate::detect::Record;
use crate::event::{Finding, Timestamp};
use crate::parse::{self, Extent, Formats, trim_line};

pub use super::explain::{Explanation, explain};
pub use super::judge::{Reading, standing_refusal};
pub use crate::detect::{Ruleset, Scratch, Trial, cases, redundant, trials};
pub use crate::parse::is_blank;

/// Bytes of a block that is matched at once.
const BLOCK_BYTES: usize = 128 * 1024;

/// Records whose clients are looked up ahead of being counted.
const WARMED: usize = 16;

/// What a replay counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub lines: u64,
    pub parsed: u64,
    pub unparsed: u64,
    pub overlong: u64,
    pub flagged: u64,
    pub bytes: u64,
}

/// A finding on the way to the caller. The text is looked at only if the caller wants it.
pub struct Found<'a> {
    judge: &'a Judge,
    origin: Origin<'a>,
    formats: &'a Formats,
    line: &'a [u8],
    batch: &'a Batch,
    pub record: &'a Record,
    pub settled: &'a Settled,
}

impl Found<'_> {
    /// The finding in full.
    pub fn finding(&self, scratch: &mut Scratch) -> Option<Finding> {
        let hits = self.batch.hits_of(self.record);
        self.judge.finding(&self.origin, self.formats, self.line, hits, self.settled, scratch)
    }

    /// The finding without what led to it.
    pub fn outline(&self) -> Option<Finding> {
        let hits = self.batch.hits_of(self.record);
        self.judge.outline(&self.origin, self.formats, self.line, hits, self.settled)
    }
}

/// Reads `files` (`-` is standard input) through the daemon's own road, several files merged by
/// log time. Calls `each` for every finding, in order, and `progress` with the bytes read so far; shows every
/// line to `shadow`, if there is one.
///
/// # Errors
/// A file that cannot be opened or read, or a format that does not exist.
pub fn scan(
    config: &Config,
    rules: &Arc<Ruleset>,
    files: &[PathBuf],
    format: &str,
    each: &mut dyn FnMut(&Found<'_>) -> anyhow::Result<()>,
    progress: &mut dyn FnMut(u64),
    mut shadow: Option<&mut Shadow>,
) -> anyhow::Result<Totals> {
    let reading = Arc::new(Reading::of(config));
    let mut judge = Judge::new(config, rules.clone());
    let mut totals = Totals::default();
    let servers = ServerLogs::read(&config.server_configs);
    let mut streams = vec![];
    for path in files {
        streams.push(Stream::open(path, format, &servers, &reading)?);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let mut pool = Pool::start(scope, rules, &reading, cores);
        loop {
            let mut next: Option<(usize, u32)> = None;
            for (index, stream) in streams.iter_mut().enumerate() {
                stream.fill(&mut pool)?;
                if let Some(time) = stream.head_time()
                    && next.is_none_or(|(_, earliest)| time < earliest)
                {
                    next = Some((index, time));
                }
            }
            let Some((index, _)) = next else { break };
            // With one file the whole block goes at once; with several, up to the next one's time.
            let until = if streams.len() == 1 { u32::MAX } else { second_earliest(&streams, index) };
            pool.spare.extend(streams[index].settle(&mut judge, until, &mut totals, each, shadow.as_deref_mut())?);
            progress(totals.bytes);
        }
        Ok(totals)
    })
}

fn second_earliest(streams: &[Stream], first: usize) -> u32 {
    let others = streams.iter().enumerate().filter(|(index, _)| *index != first);
    others.filter_map(|(_, stream)| stream.head_time()).min().unwrap_or(u32::MAX)
}

/// The formats of a file: the one called `format` or described by it, or for `auto` those of its
/// first lines, whereby `servers` may know how it is written.
///
/// # Errors
/// There is no such format.
pub fn formats(
    format: &str,
    servers: &ServerLogs,
    path: &str,
    head: &[u8],
    reading: &Reading,
    read_at: Timestamp,
) -> anyhow::Result<Formats> {
    if format == "auto" {
        let lines = head.split(|&byte| byte == b'\n').map(trim_line).filter(|line| !line.is_empty());
        let arena = Bump::new();
        let context = reading.context(Extent::Whole, read_at, &arena);
        return Ok(servers.formats(Path::new(path)).or_learn(path, lines, &context));
    }
    Formats::named(format).map_err(anyhow::Error::msg)
}

/// Every log format that is built in.
pub fn format_kinds() -> &'static [parse::Format] {
    parse::KINDS
}

/// The lines of a block, as the daemon would parse them.
pub fn lines<'a>(block: &'a [u8], reading: &Reading, tail_cut: u64) -> impl Iterator<Item = (&'a [u8], Extent)> {
    block.split_inclusive(|&byte| byte == b'\n').map(move |line| reading.extent(trim_line(line), tail_cut))
}

/// The rules of this configuration: the built-in ones and those of its `rules_dir`.
///
/// # Errors
/// Everything that is wrong in any rule file, a line each, or a file that cannot be read.
pub fn load_rules(config: &Config) -> anyhow::Result<Ruleset> {
    let mut files = vec![];
    if let Some(directory) = &config.detect.rules_dir {
        let failed = || format!("cannot read the rules directory {}", directory.display());
        for path in rule_files(directory).with_context(failed)? {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push((path.display().to_string(), text));
        }
    }
    let rules = Ruleset::new(&files, &config.detect.disable);
    rules.and_then(|rules| rules.excluding(&config.exclusion)).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        BadRules(lines.join("\n")).into()
    })
}

/// The rule files of a directory in the order of their names. Hidden ones are editors' own.
///
/// # Errors
/// The directory cannot be read.
pub fn rule_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_one = |path: &Path| path.extension().is_some_and(|extension| extension == "toml" || extension == "json");
    paths.retain(|path| is_one(path) && !is_hidden(path));
    paths.sort();
    Ok(paths)
}

/// Everything that is wrong in the rule files, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadRules(String);

/// Opens a log; `-` is standard input.
///
/// # Errors
/// It cannot be opened, or is a directory; the message names it.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("{} is a directory; name the log files in it", path.display());
    }
    Ok(Box::new(file))
}

/// When the file was written last; now for what is no file.
pub fn written_last(path: &Path) -> Timestamp {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok().filter(|_| path.is_file());
    modified.map_or_else(Timestamp::now, Timestamp::from)
}

/// Cuts what it reads into blocks of whole lines. Of a line longer than the limit the head is a
/// block of its own.
pub struct Blocks {
    source: Box<dyn Read + Send>,
    carry: Vec<u8>,
    offset: u64,
    max_line_bytes: usize,
}

/// Where a block was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockMark {
    pub offset: u64,
    /// Bytes of its one line that were left out.
    pub tail_cut: u64,
}

impl Blocks {
    pub fn new(source: Box<dyn Read + Send>, max_line_bytes: usize) -> Blocks {
        Blocks { source, carry: Vec::new(), offset: 0, max_line_bytes }
    }

    /// Fills `block` with the next whole lines; `None` at the end.
    ///
    /// # Errors
    /// What reading gave.
    pub fn next(&mut self, block: &mut Vec<u8>) -> io::Result<Option<BlockMark>> {
        // What the buffer held before is written over: only what was cut off last time is made zero again.
        let carried = self.carry.len();
        block.resize(carried.max(BLOCK_BYTES).max(self.max_line_bytes + 1), 0);
        block[..carried].copy_from_slice(&self.carry);
        self.carry.clear();
        let filled = carried + fill(&mut self.source, &mut block[carried..])?;
        let ended = filled < block.len();
        block.truncate(filled);
        let mark = BlockMark { offset: self.offset, tail_cut: 0 };
        if let Some(last) = memchr::memrchr(b'\n', block) {
            if !ended {
                self.carry.extend_from_slice(&block[last + 1..]);
                block.truncate(last + 1);
            }
        } else if !ended {
            let total = block.len() as u64 + self.skip_line()?;
            block.truncate(self.max_line_bytes);
            self.offset += total;
            return Ok(Some(BlockMark { tail_cut: total - block.len() as u64, ..mark }));
        }
        self.offset += block.len() as u64;
        Ok((!block.is_empty()).then_some(mark))
    }

    /// Reads to the end of the line, keeps what follows, and returns how many bytes it was.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = self.source.read(&mut buffer)?;
            if read == 0 {
                return Ok(skipped);
            }
            if let Some(newline) = memchr::memchr(b'\n', &buffer[..read]) {
                self.carry.extend_from_slice(&buffer[newline + 1..read]);
                return Ok(skipped + newline as u64 + 1);
            }
            skipped += read as u64;
        }
    }
}

/// Fills `buffer` as far as the source goes, and returns how far: `read_to_end` would begin with small reads.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A block with what was found in it, on its way between threads; its memory is used again.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    mark: BlockMark,
    batch: Batch,
    /// The next record to settle.
    at: usize,
}

/// One file: blocks being matched ahead, and the one being counted.
struct Stream {
    name: Arc<str>,
    path: PathBuf,
    blocks: Blocks,
    formats: Arc<Formats>,
    read_at: Timestamp,
    ahead: VecDeque<Receiver<Block>>,
    current: Option<Block>,
    /// The first block, read to learn the formats.
    first: Option<Block>,
    ended: bool,
    /// Lines before the current block.
    lines: u64,
}

impl Stream {
    fn open(path: &Path, format: &str, servers: &ServerLogs, reading: &Reading) -> anyhow::Result<Stream> {
        let mut blocks = Blocks::new(open(path)?, reading.max_line_bytes);
        let read_at = written_last(path);
        let mut first = Block::default();
        let mark = blocks.next(&mut first.bytes).with_context(|| format!("cannot read {}", path.display()))?;
        first.mark = mark.unwrap_or_default();
        let name: Arc<str> = path.display().to_string().into();
        let formats = Arc::new(formats(format, servers, &name, &first.bytes, reading, read_at)?);
        Ok(Stream {
            name,
            path: path.to_owned(),
            blocks,
            formats,
            read_at,
            ahead: VecDeque::new(),
            current: None,
            first: mark.map(|_| first),
            ended: mark.is_none(),
            lines: 0,
        })
    }

    /// Has a record ready in `current` unless the file is at its end.
    fn fill(&mut self, pool: &mut Pool) -> anyhow::Result<()> {
        loop {
            // Where headers name the columns, each block may hold the header of the next.
            let in_turn = usize::from(self.current.is_none());
            let ahead = if self.formats.have_header() { in_turn } else { pool.ahead };
            while !self.ended && self.ahead.len() < ahead {
                let mut block = match self.first.take() {
                    Some(first) => first,
                    None => {
                        let mut block = pool.spare.pop().unwrap_or_default();
                        let read = self.blocks.next(&mut block.bytes);
                        match read.with_context(|| format!("cannot read {}", self.path.display()))? {
                            Some(mark) => block.mark = mark,
                            None => {
                                self.ended = true;
                                break;
                            }
                        }
                        block
                    }
                };
                block.at = 0;
                self.ahead.push_back(pool.submit(block, &self.formats, self.read_at));
            }
            if self.current.is_some() {
                return Ok(());
            }
            let Some(next) = self.ahead.pop_front() else { return Ok(()) };
            self.current = Some(next.recv().context("a matching thread ended early")?);
        }
    }

    fn head_time(&self) -> Option<u32> {
        let block = self.current.as_ref()?;
        Some(block.batch.records.get(block.at).map_or(0, |record| record.time_secs))
    }

    /// Settles the current block's records up to `until` (log time). Gives the block back when it
    /// is done with.
    fn settle(
        &mut self,
        judge: &mut Judge,
        until: u32,
        totals: &mut Totals,
        each: &mut dyn FnMut(&Found<'_>) -> anyhow::Result<()>,
        mut shadow: Option<&mut Shadow>,
    ) -> anyhow::Result<Option<Block>> {
        let Some(block) = &mut self.current else { return Ok(None) };
        while let Some(&record) = block.batch.records.get(block.at) {
            if record.time_secs > until {
                return Ok(None);
            }
            if block.at.is_multiple_of(WARMED) {
                let ahead = &block.batch.records[block.at..];
                judge.counter.warm(&ahead[..ahead.len().min(WARMED)]);
            }
            block.at += 1;
            let start = record.start as usize;
            let line = &block.bytes[start..start + record.len as usize];
            let formats = block.batch.formats_of(&record, &self.formats);
            let (tail_cut, read_at) = (block.mark.tail_cut, self.read_at);
            let text = || Text { formats, line, tail_cut, read_at };
            let settled = judge.settle(&record, block.batch.hits_of(&record), text);
            if let Some(shadow) = &mut shadow {
                let line = shadow::Line { text: line, formats, reading: judge.reading(), read_at };
                shadow.see(&record, &line, settled.as_ref(), judge.thresholds());
            }
            let Some(settled) = settled else { continue };
            totals.flagged += 1;
            let line_number = self.lines + 1 + u64::from(record.line);
            each(&Found {
                judge,
                origin: Origin {
                    file: &self.name,
                    generation: 0,
                    offset: block.mark.offset + u64::from(record.start),
                    line_number: Some(line_number),
                    tail_cut,
                    read_at,
                },
                formats,
                line,
                batch: &block.batch,
                record: &record,
                settled: &settled,
            })?;
        }
        totals.lines += block.batch.lines;
        totals.parsed += block.batch.parsed;
        totals.unparsed += block.batch.unparsed;
        totals.overlong += block.batch.overlong;
        totals.bytes += block.bytes.len() as u64 + block.mark.tail_cut;
        self.lines += block.batch.lines;
        if let Some((_, formats)) = block.batch.header.take() {
            self.formats = Arc::new(formats);
        }
        Ok(self.current.take())
    }
}

/// Threads that match blocks. With one core the caller's thread does it itself.
struct Pool {
    jobs: Option<Sender<Job>>,
    alone: Option<(Arc<Ruleset>, Arc<Reading>, Scratch)>,
    /// Blocks of one file that are matched ahead of counting.
    ahead: usize,
    spare: Vec<Block>,
}

struct Job {
    block: Block,
    formats: Arc<Formats>,
    read_at: Timestamp,
    done: Sender<Block>,
}

impl Pool {
    fn start<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        rules: &Arc<Ruleset>,
        reading: &Arc<Reading>,
        cores: usize,
    ) -> Pool {
        if cores == 1 {
            return Pool {
                jobs: None,
                alone: Some((rules.clone(), reading.clone(), Scratch::new())),
                ahead: 1,
                spare: vec![],
            };
        }
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..cores {
            let (queue, rules, reading) = (queue.clone(), rules.clone(), reading.clone());
            scope.spawn(move || {
                let mut scratch = Scratch::new();
                loop {
                    let job = queue.lock().ok().and_then(|queue| queue.recv().ok());
                    let Some(Job { mut block, formats, read_at, done }) = job else { return };
                    let Block { bytes, mark, batch, .. } = &mut block;
                    let lines = Lines { bytes, tail_cut: mark.tail_cut, read_at };
                    look(&rules, &formats, &reading, &mut scratch, lines, batch);
                    // Nobody waits any more when the scan has failed.
                    let _ = done.send(block);
                }
            });
        }
        Pool { jobs: Some(jobs), alone: None, ahead: cores + 1, spare: vec![] }
    }

    fn submit(&mut self, mut block: Block, formats: &Arc<Formats>, read_at: Timestamp) -> Receiver<Block> {
        let (done, result) = channel();
        match (&self.jobs, &mut self.alone) {
            (Some(jobs), _) => {
                let _ = jobs.send(Job { block, formats: formats.clone(), read_at, done });
            }
            (None, Some((rules, reading, scratch))) => {
                let Block { bytes, mark, batch, .. } = &mut block;
                let lines = Lines { bytes, tail_cut: mark.tail_cut, read_at };
                look(rules, formats, reading, scratch, lines, batch);
                let _ = done.send(block);
            }
            (None, None) => {}
        }
        result
    }
}
