//! The one thread that reads: takes what files and streams bring, walks the hot path, and reports what is worth
//! reporting to the decider. When the decider is behind, it waits: the log files are the queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender as ReplySender};
use std::time::{Duration, Instant};

use anyhow::Context;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::discover::ServerLogs;
use super::judge::{Batch, Judge, Lines, Origin, Reading, Text, look, network_proposal, proposal};
use super::known::Known;
use super::peers::{self, Peers};
use crate::config::{Config, Mode};
use crate::detect::{Client, Counter, Record, Ruleset, Scratch, What};
use crate::event::{ClientKey, FileMark, Finding, Proposal, SourceStatus, Timestamp, digest};
use crate::parse::Formats;
use crate::record::Keep;
use crate::tail::{Chunk, More, SourceConfig, Sources};

/// The state of windows and clients is saved this often, and at the end.
const CHECKPOINT_SECS: u64 = 30;
/// While there is more to read, status is published this often; else whenever all is read.
const STATUS_MILLIS: u64 = 250;
/// Reports that may wait for the decider.
pub const REPORTS: usize = 64;

/// What the reader tells the decider. Findings are in the order of their lines.
#[derive(Default)]
pub struct Report {
    /// Files seen for the first time: to be recorded before anything that was found in them.
    pub new_files: Vec<FileMark>,
    pub findings: Vec<Found>,
    /// Requests that no rule minds, for models to look at.
    pub samples: Vec<Finding>,
    /// Offsets, and the counters' state at exactly these offsets.
    pub checkpoint: Option<(Vec<FileMark>, Vec<u8>)>,
    /// Everything that was in the files when the daemon started has been read.
    pub caught_up: bool,
}

impl Report {
    fn is_empty(&self) -> bool {
        self.new_files.is_empty()
            && self.findings.is_empty()
            && self.samples.is_empty()
            && self.checkpoint.is_none()
            && !self.caught_up
    }
}

/// A finding on its way to the decider, or what was analysed and is none, which is recorded and nothing else.
pub struct Found {
    pub finding: Finding,
    /// The ban that it starts, or would start if it is in doubt.
    pub proposal: Option<Proposal>,
    /// The ban of its client's network that it starts besides.
    pub network: Option<Proposal>,
    /// It is for models to say.
    pub in_doubt: bool,
}

/// What others tell the reader.
pub enum Control {
    /// This client is banned for so many seconds from a moment, by a decision that was made elsewhere.
    Ban(ClientKey, Timestamp, u64),
    /// Nobody is banned any more, as when dry run becomes enforcing: who attacks again is a new case.
    ForgetBans,
    /// A finding of this score turned out to be harmless.
    Acquit(ClientKey, u8),
    /// An operator let this client go: it starts afresh.
    Pardon(ClientKey),
    /// Nothing is to be known of clients in this network; IPv6 clients are networks of this length.
    Forget(IpNet, u8),
    /// What is counted of a client?
    Client(ClientKey, ReplySender<Option<Client>>),
    /// In which of these networks is anybody whom the site serves well? IPv6 clients are networks of this length.
    Served(Vec<IpNet>, u8, oneshot::Sender<Vec<bool>>),
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
    /// What is wrong with what is read.
    pub problems: Vec<String>,
}

/// Which requests are shown to models though no rule minds them.
struct Sampling {
    /// 0: none.
    every_secs: i64,
    next: Timestamp,
    seed: usize,
}

impl Sampling {
    fn of(config: &Config) -> Sampling {
        let an_hour = if config.tier.is_empty() { 0 } else { i64::from(config.triage.sample_per_hour) };
        Sampling { every_secs: if an_hour == 0 { 0 } else { (3600 / an_hour).max(1) }, next: Timestamp(0), seed: 0 }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.every_secs > 0 && now >= self.next
    }

