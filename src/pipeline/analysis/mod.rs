//! An input on demand: lines through the daemon's own road, what rules say of them to `investigate`, and an
//! analysis out of it. Nothing is acted on, and of the text nothing is kept.

mod input;
mod kept;
mod serve;
mod services;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use bumpalo::Bump;

use super::judge::{Judge, Origin, Reading, Text as Line, observe};
use super::replay;
use crate::compress::{self, Compressed};
use crate::config::Config;
use crate::detect::{Hit, Ruleset, Scratch};
use crate::event::analysis::{Address, Analysis, Counted, Input, Narrative, Threat};
use crate::event::{Category, Timestamp, digest, printable};
use crate::investigate::{Baseline, Findings, Investigation, Seen, is_public};
use crate::parse::{Formats, NAME_OF_TEXT, is_blank, trim_line};
use crate::report;
use crate::triage::Geoip;

pub use crate::investigate::{Sensitivity, samples};
pub use crate::report::{Format, export};
pub use crate::triage::TierConfig;
pub use input::Source;
pub use kept::{keep, kept, list};
pub use serve::serve;
pub use services::{LookedUp, look_up, tell, tier};

/// Lines that formats are learned from at once, and of each block how many are looked at.
const BLOCK_LINES: usize = 1024;
const LEARNED_OF: usize = 32;
/// Formats of one input.
const MAX_FORMATS: usize = 16;
/// Lines between two words on how far it is.
const STEP: u64 = 2000;

/// How an input is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// None: as configured.
    pub sensitivity: Option<Sensitivity>,
    /// A name of a format, or `auto`.
    pub format: String,
    /// None: as configured.
    pub baseline: Option<PathBuf>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    pub lines: u64,
    pub lines_in_all: u64,
}

/// Opens files for [`analyze`]; `-` is standard input.
///
/// # Errors
/// One of them cannot be opened.
pub fn sources(files: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let open = |path: &PathBuf| {
        let (name, read_at) = (path.display().to_string(), replay::written_last(path));
        Ok(Source { name, reader: replay::open(path)?, read_at })
    };
    files.iter().map(open).collect()
}

