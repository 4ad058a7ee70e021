//! What one agent tells the others of one ban, signed. No text of a log is in it.

#[cfg(test)]
mod tests;

use ipnet::IpNet;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::FleetConfig;
use crate::event::{Category, Decision, DecisionState, Ground, Proposer, Timestamp, digest, printable};

/// The form of the messages that this version writes and understands.
const VERSION: u32 = 1;
/// A longer message is not looked at.
const MAX_BYTES: usize = 4096;
/// Bytes of a reason that are shared.
const REASON_BYTES: usize = 300;
/// Letters of an agent's name, and of a decision's id.
const NAME_BYTES: usize = 64;
/// Clocks of agents may differ by so much.
const AHEAD_SECS: u64 = 300;
/// Lengths in bits of the widest networks that are shared: what rules ban at most. A wider one is for the
/// operators of each host.
const WIDEST: (u8, u8) = (24, 48);

/// One ban, or its end before its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub version: u32,
    /// The agent that decided.
    pub origin: String,
    /// Of the decision, there.
    pub id: String,
    pub what: What,
    /// Canonical, with its prefix length.
    pub target: String,
    pub category: Option<String>,
    pub score: u8,
    /// Category and rules, or an operator's words.
    pub reason: String,
    /// In milliseconds since 1970, as are the others.
    pub created_at: i64,
    pub expires_at: i64,
    pub issued_at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Banned,
    Lifted,
}

/// A message as it travels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signed {
    pub body: String,
    /// HMAC-SHA256 of `body`'s bytes, in hex.
    pub mac: String,
}

/// The key that agents share.
#[derive(Clone, Debug)]
pub struct Key(hmac::Key);

/// Whether an agent may be called so.
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

impl Key {
    /// None if it is too short.
    pub fn new(bytes: &[u8]) -> Option<Key> {
        (bytes.len() >= FleetConfig::MIN_KEY_BYTES).then(|| Key(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    pub fn sign(&self, message: &Message) -> Signed {
        // Text and numbers always serialise.
        let body = serde_json::to_string(message).unwrap_or_default();
        let mac = hmac::sign(&self.0, body.as_bytes());
        Signed { mac: mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(), body }
    }

    /// In constant time.
    fn verify(&self, signed: &Signed) -> bool {
        let bytes = signed.mac.as_bytes().chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2 && !text.starts_with('+'))?;
            u8::from_str_radix(text, 16).ok()
        });
        let mac: Option<Vec<u8>> = bytes.take(64).collect();
        mac.is_some_and(|mac| hmac::verify(&self.0, signed.body.as_bytes(), &mac).is_ok())
    }
}

/// Why a message does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("its signature is not of this fleet's key")]
    Signature,
    #[error("it is of version {0}, which this palisade does not know")]
    Version(u32),
    #[error("it is no message: {0}")]
    Malformed(&'static str),
    #[error("it is this agent's own")]
    Own,
    #[error("bans of this agent are not taken (fleet.take_from)")]
    NotTaken,
    #[error("its ban is over")]
    Over,
    #[error("it was issued in the future: the clocks of the two hosts differ by more than {AHEAD_SECS} s")]
    Future,
    #[error("its ban lasts longer than fleet.max_ban_secs from now")]
    TooFar,
    #[error("its target is wider than agents share")]
    TooWide,
}

impl Refusal {
    /// The word that scripts read.
    pub fn as_str(&self) -> &'static str {
        match self {
            Refusal::TooLong => "too_long",
            Refusal::Signature => "signature",
            Refusal::Version(_) => "version",
            Refusal::Malformed(_) => "malformed",
            Refusal::Own => "own",
            Refusal::NotTaken => "not_taken",
            Refusal::Over => "over",
            Refusal::Future => "future",
            Refusal::TooFar => "too_far",
            Refusal::TooWide => "too_wide",
        }
    }

    /// Whether it is as it should be: others' business.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Refusal::Own | Refusal::NotTaken | Refusal::Over)
    }
}

/// Who reads messages, and by what it judges them.
#[derive(Clone, Debug)]
pub struct Reader {
    pub name: String,
    pub key: Key,
    pub config: FleetConfig,
}

impl Reader {
    /// The message, if it holds at `now`. Its name is known where the signature is right.
    ///
    /// # Errors
    /// Why it does not hold, and whose it is if that is sure.
    pub fn read(&self, signed: &Signed, now: Timestamp) -> Result<Message, (Option<String>, Refusal)> {
        let nobody = |refusal| (None, refusal);
        if signed.body.len() > MAX_BYTES {
            return Err(nobody(Refusal::TooLong));
        }
        if !self.key.verify(signed) {
            return Err(nobody(Refusal::Signature));
        }
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let malformed = |what| move |_| (None, Refusal::Malformed(what));
        let Versioned { version } = serde_json::from_str(&signed.body).map_err(malformed("it has no version"))?;
        if version != VERSION {
            return Err(nobody(Refusal::Version(version)));
        }
        let message: Message = serde_json::from_str(&signed.body).map_err(malformed("not all of it is there"))?;
        match self.holds(&message, now) {
            Ok(()) => Ok(message),
            Err(refusal) => Err((is_name(&message.origin).then_some(message.origin), refusal)),
        }
    }

