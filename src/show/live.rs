//! What is found and decided, as it happens: server-sent events for pages that are open.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::Backend;
use super::access::{Caller, still_holds};
use super::api::decision;
use crate::record::{ChangeKind, DecisionFilter, Sqlite, StoreError};

/// Pages hear of news this often, all together, so that a flood costs as little as a trickle.
const TICK: Duration = Duration::from_millis(500);
/// Findings and decisions of a tick that are shown; of others the number is.
const SHOWN: u32 = 100;
/// Changes looked at in a tick.
const LOOKED_AT: u32 = 5000;
/// Ticks that wait for a page that is slow; then it is told that it missed some.
const WAITING: usize = 16;
/// Whether who watches still may is asked this often.
const ASKED: Duration = Duration::from_secs(2);

/// Where news come from.
#[derive(Clone)]
pub struct Live(broadcast::Sender<Arc<str>>);

impl Default for Live {
    fn default() -> Live {
        Live(broadcast::channel(WAITING).0)
    }
}

impl Live {
    /// Tells whoever watches what is recorded in `store`, until it is dropped. While nobody watches it only
    /// asks how far the store is, so that who comes then misses nothing.
    pub async fn run(self, store: Arc<Sqlite>) {
        let mut last = None;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.0.receiver_count() == 0 {
                last = store.last_change().await.ok();
                continue;
            }
            match news(&store, &mut last).await {
                Ok(Some(news)) => {
                    // Nobody may be left: then nobody missed it.
                    let _ = self.0.send(news);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("open pages hear nothing of what is recorded: {error}"),
            }
        }
    }
}

/// What was recorded after the change numbered `last`, which moves on; from now on if it is none.
async fn news(store: &Sqlite, last: &mut Option<i64>) -> Result<Option<Arc<str>>, StoreError> {
    let newest = store.last_change().await?;
    let Some(after) = last.replace(newest).filter(|after| *after < newest) else { return Ok(None) };
    let changes = store.changes(after, LOOKED_AT).await?;
    let of = |kind: ChangeKind| -> HashSet<&str> {
        changes.iter().filter(|change| change.kind == kind).map(|change| &*change.id).collect()
    };
    let (found, decided) = (of(ChangeKind::Finding), of(ChangeKind::Decision));
    let mut findings = vec![];
    if !found.is_empty() {
        findings = store.findings(None, SHOWN).await?;
        findings.retain(|row| found.contains(&*row.id));
    }
    let mut decisions = vec![];
    if !decided.is_empty() {
        decisions = store.decisions(DecisionFilter::default(), SHOWN).await?;
        decisions.retain(|row| decided.contains(&*row.id));
    }
    let skipped = (newest - after) as usize - findings.len() - decisions.len();
    let shown: Vec<_> = decisions.iter().map(decision).collect();
    let news = json!({ "findings": findings, "decisions": shown, "not_shown": skipped });
    Ok(Some(news.to_string().into()))
}

/// Findings and decisions from now on, in event `news`; `missed` where a page was too slow.
pub(super) async fn events(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut news = backend.live.0.subscribe();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut asked = tokio::time::interval(ASKED);
        loop {
            let event = tokio::select! {
                _ = asked.tick() => {
                    if !still_holds(&backend.store, &caller).await || sender.is_closed() {
                        return;
                    }
                    continue;
                }
                news = news.recv() => match news {
                    Ok(news) => Event::default().event("news").data(&*news),
                    Err(broadcast::error::RecvError::Lagged(ticks)) => {
                        Event::default().event("missed").data(ticks.to_string())
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            };
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
    });
    Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::default())
}
