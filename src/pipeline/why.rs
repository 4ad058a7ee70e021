//! What would have kept a client from being blocked: each remedy is tried on the lines that the client
//! wrote until then.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use memchr::memmem;
use serde::Serialize;

use super::discover::ServerLogs;
use super::judge::{Batch, Judge, Lines, Reading, Text, look, standing_refusal};
use super::replay;
use crate::config::Config;
use crate::detect::{ExclusionConfig, Ruleset, Scratch};
use crate::event::{ClientKey, Timestamp};
use crate::parse::trim_line;

/// Bytes of a log before the decisive line that are read.
const MAX_READ: u64 = 64 << 20;
/// Lines of a client that are replayed; the last ones.
const MAX_LINES: usize = 20_000;

/// The line because of which a client was blocked.
pub struct Decisive<'a> {
    pub file: &'a Path,
    pub offset: u64,
    pub source_ip: IpAddr,
    /// As logged, without the query.
    pub path: &'a str,
    pub rule_ids: &'a [String],
    pub score: u8,
}

/// What a client wrote, replayed.
#[derive(Debug, Serialize)]
pub struct Replay {
    /// Lines of this client that were read again.
    pub lines: usize,
    /// They block the client today too: only then remedies can be tried.
    pub blocks: bool,
    pub remedies: Vec<Remedy>,
}

/// A change of the configuration.
#[derive(Debug, Serialize)]
pub struct Remedy {
    pub change: String,
    /// With it, the client would not have been blocked.
    pub helps: bool,
}

/// Tries remedies on the client's lines up to the decisive one.
///
/// # Errors
/// The log is gone or holds another line there by now; the rules cannot be loaded.
pub fn replay(config: &Config, decisive: &Decisive<'_>) -> anyhow::Result<Replay> {
    let (head, lines) = client_lines(decisive)?;
    let mut config = config.clone();
    config.tier.clear();
    let reading = Reading::of(&config);
    let name = decisive.file.display().to_string();
    let servers = ServerLogs::read(&config.server_configs);
    let formats = replay::formats("auto", &servers, &name, &head, &reading, Timestamp::now())?;
    let client = ClientKey::of(decisive.source_ip, config.client.v6_prefix);
    let blocks = |config: &Config| -> anyhow::Result<bool> {
        let rules = Arc::new(replay::load_rules(config)?);
        Ok(is_blocked(config, &rules, &formats, &lines, client))
    };
    let count = memchr::memchr_iter(b'\n', &lines).count();
    let mut replay = Replay { lines: count, blocks: blocks(&config)?, remedies: vec![] };
    if !replay.blocks {
        return Ok(replay);
    }
    let mut add = |change: String, helps: bool| replay.remedies.push(Remedy { change, helps });
    if !decisive.path.is_empty() && !decisive.rule_ids.is_empty() {
        let path = format!("^{}$", regex_syntax::escape(decisive.path));
        let written = format!("[[exclusion]] path = {path:?}, rules = {:?}", decisive.rule_ids);
        let exclusion =
            ExclusionConfig { path: Some(path), rules: decisive.rule_ids.to_vec(), ..ExclusionConfig::default() };
        let mut changed = config.clone();
        changed.exclusion.push(exclusion);
        add(written, !blocks(&changed)?);
    }
    if decisive.score < 10 {
        let mut changed = config.clone();
        changed.thresholds.block = decisive.score + 1;
        changed.thresholds.certain = changed.thresholds.certain.max(decisive.score + 1);
        add(format!("thresholds.block = {}", decisive.score + 1), !blocks(&changed)?);
    }
    let mut changed = config.client.clone();
    changed.allow.push(client.network());
    let refused = standing_refusal(client.network(), &changed).is_some();
    add(format!("client.allow = [\"{client}\"], or palisade allow add {client}"), refused);
    Ok(replay)
}

/// Whether these lines, as the first that are known of the client, end with a ban.
fn is_blocked(
    config: &Config,
    rules: &Arc<Ruleset>,
    formats: &crate::parse::Formats,
    lines: &[u8],
    client: ClientKey,
) -> bool {
    let reading = Reading::of(config);
    let mut judge = Judge::new(config, rules.clone());
    let mut batch = Batch::default();
    let read_at = Timestamp::now();
    look(rules, formats, &reading, &mut Scratch::new(), Lines { bytes: lines, tail_cut: 0, read_at }, &mut batch);
    let mut is_blocked = false;
    for record in &batch.records {
        let start = record.start as usize;
        let line = &lines[start..start + record.len as usize];
        let text = || Text { formats, line, tail_cut: 0, read_at };
        let settled = judge.settle(record, batch.hits_of(record), text);
        is_blocked |= settled.is_some_and(|settled| settled.ban_secs.is_some()) && record.client == client.bits();
    }
    is_blocked
}

/// The head of the log, from which its format is learned, and the client's lines in it up to the decisive
/// one.
fn client_lines(decisive: &Decisive<'_>) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let rotated = PathBuf::from(format!("{}.1", decisive.file.display()));
    let found = [decisive.file, &rotated].into_iter().find_map(|path| lines_in(path, decisive).ok().flatten());
    found.with_context(|| {
        format!("{} does not hold the line any more (rotated away, or not readable by you)", decisive.file.display())
    })
}

/// None when another line stands at the place.
fn lines_in(path: &Path, decisive: &Decisive<'_>) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut file = File::open(path)?;
    let mut head = vec![];
    (&mut file).take(64 * 1024).read_to_end(&mut head)?;
    let from = decisive.offset.saturating_sub(MAX_READ);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![];
    (&mut file).take(decisive.offset - from).read_to_end(&mut bytes)?;
    let mut rest = vec![];
    file.take(64 * 1024).read_to_end(&mut rest)?;
    let rest = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let client = decisive.source_ip.to_string();
    let finder = memmem::Finder::new(client.as_bytes());
    if finder.find(rest).is_none() || bytes.len() as u64 != decisive.offset - from {
        return Ok(None);
    }
    bytes.extend_from_slice(rest);
    let all = bytes.split(|byte| *byte == b'\n').map(trim_line).filter(|line| finder.find(line).is_some());
    let all: Vec<&[u8]> = all.collect();
    let last = &all[all.len().saturating_sub(MAX_LINES)..];
    let mut lines = last.join(&b'\n');
    lines.push(b'\n');
    Ok(Some((head, lines)))
}
