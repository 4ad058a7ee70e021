//! AbuseIPDB's `/api/v2`: `/check`, and `/report`. Comments, host names and providers' names are left out: whoever
//! reports, or owns a name, writes them.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::{Abuse, Reputation, UsageType, check_subject, count, country, is_public};
use crate::event::{Secret, canonical};
use crate::triage::provider::http::{self, Http};
use crate::triage::provider::{ProviderError, Usage};

/// A client of AbuseIPDB.
pub struct Abuseipdb {
    http: Http,
}

impl Abuseipdb {
    pub const URL: &str = "https://api.abuseipdb.com/api/v2";

    /// # Errors
    /// The URL or the key cannot be used, or no CA certificates are installed.
    pub fn new(url: &str, key: &Secret, timeout: Duration) -> anyhow::Result<Abuseipdb> {
        let headers = [("key", key.reveal().to_owned())];
        Ok(Abuseipdb { http: Http::new(&http::base(url)?, &headers, key, timeout)? })
    }

    /// What was reported of `address` in the last 90 days. One that is not public costs no request.
    ///
    /// # Errors
    /// The service cannot be reached, refuses, or says what cannot be understood.
    pub async fn check(&self, address: IpAddr) -> Result<Reputation, ProviderError> {
        let address = canonical(address);
        if !is_public(address) {
            return Ok(Reputation::Unknown);
        }
        let query = [("ipAddress", address.to_string()), ("maxAgeInDays", "90".into())];
        let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
        let heard = self.http.in_time(self.http.get("/check", &query)).await?;
        let data = &heard.json["data"];
        check_subject(&data["ipAddress"], address)?;
        let confidence = data["abuseConfidenceScore"].as_u64();
        let confidence = confidence.ok_or_else(|| ProviderError::Malformed("it has no score".into()))?;
        Ok(Reputation::Abuseipdb(Abuse {
            abuse_confidence: confidence.min(100) as u8,
            reports: count(&data["totalReports"]),
            distinct_users: count(&data["numDistinctUsers"]),
            last_reported_at_secs: data["lastReportedAt"].as_str().and_then(seconds),
            country: country(&data["countryCode"]),
            usage_type: data["usageType"].as_str().map(usage_type),
            is_tor: data["isTor"] == Value::Bool(true),
            is_whitelisted: data["isWhitelisted"] == Value::Bool(true),
        }))
    }

    /// Reports `address`, which is public, with categories as numbers between commas; gives the bytes.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn report(&self, address: IpAddr, categories: &str, comment: &str) -> Result<Usage, ProviderError> {
        let address = canonical(address);
        let ip = address.to_string();
        let fields = [("ip", ip.as_str()), ("categories", categories), ("comment", comment)];
        let heard = self.http.in_time(self.http.post_form("/report", &fields)).await?;
        check_subject(&heard.json["data"]["ipAddress"], address)?;
        Ok(heard.bytes)
    }
}

fn seconds(text: &str) -> Option<i64> {
    text.parse().ok().map(jiff::Timestamp::as_second)
}

fn usage_type(text: &str) -> UsageType {
    match text {
        "Commercial" => UsageType::Commercial,
        "Organization" => UsageType::Organization,
        "Government" => UsageType::Government,
        "Military" => UsageType::Military,
        "University/College/School" => UsageType::Education,
        "Library" => UsageType::Library,
        "Content Delivery Network" => UsageType::ContentDelivery,
        "Fixed Line ISP" => UsageType::FixedLine,
        "Mobile ISP" => UsageType::Mobile,
        "Data Center/Web Hosting/Transit" => UsageType::Hosting,
        "Search Engine Spider" => UsageType::SearchEngine,
        "Reserved" => UsageType::Reserved,
        _ => UsageType::Other,
    }
}
