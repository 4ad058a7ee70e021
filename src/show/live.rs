//! What is found and decided, as it happens: server-sent events for pages that are open. The news of a tick are
//! written once for all pages; a page that missed some, since it was slow or its connection broke, is told of
//! them together.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::Backend;
use super::access::{Caller, still_holds};
use super::api::decision;
use crate::record::{Change, ChangeKind, Sqlite, StoreError};

/// Pages hear of news this often, all together, so that a flood costs as little as a trickle.
const TICK: Duration = Duration::from_millis(500);
/// Findings, and decisions, that are shown at once, the newest; of others the number is.
const SHOWN: usize = 100;
/// Changes looked at for one event, the newest.
const LOOKED_AT: u32 = 5000;
/// Ticks that wait for a page that is slow; then it is told of them together.
const WAITING: usize = 16;
/// Whether who watches still may is asked this often.
const ASKED: Duration = Duration::from_secs(2);
/// A line without meaning goes this often, so that nothing on the way takes the connection for idle.
const ALIVE: Duration = Duration::from_secs(15);
/// A page that takes nothing for so long is left: when it is back it asks again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where news come from.
#[derive(Clone)]
pub struct Live(broadcast::Sender<News>);

/// What was recorded between two changes.
#[derive(Clone)]
struct News {
    after: i64,
    upto: i64,
    /// An event whose id is `upto`.
    event: Bytes,
}

impl Default for Live {
    fn default() -> Live {
        Live(broadcast::channel(WAITING).0)
    }
}

impl Live {
    /// Tells whoever watches what is recorded in `store`, until it is dropped. While nobody watches it only
    /// asks how far the store is, so that who comes then misses nothing.
    pub async fn run(self, store: Arc<Sqlite>) {
        let mut told = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.tick(&store, told).await {
                Ok(upto) => told = Some(upto),
                Err(error) => tracing::warn!("open pages hear nothing of what is recorded: {error}"),
            }
        }
    }

    /// Gives up to where everybody is told.
    async fn tick(&self, store: &Sqlite, told: Option<i64>) -> Result<i64, StoreError> {
        let newest = store.last_change().await?;
        let Some(after) = told.filter(|told| *told < newest && self.0.receiver_count() > 0) else {
            return Ok(newest);
        };
        let event = event(store, after, newest).await?;
        // Nobody may be left: then nobody missed it.
        let _ = self.0.send(News { after, upto: newest, event });
        Ok(newest)
    }
}

/// What was recorded after change number `after` and not after `upto`, which is the id of the event.
async fn event(store: &Sqlite, after: i64, upto: i64) -> Result<Bytes, StoreError> {
    let from = after.max(upto.saturating_sub(LOOKED_AT.into()));
    let mut changes = store.changes(from, LOOKED_AT).await?;
    changes.retain(|change| change.seq <= upto);
    let (found, findings_left_out) = newest(&changes, ChangeKind::Finding);
    let (decided, decisions_left_out) = newest(&changes, ChangeKind::Decision);
    let mut findings = store.findings_with(&found).await?;
    findings.sort_by_key(|row| std::cmp::Reverse((row.time, row.offset)));
    let mut decisions = store.decisions_with(&decided).await?;
    decisions.sort_by_key(|one| std::cmp::Reverse(one.created_at));
    // What was not even looked at is counted by changes.
    let not_shown = findings_left_out + decisions_left_out + (from - after) as usize;
    let shown: Vec<_> = decisions.iter().map(decision).collect();
    let news = json!({ "findings": findings, "decisions": shown, "not_shown": not_shown });
    // JSON has no line breaks of its own.
    Ok(format!("id: {upto}\nevent: news\ndata: {news}\n\n").into())
}

/// The newest of `changes` that are shown of this kind, each row once, and how many others there are.
fn newest(changes: &[Change], kind: ChangeKind) -> (BTreeSet<&str>, usize) {
    let (mut shown, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    for change in changes.iter().rev().filter(|change| change.kind == kind) {
        let id = change.id.as_str();
        if shown.len() < SHOWN {
            shown.insert(id);
        } else if !shown.contains(id) {
            left_out.insert(id);
        }
    }
    (shown, left_out.len())
}

/// Findings and decisions from now on, in events `news`. Who sends the id of the last event that they have, as
/// browsers do when they connect again, first hears what came since.
pub(super) async fn events(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    // Before it is asked how far the store is: so nothing lies between.
    let news = backend.live.0.subscribe();
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let store = &backend.store;
        // Whatever ends it, the page connects again.
        let _ = Page { store, caller, sender, upto: 0 }.follow(last, news).await;
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (kind, Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

/// One that is open.
struct Page<'a> {
    store: &'a Sqlite,
    caller: Caller,
    sender: mpsc::Sender<Result<Bytes, Infallible>>,
    /// It has heard of everything up to this change.
    upto: i64,
}

impl Page<'_> {
    /// Tells it of everything until it leaves, may not any more or nothing more can come: none.
    async fn follow(mut self, last: Option<i64>, mut news: broadcast::Receiver<News>) -> Option<()> {
        let newest = self.store.last_change().await.ok()?;
        // A number that is not reached yet is of another database.
        self.upto = last.filter(|last| (0..=newest).contains(last)).unwrap_or(newest);
        if self.upto < newest {
            self.catch_up(newest).await?;
        } else {
            // So that it knows where it is before there is any news.
            self.tell(format!("id: {newest}\n\n").into()).await?;
        }
        let (mut asked, mut alive) = (interval(ASKED), interval(ALIVE));
        loop {
            tokio::select! {
                _ = asked.tick() => {
                    let is_over = self.sender.is_closed() || !still_holds(self.store, &self.caller).await;
                    (!is_over).then_some(())?;
                }
                _ = alive.tick() => self.tell(Bytes::from_static(b":\n\n")).await?,
                heard = news.recv() => match heard {
                    Ok(news) if news.upto <= self.upto => {}
                    Ok(news) if news.after == self.upto => {
                        self.upto = news.upto;
                        self.tell(news.event).await?;
                    }
                    Ok(news) => self.catch_up(news.upto).await?,
                    // It was slow: the next that comes begins beyond where it is.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Tells it of everything up to change `upto`.
    async fn catch_up(&mut self, upto: i64) -> Option<()> {
        let event = event(self.store, self.upto, upto).await.ok()?;
        self.upto = upto;
        self.tell(event).await
    }

    async fn tell(&self, event: Bytes) -> Option<()> {
        timeout(PATIENCE, self.sender.send(Ok(event))).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests;
