use std::fs::Metadata;
use std::path::PathBuf;

use super::Start;
use super::packed::Packed;
use super::reader::{FileId, Reader};
use super::unpack::is_compressed;

/// What stands under one path.
pub(super) struct Followed {
    pub source: usize,
    /// Where the next file that appears here is read from.
    pub start: Start,
    /// What the path led to when last looked at.
    pub leads_to: Option<FileId>,
    /// Older than all of `files`, and in order; kept until all that were found are read.
    pub packed: Vec<Packed>,
    pub files: Vec<Reader>,
    pub error: Option<String>,
}

impl Followed {
    pub fn new(source: usize, start: Start) -> Followed {
        Followed { source, start, leads_to: None, packed: Vec::new(), files: Vec::new(), error: None }
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.packed.is_empty()
    }

    /// Whether more was there at the last look than was read.
    pub fn is_behind(&self) -> bool {
        self.packed.iter().any(|file| !file.done) || self.files.iter().any(Reader::is_behind)
    }

    pub fn ids(&self) -> impl Iterator<Item = FileId> {
        self.packed.iter().map(|file| file.id).chain(self.files.iter().map(|file| file.id))
    }

    pub fn current(&mut self) -> Option<&mut Reader> {
        self.files.iter_mut().find(|file| Some(file.id) == self.leads_to)
    }

    /// Adds files found beside the path, from their beginnings and in the order of last writing,
    /// except copies of ones that are read: someone's backup, or a file whose compression is not done.
    pub fn add_missed(&mut self, mut found: Vec<(PathBuf, Metadata)>, current: Option<&Reader>) {
        found.sort_by_key(|(name, metadata)| (metadata.modified().ok(), is_compressed(name)));
        for (name, _) in found {
            let known = self.files.iter().chain(current).map(|file| file.head);
            let known: Vec<_> = known.chain(self.packed.iter().map(|file| file.head)).collect();
            let is_new = |head| !known.contains(&head);
            if is_compressed(&name) {
                self.packed.extend(Packed::open(&name).ok().filter(|file| is_new(file.head)));
            } else {
                let opened = Reader::open(&name).ok();
                self.files.extend(opened.filter(|file| file.head.len == 0 || is_new(file.head)));
            }
        }
    }
}
