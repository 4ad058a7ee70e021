//! Syslog messages of RFC 5424: a datagram each by UDP (RFC 5426) or to a Unix socket, with their length in
//! front by TCP and TLS (RFC 6587, RFC 5425). Syslog confirms nothing: what the network took may be lost
//! when the connection breaks, and only then.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Refused, Sending, Sink, Writer, path_of};
use crate::event::{Severity, printable};
use crate::notify::{ExportConfig, Failure, Format, News, What};

/// Bytes of one datagram, and of one message of a stream: receivers take 8 KiB by their defaults.
const MAX_BYTES: usize = 8000;
/// Bytes of one value.
const SHOWN_BYTES: usize = 1500;
/// `security/authorization messages`.
const FACILITY: u8 = 10;
/// Ours among the names of structured data; 32473 is the number that RFC 5612 gives to examples.
const ID: &str = "palisade@32473";

pub struct Syslog {
    target: Target,
    deadline: Duration,
    writer: Writer,
    stream: Option<Box<dyn Stream>>,
}

enum Target {
    Udp(String),
    Tcp(String),
    Tls(String, TlsConnector, ServerName<'static>),
    Unix(PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

impl Syslog {
    pub fn new(url: &str, config: &ExportConfig, writer: Writer) -> Result<Syslog, String> {
        let (scheme, place) = url.split_once("://").ok_or("`url`: expected tls://HOST:PORT or the like")?;
        let place = place.trim_end_matches('/').to_owned();
        let has_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if scheme != "unix" && !has_port {
            return Err(format!("`url`: {scheme}://HOST:PORT needs a port; 514 and 6514 (TLS) are usual"));
        }
        let target = match scheme {
            "udp" => Target::Udp(place),
            "tcp" => Target::Tcp(place),
            "unix" => Target::Unix(path_of(url, "unix://")?.to_owned()),
            "tls" => {
                let host = place.rsplit_once(':').map_or(place.as_str(), |(host, _)| host);
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
                let name = name.map_err(|error| format!("`url`: {host:?}: {error}"))?;
                Target::Tls(place, connector(config)?, name)
            }
            _ => return Err("`url`: expected udp://, tcp://, tls:// or unix://".into()),
        };
        Ok(Syslog { target, deadline: Duration::from_secs(config.timeout_secs), writer, stream: None })
    }

    /// `<86>1 2026-01-05T12:30:45.000Z host palisade - finding [palisade@32473 …] text`.
    fn message(&self, news: &News) -> String {
        let priority = FACILITY * 8 + severity(news.severity);
        let host: String = self.writer.host.chars().filter(char::is_ascii_graphic).take(255).collect();
        let host = if host.is_empty() { "-" } else { &host };
        let kind = if news.what == What::Finding { "finding" } else { "decision" };
        let data = if self.writer.format == Format::Rfc5424 { data(news) } else { "-".into() };
        let line = self.writer.line(news);
        let mut message = format!("<{priority}>1 {} {host} palisade - {kind} {data} {line}", news.at);
        let mut end = MAX_BYTES.min(message.len());
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message
    }

    async fn post(&mut self, batch: &[News]) -> std::io::Result<()> {
        match &self.target {
            Target::Udp(place) => {
                let to = tokio::net::lookup_host(place).await?.next();
                let to = to.ok_or_else(|| std::io::Error::other("the name has no address"))?;
                let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(to).await?;
                for news in batch {
                    socket.send(self.message(news).as_bytes()).await?;
                }
                Ok(())
            }
            Target::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                for news in batch {
                    socket.send(self.message(news).as_bytes()).await?;
                }
                Ok(())
            }
            Target::Tcp(_) | Target::Tls(..) => self.stream(batch).await,
        }
    }

    async fn stream(&mut self, batch: &[News]) -> std::io::Result<()> {
        let mut bytes = vec![];
        for news in batch {
            let message = self.message(news);
            bytes.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
        }
        // Dropped unless all goes well.
        let known = match self.stream.take() {
            Some(stream) => still_open(stream).await,
            None => None,
        };
        let mut stream = match known {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        self.stream = Some(stream);
        Ok(())
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match &self.target {
            Target::Tls(place, connector, name) => {
                Box::new(connector.connect(name.clone(), TcpStream::connect(place).await?).await?)
            }
            Target::Tcp(place) | Target::Udp(place) => Box::new(TcpStream::connect(place).await?),
            Target::Unix(_) => return Err(std::io::Error::other("a Unix socket takes datagrams")),
        })
    }
}

/// A receiver says nothing: what can be read is the end of the connection.
async fn still_open(mut stream: Box<dyn Stream>) -> Option<Box<dyn Stream>> {
    let mut byte = [0];
    match timeout(Duration::from_millis(1), stream.read(&mut byte)).await {
        Ok(_) => None,
        Err(_) => Some(stream),
    }
}

fn connector(config: &ExportConfig) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            let wrong = |why: String| format!("`ca_file`: {}: {why}", file.display());
            let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("no CA certificates are installed; install ca-certificates, or set `ca_file`".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}

impl Sink for Syslog {
    fn send<'a>(&'a mut self, batch: &'a [News]) -> Sending<'a> {
        Box::pin(async move {
            let deadline = self.deadline;
            match timeout(deadline, self.post(batch)).await {
                Ok(Ok(())) => Ok(Refused::default()),
                Ok(Err(error)) => Err(Failure::passing(error.to_string())),
                Err(_) => Err(Failure::passing("no answer in time")),
            }
        })
    }
}

/// What people read.
pub fn text(news: &News) -> String {
    let shown = |text: &str| printable(text.as_bytes(), SHOWN_BYTES);
    let kind = if news.category.is_empty() { news.what.as_str() } else { news.category.as_str() };
    let client = if news.client.is_empty() { String::new() } else { format!(" from {}", news.client) };
    let request = shown(format!("{} {}", news.method, news.uri).trim());
    let request = if request.is_empty() { request } else { format!(": {request}") };
    format!("{}: {kind}{client}, {}{request}", news.severity.as_str(), news.action)
}

/// Structured data.
fn data(news: &News) -> String {
    let mut out = format!("[{ID}");
    let mut add = |name: &str, value: &str| {
        if value.is_empty() {
            return;
        }
        out.push_str(&format!(" {name}=\""));
        for c in printable(value.as_bytes(), SHOWN_BYTES).chars() {
            if matches!(c, '"' | '\\' | ']') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    };
    add("id", &news.id);
    add("what", news.what.as_str());
    add("action", &news.action);
    add("severity", news.severity.as_str());
    add("score", &news.score.to_string());
    add("category", &news.category);
    add("client", &news.client);
    add("case", &news.case_id);
    add("rules", &news.rule_ids.join(","));
    add("method", &news.method);
    add("uri", &news.uri);
    if news.status > 0 {
        add("status", &news.status.to_string());
    }
    add("user_agent", &news.user_agent);
    add("source", &news.source);
    if let Some(until) = news.until {
        add("until", &until.to_string());
    }
    if news.simulated {
        add("simulated", "true");
    }
    add("by", &news.by);
    add("reason", &news.reason);
    out + "]"
}

/// By RFC 5424: critical, error, warning, notice, informational.
fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Informational => 6,
    }
}
