//! A finding and a decision for tests, which say what matters to them and take the rest from here.

use super::*;

pub const NOW: Timestamp = Timestamp(1_767_571_200_000);

/// Of no client.
pub fn finding() -> Finding {
    Finding {
        file: "access.log".into(),
        generation: 1,
        offset: 0,
        line_number: None,
        time: NOW,
        source_ip: None,
        client: None,
        via_proxy: false,
        method: "GET".into(),
        uri: "/".into(),
        status: 200,
        user_agent: String::new(),
        referer: String::new(),
        category: Category::Sqli,
        rule_ids: vec![],
        score: 9,
        evidence: vec![],
        flagged: true,
        is_system_url: false,
        action: Action::Block,
        verdict: Verdict {
            class: VerdictClass::Malicious,
            confidence: 9,
            decided_by: DecidedBy::Rules,
            reasoning: String::new(),
        },
    }
}

pub fn decision() -> Decision {
    Decision {
        id: "d".into(),
        target: "203.0.113.7/32".parse().unwrap(),
        proposer: Proposer::Rules,
        ground: Ground::default(),
        created_at: NOW,
        expires_at: NOW.plus_secs(3600),
        simulated: false,
        state: DecisionState::Pending,
        note: String::new(),
        offences: 0,
        origin: String::new(),
    }
}
