use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Severity, Timestamp};

/// Something that happened and that somebody may want to hear of. Its text may be a client's: whoever
/// writes it somewhere escapes it for that place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct News {
    pub what: What,
    /// Of the finding or the decision, the same whenever it is told.
    pub id: String,
    pub at: Timestamp,
    /// Of a step of a decision: when it was decided, and the finding that led to it.
    pub since: Option<Timestamp>,
    pub finding_id: String,
    pub severity: Severity,
    /// 1–10.
    pub score: u8,
    /// Of the closed set; empty: none.
    pub category: String,
    /// An address or a network; empty: nobody's.
    pub client: String,
    /// The file that it was read from.
    pub source: String,
    pub line_number: Option<u64>,
    pub case_id: String,
    pub method: String,
    pub uri: String,
    pub status: u16,
    pub user_agent: String,
    pub rule_ids: Vec<String>,
    /// Of a finding, before the gate: `none`, `monitor` or `block`; of a decision its state.
    pub action: String,
    /// Who says so: rules, models, a person.
    pub by: String,
    /// Why, for people.
    pub reason: String,
    /// When a ban ends.
    pub until: Option<Timestamp>,
    /// Only told, since dry run blocks nobody.
    pub simulated: bool,
}

impl Default for News {
    fn default() -> Self {
        News {
            what: What::Finding,
            id: String::new(),
            at: Timestamp(0),
            since: None,
            finding_id: String::new(),
            severity: Severity::Informational,
            score: 0,
            category: String::new(),
            client: String::new(),
            source: String::new(),
            line_number: None,
            case_id: String::new(),
            method: String::new(),
            uri: String::new(),
            status: 0,
            user_agent: String::new(),
            rule_ids: vec![],
            action: String::new(),
            by: String::new(),
            reason: String::new(),
            until: None,
            simulated: false,
        }
    }
}

/// What kind of news it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A line counts as suspicious.
    Finding,
    /// Rules shut a client out, or would in enforce mode.
    Ban,
    /// The gate holds a block back.
    Held,
    /// Something is wrong that `palisade status` says.
    Degraded,
    /// Nothing of that is wrong any more.
    Recovered,
    /// The daemon started.
    Start,
    /// The daemon stopped.
    Stop,
    /// The figures of a day, at midnight.
    Daily,
    /// The figures of a week, when Sunday is over.
    Weekly,
}

impl What {
    pub fn as_str(self) -> &'static str {
        match self {
            What::Finding => "finding",
            What::Ban => "ban",
            What::Held => "held",
            What::Degraded => "degraded",
            What::Recovered => "recovered",
            What::Start => "start",
            What::Stop => "stop",
            What::Daily => "daily",
            What::Weekly => "weekly",
        }
    }

    /// Whether it is about clients; else it is about the daemon, and told at once.
    pub fn is_counted(self) -> bool {
        matches!(self, What::Finding | What::Ban | What::Held)
    }
}
