use std::net::IpAddr;

use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Backend, Command, Problem, Request};
use crate::event::{Action, Category, ClientKey, Decision, DecisionState, Timestamp, VerdictClass, shown};
use crate::record::{AllowEntry, DecisionFilter};

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
pub fn service(backend: Backend) -> IntoMakeServiceWithConnectInfo<Router, super::tunes::Peer> {
    router(backend).into_make_service_with_connect_info()
}

fn router(backend: Backend) -> Router {
    Router::new()
        .route("/api/v1/ping", get(async |State(backend): State<Backend>| tell(&backend, Command::Ping).await))
        .route("/api/v1/status", get(status))
        .route("/api/v1/decisions", get(decisions).post(ban).delete(unban_all))
        .route("/api/v1/decisions/import", axum::routing::post(import).layer(DefaultBodyLimit::max(MAX_IMPORT_BYTES)))
        .route("/api/v1/decisions/{*target}", axum::routing::delete(unban))
        .route("/api/v1/why/{*what}", get(why))
        .route("/api/v1/mode", axum::routing::post(mode))
        .route("/api/v1/release", axum::routing::post(release))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/history", get(super::history::past))
        .route("/api/v1/stats", get(super::history::report))
        .route("/api/v1/findings/{id}/verdict", axum::routing::post(verdict))
        .route("/api/v1/ledger", get(ledger))
        .route("/api/v1/corrections", get(corrections))
        .route("/api/v1/verdicts", axum::routing::delete(forget_verdicts))
        .route("/api/v1/clients/{address}", get(client))
        .route("/api/v1/allow", get(allow_list).post(allow))
        .route("/api/v1/allow/{*network}", axum::routing::delete(disallow))
        .route("/api/v1/changes", get(changes))
        .route("/api/v1/forget", axum::routing::post(forget))
        .merge(super::analyze::router())
        .merge(super::tunes::router())
        .merge(super::crowdsec::keys::router())
        .merge(super::metrics::routes())
        .fallback(async || Problem::NotFound("no such path; the API is under /api/v1".into()))
        .with_state(backend)
}

pub(super) type Answer = Result<Json<Value>, Problem>;

async fn tell(backend: &Backend, command: Command) -> Answer {
    let stopping = || Problem::Failed("the daemon is stopping".into());
    let (reply, answer) = oneshot::channel();
    backend.commands.send(Request { command, reply }).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?.map(Json)
}

/// What the decider knows, and what works beside it.
async fn status(State(backend): State<Backend>) -> Answer {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    state: Option<String>,
    target: Option<String>,
    limit: Option<u32>,
}

/// The newest decisions first; `state=active` for bans in force.
async fn decisions(State(backend): State<Backend>, Query(query): Query<ListQuery>) -> Answer {
    let state = match query.state.as_deref() {
        None => None,
        Some(name) => Some(
            DecisionState::parse(name)
                .ok_or_else(|| Problem::Invalid(format!("{name:?} is no state of a decision")))?,
        ),
    };
    let target = query.target.as_deref().map(network).transpose()?;
    let filter = DecisionFilter { state, target };
    let rows = backend.store.decisions(filter, rows(query.limit)).await?;
    Ok(Json(rows.iter().map(decision).collect()))
}

