//! Whether a client is the search engine or monitor that its user agent claims. Anybody can send
//! any user agent, so the address must have a name under one of the crawler's domains that leads
//! back to the address, or be in its ranges. Asked for those alone whose block is proposed, in the
//! background: names are looked up on threads of their own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dns_lookup::{LookupError, LookupErrorKind};
use ipnet::IpNet;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::decide::CrawlerConfig;
use crate::event::canonical;

/// Crawlers whose operators document that these domains name them: a part of the user agent, and
/// the domains. None is one under which strangers get names.
const KNOWN: &[(&str, &[&str])] = &[
    ("Googlebot", &["googlebot.com", "google.com"]),
    ("GoogleOther", &["googlebot.com", "google.com"]),
    ("Google-InspectionTool", &["googlebot.com", "google.com"]),
    ("AdsBot-Google", &["googlebot.com", "google.com"]),
    ("Mediapartners-Google", &["googlebot.com", "google.com"]),
    ("Storebot-Google", &["googlebot.com", "google.com"]),
    ("bingbot", &["search.msn.com"]),
    ("Yandex", &["yandex.ru", "yandex.net", "yandex.com"]),
    ("Baiduspider", &["baidu.com", "baidu.jp"]),
    ("Applebot", &["applebot.apple.com"]),
    ("Amazonbot", &["crawl.amazonbot.amazon"]),
    ("Yahoo! Slurp", &["crawl.yahoo.net"]),
    ("DuckDuckBot", &["duckduckgo.com"]),
    ("Qwant", &["qwant.com"]),
    ("PetalBot", &["petalsearch.com", "aspiegel.com"]),
    ("SeznamBot", &["seznam.cz"]),
    ("MojeekBot", &["mojeek.com"]),
    ("Pinterestbot", &["pinterest.com"]),
    ("facebookexternalhit", &["facebook.com", "fbsv.net"]),
    ("LinkedInBot", &["linkedin.com"]),
    ("UptimeRobot", &["uptimerobot.com"]),
    ("Pingdom", &["pingdom.com"]),
];

/// How long what was found out holds.
const VERIFIED: Duration = Duration::from_secs(24 * 3600);
const REFUTED: Duration = Duration::from_secs(3600);
/// Answers that are remembered, and questions that are open.
const MAX_KNOWN: usize = 4096;
const MAX_OPEN: usize = 256;
/// Threads that ask at once.
const MAX_ASKING: usize = 8;
/// Without an answer it is asked again after so long, twice as long each time, so many times.
const AGAIN: Duration = Duration::from_secs(30);
const TRIES: u32 = 8;

/// Names and addresses, as DNS or `/etc/hosts` have them.
pub trait Resolver: Send + Sync {
    /// # Errors
    /// Nobody answered, which says nothing of the address.
    fn name_of(&self, address: IpAddr) -> Result<Option<String>, NoAnswer>;
    /// # Errors
    /// Nobody answered.
    fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, NoAnswer>;
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoAnswer;

/// The host's own.
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn name_of(&self, address: IpAddr) -> Result<Option<String>, NoAnswer> {
        answer(dns_lookup::lookup_addr(&address))
    }

    fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, NoAnswer> {
        answer(dns_lookup::lookup_host(name).map(Iterator::collect)).map(Option::unwrap_or_default)
    }
}

fn answer<T>(found: Result<T, LookupError>) -> Result<Option<T>, NoAnswer> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => Ok(None),
            _ => Err(NoAnswer),
        },
    }
}

/// A client and the crawler that it claims to be, by its place in the table.
pub type Claim = (IpAddr, usize);

/// What is known of a claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    Verified,
    Refuted,
    /// It is being asked.
    Open,
    /// Nobody answers, or too much is being asked.
    Unanswered,
}

#[derive(Clone, PartialEq)]
struct Crawler {
    name: String,
    /// The same in lower case.
    agent: String,
    domains: Vec<String>,
    ranges: Vec<IpNet>,
    /// No longer in the table. It keeps its place, since questions about others name theirs.
    is_gone: bool,
}

