//! Erasing a client where no daemon runs: in the local database with the counters in it, and in Redis if that is
//! the memory.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::reader;
use crate::config::Config;
use crate::event::{ClientKey, shown};
use crate::memory;
use crate::record::Sqlite;

/// Erases what is kept of a network, or of the client that an address belongs to.
///
/// # Errors
/// A daemon that does not answer has the database, or it cannot be used.
pub fn erase(config: &Config, network: IpNet) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = ClientKey::of(network.addr(), config.client.v6_prefix);
        let is_one = network.prefix_len() == network.max_prefix_len();
        let network = if is_one { client.network() } else { network.trunc() };
        let store = Sqlite::open(&config.state_dir, &config.store).await?;
        if let Some(state) = store.snapshot().await? {
            // One that cannot be read is thrown away by the next start.
            match reader::without(config, &state, network) {
                Ok(state) => store.replace_snapshot(&state).await?,
                Err(error) => tracing::warn!("the counters are left as they are: {error:#}"),
            }
        }
        let forgotten = store.forget_clients(network).await?;
        let memory = memory::open(&config.memory);
        memory.forget(client).await;
        for client in &forgotten.clients {
            memory.forget(ClientKey::of(client.addr(), client.prefix_len())).await;
        }
        // What was told is seen by the next call: it ends after the change has come to Redis, or by a deadline.
        memory.recall(client).await;
        store.close().await;
        let live: Vec<String> = forgotten.live.into_iter().map(shown).collect();
        Ok(json!({ "network": shown(network), "rows": forgotten.rows, "live": live }))
    })
}
