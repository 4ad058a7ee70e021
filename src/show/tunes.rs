//! Keys that are set while the daemon runs: `/api/v1/settings`.

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Path, State};
use axum::routing::get;
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use super::api::Answer;
use super::{Backend, Problem, Tune, TuneRequest};
use crate::event::printable;

pub fn router() -> Router<Backend> {
    Router::new()
        .route("/api/v1/settings", get(list).post(set))
        .route("/api/v1/settings/{key}", axum::routing::delete(reset))
}

/// Who speaks on the other end of the socket, as the kernel says.
#[derive(Clone, Debug)]
pub struct Peer(String);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        let Ok(credentials) = stream.io().peer_cred() else { return Peer("unknown".into()) };
        let uid = credentials.uid();
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
        Peer(user.map_or_else(|| format!("uid {uid}"), |user| printable(user.name.as_bytes(), 64)))
    }
}

async fn tell(backend: &Backend, tune: Tune) -> Answer {
    let stopping = || Problem::Failed("the daemon is stopping".into());
    let (reply, answer) = oneshot::channel();
    backend.tunes.send(TuneRequest { tune, reply }).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?.map(Json)
}

async fn list(State(backend): State<Backend>) -> Answer {
    tell(&backend, Tune::List).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRequest {
    key: String,
    /// A string, number or boolean, as in the file.
    value: Value,
    for_secs: Option<u64>,
}

async fn set(
    State(backend): State<Backend>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    Json(request): Json<SetRequest>,
) -> Answer {
    let SetRequest { key, value, for_secs: secs } = request;
    if secs == Some(0) {
        return Err(Problem::Invalid("for_secs must be at least 1".into()));
    }
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    tell(&backend, Tune::Set { key, value, secs, by }).await
}

async fn reset(
    State(backend): State<Backend>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    Path(key): Path<String>,
) -> Answer {
    tell(&backend, Tune::Reset { key, by }).await
}
