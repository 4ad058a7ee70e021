use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::Start;
use super::names::{homes, is_sibling, siblings};
use super::reader::{FileId, Reader, explain, regular};
use super::row::Followed;
use super::tailer::{SCAN, Tailer};
use super::unpack::is_compressed;

/// File times are those of the kernel's last tick, at 100 Hz up to this much behind the clock.
const TICK: Duration = Duration::from_millis(10);

/// Which path holds the reader of a file.
type Owners = HashMap<FileId, PathBuf>;

impl Tailer {
    /// Looks up every name again: finds new files, and those whose path leads elsewhere.
    pub(super) fn scan(&mut self) {
        self.names_changed = false;
        let since = self.scanned.replace((Instant::now(), SystemTime::now())).map(|(_, clock)| clock);
        self.find_paths(since);
        let mut owners = Owners::new();
        for (path, followed) in &self.followed {
            owners.extend(followed.files.iter().map(|file| (file.id, path.clone())));
        }
        let paths: Vec<PathBuf> = self.followed.keys().cloned().collect();
        for path in &paths {
            self.look(path, since, &mut owners);
        }
        let patterns = &self.patterns;
        self.followed.retain(|path, followed| {
            let found = followed.leads_to.is_some() || followed.error.is_some();
            let named = patterns.iter().any(|pattern| pattern.names(path));
            found || named || !followed.is_empty()
        });
        self.watch_directories();
    }

    fn find_paths(&mut self, since: Option<SystemTime>) {
        self.unlisted.clear();
        for (source, pattern) in self.patterns.iter().enumerate() {
            for path in pattern.paths() {
                match path {
                    Ok(path) => {
                        let there = since.is_none() && path.symlink_metadata().is_ok();
                        let start = if there { pattern.start } else { Start::Beginning };
                        self.followed.entry(path).or_insert_with(|| Followed::new(source, start));
                    }
                    Err(error) => {
                        self.unlisted.insert(error.path().to_path_buf(), explain(error.path(), error.error()));
                    }
                }
            }
        }
    }

    /// Looks where `path` leads now.
    fn look(&mut self, path: &Path, since: Option<SystemTime>, owners: &mut Owners) {
        let Some(followed) = self.followed.get_mut(path) else { return };
        followed.error = None;
        match fs::metadata(path).and_then(|metadata| regular(&metadata).map(|()| FileId::of(&metadata))) {
            Ok(id) => {
                if followed.leads_to != Some(id) {
                    followed.current().into_iter().for_each(Reader::leave);
                    followed.leads_to = Some(id);
                }
                match owners.get(&id).cloned() {
                    None => self.adopt(path, since, owners),
                    Some(owner) if owner == path => followed.files.sort_by_key(|file| file.id == id),
                    Some(owner) => self.take_over(path, id, &owner, owners),
                }
            }
            Err(error) => {
                use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound};
                let vanished = error.kind() == NotFound;
                if !vanished || self.patterns.iter().any(|pattern| pattern.names(path)) {
                    followed.error = Some(explain(path, &error));
                }
                // What fails otherwise, such as a network file system, says nothing of the name.
                if matches!(error.kind(), NotFound | NotADirectory | IsADirectory | InvalidInput) {
                    followed.current().into_iter().for_each(Reader::leave);
                    followed.leads_to = None;
                    if !followed.files.is_empty() {
                        self.adopt_missed(path, None, since, owners);
                    }
                }
            }
        }
    }

    /// Opens the file that `path` leads to, and before it those that stood there unseen.
    fn adopt(&mut self, path: &Path, since: Option<SystemTime>, owners: &mut Owners) {
        let Some((source, start)) = self.followed.get(path).map(|followed| (followed.source, followed.start)) else {
            return;
        };
        let opened = Reader::open(path).and_then(|mut new| {
            new.begin_at(start, &|line| (self.line_time)(source, path, line))?;
            Ok(new)
        });
        if opened.as_ref().is_ok_and(|new| self.is_copy(path, new, since)) {
            return;
        }
        self.adopt_missed(path, opened.as_ref().ok(), since, owners);
        let Some(followed) = self.followed.get_mut(path) else { return };
        match opened {
            // Replaced since it was looked at, by a file that is read already.
            Ok(reader) if owners.contains_key(&reader.id) => {}
            Ok(reader) => {
                owners.insert(reader.id, path.to_path_buf());
                followed.start = Start::Beginning;
                followed.leads_to = Some(reader.id);
                followed.files.push(reader);
            }
            Err(error) => followed.error = Some(explain(path, &error)),
        }
    }

    /// Whether the file under `path` is, or may become, a copy of what is read under a name that its own
    /// begins with. `copytruncate` makes one and then truncates the original; only then it is known
    /// what of the copy was not read.
    fn is_copy(&self, path: &Path, new: &Reader, since: Option<SystemTime>) -> bool {
        let name = path.file_name().unwrap_or_default();
        let mut originals = self
            .followed
            .iter()
            .filter(|(other, _)| *other != path && other.parent() == path.parent() && is_sibling(name, other));
        let just_made =
            || new.born().ok().zip(since.and_then(|at| at.checked_sub(SCAN))).is_some_and(|(born, at)| born >= at);
        originals.any(|(_, original)| match new.head.len {
            0 => just_made(),
            _ => original.files.iter().any(|file| new.may_copy(file)),
        })
    }

    /// Opens the files that came under `path` and were renamed again since the last look.
    fn adopt_missed(&mut self, path: &Path, current: Option<&Reader>, since: Option<SystemTime>, owners: &mut Owners) {
        let Some(since) = since.and_then(|since| since.checked_sub(TICK)) else { return };
        let mut files = siblings(path);
        files.retain(|(name, metadata)| {
            let id = FileId::of(metadata);
            !is_compressed(name)
                && current.is_none_or(|current| current.id != id)
                && !owners.contains_key(&id)
                && metadata.created().or_else(|_| metadata.modified()).is_ok_and(|born| born >= since)
                && !self.patterns.iter().any(|pattern| pattern.matches(name))
        });
        if let Some(followed) = self.followed.get_mut(path) {
            followed.add_missed(files, current);
            owners.extend(followed.files.iter().map(|file| (file.id, path.to_path_buf())));
        }
    }

    /// A file read under another name that no longer leads to it goes on under this one. Until its
    /// grace is over it stays, as what stands in the same row is read in order.
    fn take_over(&mut self, path: &Path, id: FileId, owner: &Path, owners: &mut Owners) {
        let grace = self.limits.grace;
        let Some(from) = self.followed.get_mut(owner).filter(|from| from.leads_to != Some(id)) else { return };
        let Some(at) = from.files.iter().position(|file| file.id == id && file.is_expired(grace)) else { return };
        let reader = from.files.remove(at);
        if let Some(followed) = self.followed.get_mut(path) {
            followed.start = Start::Beginning;
            followed.files.push(reader);
            owners.insert(id, path.to_path_buf());
        }
    }

    /// Directories where names of interest come and go; where a symlink leads, also those of its target.
    fn watch_directories(&mut self) {
        let mut wanted: BTreeSet<PathBuf> = self.patterns.iter().map(|pattern| pattern.directory()).collect();
        for path in self.followed.keys() {
            wanted.extend(homes(path).into_iter().filter_map(|home| Some(home.parent()?.to_path_buf())));
        }
        self.watch.directories(&wanted);
    }
}
