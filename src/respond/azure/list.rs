//! Where Azure keeps lists of addresses, and what is written to them. No request is made here.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{AzureConfig, AzureMode, AzureWaf};
use crate::respond::RespondError;

/// Microsoft's limits, as of 2024: addresses and ranges in an IP group; sources in all rules of a
/// network security group; ranges in a match condition (540 under rule sets before CRS 3.2).
const MAX_IN_GROUP: usize = 5000;
const MAX_IN_NSG: usize = 4000;
const MAX_IN_WAF: usize = 600;

/// A rule must name at least one source: addresses of documentation, which nobody has.
pub(super) const NOBODY: [&str; 2] = ["192.0.2.255", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"];

/// One list of targets in one resource.
pub(super) struct List {
    /// The resource's path, with its API version.
    pub path: String,
    /// What people call it.
    pub title: String,
    /// More entries than this are refused.
    pub limit: usize,
    pub shape: Shape,
    family: Family,
}

/// Where in the resource the list stands.
pub(super) enum Shape {
    IpGroup,
    SecurityRule,
    /// In the custom rule of this name.
    ApplicationGateway(String),
    FrontDoor(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Both,
}

/// `Microsoft.Network/…` in the configured resource group.
pub(super) fn path(config: &AzureConfig, of: &str) -> String {
    let version = if of.starts_with("frontDoor") { "2024-02-01" } else { "2024-05-01" };
    format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network/{of}?api-version={version}",
        config.subscription, config.resource_group
    )
}

/// All lists of this configuration.
pub(super) fn lists(config: &AzureConfig) -> Vec<List> {
    let AzureConfig { name, resource, .. } = config;
    let list = |of: String, title, limit, shape, family| List { path: path(config, &of), title, limit, shape, family };
    match (config.mode, config.waf) {
        (AzureMode::IpGroup, _) => (0..config.groups)
            .map(|number| {
                let group = format!("{name}-{number:02}");
                let title = format!("IP group {group}");
                list(format!("ipGroups/{group}"), title, MAX_IN_GROUP, Shape::IpGroup, Family::V4)
            })
            .collect(),
        // "All IP addresses or prefixes in the resource should belong to the same address family."
        (AzureMode::Nsg, _) => [(Family::V4, "v4"), (Family::V6, "v6")]
            .map(|(family, suffix)| {
                let of = format!("networkSecurityGroups/{resource}/securityRules/{name}-{suffix}");
                let title = format!("security rule {name}-{suffix} of {resource}");
                list(of, title, MAX_IN_NSG, Shape::SecurityRule, family)
            })
            .into(),
        (AzureMode::WafPolicy, waf) => {
            // Names of custom rules hold letters and digits alone.
            let rule: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            let title = format!("custom rule {rule} of WAF policy {resource}");
            let (kind, shape, family) = match waf {
                // "IPMatch … only supports IPv4."
                AzureWaf::ApplicationGateway => {
                    ("ApplicationGatewayWebApplicationFirewallPolicies", Shape::ApplicationGateway(rule), Family::V4)
                }
                AzureWaf::FrontDoor => {
                    ("frontDoorWebApplicationFirewallPolicies", Shape::FrontDoor(rule), Family::Both)
                }
            };
            vec![list(format!("{kind}/{resource}"), title, MAX_IN_WAF, shape, family)]
        }
    }
}

/// The number of the list for `target`; none when Azure has no place for its family.
pub(super) fn place(lists: &[List], target: &IpNet) -> Option<usize> {
    let fits = |family| family == Family::Both || (family == Family::V4) == target.addr().is_ipv4();
    let fitting: Vec<usize> = (0..lists.len()).filter(|&number| fits(lists[number].family)).collect();
    let count = u64::try_from(fitting.len()).ok().filter(|&count| count > 0)?;
    usize::try_from(hash(target) % count).ok().and_then(|number| fitting.get(number).copied())
}

/// FNV-1a: the same for ever, so that a target stays in its group.
fn hash(target: &IpNet) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    target.trunc().to_string().bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

impl List {
    /// What it lists.
    ///
    /// # Errors
    /// The resource is not what it should be.
    pub fn read(&self, resource: &Value) -> Result<Vec<String>, RespondError> {
        let strings = |value: &Value| {
            let all = value.as_array().map_or(&[][..], Vec::as_slice);
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let properties = &resource["properties"];
        if !properties.is_object() {
            return Err(self.odd("has no properties"));
        }
        match &self.shape {
            Shape::IpGroup => Ok(strings(&properties["ipAddresses"])),
            Shape::SecurityRule => {
                let denies = properties["access"] == "Deny" && properties["direction"] == "Inbound";
                let mut sources = strings(&properties["sourceAddressPrefixes"]);
                // Azure gives a single source so.
                sources.extend(properties["sourceAddressPrefix"].as_str().map(str::to_owned));
                sources.retain(|source| !source.is_empty());
                match sources.iter().find(|source| parse(source).is_none()) {
                    _ if !denies => Err(self.odd("is no inbound deny rule")),
                    Some(tag) => Err(self.odd(&format!("denies {tag:?}, which is no address"))),
                    None => Ok(sources),
                }
            }
            Shape::ApplicationGateway(_) | Shape::FrontDoor(_) => {
                let rule = self.custom_rule(resource).ok_or_else(|| self.odd("is not there"))?;
                let conditions = rule["matchConditions"].as_array().map_or(&[][..], Vec::as_slice);
                let [condition] = conditions else { return Err(self.odd("has not one condition but several or none")) };
                let negated = condition["negationConditon"] == true || condition["negateCondition"] == true;
                if rule["action"] != "Block" || condition["operator"] != "IPMatch" || negated {
                    return Err(self.odd("does not block addresses (action Block, operator IPMatch)"));
                }
                Ok(strings(&condition[self.values()]))
            }
        }
    }

    /// Makes `entries` what it lists, in a resource that could be [read](Self::read); the rest of it
    /// stays as it is.
    pub fn write(&self, resource: &mut Value, entries: Vec<String>) {
        let (holder, key) = match &self.shape {
            Shape::IpGroup => (resource.get_mut("properties"), "ipAddresses"),
            Shape::SecurityRule => (resource.get_mut("properties"), "sourceAddressPrefixes"),
            Shape::ApplicationGateway(name) | Shape::FrontDoor(name) => {
                let rules = self.custom_rules_mut(resource);
                let rule = rules.and_then(|rules| rules.iter_mut().find(|rule| is_called(rule, name)));
                (rule.and_then(|rule| rule.pointer_mut("/matchConditions/0")), self.values())
            }
        };
        if let Some(holder) = holder.and_then(Value::as_object_mut) {
            holder.insert(key.into(), json!(entries));
            // Beside the plural Azure takes no singular.
            holder.remove("sourceAddressPrefix");
        }
    }

    /// The custom rule of ours in a WAF policy.
    pub fn custom_rule<'a>(&self, policy: &'a Value) -> Option<&'a Value> {
        let (rules, name) = match &self.shape {
            Shape::ApplicationGateway(name) => (&policy["properties"]["customRules"], name),
            Shape::FrontDoor(name) => (&policy["properties"]["customRules"]["rules"], name),
            Shape::IpGroup | Shape::SecurityRule => return None,
        };
        rules.as_array()?.iter().find(|rule| is_called(rule, name))
    }

    /// The custom rules of a WAF policy, made when there are none.
    pub fn custom_rules_mut<'a>(&self, policy: &'a mut Value) -> Option<&'a mut Vec<Value>> {
        let properties = policy.get_mut("properties")?.as_object_mut()?;
        let rules = properties.entry("customRules").or_insert(Value::Null);
        let rules = match self.shape {
            Shape::FrontDoor(_) => {
                if rules.is_null() {
                    *rules = json!({});
                }
                rules.as_object_mut()?.entry("rules").or_insert(Value::Null)
            }
            _ => rules,
        };
        if rules.is_null() {
            *rules = json!([]);
        }
        rules.as_array_mut()
    }

    fn values(&self) -> &'static str {
        if matches!(self.shape, Shape::FrontDoor(_)) { "matchValue" } else { "matchValues" }
    }

    fn odd(&self, what: &str) -> RespondError {
        let message = format!("{} {what}; see `palisade azure init` and docs/azure.md", self.title);
        RespondError::Rejected { program: "Azure".into(), message }
    }
}