/// Looks at `sources` as one input, by the time of their lines; in numbers lines count on from one to the next, in
/// the order given. What is given twice, packed or not, counts once.
///
/// # Errors
/// Something cannot be read, is too large, or has no lines.
pub fn analyze(
    config: &Config,
    rules: &Arc<Ruleset>,
    sources: Vec<Source>,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<Analysis> {
    let started = Instant::now();
    let baseline = baseline(config, options)?;
    let sensitivity = options.sensitivity.unwrap_or(config.analyze.sensitivity);
    let mut investigation = Investigation::new(sensitivity, baseline)?;
    let mut looked = look(config, rules, sources, options, &mut investigation, progress)?;
    let Findings { threats, risk, compliance, deviations, first_time, last_time, lines_of } = investigation.finish();
    let time = Timestamp::now();
    let compression = looked.compressed(config, &threats).stats;
    let mut input = std::mem::take(&mut looked.input);
    let id =
        digest(&[b"analysis", &time.0.to_le_bytes(), input.names.join("\n").as_bytes(), &input.bytes.to_le_bytes()]);
    input.first_time = first_time;
    input.last_time = last_time;
    input.took_ms = started.elapsed().as_millis() as u64;
    let mut analysis = Analysis {
        version: 1,
        id,
        time,
        input,
        threat_level: threats.iter().map(|threat| threat.severity).max(),
        risk,
        addresses: addresses(config, &threats, &lines_of)?,
        threats,
        compliance,
        deviations,
        compression: Some(compression),
        narrative: Narrative::default(),
    };
    analysis.narrative = report::narrative(&analysis);
    Ok(analysis)
}

/// Learns what is usual from `sources`, in which nothing is wrong.
///
/// # Errors
/// As [`analyze`]; they hold threats, or too few lines.
pub fn learn(
    config: &Config,
    rules: &Arc<Ruleset>,
    sources: Vec<Source>,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<Baseline> {
    let sensitivity = options.sensitivity.unwrap_or(config.analyze.sensitivity);
    let mut investigation = Investigation::new(sensitivity, None)?;
    look(config, rules, sources, options, &mut investigation, progress)?;
    let baseline = Baseline::learn(investigation.learned())?;
    let threats = investigation.finish().threats;
    if let Some(worst) = threats.first() {
        bail!(
            "these logs are not clean: {} threats, the worst is line {}: {} Learn from days on which nothing happened.",
            threats.len(),
            worst.lines.first().copied().unwrap_or_default(),
            worst.description
        );
    }
    Ok(baseline)
}

/// Where the baseline is: as told, as configured, else in the state directory.
pub fn baseline_path(config: &Config, told: Option<&Path>) -> PathBuf {
    let configured = Some(&config.analyze.baseline).filter(|path| !path.as_os_str().is_empty());
    told.or(configured.map(PathBuf::as_path)).map_or_else(|| config.state_dir.join("baseline.json"), Path::to_owned)
}

/// The baseline to compare with, if there is one.
fn baseline(config: &Config, options: &Options) -> anyhow::Result<Option<Baseline>> {
    let path = baseline_path(config, options.baseline.as_deref());
    let is_wanted = options.baseline.is_some() || !config.analyze.baseline.as_os_str().is_empty();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_wanted => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read the baseline {}", path.display())),
    };
    let again =
        || format!("{} is no baseline of this version; learn it again with `palisade analyze --learn`", path.display());
    let baseline: Baseline = serde_json::from_slice(&text).with_context(again)?;
    if !baseline.is_known() {
        bail!("{}", again());
    }
    Ok(Some(baseline))
}

/// What was read, for whoever goes over it once more.
struct Looked {
    input: Input,
    texts: Vec<input::Text>,
    /// One for each line of all texts.
    known: Vec<Known>,
    flagged: HashSet<u64>,
    rule_hits: BTreeMap<String, Vec<u64>>,
}

/// What a line told of itself.
#[derive(Default)]
struct Known {
    number: u64,
    time: Option<Timestamp>,
    source_ip: Option<IpAddr>,
    user: Box<[u8]>,
}

impl Looked {
    /// The lines in few tokens: those that rules flagged or threats cite are evidence.
    fn compressed(&mut self, config: &Config, threats: &[Threat]) -> Compressed {
        let mut evidence = std::mem::take(&mut self.flagged);
        evidence.extend(threats.iter().flat_map(|threat| &threat.lines));
        let lines = self.texts.iter().flat_map(|text| text.numbered()).map(|(_, line)| trim_line(line));
        let lines: Vec<(&[u8], &Known)> = lines.zip(&self.known).filter(|(line, _)| !is_blank(line)).collect();
        let lines = lines.iter().map(|(text, known)| {
            let Known { number, time, source_ip, ref user } = **known;
            compress::Line { number, text, time, source_ip, user }
        });
        let rule_hits = std::mem::take(&mut self.rule_hits).into_iter();
        let settings = &config.compress;
        let options = compress::Options {
            budget: settings.budget(),
            usd_per_million_tokens: Some(settings.usd_per_million_tokens).filter(|price| *price > 0.0),
            tokens: settings.tokens(),
            rule_hits: rule_hits.map(|(rule, lines)| (rule, lines.into_iter().collect())).collect(),
        };
        let compressed = compress::compress(lines, &|number| evidence.contains(&number), &options);
        services::shortened(settings, compressed, &options)
    }
}

/// Takes every line of `sources` to `investigation`.
fn look(
    config: &Config,
    rules: &Arc<Ruleset>,
    sources: Vec<Source>,
    options: &Options,
    investigation: &mut Investigation,
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<Looked> {
    let mut input = Input::default();
    let mut texts = vec![];
    for source in sources {
        let read_at = source.read_at;
        let text = input::read(source, config.analyze.max_bytes.saturating_sub(input.bytes))?;
        if let Some((same, _)) = texts.iter().find(|(other, _): &&(input::Text, _)| other.bytes == text.bytes) {
            tracing::warn!("{} is the same as {}: it is read once", text.name, same.name);
            continue;
        }
        input.bytes += text.bytes.len() as u64;
        input.names.push(printable(text.name.as_bytes(), 500));
        texts.push((text, read_at));
    }
    let lines_in_all = texts.iter().map(|(text, _)| text.lines).sum();
    let mut road = Road {
        judge: Judge::new(config, rules.clone()),
        reading: Reading::of(config),
        scratch: Scratch::new(),
        arena: Bump::new(),
        by_format: HashMap::new(),
        understood: 0,
        known: Vec::new(),
        flagged: HashSet::new(),
        rule_hits: BTreeMap::new(),
    };
    let fixed = match options.format.as_str() {
        "" | "auto" => None,
        name => Some(Formats::named(name).map_err(anyhow::Error::msg)?),
    };
    let mut ways = vec![];
    for (text, read_at) in &texts {
        ways.push(Way::new(text, input.lines, *read_at, fixed.clone()));
        input.lines += text.lines;
    }
    let mut done = 0u64;
    while let Some(at) = earliest(&mut ways, &mut road) {
        ways[at].step(&mut road, investigation);
        done += 1;
        if done.is_multiple_of(STEP) {
            progress(Progress { lines: done, lines_in_all });
        }
    }
    // As the text has them.
    road.known.sort_by_key(|known| known.number);
    road.rule_hits.values_mut().for_each(|lines| lines.sort_unstable());
    progress(Progress { lines: lines_in_all, lines_in_all });
    if road.understood == 0 {
        bail!("{} holds no lines", input.names.join(", "));
    }
    input.unparsed = road.by_format.remove(NAME_OF_TEXT).unwrap_or(0);
    input.formats = road
        .by_format
        .into_iter()
        .map(|(name, count)| Counted { name: printable(name.as_bytes(), 200), count })
        .collect();
    input.formats.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    let texts = texts.into_iter().map(|(text, _)| text).collect();
    Ok(Looked { input, texts, known: road.known, flagged: road.flagged, rule_hits: road.rule_hits })
}

/// One source on its way. Several go by the time of their lines; a line without one goes with the line before it.
struct Way<'a> {
    file: Arc<str>,
    read_at: Timestamp,
    lines: Vec<(u64, &'a [u8])>,
    next: usize,
    /// The line for which the formats and the time below are.
    ready_for: Option<usize>,
    is_learning: bool,
    formats: Formats,
    /// With plain text for what fits none; of the current block.
    all: Formats,
    /// Of the next line, where several sources are read.
    time: Option<Timestamp>,
}

/// The way whose next line was written first; of equals the one that was named first.
fn earliest(ways: &mut [Way<'_>], road: &mut Road) -> Option<usize> {
    let several = ways.iter().filter(|way| way.next < way.lines.len()).count() > 1;
    ways.iter_mut().filter(|way| way.next < way.lines.len()).for_each(|way| way.get_ready(road, several));
    let open = ways.iter().enumerate().filter(|(_, way)| way.next < way.lines.len());
    open.min_by_key(|(at, way)| (way.time, *at)).map(|(at, _)| at)
}

impl<'a> Way<'a> {
    /// Over `text`, before whose lines there are `before` others.
    fn new(text: &'a input::Text, before: u64, read_at: Timestamp, fixed: Option<Formats>) -> Way<'a> {
        let lines = text.numbered().map(|(number, line)| (before + number, trim_line(line))).collect();
        let (is_learning, formats) = (fixed.is_none(), fixed.unwrap_or_default());
        let file = text.name.as_str().into();
        Way { file, read_at, lines, next: 0, ready_for: None, is_learning, all: formats.clone(), formats, time: None }
    }

    /// Learns what the block is written in that begins here, and when the next line was written, if `by_time`.
    fn get_ready(&mut self, road: &mut Road, by_time: bool) {
        if self.ready_for.replace(self.next) == Some(self.next) {
            return;
        }
        if self.next.is_multiple_of(BLOCK_LINES) {
            if self.is_learning && self.formats.names().len() < MAX_FORMATS {
                let block = &self.lines[self.next..self.lines.len().min(self.next + BLOCK_LINES)];
                self.formats = road.learned(std::mem::take(&mut self.formats), &self.file, block, self.read_at);
            }
            self.all = self.formats.clone().or_text();
        }
        if by_time {
            self.time = road.time(&self.all, self.lines[self.next].1, self.read_at).or(self.time);
        }
    }

    fn step(&mut self, road: &mut Road, investigation: &mut Investigation) {
        let (number, line) = self.lines[self.next];
        self.next += 1;
        road.take(&self.all, &self.file, number, line, self.read_at, investigation);
    }
}

/// What lines pass through.
struct Road {
    judge: Judge,
    reading: Reading,
    scratch: Scratch,
    arena: Bump,
    by_format: HashMap<String, u64>,
    understood: u64,
    known: Vec<Known>,
    flagged: HashSet<u64>,
    rule_hits: BTreeMap<String, Vec<u64>>,
}

impl Road {
    /// `formats`, and those that lines of this block are written in. The first ones teach, then those that none
    /// of the formats understands.
    fn learned(&self, formats: Formats, file: &str, block: &[(u64, &[u8])], read_at: Timestamp) -> Formats {
        let arena = Bump::new();
        let context = self.reading.context(crate::parse::Extent::Whole, read_at, &arena);
        let filled = || block.iter().map(|(_, line)| *line).filter(|line| !is_blank(line));
        let learn = |formats: Formats, lines: &mut dyn Iterator<Item = &[u8]>| {
            let lines: Vec<&[u8]> = lines.take(LEARNED_OF).collect();
            // Formats that one line alone seems to be in may be chance; text is what it is at least.
            formats.joined(Formats::learn(file, lines.into_iter(), &context))
        };
        let mut formats = formats;
        if let Some(newer) = filled()
            .next()
            .and_then(|line| formats.header(line))
            .or_else(|| block.iter().find_map(|(_, line)| formats.header(line)))
        {
            formats = newer.joined(formats);
        }
        let step = (block.len() / LEARNED_OF).max(1);
        let mut spread = filled().step_by(step);
        formats = learn(formats, &mut filled().take(LEARNED_OF / 2).chain(&mut spread));
        let known = formats.clone();
        learn(formats, &mut filled().filter(|line| known.understand(line, &context).is_err()))
    }

    /// When `line` was written.
    fn time(&mut self, formats: &Formats, line: &[u8], read_at: Timestamp) -> Option<Timestamp> {
        self.arena.reset();
        let (head, extent) = self.reading.extent(line, 0);
        formats.understand(head, &self.reading.context(extent, read_at, &self.arena)).ok()?.0.time
    }

    fn take(
        &mut self,
        formats: &Formats,
        file: &Arc<str>,
        number: u64,
        line: &[u8],
        read_at: Timestamp,
        investigation: &mut Investigation,
    ) {
        self.known.push(Known { number, ..Known::default() });
        if is_blank(line) {
            return;
        }
        let Road { judge, reading, scratch, arena, by_format, understood, known, flagged, rule_hits } = self;
        arena.reset();
        let (head, extent) = reading.extent(line, 0);
        let context = reading.context(extent, read_at, arena);
        let Ok((event, name)) = formats.understand(head, &context) else { return };
        *understood += 1;
        if let Some(known) = known.last_mut() {
            let user = event.http().map_or(event.kind.message().map_or(&b""[..], |said| said.user), |http| http.user);
            *known = Known { number, time: event.time, source_ip: event.source_ip, user: user.into() };
        }
        match by_format.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                by_format.insert(name.to_owned(), 1);
            }
        }
        let mut hits = vec![];
        let record = observe(&judge.rules, reading.v6_prefix, scratch, &event, &mut hits);
        let settled = judge.settle(&record, &hits, || Line { formats, line: head, tail_cut: 0, read_at });
        let origin = Origin { file, generation: 0, offset: number, line_number: Some(number), tail_cut: 0, read_at };
        let shared = settled.as_ref().is_some_and(|settled| {
            let windows = &settled.counted.overflowed;
            let of_many = |index: &usize| !judge.rules.windows[*index].spec.group_by.is_of_one_client();
            hits.is_empty() && !windows.is_empty() && windows.iter().all(of_many)
        });
        let mut finding = settled.and_then(|settled| judge.finding(&origin, formats, head, &hits, &settled, scratch));
        if let Some(finding) = finding.as_mut().filter(|finding| finding.category == Category::Scanner) {
            finding.category = done_with(&judge.rules, &hits).unwrap_or(Category::Scanner);
        }
        if let Some(finding) = &finding {
            flagged.insert(number);
            finding.rule_ids.iter().for_each(|rule| rule_hits.entry(rule.to_string()).or_default().push(number));
        }
        investigation.see(&Seen { line: number, text: head, event, finding: finding.as_ref(), shared });
    }
}

/// What was done with a tool that names itself.
fn done_with(rules: &Ruleset, hits: &[Hit]) -> Option<Category> {
    let specs = hits.iter().map(|hit| &rules.rules[usize::from(hit.rule)].spec);
    specs.filter(|spec| spec.category != Category::Scanner).max_by_key(|spec| spec.score).map(|spec| spec.category)
}

/// The public addresses of threats, and where they are.
fn addresses(config: &Config, threats: &[Threat], lines_of: &HashMap<IpAddr, u64>) -> anyhow::Result<Vec<Address>> {
    let mut ids: BTreeMap<IpAddr, Vec<String>> = Default::default();
    for threat in threats {
        for address in threat.addresses.iter().filter(|address| is_public(**address)) {
            ids.entry(*address).or_default().push(threat.id.clone());
        }
    }
    let geoip = Geoip::open(&config.reputation.geoip_files)?;
    let mut all: Vec<Address> = ids
        .into_iter()
        .map(|(address, threats)| {
            let place = geoip.look_up(address).unwrap_or_default();
            Address {
                address,
                lines: lines_of.get(&address).copied().unwrap_or(0),
                threats,
                country: place.country,
                network: place.network.map(|network| network.to_string()),
                asn: place.asn,
                reputation: None,
            }
        })
        .collect();
    all.sort_by(|a, b| (b.threats.len(), b.lines).cmp(&(a.threats.len(), a.lines)).then(a.address.cmp(&b.address)));
    Ok(all)
}
