//! A block of a client that claims to be a search engine or a monitor waits a moment for the answer
//! whether it is. Without one it is blocked like anybody, lest an attacker go free because his DNS is
//! slow; it is asked on, and whoever turns out to be true is let go.

use std::time::{Duration, Instant};

use super::Decider;
use super::propose::BLOCKED_ALREADY;
use crate::decide::gate::standing;
use crate::event::{DecisionState, Finding, Proposal, Timestamp};
use crate::pipeline::crawlers::{Answer, Claim, Standing};

/// So long a block waits; beside the tick of a second.
const WAIT: Duration = Duration::from_secs(2);
/// Blocks that wait; one more does not.
const MAX_WAITING: usize = 1000;

/// A block that waits for an answer.
pub(super) struct Doubtful {
    pub proposal: Proposal,
    claim: Claim,
    since: Instant,
}

impl Decider {
    /// What the client of a finding claims to be, unless it is not blocked anyway.
    pub(super) fn claim(&mut self, finding: &Finding, proposal: &Proposal) -> Option<Claim> {
        self.look_around();
        standing(proposal.target, &self.surroundings).ok()?;
        self.given.crawlers.claim(finding.source_ip?, &finding.user_agent)
    }

    /// Lets a proposal wait if its claim is being asked, and gives it back otherwise. In both cases
    /// with what is to be said of it.
    pub(super) fn doubt(&mut self, proposal: Proposal, claim: Option<Claim>) -> (Option<Proposal>, String) {
        let Some(claim) = claim else { return (Some(proposal), String::new()) };
        let since = Instant::now();
        let standing = self.given.crawlers.standing(claim, since);
        self.surroundings.verified_crawlers = self.given.crawlers.verified(since);
        if standing == Standing::Open && self.doubtful.len() < MAX_WAITING {
            let note = format!("asking whether it is the {} that it claims to be", self.given.crawlers.name(claim));
            self.doubtful.push(Doubtful { proposal, claim, since });
            return (None, note);
        }
        (Some(proposal), self.told(claim, standing))
    }

    fn told(&self, claim: Claim, standing: Standing) -> String {
        let name = self.given.crawlers.name(claim);
        match standing {
            Standing::Verified => format!("is {name}"),
            Standing::Refuted => format!("claims to be {name} and is not"),
            Standing::Open | Standing::Unanswered => format!("claims to be {name}, which DNS has not confirmed yet"),
        }
    }

    /// Takes an answer: decides what waited for it, and lets go whom it clears.
    pub(super) async fn answered(&mut self, answer: Answer) {
        let (now, at) = (Timestamp::now(), Instant::now());
        let claim = answer.0;
        let standing = self.given.crawlers.take(answer, at);
        self.surroundings.verified_crawlers = self.given.crawlers.verified(at);
        self.settle(|waiting| waiting.claim == claim, standing, now).await;
        let is_held = self.active.keys().any(|target| target.contains(&claim.0));
        if standing == Standing::Verified
            && is_held
            && let Err(problem) = self.unban(Some(claim.0.into()), &self.told(claim, standing), now).await
        {
            tracing::warn!(client = %claim.0, "a verified crawler is not let go: {problem}");
        }
    }

    /// Once a second: asks again, and decides what has waited long enough.
    pub(super) async fn tick_claims(&mut self, now: Timestamp) {
        let at = Instant::now();
        self.given.crawlers.ask_due(at);
        self.surroundings.verified_crawlers = self.given.crawlers.verified(at);
        self.settle(|waiting| at.duration_since(waiting.since) >= WAIT, Standing::Unanswered, now).await;
    }

    async fn settle(&mut self, is_due: impl Fn(&Doubtful) -> bool, standing: Standing, now: Timestamp) {
        let due: Vec<Doubtful> = self.doubtful.extract_if(.., |waiting| is_due(waiting)).collect();
        let (mut permits, mut settled) = (vec![], vec![]);
        for Doubtful { proposal, claim, .. } in due {
            let note = self.told(claim, standing);
            if self.is_blocked_longer(&proposal) {
                settled.push((proposal.id, DecisionState::Refused, BLOCKED_ALREADY.into()));
                continue;
            }
            match self.ask(&proposal, now) {
                Ok(permit) => {
                    tracing::warn!(client = %claim.0, "{note}: {}", self.verb());
                    permits.push(permit);
                    let note = self.with_reach(note, &proposal.ground);
                    settled.push((proposal.id, DecisionState::Active, note));
                }
                Err(refusal) if refusal.is_temporary() => self.hold(proposal, Some(refusal)),
                Err(refusal) => {
                    tracing::warn!(client = %claim.0, refusal = %refusal, "{note}: not blocked");
                    self.given.status.refused += 1;
                    settled.push((proposal.id, DecisionState::Refused, refusal.to_string()));
                }
            }
        }
        self.conclude(permits, settled, now).await;
    }
}
