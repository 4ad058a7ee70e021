//! What others know of an address: one file a service. Takes an address that is ours to ask about,
//! gives numbers and words of closed sets; text that an attacker could have written is left out.
//! Neither retries, counts nor caches.

mod abuseipdb;
mod report;
mod virustotal;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use abuseipdb::Abuseipdb;
pub use report::{Report, Reporter};
pub use virustotal::Virustotal;

use super::provider::ProviderError;
use crate::event::canonical;

/// What a service knows of an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "service", rename_all = "lowercase")]
pub enum Reputation {
    /// Nothing; or it was not asked, since the address is not public.
    Unknown,
    Abuseipdb(Abuse),
    Virustotal(Analysis),
}

/// What people reported to AbuseIPDB, of the last 90 days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Abuse {
    /// 0 to 100.
    pub abuse_confidence: u8,
    pub reports: u32,
    /// So many people reported it.
    pub distinct_users: u32,
    /// Seconds since 1970.
    pub last_reported_at_secs: Option<i64>,
    pub country: Option<Country>,
    pub usage_type: Option<UsageType>,
    pub is_tor: bool,
    pub is_whitelisted: bool,
}

/// What scanners say at VirusTotal: how many of them hold it for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    pub malicious: u32,
    pub suspicious: u32,
    pub harmless: u32,
    pub undetected: u32,
    /// Votes of people, below zero for a bad one.
    pub reputation: i32,
    pub asn: Option<u32>,
    pub country: Option<Country>,
    /// The network that it was given out with.
    pub network: Option<IpNet>,
}

/// A country: two capital letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Country(String);

impl Country {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Country {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Country, Self::Error> {
        let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if fits { Ok(Country(text)) } else { Err("a country is two capital letters") }
    }
}

/// What an address is used for, as AbuseIPDB has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageType {
    Commercial,
    Organization,
    Government,
    Military,
    Education,
    Library,
    ContentDelivery,
    FixedLine,
    Mobile,
    Hosting,
    SearchEngine,
    Reserved,
    Other,
}

/// Whether anybody beyond this network could know of `address`: it is given out to somebody and is
/// no tunnel, group or example.
pub fn is_public(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_documentation();
    // The registry's other rows: this network (0/8), shared (100.64/10), protocols (192.0.0/24),
    // 6to4 relays (192.88.99/24), benchmarks (198.18/15), multicast and what is above.
    let registered = match v4.octets() {
        [0, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [224..=255, ..] => true,
        [100, second, ..] => second & 0xc0 == 64,
        _ => false,
    };
    !special && !registered
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    match v6.segments() {
        // Protocols (2001::/23, Teredo among them), examples (2001:db8::/32, 3fff::/20), 6to4.
        [0x2001, second, ..] => second > 0x1ff && second != 0xdb8,
        [0x3fff, second, ..] => second > 0xfff,
        [0x2002, ..] => false,
        // 2000::/3 is all that is given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// What is no answer about `address`.
fn check_subject(stated: &Value, address: IpAddr) -> Result<(), ProviderError> {
    let stated: Option<IpAddr> = stated.as_str().and_then(|text| text.parse().ok());
    if stated.is_some_and(|stated| canonical(stated) != address) {
        return Err(ProviderError::Malformed("it is about another address".into()));
    }
    Ok(())
}

fn country(value: &Value) -> Option<Country> {
    Country::try_from(value.as_str()?.to_owned()).ok()
}

/// 0 for what is none.
fn count(value: &Value) -> u32 {
    value.as_u64().map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_are_given_out_are_public() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2606:4700::1111",
            "3fff:1000::1",
        ];
        let other = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::808:808",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for (addresses, expected) in [(&public[..], true), (&other[..], false)] {
            for address in addresses {
                assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_country_is_two_capitals_also_when_it_comes_from_a_cache() {
        assert_eq!(serde_json::from_str::<Country>("\"CN\"").unwrap().as_str(), "CN");
        for text in ["\"cn\"", "\"C\"", "\"CNN\"", "\"<b\"", "\"Ü\"", "5"] {
            assert!(serde_json::from_str::<Country>(text).is_err(), "{text}");
        }
    }
}
