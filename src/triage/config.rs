//! `[triage]` and `[[tier]]`: which models are asked, about what, and at what cost.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::Caps;
use super::provider::is_near;
use crate::event::Secret;

/// `[triage]`: how doubtful findings go to models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TriageConfig {
    /// Whether anything may leave for a model elsewhere.
    pub privacy: Privacy,
    /// Cases that wait for a model at once; beyond it the weakest is settled by rules alone.
    #[schemars(range(min = 1))]
    pub max_waiting: u32,
    /// A case that waits longer is settled by rules alone.
    #[schemars(range(min = 1))]
    pub max_wait_secs: u64,
    /// How long a model's verdict holds for requests of the same shape.
    #[schemars(range(min = 1))]
    pub verdict_ttl_secs: u64,
    /// So many requests an hour that no rule minds are shown to the first tier, to see what rules miss; 0: none.
    pub sample_per_hour: u32,
}

impl Default for TriageConfig {
    fn default() -> Self {
        TriageConfig {
            privacy: Privacy::default(),
            max_waiting: 256,
            max_wait_secs: 120,
            verdict_ttl_secs: 3600,
            sample_per_hour: 0,
        }
    }
}

/// What may leave this host for a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// The masked view of a request: no address, no secret, no word of a person.
    #[default]
    Masked,
    /// Nothing: tiers that are not on this host or in a private network are not asked.
    LocalOnly,
}

/// `[[tier]]`: a model; the first is asked first, the second about what the first leaves in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierConfig {
    /// What it is called in `status` and in verdicts; a later table of the same name replaces it.
    pub name: String,
    /// How the server is spoken to.
    pub provider: Provider,
    /// Where it is, such as `https://api.cerebras.ai/v1`. Ollama's default: `$OLLAMA_HOST`, else this host.
    #[serde(default)]
    pub url: String,
    /// The model's name, as the server lists it. Ollama's default: `phi3.5:3.8b`.
    #[serde(default)]
    pub model: String,
    /// The key, where the server asks for one. Default: the variable that its host customarily has, such as
    /// `CEREBRAS_API_KEY`, or the file that `CEREBRAS_API_KEY_FILE` names.
    #[serde(default)]
    pub api_key: Secret,
    /// A file that holds the key instead.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// What is asked for: one word with its probability, or a verdict in words with tools. Absent: a
    /// label of Ollama, a verdict of the others.
    #[serde(default)]
    pub ask: Option<Ask>,
    /// No answer by then counts as none.
    #[serde(default = "timeout_secs")]
    #[schemars(range(min = 1))]
    pub timeout_secs: u64,
    /// Requests under way at once.
    #[serde(default = "max_concurrent")]
    #[schemars(range(min = 1, max = 64))]
    pub max_concurrent: u32,
    /// Tokens that the model takes in at once; Ollama is told so.
    #[serde(default = "context_tokens")]
    #[schemars(range(min = 1024))]
    pub context_tokens: u32,
    /// How long Ollama keeps the model loaded: seconds, a text such as `30m`, or -1 for always.
    #[serde(default = "keep_alive")]
    pub keep_alive: String,
    /// Answers are cut beyond it. Providers charge it against their limits before they answer.
    #[serde(default = "max_output_tokens")]
    #[schemars(range(min = 16))]
    pub max_output_tokens: u32,
    /// Turns the log-odds of the label into a probability: 1 / (1 + exp(-(slope × log-odds + offset))).
    /// `palisade calibrate` finds both.
    #[serde(default = "slope")]
    pub slope: f64,
    /// The second of both.
    #[serde(default)]
    pub offset: f64,
    /// Added to the request as it stands, for switches of one model such as `reasoning_effort`.
    #[serde(default)]
    pub extra: std::collections::BTreeMap<String, serde_json::Value>,
    /// Limits on requests and tokens; 0: none. What the server's headers say counts too.
    #[serde(default)]
    pub max_requests_per_min: u32,
    /// The same for a day (UTC).
    #[serde(default)]
    pub max_requests_per_day: u32,
    /// The same for the tokens of questions and answers.
    #[serde(default)]
    pub max_tokens_per_min: u64,
    /// The same for the tokens of a day (UTC).
    #[serde(default)]
    pub max_tokens_per_day: u64,
    /// Prices in US dollars for a million tokens in and out, for the ledger and the budget.
    #[serde(default)]
    pub usd_per_million_input: f64,
    /// The second of both.
    #[serde(default)]
    pub usd_per_million_output: f64,
    /// When a day has cost so much, rules go on alone; 0: no limit.
    #[serde(default)]
    pub max_usd_per_day: f64,
}

