//! What every store does, and what it answers about the past.

use std::pin::Pin;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rollup::{Counts, Dimension};
use super::{AnalysisSession, DecisionChange, FindingRow, Rows, Spent, StoreError};
use crate::event::{Decision, DecisionState, Timestamp};
use ipnet::IpNet;

/// An answer that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place where findings, decisions and what belongs to them are kept for good.
pub trait Store: Send + Sync {
    /// Takes up `rows` of `agent` in one transaction, and counts them. A row that is there already gives way
    /// to a newer version and is counted once, so sending again is harmless. Gives how many findings are new.
    ///
    /// # Errors
    /// Nothing of `rows` was taken up, or the connection broke and it is not known.
    fn put<'a>(&'a self, agent: &'a str, rows: &'a Rows, now: Timestamp) -> Answer<'a, u64>;

    /// Deletes what is kept of clients in `network`: findings, ended decisions, counts under their keys. Live
    /// decisions stay, for they are in force. Gives the number of rows.
    fn forget(&self, network: IpNet) -> Answer<'_, u64>;

    /// Deletes what is older than its kind is kept, and folds old counts; gives the number of rows.
    fn prune(&self, now: Timestamp) -> Answer<'_, u64>;
}

/// From `from` to before `to`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Period {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Period {
    /// The hours that it touches, whole.
    pub(super) fn hours(self) -> Period {
        Period { from: Step::Hour.floor(self.from), to: Step::Hour.ceil(self.to) }
    }

    /// Where counts of its hours and of its days begin: an end within one counts as the whole.
    pub(super) fn starts(self) -> (Timestamp, Timestamp) {
        (Step::Hour.floor(self.from), Step::Day.floor(self.from))
    }
}

/// The length of a step of a trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Hour,
    Day,
}

impl Step {
    pub fn millis(self) -> i64 {
        match self {
            Step::Hour => 3_600_000,
            Step::Day => 86_400_000,
        }
    }

    /// When the step began that `time` is in, in UTC.
    pub fn floor(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.div_euclid(self.millis()).saturating_mul(self.millis()))
    }

    /// `time` if a step begins then, else when the next one does.
    pub fn ceil(self, time: Timestamp) -> Timestamp {
        let floor = self.floor(time);
        if floor == time { time } else { Timestamp(floor.0.saturating_add(self.millis())) }
    }
}

/// Counts of one key in one step; steps without any are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    pub start: Timestamp,
    pub key: String,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Counts of one key over a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Top {
    /// Empty: all smaller ones together.
    pub key: String,
    #[serde(flatten)]
    pub counts: Counts,
    /// Its counts in the period that it is compared with.
    pub previous: Counts,
}

/// How blocking did in a period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Effect {
    /// Decisions taken, by the state that they are in.
    pub pending: u64,
    pub active: u64,
    pub expired: u64,
    pub lifted: u64,
    pub refused: u64,
    pub held: u64,
    /// Of dry run, among them.
    pub simulated: u64,
    /// Of somebody else's lists, among them.
    pub imported: u64,
    /// Targets that were blocked, or would have been, each once.
    pub targets: u64,
    /// Targets among them that had been blocked before and came back.
    pub returned: u64,
}

impl Effect {
    /// Reads its figures, in order, by their columns.
    ///
    /// # Errors
    /// That of a column.
    pub fn of_columns(column: impl Fn(usize) -> Result<i64, sqlx::Error>) -> Result<Effect, sqlx::Error> {
        let number = |at| column(at).map(i64::cast_unsigned);
        Ok(Effect {
            pending: number(0)?,
            active: number(1)?,
            expired: number(2)?,
            lifted: number(3)?,
            refused: number(4)?,
            held: number(5)?,
            simulated: number(6)?,
            imported: number(7)?,
            targets: number(8)?,
            returned: number(9)?,
        })
    }
}

/// Which findings; the newest first.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    pub agent: Option<String>,
    pub period: Period,
    /// These clients, or all clients in these networks. None: all.
    pub clients: Vec<IpNet>,
    pub category: Option<String>,
    pub rule: Option<String>,
    pub action: Option<String>,
    pub decided_by: Option<String>,
    pub case_id: Option<String>,
    /// Text in the URI.
    pub contains: Option<String>,
    pub min_score: u8,
    /// With what was analysed and is no finding.
    pub analysed: bool,
    pub limit: u32,
}

