//! What compression does to a log: its lines as the daemon understands them, its findings as evidence.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bumpalo::Bump;
use serde::Serialize;

use super::discover::ServerLogs;
use super::replay::{self, Blocks, Reading};
use crate::compress::{Compressed, Line, Options, Spans, compress};
use crate::config::Config;
use crate::detect::{Ruleset, Scratch};
use crate::event::analysis::Compression;
use crate::event::{Timestamp, masked};

/// A log, compressed.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub file: String,
    pub lines: u64,
    pub flagged: u64,
    /// Clients, users, paths and ports of flagged lines that are not in the text.
    pub lost: Vec<String>,
    pub stats: Compression,
}

/// A line, understood.
#[derive(Clone, Default)]
struct Known {
    range: std::ops::Range<usize>,
    time: Option<Timestamp>,
    source_ip: Option<std::net::IpAddr>,
    user: String,
    path: String,
    port: u16,
}

/// Compresses the log at `path`.
///
/// # Errors
/// It cannot be read.
pub fn measure(config: &Config, rules: &Arc<Ruleset>, path: &Path) -> anyhow::Result<Measured> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {file}"))?;
    let known = understood(config, path)?;
    let (mut flagged, mut hits) = (HashSet::new(), BTreeMap::<String, Spans>::new());
    let mut scratch = Scratch::default();
    let mut take = |found: &replay::Found<'_>| {
        if let Some(finding) = found.finding(&mut scratch)
            && let Some(number) = finding.line_number
        {
            flagged.insert(number);
            finding.rule_ids.iter().for_each(|rule| hits.entry(rule.to_string()).or_default().push(number));
        }
        Ok(())
    };
    replay::scan(config, rules, &[PathBuf::from(path)], "auto", &mut take, &mut |_| {}, None)?;
    let price = config.compress.usd_per_million_tokens;
    let options = Options {
        budget: config.compress.budget(),
        usd_per_million_tokens: (price > 0.0).then_some(price),
        tokens: config.compress.tokens(),
        rule_hits: hits.into_iter().collect(),
    };
    let lines = (1..).zip(&known).map(|(number, known)| Line {
        number,
        text: &bytes[known.range.clone()],
        time: known.time,
        source_ip: known.source_ip,
        user: known.user.as_bytes(),
    });
    let Compressed { text, stats, .. } = compress(lines, &|number| flagged.contains(&number), &options);
    let mut lost = BTreeSet::new();
    for (number, line) in (1..).zip(&known).filter(|(number, _)| flagged.contains(number)) {
        let address = line.source_ip.map(|address| address.to_string()).unwrap_or_default();
        let port = if line.port > 0 { line.port.to_string() } else { String::new() };
        let path = masked(&line.path, line.user.as_bytes()).into_owned();
        let values = [address, line.user.clone(), path, port];
        lost.extend(values.into_iter().filter(|value| !text.contains(value)).map(|value| format!("L{number} {value}")));
    }
    let (lines, flagged) = (known.len() as u64, flagged.len() as u64);
    Ok(Measured { file, lines, flagged, lost: lost.into_iter().collect(), stats })
}

fn understood(config: &Config, path: &Path) -> anyhow::Result<Vec<Known>> {
    let reading = Reading::of(config);
    let (servers, read_at) = (ServerLogs::read(&config.server_configs), replay::written_last(path));
    let mut blocks = Blocks::new(replay::open(path)?, reading.max_line_bytes);
    let (mut block, mut formats, mut arena, mut known) = (vec![], None, Bump::new(), vec![]);
    while let Some(mark) = blocks.next(&mut block)? {
        let formats = match &mut formats {
            Some(formats) => formats,
            None => {
                formats.insert(replay::formats("auto", &servers, &path.to_string_lossy(), &block, &reading, read_at)?)
            }
        };
        let mut offset = mark.offset as usize;
        for whole in block.split_inclusive(|&byte| byte == b'\n') {
            for (line, extent) in replay::lines(whole, &reading, mark.tail_cut) {
                arena.reset();
                let context = reading.context(extent, read_at, &arena);
                let mut row = Known { range: offset..offset + line.len(), ..Known::default() };
                if let Ok(event) = formats.parse(line, &context) {
                    (row.time, row.source_ip) = (event.time, event.source_ip);
                    let user =
                        event.http().map_or(event.kind.message().map_or(&b""[..], |said| said.user), |http| http.user);
                    row.user = String::from_utf8_lossy(user).into_owned();
                    row.path =
                        event.http().map(|http| String::from_utf8_lossy(http.path()).into_owned()).unwrap_or_default();
                    if let crate::event::Kind::Connection(connection) = &event.kind {
                        row.port = connection.destination_port;
                    }
                }
                known.push(row);
            }
            offset += whole.len();
        }
    }
    Ok(known)
}
