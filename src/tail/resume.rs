use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Start;
use super::head::Head;
use super::names::{beside, homes, is_sibling, neighbours, siblings};
use super::packed::Packed;
use super::pattern::Pattern;
use super::reader::{FileId, Reader, Truncated};
use super::row::Followed;
use super::tailer::Tailer;
use super::unpack::is_compressed;
use crate::event::FileMark;

/// Where what a mark was made for is found: written out, or compressed.
enum Copy {
    Plain(PathBuf, Reader),
    Packed(Packed),
}

impl Tailer {
    /// Puts the files of the last run back where they stood. Marks of paths that no source names any
    /// more are dropped.
    pub(super) fn resume(&mut self, marks: Vec<FileMark>) {
        let (mut files, mut generations, mut missing) = (HashSet::new(), HashSet::new(), Vec::new());
        for mark in marks.into_iter().rev() {
            let Some(source) = self.source_of(&mark.path).filter(|_| generations.insert(mark.generation)) else {
                continue;
            };
            self.followed.entry(mark.path.clone()).or_insert_with(|| Followed::new(source, Start::Beginning));
            if mark.inode == 0 {
                continue;
            }
            let is_last = files.insert(id_of(&mark));
            let found = if is_last { self.find(&mark) } else { None };
            let Some(followed) = self.followed.get_mut(&mark.path) else { continue };
            match found {
                Some((name, reader)) => followed.put_back(&mark.path, &name, reader),
                None => missing.push((mark, is_last)),
            }
        }
        for (mark, is_last) in missing.into_iter().rev() {
            let found = self.find_copy(&mark);
            let ended_before = matches!(&found, Some(Copy::Plain(_, copy)) if copy.size() < mark.offset);
            self.gaps += u64::from(is_last && (found.is_none() || ended_before));
            let Some(followed) = self.followed.get_mut(&mark.path) else { continue };
            match found {
                Some(Copy::Plain(name, reader)) => followed.put_back(&mark.path, &name, reader),
                Some(Copy::Packed(packed)) => followed.packed.push(packed),
                None => {}
            }
        }
        self.find_younger();
        let mut owned: HashSet<FileId> = self.followed.values().flat_map(Followed::ids).collect();
        for (path, followed) in &mut self.followed {
            let current = followed.leads_to;
            followed.files.sort_by_key(|file| (Some(file.id) == current, file.modified().ok()));
            if current.is_none() {
                rotated_since(followed, path, &owned, &self.patterns);
                owned.extend(followed.ids());
            }
        }
    }

    fn source_of(&self, path: &Path) -> Option<usize> {
        self.patterns.iter().position(|pattern| pattern.matches(path))
    }

    /// The marked file: under its own path, else renamed in the same directory, else under any path
    /// that a source names.
    fn find(&self, mark: &FileMark) -> Option<(PathBuf, Reader)> {
        let beside = homes(&mark.path).into_iter().flat_map(|home| {
            // A file marked while it was empty has nothing but its name to know it by.
            let known = |name: &OsStr| mark.head_len > 0 || is_sibling(name, &home);
            let entries = neighbours(&home).filter(|entry| entry.ino() == mark.inode && known(&entry.file_name()));
            entries.map(|entry| entry.path()).filter(|name| !is_compressed(name)).collect::<Vec<_>>()
        });
        let named = self.patterns.iter().flat_map(|pattern| pattern.paths()).filter_map(Result::ok);
        std::iter::once(mark.path.clone())
            .chain(beside)
            .chain(named)
            .find_map(|name| Some((name.clone(), Reader::resume(&name, mark).ok()??)))
    }

    /// What begins as the marked file did: a copy that `copytruncate` made, or what it was compressed
    /// into; the newest first, and last what ends before the mark. Logs that are followed under other
    /// paths are left alone.
    fn find_copy(&self, mark: &FileMark) -> Option<Copy> {
        if !Head::of(mark).is_telling() {
            return None;
        }
        let owned: HashSet<FileId> = self.followed.values().flat_map(Followed::ids).collect();
        let is_other = |name: &Path| {
            let is_own = |file: &OsStr| is_sibling(file, &mark.path);
            self.source_of(name).is_some() && !name.file_name().is_some_and(is_own)
        };
        let mut found: Vec<_> = beside(&mark.path)
            .filter(|(name, metadata)| !owned.contains(&FileId::of(metadata)) && !is_other(name))
            .collect();
        found.sort_by_key(|(name, metadata)| {
            let (packed, ends_before) = (is_compressed(name), metadata.len() < mark.offset);
            (!packed && ends_before, packed, metadata.modified().ok().map(std::cmp::Reverse))
        });
        found.into_iter().find_map(|(name, _)| match is_compressed(&name) {
            true => Some(Copy::Packed(Packed::resume(&name, mark).ok()??)),
            false => Some(Copy::Plain(name.clone(), Reader::resume_copy(&name, mark).ok()??)),
        })
    }

