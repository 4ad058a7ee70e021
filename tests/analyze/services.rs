//! What an analysis asks of others: models and reputation services, their limits and their ledger, beside the daemon
//! and without it.

use std::fs;

use serde_json::{Value, json};

use super::{EXAMPLE, home_with_example};
use crate::support::daemon::Home;
use crate::support::standin::bodies::{abuseipdb, ollama, virustotal};
use crate::support::standin::{Answer, Standin};

/// Lines of an attacker, twenty-odd so that they are guessing.
fn guesses(address: &str) -> String {
    let line = |n: u64| format!("2026-02-01 10:24:{n:02} WARN Failed login attempt for user root from {address}\n");
    (10..30).map(line).collect()
}

#[test]
fn what_models_are_asked_counts_in_the_daemons_limits_and_stands_in_its_ledger() {
    let home = home_with_example();
    let model = Standin::start();
    model.otherwise(|_| ollama::chat("no JSON"));
    home.configure(&format!(
        "[[tier]]\nname = \"small\"\nprovider = \"ollama\"\nurl = \"{}\"\nmodel = \"m\"\nmax_requests_per_day = 3\n\
         usd_per_million_input = 2.0\n",
        model.url()
    ));
    let chats = || model.requests().iter().filter(|request| request.path == "/api/chat").count();
    let analyze = || home.palisade(&["analyze", "example.log", "--model", "small", "--output", "json"]);
    let ran = analyze();
    assert!(ran.stderr.contains("1 call,") && ran.stderr.contains("in no ledger"), "{}", ran.stderr);
    assert_eq!(chats(), 1, "without a database nobody counts");

    let daemon = home.start();
    let warmed_up = chats();
    let ran = analyze();
    assert!(ran.stderr.contains("; in the ledger") && ran.stderr.contains("USD"), "{}", ran.stderr);
    let ran = home.palisade(&["ask", "wie viele Angriffe gab es"]);
    assert!(ran.code == 1 && ran.stderr.contains("in the ledger"), "{}", ran.stderr);
    assert_eq!(daemon.stop(), 0);

    let daemon = home.start();
    let by_daemon = || post(&home, "/api/v1/analyze?sample=brute-force&model=small");
    assert_eq!(by_daemon()["narrative"]["written_by"], "templates");
    let ledger = home.get("/api/v1/ledger").unwrap();
    let calls: Vec<&Value> = ledger["calls"].as_array().unwrap().iter().collect();
    assert_eq!(calls.len(), 3, "{ledger}");
    assert!(calls.iter().all(|call| call["service"] == "small" && call["outcome"] == "answered"), "{ledger}");
    assert!(calls.iter().any(|call| call["finding_id"] == "a question"), "{ledger}");
    // The fourth of the day is made by nobody, wherever it is asked for.
    let before = chats();
    let ran = analyze();
    assert!(ran.stderr.contains("today's budget is spent"), "{}", ran.stderr);
    by_daemon();
    assert_eq!(chats(), before);
    assert!(before >= warmed_up + 3);
    assert_eq!(daemon.stop(), 0);
}

