use super::*;
use crate::event::DecisionState;
use crate::event::{ClientKey, Evidence};
use crate::record::sqlite::tests::{NOW, decision, finding};

fn policy(record: Keep, pseudonyms: bool) -> Policy {
    Policy { record, pseudonyms: pseudonyms.then(|| Pseudonyms::new(&[7; 32])) }
}

/// A finding of 203.0.113.7 whose every text quotes the address.
fn quoting() -> Finding {
    let mut quoting = finding(1);
    let said = "203.0.113.7 canary";
    for text in [&mut quoting.uri, &mut quoting.user_agent, &mut quoting.referer, &mut quoting.verdict.reasoning] {
        *text = said.into();
    }
    quoting.evidence[0].matched = said.into();
    let matched = "2 clients in an hour: 203.0.113.7, 2001:db8:1:2::/64".into();
    quoting.evidence.push(Evidence { rule_id: "campaign".into(), target: CLIENTS.into(), matched, score: 0 });
    quoting
}

#[test]
fn what_is_kept_of_findings_is_all_of_them() {
    for record in [Keep::Findings, Keep::Analysed] {
        let (policy, one) = (policy(record, false), quoting());
        let row = policy.row(&one, NOW);
        assert_eq!((row.uri.as_str(), row.client.as_deref()), ("203.0.113.7 canary", Some("203.0.113.7")));
        assert_eq!(row.evidence.value(), serde_json::to_value(&one.evidence).unwrap());
        let blocked = decision("d", DecisionState::Active);
        assert_eq!(policy.decision(blocked.clone()).target, blocked.target);
    }
}

#[test]
fn where_nothing_is_kept_no_text_is() {
    let row = policy(Keep::Nothing, false).row(&quoting(), NOW);
    let text = serde_json::to_string(&row).unwrap();
    assert!(!text.contains("canary") && !text.contains("OR 1=1"), "{text}");
    assert_eq!((row.category.as_str(), row.rule_ids.len(), row.score), ("sqli", 2, 9));
    assert_eq!(row.client.as_deref(), Some("203.0.113.7"));
}

#[test]
fn a_pseudonym_stands_wherever_the_address_stood() {
    let policy = policy(Keep::Findings, true);
    let row = policy.row(&quoting(), NOW);
    let text = serde_json::to_string(&row).unwrap();
    assert!(!text.contains("203.0.113.7") && !text.contains("2001:db8"), "{text}");
    let kept = shown(policy.network("203.0.113.7/32".parse().unwrap()));
    assert_eq!(row.client.as_deref(), Some(kept.as_str()), "who asks for the real address finds it");
    assert_eq!(row.source_ip.as_deref(), Some(kept.as_str()));
    assert_eq!(row.uri, format!("{kept} canary"));
    assert!(
        row.evidence.value()[1]["matched"].as_str().unwrap().starts_with(&format!("2 clients in an hour: {kept}, fd"))
    );

    let mut ipv6 = quoting();
    let address = "2001:db8:1:2::9".parse().unwrap();
    for prefix in [64, 56, 48, 32] {
        (ipv6.source_ip, ipv6.client) = (Some(address), Some(ClientKey::of(address, prefix)));
        let row = policy.row(&ipv6, NOW);
        let client: IpNet = row.client.unwrap().parse().unwrap();
        assert!(client.contains(&row.source_ip.unwrap().parse::<IpAddr>().unwrap()), "/{prefix}");
        assert!(policy.network(ipv6.client.unwrap().network()).contains(&client), "/{prefix}");
    }

    let mut ended = decision("d", DecisionState::Expired);
    ended.ground.reason = "203.0.113.7 again".into();
    let ended = policy.decision(ended);
    assert_eq!((shown(ended.target), ended.ground.reason), (kept.clone(), format!("{kept} again")));
}
