//! An analysis in words, by templates. Every sentence about threats names them and their lines.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{listed, shortened};
use crate::event::Severity;
use crate::event::analysis::{Analysis, Claim, Narrative, Threat, ThreatKind, ThreatOutcome};

/// What writes it.
pub(super) const TEMPLATES: &str = "templates";
/// Words that a summary stays below.
pub(super) const SUMMARY_WORDS: usize = 150;
/// Steps of a plan.
pub(super) const PLAN: std::ops::RangeInclusive<usize> = 4..=6;
/// Recommendations at most.
pub(super) const RECOMMENDATIONS: usize = 8;
/// Lines that a sentence cites, and of these of one threat.
const LINES: usize = 20;
const LINES_OF_ONE: usize = 5;
/// Characters of a text of the input in a sentence.
const QUOTED: usize = 80;

/// Summary, attack chain, goal, plan and recommendations.
pub fn narrative(analysis: &Analysis) -> Narrative {
    let chain = longest_chain(&analysis.threats);
    Narrative {
        written_by: TEMPLATES.into(),
        summary: summary(analysis),
        goal: goal(&chain),
        chain: chain.iter().map(|threat| step_of_chain(threat)).collect(),
        plan: plan(&analysis.threats),
        recommendations: recommendations(analysis),
        dropped: 0,
    }
}

/// A sentence that stands on `threats`.
fn claim<'a>(text: String, threats: impl IntoIterator<Item = &'a Threat>) -> Claim {
    let threats: Vec<&Threat> = threats.into_iter().collect();
    let lines: BTreeSet<u64> =
        threats.iter().flat_map(|threat| threat.lines.iter().take(LINES_OF_ONE)).take(LINES).copied().collect();
    Claim {
        text,
        threats: threats.iter().map(|threat| threat.id.clone()).collect(),
        lines: lines.into_iter().collect(),
    }
}

/// Less than [`SUMMARY_WORDS`] words; what does not fit in is left out, the least important first.
fn summary(analysis: &Analysis) -> Vec<Claim> {
    let (threats, input) = (&analysis.threats, &analysis.input);
    let read = match (input.first_time, input.last_time) {
        (Some(first), Some(last)) => format!("{} lines from {first} to {last}", input.lines),
        _ => format!("{} lines", input.lines),
    };
    let mut told = vec![];
    let Some(worst) = threats.first() else {
        let text = format!("No threats were found in {read}. What no rule and no pattern knows is not seen here.");
        told.push(claim(text, []));
        return told;
    };
    let level = analysis.threat_level.unwrap_or(worst.severity);
    told.push(claim(
        format!(
            "{} in {read}: {}. The threat level is {}, the risk score {} of 100.",
            count(threats.len(), "threat was found", "threats were found"),
            by_severity(threats),
            level.as_str(),
            analysis.risk.score
        ),
        threats,
    ));
    let by = worst.actor.as_ref().map(|actor| format!(" by {}", shortened(actor, QUOTED))).unwrap_or_default();
    told.push(claim(
        format!(
            "The gravest is {}{by}: {}",
            worst.kind.title().to_lowercase(),
            sentence(&first_words(&worst.description, 40))
        ),
        [worst],
    ));
    let succeeded: Vec<&Threat> = threats.iter().filter(|threat| threat.outcome == ThreatOutcome::Succeeded).collect();
    if !succeeded.is_empty() {
        let text = format!(
            "{} to have worked: {}.",
            count(succeeded.len(), "threat seems", "threats seem"),
            kinds(&succeeded)
        );
        told.push(claim(text, succeeded));
    }
    let actors: BTreeSet<&String> = threats.iter().filter_map(|threat| threat.actor.as_ref()).collect();
    if actors.len() > 1 {
        let text = format!("{} different actors stand behind them.", actors.len());
        told.push(claim(text, threats.iter().filter(|threat| threat.actor.is_some())));
    }
    if input.unparsed > 0 {
        told.push(claim(format!("The format of {} lines is not known; they were read as text.", input.unparsed), []));
    }
    let mut words = 0;
    told.retain(|claim| {
        words += claim.text.split_whitespace().count();
        words < SUMMARY_WORDS
    });
    told
}