/// The table of crawlers, and what was found out.
pub struct Crawlers {
    table: Vec<Crawler>,
    resolver: Arc<dyn Resolver>,
    known: HashMap<Claim, (Standing, Instant)>,
    open: HashMap<Claim, Question>,
    /// Threads that ask now.
    asking: usize,
    answers: (mpsc::UnboundedSender<Answer>, mpsc::UnboundedReceiver<Answer>),
}

/// A claim, and whether it is true.
pub type Answer = (Claim, Result<bool, NoAnswer>);

struct Question {
    tries: u32,
    /// When it is asked (again); absent while it is.
    due: Option<Instant>,
}

impl Crawlers {
    /// `more` beside those that are built in; one with the same `agent` replaces it.
    pub fn new(more: &[CrawlerConfig], resolver: Arc<dyn Resolver>) -> Crawlers {
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let built_in = KNOWN.iter().map(|(agent, domains)| Crawler {
            name: agent.to_string(),
            agent: agent.to_ascii_lowercase(),
            domains: strings(domains),
            ranges: vec![],
            is_gone: false,
        });
        let mut table: Vec<Crawler> = built_in.collect();
        for CrawlerConfig { agent: name, domains, ranges } in more {
            let (name, agent) = (name.clone(), name.to_ascii_lowercase());
            table.retain(|known| known.agent != agent);
            let domains = domains.iter().map(|domain| domain.trim_matches('.').to_ascii_lowercase()).collect();
            table.push(Crawler { name, agent, domains, ranges: ranges.clone(), is_gone: false });
        }
        Crawlers::of(table, resolver)
    }

    /// What the configuration says of crawlers.
    pub fn configured(config: &Config, resolver: Arc<dyn Resolver>) -> Crawlers {
        match config.client.verify_crawlers {
            true => Crawlers::new(&config.crawler, resolver),
            false => Crawlers::none(),
        }
    }

    /// Takes the table of `newer`. What was found out of crawlers that are in both stays.
    pub fn take_over(&mut self, newer: Crawlers) {
        for crawler in &mut self.table {
            crawler.is_gone |= !newer.table.contains(crawler);
        }
        let new: Vec<Crawler> = newer.table.into_iter().filter(|crawler| !self.table.contains(crawler)).collect();
        self.table.extend(new);
        let is_there = |table: &[Crawler], (_, named): Claim| table.get(named).is_some_and(|crawler| !crawler.is_gone);
        self.known.retain(|claim, _| is_there(&self.table, *claim));
        self.open.retain(|claim, _| is_there(&self.table, *claim));
    }

    /// Without a table: nobody claims anything.
    pub fn none() -> Crawlers {
        Crawlers::of(vec![], Arc::new(SystemResolver))
    }

    fn of(table: Vec<Crawler>, resolver: Arc<dyn Resolver>) -> Crawlers {
        let (known, open, answers) = (HashMap::new(), HashMap::new(), mpsc::unbounded_channel());
        Crawlers { table, resolver, known, open, asking: 0, answers }
    }

    /// The crawler that a user agent names, if it names one.
    pub fn claim(&self, address: IpAddr, user_agent: &str) -> Option<Claim> {
        let agent = user_agent.to_ascii_lowercase();
        let named = self.table.iter().position(|crawler| !crawler.is_gone && agent.contains(&crawler.agent))?;
        Some((canonical(address), named))
    }

    /// What the crawler of a claim is called.
    pub fn name(&self, (_, named): Claim) -> &str {
        self.table.get(named).map_or("", |crawler| &crawler.name)
    }

    /// What is known of `claim`; what is not known is asked.
    pub fn standing(&mut self, claim: Claim, now: Instant) -> Standing {
        if let Some((standing, until)) = self.known.get(&claim)
            && *until > now
        {
            return *standing;
        }
        let Some(crawler) = self.table.get(claim.1).filter(|crawler| !crawler.is_gone) else {
            return Standing::Refuted;
        };
        if crawler.ranges.iter().any(|range| range.contains(&claim.0)) {
            self.learn(claim, Standing::Verified, now);
            return Standing::Verified;
        }
        if crawler.domains.is_empty() {
            return Standing::Refuted;
        }
        match self.open.get(&claim) {
            Some(question) if question.tries > 1 || question.due.is_some_and(|due| due > now) => Standing::Unanswered,
            Some(_) => Standing::Open,
            None if self.open.len() >= MAX_OPEN => Standing::Unanswered,
            None => {
                self.open.insert(claim, Question { tries: 0, due: Some(now) });
                self.ask_due(now);
                Standing::Open
            }
        }
    }

