//! The part of CrowdSec's local API that its bouncers use: they ask over HTTP, each with its key, whom
//! to shut out, and are answered from the store.
//!
//! `/v1/decisions/stream` gives everything with `startup=true`, else what changed since this key's last
//! pull; `/v1/decisions` who is shut out now. Shapes and words are those of CrowdSec's swagger file.

mod filter;
pub mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::event::{Timestamp, printable};
use crate::record::{Ban, Bouncer, Span, Sqlite, StoreError};
use filter::{Asked, Filter};

/// Answers that are made at once. The store has four readers, and the decider needs one: whatever bouncers
/// ask, it finds one free. It also bounds the memory that answers take, 20 MB each for 100,000 decisions.
const AT_ONCE: usize = 2;
/// Bouncers in live mode ask at every request that they see; that they did is written down this often.
const NOTED_SECS: u64 = 60;
/// Bytes of a user agent that are kept.
const MAX_AGENT_BYTES: usize = 120;

#[derive(Clone)]
struct Api {
    store: Arc<Sqlite>,
    /// Else dry run: nobody is to be shut out, not even by what is left of enforce mode.
    enforcing: watch::Receiver<bool>,
    turns: Arc<Semaphore>,
}

/// The API, to be served on any listener.
pub fn router(store: Arc<Sqlite>, enforcing: watch::Receiver<bool>) -> Router {
    let api = Api { store, enforcing, turns: Arc::new(Semaphore::new(AT_ONCE)) };
    Router::new()
        // Without handlers of its own a HEAD would be a GET, and move the cursor.
        .route("/v1/decisions", get(decisions).head(ping))
        .route("/v1/decisions/stream", get(stream).head(ping))
        .route("/v1/usage-metrics", post(usage_metrics))
        .fallback(async || Trouble(StatusCode::NOT_FOUND, "Page or Method not found".into()))
        .with_state(api)
}

/// Why a request was not answered, as CrowdSec says it.
struct Trouble(StatusCode, String);

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({ "message": self.1 }))).into_response()
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        tracing::warn!("a bouncer is not answered: {error}");
        // The words name files of this host, which are not the asker's business.
        Trouble(StatusCode::INTERNAL_SERVER_ERROR, "the database does not answer".into())
    }
}

impl Api {
    /// Who asks; the permit is its turn at the store.
    async fn admit(&self, headers: &HeaderMap) -> Result<(Bouncer, SemaphorePermit<'_>), Trouble> {
        let forbidden = || Trouble(StatusCode::FORBIDDEN, "access forbidden".into());
        let key = headers.get("x-api-key").ok_or_else(forbidden)?;
        let turn = self.turns.acquire().await.map_err(|_| forbidden())?;
        let bouncer = self.store.bouncer_with(&keys::hash(key.as_bytes())).await?.ok_or_else(forbidden)?;
        Ok((bouncer, turn))
    }

    /// Notes that `bouncer` asked and has everything up to `cursor`. A failure costs no answer: it is given
    /// the same once more.
    async fn note(&self, bouncer: &Bouncer, headers: &HeaderMap, cursor: Option<i64>, now: Timestamp) {
        let agent =
            headers.get(header::USER_AGENT).map_or(String::new(), |agent| printable(agent.as_bytes(), MAX_AGENT_BYTES));
        let recently = bouncer.last_pull.is_some_and(|last| last.secs_until(now) < NOTED_SECS);
        if cursor.is_none() && recently && agent == bouncer.user_agent {
            return;
        }
        if let Err(error) = self.store.bouncer_pulled(&bouncer.name, cursor, &agent, now).await {
            tracing::warn!(bouncer = bouncer.name, "it is not recorded what this bouncer has been given: {error}");
        }
    }
}

/// What bouncers ask to see whether somebody is there and knows them.
async fn ping(State(api): State<Api>, headers: HeaderMap) -> Result<(), Trouble> {
    api.admit(&headers).await.map(|_| ())
}

