//! Answers a plan from what a store tells of the past. A store is asked for what it can filter by itself; the rest
//! is looked at here, a page of rows at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use axum::Json;
use axum::extract::{Query, State};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::history::past_decision;
use super::{Backend, Problem};
use crate::ask::{Condition, Field, Moment, Order, Plan, Refusal, Service, Show, Step, Subject, understand, user_of};
use crate::event::{ClientKey, Timestamp, shown};
use crate::record::{FindingFilter, History, Past, PastFilter, PastFinding, Period, SEVERITIES};

/// Rows that are taken from the store at once, and in all.
const PAGE: u32 = 5_000;
const MAX_ROWS: u64 = 1_000_000;
/// Keys and decisions in what is told of one client.
const FEW: usize = 10;

/// What came out.
#[derive(Debug, PartialEq, Serialize)]
pub struct Answered {
    #[serde(flatten)]
    pub answer: Answer,
    /// Findings or decisions that were looked at, and whether there were more.
    pub looked_at: u64,
    pub partial: bool,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// As `history` gives them.
    Rows(Vec<Value>),
    Count(u64),
    Top {
        keys: Vec<Counted>,
        others: u64,
    },
    Trend(Vec<Counted>),
    Client(Box<ClientStory>),
}

/// A key, or the start of a step, and how many there are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counted {
    pub key: String,
    pub count: u64,
}

/// What is recorded of one client in a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientStory {
    pub client: String,
    pub findings: u64,
    pub to_block: u64,
    pub max_score: u8,
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub categories: Vec<Counted>,
    pub rules: Vec<Counted>,
    pub services: Vec<Counted>,
    pub paths: Vec<Counted>,
    pub users: Vec<Counted>,
    /// The newest.
    pub decisions: Vec<Value>,
}

/// How clients are called in a store.
pub struct Clients<'a> {
    /// Length of the IPv6 network that counts as one client.
    pub v6_prefix: u8,
    /// What one is called where it has a pseudonym.
    pub kept: &'a (dyn Fn(IpNet) -> IpNet + Sync),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskQuery {
    q: String,
    /// A name of the IANA database; this host's zone without it.
    zone: Option<String>,
}

pub(super) async fn asked(State(backend): State<Backend>, Query(query): Query<AskQuery>) -> super::api::Answer {
    let zone = match &query.zone {
        None => TimeZone::system(),
        Some(name) => TimeZone::get(name).map_err(|_| Problem::Invalid(format!("{name:?} is no time zone")))?,
    };
    let moment = Moment { now: Timestamp::now(), zone };
    let plan = understand(backend.ask.question(&query.q), &moment).map_err(refused)?.plan;
    let kept = |network| backend.store.as_kept(network);
    let clients = Clients { v6_prefix: backend.v6_prefix, kept: &kept };
    let answered = answer(&*backend.store, &plan, &clients, &moment).await?;
    Ok(Json(told(&query.q, &plan, &moment.zone, Some(&answered))))
}

/// The questions that have a name.
pub(super) async fn saved(State(backend): State<Backend>) -> Json<Value> {
    Json(json!(backend.ask.saved))
}

/// A question, its plan and the answer, for programs.
pub fn told(question: &str, plan: &Plan, zone: &TimeZone, answered: Option<&Answered>) -> Value {
    json!({ "question": question, "plan": plan, "meaning": plan.sentence(zone), "answer": answered })
}

fn refused(refusal: Refusal) -> Problem {
    Problem::Invalid(format!("{}; understood is for example: {}", refusal.why, refusal.nearest.join("; ")))
}

