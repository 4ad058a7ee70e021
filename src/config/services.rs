//! Where models, reputation services and Azure are and by which key, where nobody says: from the
//! variables that these services customarily have.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Config;
use crate::event::Secret;
use crate::triage::Provider;

/// Variables with the key of a host, by a part of its name.
const KEYS: &[(&str, &str)] = &[
    ("cerebras.ai", "CEREBRAS_API_KEY"),
    ("groq.com", "GROQ_API_KEY"),
    ("openrouter.ai", "OPENROUTER_API_KEY"),
    ("anthropic.com", "ANTHROPIC_API_KEY"),
    ("openai.com", "OPENAI_API_KEY"),
];
const ABUSEIPDB: &[&str] = &["ABUSEIPDB_API_KEY", "ABUSEIPDBKEY"];
const VIRUSTOTAL: &[&str] = &["VIRUSTOTAL_API_KEY", "VIRUSTOTALKEY"];

/// Ollama's usual place and the model that it is asked for.
const OLLAMA: &str = "http://127.0.0.1:11434";
const OLLAMA_PORT: &str = "11434";
const OLLAMA_MODEL: &str = "phi3.5:3.8b";

/// Fills in what is not set.
pub(super) fn settle(config: &mut Config, environment: &[(OsString, OsString)]) {
    let variable = |name: &str| {
        let (_, value) = environment.iter().find(|(other, _)| other == name)?;
        value.to_str().map(str::trim).filter(|value| !value.is_empty())
    };
    for tier in &mut config.tier {
        if tier.provider == Provider::Ollama {
            if tier.url.is_empty() {
                tier.url = variable("OLLAMA_HOST").map_or(OLLAMA.into(), ollama_url);
            }
            if tier.model.is_empty() {
                tier.model = OLLAMA_MODEL.into();
            }
        }
        let names: Vec<&str> = KEYS.iter().filter(|(host, _)| tier.url.contains(host)).map(|(_, name)| *name).collect();
        find(&mut tier.api_key, &mut tier.api_key_file, &names, variable);
    }
    let azure = &mut config.respond.azure;
    for (value, name) in [
        (&mut azure.subscription, "AZURE_SUBSCRIPTION_ID"),
        (&mut azure.tenant_id, "AZURE_TENANT_ID"),
        (&mut azure.client_id, "AZURE_CLIENT_ID"),
    ] {
        if value.is_empty() {
            *value = variable(name).unwrap_or_default().into();
        }
    }
    find(&mut azure.client_secret, &mut azure.client_secret_file, &["AZURE_CLIENT_SECRET"], variable);
    let reputation = &mut config.reputation;
    find(&mut reputation.abuseipdb_key, &mut reputation.abuseipdb_key_file, ABUSEIPDB, variable);
    find(&mut reputation.virustotal_key, &mut reputation.virustotal_key_file, VIRUSTOTAL, variable);
    let scaledown = &mut config.compress.scaledown;
    find(&mut scaledown.key, &mut scaledown.key_file, &["SCALEDOWN_API_KEY"], variable);
}

/// Takes a key from the first of these variables, or the file that `NAME_FILE` names.
fn find<'a>(key: &mut Secret, file: &mut Option<PathBuf>, names: &[&str], variable: impl Fn(&str) -> Option<&'a str>) {
    for name in names {
        if !key.is_empty() || file.is_some() {
            return;
        }
        if let Some(value) = variable(name) {
            *key = Secret::from(value.to_owned());
        } else if let Some(path) = variable(&format!("{name}_FILE")) {
            *file = Some(path.into());
        }
    }
}

/// What `OLLAMA_HOST` means: it may lack scheme and port, and name all addresses of the server.
fn ollama_url(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let rest = rest.trim_end_matches('/').replace("0.0.0.0", "127.0.0.1");
    let has_port =
        rest.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let port = if has_port { String::new() } else { format!(":{OLLAMA_PORT}") };
    format!("{scheme}://{rest}{port}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::TierConfig;

    fn tier(toml: &str) -> TierConfig {
        toml::from_str(&format!("name = \"t\"\n{toml}")).unwrap()
    }

    fn settled(tiers: Vec<TierConfig>, environment: &[(&str, &str)]) -> Config {
        let mut config = Config { tier: tiers, ..Config::default() };
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        settle(&mut config, &environment);
        config
    }

    #[test]
    fn ollama_is_where_its_own_variable_says() {
        for (host, expected) in [
            (None, "http://127.0.0.1:11434"),
            (Some("192.0.2.7"), "http://192.0.2.7:11434"),
            (Some("0.0.0.0:11500"), "http://127.0.0.1:11500"),
            (Some("https://models.example.com/"), "https://models.example.com:11434"),
            (Some("http://[2001:db8::1]:80"), "http://[2001:db8::1]:80"),
        ] {
            let environment: Vec<_> = host.iter().map(|host| ("OLLAMA_HOST", *host)).collect();
            let config = settled(vec![tier("provider = \"ollama\"")], &environment);
            assert_eq!((&*config.tier[0].url, &*config.tier[0].model), (expected, "phi3.5:3.8b"), "{host:?}");
        }
        let set =
            settled(vec![tier("provider = \"ollama\"\nurl = \"http://h:1\"\nmodel = \"m\"")], &[("OLLAMA_HOST", "x")]);
        assert_eq!((&*set.tier[0].url, &*set.tier[0].model), ("http://h:1", "m"));
    }

    #[test]
    fn keys_come_from_the_variables_that_hosts_customarily_have() {
        let cerebras = "provider = \"openai\"\nurl = \"https://api.cerebras.ai/v1\"\nmodel = \"m\"";
        let environment = [("CEREBRAS_API_KEY", " ck "), ("OPENAI_API_KEY", "ok"), ("ABUSEIPDBKEY", "ak")];
        let other = "provider = \"openai\"\nurl = \"https://models.example.com\"\nmodel = \"m\"";
        let config = settled(vec![tier(cerebras), tier(other)], &environment);
        assert_eq!(config.tier[0].api_key.reveal(), "ck");
        assert!(config.tier[1].api_key.is_empty(), "nobody else gets a key");
        assert_eq!(config.reputation.abuseipdb_key.reveal(), "ak");
        let set = settled(vec![tier(&format!("{cerebras}\napi_key = \"mine\""))], &environment);
        assert_eq!(set.tier[0].api_key.reveal(), "mine");
        let filed = settled(vec![tier(cerebras)], &[("CEREBRAS_API_KEY_FILE", "/run/secrets/key")]);
        assert_eq!(filed.tier[0].api_key_file, Some("/run/secrets/key".into()));
        assert!(!format!("{config:?}").contains("\"ck\""), "and nobody is shown one");
        let azure = settled(vec![], &[("AZURE_CLIENT_SECRET", "s"), ("AZURE_TENANT_ID", "t")]).respond.azure;
        assert_eq!((azure.client_secret.reveal(), &*azure.tenant_id, &*azure.client_id), ("s", "t", ""));
    }
}
