use std::net::IpAddr;

use super::{Ailment, Level, ailment};

/// Who could be locked out. This host's own addresses, gateways and name servers the gate knows by itself,
/// if it can read them.
#[derive(Clone, Debug, Default)]
pub struct Lockout {
    pub is_enforcing: bool,
    /// Nobody is in `client.allow`, its files and names, or `palisade allow`.
    pub allows_nobody: bool,
    /// Why this host's surroundings cannot be read.
    pub unreadable: Option<String>,
    /// Files and names of the allowlist that say nothing.
    pub problems: Vec<String>,
    /// Who is connected by SSH, and allowed only as long as that lasts.
    pub passing: Vec<IpAddr>,
}

/// Whether somebody who should be let in could be shut out.
pub fn lockout(facts: &Lockout) -> Vec<Ailment> {
    let Lockout { is_enforcing, allows_nobody, unreadable, problems, passing } = facts;
    let pressing = if *is_enforcing { Level::Warning } else { Level::Note };
    let unreadable = unreadable.iter().map(|why| {
        let advice = "let palisade read /proc/net and open netlink sockets; until then nobody new is blocked";
        ailment(Level::Error, "surroundings_unreadable", "this host's addresses and peers", why, advice)
    });
    let problems = problems.iter().map(|problem| {
        let advice = "correct client.allow_files or client.allow_names: whom they protect may be blocked";
        ailment(Level::Warning, "allow_not_read", "the allowlist", problem, advice)
    });
    let nobody = (*allows_nobody).then(|| {
        let advice = "put the addresses from which you administer this host into client.allow, or tell the running \
                      daemon: palisade allow add NETWORK";
        ailment(pressing, "allow_empty", "client.allow", "names nobody who must always get in", advice)
    });
    let passing = passing.iter().map(|address| {
        let problem = "is connected by SSH, and safe from being blocked only as long as that lasts";
        let advice = format!("add it to client.allow, or now: palisade allow add {address}");
        ailment(pressing, "operator_not_allowed", address.to_string(), problem, advice)
    });
    unreadable.chain(problems).chain(passing).chain(nobody).collect()
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    #[test]
    fn who_could_be_locked_out_is_told_and_presses_when_it_enforces() {
        let nobody = Lockout { allows_nobody: true, ..Lockout::default() };
        let operator = Lockout { passing: vec!["203.0.113.7".parse().unwrap()], ..Lockout::default() };
        for (facts, expected) in [
            (Lockout::default(), vec![]),
            (nobody.clone(), vec![(Level::Note, "allow_empty")]),
            (Lockout { is_enforcing: true, ..nobody }, vec![(Level::Warning, "allow_empty")]),
            (operator.clone(), vec![(Level::Note, "operator_not_allowed")]),
            (
                Lockout {
                    is_enforcing: true,
                    unreadable: Some("/proc/net/route cannot be read".into()),
                    problems: vec!["a name has no address".into()],
                    ..operator
                },
                vec![
                    (Level::Error, "surroundings_unreadable"),
                    (Level::Warning, "allow_not_read"),
                    (Level::Warning, "operator_not_allowed"),
                ],
            ),
        ] {
            assert_eq!(told(&lockout(&facts)), expected, "{facts:?}");
        }
    }
}
