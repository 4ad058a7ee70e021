//! Takes TOML files and the environment, gives one [`Config`] with the origin of each value, or
//! every mistake at once. Never touches what the configuration talks about: no log, no database,
//! no socket.

mod check;
mod compose;
mod files;
mod mistake;
mod profile;
mod relations;
mod reload;
mod renamed;
#[cfg(test)]
mod schema_tests;
mod services;
mod show;
mod supervision;
#[cfg(test)]
mod tests;
mod tree;

pub use check::network;
pub use files::{DEFAULT_FILE, Place, Text, fragments, terminal_is_utf8};
pub use mistake::{Mistake, Mistakes, Origin, did_you_mean};
pub use profile::Profile;
pub use reload::{TUNABLE, differences, taken};
pub use show::{rows, show};
pub use supervision::{Supervision, journal_from_system, supervision_from_system};

use std::path::PathBuf;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ask, compress, decide, detect, fleet, investigate, memory, notify, record, report, respond, tail, triage};

/// Everything that can be set, each room's part under its own table. `Default` is what root gets
/// without any file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub mode: Mode,
    /// How large this host is: defaults for what takes memory and disk, beneath all files.
    pub profile: Profile,
    /// The name of this agent where several share a Postgres or a Redis. Empty: the host's.
    pub agent: String,
    /// Directory of `palisade.db`. Not root: `$XDG_STATE_HOME/palisade`, else
    /// `~/.local/state/palisade`.
    pub state_dir: PathBuf,
    /// Where the daemon listens for the command line. Not root: `$XDG_RUNTIME_DIR/palisade.sock`,
    /// else `palisade.sock` in the state directory.
    pub socket: PathBuf,
    /// Zone of log times that name none: a name of the IANA database such as `Europe/Berlin`, or
    /// `local`, this host's.
    pub timezone: String,
    /// Main configuration files of nginx and Apache, paths or globs. Where they can be read, the
    /// formats of the logs named there are known; without a `[[source]]` these logs are followed.
    pub server_configs: Vec<PathBuf>,
    /// Where this host's pages are seen, such as `https://palisade.example.com`: messages lead there. Empty: nowhere.
    pub public_url: String,
    /// What is followed. None: nginx and Apache logs are found.
    pub source: Vec<tail::SourceConfig>,
    /// What is known good though rules take it for an attack.
    pub exclusion: Vec<detect::ExclusionConfig>,
    /// Search engines and monitors beside those that are built in.
    pub crawler: Vec<decide::CrawlerConfig>,
    /// Lists of others that are fetched and banned. None: nothing is fetched.
    pub blocklist: Vec<BlocklistConfig>,
    /// Whom to tell of what. None: nobody is told.
    pub alert: Vec<notify::AlertConfig>,
    /// Where records go, for a SIEM. None: nowhere.
    pub export: Vec<notify::ExportConfig>,
    pub client: decide::ClientConfig,
    pub thresholds: decide::Thresholds,
    pub detect: detect::DetectConfig,
    pub respond: respond::RespondConfig,
    pub crowdsec_api: crate::show::CrowdsecApiConfig,
    pub http: crate::show::HttpConfig,
    pub dashboard: crate::show::DashboardConfig,
    pub triage: triage::TriageConfig,
    /// Models that doubtful findings are shown to, in this order; two at most. None: rules decide alone.
    pub tier: Vec<triage::TierConfig>,
    pub reputation: triage::ReputationConfig,
    pub compress: compress::CompressConfig,
    pub memory: memory::MemoryConfig,
    pub store: record::StoreConfig,
    pub fleet: fleet::FleetConfig,
    pub report: report::ReportConfig,
    pub analyze: investigate::AnalyzeConfig,
    pub ask: ask::AskConfig,
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            mode: Mode::default(),
            profile: Profile::default(),
            agent: String::new(),
            state_dir: "/var/lib/palisade".into(),
            socket: "/run/palisade/palisade.sock".into(),
            timezone: LOCAL.into(),
            // Where Debian, Red Hat and the projects themselves put them.
            server_configs: [
                "/etc/nginx/nginx.conf",
                "/usr/local/nginx/conf/nginx.conf",
                "/usr/local/openresty/nginx/conf/nginx.conf",
                "/etc/apache2/apache2.conf",
                "/etc/httpd/conf/httpd.conf",
                "/usr/local/apache2/conf/httpd.conf",
            ]
            .map(PathBuf::from)
            .into(),
            public_url: String::new(),
            source: vec![],
            exclusion: vec![],
            crawler: vec![],
            blocklist: vec![],
            alert: vec![],
            export: vec![],
            client: Default::default(),
            thresholds: Default::default(),
            detect: Default::default(),
            respond: Default::default(),
            crowdsec_api: Default::default(),
            http: Default::default(),
            dashboard: Default::default(),
            triage: Default::default(),
            tier: vec![],
            reputation: Default::default(),
            compress: Default::default(),
            memory: Default::default(),
            store: Default::default(),
            fleet: Default::default(),
            report: Default::default(),
            analyze: Default::default(),
            ask: Default::default(),
            log: Default::default(),
        }
    }
}

