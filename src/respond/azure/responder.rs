use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::arm::Arm;
use super::list::{self, List};
use super::{AzureConfig, AzureCredential, AzureMode};
use crate::decide::Permit;
use crate::event::{Outcome, Secret, Timestamp};
use crate::respond::{Answer, MAX_SECS, Manner, RespondError, Responder};

/// Whether all is still there is asked this often at most.
const CHECK: Duration = Duration::from_secs(300);

/// The Azure responder.
pub struct Azure {
    pub(super) config: AzureConfig,
    pub(super) lists: Vec<List>,
    pub(super) arm: Arm,
    /// What was ordered, and until when.
    wanted: HashMap<IpNet, Instant>,
    checked: Option<Instant>,
}

impl Azure {
    /// # Errors
    /// What is missing in the settings.
    pub fn new(config: &AzureConfig) -> Result<Azure, RespondError> {
        let refused = |what: &str| RespondError::Settings(format!("respond.azure: {what}; see docs/azure.md"));
        let is_ip_group = config.mode == AzureMode::IpGroup;
        let mut needed = vec![("subscription", &config.subscription), ("resource_group", &config.resource_group)];
        if !is_ip_group {
            needed.push(("resource", &config.resource));
        }
        let secret = secret(config)?;
        if config.credential == AzureCredential::ClientSecret {
            needed.extend([("tenant_id", &config.tenant_id), ("client_id", &config.client_id)]);
            if secret.is_empty() {
                return Err(refused(
                    "client_secret is not set (nor client_secret_file, nor AZURE_CLIENT_SECRET); \
                     or choose another `credential`",
                ));
            }
        }
        if let Some((name, _)) = needed.iter().find(|(_, value)| value.is_empty()) {
            return Err(refused(&format!("{name} is not set")));
        }
        // They become parts of a path. A group's name and number: 80 letters at most.
        let is_name = |name: &str| {
            let is_fit = |c: char| c.is_alphanumeric() || "-_.()".contains(c);
            name.len() <= 76 && name.chars().all(is_fit) && !name.contains("..")
        };
        let names = [&config.subscription, &config.resource_group, &config.resource, &config.name];
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(refused(&format!("{name:?} is no name in Azure")));
        }
        if !config.name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(refused("name must begin with a letter"));
        }
        let arm = Arm::new(config, secret).map_err(|what| refused(&what))?;
        let lists = list::lists(config);
        Ok(Azure { config: config.clone(), lists, arm, wanted: HashMap::new(), checked: None })
    }

    /// Reads every list.
    async fn read(&mut self) -> Result<Vec<Vec<String>>, RespondError> {
        let mut all = vec![];
        for list in &self.lists {
            let resource = self.arm.get(&list.path).await?;
            all.push(list.read(&resource)?);
        }
        self.checked = Some(Instant::now());
        Ok(all)
    }

    /// Adds and removes, and puts right what else is not as it should be. What is not in force in one
    /// list may be in force in another after an error.
    async fn change(&mut self, add: HashMap<IpNet, Instant>, remove: &[IpNet]) -> Result<(), RespondError> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        self.arm.sent.clear();
        let mut known: HashSet<IpNet> = self.wanted.keys().chain(add.keys()).copied().collect();
        known.extend(remove.iter().map(IpNet::trunc));
        let mut wanted = self.wanted.clone();
        wanted.extend(add);
        wanted.retain(|target, _| !remove.iter().any(|gone| gone.trunc() == *target));
        let mut failed = Ok(());
        for (number, list) in self.lists.iter().enumerate() {
            let here = |target: &&IpNet| list::place(&self.lists, target) == Some(number);
            let ours: BTreeSet<IpNet> = wanted.keys().filter(here).copied().collect();
            let updated = self
                .arm
                .update(&list.path, |resource| {
                    let mut resource = resource.ok_or_else(|| missing(list))?;
                    let current = list.read(&resource)?;
                    let entries = list::merge(&current, &ours, &known);
                    if entries == current {
                        return Ok(None);
                    }
                    if entries.len() > list.limit && entries.len() > current.len() {
                        return Err(RespondError::Full { limit: u32::try_from(list.limit).unwrap_or(u32::MAX) });
                    }
                    list.write(&mut resource, entries);
                    Ok(Some(resource))
                })
                .await;
            // One that is full keeps nobody out of the others.
            failed = failed.and(updated.map(drop));
        }
        failed?;
        self.arm.sent.clear();
        self.wanted = wanted;
        Ok(())
    }

    async fn shut_out(&mut self, permits: &[Permit], now: Timestamp) -> Result<(), RespondError> {
        let (mut add, mut over) = (HashMap::new(), BTreeSet::new());
        for permit in permits {
            let target = permit.target().trunc();
            let secs = now.secs_until(permit.expires_at()).min(MAX_SECS);
            if secs == 0 {
                add.remove(&target);
                over.insert(target);
            } else if self.takes(&target) {
                over.remove(&target);
                add.insert(target, Instant::now() + Duration::from_secs(secs));
            }
        }
        self.change(add, &over.into_iter().collect::<Vec<_>>()).await
    }

    async fn ask(&mut self) -> Result<Vec<Outcome>, RespondError> {
        let entries = self.read().await?;
        let entries: HashSet<IpNet> = entries.iter().flatten().filter_map(|entry| list::parse(entry)).collect();
        let now = Instant::now();
        let held = self.wanted.iter().filter(|(target, _)| list::holds(&entries, **target));
        let outcome = |(target, end): (&IpNet, &Instant)| Outcome {
            target: *target,
            remaining_secs: end.saturating_duration_since(now).as_secs(),
        };
        Ok(held.map(outcome).collect())
    }
}

fn missing(list: &List) -> RespondError {
    let message = format!("{} does not exist; `palisade azure init` makes it", list.title);
    RespondError::Rejected { program: "Azure".into(), message }
}

/// The configured secret, or what the file that is named instead holds.
fn secret(config: &AzureConfig) -> Result<Secret, RespondError> {
    let Some(file) = config.client_secret_file.as_ref().filter(|_| config.client_secret.is_empty()) else {
        return Ok(config.client_secret.clone());
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        RespondError::Settings(format!("respond.azure: cannot read the secret in {}: {error}", file.display()))
    })?;
    Ok(Secret::from(text.trim().to_owned()))
}

impl Responder for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn manner(&self) -> Manner {
        // A change of an IP group takes minutes, of the others seconds.
        let usual = if self.config.mode == AzureMode::IpGroup { 30 } else { 5 };
        let gather = Duration::from_secs(self.config.batch_secs.unwrap_or(usual));
        Manner {
            is_quick: false,
            ends_bans: false,
            gather,
            look: gather.max(Duration::from_secs(30)),
            sees_clients_behind_proxies: self.config.mode == AzureMode::WafPolicy,
        }
    }

    fn takes(&self, target: &IpNet) -> bool {
        list::place(&self.lists, target).is_some()
    }

    fn start(&mut self) -> Answer<'_, ()> {
        Box::pin(async { self.read().await.map(|_| ()) })
    }

    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(self.shut_out(permits, now))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(self.change(HashMap::new(), targets))
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        Box::pin(self.ask())
    }

    fn check(&mut self) -> Answer<'_, ()> {
        Box::pin(async {
            match self.checked {
                Some(checked) if checked.elapsed() < CHECK => Ok(()),
                _ => self.read().await.map(|_| ()),
            }
        })
    }

    /// The lists deny and can except nobody; the gate lets nothing through that touches the allowlist,
    /// and who is added to it is lifted.
    fn allow<'a>(&'a mut self, _networks: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