/// What the daemon answers to a POST on its socket.
fn post(home: &Home, path: &str) -> Value {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(home.path("palisade.sock")).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: palisade\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (start, end) = (answer.find("\r\n\r\n").unwrap(), answer.rfind('}').unwrap());
    let body = &answer[answer[start..].find('{').unwrap() + start..=end];
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn reputation_is_asked_of_public_addresses_of_threats_and_of_nobody_else() {
    let home = Home::new();
    let (abuse, virus) = (Standin::start(), Standin::start());
    abuse.otherwise(|_| abuseipdb::check("1.2.3.4", 87));
    virus.otherwise(|_| virustotal::address("1.2.3.4", 9));
    let services = format!(
        "[reputation]\nabuseipdb_key = \"k\"\nabuseipdb_url = \"{}\"\nvirustotal_key = \"k\"\nvirustotal_url = \"{}\"\n",
        abuse.url(),
        virus.url()
    );
    home.configure(&services);
    // An attacker who can be asked about, some who cannot, and a visitor who did nothing.
    let mut log = String::from("2026-02-01 10:20:00 INFO User admin logged in from 9.9.9.9\n");
    for address in ["1.2.3.4", "203.0.113.45", "198.51.100.7", "10.0.0.5", "2001:db8::7"] {
        log += &guesses(address);
    }
    fs::write(home.path("auth.log"), log).unwrap();
    let told = |arguments: &[&str]| -> (Value, String) {
        let ran = home.palisade(&[&["analyze", "auth.log", "--output", "json"], arguments].concat());
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        (serde_json::from_str(&ran.stdout).unwrap(), ran.stderr)
    };
    told(&[]);
    assert!(abuse.requests().is_empty() && virus.requests().is_empty(), "nobody is asked unless asked for");
    let (analysis, said) = told(&["--reputation"]);
    assert!(said.contains("2 calls"), "{said}");
    let asked: Vec<String> = abuse.requests().into_iter().chain(virus.requests()).map(|one| one.path).collect();
    assert_eq!(asked, ["/check?ipAddress=1.2.3.4&maxAgeInDays=90", "/ip_addresses/1.2.3.4"]);
    let addresses = analysis["addresses"].as_array().unwrap();
    let of = |address: &str| addresses.iter().find(|one| one["address"] == address).cloned().unwrap_or_default();
    assert_eq!(
        (&of("1.2.3.4")["reputation"], &of("1.2.3.4")["network"], &of("1.2.3.4")["asn"]),
        (&json!(87), &json!("1.2.3.0/24"), &json!(64_500))
    );
    assert_eq!(of("203.0.113.45")["reputation"], Value::Null);

    // Who asks too often is told no, and the analysis stands.
    abuse.otherwise(|_| Answer::json(429, &json!({ "errors": [{ "detail": "exceeded", "status": 429 }] })));
    virus.otherwise(|_| virustotal::address("1.2.3.4", 9));
    let (analysis, said) = told(&["--reputation"]);
    assert!(said.contains("abuseipdb: ") && analysis["addresses"].to_string().contains("1.2.3.0/24"), "{said}");

    home.configure(&format!("[triage]\nprivacy = \"local_only\"\n{services}"));
    let before = abuse.requests().len() + virus.requests().len();
    let (_, said) = told(&["--reputation"]);
    assert!(said.contains("triage.privacy"), "{said}");
    assert_eq!(abuse.requests().len() + virus.requests().len(), before);
}

#[test]
fn what_is_kept_beside_the_daemon_is_shown_and_written_down_again() {
    let home = home_with_example();
    let daemon = home.start();
    let ran = home.palisade(&["analyze", "example.log", "--keep", "--output", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let analysis: Value = serde_json::from_str(&ran.stdout).unwrap();
    let id = analysis["id"].as_str().unwrap();
    let list = home.json(&["analyze", "--list"]);
    assert_eq!((list[0]["id"].as_str(), &list[0]["threat_count"]), (Some(id), &json!(2)));
    let ran = home.palisade(&["analyze", "--show", id, "--write", "again.pdf", "--output", "json"]);
    assert_eq!((ran.code, fs::read(home.path("again.pdf")).unwrap()[..4].to_vec()), (1, b"%PDF".to_vec()));
    let kept: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(kept["narrative"], analysis["narrative"]);
    let told = |analysis: &Value| -> Vec<Value> {
        let threats = analysis["threats"].as_array().unwrap().iter();
        threats.map(|one| json!([one["kind"], one["severity"], one["addresses"], one["lines"]])).collect()
    };
    assert_eq!(told(&kept), told(&analysis));
    let of_daemon = home.get(&format!("/api/v1/analyses/{id}")).unwrap();
    assert_eq!(told(&of_daemon), told(&analysis));
    let nobody = home.palisade(&["analyze", "--show", "nonsense"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("--list"), "{}", nobody.stderr);

    // None of the text is there, and who is erased is erased here too.
    let holds = |text: &str| {
        let files = ["state/palisade.db", "state/palisade.db-wal"];
        files.iter().any(|file| {
            let bytes = fs::read(home.path(file)).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    };
    for line in EXAMPLE.lines() {
        assert!(!holds(&line[20..]), "{line}");
    }
    assert!(holds("203.0.113.45"), "what was found is there");
    assert_eq!(daemon.stop(), 0);
    let ran = home.palisade(&["forget", "203.0.113.45", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!holds("203.0.113.45"));
    assert_eq!(home.palisade(&["analyze", "--show", id]).code, 1);
    assert_eq!(home.json(&["analyze", "--list"])[0]["id"].as_str(), Some(id), "figures are nobody's");
}
