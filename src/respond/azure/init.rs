//! What must be in Azure before anything can be listed: made by `init`, looked at by `inspect`.

use serde::Serialize;
use serde_json::{Value, json};

use super::arm::shown_request;
use super::list::{self, List, NOBODY, Shape};
use super::responder::Azure;
use super::{AzureMode, AzureWaf};
use crate::respond::RespondError;

/// What is told of one thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub level: Level,
    pub text: String,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// It may not do what you expect.
    Warning,
    /// Nobody is shut out.
    Problem,
}

fn ok(text: String) -> Note {
    Note { level: Level::Ok, text }
}

fn warning(text: String) -> Note {
    Note { level: Level::Warning, text }
}

fn problem(text: impl ToString) -> Note {
    Note { level: Level::Problem, text: text.to_string() }
}

/// Said wherever an IP group is to stop who comes in through DNAT.
const DNAT: &str = "traffic that a DNAT rule matches is allowed, and network rules do not see it (Microsoft: Azure \
                    Firewall rule processing): the deny rule does not stop who comes in that way; use mode \"nsg\" or \
                    \"waf_policy\" for those";

impl Azure {
    /// Makes what is missing; gives each request that changed something, or in a rehearsal would.
    ///
    /// # Errors
    /// Azure does not let us, or what is there is not what it should be.
    pub async fn init(&mut self, is_rehearsal: bool) -> Result<Vec<String>, RespondError> {
        self.arm.is_rehearsal = is_rehearsal;
        self.arm.sent.clear();
        let done = self.make().await;
        self.arm.is_rehearsal = false;
        let sent = std::mem::take(&mut self.arm.sent);
        done.map(|()| sent.iter().map(shown_request).collect())
    }

    async fn make(&mut self) -> Result<(), RespondError> {
        let config = self.config.clone();
        let settings = |what: &str| RespondError::Settings(format!("respond.azure: {what} is not set"));
        if config.mode == AzureMode::IpGroup && config.resource.is_empty() {
            return Err(settings("resource, the firewall policy,"));
        }
        for (number, list) in self.lists.iter().enumerate() {
            let change = |resource: Option<Value>| match (resource, &list.shape) {
                (None, Shape::IpGroup) if config.location.is_empty() => {
                    Err(settings("location, such as \"westeurope\","))
                }
                (None, Shape::IpGroup) => Ok(Some(json!({
                    "location": config.location, "properties": { "ipAddresses": [] },
                }))),
                (None, Shape::SecurityRule) => Ok(Some(json!({ "properties": {
                    "description": "Sources that Palisade shuts out.",
                    "priority": config.priority + u32::try_from(number).unwrap_or_default(),
                    "direction": "Inbound", "access": "Deny", "protocol": "*",
                    "sourceAddressPrefixes": [NOBODY.get(number)], "sourcePortRange": "*",
                    "destinationAddressPrefix": "*", "destinationPortRange": "*",
                } }))),
                (None, _) => Err(RespondError::Settings(format!(
                    "respond.azure: there is no WAF policy {:?} in resource group {:?}",
                    config.resource, config.resource_group
                ))),
                (Some(mut policy), Shape::ApplicationGateway(_) | Shape::FrontDoor(_))
                    if list.custom_rule(&policy).is_none() =>
                {
                    let rule = custom_rule(list, config.priority);
                    let rules = list.custom_rules_mut(&mut policy);
                    rules.ok_or_else(|| settings("resource, a WAF policy,"))?.push(rule);
                    Ok(Some(policy))
                }
                (Some(resource), _) => list.read(&resource).map(|_| None),
            };
            self.arm.update(&list.path, change).await?;
        }
        if config.mode == AzureMode::IpGroup {
            let ids = self.ids();
            let group = self.rule_group();
            let change = |group| add_rule(group, &ids, &config.name, config.priority);
            self.arm.update(&group, change).await?;
        }
        Ok(())
    }

    /// Looks at what must be there.
    pub async fn inspect(&mut self) -> Vec<Note> {
        let mut notes = vec![];
        let mut policy = Value::Null;
        for list in &self.lists {
            let read = match self.arm.get(&list.path).await {
                Ok(resource) => {
                    let entries = list.read(&resource);
                    policy = resource;
                    entries
                }
                Err(error) => Err(error),
            };
            notes.push(match read {
                Ok(entries) => ok(format!("{} lists {} of {} at most", list.title, entries.len(), list.limit)),
                Err(error) => problem(format!("{}: {error}", list.title)),
            });
        }
        match self.config.mode {
            AzureMode::IpGroup => notes.extend(self.inspect_policy().await),
            AzureMode::Nsg => notes.extend(self.inspect_group().await),
            AzureMode::WafPolicy if policy.is_object() => notes.extend(self.inspect_waf(&policy)),
            AzureMode::WafPolicy => {}
        }
        notes.extend(self.inspect_permissions().await);
        notes
    }