    /// The next answer, for [`take`](Crawlers::take).
    pub async fn answered(&mut self) -> Option<Answer> {
        self.answers.1.recv().await
    }

    /// Takes note of an answer; gives what the claim is now.
    pub fn take(&mut self, (claim, answer): Answer, now: Instant) -> Standing {
        self.asking = self.asking.saturating_sub(1);
        let standing = match answer {
            _ if self.table.get(claim.1).is_none_or(|crawler| crawler.is_gone) => Standing::Unanswered,
            Ok(true) => Standing::Verified,
            Ok(false) => Standing::Refuted,
            Err(NoAnswer) => Standing::Unanswered,
        };
        if standing != Standing::Unanswered {
            self.open.remove(&claim);
            self.learn(claim, standing, now);
        } else if let Some(question) = self.open.get_mut(&claim) {
            if question.tries >= TRIES {
                self.open.remove(&claim);
            } else {
                question.due = Some(now + AGAIN * 2u32.pow(question.tries.saturating_sub(1).min(TRIES)));
            }
        }
        self.ask_due(now);
        standing
    }

    /// Asks what is due to be asked, as far as there are threads for it.
    pub fn ask_due(&mut self, now: Instant) {
        let is_due = |question: &Question| question.due.is_some_and(|due| due <= now);
        while self.asking < MAX_ASKING
            && let Some((&claim, question)) = self.open.iter_mut().find(|(_, question)| is_due(question))
        {
            (question.tries, question.due) = (question.tries + 1, None);
            let domains = self.table.get(claim.1).map_or(vec![], |crawler| crawler.domains.clone());
            let (resolver, answers) = (self.resolver.clone(), self.answers.0.clone());
            self.asking += 1;
            // A thread of its own, not the runtime's: one that waits for DNS must not hold up a stop.
            let asked = std::thread::Builder::new().name("resolver".into()).spawn(move || {
                // The decider may have ended.
                let _ = answers.send((claim, is_true(&*resolver, claim.0, &domains)));
            });
            if asked.is_err() {
                let _ = self.answers.0.send((claim, Err(NoAnswer)));
            }
        }
    }

    /// The addresses that are what they claim.
    pub fn verified(&self, now: Instant) -> Vec<IpAddr> {
        let verified =
            self.known.iter().filter(|(_, (standing, until))| *standing == Standing::Verified && *until > now);
        verified.map(|((address, _), _)| *address).collect()
    }

    fn learn(&mut self, claim: Claim, standing: Standing, now: Instant) {
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, (_, until)| *until > now);
        }
        if self.known.len() >= MAX_KNOWN {
            // Who lies is asked again at no cost to anybody else.
            self.known.retain(|_, (standing, _)| *standing == Standing::Verified);
        }
        if self.known.len() < MAX_KNOWN {
            let holds = if standing == Standing::Verified { VERIFIED } else { REFUTED };
            self.known.insert(claim, (standing, now + holds));
        }
    }
}

/// Whether the address has a name under one of `domains` that leads back to it.
fn is_true(resolver: &dyn Resolver, address: IpAddr, domains: &[String]) -> Result<bool, NoAnswer> {
    let Some(name) = resolver.name_of(address)? else { return Ok(false) };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_under = |domain: &String| name.strip_suffix(&**domain).is_some_and(|host| host.ends_with('.'));
    // Whoever owns an address may give it any name, but not the name any address.
    Ok(domains.iter().any(is_under)
        && resolver.addresses_of(&name)?.into_iter().map(canonical).any(|back| back == address))
}

#[cfg(test)]
mod tests;
