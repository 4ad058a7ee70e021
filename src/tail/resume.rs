use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::Start;
use super::reader::{FileId, Reader};
use super::scan::{homes, neighbours, open_in_order, siblings};
use super::tailer::{Followed, Tailer};
use crate::event::FileMark;

impl Tailer {
    /// Puts the files of the last run back where they stood. Marks of paths that no source names any
    /// more are dropped.
    pub(super) fn resume(&mut self, marks: Vec<FileMark>) {
        let mut marked = HashSet::new();
        let mut rows: BTreeMap<PathBuf, Vec<FileMark>> = BTreeMap::new();
        for mark in marks.into_iter().rev() {
            if marked.insert(id_of(&mark)) {
                rows.entry(mark.path.clone()).or_default().push(mark);
            }
        }
        for (path, marks) in rows {
            let Some(source) = self.patterns.iter().position(|pattern| pattern.matches(&path)) else { continue };
            let mut followed = Followed::new(source, Start::Beginning);
            for mark in marks {
                match self.find(&mark) {
                    Some((name, reader)) => {
                        followed.leads_to = followed.leads_to.or((name == path).then_some(reader.id));
                        followed.files.push(reader);
                    }
                    None => self.gaps += 1,
                }
            }
            let current = followed.leads_to;
            followed.files.sort_by_key(|file| (Some(file.id) == current, file.modified().ok()));
            if current.is_none() {
                rotated_since(&mut followed, &path, &marked);
            }
            self.followed.insert(path, followed);
        }
    }

    /// The marked file: under its own path, else renamed in the same directory, else under any path
    /// that a source names.
    fn find(&self, mark: &FileMark) -> Option<(PathBuf, Reader)> {
        let beside = homes(&mark.path).into_iter().flat_map(|home| {
            let entries: Vec<_> = neighbours(&home).filter(|entry| entry.ino() == mark.inode).collect();
            entries.into_iter().map(|entry| entry.path())
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
fn rotated_since(followed: &mut Followed, path: &Path, marked: &HashSet<FileId>) {
    let Some(last) = followed.files.iter().filter_map(|file| file.modified().ok()).max() else { return };
    let now = Reader::open(path, Start::Beginning).ok();
    let mut files = siblings(path);
    files.retain(|(_, metadata)| {
        let id = FileId::of(metadata);
        !marked.contains(&id)
            && now.as_ref().is_none_or(|now| now.id != id)
            && metadata.modified().is_ok_and(|modified| modified > last)
    });
    followed.push_unlike(open_in_order(files), now.as_ref());
}

fn id_of(mark: &FileMark) -> FileId {
    FileId { device: mark.device, inode: mark.inode }
}