fn count(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn by_severity(threats: &[Threat]) -> String {
    let count = |severity: &Severity| threats.iter().filter(|threat| threat.severity == *severity).count();
    let present: Vec<String> = Severity::ALL
        .iter()
        .rev()
        .filter(|severity| count(severity) > 0)
        .map(|severity| format!("{} {}", count(severity), severity.as_str()))
        .collect();
    listed(&present, present.len())
}

/// Kinds of `threats`, each once.
fn kinds(threats: &[&Threat]) -> String {
    let mut titles: Vec<String> = vec![];
    for threat in threats {
        let title = format!("{} ({})", threat.kind.title().to_lowercase(), threat.id);
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    listed(&titles, 5)
}

fn first_words(text: &str, limit: usize) -> String {
    let mut words = text.split_whitespace();
    let first: Vec<String> = words.by_ref().take(limit).map(|word| shortened(word, QUOTED)).collect();
    first.join(" ") + if words.next().is_some() { " …" } else { "" }
}

/// `text` with an end.
fn sentence(text: &str) -> String {
    if text.ends_with(['.', '!', '?', '…']) { text.to_owned() } else { format!("{text}.") }
}

/// How far on the way to what they want an attacker is, in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Reconnaissance,
    InitialAccess,
    CredentialAccess,
    Execution,
    PrivilegeEscalation,
    CommandAndControl,
    Exfiltration,
    Impact,
}

impl Stage {
    /// None for what tells nothing of a way.
    fn of(kind: ThreatKind) -> Option<Stage> {
        Some(match kind {
            ThreatKind::WebScan | ThreatKind::PortScan => Stage::Reconnaissance,
            ThreatKind::WebAttack
            | ThreatKind::ZeroDay
            | ThreatKind::Phishing
            | ThreatKind::AccountCompromise
            | ThreatKind::UnauthorizedAccess => Stage::InitialAccess,
            ThreatKind::BruteForce | ThreatKind::CredentialStuffing => Stage::CredentialAccess,
            ThreatKind::SuspiciousProcess | ThreatKind::Backdoor => Stage::Execution,
            ThreatKind::PrivilegeEscalation => Stage::PrivilegeEscalation,
            ThreatKind::CommandAndControl | ThreatKind::SuspiciousOutbound => Stage::CommandAndControl,
            ThreatKind::DataExfiltration => Stage::Exfiltration,
            ThreatKind::Ransomware | ThreatKind::Cryptomining | ThreatKind::RequestFlood => Stage::Impact,
            ThreatKind::InsiderThreat | ThreatKind::PromptInjection | ThreatKind::UnusualPattern => return None,
        })
    }

    fn title(self) -> &'static str {
        match self {
            Stage::Reconnaissance => "Reconnaissance",
            Stage::InitialAccess => "Initial access",
            Stage::CredentialAccess => "Credential access",
            Stage::Execution => "Execution",
            Stage::PrivilegeEscalation => "Privilege escalation",
            Stage::CommandAndControl => "Command and control",
            Stage::Exfiltration => "Exfiltration",
            Stage::Impact => "Impact",
        }
    }
}

/// The threats of the actor who went through most stages, in order: by time where the input dates them
/// all, else by stage. Empty where nobody went through two.
fn longest_chain(threats: &[Threat]) -> Vec<&Threat> {
    let mut longest: Vec<&Threat> = vec![];
    let stages = |chain: &[&Threat]| chain.iter().filter_map(|one| Stage::of(one.kind)).collect::<BTreeSet<_>>().len();
    let actors: BTreeSet<&String> = threats.iter().filter_map(|threat| threat.actor.as_ref()).collect();
    for actor in actors {
        let address: Option<IpAddr> = actor.parse().ok();
        let is_theirs = |threat: &&Threat| {
            threat.actor.as_ref() == Some(actor) || address.is_some_and(|address| threat.addresses.contains(&address))
        };
        let chain: Vec<&Threat> =
            threats.iter().filter(is_theirs).filter(|threat| Stage::of(threat.kind).is_some()).collect();
        if stages(&chain) > stages(&longest).max(1) {
            longest = chain;
        }
    }
    if longest.iter().all(|threat| threat.first_time.is_some()) {
        longest.sort_by_key(|threat| (threat.first_time, Stage::of(threat.kind)));
    } else {
        longest.sort_by_key(|threat| (Stage::of(threat.kind), threat.lines.first().copied()));
    }
    longest
}

fn step_of_chain(threat: &Threat) -> Claim {
    let stage = Stage::of(threat.kind).map_or("", Stage::title);
    let by = threat.actor.as_ref().map(|actor| format!(" by {}", shortened(actor, QUOTED))).unwrap_or_default();
    let when = threat.first_time.map(|time| format!(" from {time}")).unwrap_or_default();
    let events = count(threat.events as usize, "event", "events");
    let worked = if threat.outcome == ThreatOutcome::Succeeded { "; it worked" } else { "" };
    let text = format!("{stage}: {}{by}, {events}{when}{worked}.", threat.kind.title().to_lowercase());
    claim(text, [threat])
}

fn goal(chain: &[&Threat]) -> Option<Claim> {
    let last = chain.iter().max_by_key(|threat| Stage::of(threat.kind))?;
    let what = match last.kind {
        ThreatKind::Ransomware => "to make data unusable and be paid for it",
        ThreatKind::Cryptomining => "to use these machines for mining",
        ThreatKind::RequestFlood => "to make the service unavailable",
        ThreatKind::DataExfiltration => "to take data away",
        ThreatKind::CommandAndControl | ThreatKind::SuspiciousOutbound => "to keep control of a machine inside",
        ThreatKind::PrivilegeEscalation => "to gain an administrator's rights",
        ThreatKind::SuspiciousProcess | ThreatKind::Backdoor => "to run programs here, now and later",
        ThreatKind::BruteForce | ThreatKind::CredentialStuffing => "to get into accounts",
        _ => "to get in",
    };
    Some(claim(format!("As far as this input shows, the goal is {what}."), chain.iter().copied()))
}

