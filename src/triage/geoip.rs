//! Country, network and its number of an address from local databases of MaxMind's format: nothing is asked of
//! anybody. Names of owners are left out: who buys a network writes them.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use ipnet::IpNet;
use maxminddb::Reader;
use serde::{Deserialize, Serialize};

/// The databases, asked one after the other.
#[derive(Default)]
pub struct Geoip(Vec<Reader<Vec<u8>>>);

/// Where an address is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Place {
    /// Two capital letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The network of which that is said; no model is told.
    #[serde(skip)]
    pub network: Option<IpNet>,
}

impl Geoip {
    /// # Errors
    /// A file cannot be read, or is no such database.
    pub fn open(files: &[PathBuf]) -> anyhow::Result<Geoip> {
        let open =
            |path: &PathBuf| Reader::open_readfile(path).with_context(|| format!("geoip_files: {}", path.display()));
        files.iter().map(open).collect::<anyhow::Result<_>>().map(Geoip)
    }

    /// The same; where one cannot be used that is said, and nothing is known of any address.
    pub fn open_or_none(files: &[PathBuf]) -> Geoip {
        Geoip::open(files).unwrap_or_else(|error| {
            tracing::error!("where addresses are is not known: {error:#}");
            Geoip::default()
        })
    }

    /// What the databases know together of `address`.
    pub fn look_up(&self, address: IpAddr) -> Option<Place> {
        #[derive(Deserialize)]
        struct Row {
            country: Option<Country>,
            autonomous_system_number: Option<u32>,
        }
        #[derive(Deserialize)]
        struct Country {
            iso_code: Option<String>,
        }
        let mut place = Place::default();
        for reader in &self.0 {
            let Ok(found) = reader.lookup(address) else { continue };
            let Ok(Some(row)) = found.decode::<Row>() else { continue };
            // Databases of countries put networks of many owners together.
            if place.asn.is_none() && row.autonomous_system_number.is_some() || place.network.is_none() {
                let network = found.network().ok();
                place.network = network.and_then(|network| IpNet::new(network.ip(), network.prefix()).ok());
            }
            let code = row.country.and_then(|country| country.iso_code);
            place.country =
                place.country.or(code.filter(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase())));
            place.asn = place.asn.or(row.autonomous_system_number);
        }
        (place.country.is_some() || place.asn.is_some()).then_some(place)
    }
}

#[cfg(test)]
#[path = "../../tests/support/mmdb.rs"]
mod mmdb;

#[cfg(test)]
mod tests {
    use super::mmdb::database;
    use super::*;

    #[test]
    fn an_address_has_the_country_and_network_of_the_first_database_that_knows() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = [("a.mmdb", "<b", 0), ("b.mmdb", "DE", 64_500)]
            .map(|(name, country, asn)| {
                let path = dir.path().join(name);
                std::fs::write(&path, database(country, asn)).unwrap();
                path
            })
            .into();
        let geoip = Geoip::open(&files).unwrap();
        let place = geoip.look_up("192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(place, Place { country: Some("DE".into()), asn: Some(0), network: "128.0.0.0/1".parse().ok() });
        assert_eq!(geoip.look_up("2001:db8::1".parse().unwrap()), None, "it is of IPv4 alone");
        assert_eq!(Geoip::default().look_up("192.0.2.1".parse().unwrap()), None);
        std::fs::write(&files[0], b"no database").unwrap();
        let error = Geoip::open(&files).err().unwrap();
        assert!(format!("{error:#}").contains("a.mmdb"), "{error:#}");
    }
}
