use std::net::IpAddr;

use ipnet::IpNet;

use super::{Ailment, Followed, Level, Tail, ailment};

/// Of fewer lines nothing follows.
const ENOUGH: u32 = 50;
/// A load balancer has a few addresses; visitors have many.
const FEW: usize = 8;

/// Whether proxies stand before a web server and nobody said so: then all their clients count as one, and
/// nobody among them can be shut out.
pub fn proxies(sources: &[Followed], cdns: &[IpNet]) -> Vec<Ailment> {
    let logs = sources.iter().flat_map(|source| &source.files);
    logs.filter_map(|log| unknown_proxy(&log.path, log.tail.as_ref().ok()?, cdns)).collect()
}

fn unknown_proxy(path: &str, tail: &Tail, cdns: &[IpNet]) -> Option<Ailment> {
    let total: u32 = tail.peers.values().sum();
    if total < ENOUGH {
        return None;
    }
    let share = |fits: &dyn Fn(&IpAddr) -> bool| -> u32 {
        let lines: u32 = tail.peers.iter().filter(|(peer, _)| fits(peer)).map(|(_, lines)| lines).sum();
        lines * 100 / total
    };
    let mut most: Vec<(&IpAddr, &u32)> = tail.peers.iter().collect();
    most.sort_by_key(|(peer, lines)| (std::cmp::Reverse(**lines), **peer));
    most.truncate(FEW);
    let few: Vec<String> = most.iter().take(3).map(|(peer, _)| peer.to_string()).collect();
    let few_send_most = share(&|peer| most.iter().any(|(one, _)| *one == peer)) >= 90;
    let few = few.join(", ");
    if tail.forwarded * 2 >= tail.lines && few_send_most {
        let problem =
            format!("nearly all requests come from {few} and name others in X-Forwarded-For: they are proxies");
        let advice = format!("put their networks into client.trusted_proxies, such as [\"{}\"]", most.first()?.0);
        return Some(ailment(Level::Error, "proxy_not_trusted", path, problem, advice));
    }
    let is_cdn = |peer: &IpAddr| cdns.iter().any(|network| network.contains(peer));
    if share(&is_cdn) >= 10 {
        let problem = format!("{} % of the requests come from a CDN's own addresses", share(&is_cdn));
        let advice = "nobody behind it can be blocked: have the server log the client (nginx: real_ip_header and \
                      set_real_ip_from), or log X-Forwarded-For and put the CDN's networks into client.trusted_proxies";
        return Some(ailment(Level::Warning, "cdn_as_client", path, problem, advice));
    }
    if share(&is_private) >= 90 && few_send_most {
        let problem = format!("nearly all requests come from {few}, which are private: a proxy, or Docker's");
        let advice = "have X-Forwarded-For logged and put its network into client.trusted_proxies; where it is \
                      Docker's own (a bridge's first address), publish the port with \"userland-proxy\": false or use \
                      the host's network; for an intranet, set client.block_private";
        return Some(ailment(Level::Warning, "private_clients", path, problem, advice));
    }
    None
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Log, told};
    use super::*;

    #[test]
    fn unknown_proxies_are_told_from_visitors() {
        let cdn: IpNet = "198.51.100.0/24".parse().unwrap();
        let visitors = |n: u8| (1..=n).map(|last| (IpAddr::from([203, 0, 113, last]), 2)).collect::<Vec<_>>();
        let one = |address: &str, lines: u32| vec![(address.parse::<IpAddr>().unwrap(), lines)];
        for (peers, forwarded, expected) in [
            (visitors(100), 0, None),
            (visitors(100), 200, None),
            (one("203.0.113.9", 200), 0, None),
            (one("10.0.0.3", 40), 40, None),
            (one("10.0.0.3", 200), 150, Some((Level::Error, "proxy_not_trusted"))),
            (one("203.0.113.9", 200), 200, Some((Level::Error, "proxy_not_trusted"))),
            ([visitors(50), one("198.51.100.7", 20)].concat(), 0, Some((Level::Warning, "cdn_as_client"))),
            ([visitors(100), one("198.51.100.7", 20)].concat(), 0, None),
            ([visitors(5), one("172.17.0.1", 190)].concat(), 0, Some((Level::Warning, "private_clients"))),
            ([visitors(50), one("172.17.0.1", 100)].concat(), 0, None),
        ] {
            let lines = peers.iter().map(|(_, lines)| lines).sum();
            let tail = Tail { lines, forwarded, peers: peers.clone().into_iter().collect(), ..Tail::default() };
            let log = Log { path: "/l".into(), tail: Ok(tail) };
            let sources = [Followed { files: vec![log], ..Followed::default() }];
            assert_eq!(told(&proxies(&sources, &[cdn])).first().copied(), expected, "{peers:?} {forwarded}");
        }
    }
}
