//! Keys that cannot be right, and files that others may read or change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::{examine, finds, finds_no, follow, home, visits};
use crate::support::daemon::Home;
use crate::support::namespaces_or_skip;

#[test]
fn keys_that_cannot_be_right_are_told_and_not_repeated() {
    let groq = |key: &str| {
        format!(
            "[[tier]]\nname = \"t\"\nprovider = \"openai\"\nurl = \"http://127.0.0.1:1/groq.com\"\nmodel = \"m\"\napi_key = '{key}'\n"
        )
    };
    let abuse = |key: &str| format!("[reputation]\nabuseipdb_key = '{key}'\nabuseipdb_url = \"http://127.0.0.1:1\"\n");
    for (config, key, name, problem) in [
        (groq("your-groq-key"), "your-groq-key", "tier[0].api_key", "an example"),
        (groq("sk-5ecret5ecret"), "5ecret5ecret", "tier[0].api_key", "does not begin with \"gsk_\""),
        (groq("gsk_5ecret 5ecret"), "5ecret 5ecret", "tier[0].api_key", "white space"),
        (abuse("5ecret5ecret"), "5ecret5ecret", "reputation.abuseipdb_key", "is not 80 hexadecimal digits"),
        (
            "[store]\ndatabase_url = 'postgres://postgres.abc:[YOUR-PASSWORD]@127.0.0.1:1/postgres'\n".into(),
            "[YOUR-PASSWORD]",
            "store.database_url",
            "an example",
        ),
    ] {
        let home = home(&config);
        let found = finds(&home, "error", "key_looks_wrong", problem, "copy it anew");
        assert_eq!(found["subject"], name);
        let all = format!("{:?}", examine(&home));
        assert!(!all.contains(key), "{all}");
    }
    finds_no(&home(&groq("gsk_0123456789abcdef")), "key_looks_wrong");
}

#[test]
fn files_with_keys_that_others_may_read_or_that_are_not_there_are_told() {
    let home = Home::new();
    let key = home.path("virustotal.key");
    let config =
        format!("[reputation]\nvirustotal_key_file = \"{}\"\nvirustotal_url = \"http://127.0.0.1:1\"\n", key.display());
    follow(&home, &visits(100), &config);
    finds(&home, "error", "key_unreadable", "cannot be read", "name another file");
    fs::write(&key, "0123456789abcdef".repeat(4) + "\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    finds(&home, "warning", "key_readable_by_all", "may be read by everybody", "chmod 640");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (_, findings) = examine(&home);
    assert!(findings.iter().all(|one| !one["check"].as_str().unwrap().starts_with("key_")), "{findings:#?}");
    let url = "[memory]\nredis_url = \"redis://:s3cret-of-ours@127.0.0.1:1\"\n";
    follow(&home, &visits(100), url);
    fs::set_permissions(home.path("palisade.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    finds(&home, "warning", "key_readable_by_all", "it holds a key", "chmod 640");
}

#[test]
fn a_configuration_that_others_may_change_is_told() {
    let home = home("");
    let file = home.path("palisade.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let found = finds(&home, "error", "config_changeable", "everybody", "chmod o-w");
    assert_eq!(found["subject"], file.display().to_string());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    finds_no(&home, "config_changeable");
    if namespaces_or_skip("a configuration of another user") {
        chown(&file, Some(65_534), None).unwrap();
        finds(&home, "error", "config_changeable", "belongs to user 65534", "chown root");
    }
}
