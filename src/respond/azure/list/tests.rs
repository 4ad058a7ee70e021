use std::collections::{BTreeSet, HashSet};

use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::json;

use super::{AzureConfig, AzureMode, AzureWaf, holds, lists, merge, parse, place};

fn config(mode: AzureMode) -> AzureConfig {
    AzureConfig { mode, resource: "web".into(), groups: 7, ..AzureConfig::default() }
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| parse(text).unwrap()).collect()
}

fn merged(current: &[&str], wanted: &[&str], known: &[&str]) -> Vec<String> {
    let current: Vec<String> = current.iter().map(ToString::to_string).collect();
    let known = nets(known).into_iter().chain(nets(wanted)).collect();
    merge(&current, &nets(wanted).into_iter().collect(), &known)
}

#[test]
fn what_others_listed_stays_and_what_is_ours_is_what_is_wanted() {
    assert_eq!(
        merged(&["10.0.0.1-10.0.0.9", "192.0.2.1"], &["203.0.113.7"], &[]),
        ["10.0.0.1-10.0.0.9", "192.0.2.1", "203.0.113.7"]
    );
    assert_eq!(merged(&["192.0.2.1", "203.0.113.7/32"], &["203.0.113.7"], &[]), ["192.0.2.1", "203.0.113.7/32"]);
    assert_eq!(merged(&["203.0.113.7", "192.0.2.1"], &[], &["203.0.113.7"]), ["192.0.2.1"]);
}

#[test]
fn no_entry_lies_within_another() {
    let wide = ["203.0.113.0/24", "203.0.113.7"];
    assert_eq!(merged(&[], &wide, &[]), ["203.0.113.0/24"]);
    // The network goes; the address is wanted still.
    assert_eq!(merged(&["203.0.113.0/24"], &["203.0.113.7"], &wide), ["203.0.113.7"]);
    assert_eq!(merged(&["203.0.112.0/22"], &["203.0.113.7"], &[]), ["203.0.112.0/22"], "another's is enough");
    let around = ["203.0.113.6", "203.0.113.4", "203.0.113.5"];
    assert_eq!(merged(&around[..1], &["203.0.113.4/30"], &[]), ["203.0.113.6", "203.0.113.4/31", "203.0.113.7"]);
}

proptest! {
    #[test]
    fn a_merge_holds_what_is_wanted_and_nothing_else_of_ours(
        foreign in prop::collection::vec((0u32..64, 26u8..=32), 0..8),
        wanted in prop::collection::vec((0u32..64, 26u8..=32), 0..8),
        gone in prop::collection::vec((0u32..64, 26u8..=32), 0..8),
    ) {
        let net = |(last, prefix): (u32, u8)| {
            IpNet::new(std::net::Ipv4Addr::from(0xcb00_7100 + last).into(), prefix).unwrap().trunc()
        };
        let set = |all: Vec<(u32, u8)>| all.into_iter().map(net).collect::<BTreeSet<IpNet>>();
        let (wanted, gone) = (set(wanted), set(gone));
        let known: HashSet<IpNet> = wanted.union(&gone).copied().collect();
        let current: Vec<String> = set(foreign).union(&gone).map(ToString::to_string).collect();
        let foreign: HashSet<IpNet> = current.iter().filter_map(|e| parse(e)).filter(|n| !known.contains(n)).collect();
        let entries = merge(&current, &wanted, &known);
        let held: HashSet<IpNet> = entries.iter().filter_map(|entry| parse(entry)).collect();
        prop_assert_eq!(held.len(), entries.len());
        prop_assert!(foreign.iter().all(|net| held.contains(net)));
        prop_assert!(wanted.iter().all(|net| holds(&held, *net)));
        for ours in held.difference(&foreign) {
            prop_assert!(wanted.iter().any(|net| net.contains(ours)), "{} is nobody's", ours);
            prop_assert!(!held.iter().any(|other| other != ours && (other.contains(ours) || ours.contains(other))));
        }
        prop_assert_eq!(&merge(&entries, &wanted, &known), &entries, "once is enough");
    }
}

#[test]
fn a_target_has_one_place_for_ever() {
    let groups = lists(&config(AzureMode::IpGroup));
    // Written down when this was made: another answer would leave targets where nobody looks.
    let places = ["203.0.113.7", "203.0.113.8", "198.51.100.0/24"].map(|text| place(&groups, &parse(text).unwrap()));
    assert_eq!(places, [Some(5), Some(6), Some(3)]);
    assert_eq!(place(&groups, &parse("2001:db8::1").unwrap()), None, "IP groups hold IPv4 alone");
    let rules = lists(&config(AzureMode::Nsg));
    assert_eq!(place(&rules, &parse("203.0.113.7").unwrap()), Some(0));
    assert_eq!(place(&rules, &parse("2001:db8::1").unwrap()), Some(1));
    for (waf, expected) in [(AzureWaf::ApplicationGateway, None), (AzureWaf::FrontDoor, Some(0))] {
        let policy = lists(&AzureConfig { waf, ..config(AzureMode::WafPolicy) });
        assert_eq!(place(&policy, &parse("2001:db8::1").unwrap()), expected);
    }
}

#[test]
fn a_resource_that_denies_something_else_is_left_alone() {
    let rule = |sources: serde_json::Value, access: &str| json!({ "properties": { "access": access, "direction": "Inbound", "sourceAddressPrefixes": sources } });
    let nsg = &lists(&config(AzureMode::Nsg))[0];
    assert_eq!(nsg.read(&rule(json!(["203.0.113.7"]), "Deny")).unwrap(), ["203.0.113.7"]);
    let single = json!({ "properties": {
        "access": "Deny", "direction": "Inbound", "sourceAddressPrefix": "203.0.113.7", "sourceAddressPrefixes": [],
    } });
    assert_eq!(nsg.read(&single).unwrap(), ["203.0.113.7"]);
    for wrong in [rule(json!(["Internet"]), "Deny"), rule(json!(["*"]), "Deny"), rule(json!([]), "Allow"), json!({})] {
        assert!(nsg.read(&wrong).is_err(), "{wrong}");
    }
    let waf = |negated: bool, action: &str| {
        json!({ "properties": { "customRules": { "rules": [{ "name": "PalisadeBlock", "action": action, "matchConditions": [{
            "operator": "IPMatch", "negateCondition": negated, "matchValue": ["203.0.113.7"],
        }] }] } } })
    };
    let front = &lists(&AzureConfig { waf: AzureWaf::FrontDoor, ..config(AzureMode::WafPolicy) })[0];
    assert_eq!(front.read(&waf(false, "Block")).unwrap(), ["203.0.113.7"]);
    assert!(front.read(&waf(true, "Block")).is_err(), "it would shut out everybody else");
    assert!(front.read(&waf(false, "Log")).is_err());
    for hostile in [json!([]), json!({ "properties": "x" }), json!({ "properties": { "customRules": 7 } })] {
        let mut hostile = hostile;
        for list in [nsg, front] {
            assert!(list.read(&hostile).is_err());
            list.write(&mut hostile, vec![]);
        }
    }
}