async fn stream(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Result<Response, Trouble> {
    let now = Timestamp::now();
    let (bouncer, _turn) = api.admit(&headers).await?;
    let filter = Filter::parse(&uri)?;
    let mut new = List::after(b"{\"new\":".into());
    let enforcing = *api.enforcing.borrow();
    // Before the rows are read: what changes from now on comes next time.
    let upto = api.store.last_change().await?;
    let after = if filter.startup { 0 } else { bouncer.cursor };
    let fits = |ban: &Ban| filter.fits(ban);
    if enforcing {
        api.store.bans_in_force(Span { after, upto }, now, |ban| new.push_if(fits, &ban, now)).await?;
    }
    let mut body = new.close();
    body.extend_from_slice(b",\"deleted\":");
    let mut deleted = List::after(body);
    if bouncer.cursor > 0 {
        // At a startup too: what the bouncer acts upon may have outlived its restart.
        let span = Span { after: bouncer.cursor, upto };
        api.store.bans_ended(span, now, |ban| deleted.push_if(fits, &ban, now)).await?;
    }
    // After dry run it is given everything that came meanwhile.
    let cursor = if enforcing { Some(upto) } else { filter.startup.then_some(0) };
    api.note(&bouncer, &headers, cursor, now).await;
    let mut body = deleted.close();
    body.push(b'}');
    Ok(answer(body))
}

async fn decisions(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Result<Response, Trouble> {
    let now = Timestamp::now();
    let (bouncer, _turn) = api.admit(&headers).await?;
    let filter = Filter::parse(&uri)?;
    api.note(&bouncer, &headers, None, now).await;
    let mut list = List::after(vec![]);
    let fits = |ban: &Ban| filter.fits(ban);
    let all = Span { after: 0, upto: i64::MAX };
    match &filter.asked {
        _ if !*api.enforcing.borrow() => {}
        Asked::All => api.store.bans_in_force(all, now, |ban| list.push_if(fits, &ban, now)).await?,
        Asked::OneOf(targets) => {
            api.store.bans_on(targets, now).await?.iter().for_each(|ban| list.push_if(fits, ban, now));
        }
        Asked::Within(network) => {
            let fits = |ban: &Ban| fits(ban) && filter::is_within(ban, *network);
            api.store.bans_in_force(all, now, |ban| list.push_if(fits, &ban, now)).await?;
        }
    }
    Ok(answer(list.close()))
}

/// What newer bouncers count. It is taken, so that they do not complain, and not kept.
async fn usage_metrics(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Trouble> {
    let (bouncer, _turn) = api.admit(&headers).await?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&body)
        .map_err(|error| Trouble(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")))?;
    api.note(&bouncer, &headers, None, Timestamp::now()).await;
    Ok(StatusCode::CREATED)
}

fn answer(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A JSON list that grows; `null` if nothing came, as a Go program writes one.
struct List {
    /// What stands before it, and the list so far.
    body: Vec<u8>,
    is_empty: bool,
}

impl List {
    fn after(body: Vec<u8>) -> List {
        List { body, is_empty: true }
    }

    fn push_if(&mut self, fits: impl Fn(&Ban) -> bool, ban: &Ban, now: Timestamp) {
        if !fits(ban) {
            return;
        }
        self.body.push(if self.is_empty { b'[' } else { b',' });
        self.is_empty = false;
        let decision = Decision {
            id: ban.number,
            uuid: &ban.id,
            origin: filter::ORIGIN,
            kind: filter::BAN,
            scope: filter::scope(ban),
            value: &ban.target,
            duration: go_duration(ban.expires_at.0.saturating_sub(now.0)),
            scenario: filter::scenario(ban),
        };
        // Into memory, and none of its types can fail to be written.
        let _ = serde_json::to_writer(&mut self.body, &decision);
    }

    fn close(mut self) -> Vec<u8> {
        self.body.extend_from_slice(if self.is_empty { b"null" } else { b"]" });
        self.body
    }
}

#[derive(Serialize)]
struct Decision<'a> {
    id: i64,
    uuid: &'a str,
    origin: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    scope: &'a str,
    value: &'a str,
    duration: String,
    scenario: String,
}

/// A length of time as Go's `time.ParseDuration` reads it, in whole seconds away from zero: no ban ends
/// early, and none that has begun its last second is of no length.
fn go_duration(millis: i64) -> String {
    let secs = millis.unsigned_abs().div_ceil(1000);
    let sign = if millis < 0 { "-" } else { "" };
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, secs) => format!("{sign}{secs}s"),
        (0, minutes, secs) => format!("{sign}{minutes}m{secs}s"),
        (hours, minutes, secs) => format!("{sign}{hours}h{minutes}m{secs}s"),
    }
}
