//! What every store does, and what it answers about the past.

use std::pin::Pin;

use serde::Serialize;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Period {
    /// As long a time, just before.
    pub fn before(self) -> Period {
        Period { from: Timestamp(2 * self.from.0 - self.to.0), to: self.from }
    }
}

/// The length of a step of a trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Hour,
    Day,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Top {
    /// Empty: all smaller ones together.
    pub key: String,
    #[serde(flatten)]
    pub counts: Counts,
}

/// How blocking did in a period.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Effect {
    /// Decisions taken, by the state that they have now.
    pub pending: u64,
    pub active: u64,
    pub expired: u64,
    pub lifted: u64,
    pub refused: u64,
    pub held: u64,
    /// Of dry run, among them.
    pub simulated: u64,
    /// Targets that were blocked, each once.
    pub targets: u64,
    /// Targets that came back after a block and were blocked again.
    pub returned: u64,
}

/// Which findings; the newest first.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    pub agent: Option<String>,
    pub period: Option<Period>,
    /// The client, or all clients in this network.
    pub client: Option<IpNet>,
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

/// Which decisions of the past; the newest first.
#[derive(Clone, Debug, Default)]
pub struct PastFilter {
    pub agent: Option<String>,
    pub period: Option<Period>,
    pub target: Option<IpNet>,
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
pub trait History: Store {
    /// Counts by `step`, in order of time, then key. Steps begin in UTC; `Step::Hour` is answered for
    /// dimensions with few keys only ([`Dimension::is_small`]) beyond the last two days.
    fn trend<'a>(
        &'a self,
        agent: Option<&'a str>,
        period: Period,
        dimension: Dimension,
        step: Step,
    ) -> Answer<'a, Vec<Point>>;

    /// The keys with the most findings in `period`, whose ends count as whole hours, or days where only these
    /// are kept.
    fn top<'a>(
        &'a self,
        agent: Option<&'a str>,
        period: Period,
        dimension: Dimension,
        limit: u32,
    ) -> Answer<'a, Vec<Top>>;

    /// How blocking did.
    fn effect<'a>(&'a self, agent: Option<&'a str>, period: Period) -> Answer<'a, Effect>;

    /// What models and reputation services did and cost.
    fn tiers<'a>(&'a self, agent: Option<&'a str>, period: Period) -> Answer<'a, Vec<Spent>>;

    fn past_findings<'a>(&'a self, filter: &'a FindingFilter) -> Answer<'a, Vec<FindingRow>>;

    fn past_decisions<'a>(&'a self, filter: &'a PastFilter) -> Answer<'a, Vec<Past>>;

    /// Those seen last in `period`, the one with the most findings first.
    fn clients<'a>(&'a self, agent: Option<&'a str>, period: Period, limit: u32) -> Answer<'a, Vec<ClientRow>>;

    fn sessions(&self, limit: u32) -> Answer<'_, Vec<AnalysisSession>>;
}
