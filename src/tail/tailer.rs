use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::packed::Packed;
use super::pattern::Pattern;
use super::reader::{FileId, Reader, Sink, random};
use super::row::Followed;
use super::wake::{Waker, Watch};
use super::{Chunk, FileStatus, Limits, LineTime, More, SourceConfig};
use crate::event::FileMark;

/// How often all names are looked up again, whether or not the kernel announced a change.
pub(super) const SCAN: Duration = Duration::from_secs(1);
/// Announced changes of names are taken together: a directory may be busy with other things.
const SCAN_AT_MOST: Duration = Duration::from_millis(100);
/// So many paths of which more is there than one block are read at a time: at 256 KiB each, what a new
/// line of another file waits for is read in some 20 ms.
const BACKLOG_PATHS: usize = 4;

/// Follows all files of all sources.
///
/// A file is its inode and not its name. Under each followed path stands a row of open files, oldest
/// first: those that were rotated away and may still grow, then the one the path leads to.
pub struct Tailer {
    pub(super) patterns: Vec<Pattern>,
    pub(super) followed: BTreeMap<PathBuf, Followed>,
    /// Directories that cannot be listed.
    pub(super) unlisted: BTreeMap<PathBuf, String>,
    pub(super) limits: Limits,
    pub(super) line_time: LineTime,
    pub(super) watch: Watch,
    pub(super) scanned: Option<(Instant, SystemTime)>,
    pub(super) gaps: u64,
    /// Announced since the last scan.
    pub(super) names_changed: bool,
    /// How many turns were given to paths with a backlog.
    turn: usize,
    buffer: Vec<u8>,
}

impl Tailer {
    /// Finds what is there now. `resume`: the marks of the last run; each file goes on where its mark
    /// says, also when it was renamed, copied or compressed meanwhile; of several marks for one inode the
    /// last counts, the others are for copies of what was truncated. Files and directories that do not
    /// exist are waited for. `line_time` serves [`Start::Ago`](super::Start::Ago).
    ///
    /// # Errors
    /// A glob that cannot be understood.
    pub fn open(
        sources: &[SourceConfig],
        resume: Vec<FileMark>,
        limits: Limits,
        line_time: LineTime,
    ) -> anyhow::Result<Tailer> {
        let patterns = sources.iter().map(Pattern::parse).collect::<anyhow::Result<Vec<_>>>()?;
        let block = limits.read_bytes.max(limits.max_line_bytes.saturating_add(1));
        let mut tailer = Tailer {
            patterns,
            followed: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            limits,
            line_time,
            watch: Watch::new(),
            scanned: None,
            gaps: 0,
            names_changed: false,
            turn: 0,
            buffer: vec![0; block.saturating_add(1)],
        };
        tailer.resume(resume);
        tailer.scan();
        Ok(tailer)
    }

