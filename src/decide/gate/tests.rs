use super::*;
use crate::event::Ground;

/// So many blocks in a minute, and no other limit.
fn a_minute(per_min: u32) -> Limits {
    Limits { per_min, ..Limits::NONE }
}

const NOW: Timestamp = Timestamp(1_767_571_200_000);

fn proposal(target: &str, proposer: Proposer) -> Proposal {
    let target = target.parse::<IpNet>().or_else(|_| target.parse::<IpAddr>().map(IpNet::from)).unwrap();
    Proposal { id: "1".into(), target, proposer, ground: Ground::default(), at: NOW, duration_secs: 3600, offences: 0 }
}

fn host() -> Surroundings {
    let ip = |text: &str| vec![text.parse().unwrap()];
    let net = |text: &str| vec![text.parse().unwrap()];
    Surroundings {
        taken_at: NOW,
        own: ip("203.0.113.1"),
        gateways: ip("203.0.113.254"),
        resolvers: ip("2001:db8:53::53"),
        ssh_peers: ip("198.51.100.22"),
        verified_crawlers: ip("198.51.100.66"),
        services: ip("198.51.100.88"),
        cdns: net("203.0.113.128/26"),
        allow: net("192.0.2.0/24"),
        trusted_proxies: net("2001:db8:cd::/48"),
        ..Surroundings::default()
    }
}

fn answer(target: &str, surroundings: &Surroundings) -> Result<(), &'static str> {
    gate(&proposal(target, Proposer::Rules), surroundings, &mut Blasts::default(), &a_minute(60), NOW)
        .map(|_| ())
        .map_err(|refusal| refusal.as_str())
}

#[test]
fn the_gate_refuses_everything_that_must_stay_open() {
    for (target, refusal) in [
        ("192.0.2.77", "allowlisted"),
        ("2001:db8:cd:1::/64", "trusted_proxy"),
        ("203.0.113.1", "own"),
        ("203.0.113.254", "gateway"),
        ("2001:db8:53::/64", "resolver"),
        ("198.51.100.0/24", "ssh_peer"),
        ("198.51.100.66", "verified_crawler"),
        ("198.51.100.88", "service"),
        ("203.0.113.129", "cdn"),
        ("203.0.113.0/25", "own"),
        ("127.0.0.1", "loopback"),
        ("::ffff:127.0.0.1/128", "loopback"),
        ("::ffff:192.0.2.0/120", "allowlisted"),
        ("::1", "loopback"),
        ("169.254.1.1", "link_local"),
        ("fe80::/64", "link_local"),
        ("224.0.0.1", "special"),
        ("0.0.0.0", "special"),
        ("10.1.2.3", "private"),
        ("172.31.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::/64", "private"),
        ("198.0.0.0/8", "too_wide"),
        ("2001::/16", "too_wide"),
    ] {
        assert_eq!(answer(target, &host()), Err(refusal), "{target}");
    }
    for target in ["203.0.113.7", "198.51.100.7", "2001:db8:1:2::/64", "8.8.8.8"] {
        assert_eq!(answer(target, &host()), Ok(()), "{target}");
    }
}

#[test]
fn private_networks_are_blocked_only_when_configured() {
    let lab = Surroundings { block_private: true, ..host() };
    assert_eq!(answer("10.1.2.3", &lab), Ok(()));
    assert_eq!(answer("127.0.0.1", &lab), Err("loopback"));
}

#[test]
fn who_cannot_see_does_not_shoot() {
    let stale = Surroundings { taken_at: Timestamp(NOW.0 - 61_000), ..host() };
    assert_eq!(answer("203.0.113.7", &stale), Err("blind"));
    let unreadable = Surroundings { unreadable: Some("no /proc".into()), ..host() };
    assert_eq!(answer("203.0.113.7", &unreadable), Err("blind"));
}

#[test]
fn a_minute_holds_only_so_many_new_blocks() {
    let mut blasts = Blasts::default();
    let mut ask = |proposer, now| {
        gate(
            &proposal("203.0.113.7", proposer),
            &Surroundings { taken_at: now, ..host() },
            &mut blasts,
            &a_minute(2),
            now,
        )
    };
    assert!(ask(Proposer::Rules, NOW).is_ok());
    assert!(ask(Proposer::Rules, NOW).is_ok());
    let held = ask(Proposer::Rules, NOW).unwrap_err();
    assert_eq!(held, Refusal::TooMany(2));
    assert!(held.is_temporary());
    assert!(ask(Proposer::Operator, NOW).is_ok(), "a person is not held");
    assert!(ask(Proposer::Restored, NOW).is_ok(), "nor are bans that were in force");
    assert!(ask(Proposer::Rules, NOW.plus_secs(60)).is_ok(), "the next minute lets go");
}

#[test]
fn a_ban_counts_from_its_cause_and_one_that_is_over_is_not_applied() {
    let permit = gate(
        &proposal("203.0.113.7", Proposer::Rules),
        &host(),
        &mut Blasts::default(),
        &a_minute(9),
        NOW.plus_secs(10),
    )
    .unwrap();
    assert_eq!(permit.expires_at(), NOW.plus_secs(3600));
    let late = NOW.plus_secs(3600);
    let there = Surroundings { taken_at: late, ..host() };
    assert_eq!(
        gate(&proposal("203.0.113.7", Proposer::Rules), &there, &mut Blasts::default(), &a_minute(9), late)
            .unwrap_err(),
        Refusal::Over
    );
}
