use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::reader::FileId;

/// A busy log wakes the reader at most once in this time; the first announcement after a quiet time
/// passes at once. Measured at 1,000 lines a second, both threads: unpaced 3.2 % of a core and a median
/// delay of 0.05 ms; with 5 ms 1.7 % and 2.5 ms. At 20,000 lines a second with 5 ms: 3.5 %.
const PACE: Duration = Duration::from_millis(5);

/// Ends [`Tailer::wait`](super::Tailer::wait) early, from any thread.
#[derive(Clone)]
pub struct Waker(Arc<Signal>);

impl Waker {
    /// A wake while nobody waits is kept for the next wait.
    pub fn wake(&self) {
        self.0.change(|state| state.woken = true);
    }

    /// Says that something can be read. A wait ends, but not more often than every [`PACE`].
    pub(super) fn announce(&self) {
        self.0.change(|state| state.announced = true);
    }
}

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

/// What happened since the last look.
#[derive(Default)]
struct State {
    /// A waker was used.
    woken: bool,
    /// The kernel announced a change, ...
    announced: bool,
    /// ... and it may be one of names: something came, went or was renamed.
    names: bool,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    fn until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
        done: fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !done(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The kernel's announcements for a set of directories: a reason to look, never the truth.
pub(super) struct Watch {
    signal: Arc<Signal>,
    /// Absent when the kernel grants no watcher; looking at intervals does the work then.
    watcher: Option<RecommendedWatcher>,
    /// As what each directory was found: one that was removed and made anew needs a new watch.
    watched: BTreeMap<PathBuf, FileId>,
    /// When an announcement last ended a wait.
    announced: Option<Instant>,
}

impl Watch {
    pub fn new() -> Watch {
        let signal = Arc::new(Signal::default());
        let mut rest = Rest::default();
        let handler = {
            let signal = Arc::clone(&signal);
            move |event: notify::Result<notify::Event>| {
                let names = match event.map(|event| event.kind) {
                    // Reading files and listing directories, as we do, must not wake ourselves.
                    Ok(EventKind::Access(_)) => return,
                    kind => !matches!(kind, Ok(EventKind::Modify(ModifyKind::Data(_)))),
                };
                signal.change(|state| (state.announced, state.names) = (true, state.names | names));
                rest.after_batch();
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| tracing::warn!(%error, "no file notifications: files are looked at at intervals"))
            .ok();
        Watch { signal, watcher, watched: BTreeMap::new(), announced: None }
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

    /// As on a file system whose changes the kernel does not announce.
    #[cfg(test)]
    pub fn deafen(&mut self) {
        self.watcher = None;
    }

    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.signal))
    }

    /// Whether a name may have changed since the last call.
    pub fn take_names(&self) -> bool {
        std::mem::take(&mut self.signal.lock().names)
    }

    /// Until something was announced, a waker was used or `timeout` is over. Announcements that
    /// follow one another closely are taken together.
    pub fn wait(&mut self, timeout: Duration) {
        let rest = self.announced.map_or(Duration::ZERO, |last| PACE.saturating_sub(last.elapsed()));
        let state = self.signal.lock();
        let state = self.signal.until(state, rest.min(timeout), |state| state.woken);
        let mut state = self.signal.until(state, timeout, |state| state.woken || state.announced);
        if state.announced {
            self.announced = Some(Instant::now());
        }
        (state.woken, state.announced) = (false, false);
    }
}

/// Lets the announcing thread rest after each batch, while the kernel merges what a writer does into
/// one announcement.
#[derive(Default)]
struct Rest {
    ended: Option<Instant>,
}

impl Rest {
    /// After a rest, what queued up meanwhile (other files' announcements are not merged) is taken
    /// without resting for each.
    const DRAIN: Duration = Duration::from_micros(300);

    fn after_batch(&mut self) {
        if self.ended.is_none_or(|ended| ended.elapsed() > Rest::DRAIN) {
            std::thread::sleep(PACE);
            self.ended = Some(Instant::now());
        }
    }
}
