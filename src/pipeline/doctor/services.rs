//! Asks every service that the configuration names whether it is there and lets us in.

use std::time::{Duration, Instant};

use reqwest::header::DATE;
use reqwest::{Client, StatusCode, Url};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::Config;
use crate::doctor::{Database, Said, Service};
use crate::event::{Timestamp, printable};
use crate::memory;
use crate::pipeline::databases::{self, Examined};
use crate::pipeline::models;
use crate::triage::provider::is_near;

/// Who has not answered by then is told so.
const PATIENCE: Duration = Duration::from_secs(6);

/// What all of them said.
#[derive(Debug, Default)]
pub struct Asked {
    pub services: Vec<Service>,
    /// How far their clocks are ahead of ours, in milliseconds.
    pub clocks: Vec<(String, i64)>,
    pub database: Option<Database>,
}

impl Asked {
    fn of(name: impl Into<String>, said: Said) -> Asked {
        Asked { services: vec![Service { name: name.into(), said }], ..Asked::default() }
    }
}

fn ill(problem: impl Into<String>, advice: impl Into<String>) -> Said {
    Said::Ill { problem: problem.into(), advice: advice.into() }
}

/// Asks all of them at once.
pub async fn ask(config: &Config) -> Asked {
    let mut asking = JoinSet::new();
    for tier in &config.tier {
        let alone = Config { tier: vec![tier.clone()], ..config.clone() };
        asking.spawn(patiently(format!("tier {}", tier.name), async move { models_of(&alone).await }));
    }
    if config.memory.is_shared() {
        let config = config.clone();
        asking.spawn(patiently("redis".into(), async move { redis(&config).await }));
    }
    if config.store.is_shared() {
        let config = config.clone();
        asking.spawn(async move { postgres(&config).await });
    }
    for (name, url) in urls(config) {
        let shown = name.clone();
        asking.spawn(patiently(name, async move { reach(shown, &url).await }));
    }
    #[cfg(feature = "azure")]
    if config.respond.names.iter().any(|name| name == "azure") {
        let config = config.clone();
        asking.spawn(patiently("azure".into(), async move { azure(&config).await }));
    }
    let mut asked = Asked::default();
    for one in asking.join_all().await {
        asked.services.extend(one.services);
        asked.clocks.extend(one.clocks);
        asked.database = asked.database.or(one.database);
    }
    asked.services.sort_by(|a, b| a.name.cmp(&b.name));
    asked
}

async fn patiently(name: String, asking: impl Future<Output = Asked>) -> Asked {
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        let problem = format!("no answer within {} s", PATIENCE.as_secs());
        let advice = "see whether it runs, and whether a firewall on the way drops what is sent to it";
        Asked::of(name, ill(problem, advice))
    })
}

async fn models_of(config: &Config) -> Asked {
    let name = config.tier.first().map_or(String::new(), |tier| tier.name.clone());
    let told = match models::check(config).await {
        Ok(told) => told,
        Err(error) => vec![(name.clone(), Err(format!("{error:#}")))],
    };
    let mut asked = Asked::default();
    for (name, answer) in told {
        let said = match answer {
            Ok(()) => Said::Well("its model is there".into()),
            Err(problem) if problem.contains("triage.privacy") => Said::Hint(problem),
            Err(problem) => {
                let advice = if problem.contains("has no model") {
                    format!("set `model` to one that it has, or fetch it: palisade triage pull {name}")
                } else if problem.contains("key") {
                    "set api_key or api_key_file of this [[tier]]; rules decide alone meanwhile".into()
                } else {
                    "start its server, or correct `url` of this [[tier]]; rules decide alone meanwhile".into()
                };
                ill(problem, advice)
            }
        };
        asked.services.push(Service { name: format!("tier {name}"), said });
    }
    asked
}

async fn redis(config: &Config) -> Asked {
    let began = Instant::now();
    let now = async {
        let mut connection = memory::connect(&config.memory).await?;
        let answer: Result<(i64, i64), _> = redis::cmd("TIME").query_async(&mut connection).await;
        answer.map_err(|error| memory::Trouble::of(&error))
    };
    match now.await {
        Ok((secs, micros)) => {
            let ahead = secs * 1000 + micros / 1000 - Timestamp::now().0;
            let asked = Asked::of("redis", Said::Well(format!("answers in {} ms", began.elapsed().as_millis())));
            Asked { clocks: vec![("redis".into(), ahead)], ..asked }
        }
        Err(trouble) => {
            let advice = "start it, or correct memory.redis_url; until then each agent remembers alone";
            Asked::of("redis", ill(trouble.to_string(), advice))
        }
    }
}

