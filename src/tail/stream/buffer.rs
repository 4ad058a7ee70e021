use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::super::Waker;
use super::journal::Position;

/// Whole lines in the order in which they came.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

/// Consecutive lines, or the head of an overlong one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// Where in the stream it begins; before it is in a [`Buffer`], where in its [`Lines`].
    pub offset: u64,
    pub len: usize,
    /// As [`Chunk::tail_cut`](super::Chunk::tail_cut).
    pub tail_cut: u64,
}

impl Lines {
    /// Adds one line, of which `beyond` bytes more than `head` have come.
    pub fn line(&mut self, head: &[u8], beyond: u64) {
        self.bytes.extend_from_slice(head);
        let mut run = Run { offset: self.end(), len: head.len(), tail_cut: 0 };
        if beyond == 0 {
            self.bytes.push(b'\n');
            run.len += 1;
        } else {
            run.tail_cut = beyond + 1;
        }
        self.add(run);
    }

    /// Adds one line, of which what is longer than `max` is left out.
    pub fn line_within(&mut self, line: &[u8], max: usize) {
        let head = line.get(..max).unwrap_or(line);
        self.line(head, (line.len() - head.len()) as u64);
    }

    fn add(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.tail_cut == 0 && run.tail_cut == 0 && last.offset + last.len as u64 == run.offset => {
                last.len += run.len;
            }
            _ => self.runs.push(run),
        }
    }

    fn end(&self) -> u64 {
        self.runs.last().map_or(0, |last| last.offset + last.len as u64 + last.tail_cut)
    }

    pub fn runs(&self) -> impl Iterator<Item = (Run, &[u8])> {
        let mut from = 0;
        self.runs.iter().map(move |run| {
            let bytes = self.bytes.get(from..from + run.len).unwrap_or_default();
            from += run.len;
            (*run, bytes)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }
}

/// Lines of one source on their way to the reader: bounded, so that a full one makes the sender wait.
pub(super) struct Buffer {
    max_bytes: usize,
    state: Mutex<State>,
    /// The reader has taken what was there.
    room: Notify,
    waker: Waker,
}

#[derive(Default)]
struct State {
    lines: Lines,
    /// Where in the stream the next line is.
    end: u64,
    /// Of the last entry added since the reader took some.
    position: Option<Position>,
    ended: bool,
    hung_up: bool,
    dropped: u64,
    error: Option<String>,
}

impl Buffer {
    pub fn new(max_bytes: usize, waker: Waker) -> Buffer {
        Buffer { max_bytes, state: Mutex::default(), room: Notify::new(), waker }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves `lines` in behind what is there; waits while there is no room.
    pub async fn push(&self, lines: &mut Lines) {
        self.push_at(lines, None).await;
    }

    /// The same for an entry that has an offset of its own.
    pub async fn push_at(&self, lines: &mut Lines, entry: Option<(u64, Position)>) {
        loop {
            // Made before the look: what is taken between the two ends the wait.
            let room = self.room.notified();
            if self.offer(lines, entry.as_ref()) {
                return;
            }
            room.await;
        }
    }

    /// Counts `lines` as dropped if there is no room.
    pub fn push_or_drop(&self, lines: &mut Lines) {
        if !self.offer(lines, None) {
            self.state().dropped += 1;
            lines.clear();
        }
    }

    fn offer(&self, lines: &mut Lines, entry: Option<&(u64, Position)>) -> bool {
        let mut state = self.state();
        let held = state.lines.bytes.len();
        if lines.is_empty() || state.hung_up {
            lines.clear();
            return true;
        }
        if held > 0 && held + lines.bytes.len() > self.max_bytes {
            return false;
        }
        let first = entry.map_or(state.end, |(offset, _)| *offset);
        state.lines.bytes.extend_from_slice(&lines.bytes);
        for run in &lines.runs {
            state.lines.add(Run { offset: first + run.offset, ..*run });
        }
        state.end = state.lines.end();
        state.position = entry.map(|(_, position)| position.clone()).or(state.position.take());
        lines.clear();
        drop(state);
        if held == 0 {
            self.waker.announce();
        }
        true
    }

    /// Takes everything into `lines`, which is empty, and what [`push_at`](Self::push_at) said last.
    pub fn take(&self, lines: &mut Lines) -> Option<Position> {
        let mut state = self.state();
        if state.lines.is_empty() {
            return None;
        }
        std::mem::swap(&mut state.lines, lines);
        let position = state.position.take();
        drop(state);
        self.room.notify_waiters();
        position
    }

    /// Nothing comes any more.
    pub fn end(&self) {
        self.state().ended = true;
        self.waker.wake();
    }

    /// From now on everything is dropped, and nobody waits for room.
    pub fn hang_up(&self) {
        self.state().hung_up = true;
        self.room.notify_waiters();
    }

    pub fn has_ended(&self) -> bool {
        let state = self.state();
        state.ended && state.lines.is_empty()
    }

    /// Sets, or takes away, the sentence that says what is wrong.
    pub fn set_error(&self, error: Option<String>) {
        self.state().error = error;
    }

    /// Bytes that wait, and what is wrong.
    pub fn status(&self) -> (usize, Option<String>) {
        let state = self.state();
        let dropped = (state.dropped > 0).then(|| {
            format!(
                "{} datagrams were dropped because they came faster than they can be judged; \
                 senders wait instead of losing lines when they use tcp://",
                state.dropped
            )
        });
        (state.lines.bytes.len(), state.error.clone().or(dropped))
    }
}
