//! Goes the whole road and stops before the act.

use ipnet::IpNet;

use super::shared::Held;
use super::{Answer, Manner, Responder, done};
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};

/// Remembers what would be shut out, and forgets it when it would end. Ends with the process.
#[derive(Debug, Default)]
pub struct DryRun {
    held: Held,
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
        self.held.forget_ended();
        self.held.apply(permits, now);
        done(())
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        self.held.lift(targets);
        done(())
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        self.held.forget_ended();
        done(self.held.outcomes())
    }

    fn check(&mut self) -> Answer<'_, ()> {
        done(())
    }

    fn allow<'a>(&'a mut self, _networks: &'a [IpNet]) -> Answer<'a, ()> {
        done(())
    }
}
