use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::audit::Audit;
use super::baseline::{Baseline, Site};
use super::beacons::Beacons;
use super::evidence::{Actor, Evidence, WEAK};
use super::logins::{self, Logins};
use super::matcher::{Found, Matcher};
use super::text::{self, Way};
use super::{Seen, Sensitivity, risk, threat};
use crate::event::analysis::{Compliance, Deviation, IndicatorKind, Risk, Threat, ThreatKind, ThreatOutcome};
use crate::event::{Category, ClientKey, Finding, Kind, Timestamp, printable};

/// Threats that are followed at once. What comes when there are more is told together, of nobody.
const MAX_THREATS: usize = 20_000;
/// An actor who was silent for so long begins something new.
const GAP_MILLIS: i64 = 24 * 3_600_000;
/// Addresses whose lines are counted.
const MAX_ADDRESSES: usize = 100_000;

/// What an input came to.
#[derive(Debug)]
pub struct Findings {
    pub threats: Vec<Threat>,
    pub risk: Risk,
    pub compliance: Compliance,
    pub deviations: Vec<Deviation>,
    pub first_time: Option<Timestamp>,
    pub last_time: Option<Timestamp>,
    /// Lines that each address of a threat stands in.
    pub lines_of: HashMap<IpAddr, u64>,
}

/// Takes an input line by line.
pub struct Investigation {
    sensitivity: Sensitivity,
    matcher: Matcher,
    open: HashMap<(ThreatKind, Actor), Evidence>,
    closed: Vec<(ThreatKind, Actor, Evidence)>,
    logins: Logins,
    beacons: Beacons,
    audit: Audit,
    site: Site,
    baseline: Option<Baseline>,
    lines_of: HashMap<IpAddr, u64>,
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
}

impl Investigation {
    /// # Errors
    /// The table of signs is wrong, which a test rules out.
    pub fn new(sensitivity: Sensitivity, baseline: Option<Baseline>) -> anyhow::Result<Investigation> {
        Ok(Investigation {
            sensitivity,
            matcher: Matcher::new()?,
            open: HashMap::new(),
            closed: vec![],
            logins: Logins::new(sensitivity.failures()),
            beacons: Beacons::default(),
            audit: Audit::new()?,
            site: Site::default(),
            baseline,
            lines_of: HashMap::new(),
            first_time: None,
            last_time: None,
        })
    }

    /// The next line.
    pub fn see(&mut self, seen: &Seen<'_>) {
        if let Some(time) = seen.event.time {
            self.first_time = Some(self.first_time.map_or(time, |first| first.min(time)));
            self.last_time = Some(self.last_time.map_or(time, |last| last.max(time)));
        }
        if let Some(address) = seen.event.source_ip
            && (self.lines_of.len() < MAX_ADDRESSES || self.lines_of.contains_key(&address))
        {
            *self.lines_of.entry(address).or_default() += 1;
        }
        let touched = self.audit.see(seen);
        self.site.see(seen, touched);
        let found = match &seen.event.kind {
            Kind::Http(http) => {
                let sign = self
                    .matcher
                    .addresses_a_model(http.user_agent)
                    .or_else(|| self.matcher.addresses_a_model(http.uri));
                sign.map(|sign| Found { signs: vec![(sign, sign.weight)], ..Found::default() })
            }
            kind => {
                match kind {
                    Kind::Auth(auth) => self.logins.see(seen, auth, GAP_MILLIS),
                    Kind::Connection(connection) => self.beacons.see(seen, connection),
                    _ => {}
                }
                self.matcher.find(seen.text)
            }
        };
        // A rule that knows no more than that it is malware is part of what signs know better.
        let is_general = |finding: &&Finding| is_general(kind_of(finding.category)) && found.is_some();
        if let Some(finding) = seen.finding.filter(|finding| !is_general(finding)) {
            self.take_finding(seen, finding);
        }
        if let Some(found) = &found {
            self.take_signs(seen, found, seen.finding.filter(is_general));
        }
    }

