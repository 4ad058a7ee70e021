//! Asks about the past: Postgres, where it is configured and answers, else this host's own database.

use std::time::Instant;

use anyhow::bail;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::event::Timestamp;
use crate::record::{Answer, Dimension, History, Period, Postgres, Sqlite, StoreError};
use crate::show::{self, Problem};

pub use crate::record::{Counts, Effect, Moment, Outlook, Ranked, Report, Step, Tier};
pub use crate::show::{HistoryQuery, StatsQuery};

/// What a store said, and which one.
#[derive(Debug)]
pub struct Told<T> {
    pub value: T,
    pub by: Teller,
    /// Why it was not Postgres, though it is configured.
    pub instead: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// This host's own database.
    Local,
    /// What agents remember together.
    Postgres,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Postgres, if it is configured and answers.
    All,
    /// This host.
    Local,
}

/// The newest findings or decisions of the past that `query` asks for.
///
/// # Errors
/// The query makes no sense, or the database cannot be read.
pub async fn history(config: &Config, whom: Whom, query: &HistoryQuery) -> anyhow::Result<Told<Vec<Value>>> {
    let own = own(config).await;
    // Pseudonyms are this host's, in Postgres too.
    let kept = |network: IpNet| own.as_ref().map_or(network, |own| own.as_kept(network));
    let v6_prefix = config.client.v6_prefix;
    let ask = async |store: &dyn History| show::history(store, query, Timestamp::now(), v6_prefix, &kept).await;
    told(config, &own, whom, query.agent.as_deref(), ask).await
}

/// The figures that `query` asks for.
///
/// # Errors
/// The query makes no sense, or the database cannot be read.
pub async fn stats(config: &Config, whom: Whom, query: &StatsQuery) -> anyhow::Result<Told<Report>> {
    let ask = async |store: &dyn History| show::stats(store, query, Timestamp::now()).await;
    told(config, &own(config).await, whom, query.agent.as_deref(), ask).await
}

/// Milliseconds that each answer takes of which [`stats`] makes its report, about so many days.
///
/// # Errors
/// The database cannot be read.
pub async fn answers(config: &Config, days: u32) -> anyhow::Result<Value> {
    let now = Timestamp::now();
    let ago = |days: u32| Timestamp(now.0 - i64::from(days) * Step::Day.millis());
    let (period, previous) = (Period { from: ago(days), to: now }, Period { from: ago(2 * days), to: ago(days) });
    let ask = async |store: &dyn History| {
        let mut answers = Map::new();
        for dimension in Dimension::ALL {
            let top = store.top(None, period, previous, *dimension, 10);
            answers.insert(format!("top, {}", dimension.as_str()), millis(top).await?);
        }
        for (name, step) in [("trend, hours", Step::Hour), ("trend, days", Step::Day)] {
            answers.insert(name.into(), millis(store.trend(None, period, Dimension::All, step)).await?);
        }
        answers.insert("effect".into(), millis(store.effect(None, period, now)).await?);
        answers.insert("tiers".into(), millis(store.tiers(None, period)).await?);
        Ok(Value::Object(answers))
    };
    Ok(told(config, &own(config).await, Whom::All, None, ask).await?.value)
}

async fn millis<T>(answer: Answer<'_, T>) -> Result<Value, StoreError> {
    let begun = Instant::now();
    answer.await?;
    Ok(json!(begun.elapsed().as_secs_f64() * 1000.0))
}

pub(super) async fn own(config: &Config) -> Result<Sqlite, StoreError> {
    Sqlite::open_to_read(&config.state_dir, &config.store).await
}

pub(super) async fn told<T>(
    config: &Config,
    own: &Result<Sqlite, StoreError>,
    whom: Whom,
    agent: Option<&str>,
    ask: impl AsyncFn(&dyn History) -> Result<T, Problem>,
) -> anyhow::Result<Told<T>> {
    let mut instead = None;
    if whom == Whom::All {
        match Postgres::connect(&config.store).await {
            Ok(None) => {}
            Ok(Some(postgres)) => match ask(&postgres).await {
                Ok(value) => return Ok(Told { value, by: Teller::Postgres, instead: None }),
                Err(Problem::Failed(why)) => instead = Some(why),
                Err(problem) => return Err(problem.into()),
            },
            Err(error) => instead = Some(error.to_string()),
        }
    }
    if let (Some(agent), None) = (agent, &instead) {
        bail!(
            "only Postgres knows agents apart ([store] database_url, without --local); {agent:?} cannot be asked for"
        );
    }
    let local = match own {
        Ok(own) => ask(own).await.map_err(anyhow::Error::from),
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    match (local, instead) {
        (Ok(_), Some(why)) if agent.is_some() => bail!("{why}; only Postgres knows agents apart"),
        (Ok(value), instead) => Ok(Told { value, by: Teller::Local, instead }),
        (Err(error), Some(why)) => Err(error.context(why)),
        (Err(error), None) => Err(error),
    }
}
