//! What other agents decided. Their bans pass the gate with limits of their own, so that an agent in wrong
//! hands can neither shut out this host's visitors nor use up what its rules may block. Bans of this host
//! always come first: one of another agent waits behind whatever is in force, and holds where it lasts longer.

use std::collections::{HashSet, VecDeque};

use serde_json::{Value, json};

use super::imports::MAX_IN_FORCE;
use super::{AT_ONCE, Decider, Done, PATIENCE};
use crate::config::Mode;
use crate::decide::{Blasts, Limits, Permit, Refusal, gate};
use crate::event::{Decision, DecisionState, Ground, Proposal, Proposer, Timestamp, shown};
use crate::show::Problem;

/// Bans of others that wait; one more is refused.
const MAX_WAITING: usize = 10_000;
/// Why one waits that the gate would let pass.
const BEHIND: &str = "blocked already: it holds when that ban ends";

/// What the decider knows of the others.
#[derive(Default)]
pub(super) struct Fleet {
    blasts: Blasts,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    proposal: Proposal,
    /// None: another ban is in force.
    why: Option<Refusal>,
}

impl Fleet {
    pub fn waiting(&self) -> impl Iterator<Item = &Proposal> {
        self.waiting.iter().map(|waiting| &waiting.proposal)
    }

    /// Takes out those that fit.
    pub fn withdraw(&mut self, fits: impl Fn(&Proposal) -> bool) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| !fits(&waiting.proposal));
        self.waiting.len() < before
    }

    /// Why those wait that the gate holds.
    pub fn held(&self) -> impl Iterator<Item = &Refusal> + Clone {
        self.waiting.iter().filter_map(|waiting| waiting.why.as_ref())
    }

    /// Takes out what the gate holds, for an operator to release. The limits count anew from here.
    pub fn release(&mut self) -> Vec<Proposal> {
        self.blasts = Blasts::default();
        let (held, behind): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.why.is_some());
        self.waiting = behind;
        held.into_iter().map(|waiting| waiting.proposal).collect()
    }

    /// Lets one wait; false if too many do.
    pub fn wait(&mut self, proposal: Proposal, why: Option<Refusal>) -> bool {
        let fits = self.waiting.len() < MAX_WAITING;
        if fits {
            self.waiting.push_back(Waiting { proposal, why });
        }
        fits
    }
}

impl Decider {
    /// Takes decisions of other agents: active ones are bans, lifted ones let go again. Each is taken once,
    /// however often it comes.
    pub(super) async fn follow(&mut self, decisions: Vec<Decision>, now: Timestamp) -> Result<Value, Problem> {
        // The record says what is known.
        if !self.recorder.flush(PATIENCE).await {
            return Err(Problem::Failed("bans of others wait: nothing can be recorded".into()));
        }
        let (mut known, mut new, mut seen) = (0, 0, HashSet::new());
        let (mut lifted, mut permits, mut recorded) = (vec![], vec![], vec![]);
        for decision in decisions {
            if decision.state == DecisionState::Lifted {
                seen.insert(decision.id.clone());
                // Bans before it in this batch are carried out first.
                self.carry_out(&mut permits, &mut recorded, now).await;
                if self.lift(decision, &mut lifted, now).await? { new += 1 } else { known += 1 }
            } else if !seen.insert(decision.id.clone()) || self.is_known(&decision).await? {
                known += 1;
            } else {
                new += 1;
                recorded.push(self.take_ban(decision, &mut permits, now));
            }
        }
        self.carry_out(&mut permits, &mut recorded, now).await;
        if !lifted.is_empty() {
            // Who else wants them shut out need not wait for the next tick.
            self.retry_fleet(now).await;
        }
        let is_recorded = self.recorder.flush(PATIENCE).await;
        Ok(json!({ "new": new, "known": known, "recorded": is_recorded }))
    }

