//! The keys that the configuration names, and what each should look like.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::config::Config;
use crate::doctor::{Key, KeyFile, Shape};
use crate::event::Secret;

/// What keys of a host begin with, by a part of its name.
const PREFIXES: [(&str, &str); 5] = [
    ("cerebras.ai", "csk-"),
    ("groq.com", "gsk_"),
    ("openrouter.ai", "sk-or-"),
    ("anthropic.com", "sk-ant-"),
    ("openai.com", "sk-"),
];

/// Every key that is set, and read where a file holds it.
pub fn read(config: &Config) -> Vec<Key> {
    let Config { respond, reputation, memory, store, fleet, .. } = config;
    let mut found = vec![];
    let mut add = |name: String, text: &Secret, file: &Option<PathBuf>, shape: Shape| {
        if !text.is_empty() {
            found.push(Key { name, text: Ok(text.clone()), shape, file: None });
        } else if let Some(path) = file {
            found.push(of_file(name, path, shape));
        }
    };
    for (index, tier) in config.tier.iter().enumerate() {
        let prefix = PREFIXES.iter().find(|(host, _)| tier.url.contains(host));
        let shape = prefix.map_or(Shape::Any, |(_, prefix)| Shape::Prefix(prefix));
        add(format!("tier[{index}].api_key"), &tier.api_key, &tier.api_key_file, shape);
    }
    let hex = |digits| Shape::Hex(digits);
    add("reputation.abuseipdb_key".into(), &reputation.abuseipdb_key, &reputation.abuseipdb_key_file, hex(80));
    add("reputation.virustotal_key".into(), &reputation.virustotal_key, &reputation.virustotal_key_file, hex(64));
    add("memory.redis_url".into(), &memory.redis_url, &memory.redis_url_file, Shape::Url);
    add("store.database_url".into(), &store.database_url, &store.database_url_file, Shape::Url);
    add("fleet.key".into(), &fleet.key, &fleet.key_file, Shape::Any);
    let uses = |responder: &str| respond.names.iter().any(|name| name == responder);
    if uses("cloudflare") {
        let cloudflare = &respond.cloudflare;
        add("respond.cloudflare.token".into(), &cloudflare.token, &cloudflare.token_file, Shape::Any);
    }
    if uses("webhook") {
        add("respond.webhook.key".into(), &respond.webhook.key, &respond.webhook.key_file, Shape::Any);
    }
    if uses("azure") {
        let azure = &respond.azure;
        add("respond.azure.client_secret".into(), &azure.client_secret, &azure.client_secret_file, Shape::NoUuid);
        for (name, id) in
            [("subscription", &azure.subscription), ("tenant_id", &azure.tenant_id), ("client_id", &azure.client_id)]
        {
            add(format!("respond.azure.{name}"), &Secret::from(id.clone()), &None, Shape::Uuid);
        }
    }
    found
}

fn of_file(name: String, path: &PathBuf, shape: Shape) -> Key {
    let shown = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(format!("{shown} is empty")),
        Ok(text) => Ok(Secret::from(text.trim().to_owned())),
        Err(error) => Err(format!("{shown} cannot be read: {error}")),
    };
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o7777);
    Key { name, text, shape, file: Some(KeyFile { path: shown, mode }) }
}
