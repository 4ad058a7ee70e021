//! The hot path: bytes → decisions. [`look`] matches lines and keeps nothing, so it may run on any
//! core; [`Judge::settle`] counts and decides, in file order. Neither allocates for a benign line,
//! takes a lock or awaits.

use std::net::IpAddr;
use std::sync::Arc;

use bumpalo::Bump;
use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::decide::{self, ClientConfig, Durations, Limits, Surroundings, Thresholds};
use crate::detect::{Counted, Counter, Detail, Hit, Record, Ruleset, Scratch};
use crate::event::{
    Action, Category, ClientKey, DecidedBy, Event, Evidence, Finding, Ground, Proposal, Proposer, Timestamp,
    VerdictClass, digest, printable,
};
use crate::parse::{self, Context, Extent, Formats, Site, trim_line};
use crate::triage;

/// Bytes of a logged field that a finding keeps.
const KEPT_BYTES: usize = 2048;
/// Lines kept as samples of what was not understood.
const SAMPLES: usize = 3;

/// What [`look`] found in one block of lines. Reused from block to block.
#[derive(Default)]
pub struct Batch {
    pub records: Vec<Record>,
    pub hits: Vec<Hit>,
    pub lines: u64,
    pub parsed: u64,
    pub unparsed: u64,
    /// Lines of which only the head was judged.
    pub overlong: u64,
    /// Lines whose client is a guess.
    pub guessed: u64,
    /// Where the first lines are that were not understood.
    pub samples: Vec<(u32, u32)>,
    /// Formats of a header among the lines, for those after it; and where it begins.
    pub header: Option<(u32, Formats)>,
    /// Text that events cannot borrow from their lines.
    arena: Bump,
}

impl Batch {
    fn clear(&mut self) {
        self.records.clear();
        self.hits.clear();
        self.samples.clear();
        self.header = None;
        (self.lines, self.parsed, self.unparsed, self.overlong, self.guessed) = (0, 0, 0, 0, 0);
    }

    /// The formats of one of its records; `formats` are those that its lines begin with.
    pub fn formats_of<'a>(&'a self, record: &Record, formats: &'a Formats) -> &'a Formats {
        self.header.as_ref().filter(|(start, _)| record.start > *start).map_or(formats, |(_, newer)| newer)
    }

    /// The hits of one of its records.
    pub fn hits_of(&self, record: &Record) -> &[Hit] {
        let from = record.first_hit as usize;
        &self.hits[from..from + usize::from(record.hits)]
    }
}

/// How lines are read.
#[derive(Clone)]
pub struct Reading {
    pub v6_prefix: u8,
    pub max_line_bytes: usize,
    pub site: Site,
}

impl Reading {
    pub fn of(config: &Config) -> Reading {
        Reading {
            v6_prefix: config.client.v6_prefix,
            max_line_bytes: config.detect.max_line_bytes as usize,
            site: Site {
                zone: config.zone().unwrap_or(TimeZone::UTC),
                trusted_proxies: config.client.trusted_proxies.clone(),
            },
        }
    }

    /// The context of lines of this extent, read or written last at `read_at`.
    pub fn context<'a>(&'a self, extent: Extent, read_at: Timestamp, arena: &'a Bump) -> Context<'a> {
        Context { extent, arena, program: b"", site: &self.site, read_at }
    }

    /// `line`, or its head if it is too long or was cut before.
    pub fn extent<'a>(&self, line: &'a [u8], tail_cut: u64) -> (&'a [u8], Extent) {
        if line.len() > self.max_line_bytes {
            (&line[..self.max_line_bytes], Extent::Head)
        } else if tail_cut > 0 {
            (line, Extent::Head)
        } else {
            (line, Extent::Whole)
        }
    }
}

/// Lines of one file, read at once.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    pub bytes: &'a [u8],
    /// How many bytes of the one line in `bytes` were too many to read.
    pub tail_cut: u64,
    /// None of them was written later.
    pub read_at: Timestamp,
}

