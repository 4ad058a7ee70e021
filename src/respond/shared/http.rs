use std::error::Error;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Url};

use crate::event::printable;
use crate::respond::RespondError;

/// No answer that is looked at is longer; a page of a list is some 100 kB.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Bytes of a server's words that are shown.
const SHOWN_BYTES: usize = 300;
/// Nothing waits longer, whatever a header says.
const LONGEST: Duration = Duration::from_secs(3600);

/// A server that is spoken to with a deadline for each request, no redirects, and a cap on what is
/// read. `HTTPS_PROXY` and its like hold.
pub(in crate::respond) struct Http {
    client: Client,
    /// Its scheme and host, for people.
    shown: String,
}

/// What it said, whatever the status.
pub(in crate::respond) struct Heard {
    pub status: u16,
    pub body: Vec<u8>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// No answer came.
#[derive(Debug)]
pub(in crate::respond) struct Failure(pub String);

impl Http {
    /// # Errors
    /// `url`, the value of `name`, is no URL of a web server, or no certificate authorities are
    /// installed while TLS asks for them.
    pub fn new(url: &str, name: &str, deadline: Duration) -> Result<Http, RespondError> {
        let wrong = |why: String| RespondError::Settings(format!("`{name}`: {why}"));
        let mut parsed = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| wrong("no URL such as \"https://example.com/blocks\"".into()))?;
        let is_plain = parsed.scheme() == "http";
        // A user, a path and a query may be as good as a password.
        let _ = (parsed.set_username(""), parsed.set_password(None));
        parsed.set_path("");
        parsed.set_query(None);
        parsed.set_fragment(None);
        // reqwest brings no cryptography of its own; it is an error if another part was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(deadline);
        // Without TLS a host needs no certificate authorities, and may have none.
        if is_plain {
            client = client.tls_certs_only([]);
        }
        let client = client
            .build()
            .map_err(|error| wrong(format!("cannot make an HTTP client ({error}); are CA certificates installed?")))?;
        Ok(Http { client, shown: parsed.into() })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it is, for people.
    pub fn shown(&self) -> String {
        self.shown.clone()
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// No connection, or it broke or was late; the answer is too long.
    pub async fn ask(&self, request: RequestBuilder) -> Result<Heard, Failure> {
        let mut response = request.send().await.map_err(failure)?;
        let mut body = vec![];
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let retry_after = retry_after(response.headers());
        Ok(Heard { status: response.status().as_u16(), body, retry_after })
    }
}

impl Heard {
    /// The status and the beginning of what was said, for people.
    pub fn told(&self) -> String {
        let status = match self.status {
            300..400 => format!("{} (it leads elsewhere, which is not followed; is the URL right?)", self.status),
            status => status.to_string(),
        };
        let body = self.body.trim_ascii();
        match body {
            [] => format!("HTTP {status}"),
            [b'<', ..] => format!("HTTP {status}, with a page"),
            _ => format!("HTTP {status}: {}", printable(body, SHOWN_BYTES)),
        }
    }
}

fn failure(error: reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure("no answer in time".into());
    }
    Failure(printable(root_cause(&error.without_url()).as_bytes(), SHOWN_BYTES))
}

/// The innermost error: the outer ones say only that a request failed.
pub(in crate::respond) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Seconds, or a date of HTTP.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let moment = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            std::time::SystemTime::from(moment).duration_since(std::time::SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST))
}