/// What `store` says to `plan`; days begin in the zone of `moment`, and a trend ends with it.
///
/// # Errors
/// Those of the store.
pub async fn answer(
    store: &dyn History,
    plan: &Plan,
    clients: &Clients<'_>,
    moment: &Moment,
) -> Result<Answered, Problem> {
    let plan = &with_kept(plan, clients);
    let mut rows = Rows { store, plan, looked_at: 0, partial: false };
    let answer = match plan.show {
        Show::List => Answer::Rows(list(&mut rows).await?),
        Show::Count => match plan.by {
            Some(field) => Answer::Count(keys(&mut rows, field).await?.len() as u64),
            None => {
                let mut count = 0;
                rows.each(|_| count += 1).await?;
                Answer::Count(count)
            }
        },
        Show::Top => {
            let all = keys(&mut rows, plan.by.unwrap_or(Field::Client)).await?;
            let mut keys = ranked(all);
            keys.retain(|one| plan.more_than.is_none_or(|number| one.count > number));
            let rest = keys.split_off(keys.len().min(limit(plan)));
            Answer::Top { keys, others: rest.iter().map(|one| one.count).sum() }
        }
        Show::Trend => Answer::Trend(trend(&mut rows, moment).await?),
        Show::Client => Answer::Client(Box::new(story(&mut rows).await?)),
    };
    Ok(Answered { answer, looked_at: rows.looked_at, partial: rows.partial })
}

/// `plan` with the names that its clients have in the store: an IPv6 address stands for the network that it is of.
fn with_kept(plan: &Plan, clients: &Clients<'_>) -> Plan {
    let mut plan = plan.clone();
    for condition in plan.only.iter_mut().chain(&mut plan.not) {
        let Condition::Client(networks) = condition else { continue };
        for network in networks.iter_mut().filter(|network| network.prefix_len() == network.max_prefix_len()) {
            *network = ClientKey::of(network.addr(), clients.v6_prefix).network();
        }
        let pseudonyms: Vec<IpNet> = networks.iter().map(|network| (clients.kept)(*network)).collect();
        networks.extend(pseudonyms);
        let mut seen = HashSet::new();
        networks.retain(|network| seen.insert(*network));
    }
    plan
}

fn limit(plan: &Plan) -> usize {
    plan.limit.map_or(usize::MAX, |limit| limit as usize)
}

async fn list(rows: &mut Rows<'_>) -> Result<Vec<Value>, Problem> {
    let (plan, limit) = (rows.plan, limit(rows.plan));
    // What is no longer among the first goes before there is too much of it.
    let mut kept: Vec<Row> = vec![];
    let shrink = |kept: &mut Vec<Row>| {
        match plan.order {
            Order::Oldest => kept.sort_by_key(Row::time),
            Order::Score => kept.sort_by_key(|row| (Reverse(row.score()), Reverse(row.time()))),
            Order::Usual | Order::Most => {}
        }
        kept.truncate(limit);
    };
    rows.until(|row| {
        kept.push(row);
        if kept.len() >= limit.saturating_mul(2) {
            shrink(&mut kept);
        }
        plan.order == Order::Usual && kept.len() >= limit
    })
    .await?;
    shrink(&mut kept);
    Ok(kept.iter().map(Row::json).collect())
}

async fn keys(rows: &mut Rows<'_>, field: Field) -> Result<BTreeMap<String, u64>, Problem> {
    let mut counts = BTreeMap::new();
    rows.each(|row| row.values(field).into_iter().for_each(|key| *counts.entry(key).or_default() += 1)).await?;
    Ok(counts)
}

fn ranked(counts: BTreeMap<String, u64>) -> Vec<Counted> {
    let mut ranked: Vec<Counted> = counts.into_iter().map(|(key, count)| Counted { key, count }).collect();
    ranked.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    ranked
}