/// Parses and matches `lines` into `batch`. Blank lines count as lines and nothing else.
pub fn look(
    rules: &Ruleset,
    formats: &Formats,
    reading: &Reading,
    scratch: &mut Scratch,
    lines: Lines<'_>,
    batch: &mut Batch,
) {
    batch.clear();
    let Lines { bytes, tail_cut, read_at } = lines;
    let Batch { records, hits, arena, header, .. } = batch;
    let mut start = 0;
    while start < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at + 1);
        let (line, extent) = reading.extent(trim_line(&bytes[start..end]), tail_cut);
        let number = batch.lines as u32;
        batch.lines += 1;
        batch.overlong += u64::from(extent == Extent::Head);
        let (start32, len) = (start as u32, line.len() as u32);
        let current = header.as_ref().map_or(formats, |(_, newer)| newer);
        // By reference: an event is too long to be moved for nothing.
        match &current.parse(line, &reading.context(extent, read_at, arena)) {
            Ok(event) => {
                batch.parsed += 1;
                batch.guessed += u64::from(event.guessed);
                let record = observe(rules, reading.v6_prefix, scratch, event, hits);
                records.push(Record { start: start32, len, line: number, ..record });
            }
            Err(_) => match current.header(line) {
                Some(newer) => *header = Some((start32, newer)),
                None if parse::is_blank(line) => {}
                None => {
                    batch.unparsed += 1;
                    if batch.samples.len() < SAMPLES {
                        batch.samples.push((start32, len));
                    }
                }
            },
        }
        start = end;
        arena.reset();
    }
}

/// What matching gives of one line; where that is in its batch is left open.
#[inline]
pub(super) fn observe(
    rules: &Ruleset,
    v6_prefix: u8,
    scratch: &mut Scratch,
    event: &Event<'_>,
    hits: &mut Vec<Hit>,
) -> Record {
    let first_hit = hits.len();
    let score = rules.examine(event, scratch, hits);
    let mut record = Record {
        first_hit: first_hit as u32,
        hits: (hits.len() - first_hit) as u16,
        score,
        ..Record::of(event, event.source_ip.map(|address| ClientKey::of(address, v6_prefix)))
    };
    if record.hits > 0 || rules.is_watched(&record) {
        record.look_closer(event, rules.watched.asks_paths(&record));
    }
    record
}

/// Counts and decides. One owner feeds it lines in order.
pub struct Judge {
    pub rules: Arc<Ruleset>,
    pub counter: Counter,
    thresholds: Thresholds,
    durations: Durations,
    reading: Reading,
    /// Whether what rules leave in doubt goes to models: then rules alone ban only where they are certain.
    asks_models: bool,
    block_networks: bool,
    /// Of the last line that stated a time: it holds for the next that states none.
    time_secs: u32,
}

/// What became of a line that is a finding.
#[derive(Clone, Debug)]
pub struct Settled {
    pub counted: Counted,
    pub action: Action,
    pub decided_by: DecidedBy,
    /// Length in seconds of the new ban that this line starts, or would start if it is in doubt.
    pub ban_secs: Option<u64>,
    /// It is for models to say, if there are any.
    pub in_doubt: bool,
    /// The client's network, if it should be shut out with it.
    pub network: Option<IpNet>,
}

impl Judge {
    pub fn new(config: &Config, rules: Arc<Ruleset>) -> Judge {
        Judge {
            rules,
            counter: Counter::new(&config.detect, config.thresholds.flag),
            thresholds: config.thresholds.clone(),
            durations: durations(config),
            reading: Reading::of(config),
            asks_models: false,
            block_networks: config.respond.block_networks,
            time_secs: 0,
        }
    }

    /// Leaves to models what rules are not certain of, if the configuration names any.
    pub fn asking_models(mut self, config: &Config) -> Judge {
        self.asks_models = !config.tier.is_empty();
        self
    }

    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Takes new settings and rules; what was counted stays. Windows that changed start afresh.
    pub fn reload(&mut self, config: &Config, rules: Arc<Ruleset>) {
        let asks_models = !config.tier.is_empty();
        let fresh = Judge { asks_models, time_secs: self.time_secs, ..Judge::new(config, rules) };
        let counter = std::mem::replace(self, fresh).counter;
        self.counter.take_over(counter);
    }

