//! Reads the configurations of web servers that can be seen here, for the logs that they name.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::event::printable;
use crate::parse::Formats;
use crate::parse::server_config::{File, MAX_FILES, ServerConfig};

/// A longer file is maps or addresses.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// A configuration may have changed since it was read, but not so often that it matters.
const KEPT: Duration = Duration::from_secs(60);

/// The access logs that server configurations name.
pub struct ServerLogs {
    configs: Vec<PathBuf>,
    /// By path, symlinks resolved.
    logs: BTreeMap<PathBuf, ServerLog>,
    /// What is left out, and why.
    notes: Vec<Note>,
    told: HashSet<String>,
    read_at: Instant,
}

struct ServerLog {
    /// As it is named.
    path: PathBuf,
    formats: Vec<String>,
}

enum Note {
    LeftOut(String),
    /// Clients could forge its lines, or it lacks what is needed.
    Refused(String),
}

impl ServerLogs {
    /// Those of the main configuration files at `configs`, paths or globs. One that is not there
    /// names none.
    pub fn read(configs: &[PathBuf]) -> ServerLogs {
        let mut found = ServerLogs {
            configs: configs.to_vec(),
            logs: BTreeMap::new(),
            notes: vec![],
            told: HashSet::new(),
            read_at: Instant::now(),
        };
        found.read_again();
        found
    }

    fn read_again(&mut self) {
        self.logs.clear();
        self.notes.clear();
        self.read_at = Instant::now();
        for path in &self.configs {
            let config = ServerConfig::read(&path.to_string_lossy(), &mut files);
            self.notes.extend(config.left_out.into_iter().map(Note::LeftOut));
            for log in config.logs {
                match Formats::named(&log.format) {
                    Ok(_) => {
                        let path = PathBuf::from(log.path);
                        let known = self.logs.entry(resolved(&path)).or_insert(ServerLog { path, formats: vec![] });
                        if !known.formats.contains(&log.format) {
                            known.formats.push(log.format);
                        }
                    }
                    Err(why) => {
                        let [shown, why] = [log.format, why].map(|text| printable(text.as_bytes(), 300));
                        self.notes
                            .push(Note::Refused(format!("{}: the log format {shown} is refused: {why}", log.place)));
                    }
                }
            }
        }
    }

    /// Says what is left out, once.
    pub fn tell(&mut self) {
        for note in &self.notes {
            let (Note::LeftOut(text) | Note::Refused(text)) = note;
            if self.told.insert(text.clone()) {
                match note {
                    Note::LeftOut(_) => tracing::info!("{text}"),
                    Note::Refused(_) => {
                        tracing::warn!("{text}; formats of its logs are learned from their first lines")
                    }
                }
            }
        }
    }

    /// The logs whose format is known and that are there, each as it is named and without symlinks.
    pub fn present(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let paths = self.logs.iter().map(|(resolved, log)| (log.path.as_path(), resolved.as_path()));
        paths.filter(|(path, _)| path.is_file())
    }

    /// What the file at `path`, or the log that was renamed to it, is said to be written in, as the
    /// configurations are now.
    pub fn formats_now(&mut self, path: &Path) -> Formats {
        if self.read_at.elapsed() > KEPT {
            self.read_again();
            self.tell();
        }
        self.formats(path)
    }

    /// The same, as the configurations were when they were read.
    pub fn formats(&self, path: &Path) -> Formats {
        let path = resolved(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Rotation gives names such as access.log.1 and access.log-20260105.
        let cuts = name.rmatch_indices(['.', '-']).map(|(at, _)| &name[..at]);
        let mut names = std::iter::once(&*name).chain(cuts);
        let log = names.find_map(|name| self.logs.get(&path.with_file_name(name)));
        log.map_or_else(Formats::default, |log| Formats::of_names(&log.formats))
    }
}

/// `path` without symlinks, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    let directory = path.parent().and_then(|directory| fs::canonicalize(directory).ok());
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// The files that `pattern` names; of a directory, those in it.
fn files(pattern: &str) -> Vec<File> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let named = |pattern: &str| {
        let paths = glob::glob_with(pattern, options).into_iter().flatten().filter_map(Result::ok);
        paths.take(MAX_FILES).collect::<Vec<PathBuf>>()
    };
    let mut paths = named(pattern);
    if let [directory] = &*paths
        && directory.is_dir()
    {
        paths = named(&format!("{}/*", glob::Pattern::escape(&directory.to_string_lossy())));
    }
    // Anything but a file, such as a pipe, could keep us waiting.
    paths.retain(|path| path.is_file());
    paths.into_iter().map(|path| File { text: text(&path), path: path.to_string_lossy().into_owned() }).collect()
}

fn text(path: &Path) -> Result<String, String> {
    let mut bytes = vec![];
    let file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is longer than {} MiB", MAX_FILE_BYTES >> 20));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
