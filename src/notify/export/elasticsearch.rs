//! The bulk API of Elasticsearch and OpenSearch. Records have ids of their own: what is sent twice is one.

use reqwest::Url;
use serde_json::{Value, json};

use super::{REASON_BYTES, Refused, Sending, Sink, Writer, at, client, record_id};
use crate::event::{Secret, printable};
use crate::notify::{ExportConfig, Failure, News, taken};
use crate::wire::Http;

const INDEX: &str = "palisade";

pub struct Elasticsearch {
    http: Http,
    bulk: Url,
    key: Secret,
    index: String,
    writer: Writer,
}

impl Elasticsearch {
    pub fn new(url: Secret, key: Secret, config: &ExportConfig, writer: Writer) -> Result<Elasticsearch, String> {
        let http = client(&url, config)?;
        let bulk = at(url.reveal().trim_end_matches('/'), "/_bulk")?;
        let index = if config.index.is_empty() { INDEX.to_owned() } else { config.index.clone() };
        Ok(Elasticsearch { http, bulk, key, index, writer })
    }

    fn body(&self, batch: &[News]) -> String {
        let one = |news: &News| {
            let action = json!({ "index": { "_index": self.index, "_id": record_id(news) } });
            format!("{action}\n{}\n", self.writer.json(news))
        };
        batch.iter().map(one).collect()
    }
}

/// What of an answer was refused for good.
///
/// # Errors
/// Some may be taken later: all of it is to be sent again.
fn refused(answer: &Value) -> Result<Refused, Failure> {
    let mut refused = Refused::default();
    if answer["errors"] != true {
        return Ok(refused);
    }
    for item in answer["items"].as_array().into_iter().flatten() {
        let item = item.as_object().and_then(|item| item.values().next()).unwrap_or(&Value::Null);
        let why = || {
            let text = |name: &str| item["error"][name].as_str().unwrap_or_default();
            let why = format!("{}: {}", text("type"), text("reason"));
            printable(why.as_bytes(), REASON_BYTES)
        };
        match item["status"].as_u64() {
            Some(200..300) => {}
            Some(429 | 500..) | None => return Err(Failure::passing(format!("not all was taken: {}", why()))),
            Some(_) => {
                if refused.count == 0 {
                    refused.why = why();
                }
                refused.count += 1;
            }
        }
    }
    Ok(refused)
}

impl Sink for Elasticsearch {
    fn send<'a>(&'a mut self, batch: &'a [News]) -> Sending<'a> {
        Box::pin(async move {
            let request = self.http.client().post(self.bulk.clone()).header("content-type", "application/x-ndjson");
            let request = match self.key.is_empty() {
                true => request,
                false => request.header("authorization", format!("ApiKey {}", self.key.reveal())),
            };
            let heard = taken(self.http.ask(request.body(self.body(batch))).await);
            let heard = heard.map_err(|failure| {
                // Only too much at once is a fault of the batch.
                let is_final = failure.why.starts_with("HTTP 413");
                Failure { is_final, ..failure }
            })?;
            let answer: Value = serde_json::from_slice(&heard.body)
                .map_err(|_| Failure::passing(format!("no answer of Elasticsearch: {}", heard.told())))?;
            refused(&answer)
        })
    }
}
