//! A log on demand: `POST /api/v1/analyze` gives its analysis, `/api/v1/analyze/stream` the same with how far it
//! is, as server-sent events. One at a time: who comes meanwhile waits, and his log is not read before.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::access::Caller;
use super::api::Answer;
use super::{Backend, Problem};
use crate::event::Role;
use crate::event::analysis::Analysis;
use crate::record::{AnalysisSession, OwnedSession, Sharing};
use crate::report::{self, Format};

/// Analyses that a list gives.
const LISTED: u32 = 100;
/// An analysis with its compressed text, as a client sends it back.
const MAX_ANALYSIS_BYTES: usize = 64 << 20;
/// Words on how far it is that wait to be read.
const EVENTS: usize = 16;

/// How a log is to be looked at, in the query string.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalysisQuery {
    /// `low`, `medium` or `high`.
    pub sensitivity: Option<String>,
    pub format: Option<String>,
    /// What the log is called in the answer.
    pub name: Option<String>,
    /// The tier whose model tells it in words.
    pub model: Option<String>,
    /// A sample instead of the body.
    pub sample: Option<String>,
    /// Ask reputation services about public addresses of threats.
    #[serde(default)]
    pub reputation: bool,
    /// Keep what came of it, none of the text.
    #[serde(default)]
    pub keep: bool,
}

/// A log on its way, and where word on it goes.
pub struct AnalysisRequest {
    pub query: AnalysisQuery,
    /// Whose it is, if it is kept.
    pub owner: String,
    pub log: Bytes,
    pub events: mpsc::Sender<AnalysisEvent>,
    /// Given back when it is done.
    pub turn: OwnedSemaphorePermit,
}

/// Word on an analysis.
pub enum AnalysisEvent {
    Progress(Value),
    Done(Result<Box<Analysis>, Problem>),
}

/// Where logs are analysed.
#[derive(Clone)]
pub struct Analyst {
    requests: mpsc::Sender<AnalysisRequest>,
    turns: Arc<Semaphore>,
    max_bytes: usize,
}

impl Analyst {
    /// One who takes logs of at most `max_bytes` and hands them to whoever receives.
    pub fn new(max_bytes: u64) -> (Analyst, mpsc::Receiver<AnalysisRequest>) {
        let (requests, taken) = mpsc::channel(1);
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        (Analyst { requests, turns: Arc::new(Semaphore::new(1)), max_bytes }, taken)
    }

