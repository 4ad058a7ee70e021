//! Services that the configuration names, played by stand-ins, or by nobody.

use super::{examine, finds, finds_no, follow, home, visits};
use crate::memory::server::{Server, redis_or_skip};
use crate::support::daemon::Home;
use crate::support::postgres::{self, postgres_or_skip};
use crate::support::standin::{Answer, Manner, Standin, bodies};
use crate::support::{Namespace, namespaces_or_skip};

fn tier(provider: &str, url: &str) -> String {
    format!("[[tier]]\nname = \"t\"\nprovider = \"{provider}\"\nurl = \"{url}\"\nmodel = \"phi3.5:3.8b\"\n")
}

#[test]
fn models_that_are_not_there_are_told() {
    let standin = Standin::start();
    standin.otherwise(|_| bodies::ollama::tags(&["llama3:8b"]));
    let advice = "palisade triage pull t";
    finds(&home(&tier("ollama", &standin.url())), "error", "service_unusable", "it has llama3:8b", advice);
    standin.otherwise(|_| bodies::ollama::tags(&["phi3.5:3.8b"]));
    finds_no(&home(&tier("ollama", &standin.url())), "service_unusable");
    standin.otherwise(|_| bodies::openai::error(401, "invalid_request_error", "wrong_api_key", "Wrong API Key"));
    finds(&home(&tier("openai", &standin.url())), "error", "service_unusable", "key is missing, wrong", "api_key_file");
    let nobody = tier("ollama", "http://127.0.0.1:1");
    finds(&home(&nobody), "error", "service_unusable", "cannot reach", "start its server");
    standin.otherwise(|_| Answer::text(200, "{}").manner(Manner::Hang));
    finds(&home(&tier("ollama", &standin.url())), "error", "service_unusable", "no answer within 6 s", "firewall");
    let far = tier("openai", "https://models.example.com/v1") + "[triage]\nprivacy = \"local_only\"";
    finds(&home(&far), "note", "service_hint", "triage.privacy", "nothing needs to be done");
}

#[test]
fn a_database_that_lacks_rights_or_migrations_and_an_unsafe_way_there_are_told() {
    let what = "rights on Postgres";
    if !namespaces_or_skip(what) || !postgres_or_skip(what) {
        return;
    }
    let namespace = Namespace::new();
    namespace.run("ip addr add 192.0.2.10/32 dev lo");
    let server = postgres::Server::start_in(&namespace.command(&[]), "192.0.2.10", "");
    server.sql("postgres", "CREATE ROLE weak LOGIN PASSWORD 'weak'");
    server.sql("postgres", "CREATE DATABASE d");
    let home = Home::inside(&namespace);
    let url = server.url_for("weak", "weak", "d");
    follow(&home, &visits(100), &format!("[store]\ndatabase_url = \"{url}?sslmode=disable\""));
    let grant = "GRANT CREATE ON DATABASE \"d\" TO \"weak\"";
    finds(&home, "error", "database_rights", "cannot make the schema", grant);
    finds(&home, "note", "database_hint", "sslmode=disable", "whoever is on the way");
    finds(&home, "note", "migrations_pending", "migrations are pending", "palisade migrate");
    server.sql("postgres", "GRANT CREATE ON DATABASE d TO weak");
    finds_no(&home, "database_rights");
    let applied = home.palisade(&["migrate"]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    finds_no(&home, "migrations_pending");
}

#[test]
fn a_reputation_service_is_reached_without_its_key_and_without_a_question() {
    let standin = Standin::start();
    let late = |_: &_| Answer::text(404, "").header("date", "Mon, 05 Jan 2026 12:30:45 GMT");
    standin.otherwise(late);
    let key = "0123456789abcdef".repeat(5);
    let of = |url: &str| format!("[reputation]\nabuseipdb_key = \"{key}\"\nabuseipdb_url = \"{url}\"\n");
    let sound = home(&of(&standin.url()));
    let found = finds(&sound, "warning", "clock_apart", "this host's", "NTP");
    assert_eq!(found["subject"], "AbuseIPDB");
    finds_no(&sound, "service_unusable");
    for request in standin.requests() {
        assert_eq!((request.method.as_str(), request.header("key")), ("HEAD", None), "{request:?}");
    }
    finds(&home(&of("http://127.0.0.1:1")), "error", "service_unusable", "cannot be reached", "HTTPS_PROXY");
}

#[test]
fn a_blocklist_that_is_gone_is_told() {
    let standin = Standin::start();
    standin.otherwise(|_| Answer::text(404, ""));
    let list = format!("[[blocklist]]\nname = \"drop\"\nurl = \"{}/drop.txt\"\n", standin.url());
    finds(&home(&list), "error", "service_unusable", "404", "`url` of this [[blocklist]]");
    standin.otherwise(|_| Answer::text(200, ""));
    finds_no(&home(&list), "service_unusable");
}

#[test]
fn databases_that_do_not_answer_are_told_with_what_their_way_needs() {
    let nobody = "[memory]\nredis_url = \"redis://:hunter2@127.0.0.1:1\"\n";
    let found = finds(&home(nobody), "error", "service_unusable", "cannot be reached", "memory.redis_url");
    assert!(!found.to_string().contains("hunter2"), "{found}");
    let postgres = |url: &str| home(&format!("[store]\ndatabase_url = \"{url}\"\n"));
    finds(
        &postgres("postgres://u:hunter2@127.0.0.1:1/d"),
        "error",
        "service_unusable",
        "cannot be reached",
        "database_url",
    );
    let pooler = postgres("postgres://u:hunter2@127.0.0.1:6432/d");
    let (_, findings) = examine(&pooler);
    assert!(findings.iter().any(|one| one["advice"].as_str().unwrap().contains("pgbouncer")), "{findings:#?}");
}

#[test]
fn a_redis_that_answers_is_fine_and_one_that_lets_nobody_in_is_told() {
    if !redis_or_skip("doctor's Redis") {
        return;
    }
    let server = Server::start_with(&["--requirepass", "open-sesame"]);
    let url = server.url();
    let with = |password: &str| {
        let (scheme, rest) = url.split_once("://").unwrap();
        let host = rest.rsplit('@').next().unwrap();
        home(&format!("[memory]\nredis_url = \"{scheme}://:{password}@{host}\"\n"))
    };
    finds(&with("wrong"), "error", "service_unusable", "does not take the user and password", "memory.redis_url");
    finds_no(&with("open-sesame"), "service_unusable");
}
