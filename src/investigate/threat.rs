//! From evidence to a threat that people read: how grave, how sure, what happened, what to do.

use super::evidence::{Actor, Evidence};
use super::risk;
use crate::event::analysis::{Indicator, IndicatorKind, Threat, ThreatKind, ThreatOutcome};
use crate::event::{Category, Severity};

/// What is known of a kind: its score before anything is known of the case, its techniques in MITRE
/// ATT&CK, and what to do.
pub struct Known {
    /// 1–10.
    pub score: u8,
    pub techniques: &'static [&'static str],
    pub advice: &'static str,
}

/// See [`Known`].
pub fn known(kind: ThreatKind) -> Known {
    let (score, techniques, advice): (u8, &'static [&'static str], &'static str) = match kind {
        ThreatKind::BruteForce => (
            6,
            &["T1110.001"],
            "Block the address, lock or rename accounts that were tried, and allow logins by key or with a second factor only.",
        ),
        ThreatKind::CredentialStuffing => (
            7,
            &["T1110.004"],
            "Block the address, look for logins that succeeded meanwhile, and ask users whose passwords may be known elsewhere to change them.",
        ),
        ThreatKind::AccountCompromise => (
            9,
            &["T1110", "T1078"],
            "End the account's sessions and change its password now; look at everything done with it since the first success.",
        ),
        ThreatKind::UnauthorizedAccess => {
            (6, &["T1078"], "Find out whose access it was and whether it was meant; take it back until that is clear.")
        }
        ThreatKind::WebAttack => (
            6,
            &["T1190"],
            "Block the client, look whether one of the requests was served, and bring the application up to date.",
        ),
        ThreatKind::WebScan => {
            (4, &["T1595.002"], "Block the client; take away from the web root what it was looking for.")
        }
        ThreatKind::PortScan => {
            (5, &["T1046"], "Block the address at the firewall, and shut ports that need not be open.")
        }
        ThreatKind::RequestFlood => (
            7,
            &["T1498", "T1499"],
            "Limit the rate in front of the server, ask the provider for filtering, and keep the addresses as evidence.",
        ),
        ThreatKind::Ransomware => (
            9,
            &["T1486", "T1490"],
            "Take the host off the network at once without switching it off; protect backups; look for other hosts with the same signs.",
        ),
        ThreatKind::CommandAndControl => (
            9,
            &["T1071"],
            "Cut the host off from the network, keep its memory for analysis, and block the destination everywhere.",
        ),
        ThreatKind::SuspiciousOutbound => (
            7,
            &["T1571"],
            "Find the process that opened the connection, block the destination, and look what was sent.",
        ),
        ThreatKind::Cryptomining => (
            7,
            &["T1496"],
            "Stop the process, block the pool, and find how it came in: whoever mines could have done anything else.",
        ),
        ThreatKind::Phishing => (
            6,
            &["T1566"],
            "Take the message out of all mailboxes, change the passwords of whoever followed it, and block sender and link.",
        ),
        ThreatKind::InsiderThreat => (
            7,
            &["T1213", "T1052"],
            "Keep the evidence, speak with whoever is responsible for the person before anybody else, and limit the account's access.",
        ),
        ThreatKind::DataExfiltration => (
            8,
            &["T1041", "T1567"],
            "Block the destination, find out what was sent and of whom it speaks; there may be a duty to report it.",
        ),
        ThreatKind::ZeroDay => (
            8,
            &["T1203", "T1190"],
            "Take the service out of reach until it is known what was tried; keep traffic and memory for analysis, and ask the vendor.",
        ),
        ThreatKind::SuspiciousProcess => {
            (7, &["T1059", "T1204"], "Isolate the host, keep a copy of the file, and look on other hosts for the same.")
        }
        ThreatKind::Backdoor => (
            9,
            &["T1505.003", "T1546"],
            "Isolate the host, remove what starts it, change all secrets that were there; if in doubt, set it up anew.",
        ),
        ThreatKind::PrivilegeEscalation => (
            7,
            &["T1068", "T1548"],
            "Take the rights back, and find out how they were gained and what was done with them.",
        ),
        ThreatKind::PromptInjection => {
            (5, &["T1565"], "Nothing was acted on; see that no other tool shows these lines to a model as they are.")
        }
        ThreatKind::UnusualPattern => (4, &[], "Ask whoever is named whether it was meant."),
    };
    Known { score, techniques, advice }
}

