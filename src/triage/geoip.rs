//! Country and network of an address from local databases of MaxMind's format: nothing is asked of
//! anybody. Names of owners are left out: who buys a network writes them.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
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
}

impl Geoip {
    /// # Errors
    /// A file cannot be read, or is no such database.
    pub fn open(files: &[PathBuf]) -> anyhow::Result<Geoip> {
        let open =
            |path: &PathBuf| Reader::open_readfile(path).with_context(|| format!("geoip_files: {}", path.display()));
        files.iter().map(open).collect::<anyhow::Result<_>>().map(Geoip)
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
            let Ok(Some(row)) = reader.lookup(address).and_then(|found| found.decode::<Row>()) else { continue };
            let code = row.country.and_then(|country| country.iso_code);
            place.country =
                place.country.or(code.filter(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase())));
            place.asn = place.asn.or(row.autonomous_system_number);
        }
        (place != Place::default()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database in which every IPv4 address is in this country and network.
    fn database(country: &str, asn: u32) -> Vec<u8> {
        let text = |text: &str| [&[0x40 | text.len() as u8], text.as_bytes()].concat();
        let number = |value: u32| [&[0xc4], &value.to_be_bytes()[..]].concat();
        let short = |value: u16| [&[0xa2], &value.to_be_bytes()[..]].concat();
        let data = [
            vec![0xe2],
            [text("country"), vec![0xe1], text("iso_code"), text(country)].concat(),
            [text("autonomous_system_number"), number(asn)].concat(),
        ];
        // One node, both sides of which lead to the data: its number is beyond the nodes and a gap of 16.
        let record = &(1u32 + 16).to_be_bytes()[1..];
        let head = [
            vec![0xe9],
            [text("binary_format_major_version"), short(2)].concat(),
            [text("binary_format_minor_version"), short(0)].concat(),
            [text("build_epoch"), vec![4, 2, 0, 0, 0, 1]].concat(),
            [text("database_type"), text("Test")].concat(),
            [text("description"), vec![0xe0]].concat(),
            [text("ip_version"), short(4)].concat(),
            [text("languages"), vec![0, 4]].concat(),
            [text("node_count"), number(1)].concat(),
            [text("record_size"), short(24)].concat(),
        ];
        let marker = b"\xab\xcd\xefMaxMind.com";
        [&[record, record].concat()[..], &[0; 16], &data.concat(), marker, &head.concat()].concat()
    }

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
        assert_eq!(place, Place { country: Some("DE".into()), asn: Some(0) });
        assert_eq!(geoip.look_up("2001:db8::1".parse().unwrap()), None, "it is of IPv4 alone");
        assert_eq!(Geoip::default().look_up("192.0.2.1".parse().unwrap()), None);
        std::fs::write(&files[0], b"no database").unwrap();
        let error = Geoip::open(&files).err().unwrap();
        assert!(format!("{error:#}").contains("a.mmdb"), "{error:#}");
    }
}