    async fn inspect_policy(&mut self) -> Vec<Note> {
        if self.config.resource.is_empty() {
            let text = "`resource` names no firewall policy: nobody knows whether a rule denies the groups";
            return vec![warning(text.into())];
        }
        let of = format!("firewallPolicies/{}/ruleCollectionGroups", self.config.resource);
        let groups = match self.arm.get(&list::path(&self.config, &of)).await {
            Ok(answer) => answer["value"].as_array().cloned().unwrap_or_default(),
            Err(error) => return vec![problem(format!("firewall policy {}: {error}", self.config.resource))],
        };
        let mut notes = vec![];
        let collections = || groups.iter().flat_map(|group| members(&group["properties"]["ruleCollections"]));
        let denied: Vec<String> = collections()
            .filter(|collection| collection["action"]["type"] == "Deny")
            .flat_map(|collection| members(&collection["rules"]))
            .flat_map(|rule| members(&rule["sourceIpGroups"]))
            .filter_map(|id| id.as_str().map(str::to_lowercase))
            .collect();
        for id in self.ids() {
            notes.push(match denied.contains(&id.to_lowercase()) {
                true => ok(format!("a deny rule of {} names {id}", self.config.resource)),
                false => problem(format!("no deny rule of {} names {id}: `palisade azure init`", self.config.resource)),
            });
        }
        for collection in collections().filter(|c| c["ruleCollectionType"] == "FirewallPolicyNatRuleCollection") {
            let name = collection["name"].as_str().unwrap_or("without a name");
            notes.push(warning(format!("NAT rule collection {name}: {DNAT}")));
        }
        notes
    }

    async fn inspect_group(&mut self) -> Vec<Note> {
        let of = format!("networkSecurityGroups/{}", self.config.resource);
        let group = match self.arm.get(&list::path(&self.config, &of)).await {
            Ok(group) => group["properties"].clone(),
            Err(error) => return vec![problem(format!("network security group {}: {error}", self.config.resource))],
        };
        let mut notes = vec![];
        if members(&group["subnets"]).chain(members(&group["networkInterfaces"])).next().is_none() {
            notes.push(problem(format!("{} is at no subnet and no network interface", self.config.resource)));
        }
        let rules: Vec<&Value> = members(&group["securityRules"]).collect();
        let is_ours = |rule: &Value| rule["name"].as_str().is_some_and(|name| name.starts_with(&self.config.name));
        let priority = |rule: &Value| rule["properties"]["priority"].as_u64().unwrap_or(u64::MAX);
        let ours = rules.iter().filter(|rule| is_ours(rule)).map(|rule| priority(rule)).max().unwrap_or_default();
        let earlier = rules.iter().filter(|rule| {
            let properties = &rule["properties"];
            properties["access"] == "Allow" && properties["direction"] == "Inbound" && priority(rule) < ours
        });
        for rule in earlier {
            let name = rule["name"].as_str().unwrap_or_default();
            notes.push(warning(format!("rule {name} allows before ours denies (priority {})", priority(rule))));
        }
        notes
    }

    fn inspect_waf(&self, policy: &Value) -> Vec<Note> {
        let mut notes = vec![];
        let name = &self.config.resource;
        let settings = &policy["properties"]["policySettings"];
        if settings["mode"] == "Detection" {
            notes.push(problem(format!("{name} is in detection mode: it logs and blocks nobody")));
        }
        if settings["state"] == "Disabled" || settings["enabledState"] == "Disabled" {
            notes.push(problem(format!("{name} is disabled")));
        }
        let rule = self.lists.first().and_then(|list| list.custom_rule(policy));
        if rule.is_some_and(|rule| rule["state"] == "Disabled" || rule["enabledState"] == "Disabled") {
            notes.push(problem(format!("the custom rule in {name} is disabled")));
        }
        let users =
            ["applicationGateways", "httpListeners", "pathBasedRules", "frontendEndpointLinks", "securityPolicyLinks"];
        if users.iter().all(|user| members(&policy["properties"][user]).next().is_none()) {
            notes.push(problem(format!("{name} is in use nowhere")));
        }
        notes
    }

    /// What the roles of who signs in let do where the lists are.
    async fn inspect_permissions(&mut self) -> Vec<Note> {
        let Some(scope) = self.lists.first().map(|list| id(&list.path).to_owned()) else { return vec![] };
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01");
        let permissions = match self.arm.get(&path).await {
            Ok(answer) => answer["value"].as_array().cloned().unwrap_or_default(),
            Err(error) => return vec![warning(format!("what the role may do cannot be read: {error}"))],
        };
        let actions = match (self.config.mode, self.config.waf) {
            (AzureMode::IpGroup, _) => ["ipGroups/read", "ipGroups/write"],
            (AzureMode::Nsg, _) => {
                ["networkSecurityGroups/securityRules/read", "networkSecurityGroups/securityRules/write"]
            }
            (AzureMode::WafPolicy, AzureWaf::ApplicationGateway) => [
                "ApplicationGatewayWebApplicationFirewallPolicies/read",
                "ApplicationGatewayWebApplicationFirewallPolicies/write",
            ],
            (AzureMode::WafPolicy, AzureWaf::FrontDoor) => {
                ["frontDoorWebApplicationFirewallPolicies/read", "frontDoorWebApplicationFirewallPolicies/write"]
            }
        };
        let note = |action: &str| {
            let action = format!("Microsoft.Network/{action}");
            let listed = |role: &Value, of: &str| {
                members(&role[of]).filter_map(Value::as_str).any(|pattern| covers(pattern, &action))
            };
            match permissions.iter().any(|role| listed(role, "actions") && !listed(role, "notActions")) {
                true => ok(format!("the role has {action}")),
                false => problem(format!("the role of who signs in lacks {action}")),
            }
        };
        actions.iter().map(|action| note(action)).collect()
    }

