//! Finds out the facts that [`doctor`] judges: reads logs, files and the kernel's tables, and asks every
//! service that the configuration names, all at once and each for seconds. Changes nothing, and asks nothing
//! that costs money.

mod host;
mod keys;
mod logs;
mod services;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::crawlers::SystemResolver;
use super::names::{Names, Resolved};
use super::surroundings::{self, Settings};
use crate::config::{Config, Loaded, Mode, Place};
use crate::decide::{Surroundings, gate};
use crate::doctor::{self, Daemon, Daemons, Firewall, Lockout, Tail};
pub use crate::doctor::{Ailment, Level};
use crate::event::Timestamp;
use host::Host;
use services::Asked;

/// So long name servers may take.
const NAMES_WAIT: Duration = Duration::from_secs(4);
/// So long the host's own files may take: a network file system may hang.
const HOST_WAIT: Duration = Duration::from_secs(10);

/// What the running daemon says.
pub struct Told {
    /// Its status, or why there is none.
    pub status: Result<Value, String>,
    /// Whom operators have allowed by `palisade allow`.
    pub allowed: Vec<IpNet>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Examination {
    /// What is wrong, what presses most first.
    pub findings: Vec<Ailment>,
    /// What is well, a sentence each.
    pub seen: Vec<String>,
}

/// Looks at everything that the configuration names and at the host.
///
/// # Errors
/// A file of the allowlist cannot be read, as at a start.
pub async fn examine(loaded: &Loaded, place: &Place, told: Told) -> anyhow::Result<Examination> {
    let settings = Settings::of(&loaded.config)?;
    let looking = {
        let (loaded, place) = (loaded.clone(), place.clone());
        tokio::task::spawn_blocking(move || Host::look(&loaded, &place))
    };
    let looking = tokio::time::timeout(HOST_WAIT, looking);
    let (host, asked, names) = tokio::join!(looking, services::ask(&loaded.config), resolve(&loaded.config));
    let now = Timestamp::now();
    let around = surroundings::read(&settings, &told.allowed, &names, now);
    let mut found = Examination::default();
    judge_services(&asked, &mut found);
    found.findings.extend(doctor::lockout(&lockout(&loaded.config, &around)));
    match host {
        Ok(Ok(host)) => judge_host(&loaded.config, &host, &asked, &told, &around, &mut found),
        Ok(Err(_)) | Err(_) => found.findings.push(Ailment {
            level: Level::Error,
            check: "host_silent",
            subject: "this host's files".into(),
            problem: format!("do not answer within {} s", HOST_WAIT.as_secs()),
            advice: "see whether a network file system hangs: `mount`, `dmesg`; logs should be on a local disk".into(),
        }),
    }
    let warnings = loaded.warnings.iter().map(|one| (one.origin.to_string(), format!("{}: {}", one.key, one.message)));
    found.findings.extend(doctor::renamed(&warnings.collect::<Vec<_>>()));
    found.findings.sort_by_key(|one| one.level);
    Ok(found)
}

fn judge_services(asked: &Asked, found: &mut Examination) {
    found.findings.extend(doctor::services(&asked.services));
    for service in &asked.services {
        if let doctor::Said::Well(said) = &service.said {
            found.seen.push(format!("{}: {said}", service.name));
        }
    }
    if let Some(database) = &asked.database {
        found.findings.extend(doctor::database(database));
    }
}

fn judge_host(
    config: &Config,
    host: &Host,
    asked: &Asked,
    told: &Told,
    around: &Surroundings,
    found: &mut Examination,
) {
    let is_alone = told.status.is_err();
    found.findings.extend(doctor::logs(&host.followed));
    found.findings.extend(doctor::proxies(&host.followed, &around.cdns));
    found.findings.extend(doctor::clock(around.taken_at, host.keeper, &asked.clocks, &host.followed));
    found.findings.extend(doctor::firewall(&Firewall {
        is_enforcing: config.mode == Mode::Enforce,
        responders: config.respond.names.clone(),
        missing: host.missing.clone(),
        may_change: is_alone.then_some(host.may_change_firewall),
        published_ports: host.published_ports.clone(),
    }));
    found.findings.extend(doctor::keys(&host.keys));
    found.findings.extend(doctor::files(&host.files, host.uid));
    found.findings.extend(doctor::disks(&host.disks));
    found.findings.extend(doctor::stored(&host.stored));
    found.findings.extend(doctor::limits(&host.limits));
    found.findings.extend(doctor::daemon(&daemons(config, host, &told.status)));
    for log in host.followed.iter().flat_map(|source| &source.files) {
        if let Ok(Tail { lines, parsed, formats, .. }) = &log.tail {
            found.seen.push(match (*lines, &**formats) {
                (0, _) => format!("{}: is empty so far", log.path),
                (_, []) => format!("{}: none of its last {lines} lines is understood", log.path),
                (_, known) => {
                    let known = known.join(", ");
                    format!("{}: {parsed} of its last {lines} lines are understood, as {known}", log.path)
                }
            });
        }
    }
    let streams = host.followed.iter().filter(|source| source.is_stream);
    found.seen.extend(streams.map(|source| format!("{}: is listened to", source.pattern)));
}

/// What the allowlist's names and the services' stand for.
async fn resolve(config: &Config) -> Resolved {
    let Ok((mut names, _newer)) = Names::of(config, Arc::new(SystemResolver)).watch() else {
        return Resolved::default();
    };
    // Who does not answer in time has said nothing.
    let _ = tokio::time::timeout(NAMES_WAIT, names.changed()).await;
    names.borrow().clone()
}

fn lockout(config: &Config, around: &Surroundings) -> Lockout {
    let without_peers = Surroundings { ssh_peers: vec![], ..around.clone() };
    let is_passing = |peer: &&IpAddr| gate::standing(IpNet::from(**peer), &without_peers).is_ok();
    Lockout {
        is_enforcing: config.mode == Mode::Enforce,
        allows_nobody: around.allow.is_empty(),
        unreadable: around.unreadable.clone(),
        problems: around.problems.clone(),
        passing: around.ssh_peers.iter().filter(is_passing).copied().collect(),
    }
}

fn daemons(config: &Config, host: &Host, status: &Result<Value, String>) -> Daemons {
    let daemon = match status {
        Ok(status) => Daemon::Answers {
            version: status["version"].as_str().unwrap_or_default().to_owned(),
            problems: status["problems"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        },
        Err(why) if host.stored.bytes > 0 || config.socket.exists() => Daemon::Silent(why.clone()),
        Err(_) => Daemon::Never,
    };
    Daemons {
        version: env!("CARGO_PKG_VERSION"),
        socket: config.socket.display().to_string(),
        daemon,
        processes: host.processes.clone(),
    }
}
