//! Splunk's HTTP event collector. Where the token asks for acknowledgement, a batch counts as taken when
//! Splunk has indexed it.

use std::time::{Duration, Instant};

use reqwest::Url;
use serde_json::{Value, json};

use super::{Refused, Sending, Sink, Writer, at, client};
use crate::event::{Secret, Timestamp, digest};
use crate::notify::{ExportConfig, Failure, News, taken};
use crate::wire::{Heard, Http};

/// So long Splunk may take to index what it has accepted, and so often it is asked.
const INDEXING: Duration = Duration::from_secs(60);
const ASK: Duration = Duration::from_millis(500);

pub struct Splunk {
    http: Http,
    events: Url,
    acks: Url,
    token: Secret,
    /// A GUID of ours, which acknowledgements ask for.
    channel: String,
    index: String,
    writer: Writer,
}

impl Splunk {
    pub fn new(url: Secret, token: Secret, config: &ExportConfig, writer: Writer) -> Result<Splunk, String> {
        let http = client(&url, config)?;
        let base = url.reveal().trim_end_matches('/');
        let base = base.trim_end_matches("/services/collector/event").trim_end_matches("/services/collector");
        let channel = guid(&writer.host, &config.name);
        let mut acks = at(base, "/services/collector/ack")?;
        acks.query_pairs_mut().append_pair("channel", &channel);
        let events = at(base, "/services/collector/event")?;
        Ok(Splunk { http, events, acks, token, channel, index: config.index.clone(), writer })
    }

    fn event(&self, news: &News) -> Value {
        let mut event = json!({
            "time": news.at.0 as f64 / 1000.0,
            "host": self.writer.host,
            "source": "palisade",
            "sourcetype": "palisade",
            "event": self.writer.json(news),
        });
        if !self.index.is_empty() {
            event["index"] = json!(self.index);
        }
        event
    }

    async fn ask(&self, url: &Url, body: String) -> Result<Heard, Failure> {
        let request = self.http.client().post(url.clone());
        let request = request
            .header("authorization", format!("Splunk {}", self.token.reveal()))
            .header("x-splunk-request-channel", &self.channel)
            .header("content-type", "application/json");
        let failed = |failure: Failure| match self.is_of_batch(&failure) {
            true => failure,
            // A wrong token is no fault of what was to be sent: it stays.
            false => Failure { is_final: false, ..failure },
        };
        taken(self.http.ask(request.body(body)).await).map_err(failed)
    }

    /// Whether less, or something else, might be taken: 400 (invalid data), 413 (too much).
    fn is_of_batch(&self, failure: &Failure) -> bool {
        failure.why.starts_with("HTTP 413") || failure.why.starts_with("HTTP 400") && !failure.why.contains("hannel")
    }

    async fn wait_until_indexed(&self, ack: &Value) -> Result<(), Failure> {
        let until = Instant::now() + INDEXING;
        let name = ack.to_string();
        while Instant::now() < until {
            let heard = self.ask(&self.acks, json!({ "acks": [ack] }).to_string()).await?;
            let answer: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            if answer["acks"][&name] == true {
                return Ok(());
            }
            tokio::time::sleep(ASK).await;
        }
        Err(Failure::passing(format!("Splunk did not say within {} s that it has indexed it", INDEXING.as_secs())))
    }
}

/// Another one at each start: numbers of acknowledgements begin anew with it.
fn guid(host: &str, name: &str) -> String {
    let hash = digest(&[b"splunk channel", host.as_bytes(), name.as_bytes(), &Timestamp::now().0.to_le_bytes()]);
    format!("{}-{}-4{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

impl Sink for Splunk {
    fn send<'a>(&'a mut self, batch: &'a [News]) -> Sending<'a> {
        Box::pin(async move {
            let body: String = batch.iter().map(|news| self.event(news).to_string() + "\n").collect();
            let heard = self.ask(&self.events, body).await?;
            let answer: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            if answer["ackId"].is_number() {
                self.wait_until_indexed(&answer["ackId"]).await?;
            }
            Ok(Refused::default())
        })
    }
}
