//! What the gate holds back because it would be too much at once: it waits here, is tried again every
//! second, and goes when an operator releases it. And how long bans last that repeat or never end.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::propose::BLOCKED_ALREADY;
use super::{AT_ONCE, Change, Decider, Done, PATIENCE};
use crate::config::Mode;
use crate::decide::{self, Blasts, Limits, Permit, Refusal, gate};
use crate::event::{ClientKey, DecisionState, Ground, Proposal, Proposer, Timestamp, shown};
use crate::pipeline::judge;

/// Proposals that wait; beyond it the oldest are given up, and that is said.
const MAX_HELD: usize = 10_000;
/// Bans of so many days count as earlier offences: as long as an address is likely to be the same hands.
const REMEMBERED_SECS: u64 = 30 * 86_400;
/// Bans that outlast a year, which responders hold at most, are ordered again this often.
const RENEW_SECS: u64 = 30 * 86_400;
const YEAR_SECS: u64 = 365 * 86_400;
/// What is said of a decision about a client behind a proxy.
const VIA_PROXY: &str =
    "came through a proxy: only responders that look at requests (nginx, cloudflare, a WAF) reach it";

/// A proposal that waits.
pub(super) struct Held {
    pub proposal: Proposal,
    /// None: it waited before a restart.
    why: Option<Refusal>,
}

impl Decider {
    pub(super) fn hold(&mut self, proposal: Proposal, why: Option<Refusal>) {
        if proposal.proposer == Proposer::Fleet {
            self.fleet.wait(proposal, why);
            return;
        }
        if self.held.len() == MAX_HELD {
            self.given_up.extend(self.held.pop_front().map(|held| held.proposal.id));
            self.troubles.insert("held", format!("more than {MAX_HELD} blocks are held; the oldest are given up"));
        }
        if let Some(why) = why.as_ref().filter(|_| self.held.is_empty()) {
            tracing::error!("{why}; from now on blocks wait, `palisade status` says how many");
        }
        self.held.push_back(Held { proposal, why });
    }

    /// Records what was given up, once it is recorded that it was held.
    pub(super) fn record_given_up(&mut self, now: Timestamp) {
        if !self.given_up.is_empty() {
            let ids = std::mem::take(&mut self.given_up);
            self.change(ids, DecisionState::Refused, "given up: too many were held", now);
        }
    }

    /// Tries again what is held. What holds all ends the round; what holds one network does not.
    pub(super) async fn retry_held(&mut self, now: Timestamp) {
        let (mut permits, mut settled, mut kept) = (vec![], vec![], vec![]);
        while let Some(held) = self.held.pop_front() {
            let Held { proposal, .. } = held;
            if self.is_blocked_longer(&proposal) {
                settled.push((proposal.id, DecisionState::Refused, BLOCKED_ALREADY.into()));
                continue;
            }
            // Asked first, because it costs little: thousands may wait.
            let answer = match self.blasts.holds(&proposal, &self.limits, now) {
                Some(refusal) if !is_over(&proposal, now) => Err(refusal),
                _ => self.ask(&proposal, now),
            };
            match answer {
                Ok(permit) => {
                    let note = self.with_reach(String::new(), &proposal.ground);
                    settled.push((proposal.id, DecisionState::Active, note));
                    permits.push(permit);
                }
                Err(refusal) if refusal.is_temporary() => {
                    kept.push(Held { proposal, why: Some(refusal.clone()) });
                    if refusal.is_of_all() {
                        let untried = self.held.iter_mut().filter(|held| held.why.is_none());
                        untried.for_each(|held| held.why = Some(refusal.clone()));
                        break;
                    }
                }
                Err(refusal) => settled.push((proposal.id, DecisionState::Refused, refusal.to_string())),
            }
        }
        kept.into_iter().rev().for_each(|held| self.held.push_front(held));
        self.conclude(permits, settled, now).await;
    }