/// The threat that this evidence is.
pub fn of(kind: ThreatKind, actor: &Actor, evidence: Evidence) -> Threat {
    let known = known(kind);
    let outcome = evidence.outcome.unwrap_or(ThreatOutcome::Unknown);
    let severity = severity(kind, &evidence, outcome);
    let confidence = confidence(&evidence);
    let (risk, risk_factors) = risk::of(kind, severity, &evidence, confidence, outcome);
    let mut indicators: Vec<Indicator> = evidence.indicators.iter().cloned().collect();
    let category = evidence.category.map_or(category(kind), |(_, category)| category);
    indicators.extend(evidence.signs.keys().map(|id| Indicator { kind: IndicatorKind::Rule, value: id.to_string() }));
    let name = actor.name(&evidence.addresses);
    // Sources are read by time; lines are counted by source.
    let mut lines = evidence.lines.clone();
    lines.sort_unstable();
    Threat {
        id: String::new(),
        kind,
        category,
        severity,
        confidence,
        risk,
        risk_factors,
        description: description(kind, name.as_deref(), &evidence, outcome),
        recommendation: known.advice.into(),
        actor: name,
        addresses: evidence.addresses.into_iter().collect(),
        users: evidence.users.into_iter().collect(),
        indicators,
        lines,
        events: evidence.events,
        samples: evidence.samples,
        first_time: evidence.first_time,
        last_time: evidence.last_time,
        rule_ids: evidence.signs.keys().map(ToString::to_string).collect(),
        techniques: known.techniques.iter().map(ToString::to_string).collect(),
        outcome,
    }
}

/// The kind's own score, moved by what is known of the case.
fn severity(kind: ThreatKind, evidence: &Evidence, outcome: ThreatOutcome) -> Severity {
    let mut score = known(kind).score;
    let rules = evidence.category.map_or(0, |(score, _)| score);
    match kind {
        ThreatKind::WebAttack => score = score.max(rules.min(8)),
        ThreatKind::BruteForce | ThreatKind::CredentialStuffing => {
            // It failed, as guessing does as a rule: that takes nothing away.
            let worse = !evidence.notes.is_empty() || evidence.events >= 10 || evidence.users.len() >= 3;
            return Severity::of(score + u8::from(worse));
        }
        ThreatKind::WebScan | ThreatKind::PortScan => {
            return Severity::of(score + u8::from(rules >= 8 && evidence.events >= 10));
        }
        _ => {}
    }
    if evidence.said_critical {
        score += 1;
    }
    if evidence.listener && kind == ThreatKind::SuspiciousOutbound {
        score += 1;
    }
    match outcome {
        ThreatOutcome::Succeeded => score += 1,
        ThreatOutcome::Failed if kind != ThreatKind::WebAttack => score = score.saturating_sub(1),
        _ => {}
    }
    Severity::of(score.min(10))
}

/// The strongest sign, one more for each other sign (two at most) and one where it came ten times.
fn confidence(evidence: &Evidence) -> u8 {
    let others = evidence.signs.len().saturating_sub(1).min(2) as u8;
    (evidence.strongest() + others + u8::from(evidence.events >= 10)).clamp(1, 10)
}

fn category(kind: ThreatKind) -> Category {
    match kind {
        ThreatKind::BruteForce | ThreatKind::AccountCompromise => Category::Bruteforce,
        ThreatKind::CredentialStuffing => Category::CredentialStuffing,
        ThreatKind::WebScan => Category::Scanner,
        ThreatKind::PortScan => Category::PortScan,
        ThreatKind::RequestFlood => Category::Flood,
        ThreatKind::Ransomware | ThreatKind::SuspiciousProcess | ThreatKind::Backdoor => Category::Malware,
        ThreatKind::CommandAndControl | ThreatKind::SuspiciousOutbound => Category::C2,
        ThreatKind::Cryptomining => Category::Cryptomining,
        ThreatKind::DataExfiltration | ThreatKind::InsiderThreat => Category::Exfiltration,
        ThreatKind::ZeroDay => Category::KnownExploit,
        ThreatKind::PrivilegeEscalation => Category::PrivilegeEscalation,
        _ => Category::Other,
    }
}

