//! Reads from the host what the gate must never shut out. For a task that repeats it, on a thread
//! that may block: it reads files and asks the kernel.

mod sockets;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnet::IpNet;

use super::allow_files::{AllowFiles, Unreadable};
use super::names::Resolved;
use crate::config::Config;
use crate::decide::{ClientConfig, Surroundings, Widest, cdns};
use crate::event::{Timestamp, canonical};

/// What the configuration says of them.
pub struct Settings {
    client: ClientConfig,
    widest: Widest,
    allow_files: AllowFiles,
    cdn_files: AllowFiles,
}

impl Settings {
    /// # Errors
    /// One of the files that it names cannot be read.
    pub fn of(config: &Config) -> Result<Settings, Unreadable> {
        Ok(Settings {
            client: config.client.clone(),
            widest: Widest { v4: config.respond.widest_v4, v6: config.respond.widest_v6 },
            allow_files: AllowFiles::open("client.allow_files", &config.client.allow_files)?,
            cdn_files: AllowFiles::open("client.cdn_files", &config.client.cdn_files)?,
        })
    }

    /// Reads the files again.
    pub fn refresh(&mut self) {
        self.allow_files.refresh();
        self.cdn_files.refresh();
    }
}

/// This host's surroundings at `now`: what `settings`, `extra_allow` and `names` keep open, and what the
/// host itself shows. If any essential part cannot be read, `unreadable` says which, and why.
pub fn read(settings: &Settings, extra_allow: &[IpNet], names: &Resolved, now: Timestamp) -> Surroundings {
    let Settings { client, widest, allow_files, cdn_files } = settings;
    let named = names.allowed.iter().copied().map(IpNet::from);
    let allow = client.allow.iter().chain(extra_allow).copied();
    let mut surroundings = Surroundings {
        taken_at: now,
        allow: allow.chain(allow_files.networks()).chain(named).collect(),
        services: names.services.clone(),
        cdns: if client.cdn_files.is_empty() { cdns().to_vec() } else { cdn_files.networks().collect() },
        problems: allow_files.problems().chain(cdn_files.problems()).chain(&names.problems).cloned().collect(),
        trusted_proxies: client.trusted_proxies.clone(),
        block_private: client.block_private,
        widest: *widest,
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
        let address = sockets::v4(line.split_ascii_whitespace().nth(2)?)?;
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

fn read_host(surroundings: &mut Surroundings) -> anyhow::Result<()> {
    surroundings.own = own_addresses()?;
    surroundings.gateways = gateways_v4(&text("/proc/net/route")?);
    surroundings.gateways.extend(gateways_v6(&text_if_there("/proc/net/ipv6_route")?));
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        surroundings.resolvers.extend(resolvers(&text_if_there(path)?));
    }
    surroundings.ssh_peers = sockets::peers(&configured_ssh_ports())?;
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
    fn this_host_can_be_read() {
        let client = ClientConfig {
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            trusted_proxies: vec!["198.51.100.0/24".parse().unwrap()],
            block_private: true,
            ..ClientConfig::default()
        };
        let mut config = Config { client: client.clone(), ..Config::default() };
        config.respond.widest_v4 = 20;
        let settings = Settings::of(&config).unwrap();
        let extra = "203.0.113.0/24".parse().unwrap();
        let names =
            Resolved { allowed: ips(&["192.0.2.200"]), services: ips(&["192.0.2.6"]), problems: vec!["x".into()] };
        let read = read(&settings, &[extra], &names, Timestamp(5));
        assert_eq!(read.unreadable, None);
        assert_eq!(read.taken_at, Timestamp(5));
        assert!(read.own.contains(&"127.0.0.1".parse().unwrap()), "{:?}", read.own);
        assert_eq!(read.allow, [client.allow[0], extra, "192.0.2.200/32".parse().unwrap()]);
        assert_eq!((read.services, read.problems, read.widest.v4), (names.services, names.problems, 20));
        assert_eq!(read.cdns, cdns());
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
