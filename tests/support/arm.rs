//! Azure in small: Resource Manager with ETags and operations, and the places where tokens come from,
//! as Microsoft documents them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;
use palisade::respond::azure::{AzureConfig, AzureMode, AzureWaf};
use serde_json::{Value, json};

use super::standin::{Answer, Request, Standin};

const ROOT: &str = "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.Network";

/// A running stand-in.
pub struct Azure {
    server: Standin,
    state: Arc<Mutex<State>>,
}

/// What Azure knows, and how it behaves.
#[derive(Default)]
pub struct State {
    /// By id, in lower case as Azure compares them.
    resources: BTreeMap<String, (Value, u64)>,
    operations: Vec<Operation>,
    etag: u64,
    tokens: Vec<String>,
    /// How a change is carried out.
    pub manner: Manner,
    /// Given to the next requests of such a method in place of an answer.
    faults: VecDeque<(&'static str, Answer)>,
    /// Done by somebody else just before the next change.
    pub meanwhile: Option<(String, Value)>,
    /// What a role may do; `*` unless said.
    pub actions: Vec<String>,
    /// Seconds that a token holds.
    pub token_secs: u64,
    /// Tokens are refused though they hold.
    pub refuses_tokens: bool,
}

/// How a change is carried out.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    #[default]
    AtOnce,
    /// 201 and `Azure-AsyncOperation`, which says so often that it is under way.
    Operation(u32),
    /// 202 and `Location`.
    Location(u32),
    /// 200 with `provisioningState`, and no header.
    Provisioning(u32),
    /// An operation that ends as failed, with this code.
    Fails(&'static str),
    /// The operation is to be asked for at another host.
    Elsewhere,
}

struct Operation {
    id: String,
    body: Value,
    polls: u32,
    fails: Option<&'static str>,
    ended: bool,
}

impl Azure {
    pub fn start() -> Azure {
        let state = State { actions: vec!["*".into()], token_secs: 3600, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let server = Standin::start();
        let (told, url) = (Arc::clone(&state), server.url());
        server.otherwise(move |request| told.lock().unwrap().answer(request, &url));
        Azure { server, state }
    }

    /// Settings of a responder that works with it.
    pub fn config(&self, mode: AzureMode) -> AzureConfig {
        AzureConfig {
            mode,
            subscription: "s-1".into(),
            resource_group: "rg".into(),
            resource: "web".into(),
            location: "westeurope".into(),
            tenant_id: "t-1".into(),
            client_id: "c-1".into(),
            client_secret: String::from("hush").into(),
            endpoint: self.server.url(),
            authority: self.server.url(),
            timeout_secs: 20,
            ..AzureConfig::default()
        }
    }

    /// With all there that the mode needs, made by hand: the tests of `init` make it otherwise.
    pub fn with_lists(config: impl FnOnce(&Azure) -> AzureConfig) -> (Azure, AzureConfig) {
        let azure = Azure::start();
        let config = config(&azure);
        let name = &config.name;
        for number in 0..config.groups {
            let group = json!({ "location": "westeurope", "properties": { "ipAddresses": [] } });
            azure.put(&format!("ipGroups/{name}-{number:02}"), group);
        }
        for (family, nobody) in [("v4", "192.0.2.255"), ("v6", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")] {
            let rule = json!({ "properties": {
                "access": "Deny", "direction": "Inbound", "priority": 100, "sourceAddressPrefix": nobody,
            } });
            azure.put(&format!("networkSecurityGroups/web/securityRules/{name}-{family}"), rule);
        }
        azure.put("ApplicationGatewayWebApplicationFirewallPolicies/web", policy(AzureWaf::ApplicationGateway, true));
        azure.put("frontDoorWebApplicationFirewallPolicies/web", policy(AzureWaf::FrontDoor, true));
        (azure, config)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Makes or replaces what is at `of`, such as `ipGroups/x`.
    pub fn put(&self, of: &str, body: Value) {
        self.state().store(&format!("{ROOT}/{of}"), body);
    }

    /// # Panics
    /// When it is not there.
    pub fn resource(&self, of: &str) -> Value {
        self.state().resources[&format!("{ROOT}/{of}").to_lowercase()].0.clone()
    }

    /// Answers the next request of this method so.
    pub fn fault(&self, method: &'static str, answer: Answer) {
        self.state().faults.push_back((method, answer));
    }

    /// Requests so far that are not for tokens: method and path.
    pub fn requests(&self) -> Vec<(String, String)> {
        let all = self.server.requests().into_iter().filter(|request| !is_token(request));
        all.map(|request| (request.method, request.path)).collect()
    }

    pub fn count(&self, method: &str) -> usize {
        self.requests().iter().filter(|(other, _)| other == method).count()
    }

    pub fn token_requests(&self) -> Vec<Request> {
        self.server.requests().into_iter().filter(is_token).collect()
    }

    pub fn all_requests(&self) -> Vec<Request> {
        self.server.requests()
    }
}

/// An error as Azure writes it.
pub fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "error": { "code": code, "message": message } }))
}

