//! What was in force before the start comes back, through the gate.

use super::responders::AT_LEISURE;
use super::{Decider, fleet};
use crate::config::Mode;
use crate::decide::Permit;
use crate::event::{Decision, DecisionState, Proposal, Proposer, Timestamp, shown};

impl Decider {
    /// Makes the responders ready and puts back the bans that were in force.
    pub async fn restore(&mut self) -> anyhow::Result<()> {
        let now = Timestamp::now();
        // A responder that fails says so itself, and goes on trying.
        let _ = self.responders.pass(&self.passing(), AT_LEISURE).await;
        let simulated = self.mode == Mode::DryRun;
        let (mut restored, mut pending, mut others) = (vec![], vec![], 0);
        // A firewall takes some while the gate is asked for others, and others still are read.
        let mut parts = self.given.store.live_parts(now);
        while let Some(part) = parts.recv().await {
            let first = restored.len();
            for decision in part? {
                if decision.simulated == simulated {
                    self.restore_one(decision, now, &mut restored, &mut pending).await?;
                } else {
                    others += 1;
                }
            }
            let permits = restored.get(first..).unwrap_or_default();
            self.responders.begin_to_hold(permits);
            self.take_up(permits.to_vec());
        }
        if simulated && others > 0 {
            tracing::warn!(
                bans = others,
                "bans from enforce mode are still in the firewall and run out there; enforce mode and `palisade unban --all` lift them"
            );
        }
        // While firewalls are at the last ones.
        self.read_offences(now).await;
        if !restored.is_empty() {
            tracing::info!(bans = restored.len(), "bans from before the restart are back");
        }
        if self.responders.are_held(&restored, AT_LEISURE).await && !pending.is_empty() {
            self.given.store.set_state(&pending, DecisionState::Active, "", now).await?;
        }
        self.recover(AT_LEISURE).await;
        if self.mode == Mode::Enforce && self.responders.must_be_told_of_ends() {
            // Not every backend lets go by itself.
            let mut ended = self.given.store.ended_lately(now).await?;
            ended.retain(|target| !self.active.contains_key(target));
            self.responders.free_ended(&ended);
        }
        self.recorder.mark_expired();
        Ok(())
    }

    /// Takes one decision from before the start through the gate, to those restored if it passes.
    async fn restore_one(
        &mut self,
        decision: Decision,
        now: Timestamp,
        restored: &mut Vec<Permit>,
        pending: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let (proposer, state, created_at) = (decision.proposer, decision.state, decision.created_at);
        // What was held goes on waiting for its minute; what was in force is no new block.
        let is_held = state == DecisionState::Held;
        let mut proposal = match proposer {
            Proposer::Fleet => fleet::proposal(&decision, now),
            _ => Proposal {
                id: decision.id,
                target: decision.target,
                proposer: if is_held { Proposer::Rules } else { proposer },
                ground: decision.ground,
                at: now,
                duration_secs: now.secs_until(decision.expires_at),
                offences: decision.offences,
            },
        };
        if is_held {
            self.hold(proposal, None);
            return Ok(());
        }
        let asked = if proposer == Proposer::Fleet {
            self.ask_again_for_fleet(&proposal, created_at, now)
        } else {
            self.blasts.recall(&proposal, &self.limits, created_at, now);
            proposal.proposer = Proposer::Restored;
            self.ask(&proposal, now)
        };
        match asked {
            Ok(permit) => {
                pending.extend((state == DecisionState::Pending).then_some(proposal.id));
                restored.push(permit);
            }
            Err(refusal) if refusal.is_temporary() => self.hold(proposal, Some(refusal)),
            Err(refusal) => {
                tracing::info!(client = shown(proposal.target), refusal = %refusal, "a ban from before the restart is not put back");
                let (ids, note) = ([proposal.id], refusal.to_string());
                self.given.store.set_state(&ids, DecisionState::Lifted, &note, now).await?;
            }
        }
        Ok(())
    }
}