async fn postgres(config: &Config) -> Asked {
    let problem = match timeout(PATIENCE, databases::examine(config)).await {
        Ok(None) => return Asked::default(),
        Ok(Some(Ok(found))) => return database(found),
        Ok(Some(Err(error))) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    let advice = match &*databases::hints(config) {
        [] => "start it, or correct store.database_url; what is recorded waits here meanwhile".to_owned(),
        hints => hints.join("; "),
    };
    Asked::of("postgres", ill(problem, advice))
}

fn database(found: Examined) -> Asked {
    let state = if found.schema.pending.is_empty() { ", up to date" } else { "" };
    let said = format!("{}: version {}, schema {}{state}", found.place, found.server_version, found.schema.known);
    Asked {
        clocks: vec![("postgres".into(), found.clock_millis)],
        database: Some(Database {
            place: found.place,
            lacking: found.lacking,
            hints: found.advice,
            pending: found.schema.pending.len(),
        }),
        ..Asked::of("postgres", Said::Well(said))
    }
}

/// Whom else Palisade talks to over HTTP. Only whether they are there is asked: questions are counted.
fn urls(config: &Config) -> Vec<(String, String)> {
    let mut urls = vec![];
    let reputation = &config.reputation;
    if !reputation.abuseipdb_key.is_empty() || reputation.abuseipdb_key_file.is_some() {
        urls.push(("AbuseIPDB".to_owned(), reputation.abuseipdb_url.clone()));
    }
    if !reputation.virustotal_key.is_empty() || reputation.virustotal_key_file.is_some() {
        urls.push(("VirusTotal".to_owned(), reputation.virustotal_url.clone()));
    }
    urls.extend(config.blocklist.iter().map(|list| (format!("blocklist {}", list.name), list.url.clone())));
    if config.respond.names.iter().any(|name| name == "cloudflare") {
        urls.push(("cloudflare".to_owned(), config.respond.cloudflare.url.clone()));
    }
    urls
}

/// Whether a web server answers at `url`: with what is of no matter, but for a list, which must be there.
async fn reach(name: String, url: &str) -> Asked {
    let (status, ahead) = match head(url).await {
        Ok(answered) => answered,
        Err(why) => {
            let advice = "see whether this host reaches the internet, through a proxy if need be (HTTPS_PROXY)";
            return Asked::of(name, ill(format!("cannot be reached: {why}"), advice));
        }
    };
    let is_gone = [StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::FORBIDDEN].contains(&status);
    if name.starts_with("blocklist") && is_gone {
        let advice = "correct the `url` of this [[blocklist]], or remove it: its bans run out";
        return Asked::of(name, ill(format!("its server answers {status}"), advice));
    }
    Asked {
        clocks: ahead.map(|ahead| (name.clone(), ahead)).into_iter().collect(),
        ..Asked::of(name, Said::Well("answers".into()))
    }
}

/// The status of an answer without a body, and how far its clock is ahead of ours.
async fn head(url: &str) -> Result<(StatusCode, Option<i64>), String> {
    // reqwest brings no cryptography of its own; it is an error if another part was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let mut client = Client::builder().redirect(reqwest::redirect::Policy::none());
    if is_near(url.as_str()) {
        client = client.no_proxy();
    }
    // Without TLS a host needs no certificate authorities, and may have none.
    if url.scheme() == "http" {
        client = client.tls_certs_only([]);
    }
    // Without the URL, in which a key may stand.
    let told = |error: reqwest::Error| {
        let mut cause: &dyn std::error::Error = &error.without_url();
        while let Some(source) = cause.source() {
            cause = source;
        }
        printable(cause.to_string().as_bytes(), 200)
    };
    let answer = client.build().map_err(told)?.head(url).send().await.map_err(told)?;
    let date = answer.headers().get(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
    let ahead = date.map(|date| date.timestamp().as_millisecond() - Timestamp::now().0);
    Ok((answer.status(), ahead))
}

#[cfg(feature = "azure")]
async fn azure(config: &Config) -> Asked {
    use crate::pipeline::live::{Azure, Level};

    let advice = "`palisade azure check` tries it again, `palisade azure init` makes what is missing";
    let mut azure = match Azure::new(&config.respond.azure) {
        Ok(azure) => azure,
        Err(error) => return Asked::of("azure", ill(error.to_string(), advice)),
    };
    let service = |(level, text): (Level, String)| Service {
        name: "azure".into(),
        said: match level {
            Level::Ok => Said::Well(text),
            Level::Warning => Said::Hint(text),
            Level::Problem => ill(text, advice),
        },
    };
    let services = azure.inspect().await.into_iter().map(|note| service((note.level, note.text))).collect();
    Asked { services, ..Asked::default() }
}
