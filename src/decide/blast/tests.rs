use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::decide::{Surroundings, gate};
use crate::event::Ground;

const NOW: Timestamp = Timestamp(1_767_571_200_000);
const LIMITS: Limits = Limits { per_min: 1000, served_percent: 30, network_percent: 50 };

fn proposal(address: [u8; 4], proposer: Proposer, was_served: bool) -> Proposal {
    Proposal {
        id: "1".into(),
        target: IpAddr::V4(Ipv4Addr::from(address)).into(),
        proposer,
        ground: Ground { was_served, ..Ground::default() },
        at: NOW,
        duration_secs: 1_000_000,
        offences: 0,
    }
}

/// What the gate says to each of these, one a second from `start` on.
fn ask(blasts: &mut Blasts, start: u64, proposals: impl Iterator<Item = Proposal>) -> Vec<Option<&'static str>> {
    let one = |(at, proposal): (usize, Proposal)| {
        let now = NOW.plus_secs(start + at as u64);
        let surroundings = Surroundings { taken_at: now, ..Surroundings::default() };
        gate(&proposal, &surroundings, blasts, &LIMITS, now).err().map(|refusal| refusal.as_str())
    };
    proposals.enumerate().map(one).collect()
}

/// Clients of different networks.
fn far(n: usize) -> [u8; 4] {
    [20 + (n / 250) as u8, (n % 250) as u8, 1, 1]
}

#[test]
fn many_who_had_been_served_well_hold_everything_until_the_window_is_over() {
    let mut blasts = Blasts::default();
    let served = |count| (0..count).map(|n| proposal(far(n), Proposer::Rules, true));
    assert_eq!(ask(&mut blasts, 0, served(9)), [None; 9], "a few are a chance");
    assert_eq!(ask(&mut blasts, 9, served(1)), [Some("too_many_served")]);
    let attacker = || std::iter::once(proposal(far(500), Proposer::Rules, false));
    assert_eq!(ask(&mut blasts, 10, attacker()), [Some("too_many_served")], "everything is held");
    let by_hand = std::iter::once(proposal(far(501), Proposer::Operator, true));
    assert_eq!(ask(&mut blasts, 11, by_hand), [None], "a person is not");
    assert_eq!(ask(&mut blasts, 608, attacker()), [Some("too_many_served")]);
    assert_eq!(ask(&mut blasts, 609, attacker()), [None], "the next window lets go");

    let mut blasts = Blasts::default();
    let mixed = (0..100).map(|n| proposal(far(n), Proposer::Rules, n % 4 == 3));
    assert_eq!(ask(&mut blasts, 0, mixed), [None; 100], "a quarter is no share to mind");
}

#[test]
fn many_of_one_network_hold_that_network_alone() {
    let mut blasts = Blasts::default();
    let of_one = |count: u8| (0..count).map(|n| proposal([203, 0, 113, n], Proposer::Rules, false));
    assert_eq!(ask(&mut blasts, 0, of_one(49)), [None; 49]);
    assert_eq!(ask(&mut blasts, 49, of_one(1)), [Some("too_many_of_network")]);
    let others = (0..60).map(|n| proposal(far(n), Proposer::Rules, false));
    assert_eq!(ask(&mut blasts, 50, others), [None; 60], "others are blocked");
    assert_eq!(ask(&mut blasts, 110, of_one(1)), [None], "and it is no large share any more");
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_for_long() {
    let mut blasts = Blasts::default();
    let served = |from: usize| (from..from + 10).map(|n| proposal(far(n), Proposer::Rules, true));
    assert_eq!(ask(&mut blasts, 86_400, served(0))[9], Some("too_many_served"));
    let other = || std::iter::once(proposal(far(20), Proposer::Rules, false));
    assert_eq!(ask(&mut blasts, 0, other()), [Some("too_many_served")], "a day earlier");
    assert_eq!(ask(&mut blasts, 601, other()), [None], "ten minutes later");
    assert_eq!((blasts.recent.len(), blasts.served), (1, 0));
}

#[test]
fn memory_is_bounded() {
    let mut blasts = Blasts::default();
    let (limits, one) = (Limits { per_min: 7, ..LIMITS }, proposal(far(1), Proposer::Rules, true));
    (0..REMEMBERED + 5).for_each(|_| blasts.count(&one, &limits, NOW));
    assert_eq!((blasts.recent.len(), blasts.served as usize), (REMEMBERED, REMEMBERED));
    blasts.forget(NOW.plus_secs(600));
    assert!(blasts.recent.is_empty() && blasts.networks.is_empty() && blasts.served == 0);
}

proptest! {
    /// Whatever is proposed, in whatever order.
    #[test]
    fn no_limit_is_ever_passed(
        per_min in 1u32..100,
        asked in prop::collection::vec((0u64..20, 0u8..5, any::<u8>(), any::<bool>(), 0u8..8), 1..600),
    ) {
        let limits = Limits { per_min, ..LIMITS };
        let allow: IpNet = "20.0.7.0/24".parse().unwrap();
        let (mut blasts, mut now) = (Blasts::default(), NOW);
        let mut passed: Vec<(Timestamp, IpNet, bool)> = vec![];
        for (later, network, host, was_served, proposer) in asked {
            now = now.plus_secs(later);
            let by_hand = proposer == 0;
            let proposer = if by_hand { Proposer::Operator } else { Proposer::Rules };
            let proposal = proposal([20, network, host % 16, 1], proposer, was_served);
            let surroundings = Surroundings { taken_at: now, allow: vec![allow], ..Surroundings::default() };
            let answer = gate(&proposal, &surroundings, &mut blasts, &limits, now);
            if allow.contains(&proposal.target) {
                prop_assert_eq!(answer.unwrap_err().as_str(), "allowlisted");
                continue;
            }
            if by_hand {
                prop_assert!(answer.is_ok(), "a person is never held");
                continue;
            }
            match answer {
                Ok(_) => passed.push((now, network_of(proposal.target), was_served)),
                Err(refusal) => prop_assert!(refusal.is_temporary(), "{}", refusal),
            }
            passed.retain(|(at, ..)| now.0 - at.0 < WINDOW_MILLIS);
            let minute = passed.iter().filter(|(at, ..)| now.0 - at.0 < MINUTE_MILLIS).count();
            prop_assert!(minute <= per_min as usize);
            // At the moment that one passes, its kind is no larger part than it may be.
            if passed.last().is_some_and(|(at, ..)| *at == now) {
                let share = |part: usize| part * 100 / passed.len();
                let (_, last, was_served) = passed[passed.len() - 1];
                let served = passed.iter().filter(|(.., served)| *served).count();
                prop_assert!(!was_served || served < SERVED_MIN as usize || share(served) <= 30, "{} served", served);
                let of_one = passed.iter().filter(|(_, network, _)| *network == last).count();
                prop_assert!(of_one < NETWORK_MIN as usize || share(of_one) <= 50, "{} of one", of_one);
            }
        }
    }
}