fn timeout_secs() -> u64 {
    60
}

fn max_concurrent() -> u32 {
    1
}

fn context_tokens() -> u32 {
    4096
}

fn keep_alive() -> String {
    "30m".into()
}

fn max_output_tokens() -> u32 {
    512
}

fn slope() -> f64 {
    1.0
}

/// Which API a tier's server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Ollama's own.
    Ollama,
    /// `/chat/completions` as OpenAI, Cerebras, Groq, OpenRouter, vLLM and llama.cpp have it.
    Openai,
    /// Anthropic's `/v1/messages`.
    Anthropic,
}

/// How a tier is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// One word; its probability is the answer.
    Label,
    /// A verdict with its reason, after looking things up.
    Verdict,
}

/// `[reputation]`: what is known elsewhere of an address; looked up only about cases that are in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReputationConfig {
    /// Key of AbuseIPDB; without one it is not asked.
    pub abuseipdb_key: Secret,
    /// A file that holds the key instead.
    pub abuseipdb_key_file: Option<PathBuf>,
    /// Where its API is.
    pub abuseipdb_url: String,
    /// Questions a day (UTC).
    pub abuseipdb_per_day: u32,
    /// Whether bans by rules are reported to AbuseIPDB, which publishes them.
    pub report_abuseipdb: bool,
    /// Reports a day (UTC).
    pub abuseipdb_reports_per_day: u32,
    /// Key of VirusTotal; without one it is not asked.
    pub virustotal_key: Secret,
    /// A file that holds the key instead.
    pub virustotal_key_file: Option<PathBuf>,
    /// Where its API is.
    pub virustotal_url: String,
    /// Questions a minute.
    pub virustotal_per_min: u32,
    /// Questions a day (UTC).
    pub virustotal_per_day: u32,
    /// How long an answer holds.
    #[schemars(range(min = 60))]
    pub ttl_secs: u64,
    /// Databases of MaxMind's format, for the country and network of an address.
    pub geoip_files: Vec<PathBuf>,
}

impl Default for ReputationConfig {
    fn default() -> Self {
        ReputationConfig {
            abuseipdb_key: Secret::default(),
            abuseipdb_key_file: None,
            abuseipdb_url: "https://api.abuseipdb.com/api/v2".into(),
            // The limits of both services' free plans.
            abuseipdb_per_day: 1000,
            report_abuseipdb: false,
            abuseipdb_reports_per_day: 1000,
            virustotal_key: Secret::default(),
            virustotal_key_file: None,
            virustotal_url: "https://www.virustotal.com/api/v3".into(),
            virustotal_per_min: 4,
            virustotal_per_day: 500,
            ttl_secs: 1800,
            geoip_files: vec![],
        }
    }
}

impl TierConfig {
    /// Whether its server is on this host or at a private address.
    pub fn is_near(&self) -> bool {
        is_near(&self.url)
    }

    /// Whether it may be asked under `privacy`.
    pub fn may_be_asked(&self, privacy: Privacy) -> bool {
        privacy != Privacy::LocalOnly || self.is_near()
    }

    pub(super) fn caps(&self) -> Caps {
        Caps {
            requests_per_min: self.max_requests_per_min,
            requests_per_day: self.max_requests_per_day,
            tokens_per_min: self.max_tokens_per_min,
            tokens_per_day: self.max_tokens_per_day,
            usd_per_day: self.max_usd_per_day,
        }
    }

    /// How it is asked.
    pub fn ask(&self) -> Ask {
        self.ask.unwrap_or(match self.provider {
            Provider::Ollama => Ask::Label,
            Provider::Openai | Provider::Anthropic => Ask::Verdict,
        })
    }
}
