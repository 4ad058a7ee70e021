//! What of a new configuration a running daemon takes, and what differs between two.

use serde_json::Value as Json;

use super::Config;
use crate::decide::ClientConfig;
use crate::detect::DetectConfig;
use crate::event::Secret;
use crate::respond::RespondConfig;

/// What `palisade set` may change: where findings begin and end, and how many bans of what length. Nothing
/// that keeps somebody open or decides what may be blocked at all.
pub const TUNABLE: [&str; 13] = [
    "thresholds.flag",
    "thresholds.block",
    "thresholds.certain",
    "thresholds.act",
    "thresholds.monitor",
    "respond.block_duration_secs",
    "respond.max_block_duration_secs",
    "respond.max_blocks_per_min",
    "respond.max_served_percent",
    "respond.max_network_percent",
    "respond.block_networks",
    "detect.half_life_secs",
    "detect.flagged_secs",
];

/// `new` as far as a daemon that runs with `running` takes it; the rest stays as it runs. What is opened or
/// sized at the start stays: files, sockets, databases, tables, responders.
pub fn taken(running: &Config, new: &Config) -> Config {
    let (old, new) = (running.clone(), new.clone());
    Config {
        mode: new.mode,
        exclusion: new.exclusion,
        crawler: new.crawler,
        blocklist: new.blocklist,
        public_url: new.public_url,
        alert: new.alert,
        export: new.export,
        client: ClientConfig { v6_prefix: old.client.v6_prefix, ..new.client },
        thresholds: new.thresholds,
        detect: DetectConfig {
            max_clients: old.detect.max_clients,
            max_line_bytes: old.detect.max_line_bytes,
            ..new.detect
        },
        respond: RespondConfig {
            block_duration_secs: new.respond.block_duration_secs,
            max_block_duration_secs: new.respond.max_block_duration_secs,
            max_blocks_per_min: new.respond.max_blocks_per_min,
            max_served_percent: new.respond.max_served_percent,
            max_network_percent: new.respond.max_network_percent,
            widest_v4: new.respond.widest_v4,
            widest_v6: new.respond.widest_v6,
            block_networks: new.respond.block_networks,
            ..old.respond
        },
        triage: new.triage,
        tier: new.tier,
        reputation: new.reputation,
        compress: new.compress,
        ..old
    }
}

/// The keys whose values differ, in the order of the file. A list of tables of which some came or went is
/// one key.
pub fn differences(a: &Config, b: &Config) -> Vec<String> {
    let mut keys = vec![];
    // Every type of a configuration serialises: it is read from the same.
    let json = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    compare("", &json(a), &json(b), &mut keys);
    let (ours, theirs) = (secrets(a), secrets(b));
    for ((key, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
        if ours != theirs && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn compare(key: &str, a: &Json, b: &Json, keys: &mut Vec<String>) {
    let join = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match (a, b) {
        _ if a == b => {}
        (Json::Object(a), Json::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let value = |of: &serde_json::Map<String, Json>| of.get(name).cloned().unwrap_or_default();
                compare(&join(name), &value(a), &value(b), keys);
            }
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() && a.iter().chain(b).all(Json::is_object) => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{key}[{index}]"), a, b, keys);
            }
        }
        _ => keys.push(key.to_owned()),
    }
}

/// Every secret by its key path: as JSON all of them look alike.
fn secrets(config: &Config) -> Vec<(String, &Secret)> {
    let Config { respond, reputation, memory, store, .. } = config;
    let tiers = config.tier.iter().enumerate().map(|(index, tier)| (format!("tier[{index}].api_key"), &tier.api_key));
    let keyed = |list: &str, index: usize, url, key| {
        [(format!("{list}[{index}].url"), url), (format!("{list}[{index}].key"), key)]
    };
    let alerts = config.alert.iter().enumerate().flat_map(|(index, one)| keyed("alert", index, &one.url, &one.key));
    let exports = config.export.iter().enumerate().flat_map(|(index, one)| keyed("export", index, &one.url, &one.key));
    let others = [
        ("respond.cloudflare.token", &respond.cloudflare.token),
        ("respond.webhook.url", &respond.webhook.url),
        ("respond.webhook.key", &respond.webhook.key),
        ("respond.azure.client_secret", &respond.azure.client_secret),
        ("reputation.abuseipdb_key", &reputation.abuseipdb_key),
        ("reputation.virustotal_key", &reputation.virustotal_key),
        ("compress.scaledown.key", &config.compress.scaledown.key),
        ("memory.redis_url", &memory.redis_url),
        ("store.database_url", &store.database_url),
        ("fleet.key", &config.fleet.key),
    ];
    // Last: of lists of different lengths the others still stand side by side.
    others.into_iter().map(|(key, secret)| (key.to_owned(), secret)).chain(tiers).chain(alerts).chain(exports).collect()
}
