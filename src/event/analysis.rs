//! What `palisade analyze` tells of an input: plain data, the same however it is written down.
//! All text that came out of the input has gone through [`printable`](super::printable).

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Category, Severity, Timestamp};

/// An input, understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Analysis {
    /// Version of this shape: 1.
    pub version: u32,
    /// A digest of the input and the time.
    pub id: String,
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    pub input: Input,
    /// The highest severity present; none without findings.
    pub threat_level: Option<Severity>,
    pub risk: Risk,
    /// The worst first, one for each attacker and kind.
    pub threats: Vec<Threat>,
    /// Public addresses that threats name.
    pub addresses: Vec<Address>,
    pub compliance: Compliance,
    /// What a learned baseline does not know; empty where none was learned.
    pub deviations: Vec<Deviation>,
    pub compression: Option<Compression>,
    pub narrative: Narrative,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// Files, or `-`.
    pub names: Vec<String>,
    /// After decompression.
    pub bytes: u64,
    pub lines: u64,
    /// Lines whose format is not known: looked at as text.
    pub unparsed: u64,
    /// Lines by format, the most frequent first.
    pub formats: Vec<Counted>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub first_time: Option<Timestamp>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_time: Option<Timestamp>,
    pub took_ms: u64,
}

/// How many there are of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    pub name: String,
    pub count: u64,
}

/// How bad it is, as one number and how it came about. More attacks never make it better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Risk {
    /// 0 (nothing found) to 100.
    pub score: u8,
    /// 100 − `score`: what dashboards call a security score.
    pub security_score: u8,
    /// `excellent`, `good`, `fair`, `poor` or `critical`.
    pub health: String,
    /// Threats by severity, the worst first.
    pub distribution: Vec<Counted>,
    /// What the score is made of, the largest first.
    pub factors: Vec<Factor>,
}

/// A part of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Factor {
    pub name: String,
    pub points: f64,
    /// One sentence.
    pub reason: String,
}

/// What threatens, whoever does it: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThreatKind {
    BruteForce,
    CredentialStuffing,
    AccountCompromise,
    UnauthorizedAccess,
    WebAttack,
    WebScan,
    PortScan,
    RequestFlood,
    Ransomware,
    CommandAndControl,
    SuspiciousOutbound,
    Cryptomining,
    Phishing,
    InsiderThreat,
    DataExfiltration,
    ZeroDay,
    SuspiciousProcess,
    Backdoor,
    PrivilegeEscalation,
    PromptInjection,
    UnusualPattern,
}

impl ThreatKind {
    /// For headings: `Brute force`.
    pub fn title(self) -> &'static str {
        match self {
            ThreatKind::BruteForce => "Brute force",
            ThreatKind::CredentialStuffing => "Credential stuffing",
            ThreatKind::AccountCompromise => "Account compromise",
            ThreatKind::UnauthorizedAccess => "Unauthorized access",
            ThreatKind::WebAttack => "Web attack",
            ThreatKind::WebScan => "Web scan",
            ThreatKind::PortScan => "Port scan",
            ThreatKind::RequestFlood => "Request flood",
            ThreatKind::Ransomware => "Ransomware",
            ThreatKind::CommandAndControl => "Command and control",
            ThreatKind::SuspiciousOutbound => "Suspicious outbound traffic",
            ThreatKind::Cryptomining => "Cryptomining",
            ThreatKind::Phishing => "Phishing",
            ThreatKind::InsiderThreat => "Insider threat",
            ThreatKind::DataExfiltration => "Data exfiltration",
            ThreatKind::ZeroDay => "Zero-day exploit",
            ThreatKind::SuspiciousProcess => "Suspicious process",
            ThreatKind::Backdoor => "Backdoor",
            ThreatKind::PrivilegeEscalation => "Privilege escalation",
            ThreatKind::PromptInjection => "Text that addresses a model",
            ThreatKind::UnusualPattern => "Unusual pattern",
        }
    }
}

