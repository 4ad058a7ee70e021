//! Logs that are posted to the daemon: one at a time, beside its work.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{Options, Progress, Sensitivity, Source, analyze, kept, samples};
use crate::config::Config;
use crate::event::analysis::Analysis;
use crate::event::printable;
use crate::pipeline::{replay, spending};
use crate::record::Sqlite;
use crate::show::{AnalysisEvent, AnalysisQuery, AnalysisRequest, Problem};
use crate::triage::Advisers;

/// Looks at each log that is posted, by the configuration and the rules in force. Models and services are those of
/// the daemon's desk: what they are asked counts in the same limits and stands in the same ledger.
pub async fn serve(
    newest: watch::Receiver<Config>,
    store: Arc<Sqlite>,
    advisers: watch::Receiver<Arc<Advisers>>,
    mut requests: mpsc::Receiver<AnalysisRequest>,
) {
    while let Some(AnalysisRequest { query, owner, log, events, turn }) = requests.recv().await {
        let (keep, model, reputation) = (query.keep, query.model.clone(), query.reputation);
        let config = Arc::new(newest.borrow().clone());
        let (used, told) = (config.clone(), events.clone());
        let done = tokio::task::spawn_blocking(move || look(&used, query, log.to_vec(), &told)).await;
        let mut done = done.unwrap_or_else(|error| Err(Problem::Failed(error.to_string())));
        let (advisers, mut calls) = (advisers.borrow().clone(), vec![]);
        if let Ok(analysis) = &mut done {
            if reputation {
                let looked_up = super::look_up(&advisers, analysis, &mut calls).await;
                tracing::debug!(?looked_up, "reputation");
            }
            if let Some(name) = model
                && let Err(error) = super::tell(&advisers, &name, analysis, &mut calls).await
            {
                // Templates have told it.
                tracing::warn!("no model tells an analysis: {error:#}");
            }
            if let Err(error) = spending::record(&store, &calls).await {
                tracing::warn!("what an analysis cost is not in the ledger: {error}");
            }
        }
        if let Ok(analysis) = &done
            && keep
            && let Err(error) = kept::put(&store, &config, analysis, Some(&owner)).await
        {
            done = Err(error.into());
        }
        // Who asked may have gone.
        let _ = events.send(AnalysisEvent::Done(done.map(Box::new))).await;
        drop(turn);
    }
}

fn look(
    config: &Config,
    query: AnalysisQuery,
    log: Vec<u8>,
    events: &mpsc::Sender<AnalysisEvent>,
) -> Result<Analysis, Problem> {
    let invalid = |what: String| Problem::Invalid(what);
    let sensitivity = match query.sensitivity.as_deref() {
        None => None,
        Some("low") => Some(Sensitivity::Low),
        Some("medium") => Some(Sensitivity::Medium),
        Some("high") => Some(Sensitivity::High),
        Some(other) => return Err(invalid(format!("{other:?} is no sensitivity; low, medium or high"))),
    };
    let (name, log) = match &query.sample {
        None => (query.name.unwrap_or_else(|| "-".into()), log),
        Some(name) => {
            let sample =
                samples::find(name).ok_or_else(|| Problem::NotFound(format!("no sample is called {name:?}")))?;
            (format!("sample {name}"), sample.text().into_bytes())
        }
    };
    let rules = replay::load_rules(config).map_err(|error| Problem::Failed(format!("{error:#}")))?;
    let options = Options { sensitivity, format: query.format.unwrap_or_default(), baseline: None };
    let source = Source::of_text(&printable(name.as_bytes(), 200), log);
    let mut progress = |Progress { lines, lines_in_all }: Progress| {
        // Who does not listen misses it.
        let _ = events
            .try_send(AnalysisEvent::Progress(serde_json::json!({ "lines": lines, "lines_in_all": lines_in_all })));
    };
    analyze(config, &Arc::new(rules), vec![source], &options, &mut progress)
        .map_err(|error| invalid(format!("{error:#}")))
}
