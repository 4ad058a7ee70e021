use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Category, ClientKey, Timestamp};

/// A line that counts as suspicious: its summed score reached `thresholds.flag`, or a window
/// overflowed on it. One line gives at most one finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The file that the line was read from.
    pub file: Arc<str>,
    /// Which life of the file: new when it is first seen and after truncation.
    pub generation: u64,
    /// Where the line starts in the file, in bytes.
    pub offset: u64,
    /// Counted from 1; only where the file was read from its beginning.
    pub line_number: Option<u64>,
    pub time: Timestamp,
    pub source_ip: Option<IpAddr>,
    pub client: Option<ClientKey>,
    /// A trusted proxy named it: its packets come from the proxy.
    pub via_proxy: bool,
    pub method: String,
    /// As it was logged; of an event that is no request, its message.
    pub uri: String,
    pub status: u16,
    pub user_agent: String,
    pub referer: String,
    /// The category of the strongest contribution.
    pub category: Category,
    /// Rules and windows that count, strongest first.
    pub rule_ids: Vec<Arc<str>>,
    /// 1–10: this line's rules, moved by what the client did before.
    pub score: u8,
    /// What matched, where.
    pub evidence: Vec<Evidence>,
    /// What is to happen, before the gate.
    pub action: Action,
    pub verdict: Verdict,
    /// False: it was analysed and is no finding; recorded where that is configured, and nothing else.
    pub flagged: bool,
    /// An exclusion names its path, and left something of it.
    pub is_system_url: bool,
}

impl Finding {
    /// Ids make replay harmless: the same line of the same file's life has the same id always.
    pub fn id(&self) -> String {
        digest(&[b"finding", &self.generation.to_le_bytes(), &self.offset.to_le_bytes()])
    }

    /// The id of the ban that this finding starts.
    pub fn decision_id(&self, client: ClientKey) -> String {
        digest(&[b"decision", &client.bits().to_le_bytes(), self.id().as_bytes()])
    }
}

/// 128 bits of SHA-256 over length-prefixed parts, as lower-case hex.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One rule's match.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    pub rule_id: Arc<str>,
    /// The part of the event that the rule looked at: `path`, `args`, `user_agent`, …
    pub target: Cow<'static, str>,
    /// What matched, decoded, made printable and cut.
    pub matched: String,
    pub score: u8,
}

/// What is to happen to the client because of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    None,
    Monitor,
    Block,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Action::None => "none",
            Action::Monitor => "monitor",
            Action::Block => "block",
        }
    }
}

/// Who settled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// Rules and windows alone.
    Rules,
    /// The client was already flagged.
    Cache,
    Tier1,
    Tier2,
    /// A person, whose word stands over a model's.
    Operator,
}

impl DecidedBy {
    pub fn as_str(self) -> &'static str {
        match self {
            DecidedBy::Rules => "rules",
            DecidedBy::Cache => "cache",
            DecidedBy::Tier1 => "tier1",
            DecidedBy::Tier2 => "tier2",
            DecidedBy::Operator => "operator",
        }
    }
}

/// What a judge thinks of a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub class: VerdictClass,
    /// 1–10, of the stated class: "benign, 9" can never block.
    pub confidence: u8,
    pub decided_by: DecidedBy,
    /// One sentence for people. Never an input to anything.
    pub reasoning: String,
}

/// What became of a finding that was in doubt.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub finding_id: String,
    pub action: Action,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictClass {
    Malicious,
    Benign,
    Uncertain,
}

impl VerdictClass {
    pub fn as_str(self) -> &'static str {
        match self {
            VerdictClass::Malicious => "malicious",
            VerdictClass::Benign => "benign",
            VerdictClass::Uncertain => "uncertain",
        }
    }

    /// The class called `name`.
    pub fn parse(name: &str) -> Option<VerdictClass> {
        use VerdictClass::*;
        [Malicious, Benign, Uncertain].into_iter().find(|class| class.as_str() == name)
    }
}
