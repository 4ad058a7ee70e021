//! Records what was done, in order, in a task of its own: acting never waits for a disk. While the store
//! fails, what was done waits in memory and is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::event::{Decision, DecisionState, FileMark, Finding, Judgement, ModelCall, Timestamp};
use crate::record::{self, Sqlite, StoreError};

/// Until a store that failed is tried again, and between two looks at what has expired.
const TICK: Duration = Duration::from_secs(1);

/// Findings that are put together in one transaction: more at once cost less each, for the same pages of indexes
/// and counts are written once.
const MAX_TOGETHER: usize = 16_384;
/// Bytes of text in them: what clients write may be long.
const MAX_BYTES: usize = 16 << 20;

/// What was done and must be recorded.
#[derive(Default)]
pub(super) struct Done {
    pub at: Timestamp,
    pub new_files: Vec<FileMark>,
    pub findings: Vec<Finding>,
    pub decisions: Vec<Decision>,
    pub judgements: Vec<Judgement>,
    pub calls: Vec<ModelCall>,
    pub checkpoint: Option<(Vec<FileMark>, Vec<u8>)>,
    /// What became of decisions that were recorded before or are here.
    pub changes: Vec<Change>,
}

/// What became of decisions.
pub(super) struct Change {
    pub ids: Vec<String>,
    pub state: DecisionState,
    pub note: String,
}

impl Done {
    /// Whether `later` may be part of the same transaction: a checkpoint replaces all marks, and must not
    /// take with it those of files that came after it; a large one may find no room on a small disk.
    fn takes(&self, later: &Done) -> bool {
        let fits =
            self.findings.len() + later.findings.len() <= MAX_TOGETHER && self.bytes() + later.bytes() <= MAX_BYTES;
        fits && (self.checkpoint.is_none() || later.new_files.is_empty())
    }

    fn bytes(&self) -> usize {
        let evidence = |finding: &Finding| finding.evidence.iter().map(|piece| piece.matched.len()).sum::<usize>();
        let of =
            |f: &Finding| f.uri.len() + f.user_agent.len() + f.referer.len() + f.verdict.reasoning.len() + evidence(f);
        self.findings.iter().map(of).sum()
    }

    fn add(&mut self, later: Done) {
        self.new_files.extend(later.new_files);
        self.findings.extend(later.findings);
        self.decisions.extend(later.decisions);
        self.judgements.extend(later.judgements);
        self.calls.extend(later.calls);
        self.changes.extend(later.changes);
        self.checkpoint = later.checkpoint.or(self.checkpoint.take());
    }
}

enum Entry {
    Done(Box<Done>),
    /// Everything before is recorded.
    Flushed(oneshot::Sender<()>),
    /// From now on, what expires is marked.
    MarkExpired,
}

/// The decider's end.
pub(super) struct Recorder {
    entries: mpsc::UnboundedSender<Entry>,
    waiting: Arc<AtomicUsize>,
    problem: watch::Receiver<Option<String>>,
}

impl Recorder {
    /// Starts the task; it ends with this and when all is recorded.
    pub fn new(store: Arc<Sqlite>) -> Recorder {
        let (entries, taken) = mpsc::unbounded_channel();
        let (said, problem) = watch::channel(None);
        let waiting = Arc::new(AtomicUsize::new(0));
        tokio::spawn(Task { store, waiting: waiting.clone(), said, marks_expired: false }.run(taken));
        Recorder { entries, waiting, problem }
    }

    pub fn record(&self, done: Done) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The task ends after this alone.
        let _ = self.entries.send(Entry::Done(Box::new(done)));
    }

    /// Marks what expires from now on; before, who ended unseen can be asked for.
    pub fn mark_expired(&self) {
        let _ = self.entries.send(Entry::MarkExpired);
    }

    /// Waits until all is recorded. False when the store fails or `patience` ends.
    pub async fn flush(&self, patience: Duration) -> bool {
        let (done, flushed) = oneshot::channel();
        let _ = self.entries.send(Entry::Flushed(done));
        let mut problem = self.problem.clone();
        let failing = async { problem.wait_for(Option::is_some).await.is_ok() };
        tokio::select! {
            biased;
            flushed = timeout(patience, flushed) => matches!(flushed, Ok(Ok(()))),
            _ = failing => false,
        }
    }

    /// Entries not recorded yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Why nothing is recorded, if so.
    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

struct Task {
    store: Arc<Sqlite>,
    waiting: Arc<AtomicUsize>,
    said: watch::Sender<Option<String>>,
    marks_expired: bool,
}

impl Task {
    async fn run(mut self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = vec![];
        loop {
            tokio::select! {
                biased;
                count = entries.recv_many(&mut batch, 64) => {
                    if count == 0 {
                        return;
                    }
                    self.take(&mut batch).await;
                }
                _ = ticks.tick(), if self.marks_expired => if let Err(error) = self.store.expire(Timestamp::now()).await {
                    tracing::debug!("cannot mark what expired: {error}");
                }
            }
        }
    }

    /// Records entries in their order, those that may be together in one transaction.
    async fn take(&mut self, entries: &mut Vec<Entry>) {
        let mut entries = entries.drain(..).peekable();
        while let Some(entry) = entries.next() {
            match entry {
                Entry::Flushed(done) => {
                    // Nobody need wait.
                    let _ = done.send(());
                }
                Entry::MarkExpired => self.marks_expired = true,
                Entry::Done(mut done) => {
                    let mut count = 1;
                    while let Some(Entry::Done(later)) =
                        entries.next_if(|entry| matches!(entry, Entry::Done(later) if done.takes(later)))
                    {
                        done.add(*later);
                        count += 1;
                    }
                    self.insist(&done).await;
                    self.waiting.fetch_sub(count, Ordering::Relaxed);
                }
            }
        }
    }

    /// Tries until it is recorded; what was is not recorded twice.
    async fn insist(&self, done: &Done) {
        while let Err(error) = self.commit(done).await {
            self.wait_out(&error).await;
        }
        for Change { ids, state, note } in &done.changes {
            while let Err(error) = self.store.set_state(ids, *state, note, done.at).await {
                self.wait_out(&error).await;
            }
        }
        if self.said.send_replace(None).is_some() {
            tracing::info!("the store takes records again");
        }
    }

    async fn wait_out(&self, error: &StoreError) {
        if self.said.send_replace(Some(error.to_string())).is_none() {
            tracing::error!("{error}; what was found waits in memory");
        }
        tokio::time::sleep(TICK).await;
    }

    async fn commit(&self, done: &Done) -> Result<(), StoreError> {
        let batch = record::Batch {
            at: done.at,
            new_files: &done.new_files,
            findings: &done.findings,
            decisions: &done.decisions,
            judgements: &done.judgements,
            calls: &done.calls,
            checkpoint: done.checkpoint.as_ref().map(|(marks, state)| record::Checkpoint { marks, state }),
        };
        self.store.commit(&batch).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::decider::trial;

    #[test]
    fn what_goes_together_is_bounded_by_number_and_by_bytes() {
        let done = |findings: usize, bytes: usize| {
            let one = Finding { uri: "u".repeat(bytes), ..trial::finding(0, 1, Timestamp(0)) };
            Done { findings: vec![one; findings], ..Done::default() }
        };
        assert!(done(10_000, 10).takes(&done(6000, 10)) && !done(10_000, 10).takes(&done(7000, 10)));
        assert!(done(10, 1 << 20).takes(&done(5, 1 << 20)) && !done(10, 1 << 20).takes(&done(6, 1 << 20)));
    }
}