fn is_called(rule: &Value, name: &str) -> bool {
    rule["name"].as_str().is_some_and(|other| other.eq_ignore_ascii_case(name))
}

/// The entry as a network; none for what is none, such as `10.0.0.1-10.0.0.9` in an IP group.
pub(super) fn parse(entry: &str) -> Option<IpNet> {
    let net: Result<IpNet, _> = entry.parse();
    net.or_else(|_| entry.parse().map(|address: IpAddr| address.into())).ok().map(|net| net.trunc())
}

/// The entries that hold exactly `wanted` beside what is foreign: everything that is not in `known`,
/// which has `wanted` in it.
///
/// No entry lies within another, which a network security group refuses.
pub(super) fn merge(current: &[String], wanted: &BTreeSet<IpNet>, known: &HashSet<IpNet>) -> Vec<String> {
    let is_foreign = |entry: &str| parse(entry).is_none_or(|net| !known.contains(&net));
    let foreign: HashSet<IpNet> = current.iter().filter(|entry| is_foreign(entry)).filter_map(|e| parse(e)).collect();
    let mut missing: BTreeSet<IpNet> = BTreeSet::new();
    for target in wanted {
        if !wider(target).any(|net| wanted.contains(&net)) {
            around(*target, &foreign, &mut missing);
        }
    }
    let stays = |entry: &&String| is_foreign(entry) || parse(entry).is_some_and(|net| missing.remove(&net));
    let mut entries: Vec<String> = current.iter().filter(stays).cloned().collect();
    entries.extend(missing.iter().map(text));
    entries
}

/// Whether `entries` shut out all of `target`.
pub(super) fn holds(entries: &HashSet<IpNet>, target: IpNet) -> bool {
    let mut open = BTreeSet::new();
    around(target, entries, &mut open);
    open.is_empty()
}

/// Adds the parts of `net` that are in none of `others`.
fn around(net: IpNet, others: &HashSet<IpNet>, parts: &mut BTreeSet<IpNet>) {
    if others.contains(&net) || wider(&net).any(|wide| others.contains(&wide)) {
        return;
    }
    let is_host = net.prefix_len() == net.max_prefix_len();
    let within = || others.iter().copied().filter(|other| net.contains(other)).collect::<HashSet<IpNet>>();
    let within = if is_host { HashSet::new() } else { within() };
    if within.is_empty() {
        parts.insert(net);
        return;
    }
    // As deep as a prefix is long, and only where others are.
    for half in net.subnets(net.prefix_len() + 1).into_iter().flatten() {
        around(half, &within, parts);
    }
}

/// Every network around `net`.
fn wider(net: &IpNet) -> impl Iterator<Item = IpNet> + use<> {
    let address = net.network();
    (0..net.prefix_len()).filter_map(move |prefix| IpNet::new(address, prefix).ok()).map(|net| net.trunc())
}

/// As Azure's own tools write it.
fn text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}
