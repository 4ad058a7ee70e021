//! Host names whose addresses must stay open: those that the operator allows, and of the services that
//! Palisade itself talks to. A thread of their own asks for them, since a resolver may keep one waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::crawlers::Resolver;
use crate::config::Config;
use crate::event::canonical;

/// They are asked for this often.
const AGAIN: Duration = Duration::from_secs(60);
/// An address that answers no longer contain stays open for so long: many services give a few of
/// their addresses at a time.
const GONE: Duration = Duration::from_secs(600);
/// While there is no answer, the last one holds for so long.
const UNANSWERED: Duration = Duration::from_secs(86_400);

/// What the names stand for now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    pub allowed: Vec<IpAddr>,
    pub services: Vec<IpAddr>,
    /// Names that have no answer.
    pub problems: Vec<String>,
}

/// The names, and what was answered.
pub struct Names {
    names: Vec<Name>,
    resolver: Arc<dyn Resolver>,
}

struct Name {
    host: String,
    is_service: bool,
    /// By address, when it was answered last.
    addresses: HashMap<IpAddr, Instant>,
    answered: Option<Instant>,
}

impl Names {
    pub fn of(config: &Config, resolver: Arc<dyn Resolver>) -> Names {
        let allowed = config.client.allow_names.iter().map(|host| (host.clone(), false));
        let services = endpoints(config).into_iter().filter_map(|url| Some((host_of(url)?.to_owned(), true)));
        let mut hosts: Vec<(String, bool)> = allowed.chain(services).collect();
        hosts.sort();
        hosts.dedup();
        let name = |(host, is_service)| Name { host, is_service, addresses: HashMap::new(), answered: None };
        Names { names: hosts.into_iter().map(name).collect(), resolver }
    }

    /// Starts to ask, at once and then again and again, until nobody wants to know any more.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn watch(mut self) -> std::io::Result<watch::Receiver<Resolved>> {
        let (told, seen) = watch::channel(Resolved::default());
        std::thread::Builder::new().name("names".into()).spawn(move || {
            while !told.is_closed() {
                let resolved = self.resolve(Instant::now());
                told.send_replace(resolved);
                if self.names.is_empty() {
                    return;
                }
                std::thread::sleep(AGAIN);
            }
        })?;
        Ok(seen)
    }

    /// Asks for all of them. May take as long as the resolver wants.
    fn resolve(&mut self, now: Instant) -> Resolved {
        let mut resolved = Resolved::default();
        for name in &mut self.names {
            let answer = match name.host.parse::<IpAddr>() {
                Ok(address) => vec![address],
                Err(_) => self.resolver.addresses_of(&name.host).unwrap_or_default(),
            };
            resolved.problems.extend(name.take(answer, now));
            let list = if name.is_service { &mut resolved.services } else { &mut resolved.allowed };
            list.extend(name.addresses.keys());
        }
        for list in [&mut resolved.allowed, &mut resolved.services] {
            list.sort();
            list.dedup();
        }
        resolved
    }
}

impl Name {
    /// Takes an answer, or none; gives what is wrong.
    fn take(&mut self, answer: Vec<IpAddr>, now: Instant) -> Option<String> {
        let is_answered = !answer.is_empty();
        if is_answered {
            self.answered = Some(now);
        }
        self.addresses.extend(answer.into_iter().map(|address| (canonical(address), now)));
        let keep = if is_answered { GONE } else { UNANSWERED };
        self.addresses.retain(|_, seen| now.duration_since(*seen) < keep);
        if is_answered {
            return None;
        }
        let (host, hours) = (&self.host, UNANSWERED.as_secs() / 3600);
        let what = if self.is_service { "which is configured as a service" } else { "client.allow_names" };
        Some(match self.addresses.is_empty() {
            true => format!("{host:?} ({what}) has no address that DNS knows: its clients may be blocked"),
            false => {
                format!("{host:?} ({what}) has no address any more that DNS knows: its last ones hold for {hours} h")
            }
        })
    }
}

