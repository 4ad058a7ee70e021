//! What must hold between values that are each allowed by themselves, and between the
//! configuration and what the other rooms register.

use std::collections::HashSet;
use std::fmt::Display;

use super::check::quoted;
use super::mistake::{Mistake, Origin, did_you_mean};
use super::{Config, Known};
use crate::event::Timestamp;
use crate::fleet::{self, FleetConfig, Through};
use crate::parse;
use crate::tail::Stream;
use crate::triage;

/// Tiers of models: what two leave in doubt, a third would not know either.
const MAX_TIERS: usize = 2;

/// Adds a mistake for everything that does not hold. A key that has a mistake already is not
/// compared with others: its value is not the one that was meant.
pub(super) fn check(config: &Config, origins: &[(String, Origin)], known: &Known<'_>, mistakes: &mut Vec<Mistake>) {
    let mut report = Report { origins, mistakes, found: vec![] };

    let thresholds = &config.thresholds;
    report.in_order(("thresholds.flag", thresholds.flag), ("thresholds.block", thresholds.block));
    report.in_order(("thresholds.block", thresholds.block), ("thresholds.certain", thresholds.certain));
    report.in_order(("thresholds.monitor", thresholds.monitor), ("thresholds.act", thresholds.act));
    let respond = &config.respond;
    report.in_order(
        ("respond.block_duration_secs", respond.block_duration_secs),
        ("respond.max_block_duration_secs", respond.max_block_duration_secs),
    );

    if respond.names.is_empty() && !report.is_suspect("respond.use") {
        report.add("respond.use", "respond.use", format!("names no responder; known are {}", list(known.responders)));
    }
    for (number, name) in respond.names.iter().enumerate() {
        if respond.names[..number].contains(name) {
            report.add("respond.use", "respond.use", format!("names {name:?} twice"));
        }
        if !known.responders.contains(&name.as_str()) {
            report.add("respond.use", "respond.use", unknown("responder", name, known.responders));
        }
    }

    for (key, listen, address) in [
        ("crowdsec_api.listen", &config.crowdsec_api.listen, config.crowdsec_api.address()),
        ("http.listen", &config.http.listen, config.http.address()),
    ] {
        if let Err(why) = address {
            report.add(key, key, format!("{} is {why}", quoted(listen)));
        }
    }
    for name in &config.client.allow_names {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let why = match name.parse::<std::net::IpAddr>() {
            Ok(_) => "is an address: it belongs into client.allow",
            Err(_) if name.is_empty() || name.len() > 253 || !name.bytes().all(is_host) => "is no name of a host",
            Err(_) => continue,
        };
        report.add("client.allow_names", "client.allow_names", format!("{} {why}", quoted(name)));
    }
    if !respond.azure.client_secret.is_empty() && respond.azure.client_secret_file.is_some() {
        let why = "`client_secret` is set too; remove one of the two".into();
        report.add("respond.azure.client_secret_file", "respond.azure.client_secret_file", why);
    }

    if let Err(why) = config.memory.check_url() {
        report.add("memory.redis_url", "memory.redis_url", why.to_owned());
    }

    if let Err(why) = config.store.check_url() {
        report.add("store.database_url", "store.database_url", why.to_owned());
    }
    if !config.store.database_url.is_empty() && config.store.database_url_file.is_some() {
        let why = "`database_url` is set too; remove one of the two".into();
        report.add("store.database_url_file", "store.database_url_file", why);
    }
    let store = &config.store;
    report.in_order(
        ("store.keep_analysed_days", store.keep_analysed_days),
        ("store.keep_totals_days", store.keep_totals_days),
    );
    report.in_order(("store.keep_days", store.keep_days), ("store.keep_totals_days", store.keep_totals_days));
    check_fleet(config, &mut report);

    if config.zone().is_err() {
        let name = quoted(&config.timezone);
        let message = format!("no time zone is called {name}; use \"local\" or a name such as \"Europe/Berlin\"");
        report.add("timezone", "timezone", message);
    }

    let mut paths = HashSet::new();
    for (index, source) in config.source.iter().enumerate() {
        let at = |name: &str| format!("source[{index}].{name}");
        if parse::is_format_string(&source.format) || source.format.contains('+') {
            if let Err(why) = parse::Formats::named(&source.format) {
                report.add("source.format", &at("format"), why);
            }
        } else if source.format != "auto" && !known.formats.contains(&source.format.as_str()) {
            report.add("source.format", &at("format"), unknown("log format", &source.format, known.formats));
        }
        for sample in &source.samples {
            let understood = parse::Formats::named(&source.format).map(|formats| {
                let (arena, site) = (bumpalo::Bump::new(), parse::Site::default());
                let context = parse::Context {
                    extent: parse::Extent::Whole,
                    arena: &arena,
                    program: b"",
                    site: &site,
                    read_at: Timestamp(i64::from(u32::MAX) * 1000),
                };
                formats.parse(sample.as_bytes(), &context).map(|_| ())
            });
            let why = match understood {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => format!("the format does not understand {}: {why}", quoted(sample)),
                // What is wrong with the format itself was told.
                Err(_) if source.format != "auto" => continue,
                Err(_) => "samples are for a format that is named, not for \"auto\"".to_owned(),
            };
            report.add("source.samples", &at("samples"), why);
        }
        if source.path.is_empty() {
            report.add("source.path", &at("path"), "names no file".to_owned());
        }
        let stream = Stream::parse(&source.path);
        if let Err(why) = &stream {
            report.add("source.path", &at("path"), format!("{} {why}", quoted(&source.path)));
        } else if let (Ok(None), Err(error)) = (&stream, glob::Pattern::new(&source.path)) {
            let place = error.pos + 1;
            report.add("source.path", &at("path"), format!("no valid pattern: {} (character {place})", error.msg));
        }
        if !paths.insert(&source.path) {
            report.add(
                "source.path",
                &at("path"),
                format!("{} is followed already; remove one of the two", quoted(&source.path)),
            );
        }
    }
    for (index, crawler) in config.crawler.iter().enumerate() {
        let at = |key: &str| format!("crawler[{index}].{key}");
        if crawler.agent.len() < 4 {
            let why = format!("{} is in too many user agents; at least four letters", quoted(&crawler.agent));
            report.add("crawler.agent", &at("agent"), why);
        }
        for domain in crawler.domains.iter().filter(|domain| !domain.trim_matches('.').contains('.')) {
            let why = format!("{} is no domain of its own, such as \"googlebot.com\"", quoted(domain));
            report.add("crawler.domains", &at("domains"), why);
        }
    }
    for (index, list) in config.blocklist.iter().enumerate() {
        if !["http://", "https://"].iter().any(|scheme| list.url.starts_with(scheme)) {
            // What it is may hold a key.
            let why = "is no URL such as \"https://lists.example.com/drop.txt\"".to_owned();
            report.add("blocklist.url", &format!("blocklist[{index}].url"), why);
        }
    }
    let alerts = config.alert.iter().map(|one| (&one.name, one.mistakes()));
    let exports = config.export.iter().map(|one| (&one.name, one.mistakes()));
    for (list, all) in [("alert", alerts.collect::<Vec<_>>()), ("export", exports.collect())] {
        let mut names = HashSet::new();
        for (index, (name, found)) in all.into_iter().enumerate() {
            for (key, why) in found {
                let told = format!("{list}.{key}");
                // What is missing is told where the table's first key is.
                let places = [key, "name", "channel", "via", "url"].map(|key| format!("{list}[{index}].{key}"));
                let is_set = |place: &&String| report.origin(place) != Origin::Default;
                let place = places.iter().find(is_set).unwrap_or(&places[0]).clone();
                if !report.is_suspect(&told) {
                    report.add(&told, &place, why);
                }
            }
            if !name.is_empty() && !names.insert(name) {
                report.add(
                    &format!("{list}.name"),
                    &format!("{list}[{index}].name"),
                    format!("{name:?} is there twice"),
                );
            }
        }
    }
    let is_web = |url: &str| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    if !config.public_url.is_empty() && !is_web(&config.public_url) {
        let url = quoted(&config.public_url);
        report.add("public_url", "public_url", format!("{url} is no URL such as \"https://palisade.example.com\""));
    }
    for (index, tier) in config.tier.iter().enumerate() {
        let at = |key: &str| format!("tier[{index}].{key}");
        if index >= MAX_TIERS {
            let why =
                format!("is one too many: at most {MAX_TIERS} tiers, the second for what the first leaves in doubt");
            report.add("tier.name", &at("name"), format!("{} {why}", quoted(&tier.name)));
        }
        if tier.model.is_empty() {
            report.add("tier.model", &at("name"), format!("{} names no `model`", quoted(&tier.name)));
        }
        if !["http://", "https://"].iter().any(|scheme| tier.url.starts_with(scheme)) {
            let why = "is no URL such as \"https://api.cerebras.ai/v1\"";
            report.add("tier.url", &at("url"), format!("{} {why}", quoted(&tier.url)));
        }
        if !tier.api_key.is_empty() && tier.api_key_file.is_some() {
            report.add("tier.api_key_file", &at("api_key_file"), "`api_key` is set too; remove one of the two".into());
        }
        if tier.ask() == triage::Ask::Label && tier.provider == triage::Provider::Anthropic {
            let why = "Anthropic gives no probabilities: leave `ask` out";
            report.add("tier.ask", &at("ask"), why.into());
        }
    }
    let found = report.found;
    mistakes.extend(found);
}

