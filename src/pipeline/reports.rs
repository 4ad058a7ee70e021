//! Tells AbuseIPDB of new bans, if that is configured. Reads them from the store, so that the decider
//! never waits for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};
use tokio::sync::watch;

use crate::detect::BUILT_IN;
use crate::event::{Decision, DecisionState, Proposer, Timestamp};
use crate::record::{Batch, ChangeKind, Sqlite, StoreError};
use crate::show::{Service, Services};
use crate::triage::reputation::{Report, Reporter};

/// The store is asked for new bans this often.
const LOOK: Duration = Duration::from_secs(2);
/// Changes that are read at once.
const CHANGES: u32 = 500;
/// A ban that became active later than this after it was decided is old news.
const NEWS_SECS: u64 = 15 * 60;

/// Reports every ban that rules start from now on, once.
pub async fn follow(mut reporter: Reporter, store: Arc<Sqlite>, services: watch::Sender<Services>) {
    let (mut reported, mut problem) = (0_u64, None);
    // What was recorded before the start was reported then, or is old.
    let mut seen = None;
    loop {
        let looked = match seen {
            None => store.last_change().await.map(|last| (last, vec![])),
            Some(after) => new_bans(&store, after).await,
        };
        match looked {
            Err(error) => problem = Some(format!("bans are not reported to AbuseIPDB: {error}")),
            Ok((last, reports)) => {
                seen = Some(last);
                for report in reports {
                    match reporter.report(&report).await {
                        Ok(None) => {}
                        Ok(Some(call)) => {
                            let answered = call.outcome == "answered";
                            reported += u64::from(answered);
                            problem = (!answered).then(|| format!("AbuseIPDB takes no report: {}", call.outcome));
                            let calls = [call];
                            let batch = Batch { at: Timestamp::now(), calls: &calls, ..Batch::default() };
                            if let Err(error) = store.commit(&batch).await {
                                tracing::warn!("a report to AbuseIPDB cannot be recorded: {error}");
                            }
                        }
                        Err(barred) => tracing::debug!("a ban is not reported to AbuseIPDB: {barred}"),
                    }
                }
            }
        }
        services.send_modify(|services| {
            let figures = Map::from_iter([("reported".into(), json!(reported))]);
            services.insert(Reporter::NAME.into(), Service { problem: problem.clone(), figures });
        });
        tokio::time::sleep(LOOK).await;
    }
}

/// What the bans that became active after change number `after` are reported as, and the last change
/// that was looked at.
async fn new_bans(store: &Sqlite, after: i64) -> Result<(i64, Vec<Report>), StoreError> {
    let changes = store.changes(after, CHANGES).await?;
    let last = changes.last().map_or(after, |change| change.seq);
    let mut reports = vec![];
    for change in changes.iter().filter(|change| change.kind == ChangeKind::Decision) {
        if let Some(decision) = store.decision(&change.id).await?
            && is_news(&decision, Timestamp::now())
            && let Some(report) = report(store, &decision).await?
        {
            reports.push(report);
        }
    }
    Ok((last, reports))
}

fn is_news(decision: &Decision, now: Timestamp) -> bool {
    let by_rules = decision.proposer == Proposer::Rules && decision.state == DecisionState::Active;
    by_rules && !decision.simulated && decision.created_at.secs_until(now) < NEWS_SECS
}

/// The finding knows the address; a ban may be of a whole network.
async fn report(store: &Sqlite, decision: &Decision) -> Result<Option<Report>, StoreError> {
    let ground = &decision.ground;
    let (Some(finding_id), Some(category)) = (&ground.finding_id, ground.category) else { return Ok(None) };
    let Some(finding) = store.finding(finding_id).await? else { return Ok(None) };
    let address: Option<IpAddr> = finding.source_ip.and_then(|text| text.parse().ok());
    let target = decision.target;
    // Of a pseudonym the ban knows whose it is, if it is of one address.
    let is_one = target.prefix_len() == target.max_prefix_len();
    let address = address.filter(|address| target.contains(address)).or(is_one.then(|| target.addr()));
    let Some(address) = address else { return Ok(None) };
    let rule_ids = finding.rule_ids.into_iter().filter(|id| is_built_in(id)).collect();
    Ok(Some(Report { address, finding_id: finding_id.clone(), category, rule_ids }))
}

/// Whether a rule's id is ours: an administrator's may name hosts.
fn is_built_in(id: &str) -> bool {
    let line = format!("id = \"{id}\"");
    BUILT_IN.iter().any(|(_, text)| text.lines().any(|known| known == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ids_of_our_own_rules_leave() {
        assert!(is_built_in("sqli-union-select") && is_built_in("login-failures"));
        for id in ["acme-intranet", "sqli", "", "sqli-union-select\"\n"] {
            assert!(!is_built_in(id), "{id}");
        }
    }
}
