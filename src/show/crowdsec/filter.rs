//! What a bouncer asks for: the query of its request.

use std::net::IpAddr;

use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use ipnet::IpNet;

use super::Trouble;
use crate::record::Ban;
use crate::show::api::network;

/// Who made a decision, to bouncers: all of them are ours.
pub const ORIGIN: &str = "palisade";
/// The one thing that is done to a client.
pub const BAN: &str = "ban";

/// The scope of a decision on one address, and on a network.
const IP: &str = "Ip";
const RANGE: &str = "Range";

/// Which decisions. An empty list asks for nothing in particular.
pub struct Filter {
    pub startup: bool,
    pub asked: Asked,
    scopes: Vec<String>,
    origins: Vec<String>,
    types: Vec<String>,
    /// In lower case, as is what follows.
    containing: Vec<String>,
    not_containing: Vec<String>,
}

/// Decisions on whom.
pub enum Asked {
    All,
    /// Exactly on one of these.
    OneOf(Vec<IpNet>),
    /// On this network or a part of it.
    Within(IpNet),
}

impl Filter {
    /// What the query asks for. Keys that are not known are passed over: each bouncer has some of its own.
    pub fn parse(uri: &Uri) -> Result<Filter, Trouble> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| invalid(&format!("the query cannot be read: {error}")))?;
        let mut filter = Filter {
            startup: false,
            asked: Asked::All,
            scopes: vec![],
            origins: vec![],
            types: vec![],
            containing: vec![],
            not_containing: vec![],
        };
        let (mut target, mut value, mut contains) = (None, None, true);
        for (key, text) in pairs {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            match &*key {
                "startup" => filter.startup = flag("startup", &text)?,
                "contains" => contains = flag("contains", &text)?,
                "scopes" | "scope" => filter.scopes.extend(words.map(str::to_owned)),
                "origins" => filter.origins.extend(words.map(str::to_owned)),
                "type" => filter.types.extend(words.map(str::to_owned)),
                "scenarios_containing" => filter.containing.extend(words.map(str::to_lowercase)),
                "scenarios_not_containing" => filter.not_containing.extend(words.map(str::to_lowercase)),
                "ip" if text.parse::<IpAddr>().is_err() => {
                    return Err(invalid(&format!("{text:?} is no IP address")));
                }
                "ip" | "range" => {
                    target = Some(network(&text).map_err(|_| invalid(&format!("{text:?} is no range")))?);
                }
                "value" => value = Some(text),
                _ => {}
            }
        }
        filter.asked = match (target, value) {
            // Whoever holds all of it holds it.
            (Some(target), _) if contains => {
                Asked::OneOf(std::iter::successors(Some(target), IpNet::supernet).collect())
            }
            (Some(target), _) => Asked::Within(target),
            // A country, say: we have no decisions on those.
            (None, Some(value)) => Asked::OneOf(network(&value).into_iter().collect()),
            (None, None) => Asked::All,
        };
        Ok(filter)
    }

    /// Whether a decision, on whomever it may be, is asked for.
    pub fn fits(&self, ban: &Ban) -> bool {
        let one_of =
            |words: &[String], word: &str| words.is_empty() || words.iter().any(|one| one.eq_ignore_ascii_case(word));
        let scenario = scenario(ban);
        one_of(&self.scopes, scope(ban))
            && one_of(&self.origins, ORIGIN)
            && one_of(&self.types, BAN)
            && (self.containing.is_empty() || self.containing.iter().any(|part| scenario.contains(part)))
            && !self.not_containing.iter().any(|part| scenario.contains(part))
    }
}

/// What a decision is on, as CrowdSec names it.
pub fn scope(ban: &Ban) -> &'static str {
    if ban.target.contains('/') { RANGE } else { IP }
}

/// Why a client is shut out, under a name such as CrowdSec's; in lower case.
pub fn scenario(ban: &Ban) -> String {
    format!("{ORIGIN}/{}", ban.category.as_deref().unwrap_or("manual"))
}

pub fn is_within(ban: &Ban, network: IpNet) -> bool {
    super::super::api::network(&ban.target).is_ok_and(|target| network.contains(&target))
}

fn flag(key: &str, text: &str) -> Result<bool, Trouble> {
    // What Go's strconv.ParseBool takes, and Python's True.
    match &*text.to_ascii_lowercase() {
        "1" | "t" | "true" => Ok(true),
        "" | "0" | "f" | "false" => Ok(false),
        _ => Err(invalid(&format!("{key} is true or false, not {text:?}"))),
    }
}

fn invalid(what: &str) -> Trouble {
    Trouble(StatusCode::BAD_REQUEST, what.to_owned())
}
