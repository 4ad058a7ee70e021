//! After the local database was found damaged and a new one started: what can still be known is taken up,
//! before anything is decided.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::event::Timestamp;
use crate::record::{Postgres, Rows, Sqlite, Store, StoreError};
use crate::show::{Service, Services};

/// The local database's name in `status`.
const NAME: &str = "database";
/// It is a problem for so long, as somebody should hear of it.
const TOLD: Duration = Duration::from_secs(3600);
/// Earlier bans count for so long.
const PAST_MILLIS: i64 = 30 * 86_400_000;
/// So long the start waits for Postgres.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes up what the damaged database still says, and Postgres. Bans that are known to neither are taken
/// over from the firewall later.
///
/// # Errors
/// The new database takes nothing.
pub async fn recover(store: &Sqlite, config: &Config) -> Result<(), StoreError> {
    let Some(aside) = store.damaged() else { return Ok(()) };
    tracing::error!(aside = %aside.display(), "the database was damaged and is kept aside; a new one is started");
    let now = Timestamp::now();
    let since = Timestamp(now.0 - PAST_MILLIS);
    let rows = of_postgres(config, since).await;
    let (decisions, corrections, allowed) = (rows.decisions.len(), rows.corrections.len(), rows.allowed.len());
    if decisions + corrections + allowed > 0 {
        tracing::warn!(decisions, corrections, allowed, "taken up from Postgres");
        store.put(&config.agent_name(), &rows, now).await?;
    }
    let rest = store.salvage(since).await;
    tracing::warn!(
        decisions = rest.decisions.len(),
        corrections = rest.corrections.len(),
        allowed = rest.allow.len(),
        "taken up from what can still be read of the damaged one"
    );
    store.take_up(&rest, now).await
}

async fn of_postgres(config: &Config, since: Timestamp) -> Rows {
    let asked = async {
        match Postgres::connect(&config.store).await? {
            Some(postgres) => postgres.remembered(&config.agent_name(), since).await,
            None => Ok(Rows::default()),
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(rows)) => return rows,
        Ok(Err(error)) => tracing::error!("what Postgres remembers of this host is not taken up: {error}"),
        Err(_) => tracing::error!("what Postgres remembers of this host is not taken up: no answer in {PATIENCE:?}"),
    }
    Rows::default()
}

/// Has `status` tell of it for an hour.
pub async fn tell(store: Arc<Sqlite>, services: watch::Sender<Services>) {
    let Some(aside) = store.damaged() else { return };
    let aside = aside.display();
    let problem = format!(
        "the local database was damaged and is kept aside as {aside}; a new one was started with the bans that are \
         known elsewhere: look at the disk, at `palisade banned` and at `palisade allow list`"
    );
    services.send_modify(|services| {
        services.insert(NAME.into(), Service { problem: Some(problem), ..Service::default() });
    });
    tokio::time::sleep(TOLD).await;
    services.send_modify(|services| drop(services.remove(NAME)));
}