    /// What all lines came to together.
    pub fn finish(mut self) -> Findings {
        let mut all: Vec<(ThreatKind, Actor, Evidence)> = std::mem::take(&mut self.closed);
        all.extend(std::mem::take(&mut self.open).into_iter().map(|((kind, actor), evidence)| (kind, actor, evidence)));
        all.extend(std::mem::take(&mut self.beacons).finish());
        all.sort_by(|a, b| {
            (&a.1, a.0, a.2.first_time, a.2.lines.first()).cmp(&(&b.1, b.0, b.2.first_time, b.2.lines.first()))
        });
        let (succeeded, failed) = (self.logins.succeeded, self.logins.failed);
        let guessers = std::mem::take(&mut self.logins).finish();
        let guessed: BTreeSet<Actor> = guessers.iter().map(|(_, actor, _)| actor.clone()).collect();
        // Findings about logins are told with all failures of the same client.
        all.retain(|(kind, actor, evidence)| {
            let by_rule = evidence.category.is_some_and(|(_, category)| logins::is_guessing(category));
            !(by_rule && is_of_logins(*kind) && guessed.contains(actor))
        });
        all.extend(guessers);
        let all = absorbed(all);
        let mut threats: Vec<Threat> = all
            .into_iter()
            .filter(|(_, _, evidence)| self.is_enough(evidence))
            .map(|(kind, actor, evidence)| threat::of(kind, &actor, evidence))
            .collect();
        threats.sort_by(|a, b| {
            (b.severity, b.risk, b.events)
                .cmp(&(a.severity, a.risk, a.events))
                .then(a.lines.first().cmp(&b.lines.first()))
        });
        for (number, threat) in threats.iter_mut().enumerate() {
            threat.id = format!("T{}", number + 1);
        }
        let deviations = self.baseline.as_ref().map(|baseline| baseline.deviations(&self.site)).unwrap_or_default();
        Findings {
            risk: risk::overall(&threats),
            threats,
            compliance: self.audit.finish(succeeded, failed),
            deviations,
            first_time: self.first_time,
            last_time: self.last_time,
            lines_of: self.lines_of,
        }
    }

    /// What the lines teach of a site where nothing was wrong.
    pub fn learned(&self) -> &Site {
        &self.site
    }

    fn is_enough(&self, evidence: &Evidence) -> bool {
        let by_rules = evidence.category.is_some_and(|(score, _)| score >= self.sensitivity.score());
        by_rules || evidence.strongest() >= WEAK && evidence.points() >= self.sensitivity.points()
    }

    /// The evidence against an actor, with this line.
    fn evidence(&mut self, kind: ThreatKind, actor: Actor, seen: &Seen<'_>) -> &mut Evidence {
        let mut key = (kind, actor);
        if self.open.len() >= MAX_THREATS && !self.open.contains_key(&key) {
            key.1 = Actor::Nobody;
        }
        let known = self.open.entry(key.clone()).or_default();
        if seen.event.time.zip(known.last_time).is_some_and(|(now, last)| (now.0 - last.0).abs() > GAP_MILLIS) {
            let ended = std::mem::take(known);
            if self.closed.len() < MAX_THREATS {
                self.closed.push((kind, key.1, ended));
            }
        }
        known.line(seen);
        known
    }

    /// What rules and windows say of a line.
    fn take_finding(&mut self, seen: &Seen<'_>, finding: &Finding) {
        let kind = kind_of(finding.category);
        let user = seen.event.kind.message().map_or(&b""[..], |message| message.user);
        let named = || if user.is_empty() { text::user(seen.text) } else { Some(user) };
        let actor = match &seen.event.kind {
            Kind::Auth(_) if logins::is_guessing(finding.category) && seen.event.source_ip.is_some() => return,
            _ if seen.shared => Actor::Nobody,
            _ if is_of_hosts(kind) => host(seen),
            Kind::Http(_) | Kind::Connection(_) | Kind::Mail(_) => client(seen).unwrap_or(Actor::Nobody),
            _ => client(seen).or_else(|| Some(Actor::User(printable(named()?, 128)))).unwrap_or_else(|| host(seen)),
        };
        let user = named().map(<[u8]>::to_vec);
        let stopped = matches!(finding.status, 400..=499 | 501..=599);
        let told = matches!(
            finding.category,
            Category::SensitiveFile | Category::PathTraversal | Category::FileInclusion | Category::Webshell
        );
        let outcome = match finding.status {
            200 | 206 if told => ThreatOutcome::Succeeded,
            _ if stopped => ThreatOutcome::Failed,
            _ => ThreatOutcome::Unknown,
        };
        let address = seen.event.source_ip;
        let destination = match &seen.event.kind {
            Kind::Connection(connection) => {
                connection.destination.map(|address| (address, connection.destination_port))
            }
            _ => None,
        };
        let evidence = self.evidence(kind, actor, seen);
        finding.rule_ids.iter().for_each(|id| evidence.sign(id.clone(), finding.score));
        evidence.category = evidence.category.max(Some((finding.score, finding.category)));
        evidence.outcome(outcome);
        if let Some(address) = address {
            evidence.address(address);
        }
        if let Some((address, port)) = destination {
            evidence.address(address);
            if port > 0 {
                evidence.indicator(IndicatorKind::Port, port.to_string());
            }
        }
        if let Some(user) = user {
            evidence.user(&user);
        }
        if seen.event.http().is_some() {
            let path = finding.uri.split('?').next().unwrap_or_default();
            evidence.indicator(IndicatorKind::Path, printable(path.as_bytes(), 256));
            evidence.indicator(IndicatorKind::UserAgent, printable(finding.user_agent.as_bytes(), 256));
        } else {
            things(evidence, seen.text);
        }
    }

