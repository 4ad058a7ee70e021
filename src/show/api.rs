use std::net::IpAddr;

use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::Uri;
use axum::response::Response;
use axum::routing::MethodRouter;
use axum::{Json, Router};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::http::part;
use super::{Backend, Command, Problem, Request};
use crate::event::{
    Action, Category, ClientKey, Decision, DecisionState, ModelCall, Proposer, Timestamp, VerdictClass, shown,
};
use crate::record::{AllowEntry, DecisionFilter, FindingRow, Spent};

/// Rows that a list gives unless asked for more or fewer.
pub(super) const ROWS: u32 = 100;
/// Rows that a list gives at most.
pub(super) const MAX_ROWS: u32 = 100_000;

/// Bans of one import at most.
pub const MAX_IMPORT: usize = 100_000;
/// The bytes that say them.
const MAX_IMPORT_BYTES: usize = 16 << 20;
const MAX_REASON_BYTES: usize = 500;

/// The API, to be served on a Unix socket.
pub fn service(backend: Backend) -> IntoMakeServiceWithConnectInfo<Router, super::access::Peer> {
    super::endpoints::on_socket(backend).into_make_service_with_connect_info()
}

pub(super) async fn ping(State(backend): State<Backend>) -> Answer {
    tell(&backend, Command::Ping).await
}

/// Takes more than other requests may bring.
pub(super) fn import_route() -> MethodRouter<Backend> {
    axum::routing::post(import).layer(DefaultBodyLimit::max(MAX_IMPORT_BYTES))
}

pub(super) type Answer = Result<Json<Value>, Problem>;

async fn tell(backend: &Backend, command: Command) -> Answer {
    let stopping = || Problem::Failed("the daemon is stopping".into());
    let (reply, answer) = oneshot::channel();
    backend.commands.send(Request { command, reply }).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?.map(Json)
}

/// What the decider knows, and what works beside it.
pub(super) async fn status(State(backend): State<Backend>) -> Answer {
    status_now(&backend).await.map(Json)
}

pub(super) async fn status_now(backend: &Backend) -> Result<Value, Problem> {
    let Json(mut status) = tell(backend, Command::Status).await?;
    let services = backend.services.borrow().clone();
    let problems = services.values().filter_map(|service| service.problem.as_deref());
    if let Some(known) = status["problems"].as_array_mut() {
        known.extend(problems.map(Value::from));
        status["healthy"] = json!(known.is_empty());
    }
    status["services"] = json!(services);
    Ok(status)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// `active` for bans in force.
    state: Option<String>,
    target: Option<String>,
    /// What was decided before the decision of this id.
    before: Option<String>,
    limit: Option<u32>,
}

/// The newest decisions first.
pub(super) async fn decisions(
    State(backend): State<Backend>,
    uri: Uri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let state = match query.state.as_deref() {
        None => None,
        Some(name) => Some(
            DecisionState::parse(name)
                .ok_or_else(|| Problem::Invalid(format!("{name:?} is no state of a decision")))?,
        ),
    };
    let target = query.target.as_deref().map(network).transpose()?;
    let (filter, limit) = (DecisionFilter { state, target }, rows(query.limit));
    let rows = backend.store.decisions_before(query.before.as_deref(), filter, limit).await?;
    let rows: Vec<DecisionRow> = rows.iter().map(row).collect();
    Ok(part(&uri, &rows, limit, "before", |row| row.id.clone()))
}

/// A decision with all that led to it. `what` is its id, or an address or network: then the newest of its
/// decisions.
pub(super) async fn why(State(backend): State<Backend>, Path(what): Path<String>) -> Result<Json<Why>, Problem> {
    let store = &backend.store;
    let found = match network(&what) {
        Ok(target) => {
            let client = ClientKey::of(target.addr(), backend.v6_prefix).network();
            let mut found = vec![];
            for target in [target, client, store.as_kept(target), store.as_kept(client)] {
                found = store.decisions(DecisionFilter { state: None, target: Some(target) }, ROWS).await?;
                if !found.is_empty() {
                    break;
                }
            }
            found
        }
        Err(_) => store.decision(&what).await?.into_iter().collect(),
    };
    let Some((newest, earlier)) = found.split_first() else {
        return Err(Problem::NotFound(format!("nothing was ever decided about {what:?}")));
    };
    let client = ClientKey::of(newest.target.addr(), backend.v6_prefix);
    let mut findings = store.findings(Some(client), ROWS).await?;
    // What came later is not why.
    findings.retain(|finding| finding.recorded_at <= newest.created_at);
    let ids: Vec<&str> = findings.iter().map(|finding| &*finding.id).collect();
    let calls = store.calls_of(&ids).await?;
    let mut advice: Vec<&'static str> = newest.ground.category.map(Category::advice).into_iter().collect();
    if findings.iter().any(|finding| (200..300).contains(&finding.status) && finding.action == Action::Block.as_str()) {
        advice.push("The server answered an attack with success: it may have worked.");
    }
    Ok(Json(Why { decision: row(newest), earlier: earlier.iter().map(row).collect(), findings, calls, advice }))
}

