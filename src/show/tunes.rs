//! Keys that are set while the daemon runs: `/api/v1/settings`.

use axum::Json;
use axum::extract::{Extension, Path, State};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::access::Caller;
use super::api::Answer;
use super::{Backend, Problem, Tune, TuneRequest};

pub(super) async fn tell(backend: &Backend, tune: Tune) -> Answer {
    let stopping = || Problem::Failed("the daemon is stopping".into());
    let (reply, answer) = oneshot::channel();
    backend.tunes.send(TuneRequest { tune, reply }).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?.map(Json)
}

pub(super) async fn list(State(backend): State<Backend>) -> Answer {
    tell(&backend, Tune::List).await
}

/// Everything that is in force.
pub(super) async fn effective(State(backend): State<Backend>) -> Answer {
    tell(&backend, Tune::Config).await
}

/// A value that is in force; of secrets only that they are set.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is made where the configuration is, and described here")]
pub(super) struct Effective {
    key: String,
    value: Value,
    /// A default, a profile, a file and its line, a variable, or an operator.
    origin: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetRequest {
    key: String,
    /// A string, number or boolean, as in the file.
    value: Value,
    for_secs: Option<u64>,
}

pub(super) async fn set(
    State(backend): State<Backend>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Json(request): Json<SetRequest>,
) -> Answer {
    let SetRequest { key, value, for_secs: secs } = request;
    if secs == Some(0) {
        return Err(Problem::Invalid("for_secs must be at least 1".into()));
    }
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    tell(&backend, Tune::Set { key, value, secs, by }).await
}

pub(super) async fn reset(
    State(backend): State<Backend>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    Path(key): Path<String>,
) -> Answer {
    tell(&backend, Tune::Reset { key, by }).await
}