    /// Where one of the lines starts that no rule minds, another one each time.
    fn pick(&mut self, records: &[Record]) -> Option<u32> {
        let innocent = |record: &&Record| record.hits == 0 && record.what == What::Request && record.is_actionable();
        let count = records.iter().filter(innocent).count();
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let picked = records.iter().filter(innocent).nth((self.seed >> 33).checked_rem(count)?)?;
        self.next = Timestamp::now().plus_secs(self.every_secs.cast_unsigned());
        Some(picked.start)
    }
}

/// The saved state beside the counters.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    mode: Mode,
    /// Who saved it.
    #[serde(default)]
    agent: String,
    /// Which formats each file is written in, by generation.
    formats: HashMap<u64, Vec<String>>,
    /// Where the journal is read on.
    #[serde(default)]
    positions: HashMap<String, String>,
}

impl Saved {
    /// The saved state, and the counters.
    fn of(state: &[u8]) -> anyhow::Result<(Saved, &[u8])> {
        let split = memchr::memchr(b'\n', state).context("the saved state has no first line")?;
        let saved = serde_json::from_slice(&state[..split]).context("the saved state's first line")?;
        Ok((saved, &state[split + 1..]))
    }

    /// The generation under which `agent` goes on with a file. A state that another agent saved was copied to this
    /// host, and what the two find at the same offset from now on must not have the same id.
    fn generation(&self, generation: u64, agent: &str) -> u64 {
        if self.agent.is_empty() || self.agent == agent {
            return generation;
        }
        let own = digest(&[b"generation", agent.as_bytes(), &generation.to_le_bytes()]);
        u64::from_str_radix(&own[..16], 16).unwrap_or(generation)
    }
}

/// The marks of the last run as this agent goes on from them, by the `state` that was saved with them.
pub fn own_marks(config: &Config, mut marks: Vec<FileMark>, state: Option<&[u8]>) -> Vec<FileMark> {
    if let Some(Ok((saved, _))) = state.map(Saved::of) {
        let agent = config.agent_name();
        marks.iter_mut().for_each(|mark| mark.generation = saved.generation(mark.generation, &agent));
    }
    marks
}

/// A saved `state` without what is counted of clients in `network`.
///
/// # Errors
/// It is damaged, or of another version.
pub fn without(config: &Config, state: &[u8], network: IpNet) -> anyhow::Result<Vec<u8>> {
    let (_, counters) = Saved::of(state)?;
    let mut counter = Counter::new(&config.detect, config.thresholds.flag);
    counter.restore(counters)?;
    counter.forget(network, config.client.v6_prefix);
    let first = &state[..state.len() - counters.len()];
    Ok([first, &counter.save()].concat())
}

