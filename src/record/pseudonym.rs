//! Addresses that stand for clients: the same client has the same one, and nobody without the key can tell
//! whose it is. Pure.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use ring::hmac;

/// Makes addresses of fd00::/8: 40 bits of a client's /24 or /48, 16 more of its /64, 64 of its address. So
/// neighbours stay neighbours, and what is asked of a network is found.
#[derive(Clone)]
pub(super) struct Pseudonyms(hmac::Key);

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms")
    }
}

/// Bytes of the key.
pub(super) const KEY_BYTES: usize = 32;

impl Pseudonyms {
    pub fn new(key: &[u8; KEY_BYTES]) -> Pseudonyms {
        Pseudonyms(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// What stands for a client or an address in it: an IPv4 address becomes one address, an IPv6 network a /64,
    /// one shorter than /48 as if it were one /64, and a single IPv6 address one in its /64.
    pub fn client(&self, client: IpNet) -> IpNet {
        let client = client.trunc();
        match client {
            IpNet::V4(v4) => {
                let bits = self.group(network(client, 24)) | self.hash("address", client) & (u128::MAX >> 48);
                if v4.prefix_len() == 32 { one(bits) } else { net(bits, 48) }
            }
            IpNet::V6(v6) => {
                let group = network(client, 48.min(v6.prefix_len()));
                let subnet = ((u128::from(v6.network()) >> 64) & 0xffff) as u16;
                let bits = self.group(group) | u128::from(self.shuffle(group, subnet)) << 64;
                if v6.prefix_len() <= 64 {
                    return net(bits, 64);
                }
                one(bits | self.hash("address", client) & u128::from(u64::MAX))
            }
        }
    }

    /// What stands for all clients of a network. One wider than /24 or /48 has none: the answer is a /48 in
    /// which nobody is.
    pub fn network(&self, wanted: IpNet) -> IpNet {
        let group = if wanted.addr().is_ipv4() { 24 } else { 48 };
        let is_client = wanted.prefix_len() == wanted.max_prefix_len() || wanted.prefix_len() > group;
        if is_client && !(wanted.addr().is_ipv4() && wanted.prefix_len() < 32) {
            return self.client(wanted);
        }
        net(self.group(network(wanted, group.min(wanted.prefix_len()))), 48)
    }

    fn group(&self, group: IpNet) -> u128 {
        0xfd << 120 | self.hash("group", group) >> 88 << 80
    }

    fn hash(&self, what: &str, network: IpNet) -> u128 {
        let tag = hmac::sign(&self.0, format!("{what} {network}").as_bytes());
        tag.as_ref().iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    }

    /// Another number for each of a group's 65,536 subnets: a Feistel network of four rounds.
    fn shuffle(&self, group: IpNet, subnet: u16) -> u16 {
        let [mut left, mut right] = subnet.to_be_bytes();
        for round in 0..4 {
            let tag = hmac::sign(&self.0, format!("subnet {group} {round} {right}").as_bytes());
            (left, right) = (right, left ^ tag.as_ref().first().copied().unwrap_or(0));
        }
        u16::from_be_bytes([left, right])
    }
}

fn network(of: IpNet, prefix: u8) -> IpNet {
    IpNet::new(of.addr(), prefix).unwrap_or(of).trunc()
}

fn one(bits: u128) -> IpNet {
    IpAddr::V6(Ipv6Addr::from(bits)).into()
}

fn net(bits: u128, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(bits), prefix)).trunc()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn parsed(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_one_and_another_with_another_key() {
        let (ours, theirs) = (Pseudonyms::new(&[7; 32]), Pseudonyms::new(&[8; 32]));
        let private = parsed("fd00::/8");
        for text in ["203.0.113.7/32", "2001:db8:1:2::/64", "2001:db8:1:2::9/128", "2001:db8::/32", "fd00:1::5/128"] {
            let client = parsed(text);
            let kept = ours.client(client);
            assert!(private.contains(&kept), "{text}: {kept}");
            assert_eq!(kept, ours.client(client));
            assert_ne!(kept, theirs.client(client));
            assert_ne!(kept, client);
        }
        assert_eq!(ours.client(parsed("203.0.113.7/32")).prefix_len(), 128);
        assert_eq!(ours.client(parsed("2001:db8:1:2::/64")).prefix_len(), 64);
        assert_eq!(ours.client(parsed("2001:db8::/32")).prefix_len(), 64);
    }

    #[test]
    fn neighbours_stay_neighbours_and_nobody_is_mistaken_for_another() {
        let names = Pseudonyms::new(&[7; 32]);
        let office = names.network(parsed("203.0.113.0/24"));
        assert_eq!(office.prefix_len(), 48);
        let all: HashSet<IpNet> = (0..=255).map(|last| names.client(parsed(&format!("203.0.113.{last}/32")))).collect();
        assert_eq!(all.len(), 256);
        assert!(all.iter().all(|kept| office.contains(kept)));
        assert!(!office.contains(&names.client(parsed("203.0.114.0/32"))));

        let site = names.network(parsed("2001:db8:5::/48"));
        let all: HashSet<IpNet> =
            (0..=0xffff).map(|subnet| names.client(parsed(&format!("2001:db8:5:{subnet:x}::/64")))).collect();
        assert_eq!(all.len(), 65_536, "no two subnets share one");
        assert!(all.iter().all(|kept| site.contains(kept)));
        let (subnet, host) = (parsed("2001:db8:5:1::/64"), parsed("2001:db8:5:1::9/128"));
        assert!(names.client(subnet).contains(&names.client(host)));
        assert_eq!(names.network(subnet), names.client(subnet));
        assert_eq!(names.network(host), names.client(host));
        let wide = names.network(parsed("203.0.0.0/16"));
        assert!(!wide.contains(&office) && !wide.contains(&site));
    }
}