    /// Counts one line and decides, before the gate. `text` gives the line, should more of it be asked for.
    #[inline]
    pub fn settle<'a>(&mut self, record: &Record, hits: &[Hit], text: impl FnOnce() -> Text<'a>) -> Option<Settled> {
        let mut record = *record;
        if record.time_secs == 0 {
            record.time_secs = self.time_secs;
        }
        self.time_secs = record.time_secs;
        let Judge { counter, rules, reading, .. } = self;
        let counted = counter.count(&record, hits, rules, || detail(rules, reading, &text()))?;
        let (mut action, decided_by) = decide::action(counted.score, counted.flagged, &self.thresholds);
        if !record.is_actionable() {
            // Nobody is known who could be blocked.
            action = action.min(Action::Monitor);
        }
        let in_doubt = self.asks_models
            && record.is_actionable()
            && decide::is_in_doubt(counted.score, counted.flagged || counted.banned, &self.thresholds);
        let new = (action == Action::Block || in_doubt) && !counted.banned;
        let client = ClientKey::from_bits(record.client, self.reading.v6_prefix);
        let seed = || decide::ban_seed(client, record.time_secs);
        let ban_secs = new.then(|| decide::ban_secs(counted.offences, self.durations, seed()));
        let mut network = None;
        if let Some(secs) = ban_secs.filter(|_| !in_doubt) {
            if self.block_networks {
                network = self.counter.network_to_ban(client, record.time_secs);
            }
            self.counter.ban(record.client, record.time_secs, secs);
        }
        Some(Settled { counted, action, decided_by, ban_secs, in_doubt, network })
    }

    /// The finding that a settled line is, in full: parsed once more, now that it matters.
    /// `None` if `line` cannot be parsed, which [`look`] has ruled out.
    pub fn finding(
        &self,
        origin: &Origin<'_>,
        formats: &Formats,
        line: &[u8],
        hits: &[Hit],
        settled: &Settled,
        scratch: &mut Scratch,
    ) -> Option<Finding> {
        let arena = Bump::new();
        let event = self.event(origin, formats, line, &arena)?;
        let outlined = self.outlined(origin, &event, hits, settled)?;
        let hits = self.rules.all_hits(&event, scratch, hits);
        let mut evidence = self.rules.evidence(&event, scratch, &hits);
        evidence.sort_by_key(|piece| std::cmp::Reverse(piece.score));
        let Counted { from_history, from_network, campaign, .. } = &settled.counted;
        let windows = settled.counted.overflowed.iter().map(|&index| &self.rules.windows[index].spec);
        let mut sum: Vec<String> = evidence.iter().map(|piece| format!("{} +{}", piece.rule_id, piece.score)).collect();
        sum.extend(windows.clone().map(|window| format!("{} +{}", window.id, window.score)));
        if *from_history > 0 {
            sum.push(format!("earlier findings +{from_history}"));
        }
        if *from_network > 0 {
            sum.push(format!("bans in its network +{from_network}"));
        }
        if settled.decided_by == DecidedBy::Cache {
            sum.push("the client is flagged".into());
        }
        evidence.extend(campaign.as_ref().map(|(count, first)| campaign_of(*count, first, self.reading.v6_prefix)));
        let rule_ids =
            evidence.iter().map(|piece| piece.rule_id.clone()).chain(windows.map(|window| window.id.as_str().into()));
        Some(Finding {
            rule_ids: rule_ids.collect(),
            verdict: triage::rules_alone(settled.counted.score, settled.decided_by, sum.join(", ")),
            evidence,
            ..outlined
        })
    }

    /// [`finding`](Self::finding) without what led to it.
    pub fn outline(
        &self,
        origin: &Origin<'_>,
        formats: &Formats,
        line: &[u8],
        hits: &[Hit],
        settled: &Settled,
    ) -> Option<Finding> {
        let arena = Bump::new();
        let event = self.event(origin, formats, line, &arena)?;
        self.outlined(origin, &event, hits, settled)
    }

    /// About what the strongest rule is that hit the line, or the strongest window that it overflowed.
    fn outlined(&self, origin: &Origin<'_>, event: &Event<'_>, hits: &[Hit], settled: &Settled) -> Option<Finding> {
        let Settled { counted, action, .. } = settled;
        let windows = counted.overflowed.iter().map(|&index| &self.rules.windows[index].spec);
        let strongest_window = windows.max_by_key(|window| window.score);
        let strongest_rule =
            hits.iter().map(|hit| &self.rules.rules[usize::from(hit.rule)].spec).max_by_key(|rule| rule.score);
        let category = match (strongest_rule, strongest_window) {
            (Some(rule), Some(window)) if window.score > rule.score => window.category,
            (Some(rule), _) => rule.category,
            (None, window) => window?.category,
        };
        Some(Finding { category, score: counted.score, action: *action, ..self.unjudged(origin, event) })
    }

    /// `line`, parsed.
    fn event<'a>(
        &'a self,
        origin: &Origin<'_>,
        formats: &Formats,
        line: &'a [u8],
        arena: &'a Bump,
    ) -> Option<Event<'a>> {
        let (line, extent) = self.reading.extent(line, origin.tail_cut);
        formats.parse(line, &self.reading.context(extent, origin.read_at, arena)).ok()
    }

    /// A line that rules hit and that is no finding, with all that is known of it.
    pub fn analysed(
        &self,
        origin: &Origin<'_>,
        formats: &Formats,
        line: &[u8],
        (record, hits): (&Record, &[Hit]),
        scratch: &mut Scratch,
    ) -> Option<Finding> {
        let settled = Settled {
            counted: Counted { score: record.score, ..Counted::default() },
            action: Action::None,
            decided_by: DecidedBy::Rules,
            ban_secs: None,
            in_doubt: false,
            network: None,
        };
        let mut finding = self.finding(origin, formats, line, hits, &settled, scratch)?;
        finding.verdict.class = VerdictClass::Uncertain;
        Some(Finding { flagged: false, ..finding })
    }

    /// A request that no rule minds, as a finding of score 0, for models to look at all the same.
    pub fn sample(&self, origin: &Origin<'_>, formats: &Formats, line: &[u8]) -> Option<Finding> {
        let arena = Bump::new();
        let event = self.event(origin, formats, line, &arena)?;
        event.http().is_some().then(|| self.unjudged(origin, &event))
    }

    /// What a finding says of its event, before anybody has judged it.
    fn unjudged(&self, origin: &Origin<'_>, event: &Event<'_>) -> Finding {
        let http = event.http().copied().unwrap_or_default();
        Finding {
            file: origin.file.clone(),
            generation: origin.generation,
            offset: origin.offset,
            line_number: origin.line_number,
            time: event.time.unwrap_or(Timestamp(i64::from(self.time_secs) * 1000)),
            source_ip: event.source_ip,
            client: actionable(event).map(|address| ClientKey::of(address, self.reading.v6_prefix)),
            via_proxy: event.via_proxy,
            method: kept(http.method),
            uri: kept(event.kind.message().map_or(http.uri, |message| message.text)),
            status: http.status.unwrap_or(0),
            user_agent: kept(http.user_agent),
            referer: kept(http.referer),
            category: Category::Other,
            rule_ids: vec![],
            score: 0,
            action: Action::None,
            verdict: triage::rules_alone(0, DecidedBy::Rules, String::new()),
            evidence: vec![],
            flagged: true,
            is_system_url: self.rules.is_system_url(event),
        }
    }
}