/// Something that somebody did, with all that shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threat {
    /// `T1`, `T2`, … in the order of the report.
    pub id: String,
    pub kind: ThreatKind,
    /// The category of the strongest rule, where rules found it.
    #[schemars(with = "String")]
    pub category: Category,
    pub severity: Severity,
    /// 1–10.
    pub confidence: u8,
    /// 0–100; see `docs/analysis.md`.
    pub risk: u8,
    pub risk_factors: Vec<Factor>,
    /// One or two sentences, with figures.
    pub description: String,
    /// What to do now.
    pub recommendation: String,
    /// Who did it: an address, a network, a user, a host; none where the input names nobody.
    pub actor: Option<String>,
    /// Addresses of this threat alone.
    pub addresses: Vec<IpAddr>,
    /// Users of this threat alone.
    pub users: Vec<String>,
    pub indicators: Vec<Indicator>,
    /// Lines that show it, counted from 1, at most 200 of `events`.
    pub lines: Vec<u64>,
    /// Lines that show it, all of them.
    pub events: u64,
    /// A few of the lines, as they are.
    pub samples: Vec<Sample>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub first_time: Option<Timestamp>,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_time: Option<Timestamp>,
    /// Rules, windows and signs that count.
    pub rule_ids: Vec<String>,
    /// Techniques of MITRE ATT&CK: `T1110`.
    pub techniques: Vec<String>,
    pub outcome: ThreatOutcome,
}

/// Whether it worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThreatOutcome {
    /// The input shows that it did not.
    Failed,
    /// The input does not tell.
    Unknown,
    /// The input shows that it did: a login after guesses, a probe that was served.
    Succeeded,
}

/// A line of the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    pub line: u64,
    pub text: String,
}

/// Something to search for elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Indicator {
    pub kind: IndicatorKind,
    pub value: String,
}

/// Of what kind an indicator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IndicatorKind {
    Address,
    User,
    Path,
    Url,
    Domain,
    Port,
    Hash,
    Email,
    Process,
    File,
    UserAgent,
    Rule,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    pub address: IpAddr,
    /// Lines that name it.
    pub lines: u64,
    /// Ids of the threats that name it.
    pub threats: Vec<String>,
    pub country: Option<String>,
    pub network: Option<String>,
    pub asn: Option<u32>,
    /// 0–100, what a reputation service said.
    pub reputation: Option<u8>,
}

/// Who did what, for an audit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compliance {
    /// The busiest first.
    pub users: Vec<UserActivity>,
    pub logins: u64,
    pub failed_logins: u64,
    /// Accounts, groups, rights, configuration, services: what was changed, in the order of the input.
    pub changes: Vec<AuditEntry>,
    /// Who read or touched what is worth protecting.
    pub sensitive_access: Vec<AuditEntry>,
    /// Entries that did not fit in.
    pub left_out: u64,
}

/// What one user did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserActivity {
    pub user: String,
    pub logins: u64,
    pub failed_logins: u64,
    pub changes: u64,
    pub lines: u64,
    pub addresses: Vec<IpAddr>,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    pub line: u64,
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub time: Option<Timestamp>,
    pub user: Option<String>,
    pub what: String,
}

/// Something that the baseline of the site does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deviation {
    /// `new_user`, `rare_user`, `new_network`, `unusual_hour`, `new_resource`, `more_errors`.
    pub kind: String,
    pub value: String,
    /// One sentence.
    pub reason: String,
    pub lines: Vec<u64>,
}

/// What became of the text on its way to a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compression {
    pub original_bytes: u64,
    pub compressed_bytes: u64,
    pub original_tokens: u64,
    pub compressed_tokens: u64,
    pub saved_tokens: u64,
    pub saved_percent: f64,
    /// Original by compressed.
    pub ratio: f64,
    /// How tokens were counted: `estimated`, or the model that counted them.
    pub counted_by: String,
    pub took_ms: u64,
    /// By the configured price of a million tokens; none without a price.
    pub cost_saved_usd: Option<f64>,
    /// Some pieces did not fit into the budget.
    pub partial: bool,
    /// What did not fit, by kind.
    pub left_out: Vec<Counted>,
    /// `own` or `scaledown`.
    pub compressor: String,
    /// The compressed text, unless it was not asked for.
    pub text: Option<String>,
}

/// The report in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Narrative {
    /// `templates`, or the model that wrote it.
    pub written_by: String,
    pub summary: Vec<Claim>,
    /// How the attack went on, where there is one of more than one step.
    pub chain: Vec<Claim>,
    /// What the attacker seems to be after.
    pub goal: Option<Claim>,
    /// An incident-response plan of 4 to 6 steps; empty without threats.
    pub plan: Vec<Claim>,
    pub recommendations: Vec<Claim>,
    /// Sentences of a model that were dropped because they cite nothing, or wrongly.
    pub dropped: u64,
}

/// A sentence, and what it stands on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    pub text: String,
    /// Ids of threats.
    pub threats: Vec<String>,
    /// Lines of the input.
    pub lines: Vec<u64>,
}
