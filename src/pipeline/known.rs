//! What is known of one followed file: which formats it is written in, and how much of it was
//! understood.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bumpalo::Bump;

use super::discover::ServerLogs;
use super::judge::{Batch, Reading};
use crate::config::Config;
use crate::event::{Timestamp, printable};
use crate::parse::{Extent, Formats, trim_line};
use crate::tail::{Chunk, LineTime, SourceConfig};

/// How much of a file's head its formats are learned from, in bytes.
const HEAD_BYTES: u64 = 64 * 1024;
/// Lines after which a file's formats are learned again, if half of them were not understood.
const RELEARN_LINES: u64 = 64;
/// The share of lines, in percent, below which a file is a problem, and the lines before it is.
const UNDERSTOOD_PERCENT: u64 = 95;
const JUDGED_LINES: u64 = 20;
/// Lines kept as samples of what was not understood.
const SAMPLES: usize = 3;

/// What is known of one file.
#[derive(Default)]
pub struct Known {
    pub formats: Formats,
    pub lines: u64,
    pub parsed: u64,
    pub unparsed: u64,
    pub overlong: u64,
    guessed: u64,
    pub samples: Vec<String>,
    /// What the configuration says of its format has been asked in this run.
    asked: bool,
    /// Lines since its formats were last looked at, and those of them that were not understood.
    recent: (u64, u64),
    /// Bytes that came in this run.
    bytes: u64,
    /// It was said that too much of it is not understood.
    said: bool,
}

impl Known {
    /// A file whose formats were learned in an earlier run.
    pub fn written_in(formats: Formats) -> Known {
        Known { formats, ..Known::default() }
    }

    /// Takes the formats that `source` names, or learns them: of a new file, and again when half of
    /// its lines are not understood, because the server's configuration changed. Whether they are others.
    pub fn settle_formats(
        &mut self,
        source: &SourceConfig,
        servers: &mut ServerLogs,
        chunk: &Chunk<'_>,
        reading: &Reading,
        read_at: Timestamp,
    ) -> bool {
        if !self.asked {
            self.asked = true;
            if let Ok(named) = Formats::named(&source.format) {
                let changed = named.names() != self.formats.names();
                self.formats = named;
                return changed;
            }
        }
        if self.formats.is_empty() && source.stream().is_some() {
            self.formats = learn_lines(&Formats::default(), chunk.path, chunk.bytes, reading, read_at);
            return !self.formats.is_empty();
        }
        if self.formats.is_empty() {
            self.formats = learn(servers, chunk.path, chunk.bytes, reading, read_at);
            return !self.formats.is_empty();
        }
        let (lines, unparsed) = self.recent;
        if lines < RELEARN_LINES {
            return false;
        }
        self.recent = (0, 0);
        // Where many programs speak, what is not understood says nothing of the others.
        if source.stream().is_some() && self.formats.names().iter().any(|name| program(name).is_some()) {
            return false;
        }
        if unparsed * 2 < lines || Formats::named(&source.format).is_ok() {
            return false;
        }
        let learned = learn_lines(&servers.formats_now(chunk.path), chunk.path, chunk.bytes, reading, read_at);
        let changed = !learned.is_empty() && learned.names() != self.formats.names();
        if changed {
            let (before, after) = (self.formats.names().join(", "), learned.names().join(", "));
            tracing::warn!(file = %chunk.path.display(), %before, %after, "the log's format changed");
            self.formats = learned;
        }
        changed
    }

    /// Learns of a stream, after `batch` was made of `chunk`, what its first lines did not show: a file's
    /// head can be read from the disk, a stream's comes piece by piece, and many programs speak in one.
    /// Later on only programs are learned that were not heard before. Whether something was.
    pub fn hear(
        &mut self,
        source: &SourceConfig,
        chunk: &Chunk<'_>,
        batch: &Batch,
        reading: &Reading,
        read_at: Timestamp,
    ) -> bool {
        if Formats::named(&source.format).is_ok() {
            return false;
        }
        let lines = batch.samples.iter().map(|&(start, len)| &chunk.bytes[start as usize..(start + len) as usize]);
        let arena = Bump::new();
        let context = reading.context(Extent::Whole, read_at, &arena);
        let learned = Formats::learn(&chunk.path.to_string_lossy(), lines.map(trim_line), &context).names();
        let mut names = self.formats.names();
        let before = names.len();
        for name in learned {
            let is_new = program(&name).is_some_and(|new| !names.iter().any(|known| program(known) == Some(new)));
            if !names.contains(&name) && (is_new || self.bytes <= HEAD_BYTES) {
                names.push(name);
            }
        }
        if names.len() > before {
            self.formats = Formats::of_names(&names);
        }
        names.len() > before
    }

