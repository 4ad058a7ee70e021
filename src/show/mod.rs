//! Takes requests over HTTP under `/api/v1`, answers from the store, passes commands on. Never
//! decides and never touches a responder: a command goes to the one decider. `crowdsec` gives
//! decisions to bouncers.

mod access;
mod accounts;
mod analyze;
mod api;
mod ask;
mod config;
pub mod crowdsec;
mod endpoints;
mod history;
mod http;
mod live;
mod metrics;
mod openapi;
mod pages;
mod password;
mod rules;
mod tunes;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::ask::AskConfig;
use crate::event::{Decision, VerdictClass};
use crate::record::{Sqlite, StoreError};
use crate::report::ReportConfig;

pub use accounts::first_link;
pub use analyze::{AnalysisEvent, AnalysisQuery, AnalysisRequest, Analyst};
pub use api::{MAX_IMPORT, decision, service};
pub use ask::{Answer, Answered, ClientStory, Clients, Counted, answer, told};
pub use config::{CrowdsecApiConfig, DashboardConfig, HttpConfig};
pub use endpoints::{ENDPOINTS, Endpoint};
pub use history::{HistoryQuery, StatsQuery, history, stats};
pub use live::Live;
pub use metrics::router as monitoring;
pub use pages::dashboard;
pub use password::Throttle;
pub use rules::SwitchedOff;

/// What an operator tells the daemon.
#[derive(Clone, Debug)]
pub enum Command {
    /// Whether decisions are made and logs are read.
    Ping,
    Status,
    Ban {
        target: IpNet,
        duration_secs: Option<u64>,
        reason: String,
    },
    /// Many bans at once, each with its length, of somebody else's list.
    Import {
        bans: Vec<(IpNet, Option<u64>)>,
        reason: String,
    },
    /// What other agents decided, in their order: active ones are bans, lifted ones are let go again.
    Fleet {
        decisions: Vec<Decision>,
    },
    /// Lift the bans that touch `target`; none: all.
    Unban {
        target: Option<IpNet>,
    },
    /// Carry out at once what the gate holds because it would be too much.
    Release,
    Allow {
        network: IpNet,
        note: String,
    },
    Disallow {
        network: IpNet,
    },
    /// Enforce from now on, or in dry run again.
    Mode {
        enforce: bool,
    },
    /// Enforce for so long.
    TryEnforcing {
        secs: u64,
    },
    /// Erase what is kept of a client or network.
    Forget {
        network: IpNet,
    },
    /// An operator's word on a finding, for everything that looks like it.
    Verdict {
        finding_id: String,
        class: VerdictClass,
    },
    /// Forget what models said.
    ForgetVerdicts,
    /// What is known of the client that this address belongs to.
    Client {
        address: IpAddr,
    },
}

/// What works beside the decider and has something to say in `status`, by name.
pub type Services = BTreeMap<String, Service>;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Service {
    /// A sentence that names the way out.
    pub problem: Option<String>,
    #[serde(flatten)]
    pub figures: Map<String, Value>,
}

/// What an operator tells of keys that can be set while the daemon runs.
#[derive(Clone, Debug)]
pub enum Tune {
    List,
    /// For so many seconds, or until the daemon stops.
    Set {
        key: String,
        value: String,
        secs: Option<u64>,
        by: String,
    },
    Reset {
        key: String,
        by: String,
    },
    /// Everything that is in force, and where it comes from.
    Config,
    /// Rules that are on, and what is switched off.
    Rules,
    /// Switch a rule off until it is switched on again; without a path everywhere.
    SwitchOff {
        rule: String,
        path: Option<String>,
        reason: String,
        by: String,
    },
    SwitchOn {
        id: String,
        by: String,
    },
}

/// The same for these.
pub struct TuneRequest {
    pub tune: Tune,
    pub reply: oneshot::Sender<Result<Value, Problem>>,
}

/// A command on its way, and where its answer goes.
pub struct Request {
    pub command: Command,
    pub reply: oneshot::Sender<Result<Value, Problem>>,
}

/// Two capital letters for an address.
pub type Country = Arc<dyn Fn(IpAddr) -> Option<String> + Send + Sync>;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Invalid(String),
    /// Nobody knows who asks.
    #[error("{0}")]
    Unauthorized(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    TooMany(String),
    #[error("{0}")]
    NotFound(String),
    /// The gate's answer.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        Problem::Failed(error.to_string())
    }
}

/// What the router works with.
#[derive(Clone)]
pub struct Backend {
    pub commands: mpsc::Sender<Request>,
    pub tunes: mpsc::Sender<TuneRequest>,
    pub store: Arc<Sqlite>,
    pub services: watch::Receiver<Services>,
    pub analyst: Analyst,
    pub ask: Arc<AskConfig>,
    /// Length of the IPv6 network that counts as one client.
    pub v6_prefix: u8,
    pub dashboard: Arc<DashboardConfig>,
    pub report: Arc<ReportConfig>,
    /// How people reach the dashboard, without a slash at the end.
    pub public_url: Arc<str>,
    /// The country of an address, where a database of them is configured.
    pub country: Country,
    pub live: Live,
    /// Who guesses passwords.
    pub throttle: Arc<Mutex<Throttle>>,
    /// Turns at hashing passwords.
    pub hashing: Arc<Semaphore>,
}
