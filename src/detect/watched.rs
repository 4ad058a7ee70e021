//! Which windows a line may go into, by its event, method and status.

use super::record::{MethodClass, Record, What};
use super::window::{Standing, WindowRule};

/// What windows may fit, told by one look, since most lines fit none: a set of windows for each
/// status of requests of each class of methods, and of the other events.
pub struct Watched {
    /// Numbers of sets; the first set is empty.
    by_status: [Box<[u16; STATUSES]>; ROWS],
    sets: Vec<Set>,
    /// Those for busy clients.
    busy: Vec<usize>,
}

/// Indexes of windows that fit the same events, statuses and methods.
#[derive(Default, PartialEq)]
struct Set {
    windows: Vec<usize>,
    /// Whether any of them asks what kind of path it is.
    asks_paths: bool,
}

/// Statuses are told apart up to this; above it they share a place with another.
const STATUSES: usize = 1024;

impl Watched {
    pub fn by(windows: &[WindowRule]) -> Watched {
        let by_status = std::array::from_fn(|_| Box::new([0; STATUSES]));
        let mut watched = Watched { by_status, sets: vec![Set::default()], busy: vec![] };
        let is_busy = |index: &usize| windows[*index].spec.busy;
        let (busy, always): (Vec<usize>, Vec<usize>) = (0..windows.len()).partition(is_busy);
        watched.busy = busy;
        for event in What::ALL {
            for method in MethodClass::ALL {
                let is_of = |index: &usize| {
                    let spec = &windows[*index].spec;
                    spec.event.includes(event) && spec.has_method(method)
                };
                let of: Vec<usize> = always.iter().copied().filter(is_of).collect();
                let statuses = |index: &usize| &windows[*index].spec.status;
                let any_status = of.iter().copied().filter(|index| statuses(index).is_empty()).collect();
                let row = row(event, method);
                let number = watched.number(any_status, windows);
                watched.by_status[row].fill(number);
                for status in of.iter().flat_map(statuses).map(|&status| place(status)) {
                    let fits = |index: &usize| {
                        statuses(index).is_empty() || statuses(index).iter().any(|&known| place(known) == status)
                    };
                    let number = watched.number(of.iter().copied().filter(fits).collect(), windows);
                    watched.by_status[row][status] = number;
                }
            }
        }
        watched
    }

    /// The number of the set of these windows, which is made if there is none.
    fn number(&mut self, of: Vec<usize>, windows: &[WindowRule]) -> u16 {
        let known = self.sets.iter().position(|set| set.windows == of);
        let at = known.unwrap_or_else(|| {
            let asks_paths = of.iter().any(|&index| !windows[index].spec.paths.is_empty());
            self.sets.push(Set { windows: of, asks_paths });
            self.sets.len() - 1
        });
        // There are at most as many sets as places for their numbers.
        const { assert!(ROWS * STATUSES < u16::MAX as usize) };
        at as u16
    }

    #[inline]
    fn number_of(&self, line: &Record) -> usize {
        usize::from(self.by_status[row(line.what, line.method)][place(line.status)])
    }

    /// Whether a window that is not for busy clients alone may [fit](WindowRule::fits) the line; if
    /// not, none does.
    #[inline]
    pub fn has(&self, line: &Record) -> bool {
        self.number_of(line) != 0
    }

    /// Whether one of those asks what kind of path the line's is.
    #[inline]
    pub fn asks_paths(&self, line: &Record) -> bool {
        self.sets[self.number_of(line)].asks_paths
    }

    /// The indexes of all windows that may fit a line of a client in this standing.
    pub fn windows(&self, line: &Record, standing: Standing) -> impl Iterator<Item = usize> {
        let busy: &[usize] = if standing.busy { &self.busy } else { &[] };
        self.sets[self.number_of(line)].windows.iter().chain(busy).copied()
    }
}

/// A row for each class of methods, and for each event but requests.
const ROWS: usize = MethodClass::ALL.len() + What::ALL.len() - 1;

#[inline]
fn row(event: What, method: MethodClass) -> usize {
    match event {
        What::Request => method as usize,
        other => 3 + other as usize,
    }
}

fn place(status: u16) -> usize {
    usize::from(status) & (STATUSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Ruleset;
    use crate::detect::paths::PathClass;
    use crate::detect::record::Traits;
    use crate::event::{Event, Http, Kind};

    #[test]
    fn one_look_tells_which_lines_no_window_fits() {
        let rules = Ruleset::new(&[], &[]).unwrap();
        let request = Record::of(&Event::of(Kind::Http(Http { method: b"GET", ..Http::default() })), None);
        let everything =
            [PathClass::Page, PathClass::Asset, PathClass::Other, PathClass::Login, PathClass::Credentials]
                .iter()
                .fold(Traits::default(), |all, class| all.with(class.of_line()));
        let watched = Watched::by(&rules.windows);
        let (mut passed, mut fitting) = (0, 0);
        for what in What::ALL {
            for method in MethodClass::ALL {
                for status in (0..1000).chain([1403, 65_000]) {
                    let line = Record { what, status, method, client: 7, traits: everything, ..request };
                    let fits = rules.windows.iter().any(|window| window.fits(&line, Standing::default()));
                    let offered: Vec<usize> = watched.windows(&line, Standing::default()).collect();
                    let missed = (0..rules.windows.len())
                        .filter(|at| rules.windows[*at].fits(&line, Standing::default()) && !offered.contains(at));
                    assert_eq!(missed.count(), 0, "{what:?} {method:?} {status}");
                    (passed, fitting) = (passed + usize::from(!watched.has(&line)), fitting + usize::from(fits));
                }
            }
        }
        assert!(passed > 7900 && fitting > 10_000, "{passed} and {fitting} of 24,048");
    }
}