    /// Reads what is there now, at most one block of `read_bytes` from each file, and calls `each`
    /// for every chunk. Of the paths with a backlog a few have their turn: new lines of the others
    /// wait for no more than that. A file that was rotated away comes before the one that took its
    /// path. Says whether more is waiting to be read.
    pub fn read(&mut self, each: &mut dyn FnMut(Chunk<'_>)) -> More {
        self.names_changed |= self.watch.take_names();
        if self.until_scan().is_zero() {
            self.scan();
            self.finish(each);
        }
        let (mut more, mut truncated, mut unpacked) = (More::No, Vec::new(), false);
        let behind = self.followed.values().filter(|followed| followed.is_behind()).count();
        let mut place = behind - self.turn.checked_rem(behind).unwrap_or_default();
        for (path, followed) in &mut self.followed {
            if followed.is_behind() {
                place += 1;
                if (place - 1) % behind >= BACKLOG_PATHS {
                    more = More::Yes;
                    continue;
                }
            }
            let mut sink = Sink { path, source: followed.source, limits: &self.limits, buffer: &mut self.buffer, each };
            if let Some(file) = followed.packed.iter_mut().find(|file| !file.done) {
                file.read(&mut sink);
                self.gaps += std::mem::take(&mut file.lost);
                (more, unpacked) = (More::Yes, true);
                continue;
            }
            for file in &mut followed.files {
                let left = file.read(&mut sink);
                truncated.extend(file.truncated.take());
                if left == More::Yes {
                    more = More::Yes;
                    break;
                }
            }
        }
        self.turn = self.turn.wrapping_add(BACKLOG_PATHS);
        if unpacked && self.packed().all(|(_, file)| file.done) {
            // Not before: by the marks of the last one a restart sees that it need not be looked for.
            self.followed.values_mut().for_each(|followed| followed.packed.clear());
        }
        for old in truncated {
            self.find_rest(&old);
        }
        more
    }

    /// Blocks until something may have changed, `poll` or `timeout` is over, or a [`Waker`] was used.
    pub fn wait(&mut self, timeout: Duration) {
        self.watch.wait(timeout.min(self.limits.poll).min(self.until_scan()));
    }

    /// Ends [`wait`](Self::wait) early from another thread.
    pub fn waker(&self) -> Waker {
        self.watch.waker()
    }

    /// Where reading resumes, for every file still followed; of one path, the oldest file first. A path
    /// that leads nowhere has a mark with the inode 0: what appears there later is read whole.
    pub fn marks(&self) -> Vec<FileMark> {
        let packed = self.packed().map(|(path, file)| file.mark(path));
        let named = |path: &Path| self.patterns.iter().any(|pattern| pattern.names(path));
        let nowhere = self.followed.iter().filter(|(_, followed)| followed.is_empty() && followed.leads_to.is_none());
        let nowhere = nowhere.filter(|(path, _)| named(path)).map(|(path, _)| no_file(path));
        packed.chain(self.files().map(|(path, file)| file.mark(path))).chain(nowhere).collect()
    }

    /// Every followed file, and every path that cannot be followed with the reason.
    pub fn statuses(&self) -> Vec<FileStatus> {
        let broken = self.followed.iter().filter_map(|(path, followed)| Some((path, followed.error.as_ref()?)));
        let broken = broken.chain(&self.unlisted).map(|(path, error)| FileStatus {
            path: path.clone(),
            generation: 0,
            offset: 0,
            behind_bytes: 0,
            overlong: 0,
            error: Some(error.clone()),
        });
        let packed = self.packed().map(|(path, file)| file.status(path));
        packed.chain(self.files().map(|(path, file)| file.status(path))).chain(broken).collect()
    }

    /// Bytes known to be lost: a file was truncated or gone before it was read to its end. A file
    /// that went while nobody looked counts as one byte, as its size is not known.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    fn files(&self) -> impl Iterator<Item = (&Path, &Reader)> {
        self.followed.iter().flat_map(|(path, followed)| followed.files.iter().map(|file| (path.as_path(), file)))
    }

    fn packed(&self) -> impl Iterator<Item = (&Path, &Packed)> {
        self.followed.iter().flat_map(|(path, followed)| followed.packed.iter().map(|file| (path.as_path(), file)))
    }

    fn until_scan(&self) -> Duration {
        let Some((last, _)) = self.scanned else { return Duration::ZERO };
        let pause = if self.names_changed { SCAN_AT_MOST } else { SCAN };
        pause.saturating_sub(last.elapsed())
    }

    /// Takes leave of files that were rotated away and have not grown for the grace time. One that
    /// is followed under its new name too is left for that path to take over.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(Chunk<'_>)) {
        let led_to: HashSet<FileId> = self.followed.values().filter_map(|followed| followed.leads_to).collect();
        for (path, followed) in &mut self.followed {
            let mut sink = Sink { path, source: followed.source, limits: &self.limits, buffer: &mut self.buffer, each };
            followed.files.retain_mut(|file| {
                let done = !led_to.contains(&file.id) && file.is_expired(self.limits.grace) && file.finish(&mut sink);
                self.gaps += std::mem::take(&mut file.lost);
                !done
            });
        }
    }
}

/// The mark of a path that leads nowhere.
fn no_file(path: &Path) -> FileMark {
    let path = path.to_path_buf();
    FileMark { path, device: 0, inode: 0, generation: random(), offset: 0, head_len: 0, head_hash: 0 }
}
