//! Findings that rules leave in doubt: they go to the models' desk, and what comes back becomes a
//! decision here. Where no model answers, rules decide as if there were none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use super::propose::BLOCKED_ALREADY;
use super::{AT_ONCE, Decider, Done};
use crate::decide::gate::standing;
use crate::decide::{self, Grounds, Opinion, Permit};
use crate::event::{
    Action, ClientKey, DecidedBy, Decision, DecisionState, Finding, Judgement, Proposal, Timestamp, Verdict,
    VerdictClass, shown,
};
use crate::pipeline::reader::Control;
use crate::record::Keep;
use crate::triage::{ADDRESSES_MODEL, About, Case, Judged, Said, View};

/// Doubts that wait here at once, whatever the desk takes: bounds the memory.
const MAX_DOUBTS: usize = 4096;

/// Of one client: who sends ever other doubtful requests neither costs a call for each nor keeps others
/// waiting. What comes beyond is recorded; what becomes of the client is being asked already.
const MAX_DOUBTS_OF_CLIENT: u32 = 8;
/// Samples that models are being asked about; more wait for nothing.
const MAX_SAMPLES: usize = 16;

/// A finding in doubt.
pub(super) struct Doubt {
    finding: Finding,
    proposal: Proposal,
    /// A block that waits is recorded: a restart must not forget it.
    is_recorded: bool,
}

/// All findings in doubt.
#[derive(Default)]
pub(super) struct Doubts {
    by_finding: HashMap<String, Doubt>,
    of_client: HashMap<ClientKey, u32>,
}

impl Doubts {
    fn insert(&mut self, client: ClientKey, doubt: Doubt) {
        *self.of_client.entry(client).or_default() += 1;
        self.by_finding.insert(doubt.finding.id(), doubt);
    }

    fn remove(&mut self, finding_id: &str) -> Option<Doubt> {
        let doubt = self.by_finding.remove(finding_id)?;
        self.forget(&doubt);
        Some(doubt)
    }

    /// Takes out those whose proposal is to go.
    pub fn withdraw(&mut self, goes: impl Fn(&Proposal) -> bool) {
        let gone: Vec<Doubt> =
            self.by_finding.extract_if(|_, doubt| goes(&doubt.proposal)).map(|(_, doubt)| doubt).collect();
        gone.iter().for_each(|doubt| self.forget(doubt));
    }

    pub fn proposals(&self) -> impl Iterator<Item = &Proposal> {
        self.by_finding.values().map(|doubt| &doubt.proposal)
    }