/// Whether agents can share what they are told to share.
fn check_fleet(config: &Config, report: &mut Report<'_>) {
    let fleet = &config.fleet;
    if !config.agent.is_empty() && !fleet::is_name(&config.agent) {
        let why = "is no name of an agent: at most 64 letters, digits, `-`, `.` and `_`";
        report.add("agent", "agent", format!("{} {why}", quoted(&config.agent)));
    }
    if !fleet.key.is_empty() && fleet.key_file.is_some() {
        report.add("fleet.key_file", "fleet.key_file", "`key` is set too; remove one of the two".into());
    }
    let least = FleetConfig::MIN_KEY_BYTES;
    if !fleet.key.is_empty() && fleet.key.reveal().len() < least {
        // What it is is not repeated.
        let why = format!("too short: at least {least} characters, such as `openssl rand -hex 32` gives");
        report.add("fleet.key", "fleet.key", why);
    }
    if !fleet.share {
        return;
    }
    if fleet.key.is_empty() && fleet.key_file.is_none() {
        let why = "needs fleet.key or fleet.key_file, the same for all agents: what is not signed is not believed";
        report.add("fleet.share", "fleet.share", why.into());
    }
    let (redis, postgres) = (config.memory.is_shared(), config.store.is_shared());
    let (is_there, needs) = match fleet.through {
        Through::Auto => (redis || postgres, "memory.redis_url or store.database_url"),
        Through::Redis => (redis, "memory.redis_url"),
        Through::Postgres => (postgres, "store.database_url"),
    };
    if !is_there {
        report.add("fleet.share", "fleet.share", format!("needs {needs}, which all agents reach"));
    }
}

