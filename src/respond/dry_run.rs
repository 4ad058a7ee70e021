//! Goes the whole road and stops before the act.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Answer, Manner, Responder};
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};

/// Remembers what would be shut out, and forgets it when it would end. Ends with the process.
#[derive(Debug, Default)]
pub struct DryRun {
    held: HashMap<IpNet, Instant>,
}

impl Responder for DryRun {
    fn name(&self) -> &'static str {
        "dry_run"
    }

    fn manner(&self) -> Manner {
        // What it stands for may.
        Manner { sees_clients_behind_proxies: true, ..Manner::KERNEL }
    }

    fn start(&mut self) -> Answer<'_, ()> {
        done(())
    }

    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        self.forget_ended();
        for permit in permits {
            match now.secs_until(permit.expires_at()) {
                0 => self.held.remove(&permit.target().trunc()),
                secs => self.held.insert(permit.target().trunc(), end_in(secs)),
            };
        }
        done(())
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        for target in targets {
            self.held.remove(&target.trunc());
        }
        done(())
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        self.forget_ended();
        let now = Instant::now();
        let remaining = |end: &Instant| end.saturating_duration_since(now).as_secs();
        done(
            self.held.iter().map(|(target, end)| Outcome { target: *target, remaining_secs: remaining(end) }).collect(),
        )
    }

    fn check(&mut self) -> Answer<'_, ()> {
        done(())
    }

    fn allow<'a>(&'a mut self, _networks: &'a [IpNet]) -> Answer<'a, ()> {
        done(())
    }
}

impl DryRun {
    fn forget_ended(&mut self) {
        let now = Instant::now();
        self.held.retain(|_, end| *end > now);
    }
}

/// `secs` from now by the clock that the kernel's timeouts run by too: it is never set back.
fn end_in(secs: u64) -> Instant {
    Instant::now() + Duration::from_secs(secs.min(super::MAX_SECS))
}

fn done<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}