/// All steps until now, those without anything too.
async fn trend(rows: &mut Rows<'_>, moment: &Moment) -> Result<Vec<Counted>, Problem> {
    let plan = rows.plan;
    let step = plan.step.unwrap_or(Step::Day);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut first = None;
    rows.each(|row| {
        let time = row.time();
        first = Some(first.map_or(time, |first: Timestamp| first.min(time)));
        *counts.entry(start(time, step, &moment.zone)).or_default() += 1;
    })
    .await?;
    // Before the first record there is nothing to show where "ever" is asked for.
    let from = if plan.from == Timestamp(0) { first.unwrap_or(plan.to) } else { plan.from };
    let mut at = from;
    while at < plan.to.min(moment.now) {
        counts.entry(start(at, step, &moment.zone)).or_default();
        at = Timestamp(at.0 + Step::Hour.millis());
    }
    Ok(if plan.order == Order::Most {
        let mut ranked = ranked(counts);
        ranked.truncate(limit(plan));
        ranked
    } else {
        counts.into_iter().map(|(key, count)| Counted { key, count }).collect()
    })
}

/// When the step began that `time` is in, as people of `zone` say it.
fn start(time: Timestamp, step: Step, zone: &TimeZone) -> String {
    let form = match step {
        Step::Hour => "%Y-%m-%dT%H:00%:z",
        Step::Day => "%Y-%m-%d",
    };
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime(form).to_string(),
        Err(_) => time.to_string(),
    }
}

async fn story(rows: &mut Rows<'_>) -> Result<ClientStory, Problem> {
    let plan = rows.plan;
    let mut story = ClientStory::default();
    const FIELDS: [Field; 5] = [Field::Category, Field::Rule, Field::Service, Field::Path, Field::User];
    let mut counts = FIELDS.map(|_| BTreeMap::<String, u64>::new());
    rows.each(|row| {
        story.findings += 1;
        story.to_block += u64::from(row.values(Field::Action).iter().any(|action| action == "block"));
        story.max_score = story.max_score.max(row.score());
        story.first_seen = Some(row.time());
        story.last_seen = story.last_seen.or(Some(row.time()));
        for (field, counts) in FIELDS.into_iter().zip(&mut counts) {
            row.values(field).into_iter().for_each(|key| *counts.entry(key).or_default() += 1);
        }
    })
    .await?;
    let few = |counts| {
        let mut ranked = ranked(counts);
        ranked.truncate(FEW);
        ranked
    };
    let targets = rows.networks();
    story.client = targets.first().map(|network| shown(*network)).unwrap_or_default();
    [story.categories, story.rules, story.services, story.paths, story.users] = counts.map(few);
    let filter = PastFilter { period: period(plan), targets, limit: FEW as u32, ..PastFilter::default() };
    story.decisions = rows.store.past_decisions(&filter).await?.iter().map(past_decision).collect();
    Ok(story)
}

fn period(plan: &Plan) -> Period {
    Period { from: plan.from, to: plan.to }
}

/// The rows of a store that a plan is about.
struct Rows<'a> {
    store: &'a dyn History,
    plan: &'a Plan,
    looked_at: u64,
    partial: bool,
}

