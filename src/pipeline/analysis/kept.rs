//! Analyses that somebody asked to keep: figures, and what was found; of the text nothing.

use crate::config::Config;
use crate::event::analysis::{Analysis, Compliance, Compression};
use crate::event::{masked, printable};
use crate::record::{AnalysisSession, History, Sqlite, StoreError};

/// Keeps what came of an analysis, beside the daemon or without one.
///
/// # Errors
/// The database cannot be written.
pub async fn keep(config: &Config, analysis: &Analysis) -> anyhow::Result<()> {
    let store = match Sqlite::open_beside(&config.state_dir, &config.store).await {
        Ok(store) => store,
        // There is none yet, or it is an older version's.
        Err(_) => Sqlite::open(&config.state_dir, &config.store).await?,
    };
    let kept = put(&store, config, analysis, None).await;
    store.close().await;
    Ok(kept?)
}

/// The analyses that were kept, the newest first.
///
/// # Errors
/// The database cannot be read.
pub async fn list(config: &Config, limit: u32) -> anyhow::Result<Vec<AnalysisSession>> {
    let store = Sqlite::open_to_read(&config.state_dir, &config.store).await?;
    Ok(store.sessions(limit).await?)
}

/// What was found in the analysis called `id`; none if it was not kept, or its figures alone.
///
/// # Errors
/// The database cannot be read.
pub async fn kept(config: &Config, id: &str) -> anyhow::Result<Option<Analysis>> {
    let store = Sqlite::open_to_read(&config.state_dir, &config.store).await?;
    let analysis = store.analysis(id).await?;
    Ok(analysis.map(|analysis| serde_json::from_str(&analysis)).transpose()?)
}

/// Where addresses are kept as pseudonyms, or nothing of findings, the figures are all.
pub(super) async fn put(
    store: &Sqlite,
    config: &Config,
    analysis: &Analysis,
    owner: Option<&str>,
) -> Result<(), StoreError> {
    let keeps_all = config.store.keeps_findings() && !config.store.keeps_pseudonyms();
    // Numbers, texts and closed sets always serialise.
    let found = serde_json::to_string(&without_text(analysis)).unwrap_or_default();
    store.keep_session(&session(analysis), keeps_all.then_some(&found), owner).await
}

/// What stands where a line's words were.
const NOT_KEPT: &str = "(its text was not kept)";

/// `analysis` without lines of its input, and without secrets in what is left.
fn without_text(analysis: &Analysis) -> Analysis {
    let mut kept = analysis.clone();
    for threat in &mut kept.threats {
        threat.samples.clear();
        threat.indicators.iter_mut().for_each(|one| one.value = masked(&one.value, one.value.as_bytes()).into_owned());
    }
    let Compliance { changes, sensitive_access, .. } = &mut kept.compliance;
    changes.iter_mut().chain(sensitive_access).for_each(|entry| entry.what = NOT_KEPT.into());
    kept.compression = kept.compression.map(|compression| Compression { text: None, ..compression });
    kept
}

/// The figures of an analysis.
pub(super) fn session(analysis: &Analysis) -> AnalysisSession {
    let compression = analysis.compression.as_ref();
    AnalysisSession {
        id: analysis.id.clone(),
        at: analysis.time,
        source: printable(analysis.input.names.join(", ").as_bytes(), 500),
        log_count: analysis.input.lines,
        threat_count: analysis.threats.len() as u64,
        overall_score: analysis.risk.score.div_ceil(10),
        health_status: analysis.risk.health.clone(),
        compression_ratio: compression.map_or(1.0, |compression| compression.ratio),
        tokens_saved: compression.map_or(0, |compression| compression.saved_tokens),
    }
}
