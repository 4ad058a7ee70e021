//! What models and reputation services were asked today, by whomever: limits count it, and the ledger has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::event::{ModelCall, Timestamp};
use crate::memory;
use crate::record::{Batch, Spent, Sqlite, StoreError};
use crate::triage::{Advisers, TierConfig, Today};

const DAY_MILLIS: i64 = 86_400_000;
/// What others recorded is looked up this often.
const LOOK: Duration = Duration::from_secs(60);

/// What the ledger has of this day (UTC).
#[derive(Default)]
pub struct Spending {
    day: i64,
    spent: Vec<Spent>,
}

impl Spending {
    /// # Errors
    /// The database cannot be read.
    pub async fn today(store: &Sqlite) -> Result<Spending, StoreError> {
        let day = Timestamp::now().0.div_euclid(DAY_MILLIS);
        Ok(Spending { day, spent: store.spent(Timestamp(day * DAY_MILLIS)).await? })
    }

    /// Of the tier or service called `name`.
    pub fn of(&self, name: &str) -> Today {
        let of_it = self.spent.iter().filter(|spent| spent.service == name);
        of_it.fold(Today { day: self.day, ..Today::default() }, |today, spent| Today {
            requests: today.requests + spent.calls,
            tokens: today.tokens + spent.input_tokens + spent.output_tokens,
            usd: today.usd + spent.usd,
            ..today
        })
    }
}

/// Tells the daemon's advisers what command lines asked beside it, for ever.
pub async fn watch(store: Arc<Sqlite>, advisers: watch::Receiver<Arc<Advisers>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        match Spending::today(&store).await {
            Ok(spending) => advisers.borrow().learn(&|name| spending.of(name)),
            Err(error) => tracing::warn!("what models were asked beside the daemon is not known: {error}"),
        }
    }
}

/// The advisers of a command line: beside the daemon or without one, within the limits of the day.
pub struct Purse {
    /// None: there is no database yet, so there is no ledger.
    store: Option<Sqlite>,
    pub advisers: Advisers,
}

impl Purse {
    /// With the models of `tiers` and the services of `config`.
    ///
    /// # Errors
    /// A URL, key or file of the configuration cannot be used.
    pub async fn open(config: &Config, tiers: &[TierConfig]) -> anyhow::Result<Purse> {
        let store = Sqlite::open_beside(&config.state_dir, &config.store).await;
        let store = store.inspect_err(|error| tracing::debug!("no ledger: {error}")).ok();
        let spending = match &store {
            Some(store) => Spending::today(store).await?,
            None => Spending::default(),
        };
        let (privacy, memory) = (config.triage.privacy, memory::open(&config.memory));
        let advisers = Advisers::open(tiers, &config.reputation, privacy, memory, &|name| spending.of(name))?;
        Ok(Purse { store, advisers })
    }

    /// Writes `calls` down, and gives what they cost together.
    pub async fn settle(self, calls: &[ModelCall]) -> Bill {
        let mut bill = Bill::of(calls);
        if let Some(store) = self.store {
            match record(&store, calls).await {
                Ok(()) => bill.is_in_ledger = true,
                Err(error) => tracing::warn!("not in the ledger: {error}"),
            }
            store.close().await;
        }
        bill
    }
}

/// Writes `calls` into the ledger.
///
/// # Errors
/// The database cannot be written.
pub async fn record(store: &Sqlite, calls: &[ModelCall]) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    store.commit(&Batch { at: Timestamp::now(), calls, ..Batch::default() }).await.map(|_| ())
}

/// What calls cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bill {
    pub calls: usize,
    pub sent_bytes: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub usd: f64,
    /// They stand in the ledger and count in the limits of others.
    pub is_in_ledger: bool,
}

impl Bill {
    fn of(calls: &[ModelCall]) -> Bill {
        calls.iter().fold(Bill { calls: calls.len(), ..Bill::default() }, |bill, call| Bill {
            sent_bytes: bill.sent_bytes + call.sent_bytes,
            input_tokens: bill.input_tokens + call.input_tokens,
            output_tokens: bill.output_tokens + call.output_tokens,
            usd: bill.usd + call.usd,
            ..bill
        })
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bill { calls, sent_bytes, input_tokens, output_tokens, usd, is_in_ledger } = self;
        let word = if *calls == 1 { "call" } else { "calls" };
        let ledger = if *is_in_ledger {
            "in the ledger"
        } else {
            "in no ledger: there is no database that it can be written to"
        };
        write!(
            f,
            "{calls} {word}, {sent_bytes} bytes sent, {input_tokens} tokens in, {output_tokens} out, {usd:.6} USD; {ledger}"
        )
    }
}
