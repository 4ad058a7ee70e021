use std::collections::HashSet;
use std::fs::DirEntry;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::Start;
use super::reader::{FileId, Reader};
use super::scan::{homes, is_sibling, neighbours, open_in_order, siblings};
use super::tailer::{Followed, Tailer};
use crate::event::FileMark;

impl Tailer {
    /// Puts the files of the last run back where they stood. Marks of paths that no source names any
    /// more are dropped.
    pub(super) fn resume(&mut self, marks: Vec<FileMark>) {
        let mut seen = HashSet::new();
        for mark in marks.into_iter().rev() {
            let source = self.patterns.iter().position(|pattern| pattern.matches(&mark.path));
            let Some(source) = source.filter(|_| seen.insert(id_of(&mark))) else { continue };
            let found = self.find(&mark);
            let followed =
                self.followed.entry(mark.path.clone()).or_insert_with(|| Followed::new(source, Start::Beginning));
            match found {
                Some((name, reader)) => {
                    followed.leads_to = followed.leads_to.or((name == mark.path).then_some(reader.id));
                    followed.files.push(reader);
                }
                None => self.gaps += 1,
            }
        }
        let owned: HashSet<FileId> = self.followed.values().flat_map(|row| &row.files).map(|file| file.id).collect();
        for (path, followed) in &mut self.followed {
            let current = followed.leads_to;
            followed.files.sort_by_key(|file| (Some(file.id) == current, file.modified().ok()));
            if current.is_none() {
                rotated_since(followed, path, &owned);
            }
        }
    }

    /// The marked file: under its own path, else renamed in the same directory, else under any path
    /// that a source names.
    fn find(&self, mark: &FileMark) -> Option<(PathBuf, Reader)> {
        let beside = homes(&mark.path).into_iter().flat_map(|home| {
            // A file marked while it was empty has nothing but its name to know it by.
            let known = |entry: &DirEntry| mark.head_len > 0 || is_sibling(entry, &home);
            let entries = neighbours(&home).filter(|entry| entry.ino() == mark.inode && known(entry));
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        });
        let named = self.patterns.iter().flat_map(|pattern| pattern.paths()).filter_map(Result::ok);
        std::iter::once(mark.path.clone())
            .chain(beside)
            .chain(named)
            .find_map(|name| Some((name.clone(), Reader::resume(&name, mark).ok()??)))
    }
}

/// Files that came under `path` after the ones in `followed` and were renamed as well while nobody
/// looked: written to after those, and not what the path leads to now.
fn rotated_since(followed: &mut Followed, path: &Path, owned: &HashSet<FileId>) {
    let Some(last) = followed.files.iter().filter_map(|file| file.modified().ok()).max() else { return };
    let now = Reader::open(path, Start::Beginning).ok();
    let mut files = siblings(path);
    files.retain(|(_, metadata)| {
        let id = FileId::of(metadata);
        !owned.contains(&id)
            && now.as_ref().is_none_or(|now| now.id != id)
            && metadata.modified().is_ok_and(|modified| modified > last)
    });
    followed.push_unlike(open_in_order(files), now.as_ref());
}

fn id_of(mark: &FileMark) -> FileId {
    FileId { device: mark.device, inode: mark.inode }
}
