//! The blast radius: what passed the gate lately, and when that is too much to be anything but a
//! mistake of ours. Three limits, because mistakes look different: a rule that matches everything
//! blocks very many, or those whom the site just served; a forged log, or a proxy that nobody told us
//! of, blocks one network.

use std::collections::{HashMap, VecDeque};

use ipnet::IpNet;

use super::Refusal;
use crate::event::{Proposal, Proposer, Timestamp};

const MINUTE_MILLIS: i64 = 60_000;
/// Shares are of the blocks of so long; and so long everything is held when too many had been served.
const WINDOW_MILLIS: i64 = 600_000;
/// Served clients from which on their share counts. An attacker is caught by one of his first requests
/// as a rule, so ten who had been served well are no chance.
const SERVED_MIN: u32 = 10;
/// Blocks in one network from which on its share counts: of a /16, fifty attackers in ten minutes are
/// possible, but that they are more than half of all is seldom.
const NETWORK_MIN: u32 = 50;
/// Lengths in bits of these networks: as wide as one provider's customers often are.
const NETWORK_BITS: (u8, u8) = (16, 32);
/// Blocks remembered at least; bounds the memory. Beyond, shares are of so many.
const REMEMBERED: usize = 100_000;

/// How much is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// New blocks in any minute.
    pub per_min: u32,
    /// Of the blocks of ten minutes, clients that were served well before, in a hundred.
    pub served_percent: u8,
    /// Of the same, clients of one network.
    pub network_percent: u8,
}

impl Limits {
    /// For what an operator lets go.
    pub const NONE: Limits = Limits { per_min: u32::MAX, served_percent: 100, network_percent: 100 };
}

/// New blocks of the last ten minutes.
#[derive(Clone, Debug, Default)]
pub struct Blasts {
    /// The oldest first.
    recent: VecDeque<Blast>,
    served: u32,
    networks: HashMap<IpNet, u32>,
    /// Too many had been served: everything is held until then.
    held_until: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Blast {
    at: Timestamp,
    network: IpNet,
    was_served: bool,
}

/// Whether limits are for it: not for a person who blocks or chose a list, nor for what was in force before
/// a restart.
fn is_limited(proposal: &Proposal) -> bool {
    !matches!(proposal.proposer, Proposer::Operator | Proposer::Imported | Proposer::Restored)
}

impl Blasts {
    /// Why a proposal must wait, if it must.
    pub fn holds(&mut self, proposal: &Proposal, limits: &Limits, now: Timestamp) -> Option<Refusal> {
        if !is_limited(proposal) {
            return None;
        }
        self.forget(now);
        let too_many_served = Refusal::TooManyServed(limits.served_percent);
        if self.held_until.is_some_and(|until| until > now) {
            return Some(too_many_served);
        }
        let all = self.recent.len() as u32 + 1;
        let before = self.recent.partition_point(|blast| now.0 - blast.at.0 >= MINUTE_MILLIS);
        if self.recent.len() - before >= limits.per_min as usize {
            return Some(Refusal::TooMany(limits.per_min));
        }
        let is_over = |part: u32, percent: u8| u64::from(part) * 100 > u64::from(all) * u64::from(percent);
        let served = self.served + 1;
        if proposal.ground.was_served && served >= SERVED_MIN && is_over(served, limits.served_percent) {
            self.held_until = Some(Timestamp(now.0 + WINDOW_MILLIS));
            return Some(too_many_served);
        }
        let network = network_of(proposal.target);
        let part = self.networks.get(&network).map_or(1, |count| count + 1);
        let of_one = part >= NETWORK_MIN && is_over(part, limits.network_percent);
        of_one.then_some(Refusal::TooManyOfNetwork(network))
    }

    /// Counts a block that passed at `at`, before a restart. They come in the order of their time.
    pub fn recall(&mut self, proposal: &Proposal, limits: &Limits, at: Timestamp, now: Timestamp) {
        if now.0 - at.0 < WINDOW_MILLIS {
            self.count(proposal, limits, at.min(now));
        }
    }

    /// Counts a block that passed.
    pub(super) fn count(&mut self, proposal: &Proposal, limits: &Limits, now: Timestamp) {
        if !is_limited(proposal) {
            return;
        }
        let (network, was_served) = (network_of(proposal.target), proposal.ground.was_served);
        self.recent.push_back(Blast { at: now, network, was_served });
        self.served += u32::from(was_served);
        *self.networks.entry(network).or_default() += 1;
        while self.recent.len() > REMEMBERED.max(limits.per_min as usize) {
            self.forget_oldest();
        }
    }

    /// Forgets what is too old. What is of the future, since the clock was set back, is of now.
    fn forget(&mut self, now: Timestamp) {
        self.recent.iter_mut().rev().take_while(|blast| blast.at > now).for_each(|blast| blast.at = now);
        self.held_until = self.held_until.map(|until| until.min(Timestamp(now.0 + WINDOW_MILLIS)));
        while self.recent.front().is_some_and(|blast| now.0 - blast.at.0 >= WINDOW_MILLIS) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(blast) = self.recent.pop_front() else { return };
        self.served -= u32::from(blast.was_served);
        if let Some(count) = self.networks.get_mut(&blast.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&blast.network);
            }
        }
    }
}

/// The /16 or /32 that a target is in; itself, if it is wider.
fn network_of(target: IpNet) -> IpNet {
    let bits = if target.addr().is_ipv4() { NETWORK_BITS.0 } else { NETWORK_BITS.1 };
    let bits = bits.min(target.prefix_len());
    IpNet::new(target.addr(), bits).map_or(target, |network| network.trunc())
}

#[cfg(test)]
mod tests;
