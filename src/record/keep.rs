//! What is kept of findings and decisions: the policy of `record` and `addresses` in `[store]`. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::pseudonym::Pseudonyms;
use super::{FindingRow, Keep};
use crate::event::{Decision, Finding, Timestamp, shown};

/// The evidence that quotes other clients: their number, and the first of them.
const CLIENTS: &str = "clients";

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub record: Keep,
    pub pseudonyms: Option<Pseudonyms>,
}

impl Policy {
    /// The one road from a finding to its row. Its case is for the writer to say.
    pub fn row(&self, finding: &Finding, at: Timestamp) -> FindingRow {
        let mut row = FindingRow {
            id: finding.id(),
            file: finding.file.to_string(),
            generation: finding.generation,
            offset: finding.offset,
            line_number: finding.line_number,
            time: finding.time,
            source_ip: None,
            client: finding.client.map(|client| shown(self.client(client.network()))),
            method: String::new(),
            uri: String::new(),
            status: finding.status,
            user_agent: String::new(),
            referer: String::new(),
            category: finding.category.as_str().to_owned(),
            score: finding.score,
            rule_ids: finding.rule_ids.iter().map(|id| id.to_string()).collect(),
            evidence: Value::Array(vec![]).into(),
            action: finding.action.as_str().to_owned(),
            verdict: finding.verdict.class.as_str().to_owned(),
            confidence: finding.verdict.confidence,
            decided_by: finding.verdict.decided_by.as_str().to_owned(),
            reasoning: String::new(),
            recorded_at: at,
            flagged: finding.flagged,
            is_system_url: finding.is_system_url,
            case_id: String::new(),
        };
        if self.record == Keep::Nothing {
            return row;
        }
        let names = self.names(finding);
        let text = |text: &str| names.iter().fold(text.to_owned(), |text, (real, kept)| text.replace(real, kept));
        row.source_ip = finding.source_ip.map(|address| self.address(finding, address).to_string());
        row.method.clone_from(&finding.method);
        row.uri = text(&finding.uri);
        row.user_agent = text(&finding.user_agent);
        row.referer = text(&finding.referer);
        row.reasoning = text(&finding.verdict.reasoning);
        let evidence = finding
            .evidence
            .iter()
            .map(|piece| {
                let matched = if piece.target == CLIENTS { self.others(&piece.matched) } else { text(&piece.matched) };
                serde_json::json!({
                    "rule_id": piece.rule_id, "target": piece.target, "matched": matched, "score": piece.score,
                })
            })
            .collect::<Value>();
        row.evidence = evidence.into();
        row
    }

    /// How a client is kept.
    pub fn client(&self, client: IpNet) -> IpNet {
        self.pseudonyms.as_ref().map_or(client, |pseudonyms| pseudonyms.client(client))
    }

    /// How the clients of a network are kept.
    pub fn network(&self, network: IpNet) -> IpNet {
        self.pseudonyms.as_ref().map_or(network, |pseudonyms| pseudonyms.network(network))
    }

    /// A decision as it is kept when it has ended, and as other stores get it.
    pub fn decision(&self, mut decision: Decision) -> Decision {
        if self.pseudonyms.is_none() {
            return decision;
        }
        let real = decision.target;
        let kept = if is_client(real) { self.client(real) } else { self.network(real) };
        decision.target = kept;
        for text in [&mut decision.ground.reason, &mut decision.note] {
            *text = text.replace(&shown(real), &shown(kept)).replace(&real.addr().to_string(), &shown(kept));
        }
        decision
    }

    /// The address in the /64 of its client.
    fn address(&self, finding: &Finding, address: IpAddr) -> IpAddr {
        let kept = self.client(address.into()).addr();
        match (finding.client.map(|client| self.client(client.network())), kept, self.pseudonyms.is_some()) {
            (Some(client), IpAddr::V6(low), true) if client.prefix_len() == 64 => match client.addr() {
                IpAddr::V6(high) => {
                    let mask = u128::from(u64::MAX);
                    IpAddr::V6((u128::from(high) & !mask | u128::from(low) & mask).into())
                }
                IpAddr::V4(_) => kept,
            },
            _ => kept,
        }
    }

    /// What a finding's text must not say, and what it says instead; the longer first.
    fn names(&self, finding: &Finding) -> Vec<(String, String)> {
        if self.pseudonyms.is_none() {
            return vec![];
        }
        let client = finding.client.map(|client| (client.to_string(), shown(self.client(client.network()))));
        let address = finding.source_ip.map(|ip| (ip.to_string(), self.address(finding, ip).to_string()));
        client.into_iter().chain(address).collect()
    }

    /// `2 clients in an hour: A, B` with their pseudonyms.
    fn others(&self, matched: &str) -> String {
        let (Some((said, clients)), true) = (matched.split_once(": "), self.pseudonyms.is_some()) else {
            return matched.to_owned();
        };
        let kept = |text: &str| {
            let client = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            client.map_or_else(|_| String::new(), |client| shown(self.client(client)))
        };
        format!("{said}: {}", clients.split(", ").map(kept).collect::<Vec<_>>().join(", "))
    }
}

/// Whether a target is a client rather than a network of clients.
fn is_client(target: IpNet) -> bool {
    target.prefix_len() == target.max_prefix_len() || target.addr().is_ipv6() && target.prefix_len() > 48
}

#[cfg(test)]
mod tests;
