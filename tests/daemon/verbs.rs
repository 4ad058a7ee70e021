//! What scripts rely on: keys, shapes and exit codes.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::daemon::{Home, Ran, eventually};
use crate::support::log::{attack, line};

/// A home with a log: a visitor, an attack by IPv4, junk, and an attack from a private network.
fn home() -> Home {
    let home = Home::new();
    let time = "22/Nov/2026:12:30:45 +0100";
    let sqli = "GET /p?id=1%27%20UNION%20SELECT%20a%20FROM%20b--%20- HTTP/1.1";
    let log = [
        format!(
            "203.0.113.20 - alice [{time}] \"GET /lamps?page=2 HTTP/1.1\" 200 612 \"https://shop.example/\" \"Mozilla/5.0 \\x22x\\x22\"\n"
        ),
        format!("198.51.100.7 - - [{time}] \"{sqli}\" 200 17 \"-\" \"curl/8\"\n"),
        "this is no log line\n".to_owned(),
        format!("10.0.0.9 - - [{time}] \"{sqli}\" 403 17 \"-\" \"-\"\n"),
        format!("192.0.2.44 - - [{time}] \"\\x16\\x03\\x01\\x02\" 400 157 \"-\" \"-\"\n"),
    ];
    fs::write(home.path("access.log"), log.concat()).unwrap();
    home
}

