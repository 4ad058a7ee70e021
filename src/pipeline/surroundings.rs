//! Reads from the host what the gate must never shut out. Slow for the hot path (system calls,
//! files), quick for a task that repeats it: about a millisecond with thousands of sockets.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnet::IpNet;

use crate::decide::{ClientConfig, Surroundings};
use crate::event::{Timestamp, canonical};

/// This host's surroundings at `now`: what `client` and `extra_allow` let pass, and what the host
/// itself shows. If any essential part cannot be read, `unreadable` says which, and why.
pub fn read(client: &ClientConfig, extra_allow: &[IpNet], now: Timestamp) -> Surroundings {
    let mut surroundings = Surroundings {
        taken_at: now,
        allow: client.allow.iter().chain(extra_allow).copied().collect(),
        trusted_proxies: client.trusted_proxies.clone(),
        block_private: client.block_private,
        ..Surroundings::default()
    };
    if let Err(error) = read_host(&mut surroundings) {
        surroundings.unreadable = Some(format!("{error:#}"));
    }
    surroundings
}

/// Next hops in `/proc/net/route`. Of all routes, not of the default ones alone: no next hop is
/// an attacker, and a VPN's default route is often two halves.
pub fn gateways_v4(route: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let address = v4(line.split_ascii_whitespace().nth(2)?)?;
        (!address.is_unspecified()).then_some(IpAddr::V4(address))
    };
    distinct(route.lines().skip(1).filter_map(gateway))
}

/// Next hops in `/proc/net/ipv6_route`.
pub fn gateways_v6(route: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let address = Ipv6Addr::from(u128::from_str_radix(line.split_ascii_whitespace().nth(4)?, 16).ok()?);
        (!address.is_unspecified()).then_some(IpAddr::V6(address))
    };
    distinct(route.lines().filter_map(gateway))
}

/// Name servers in a `resolv.conf`.
pub fn resolvers(resolv_conf: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let address = directive(line, "nameserver")?;
        let without_zone = address.split('%').next()?;
        without_zone.parse().ok().map(canonical)
    };
    distinct(resolv_conf.lines().filter_map(server))
}

/// Ports of `Port` and `ListenAddress` lines in an `sshd_config`.
pub fn ssh_ports(sshd_config: &str) -> BTreeSet<u16> {
    let port = |line: &str| match directive(line, "port") {
        Some(port) => port.parse().ok(),
        // `host:port` or `[v6]:port`; a bare IPv6 address has several colons and no port.
        None => match directive(line, "listenaddress")?.rsplit_once(':')? {
            (host, port) if host.ends_with(']') || !host.contains(':') => port.parse().ok(),
            _ => None,
        },
    };
    sshd_config.lines().filter_map(port).collect()
}

/// The other ends of established connections to one of `ports` of this host, in `/proc/net/tcp`
/// or `/proc/net/tcp6`.
pub fn peers(tcp: &str, ports: &BTreeSet<u16>) -> Vec<IpAddr> {
    const ESTABLISHED: &str = "01";
    let peer = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        if state != ESTABLISHED || !ports.contains(&port) {
            return None;
        }
        let address = remote.rsplit_once(':')?.0;
        v4(address).map(IpAddr::V4).or_else(|| v6(address).map(IpAddr::V6)).map(canonical)
    };
    distinct(tcp.lines().skip(1).filter_map(peer))
}

fn read_host(surroundings: &mut Surroundings) -> anyhow::Result<()> {
    surroundings.own = own_addresses()?;
    surroundings.gateways = gateways_v4(&text("/proc/net/route")?);
    surroundings.gateways.extend(gateways_v6(&text_if_there("/proc/net/ipv6_route")?));
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        surroundings.resolvers.extend(resolvers(&text_if_there(path)?));
    }
    let ports = configured_ssh_ports();
    surroundings.ssh_peers = peers(&text("/proc/net/tcp")?, &ports);
    surroundings.ssh_peers.extend(peers(&text_if_there("/proc/net/tcp6")?, &ports));
    Ok(())
}

fn own_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().context("this host's addresses cannot be read (getifaddrs)")?;
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    Ok(distinct(interfaces.filter_map(address)))
}

/// 22, and what sshd's configuration says as far as it may be read: one port too many keeps one
/// stranger unblocked, one too few locks a person out.
fn configured_ssh_ports() -> BTreeSet<u16> {
    let mut files = vec![PathBuf::from("/etc/ssh/sshd_config")];
    if let Ok(directory) = std::fs::read_dir("/etc/ssh/sshd_config.d") {
        files.extend(directory.flatten().map(|entry| entry.path()));
    }
    let mut ports = BTreeSet::from([22]);
    for file in files {
        if let Ok(config) = text(file) {
            ports.extend(ssh_ports(&config));
        }
    }
    ports
}