/// One or two sentences, with figures.
fn description(kind: ThreatKind, actor: Option<&str>, evidence: &Evidence, outcome: ThreatOutcome) -> String {
    let events = evidence.events;
    let from = actor.map(|name| format!(" from {name}")).unwrap_or_default();
    let by = actor.map(|name| format!(" by {name}")).unwrap_or_default();
    let on = actor.map(|name| format!(" on {name}")).unwrap_or_default();
    let with = actor.map(|name| format!(" with {name}")).unwrap_or_default();
    let lines = if events == 1 { "1 line".to_owned() } else { format!("{events} lines") };
    let some = |names: Vec<&str>| match &names[..] {
        [] => String::new(),
        few @ ([_] | [_, _] | [_, _, _]) => few.join(", "),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    };
    let users = some(evidence.users.iter().map(String::as_str).collect());
    let of_users = if users.is_empty() { String::new() } else { format!(" for {users}") };
    let mut text = match kind {
        ThreatKind::BruteForce | ThreatKind::CredentialStuffing if evidence.notes.contains("from many addresses") => {
            format!("{events} failed logins{of_users} from {} addresses", evidence.addresses.len())
        }
        ThreatKind::BruteForce if evidence.signs.contains_key("failed-logins") => {
            let from = if actor.is_some_and(|name| users == name) { "" } else { &from };
            format!("{events} failed logins{of_users}{from}")
        }
        ThreatKind::BruteForce => format!("Passwords are guessed{from}: {lines}"),
        ThreatKind::CredentialStuffing => {
            format!("Logins of {} users tried{from}, few times each: {lines}", evidence.users.len())
        }
        ThreatKind::AccountCompromise => format!("Failed logins{from} were followed by a success{of_users}: {lines}"),
        ThreatKind::WebAttack => format!("Attacks on the web server{from}: {lines}"),
        ThreatKind::WebScan => format!("The web server is searched for weaknesses{from}: {lines}"),
        ThreatKind::PortScan => format!("Ports are tried one after the other{from}: {lines}"),
        ThreatKind::RequestFlood => format!("More requests than can be served{from}: {lines}"),
        ThreatKind::Ransomware => format!("Files are made unreadable for ransom{on}: {lines}"),
        ThreatKind::CommandAndControl => format!("A program inside takes orders{from}: {lines}"),
        ThreatKind::SuspiciousOutbound => format!("Outbound traffic{with} that is out of the ordinary: {lines}"),
        ThreatKind::Cryptomining => format!("Cryptocurrency is mined{on}: {lines}"),
        ThreatKind::Phishing => format!(
            "Messages that fish for credentials{}: {lines}",
            if users.is_empty() { by } else { format!(", about {users}") }
        ),
        ThreatKind::InsiderThreat => format!("Data is taken from inside{by}: {lines}"),
        ThreatKind::DataExfiltration => format!("Data leaves the network{by}: {lines}"),
        ThreatKind::ZeroDay => format!("Signs of an exploit that is not known, or of those who use such{by}: {lines}"),
        ThreatKind::UnauthorizedAccess => format!("Access without leave{by}: {lines}"),
        ThreatKind::SuspiciousProcess => format!("Malware, or programs used as such{on}: {lines}"),
        ThreatKind::Backdoor => format!("A way back in{on}: {lines}"),
        ThreatKind::PrivilegeEscalation => format!("More rights are taken than given{by}: {lines}"),
        ThreatKind::PromptInjection => format!("Text that gives orders to a model{from}: {lines}"),
        ThreatKind::UnusualPattern => format!("Something out of the ordinary{by}: {lines}"),
    };
    let notes: Vec<&str> = evidence.notes.iter().copied().filter(|note| *note != "from many addresses").collect();
    if !notes.is_empty() {
        text.push_str(&format!(" ({})", notes.join(", ")));
    }
    if let (Some(first), Some(last)) = (evidence.first_time, evidence.last_time)
        && last.0 > first.0
    {
        text.push_str(&format!(", within {}", span((last.0 - first.0) / 1000)));
    }
    text.push('.');
    match outcome {
        ThreatOutcome::Succeeded => text.push_str(" It succeeded."),
        ThreatOutcome::Failed => text.push_str(" The lines show that it was stopped."),
        ThreatOutcome::Unknown => {}
    }
    text
}

fn span(secs: i64) -> String {
    match secs {
        ..120 => format!("{} s", secs.max(1)),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}
