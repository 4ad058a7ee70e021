//! What must hold for every key there is, also for those that are added later.

use serde_json::Value as Json;

use super::check::{choices, kind, leaves, resolve};
use super::compose::{Input, compose};
use super::*;

const KNOWN: Known<'static> = Known { responders: &["nftables"], formats: &["nginx_combined"] };

fn file(text: &str) -> Result<Loaded, Mistakes> {
    let files = vec![("x.toml".into(), text.as_bytes().to_vec())];
    compose(Input { files, ..Input::default() }, &KNOWN)
}

/// A file with this line under the table of `key`, and what else that table must have.
fn written(key: &str, name: &str, value: &str) -> String {
    let (table, _) = key.rsplit_once('.').unwrap_or(("", key));
    let (list, _) = table.split_once("[]").unwrap_or(("", ""));
    let required = match list {
        "source" => "path = '/x'\n",
        "crawler" => "agent = 'robot'\n",
        "blocklist" => "name = 'x'\nurl = 'https://x.example'\n",
        "tier" => "name = 'x'\nprovider = 'openai'\nurl = 'https://x.example'\nmodel = 'm'\n",
        "exclusion" => "path = '^/x'\n",
        "alert" => "name = 'x'\nchannel = 'webhook'\nurl = 'https://x.example'\nkey = 'k'\n",
        "export" => "name = 'x'\nvia = 'elasticsearch'\nurl = 'https://x.example'\n",
        _ => "",
    };
    let required: String =
        required.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{name} ="))).collect();
    match table {
        "" => format!("{name} = {value}\n"),
        _ if !list.is_empty() => format!("[[{list}]]\n{required}{name} = {value}\n"),
        _ => format!("[{table}]\n{name} = {value}\n"),
    }
}

#[test]
fn every_key_says_what_it_is_and_every_number_its_least() {
    let schema = schema();
    for (key, leaf) in leaves(&schema) {
        let resolved = resolve(&schema, leaf);
        let described =
            [leaf, resolved].iter().any(|one| one["description"].as_str().is_some_and(|text| text.len() > 10));
        assert!(described, "{key} has no description");
        if kind(resolved) == "integer" {
            let at = if resolved["minimum"].is_null() { leaf } else { resolved };
            assert!(at["minimum"].is_number(), "{key} has no least value: {at}");
        }
    }
}

#[test]
fn a_slip_in_any_key_or_word_finds_the_one_that_was_meant() {
    let schema = schema();
    for (key, leaf) in leaves(&schema) {
        let (_, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let told = file(&written(&key, &format!("{name}x"), "1")).unwrap_err().to_string();
        assert!(told.contains(&format!("unknown key; did you mean {name:?}?")), "{key}: {told}");
        assert!(told.contains("x.toml:"), "{told}");
        let leaf = resolve(&schema, leaf);
        for word in choices(leaf) {
            let told = file(&written(&key, name, &format!("\"{word}x\""))).unwrap_err().to_string();
            assert!(told.contains(&format!("did you mean {word:?}?")), "{key}: {told}");
        }
    }
    for (word, meant) in
        [("[thresold]\nblock = 1", "thresholds"), ("[respond.nginxx]\n", "nginx"), ("[[tiers]]", "tier")]
    {
        let told = file(word).unwrap_err().to_string();
        assert!(told.contains(&format!("did you mean {meant:?}?")), "{told}");
    }
}

#[test]
fn no_secret_of_any_key_is_ever_shown_and_each_counts_as_changed() {
    let schema = schema();
    let secrets: Vec<String> = leaves(&schema)
        .into_iter()
        .filter(|(_, leaf)| resolve(&schema, leaf)["format"] == "secret" || leaf["format"] == "secret")
        .map(|(key, _)| key)
        .collect();
    assert_eq!(secrets.len(), 15, "{secrets:?}");
    for key in &secrets {
        let (_, name) = key.rsplit_once('.').unwrap();
        let of = |word: &str| {
            let value = match name {
                "redis_url" => format!("'redis://:{word}@192.0.2.1'"),
                "database_url" => format!("'postgres://u:{word}@192.0.2.1/db'"),
                _ => format!("'https://{word}-of-a-length-that-any-key-may-have'"),
            };
            file(&written(key, name, &value)).unwrap_or_else(|mistakes| panic!("{key}: {mistakes}"))
        };
        let (one, other) = (of("hunter2"), of("hunter3"));
        let json: Json = serde_json::to_value(&one.config).unwrap();
        let shown = format!("{} {one:?} {json} {:?}", show(&one), differences(&one.config, &other.config));
        assert!(!shown.contains("hunter"), "{key}: {shown}");
        assert_eq!(differences(&one.config, &other.config), [key.replace("[]", "[0]")]);
        assert!(shown.contains("***"), "{key}");
        // Nor when it is wrong: beside another mistake, and of a kind that no secret is.
        let text = written(key, name, "'hunter2 %zz://'") + "nothing_of_ours = 1\n";
        let told = file(&text).unwrap_err().to_string();
        assert!(!told.contains("hunter"), "{key}: {told}");
    }
}

#[test]
fn what_can_be_set_is_a_key_that_a_running_daemon_takes() {
    let known: Vec<String> = leaves(&schema()).into_iter().map(|(key, _)| key).collect();
    for key in TUNABLE {
        assert!(known.contains(&key.to_owned()), "{key}");
        let set = |value: &str| compose(Input { set: &[(key.into(), value.into())], ..Input::default() }, &KNOWN);
        let changed =
            ["9", "10", "1", "1000000", "true"].iter().filter_map(|value| set(value).ok()).map(|loaded| loaded.config);
        let changed: Vec<Config> = changed.filter(|config| *config != Config::default()).collect();
        assert!(!changed.is_empty(), "{key}");
        for config in changed {
            assert_eq!(differences(&Config::default(), &config), [key]);
            assert_eq!(taken(&Config::default(), &config), config, "{key}");
        }
    }
    let refused = compose(Input { set: &[("thresholds.block".into(), "11".into())], ..Input::default() }, &KNOWN);
    assert!(refused.unwrap_err().to_string().starts_with("palisade set: thresholds.block: expected"));
}

#[test]
fn differences_name_exactly_what_differs() {
    let config = |text: &str| file(text).unwrap().config;
    let one = config("mode = 'enforce'\n[[tier]]\nname = 'a'\nprovider = 'ollama'\nmodel = 'm'\n");
    let two = config(
        "timezone = 'UTC'\n[[tier]]\nname = 'a'\nprovider = 'ollama'\nmodel = 'n'\n[client]\nallow = ['192.0.2.1']\n",
    );
    let mut names = differences(&one, &two);
    names.sort();
    assert_eq!(names, ["client.allow", "mode", "tier[0].model", "timezone"]);
    assert_eq!(differences(&one, &Config { tier: vec![], ..one.clone() }), ["tier"]);
    assert!(differences(&one, &one).is_empty());
    // What is opened or sized at the start stays.
    let new = config("state_dir = '/d'\n[detect]\nmax_clients = 2048\nflagged_secs = 5\n[client]\nv6_prefix = 56\n");
    let taken = taken(&Config::default(), &new);
    let mut left = differences(&taken, &new);
    left.sort();
    assert_eq!(left, ["client.v6_prefix", "detect.max_clients", "state_dir"]);
    assert_eq!(differences(&Config::default(), &taken), ["detect.flagged_secs"]);
}
