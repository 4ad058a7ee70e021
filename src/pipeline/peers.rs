//! Whether most requests come from one network: then it is probably a proxy that nobody told us
//! of, and its clients all count as one.

use ipnet::IpNet;

use crate::event::{ClientKey, shown};

/// One line in this many is looked at.
pub const SAMPLED: u64 = 16;
/// Looked-at lines before anything is said.
const ENOUGH: u32 = 512;
/// Networks that are counted at once; the rest only wears them down (Misra and Gries).
const COUNTED: usize = 8;

/// How lines are spread over networks: IPv4 /24, IPv6 as clients are counted.
#[derive(Default)]
pub struct Peers {
    counts: Vec<(IpNet, u32)>,
    seen: u32,
}

impl Peers {
    /// Counts one line of `client`.
    pub fn see(&mut self, client: ClientKey) {
        let network = match client.network() {
            IpNet::V4(v4) => ipnet::Ipv4Net::new(v4.addr(), 24).map_or(v4, |wide| wide.trunc()).into(),
            v6 => v6,
        };
        self.seen = self.seen.saturating_add(1);
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == network) {
            *count += 1;
        } else if self.counts.len() < COUNTED {
            self.counts.push((network, 1));
        } else {
            self.counts.iter_mut().for_each(|(_, count)| *count -= 1);
            self.counts.retain(|(_, count)| *count > 0);
        }
    }

    /// What to tell the operator, if nine of ten lines come from one network.
    pub fn problem(&self) -> Option<String> {
        let (network, count) = self.counts.iter().max_by_key(|(_, count)| *count)?;
        (self.seen >= ENOUGH && count / 9 >= self.seen / 10).then(|| {
            format!(
                "nearly all requests come from {}: if that is your proxy or load balancer, put it into \
                 client.trusted_proxies and have X-Forwarded-For logged; until then its clients count as one",
                shown(*network)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(addresses: impl Iterator<Item = [u8; 4]>) -> Option<String> {
        let mut peers = Peers::default();
        addresses.for_each(|address| peers.see(ClientKey::of(std::net::IpAddr::from(address), 64)));
        peers.problem()
    }

    #[test]
    fn one_network_that_brings_nearly_all_is_told_of() {
        let proxy =
            |n: u32| if n.is_multiple_of(20) { [203, 0, 113, (n / 20) as u8] } else { [172, 18, 0, (n % 3) as u8] };
        assert!(after((0..2000).map(proxy)).is_some_and(|said| said.contains("172.18.0.0/24")));
        assert_eq!(after((0..400).map(proxy)), None, "too early to tell");
        let visitors = |n: u32| [203, (n % 250) as u8, (n / 250) as u8, 1];
        assert_eq!(after((0..2000).map(visitors)), None);
        let half = |n: u32| if n.is_multiple_of(2) { [172, 18, 0, 1] } else { visitors(n) };
        assert_eq!(after((0..2000).map(half)), None);
    }
}
