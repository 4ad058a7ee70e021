//! What is read and is no file: standard input, the journal, syslog from the network. Each is
//! received on threads of its own into a [`Buffer`](buffer::Buffer) of whole lines, from which the
//! one reader takes them as it takes those of files.

mod address;
mod buffer;
mod framing;
mod journal;
mod listener;
mod stdin;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use address::Stream;
use buffer::{Buffer, Lines};
#[doc(hidden)]
pub use framing::syslog_lines;
use journal::{Journal, Position};

use super::reader::random;
use super::{Chunk, FileStatus, SourceConfig, Waker};
use crate::event::digest;

/// What bounds the memory that streams take.
#[derive(Clone, Debug)]
struct Bounds {
    /// As [`Limits::max_line_bytes`](super::Limits::max_line_bytes).
    max_line_bytes: usize,
    /// Lines of one source that wait for the reader, in bytes. A block more than that is read.
    buffer_bytes: usize,
    /// Senders that are served at once by one TCP listener; further ones wait to be accepted.
    connections: usize,
    /// After this long without a byte a TCP connection is closed: its sender may be gone without a
    /// word. Long, because some senders lose the first line after that.
    idle: Duration,
}

impl Bounds {
    fn new(max_line_bytes: usize) -> Bounds {
        Bounds { max_line_bytes, buffer_bytes: 1 << 20, connections: 64, idle: Duration::from_secs(3600) }
    }
}

/// All sources that are no files.
pub(super) struct Streams {
    all: Vec<Followed>,
    bounds: Bounds,
    /// The thread that receives; dropping the sender ends it.
    receiving: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// One source, as the reader sees it.
struct Followed {
    source: usize,
    path: PathBuf,
    config: SourceConfig,
    kind: Stream,
    generation: u64,
    buffer: Arc<Buffer>,
    /// What is being handed out: the buffer's other half.
    lines: Lines,
    /// Behind the last line handed out.
    offset: u64,
    overlong: u64,
    /// Where reading the journal resumes.
    position: Option<Position>,
}

impl Streams {
    /// Those of `sources` that are no files; nothing is received yet.
    pub fn new(sources: &[SourceConfig], max_line_bytes: usize, waker: &Waker) -> Streams {
        let bounds = Bounds::new(max_line_bytes);
        let followed = |(source, config): (usize, &SourceConfig)| {
            let kind = config.stream()?;
            Some(Followed {
                source,
                path: PathBuf::from(&config.path),
                config: config.clone(),
                // What the journal holds can be read again, and must have the same ids then.
                generation: if matches!(kind, Stream::Journal(_)) { generation_of(&config.path) } else { random() },
                kind,
                buffer: Arc::new(Buffer::new(bounds.buffer_bytes, waker.clone())),
                lines: Lines::default(),
                offset: 0,
                overlong: 0,
                position: None,
            })
        };
        let all = sources.iter().enumerate().filter_map(followed).collect();
        Streams { all, bounds, receiving: None }
    }

    /// `positions`: what [`positions`](Self::positions) gave in the last run.
    pub fn resume(&mut self, mut positions: HashMap<String, String>) {
        for stream in self.all.iter_mut().filter(|stream| matches!(stream.kind, Stream::Journal(_))) {
            stream.position = positions.remove(&stream.config.path).map(|text| Position::parse(&text));
        }
    }

    /// Begins to receive.
    pub fn start(&mut self) -> io::Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for stream in &mut self.all {
            let (buffer, bounds) = (Arc::clone(&stream.buffer), self.bounds.clone());
            match &stream.kind {
                Stream::Stdin => stdin::start(io::stdin(), buffer, bounds.max_line_bytes, runtime.handle().clone())?,
                Stream::Udp(address) => drop(runtime.spawn(listener::udp(*address, buffer, bounds))),
                Stream::Tcp(address) => drop(runtime.spawn(listener::tcp(*address, buffer, bounds))),
                Stream::Journal(unit) => {
                    let start = stream.config.start;
                    let position = stream.position.get_or_insert_with(|| Position::first(start)).clone();
                    let journal = Journal { program: "journalctl".into(), unit: unit.clone(), position };
                    drop(runtime.spawn(journal.follow(buffer, bounds.max_line_bytes)));
                }
            }
            if stream.kind.is_open_to_others() {
                tracing::warn!(
                    "{}: whoever reaches this port can forge log lines, and have anybody shut out whom they name; \
                     let a firewall admit your own servers alone",
                    stream.path.display()
                );
            }
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let receive = move || {
            // An error says that the sender is gone, which is the sign to end.
            let _ = runtime.block_on(stopped);
        };
        let thread = std::thread::Builder::new().name("streams".into()).spawn(receive)?;
        self.receiving = Some((stop, thread));
        Ok(())
    }

    /// Hands out what has been received.
    pub fn read(&mut self, each: &mut dyn FnMut(Chunk<'_>)) {
        for stream in &mut self.all {
            let position = stream.buffer.take(&mut stream.lines);
            for (run, bytes) in stream.lines.runs() {
                stream.overlong += u64::from(run.tail_cut > 0);
                each(Chunk {
                    path: &stream.path,
                    source: stream.source,
                    generation: stream.generation,
                    offset: run.offset,
                    bytes,
                    tail_cut: run.tail_cut,
                    mark: None,
                });
                stream.offset = run.offset + run.len as u64 + run.tail_cut;
            }
            stream.lines.clear();
            stream.position = position.or(stream.position.take());
        }
    }

    /// Receives no more; what has been received can still be read.
    pub fn hang_up(&mut self) {
        self.all.iter().for_each(|stream| stream.buffer.hang_up());
    }

    /// Where reading resumes what can be read again, by the source's path.
    pub fn positions(&self) -> HashMap<String, String> {
        let position = |stream: &Followed| Some((stream.config.path.clone(), stream.position.as_ref()?.to_string()));
        self.all.iter().filter_map(position).collect()
    }

    /// Nothing will come any more, and everything that came was handed out.
    pub fn ended(&self) -> bool {
        self.all.iter().all(|stream| stream.buffer.has_ended())
    }

    pub fn statuses(&self) -> impl Iterator<Item = FileStatus> {
        self.all.iter().map(|stream| {
            let (waiting, error) = stream.buffer.status();
            FileStatus {
                path: stream.path.clone(),
                generation: stream.generation,
                offset: stream.offset,
                behind_bytes: waiting as u64,
                overlong: stream.overlong,
                error,
            }
        })
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.hang_up();
        if let Some((stop, thread)) = self.receiving.take() {
            drop(stop);
            // It holds nothing that could be saved.
            let _ = thread.join();
        }
    }
}

/// The same in every run.
fn generation_of(path: &str) -> u64 {
    let hash = digest(&[b"stream", path.as_bytes()]);
    u64::from_str_radix(hash.get(..16).unwrap_or_default(), 16).unwrap_or_default()
}