    /// What a line says by itself.
    fn take_signs(&mut self, seen: &Seen<'_>, found: &Found, by_rules: Option<&Finding>) {
        let user = seen.event.kind.message().map_or(&b""[..], |message| message.user);
        let user = if user.is_empty() { text::user(seen.text) } else { Some(user) };
        let source = seen
            .event
            .source_ip
            .or_else(|| found.peers.iter().find(|peer| peer.way == Way::From).map(|peer| peer.address));
        let far = found.peers.iter().find(|peer| peer.way != Way::From && text::is_public(peer.address));
        let as_client = |address: IpAddr| Actor::Client(ClientKey::of(address, ClientKey::V6_PREFIX));
        for (sign, weight) in &found.signs {
            let by_user = || user.map(|name| Actor::User(printable(name, 128)));
            let actor = if is_of_hosts(sign.kind) {
                host(seen)
            } else {
                match sign.kind {
                    ThreatKind::CommandAndControl | ThreatKind::SuspiciousOutbound => {
                        far.map_or_else(|| host(seen), |peer| Actor::Destination(peer.address))
                    }
                    kind if is_of_users(kind) => {
                        by_user().or_else(|| source.map(as_client)).unwrap_or_else(|| host(seen))
                    }
                    _ => {
                        let any = || {
                            found
                                .peers
                                .iter()
                                .find(|peer| text::is_public(peer.address))
                                .map(|peer| as_client(peer.address))
                        };
                        source.map(as_client).or_else(any).or_else(by_user).unwrap_or_else(|| host(seen))
                    }
                }
            };
            // Lines that name nobody have nothing to do with each other.
            let alone = || {
                found
                    .signs
                    .iter()
                    .filter(|(other, _)| other.kind == sign.kind)
                    .map(|(_, weight)| u32::from(*weight))
                    .sum::<u32>()
            };
            if actor == Actor::Nobody && is_of_users(sign.kind) && alone() < self.sensitivity.points() {
                continue;
            }
            let evidence = self.evidence(sign.kind, actor, seen);
            evidence.sign(sign.id, *weight);
            if let Some(finding) = by_rules {
                finding.rule_ids.iter().for_each(|id| evidence.sign(id.clone(), finding.score));
            }
            evidence.outcome(if found.stopped { ThreatOutcome::Failed } else { ThreatOutcome::Unknown });
            evidence.said_critical |= found.critical;
            for peer in &found.peers {
                evidence.address(peer.address);
                if peer.port > 0 {
                    evidence.indicator(IndicatorKind::Port, peer.port.to_string());
                }
                evidence.listener |= super::signs::LISTENER_PORTS.contains(&peer.port) && peer.way != Way::From;
            }
            user.into_iter().for_each(|name| evidence.user(name));
            if user.is_some_and(logins::is_privileged) {
                evidence.notes.insert("a privileged account");
            }
            things(evidence, seen.text);
        }
    }
}

/// Files, hashes, domains and programs that a line names.
fn things(evidence: &mut Evidence, line: &[u8]) {
    let line = String::from_utf8_lossy(&line[..line.len().min(2048)]);
    for word in
        line.split(|c: char| c.is_whitespace() || "\"'(),;=<>[]{}|".contains(c)).filter(|word| word.len() > 3).take(64)
    {
        let word = word.trim_end_matches([':', '.']);
        let shown = || printable(word.as_bytes(), 256);
        let is_hash = matches!(word.len(), 32 | 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            evidence.indicator(IndicatorKind::Hash, word.to_ascii_lowercase());
        } else if word.contains("://") {
            evidence.indicator(IndicatorKind::Url, shown());
        } else if word.starts_with('/') && word.matches('/').count() > 1 || word.get(1..3) == Some(":\\") {
            evidence.indicator(IndicatorKind::File, shown());
        } else if word.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.')) {
            evidence.indicator(IndicatorKind::Email, shown());
        } else if word.len() < 64 && word.to_ascii_lowercase().ends_with(".exe") {
            evidence.indicator(IndicatorKind::Process, shown());
        }
    }
}

fn client(seen: &Seen<'_>) -> Option<Actor> {
    seen.event.source_ip.map(|address| Actor::Client(ClientKey::of(address, ClientKey::V6_PREFIX)))
}

fn host(seen: &Seen<'_>) -> Actor {
    text::host(seen.text).map_or(Actor::Nobody, |name| Actor::Host(printable(name, 64)))
}