/// A decision with all that led to it. `what` is its id, or an address or network: then the newest of its
/// decisions.
async fn why(State(backend): State<Backend>, Path(what): Path<String>) -> Answer {
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
    let earlier: Value = earlier.iter().map(decision).collect();
    let mut advice: Vec<&str> = newest.ground.category.map(Category::advice).into_iter().collect();
    if findings.iter().any(|finding| (200..300).contains(&finding.status) && finding.action == Action::Block.as_str()) {
        advice.push("The server answered an attack with success: it may have worked.");
    }
    Ok(Json(json!({
        "decision": decision(newest), "earlier": earlier, "findings": findings, "calls": calls, "advice": advice,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BanRequest {
    target: String,
    duration_secs: Option<u64>,
    /// Until somebody lifts it.
    #[serde(default)]
    permanent: bool,
    #[serde(default)]
    reason: String,
}

async fn ban(State(backend): State<Backend>, Json(request): Json<BanRequest>) -> Answer {
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

async fn release(State(backend): State<Backend>) -> Answer {
    tell(&backend, Command::Release).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportRequest {
    bans: Vec<ImportedBan>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
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

async fn unban(State(backend): State<Backend>, Path(target): Path<String>) -> Answer {
    tell(&backend, Command::Unban { target: Some(network(&target)?) }).await
}

async fn unban_all(State(backend): State<Backend>) -> Answer {
    tell(&backend, Command::Unban { target: None }).await
}

#[derive(Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
enum ModeRequest {
    /// For good is what the configuration file says.
    Enforce {
        for_secs: u64,
    },
    DryRun,
}

/// Enforces for a while, or ends that.
async fn mode(State(backend): State<Backend>, Json(request): Json<ModeRequest>) -> Answer {
    match request {
        ModeRequest::Enforce { for_secs: 0 } => Err(Problem::Invalid("for_secs must be at least 1".into())),
        ModeRequest::Enforce { for_secs: secs } => tell(&backend, Command::TryEnforcing { secs }).await,
        ModeRequest::DryRun => tell(&backend, Command::Mode { enforce: false }).await,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingsQuery {
    client: Option<IpAddr>,
    limit: Option<u32>,
}

async fn findings(State(backend): State<Backend>, Query(query): Query<FindingsQuery>) -> Answer {
    let client = query.client.map(|address| ClientKey::of(address, backend.v6_prefix));
    Ok(Json(json!(backend.store.findings(client, rows(query.limit)).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerdictRequest {
    verdict: String,
}

async fn verdict(
    State(backend): State<Backend>,
    Path(finding_id): Path<String>,
    Json(request): Json<VerdictRequest>,
) -> Answer {
    let class = VerdictClass::parse(&request.verdict).filter(|class| *class != VerdictClass::Uncertain);
    let class = class.ok_or_else(|| Problem::Invalid("a verdict is \"benign\" or \"malicious\"".into()))?;
    tell(&backend, Command::Verdict { finding_id, class }).await
}

/// What operators said of findings, with what models were shown of them.
async fn corrections(State(backend): State<Backend>) -> Answer {
    Ok(Json(json!(backend.store.corrections().await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgetRequest {
    network: String,
}

async fn forget(State(backend): State<Backend>, Json(request): Json<ForgetRequest>) -> Answer {
    tell(&backend, Command::Forget { network: network(&request.network)? }).await
}

async fn forget_verdicts(State(backend): State<Backend>) -> Answer {
    tell(&backend, Command::ForgetVerdicts).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerQuery {
    limit: Option<u32>,
}

/// What models and reputation services were asked and cost: all that is kept, and the newest calls.
async fn ledger(State(backend): State<Backend>, Query(query): Query<LedgerQuery>) -> Answer {
    let spent = backend.store.spent(Timestamp(0)).await?;
    let calls = backend.store.model_calls(rows(query.limit)).await?;
    Ok(Json(json!({ "services": spent, "calls": calls })))
}

async fn client(State(backend): State<Backend>, Path(address): Path<String>) -> Answer {
    let address = address.parse().map_err(|_| Problem::Invalid(format!("{address:?} is no IP address")))?;
    tell(&backend, Command::Client { address }).await
}

async fn allow_list(State(backend): State<Backend>) -> Answer {
    let entry = |entry: &AllowEntry| json!({ "network": shown(entry.network), "note": entry.note, "created_at": entry.created_at });
    Ok(Json(backend.store.allow_list().await?.iter().map(entry).collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowRequest {
    network: String,
    #[serde(default)]
    note: String,
}

async fn allow(State(backend): State<Backend>, Json(request): Json<AllowRequest>) -> Answer {
    tell(&backend, Command::Allow { network: network(&request.network)?, note: request.note }).await
}

async fn disallow(State(backend): State<Backend>, Path(text): Path<String>) -> Answer {
    tell(&backend, Command::Disallow { network: network(&text)? }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesQuery {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// What was recorded after a cursor, oldest first.
async fn changes(State(backend): State<Backend>, Query(query): Query<ChangesQuery>) -> Answer {
    Ok(Json(json!(backend.store.changes(query.after, rows(query.limit)).await?)))
}

/// A decision as the API shows it.
pub fn decision(decision: &Decision) -> Value {
    json!({
        "id": decision.id,
        "target": shown(decision.target),
        "state": decision.state,
        "simulated": decision.simulated,
        "proposer": decision.proposer,
        "category": decision.ground.category,
        "score": decision.ground.score,
        "reason": decision.ground.reason,
        "finding_id": decision.ground.finding_id,
        "created_at": decision.created_at,
        "expires_at": decision.expires_at,
        "permanent": decision.is_permanent(),
        "offences": decision.offences,
        "note": decision.note,
        "origin": decision.origin,
    })
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = match &self {
            Problem::Invalid(_) => StatusCode::BAD_REQUEST,
            Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::Refused(_) => StatusCode::CONFLICT,
            Problem::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({ "status": code.as_u16(), "title": code.canonical_reason(), "detail": self.to_string() });
        (code, [("content-type", "application/problem+json")], body.to_string()).into_response()
    }
}