/// A WAF policy, with a rule of Palisade's or without, and another's rule.
pub fn policy(waf: AzureWaf, has_rule: bool) -> Value {
    let nobody = ["192.0.2.255"];
    match waf {
        AzureWaf::ApplicationGateway => {
            let other = json!({ "name": "theirs", "priority": 5, "action": "Allow", "matchConditions": [] });
            let ours = json!({ "name": "palisadeblock", "priority": 100, "action": "Block", "matchConditions": [{
                "matchVariables": [{ "variableName": "RemoteAddr" }], "operator": "IPMatch",
                "negationConditon": false, "matchValues": nobody,
            }] });
            let rules = if has_rule { vec![other, ours] } else { vec![other] };
            json!({ "location": "westeurope", "properties": {
                "policySettings": { "mode": "Prevention", "state": "Enabled" },
                "applicationGateways": [{ "id": "gw" }], "customRules": rules,
            } })
        }
        AzureWaf::FrontDoor => {
            let ours = json!({ "name": "palisadeblock", "priority": 100, "action": "Block", "matchConditions": [{
                "matchVariable": "SocketAddr", "operator": "IPMatch", "negateCondition": false, "matchValue": nobody,
            }] });
            let rules = if has_rule { json!({ "rules": [ours] }) } else { Value::Null };
            json!({ "location": "Global", "sku": { "name": "Premium_AzureFrontDoor" }, "properties": {
                "policySettings": { "mode": "Prevention", "enabledState": "Enabled" },
                "securityPolicyLinks": [{ "id": "sp" }], "customRules": rules,
            } })
        }
    }
}

fn is_token(request: &Request) -> bool {
    request.path.contains("/oauth2/") || request.path.contains("/msi/token")
}

impl State {
    fn store(&mut self, id: &str, mut body: Value) {
        self.etag += 1;
        let (etag, properties) = (format!("W/\"{}\"", self.etag), &mut body["properties"]);
        // One source is given back as such.
        let sources = properties["sourceAddressPrefixes"].as_array().cloned();
        if let Some([single]) = sources.as_deref() {
            properties["sourceAddressPrefix"] = single.clone();
            properties["sourceAddressPrefixes"] = json!([]);
        }
        properties["provisioningState"] = json!("Succeeded");
        body["etag"] = json!(etag);
        body["id"] = json!(id);
        body["name"] = json!(id.rsplit('/').next().unwrap());
        self.resources.insert(id.to_lowercase(), (body, self.etag));
    }