    /// Carries out everything that is held, once, if the gate has no other objection. The limits count
    /// anew from here.
    pub(super) async fn release(&mut self, now: Timestamp) -> Value {
        self.look_around();
        let (mut permits, mut settled, mut refused, mut kept) = (vec![], vec![], vec![], vec![]);
        let mut unlimited = Blasts::default();
        let of_fleet = self.fleet.release();
        let held = std::mem::take(&mut self.held).into_iter().map(|held| held.proposal);
        for proposal in held.chain(of_fleet) {
            if proposal.proposer == Proposer::Fleet && self.active.contains_key(&proposal.target) {
                self.fleet.wait(proposal, None);
                continue;
            }
            if self.is_blocked_longer(&proposal) {
                settled.push((proposal.id, DecisionState::Refused, BLOCKED_ALREADY.into()));
                continue;
            }
            let on_trial = self.within_trial(&proposal);
            let asked = on_trial.as_ref().unwrap_or(&proposal);
            match gate(asked, &self.surroundings, &mut unlimited, &Limits::NONE, now) {
                Ok(permit) => {
                    let note = self.with_reach("released by an operator".into(), &proposal.ground);
                    settled.push((proposal.id, DecisionState::Active, note));
                    permits.push(permit);
                }
                Err(refusal) if refusal.is_temporary() && proposal.proposer == Proposer::Fleet => {
                    self.fleet.wait(proposal, Some(refusal));
                }
                Err(refusal) if refusal.is_temporary() => kept.push(Held { proposal, why: Some(refusal) }),
                Err(refusal) => {
                    refused.push(json!({ "target": shown(proposal.target), "refused": refusal.as_str() }));
                    settled.push((proposal.id, DecisionState::Refused, refusal.to_string()));
                }
            }
        }
        self.held.extend(kept);
        self.blasts = Blasts::default();
        self.troubles.remove("held");
        let released: Vec<String> = permits.iter().map(|permit| shown(permit.target())).collect();
        tracing::warn!(blocks = released.len(), "held blocks are released by an operator");
        self.conclude(permits, settled, now).await;
        self.recorder.flush(PATIENCE).await;
        json!({ "released": released, "refused": refused, "held": self.held.len() })
    }

    /// What is held and why, and what to do about it.
    pub(super) fn holding(&self) -> (Value, Option<String>) {
        let mut reasons: BTreeMap<&str, (usize, String)> = BTreeMap::new();
        let own = self.held.iter().map(|held| held.why.as_ref());
        let all = own.chain(self.fleet.held().map(Some));
        let count = all.clone().count();
        for why in all {
            let (word, said) = match why {
                Some(refusal) => (refusal.as_str(), refusal.to_string()),
                None => ("restart", "held since before the restart".into()),
            };
            reasons.entry(word).or_insert((0, said)).0 += 1;
        }
        let mut why: Vec<&str> = reasons.values().map(|(_, said)| said.as_str()).collect();
        why.dedup();
        let problem = (!why.is_empty()).then(|| {
            let why = why.join("; ");
            format!("{count} blocks wait: {why}; look at them, then `palisade release` carries them out at once")
        });
        let reasons = reasons.iter().map(|(word, (count, why))| json!({ "reason": word, "count": count, "why": why }));
        (reasons.collect(), problem)
    }

    /// Whether this target is shut out, or waits to be.
    pub(super) fn is_settled(&self, target: IpNet) -> bool {
        self.active.contains_key(&target) || self.held.iter().any(|held| held.proposal.target == target)
    }

    /// Carries out and records what became of proposals that waited.
    pub(super) async fn conclude(
        &mut self,
        permits: Vec<Permit>,
        settled: Vec<(String, DecisionState, String)>,
        now: Timestamp,
    ) {
        self.given.status.blocks += permits.len() as u64;
        let applied = self.apply(permits, AT_ONCE).await;
        // Thousands may be released at once.
        let mut alike: BTreeMap<(&str, String), (DecisionState, Vec<String>)> = BTreeMap::new();
        for (id, state, note) in settled {
            let state = if state == DecisionState::Active && !applied { DecisionState::Pending } else { state };
            alike.entry((state.as_str(), note)).or_insert((state, vec![])).1.push(id);
        }
        let changes = alike.into_iter().map(|((_, note), (state, ids))| Change { ids, state, note });
        self.recorder.record(Done { at: now, changes: changes.collect(), ..Done::default() });
    }

