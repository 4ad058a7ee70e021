//! What happened: lists of the past and a period in figures, of whichever store is asked.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Answer, MAX_ROWS, ROWS, decision, network};
use super::{Backend, Problem};
use crate::event::{Action, Category, ClientKey, DecidedBy, DecisionState, Timestamp};
use crate::record::{Ask, Dimension, FindingFilter, History, Past, PastFilter, Period, Report, Step};

/// Which findings or decisions of the past: see `palisade history`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryQuery {
    pub since: Option<String>,
    pub until: Option<String>,
    pub agent: Option<String>,
    /// An address or a network.
    pub client: Option<String>,
    /// Decisions instead of findings.
    pub decisions: bool,
    pub category: Option<String>,
    pub rule: Option<String>,
    pub action: Option<String>,
    pub decided_by: Option<String>,
    pub case: Option<String>,
    pub contains: Option<String>,
    pub min_score: u8,
    /// With what was analysed and is no finding.
    pub analysed: bool,
    /// Of decisions.
    pub state: Option<String>,
    pub limit: Option<u32>,
}

/// Which figures: see `palisade stats`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatsQuery {
    pub since: Option<String>,
    pub until: Option<String>,
    pub agent: Option<String>,
    pub by: Option<Step>,
    /// Keys of each list.
    pub top: Option<u32>,
}

/// Keys of a list of figures unless asked for more or fewer, ...
const TOP: u32 = 10;
/// ... and at most.
const MAX_TOP: u32 = 1000;

pub(super) async fn past(State(backend): State<Backend>, Query(query): Query<HistoryQuery>) -> Answer {
    let kept = |network| backend.store.as_kept(network);
    let rows = history(&*backend.store, &query, Timestamp::now(), backend.v6_prefix, &kept).await?;
    Ok(Json(rows.into()))
}

pub(super) async fn report(State(backend): State<Backend>, Query(query): Query<StatsQuery>) -> Answer {
    Ok(Json(json!(stats(&*backend.store, &query, Timestamp::now()).await?)))
}

/// What came from one country.
#[derive(Serialize, JsonSchema)]
pub(super) struct InCountry {
    /// Two capital letters.
    country: String,
    clients: u64,
    findings: i64,
}

/// Of the clients with the most findings, as far as a database of countries knows them: the most findings first.
pub(super) async fn countries(
    State(backend): State<Backend>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<Vec<InCountry>>, Problem> {
    let top = query.top.unwrap_or(TOP) as usize;
    let ask = Ask { top: MAX_TOP, ..asked(&query, Timestamp::now())? };
    let mut countries: HashMap<String, InCountry> = HashMap::new();
    for one in ask.top(&*backend.store, Dimension::Client).await? {
        let address = network(&one.key).map(|client| client.addr());
        let Some(country) = address.ok().and_then(|address| (backend.country)(address)) else { continue };
        let sum = countries.entry(country.clone()).or_insert(InCountry { country, clients: 0, findings: 0 });
        sum.clients += 1;
        sum.findings += one.counts.findings;
    }
    let mut countries: Vec<InCountry> = countries.into_values().collect();
    countries.sort_by(|a, b| (b.findings, &a.country).cmp(&(a.findings, &b.country)));
    countries.truncate(top);
    Ok(Json(countries))
}

/// The newest findings, or decisions, that `query` asks for. An IPv6 address stands for the client that it
/// belongs to, a network of `v6_prefix`; `kept` says how a client is called in what is kept.
///
/// # Errors
/// The query makes no sense, or the store's.
pub async fn history(
    store: &dyn History,
    query: &HistoryQuery,
    now: Timestamp,
    v6_prefix: u8,
    kept: &(dyn Fn(IpNet) -> IpNet + Sync),
) -> Result<Vec<Value>, Problem> {
    let period = Period::parse(query.since.as_deref(), query.until.as_deref(), now).map_err(Problem::Invalid)?;
    let mut clients = vec![];
    if let Some(text) = &query.client {
        let client = client(text, v6_prefix)?;
        clients.push(client);
        // A live ban, and what was kept while nobody had a pseudonym, has the address itself.
        clients.extend(Some(kept(client)).filter(|kept| *kept != client));
    }
    let limit = query.limit.unwrap_or(ROWS).min(MAX_ROWS);
    let agent = query.agent.clone();
    if query.decisions {
        use DecisionState::*;
        let states = [Pending, Active, Held, Expired, Lifted, Refused].map(DecisionState::as_str);
        known(query.state.as_deref(), "state of a decision", &states)?;
        let state = query.state.as_deref().and_then(DecisionState::parse);
        let filter = PastFilter { agent, period, targets: clients, state, limit };
        return Ok(store.past_decisions(&filter).await?.iter().map(past_decision).collect());
    }
    let categories: Vec<&str> = Category::ALL.iter().map(|category| category.as_str()).collect();
    let actions = [Action::None, Action::Monitor, Action::Block].map(Action::as_str);
    let deciders = [DecidedBy::Rules, DecidedBy::Cache, DecidedBy::Tier1, DecidedBy::Tier2, DecidedBy::Operator];
    known(query.category.as_deref(), "category", &categories)?;
    known(query.action.as_deref(), "action", &actions)?;
    known(query.decided_by.as_deref(), "decider", &deciders.map(DecidedBy::as_str))?;
    if query.state.is_some() {
        return Err(Problem::Invalid("only decisions have a state: ask for decisions".into()));
    }
    let filter = FindingFilter {
        agent,
        period,
        clients,
        category: query.category.clone(),
        rule: query.rule.clone(),
        action: query.action.clone(),
        decided_by: query.decided_by.clone(),
        case_id: query.case.clone(),
        contains: query.contains.clone(),
        min_score: query.min_score,
        analysed: query.analysed,
        limit,
    };
    Ok(store.past_findings(&filter).await?.iter().map(|finding| json!(finding)).collect())
}

/// The figures that `query` asks for.
///
/// # Errors
/// The query makes no sense, or the store's.
pub async fn stats(store: &dyn History, query: &StatsQuery, now: Timestamp) -> Result<Report, Problem> {
    Ok(Report::of(store, &asked(query, now)?).await?)
}

/// What `query` asks for.
pub(super) fn asked(query: &StatsQuery, now: Timestamp) -> Result<Ask, Problem> {
    let period = Period::parse(query.since.as_deref(), query.until.as_deref(), now).map_err(Problem::Invalid)?;
    let (agent, top) = (query.agent.clone(), query.top.unwrap_or(TOP).min(MAX_TOP));
    let ask = Ask { agent, period, step: query.by, top, now };
    ask.check().map_err(Problem::Invalid)?;
    Ok(ask)
}

pub(super) fn past_decision(past: &Past) -> Value {
    let mut row = decision(&past.decision);
    row["agent"] = json!(past.agent);
    row["changes"] = json!(past.changes);
    row
}

/// A network as it is, an address as its client.
fn client(text: &str, v6_prefix: u8) -> Result<IpNet, Problem> {
    let network = network(text)?;
    let is_address = network.prefix_len() == network.max_prefix_len();
    Ok(if is_address { ClientKey::of(network.addr(), v6_prefix).network() } else { network })
}

fn known(name: Option<&str>, what: &str, names: &[&str]) -> Result<(), Problem> {
    match name {
        Some(name) if !names.contains(&name) => {
            Err(Problem::Invalid(format!("{name:?} is no {what}; there are {}", names.join(", "))))
        }
        _ => Ok(()),
    }
}
