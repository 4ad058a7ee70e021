use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Whom counters and bans are about: an IPv4 address, or the IPv6 network (a /64 unless
/// configured) that one customer holds.
///
/// Kept as one number (IPv4 as `::ffff:a.b.c.d`), so that the hot path compares and hashes it in
/// a few instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey {
    bits: u128,
    prefix: u8,
}

impl ClientKey {
    /// Length in bits of the IPv6 network that counts as one client, unless configured.
    pub const V6_PREFIX: u8 = 64;

    /// The client that `address` belongs to. `address` is canonical: see [`canonical`].
    pub fn of(address: IpAddr, v6_prefix: u8) -> ClientKey {
        match canonical(address) {
            IpAddr::V4(v4) => ClientKey { bits: u128::from(v4.to_ipv6_mapped()), prefix: 128 },
            IpAddr::V6(v6) => {
                let mask = if v6_prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(v6_prefix.min(128))) };
                ClientKey { bits: u128::from(v6) & mask, prefix: v6_prefix.min(128) }
            }
        }
    }

    /// The number behind it: the same for two clients only if they are the same.
    pub fn bits(self) -> u128 {
        self.bits
    }

    /// The key whose [`bits`](Self::bits) these are.
    pub fn from_bits(bits: u128, v6_prefix: u8) -> ClientKey {
        let v4 = Ipv6Addr::from(bits).to_ipv4_mapped().is_some();
        ClientKey { bits, prefix: if v4 { 128 } else { v6_prefix } }
    }

    /// The client as a network: a /32, or the IPv6 prefix.
    pub fn network(self) -> IpNet {
        let v6 = Ipv6Addr::from(self.bits);
        match v6.to_ipv4_mapped() {
            Some(v4) => Ipv4Net::from(v4).into(),
            None => Ipv6Net::new_assert(v6, self.prefix).into(),
        }
    }
}

impl std::fmt::Display for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(self.network()))
    }
}

/// A network for people and scripts: a single address without its `/32` or `/128`.
pub fn shown(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

/// `address` with an IPv4-mapped IPv6 address turned into the IPv4 address that it is.
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, |v4: Ipv4Addr| v4.into()),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_is_an_ipv4_address_or_an_ipv6_network() {
        let shown = |text: &str| ClientKey::of(text.parse().unwrap(), 64).to_string();
        assert_eq!(shown("203.0.113.7"), "203.0.113.7");
        assert_eq!(shown("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(shown("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        let key = ClientKey::of("2001:db8:1:2:3::".parse().unwrap(), 64);
        assert_eq!(ClientKey::from_bits(key.bits(), 64), key);
    }
}