    fn forget(&mut self, doubt: &Doubt) {
        if let Some(client) = doubt.finding.client
            && let Entry::Occupied(mut count) = self.of_client.entry(client)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// A finding as the desk takes it; none of nobody.
fn case(finding: &Finding) -> Option<Case> {
    let client = finding.client?;
    Some(Case {
        about: About { finding_id: finding.id(), address: finding.source_ip, client },
        score: finding.score,
        view: View::of(finding),
        since: Instant::now(),
    })
}

impl Decider {
    /// Hands a finding to the desk. Gives the decision to record, if rules would block; gives the
    /// proposal back if rules must decide now.
    pub(super) async fn put_in_doubt(
        &mut self,
        finding: &Finding,
        proposal: Proposal,
        now: Timestamp,
    ) -> (Option<Decision>, Option<Proposal>) {
        if self.given.triage.is_none() {
            return (None, Some(proposal));
        }
        // Whom the gate would let go in any case is nobody's cost.
        self.look_around();
        if standing(proposal.target, &self.surroundings).is_err() {
            return (None, Some(proposal));
        }
        // Text that speaks to models, and nothing else: a visitor may have been sent here with it, and
        // what a model makes of it is what its author wants.
        if finding.rule_ids.iter().all(|id| &**id == ADDRESSES_MODEL) {
            return (None, Some(proposal));
        }
        // Lines read again after a restart: what was decided then stands.
        if self.doubts.by_finding.contains_key(&finding.id()) || self.is_decided(&proposal.id).await {
            return (None, None);
        }
        let Some(case) = case(finding).filter(|_| self.doubts.by_finding.len() < MAX_DOUBTS) else {
            return (None, Some(proposal));
        };
        let client = case.about.client;
        if self.doubts.of_client.get(&client).is_some_and(|count| *count >= MAX_DOUBTS_OF_CLIENT) {
            return (None, None);
        }
        let submit = |case| self.given.triage.as_ref().is_some_and(|triage| triage.submit(case));
        if !submit(case) {
            return (None, Some(proposal));
        }
        let proposal = self.lengthen(proposal);
        let is_recorded = finding.action == Action::Block;
        let decision = is_recorded.then(|| Decision {
            state: DecisionState::Held,
            note: "waiting for a model's opinion".into(),
            ..self.decision(&proposal, now)
        });
        self.doubts.insert(client, Doubt { finding: finding.clone(), proposal, is_recorded });
        (decision, None)
    }

    /// Shows models what no rule minds. Nothing is done because of what they say; it is told.
    pub(super) fn look_at_samples(&mut self, samples: Vec<Finding>) {
        let Some(triage) = &self.given.triage else { return };
        for finding in samples {
            if self.samples.len() < MAX_SAMPLES
                && let Some(case) = case(&finding)
                && triage.submit(case)
            {
                self.samples.insert(finding.id(), finding);
            }
        }
    }

    /// Records a sample that a model takes for an attack; any, where what was analysed is recorded.
    fn judged_sample(&mut self, finding: Finding, judged: &Judged, done: &mut Done) {
        let is_analysed = self.given.config.store.record == Keep::Analysed;
        let Some(said) = &judged.said else {
            let verdict = Verdict { class: VerdictClass::Uncertain, ..finding.verdict.clone() };
            done.findings.extend(is_analysed.then_some(Finding { flagged: false, verdict, ..finding }));
            return;
        };
        let flagged = said.class == VerdictClass::Malicious && said.confidence >= self.given.config.thresholds.monitor;
        if !flagged && !is_analysed {
            return;
        }
        if flagged && self.keeps_text() {
            tracing::warn!(
                source_ip = finding.source_ip.map_or("-".into(), |address| address.to_string()),
                uri = finding.uri,
                confidence = said.confidence,
                "a model takes for an attack what no rule minds"
            );
        }
        let reasoning = format!("a sample of what no rule minds; {}", said.reasoning);
        let Said { class, confidence, threat, .. } = said.clone();
        let verdict = Verdict { class, confidence, decided_by: judged.by, reasoning };
        done.findings.push(Finding { category: threat.unwrap_or(finding.category), verdict, flagged, ..finding });
    }

    /// Turns what came back from the desk into a decision.
    pub(super) async fn judged(&mut self, judged: Judged) {
        let now = Timestamp::now();
        let mut done = Done { at: now, ..Done::default() };
        if let Some(finding) = self.samples.remove(&judged.case.about.finding_id) {
            self.judged_sample(finding, &judged, &mut done);
        }
        let Judged { case, said, by, offender, ill_reputed, note, calls } = judged;
        done.calls = calls;
        if let Some(doubt) = self.doubts.remove(&case.about.finding_id) {
            let Doubt { finding, .. } = &doubt;
            let grounds = Grounds {
                score: finding.score,
                addresses_model: finding.rule_ids.iter().any(|id| &**id == ADDRESSES_MODEL),
                opinion: said.as_ref().map(|said| Opinion { class: said.class, confidence: said.confidence }),
                offender,
                ill_reputed,
            };
            let (combined, action) = decide::combine(&grounds, &self.given.config.thresholds);
            let (class, confidence) = said
                .as_ref()
                .map_or((VerdictClass::Malicious, finding.score.clamp(1, 10)), |said| (said.class, said.confidence));
            let opinion = match &said {
                Some(said) => {
                    let from = if note.is_empty() { String::new() } else { format!(" ({note})") };
                    let why = if said.reasoning.is_empty() { String::new() } else { format!(" ({})", said.reasoning) };
                    format!("{}{from}: {said}{why}", by.as_str())
                }
                None => format!("no model's opinion: {note}"),
            };
            let reasoning = format!("{}; {opinion}; {combined} of 10", finding.verdict.reasoning);
            let told = if self.keeps_text() { opinion.as_str() } else { "judged" };
            tracing::info!(client = %case.about.client, score = finding.score, combined, decision = action.as_str(), "{told}");
            let decided_by = if said.is_some() { by } else { DecidedBy::Rules };
            let verdict = Verdict { class, confidence, decided_by, reasoning };
            self.conclude_doubt(doubt, combined, action, &verdict, now, &mut done).await;
            done.judgements.push(Judgement { finding_id: case.about.finding_id, action, verdict });
        }
        self.recorder.record(done);
    }

    async fn conclude_doubt(
        &mut self,
        doubt: Doubt,
        combined: u8,
        action: Action,
        verdict: &Verdict,
        now: Timestamp,
        done: &mut Done,
    ) {
        let Doubt { finding, mut proposal, is_recorded } = doubt;
        let Some(client) = finding.client else { return };
        proposal.ground.score = combined;
        if self.keeps_text() {
            proposal.ground.reason.clone_from(&verdict.reasoning);
        }
        let target = proposal.target;
        if action != Action::Block {
            if verdict.class == VerdictClass::Benign && combined < finding.score {
                // The reader may be gone while the daemon stops.
                let _ = self.given.controls.send(Control::Acquit(client, finding.score - combined));
                self.given.waker.wake();
            }
            if is_recorded {
                self.change(vec![proposal.id.clone()], DecisionState::Refused, "a model finds it harmless", now);
            }
            return;
        }
        if self.active.contains_key(&target) {
            if is_recorded {
                self.change(vec![proposal.id.clone()], DecisionState::Refused, BLOCKED_ALREADY, now);
            }
            return;
        }
        let (at, secs) = (proposal.at, proposal.duration_secs);
        let mut permits: Vec<Permit> = vec![];
        let claim = self.claim(&finding, &proposal);
        if is_recorded {
            let (id, note) = (proposal.id.clone(), self.with_reach(String::new(), &proposal.ground));
            // Who claims to be a crawler waits for that answer now.
            let (Some(proposal), _) = self.doubt(proposal, claim) else { return };
            match self.ask(&proposal, now) {
                Ok(permit) => {
                    tracing::warn!(client = shown(target), reason = proposal.ground.reason, "{}", self.verb());
                    permits.push(permit);
                    let _ = self.given.controls.send(Control::Ban(client, at, secs));
                    self.conclude(permits, vec![(id, DecisionState::Active, note)], now).await;
                }
                Err(refusal) if refusal.is_temporary() => self.hold(proposal, Some(refusal)),
                Err(refusal) => {
                    tracing::warn!(client = shown(target), refusal = %refusal, "not blocked");
                    self.given.status.refused += 1;
                    self.change(vec![id.clone()], DecisionState::Refused, &refusal.to_string(), now);
                }
            }
        } else {
            let decision = self.propose(proposal, claim, &mut permits, now).await;
            if !permits.is_empty() {
                let _ = self.given.controls.send(Control::Ban(client, at, secs));
            }
            let applied = self.apply(permits, AT_ONCE).await;
            done.decisions.extend(decision.map(|decision| match decision.state {
                DecisionState::Active if !applied => Decision { state: DecisionState::Pending, ..decision },
                _ => decision,
            }));
        }
        self.given.waker.wake();
    }
}
