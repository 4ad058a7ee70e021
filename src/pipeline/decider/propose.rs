//! From a proposal to a permit and the decision that is recorded: the way of each one that is new.

use super::Decider;
use crate::config::Mode;
use crate::decide::{Permit, Refusal, Surroundings, gate};
use crate::event::{Decision, DecisionState, Proposal, Proposer, Timestamp, shown};
use crate::pipeline::crawlers::Claim;

/// Why a proposal is not carried out whose target is shut out as long, or longer.
pub(super) const BLOCKED_ALREADY: &str = "blocked already";

impl Decider {
    /// Asks the gate for one proposal; gives the decision to record, if it is a new one.
    pub(super) async fn propose(
        &mut self,
        proposal: Proposal,
        claim: Option<Claim>,
        permits: &mut Vec<Permit>,
        now: Timestamp,
    ) -> Option<Decision> {
        if self.is_decided(&proposal.id).await {
            return None;
        }
        let target = proposal.target;
        let proposal = self.lengthen(proposal);
        let mut decision = self.decision(&proposal, now);
        let (proposal, note) = self.doubt(proposal, claim);
        decision.note = self.with_reach(note, &decision.ground);
        let Some(proposal) = proposal else {
            decision.state = DecisionState::Held;
            tracing::info!(client = shown(target), "{}", decision.note);
            return Some(decision);
        };
        let in_batch = permits.iter().any(|permit| permit.target() == target);
        if in_batch || self.is_blocked_longer(&proposal) {
            decision.state = DecisionState::Refused;
            decision.note = BLOCKED_ALREADY.into();
            return Some(decision);
        }
        match self.ask(&proposal, now) {
            Ok(permit) => {
                decision.expires_at = permit.expires_at();
                decision.state = DecisionState::Active;
                self.given.status.blocks += 1;
                let said = self.verb();
                tracing::warn!(client = shown(target), until = %decision.expires_at, reason = decision.ground.reason, "{said}");
                permits.push(permit);
            }
            Err(refusal) if refusal.is_temporary() => {
                decision.state = DecisionState::Held;
                decision.note = refusal.to_string();
                self.given.status.held += 1;
                if self.may_say() {
                    tracing::warn!(client = shown(target), refusal = %refusal, "not blocked yet");
                }
                self.hold(proposal, Some(refusal));
            }
            Err(refusal) => {
                decision.state = DecisionState::Refused;
                decision.note = refusal.to_string();
                self.given.status.refused += 1;
                if self.may_say() {
                    tracing::warn!(client = shown(target), refusal = %refusal, "not blocked");
                }
            }
        }
        Some(decision)
    }

    /// Lines read again after a restart propose what was decided then: the record stands.
    pub(super) async fn is_decided(&self, id: &str) -> bool {
        !self.caught_up && matches!(self.given.store.decision(id).await, Ok(Some(_)))
    }

    /// Whether a ban in force lasts at least as long as this one would. One of another agent does not count: it
    /// may be lifted there at any time.
    pub(super) fn is_blocked_longer(&self, proposal: &Proposal) -> bool {
        let end = proposal.at.plus_secs(proposal.duration_secs);
        let lasts = |ban: &Permit| ban.expires_at() >= end && ban.proposer() != Proposer::Fleet;
        self.active.get(&proposal.target).is_some_and(lasts)
    }

    pub(super) fn decision(&self, proposal: &Proposal, now: Timestamp) -> Decision {
        let on_trial = self.within_trial(proposal);
        let proposal = on_trial.as_ref().unwrap_or(proposal);
        Decision {
            id: proposal.id.clone(),
            target: proposal.target,
            proposer: proposal.proposer,
            ground: proposal.ground.clone(),
            created_at: now,
            expires_at: proposal.at.plus_secs(proposal.duration_secs),
            simulated: self.mode == Mode::DryRun,
            state: DecisionState::Pending,
            note: String::new(),
            offences: proposal.offences,
            origin: String::new(),
        }
    }

    pub(super) fn ask(&mut self, proposal: &Proposal, now: Timestamp) -> Result<Permit, Refusal> {
        self.look_around();
        let on_trial = self.within_trial(proposal);
        let proposal = on_trial.as_ref().unwrap_or(proposal);
        gate(proposal, &self.surroundings, &mut self.blasts, &self.limits, now)
    }

    /// Takes the newest surroundings.
    pub(super) fn look_around(&mut self) {
        if self.given.surroundings.has_changed().unwrap_or(false) {
            let verified_crawlers = std::mem::take(&mut self.surroundings.verified_crawlers);
            let newest = self.given.surroundings.borrow_and_update().clone();
            self.surroundings = Surroundings { verified_crawlers, ..newest };
        }
    }

    /// What is done to a client that the gate lets be blocked.
    pub(super) fn verb(&self) -> &'static str {
        if self.mode == Mode::DryRun { "would block" } else { "blocking" }
    }
}
