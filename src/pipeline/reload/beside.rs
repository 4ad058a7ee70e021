//! What works beside the decider and is configured: blocklists, and reports of bans.

use std::collections::HashMap;

use tokio::task::{AbortHandle, JoinSet};

use super::Outlets;
use crate::config::{BlocklistConfig, Config};
use crate::pipeline::blocklists::Blocklist;
use crate::pipeline::live::open_reporter;
use crate::pipeline::reports;
use crate::record::Sqlite;
use crate::triage::ReputationConfig;
use crate::triage::reputation::Reporter;

/// The tasks; they end with it.
#[derive(Default)]
pub struct Beside {
    tasks: JoinSet<()>,
    lists: HashMap<String, (BlocklistConfig, AbortHandle)>,
    reports: Option<(ReputationConfig, Option<AbortHandle>)>,
}

/// What is to start, and which lists are to stay.
pub struct Change {
    lists: Vec<(BlocklistConfig, Blocklist)>,
    names: Vec<String>,
    reports: Option<(ReputationConfig, Option<Reporter>)>,
}

impl Beside {
    /// Makes ready what `config` has and is not running.
    ///
    /// # Errors
    /// A service cannot be spoken to at all: no TLS, no key.
    pub async fn prepare(&self, config: &Config, store: &Sqlite) -> anyhow::Result<Change> {
        let is_new = |list: &&BlocklistConfig| self.lists.get(&list.name).is_none_or(|(known, _)| known != *list);
        let lists = config.blocklist.iter().filter(is_new);
        let lists = lists.map(|list| anyhow::Ok((list.clone(), Blocklist::new(list)?))).collect::<Result<_, _>>()?;
        let names = config.blocklist.iter().map(|list| list.name.clone()).collect();
        let reports = match self.reports.as_ref().is_some_and(|(known, _)| *known == config.reputation) {
            true => None,
            false => Some((config.reputation.clone(), open_reporter(config, store).await?)),
        };
        Ok(Change { lists, names, reports })
    }

    /// Stops what is configured no more, and starts what is new.
    pub fn apply(&mut self, change: Change, outlets: &Outlets) {
        for (name, (_, task)) in self.lists.extract_if(|name, _| !change.names.contains(name)) {
            task.abort();
            outlets.services.send_modify(|services| {
                services.remove(&format!("blocklist {name}"));
            });
        }
        for (config, list) in change.lists {
            let task = self.tasks.spawn(list.follow(outlets.commands.clone(), outlets.services.clone()));
            if let Some((_, before)) = self.lists.insert(config.name.clone(), (config, task)) {
                before.abort();
            }
        }
        if let Some((config, reporter)) = change.reports {
            let (store, services) = (outlets.store.clone(), outlets.services.clone());
            let task = reporter.map(|reporter| self.tasks.spawn(reports::follow(reporter, store, services)));
            if let Some((_, Some(before))) = self.reports.replace((config, task)) {
                before.abort();
            }
        }
        // Those that have ended.
        while self.tasks.try_join_next().is_some() {}
    }
}
