//! Whole networks: how many of a network's clients were banned lately. That raises the score of
//! its next client's finding and never blocks a client by itself.

use ipnet::IpNet;

use super::table::Table;
use super::window::Bucket;
use crate::event::ClientKey;

/// A banned client is held against its network for so many seconds, each banned client anew.
const LEAK_SECS: f32 = 21_600.0;

/// A kind of network: how many other clients of it must have been banned lately for one more point,
/// and for two.
struct Kind {
    bits: u32,
    one: f32,
    two: f32,
}

/// An IPv4 /24 is the least that is routed: 256 addresses, of one provider as a rule. Three offenders
/// in a day are far above chance, eight make it a bad neighbourhood.
const V4: [Kind; 1] = [Kind { bits: 96 + 24, one: 3.0, two: 8.0 }];
/// An IPv6 /56 is what one household or one rented server holds: two /64s of it are the same hands. A
/// /48 is one organisation, or 256 households.
const V6: [Kind; 2] = [Kind { bits: 56, one: 2.0, two: 4.0 }, Kind { bits: 48, one: 4.0, two: 16.0 }];

/// The IPv4 /24 or IPv6 /56 of a client.
pub fn network_of(client: u128) -> u128 {
    enclosing(client, kinds(client)[0].bits)
}

fn kinds(client: u128) -> &'static [Kind] {
    if client >> 32 == 0xffff { &V4 } else { &V6 }
}

/// The network of the client's first `bits` bits, which are less than 128. Its length tells it
/// from narrower ones.
fn enclosing(client: u128, bits: u32) -> u128 {
    client & !(u128::MAX >> bits) | u128::from(bits)
}

/// Notes that `client` was banned at `now_secs`.
pub fn add(networks: &mut Table<Bucket>, client: u128, now_secs: u32) {
    for kind in kinds(client) {
        let bucket = networks.entry(enclosing(client, kind.bits), now_secs);
        bucket.leak(now_secs, LEAK_SECS);
        if bucket.seen.is_new(class(client)) {
            bucket.level += 1.0;
        }
    }
}

/// Which networks of `client` raise its findings, for people: bits, and the bans of others for one
/// point and for two.
pub fn networks_of(client: u128) -> impl Iterator<Item = (u32, u32, u32)> {
    let first = if client >> 32 == 0xffff { 96 } else { 0 };
    kinds(client).iter().map(move |kind| (kind.bits - first, kind.one as u32, kind.two as u32))
}

/// Points that a finding of `client` gains by its siblings: 0 to 2.
pub fn points(networks: &Table<Bucket>, client: u128, now_secs: u32) -> u8 {
    kinds(client).iter().map(|kind| points_by(kind, networks, client, now_secs)).max().unwrap_or(0)
}

fn points_by(kind: &Kind, networks: &Table<Bucket>, client: u128, now_secs: u32) -> u8 {
    let Some(bucket) = networks.get(enclosing(client, kind.bits)) else { return 0 };
    let mut bucket = bucket.clone();
    bucket.leak(now_secs, LEAK_SECS);
    // Its own ban is no sibling's.
    let others = bucket.level.ceil() - f32::from(u8::from(!bucket.seen.is_new(class(client))));
    u8::from(others >= kind.one) + u8::from(others >= kind.two)
}

/// The /24 or /56 of `client`, if its siblings there are worth two points.
pub fn full_network_of(networks: &Table<Bucket>, client: ClientKey, now_secs: u32) -> Option<IpNet> {
    let bits = client.bits();
    let kind = &kinds(bits)[0];
    let own = client.network();
    let prefix = if own.addr().is_ipv4() { kind.bits - 96 } else { kind.bits };
    if u32::from(own.prefix_len()) <= prefix || points_by(kind, networks, bits, now_secs) < 2 {
        return None;
    }
    IpNet::new(own.addr(), prefix as u8).ok().map(|network| network.trunc())
}

/// All clients of a network, at most 256 where it is a /24 or a /56 of /64s, by their keys.
pub fn clients_of(network: IpNet, client: ClientKey) -> impl Iterator<Item = u128> {
    let own = client.network();
    let free = u32::from(own.prefix_len().saturating_sub(network.prefix_len())).min(16);
    let host_bits = u32::from(own.max_prefix_len() - own.prefix_len());
    let first = ClientKey::of(network.addr(), own.prefix_len()).bits();
    (0..1u128 << free).map(move |n| first | n << host_bits)
}

/// One of many classes of clients, such that neighbours differ.
fn class(client: u128) -> u32 {
    let part = if client >> 32 == 0xffff { client as u32 & 0xff } else { (client >> 64) as u32 };
    part ^ part >> 8 ^ part >> 16
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::event::ClientKey;

    fn key(address: &str) -> u128 {
        ClientKey::of(address.parse::<IpAddr>().unwrap(), 64).bits()
    }

    fn points_after(banned: &[String], client: &str, later_secs: u32) -> u8 {
        let mut networks = Table::new(1024, 7);
        banned.iter().for_each(|address| add(&mut networks, key(address), 1_000_000));
        points(&networks, key(client), 1_000_000 + later_secs)
    }

    #[test]
    fn siblings_of_a_network_add_up_for_a_while() {
        let v4 = |count: u32| (0..count).map(|n| format!("203.0.113.{n}")).collect::<Vec<_>>();
        assert_eq!([0, 2, 3, 7, 8, 200].map(|count| points_after(&v4(count), "203.0.113.250", 60)), [0, 0, 1, 1, 2, 2]);
        assert_eq!(points_after(&v4(8), "203.0.114.1", 60), 0, "another /24");
        assert_eq!(points_after(&v4(8), "203.0.113.250", 3 * 86_400), 0, "long ago");
        assert_eq!(points_after(&v4(3), "203.0.113.0", 60), 0, "its own ban is no sibling's");
        let again: Vec<String> = std::iter::repeat_n("203.0.113.9".to_owned(), 20).collect();
        assert_eq!(points_after(&again, "203.0.113.250", 60), 0, "one sibling, many times");
    }

    #[test]
    fn ipv6_networks_are_of_two_sizes() {
        let within_56: Vec<String> = (0..2).map(|n| format!("2001:db8:1:ab{n:02x}::1")).collect();
        assert_eq!(points_after(&within_56, "2001:db8:1:abff::1", 60), 1);
        assert_eq!(points_after(&within_56, "2001:db8:1:cc00::1", 60), 0, "the same /48, another /56");
        let within_48: Vec<String> = (0..16).map(|n| format!("2001:db8:1:{n:x}00::1")).collect();
        assert_eq!(points_after(&within_48, "2001:db8:1:ff00::1", 60), 2);
        assert_eq!(points_after(&within_48, "2001:db8:2:ff00::1", 60), 0);
    }
}
