//! A log on demand: at the terminal, over the API and in the dashboard, told by templates and by a model.

mod injection;
mod services;

use std::fs;

use serde_json::{Value, json};

use crate::dashboard::{Site, first_link};
use crate::support::daemon::Home;
use crate::support::http::request;
use crate::support::standin::Standin;
use crate::support::standin::bodies::ollama;

/// The example of those who asked for this.
const EXAMPLE: &str = "\
2026-02-01 10:23:45 INFO User admin logged in from 192.168.1.100
2026-02-01 10:24:12 WARN Failed login attempt for user root from 203.0.113.45
2026-02-01 10:24:15 WARN Failed login attempt for user root from 203.0.113.45
2026-02-01 10:24:18 WARN Failed login attempt for user root from 203.0.113.45
2026-02-01 10:24:22 ERROR Failed login attempt for user root from 203.0.113.45 - Account locked
2026-02-01 10:25:01 INFO Database backup completed successfully
2026-02-01 10:26:33 CRITICAL Unusual outbound traffic detected to 198.51.100.77:4444
";

/// What threatens, as kind and severity.
fn threats(analysis: &Value) -> Vec<(&str, &str)> {
    let mut found = vec![];
    for threat in analysis["threats"].as_array().unwrap() {
        found.push((threat["kind"].as_str().unwrap(), threat["severity"].as_str().unwrap()));
    }
    found
}

fn home_with_example() -> Home {
    let home = Home::new();
    fs::write(home.path("example.log"), EXAMPLE).unwrap();
    home
}

#[test]
fn the_example_tells_its_two_threats_and_is_written_down_in_every_format() {
    let home = home_with_example();
    let ran = home.palisade(&["analyze", "example.log", "--output", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let analysis: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(threats(&analysis), [("suspicious_outbound", "critical"), ("brute_force", "high")]);
    assert_eq!(analysis["threat_level"], "critical");
    assert_eq!(analysis["narrative"]["written_by"], "templates");
    let compression = &analysis["compression"];
    let text = compression["text"].as_str().unwrap();
    for indicator in ["203.0.113.45", "198.51.100.77", "4444", "root"] {
        assert!(text.contains(indicator), "{indicator} in {text}");
    }
    let starts: [(&str, &[u8]); 9] = [
        ("json", b"{"),
        ("csv", b""),
        ("xlsx", b"PK"),
        ("pdf", b"%PDF"),
        ("pdf-summary", b"%PDF"),
        ("html", b"<!"),
        ("stix", b"{"),
        ("ecs", b"{"),
        ("ocsf", b"{"),
    ];
    for (format, start) in starts {
        let ran = home.palisade(&["analyze", "example.log", "--write", "report", "--as", format]);
        assert_eq!(ran.code, 1, "{format}: {}", ran.stderr);
        let written = fs::read(home.path("report")).unwrap();
        assert!(
            written.to_ascii_lowercase().starts_with(&start.to_ascii_lowercase()) && written.len() > 200,
            "{format}"
        );
    }
    let ran = home.palisade(&["analyze", "example.log", "--write", "report.pdf"]);
    assert_eq!((ran.code, fs::read(home.path("report.pdf")).unwrap()[..4].to_vec()), (1, b"%PDF".to_vec()));
    let ran = home.palisade(&["analyze", "example.log", "--write", "report"]);
    assert!(ran.code == 1 && ran.stderr.contains("--as pdf"), "{}", ran.stderr);
    assert_eq!(home.palisade(&["analyze", "--sample", "clean"]).code, 0);
    assert!(!home.path("state").exists(), "nothing is kept");
}

#[test]
fn a_model_tells_what_lines_bear_out_and_nothing_else() {
    let home = home_with_example();
    let model = Standin::start();
    home.configure(&format!(
        "[[tier]]\nname = \"small\"\nprovider = \"ollama\"\nurl = \"{}\"\nmodel = \"m\"\n",
        model.url()
    ));
    let claim =
        |text: &str, threats: &[&str], lines: &[u64]| json!({ "text": text, "threats": threats, "lines": lines });
    let told = json!({
        "summary": [
            claim("Somebody at 203.0.113.45 guessed the password of root four times.", &["T2"], &[2, 3, 4, 5]),
            claim("Ransomware encrypted all files.", &["T1"], &[7]),
            claim("Nothing backs this.", &[], &[]),
        ],
        "chain": [], "goal": null, "plan": [], "recommendations": [],
    });
    model.then(ollama::chat(&told.to_string()));
    let ran = home.palisade(&["analyze", "example.log", "--model", "small", "--output", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let narrative = serde_json::from_str::<Value>(&ran.stdout).unwrap()["narrative"].clone();
    assert_eq!(narrative["written_by"], "m (small)");
    let summary = narrative["summary"].to_string();
    assert!(summary.contains("guessed the password of root"), "{summary}");
    assert!(!summary.contains("Ransomware") && !summary.contains("Nothing backs"), "{summary}");
    assert_eq!(narrative["dropped"], 2);
    assert!(narrative["plan"].as_array().unwrap().len() >= 4, "templates plan where the model does not");

    // Without an answer templates tell it.
    let ran = home.palisade(&["analyze", "example.log", "--model", "large", "--output", "json"]);
    assert!(ran.stderr.contains("there are: small"), "{}", ran.stderr);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["narrative"]["written_by"], "templates");
}

#[test]
fn the_api_gives_the_same_with_its_progress_and_keeps_nothing_of_the_text() {
    let site = Site::new();
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    let cookie = format!("palisade_session={admin}");
    let headers = [("cookie", cookie.as_str())];
    let pasted = json!({ "logs": EXAMPLE });
    let analysis = request(&site.address, "POST", "/api/v1/analyze", &headers, Some(&pasted)).json();
    assert_eq!(threats(&analysis), [("suspicious_outbound", "critical"), ("brute_force", "high")]);
    let stream = request(&site.address, "POST", "/api/v1/analyze/stream?sample=ransomware", &headers, Some(&json!("")));
    assert_eq!(stream.header("content-type"), "text/event-stream");
    let stream = stream.text();
    assert!(stream.contains("event: progress\ndata: {\"lines\":"), "{stream:.300}");
    assert!(stream.contains("event: analysis\ndata: {") && stream.contains("ransomware"), "{stream:.300}");

    let report = request(&site.address, "POST", "/api/v1/report/pdf", &headers, Some(&analysis));
    assert_eq!((report.status, report.header("content-type")), (200, "application/pdf"));
    assert!(report.header("content-disposition").contains("palisade-pdf.pdf"));
    let nonsense = request(&site.address, "POST", "/api/v1/report/pdf", &headers, Some(&json!({ "version": 1 })));
    assert_eq!(nonsense.status, 400);
    let unknown = request(&site.address, "POST", "/api/v1/report/docx", &headers, Some(&analysis));
    assert_eq!(unknown.status, 404);

    let audit = site.ask(&admin, "GET", "/api/v1/audit", None).text();
    assert!(audit.contains("analyse a log") && !audit.contains("203.0.113.45"), "{audit}");
    assert_eq!(daemon.stop(), 0);
    let database = fs::read(site.home.path("state/palisade.db")).unwrap();
    let said = fs::read(site.home.path("state/palisade.db-wal")).unwrap_or_default();
    for kept in [database, said] {
        assert!(!kept.windows(12).any(|bytes| bytes == b"203.0.113.45"), "the text of a log is in the database");
    }
}
