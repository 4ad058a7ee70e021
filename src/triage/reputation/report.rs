//! Tells AbuseIPDB of clients that rules banned, by its `/report`. What leaves is the address, numbers
//! of AbuseIPDB's own categories and a comment of our words: never what a client or this host wrote.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Abuseipdb, is_public};
use crate::event::{Category, ModelCall, Timestamp, canonical};
use crate::triage::limits::{Barred, Caps, Limits, Today};
use crate::triage::provider::{ProviderError, Refused};
use crate::triage::{Privacy, ReputationConfig};

/// AbuseIPDB takes no second report of an address sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(15 * 60);
/// Rules named in a comment.
const MAX_RULES: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom a report is about, and why.
#[derive(Clone, Debug)]
pub struct Report {
    pub address: IpAddr,
    pub finding_id: String,
    pub category: Category,
    /// Ids of rules; only built-in ones belong here, whose words are ours.
    pub rule_ids: Vec<String>,
}

/// The one who reports.
pub struct Reporter {
    client: Abuseipdb,
    limits: Limits,
    /// When whom was reported, of the last [`AGAIN_AFTER`].
    lately: HashMap<IpAddr, Instant>,
}

impl Reporter {
    /// Its name in the ledger.
    pub const NAME: &str = "abuseipdb_report";

    /// None unless it is configured and something may leave. `today` is how many reports this day had
    /// before the start.
    ///
    /// # Errors
    /// There is no key, or it or the URL cannot be used.
    pub fn open(config: &ReputationConfig, privacy: Privacy, today: Today) -> anyhow::Result<Option<Reporter>> {
        if !config.report_abuseipdb || privacy == Privacy::LocalOnly {
            return Ok(None);
        }
        let key = crate::triage::key(&config.abuseipdb_key, config.abuseipdb_key_file.as_deref())?;
        anyhow::ensure!(!key.is_empty(), "reputation.report_abuseipdb needs reputation.abuseipdb_key");
        let client = Abuseipdb::new(&config.abuseipdb_url, &key, TIMEOUT)?;
        let caps = Caps { requests_per_day: config.abuseipdb_reports_per_day, ..Caps::default() };
        let limits = Limits::new(caps, today, Instant::now());
        Ok(Some(Reporter { client, limits, lately: HashMap::new() }))
    }

    /// Reports once; gives the call for the ledger. `Ok(None)`: there was nothing to report, since the
    /// address is not public or was reported lately.
    ///
    /// # Errors
    /// It may not be asked now: what is not reported now is old news later.
    pub async fn report(&mut self, report: &Report) -> Result<Option<ModelCall>, Barred> {
        let address = canonical(report.address);
        let started = Instant::now();
        self.lately.retain(|_, at| started.duration_since(*at) < AGAIN_AFTER);
        if !is_public(address) || self.lately.contains_key(&address) {
            return Ok(None);
        }
        let at = Timestamp::now();
        self.limits.admit(1, started, at)?;
        // Also where it fails: nobody knows whether the report was taken.
        self.lately.insert(address, started);
        let (categories, comment) = (categories(report.category), comment(report));
        let answer = self.client.report(address, categories, &comment).await;
        let now = Instant::now();
        match &answer {
            Ok(_) => self.limits.answered(Default::default(), 0, 0.0, Default::default(), now),
            // Another host of ours may have been first; that says nothing of the limits.
            Err(ProviderError::Refused { refusal: Refused::TooMany, text, .. }) if text.contains("same IP") => {
                self.limits.answered(Default::default(), 0, 0.0, Default::default(), now);
            }
            Err(error) => self.limits.failed(error, now),
        }
        Ok(Some(ModelCall {
            at,
            service: Reporter::NAME.into(),
            model: String::new(),
            finding_id: report.finding_id.clone(),
            outcome: answer.as_ref().map_or_else(ProviderError::to_string, |_| "answered".into()),
            millis: u64::try_from(now.duration_since(started).as_millis()).unwrap_or(u64::MAX),
            sent_bytes: answer.as_ref().map_or(0, |bytes| bytes.sent_bytes),
            received_bytes: answer.as_ref().map_or(0, |bytes| bytes.received_bytes),
            input_tokens: 0,
            output_tokens: 0,
            usd: 0.0,
        }))
    }
}

fn comment(report: &Report) -> String {
    let rules = report.rule_ids.iter().take(MAX_RULES).map(String::as_str).collect::<Vec<_>>().join(", ");
    let rules = if rules.is_empty() { String::new() } else { format!(" ({rules})") };
    format!("Palisade: {}{rules}", report.category.as_str())
}

/// AbuseIPDB's numbers: 4 DDoS, 14 port scan, 15 hacking, 16 SQL injection, 18 brute force, 19 bad web
/// bot, 20 exploited host, 21 web application attack.
fn categories(category: Category) -> &'static str {
    use Category::*;
    match category {
        Sqli => "16,21",
        Xss | PathTraversal | SensitiveFile | Nosqli | Ssrf | FileInclusion | TemplateInjection | Xxe
        | LdapInjection | AdminProbe | ProtocolAbuse | OpenRedirect | PrototypePollution | GraphqlAbuse | ApiAbuse => {
            "21"
        }
        CommandInjection | CodeInjection | Deserialization | Log4shell | Shellshock | Webshell | KnownExploit => {
            "15,21"
        }
        Scanner => "19,21",
        Bruteforce | CredentialStuffing => "18",
        Flood => "4",
        CrawlAbuse => "19",
        PortScan => "14",
        Malware | C2 | Cryptomining => "15,20",
        Exfiltration | PrivilegeEscalation | Other => "15",
    }
}
