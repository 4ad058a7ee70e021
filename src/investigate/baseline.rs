//! What is usual on a site, learned from logs in which nothing was wrong, and what later differs from it.
//! Visitors of a web server are new every day and are no deviation: networks are those of logins.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Seen;
use crate::event::analysis::Deviation;
use crate::event::{AuthOutcome, Kind, printable};

/// The version of the file.
const VERSION: u32 = 1;
/// Fewer lines teach nothing.
pub const MIN_LINES: u64 = 100;
/// A user with a smaller share of the lines that name one is rare.
const RARE_SHARE: f64 = 0.001;
/// An hour with a smaller share of logins, against an even spread, is unusual.
const UNUSUAL_HOUR: f64 = 0.1;
/// Names that are remembered, and deviations that are told, of each kind.
const MAX_NAMES: usize = 20_000;
const MAX_TOLD: usize = 100;
/// Lines that a deviation cites.
const MAX_LINES: usize = 20;

/// Users, networks, hours and resources of some lines.
#[derive(Default)]
pub struct Site {
    lines: u64,
    errors: u64,
    users: BTreeMap<String, Counts>,
    networks: BTreeMap<IpNet, Counts>,
    resources: BTreeMap<String, Counts>,
    hours: [Counts; 24],
}

#[derive(Clone, Default)]
struct Counts {
    count: u64,
    lines: Vec<u64>,
}

impl Counts {
    fn line(&mut self, line: u64) {
        self.count += 1;
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }
}

/// What was learned, as it stands in its file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub version: u32,
    pub lines: u64,
    /// Lines that call themselves errors or failed.
    pub errors: u64,
    pub users: BTreeMap<String, u64>,
    /// Of logins that succeeded: /24 and /48.
    pub networks: BTreeMap<IpNet, u64>,
    pub resources: BTreeMap<String, u64>,
    /// Logins by hour of the day, in UTC.
    pub hours: [u64; 24],
}

impl Site {
    /// Takes a line, which touches what is worth protecting or not.
    pub fn see(&mut self, seen: &Seen<'_>, touched: bool) {
        self.lines += 1;
        let auth = match &seen.event.kind {
            Kind::Http(_) => return,
            Kind::Auth(auth) => Some(auth),
            _ => None,
        };
        let message = seen.event.kind.message();
        let failed = auth.is_some_and(|auth| auth.outcome == AuthOutcome::Failure);
        let level = message.map_or(&b""[..], |message| message.level);
        let is_error = [&b"error"[..], b"err", b"crit", b"critical", b"alert", b"emerg", b"fatal"]
            .iter()
            .any(|one| level.eq_ignore_ascii_case(one));
        self.errors += u64::from(failed || is_error);
        if let Some(auth) = auth.filter(|auth| auth.outcome == AuthOutcome::Success) {
            put(&mut self.users, printable(auth.message.user, 128), seen.line);
            if let Some(address) = seen.event.source_ip {
                put(&mut self.networks, network(address), seen.line);
            }
            if let Some(time) = seen.event.time {
                self.hours[(time.secs().rem_euclid(86_400) / 3600) as usize].line(seen.line);
            }
        }
        if touched && let Some(path) = sensitive_path(seen.text) {
            put(&mut self.resources, path, seen.line);
        }
    }
}

impl Baseline {
    /// What these lines teach.
    ///
    /// # Errors
    /// They are too few.
    pub fn learn(site: &Site) -> Result<Baseline, TooFew> {
        if site.lines < MIN_LINES {
            return Err(TooFew(site.lines));
        }
        let counts = |(name, counts): (&String, &Counts)| (name.clone(), counts.count);
        Ok(Baseline {
            version: VERSION,
            lines: site.lines,
            errors: site.errors,
            users: site.users.iter().map(counts).collect(),
            networks: site.networks.iter().map(|(network, counts)| (*network, counts.count)).collect(),
            resources: site.resources.iter().map(counts).collect(),
            hours: std::array::from_fn(|hour| site.hours[hour].count),
        })
    }

    /// Whether this program understands it.
    pub fn is_known(&self) -> bool {
        self.version == VERSION
    }