    /// After a truncation: goes on in the copy that was made before it, and counts what it lacks.
    pub(super) fn find_rest(&mut self, old: &Truncated) {
        let found = self.find_copy(&old.mark);
        let saved = match &found {
            Some(Copy::Plain(_, copy)) => copy.size(),
            Some(Copy::Packed(_)) => old.size,
            None => 0,
        };
        self.gaps += old.size.saturating_sub(saved.max(old.mark.offset));
        let Some(followed) = self.followed.get_mut(&old.mark.path) else { return };
        match found {
            Some(Copy::Plain(_, mut copy)) => {
                copy.leave();
                let before = |file: &Reader| file.id == id_of(&old.mark);
                let at = followed.files.iter().position(before).unwrap_or_default();
                followed.files.insert(at, copy);
            }
            Some(Copy::Packed(packed)) => followed.packed.push(packed),
            None => {}
        }
    }

    /// What a glob finds that is no older than the youngest file that it found in the last run is new
    /// since then: the log of another day. So is everything when of those files none is left.
    fn find_younger(&mut self) {
        for (source, pattern) in self.patterns.iter().enumerate() {
            let own = || self.followed.values().filter(|followed| followed.source == source);
            if own().next().is_none() {
                continue;
            }
            let births = own().flat_map(|followed| &followed.files).filter_map(|file| file.born().ok());
            // When a compressed file was made nobody knows; its successor was made about when it ended.
            let ends = own().flat_map(|followed| &followed.packed).filter_map(|file| file.modified);
            let ends = ends.filter_map(|end| end.checked_sub(self.limits.grace));
            let youngest = births.max().or_else(|| ends.max());
            let paths = pattern.paths().into_iter().filter_map(Result::ok);
            let is_new = |path: &PathBuf| youngest.is_none_or(|youngest| is_born_since(path, youngest));
            for path in paths.filter(is_new).collect::<Vec<_>>() {
                self.followed.entry(path).or_insert_with(|| Followed::new(source, Start::Beginning));
            }
        }
    }
}

impl Followed {
    fn put_back(&mut self, path: &Path, name: &Path, reader: Reader) {
        self.leads_to = self.leads_to.or((name == path).then_some(reader.id));
        self.files.push(reader);
    }
}

/// Files that came under `path` after the ones in `followed` and were renamed as well while nobody
/// looked: written to after those, and not what the path leads to now.
fn rotated_since(followed: &mut Followed, path: &Path, owned: &HashSet<FileId>, patterns: &[Pattern]) {
    let times = followed.files.iter().filter_map(|file| file.modified().ok());
    let Some(last) = times.chain(followed.packed.iter().filter_map(|file| file.modified)).max() else { return };
    let now = Reader::open(path).ok();
    let base = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut files = siblings(path);
    files.retain(|(name, metadata)| {
        let id = FileId::of(metadata);
        // What a glob finds by itself and is not named after `path` is another log.
        let is_after = name.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(base));
        !owned.contains(&id)
            && now.as_ref().is_none_or(|now| now.id != id)
            && metadata.modified().is_ok_and(|modified| modified > last)
            && (is_after || !patterns.iter().any(|pattern| pattern.matches(name)))
    });
    followed.add_missed(files, now.as_ref());
}

fn is_born_since(path: &Path, moment: SystemTime) -> bool {
    let metadata = path.metadata().ok();
    metadata.and_then(|file| file.created().or_else(|_| file.modified()).ok()).is_some_and(|born| born >= moment)
}

fn id_of(mark: &FileMark) -> FileId {
    FileId { device: mark.device, inode: mark.inode }
}
