//! What is followed, and what the ends of the files say.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bumpalo::Bump;
use nix::unistd::{Gid, Group, Uid, User};

use crate::config::Config;
use crate::doctor::{Followed, Log, Refused, Tail};
use crate::event::{Timestamp, printable};
use crate::parse::{Formats, is_blank};
use crate::pipeline::discover::ServerLogs;
use crate::pipeline::judge::Reading;
use crate::pipeline::{live, replay};
use crate::tail::SourceConfig;

/// Bytes at a file's head, of which its formats are learned, and at its end.
const HEAD_BYTES: u64 = 64 * 1024;
const TAIL_BYTES: u64 = 256 * 1024;
/// Lines at the end that are looked at.
const LINES: usize = 1000;
/// Files of one source that are looked at.
const FILES: usize = 100;
/// Bytes of a line that is shown.
const SHOWN_BYTES: usize = 160;

/// Every source of the configuration, or those of a usual host.
pub fn follow(config: &Config) -> Vec<Followed> {
    let servers = ServerLogs::read(&config.server_configs);
    let reading = Reading::of(config);
    let follow = |source: &SourceConfig| {
        let is_stream = source.stream().is_some();
        Followed {
            pattern: source.path.clone(),
            is_usual: config.source.is_empty(),
            is_stream,
            files: if is_stream { vec![] } else { files(source, &servers, &reading) },
        }
    };
    live::sources(config, &servers).iter().map(follow).collect()
}

fn files(source: &SourceConfig, servers: &ServerLogs, reading: &Reading) -> Vec<Log> {
    let paths = glob::glob(&source.path).into_iter().flatten().filter_map(Result::ok);
    let paths: Vec<PathBuf> = paths.filter(|path| path.is_file()).take(FILES).collect();
    let log = |path: &PathBuf| {
        let tail = read(path, source, servers, reading);
        Log { path: path.display().to_string(), tail: tail.map_err(|error| refused(path, &error)) }
    };
    let found: Vec<Log> = paths.iter().map(log).collect();
    if found.is_empty() { closed_directory(Path::new(&source.path)).into_iter().collect() } else { found }
}

/// The directory on the way to `pattern` that does not let us look for files.
fn closed_directory(pattern: &Path) -> Option<Log> {
    let is_plain = |path: &&Path| !path.to_string_lossy().contains(['*', '?', '[']);
    let directories: Vec<&Path> = pattern.ancestors().skip(1).filter(is_plain).collect();
    // From the root on, the first one that is closed.
    let closed = directories.into_iter().rev().filter(|path| !path.as_os_str().is_empty()).find_map(|path| {
        let error = fs::read_dir(path).err()?;
        (error.kind() == ErrorKind::PermissionDenied).then_some((path, error))
    });
    closed.map(|(path, error)| Log { path: path.display().to_string(), tail: Err(refused(path, &error)) })
}

fn refused(path: &Path, error: &io::Error) -> Refused {
    let metadata = fs::metadata(path).ok();
    let name_of = |metadata: &Metadata| {
        let user = User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten();
        let group = Group::from_gid(Gid::from_raw(metadata.gid())).ok().flatten();
        (
            user.map_or(metadata.uid().to_string(), |user| user.name),
            group.map_or(metadata.gid().to_string(), |group| group.name),
        )
    };
    let (user, group) = metadata.as_ref().map_or_else(Default::default, name_of);
    let mode = metadata.map_or(0, |metadata| metadata.mode() & 0o7777);
    // Root's own group has other rights than to read logs.
    let helps = mode & 0o040 != 0 && !["", "root", "0"].contains(&group.as_str());
    Refused { error: error.to_string(), owner: format!("{user}:{group}"), mode, group: helps.then_some(group) }
}

fn read(path: &Path, source: &SourceConfig, servers: &ServerLogs, reading: &Reading) -> io::Result<Tail> {
    let written = replay::written_last(path);
    let (head, tail) = ends(path)?;
    // A format that does not exist was a mistake of the configuration.
    let formats = replay::formats(&source.format, servers, &path.to_string_lossy(), &head, reading, written);
    Ok(look(&tail, &formats.unwrap_or_default(), reading, written))
}

/// Whole lines at both ends of a file.
fn ends(path: &Path) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut file = File::open(path)?;
    let (mut head, mut tail) = (vec![], vec![]);
    (&mut file).take(HEAD_BYTES).read_to_end(&mut head)?;
    let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    for (bytes, begins) in [(&mut head, true), (&mut tail, from == 0)] {
        bytes.truncate(memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1));
        if !begins {
            let start = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
            bytes.drain(..start);
        }
    }
    Ok((head, tail))
}

fn look(bytes: &[u8], formats: &Formats, reading: &Reading, written: Timestamp) -> Tail {
    let mut tail = Tail { formats: formats.names(), written, ..Tail::default() };
    let lines: Vec<_> = replay::lines(bytes, reading, 0).collect();
    let mut arena = Bump::new();
    for (line, extent) in lines.iter().skip(lines.len().saturating_sub(LINES)) {
        if is_blank(line) || formats.header(line).is_some() {
            continue;
        }
        tail.lines += 1;
        arena.reset();
        let Ok(event) = formats.parse(line, &reading.context(*extent, written, &arena)) else {
            tail.sample = printable(line, SHOWN_BYTES);
            continue;
        };
        tail.parsed += 1;
        tail.newest = tail.newest.max(event.time);
        if let (Some(http), false) = (event.http(), event.via_proxy) {
            tail.forwarded += u32::from(!http.forwarded.is_empty());
            if let Some(peer) = event.source_ip {
                *tail.peers.entry(peer).or_default() += 1;
            }
        }
    }
    tail
}