impl Rows<'_> {
    async fn each(&mut self, mut look: impl FnMut(Row)) -> Result<(), Problem> {
        self.until(|row| {
            look(row);
            false
        })
        .await
    }

    /// Shows `look` the rows that fit, the newest first, until it has enough.
    async fn until(&mut self, mut look: impl FnMut(Row) -> bool) -> Result<(), Problem> {
        let mut period = period(self.plan);
        // Those of the last page's last moment, which the next page has again.
        let mut known: HashSet<String> = HashSet::new();
        loop {
            let page = self.page(period).await?;
            let is_last = page.len() < PAGE as usize;
            let Some(end) = page.last().map(Row::time) else { return Ok(()) };
            let mut next = HashSet::new();
            for row in page {
                if row.time() == end {
                    next.insert(row.id());
                }
                if known.contains(&row.id()) {
                    continue;
                }
                self.looked_at += 1;
                if self.fits(&row) && look(row) {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            if self.looked_at >= MAX_ROWS {
                self.partial = true;
                return Ok(());
            }
            // A whole page of one moment: what else there is of it cannot be told apart.
            let is_stuck = next.len() >= PAGE as usize;
            self.partial |= is_stuck;
            period.to = if is_stuck { end } else { Timestamp(end.0 + 1) };
            known = next;
            if period.from >= period.to {
                return Ok(());
            }
        }
    }

    async fn page(&self, period: Period) -> Result<Vec<Row>, Problem> {
        Ok(match self.plan.of {
            Subject::Findings => {
                let mut filter = FindingFilter { period, clients: self.networks(), limit: PAGE, ..Default::default() };
                for condition in &self.plan.only {
                    match condition {
                        Condition::Category(one) if one.len() == 1 => {
                            filter.category = Some(one[0].as_str().to_owned());
                        }
                        Condition::Rule(one) if one.len() == 1 => filter.rule = Some(one[0].clone()),
                        Condition::Action(one) if one.len() == 1 => filter.action = Some(one[0].as_str().to_owned()),
                        Condition::DecidedBy(one) if one.len() == 1 => {
                            filter.decided_by = Some(one[0].as_str().to_owned());
                        }
                        Condition::Score(from, _) => filter.min_score = *from,
                        _ => {}
                    }
                }
                self.store.past_findings(&filter).await?.into_iter().map(|one| Row::Finding(Box::new(one))).collect()
            }
            Subject::Decisions => {
                let filter = PastFilter { period, targets: self.networks(), limit: PAGE, ..PastFilter::default() };
                self.store.past_decisions(&filter).await?.into_iter().map(|one| Row::Decision(Box::new(one))).collect()
            }
        })
    }

    fn networks(&self) -> Vec<IpNet> {
        let of_clients = |condition: &Condition| match condition {
            Condition::Client(networks) => Some(networks.clone()),
            _ => None,
        };
        self.plan.only.iter().find_map(of_clients).unwrap_or_default()
    }

    fn fits(&self, row: &Row) -> bool {
        self.plan.only.iter().all(|condition| row.has(condition))
            && !self.plan.not.iter().any(|condition| row.has(condition))
    }
}

enum Row {
    Finding(Box<PastFinding>),
    Decision(Box<Past>),
}

impl Row {
    fn id(&self) -> String {
        match self {
            Row::Finding(one) => format!("{}/{}", one.agent, one.finding.id),
            Row::Decision(one) => format!("{}/{}", one.agent, one.decision.id),
        }
    }

    fn time(&self) -> Timestamp {
        match self {
            Row::Finding(one) => one.finding.time,
            Row::Decision(one) => one.decision.created_at,
        }
    }

    fn score(&self) -> u8 {
        match self {
            Row::Finding(one) => one.finding.score,
            Row::Decision(one) => one.decision.ground.score,
        }
    }

    fn json(&self) -> Value {
        match self {
            Row::Finding(one) => json!(one),
            Row::Decision(one) => past_decision(one),
        }
    }

    fn network(&self) -> Option<IpNet> {
        match self {
            Row::Finding(one) => {
                let text = one.finding.client.as_deref()?;
                text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<std::net::IpAddr>().ok()?)))
            }
            Row::Decision(one) => Some(one.decision.target),
        }
    }

    /// What it has of a field: nothing, one, or of rules several.
    fn values(&self, field: Field) -> Vec<String> {
        let one = |text: &str| Vec::from_iter((!text.is_empty()).then(|| text.to_owned()));
        match (field, self) {
            (Field::Client, _) => self.network().map(shown).into_iter().collect(),
            (Field::Network, _) => {
                self.network().and_then(wider).map(|network| network.to_string()).into_iter().collect()
            }
            (Field::Severity, _) => {
                vec![SEVERITIES[usize::from(self.score().clamp(1, 10) - 1) / 2].to_owned()]
            }
            (_, Row::Finding(past)) => {
                let finding = &past.finding;
                match field {
                    Field::Category => one(&finding.category),
                    Field::Service => self.service().map(|service| service.as_str().to_owned()).into_iter().collect(),
                    Field::Path => one(self.path().unwrap_or_default()),
                    Field::Rule => finding.rule_ids.clone(),
                    Field::User => one(user_of(&finding.method, &finding.uri).unwrap_or_default()),
                    Field::Action => one(&finding.action),
                    Field::Status if finding.status > 0 => vec![finding.status.to_string()],
                    Field::Method => one(&finding.method),
                    Field::UserAgent => one(&finding.user_agent),
                    Field::DecidedBy => one(&finding.decided_by),
                    _ => vec![],
                }
            }
            (Field::Category, Row::Decision(past)) => {
                past.decision.ground.category.map(|category| category.as_str().to_owned()).into_iter().collect()
            }
            (Field::State, Row::Decision(past)) => one(past.decision.state.as_str()),
            (Field::Proposer, Row::Decision(past)) => one(past.decision.proposer.as_str()),
            (_, Row::Decision(_)) => vec![],
        }
    }

    fn service(&self) -> Option<Service> {
        let Row::Finding(past) = self else { return None };
        Service::of(&past.finding.method, &past.finding.uri, &past.finding.rule_ids)
    }

    /// Of a request.
    fn path(&self) -> Option<&str> {
        let Row::Finding(past) = self else { return None };
        let finding = &past.finding;
        finding.uri.split('?').next().filter(|_| !finding.method.is_empty())
    }

    fn has(&self, condition: &Condition) -> bool {
        let has = |field: Field, names: Vec<&str>| self.values(field).iter().any(|value| names.contains(&&**value));
        let text = |names: &[String], field: Field| has(field, names.iter().map(|one| &**one).collect());
        match condition {
            Condition::Category(names) => has(Field::Category, names.iter().map(|one| one.as_str()).collect()),
            Condition::Client(networks) => {
                self.network().is_some_and(|own| networks.iter().any(|network| network.contains(&own)))
            }
            Condition::Service(names) => self.service().is_some_and(|service| names.contains(&service)),
            Condition::Path(names) => {
                self.path().is_some_and(|path| names.iter().any(|name| path.starts_with(name.as_str())))
            }
            Condition::Rule(names) => text(names, Field::Rule),
            Condition::User(names) => text(names, Field::User),
            Condition::Action(names) => has(Field::Action, names.iter().map(|one| one.as_str()).collect()),
            Condition::Score(from, to) => (*from..=*to).contains(&self.score()),
            Condition::Status(names) => self.status().is_some_and(|own| names.iter().any(|one| one.contains(own))),
            Condition::Method(names) => text(names, Field::Method),
            Condition::UserAgent(names) => self.values(Field::UserAgent).iter().any(|own| holds(own, names)),
            Condition::Contains(names) => {
                matches!(self, Row::Finding(past) if holds(&past.finding.uri, names))
            }
            Condition::DecidedBy(names) => has(Field::DecidedBy, names.iter().map(|one| one.as_str()).collect()),
            Condition::State(names) => has(Field::State, names.iter().map(|one| one.as_str()).collect()),
            Condition::Proposer(names) => has(Field::Proposer, names.iter().map(|one| one.as_str()).collect()),
            Condition::Simulated(wanted) => matches!(self, Row::Decision(past) if past.decision.simulated == *wanted),
        }
    }

    fn status(&self) -> Option<u16> {
        match self {
            Row::Finding(past) => Some(past.finding.status).filter(|status| *status > 0),
            Row::Decision(_) => None,
        }
    }
}

/// Case does not matter.
fn holds(text: &str, names: &[String]) -> bool {
    let text = text.to_lowercase();
    names.iter().any(|name| text.contains(&name.to_lowercase()))
}

/// The /24 or /48 around a client, as counts have it.
fn wider(client: IpNet) -> Option<IpNet> {
    let prefix = if client.addr().is_ipv4() { 24 } else { 48 };
    IpNet::new(client.addr(), prefix.min(client.prefix_len())).ok().map(|network| network.trunc())
}
