use std::net::IpAddr;

use super::{Ailment, Level, ailment};

/// Who could be locked out.
#[derive(Clone, Debug, Default)]
pub struct Lockout {
    pub is_enforcing: bool,
    /// Nobody is in `client.allow`, its files and names, or `palisade allow`.
    pub allows_nobody: bool,
    /// Why this host's surroundings cannot be read.
    pub unreadable: Option<String>,
    /// Files and names of the allowlist that say nothing.
    pub problems: Vec<String>,
    pub guarded: Vec<Guarded>,
}

/// An address without which this host, or its operator, is cut off.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// `gateway`, `name server`, `own address` or `SSH peer`.
    pub role: &'static str,
    pub address: IpAddr,
    pub guard: Guard,
}

/// What keeps an address from being blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The gate, whatever happens.
    Always,
    /// The gate, for as long as the connection lasts.
    WhileConnected,
    Nothing,
}

/// Whether somebody who should be let in could be shut out.
pub fn lockout(facts: &Lockout) -> Vec<Ailment> {
    let Lockout { is_enforcing, allows_nobody, unreadable, problems, guarded } = facts;
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
    let guarded = guarded.iter().filter_map(|Guarded { role, address, guard }| {
        let (level, check, problem) = match guard {
            Guard::Always => return None,
            Guard::WhileConnected => {
                (pressing, "operator_not_allowed", format!("{role}: safe only while it is connected"))
            }
            Guard::Nothing => (Level::Error, "not_guarded", format!("{role}: could be blocked")),
        };
        let advice = format!("add it to client.allow, or now: palisade allow add {address}");
        Some(ailment(level, check, address.to_string(), problem, advice))
    });
    unreadable.chain(problems).chain(guarded).chain(nobody).collect()
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    #[test]
    fn who_could_be_locked_out_is_told_and_presses_when_it_enforces() {
        let guarded = |role, guard| Guarded { role, address: "203.0.113.7".parse().unwrap(), guard };
        let nobody = Lockout { allows_nobody: true, ..Lockout::default() };
        for (facts, expected) in [
            (Lockout::default(), vec![]),
            (nobody.clone(), vec![(Level::Note, "allow_empty")]),
            (Lockout { is_enforcing: true, ..nobody }, vec![(Level::Warning, "allow_empty")]),
            (Lockout { guarded: vec![guarded("gateway", Guard::Always)], ..Lockout::default() }, vec![]),
            (
                Lockout { guarded: vec![guarded("gateway", Guard::Nothing)], ..Lockout::default() },
                vec![(Level::Error, "not_guarded")],
            ),
            (
                Lockout { guarded: vec![guarded("SSH peer", Guard::WhileConnected)], ..Lockout::default() },
                vec![(Level::Note, "operator_not_allowed")],
            ),
            (
                Lockout {
                    is_enforcing: true,
                    unreadable: Some("/proc/net/route cannot be read".into()),
                    problems: vec!["a name has no address".into()],
                    guarded: vec![guarded("SSH peer", Guard::WhileConnected)],
                    ..Lockout::default()
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