fn rows(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(row: &Value) -> BTreeSet<&str> {
    row.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn parse_shows_every_field_as_logged_and_what_is_not_understood() {
    let home = home();
    for format in ["auto", "nginx_combined"] {
        let rows = rows(&home.palisade(&["parse", "access.log", "--output", "jsonl", "--format", format]));
        assert_eq!(
            rows[0],
            json!({
                "line_number": 1, "format": "nginx_combined", "kind": "http", "time": "2026-11-22T11:30:45.000Z",
                "source_ip": "203.0.113.20", "user": "alice", "method": "GET", "uri": "/lamps?page=2", "path": "/lamps",
                "protocol": "HTTP/1.1", "status": 200, "bytes": 612, "referer": "https://shop.example/",
                "user_agent": "Mozilla/5.0 \\x22x\\x22",
            })
        );
        assert_eq!(keys(&rows[2]), BTreeSet::from(["line_number", "error"]));
        assert_eq!(rows[2]["line_number"], 3);
        assert!(rows[3].get("user_agent").is_none() && rows[3].get("user").is_none(), "absent is no key: {}", rows[3]);
        assert_eq!((&rows[4]["uri"], rows[4].get("method")), (&json!("\\x16\\x03\\x01\\x02"), None), "junk is a uri");
        assert_eq!(rows.len(), 5);
    }
    let human = home.palisade(&["parse", "access.log"]);
    assert!(human.stdout.contains("not understood"), "{}", human.stdout);
    assert!(human.stderr.contains("5 lines, 4 understood, 1 not"), "{}", human.stderr);
}

#[test]
fn scan_prints_one_object_a_flagged_line_and_then_the_summary() {
    let home = home();
    let mut rows = rows(&home.palisade(&["scan", "access.log", "--output", "jsonl"]));
    let summary = &rows.pop().unwrap()["summary"];
    for finding in &rows {
        for key in [
            "file",
            "line_number",
            "offset",
            "time",
            "source_ip",
            "method",
            "uri",
            "status",
            "user_agent",
            "category",
            "rule_ids",
            "score",
            "decision",
        ] {
            assert!(finding.get(key).is_some(), "{key} is missing: {finding}");
        }
    }
    let lines: Vec<_> = rows.iter().map(|row| row["line_number"].as_u64().unwrap()).collect();
    assert!(lines.starts_with(&[2, 4]) && lines.is_sorted_by(|a, b| a < b), "one object a flagged line: {lines:?}");
    let finding = &rows[0];
    assert_eq!(finding["file"], "access.log");
    let offset = finding["offset"].as_u64().unwrap() as usize;
    assert!(fs::read(home.path("access.log")).unwrap()[offset..].starts_with(b"198.51.100.7 "));
    assert_eq!((&finding["category"], &finding["decision"]), (&json!("sqli"), &json!("block")));
    assert!(finding["rule_ids"].as_array().unwrap().contains(&json!("sqli-union-select")));
    assert!((9..=10).contains(&finding["score"].as_u64().unwrap()));

    for key in ["lines", "parsed", "unparsed", "flagged", "clients", "would_block", "bytes", "seconds"] {
        assert!(summary.get(key).is_some(), "{key} is missing: {summary}");
    }
    let counts = ["lines", "parsed", "unparsed", "flagged"].map(|key| summary[key].as_u64().unwrap());
    assert_eq!(counts, [5, 4, 1, rows.len() as u64]);
    assert_eq!(summary["clients"], rows.len(), "each is another client's");
    assert_eq!(summary["bytes"], fs::metadata(home.path("access.log")).unwrap().len());
    let blocks = summary["would_block"].as_array().unwrap();
    for key in ["source_ip", "line_number", "time", "category", "score"] {
        assert!(blocks[0].get(key).is_some(), "{key} is missing: {}", blocks[0]);
    }
    assert_eq!((&blocks[0]["source_ip"], blocks[0].get("refused")), (&json!("198.51.100.7"), None));
    assert_eq!((&blocks[1]["source_ip"], &blocks[1]["refused"]), (&json!("10.0.0.9"), &json!("private")));

    let mut alone = home.json(&["scan", "access.log"]);
    let mut with_rows = summary.clone();
    (alone["seconds"], with_rows["seconds"]) = (json!(0), json!(0));
    assert_eq!(alone, with_rows, "json is the summary alone");
    let mut command = home.command(&["scan", "-", "--output", "json"]);
    let piped = command.stdin(fs::File::open(home.path("access.log")).unwrap()).output().unwrap();
    let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(piped["flagged"], summary["flagged"], "- is standard input");
}

#[test]
fn explain_names_the_step_that_decides() {
    let home = home();
    let log = fs::read_to_string(home.path("access.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    for (line, decision, because) in [
        (lines[0], "none", "below thresholds.flag"),
        (lines[1], "block", "sqli-union-select"),
        (lines[2], "none", "none of the known formats"),
        (lines[3], "block", "private"),
    ] {
        let answer = home.json(&["explain", line]);
        assert_eq!(answer["decision"], decision, "{line}: {answer:#}");
        let human = home.palisade(&["explain", line]).stdout;
        assert!(human.contains(because), "{line}: {human}");
    }
}

#[test]
fn the_daemon_answers_the_operators_verbs() {
    let home = home();
    let log = home.path("live.log");
    home.configure(&format!("[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", log.display()));
    fs::write(&log, [attack("198.51.100.7", 1), line("203.0.113.20", "GET /", 200), "junk\n".into()].concat()).unwrap();

    for verb in [&["status"][..], &["ping"], &["banned"], &["unban", "198.51.100.7"], &["allow", "list"]] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, 1, "{verb:?}");
        assert!(ran.stderr.contains("is `palisade run` running?"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    let daemon = home.start();
    eventually("the attack is banned", || home.decisions().pop());

    let ping = home.json(&["ping"]);
    assert_eq!((&ping["version"], &ping["mode"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("dry_run")));
    let status = home.json(&["status"]);
    assert_eq!(status["features"].to_string().contains("azure"), cfg!(feature = "azure"), "{status}");
    for key in [
        "version",
        "features",
        "mode",
        "started_at",
        "healthy",
        "problems",
        "gaps",
        "refused",
        "held",
        "rules",
        "blocks",
    ] {
        assert!(status.get(key).is_some(), "{key} is missing: {status:#}");
    }
    let counts = ["lines", "parsed", "unparsed", "findings", "active"].map(|key| status[key].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1, 1, 1]);
    let source = &status["sources"][0];
    assert_eq!((&source["formats"], &source["unparsed_samples"]), (&json!(["nginx_combined"]), &json!(["junk"])));
    assert!(home.palisade(&["status"]).stdout.contains("not understood: junk"));

    let ban = &home.json(&["banned"])[0];
    for key in [
        "id",
        "target",
        "state",
        "simulated",
        "proposer",
        "category",
        "score",
        "reason",
        "finding_id",
        "created_at",
        "expires_at",
        "offences",
        "note",
    ] {
        assert!(ban.get(key).is_some(), "{key} is missing: {ban:#}");
    }
    assert_eq!(
        (&ban["target"], &ban["state"], &ban["simulated"]),
        (&json!("198.51.100.7"), &json!("active"), &json!(true))
    );
    let lines = home.palisade(&["banned", "--output", "jsonl"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(lines.trim()).unwrap(), *ban, "jsonl: one a line");

    let by_hand = home.json(&["ban", "2001:db8:9::/48", "--for", "90s", "--reason", "by hand"]);
    assert_eq!((&by_hand["target"], &by_hand["proposer"]), (&json!("2001:db8:9::/48"), &json!("operator")));
    assert_eq!(home.json(&["banned"]).as_array().unwrap().len(), 2);
    assert_eq!(home.json(&["unban", "2001:db8:9::1"]), json!({ "lifted": ["2001:db8:9::/48"] }));
    assert_eq!(home.json(&["unban", "2001:db8:9::1"]), json!({ "lifted": [] }), "twice is fine");

    let added = home.json(&["allow", "add", "198.51.100.0/24", "--note", "the office"]);
    assert_eq!(added, json!({ "network": "198.51.100.0/24", "note": "the office", "lifted": ["198.51.100.7"] }));
    let listed = &home.json(&["allow", "list"])[0];
    assert_eq!((&listed["network"], &listed["note"]), (&json!("198.51.100.0/24"), &json!("the office")));
    assert_eq!(home.json(&["allow", "del", "198.51.100.0/24"]), json!({ "network": "198.51.100.0/24" }));
    assert_eq!(home.json(&["allow", "list"]), json!([]));
    assert_eq!(home.palisade(&["banned"]).stdout, "Nobody is banned.\n");

    for (verb, code, said) in [
        (&["ban", "127.0.0.1"][..], 1, "an address of this host"),
        (&["ban", "10.1.1.1"], 1, "private"),
        (&["ban", "198.0.0.0/8"], 1, "wider than /16"),
        (&["ban", "attacker"], 1, "neither an IP address nor a network"),
        (&["unban", "../status"], 1, "neither an IP address nor a network"),
        (&["allow", "del", "192.0.2.0/24"], 1, "not on the allowlist"),
        (&["ban", "198.51.100.9", "--for", "soon"], 2, "no unit of time"),
        (&["ban"], 2, "Usage"),
        (&["unban"], 2, "Usage"),
        (&["sing"], 2, "Usage"),
        (&["parse", "access.log", "--format", "ii"], 1, "no format is called \"ii\""),
        (&["scan", "nothing.log"], 1, "cannot open nothing.log"),
        (&["scan", "."], 1, ". is a directory"),
        (&["scan"], 2, "Usage"),
    ] {
        let ran = home.palisade(verb);
        assert_eq!(ran.code, code, "{verb:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{verb:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{verb:?}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn rules_and_configuration_describe_themselves() {
    let home = home();
    let rules = home.json(&["rules", "list"]);
    for key in ["id", "kind", "category", "score", "description", "reference"] {
        assert!(rules.as_array().unwrap().iter().all(|rule| rule.get(key).is_some()), "{key}");
    }
    let count = rules.as_array().unwrap().len();
    assert_eq!(home.palisade(&["rules", "list", "--output", "jsonl"]).stdout.lines().count(), count);
    assert_eq!(home.palisade(&["rules", "list"]).stdout.lines().count(), count);

    assert!(home.palisade(&["config", "check"]).stdout.starts_with("The configuration holds: "));
    assert_eq!(home.json(&["config", "check"]), json!({ "mistakes": [], "warnings": [] }));
    let shown = home.json(&["config", "show"]);
    assert_eq!((&shown["mode"], &shown["thresholds"]["block"]), (&json!("dry_run"), &json!(8)));
    assert!(home.palisade(&["config", "show"]).stdout.contains("palisade.toml"), "values come with their origin");
    let schema: Value = serde_json::from_str(&home.palisade(&["config", "schema"]).stdout).unwrap();
    assert!(schema["properties"]["thresholds"].is_object());
    let formats = home.json(&["config", "formats"]);
    let names: Vec<&str> = formats.as_array().unwrap().iter().map(|kind| kind["name"].as_str().unwrap()).collect();
    for name in ["nginx_combined", "apache_combined", "apache_common", "apache_vhost_combined"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = home();
    let many: String = (0..20_000).map(|n| attack("198.51.100.7", n)).collect();
    fs::write(home.path("many.log"), many).unwrap();
    for verb in [
        &["scan", "many.log"][..],
        &["scan", "many.log", "--output", "jsonl"],
        &["parse", "many.log"],
        &["parse", "many.log", "--output", "jsonl"],
        &["rules", "list"],
        &["explain", "junk"],
        &["config", "show"],
        &["config", "schema"],
        &["config", "formats"],
        &["config", "check"],
        &["--help"],
    ] {
        let mut child = home.bare_command(verb).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{verb:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("pipe"), "{verb:?}: {said}");
    }
}

#[test]
fn before_enforcing_a_scan_says_who_else_would_be_hit_also_as_a_page_without_a_script() {
    let home = Home::new();
    let honest =
        "198.51.100.7 - - [05/Jan/2026:12:00:00 +0000] \"GET /about HTTP/1.1\" 200 512 \"-\" \"Mozilla/5.0\"\n";
    let nasty = "198.51.100.7 - - [05/Jan/2026:12:00:05 +0000] \"GET /?q=<script>alert(1)</script>&x='+union+select+1,2+from+users--+- HTTP/1.1\" 200 512 \"-\" \"<img src=x onerror=alert(1)>\"\n";
    fs::write(home.path("access.log"), honest.to_owned() + nasty).unwrap();
    let text = home.palisade(&["scan", "access.log"]).stdout;
    assert!(text.contains("Before you enforce:") && text.contains("1 pages served"), "{text}");
    let plain = home.json(&["scan", "access.log"]);
    assert!(plain.get("report").is_none(), "programs ask for it: {plain}");
    let report = &home.json(&["scan", "access.log", "--report"])["report"];
    assert_eq!(report["also_behaved"][0]["source_ip"], "198.51.100.7", "{report}");
    assert_eq!(report["thresholds"].as_array().map(Vec::len), Some(5), "{report}");

    assert_eq!(home.palisade(&["scan", "access.log", "--html", "report.html"]).code, 0);
    let page = fs::read_to_string(home.path("report.html")).unwrap();
    assert!(page.contains("198.51.100.7") && page.contains("<svg") && page.contains("default-src 'none'"), "{page}");
    for foreign in ["<script", "onerror", "http://", "https://", "src="] {
        assert!(!page.contains(foreign), "{foreign} in {page}");
    }
}
