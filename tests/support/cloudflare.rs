//! Cloudflare's Lists API as its documentation describes it, with one account and one list.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use palisade::event::Secret;
use palisade::respond::CloudflareConfig;
use serde_json::{Value, json};

use super::standin::{Answer, Request, Standin};

const ACCOUNT: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const LIST: &str = "2c0fc9fa937b11eaa1b71c4d701ab86e";
const TOKEN: &str = "v1.0-4c5d-test-token";

/// A running API. What [`Standin::then`] queues is answered first.
pub struct Cloud {
    pub standin: Standin,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By what the API calls the key: the address or network in its one form.
    items: BTreeMap<IpNet, (String, String)>,
    operations: BTreeMap<String, Operation>,
    kind: &'static str,
    numbers: u64,
    max_items: usize,
    /// A change is seen as pending so often before it is done.
    delays: u32,
}

struct Operation {
    left: u32,
    error: Option<String>,
}

impl Cloud {
    pub fn start() -> Cloud {
        let state = Arc::new(Mutex::new(State { kind: "ip", max_items: 10_000, delays: 1, ..State::default() }));
        let standin = Standin::start();
        let server = Arc::clone(&state);
        standin.otherwise(move |request| server.lock().unwrap().answer(request));
        Cloud { standin, state }
    }

    pub fn config(&self) -> CloudflareConfig {
        CloudflareConfig {
            account_id: ACCOUNT.into(),
            list_id: LIST.into(),
            token: Secret::from(TOKEN.to_owned()),
            url: format!("{}/client/v4", self.standin.url()),
            timeout_secs: 10,
            ..CloudflareConfig::default()
        }
    }

    /// Somebody else lists this.
    pub fn list(&self, network: &str, comment: &str) {
        self.state.lock().unwrap().put(network.parse().unwrap(), comment);
    }

    pub fn unlist(&self, network: &str) {
        self.state.lock().unwrap().items.remove(&network.parse().unwrap());
    }

    /// What is listed, with its comments.
    pub fn listed(&self) -> BTreeMap<String, String> {
        let state = self.state.lock().unwrap();
        state.items.iter().map(|(network, (_, comment))| (network.to_string(), comment.clone())).collect()
    }

    pub fn kind(&self, kind: &'static str) {
        self.state.lock().unwrap().kind = kind;
    }

    pub fn max_items(&self, max: usize) {
        self.state.lock().unwrap().max_items = max;
    }

    /// A change is seen as pending so often before it is done.
    pub fn delays(&self, delays: u32) {
        self.state.lock().unwrap().delays = delays;
    }
}

/// An error in the API's envelope.
pub fn failure(status: u16, code: u32, message: &str) -> Answer {
    let errors = json!([{ "code": code, "message": message }]);
    Answer::json(status, &json!({ "result": null, "success": false, "errors": errors, "messages": [] }))
}