    /// A note with what is to be said of a client behind a proxy. Where no responder reaches such a client,
    /// that is a problem from now on.
    pub(super) fn with_reach(&mut self, note: String, ground: &Ground) -> String {
        if !ground.via_proxy {
            return note;
        }
        if !self.responders.reach_behind_proxies() {
            self.troubles.entry("proxy").or_insert_with(|| {
                "clients behind a trusted proxy are blocked, but no responder reaches them: their packets come from the \
                 proxy; add one to respond.use that looks at requests, such as nginx, cloudflare or azure with a WAF policy"
                    .into()
            });
        }
        if note.is_empty() { VIA_PROXY.into() } else { format!("{note}; {VIA_PROXY}") }
    }

    /// Makes a ban by rules as long as the client's earlier bans want: the record knows them also where
    /// counting has lost them.
    pub(super) fn lengthen(&self, proposal: Proposal) -> Proposal {
        let of = |target: &IpNet| self.past_offences.get(target).copied().unwrap_or(0);
        let kept = self.given.store.as_kept(proposal.target);
        let offences = of(&proposal.target) + if kept == proposal.target { 0 } else { of(&kept) };
        if proposal.proposer != Proposer::Rules || offences <= proposal.offences {
            return proposal;
        }
        let client = ClientKey::of(proposal.target.addr(), proposal.target.prefix_len());
        let seed = decide::ban_seed(client, u32::try_from(proposal.at.secs()).unwrap_or(0));
        let duration_secs = decide::ban_secs(offences, judge::durations(&self.given.config), seed);
        Proposal { offences, duration_secs, ..proposal }
    }

    /// Reads how often whom was banned before, in this mode.
    pub(super) async fn read_offences(&mut self, now: Timestamp) {
        let since = Timestamp(now.0.saturating_sub(REMEMBERED_SECS as i64 * 1000));
        match self.given.store.offences(since, self.mode == Mode::DryRun).await {
            Ok(offences) => self.past_offences = offences,
            Err(error) => tracing::warn!("earlier bans are not known, so bans are shorter: {error}"),
        }
    }

    /// Orders again what lasts longer than responders hold.
    pub(super) async fn renew(&mut self, now: Timestamp) {
        if self.renewed_at.secs_until(now) < RENEW_SECS {
            return;
        }
        self.renewed_at = now;
        let lasting: Vec<Permit> = self.active.values().filter(|permit| is_lasting(permit, now)).cloned().collect();
        if !lasting.is_empty() {
            self.responders.hold(&lasting, AT_ONCE).await;
        }
    }
}

fn is_over(proposal: &Proposal, now: Timestamp) -> bool {
    now.secs_until(proposal.at.plus_secs(proposal.duration_secs)) == 0
}

/// Whether it ends later than a responder that was ordered to hold it lately lets go.
fn is_lasting(permit: &Permit, now: Timestamp) -> bool {
    now.secs_until(permit.expires_at()) > YEAR_SECS - 2 * RENEW_SECS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Surroundings;
    use crate::event::Decision;

    #[test]
    fn only_what_outlasts_a_year_is_ordered_again() {
        let now = Timestamp(1_767_571_200_000);
        let lasts = |duration_secs: u64| {
            let proposal = Proposal {
                id: "1".into(),
                target: "203.0.113.7/32".parse().unwrap(),
                proposer: Proposer::Operator,
                ground: Ground::default(),
                at: now,
                duration_secs,
                offences: 0,
            };
            let surroundings = Surroundings { taken_at: now, ..Surroundings::default() };
            let permit = gate(&proposal, &surroundings, &mut Blasts::default(), &Limits::NONE, now).unwrap();
            is_lasting(&permit, now)
        };
        assert!(lasts(Decision::PERMANENT_SECS) && lasts(YEAR_SECS + 1));
        assert!(lasts(YEAR_SECS - RENEW_SECS), "it lasted more than a year when it was ordered last");
        assert!(!lasts(YEAR_SECS / 2) && !lasts(3600));
    }
}
