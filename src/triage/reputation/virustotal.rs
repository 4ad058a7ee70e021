//! VirusTotal's `/api/v3/ip_addresses`. Whois, tags, owners' names and engines' words are left out:
//! whoever holds an address or a name writes them.

use std::net::IpAddr;
use std::time::Duration;

use super::{Analysis, Reputation, check_subject, count, country, is_public};
use crate::event::{Secret, canonical};
use crate::triage::provider::ProviderError;
use crate::triage::provider::http::{self, Http};

/// A client of VirusTotal.
pub struct Virustotal {
    http: Http,
}

impl Virustotal {
    pub const URL: &str = "https://www.virustotal.com/api/v3";

    /// # Errors
    /// The URL or the key cannot be used, or no CA certificates are installed.
    pub fn new(url: &str, key: &Secret, timeout: Duration) -> anyhow::Result<Virustotal> {
        let headers = [("x-apikey", key.reveal().to_owned())];
        Ok(Virustotal { http: Http::new(&http::base(url)?, &headers, key, timeout)? })
    }

    /// What scanners say of `address`. One that is not public costs no request.
    ///
    /// # Errors
    /// The service cannot be reached, refuses, or says what cannot be understood.
    pub async fn check(&self, address: IpAddr) -> Result<Reputation, ProviderError> {
        let address = canonical(address);
        if !is_public(address) {
            return Ok(Reputation::Unknown);
        }
        let path = format!("/ip_addresses/{address}");
        let heard = match self.http.in_time(self.http.get(&path, &[])).await {
            Err(ProviderError::Refused { status: 404, .. }) => return Ok(Reputation::Unknown),
            answer => answer?,
        };
        let data = &heard.json["data"];
        check_subject(&data["id"], address)?;
        let attributes = &data["attributes"];
        if !attributes.is_object() {
            return Err(ProviderError::Malformed("it has no attributes".into()));
        }
        let stats = &attributes["last_analysis_stats"];
        let votes = attributes["reputation"].as_i64().unwrap_or(0);
        Ok(Reputation::Virustotal(Analysis {
            malicious: count(&stats["malicious"]),
            suspicious: count(&stats["suspicious"]),
            harmless: count(&stats["harmless"]),
            undetected: count(&stats["undetected"]),
            reputation: votes.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32,
            asn: attributes["asn"].as_u64().and_then(|asn| asn.try_into().ok()),
            country: country(&attributes["country"]),
            network: attributes["network"].as_str().and_then(|network| network.parse().ok()),
        }))
    }
}