/// A decision with all that led to it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Why {
    decision: DecisionRow,
    /// Of the same target.
    earlier: Vec<DecisionRow>,
    findings: Vec<FindingRow>,
    /// What models were asked about them.
    calls: Vec<ModelCall>,
    advice: Vec<&'static str>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BanRequest {
    target: String,
    duration_secs: Option<u64>,
    /// Until somebody lifts it.
    #[serde(default)]
    permanent: bool,
    #[serde(default)]
    reason: String,
}

pub(super) async fn ban(State(backend): State<Backend>, Json(request): Json<BanRequest>) -> Answer {
    let target = network(&request.target)?;
    if request.duration_secs == Some(0) {
        return Err(Problem::Invalid("duration_secs must be at least 1".into()));
    }
    let duration_secs = match (request.duration_secs, request.permanent) {
        (Some(_), true) => return Err(Problem::Invalid("duration_secs and permanent exclude each other".into())),
        (None, true) => Some(Decision::PERMANENT_SECS),
        (secs, false) => secs,
    };
    tell(&backend, Command::Ban { target, duration_secs, reason: request.reason }).await
}

pub(super) async fn release(State(backend): State<Backend>) -> Answer {
    tell(&backend, Command::Release).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportRequest {
    bans: Vec<ImportedBan>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportedBan {
    target: String,
    duration_secs: Option<u64>,
}

async fn import(State(backend): State<Backend>, Json(request): Json<ImportRequest>) -> Answer {
    if request.bans.len() > MAX_IMPORT {
        return Err(Problem::Invalid(format!("one import is {MAX_IMPORT} bans at most")));
    }
    if request.reason.len() > MAX_REASON_BYTES {
        return Err(Problem::Invalid(format!(
            "a reason is {MAX_REASON_BYTES} bytes at most: it is kept with each ban"
        )));
    }
    let bans = request.bans.iter().map(|ban| match ban.duration_secs {
        Some(0) => Err(Problem::Invalid(format!("{}: duration_secs must be at least 1", ban.target))),
        secs => Ok((network(&ban.target)?, secs)),
    });
    let bans = bans.collect::<Result<_, _>>()?;
    tell(&backend, Command::Import { bans, reason: request.reason }).await
}

pub(super) async fn unban(State(backend): State<Backend>, Path(target): Path<String>) -> Answer {
    tell(&backend, Command::Unban { target: Some(network(&target)?) }).await
}

pub(super) async fn unban_all(State(backend): State<Backend>) -> Answer {
    tell(&backend, Command::Unban { target: None }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ModeRequest {
    /// For good is what the configuration file says.
    Enforce {
        for_secs: u64,
    },
    DryRun,
}

/// Enforces for a while, or ends that.
pub(super) async fn mode(State(backend): State<Backend>, Json(request): Json<ModeRequest>) -> Answer {
    match request {
        ModeRequest::Enforce { for_secs: 0 } => Err(Problem::Invalid("for_secs must be at least 1".into())),
        ModeRequest::Enforce { for_secs: secs } => tell(&backend, Command::TryEnforcing { secs }).await,
        ModeRequest::DryRun => tell(&backend, Command::Mode { enforce: false }).await,
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FindingsQuery {
    client: Option<IpAddr>,
    /// What was found before the finding of this id.
    before: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn findings(
    State(backend): State<Backend>,
    uri: Uri,
    Query(query): Query<FindingsQuery>,
) -> Result<Response, Problem> {
    let client = query.client.map(|address| ClientKey::of(address, backend.v6_prefix));
    let limit = rows(query.limit);
    let rows = backend.store.findings_before(query.before.as_deref(), client, limit).await?;
    Ok(part(&uri, &rows, limit, "before", |row| row.id.clone()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerdictRequest {
    verdict: String,
}

pub(super) async fn verdict(
    State(backend): State<Backend>,
    Path(finding_id): Path<String>,
    Json(request): Json<VerdictRequest>,
) -> Answer {
    let class = VerdictClass::parse(&request.verdict).filter(|class| *class != VerdictClass::Uncertain);
    let class = class.ok_or_else(|| Problem::Invalid("a verdict is \"benign\" or \"malicious\"".into()))?;
    tell(&backend, Command::Verdict { finding_id, class }).await
}

/// What operators said of findings, with what models were shown of them.
pub(super) async fn corrections(State(backend): State<Backend>) -> Answer {
    Ok(Json(json!(backend.store.corrections().await?)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForgetRequest {
    network: String,
}

pub(super) async fn forget(State(backend): State<Backend>, Json(request): Json<ForgetRequest>) -> Answer {
    tell(&backend, Command::Forget { network: network(&request.network)? }).await
}

pub(super) async fn forget_verdicts(State(backend): State<Backend>) -> Answer {
    tell(&backend, Command::ForgetVerdicts).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerQuery {
    limit: Option<u32>,
}

/// What models and reputation services were asked and cost: all that is kept, and the newest calls.
pub(super) async fn ledger(
    State(backend): State<Backend>,
    Query(query): Query<LedgerQuery>,
) -> Result<Json<Ledger>, Problem> {
    let services = backend.store.spent(Timestamp(0)).await?;
    let calls = backend.store.model_calls(rows(query.limit)).await?;
    Ok(Json(Ledger { services, calls }))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Ledger {
    services: Vec<Spent>,
    calls: Vec<ModelCall>,
}

pub(super) async fn client(State(backend): State<Backend>, Path(address): Path<String>) -> Answer {
    let address = address.parse().map_err(|_| Problem::Invalid(format!("{address:?} is no IP address")))?;
    tell(&backend, Command::Client { address }).await
}

pub(super) async fn allow_list(State(backend): State<Backend>) -> Result<Json<Vec<Allowed>>, Problem> {
    let allowed = |AllowEntry { network, note, created_at }| Allowed { network: shown(network), note, created_at };
    Ok(Json(backend.store.allow_list().await?.into_iter().map(allowed).collect()))
}

/// A network that is never blocked.
#[derive(Serialize, JsonSchema)]
pub(super) struct Allowed {
    network: String,
    note: String,
    created_at: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowRequest {
    network: String,
    #[serde(default)]
    note: String,
}

pub(super) async fn allow(State(backend): State<Backend>, Json(request): Json<AllowRequest>) -> Answer {
    tell(&backend, Command::Allow { network: network(&request.network)?, note: request.note }).await
}

pub(super) async fn disallow(State(backend): State<Backend>, Path(text): Path<String>) -> Answer {
    tell(&backend, Command::Disallow { network: network(&text)? }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangesQuery {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// What was recorded after a cursor, oldest first.
pub(super) async fn changes(
    State(backend): State<Backend>,
    uri: Uri,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, Problem> {
    let limit = rows(query.limit);
    let changes = backend.store.changes(query.after, limit).await?;
    Ok(part(&uri, &changes, limit, "after", |change| change.seq.to_string()))
}

/// A decision as the API shows it.
pub fn decision(decision: &Decision) -> Value {
    json!(row(decision))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct DecisionRow {
    id: String,
    /// An address or a network.
    target: String,
    state: DecisionState,
    simulated: bool,
    proposer: Proposer,
    category: Option<Category>,
    score: u8,
    reason: String,
    finding_id: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
    permanent: bool,
    offences: u32,
    note: String,
    /// The agent that decided; empty: this one.
    origin: String,
}

fn row(decision: &Decision) -> DecisionRow {
    let Decision { id, state, simulated, proposer, ground, created_at, expires_at, offences, note, origin, .. } =
        decision.clone();
    DecisionRow {
        target: shown(decision.target),
        permanent: decision.is_permanent(),
        category: ground.category,
        score: ground.score,
        reason: ground.reason,
        finding_id: ground.finding_id,
        id,
        state,
        simulated,
        proposer,
        created_at,
        expires_at,
        offences,
        note,
        origin,
    }
}

fn rows(limit: Option<u32>) -> u32 {
    limit.unwrap_or(ROWS).min(MAX_ROWS)
}

/// An address or a network, canonical.
pub(super) fn network(text: &str) -> Result<IpNet, Problem> {
    let invalid = || Problem::Invalid(format!("{text:?} is neither an IP address nor a network"));
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(crate::event::canonical(address).into()),
        Err(_) => text.parse::<IpNet>().map(|network| network.trunc()).map_err(|_| invalid()),
    }
}