    /// Counts what was found in `bytes`.
    pub fn count(&mut self, batch: &Batch, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.lines += batch.lines;
        self.parsed += batch.parsed;
        self.unparsed += batch.unparsed;
        self.overlong += batch.overlong;
        self.guessed += batch.guessed;
        self.recent.0 += batch.parsed + batch.unparsed;
        self.recent.1 += batch.unparsed;
        for &(start, len) in &batch.samples {
            if self.samples.len() < SAMPLES {
                let (start, len) = (start as usize, len as usize);
                self.samples.push(printable(&bytes[start..start + len], 200));
            }
        }
    }

    /// The sentence for people, if too much of the file at `path` is not understood.
    pub fn problem(&mut self, path: &Path) -> Option<String> {
        let told = self.parsed + self.unparsed;
        if told < JUDGED_LINES {
            return None;
        }
        let (file, way_out) = (path.display(), "set the source's format (`palisade config formats`)");
        let problem = if self.parsed * 100 < told * UNDERSTOOD_PERCENT {
            format!("{file}: {} of {told} lines are not understood; {way_out}", self.unparsed)
        } else if self.guessed * 2 > told {
            format!(
                "{file}: the clients of {} of {told} lines are guesses, so nobody is blocked by them; {way_out}",
                self.guessed
            )
        } else {
            return None;
        };
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!("{problem}");
        }
        Some(problem)
    }
}

/// How the tailer reads the time of a line: by the formats of its file.
pub fn line_time(config: &Config, sources: Vec<SourceConfig>) -> LineTime {
    let reading = Reading::of(config);
    let configs = config.server_configs.clone();
    // Only `start = "-1h"` asks: until then no server's configuration is read for it.
    let known = RefCell::new((HashMap::<PathBuf, Formats>::new(), None));
    Box::new(move |source, path, line| {
        let (files, servers) = &mut *known.borrow_mut();
        let read_at = Timestamp::now();
        let formats = files.entry(path.to_owned()).or_insert_with(|| {
            Formats::named(&sources[source].format).unwrap_or_else(|_| {
                learn(servers.get_or_insert_with(|| ServerLogs::read(&configs)), path, line, &reading, read_at)
            })
        });
        let arena = Bump::new();
        formats.parse(trim_line(line), &reading.context(Extent::Whole, read_at, &arena)).ok()?.time
    })
}

/// For whose lines the format called `name` is: `syslog[sshd` in `syslog[sshd]+NAME`.
fn program(name: &str) -> Option<&str> {
    name.split_once("]+").map(|(program, _)| program)
}

/// The formats that a file is written in: those of the server's own configuration, else those of
/// its first lines (what is new in it may be an attacker's), else those of `chunk`.
fn learn(servers: &mut ServerLogs, path: &Path, chunk: &[u8], reading: &Reading, read_at: Timestamp) -> Formats {
    let mut head = Vec::new();
    // A file that is gone by now has its chunk to learn from.
    let _ = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    let known = servers.formats_now(path);
    let formats = learn_lines(&known, path, &head, reading, read_at);
    if formats.is_empty() { learn_lines(&known, path, chunk, reading, read_at) } else { formats }
}

