//! The one thread that reads: tails the files, walks the hot path, and reports what is worth
//! reporting to the decider. When the decider is behind, it waits: the log files are the queue.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender as ReplySender};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::judge::{Batch, Judge, LineLimits, Origin, look, proposal};
use crate::config::{Config, Mode};
use crate::detect::{Client, Ruleset, Scratch};
use crate::event::{ClientKey, FileMark, Finding, Proposal, SourceStatus, printable};
use crate::parse::{Formats, trim_line};
use crate::tail::{Chunk, More, SourceConfig, Tailer};

/// The state of windows and clients is saved this often, and at the end.
const CHECKPOINT_SECS: u64 = 30;
/// Status is published at most this often.
const STATUS_MILLIS: u64 = 250;
/// How much of a file's head its formats are learned from, in bytes.
const HEAD_BYTES: u64 = 64 * 1024;
/// Reports that may wait for the decider.
pub const REPORTS: usize = 64;

/// What the reader tells the decider. Findings are in the order of their lines.
#[derive(Default)]
pub struct Report {
    /// Files seen for the first time: to be recorded before anything that was found in them.
    pub new_files: Vec<FileMark>,
    pub findings: Vec<(Finding, Option<Proposal>)>,
    /// Offsets, and the counters' state at exactly these offsets.
    pub checkpoint: Option<(Vec<FileMark>, Vec<u8>)>,
    /// Everything that was in the files when the daemon started has been read.
    pub caught_up: bool,
}

impl Report {
    fn is_empty(&self) -> bool {
        self.new_files.is_empty() && self.findings.is_empty() && self.checkpoint.is_none() && !self.caught_up
    }
}

/// What others tell the reader.
pub enum Control {
    /// An operator let this client go: it starts afresh.
    Pardon(ClientKey),
    /// What is counted of a client?
    Client(ClientKey, ReplySender<Option<Client>>),
    /// New settings and rules; counting goes on.
    Reload(Box<Config>, Arc<Ruleset>),
    /// Save and end.
    Stop,
}

/// What `status` is told about reading.
#[derive(Clone, Debug, Default)]
pub struct ReaderStatus {
    pub sources: Vec<SourceStatus>,
    pub lines: u64,
    pub parsed: u64,
    pub unparsed: u64,
    pub gaps: u64,
}

/// The saved state beside the counters.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    mode: Mode,
    /// Which formats each file is written in, by generation.
    formats: HashMap<u64, Vec<String>>,
}

/// What is known of one file.
#[derive(Default)]
struct Known {
    formats: Formats,
    lines: u64,
    parsed: u64,
    unparsed: u64,
    overlong: u64,
    samples: Vec<String>,
}

/// The reading side, as it starts.
pub struct Reader {
    mode: Mode,
    tailer: Tailer,
    sources: Vec<SourceConfig>,
    judge: Judge,
    limits: LineLimits,
    scratch: Scratch,
    batch: Batch,
    known: HashMap<u64, Known>,
    totals: ReaderStatus,
    /// Something was read since the last checkpoint.
    dirty: bool,
    checkpoint_at: Instant,
    status_at: Instant,
    /// Makes the next report carry a checkpoint: state changed in a way that replay cannot repeat.
    checkpoint_now: bool,
}

impl Reader {
    /// Takes up `state`, saved by an earlier run at the offsets that `tailer` resumes from.
    ///
    /// # Errors
    /// The state is damaged; the message says so and the counters start afresh.
    pub fn new(
        config: &Config,
        rules: Arc<Ruleset>,
        tailer: Tailer,
        sources: Vec<SourceConfig>,
        state: Option<&[u8]>,
    ) -> (Reader, Result<(), anyhow::Error>) {
        let mut reader = Reader {
            mode: config.mode,
            tailer,
            sources,
            judge: Judge::new(config, rules),
            limits: LineLimits::of(config),
            scratch: Scratch::new(),
            batch: Batch::default(),
            known: HashMap::new(),
            totals: ReaderStatus::default(),
            dirty: false,
            checkpoint_at: Instant::now(),
            status_at: Instant::now(),
            checkpoint_now: false,
        };
        let restored = state.map_or(Ok(()), |state| reader.restore(state));
        (reader, restored)
    }

