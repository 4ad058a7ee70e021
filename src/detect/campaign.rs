//! Campaigns: the same suspicious request from many clients within an hour. It is told, with the
//! clients; it adds nothing to anybody's score, since what many unrelated clients ask for alike may as
//! well be a mistake of a rule.

use bytemuck::Zeroable;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::table::{Kept, Table};
use super::window::Seen;

/// Clients that are named.
pub const NAMED: usize = 16;
/// Clients from which on it is told, and again whenever they have doubled.
const TOLD_FROM: u32 = 10;
/// It ends when it has lasted so long, and may begin again.
const LASTS_SECS: u32 = 3600;

/// One suspicious request, by the rules that match and the shape of its path.
#[derive(Clone, Debug, Default, PartialEq, Zeroable)]
pub struct Campaign {
    pub since_secs: u32,
    /// Different clients; beyond [`NAMED`] told apart by a class out of 256, so rather too few.
    pub clients: u32,
    pub seen: Seen,
    pub first: [u128; NAMED],
}

impl Kept for Campaign {
    fn evidence(&self, age_secs: u32) -> u8 {
        if age_secs > LASTS_SECS { 0 } else { u8::try_from(self.clients.saturating_sub(1)).unwrap_or(u8::MAX) }
    }
}

/// The key of a request's campaign: the rules' names, since their numbers change with the files.
pub fn key<'a>(rule_ids: impl Iterator<Item = &'a str>, shape: u32) -> u128 {
    let hasher = FixedState::with_seed(2);
    let rules = rule_ids.fold(0u64, |all, id| all.rotate_left(1) ^ hasher.hash_one(id));
    u128::from(rules) << 32 | u128::from(shape)
}

/// Notes the request of `client`; returns how many clients there are, and the first of them, when
/// that is to be told now.
pub fn note(campaigns: &mut Table<Campaign>, key: u128, client: u128, now_secs: u32) -> Option<(u32, Vec<u128>)> {
    let campaign = campaigns.entry(key, now_secs);
    if campaign.clients == 0 || now_secs.saturating_sub(campaign.since_secs) > LASTS_SECS {
        *campaign = Campaign { since_secs: now_secs, ..Campaign::default() };
    }
    let named = (campaign.clients as usize).min(NAMED);
    if campaign.first[..named].contains(&client) {
        return None;
    }
    let is_new = campaign.seen.is_new(FixedState::with_seed(3).hash_one(client) as u32);
    if named == NAMED && !is_new {
        return None;
    }
    if let Some(place) = campaign.first.get_mut(campaign.clients as usize) {
        *place = client;
    }
    campaign.clients += 1;
    let doubled = campaign.clients.is_multiple_of(TOLD_FROM) && (campaign.clients / TOLD_FROM).is_power_of_two();
    doubled.then(|| (campaign.clients, campaign.first[..NAMED.min(campaign.clients as usize)].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_clients_with_one_request_are_told_once_and_when_they_have_doubled() {
        let mut campaigns = Table::new(64, 7);
        let key = key(["a", "b"].into_iter(), 5);
        let told: Vec<(u32, usize)> = (1..=45u128)
            .flat_map(|client| [client, client])
            .filter_map(|client| note(&mut campaigns, key, client, 1000 + client as u32))
            .map(|(count, named)| (count, named.len()))
            .collect();
        assert_eq!(told, [(10, 10), (20, NAMED), (40, NAMED)]);
    }

    #[test]
    fn one_client_or_a_slow_trickle_is_no_campaign() {
        let mut campaigns = Table::new(64, 7);
        assert!((0..1000).all(|n| note(&mut campaigns, 5, 77, n).is_none()));
        assert!((0..100u32).all(|n| note(&mut campaigns, 6, u128::from(n), n * 600).is_none()));
    }
}