/// The formats of the first lines of `bytes`, of a file that is said to be in `known` ones.
fn learn_lines(known: &Formats, path: &Path, bytes: &[u8], reading: &Reading, read_at: Timestamp) -> Formats {
    let lines = bytes.split(|&byte| byte == b'\n').map(trim_line).filter(|line| !line.is_empty());
    let arena = Bump::new();
    known.or_learn(&path.to_string_lossy(), lines, &reading.context(Extent::Whole, read_at, &arena))
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Lines, look};
    use super::*;
    use crate::detect::{Ruleset, Scratch};
    use crate::tail::Start;

    const COMBINED: &str = "203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n";
    const JSON: &str = "{\"remote_addr\":\"203.0.113.7\",\"method\":\"GET\",\"uri\":\"/\",\"status\":200}\n";

    fn chunk<'a>(path: &'a str, lines: &'a str) -> Chunk<'a> {
        let (path, bytes) = (Path::new(path), lines.as_bytes());
        Chunk { path, source: 0, generation: 1, offset: 0, bytes, tail_cut: 0, mark: None }
    }

    /// Has `known` take a chunk of `lines`, as the reader does, and says its formats.
    fn take(known: &mut Known, format: &str, lines: &str, unparsed: u64) -> Vec<String> {
        let source = SourceConfig { format: format.into(), ..SourceConfig::new("access.log", Start::End) };
        let chunk = chunk("/nowhere/access.log", lines);
        known.settle_formats(
            &source,
            &mut ServerLogs::read(&[]),
            &chunk,
            &Reading::of(&Config::default()),
            Timestamp::default(),
        );
        let all = lines.lines().count() as u64;
        let mut batch = Batch::default();
        (batch.lines, batch.parsed, batch.unparsed) = (all, all - unparsed, unparsed);
        known.count(&batch, lines.as_bytes());
        known.formats.names()
    }

    #[test]
    fn formats_are_learned_again_when_half_the_lines_are_not_understood() {
        let mut known = Known::default();
        assert_eq!(take(&mut known, "auto", &COMBINED.repeat(100), 0), ["nginx_combined"]);
        assert_eq!(take(&mut known, "auto", &JSON.repeat(40), 40), ["nginx_combined"], "40 of 140");
        assert_eq!(
            take(&mut known, "auto", &JSON.repeat(70), 70),
            ["nginx_combined"],
            "not looked at before it was read"
        );
        assert_eq!(take(&mut known, "auto", &JSON.repeat(70), 0), ["json_access"]);
    }

    /// Has `known` take a chunk of a stream, as the reader does, and says its formats.
    fn hear(known: &mut Known, lines: &str) -> Vec<String> {
        let source = SourceConfig::new("udp://127.0.0.1:514", Start::End);
        let chunk = chunk(&source.path, lines);
        let mut batch = Batch::default();
        let (reading, mut servers) = (Reading::of(&Config::default()), ServerLogs::read(&[]));
        known.settle_formats(&source, &mut servers, &chunk, &reading, Timestamp::default());
        let rules = Ruleset::new(&[], &[]).unwrap();
        let lines = Lines { bytes: chunk.bytes, tail_cut: 0, read_at: Timestamp::default() };
        look(&rules, &known.formats, &reading, &mut Scratch::new(), lines, &mut batch);
        known.count(&batch, chunk.bytes);
        if batch.unparsed > 0 {
            known.hear(&source, &chunk, &batch, &reading, Timestamp::default());
        }
        known.formats.names()
    }

    #[test]
    fn a_stream_shows_its_formats_piece_by_piece_and_later_only_new_programs() {
        let said = |program: &str, text: &str| format!("<190>Jan  5 12:30:45 web {program}: {text}");
        let mut known = Known::default();
        assert_eq!(hear(&mut known, &said("nginx", COMBINED)), ["syslog[nginx]+nginx_combined"]);
        let both = ["syslog[nginx]+nginx_combined", "syslog[caddy]+json_access"];
        assert_eq!(hear(&mut known, &said("caddy", JSON)), both, "another program");
        let three = [both[0], both[1], "syslog[nginx]+json_access"];
        assert_eq!(hear(&mut known, &said("nginx", JSON)), three, "its head is not over");
        hear(&mut known, &said("nginx", COMBINED).repeat(600));
        assert_eq!(hear(&mut known, &said("caddy", COMBINED).repeat(200)), three, "a program that is known");
        let four = [three[0], three[1], three[2], "syslog[apache2]+nginx_combined"];
        let apache = hear(&mut known, &said("apache2", COMBINED));
        assert_eq!(apache, four, "a new one");
    }

    #[test]
    fn a_configured_format_holds_whatever_was_saved_and_comes() {
        let mut known = Known::written_in(Formats::named("json_access").unwrap());
        for _ in 0..3 {
            assert_eq!(take(&mut known, "apache_common", &JSON.repeat(70), 70), ["apache_common"]);
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_a_problem_and_blank_lines_are_none() {
        let mut known = Known::default();
        take(&mut known, "auto", &COMBINED.repeat(100), 5);
        assert_eq!(known.problem(Path::new("a.log")), None);
        take(&mut known, "auto", COMBINED, 1);
        let said = known.problem(Path::new("a.log")).unwrap();
        assert!(said.starts_with("a.log: 6 of 101 lines are not understood"), "{said}");
    }
}
