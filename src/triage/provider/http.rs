//! The HTTP below every provider and reputation service: one deadline over a whole call, a cap on
//! what is read, no redirects, and every failure as a [`ProviderError`] without the key in it.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` hold as they do for other programs, but
//! what is on this host or at a private address is never asked for through a proxy.

use std::error::Error;
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, ensure};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url};
use serde_json::Value;

use super::headers;
use super::refusal::Complaint;
use super::{Allowance, ProviderError, Usage};
use crate::event::{Secret, printable};

/// No answer that can be used is longer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Who does not accept a connection by then is not there, however patient the tier is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, and how it is asked.
pub struct Http {
    client: Client,
    base: String,
    key: Secret,
    deadline: Duration,
}

/// What it answered.
pub struct Heard {
    pub json: Value,
    pub bytes: Usage,
    pub allowance: Allowance,
}

impl Http {
    /// A client of what is below `base`, that sends `headers` with each request.
    ///
    /// # Errors
    /// `base` is no URL of a web server, the key cannot stand in a header, or no certificate
    /// authorities are installed while TLS asks for them.
    pub fn new(
        base: &str,
        headers: &[(&'static str, String)],
        key: &Secret,
        deadline: Duration,
    ) -> anyhow::Result<Http> {
        let url = parse(base)?;
        // reqwest brings no cryptography of its own; it is an error if another part was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut always = HeaderMap::new();
        always.insert("accept", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            let value = HeaderValue::try_from(value.as_str());
            let mut value = value.map_err(|_| anyhow!("the key has characters that no header may hold"))?;
            value.set_sensitive(true);
            always.insert(*name, value);
        }
        let mut client = Client::builder()
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .default_headers(always)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.min(deadline));
        if is_near(&url) {
            client = client.no_proxy();
        }
        // Without TLS a host needs no certificate authorities, and may have none.
        if url.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        let client = client.build().context("cannot make an HTTP client; are CA certificates installed?")?;
        Ok(Http { client, base: url.as_str().trim_end_matches('/').to_owned(), key: key.clone(), deadline })
    }

    /// Waits for `call` until the deadline.
    pub async fn in_time<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        tokio::time::timeout(self.deadline, call).await.unwrap_or(Err(ProviderError::TimedOut(self.deadline)))
    }

    /// Gets `path`. The caller minds the deadline, by [`in_time`](Self::in_time).
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Heard, ProviderError> {
        let url = self.url(path, query)?;
        let response = self.client.get(url).send().await.map_err(|error| self.unreachable(&error))?;
        self.hear(response, 0).await
    }