    fn answer(&mut self, request: &Request, url: &str) -> Answer {
        if is_token(request) {
            return self.token(request);
        }
        let authorized = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let is_known = authorized.is_some_and(|token| self.tokens.iter().any(|known| known == token));
        if self.refuses_tokens || !is_known {
            return error(401, "ExpiredAuthenticationToken", "The access token expiry is in the past.")
                .header("www-authenticate", "Bearer error=\"invalid_token\"");
        }
        let (id, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if !query.contains("api-version=20") {
            return error(400, "MissingApiVersionParameter", "The api-version query parameter is required.");
        }
        let place = self.faults.iter().position(|(method, _)| *method == request.method);
        if let Some((_, answer)) = place.and_then(|place| self.faults.remove(place)) {
            return answer;
        }
        if let Some((_, number)) = id.split_once("/operations/") {
            return self.operation(number.parse().unwrap(), request);
        }
        match &*request.method {
            "GET" => self.read(id),
            "PUT" => self.change(id, request, url),
            _ => error(405, "MethodNotAllowed", "no"),
        }
    }

    fn token(&mut self, request: &Request) -> Answer {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        if request.method == "POST" && !form.contains("client_secret=hush") {
            return Answer::json(
                401,
                &json!({
                    "error": "invalid_client", "error_codes": [7000215],
                    "error_description": "AADSTS7000215: Invalid client secret provided.",
                }),
            );
        }
        let token = format!("token-{}", self.tokens.len());
        self.tokens.push(token.clone());
        // The first form is Entra's, the second App Service's.
        match request.method == "POST" {
            true => Answer::json(
                200,
                &json!({ "token_type": "Bearer", "expires_in": self.token_secs, "ext_expires_in": 9, "access_token": token }),
            ),
            false => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
                let expires_on = (now + self.token_secs).to_string();
                Answer::json(
                    200,
                    &json!({
                        "access_token": token, "expires_on": expires_on, "token_type": "Bearer",
                        "resource": "x", "client_id": "c",
                    }),
                )
            }
        }
    }

    fn read(&mut self, id: &str) -> Answer {
        let key = id.to_lowercase();
        if key.ends_with("/microsoft.authorization/permissions") {
            return Answer::json(200, &json!({ "value": [{ "actions": self.actions, "notActions": [] }] }));
        }
        if key.ends_with("/rulecollectiongroups") {
            let inside = self.resources.range(format!("{key}/")..).take_while(|(id, _)| id.starts_with(&key));
            return Answer::json(200, &json!({ "value": inside.map(|(_, (body, _))| body).collect::<Vec<_>>() }));
        }
        // Provisioning without headers goes on as it is asked for.
        let running = self.operations.iter().position(|op| op.id == key && !op.ended && op.polls < u32::MAX);
        if let (Manner::Provisioning(_), Some(number)) = (&self.manner, running) {
            self.step(number);
        }
        match self.resources.get(&key) {
            Some((body, _)) => {
                let mut body = body.clone();
                if self.operations.iter().any(|op| op.id == key && !op.ended) {
                    body["properties"]["provisioningState"] = json!("Updating");
                }
                let etag = body["etag"].as_str().unwrap().to_owned();
                Answer::json(200, &body).header("etag", &etag).header("retry-after", "0")
            }
            None => error(404, "ResourceNotFound", &format!("The Resource '{id}' was not found.")),
        }
    }

    fn change(&mut self, id: &str, request: &Request, url: &str) -> Answer {
        let key = id.to_lowercase();
        if let Some((of, body)) = self.meanwhile.take() {
            self.store(&format!("{ROOT}/{of}"), body);
        }
        if self.operations.iter().any(|op| op.id == key && !op.ended) {
            return error(429, "RetryableErrorDueToAnotherOperation", "Another operation is in progress.")
                .header("retry-after", "0");
        }
        let current = self.resources.get(&key).map(|(_, etag)| format!("W/\"{etag}\""));
        let fits = match (request.header("if-match"), request.header("if-none-match")) {
            (Some(wanted), _) => current.as_deref() == Some(wanted),
            (None, Some("*")) => current.is_none(),
            _ => true,
        };
        if !fits {
            return error(412, "PreconditionFailed", "The etag provided does not match.");
        }
        let body = request.json();
        if let Err((code, why)) = check(&key, &body) {
            return error(400, code, &why);
        }
        let parent = key.rsplitn(3, '/').nth(2).unwrap();
        if key.contains("/rulecollectiongroups/") && !self.resources.contains_key(parent) {
            return error(404, "ParentResourceNotFound", "Can not perform requested operation on nested resource.");
        }
        let (polls, fails) = match self.manner {
            Manner::AtOnce => {
                self.store(id, body);
                return Answer::json(if current.is_some() { 200 } else { 201 }, &self.resources[&key].0);
            }
            Manner::Operation(polls) | Manner::Location(polls) | Manner::Provisioning(polls) => (polls, None),
            Manner::Fails(code) => (1, Some(code)),
            Manner::Elsewhere => (1, None),
        };
        let number = self.operations.len();
        self.operations.push(Operation { id: key.clone(), body: body.clone(), polls, fails, ended: false });
        if !self.resources.contains_key(&key) {
            self.store(id, json!({ "properties": {} }));
        }
        let place = format!("{url}/subscriptions/s-1/operations/{number}?api-version=2024-05-01");
        let mut shown = body;
        shown["properties"]["provisioningState"] = json!("Updating");
        match self.manner {
            Manner::Location(_) => Answer::text(202, "").header("location", &place).header("retry-after", "0"),
            Manner::Provisioning(_) => Answer::json(200, &shown).header("retry-after", "0"),
            Manner::Elsewhere => Answer::json(201, &shown).header("azure-asyncoperation", "https://192.0.2.1/x"),
            _ => Answer::json(201, &shown).header("azure-asyncoperation", &place).header("retry-after", "0"),
        }
    }

