use super::{Ailment, Level, ailment};

/// What there is of daemons here.
#[derive(Clone, Debug)]
pub struct Daemons {
    /// The version of this program.
    pub version: &'static str,
    pub socket: String,
    pub daemon: Daemon,
    /// Processes that share this host's firewall.
    pub processes: Vec<u32>,
}

/// The daemon behind the socket.
#[derive(Clone, Debug)]
pub enum Daemon {
    Answers {
        version: String,
        /// What its `status` complains of.
        problems: Vec<String>,
    },
    /// It does not answer, or does not let us ask; it has been here before.
    Silent(String),
    /// There is none, and there never was.
    Never,
}

/// Whether one daemon runs, of this version, and is content.
pub fn daemon(facts: &Daemons) -> Vec<Ailment> {
    let Daemons { version: own, socket, daemon, processes } = facts;
    let mut found = vec![];
    match daemon {
        Daemon::Never => found.push(ailment(
            Level::Note,
            "never_ran",
            socket,
            "no daemon has run here yet",
            "start it: systemctl enable --now palisade, or palisade run",
        )),
        Daemon::Silent(why) => found.push(ailment(
            Level::Error,
            "daemon_silent",
            socket,
            why,
            "`systemctl status palisade` and `journalctl -u palisade -n 50` say why; systemctl restart palisade",
        )),
        Daemon::Answers { version, problems } => {
            if version != own {
                let problem = format!("the daemon is version {version}, this program {own}");
                let advice = "restart it: systemctl restart palisade; bans stay";
                found.push(ailment(Level::Warning, "other_version", socket, problem, advice));
            }
            found.extend(problems.iter().map(|problem| {
                let advice = "the sentence names the way out; `palisade status` says it until it is done";
                ailment(Level::Error, "daemon_complains", "the daemon", problem, advice)
            }));
        }
    }
    if processes.len() > 1 {
        let ids: Vec<String> = processes.iter().map(u32::to_string).collect();
        let problem = "several daemons share this host's firewall, and lift each other's bans";
        let advice = "stop all but one: `ps -fp` with these numbers says who started them";
        found.push(ailment(
            Level::Warning,
            "several_daemons",
            format!("processes {}", ids.join(", ")),
            problem,
            advice,
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    #[test]
    fn a_daemon_that_is_away_old_discontent_or_not_alone_is_told() {
        let answers = |version: &str, problems: &[&str]| Daemon::Answers {
            version: version.into(),
            problems: problems.iter().map(ToString::to_string).collect(),
        };
        for (daemon_, processes, expected) in [
            (answers("1.0.0", &[]), vec![7], vec![]),
            (Daemon::Never, vec![], vec![(Level::Note, "never_ran")]),
            (Daemon::Silent("no daemon answers".into()), vec![], vec![(Level::Error, "daemon_silent")]),
            (answers("0.9.0", &[]), vec![7], vec![(Level::Warning, "other_version")]),
            (answers("1.0.0", &["no space to write"]), vec![7], vec![(Level::Error, "daemon_complains")]),
            (answers("1.0.0", &[]), vec![7, 8], vec![(Level::Warning, "several_daemons")]),
        ] {
            let facts = Daemons { version: "1.0.0", socket: "/s".into(), daemon: daemon_, processes };
            assert_eq!(told(&daemon(&facts)), expected, "{facts:?}");
        }
    }
}
