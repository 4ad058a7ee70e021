use std::collections::HashMap;
use std::time::Duration;

use super::stream::Streams;
use super::{Chunk, FileStatus, Limits, LineTime, More, SourceConfig, Tailer, Waker};
use crate::event::FileMark;

/// Everything that is read: files, and what is no file.
pub struct Sources {
    files: Tailer,
    /// Of the sources that are files, their indices among all.
    file_sources: Vec<usize>,
    streams: Streams,
    hung_up: bool,
}

impl Sources {
    /// Finds the files that are there now; see [`Tailer::open`].
    ///
    /// # Errors
    /// A glob that cannot be understood.
    pub fn open(
        sources: &[SourceConfig],
        resume: Vec<FileMark>,
        limits: Limits,
        line_time: LineTime,
    ) -> anyhow::Result<Sources> {
        let max_line_bytes = limits.max_line_bytes;
        let files = sources.iter().enumerate().filter(|(_, source)| source.stream().is_none());
        let (file_sources, files): (Vec<usize>, Vec<SourceConfig>) =
            files.map(|(index, source)| (index, source.clone())).unzip();
        // The tailer counts files alone.
        let indices = file_sources.clone();
        let line_time: LineTime = Box::new(move |file, path, line| line_time(*indices.get(file)?, path, line));
        let files = Tailer::open(&files, resume, limits, line_time)?;
        let streams = Streams::new(sources, max_line_bytes, &files.waker());
        Ok(Sources { files, file_sources, streams, hung_up: false })
    }

    /// Has the journal be read on from where [`positions`](Self::positions) said at the last checkpoint.
    pub fn resume(&mut self, positions: HashMap<String, String>) {
        self.streams.resume(positions);
    }

    /// Begins to receive from what is no file.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(&mut self) -> std::io::Result<()> {
        self.streams.start()
    }

    /// Hands out what is there now: of each file at most a block, see [`Tailer::read`], but nothing more
    /// after [`hang_up`](Self::hang_up); of the others all that was received.
    pub fn read(&mut self, each: &mut dyn FnMut(Chunk<'_>)) -> More {
        self.streams.read(each);
        if self.hung_up {
            return More::No;
        }
        let file_sources = &self.file_sources;
        self.files.read(&mut |chunk| {
            let source = file_sources.get(chunk.source).copied().unwrap_or_default();
            each(Chunk { source, ..chunk });
        })
    }

    /// As [`Tailer::wait`].
    pub fn wait(&mut self, timeout: Duration) {
        self.files.wait(timeout);
    }

    /// As [`Tailer::waker`].
    pub fn waker(&self) -> Waker {
        self.files.waker()
    }

    /// As [`Tailer::marks`].
    pub fn marks(&self) -> Vec<FileMark> {
        self.files.marks()
    }

    /// Where reading resumes what is no file and can be read again, by the source's path.
    pub fn positions(&self) -> HashMap<String, String> {
        self.streams.positions()
    }

    /// Receives no more. What was received before can still be read, once.
    pub fn hang_up(&mut self) {
        self.hung_up = true;
        self.streams.hang_up();
    }

    /// There was nothing but streams that end, and they have ended.
    pub fn ended(&self) -> bool {
        self.file_sources.is_empty() && self.streams.ended()
    }

    /// Of every file, and of everything that is no file.
    pub fn statuses(&self) -> Vec<FileStatus> {
        self.files.statuses().into_iter().chain(self.streams.statuses()).collect()
    }

    /// As [`Tailer::gaps`].
    pub fn gaps(&self) -> u64 {
        self.files.gaps()
    }
}