    /// Ids of the IP groups.
    fn ids(&self) -> Vec<String> {
        self.lists.iter().map(|list| id(&list.path).to_owned()).collect()
    }

    /// The path of the rule collection group that denies them.
    fn rule_group(&self) -> String {
        list::path(
            &self.config,
            &format!("firewallPolicies/{}/ruleCollectionGroups/{}", self.config.resource, self.config.name),
        )
    }
}

fn members(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().map_or(&[][..], Vec::as_slice).iter()
}

/// The resource's id: its path without the API version.
fn id(path: &str) -> &str {
    path.split_once('?').map_or(path, |(id, _)| id)
}

/// Whether an action of a role, which may have `*` in it, covers `action`. Case does not matter.
fn covers(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_lowercase(), action.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = action.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(place) = rest.find(part) else { return false };
        rest = rest.get(place + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// The rule that is added to a WAF policy.
fn custom_rule(list: &List, priority: u32) -> Value {
    match &list.shape {
        Shape::FrontDoor(name) => json!({
            "name": name, "priority": priority, "ruleType": "MatchRule", "action": "Block", "enabledState": "Enabled",
            "matchConditions": [{
                // RemoteAddr is what X-Forwarded-For says first, which a client may choose.
                "matchVariable": "SocketAddr", "operator": "IPMatch", "negateCondition": false, "matchValue": NOBODY,
            }],
        }),
        Shape::ApplicationGateway(name) => json!({
            "name": name, "priority": priority, "ruleType": "MatchRule", "action": "Block", "state": "Enabled",
            "matchConditions": [{
                "matchVariables": [{ "variableName": "RemoteAddr" }], "operator": "IPMatch",
                // Azure spells it so.
                "negationConditon": false, "matchValues": [NOBODY[0]],
            }],
        }),
        Shape::IpGroup | Shape::SecurityRule => Value::Null,
    }
}

/// The rule collection group with a rule that denies all these IP groups; none when it has one.
fn add_rule(group: Option<Value>, ids: &[String], name: &str, priority: u32) -> Result<Option<Value>, RespondError> {
    let Some(mut group) = group else {
        return Ok(Some(json!({ "properties": { "priority": priority, "ruleCollections": [{
            "ruleCollectionType": "FirewallPolicyFilterRuleCollection", "name": name, "priority": priority,
            "action": { "type": "Deny" },
            "rules": [{
                "ruleType": "NetworkRule", "name": name, "ipProtocols": ["Any"], "sourceIpGroups": ids,
                "destinationAddresses": ["*"], "destinationPorts": ["*"],
            }],
        }] } })));
    };
    let odd = || RespondError::Rejected {
        program: "Azure".into(),
        message: format!("rule collection group {name} is there, and has no deny rule {name}: remove or rename one"),
    };
    let collections = group.pointer_mut("/properties/ruleCollections").and_then(Value::as_array_mut).ok_or_else(odd)?;
    let denying = collections.iter_mut().filter(|collection| collection["action"]["type"] == "Deny");
    let mut rules = denying.filter_map(|collection| collection.get_mut("rules")?.as_array_mut()).flatten();
    let rule = rules.find(|rule| rule["name"] == name).ok_or_else(odd)?;
    let sources = rule.get_mut("sourceIpGroups").and_then(Value::as_array_mut).ok_or_else(odd)?;
    let missing = |id: &&String| {
        !sources.iter().any(|source| source.as_str().is_some_and(|source| source.eq_ignore_ascii_case(id)))
    };
    let missing: Vec<Value> = ids.iter().filter(missing).map(|id| json!(id)).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    sources.extend(missing);
    Ok(Some(group))
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_role_covers_what_its_patterns_say() {
        let action = "Microsoft.Network/ipGroups/write";
        for (pattern, expected) in [
            ("*", true),
            ("*/read", false),
            ("Microsoft.Network/*", true),
            ("microsoft.network/ipgroups/write", true),
            ("Microsoft.Network/ipGroups", false),
            ("Microsoft.Network/ipGroups/write/more", false),
            ("Microsoft.*/ip*/write", true),
            ("Microsoft.*/virtual*/write", false),
            ("", false),
        ] {
            assert_eq!(covers(pattern, action), expected, "{pattern}");
        }
    }
}
