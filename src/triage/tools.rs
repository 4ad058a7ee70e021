//! What a model may look up about a case. No tool takes a target: the address is the finding's. What
//! comes back is ours or checked by shape, never text that somebody else wrote.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::geoip::Geoip;
use super::limits::{Caps, Limits, locked};
use super::prompt::Said;
use super::provider::{Message, ProviderError, Reply, Tool, ToolCall};
use super::reputation::{Abuseipdb, Reputation, Virustotal, is_public};
use super::tier::Answered;
use super::{Privacy, ReputationConfig, UsedToday};
use crate::event::{ClientKey, ModelCall, Secret, Timestamp};
use crate::memory::{Drawer, Memory};

/// Times that a model may ask for tools before it must answer.
const MAX_ROUNDS: usize = 3;
/// Tools that are used in one round; more is no honest question.
const MAX_CALLS: usize = 4;
/// Events of a client that a model is told of.
const RECENT: usize = 10;
/// A reputation service has answered by then, or counts as silent.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a model's wish to watch a client is remembered.
const WATCHED: Duration = Duration::from_secs(3600);

const MONITOR: &str = "store_monitoring_log";
const RECENT_ACTIVITY: &str = "recent_activity";

/// Whom a case is about: what no model is shown.
#[derive(Clone, Debug)]
pub struct About {
    pub finding_id: String,
    pub address: Option<IpAddr>,
    pub client: ClientKey,
}

/// What tools work with.
pub struct Toolbox {
    memory: Arc<dyn Memory>,
    services: Vec<Service>,
    geoip: Geoip,
    tools: Vec<Tool>,
    ttl: Duration,
    refused_targets: AtomicU64,
}

/// A reputation service with what it may still be asked.
struct Service {
    tool: &'static str,
    name: &'static str,
    client: Client,
    limits: Mutex<Limits>,
}

enum Client {
    Abuseipdb(Abuseipdb),
    Virustotal(Virustotal),
}

impl Toolbox {
    /// The tools for which `config` has keys, and those that need none; under [`Privacy::LocalOnly`] these
    /// alone. `today` is what a service was asked on this day before the start.
    ///
    /// # Errors
    /// A key or an address of the configuration cannot be used.
    pub fn new(
        config: &ReputationConfig,
        privacy: Privacy,
        memory: Arc<dyn Memory>,
        today: UsedToday<'_>,
    ) -> anyhow::Result<Toolbox> {
        let mut services = vec![];
        let key = |set: &Secret, file: &Option<PathBuf>| match privacy {
            Privacy::LocalOnly => Ok(Secret::default()),
            Privacy::Masked => super::key(set, file.as_deref()),
        };
        let abuseipdb_key = key(&config.abuseipdb_key, &config.abuseipdb_key_file)?;
        let virustotal_key = key(&config.virustotal_key, &config.virustotal_key_file)?;
        let limits = |name: &str, caps: Caps| Mutex::new(Limits::new(caps, today(name), Instant::now()));
        if !abuseipdb_key.is_empty() {
            let caps = Caps { requests_per_day: config.abuseipdb_per_day, ..Caps::default() };
            let client = Abuseipdb::new(&config.abuseipdb_url, &abuseipdb_key, LOOKUP_TIMEOUT)?;
            services.push(Service {
                tool: "check_abuseipdb",
                name: "abuseipdb",
                client: Client::Abuseipdb(client),
                limits: limits("abuseipdb", caps),
            });
        }
        if !virustotal_key.is_empty() {
            let (requests_per_min, requests_per_day) = (config.virustotal_per_min, config.virustotal_per_day);
            let caps = Caps { requests_per_min, requests_per_day, ..Caps::default() };
            let client = Virustotal::new(&config.virustotal_url, &virustotal_key, LOOKUP_TIMEOUT)?;
            services.push(Service {
                tool: "check_virustotal",
                name: "virustotal",
                client: Client::Virustotal(client),
                limits: limits("virustotal", caps),
            });
        }
        let about = |name: &str| match name {
            "abuseipdb" => "What people reported of the client's address to AbuseIPDB.",
            _ => "What scanners say of the client's address at VirusTotal.",
        };
        let nothing = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let mut tools: Vec<Tool> = (services.iter())
            .map(|service| Tool { name: service.tool, description: about(service.name), parameters: nothing.clone() })
            .collect();
        tools.push(Tool {
            name: RECENT_ACTIVITY,
            description: "What the client did lately that was found suspicious, and where its network is.",
            parameters: nothing.clone(),
        });
        tools.push(Tool {
            name: MONITOR,
            description: "Has the client watched for an hour; tells whether it is a repeat offender.",
            parameters: nothing,
        });
        let ttl = Duration::from_secs(config.ttl_secs);
        let geoip = Geoip::open_or_none(&config.geoip_files);
        Ok(Toolbox { memory, services, geoip, tools, ttl, refused_targets: AtomicU64::new(0) })
    }

