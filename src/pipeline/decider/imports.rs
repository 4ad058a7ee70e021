//! Many bans at once, of somebody else's list: each passes the gate, all that pass are one call of
//! the responder and one record.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::{AT_LEISURE, Decider, Done};
use crate::config::Mode;
use crate::event::{DecisionState, Ground, Proposal, Proposer, Timestamp, digest, shown};
use crate::show::Problem;

/// No list brings the bans in force beyond this. The firewall's sets take 131,072 targets, and who
/// attacks now must find room.
pub(super) const MAX_IN_FORCE: usize = 100_000;
/// Targets named with each reason of a refusal.
const EXAMPLES: usize = 10;

/// Those that were refused for one reason.
#[derive(Serialize)]
struct Refused {
    reason: &'static str,
    message: String,
    count: u64,
    examples: Vec<String>,
}

impl Decider {
    /// Bans each target for its seconds. One that is in force already keeps its decision, and is held
    /// until the later of both ends. Who is refused is counted and not recorded, and nobody is held
    /// for later: whoever imports asks again.
    pub(super) async fn import(
        &mut self,
        bans: Vec<(IpNet, Option<u64>)>,
        reason: &str,
        now: Timestamp,
    ) -> Result<Value, Problem> {
        let usual = self.given.config.respond.block_duration_secs;
        let mut longest: BTreeMap<IpNet, u64> = BTreeMap::new();
        for (target, secs) in bans {
            let most = longest.entry(target.trunc()).or_default();
            *most = secs.unwrap_or(usual).max(*most);
        }
        let mut refused: HashMap<&'static str, Refused> = HashMap::new();
        let mut refuse = |reason: &'static str, message: String, target| {
            let of_reason = refused.entry(reason);
            let of_reason = of_reason.or_insert_with(|| Refused { reason, message, count: 0, examples: vec![] });
            of_reason.count += 1;
            if of_reason.examples.len() < EXAMPLES {
                of_reason.examples.push(shown(target));
            }
        };
        let (mut permits, mut decisions, mut prolonged, mut already) = (vec![], vec![], vec![], 0);
        for (target, duration_secs) in longest {
            // What another agent wants shut out ends when it says so.
            let held = self.active.get(&target).filter(|held| held.proposer() != Proposer::Fleet);
            if held.is_some_and(|held| held.expires_at() >= now.plus_secs(duration_secs)) {
                already += 1;
                continue;
            }
            let known = held.map(|held| held.id().to_owned());
            if known.is_none() && self.active.len() + decisions.len() >= MAX_IN_FORCE {
                refuse("full", format!("a list fills no more than {MAX_IN_FORCE} bans in force"), target);
                continue;
            }
            let is_new = known.is_none();
            let new_id = || digest(&[b"import", target.to_string().as_bytes(), &now.0.to_le_bytes()]);
            let proposal = Proposal {
                id: known.unwrap_or_else(new_id),
                target,
                proposer: Proposer::Imported,
                ground: Ground { reason: reason.to_owned(), ..Ground::default() },
                at: now,
                duration_secs,
                offences: 0,
            };
            match self.ask(&proposal, now) {
                Ok(permit) => {
                    if is_new {
                        let mut decision = self.decision(&proposal, now);
                        decision.target = permit.target();
                        decisions.push(decision);
                    } else {
                        prolonged.push((proposal.id, permit.expires_at()));
                    }
                    permits.push(permit);
                }
                Err(refusal) => refuse(refusal.as_str(), refusal.to_string(), target),
            }
        }
        let applied = self.apply(permits, AT_LEISURE).await;
        let state = if applied { DecisionState::Active } else { DecisionState::Pending };
        decisions.iter_mut().for_each(|decision| decision.state = state);
        self.given.status.blocks += decisions.len() as u64;
        let mut refused: Vec<Refused> = refused.into_values().collect();
        refused.sort_by(|a, b| b.count.cmp(&a.count).then(a.reason.cmp(b.reason)));
        let total: u64 = refused.iter().map(|refused| refused.count).sum();
        tracing::info!(
            banned = decisions.len(),
            prolonged = prolonged.len(),
            already,
            refused = total,
            reason,
            "imported"
        );
        let answer = json!({
            "banned": decisions.len(),
            "prolonged": prolonged.len(),
            "already_banned": already,
            "refused": total,
            "reasons": refused,
            "state": state,
            "simulated": self.mode == Mode::DryRun,
        });
        self.recorder.record(Done { at: now, decisions, ..Done::default() });
        if self.recorder.flush(AT_LEISURE).await && !prolonged.is_empty() {
            let note = format!("prolonged by an import: {reason}");
            if let Err(error) = self.given.store.prolong(&prolonged, &note, now).await {
                tracing::warn!("bans were prolonged, which cannot be recorded: {error}");
            }
        }
        Ok(answer)
    }
}