    /// Reads the log when its turn comes, and has it looked at.
    async fn begin(
        &self,
        query: AnalysisQuery,
        owner: String,
        request: Request,
    ) -> Result<mpsc::Receiver<AnalysisEvent>, Problem> {
        let stopping = || Problem::Failed("the daemon is stopping".into());
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| stopping())?;
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let log = axum::body::to_bytes(request.into_body(), self.max_bytes).await.map_err(|error| {
            Problem::Invalid(format!(
                "the log cannot be read, or has more than [analyze] max_bytes, {}: {error}",
                self.max_bytes
            ))
        })?;
        // What a form sends; a log of objects has other members too.
        let pasted = if is_json { serde_json::from_slice::<Pasted>(&log).ok() } else { None };
        let log = pasted.map_or(log, |pasted| pasted.logs.into());
        let (events, heard) = mpsc::channel(EVENTS);
        self.requests.send(AnalysisRequest { query, owner, log, events, turn }).await.map_err(|_| stopping())?;
        Ok(heard)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pasted {
    logs: String,
}

pub(super) async fn analyze(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<AnalysisQuery>,
    request: Request,
) -> Result<Json<Analysis>, Problem> {
    let mut heard = backend.analyst.begin(query, caller.name, request).await?;
    while let Some(event) = heard.recv().await {
        if let AnalysisEvent::Done(done) = event {
            return done.map(|analysis| Json(*analysis));
        }
    }
    Err(Problem::Failed("the analysis ended early".into()))
}

pub(super) async fn stream(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<AnalysisQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let heard = backend.analyst.begin(query, caller.name, request).await?;
    let events = ReceiverStream::new(heard).map(|event| Ok::<_, Infallible>(written(event)));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// An analysis that was kept, and who may see it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Kept {
    #[serde(flatten)]
    session: AnalysisSession,
    #[serde(flatten)]
    sharing: Sharing,
}

/// The newest analyses that were kept, one's own and what is shared with one.
pub(super) async fn kept(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<Kept>>, Problem> {
    let sessions = backend.store.sessions_for(&caller.name, caller.role, LISTED).await?;
    let kept = |OwnedSession { session, sharing }| Kept { session, sharing };
    Ok(Json(sessions.into_iter().map(kept).collect()))
}

/// Who sees it besides its owner; an empty request: nobody.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareRequest {
    /// Everybody who has this role or a higher one: `viewer` for all.
    role: Option<Role>,
    #[serde(default)]
    users: Vec<String>,
}

/// Who sees an analysis.
#[derive(Serialize, JsonSchema)]
pub(super) struct SeenBy {
    #[serde(flatten)]
    sharing: Sharing,
    /// With whom its owner may share it besides: the other users. To others it is not told.
    others: Vec<String>,
}

pub(super) async fn sharing(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<SeenBy>, Problem> {
    let found = backend.store.sharing_for(&id, &caller.name, caller.role).await?;
    let sharing = found.ok_or_else(|| Problem::NotFound(format!("no analysis {id:?} that you may see was kept")))?;
    let mut others = vec![];
    if sharing.owner.as_ref() == Some(&caller.name) {
        let is_other = |name: &String| *name != caller.name && !sharing.shared_users.contains(name);
        others.extend(backend.store.users().await?.into_iter().map(|user| user.name).filter(is_other));
    }
    Ok(Json(SeenBy { sharing, others }))
}

pub(super) async fn share(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(ShareRequest { role, users }): Json<ShareRequest>,
) -> Answer {
    let known = backend.store.users().await?;
    if let Some(unknown) = users.iter().find(|name| !known.iter().any(|user| user.name == **name)) {
        return Err(Problem::Invalid(format!("there is no user {unknown:?}")));
    }
    if !backend.store.session_share(&id, &caller.name, role, &users).await? {
        return Err(Problem::NotFound(format!("no analysis of yours is called {id:?}")));
    }
    Ok(Json(json!({ "id": id, "shared_role": role, "shared_users": users })))
}

/// An analysis that was kept.
pub(super) async fn one_kept(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let kept = backend.store.analysis_for(&id, &caller.name, caller.role).await?;
    let kept = kept.ok_or_else(|| {
        Problem::NotFound(format!("no analysis {id:?} that you may see was kept, or its figures alone"))
    })?;
    Ok(Json(serde_json::from_str(&kept).map_err(|error| Problem::Failed(error.to_string()))?))
}

/// An analysis, written down as a file. It is what the client was given: nothing of it is kept here.
pub(super) async fn written_down(
    State(backend): State<Backend>,
    Path(format): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let format = Format::parse(&format).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        Problem::NotFound(format!("no report is called {format:?}; there are {}", names.join(", ")))
    })?;
    let invalid = |error: &dyn std::fmt::Display| Problem::Invalid(format!("this is no analysis: {error}"));
    let body = axum::body::to_bytes(request.into_body(), MAX_ANALYSIS_BYTES).await.map_err(|error| invalid(&error))?;
    let analysis: Analysis = serde_json::from_slice(&body).map_err(|error| invalid(&error))?;
    let config = backend.report.clone();
    let written = tokio::task::spawn_blocking(move || report::export(format, &analysis, &config)).await;
    let written = written.map_err(|error| Problem::Failed(error.to_string()))?;
    let written = written.map_err(|error| Problem::Failed(format!("{error:#}")))?;
    let name = format!("attachment; filename=\"palisade-{}.{}\"", format.name(), format.extension());
    let headers = [(header::CONTENT_TYPE, format.media_type().to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, written).into_response())
}

/// An event as it is sent: JSON has no newline that would end it.
fn written(event: AnalysisEvent) -> Bytes {
    let (name, data) = match event {
        AnalysisEvent::Progress(progress) => ("progress", progress),
        AnalysisEvent::Done(Ok(analysis)) => ("analysis", json!(analysis)),
        AnalysisEvent::Done(Err(problem)) => ("error", json!({ "detail": problem.to_string() })),
    };
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_name_and_one_line_of_json() {
        let progress = written(AnalysisEvent::Progress(json!({ "lines": 1 })));
        assert_eq!(progress, "event: progress\ndata: {\"lines\":1}\n\n");
        let error = written(AnalysisEvent::Done(Err(Problem::Invalid("two\nlines".into()))));
        assert_eq!(error, "event: error\ndata: {\"detail\":\"two\\nlines\"}\n\n");
    }

    #[tokio::test]
    async fn a_log_that_is_too_large_is_refused_and_gives_its_turn_back() {
        let (analyst, mut taken) = Analyst::new(12);
        let post = |text: &str, kind: &str| {
            Request::builder().header("content-type", kind).body(Body::from(text.to_owned())).unwrap()
        };
        let refused = analyst.begin(AnalysisQuery::default(), "anna".into(), post("thirteen byte", "text/plain")).await;
        assert!(refused.unwrap_err().to_string().contains("[analyze] max_bytes"));
        for (text, kind, log) in [
            (r#"{"logs":"a"}"#, "application/json", "a"),
            (r#"{"logs":"a"}"#, "text/plain", r#"{"logs":"a"}"#),
            (r#"{"logs":1}"#, "application/json", r#"{"logs":1}"#),
        ] {
            analyst.begin(AnalysisQuery::default(), "anna".into(), post(text, kind)).await.unwrap();
            // Dropped with its turn, as when it is done.
            assert_eq!(taken.recv().await.unwrap().log, log);
        }
    }
}
