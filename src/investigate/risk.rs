//! How bad it is, as numbers that say how they came about. `docs/analysis.md` has the table; nothing
//! that is added to an input ever makes a number smaller.

use super::evidence::Evidence;
use super::threat::known;
use crate::event::Severity;
use crate::event::analysis::{Counted, Factor, Risk, Threat, ThreatKind, ThreatOutcome};

/// The risk of one threat, 0–100, and what it is made of.
pub fn of(
    kind: ThreatKind,
    severity: Severity,
    evidence: &Evidence,
    confidence: u8,
    outcome: ThreatOutcome,
) -> (u8, Vec<Factor>) {
    let grade = severity as u8 as f64;
    let base = f64::from(known(kind).score) * 6.0 + grade * 3.0;
    let frequency = 1.0 + (evidence.events as f64).log10().clamp(0.0, 4.0) * 0.1;
    let exposed =
        !evidence.notes.is_empty() || evidence.users.iter().any(|user| super::logins::is_privileged(user.as_bytes()));
    let target = if exposed { 1.15 } else { 1.0 };
    let sureness = 0.5 + f64::from(confidence) * 0.05;
    let worked = match outcome {
        ThreatOutcome::Failed => 0.85,
        ThreatOutcome::Unknown => 1.0,
        ThreatOutcome::Succeeded => 1.25,
    };
    let score = (base * frequency * target * sureness * worked).clamp(1.0, 100.0);
    let factor = |name: &str, points: f64, reason: String| Factor {
        name: name.into(),
        points: (points * 100.0).round() / 100.0,
        reason,
    };
    let factors = vec![
        factor("base", base, format!("A threat of this kind, of {} severity.", severity.as_str())),
        factor("frequency", frequency, format!("Seen {} times.", evidence.events)),
        factor(
            "target",
            target,
            if exposed {
                "A privileged account or a locked one is concerned."
            } else {
                "No account of special rights is named."
            }
            .into(),
        ),
        factor("confidence", sureness, format!("The confidence is {confidence} of 10.")),
        factor(
            "outcome",
            worked,
            match outcome {
                ThreatOutcome::Failed => "The input shows that it failed.",
                ThreatOutcome::Unknown => "The input does not tell whether it worked.",
                ThreatOutcome::Succeeded => "The input shows that it succeeded.",
            }
            .into(),
        ),
    ];
    (score.round() as u8, factors)
}

/// Of how much a threat beside the worst one counts.
const BESIDE: f64 = 400.0;

/// The risk of all threats together: the worst, and of what is left to 100 a share for each other.
pub fn overall(threats: &[Threat]) -> Risk {
    let mut risks: Vec<u8> = threats.iter().map(|threat| threat.risk).collect();
    risks.sort_unstable_by(|a, b| b.cmp(a));
    let (worst, others) = risks.split_first().map_or((0.0, &[][..]), |(worst, others)| (f64::from(*worst), others));
    let left = others.iter().fold(100.0 - worst, |left, risk| left * (1.0 - f64::from(*risk) / BESIDE));
    let exact = 100.0 - left;
    let score = if threats.is_empty() { 0 } else { exact.floor().clamp(1.0, 100.0) as u8 };
    let distribution = Severity::ALL.iter().rev().filter_map(|severity| {
        let count = threats.iter().filter(|threat| threat.severity == *severity).count() as u64;
        (count > 0).then(|| Counted { name: severity.as_str().into(), count })
    });
    let mut factors = vec![];
    if let Some(first) = threats.iter().max_by_key(|threat| threat.risk) {
        let actor = first.actor.as_deref().map(|actor| format!(", {actor}")).unwrap_or_default();
        let reason = format!("The worst threat: {}{actor} ({}).", first.kind.title().to_lowercase(), first.id);
        factors.push(Factor { name: "worst_threat".into(), points: worst, reason });
    }
    if !others.is_empty() {
        let points = ((exact - worst) * 100.0).round() / 100.0;
        factors.push(Factor {
            name: "other_threats".into(),
            points,
            reason: format!("{} more threats.", others.len()),
        });
    }
    factors.sort_by(|a, b| b.points.total_cmp(&a.points));
    Risk {
        score,
        security_score: 100 - score,
        health: health(score).into(),
        distribution: distribution.collect(),
        factors,
    }
}

/// The state of a site with this risk.
fn health(score: u8) -> &'static str {
    match score {
        0..20 => "excellent",
        20..40 => "good",
        40..60 => "fair",
        60..80 => "poor",
        80.. => "critical",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::investigate::evidence::Actor;
    use crate::investigate::threat;

    fn kinds() -> impl Strategy<Value = ThreatKind> {
        use ThreatKind::*;
        prop::sample::select(vec![
            BruteForce,
            AccountCompromise,
            WebScan,
            WebAttack,
            Ransomware,
            UnusualPattern,
            PortScan,
            CommandAndControl,
        ])
    }

    fn threats() -> impl Strategy<Value = Vec<(ThreatKind, Evidence)>> {
        let one = (kinds(), 1..5000u64, 0..3u8, 1..10u8).prop_map(|(kind, events, outcome, weight)| {
            let mut evidence = Evidence { events, ..Evidence::default() };
            evidence.sign("x", weight);
            evidence.outcome(match outcome {
                0 => ThreatOutcome::Failed,
                1 => ThreatOutcome::Unknown,
                _ => ThreatOutcome::Succeeded,
            });
            (kind, evidence)
        });
        prop::collection::vec(one, 0..40)
    }

    fn score(threats: &[(ThreatKind, Evidence)]) -> u8 {
        let threats: Vec<Threat> =
            threats.iter().map(|(kind, evidence)| threat::of(*kind, &Actor::Nobody, evidence.clone())).collect();
        overall(&threats).score
    }

    proptest! {
        #[test]
        fn more_threats_and_more_events_never_lower_the_risk(all in threats(), more in threats(), at in any::<prop::sample::Index>(), events in 1..9000u64) {
            let before = score(&all);
            let mut with_more = all.clone();
            with_more.extend(more);
            prop_assert!(score(&with_more) >= before);
            if !all.is_empty() {
                let mut grown = all.clone();
                let evidence = &mut grown[at.index(all.len())].1;
                evidence.events += events;
                evidence.sign("y", 9);
                prop_assert!(score(&grown) >= before);
                evidence_succeeds(&mut grown, at.index(all.len()));
                prop_assert!(score(&grown) >= before);
            }
        }
    }

    fn evidence_succeeds(threats: &mut [(ThreatKind, Evidence)], at: usize) {
        threats[at].1.outcome(ThreatOutcome::Succeeded);
    }

    #[test]
    fn nothing_is_no_risk_and_levels_have_names() {
        assert_eq!(overall(&[]).score, 0);
        assert_eq!(overall(&[]).health, "excellent");
        assert_eq!(
            [health(19), health(20), health(40), health(60), health(80)],
            ["excellent", "good", "fair", "poor", "critical"]
        );
    }
}