    /// Arguments of models that named a target of their own.
    pub fn refused_targets(&self) -> u64 {
        self.refused_targets.load(Relaxed)
    }

    /// The reputation services that may be asked.
    pub fn services(&self) -> impl Iterator<Item = &'static str> {
        self.services.iter().map(|service| service.name)
    }

    /// What the service called `name` knows of `address`, within its limits; `about` stands in the ledger. One
    /// that is not public is told to nobody.
    ///
    /// # Errors
    /// Why nothing is known, for people.
    pub async fn reputation(
        &self,
        name: &str,
        address: IpAddr,
        about: &str,
        ledger: &mut Vec<ModelCall>,
    ) -> Result<Reputation, String> {
        let service = self.services.iter().find(|service| service.name == name).filter(|_| is_public(address));
        match service {
            Some(service) => self.look_up(service, address, about, ledger).await,
            None => Ok(Reputation::Unknown),
        }
    }

    /// What others asked of services today counts too.
    pub fn learn(&self, used: UsedToday<'_>) {
        self.services.iter().for_each(|service| service.limits().learn(used(service.name)));
    }

    /// What `service` knows of `address`, from memory where it was asked lately.
    async fn look_up(
        &self,
        service: &Service,
        address: IpAddr,
        finding_id: &str,
        ledger: &mut Vec<ModelCall>,
    ) -> Result<Reputation, String> {
        let key = format!("{}:{address}", service.name);
        if let Some(known) = self.memory.get(Drawer::Reputation, &key).await
            && let Ok(known) = serde_json::from_str(&known)
        {
            return Ok(known);
        }
        let admitted = service.limits().admit(1, Instant::now(), Timestamp::now());
        admitted.map_err(|barred| barred.to_string())?;
        let (at, started) = (Timestamp::now(), Instant::now());
        let answer = match &service.client {
            Client::Abuseipdb(client) => client.check(address).await,
            Client::Virustotal(client) => client.check(address).await,
        };
        let now = Instant::now();
        match &answer {
            Ok(_) => service.limits().answered(Default::default(), 0, 0.0, Default::default(), now),
            Err(error) => service.limits().failed(error, now),
        }
        ledger.push(ModelCall {
            at,
            service: service.name.into(),
            model: String::new(),
            finding_id: finding_id.to_owned(),
            outcome: answer.as_ref().map_or_else(ProviderError::to_string, |_| "answered".into()),
            millis: u64::try_from(now.duration_since(started).as_millis()).unwrap_or(u64::MAX),
            // All that leaves is the address.
            sent_bytes: address.to_string().len() as u64,
            received_bytes: 0,
            input_tokens: 0,
            output_tokens: 0,
            usd: 0.0,
        });
        let known = answer.map_err(|error| error.to_string())?;
        // Numbers and closed sets always serialise.
        let text = serde_json::to_string(&known).unwrap_or_default();
        self.memory.put(Drawer::Reputation, &key, text, self.ttl).await;
        Ok(known)
    }
}

/// Whether a service knows an address for abuse: where both recommend to act.
fn is_ill(known: &Reputation) -> bool {
    match known {
        Reputation::Unknown => false,
        Reputation::Abuseipdb(abuse) => abuse.abuse_confidence > 50 && !abuse.is_whitelisted,
        Reputation::Virustotal(analysis) => analysis.malicious >= 3,
    }
}