/// The URLs of everything that Palisade itself talks to. Who makes it talk to more names it here.
fn endpoints(config: &Config) -> Vec<&str> {
    let mut urls = vec![config.memory.redis_url.reveal(), config.store.database_url.reveal()];
    urls.extend(config.tier.iter().map(|tier| tier.url.as_str()));
    let reputation = &config.reputation;
    for (url, key, file) in [
        (&reputation.abuseipdb_url, &reputation.abuseipdb_key, &reputation.abuseipdb_key_file),
        (&reputation.virustotal_url, &reputation.virustotal_key, &reputation.virustotal_key_file),
    ] {
        if !key.is_empty() || file.is_some() {
            urls.push(url);
        }
    }
    urls.extend(config.blocklist.iter().map(|list| list.url.as_str()));
    let respond = &config.respond;
    for (name, url) in [("cloudflare", respond.cloudflare.url.as_str()), ("webhook", respond.webhook.url.reveal())] {
        if respond.names.iter().any(|other| other == name) {
            urls.push(url);
        }
    }
    if respond.names.iter().any(|name| name == "azure") {
        urls.extend([respond.azure.endpoint.as_str(), &respond.azure.authority]);
    }
    urls
}

/// The host in `scheme://user:password@host:port/path`.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::pipeline::crawlers::NoAnswer;

    /// Answers what it is told to.
    #[derive(Default)]
    struct Told(Mutex<HashMap<String, Vec<IpAddr>>>);

    impl Resolver for Told {
        fn name_of(&self, _: IpAddr) -> Result<Option<String>, NoAnswer> {
            Err(NoAnswer)
        }

        fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, NoAnswer> {
            self.0.lock().unwrap().get(name).cloned().ok_or(NoAnswer)
        }
    }

    impl Told {
        fn say(&self, name: &str, addresses: &[&str]) {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            self.0.lock().unwrap().insert(name.into(), addresses);
        }
    }

    fn shown(addresses: &[IpAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_name_stood_for_last_holds_for_a_while() {
        let mut config = Config::default();
        config.client.allow_names = vec!["office.example.org".into()];
        let told = Arc::new(Told::default());
        let mut names = Names::of(&config, told.clone());
        let start = Instant::now();
        let mut after = |secs| names.resolve(start + Duration::from_secs(secs));
        let first = after(0);
        assert!(first.allowed.is_empty() && first.problems[0].contains("client.allow_names"), "{first:?}");
        told.say("office.example.org", &["198.51.100.7", "::ffff:203.0.113.9"]);
        let known = after(60);
        assert_eq!(
            (shown(&known.allowed), known.problems.len()),
            (vec!["198.51.100.7".into(), "203.0.113.9".into()], 0)
        );
        told.say("office.example.org", &["198.51.100.8"]);
        assert_eq!(after(120).allowed.len(), 3, "some services give another address each time");
        assert_eq!(shown(&after(60 + GONE.as_secs()).allowed), ["198.51.100.8"]);
        told.say("office.example.org", &[]);
        let silent = after(3600);
        assert_eq!(shown(&silent.allowed), ["198.51.100.8"]);
        assert!(silent.problems[0].contains("hold for 24 h"), "{silent:?}");
        assert!(after(2 * 86_400).allowed.is_empty(), "not for ever");
    }

    #[test]
    fn services_are_those_that_the_configuration_names() {
        let mut config = Config::default();
        config.memory.redis_url = crate::event::Secret::from("rediss://default:p@ss@redis.example.org:6379".to_owned());
        config.tier =
            vec![toml::from_str("name = \"t\"\nprovider = \"ollama\"\nurl = \"http://[2001:db8::7]:11434\"").unwrap()];
        config.store.database_url = crate::event::Secret::from("postgres://agent:p%40@192.0.2.9:6543/logs".to_owned());
        let told = Arc::new(Told::default());
        told.say("api.abuseipdb.com", &["198.51.100.1"]);
        told.say("redis.example.org", &["198.51.100.2"]);
        let services = Names::of(&config, told.clone()).resolve(Instant::now()).services;
        assert_eq!(shown(&services), ["192.0.2.9", "198.51.100.2", "2001:db8::7"], "who has no key is not talked to");
        config.reputation.abuseipdb_key = crate::event::Secret::from("k".to_owned());
        let services = Names::of(&config, told).resolve(Instant::now()).services;
        assert!(shown(&services).contains(&"198.51.100.1".into()), "{services:?}");
    }

    #[test]
    fn hosts_are_found_in_urls() {
        for (url, host) in [
            ("https://api.example.org/v1", Some("api.example.org")),
            ("redis://:secret@192.0.2.7:6379/0", Some("192.0.2.7")),
            ("http://[::1]:80?x", Some("::1")),
            ("unix:///run/x", None),
            ("", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