    /// What of `site` it does not know.
    pub fn deviations(&self, site: &Site) -> Vec<Deviation> {
        let mut out = vec![];
        let mut tell = |kind: &str, value: String, reason: String, lines: &[u64]| {
            if out.iter().filter(|known: &&Deviation| known.kind == kind).count() < MAX_TOLD {
                out.push(Deviation { kind: kind.into(), value, reason, lines: lines.to_vec() });
            }
        };
        let named: u64 = self.users.values().sum();
        for (user, seen) in &site.users {
            match self.users.get(user) {
                None => tell("new_user", user.clone(), "This user logged in and never did before.".into(), &seen.lines),
                Some(&count) if (count as f64) < RARE_SHARE * named as f64 => {
                    tell("rare_user", user.clone(), format!("This user had {count} of {named} logins."), &seen.lines);
                }
                Some(_) => {}
            }
        }
        for (network, seen) in site.networks.iter().filter(|(network, _)| !self.networks.contains_key(network)) {
            tell("new_network", network.to_string(), "Nobody ever logged in from this network.".into(), &seen.lines);
        }
        let logins: u64 = self.hours.iter().sum();
        for (hour, seen) in site.hours.iter().enumerate().filter(|(_, seen)| seen.count > 0) {
            if logins >= 24 && (self.hours[hour] as f64) < UNUSUAL_HOUR * logins as f64 / 24.0 {
                let reason = format!("{} of {logins} logins were at this hour.", self.hours[hour]);
                tell("unusual_hour", format!("{hour:02}:00 UTC"), reason, &seen.lines);
            }
        }
        for (resource, seen) in site.resources.iter().filter(|(resource, _)| !self.resources.contains_key(*resource)) {
            tell(
                "new_resource",
                resource.clone(),
                "Nothing ever touched this, which is worth protecting.".into(),
                &seen.lines,
            );
        }
        let share = |errors: u64, lines: u64| errors as f64 / lines.max(1) as f64;
        let (now, before) = (share(site.errors, site.lines), share(self.errors, self.lines));
        if site.lines >= MIN_LINES && now > 0.05 && now > 3.0 * before {
            let reason = format!("{:.1} % of the lines, {:.1} % when it was learned.", now * 100.0, before * 100.0);
            tell("more_errors", "errors and failures".into(), reason, &[]);
        }
        out
    }
}

/// Too few lines to learn from.
#[derive(Debug, thiserror::Error)]
#[error("{0} lines are too few to learn from; give at least {MIN_LINES}, of ordinary days")]
pub struct TooFew(u64);

fn put<K: Ord>(map: &mut BTreeMap<K, Counts>, key: K, line: u64) {
    if map.len() < MAX_NAMES || map.contains_key(&key) {
        map.entry(key).or_default().line(line);
    }
}

fn network(address: IpAddr) -> IpNet {
    let prefix = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, prefix).map_or_else(|_| address.into(), |network| network.trunc())
}

/// A path in `line` that is worth protecting.
fn sensitive_path(line: &[u8]) -> Option<String> {
    const PLACES: &[&str] = &[
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/.ssh/",
        "/.aws/",
        "/.kube/",
        "/root/",
        "payroll",
        "salary",
        "salaries",
        "confidential",
        "customer",
        "personnel",
        "/finance/",
        "/hr/",
        ".kdbx",
        ".pem",
        "secret",
    ];
    let text = String::from_utf8_lossy(&line[..line.len().min(2048)]);
    let words = text.split(|c: char| c.is_whitespace() || "\"'(),;=<>[]{}".contains(c));
    let mut paths = words.filter(|word| word.contains('/') || word.contains('\\'));
    let path = paths.find(|word| PLACES.iter().any(|place| word.to_ascii_lowercase().contains(place)))?;
    Some(printable(path.as_bytes(), 256))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Auth, Event, Message, Timestamp};

    fn logins(site: &mut Site, user: &'static str, address: &str, hour: i64, times: u64) {
        for _ in 0..times {
            let message = Message { user: user.as_bytes(), ..Message::default() };
            let kind = Kind::Auth(Auth { outcome: AuthOutcome::Success, message });
            let event =
                Event { time: Some(Timestamp(hour * 3_600_000)), source_ip: address.parse().ok(), ..Event::of(kind) };
            let line = site.lines + 1;
            site.see(&Seen { line, text: b"x", event, finding: None, shared: false }, false);
        }
    }

    #[test]
    fn what_the_baseline_does_not_know_is_told_with_its_lines() {
        let mut clean = Site::default();
        logins(&mut clean, "alice", "192.0.2.7", 9, 1500);
        logins(&mut clean, "bob", "192.0.2.9", 14, 1);
        assert_eq!(
            Baseline::learn(&Site::default()).unwrap_err().to_string(),
            "0 lines are too few to learn from; give at least 100, of ordinary days"
        );
        let baseline = Baseline::learn(&clean).unwrap();
        assert_eq!(
            baseline.deviations(&clean).iter().map(|one| one.kind.as_str()).collect::<Vec<_>>(),
            ["rare_user", "unusual_hour"]
        );
        let mut later = Site::default();
        logins(&mut later, "alice", "192.0.2.200", 9, 3);
        assert_eq!(baseline.deviations(&later), []);
        logins(&mut later, "mallory", "198.51.100.7", 3, 2);
        let told: Vec<String> = baseline
            .deviations(&later)
            .iter()
            .map(|one| format!("{} {} {:?}", one.kind, one.value, one.lines))
            .collect();
        assert_eq!(
            told,
            ["new_user mallory [4, 5]", "new_network 198.51.100.0/24 [4, 5]", "unusual_hour 03:00 UTC [4, 5]"]
        );
        let written = serde_json::to_string(&baseline).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&written).unwrap(), baseline);
    }
}
