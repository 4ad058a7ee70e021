use std::sync::LazyLock;

use ipnet::IpNet;

/// The networks of content delivery networks that are known without a file.
pub fn cdns() -> &'static [IpNet] {
    static CDNS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
        let entries = include_str!("cdn.txt").lines().filter_map(|line| line.split('#').next()).map(str::trim);
        entries.filter_map(|entry| entry.parse().ok()).collect()
    });
    &CDNS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_network_that_somebody_could_have() {
        let text = include_str!("cdn.txt");
        let entries = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        assert_eq!(entries.count(), cdns().len());
        for network in cdns() {
            assert_eq!(network.trunc(), *network, "no host bits");
            let least = if network.addr().is_ipv4() { 12 } else { 28 };
            assert!(network.prefix_len() >= least, "{network} is a large part of the internet");
        }
        let is_cdn = |address: &str| {
            cdns().iter().any(|network| network.contains(&address.parse::<std::net::IpAddr>().unwrap()))
        };
        assert!(is_cdn("172.67.1.1") && is_cdn("2606:4700::1") && is_cdn("151.101.1.140"));
        assert!(!is_cdn("104.28.0.1") && !is_cdn("8.8.8.8"));
    }
}