    /// Gives whether the operation has ended.
    fn step(&mut self, number: usize) -> bool {
        let operation = &mut self.operations[number];
        if operation.polls > 0 {
            operation.polls -= 1;
            return false;
        }
        if !operation.ended {
            operation.ended = true;
            if operation.fails.is_none() {
                let (id, body) = (self.resources[&operation.id].0["id"].clone(), operation.body.clone());
                self.store(id.as_str().unwrap(), body);
            }
        }
        true
    }

    fn operation(&mut self, number: usize, request: &Request) -> Answer {
        assert_eq!(request.method, "GET");
        let ended = self.step(number);
        let is_location = matches!(self.manner, Manner::Location(_));
        let answer = match (ended, is_location, self.operations[number].fails) {
            (false, true, _) => Answer::text(202, ""),
            (false, false, _) => Answer::json(200, &json!({ "status": "InProgress" })),
            (true, true, _) => Answer::text(204, ""),
            (true, false, None) => Answer::json(200, &json!({ "status": "Succeeded" })),
            (true, false, Some(code)) => Answer::json(
                200,
                &json!({ "status": "Failed", "error": {
                    "code": code, "message": "The firewall is in a failed state.", "details": [],
                } }),
            ),
        };
        answer.header("retry-after", "0")
    }
}

/// What Azure refuses in a body.
fn check(id: &str, body: &Value) -> Result<(), (&'static str, String)> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|entry| entry.as_str().unwrap().to_owned()).collect()
    };
    let net = |text: &String| -> IpNet {
        text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into())).unwrap()
    };
    if id.contains("/ipgroups/") {
        let entries = strings(&body["properties"]["ipAddresses"]);
        if entries.len() > 5000 {
            return Err(("IpGroupTooManyAddresses", format!("{} of 5000", entries.len())));
        }
        if let Some(v6) = entries.iter().find(|entry| entry.contains(':')) {
            return Err(("InvalidIpAddress", format!("{v6} is not valid.")));
        }
        if body["location"].as_str().is_none() {
            return Err(("LocationRequired", "The location property is required for this definition.".into()));
        }
    }
    if id.contains("/applicationgatewayweb") && body["properties"]["customRules"].to_string().contains("2001:") {
        return Err(("ApplicationGatewayFirewallInvalidCustomRule", "IPMatch supports IPv4 alone.".into()));
    }
    if id.contains("/securityrules/") {
        let entries = strings(&body["properties"]["sourceAddressPrefixes"]);
        let nets: Vec<IpNet> = entries.iter().map(net).collect();
        let all: BTreeSet<IpNet> = nets.iter().copied().collect();
        let wide = |net: IpNet| (0..net.prefix_len()).map(move |len| IpNet::new(net.addr(), len).unwrap().trunc());
        if nets.is_empty() {
            return Err(("SecurityRuleParameterNotSpecified", "SourceAddressPrefix must be specified.".into()));
        }
        if entries.len() > 4000 {
            return Err(("MaxSecurityRuleSourceAddressesExceeded", format!("{} of 4000", entries.len())));
        }
        if nets.iter().any(|net| net.addr().is_ipv4() != nets[0].addr().is_ipv4()) {
            let code = "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies";
            return Err((code, "prefixes that belong to different address families".into()));
        }
        if all.len() < nets.len() || all.iter().any(|net| wide(*net).any(|wide| all.contains(&wide))) {
            return Err(("OverlappingSubnetsNotPermittedInSecurityRule", "SourceAddressPrefix overlaps.".into()));
        }
    }
    Ok(())
}
