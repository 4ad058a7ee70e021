//! What rooms share that speak to services of others: HTTP with deadlines and bounds, how a message is
//! signed, a key from a file. Never knows a service, never decides, never tries twice.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, RequestBuilder, Url};
use ring::hmac;

use crate::event::{Secret, Timestamp, printable};

/// No answer that is looked at is longer; a page of a list is some 100 kB.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Bytes of a server's words that are shown.
const SHOWN_BYTES: usize = 300;
/// Nothing waits longer, whatever a header says.
const LONGEST: Duration = Duration::from_secs(3600);

/// A server that is spoken to with a deadline for each request, no redirects, and a cap on what is
/// read. `HTTPS_PROXY` and its like hold.
pub struct Http {
    client: Client,
    /// Its scheme and host, for people.
    shown: String,
}

/// What it said, whatever the status.
pub struct Heard {
    pub status: u16,
    pub body: Vec<u8>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// No answer came.
#[derive(Debug)]
pub struct Failure(pub String);

impl Http {
    /// `ca_file` holds certificates in PEM that are trusted in place of the public ones.
    ///
    /// # Errors
    /// A sentence: `url`, the value of `name`, is no URL of a web server, no certificate authorities are
    /// installed while TLS asks for them, or `ca_file` cannot be used.
    pub fn new(url: &str, name: &str, deadline: Duration, ca_file: Option<&Path>) -> Result<Http, String> {
        let wrong = |why: String| format!("`{name}`: {why}");
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
        } else if let Some(file) = ca_file {
            let shown = file.display();
            let pem = std::fs::read(file).map_err(|error| format!("`ca_file`: {shown} cannot be read: {error}"))?;
            let certificates = Certificate::from_pem_bundle(&pem);
            client = client.tls_certs_only(certificates.map_err(|error| format!("`ca_file`: {shown}: {error}"))?);
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
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What is signed with a key that both sides have.
pub struct Signer(hmac::Key);

impl Signer {
    /// A key that can be guessed signs nothing.
    const MIN_KEY_BYTES: usize = 16;

    /// # Errors
    /// A sentence: the key is too short.
    pub fn new(key: &Secret) -> Result<Signer, String> {
        if key.reveal().len() < Signer::MIN_KEY_BYTES {
            let least = Signer::MIN_KEY_BYTES;
            return Err(format!("`key` is shorter than {least} bytes; make one by `openssl rand -hex 32`"));
        }
        Ok(Signer(hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes())))
    }

    /// `t=UNIX,v1=HEX`: HMAC-SHA256 over `UNIX.BODY`, for the header `palisade-signature`.
    pub fn sign(&self, now: Timestamp, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{}.{body}", now.secs()).as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={},v1={hex}", now.secs())
    }
}

/// The secret that is set, or that stands alone in `file`; `name` is its key in the configuration.
///
/// # Errors
/// A sentence: both are set, or neither; the file cannot be read.
pub fn secret(set: &Secret, file: Option<&Path>, name: &str) -> Result<Secret, String> {
    match (set.is_empty(), file) {
        (false, None) => Ok(set.clone()),
        (false, Some(_)) => Err(format!("`{name}` and `{name}_file` are both set; remove one of the two")),
        (true, None) => Err(format!("set `{name}`, or `{name}_file` to a file that holds it")),
        (true, Some(file)) => match std::fs::read_to_string(file) {
            Ok(text) if !text.trim().is_empty() => Ok(Secret::from(text.trim().to_owned())),
            Ok(_) => Err(format!("`{name}_file`: {} is empty", file.display())),
            Err(error) => Err(format!("`{name}_file`: {} cannot be read: {error}", file.display())),
        },
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_other_programs_compute() {
        let signer = Signer::new(&Secret::from("0123456789abcdef0123456789abcdef".to_owned())).unwrap();
        // printf '1767616245.{"version":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        assert_eq!(
            signer.sign(Timestamp(1_767_616_245_999), "{\"version\":1}"),
            "t=1767616245,v1=35d91aceba145c9219b27e29b11596b28ea8a077403457e41693cdf68127b896"
        );
        assert!(Signer::new(&Secret::from("short".to_owned())).is_err());
    }
}
