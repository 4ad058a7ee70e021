//! Has Cloudflare stop clients before they come here: keeps our entries in an IP list of the
//! account, which a custom rule of the operator's refuses. The list's other entries stay.

mod api;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared;
use super::{Answer, MAX_SECS, Manner, RespondError, Responder, done};
use crate::decide::Permit;
use crate::event::{Outcome, Secret, Timestamp};
use crate::wire;
use api::{Api, Item};

/// `[respond.cloudflare]`: an IP list of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CloudflareConfig {
    /// The account's id.
    pub account_id: String,
    /// The list's id; its kind is `ip`.
    pub list_id: String,
    /// A token that may edit account filter lists.
    pub token: Secret,
    /// A file that holds the token instead.
    pub token_file: Option<PathBuf>,
    /// How the comments of our entries begin. Agents that share a list need one each.
    pub mark: String,
    /// Where the API is.
    pub url: String,
    /// For each request, and for what Cloudflare makes of it.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_secs: u64,
}

impl Default for CloudflareConfig {
    fn default() -> Self {
        CloudflareConfig {
            account_id: String::new(),
            list_id: String::new(),
            token: Secret::default(),
            token_file: None,
            mark: "palisade".into(),
            url: "https://api.cloudflare.com/client/v4".into(),
            timeout_secs: 60,
        }
    }
}

/// Between our mark and the end of a ban, in a comment.
const UNTIL: &str = " until ";
/// Changes in one request: about as many may wait at Cloudflare before it refuses more.
const MAX_CHANGES: usize = 1000;

/// The Cloudflare responder.
pub struct Cloudflare {
    api: Api,
    mark: String,
    /// Targets that somebody else listed and we should hold: theirs stay, and need none of ours.
    foreign: BTreeSet<IpNet>,
    covered: BTreeMap<IpNet, Timestamp>,
    /// Our entries as they were when last looked at, and what became of them since.
    ours: BTreeMap<IpNet, Timestamp>,
}

impl Cloudflare {
    /// # Errors
    /// What is missing in its settings.
    pub fn new(config: &CloudflareConfig) -> Result<Cloudflare, RespondError> {
        for (name, id) in [("account_id", &config.account_id), ("list_id", &config.list_id)] {
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                let why =
                    format!("`{name}` needs the id that Cloudflare's dashboard or API shows, of letters and digits");
                return Err(RespondError::Settings(why));
            }
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if config.mark.is_empty() || config.mark.len() > 64 || !config.mark.bytes().all(is_word) {
            return Err(RespondError::Settings("`mark` needs a word of at most 64 letters, digits, - _ .".into()));
        }
        let token = wire::secret(&config.token, config.token_file.as_deref(), "token");
        Ok(Cloudflare {
            api: Api::new(config, token.map_err(RespondError::Settings)?)?,
            mark: config.mark.clone(),
            foreign: BTreeSet::new(),
            covered: BTreeMap::new(),
            ours: BTreeMap::new(),
        })
    }

    /// Reads the whole list; gives the ids of our entries.
    async fn survey(&mut self) -> Result<BTreeMap<IpNet, String>, RespondError> {
        let (mut ours, mut foreign, mut ids) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for Item { id, network, comment } in self.api.items().await? {
            let until = comment.strip_prefix(&self.mark).and_then(|rest| shared::moment(rest.strip_prefix(UNTIL)?));
            match until {
                Some(until) => {
                    ours.insert(network, until);
                    ids.insert(network, id);
                }
                None => {
                    foreign.insert(network);
                }
            }
        }
        self.covered.retain(|target, _| foreign.contains(target));
        (self.ours, self.foreign) = (ours, foreign);
        Ok(ids)
    }

    async fn shut_out(&mut self, permits: &[Permit], now: Timestamp) -> Result<(), RespondError> {
        let (mut due, mut over) = (BTreeMap::new(), vec![]);
        for permit in permits {
            let target = permit.target().trunc();
            match now.secs_until(permit.expires_at()) {
                0 => {
                    due.remove(&target);
                    over.push(target);
                }
                _ => {
                    due.insert(target, permit.expires_at().min(now.plus_secs(MAX_SECS)));
                }
            }
        }
        for (target, until) in &due {
            if self.foreign.contains(target) {
                self.covered.insert(*target, *until);
            }
        }
        due.retain(|target, until| !self.foreign.contains(target) && self.ours.get(target) != Some(until));
        let due: Vec<(IpNet, Timestamp)> = due.into_iter().collect();
        for part in due.chunks(MAX_CHANGES) {
            // What is listed already gets the new comment.
            self.api.add(part.iter().map(|(target, until)| (*target, format!("{}{UNTIL}{until}", self.mark)))).await?;
            self.ours.extend(part.iter().copied());
        }
        over.retain(|target| self.ours.contains_key(target) || self.covered.contains_key(target));
        self.let_go(&over).await
    }

    async fn let_go(&mut self, targets: &[IpNet]) -> Result<(), RespondError> {
        if targets.is_empty() {
            return Ok(());
        }
        // Ids are known to the list alone, and an entry may have become somebody else's.
        let mut ids = self.survey().await?;
        for target in targets {
            self.covered.remove(&target.trunc());
        }
        let due: Vec<(IpNet, String)> = targets.iter().filter_map(|target| ids.remove_entry(&target.trunc())).collect();
        for part in due.chunks(MAX_CHANGES) {
            self.api.remove(part.iter().map(|(_, id)| id.as_str())).await?;
            for (target, _) in part {
                self.ours.remove(target);
            }
        }
        Ok(())
    }
}

impl Responder for Cloudflare {
    fn name(&self) -> &'static str {
        "cloudflare"
    }

    fn manner(&self) -> Manner {
        Manner {
            is_quick: false,
            ends_bans: false,
            gather: Duration::from_millis(500),
            look: Duration::from_secs(30),
            sees_clients_behind_proxies: true,
        }
    }

    fn start(&mut self) -> Answer<'_, ()> {
        Box::pin(async {
            self.api.check().await?;
            self.survey().await.map(drop)
        })
    }

    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(self.shut_out(permits, now))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(self.let_go(targets))
    }

    /// With those whom somebody else's entry shuts out too.
    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        Box::pin(async {
            self.survey().await?;
            let now = Timestamp::now();
            let held = self.ours.iter().chain(&self.covered);
            let outcome = |(target, until): (&IpNet, &Timestamp)| Outcome {
                target: *target,
                remaining_secs: now.secs_until(*until),
            };
            Ok(held.map(outcome).collect())
        })
    }

    fn check(&mut self) -> Answer<'_, ()> {
        Box::pin(self.api.check())
    }

    /// A list has no exceptions: the rule that uses it has them.
    fn allow<'a>(&'a mut self, _networks: &'a [IpNet]) -> Answer<'a, ()> {
        done(())
    }
}