    fn holds(&self, message: &Message, now: Timestamp) -> Result<(), Refusal> {
        if !is_name(&message.origin) || !is_name(&message.id) {
            return Err(Refusal::Malformed("a name in it is none"));
        }
        if message.origin == self.name {
            return Err(Refusal::Own);
        }
        if !self.config.takes_from(&message.origin) {
            return Err(Refusal::NotTaken);
        }
        let target = canonical(&message.target).ok_or(Refusal::Malformed("its target is not canonical"))?;
        if !is_narrow(target) {
            return Err(Refusal::TooWide);
        }
        let is_category = message.category.as_deref().is_none_or(|name| Category::parse(name).is_some());
        if !is_category || message.score > 10 || message.reason.len() > 2 * REASON_BYTES {
            return Err(Refusal::Malformed("its category, score or reason is none"));
        }
        if Timestamp(message.issued_at) > now.plus_secs(AHEAD_SECS) {
            return Err(Refusal::Future);
        }
        if Timestamp(message.expires_at) <= now {
            return Err(Refusal::Over);
        }
        if Timestamp(message.expires_at) > now.plus_secs(self.config.max_ban_secs.saturating_add(AHEAD_SECS)) {
            return Err(Refusal::TooFar);
        }
        Ok(())
    }

    /// What a message that holds asks of the decider: a decision that is active, or lifted. Its id is this
    /// agent's own, the same whenever the message comes.
    pub fn decision(&self, message: &Message, now: Timestamp) -> Option<Decision> {
        let (origin, said) = (&message.origin, printable(message.reason.as_bytes(), REASON_BYTES));
        let colon = if said.is_empty() { "" } else { ": " };
        let (state, note) = match message.what {
            What::Banned => (DecisionState::Active, String::new()),
            What::Lifted => (DecisionState::Lifted, format!("lifted by agent {origin}")),
        };
        Some(Decision {
            id: digest(&[b"fleet", self.name.as_bytes(), origin.as_bytes(), message.id.as_bytes()]),
            target: canonical(&message.target)?,
            proposer: Proposer::Fleet,
            ground: Ground {
                category: message.category.as_deref().and_then(Category::parse),
                score: message.score,
                reason: format!("decided by agent {origin}{colon}{said}"),
                ..Ground::default()
            },
            created_at: now,
            expires_at: Timestamp(message.expires_at),
            simulated: false,
            state,
            note,
            offences: 0,
            origin: origin.clone(),
        })
    }
}

impl Message {
    /// What this agent tells of a decision of its own; none if it is nobody else's business: simulated, of a
    /// list or another agent, over, or wider than agents share. `rules` are those of its finding.
    pub fn of(
        decision: &Decision,
        origin: &str,
        rules: &[String],
        max_ban_secs: u64,
        now: Timestamp,
    ) -> Option<Message> {
        let is_own = decision.origin.is_empty() && !decision.simulated;
        let is_shared = is_own && matches!(decision.proposer, Proposer::Rules | Proposer::Operator);
        let what = match decision.state {
            DecisionState::Pending | DecisionState::Active => What::Banned,
            DecisionState::Lifted => What::Lifted,
            DecisionState::Expired | DecisionState::Refused | DecisionState::Held => return None,
        };
        let expires_at = decision.expires_at.min(now.plus_secs(max_ban_secs));
        if !is_shared || expires_at <= now || !is_narrow(decision.target) {
            return None;
        }
        let ground = &decision.ground;
        let reason = match decision.proposer {
            // A person wrote it.
            Proposer::Operator => printable(ground.reason.as_bytes(), REASON_BYTES),
            // Rules may quote the log.
            _ => printable(rules.join(", ").as_bytes(), REASON_BYTES),
        };
        Some(Message {
            version: VERSION,
            origin: origin.to_owned(),
            id: decision.id.clone(),
            what,
            target: decision.target.trunc().to_string(),
            category: ground.category.map(|category| category.as_str().to_owned()),
            score: ground.score,
            reason: cut(reason, REASON_BYTES),
            created_at: decision.created_at.0,
            expires_at: expires_at.0,
            issued_at: now.0,
        })
    }
}

impl Signed {
    /// When its ban ends, by its own words: who prunes need not believe more.
    pub fn expires_at(&self) -> Option<Timestamp> {
        #[derive(Deserialize)]
        struct Ending {
            expires_at: i64,
        }
        let body = Some(&*self.body).filter(|body| body.len() <= MAX_BYTES)?;
        serde_json::from_str(body).ok().map(|Ending { expires_at }| Timestamp(expires_at))
    }
}

fn is_narrow(target: IpNet) -> bool {
    let widest = if target.addr().is_ipv4() { WIDEST.0 } else { WIDEST.1 };
    target.prefix_len() >= widest
}

/// The network that `text` writes in the one form that a network has.
fn canonical(text: &str) -> Option<IpNet> {
    let network: IpNet = text.parse().ok()?;
    let is_disguised = matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
    (!is_disguised && network.trunc().to_string() == text).then_some(network)
}

fn cut(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}
