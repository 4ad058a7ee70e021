//! What happened in a period, in figures: all of it at once, for the command line and for dashboards.

use schemars::JsonSchema;
use serde::Serialize;

use super::history::{Effect, History, Period, Point, Step, Top};
use super::rollup::{Counts, Dimension, SEVERITIES};
use super::{Spent, StoreError};
use crate::event::Timestamp;

/// Beyond so many hours a trend is drawn by the day.
const MAX_HOURS: i64 = 72;
/// What went before is also seen over so many days.
const BASELINE_DAYS: i64 = 30;
/// A change of the rate by less than this share is none.
const STEADY: f64 = 0.1;
/// Hours of dimensions with many keys are folded into days when they are older than this.
const HOURS_KEPT: i64 = 48;
/// Steps of a trend: two years of hours.
const MAX_STEPS: i64 = 2 * 366 * 24;

/// What is to be reported.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of one agent only, where the store knows several.
    pub agent: Option<String>,
    pub period: Period,
    /// None: hours for up to three days, else days.
    pub step: Option<Step>,
    /// Keys of each list.
    pub top: u32,
    pub now: Timestamp,
}

impl Ask {
    /// # Errors
    /// A sentence for people: nobody could look at so much.
    pub fn check(&self) -> Result<(), String> {
        let Spans { period, step, .. } = spans(self);
        match period.to.0.saturating_sub(period.from.0) / step.millis() {
            ..=MAX_STEPS => Ok(()),
            steps => Err(format!("{steps} steps are too many for a trend; ask for a shorter time or for days")),
        }
    }

    /// One list of the report, without the rest of it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn top(&self, store: &dyn History, dimension: Dimension) -> Result<Vec<Top>, StoreError> {
        let Spans { period, previous, .. } = spans(self);
        store.top(self.agent.as_deref(), period, previous, dimension, self.top).await
    }
}

/// A period in figures.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// In whole hours or days of UTC.
    pub period: Period,
    /// As many of them just before.
    pub previous: Period,
    /// The 30 days before.
    pub baseline: Period,
    /// The worst severity among its findings.
    pub threat_level: Option<&'static str>,
    pub totals: Totals,
    pub step: Step,
    /// Every step of the period, those without anything too.
    pub trend: Vec<Moment>,
    pub severities: Vec<Ranked>,
    pub categories: Vec<Ranked>,
    pub decided_by: Vec<Ranked>,
    pub clients: Vec<Ranked>,
    pub networks: Vec<Ranked>,
    pub paths: Vec<Ranked>,
    pub rules: Vec<Ranked>,
    pub effect: Effect,
    pub previous_effect: Effect,
    pub tiers: Vec<Tier>,
}

/// Counts of the whole period, and how it did against what went before, by the number of findings a day.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    #[serde(flatten)]
    pub counts: Counts,
    pub findings_per_day: f64,
    pub previous: Counts,
    /// None: nothing was recorded then.
    pub previous_per_day: Option<f64>,
    pub outlook: Outlook,
    pub baseline_per_day: Option<f64>,
    pub baseline_outlook: Outlook,
}

/// One step of a trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Moment {
    pub start: Timestamp,
    #[serde(flatten)]
    pub counts: Counts,
}

/// A key, what was counted under it, and how that is against the period before.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Ranked {
    #[serde(flatten)]
    pub top: Top,
    pub outlook: Outlook,
}

/// What one model or service did.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Tier {
    #[serde(flatten)]
    pub spent: Spent,
    /// Of one call.
    pub mean_millis: f64,
    pub previous: Option<Spent>,
}

/// Whether there is less to see than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// Fewer findings a day.
    Improving,
    /// As many, give or take a tenth.
    Steady,
    /// More.
    Declining,
    /// Nothing was recorded before.
    NoData,
}

impl Outlook {
    fn of(now: f64, before: Option<f64>) -> Outlook {
        match before {
            None => Outlook::NoData,
            Some(before) if now > before * (1.0 + STEADY) => Outlook::Declining,
            Some(before) if now < before * (1.0 - STEADY) => Outlook::Improving,
            Some(_) => Outlook::Steady,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Outlook::Improving => "improving",
            Outlook::Steady => "steady",
            Outlook::Declining => "declining",
            Outlook::NoData => "no data",
        }
    }
}

