//! From rows of the store to news.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::event::{Decision, DecisionState, Proposer, Severity, masked, shown};
use crate::notify::{News, What};
use crate::record::{FindingRow, Rows, Sqlite, StoreError};

/// Findings and bans that were told: a row changes more than once.
const MAX_TOLD: usize = 10_000;
/// How the gate's reasons begin where it says not now.
const HELD: &str = "held: ";

/// What was told lately.
#[derive(Default)]
pub struct Told {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Told {
    fn is_first(&mut self, id: &str, what: What) -> bool {
        let key = format!("{} {id}", what.as_str());
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_TOLD
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// What people are told of `rows`: findings, and what rules made of them, each once; and the clients that
/// somebody let go.
pub async fn for_people(store: &Sqlite, rows: &Rows, told: &mut Told) -> Result<(Vec<News>, Vec<String>), StoreError> {
    let mut let_go = vec![];
    let mut news: Vec<News> = rows.findings.iter().filter(|row| row.flagged).map(finding).collect();
    for one in &mut news {
        // Messages go to services of others.
        (one.uri, one.reason) = (masked(&one.uri, b"").into_owned(), masked(&one.reason, b"").into_owned());
    }
    let by_rules = rows.decisions.iter().filter(|one| one.proposer == Proposer::Rules);
    let decisions: HashMap<&str, &Decision> = by_rules.map(|one| (one.id.as_str(), one)).collect();
    for step in &rows.changes {
        let Some(decision) = decisions.get(step.decision_id.as_str()) else { continue };
        let is_news = match step.state {
            DecisionState::Pending | DecisionState::Active => true,
            // What waits for a model or for DNS is not held by the gate.
            DecisionState::Held => step.note.starts_with(HELD),
            _ => false,
        };
        let is_lifted = step.state == DecisionState::Lifted;
        if is_news || is_lifted {
            let one = with_case(store, rows, of_decision(decision, step.state), decision).await?;
            if is_news { news.push(one) } else { let_go.push(one.client) }
        }
    }
    news.retain(|news| told.is_first(&news.id, news.what));
    Ok((news, let_go))
}

/// What a SIEM is told of them: findings as they are now, and each step of each decision.
pub async fn for_machines(store: &Sqlite, rows: &Rows, least: Severity) -> Result<Vec<News>, StoreError> {
    let mut news: Vec<News> = rows.findings.iter().filter(|row| row.flagged).map(finding).collect();
    news.retain(|news| news.severity >= least);
    let decisions: HashMap<&str, &Decision> = rows.decisions.iter().map(|one| (one.id.as_str(), one)).collect();
    for step in &rows.changes {
        let Some(decision) = decisions.get(step.decision_id.as_str()) else { continue };
        let one = News { at: step.at, ..of_decision(decision, step.state) };
        let reason = if step.note.is_empty() { one.reason } else { format!("{} ({})", one.reason, step.note) };
        news.push(with_case(store, rows, News { reason, ..one }, decision).await?);
    }
    Ok(news)
}

fn finding(row: &FindingRow) -> News {
    let said = |piece: &serde_json::Value| {
        let (target, matched) = (piece["target"].as_str()?, piece["matched"].as_str()?);
        Some(format!("{target}: {matched}"))
    };
    let evidence = row.evidence.value();
    let evidence = evidence.as_array().into_iter().flatten().filter_map(said).take(3).collect::<Vec<_>>();
    let reason = if row.reasoning.is_empty() { evidence.join("; ") } else { row.reasoning.clone() };
    News {
        what: What::Finding,
        id: row.id.clone(),
        at: row.time,
        since: None,
        finding_id: String::new(),
        severity: Severity::of(row.score),
        score: row.score,
        category: row.category.clone(),
        client: row.source_ip.clone().or_else(|| row.client.clone()).unwrap_or_default(),
        source: row.file.clone(),
        line_number: row.line_number,
        case_id: row.case_id.clone(),
        method: row.method.clone(),
        uri: row.uri.clone(),
        status: row.status,
        user_agent: row.user_agent.clone(),
        rule_ids: row.rule_ids.clone(),
        action: row.action.clone(),
        by: row.decided_by.clone(),
        reason,
        until: None,
        simulated: false,
    }
}

fn of_decision(decision: &Decision, state: DecisionState) -> News {
    News {
        what: if state == DecisionState::Held { What::Held } else { What::Ban },
        id: decision.id.clone(),
        at: decision.created_at,
        since: Some(decision.created_at),
        finding_id: decision.ground.finding_id.clone().unwrap_or_default(),
        severity: Severity::of(decision.ground.score),
        score: decision.ground.score,
        category: decision.ground.category.map_or(String::new(), |category| category.as_str().to_owned()),
        client: shown(decision.target),
        action: state.as_str().to_owned(),
        by: decision.proposer.as_str().to_owned(),
        reason: decision.ground.reason.clone(),
        until: matches!(state, DecisionState::Pending | DecisionState::Active).then_some(decision.expires_at),
        simulated: decision.simulated,
        ..News::default()
    }
}

/// With the case, the client and the file of its finding.
async fn with_case(store: &Sqlite, rows: &Rows, mut news: News, decision: &Decision) -> Result<News, StoreError> {
    let Some(id) = &decision.ground.finding_id else { return Ok(news) };
    let found = match rows.findings.iter().find(|row| row.id == *id) {
        Some(row) => Some(row.clone()),
        None => store.finding(id).await?,
    };
    if let Some(row) = found {
        news.case_id = row.case_id;
        news.source = row.file;
        // A ban may be of the /64 in which the client is: the same one to people.
        if row.client.as_ref() == Some(&news.client)
            && let Some(address) = row.source_ip
        {
            news.client = address;
        }
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Refusal;

    #[test]
    fn what_the_gate_holds_is_known_by_its_words() {
        for refusal in [Refusal::TooMany(60), Refusal::Blind("no netlink".into())] {
            assert!(refusal.is_temporary() && refusal.to_string().starts_with(HELD), "{refusal}");
        }
        assert!(!Refusal::Loopback.to_string().starts_with(HELD));
    }

    #[test]
    fn the_same_is_told_once() {
        let mut told = Told::default();
        assert!(told.is_first("a", What::Finding) && !told.is_first("a", What::Finding));
        assert!(told.is_first("a", What::Ban), "a ban is news of its own");
        for n in 0..MAX_TOLD {
            told.is_first(&n.to_string(), What::Finding);
        }
        assert!(told.is_first("a", What::Finding), "what is long ago is forgotten");
        assert!(told.known.len() <= MAX_TOLD);
    }
}
