use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::reader::FileId;

/// Ends [`Tailer::wait`](super::Tailer::wait) early, from any thread.
#[derive(Clone)]
pub struct Waker(Arc<Signal>);

impl Waker {
    /// A wake while nobody waits is kept for the next wait.
    pub fn wake(&self) {
        self.0.set(Change::Data);
    }
}

/// What may have happened since the last look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Some file grew, or a waker was used.
    Data,
    /// A name in some directory came, went or changed its meaning.
    Names,
}

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    data: bool,
    names: bool,
}

impl Signal {
    fn set(&self, change: Change) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.names |= change == Change::Names;
        if !state.data {
            state.data = true;
            self.changed.notify_one();
        }
    }
}

/// The kernel's announcements for a set of directories: a reason to look, never the truth.
pub(super) struct Watch {
    signal: Arc<Signal>,
    /// Absent when the kernel grants no watcher; looking at intervals does the work then.
    watcher: Option<RecommendedWatcher>,
    /// As what each directory was found: one that was removed and made anew needs a new watch.
    watched: BTreeMap<PathBuf, FileId>,
}

impl Watch {
    pub fn new() -> Watch {
        let signal = Arc::new(Signal::default());
        let mut pace = Pace::default();
        let handler = {
            let signal = Arc::clone(&signal);
            move |event: notify::Result<notify::Event>| {
                let change = match event.map(|event| event.kind) {
                    // Reading files and listing directories, as we do, must not wake ourselves.
                    Ok(EventKind::Access(_)) => return,
                    Ok(EventKind::Modify(ModifyKind::Data(_))) => Change::Data,
                    _ => Change::Names,
                };
                signal.set(change);
                pace.pause();
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| tracing::warn!(%error, "no file notifications: files are looked at at intervals"))
            .ok();
        Watch { signal, watcher, watched: BTreeMap::new() }
    }

    /// Watches exactly these directories. One that does not exist is tried again at the next call.
    pub fn directories(&mut self, wanted: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for (old, _) in self.watched.extract_if(.., |directory, _| !wanted.contains(directory)) {
            // Fails when the directory is gone, and the kernel's watch with it.
            let _ = watcher.unwatch(&old);
        }
        for directory in wanted {
            let Ok(id) = fs::metadata(directory).map(|metadata| FileId::of(&metadata)) else {
                self.watched.remove(directory);
                continue;
            };
            if self.watched.get(directory) != Some(&id) && watcher.watch(directory, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(directory.clone(), id);
            }
        }
    }

    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.signal))
    }

    /// Whether a name may have changed since the last call.
    pub fn take_names(&self) -> bool {
        let mut state = self.signal.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.names)
    }

    /// Until something was announced, or `timeout` is over.
    pub fn wait(&self, timeout: Duration) {
        let state = self.signal.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .signal
            .changed
            .wait_timeout_while(state, timeout, |state| !state.data)
            .unwrap_or_else(PoisonError::into_inner);
        state.data = false;
    }
}

/// Bounds how often a busy log wakes the reader. The first announcement after a quiet time passes at
/// once; then the announcing thread rests, and the kernel merges what a writer does meanwhile into
/// one announcement.
#[derive(Default)]
struct Pace {
    rested: Option<Instant>,
}

impl Pace {
    /// At most about 400 wakes a second.
    const REST: Duration = Duration::from_millis(2);
    /// After a rest, what queued up meanwhile (other files' announcements are not merged) is taken
    /// without resting for each.
    const DRAIN: Duration = Duration::from_micros(300);

    fn pause(&mut self) {
        if self.rested.is_none_or(|rested| rested.elapsed() > Pace::DRAIN) {
            std::thread::sleep(Pace::REST);
            self.rested = Some(Instant::now());
        }
    }
}