/// A line that was looked at, and how it is read.
pub struct Text<'a> {
    pub formats: &'a Formats,
    pub line: &'a [u8],
    pub tail_cut: u64,
    /// As in [`Lines`].
    pub read_at: Timestamp,
}

/// What counting asks of few lines; nothing of one that cannot be parsed, which [`look`] has ruled out.
#[cold]
fn detail(rules: &Ruleset, reading: &Reading, text: &Text<'_>) -> Detail {
    let (line, extent) = reading.extent(text.line, text.tail_cut);
    let arena = Bump::new();
    let context = reading.context(extent, text.read_at, &arena);
    text.formats.parse(line, &context).map_or_else(|_| Detail::default(), |event| rules.detail(&event))
}

/// Evidence that many clients send the same, naming the first of them.
fn campaign_of(count: u32, first: &[u128], v6_prefix: u8) -> Evidence {
    let first: Vec<String> = first.iter().map(|&bits| ClientKey::from_bits(bits, v6_prefix).to_string()).collect();
    let matched = format!("{count} clients in an hour: {}", first.join(", "));
    Evidence { rule_id: "campaign".into(), target: "clients".into(), matched, score: 0 }
}

/// Where a line was read.
pub struct Origin<'a> {
    pub file: &'a Arc<str>,
    pub generation: u64,
    pub offset: u64,
    pub line_number: Option<u64>,
    pub tail_cut: u64,
    /// As in [`Lines`].
    pub read_at: Timestamp,
}