/// The reading side, as it starts.
pub struct Reader {
    agent: String,
    mode: Mode,
    tailer: Sources,
    sources: Vec<SourceConfig>,
    servers: ServerLogs,
    judge: Judge,
    /// What rules hit is recorded though it is no finding.
    records_analysed: bool,
    reading: Reading,
    scratch: Scratch,
    batch: Batch,
    known: HashMap<u64, Known>,
    totals: ReaderStatus,
    peers: Peers,
    proxy_said: bool,
    /// Something was read since the last checkpoint.
    dirty: bool,
    checkpoint_at: Instant,
    status_at: Instant,
    sampling: Sampling,
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
        tailer: Sources,
        sources: Vec<SourceConfig>,
        servers: ServerLogs,
        state: Option<&[u8]>,
    ) -> (Reader, Result<(), anyhow::Error>) {
        let mut reader = Reader {
            agent: config.agent_name(),
            mode: config.mode,
            tailer,
            sources,
            servers,
            judge: Judge::new(config, rules).asking_models(config),
            records_analysed: config.store.record == Keep::Analysed,
            reading: Reading::of(config),
            scratch: Scratch::new(),
            batch: Batch::default(),
            known: HashMap::new(),
            totals: ReaderStatus::default(),
            peers: Peers::default(),
            proxy_said: false,
            dirty: false,
            checkpoint_at: Instant::now(),
            status_at: Instant::now(),
            sampling: Sampling::of(config),
            checkpoint_now: false,
        };
        reader.servers.tell();
        let restored = state.map_or(Ok(()), |state| reader.restore(state));
        (reader, restored)
    }

    fn restore(&mut self, state: &[u8]) -> anyhow::Result<()> {
        let (mut saved, counters) = Saved::of(state)?;
        self.tailer.resume(std::mem::take(&mut saved.positions));
        self.judge.counter.restore(counters)?;
        if saved.mode != self.mode {
            // Nobody was shut out in dry run: who is at it again must be blocked now.
            self.judge.counter.forget_bans();
        }
        for (generation, names) in &saved.formats {
            let generation = saved.generation(*generation, &self.agent);
            self.known.insert(generation, Known::written_in(Formats::of_names(names)));
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        let formats = self.known.iter().map(|(generation, known)| (*generation, known.formats.names())).collect();
        // Numbers and names always serialise.
        let (agent, positions) = (self.agent.clone(), self.tailer.positions());
        let mut state = serde_json::to_vec(&Saved { mode: self.mode, agent, formats, positions }).unwrap_or_default();
        state.push(b'\n');
        state.extend(self.judge.counter.save());
        state
    }

    /// Reads until told to stop, until nobody takes its reports any more, or until nothing can come.
    pub fn run(
        mut self,
        controls: &Receiver<Control>,
        reports: &mpsc::Sender<Report>,
        status: &watch::Sender<ReaderStatus>,
    ) {
        if let Err(error) = self.tailer.start() {
            tracing::error!("only files are read: {error}");
        }
        // Where the journal is begun must be known after a crash too.
        self.checkpoint_now |= !self.tailer.positions().is_empty();
        let mut caught_up = false;
        loop {
            let mut stop = false;
            while let Ok(control) = controls.try_recv() {
                stop |= self.obey(control);
            }
            let mut report = Report::default();
            if stop {
                // What senders have got rid of is judged; files wait for the next start.
                self.tailer.hang_up();
            }
            let more = self.read(&mut report);
            report.caught_up = !caught_up && matches!(more, More::No) && !stop;
            caught_up |= report.caught_up;
            stop |= matches!(more, More::No) && self.tailer.ended();
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
            Control::Ban(client, at, secs) => {
                let at_secs = u32::try_from(at.0 / 1000).unwrap_or(u32::MAX);
                self.judge.counter.ban(client.bits(), at_secs, secs);
                self.checkpoint_now = true;
            }
            Control::ForgetBans => {
                self.judge.counter.forget_bans();
                self.checkpoint_now = true;
            }
            Control::Acquit(client, score) => {
                self.judge.counter.acquit(client, score);
                self.checkpoint_now = true;
            }
            Control::Pardon(client) => {
                self.judge.counter.pardon(client);
                self.checkpoint_now = true;
            }
            Control::Forget(network, v6_prefix) => {
                self.judge.counter.forget(network, v6_prefix);
                self.checkpoint_now = true;
            }
            Control::Client(client, reply) => {
                // Nobody waits for it any more: no harm.
                let _ = reply.send(self.judge.counter.client(client).cloned());
            }
            Control::Served(networks, v6_prefix, reply) => {
                let counter = &self.judge.counter;
                // Nobody waits for it any more: no harm.
                let _ = reply.send(networks.iter().map(|network| counter.serves(*network, v6_prefix)).collect());
            }
            Control::Reload(config, rules) => {
                self.judge.reload(&config, rules);
                self.reading = Reading::of(&config);
                self.sampling =
                    Sampling { next: self.sampling.next, seed: self.sampling.seed, ..Sampling::of(&config) };
                self.scratch.rules_changed();
                self.checkpoint_now = true;
            }
            Control::Stop => return true,
        }
        false
    }

    /// Reads what is there, at most a block from each file.
    fn read(&mut self, report: &mut Report) -> More {
        let Reader {
            tailer,
            sources,
            servers,
            judge,
            records_analysed,
            reading,
            scratch,
            batch,
            known,
            totals,
            peers,
            dirty,
            sampling,
            checkpoint_now,
            ..
        } = self;
        let read_at = Timestamp::now();
        tailer.read(&mut |chunk: Chunk<'_>| {
            if let Some(mark) = &chunk.mark {
                report.new_files.push(mark.clone());
            }
            if chunk.bytes.is_empty() {
                return;
            }
            *dirty = true;
            let file = known.entry(chunk.generation).or_default();
            *checkpoint_now |= file.settle_formats(&sources[chunk.source], servers, &chunk, reading, read_at);
            let lines = Lines { bytes: chunk.bytes, tail_cut: chunk.tail_cut, read_at };
            look(&judge.rules, &file.formats, reading, scratch, lines, batch);
            file.count(batch, chunk.bytes);
            if batch.unparsed > 0 && sources[chunk.source].stream().is_some() {
                *checkpoint_now |= file.hear(&sources[chunk.source], &chunk, batch, reading, read_at);
            }
            totals.lines += batch.lines;
            totals.parsed += batch.parsed;
            totals.unparsed += batch.unparsed;
            for record in batch.records.iter().step_by(peers::SAMPLED as usize).filter(|record| record.is_actionable())
            {
                peers.see(ClientKey::from_bits(record.client, reading.v6_prefix));
            }
            let mut path: Option<Arc<str>> = None;
            let mut sampled = sampling.is_due(read_at).then(|| sampling.pick(&batch.records)).flatten();
            for record in &batch.records {
                let hits = batch.hits_of(record);
                let start = record.start as usize;
                let line = &chunk.bytes[start..start + record.len as usize];
                let formats = batch.formats_of(record, &file.formats);
                let text = || Text { formats, line, tail_cut: chunk.tail_cut, read_at };
                let settled = judge.settle(record, hits, text);
                let is_analysed = *records_analysed && !hits.is_empty();
                if settled.is_none() && !is_analysed && sampled != Some(record.start) {
                    continue;
                }
                let path = path.get_or_insert_with(|| chunk.path.display().to_string().into());
                let origin = Origin {
                    file: path,
                    generation: chunk.generation,
                    offset: chunk.offset + u64::from(record.start),
                    line_number: None,
                    tail_cut: chunk.tail_cut,
                    read_at,
                };
                let Some(settled) = settled else {
                    if is_analysed {
                        let analysed = judge.analysed(&origin, formats, line, (record, hits), scratch);
                        report.findings.extend(analysed.map(|finding| Found {
                            finding,
                            proposal: None,
                            network: None,
                            in_doubt: false,
                        }));
                        continue;
                    }
                    sampled = None;
                    report.samples.extend(judge.sample(&origin, formats, line));
                    continue;
                };
                if let Some(finding) = judge.finding(&origin, formats, line, hits, &settled, scratch) {
                    let (proposal, network) = (proposal(&finding, &settled), network_proposal(&finding, &settled));
                    report.findings.push(Found { finding, proposal, network, in_doubt: settled.in_doubt });
                }
            }
            if let Some((_, formats)) = batch.header.take() {
                *checkpoint_now |= formats.names() != file.formats.names();
                file.formats = formats;
            }
        })
    }

    fn status(&mut self) -> ReaderStatus {
        let statuses = self.tailer.statuses();
        self.known.retain(|generation, _| statuses.iter().any(|status| status.generation == *generation));
        self.totals.gaps = self.tailer.gaps();
        self.totals.problems = self.peers.problem().into_iter().collect();
        if let Some(problem) = self.totals.problems.first().filter(|_| !std::mem::replace(&mut self.proxy_said, true)) {
            tracing::warn!("{problem}");
        }
        self.totals.sources = statuses
            .into_iter()
            .map(|file| {
                let mut nothing = Known::default();
                let known = self.known.get_mut(&file.generation).unwrap_or(&mut nothing);
                self.totals.problems.extend(known.problem(&file.path));
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