    fn restore(&mut self, state: &[u8]) -> anyhow::Result<()> {
        let split = memchr::memchr(b'\n', state).context("the saved state has no first line")?;
        let saved: Saved = serde_json::from_slice(&state[..split]).context("the saved state's first line")?;
        self.judge.counter.restore(&state[split + 1..])?;
        if saved.mode != self.mode {
            // Nobody was shut out in dry run: who is at it again must be blocked now.
            self.judge.counter.forget_bans();
        }
        for (generation, names) in saved.formats {
            self.known.insert(generation, Known { formats: Formats::of_names(&names), ..Known::default() });
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        let formats = self.known.iter().map(|(generation, known)| (*generation, known.formats.names())).collect();
        // Numbers and names always serialise.
        let mut state = serde_json::to_vec(&Saved { mode: self.mode, formats }).unwrap_or_default();
        state.push(b'\n');
        state.extend(self.judge.counter.save());
        state
    }

    /// Reads until told to stop or until nobody takes its reports any more.
    pub fn run(
        mut self,
        controls: &Receiver<Control>,
        reports: &mpsc::Sender<Report>,
        status: &watch::Sender<ReaderStatus>,
    ) {
        let mut caught_up = false;
        loop {
            let mut stop = false;
            while let Ok(control) = controls.try_recv() {
                stop |= self.obey(control);
            }
            let mut report = Report::default();
            let more = if stop { More::No } else { self.read(&mut report) };
            report.caught_up = !caught_up && matches!(more, More::No) && !stop;
            caught_up |= report.caught_up;
            let due = self.dirty && self.checkpoint_at.elapsed().as_secs() >= CHECKPOINT_SECS;
            if stop || due || self.checkpoint_now {
                report.checkpoint = Some((self.tailer.marks(), self.save()));
                (self.dirty, self.checkpoint_now, self.checkpoint_at) = (false, false, Instant::now());
            }
            let idle = report.is_empty() && matches!(more, More::No);
            if !report.is_empty() && reports.blocking_send(report).is_err() {
                return;
            }
            if stop || idle || self.status_at.elapsed() >= Duration::from_millis(STATUS_MILLIS) {
                self.status_at = Instant::now();
                status.send_replace(self.status());
            }
            if stop {
                return;
            }
            if idle {
                self.tailer.wait(Duration::from_secs(1));
            }
        }
    }

    fn obey(&mut self, control: Control) -> bool {
        match control {
            Control::Pardon(client) => {
                self.judge.counter.pardon(client);
                self.checkpoint_now = true;
            }
            Control::Client(client, reply) => {
                // Nobody waits for it any more: no harm.
                let _ = reply.send(self.judge.counter.client(client).cloned());
            }
            Control::Reload(config, rules) => {
                self.judge.reload(&config, rules);
                self.scratch.rules_changed();
                self.checkpoint_now = true;
            }
            Control::Stop => return true,
        }
        false
    }

    /// Reads what is there, at most a block from each file.
    fn read(&mut self, report: &mut Report) -> More {
        let Reader { tailer, sources, judge, limits, scratch, batch, known, totals, dirty, checkpoint_now, .. } = self;
        tailer.read(&mut |chunk: Chunk<'_>| {
            if let Some(mark) = &chunk.mark {
                report.new_files.push(mark.clone());
            }
            if chunk.bytes.is_empty() {
                return;
            }
            *dirty = true;
            let file = known.entry(chunk.generation).or_default();
            if file.formats.is_empty() {
                file.formats = learn(&sources[chunk.source], chunk.path, chunk.bytes);
                *checkpoint_now |= !file.formats.is_empty();
            }
            look(&judge.rules, &file.formats, *limits, scratch, chunk.bytes, chunk.tail_cut, batch);
            file.lines += batch.lines;
            file.parsed += batch.parsed;
            file.unparsed += batch.unparsed;
            file.overlong += batch.overlong;
            totals.lines += batch.lines;
            totals.parsed += batch.parsed;
            totals.unparsed += batch.unparsed;
            for &(start, len) in &batch.samples {
                if file.samples.len() < 3 {
                    let (start, len) = (start as usize, len as usize);
                    file.samples.push(printable(&chunk.bytes[start..start + len], 200));
                }
            }
            let mut path: Option<Arc<str>> = None;
            for record in &batch.records {
                let hits = batch.hits_of(record);
                let Some(settled) = judge.settle(record, hits) else { continue };
                let path = path.get_or_insert_with(|| chunk.path.display().to_string().into());
                let start = record.start as usize;
                let origin = Origin {
                    file: path,
                    generation: chunk.generation,
                    offset: chunk.offset + u64::from(record.start),
                    line_number: None,
                    tail_cut: chunk.tail_cut,
                };
                let line = &chunk.bytes[start..start + record.len as usize];
                if let Some(finding) = judge.finding(&origin, &file.formats, line, hits, &settled, scratch) {
                    let proposal = proposal(&finding, &settled);
                    report.findings.push((finding, proposal));
                }
            }
        })
    }

    fn status(&mut self) -> ReaderStatus {
        let statuses = self.tailer.statuses();
        self.known.retain(|generation, _| statuses.iter().any(|status| status.generation == *generation));
        let nothing = Known::default();
        self.totals.gaps = self.tailer.gaps();
        self.totals.sources = statuses
            .into_iter()
            .map(|file| {
                let known = self.known.get(&file.generation).unwrap_or(&nothing);
                SourceStatus {
                    path: file.path,
                    formats: known.formats.names(),
                    offset: file.offset,
                    behind_bytes: file.behind_bytes,
                    lines: known.lines,
                    parsed: known.parsed,
                    unparsed: known.unparsed,
                    overlong: known.overlong,
                    unparsed_samples: known.samples.clone(),
                    error: file.error,
                }
            })
            .collect();
        self.totals.clone()
    }
}

/// The formats that a file is written in: configured, else those of the file's own first lines
/// (what is new in it may be an attacker's), else those of `chunk`.
pub(super) fn learn(source: &SourceConfig, path: &Path, chunk: &[u8]) -> Formats {
    if let Ok(formats) = Formats::named(&source.format) {
        return formats;
    }
    let mut head = Vec::new();
    // A file that is gone by now has its chunk to learn from.
    let _ = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    let lines = |bytes| <[u8]>::split(bytes, |&byte| byte == b'\n').map(trim_line).filter(|line| !line.is_empty());
    let name = path.to_string_lossy();
    let formats = Formats::learn(&name, lines(&head));
    if formats.is_empty() { Formats::learn(&name, lines(chunk)) } else { formats }
}