/// Threats that happen on a host, whoever is behind them.
fn is_of_hosts(kind: ThreatKind) -> bool {
    matches!(
        kind,
        ThreatKind::Ransomware | ThreatKind::Cryptomining | ThreatKind::SuspiciousProcess | ThreatKind::Backdoor
    )
}

/// Threats that somebody is behind who has an account.
fn is_of_users(kind: ThreatKind) -> bool {
    use ThreatKind::{DataExfiltration, InsiderThreat, Phishing, PrivilegeEscalation, UnusualPattern};
    matches!(kind, InsiderThreat | DataExfiltration | PrivilegeEscalation | Phishing | UnusualPattern)
}

/// Kinds that say little of what it is.
fn is_general(kind: ThreatKind) -> bool {
    matches!(kind, ThreatKind::SuspiciousProcess | ThreatKind::UnusualPattern)
}

fn is_of_logins(kind: ThreatKind) -> bool {
    matches!(kind, ThreatKind::BruteForce | ThreatKind::CredentialStuffing)
}

fn kind_of(category: Category) -> ThreatKind {
    match category {
        Category::Bruteforce => ThreatKind::BruteForce,
        Category::CredentialStuffing => ThreatKind::CredentialStuffing,
        Category::Flood => ThreatKind::RequestFlood,
        Category::Scanner | Category::AdminProbe | Category::CrawlAbuse => ThreatKind::WebScan,
        Category::Exfiltration => ThreatKind::DataExfiltration,
        Category::Malware => ThreatKind::SuspiciousProcess,
        Category::C2 => ThreatKind::Backdoor,
        Category::Cryptomining => ThreatKind::Cryptomining,
        Category::PrivilegeEscalation => ThreatKind::PrivilegeEscalation,
        Category::PortScan => ThreatKind::PortScan,
        Category::Other => ThreatKind::UnusualPattern,
        _ => ThreatKind::WebAttack,
    }
}

/// What is part of another threat of the same actor: `(the other, the part)`.
const PARTS: &[(ThreatKind, ThreatKind)] = &[
    (ThreatKind::AccountCompromise, ThreatKind::CredentialStuffing),
    (ThreatKind::AccountCompromise, ThreatKind::BruteForce),
    (ThreatKind::CredentialStuffing, ThreatKind::BruteForce),
    (ThreatKind::WebAttack, ThreatKind::WebScan),
    (ThreatKind::CommandAndControl, ThreatKind::SuspiciousOutbound),
    (ThreatKind::InsiderThreat, ThreatKind::DataExfiltration),
    (ThreatKind::InsiderThreat, ThreatKind::UnusualPattern),
    (ThreatKind::DataExfiltration, ThreatKind::UnusualPattern),
    (ThreatKind::AccountCompromise, ThreatKind::UnusualPattern),
    (ThreatKind::BruteForce, ThreatKind::UnusualPattern),
    (ThreatKind::BruteForce, ThreatKind::UnauthorizedAccess),
    (ThreatKind::AccountCompromise, ThreatKind::UnauthorizedAccess),
    (ThreatKind::UnauthorizedAccess, ThreatKind::UnusualPattern),
];

/// `all` with parts put to what they are parts of.
fn absorbed(all: Vec<(ThreatKind, Actor, Evidence)>) -> Vec<(ThreatKind, Actor, Evidence)> {
    let mut out: Vec<(ThreatKind, Actor, Evidence)> = vec![];
    let mut of: HashMap<(ThreatKind, Actor), Vec<usize>> = HashMap::new();
    for (kind, actor, evidence) in all {
        of.entry((kind, actor.clone())).or_default().push(out.len());
        out.push((kind, actor, evidence));
    }
    let mut gone = BTreeSet::new();
    for &(whole, part) in PARTS {
        let parts: Vec<(Actor, Vec<usize>)> = of
            .iter()
            .filter(|((kind, _), _)| *kind == part)
            .map(|((_, actor), places)| (actor.clone(), places.clone()))
            .collect();
        for (actor, places) in parts {
            if actor == Actor::Nobody {
                continue;
            }
            let Some(&into) =
                of.get(&(whole, actor)).and_then(|wholes| wholes.iter().find(|place| !gone.contains(*place)))
            else {
                continue;
            };
            for place in places {
                let near = |a: &Evidence, b: &Evidence| {
                    let gap = |from: Option<Timestamp>, to: Option<Timestamp>| {
                        to.zip(from).map_or(0, |(to, from)| to.0 - from.0)
                    };
                    gap(a.last_time, b.first_time) <= GAP_MILLIS && gap(b.last_time, a.first_time) <= GAP_MILLIS
                };
                if near(&out[into].2, &out[place].2) && gone.insert(place) {
                    let part = std::mem::take(&mut out[place].2);
                    out[into].2.merge(part);
                }
            }
        }
    }
    let mut at = 0;
    out.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
    out
}
