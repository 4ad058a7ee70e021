//! Lines of a file, which whoever rotates it may rename or remove at any time.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Refused, Sending, Sink, Writer, path_of};
use crate::notify::{Failure, News};

pub struct File {
    path: PathBuf,
    writer: Writer,
    /// With its device and inode.
    open: Option<(fs::File, (u64, u64))>,
}

impl File {
    pub fn new(url: &str, writer: Writer) -> Result<File, String> {
        Ok(File { path: path_of(url, "file://")?.to_owned(), writer, open: None })
    }

    fn append(open: &mut Option<(fs::File, (u64, u64))>, path: &Path, text: &str) -> io::Result<()> {
        let there = fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        if open.as_ref().is_some_and(|(_, print)| Some(*print) != there) {
            *open = None;
        }
        if open.is_none() {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
            let meta = file.metadata()?;
            *open = Some((file, (meta.dev(), meta.ino())));
        }
        let Some((file, _)) = open else { return Ok(()) };
        let before = file.metadata()?.len();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        if written.is_err() {
            // No half of a line stays where the disk is full: all of it is written again.
            let _ = file.set_len(before);
        }
        written
    }
}

impl Sink for File {
    fn send<'a>(&'a mut self, batch: &'a [News]) -> Sending<'a> {
        Box::pin(async move {
            let text: String = batch.iter().map(|news| self.writer.line(news) + "\n").collect();
            let (mut open, path) = (self.open.take(), self.path.clone());
            let written = tokio::task::spawn_blocking(move || {
                let written = File::append(&mut open, &path, &text);
                (open, written)
            });
            let (open, written) = written.await.map_err(|error| Failure::passing(error.to_string()))?;
            self.open = open;
            let shown = self.path.display();
            written.map_err(|error| Failure::passing(format!("{shown} cannot be written: {error}")))?;
            Ok(Refused::default())
        })
    }
}
