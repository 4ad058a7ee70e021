//! The API as programs use it: by its own description, in parts, and without asking twice for the same.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Site, append, everybody, first_link};
use crate::support::browser::tools_or_skip;
use crate::support::daemon::{Daemon, eventually};
use crate::support::http::request;
use crate::support::{log, mmdb};

const ATTACK: &str = "GET /admin/editor?file=../../../../etc/passwd";

fn attack(site: &Site, from: &str) {
    append(&site.log(), log::line(from, ATTACK, 404).trim_end());
}

fn found(site: &Site, from: &str) -> Value {
    eventually(&format!("{from} is found"), || site.home.findings().into_iter().find(|row| row["client"] == from))
}

/// A site that five clients attacked, and its administrator's session.
fn attacked() -> (Site, Daemon, String) {
    let site = Site::new();
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    for n in 1..=5 {
        attack(&site, &format!("203.0.113.{n}"));
    }
    found(&site, "203.0.113.5");
    (site, daemon, admin)
}

#[test]
fn a_rule_is_off_on_a_path_until_it_is_switched_on_also_over_a_restart() {
    let site = Site::new();
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    attack(&site, "203.0.113.1");
    let rules: Vec<Value> = found(&site, "203.0.113.1")["rule_ids"].as_array().unwrap().clone();
    let listed = site.ask(&admin, "GET", "/api/v1/rules", None).json();
    let first = &listed["on"][0];
    assert!(rules.contains(&first["id"]) && first["findings"] == 1 && first["last_seen"].is_string(), "{first}");
    let benign = format!("/api/v1/findings/{}/verdict", found(&site, "203.0.113.1")["id"].as_str().unwrap());
    assert_eq!(site.ask(&admin, "POST", &benign, Some(json!({ "verdict": "benign" }))).status, 200);
    assert_eq!(site.ask(&admin, "GET", "/api/v1/rules", None).json()["on"][0]["false_positives"], 1);

    let off = |rule: &Value, path: Value| {
        let body = json!({ "rule": rule, "path": path, "reason": "our editor" });
        site.ask(&admin, "POST", "/api/v1/switched-off", Some(body))
    };
    assert_eq!(off(&json!("no-such-rule"), Value::Null).status, 404);
    assert_eq!(off(&rules[0], json!("editor")).status, 400);
    for rule in &rules {
        assert_eq!(off(rule, json!("/admin/editor")).status, 200, "{rule}");
    }
    // Lines are judged in their order: what comes after it has been judged too.
    let is_clean = |from: &str, witness: &str| {
        attack(&site, from);
        append(&site.log(), log::attack(witness, 1).trim_end());
        found(&site, witness);
        !site.home.findings().iter().any(|row| row["client"] == from)
    };
    assert!(is_clean("203.0.113.2", "203.0.113.3"));
    append(&site.log(), log::line("203.0.113.4", "GET /?file=../../../../etc/passwd", 404).trim_end());
    found(&site, "203.0.113.4");

    // A rule that the configuration disables meanwhile keeps nobody from reading the rest of it.
    let text = std::fs::read_to_string(site.home.path("palisade.toml")).unwrap();
    let disabled = format!("{text}\n[detect]\ndisable = [{}]\n", rules[0]);
    std::fs::write(site.home.path("palisade.toml"), disabled).unwrap();
    eventually("the configuration is taken", || {
        let config = site.ask(&admin, "GET", "/api/v1/config", None).json();
        let row = config.as_array().unwrap().iter().find(|row| row["key"] == "detect.disable").unwrap().clone();
        (row["value"] == json!([rules[0]])).then_some(())
    });
    std::fs::write(site.home.path("palisade.toml"), text).unwrap();

    assert_eq!(daemon.stop(), 0);
    let daemon = site.start();
    assert!(is_clean("203.0.113.5", "203.0.113.6"), "a restart switches nothing on");
    let listed = site.ask(&admin, "GET", "/api/v1/rules", None).json();
    assert_eq!((&listed["off"][0]["by"], &listed["off"][0]["path"]), (&json!("admin"), &json!("/admin/editor")));
    for one in listed["off"].as_array().unwrap() {
        let path = format!("/api/v1/switched-off/{}", one["id"].as_str().unwrap());
        assert_eq!(site.ask(&admin, "DELETE", &path, None).status, 200);
        assert_eq!(site.ask(&admin, "DELETE", &path, None).status, 404);
    }
    attack(&site, "203.0.113.8");
    found(&site, "203.0.113.8");

    // Everywhere.
    let everywhere = off(&json!("sqli-union-select"), Value::Null).json();
    append(&site.log(), log::attack("203.0.113.9", 2).trim_end());
    let rest = found(&site, "203.0.113.9")["rule_ids"].to_string();
    assert!(!rest.contains("sqli-union-select") && rest.contains("sqli-"), "{rest}");
    site.ask(&admin, "DELETE", &format!("/api/v1/switched-off/{}", everywhere["id"].as_str().unwrap()), None);
    append(&site.log(), log::attack("203.0.113.10", 3).trim_end());
    assert!(found(&site, "203.0.113.10")["rule_ids"].to_string().contains("sqli-union-select"));
    let audit = site.ask(&admin, "GET", "/api/v1/audit", None).text();
    assert!(audit.contains("switch a rule off") && audit.contains("switch a rule on again"), "{audit}");
    drop(daemon);
}