    /// Posts `body` to `path`. The caller minds the deadline, by [`in_time`](Self::in_time).
    ///
    /// # Errors
    /// No connection, or it broke; any status but 2xx, or an error under one; no JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Heard, ProviderError> {
        let body = body.to_string();
        let sent = body.len();
        let response = self.send(path, body).await?;
        self.hear(response, sent).await
    }

    /// Posts `fields` to `path` as a form. The caller minds the deadline, by [`in_time`](Self::in_time).
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Heard, ProviderError> {
        let (url, encoded) = (self.url(path, &[])?, self.url(path, fields)?);
        let body = encoded.query().unwrap_or_default().to_owned();
        let sent = body.len();
        let request = self.client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.hear(response, sent).await
    }

    /// Posts `body` to `path` and gives each line of the answer to `take`, which says when what it
    /// waits for has come. The deadline is for news: who says the same over and over gains no time.
    ///
    /// # Errors
    /// As [`post`](Self::post); the answer ends too early.
    pub async fn follow(
        &self,
        path: &str,
        body: &Value,
        mut take: impl FnMut(Value) -> Result<Progress, ProviderError>,
    ) -> Result<(), ProviderError> {
        let mut response = self.in_time(self.send(path, body.to_string())).await?;
        if !response.status().is_success() {
            return self.in_time(self.hear(response, 0)).await.map(|_| ());
        }
        let mut rest = Vec::new();
        let mut news = tokio::time::Instant::now();
        loop {
            let left = self.deadline.saturating_sub(news.elapsed());
            let chunk = tokio::time::timeout(left, response.chunk()).await;
            let chunk = chunk.map_err(|_| ProviderError::TimedOut(self.deadline))?;
            let Some(chunk) = chunk.map_err(|error| self.unreachable(&error))? else {
                return Err(ProviderError::Malformed("it ends before all is said".into()));
            };
            let end = memchr::memrchr(b'\n', &chunk).map_or(0, |end| rest.len() + end);
            rest.extend_from_slice(&chunk);
            let next = rest.split_off(end);
            let lines = std::mem::replace(&mut rest, next);
            for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                let json = self.json(line)?;
                if let Some(complaint) = Complaint::of(&json) {
                    return Err(complaint.refused(200, &HeaderMap::new(), &self.key));
                }
                match take(json)? {
                    Progress::Same => {}
                    Progress::News => news = tokio::time::Instant::now(),
                    Progress::Done => return Ok(()),
                }
            }
            if rest.len() > MAX_ANSWER_BYTES {
                return Err(too_long());
            }
        }
    }

    async fn send(&self, path: &str, body: String) -> Result<Response, ProviderError> {
        let url = self.url(path, &[])?;
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// The whole answer as JSON, or as the error that it is.
    async fn hear(&self, mut response: Response, sent: usize) -> Result<Heard, ProviderError> {
        let status = response.status();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => body.extend_from_slice(&chunk),
                Ok(None) => break,
                // The status says enough.
                _ if !status.is_success() => break,
                Ok(Some(_)) => return Err(too_long()),
                Err(error) => return Err(self.unreachable(&error)),
            }
        }
        let headers = response.headers();
        if !status.is_success() {
            return Err(Complaint::read(status, &body).refused(status.as_u16(), headers, &self.key));
        }
        let json = self.json(&body)?;
        if let Some(complaint) = Complaint::of(&json) {
            return Err(complaint.refused(status.as_u16(), headers, &self.key));
        }
        let bytes = Usage { sent_bytes: sent as u64, received_bytes: body.len() as u64, ..Usage::default() };
        Ok(Heard { json, bytes, allowance: headers::allowance(headers, SystemTime::now()) })
    }

    fn json(&self, body: &[u8]) -> Result<Value, ProviderError> {
        serde_json::from_slice(body).map_err(|error| {
            let start = super::refusal::shown(&String::from_utf8_lossy(body), &self.key);
            ProviderError::Malformed(format!("no JSON ({error}): {start}"))
        })
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, ProviderError> {
        let whole = format!("{}{path}", self.base);
        let url = if query.is_empty() { Url::parse(&whole) } else { Url::parse_with_params(&whole, query) };
        url.map_err(|error| ProviderError::Unreachable { url: self.shown(), reason: error.to_string() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ProviderError {
        // The outer errors say only that a request failed.
        let mut cause: &dyn Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let reason = if error.is_timeout() { "no connection in time".into() } else { cause.to_string() };
        ProviderError::Unreachable { url: self.shown(), reason: printable(reason.as_bytes(), 200) }
    }

    /// The URL without a user's name and password.
    fn shown(&self) -> String {
        let Ok(mut url) = Url::parse(&self.base) else { return String::new() };
        let _ = (url.set_username(""), url.set_password(None));
        url.into()
    }
}

/// What a line of a long answer brought.
pub enum Progress {
    Same,
    News,
    Done,
}

/// `url` without what follows its path and without `/` at its end.
///
/// # Errors
/// It is no URL of a web server.
pub fn base(url: &str) -> anyhow::Result<String> {
    Ok(parse(url)?.as_str().trim_end_matches('/').to_owned())
}

/// The same with `/v1`, unless it names a version.
///
/// # Errors
/// As [`base`].
pub fn versioned_base(url: &str) -> anyhow::Result<String> {
    let is_version =
        |part: &str| part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let url = parse(url)?;
    let versioned = url.path_segments().is_some_and(|mut parts| parts.any(is_version));
    let base = url.as_str().trim_end_matches('/');
    Ok(if versioned { base.to_owned() } else { format!("{base}/v1") })
}

fn parse(url: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(url.trim()).map_err(|error| anyhow!("no URL: {error}"))?;
    ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), "the URL begins with neither http nor https");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Whether it is on this host or at a private address.
pub fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn too_long() -> ProviderError {
    ProviderError::Malformed(format!("it is longer than {MAX_ANSWER_BYTES} bytes"))
}