/// The zone of this host.
const LOCAL: &str = "local";

impl Config {
    /// What this agent is called among others: as configured, else as the host is.
    pub fn agent_name(&self) -> String {
        if !self.agent.is_empty() {
            return self.agent.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        if host.is_empty() { "localhost".into() } else { host.to_owned() }
    }

    /// The zone of log times that name none.
    ///
    /// # Errors
    /// The database knows no such zone.
    pub fn zone(&self) -> Result<TimeZone, jiff::Error> {
        if self.timezone == LOCAL { Ok(TimeZone::system()) } else { TimeZone::get(&self.timezone) }
    }
}

/// Whether a block reaches the firewall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything but the last step: what would have been blocked is recorded and said.
    #[default]
    DryRun,
    /// Blocks are carried out.
    Enforce,
}

impl Mode {
    /// The word in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::DryRun => "dry_run",
            Mode::Enforce => "enforce",
        }
    }
}

/// `[[blocklist]]`: a list of addresses and networks that somebody publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlocklistConfig {
    /// What it is called in `status` and in the reason of its bans.
    pub name: String,
    /// Where it is, by http or https.
    pub url: String,
    /// How often it is fetched.
    #[serde(default = "daily")]
    #[schemars(range(min = 600))]
    pub refresh_secs: u64,
    /// A longer one is not taken.
    #[serde(default = "ten_megabytes")]
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
    /// Length of its bans, counted anew at each fetching. None: twice `refresh_secs`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub duration_secs: Option<u64>,
}

fn daily() -> u64 {
    86_400
}

fn ten_megabytes() -> u64 {
    10 << 20
}

/// `[log]`: what Palisade says of its own work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub level: LogLevel,
    pub format: LogFormat,
    /// Written instead of standard error.
    pub file: Option<PathBuf>,
    /// Size of the file in megabytes at which a new one is begun.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_size_mb: u32,
    /// Files that are kept, the current one among them.
    #[schemars(range(min = 1, max = 1000))]
    pub max_files: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            level: LogLevel::default(),
            format: LogFormat::default(),
            file: None,
            max_size_mb: 10,
            max_files: 5,
        }
    }
}

/// The least weighty message that is still written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `human` on a terminal and in the journal, `json` otherwise.
    #[default]
    Auto,
    Human,
    Json,
}

/// A configuration that holds, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// The origin of each value by its key path, such as `thresholds.block` or `source[0].path`,
    /// in the order of [`Config`]'s fields. A list that adds up has one entry for each origin.
    pub origins: Vec<(String, Origin)>,
    /// The files that were read, in the order in which they apply.
    pub files: Vec<PathBuf>,
    /// What holds for now and not for long: old names of keys.
    pub warnings: Vec<Mistake>,
}

/// The names that other rooms register, which a configuration may use.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub responders: &'a [&'a str],
    /// Log formats; `auto` always goes without being listed.
    pub formats: &'a [&'a str],
}

/// The JSON schema of the file, for editors and for the checks here.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// The documented file that ships with Palisade: every key with its default.
pub fn example() -> &'static str {
    include_str!("../../config/palisade.toml")
}
