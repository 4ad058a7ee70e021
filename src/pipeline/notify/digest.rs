//! The figures of a day or a week, in lines.

use crate::event::Timestamp;
use crate::record::{Ask, Period, Ranked, Report, Sqlite, StoreError};

/// Keys of each list.
const TOP: u32 = 5;

/// What was counted from `from` to `to`.
pub async fn lines(store: &Sqlite, from: Timestamp, to: Timestamp) -> Result<Vec<String>, StoreError> {
    let ask = Ask { agent: None, period: Period { from, to }, step: None, top: TOP, now: to };
    let report = Report::of(store, &ask).await?;
    let (totals, effect) = (&report.totals, &report.effect);
    let mut lines = vec![
        format!("From {} to {}.", report.period.from, report.period.to),
        format!(
            "Findings: {}, before that {}: {}.",
            totals.counts.findings,
            totals.previous.findings,
            totals.outlook.as_str()
        ),
        format!("Worst: {}.", report.threat_level.unwrap_or("nothing")),
        format!(
            "Clients shut out: {}, of whom {} had been before; {} blocks refused, {} held back.",
            effect.targets, effect.returned, effect.refused, effect.held
        ),
    ];
    if effect.simulated > 0 {
        lines.push(format!("Dry run: {} of these only told.", effect.simulated));
    }
    for (name, ranked) in [
        ("Kinds", &report.categories),
        ("Clients", &report.clients),
        ("Networks", &report.networks),
        ("Paths", &report.paths),
    ] {
        let one = |ranked: &Ranked| match ranked.top.key.as_str() {
            "" => format!("all others ({})", ranked.top.counts.findings),
            key => format!("{key} ({})", ranked.top.counts.findings),
        };
        let listed: Vec<String> = ranked.iter().filter(|one| one.top.counts.findings > 0).map(one).collect();
        if !listed.is_empty() {
            lines.push(format!("{name}: {}.", listed.join(", ")));
        }
    }
    Ok(lines)
}