fn success(result: Value, info: Value) -> Answer {
    let mut body = json!({ "result": result, "success": true, "errors": [], "messages": [] });
    if !info.is_null() {
        body["result_info"] = info;
    }
    Answer::json(200, &body)
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return failure(401, 10000, "Authentication error");
        }
        let lists = format!("/client/v4/accounts/{ACCOUNT}/rules/lists/");
        let Some(rest) = request.path.strip_prefix(&lists) else {
            return failure(404, 7003, "Could not route to the path, perhaps your object identifier is invalid?");
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if let Some(id) = path.strip_prefix("bulk_operations/") {
            return self.operation(id);
        }
        match (request.method.as_str(), path.strip_prefix(LIST)) {
            ("GET", Some("")) => {
                let list = json!({ "id": LIST, "name": "palisade", "kind": self.kind, "num_items": self.items.len() });
                success(list, Value::Null)
            }
            ("GET", Some("/items")) => self.page(query),
            ("POST", Some("/items")) => self.create(&request.json()),
            ("DELETE", Some("/items")) => self.delete(&request.json()),
            _ => failure(404, 10001, "could not find list"),
        }
    }

    fn put(&mut self, network: IpNet, comment: &str) {
        self.numbers += 1;
        let id = format!("{:032x}", self.numbers);
        self.items.entry(network).or_insert((id, String::new())).1 = comment.to_owned();
    }

    fn page(&self, query: &str) -> Answer {
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let count: usize = value("per_page").map_or(25, |count| count.parse().unwrap());
        assert!((1..=500).contains(&count), "{count} a page");
        let from: usize = value("cursor").map_or(0, |cursor| cursor.strip_prefix("c-").unwrap().parse().unwrap());
        let item = |(network, (id, comment)): (&IpNet, &(String, String))| {
            let single = network.prefix_len() == network.max_prefix_len() && network.addr().is_ipv4();
            let ip = if single { network.addr().to_string() } else { network.to_string() };
            json!({ "id": id, "ip": ip, "comment": comment, "created_on": "2026-01-05T00:00:00Z", "modified_on": "2026-01-05T00:00:00Z" })
        };
        let items: Vec<Value> = self.items.iter().skip(from).take(count).map(item).collect();
        let after = from + items.len();
        let cursors = if after < self.items.len() { json!({ "after": format!("c-{after}") }) } else { json!({}) };
        success(json!(items), json!({ "cursors": cursors }))
    }

    fn create(&mut self, body: &Value) -> Answer {
        let mut new = BTreeMap::new();
        for (position, item) in body.as_array().unwrap().iter().enumerate() {
            let text = item["ip"].as_str().unwrap();
            let network: Option<IpNet> = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            let fits = |network: &IpNet| network.prefix_len() >= if network.addr().is_ipv4() { 8 } else { 12 };
            let Some(network) = network.filter(fits).filter(|network| *network == network.trunc()) else {
                let why = format!("invalid value for ip at position {position}: filters.api.invalid_ip");
                return failure(400, 10028, &why);
            };
            let comment = item["comment"].as_str().unwrap();
            assert!(comment.len() <= 500, "{comment}");
            if new.insert(network, comment.to_owned()).is_some() {
                let why = format!("invalid value for ip at position {position}: filters.api.duplicate_item_value");
                return failure(400, 10028, &why);
            }
        }
        let added = new.keys().filter(|network| !self.items.contains_key(*network)).count();
        if self.items.len() + added > self.max_items {
            return self.begin(Some("This list is at the maximum number of items".into()));
        }
        for (network, comment) in new {
            self.put(network, &comment);
        }
        self.begin(None)
    }

    fn delete(&mut self, body: &Value) -> Answer {
        let ids: Vec<&str> =
            body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        if ids.is_empty() || ids.iter().any(|id| !self.items.values().any(|(known, _)| known == id)) {
            return failure(404, 10005, "could not find list item");
        }
        self.items.retain(|_, (id, _)| !ids.contains(&id.as_str()));
        self.begin(None)
    }

    fn begin(&mut self, error: Option<String>) -> Answer {
        self.numbers += 1;
        let id = format!("{:032x}", self.numbers);
        self.operations.insert(id.clone(), Operation { left: self.delays, error });
        success(json!({ "operation_id": id }), Value::Null)
    }

    fn operation(&mut self, id: &str) -> Answer {
        let Some(operation) = self.operations.get_mut(id) else {
            return failure(404, 10006, "could not find operation");
        };
        let (left, mut result) = (operation.left, json!({ "id": id }));
        operation.left = left.saturating_sub(1);
        match (left, &operation.error) {
            (0, None) => result["completed"] = json!("2026-01-05T00:00:00Z"),
            (0, Some(error)) => result["error"] = json!(error),
            _ => {}
        }
        let ended = if operation.error.is_some() { "failed" } else { "completed" };
        result["status"] = json!(match left {
            0 => ended,
            1 => "running",
            _ => "pending",
        });
        success(result, Value::Null)
    }
}