#[test]
fn nobody_sees_an_analysis_of_somebody_else_unless_it_is_shared() {
    let site = Site::new();
    let daemon = site.start();
    let [(_, admin), (_, anna), (_, victor)] = everybody(&site, &first_link(&daemon));
    let invited = site.ask(&admin, "POST", "/api/v1/users", Some(json!({ "name": "ben", "role": "analyst" }))).json();
    let ben = site.welcome(invited["link"].as_str().unwrap());
    let analyse = |session: &str, way: &str| {
        let path = format!("/api/v1/{way}?keep=true&sample=brute-force");
        assert_eq!(site.ask(session, "POST", &path, Some(json!({ "logs": "" }))).status, 200);
    };
    analyse(&anna, "analyze");
    let seen = |session: &str| site.ask(session, "GET", "/api/v1/analyses", None).json().as_array().unwrap().clone();
    let of_anna = eventually("it is kept", || seen(&anna).into_iter().next());
    assert_eq!(of_anna["owner"], "anna");
    for other in [&admin, &ben, &victor] {
        assert_eq!(seen(other), Vec::<Value>::new());
    }
    let share = |session: &str, with: Value| {
        let path = format!("/api/v1/analyses/{}/share", of_anna["id"].as_str().unwrap());
        site.ask(session, "POST", &path, Some(with)).status
    };
    assert_eq!(share(&ben, json!({ "role": "viewer" })), 404, "nobody shares what is not theirs");
    assert_eq!(share(&anna, json!({ "users": ["nobody"] })), 400);
    let who = || [&admin, &ben, &victor].map(|session| seen(session).len());
    let told = |session: &str| {
        let path = format!("/api/v1/analyses/{}/share", of_anna["id"].as_str().unwrap());
        let answer = site.ask(session, "GET", &path, None);
        (answer.status, answer.json())
    };
    assert_eq!(told(&anna).1["others"], json!(["admin", "ben", "victor"]));
    assert_eq!([&admin, &ben, &victor].map(|session| told(session).0), [404; 3]);
    for (with, seen_by) in [
        (json!({ "users": ["ben"] }), [0, 1, 0]),
        (json!({ "role": "analyst" }), [1, 1, 0]),
        (json!({ "role": "viewer" }), [1, 1, 1]),
        (json!({}), [0, 0, 0]),
    ] {
        assert_eq!(share(&anna, with.clone()), 200);
        assert_eq!(who(), seen_by, "{with}");
        let sees = |session: &String| usize::from(told(session).0 == 200);
        assert_eq!([&admin, &ben, &victor].map(sees), seen_by, "who may see it may see who else does: {with}");
        assert_eq!(told(&anna).1["shared_users"], with.get("users").cloned().unwrap_or(json!([])));
        if seen_by[1] == 1 {
            assert_eq!(told(&ben).1["others"], json!([]), "the names of all users are for who shares");
        }
    }
    site.ask(&ben, "POST", "/api/v1/analyze/stream?keep=true&sample=clean", Some(json!({ "logs": "" }))).text();
    assert_eq!((seen(&ben).len(), seen(&anna).len()), (1, 1));
    // Who is given the name later sees nothing of it.
    assert_eq!(site.ask(&admin, "DELETE", "/api/v1/users/anna", None).status, 200);
    let again = site.ask(&admin, "POST", "/api/v1/users", Some(json!({ "name": "anna", "role": "analyst" }))).json();
    assert_eq!(seen(&site.welcome(again["link"].as_str().unwrap())), Vec::<Value>::new());
    assert_eq!(seen(&admin).len(), 1, "an administrator sees what is nobody's");
}