/// A finding of the past.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastFinding {
    /// Who recorded it. Empty: this host.
    pub agent: String,
    #[serde(flatten)]
    pub finding: FindingRow,
    /// The decision that it led to.
    pub decision_id: Option<String>,
}

/// Which decisions of the past, by when they were taken; the newest first.
#[derive(Clone, Debug, Default)]
pub struct PastFilter {
    pub agent: Option<String>,
    pub period: Period,
    /// These targets, or all targets in these networks. None: all.
    pub targets: Vec<IpNet>,
    pub state: Option<DecisionState>,
    pub limit: u32,
}

/// A decision of the past, and who recorded it.
#[derive(Clone, Debug)]
pub struct Past {
    /// Empty: this host.
    pub agent: String,
    pub decision: Decision,
    pub changes: Vec<DecisionChange>,
}

/// Who was found, over all that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientRow {
    pub client: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub findings: u64,
    pub max_score: u8,
    pub is_blocked: bool,
}

/// Answers about the past, from counts where they are enough. `agent`: of one agent only; a store that has
/// but one agent's rows does not look at it.
pub trait History: Send + Sync {
    /// Counts by `step`, in order of time, then key. Steps begin in UTC. Of dimensions with many keys hours are
    /// known for the last two days only ([`Dimension::is_small`]); `Step::Hour` leaves out what is older.
    fn trend<'a>(
        &'a self,
        agent: Option<&'a str>,
        period: Period,
        dimension: Dimension,
        step: Step,
    ) -> Answer<'a, Vec<Point>>;

    /// The `limit` keys with the most findings in `period`, then all others as one with an empty key, each with
    /// what was counted in `previous`. The ends of periods count as whole hours, or days where only these are
    /// kept.
    fn top<'a>(
        &'a self,
        agent: Option<&'a str>,
        period: Period,
        previous: Period,
        dimension: Dimension,
        limit: u32,
    ) -> Answer<'a, Vec<Top>>;

    /// How blocking did; a ban that is over `now` has expired, also where nobody has noted it yet. What an agent
    /// took over from another one counts only when it alone is asked for.
    fn effect<'a>(&'a self, agent: Option<&'a str>, period: Period, now: Timestamp) -> Answer<'a, Effect>;

    /// What models and reputation services did and cost.
    fn tiers<'a>(&'a self, agent: Option<&'a str>, period: Period) -> Answer<'a, Vec<Spent>>;

    fn past_findings<'a>(&'a self, filter: &'a FindingFilter) -> Answer<'a, Vec<PastFinding>>;

    fn past_decisions<'a>(&'a self, filter: &'a PastFilter) -> Answer<'a, Vec<Past>>;

    /// Those seen last in `period`, the one with the most findings first.
    fn clients<'a>(&'a self, agent: Option<&'a str>, period: Period, limit: u32) -> Answer<'a, Vec<ClientRow>>;

    /// The newest first.
    fn sessions(&self, limit: u32) -> Answer<'_, Vec<AnalysisSession>>;
}

/// What was counted of keys, now and before, the largest first; then the rest of the row without a key, which
/// is the sum of all, as one with an empty key.
pub(super) fn ranked(rows: Vec<(Option<String>, Counts, Counts)>) -> Vec<Top> {
    let (mut largest, mut total) = (vec![], <(Counts, Counts)>::default());
    for (key, counts, previous) in rows {
        match key {
            Some(key) => largest.push(Top { key, counts, previous }),
            None => total = (counts, previous),
        }
    }
    largest.sort_by(|a, b| {
        let size = |top: &Top| std::cmp::Reverse((top.counts.findings, top.counts.analysed));
        size(a).cmp(&size(b)).then_with(|| a.key.cmp(&b.key))
    });
    let (mut counts, mut previous) = total;
    for top in &largest {
        counts.take(top.counts);
        previous.take(top.previous);
    }
    if counts != Counts::default() || previous != Counts::default() {
        largest.push(Top { key: String::new(), counts, previous });
    }
    largest
}

#[cfg(test)]
pub(super) mod tests;
