//! Tells a server of the operator's who is to be shut out and who is let go: signed JSON, retries,
//! and a file for what it refused for good.

mod dead_letter;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shared::{self, Held};
use super::{Answer, Manner, RespondError, Responder, done};
use crate::decide::Permit;
use crate::event::{Outcome, Secret, Timestamp, shown};
use crate::wire::{self, Failure, Http, Signer};

/// `[respond.webhook]`: a server that is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where it is posted.
    pub url: Secret,
    /// What messages are signed with; the server has the same.
    pub key: Secret,
    /// A file that holds the key instead.
    pub key_file: Option<PathBuf>,
    /// For one try.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_secs: u64,
    /// Tries after the first, when the server does not answer or asks for patience.
    #[schemars(range(max = 10))]
    pub retries: u32,
    /// A file for what the server refused for good, a line of JSON each.
    pub dead_letter: Option<PathBuf>,
    /// Whether what the server does stops clients behind a proxy or CDN too.
    pub behind_proxies: bool,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        WebhookConfig {
            url: Secret::default(),
            key: Secret::default(),
            key_file: None,
            timeout_secs: 10,
            retries: 3,
            dead_letter: None,
            behind_proxies: false,
        }
    }
}

/// Decisions in one message: about 200 bytes each.
const MAX_DECISIONS: usize = 1000;
/// From one try to the next; twice as long each time, up to the second.
const PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The webhook responder.
pub struct Webhook {
    config: WebhookConfig,
    http: Http,
    signer: Signer,
    /// What the server was told: it cannot be asked.
    held: Held,
    /// The decisions that hold them, as they were told.
    told: HashMap<IpNet, Value>,
}

impl Webhook {
    /// # Errors
    /// What is missing in its settings.
    pub fn new(config: &WebhookConfig) -> Result<Webhook, RespondError> {
        let key = wire::secret(&config.key, config.key_file.as_deref(), "key").map_err(RespondError::Settings)?;
        if let Some(file) = &config.dead_letter {
            shared::absolute(Path::new(file), "dead_letter")?;
        }
        Ok(Webhook {
            http: Http::new(config.url.reveal(), "url", Duration::from_secs(config.timeout_secs), None)
                .map_err(RespondError::Settings)?,
            signer: Signer::new(&key).map_err(RespondError::Settings)?,
            config: config.clone(),
            held: Held::default(),
            told: HashMap::new(),
        })
    }

    async fn shut_out(&mut self, permits: &[Permit], now: Timestamp) -> Result<(), RespondError> {
        let (over, due): (Vec<&Permit>, Vec<&Permit>) =
            permits.iter().partition(|permit| now.secs_until(permit.expires_at()) == 0);
        let decisions = due.iter().map(|permit| {
            let decision = json!({
                "id": permit.id(),
                "target": shown(permit.target()),
                "expires_at": permit.expires_at(),
                "category": permit.category().map(|category| category.as_str()),
                "proposer": permit.proposer().as_str(),
            });
            (permit.target().trunc(), decision)
        });
        let decisions: Vec<(IpNet, Value)> = decisions.collect();
        let done = self.tell("ban", decisions.iter().map(|(_, decision)| decision)).await;
        let done = self.unless_refused(done)?;
        // What was refused for good counts as told: it is not told again.
        self.told.extend(decisions);
        self.held.apply(permits, now);
        let over: Vec<IpNet> = over.iter().map(|permit| permit.target()).collect();
        self.let_go(&over).await?;
        done
    }

    async fn let_go(&mut self, targets: &[IpNet]) -> Result<(), RespondError> {
        // Of a ban from before a restart nothing but its target is known.
        let decision = |target: &IpNet| match self.told.get(&target.trunc()) {
            Some(decision) => decision.clone(),
            None => {
                json!({ "id": null, "target": shown(target.trunc()), "expires_at": null, "category": null, "proposer": null })
            }
        };
        let decisions: Vec<Value> = targets.iter().map(decision).collect();
        let done = self.tell("unban", decisions.iter()).await;
        let done = self.unless_refused(done)?;
        for target in targets {
            self.told.remove(&target.trunc());
        }
        self.held.lift(targets);
        done
    }

    /// The failure to return at the end, where it is one that nothing is to be tried after.
    fn unless_refused(&self, done: Result<(), RespondError>) -> Result<Result<(), RespondError>, RespondError> {
        match done {
            Err(error) if !error.is_final() => Err(error),
            done => Ok(done),
        }
    }

    /// Posts these in as many messages as they need, all of them even when one is refused for good.
    async fn tell<'a>(&self, event: &str, decisions: impl Iterator<Item = &'a Value>) -> Result<(), RespondError> {
        let decisions: Vec<&Value> = decisions.collect();
        let mut done = Ok(());
        for part in decisions.chunks(MAX_DECISIONS) {
            let message = json!({ "version": 1, "event": event, "sent_at": Timestamp::now(), "decisions": part });
            match self.post(message.to_string()).await {
                Err(error) if error.is_final() => {
                    self.keep(message, &error).await?;
                    done = Err(error);
                }
                posted => posted?,
            }
        }
        done
    }

    async fn post(&self, body: String) -> Result<(), RespondError> {
        let began = Instant::now();
        let mut pause = PAUSE;
        for attempt in 0.. {
            let request = self.http.client().post(self.config.url.reveal());
            let request = request.header("content-type", "application/json");
            // Signed anew for each try: the server refuses what is old.
            let request = request.header("palisade-signature", self.signer.sign(Timestamp::now(), &body));
            let (why, wait) = match self.http.ask(request.body(body.clone())).await {
                Ok(heard) => match heard.status {
                    200..300 => return Ok(()),
                    408 | 429 | 500.. => (heard.told(), heard.retry_after),
                    _ => return Err(RespondError::GivenUp { program: self.http.shown(), message: heard.told() }),
                },
                Err(Failure(why)) => (why, None),
            };
            let wait = wait.unwrap_or(pause);
            if attempt == self.config.retries || wait > MAX_PAUSE {
                return Err(RespondError::Rejected { program: self.http.shown(), message: why });
            }
            // Agents that failed together do not come back together.
            let jitter = Duration::from_millis(u64::from(began.elapsed().subsec_nanos() % 250));
            tokio::time::sleep(wait + jitter).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Ok(())
    }

    async fn keep(&self, message: Value, why: &RespondError) -> Result<(), RespondError> {
        let Some(file) = self.config.dead_letter.clone() else { return Ok(()) };
        let letter = json!({ "refused_at": Timestamp::now(), "reason": why.to_string(), "message": message });
        let kept = tokio::task::spawn_blocking(move || dead_letter::append(&file, &letter.to_string())).await;
        let kept = kept.map_err(std::io::Error::other).and_then(|kept| kept);
        kept.map_err(|error| RespondError::Rejected {
            program: self.http.shown(),
            message: format!("{why}; and `dead_letter` cannot be written: {error}"),
        })
    }
}

impl Responder for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn manner(&self) -> Manner {
        Manner {
            is_quick: false,
            ends_bans: false,
            gather: Duration::from_millis(200),
            look: Duration::from_secs(1),
            sees_clients_behind_proxies: self.config.behind_proxies,
        }
    }

    fn start(&mut self) -> Answer<'_, ()> {
        done(())
    }

    /// Messages before one that failed are told.
    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(self.shut_out(permits, now))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(self.let_go(targets))
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        done(self.held.outcomes())
    }

    fn check(&mut self) -> Answer<'_, ()> {
        done(())
    }

    fn allow<'a>(&'a mut self, _networks: &'a [IpNet]) -> Answer<'a, ()> {
        done(())
    }
}
