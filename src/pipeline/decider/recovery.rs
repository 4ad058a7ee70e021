//! After the database was damaged: who is shut out and of whom nothing is known stays shut out. What backends
//! hold was decided by us, so it becomes a decision again.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{Instant, timeout_at};

use super::{AT_LEISURE, Decider, Done};
use crate::config::Mode;
use crate::event::{DecisionState, Ground, Outcome, Proposal, Proposer, Timestamp, digest};

const REASON: &str = "was held by the firewall when the local database was found damaged";

impl Decider {
    /// Asks all backends what they hold, if the database is new; waits a while for those that answer at once.
    pub(super) async fn recover(&mut self, patience: Duration) {
        if self.given.store.damaged().is_none() {
            return;
        }
        if self.mode == Mode::Enforce {
            self.unheard = self.responders.ask();
            let deadline = Instant::now() + patience;
            for mut told in std::mem::take(&mut self.unheard) {
                match timeout_at(deadline, &mut told).await {
                    Ok(held) => self.take_over(held.unwrap_or_default(), Timestamp::now()).await,
                    Err(_) => self.unheard.push(told),
                }
            }
        }
        self.when_recovered();
    }

    /// Once a second: what those say that took longer.
    pub(super) async fn hear(&mut self, now: Timestamp) {
        if self.unheard.is_empty() {
            return;
        }
        for mut told in std::mem::take(&mut self.unheard) {
            match told.try_recv() {
                Err(TryRecvError::Empty) => self.unheard.push(told),
                held => self.take_over(held.unwrap_or_default(), now).await,
            }
        }
        self.when_recovered();
    }

    fn when_recovered(&self) {
        if self.unheard.is_empty() {
            self.given.store.recovered();
        }
    }

    /// Makes decisions of what is held and was not decided.
    async fn take_over(&mut self, held: Vec<Outcome>, now: Timestamp) {
        let unknown =
            held.into_iter().filter(|held| held.remaining_secs > 0 && !self.active.contains_key(&held.target));
        let unknown: BTreeMap<IpNet, u64> = unknown.map(|held| (held.target, held.remaining_secs)).collect();
        let (mut permits, mut decisions) = (vec![], vec![]);
        for (target, duration_secs) in unknown {
            let proposal = Proposal {
                id: digest(&[b"recovered", target.to_string().as_bytes(), &now.0.to_le_bytes()]),
                target,
                proposer: Proposer::Restored,
                ground: Ground { reason: REASON.into(), ..Ground::default() },
                at: now,
                duration_secs,
                offences: 0,
            };
            let mut decision = self.decision(&proposal, now);
            match self.ask(&proposal, now) {
                Ok(permit) => {
                    decision.state = DecisionState::Active;
                    permits.push(permit);
                }
                Err(refusal) => {
                    decision.note = refusal.to_string();
                    decision.state = DecisionState::Refused;
                    if refusal.is_temporary() {
                        decision.state = DecisionState::Held;
                        self.hold(proposal, Some(refusal));
                    }
                }
            }
            decisions.push(decision);
        }
        if decisions.is_empty() {
            return;
        }
        tracing::warn!(
            bans = permits.len(),
            "bans that the firewall holds are taken over, for the database was damaged"
        );
        if !self.apply(permits, AT_LEISURE).await {
            let active = decisions.iter_mut().filter(|decision| decision.state == DecisionState::Active);
            active.for_each(|decision| decision.state = DecisionState::Pending);
        }
        self.recorder.record(Done { at: now, decisions, ..Done::default() });
    }
}