impl Service {
    fn limits(&self) -> MutexGuard<'_, Limits> {
        locked(&self.limits)
    }
}

/// One case's talk with a model: what it has asked for, and what that showed.
pub struct Conversation<'a> {
    toolbox: &'a Toolbox,
    about: &'a About,
    rounds: usize,
    used: Vec<String>,
    of_client: bool,
    ill_reputed: bool,
}

impl<'a> Conversation<'a> {
    pub fn new(toolbox: &'a Toolbox, about: &'a About) -> Conversation<'a> {
        Conversation { toolbox, about, rounds: 0, used: vec![], of_client: false, ill_reputed: false }
    }

    /// The tools that may still be asked for; `None` when an answer is due.
    pub fn tools(&self) -> Option<&'a [Tool]> {
        (self.rounds < MAX_ROUNDS).then_some(&*self.toolbox.tools)
    }

    /// Does what a reply asks for, as far as it may be.
    pub async fn answer(&mut self, reply: Reply, messages: &mut Vec<Message>, ledger: &mut Vec<ModelCall>) {
        self.rounds += 1;
        let mut calls = reply.calls;
        calls.truncate(MAX_CALLS);
        let mut answers = vec![];
        let mut is_new = false;
        for ToolCall { id, name, arguments } in &calls {
            let text = if self.used.contains(name) {
                "answered above".to_owned()
            } else if self.names_another(arguments) {
                self.toolbox.refused_targets.fetch_add(1, Relaxed);
                is_new = true;
                "refused: tools are about the client of this case and take no address".to_owned()
            } else {
                is_new = true;
                self.used.push(name.clone());
                self.use_tool(name, ledger).await
            };
            answers.push(Message::Tool { id: id.clone(), name: name.clone(), text });
        }
        if !is_new {
            // It goes round in circles.
            self.rounds = MAX_ROUNDS;
        }
        messages.push(Message::Assistant { text: reply.text, calls });
        messages.extend(answers);
    }

    pub fn concluded(self, said: Said) -> Answered {
        Answered { said, of_client: self.of_client, ill_reputed: self.ill_reputed }
    }

    /// Whether an argument is anything but the case's own address.
    fn names_another(&self, arguments: &Value) -> bool {
        let own = |value: &Value| {
            let named = value.as_str().and_then(|text| text.trim().parse::<IpAddr>().ok());
            named.is_some() && named == self.about.address
        };
        match arguments {
            Value::Null => false,
            Value::Object(members) => !members.values().all(own),
            Value::String(text) => !text.trim().is_empty(),
            _ => true,
        }
    }

    async fn use_tool(&mut self, name: &str, ledger: &mut Vec<ModelCall>) -> String {
        let Toolbox { memory, services, geoip, .. } = self.toolbox;
        self.of_client = true;
        match name {
            RECENT_ACTIVITY => {
                let recent = memory.recent(self.about.client, RECENT).await;
                let events: Vec<Value> = (recent.iter())
                    .map(|event| json!({ "time": event.time, "category": event.category, "score": event.score }))
                    .collect();
                let network = self.about.address.and_then(|address| geoip.look_up(address));
                json!({ "recent": events, "network": network }).to_string()
            }
            MONITOR => {
                let key = format!("watched:{}", self.about.client);
                memory.put(Drawer::Escalations, &key, self.about.finding_id.clone(), WATCHED).await;
                match memory.recall(self.about.client).await {
                    Some(known) => {
                        json!({ "findings": known.findings, "risk": known.risk, "worst_score": known.highest,
                        "first": known.first, "last": known.last })
                        .to_string()
                    }
                    None => json!({ "findings": 0, "risk": "low" }).to_string(),
                }
            }
            _ => {
                let Some(service) = services.iter().find(|service| service.tool == name) else {
                    return "there is no such tool".into();
                };
                let Some(address) = self.about.address.filter(|address| is_public(*address)) else {
                    return "nothing is known: the address is not public".into();
                };
                match self.toolbox.look_up(service, address, &self.about.finding_id, ledger).await {
                    Ok(known) => {
                        self.ill_reputed |= is_ill(&known);
                        json!(known).to_string()
                    }
                    Err(why) => format!("not available: {why}"),
                }
            }
        }
    }
}