struct Report<'a> {
    origins: &'a [(String, Origin)],
    mistakes: &'a [Mistake],
    found: Vec<Mistake>,
}

impl Report<'_> {
    fn in_order<T: PartialOrd + Display>(&mut self, (low_key, low): (&str, T), (high_key, high): (&str, T)) {
        if low > high && !self.is_suspect(low_key) && !self.is_suspect(high_key) {
            // The default cannot be to blame.
            let key = if self.origin(high_key) == Origin::Default { low_key } else { high_key };
            self.add(key, key, format!("needs {low_key} <= {high_key}, but {low} is more than {high}"));
        }
    }

    fn is_suspect(&self, key: &str) -> bool {
        // A key-less mistake is one of a whole file, which may have said anything.
        self.mistakes.iter().any(|mistake| key.starts_with(&mistake.key))
    }

    /// A mistake at `key`, whose value comes from where the value at `path` does.
    fn add(&mut self, key: &str, path: &str, message: String) {
        self.found.push(Mistake { origin: self.origin(path), key: key.to_owned(), message });
    }

    fn origin(&self, path: &str) -> Origin {
        let found = self.origins.iter().find(|(other, _)| other == path);
        found.map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let hint = did_you_mean(name, known.iter().copied());
    format!("no {what} is called {}{hint} (known: {})", quoted(name), list(known))
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}