impl Report {
    /// # Errors
    /// Those of the store.
    pub async fn of(store: &dyn History, ask: &Ask) -> Result<Report, StoreError> {
        let agent = ask.agent.as_deref();
        let Spans { period, previous, baseline, step } = spans(ask);
        let whole = Period { from: baseline.from.min(previous.from), to: period.to };
        let days = store.trend(agent, whole, Dimension::All, Step::Day).await?;
        // Before the first count there was nobody who counted.
        let known_from = match days.first() {
            None => period.to,
            Some(first) => {
                let day = Period { from: first.start, to: Step::Day.ceil(Timestamp(first.start.0 + 1)) };
                let hours = store.trend(agent, day, Dimension::All, Step::Hour).await?;
                hours.first().map_or(day.from, |hour| hour.start)
            }
        };
        let all = store.top(agent, period, previous, Dimension::All, 0).await?;
        let (counts, before) = all.first().map(|all| (all.counts, all.previous)).unwrap_or_default();
        let base = days.iter().filter(|point| point.start >= baseline.from && point.start < baseline.to);
        let base = base.fold(Counts::default(), |mut sum, point| {
            sum.add(point.counts);
            sum
        });

        let elapsed = Period { to: period.to.min(ask.now).max(Timestamp(period.from.0 + 1)), ..period };
        let rate = |counts: Counts, of: Period| {
            let of = Period { from: of.from.max(known_from), ..of };
            (of.from < of.to).then(|| per_day(counts, of))
        };
        let now = per_day(counts, elapsed);
        let (previous_per_day, baseline_per_day) = (rate(before, previous), rate(base, baseline));
        let totals = Totals {
            counts,
            findings_per_day: now,
            previous: before,
            previous_per_day,
            outlook: Outlook::of(now, previous_per_day),
            baseline_per_day,
            baseline_outlook: Outlook::of(now, baseline_per_day),
        };

        let ranked = async |dimension: Dimension, limit: u32| -> Result<Vec<Ranked>, StoreError> {
            let top = store.top(agent, period, previous, dimension, limit).await?;
            let outlook = |top: &Top| Outlook::of(per_day(top.counts, elapsed), rate(top.previous, previous));
            Ok(top.into_iter().map(|top| Ranked { outlook: outlook(&top), top }).collect())
        };
        let mut severities = ranked(Dimension::Severity, SEVERITIES.len() as u32).await?;
        severities.sort_by_key(|ranked| std::cmp::Reverse(SEVERITIES.iter().position(|one| *one == ranked.top.key)));
        let is_there =
            |name: &&&str| severities.iter().any(|ranked| ranked.top.key == **name && ranked.top.counts.findings > 0);
        let earlier = store.tiers(agent, previous).await?;
        let tier = |spent: Spent| {
            let same = |other: &&Spent| other.service == spent.service && other.model == spent.model;
            let previous = earlier.iter().find(same).cloned();
            Tier { mean_millis: spent.millis as f64 / spent.calls.max(1) as f64, previous, spent }
        };
        Ok(Report {
            period,
            previous,
            baseline,
            threat_level: SEVERITIES.iter().rev().find(is_there).copied(),
            totals,
            step,
            trend: filled(period, step, &store.trend(agent, period, Dimension::All, step).await?),
            categories: ranked(Dimension::Category, ask.top).await?,
            decided_by: ranked(Dimension::DecidedBy, ask.top).await?,
            clients: ranked(Dimension::Client, ask.top).await?,
            networks: ranked(Dimension::Network, ask.top).await?,
            paths: ranked(Dimension::Path, ask.top).await?,
            rules: ranked(Dimension::Rule, ask.top).await?,
            effect: store.effect(agent, period, ask.now).await?,
            previous_effect: store.effect(agent, previous, ask.now).await?,
            tiers: store.tiers(agent, period).await?.into_iter().map(tier).collect(),
            severities,
        })
    }

    /// Nothing was recorded, now or before.
    pub fn is_empty(&self) -> bool {
        let Totals { counts, previous_per_day, baseline_per_day, .. } = &self.totals;
        *counts == Counts::default()
            && previous_per_day.or(*baseline_per_day).is_none()
            && self.effect == Effect::default()
            && self.tiers.is_empty()
    }
}

struct Spans {
    period: Period,
    previous: Period,
    baseline: Period,
    step: Step,
}

/// Whole hours as long as hours are kept of everything in the period and the one before, else whole days, so
/// that all counts are of the same time.
fn spans(ask: &Ask) -> Spans {
    let Period { from, to } = ask.period;
    let hours_from = Step::Day.floor(Timestamp(ask.now.0.saturating_sub(HOURS_KEPT * Step::Hour.millis())));
    let align = |unit: Step| {
        let from = unit.floor(from);
        // Today has hours alone.
        let to = if to >= hours_from { Step::Hour.ceil(to) } else { unit.ceil(to) };
        let length = unit.ceil(Timestamp(to.0.saturating_sub(from.0))).0;
        (Period { from, to }, Period { from: Timestamp(from.0.saturating_sub(length)), to: from })
    };
    let (period, previous) = match align(Step::Hour) {
        of_hours if of_hours.1.from >= hours_from => of_hours,
        _ => align(Step::Day),
    };
    let until = Step::Day.floor(period.from);
    let baseline = Period { from: Timestamp(until.0.saturating_sub(BASELINE_DAYS * Step::Day.millis())), to: until };
    let hours = period.to.0.saturating_sub(period.from.0) / Step::Hour.millis();
    let step = ask.step.unwrap_or(if hours <= MAX_HOURS { Step::Hour } else { Step::Day });
    Spans { period, previous, baseline, step }
}

fn per_day(counts: Counts, period: Period) -> f64 {
    let length = period.to.0.saturating_sub(period.from.0).max(1);
    counts.findings as f64 * Step::Day.millis() as f64 / length as f64
}

/// Every step of `period`, with the counts that there are.
fn filled(period: Period, step: Step, points: &[Point]) -> Vec<Moment> {
    let (first, millis) = (step.floor(period.from).0, step.millis());
    let steps = step.ceil(period.to).0.saturating_sub(first) / millis;
    let mut points = points.iter().peekable();
    let mut trend = vec![];
    for number in 0..steps.min(MAX_STEPS + 1) {
        let start = Timestamp(first + number * millis);
        while points.next_if(|point| point.start < start).is_some() {}
        let counts = points.next_if(|point| point.start == start).map(|point| point.counts).unwrap_or_default();
        trend.push(Moment { start, counts });
    }
    trend
}
