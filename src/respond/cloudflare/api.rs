//! The part of Cloudflare's Lists API that is needed: a list, its items by pages, and changes,
//! which Cloudflare carries out later and which are followed to their end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};

use super::CloudflareConfig;
use crate::event::{Secret, Timestamp, printable, shown};
use crate::respond::RespondError;
use crate::wire::{Failure, Http};

/// As many as the API gives at once.
const PAGE: &str = "500";
/// No list is longer than this many pages.
const MAX_PAGES: usize = 2000;
/// Between two looks at a change: at first, and at most.
const PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// Bytes of Cloudflare's words that are shown.
const SHOWN_BYTES: usize = 300;

/// An entry of the list.
pub(super) struct Item {
    pub id: String,
    pub network: IpNet,
    pub comment: String,
}

pub(super) struct Api {
    http: Http,
    token: Secret,
    /// Of the lists of the account.
    lists: String,
    list: String,
    deadline: Duration,
    /// Until then Cloudflare wants to hear nothing.
    quiet_until: Option<Instant>,
}

impl Api {
    pub fn new(config: &CloudflareConfig, token: Secret) -> Result<Api, RespondError> {
        if !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RespondError::Settings("`token` has characters that no token has".into()));
        }
        let base = config.url.trim_end_matches('/');
        let deadline = Duration::from_secs(config.timeout_secs);
        let lists = format!("{base}/accounts/{}/rules/lists", config.account_id);
        let http = Http::new(base, "url", deadline, None).map_err(RespondError::Settings)?;
        let list = format!("{lists}/{}", config.list_id);
        Ok(Api { http, token, list, lists, deadline, quiet_until: None })
    }

    /// Whether the list is there and takes addresses.
    pub async fn check(&mut self) -> Result<(), RespondError> {
        let list = self.call(self.http.client().get(&self.list)).await?;
        match list["result"]["kind"].as_str() {
            Some("ip") => Ok(()),
            kind => Err(self.refused(format!(
                "the list's kind is {:?}, not \"ip\"; make one of IP addresses and set `list_id`",
                printable(kind.unwrap_or_default().as_bytes(), 40)
            ))),
        }
    }

    /// Everything that the list holds.
    pub async fn items(&mut self) -> Result<Vec<Item>, RespondError> {
        let (mut items, mut cursor) = (vec![], String::new());
        let mut seen = BTreeSet::new();
        for _ in 0..MAX_PAGES {
            let mut query = vec![("per_page", PAGE)];
            query.extend((!cursor.is_empty()).then_some(("cursor", cursor.as_str())));
            let url = Url::parse_with_params(&format!("{}/items", self.list), &query);
            let url = url.map_err(|error| self.refused(error.to_string()))?;
            let request = self.http.client().get(url);
            let page = self.call(request).await?;
            let Some(entries) = page["result"].as_array() else {
                return Err(self.refused("its answer has no items".into()));
            };
            items.extend(entries.iter().filter_map(item));
            match page["result_info"]["cursors"]["after"].as_str() {
                Some(after) if !after.is_empty() && seen.insert(after.to_owned()) => cursor = after.to_owned(),
                _ => return Ok(items),
            }
        }
        Err(self.refused(format!("the list has more than {MAX_PAGES} pages")))
    }

    /// Lists these with these comments; waits until it is done.
    pub async fn add(&mut self, items: impl Iterator<Item = (IpNet, String)>) -> Result<(), RespondError> {
        let items: Vec<Value> =
            items.map(|(network, comment)| json!({ "ip": shown(network), "comment": comment })).collect();
        self.change(self.http.client().post(format!("{}/items", self.list)).json(&items)).await
    }

    /// Takes the entries with these ids out of the list; waits until it is done.
    pub async fn remove(&mut self, ids: impl Iterator<Item = &str>) -> Result<(), RespondError> {
        let items: Vec<Value> = ids.map(|id| json!({ "id": id })).collect();
        let body = json!({ "items": items });
        self.change(self.http.client().delete(format!("{}/items", self.list)).json(&body)).await
    }

    async fn change(&mut self, request: RequestBuilder) -> Result<(), RespondError> {
        let deadline = Instant::now() + self.deadline;
        let begun = self.call(request).await?;
        let operation = begun["result"]["operation_id"].as_str().unwrap_or_default().to_owned();
        if operation.is_empty() || !operation.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(self.refused("its answer to a change names no operation".into()));
        }
        let mut pause = PAUSE;
        loop {
            let told = self.call(self.http.client().get(format!("{}/bulk_operations/{operation}", self.lists))).await?;
            let result = &told["result"];
            match result["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("pending" | "running") => {}
                Some("failed") => {
                    let why = result["error"].as_str().unwrap_or("no reason given");
                    return Err(self.refused(format!("the change failed: {}", printable(why.as_bytes(), SHOWN_BYTES))));
                }
                _ => return Err(self.refused("what it says of a change cannot be understood".into())),
            }
            if Instant::now() + pause > deadline {
                return Err(RespondError::TimedOut { program: self.http.shown(), secs: self.deadline.as_secs() });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Asks once; waits first, or again, when Cloudflare says so and there is time.
    async fn call(&mut self, request: RequestBuilder) -> Result<Value, RespondError> {
        let request = request.bearer_auth(self.token.reveal());
        let deadline = Instant::now() + self.deadline;
        loop {
            if let Some(until) = self.quiet_until.filter(|until| *until > Instant::now()) {
                if until > deadline {
                    let until = Timestamp::now().plus_secs(until.saturating_duration_since(Instant::now()).as_secs());
                    return Err(self.refused(format!("too many requests: it wants none until {until}")));
                }
                tokio::time::sleep_until(until.into()).await;
            }
            let Some(again) = request.try_clone() else {
                return Err(self.refused("a request cannot be made twice".into()));
            };
            let heard = match self.http.ask(again).await {
                Ok(heard) => heard,
                Err(Failure(why)) => return Err(self.refused(why)),
            };
            if heard.status == 429 {
                self.quiet_until = Some(Instant::now() + heard.retry_after.unwrap_or(MAX_PAUSE));
                continue;
            }
            let json: Option<Value> = serde_json::from_slice(&heard.body).ok();
            return match json {
                Some(json) if heard.status < 300 && json["success"] == true => Ok(json),
                json => {
                    let why = json.as_ref().and_then(complaint).unwrap_or_else(|| heard.told());
                    let why = why.replace(self.token.reveal(), "***");
                    Err(self.refused(match heard.status {
                        401 | 403 => format!(
                            "{why}; the token needs the account's permission \"Account Filter Lists: Edit\" and must be valid"
                        ),
                        404 => format!("{why}; are `account_id` and `list_id` right?"),
                        _ => why,
                    }))
                }
            };
        }
    }

    fn refused(&self, message: String) -> RespondError {
        RespondError::Rejected { program: self.http.shown(), message }
    }
}

/// None for what is no address.
fn item(item: &Value) -> Option<Item> {
    let (id, ip) = (item["id"].as_str()?, item["ip"].as_str()?);
    let network: IpNet = ip.parse().or_else(|_| ip.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let comment = item["comment"].as_str().unwrap_or_default().to_owned();
    Some(Item { id: id.to_owned(), network: network.trunc(), comment })
}

/// What the first of the errors says.
fn complaint(answer: &Value) -> Option<String> {
    let error = answer["errors"].as_array()?.first()?;
    let text = printable(error["message"].as_str()?.as_bytes(), SHOWN_BYTES);
    Some(match error["code"].as_u64() {
        Some(code) => format!("{text} (error {code})"),
        None => text,
    })
}
