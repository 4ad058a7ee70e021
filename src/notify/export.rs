//! The sinks for SIEMs, and how records are written for them: one file each. A sink takes a batch or
//! fails; whoever calls keeps what was not taken.

mod cef;
mod ecs;
mod elasticsearch;
mod file;
mod ocsf;
#[cfg(feature = "otel")]
mod otlp;
mod splunk;
mod syslog;

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use reqwest::Url;

#[cfg(not(feature = "otel"))]
use super::config::WITHOUT_OTEL;
use super::{ExportConfig, Failure, Format, News, Via};
use crate::event::{Secret, is_hidden};
use crate::wire::{self, Http};

/// Bytes of a reason that are shown.
const REASON_BYTES: usize = 300;

/// A place where records go.
pub trait Sink: Send + Sync {
    /// Sends all of `batch`, within its own deadline.
    ///
    /// # Errors
    /// Not all of it was taken, or it is not known. A final failure is one of what is in the batch: the same
    /// would be refused again, and half of it may not be.
    fn send<'a>(&'a mut self, batch: &'a [News]) -> Sending<'a>;
}

/// What sending resolves to.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Refused, Failure>> + Send + 'a>>;

/// What of a batch was refused for good while the rest was taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    pub count: u64,
    /// Why the first was.
    pub why: String,
}

/// The sink of one `[[export]]`; `host` is what records say where they come from.
///
/// # Errors
/// A sentence: a file cannot be read, or what is set makes no sense.
pub fn open(config: &ExportConfig, host: &str) -> Result<Box<dyn Sink>, String> {
    let url = wire::secret(&config.url, config.url_file.as_deref(), "url")?;
    let key = match (config.key.is_empty(), &config.key_file) {
        (true, None) => Secret::default(),
        (_, file) => wire::secret(&config.key, file.as_deref(), "key")?,
    };
    let write = Writer { format: config.format(), host: host.to_owned() };
    Ok(match config.via {
        Via::File => Box::new(file::File::new(url.reveal(), write)?),
        Via::Syslog => Box::new(syslog::Syslog::new(url.reveal(), config, write)?),
        Via::Splunk => Box::new(splunk::Splunk::new(url, key, config, write)?),
        Via::Elasticsearch => Box::new(elasticsearch::Elasticsearch::new(url, key, config, write)?),
        #[cfg(feature = "otel")]
        Via::Otlp => Box::new(otlp::Otlp::new(url, key, config, host)?),
        #[cfg(not(feature = "otel"))]
        Via::Otlp => return Err(WITHOUT_OTEL.into()),
    })
}

/// Writes records in one format.
struct Writer {
    format: Format,
    host: String,
}

impl Writer {
    /// One line without its end.
    fn line(&self, news: &News) -> String {
        match self.format {
            Format::Cef => cef::line(news),
            Format::Rfc5424 => syslog::text(news),
            Format::Ecs | Format::Ocsf => plain(&self.json(news).to_string()),
        }
    }

    fn json(&self, news: &News) -> serde_json::Value {
        match self.format {
            Format::Ocsf => ocsf::record(news, &self.host),
            _ => ecs::record(news, &self.host),
        }
    }
}

/// The same JSON with nothing hidden in it: somebody may look at the file in a terminal.
fn plain(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        // It is in a string: nowhere else has JSON such a sign, and they all have four digits.
        if is_hidden(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)))
        } else {
            out.push(c)
        }
        out
    })
}

/// The same for the same state of the same thing, so that what is sent twice is one.
fn record_id(news: &News) -> String {
    if news.what == super::What::Finding { news.id.clone() } else { format!("{}-{}", news.id, news.action) }
}

/// `client`, if it is one address: a field of that type takes nothing else.
fn address(news: &News) -> Option<&str> {
    news.client.parse::<std::net::IpAddr>().is_ok().then_some(news.client.as_str())
}

/// What speaks to the service at `url`.
fn client(url: &Secret, config: &ExportConfig) -> Result<Http, String> {
    Http::new(url.reveal(), "url", Duration::from_secs(config.timeout_secs), config.ca_file.as_deref())
}

fn at(base: &str, path: &str) -> Result<Url, String> {
    Url::parse(&format!("{base}{path}")).map_err(|error| format!("`url`: {error}"))
}

/// What is behind `scheme`, an absolute path.
fn path_of<'a>(url: &'a str, scheme: &str) -> Result<&'a Path, String> {
    let path = url.strip_prefix(scheme).map(Path::new).filter(|path| path.is_absolute());
    path.ok_or_else(|| format!("`url`: expected {scheme}/PATH"))
}

#[cfg(test)]
mod tests;
