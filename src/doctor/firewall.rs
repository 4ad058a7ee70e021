use super::{Ailment, Level, ailment};

/// What blocks, and whether it can.
#[derive(Clone, Debug, Default)]
pub struct Firewall {
    pub is_enforcing: bool,
    pub responders: Vec<String>,
    /// Programs that they need and that are not installed, each with its package.
    pub missing: Vec<(&'static str, &'static str)>,
    /// Whether this process may change the firewall; none where a daemon runs, which says it itself.
    pub may_change: Option<bool>,
    /// Ports that containers have on this host.
    pub published_ports: Vec<u16>,
}

/// Responders that drop packets in this host's kernel.
const KERNEL: [&str; 2] = ["nftables", "iptables"];

/// Whether bans would be carried out.
pub fn firewall(facts: &Firewall) -> Vec<Ailment> {
    let Firewall { is_enforcing, responders, missing, may_change, published_ports } = facts;
    let pressing = if *is_enforcing { Level::Error } else { Level::Note };
    let uses_kernel = responders.iter().any(|name| KERNEL.contains(&name.as_str()));
    let mut found: Vec<Ailment> = missing
        .iter()
        .map(|(program, package)| {
            let problem = format!("is not installed, and respond.use = {responders:?} needs it");
            ailment(pressing, "firewall_missing", *program, problem, format!("apt-get install {package}"))
        })
        .collect();
    if *is_enforcing && responders.iter().all(|name| name == "dry_run") {
        let problem = "mode is \"enforce\", and what should block is \"dry_run\": nobody is blocked";
        let advice = "name what blocks, such as respond.use = [\"nftables\"]";
        found.push(ailment(Level::Error, "nobody_blocks", "respond.use", problem, advice));
    }
    if uses_kernel && *may_change == Some(false) {
        found.push(ailment(
            pressing,
            "no_capability",
            "CAP_NET_ADMIN",
            "this user may not change the firewall",
            "run as root or with the capability: the unit has AmbientCapabilities=CAP_NET_ADMIN, the container \
             cap_add: [NET_ADMIN]",
        ));
    }
    if !published_ports.is_empty() {
        let ports: Vec<String> = published_ports.iter().map(u16::to_string).collect();
        let ports = format!("Docker's ports {}", ports.join(", "));
        found.push(if uses_kernel {
            let problem = "containers have them; Palisade's rules stand before Docker's";
            ailment(Level::Note, "docker_ports", ports, problem, "prove it: sudo palisade doctor --firewall")
        } else {
            let problem = format!("containers have them, and none of respond.use = {responders:?} guards them");
            let advice = "add \"nftables\" to respond.use: it drops before Docker forwards";
            ailment(if *is_enforcing { Level::Warning } else { Level::Note }, "docker_ports", ports, problem, advice)
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    #[test]
    fn what_keeps_bans_from_being_carried_out_is_told() {
        let of = |is_enforcing, responders: &[&str]| Firewall {
            is_enforcing,
            responders: responders.iter().map(ToString::to_string).collect(),
            ..Firewall::default()
        };
        let without = |facts| Firewall { missing: vec![("nft", "nftables")], may_change: Some(false), ..facts };
        let docker = |facts| Firewall { published_ports: vec![80, 8080], ..facts };
        for (facts, expected) in [
            (of(true, &["nftables"]), vec![]),
            (Firewall { may_change: Some(true), ..of(true, &["iptables"]) }, vec![]),
            (
                without(of(true, &["nftables"])),
                vec![(Level::Error, "firewall_missing"), (Level::Error, "no_capability")],
            ),
            (
                without(of(false, &["nftables"])),
                vec![(Level::Note, "firewall_missing"), (Level::Note, "no_capability")],
            ),
            (Firewall { may_change: Some(false), ..of(true, &["webhook"]) }, vec![]),
            (of(true, &["dry_run"]), vec![(Level::Error, "nobody_blocks")]),
            (of(false, &["dry_run"]), vec![]),
            (docker(of(true, &["nftables"])), vec![(Level::Note, "docker_ports")]),
            (docker(of(true, &["nginx"])), vec![(Level::Warning, "docker_ports")]),
        ] {
            assert_eq!(told(&firewall(&facts)), expected, "{facts:?}");
        }
    }
}