    /// Asks the gate for a ban of another agent; gives what is to be recorded.
    fn take_ban(&mut self, theirs: Decision, permits: &mut Vec<Permit>, now: Timestamp) -> Decision {
        let proposal = proposal(&theirs, now);
        let mut decision = Decision { origin: theirs.origin, ..self.decision(&proposal, now) };
        let in_batch = permits.iter().any(|permit| permit.target() == decision.target);
        let is_behind = in_batch || self.active.contains_key(&decision.target);
        let asked = match is_behind {
            true => Ok(None),
            false => self.ask_for_fleet(&proposal, now).map(Some),
        };
        let target = shown(decision.target);
        match asked {
            Ok(Some(permit)) => {
                decision.expires_at = permit.expires_at();
                decision.state = DecisionState::Active;
                self.given.status.blocks += 1;
                if self.may_say() {
                    let said = self.verb();
                    tracing::warn!(client = target, until = %decision.expires_at, reason = decision.ground.reason, "{said}");
                }
                permits.push(permit);
            }
            Ok(None) => {
                let waits = self.fleet.wait(proposal, None);
                (decision.state, decision.note) = held(waits, BEHIND.into());
            }
            Err(refusal) if refusal.is_temporary() => {
                if self.may_say() {
                    tracing::warn!(client = target, origin = decision.origin, refusal = %refusal, "not blocked yet");
                }
                self.given.status.held += 1;
                let waits = self.fleet.wait(proposal, Some(refusal.clone()));
                (decision.state, decision.note) = held(waits, refusal.to_string());
            }
            Err(refusal) => {
                if self.may_say() {
                    tracing::info!(client = target, origin = decision.origin, refusal = %refusal, "not blocked");
                }
                self.given.status.refused += 1;
                (decision.state, decision.note) = (DecisionState::Refused, refusal.to_string());
            }
        }
        decision
    }

    async fn carry_out(&mut self, permits: &mut Vec<Permit>, decisions: &mut Vec<Decision>, now: Timestamp) {
        let applied = self.apply(std::mem::take(permits), AT_ONCE).await;
        let mut decisions = std::mem::take(decisions);
        if !applied {
            decisions.iter_mut().filter(|decision| decision.state == DecisionState::Active).for_each(|decision| {
                decision.state = DecisionState::Pending;
            });
        }
        if !decisions.is_empty() {
            self.recorder.record(Done { at: now, decisions, ..Done::default() });
        }
    }

    /// Ends one ban of another agent, and no other; false if it had ended. One that was not known yet is
    /// recorded as lifted, so that it stays so when its message comes late, or again.
    async fn lift(&mut self, theirs: Decision, lifted: &mut Vec<String>, now: Timestamp) -> Result<bool, Problem> {
        let (id, target) = (theirs.id.clone(), theirs.target);
        if self.active.get(&target).is_some_and(|permit| permit.id() == id) {
            self.active.remove(&target);
            lifted.push(id.clone());
            if let Err(error) = self.responders.free(&[target], std::slice::from_ref(&id)).await {
                tracing::warn!("not let go everywhere: {error}; it is tried again until it works");
            }
            tracing::info!(client = shown(target), origin = theirs.origin, "lifted");
        } else if !self.fleet.withdraw(|proposal| proposal.id == id) {
            let is_new = self.given.store.decision(&id).await?.is_none();
            if is_new {
                let decision = Decision { simulated: self.mode == Mode::DryRun, ..theirs };
                self.recorder.record(Done { at: now, decisions: vec![decision], ..Done::default() });
            }
            return Ok(is_new);
        }
        self.change(vec![id], DecisionState::Lifted, &theirs.note, now);
        Ok(true)
    }

    async fn is_known(&self, decision: &Decision) -> Result<bool, Problem> {
        let is_held = self.active.get(&decision.target).is_some_and(|permit| permit.id() == decision.id);
        let waits = || self.fleet.waiting().any(|proposal| proposal.id == decision.id);
        Ok(is_held || waits() || self.given.store.decision(&decision.id).await?.is_some())
    }