/// Steps of a plan that belong to kinds of threats.
const MEASURES: &[(&[ThreatKind], &str)] = &[
    (
        &[
            ThreatKind::Ransomware,
            ThreatKind::CommandAndControl,
            ThreatKind::SuspiciousOutbound,
            ThreatKind::Backdoor,
            ThreatKind::SuspiciousProcess,
            ThreatKind::Cryptomining,
            ThreatKind::PrivilegeEscalation,
        ],
        "Take the affected machines off the network without switching them off, and copy memory and disks before anything is cleaned",
    ),
    (
        &[
            ThreatKind::AccountCompromise,
            ThreatKind::UnauthorizedAccess,
            ThreatKind::BruteForce,
            ThreatKind::CredentialStuffing,
            ThreatKind::Phishing,
        ],
        "End all sessions of the accounts concerned, give them new passwords and keys, and ask for a second factor",
    ),
    (
        &[ThreatKind::DataExfiltration, ThreatKind::InsiderThreat],
        "Establish which data left and whom it is about, and whether that must be reported within a legal term",
    ),
    (
        &[ThreatKind::WebAttack, ThreatKind::WebScan, ThreatKind::ZeroDay],
        "Look in the application's own logs for what the requests reached, and update or switch off what they aimed at",
    ),
    (
        &[ThreatKind::RequestFlood, ThreatKind::PortScan],
        "Limit rates at the edge and close ports that need not be open",
    ),
    (
        &[ThreatKind::PromptInjection],
        "Keep the lines concerned away from assistants and summaries that act on what they read",
    ),
];

/// Contain, keep the evidence, one or two measures by kind, look elsewhere, watch.
fn plan(threats: &[Threat]) -> Vec<Claim> {
    if threats.is_empty() {
        return vec![];
    }
    let grave: Vec<&Threat> = threats.iter().filter(|threat| threat.severity >= Severity::High).collect();
    let pressing = if grave.is_empty() { threats.iter().collect() } else { grave };
    let actors: Vec<String> = distinct(pressing.iter().filter_map(|threat| threat.actor.as_deref()));
    let contain = match listed(&actors, 5) {
        actors if actors.is_empty() => "Contain: shut off the ways by which the threats named here came in".into(),
        actors => format!("Contain: shut out or suspend {actors}"),
    };
    let mut steps = vec![claim(format!("{contain}."), pressing.iter().copied())];
    let keep = "Keep this input and the logs around it unchanged, with a note of who had them";
    steps.push(claim(format!("{keep}."), threats));
    let mut measures: Vec<(Severity, Claim)> = MEASURES
        .iter()
        .filter_map(|(kinds, text)| {
            let concerned: Vec<&Threat> = threats.iter().filter(|threat| kinds.contains(&threat.kind)).collect();
            let worst = concerned.iter().map(|threat| threat.severity).max()?;
            let users = distinct(concerned.iter().flat_map(|threat| threat.users.iter().map(String::as_str)));
            let whom = if users.is_empty() { String::new() } else { format!(" (users: {})", listed(&users, 5)) };
            Some((worst, claim(format!("{text}{whom}."), concerned)))
        })
        .collect();
    // The sort is stable: of two as grave, the one that stands first above.
    measures.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    steps.extend(measures.into_iter().take(PLAN.end() - PLAN.start()).map(|(_, claim)| claim));
    steps.push(claim("Search the logs of other machines for the same addresses, accounts and files.".into(), threats));
    let after =
        "Go on watching what was concerned for two weeks, and write down what happened and what will be changed";
    steps.push(claim(format!("{after}."), threats));
    steps
}

fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen: Vec<String> = vec![];
    for text in texts.map(|text| shortened(text, QUOTED)) {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen
}

/// What each threat asks for, each once, after what weighs most in the score.
fn recommendations(analysis: &Analysis) -> Vec<Claim> {
    let mut told: Vec<Claim> = vec![];
    if let (Some(factor), false) = (analysis.risk.factors.first(), analysis.threats.is_empty()) {
        let text = format!(
            "Begin with what weighs most in the score: {}, {:.0} points. {}",
            factor.name,
            factor.points,
            sentence(&factor.reason)
        );
        told.push(claim(text, &analysis.threats));
    }
    for threat in &analysis.threats {
        let text = sentence(&shortened(&threat.recommendation, 400));
        let has_room = told.len() < RECOMMENDATIONS && !threat.recommendation.is_empty();
        match told.iter_mut().find(|claim| claim.text == text) {
            Some(same) => {
                let more = claim(text, [threat]);
                same.threats.extend(more.threats);
                same.lines.extend(more.lines);
                same.lines.sort_unstable();
                same.lines.dedup();
            }
            None if has_room => told.push(claim(text, [threat])),
            None => {}
        }
    }
    told
}
