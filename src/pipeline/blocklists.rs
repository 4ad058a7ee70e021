//! Subscribed lists of addresses: fetched again and again, each time sent to the decider as an import.
//! Off unless a `[[blocklist]]` is configured.

use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::lists;
use crate::config::BlocklistConfig;
use crate::event::{Timestamp, printable};
use crate::show::{Command, Request, Service, Services};
use crate::triage::provider;

/// A list has come by then, or counts as missing.
const TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// More hops lead nowhere.
const MAX_REDIRECTS: usize = 3;
/// After a failure it is tried again sooner, so that bans do not end for a server's bad hour.
const RETRY: Duration = Duration::from_secs(600);

/// One subscription, and what its server said last.
pub struct Blocklist {
    config: BlocklistConfig,
    client: Client,
    /// What asks the server to say nothing where nothing has changed.
    unless_changed: HeaderMap,
    targets: Vec<IpNet>,
    wrong_lines: u64,
    left_out: u64,
}

impl Blocklist {
    /// # Errors
    /// No HTTP client can be made: TLS is asked for, and no certificate authorities are installed.
    pub fn new(config: &BlocklistConfig) -> anyhow::Result<Blocklist> {
        // reqwest brings no cryptography of its own; it is an error if another part was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let same_scheme = Policy::custom(|attempt| {
            let scheme = attempt.previous().first().map(|url| url.scheme().to_owned());
            match attempt.previous().len() > MAX_REDIRECTS || scheme.as_deref() != Some(attempt.url().scheme()) {
                true => attempt.stop(),
                false => attempt.follow(),
            }
        });
        let mut client = Client::builder()
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .redirect(same_scheme)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if provider::is_near(&config.url) {
            client = client.no_proxy();
        }
        // Without TLS a host needs no certificate authorities, and may have none.
        if config.url.starts_with("http:") {
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| anyhow::anyhow!("blocklist {}: {error}", config.name))?;
        let (config, unless_changed) = (config.clone(), HeaderMap::new());
        Ok(Blocklist { config, client, unless_changed, targets: vec![], wrong_lines: 0, left_out: 0 })
    }

    /// The list as it is now; where its server says that nothing has changed, as it was.
    ///
    /// # Errors
    /// It cannot be fetched, is too large, or holds no address: a sentence. What it held stays known.
    pub async fn fetch(&mut self) -> Result<&[IpNet], String> {
        // Without its URL, in which a key may stand.
        let told = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error.without_url();
            while let Some(source) = cause.source() {
                cause = source;
            }
            printable(cause.to_string().as_bytes(), 200)
        };
        let request = self.client.get(&self.config.url).headers(self.unless_changed.clone());
        let mut response = request.send().await.map_err(told)?;
        match response.status() {
            StatusCode::NOT_MODIFIED if !self.unless_changed.is_empty() => return Ok(&self.targets),
            status if status.is_redirection() => {
                return Err(format!("{status}, more than {MAX_REDIRECTS} times or to another scheme; set its `url`"));
            }
            status if !status.is_success() => return Err(status.to_string()),
            _ => {}
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if (body.len() + chunk.len()) as u64 > self.config.max_bytes {
                return Err(format!("longer than max_bytes, {}", self.config.max_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        let list = lists::parse(&body);
        if let (true, Some(line)) = (list.targets.is_empty(), list.wrong.first.first()) {
            return Err(format!("no list: not one of its lines is an address or network, such as {:?}", line.text));
        }
        self.targets = list.targets.into_iter().collect();
        (self.wrong_lines, self.left_out) = (list.wrong.count, list.over);
        self.unless_changed = unless_changed(response.headers());
        Ok(&self.targets)
    }

    /// Fetches it again and again and sends it to the decider; says in `services` what came of it.
    pub async fn follow(mut self, commands: mpsc::Sender<Request>, services: watch::Sender<Services>) {
        let name = format!("blocklist {}", self.config.name);
        let refresh = Duration::from_secs(self.config.refresh_secs);
        loop {
            let told = match self.fetch().await {
                Ok(_) => self.import(&commands).await,
                Err(why) => Err(why),
            };
            let wait = if told.is_ok() { refresh } else { refresh.min(RETRY) };
            services.send_modify(|services| {
                let service = services.entry(name.clone()).or_default();
                match told {
                    Ok(figures) => *service = Service { problem: None, figures },
                    Err(why) => {
                        let why = format!("{name}: {why}; its bans run out unless it comes again");
                        if service.problem.as_ref() != Some(&why) {
                            tracing::warn!("{why}");
                        }
                        service.problem = Some(why);
                    }
                }
            });
            tokio::time::sleep(wait).await;
        }
    }

    /// Has everyone on it banned, or banned longer.
    async fn import(&self, commands: &mpsc::Sender<Request>) -> Result<Map<String, Value>, String> {
        let stopping = || "the daemon is stopping".to_owned();
        let secs = self.config.duration_secs.unwrap_or(self.config.refresh_secs.saturating_mul(2));
        let bans = self.targets.iter().map(|target| (*target, Some(secs))).collect();
        let (reply, answer) = oneshot::channel();
        let command = Command::Import { bans, reason: format!("blocklist {}", self.config.name) };
        commands.send(Request { command, reply }).await.map_err(|_| stopping())?;
        let answer = answer.await.map_err(|_| stopping())?.map_err(|problem| problem.to_string())?;
        let mut figures = answer.as_object().cloned().unwrap_or_default();
        figures.insert("fetched_at".into(), json!(Timestamp::now()));
        figures.insert("entries".into(), json!(self.targets.len()));
        figures.insert("wrong_lines".into(), json!(self.wrong_lines));
        figures.insert("left_out".into(), json!(self.left_out));
        Ok(figures)
    }
}

/// The headers that ask for news only, by what an answer said of itself.
fn unless_changed(answer: &HeaderMap) -> HeaderMap {
    let pairs: [(HeaderName, HeaderName); 2] = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    let said = |(of, ask): (HeaderName, HeaderName)| Some((ask, answer.get(of)?.clone()));
    let short = |(_, value): &(HeaderName, HeaderValue)| value.len() <= 200;
    pairs.into_iter().filter_map(said).filter(short).collect()
}