/// The value of a line `keyword value` or `keyword=value`; keywords are given in lower case.
fn directive<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let mut words = line.split(|c: char| c.is_ascii_whitespace() || c == '=').filter(|word| !word.is_empty());
    words.next()?.eq_ignore_ascii_case(keyword).then(|| words.next())?
}

/// The kernel prints the four bytes of an address as one number in the host's byte order.
fn v4(hex: &str) -> Option<Ipv4Addr> {
    (hex.len() == 8).then(|| u32::from_str_radix(hex, 16).ok())?.map(|number| number.to_ne_bytes().into())
}

/// In `/proc/net/tcp6`: four such numbers.
fn v6(hex: &str) -> Option<Ipv6Addr> {
    if hex.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (i, four) in bytes.chunks_exact_mut(4).enumerate() {
        four.copy_from_slice(&v4(hex.get(8 * i..8 * i + 8)?)?.octets());
    }
    Some(bytes.into())
}

fn text(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Empty when there is no such file: a host without IPv6 has no `/proc/net/tcp6`.
fn text_if_there(path: &str) -> anyhow::Result<String> {
    match text(path) {
        Err(error) if error.downcast_ref().map(std::io::Error::kind) == Some(ErrorKind::NotFound) => Ok(String::new()),
        answer => answer,
    }
}

fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    addresses.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn next_hops_are_read_from_the_routing_tables() {
        let route = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\tFE7100CB\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t007100CB\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
wg0\t00000080\t0100330A\t0003\t0\t0\t0\t00000080\t0\t0\t0
eth1\t00000000\tFE7100CB\t0003\t0\t0\t200\t00000000\t0\t0\t0
broken
";
        assert_eq!(gateways_v4(route), ips(&["10.51.0.1", "203.0.113.254"]));
        let route = "\
20010db8000100000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000100000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";
        assert_eq!(gateways_v6(route), ips(&["2001:db8:1::1"]));
    }

    #[test]
    fn resolvers_come_without_comments_and_zones() {
        let conf = "# nameserver 192.0.2.1\nsearch example.org\nnameserver 192.0.2.53\nnameserver\tfe80::1%eth0\n\
                    nameserver 2001:db8::53 \nnameserver none\nnameserver\n";
        assert_eq!(resolvers(conf), ips(&["192.0.2.53", "2001:db8::53", "fe80::1"]));
    }

    #[test]
    fn ssh_ports_come_from_port_and_listen_address() {
        let conf = "#Port 1\nPort 22\n  port=2222\nPORT\t443\nListenAddress 0.0.0.0:2022\nListenAddress [::]:2023\n\
                    ListenAddress 2001:db8::4\nListenAddress 192.0.2.1\nPort x\nPermitRootLogin no\n";
        assert_eq!(ssh_ports(conf), BTreeSet::from([22, 443, 2022, 2023, 2222]));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn peers_are_the_far_ends_of_established_connections_to_sshd() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 017100CB:0016 166433C6:D431 01 00000000:00000000 02:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 017100CB:0050 176433C6:D431 01 00000000:00000000 02:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 017100CB:0016 186433C6:D431 06 00000000:00000000 02:00000000 00000000     0        0 4 1 0 20 4 30 10 -1
   4: 017100CB:8AE2 196433C6:0016 01 00000000:00000000 02:00000000 00000000     0        0 5 1 0 20 4 30 10 -1
";
        assert_eq!(peers(tcp, &BTreeSet::from([22])), ips(&["198.51.100.22"]));
        let tcp6 =
            "  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: B80D0120000001000000000001000000:0016 B80D0120000002000000000007000000:D431 01 00000000:00000000
   1: 0000000000000000FFFF0000017100CB:0016 0000000000000000FFFF0000166433C6:D432 01 00000000:00000000
";
        assert_eq!(peers(tcp6, &BTreeSet::from([22])), ips(&["198.51.100.22", "2001:db8:2::7"]));
    }

    #[test]
    fn this_host_can_be_read() {
        let client = ClientConfig {
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            trusted_proxies: vec!["198.51.100.0/24".parse().unwrap()],
            block_private: true,
            ..ClientConfig::default()
        };
        let extra = "203.0.113.0/24".parse().unwrap();
        let read = read(&client, &[extra], Timestamp(5));
        assert_eq!(read.unreadable, None);
        assert_eq!(read.taken_at, Timestamp(5));
        assert!(read.own.contains(&Ipv4Addr::LOCALHOST.into()), "{:?}", read.own);
        assert_eq!(read.allow, [client.allow[0], extra]);
        assert_eq!(read.trusted_proxies, client.trusted_proxies);
        assert!(read.block_private);
    }

    #[test]
    fn a_missing_file_is_empty_and_an_unreadable_one_is_named() {
        assert_eq!(text_if_there("/nonexistent/tcp6").unwrap(), "");
        let error = text_if_there("/proc/net").unwrap_err();
        assert!(format!("{error:#}").starts_with("/proc/net cannot be read"), "{error:#}");
    }
}