    fn ask_for_fleet(&mut self, proposal: &Proposal, now: Timestamp) -> Result<Permit, Refusal> {
        if self.active.len() >= MAX_IN_FORCE {
            return Err(Refusal::Full);
        }
        self.look_around();
        let on_trial = self.within_trial(proposal);
        let proposal = on_trial.as_ref().unwrap_or(proposal);
        gate(proposal, &self.surroundings, &mut self.fleet.blasts, &self.limits, now)
    }

    /// Asks for a ban of another agent that was in force before a restart and is no new one.
    pub(super) fn ask_again_for_fleet(
        &mut self,
        proposal: &Proposal,
        created_at: Timestamp,
        now: Timestamp,
    ) -> Result<Permit, Refusal> {
        self.fleet.blasts.recall(proposal, &self.limits, created_at, now);
        self.look_around();
        gate(proposal, &self.surroundings, &mut Blasts::default(), &Limits::NONE, now)
    }

    /// Bans of other agents whose place one of this host took wait behind it.
    pub(super) fn put_behind(&mut self, replaced: Vec<Permit>, now: Timestamp) {
        let (mut waiting, mut ended) = (vec![], vec![]);
        for permit in replaced {
            let (id, target, expires_at) = (permit.id().to_owned(), permit.target(), permit.expires_at());
            let ground = Ground { category: permit.category(), ..Ground::default() };
            let duration_secs = now.secs_until(expires_at);
            let at = Timestamp(expires_at.0.saturating_sub_unsigned(duration_secs.saturating_mul(1000)));
            let proposal =
                Proposal { id: id.clone(), target, proposer: Proposer::Fleet, ground, at, duration_secs, offences: 0 };
            if self.fleet.wait(proposal, None) { waiting.push(id) } else { ended.push(id) }
        }
        for (ids, state, note) in [
            (waiting, DecisionState::Held, BEHIND),
            (ended, DecisionState::Lifted, "another ban took its place, and too many wait"),
        ] {
            if !ids.is_empty() {
                self.change(ids, state, note, now);
            }
        }
    }

    /// Tries again what waits and nothing is in force for.
    pub(super) async fn retry_fleet(&mut self, now: Timestamp) {
        let (mut permits, mut settled, mut kept) = (Vec::<Permit>::new(), vec![], VecDeque::new());
        let mut is_full = false;
        while let Some(Waiting { proposal, why }) = self.fleet.waiting.pop_front() {
            let in_batch = permits.iter().any(|permit| permit.target() == proposal.target);
            // What holds one holds all.
            if is_full || in_batch || self.active.contains_key(&proposal.target) {
                kept.push_back(Waiting { proposal, why });
                continue;
            }
            match self.ask_for_fleet(&proposal, now) {
                Ok(permit) => {
                    settled.push((proposal.id, DecisionState::Active, String::new()));
                    permits.push(permit);
                }
                Err(refusal) if refusal.is_temporary() => {
                    is_full = refusal.is_of_all();
                    kept.push_back(Waiting { proposal, why: Some(refusal) });
                }
                Err(refusal) => settled.push((proposal.id, DecisionState::Refused, refusal.to_string())),
            }
        }
        self.fleet.waiting = kept;
        if !settled.is_empty() {
            self.conclude(permits, settled, now).await;
        }
    }
}

fn held(waits: bool, note: String) -> (DecisionState, String) {
    match waits {
        true => (DecisionState::Held, note),
        false => (DecisionState::Refused, format!("too many bans of other agents wait already; {note}")),
    }
}

/// It ends when the other agent's does, to the millisecond.
pub(super) fn proposal(decision: &Decision, now: Timestamp) -> Proposal {
    let duration_secs = now.secs_until(decision.expires_at);
    Proposal {
        id: decision.id.clone(),
        target: decision.target,
        proposer: Proposer::Fleet,
        ground: decision.ground.clone(),
        at: Timestamp(decision.expires_at.0.saturating_sub_unsigned(duration_secs.saturating_mul(1000))),
        duration_secs,
        offences: 0,
    }
}