/// The client whom counters and bans may be about.
fn actionable(event: &Event<'_>) -> Option<IpAddr> {
    event.source_ip.filter(|_| !event.guessed)
}

/// The ban that a finding starts, for the gate.
pub fn proposal(finding: &Finding, settled: &Settled) -> Option<Proposal> {
    let mut proposal = proposal_of(finding, finding.client?, settled.ban_secs?, settled.counted.offences);
    proposal.ground.was_served = settled.counted.was_served;
    Some(proposal)
}

/// That the whole network of its client is banned, if a finding is the last straw.
pub fn network_proposal(finding: &Finding, settled: &Settled) -> Option<Proposal> {
    let target = settled.network?;
    let mut proposal = proposal_of(finding, finding.client?, settled.ban_secs?, 0);
    proposal.id = digest(&[b"network", target.to_string().as_bytes(), finding.id().as_bytes()]);
    proposal.ground.reason = format!("many clients of {target} were banned lately, none of it was served well");
    Some(Proposal { target, ..proposal })
}

/// That `client`, who was banned `offences` times before, is banned because of a finding.
pub fn proposal_of(finding: &Finding, client: ClientKey, duration_secs: u64, offences: u32) -> Proposal {
    Proposal {
        id: finding.decision_id(client),
        target: client.network(),
        proposer: Proposer::Rules,
        ground: Ground {
            finding_id: Some(finding.id()),
            category: Some(finding.category),
            score: finding.score,
            reason: finding.verdict.reasoning.clone(),
            via_proxy: finding.via_proxy,
            was_served: false,
        },
        at: finding.time,
        duration_secs,
        offences,
    }
}

/// How many bans at once are too many.
pub fn limits(config: &Config) -> Limits {
    Limits {
        per_min: config.respond.max_blocks_per_min,
        served_percent: config.respond.max_served_percent,
        network_percent: config.respond.max_network_percent,
    }
}

/// How long bans last.
pub fn durations(config: &Config) -> Durations {
    Durations { first_secs: config.respond.block_duration_secs, max_secs: config.respond.max_block_duration_secs }
}

/// What the gate would say of `target` knowing nothing of the host: for `scan` and `explain`.
pub fn standing_refusal(target: IpNet, client: &ClientConfig) -> Option<&'static str> {
    let surroundings = Surroundings {
        allow: client.allow.clone(),
        trusted_proxies: client.trusted_proxies.clone(),
        cdns: if client.cdn_files.is_empty() { decide::cdns().to_vec() } else { vec![] },
        block_private: client.block_private,
        ..Surroundings::default()
    };
    decide::gate::standing(target, &surroundings).err().map(|refusal| refusal.as_str())
}

fn kept(text: &[u8]) -> String {
    printable(text, KEPT_BYTES)
}
