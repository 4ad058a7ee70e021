//! Subscribed lists, and reports to AbuseIPDB.

use std::fs;
use std::io::Write;

use palisade::config::Config;
use palisade::pipeline::blocklists::Blocklist;
use serde_json::json;

use crate::support::daemon::{Home, eventually};
use crate::support::standin::{self, Answer, Manner, Standin};
use crate::support::{Namespace, namespaces_or_skip};

fn subscription(server: &Standin, more: &str) -> String {
    format!("[[blocklist]]\nname = \"drop\"\nurl = \"{}/drop.txt?key=hunter2\"\n{more}", server.url())
}

fn subscribed(server: &Standin, more: &str) -> Blocklist {
    let config: Config = toml::from_str(&subscription(server, more)).unwrap();
    Blocklist::new(&config.blocklist[0]).unwrap()
}

#[test]
fn a_subscribed_list_is_fetched_only_when_it_changed_and_kept_when_it_fails() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Standin::start();
    let mut list = subscribed(&server, "max_bytes = 200");
    let mut fetch = |answers: Vec<Answer>| {
        for answer in answers {
            server.then(answer);
        }
        runtime.block_on(list.fetch()).map(|targets| targets.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let first = Answer::text(200, "; Spamhaus DROP\n198.51.100.0/24 ; SBL1\n203.0.113.7\nx\n");
    let first = first.header("etag", "\"v1\"").header("last-modified", "Mon, 05 Jan 2026 12:30:45 GMT");
    let both = Ok(vec!["198.51.100.0/24".to_owned(), "203.0.113.7/32".to_owned()]);
    assert_eq!(fetch(vec![first]), both);
    assert_eq!(fetch(vec![Answer::text(304, "")]), both);
    let to = |place: &str| Answer::text(302, "").header("location", place);
    for (answers, said) in [
        (vec![Answer::text(500, "oops")], "500"),
        (vec![Answer::text(200, &"203.0.113.7\n".repeat(20))], "longer than max_bytes, 200"),
        (vec![Answer::text(200, "<html>\nlog in\n")], "no list: not one of its lines"),
        (vec![Answer::text(200, "203.0.113.99\n203.0.113.98").manner(Manner::Cut)], "end of file"),
        (vec![Answer::text(200, "").manner(Manner::Close)], "closed"),
        (vec![to("https://127.0.0.1:1/drop.txt")], "302"),
        (vec![to("/1"), to("/2"), to("/3"), to("/4")], "302"),
    ] {
        let told = fetch(answers).unwrap_err();
        assert!(told.contains(said) && !told.contains("hunter2"), "{told}");
    }
    assert_eq!(fetch(vec![Answer::text(304, "")]), both, "after all this it is as it was");
    assert_eq!(
        fetch(vec![to("/1"), to("/2"), to("/3"), Answer::text(200, "203.0.113.8")]).unwrap(),
        ["203.0.113.8/32"]
    );
    assert_eq!(fetch(vec![Answer::text(200, "# nobody\n")]), Ok(vec![]));
    let requests = server.requests();
    assert_eq!((requests[0].header("if-none-match"), requests[0].header("if-modified-since")), (None, None));
    let asked = &requests[1];
    assert_eq!(asked.header("if-none-match"), Some("\"v1\""));
    assert_eq!(asked.header("if-modified-since"), Some("Mon, 05 Jan 2026 12:30:45 GMT"));
}

#[test]
fn a_subscribed_list_is_banned_through_the_gate_and_its_failure_is_a_problem() {
    let server = Standin::start();
    server.then(Answer::text(200, "203.0.113.9\n10.0.0.0/24\n192.0.2.7\n5.0.0.0/8\n"));
    let home = Home::new();
    home.configure(&format!("[client]\nallow = [\"192.0.2.7\"]\n{}", subscription(&server, "refresh_secs = 1800")));
    let daemon = home.start();
    let service = eventually("the list is imported", || {
        let services = home.status()["services"].clone();
        services["blocklist drop"]["banned"].is_number().then(|| services["blocklist drop"].clone())
    });
    assert_eq!((&service["entries"], &service["banned"], &service["refused"]), (&json!(4), &json!(1), &json!(3)));
    let ban = home.json(&["banned"])[0].clone();
    assert_eq!((&ban["target"], &ban["proposer"]), (&json!("203.0.113.9"), &json!("imported")));
    let end: jiff::Timestamp = ban["expires_at"].as_str().unwrap().parse().unwrap();
    let rest = end.as_second() - jiff::Timestamp::now().as_second();
    assert!((3500..=3601).contains(&rest), "twice refresh_secs: {rest} s");
    assert!(home.palisade(&["status"]).stdout.contains("blocklist drop: 4 entries, 3 refused"));
    assert_eq!(daemon.stop(), 0);

    // Away, it is a problem, and whom it had named stays out.
    server.otherwise(|_| Answer::text(503, "later"));
    let _daemon = home.start();
    let problems = eventually("the failure is told", || {
        let status = home.status();
        let problems = status["problems"].to_string();
        (problems.contains("blocklist drop: 503") && status["healthy"] == false).then_some(problems)
    });
    assert!(!problems.contains("hunter2"), "{problems}");
    assert_eq!(home.json(&["banned"])[0]["target"], "203.0.113.9");
}

#[test]
fn bans_by_rules_are_reported_to_abuseipdb_once_and_nothing_of_the_log_with_them() {
    if !namespaces_or_skip("the test of reports to AbuseIPDB") {
        return;
    }
    let namespace = Namespace::new();
    let server = namespace.inside(Standin::start);
    server.otherwise(|_| Answer::json(200, &json!({ "data": { "abuseConfidenceScore": 52 } })));
    let mut home = Home::inside(&namespace);
    home.set("ABUSEIPDB_API_KEY", "hunter2");
    let log = home.path("access.log");
    fs::write(&log, "").unwrap();
    let settings = |mode: &str| {
        let reputation = format!("[reputation]\nabuseipdb_url = \"{}\"\nreport_abuseipdb = true\n", server.url());
        home.configure(&format!("mode = \"{mode}\"\n{reputation}[[source]]\npath = \"{}\"\n", log.display()));
    };
    let attack = |client: &str, n: u32| {
        let time = palisade::event::Timestamp::now().clf();
        let line = format!(
            "{client} - - [{time}] \"GET /secret.example/{n}?id=1%27+UNION+SELECT+password+FROM+users HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n"
        );
        fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(line.as_bytes()).unwrap();
    };
    let ready = |home: &Home| {
        eventually("reports begin", || home.status()["services"]["abuseipdb_report"].is_object().then_some(()));
    };
    settings("dry_run");
    let daemon = home.start();
    ready(&home);
    attack("1.2.3.3", 0);
    eventually("the attack is banned", || (home.decisions().len() == 1).then_some(()));
    assert_eq!(daemon.stop(), 0);

    settings("enforce");
    let daemon = home.start();
    ready(&home);
    attack("1.2.3.4", 1);
    attack("203.0.113.9", 2);
    eventually("it is reported", || server.requests().first().cloned());
    home.json(&["ban", "1.2.3.5"]);
    attack("2600:1f00::1111", 3);
    let second = eventually("so is the next", || server.requests().get(1).cloned());
    let first = server.requests()[0].clone();
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/report"));
    assert_eq!((first.header("key"), first.header("accept")), (Some("hunter2"), Some("application/json")));
    let body = String::from_utf8(first.body).unwrap();
    assert!(body.starts_with("ip=1.2.3.4&categories=16%2C21&comment=Palisade%3A+sqli+%28sqli-union-select"), "{body}");
    for secret in ["secret", "UNION", "password", "curl", "access.log"] {
        assert!(!body.contains(secret), "{secret}: {body}");
    }
    assert!(String::from_utf8(second.body).unwrap().starts_with("ip=2600%3A1f00%3A%3A1111&"));
    let status = eventually("both are counted", || {
        let status = home.status();
        (status["services"]["abuseipdb_report"]["reported"] == 2).then_some(status)
    });
    assert_eq!(status["problems"], json!([]));
    let ledger = home.get("/api/v1/ledger").unwrap();
    let spent = ledger["services"].as_array().unwrap().iter().find(|one| one["service"] == "abuseipdb_report").unwrap();
    assert_eq!((&spent["calls"], &spent["answered"]), (&json!(2), &json!(2)));

    // Let go and banned again, it is not reported again so soon; what is refused is told.
    server.otherwise(|_| standin::bodies::abuseipdb::error(401, "Authentication failed. Your API key hunter2 is bad."));
    home.json(&["unban", "1.2.3.4"]);
    attack("1.2.3.4", 4);
    eventually("it is banned again", || home.json(&["banned"]).to_string().contains("\"1.2.3.4\"").then_some(()));
    attack("1.2.3.6", 5);
    let problems = eventually("the refusal is told", || {
        let problems = home.status()["problems"].to_string();
        problems.contains("AbuseIPDB takes no report").then_some(problems)
    });
    assert!(!problems.contains("hunter2"), "{problems}");
    let asked: Vec<String> =
        server.requests().iter().map(|asked| String::from_utf8(asked.body.clone()).unwrap()).collect();
    assert_eq!(asked.iter().filter(|body| body.starts_with("ip=1.2.3.4&")).count(), 1, "{asked:?}");
    assert_eq!(asked.len(), 3, "not the simulated, the private, the one by hand: {asked:?}");
    assert_eq!(daemon.stop(), 0);
}