#[test]
fn lists_go_on_what_is_known_is_not_sent_again_and_a_problem_is_told_in_one_shape() {
    let (site, _daemon, admin) = attacked();
    eventually("all are decided about", || (site.home.decisions().len() == 5).then_some(()));
    for _ in 0..4 {
        site.ask(&admin, "POST", "/api/v1/release", Some(json!({})));
    }
    for list in ["findings", "decisions", "audit", "changes"] {
        let id = |row: &Value| row.get("id").filter(|_| list != "changes").unwrap_or(&row["seq"]).to_string();
        let (mut path, mut ids) = (format!("/api/v1/{list}?limit=2"), vec![]);
        loop {
            let answer = site.ask(&admin, "GET", &path, None);
            let next = answer.header("link").to_owned();
            let rows = answer.json().as_array().unwrap().clone();
            ids.extend(rows.iter().map(id));
            let Some(next) = next.strip_prefix('<').and_then(|next| next.strip_suffix(">; rel=\"next\"")) else {
                break;
            };
            path = next.to_owned();
        }
        let all = site.ask(&admin, "GET", &format!("/api/v1/{list}?limit=1000"), None).json();
        let all: Vec<String> = all.as_array().unwrap().iter().map(id).collect();
        assert_eq!(ids, all, "{list}");
        assert!(ids.len() >= 5, "{list}");
    }

    let cookie = format!("palisade_session={admin}");
    let first = site.ask(&admin, "GET", "/api/v1/findings", None);
    let tag = first.header("etag").to_owned();
    let again = |tag: &str| {
        request(&site.address, "GET", "/api/v1/findings", &[("cookie", &cookie), ("if-none-match", tag)], None)
    };
    let known = again(&tag);
    assert_eq!((known.status, known.header("etag")), (304, tag.as_str()));
    assert_eq!(known.text(), "");
    attack(&site, "203.0.113.6");
    found(&site, "203.0.113.6");
    assert_eq!(again(&tag).status, 200);

    for (method, path, body, status) in [
        ("GET", "/api/v1/findings?limit=many", None, 400),
        ("GET", "/api/v1/findings?no=such", None, 400),
        ("PUT", "/api/v1/findings", None, 405),
        ("POST", "/api/v1/users", Some(json!({ "name": 7 })), 422),
        ("POST", "/api/v1/users", None, 415),
        ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/api/v1/clients/nobody", None, 400),
    ] {
        let answer = site.ask(&admin, method, path, body);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "application/problem+json"),
            "{method} {path}"
        );
        let problem = answer.json();
        assert!(problem["status"] == status && !problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    }

    let config = site.ask(&admin, "GET", "/api/v1/config", None).json();
    let row = |key: &str| config.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(row("thresholds.block")["origin"], "default");
    assert!(row("source[0].path")["origin"].as_str().unwrap().contains("palisade.toml:"), "{}", row("source[0].path"));
    assert!(row("dashboard.listen")["origin"].as_str().unwrap().contains("PALISADE__DASHBOARD__LISTEN"));
    let set = json!({ "key": "thresholds.block", "value": 7, "for_secs": 600 });
    assert_eq!(site.ask(&admin, "POST", "/api/v1/settings", Some(set)).status, 200);
    let config = site.ask(&admin, "GET", "/api/v1/config", None).json();
    let row = config.as_array().unwrap().iter().find(|row| row["key"] == "thresholds.block").unwrap();
    assert!(row["value"] == 7 && row["origin"] != "default", "{row}");
}

#[test]
fn clients_are_counted_by_the_country_that_a_database_names() {
    let site = Site::new();
    std::fs::write(site.home.path("country.mmdb"), mmdb::database("DE", 64_500)).unwrap();
    let dir = site.home.dir().display();
    site.home.configure(&format!(
        "[[source]]\npath = \"{dir}/access.log\"\nstart = \"beginning\"\n[reputation]\ngeoip_files = [\"{dir}/country.mmdb\"]\n"
    ));
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    for from in ["203.0.113.1", "203.0.113.2", "203.0.113.2", "2001:db8::7"] {
        attack(&site, from);
    }
    found(&site, "2001:db8::/64");
    let countries = site.ask(&admin, "GET", "/api/v1/countries?since=24h", None).json();
    assert_eq!(countries, json!([{ "country": "DE", "clients": 2, "findings": 3 }]), "it knows IPv4 alone");
}

/// Whatever the description allows, and much that it does not, at every endpoint that changes nothing about
/// the host and does not end what is being asked with.
#[test]
fn an_answer_is_what_the_description_says_whatever_is_asked() {
    let Some(tools) = tools_or_skip("an_answer_is_what_the_description_says_whatever_is_asked") else { return };
    let (site, daemon, admin) = attacked();
    let token = site.ask(&admin, "POST", "/api/v1/auth/tokens", Some(json!({ "note": "a fuzzer", "role": "admin" })));
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let mut command = Command::new(tools.join("env/bin/schemathesis"));
    command
        .args([
            "run",
            &format!("http://{}/api/v1/openapi.json", site.address),
            "--url",
            &format!("http://{}", site.address),
        ])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "5", "--generation-deterministic", "--no-color"])
        // The stream of news has no end; a real firewall is no toy; and nobody shuts out who asks.
        .args(["--exclude-path-regex", "^/api/v1/(events|mode|auth/logout|auth/tokens/.*|users/.*)$"])
        .args(["--request-timeout", "20", "--workers", "2"])
        .current_dir(site.home.dir())
        .env("HOME", site.home.dir());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!daemon.said().contains("panicked"), "{}", daemon.said());
    assert_eq!(site.ask(&admin, "GET", "/api/v1/ping", None).status, 200);
}
