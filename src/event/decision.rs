use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Category, Timestamp};

/// Somebody wants a client shut out. Everyone sends one of these to the one gate.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The same proposal, made twice, has the same id.
    pub id: String,
    pub target: IpNet,
    pub proposer: Proposer,
    pub ground: Ground,
    /// When the cause happened; the ban is counted from here.
    pub at: Timestamp,
    pub duration_secs: u64,
    /// How many bans this client had before.
    pub offences: u32,
}

/// Who proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proposer {
    /// Rules and windows.
    Rules,
    /// A person, over the API.
    Operator,
    /// A list of somebody else's: a file, a subscription, another program's bans.
    Imported,
    /// A ban that was in force when the daemon stopped.
    Restored,
    /// Another agent, which has decided so for itself.
    Fleet,
}

impl Proposer {
    pub fn as_str(self) -> &'static str {
        match self {
            Proposer::Rules => "rules",
            Proposer::Operator => "operator",
            Proposer::Imported => "imported",
            Proposer::Restored => "restored",
            Proposer::Fleet => "fleet",
        }
    }

    /// The proposer called `name`.
    pub fn parse(name: &str) -> Option<Proposer> {
        use Proposer::*;
        [Rules, Operator, Imported, Restored, Fleet].into_iter().find(|proposer| proposer.as_str() == name)
    }
}

/// Why: what a person is shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ground {
    pub finding_id: Option<String>,
    pub category: Option<Category>,
    pub score: u8,
    pub reason: String,
    /// The client stands behind a trusted proxy, from which its packets come.
    pub via_proxy: bool,
    /// The site served the client well just before, as it does visitors.
    pub was_served: bool,
}

/// A proposal and what became of it, over its whole life.
#[derive(Clone, Debug)]
pub struct Decision {
    pub id: String,
    pub target: IpNet,
    pub proposer: Proposer,
    pub ground: Ground,
    pub created_at: Timestamp,
    /// Absolute, counted from the event's time.
    pub expires_at: Timestamp,
    /// Dry run: recorded, never carried out.
    pub simulated: bool,
    pub state: DecisionState,
    /// The gate's reason when refused or held, or who lifted it.
    pub note: String,
    pub offences: u32,
    /// The agent that decided; empty: this one.
    pub origin: String,
}

impl Decision {
    /// Length of a ban that ends by hand alone, in seconds: a hundred years.
    pub const PERMANENT_SECS: u64 = 100 * 365 * 86_400;

    pub fn is_permanent(&self) -> bool {
        self.created_at.secs_until(self.expires_at) >= Decision::PERMANENT_SECS / 2
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionState {
    /// Permitted, not yet carried out by the responder.
    Pending,
    Active,
    Expired,
    /// Undone before its time.
    Lifted,
    /// The gate said no.
    Refused,
    /// The gate said not now.
    Held,
}

impl DecisionState {
    pub fn as_str(self) -> &'static str {
        match self {
            DecisionState::Pending => "pending",
            DecisionState::Active => "active",
            DecisionState::Expired => "expired",
            DecisionState::Lifted => "lifted",
            DecisionState::Refused => "refused",
            DecisionState::Held => "held",
        }
    }

    /// Nothing comes after these.
    pub const ENDED: [DecisionState; 3] = [DecisionState::Expired, DecisionState::Lifted, DecisionState::Refused];

    /// The state called `name`.
    pub fn parse(name: &str) -> Option<DecisionState> {
        use DecisionState::*;
        [Pending, Active, Expired, Lifted, Refused, Held].into_iter().find(|state| state.as_str() == name)
    }
}

/// What a responder reports of one target that it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub target: IpNet,
    /// Seconds until the backend lets go by itself.
    pub remaining_secs: u64,
}
