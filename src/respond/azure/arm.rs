//! Azure Resource Manager: resources read and written, with their long-running operations. Knows
//! nothing of lists.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::tokens::Tokens;
use super::{AzureConfig, AzureCredential};
use crate::event::{Secret, printable};
use crate::respond::RespondError;
use crate::wire::root_cause;

/// No single request takes longer; a change may, by its operation.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Whatever a server asks for, in seconds.
const MAX_RETRY_AFTER_SECS: u64 = 3600;
/// No resource is longer: an IP group of 5,000 is about 200 kB, a WAF policy with all its rules less than this.
const MAX_BYTES: usize = 16 << 20;
/// Where the server says no `Retry-After`.
const PAUSE: Duration = Duration::from_secs(5);
/// Whatever it says: never a busy loop.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// So often in a row somebody else may have been faster, or the server may have failed.
const MAX_TRIES: u32 = 8;

/// A client of Azure Resource Manager.
pub(super) struct Arm {
    client: Client,
    endpoint: Url,
    tokens: Tokens,
    /// A change with its operation takes at most so long.
    timeout: Duration,
    /// Nothing is written; see [`Arm::sent`].
    pub is_rehearsal: bool,
    /// Changes that were made, or would be: method, URL and body.
    pub sent: Vec<(String, Value)>,
}

/// Why a request was not done.
pub(super) enum Fault {
    /// It is not there.
    Missing(String),
    /// Somebody else changed it since it was read.
    Changed,
    /// Another operation or a limit is in the way; how long to wait, if the server says.
    Busy(Option<Duration>, String),
    /// No answer, or the server's own failure: nobody knows what was done.
    Unknown(String),
    /// The deadline has passed.
    Late,
    /// A final no.
    Refused(String),
}

struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Arm {
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(config: &AzureConfig, secret: Secret) -> Result<Arm, String> {
        let endpoint = base("endpoint", &config.endpoint)?;
        let authority = base("authority", &config.authority)?;
        // reqwest brings no cryptography of its own; it is an error if another part was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let signs_in_near = config.credential == AzureCredential::ManagedIdentity || is_here(&authority);
        let token_client = client(signs_in_near, signs_in_near)?;
        let tokens = Tokens::new(config, secret, token_client, &endpoint, authority);
        let client = client(is_here(&endpoint), endpoint.scheme() == "http")?;
        let timeout = Duration::from_secs(config.timeout_secs);
        Ok(Arm { client, endpoint, tokens, timeout, is_rehearsal: false, sent: vec![] })
    }

    /// The resource at `path`.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn get(&mut self, path: &str) -> Result<Value, RespondError> {
        let deadline = Instant::now() + self.timeout.min(PATIENCE);
        let mut tries = 0;
        loop {
            match self.read(path).await {
                Ok(heard) => return Ok(heard.json),
                Err(fault) => self.pause(fault, &mut tries, deadline).await.map_err(|fault| self.error(fault))?,
            }
        }
    }

    /// Puts what `change` makes of the resource, which is none when it is not there, and waits until
    /// it is in force. Read and changed again when somebody else was faster.
    ///
    /// # Errors
    /// As `change`; or the server does not take it, or not in time.
    pub async fn update(
        &mut self,
        path: &str,
        mut change: impl FnMut(Option<Value>) -> Result<Option<Value>, RespondError>,
    ) -> Result<(), RespondError> {
        let deadline = Instant::now() + self.timeout;
        let mut tries = 0;
        loop {
            let (resource, etag) = match self.read(path).await {
                Ok(heard) => {
                    let etag = heard.headers.get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
                    let etag = etag.or_else(|| heard.json["etag"].as_str().map(str::to_owned));
                    (Some(heard.json), etag)
                }
                Err(Fault::Missing(_)) => (None, None),
                Err(fault) => {
                    self.pause(fault, &mut tries, deadline).await.map_err(|fault| self.error(fault))?;
                    continue;
                }
            };
            let is_new = resource.is_none();
            let Some(body) = change(resource)? else { return Ok(()) };
            self.sent.push((format!("PUT {}{path}", self.endpoint.as_str().trim_end_matches('/')), body.clone()));
            if self.is_rehearsal {
                return Ok(());
            }
            let condition = match &etag {
                Some(etag) => Some(("if-match", etag.as_str())),
                None if is_new => Some(("if-none-match", "*")),
                None => None,
            };
            match self.put(path, &body, condition, deadline).await {
                Ok(()) => return Ok(()),
                Err(fault) => {
                    self.sent.pop();
                    self.pause(fault, &mut tries, deadline).await.map_err(|fault| self.error(fault))?;
                }
            }
        }
    }

    /// Waits where to try again makes sense.
    async fn pause(&self, fault: Fault, tries: &mut u32, deadline: Instant) -> Result<(), Fault> {
        let wait = match &fault {
            // Locked for minutes, maybe: the deadline alone ends it.
            Fault::Busy(wait, _) => wait.unwrap_or(PAUSE),
            Fault::Changed | Fault::Unknown(_) if *tries < MAX_TRIES => {
                *tries += 1;
                MIN_PAUSE * 2u32.pow(*tries - 1)
            }
            _ => return Err(fault),
        };
        if Instant::now() + wait > deadline {
            return Err(fault);
        }
        sleep(wait.max(MIN_PAUSE)).await;
        Ok(())
    }

    async fn read(&mut self, path: &str) -> Result<Heard, Fault> {
        let url = self.url(path)?;
        let heard = self.call(Method::GET, url, None, None).await?;
        if heard.json.is_object() { Ok(heard) } else { Err(Fault::Unknown("the answer is no JSON object".into())) }
    }

    async fn put(
        &mut self,
        path: &str,
        body: &Value,
        condition: Option<(&'static str, &str)>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let url = self.url(path)?;
        let heard = self.call(Method::PUT, url.clone(), Some(body), condition).await?;
        let named = |name: &str| heard.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let wait = retry_after(&heard.headers);
        match (named("azure-asyncoperation"), named("location")) {
            (Some(operation), _) => self.follow(&operation, Sign::Status, wait, deadline).await,
            (None, Some(place)) if heard.status == StatusCode::ACCEPTED => {
                self.follow(&place, Sign::Code, wait, deadline).await
            }
            _ if is_under_way(&heard.json["properties"]["provisioningState"]) => {
                self.follow(url.as_str(), Sign::Provisioning, wait, deadline).await
            }
            _ => Ok(()),
        }
    }

    /// Asks `url` until the operation has ended.
    async fn follow(
        &mut self,
        url: &str,
        sign: Sign,
        mut wait: Option<Duration>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let url = self.trusted(url)?;
        let mut failures = 0;
        loop {
            let pause = wait.unwrap_or(PAUSE).max(MIN_PAUSE);
            if Instant::now() + pause > deadline {
                return Err(Fault::Late);
            }
            sleep(pause).await;
            let heard = match self.call(Method::GET, url.clone(), None, None).await {
                Ok(heard) => heard,
                Err(Fault::Busy(after, _)) => {
                    wait = after;
                    continue;
                }
                // The operation goes on, whoever can tell.
                Err(Fault::Unknown(_)) if failures < MAX_TRIES => {
                    failures += 1;
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            failures = 0;
            wait = retry_after(&heard.headers);
            let state = match sign {
                Sign::Status => &heard.json["status"],
                Sign::Provisioning => &heard.json["properties"]["provisioningState"],
                Sign::Code if heard.status == StatusCode::ACCEPTED => continue,
                Sign::Code => return Ok(()),
            };
            let state = state.as_str().unwrap_or_default();
            if state.eq_ignore_ascii_case("Succeeded") {
                return Ok(());
            }
            if ["Failed", "Canceled"].iter().any(|end| state.eq_ignore_ascii_case(end)) {
                let (code, said) = complaint(&heard.json).unwrap_or_default();
                let said = format!("the operation ended as {state}: {code}: {said}");
                return Err(if is_busy(&code) { Fault::Busy(wait, said) } else { Fault::Refused(said) });
            }
        }
    }

    /// One request; with a new token once more when the one that we have is refused.
    async fn call(
        &mut self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        condition: Option<(&'static str, &str)>,
    ) -> Result<Heard, Fault> {
        let mut is_second = false;
        loop {
            let token = self.tokens.get().await;
            let token = token.map_err(|why| Fault::Refused(format!("nobody is signed in: {}", shown(&why))))?;
            let mut request = self.client.request(method.clone(), url.clone()).bearer_auth(token);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some((name, value)) = condition {
                request = request.header(name, value);
            }
            let response = request.send().await.map_err(|error| unanswered(&error))?;
            if response.status() == StatusCode::UNAUTHORIZED && !is_second {
                self.tokens.forget();
                is_second = true;
                continue;
            }
            return hear(response).await;
        }
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        self.endpoint.join(path).map_err(|error| Fault::Refused(format!("{path}: {error}")))
    }

    /// `url` if it is the endpoint's or a region's: nobody else gets the token.
    fn trusted(&self, url: &str) -> Result<Url, Fault> {
        let url = self.endpoint.join(url).map_err(|error| Fault::Refused(format!("{}: {error}", shown(url))))?;
        let (host, ours) = (url.host_str().unwrap_or_default(), self.endpoint.host_str().unwrap_or_default());
        let is_ours = host == ours || host.strip_suffix(ours).is_some_and(|region| region.ends_with('.'));
        let is_same = url.scheme() == self.endpoint.scheme()
            && url.port_or_known_default() == self.endpoint.port_or_known_default();
        if is_ours && is_same {
            Ok(url)
        } else {
            Err(Fault::Refused(format!("the operation is to be asked for at {}, which is not {ours}", shown(host))))
        }
    }

    fn error(&self, fault: Fault) -> RespondError {
        let program = "Azure".to_owned();
        let message = match fault {
            Fault::Missing(said) => format!("{said}; `palisade azure init` makes what must be there"),
            Fault::Changed => "somebody else changes it all the time (412)".into(),
            Fault::Busy(_, said) => format!("{said}; it stayed so"),
            Fault::Refused(said) => said,
            Fault::Unknown(reason) => return RespondError::Died { program, reason },
            Fault::Late => return RespondError::TimedOut { program, secs: self.timeout.as_secs() },
        };
        RespondError::Rejected { program, message }
    }
}

/// What says that an operation has ended.
#[derive(Clone, Copy)]
enum Sign {
    /// `status` of the answer.
    Status,
    /// Any HTTP status but 202.
    Code,
    /// The resource itself.
    Provisioning,
}

fn is_under_way(state: &Value) -> bool {
    state.as_str().is_some_and(|state| !["Succeeded", "Failed", "Canceled"].contains(&state))
}

async fn hear(mut response: Response) -> Result<Heard, Fault> {
    let status = response.status();
    let headers = response.headers().clone();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BYTES => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // The status says enough.
            _ if !status.is_success() => break,
            Ok(Some(_)) => return Err(Fault::Refused(format!("the answer is longer than {MAX_BYTES} bytes"))),
            Err(error) => return Err(unanswered(&error)),
        }
    }
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    if status.is_success() {
        // Polls may be answered by nothing.
        return Ok(Heard { status, headers, json: json.unwrap_or(Value::Null) });
    }
    let text = || (String::new(), shown(String::from_utf8_lossy(&body).trim()));
    let (code, said) = json.as_ref().and_then(complaint).unwrap_or_else(text);
    let said = [status.as_u16().to_string(), code.clone(), said].into_iter().filter(|part| !part.is_empty());
    let said = said.collect::<Vec<_>>().join(": ");
    Err(match status {
        StatusCode::NOT_FOUND => Fault::Missing(said),
        StatusCode::PRECONDITION_FAILED => Fault::Changed,
        StatusCode::TOO_MANY_REQUESTS => Fault::Busy(retry_after(&headers), said),
        _ if is_busy(&code) => Fault::Busy(retry_after(&headers), said),
        StatusCode::FORBIDDEN => {
            Fault::Refused(format!("{said} (the role of who signs in lacks this action, see docs/azure.md)"))
        }
        StatusCode::REQUEST_TIMEOUT => Fault::Unknown(said),
        _ if status.is_server_error() => match retry_after(&headers) {
            Some(after) => Fault::Busy(Some(after), said),
            None => Fault::Unknown(said),
        },
        _ => Fault::Refused(said),
    })
}

/// Code and message of an error in Azure's form, with its details.
fn complaint(json: &Value) -> Option<(String, String)> {
    let error = if json["error"].is_object() { &json["error"] } else { json };
    let code = shown(error["code"].as_str()?);
    let mut said = shown(error["message"].as_str().unwrap_or_default());
    for detail in error["details"].as_array().into_iter().flatten().take(3) {
        let part = |name: &str| shown(detail[name].as_str().unwrap_or_default());
        said = format!("{said} ({}: {})", part("code"), part("message"));
    }
    Some((code, said))
}

/// Codes of what passes: another operation holds the resource.
fn is_busy(code: &str) -> bool {
    code.starts_with("RetryableError")
        || ["AnotherOperationInProgress", "OperationInProgress", "ReferencedResourceNotProvisioned"].contains(&code)
}

/// Azure gives seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(|secs: u64| Duration::from_secs(secs.min(MAX_RETRY_AFTER_SECS)))
}

fn unanswered(error: &reqwest::Error) -> Fault {
    let reason = if error.is_timeout() { "no answer in time".into() } else { root_cause(error) };
    Fault::Unknown(shown(&reason))
}

fn shown(text: &str) -> String {
    printable(text.as_bytes(), 500)
}

fn client(is_here: bool, is_plain: bool) -> Result<Client, String> {
    let mut client = Client::builder()
        .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(PATIENCE);
    if is_here {
        client = client.no_proxy();
    }
    // Without TLS a host needs no certificate authorities, and may have none.
    if is_plain {
        client = client.tls_certs_only([]);
    }
    client.build().map_err(|error| format!("cannot make an HTTP client; are CA certificates installed? {error}"))
}

/// The URL in the setting `name`: TLS, except on this host.
fn base(name: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("{name} is no URL: {error}"))?;
    let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_here(&url);
    if is_safe && url.has_host() { Ok(url) } else { Err(format!("{name} must begin with https://")) }
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// For people: a request as `azure init --dry-run` shows it.
pub(super) fn shown_request((line, body): &(String, Value)) -> String {
    format!("{line}\n{:#}", json!(body))
}
