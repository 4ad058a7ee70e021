//! An operator's word on a finding holds for everything that looks like it, over rules and models.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{AT_LEISURE, Decider, Done, PATIENCE};
use crate::decide;
use crate::event::{
    Action, Category, ClientKey, DecidedBy, DecisionState, Evidence, Finding, Judgement, Proposal, Proposer, Timestamp,
    Verdict, VerdictClass, digest,
};
use crate::pipeline::judge;
use crate::pipeline::reader::Control;
use crate::record::{Correction, FindingRow};
use crate::show::Problem;
use crate::triage::View;

/// What is said of a finding that an operator has judged.
const REASON: &str = "an operator said so of what looks like it";

impl Decider {
    /// What an operator said of findings that look like this one.
    pub(super) fn correction(&self, finding: &Finding) -> Option<VerdictClass> {
        if self.given.corrections.is_empty() {
            return None;
        }
        self.given.corrections.get(&View::of(finding)).copied()
    }

    /// What is proposed of a finding that an operator has judged already.
    pub(super) fn correct(
        &self,
        finding: &Finding,
        proposal: Option<Proposal>,
        class: VerdictClass,
        done: &mut Done,
    ) -> Option<Proposal> {
        let (action, proposal) = match (class, finding.client) {
            (VerdictClass::Malicious, Some(client)) => {
                let proposal = proposal.or_else(|| Some(self.proposal(finding, client)));
                (Action::Block, proposal.filter(|proposal| !self.active.contains_key(&proposal.target)))
            }
            (VerdictClass::Benign, Some(client)) => {
                // What the reader has counted because of it goes too; it may be gone while the daemon stops.
                let undone = match proposal {
                    Some(_) => Control::Pardon(client),
                    None => Control::Acquit(client, finding.score),
                };
                let _ = self.given.controls.send(undone);
                self.given.waker.wake();
                (Action::None, None)
            }
            _ => return proposal,
        };
        let reasoning = format!("{}; {REASON}", finding.verdict.reasoning);
        let verdict = Verdict { class, confidence: 10, decided_by: DecidedBy::Operator, reasoning };
        done.judgements.push(Judgement { finding_id: finding.id(), action, verdict });
        proposal
    }

    fn proposal(&self, finding: &Finding, client: ClientKey) -> Proposal {
        let at_secs = u32::try_from(finding.time.secs()).unwrap_or(0);
        let secs = decide::ban_secs(0, judge::durations(&self.given.config), decide::ban_seed(client, at_secs));
        let mut proposal = judge::proposal_of(finding, client, secs, 0);
        proposal.ground.reason = REASON.into();
        proposal
    }

    /// Who is shut out because of a finding: where its row has but a pseudonym, only the ban knows.
    fn banned_for(&self, finding: &Finding) -> Option<ClientKey> {
        self.active.iter().find_map(|(target, ban)| {
            let client = ClientKey::of(target.addr(), target.prefix_len());
            (ban.id() == finding.decision_id(client)).then_some(client)
        })
    }

    /// Takes an operator's word on a recorded finding, and undoes or does what follows from it.
    pub(super) async fn take_word(&mut self, id: &str, class: VerdictClass, now: Timestamp) -> Result<Value, Problem> {
        // It may have been found a moment ago.
        self.recorder.flush(PATIENCE).await;
        let row = self.given.store.finding(id).await?;
        let row = row.ok_or_else(|| {
            Problem::NotFound(if self.keeps_text() {
                format!("no finding has the id {id:?}")
            } else {
                "findings are not kept (store.record = \"nothing\"), so there is none to judge".into()
            })
        })?;
        let mut finding = finding(row).ok_or_else(|| Problem::Failed(format!("finding {id} cannot be read")))?;
        let is_pseudonym = self.given.config.store.keeps_pseudonyms();
        if is_pseudonym {
            finding.client = self.banned_for(&finding);
        }
        let view = View::of(&finding);
        let correction =
            Correction { finding_id: id.to_owned(), verdict: class, view: view.as_str().to_owned(), at: now };
        self.given.store.correct(&correction).await?;
        self.given.corrections.insert(view, class);
        let mut done = Done { at: now, ..Done::default() };
        let reasoning = format!("{}; an operator's verdict", finding.verdict.reasoning);
        let verdict = Verdict { class, confidence: 10, decided_by: DecidedBy::Operator, reasoning };
        let action = if class == VerdictClass::Malicious { Action::Block } else { Action::None };
        done.judgements.push(Judgement { finding_id: id.to_owned(), action, verdict });
        let mut lifted = json!([]);
        let mut refused = None;
        if is_pseudonym && finding.client.is_none() && class == VerdictClass::Malicious {
            refused = Some("its address is kept as a pseudonym alone; who sends the like again is blocked".to_owned());
        }
        if let Some(client) = finding.client {
            let target = client.network();
            match class {
                VerdictClass::Malicious if !self.active.contains_key(&target) => {
                    // An earlier ban because of this finding may have been lifted: this is another.
                    let id = digest(&[b"operator", id.as_bytes(), &now.0.to_le_bytes()]);
                    let proposer = Proposer::Operator;
                    let proposal = Proposal { id, proposer, at: now, ..self.proposal(&finding, client) };
                    match self.ask(&proposal, now) {
                        Ok(permit) => {
                            let mut decision = self.decision(&proposal, now);
                            decision.expires_at = permit.expires_at();
                            let applied = self.apply(vec![permit], AT_LEISURE).await;
                            decision.state = if applied { DecisionState::Active } else { DecisionState::Pending };
                            self.given.status.blocks += 1;
                            let _ = self.given.controls.send(Control::Ban(client, now, proposal.duration_secs));
                            done.decisions.push(decision);
                        }
                        Err(refusal) => refused = Some(refusal.to_string()),
                    }
                }
                VerdictClass::Benign => {
                    let id = finding.decision_id(client);
                    if self.active.get(&target).is_some_and(|permit| permit.id() == id) {
                        lifted = self.unban(Some(target), "an operator finds it harmless", now).await?["lifted"].take();
                    }
                    let _ = self.given.controls.send(Control::Acquit(client, finding.score));
                }
                _ => {}
            }
            self.given.waker.wake();
        }
        self.recorder.record(done);
        self.recorder.flush(PATIENCE).await;
        Ok(json!({ "finding_id": id, "verdict": class, "lifted": lifted, "refused": refused }))
    }
}

/// A finding as it was recorded.
fn finding(row: FindingRow) -> Option<Finding> {
    let client = row.client.as_deref().and_then(|client| {
        let network = crate::config::network(client)?;
        Some(ClientKey::of(network.addr(), network.prefix_len()))
    });
    let evidence: Vec<Evidence> = serde_json::from_str(row.evidence.text()).ok()?;
    Some(Finding {
        file: row.file.into(),
        generation: row.generation,
        offset: row.offset,
        line_number: row.line_number,
        time: row.time,
        source_ip: row.source_ip.and_then(|address| address.parse().ok()),
        client,
        via_proxy: false,
        method: row.method,
        uri: row.uri,
        status: row.status,
        user_agent: row.user_agent,
        referer: row.referer,
        category: Category::parse(&row.category)?,
        rule_ids: row.rule_ids.into_iter().map(Arc::from).collect(),
        score: row.score,
        evidence,
        flagged: row.flagged,
        is_system_url: row.is_system_url,
        action: Action::None,
        verdict: Verdict {
            class: VerdictClass::parse(&row.verdict)?,
            confidence: row.confidence,
            decided_by: DecidedBy::Rules,
            reasoning: row.reasoning,
        },
    })
}
