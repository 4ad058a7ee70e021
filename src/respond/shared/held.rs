use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use crate::respond::MAX_SECS;

/// Who was shut out and until when, for a backend that cannot be asked. Gone with the process.
#[derive(Debug, Default)]
pub(in crate::respond) struct Held {
    ends: HashMap<IpNet, Instant>,
}

impl Held {
    /// Holds each target until its permit's end; one whose end has passed is let go.
    pub fn apply(&mut self, permits: &[Permit], now: Timestamp) {
        for permit in permits {
            match now.secs_until(permit.expires_at()) {
                0 => self.ends.remove(&permit.target().trunc()),
                secs => self.ends.insert(permit.target().trunc(), end_in(secs)),
            };
        }
    }

    pub fn lift(&mut self, targets: &[IpNet]) {
        for target in targets {
            self.ends.remove(&target.trunc());
        }
    }

    pub fn forget_ended(&mut self) {
        let now = Instant::now();
        self.ends.retain(|_, end| *end > now);
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        let now = Instant::now();
        let remaining = |end: &Instant| end.saturating_duration_since(now).as_secs();
        self.ends.iter().map(|(target, end)| Outcome { target: *target, remaining_secs: remaining(end) }).collect()
    }
}

/// `secs` from now by the clock that the kernel's timeouts run by too: it is never set back.
fn end_in(secs: u64) -> Instant {
    Instant::now() + Duration::from_secs(secs.min(MAX_SECS))
}
