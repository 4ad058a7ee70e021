use std::path::PathBuf;

use super::*;
use crate::event::{Severity, Timestamp};
use crate::notify::What;

fn writer(format: Format) -> Writer {
    Writer { format, host: "web-1".into() }
}

/// With everything that has a meaning somewhere.
fn hostile() -> News {
    News {
        id: "f1".into(),
        at: Timestamp(1_767_571_200_123),
        severity: Severity::Critical,
        score: 9,
        category: "sqli".into(),
        client: "203.0.113.5".into(),
        source: "/var/log/a|b.log".into(),
        case_id: "c1".into(),
        method: "GET".into(),
        uri: "/a?b=c|d\\e\"f]g\r\nh\u{1b}[31m\u{202e}".into(),
        status: 200,
        user_agent: "x=1|y".into(),
        rule_ids: vec!["r|1=".into(), "r2".into()],
        action: "block".into(),
        by: "rules".into(),
        reason: "<script>".into(),
        ..News::default()
    }
}

fn ban() -> News {
    News {
        what: What::Ban,
        id: "d1".into(),
        client: "2001:db8::/64".into(),
        action: "active".into(),
        until: Some(Timestamp(1_767_585_600_000)),
        score: 9,
        severity: Severity::Critical,
        ..News::default()
    }
}

#[test]
fn cef_escapes_what_has_a_meaning_in_it() {
    let line = writer(Format::Cef).line(&hostile());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        line,
        format!(
            "CEF:0|Palisade|palisade|{version}|r\\|1=|sqli found|10|rt=1767571200123 externalId=f1 act=block \
             src=203.0.113.5 cat=sqli requestMethod=GET \
             request=/a?b\\=c|d\\\\e\"f]g\\\\r\\\\nh\\\\u{{1b}}[31m\\\\u{{202e}} requestClientApplication=x\\=1|y \
             outcome=200 cn1=9 cn1Label=score cs1=r|1\\=,r2 cs1Label=rules cs2=c1 cs2Label=case \
             filePath=/var/log/a|b.log msg=<script>"
        )
    );
    let line = writer(Format::Cef).line(&ban());
    assert!(line.contains("|ban: block active|") && line.contains("cs3=2001:db8::/64 cs3Label=network"), "{line}");
    assert!(!line.contains("src=") && line.contains("end=1767585600000"), "a network is no address: {line}");
}

#[test]
fn json_has_the_fields_of_its_schema_and_one_line() {
    let ecs = writer(Format::Ecs).line(&hostile());
    assert!(!ecs.contains(['\n', '\r', '\u{1b}']), "{ecs}");
    let ecs: serde_json::Value = serde_json::from_str(&ecs).unwrap();
    assert_eq!(ecs["@timestamp"], "2026-01-05T00:00:00.123Z");
    assert_eq!((&ecs["event"]["kind"], &ecs["event"]["id"]), (&"alert".into(), &"f1".into()));
    assert_eq!(ecs["url"]["original"], hostile().uri, "as it was logged");
    assert_eq!((&ecs["source"]["ip"], &ecs["http"]["response"]["status_code"]), (&"203.0.113.5".into(), &200.into()));
    let ecs = writer(Format::Ecs).json(&ban());
    assert_eq!(ecs["event"]["type"], serde_json::json!(["denied"]));
    assert_eq!(ecs["event"]["id"], "d1-active", "each step is a record of its own");
    assert!(ecs["source"].get("ip").is_none() && ecs["source"]["address"] == "2001:db8::/64");
    let dry = writer(Format::Ecs).json(&News { simulated: true, ..ban() });
    assert_eq!(dry["event"]["type"], serde_json::json!(["info"]), "nobody was denied anything");
    let ocsf = writer(Format::Ocsf).json(&hostile());
    let of = |key: &str| ocsf[key].as_u64().unwrap();
    assert_eq!((of("class_uid"), of("type_uid"), of("severity_id"), of("time")), (2004, 200_401, 5, 1_767_571_200_123));
    assert_eq!(ocsf["evidences"][0]["src_endpoint"]["ip"], "203.0.113.5");
    assert_eq!(ocsf["finding_info"]["uid"], "c1");
    assert_eq!(writer(Format::Ocsf).json(&ban())["disposition_id"], 2);
}

#[tokio::test]
async fn a_file_that_was_rotated_is_begun_anew_and_no_line_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("palisade.ndjson");
    let mut sink = file::File::new(&format!("file://{}", path.display()), writer(Format::Ecs)).unwrap();
    let ids = |path: &PathBuf| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let id = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["palisade"]["id"].as_str().unwrap().to_owned()
        };
        text.lines().map(id).collect()
    };
    let batch = |ids: &[&str]| ids.iter().map(|id| News { id: (*id).into(), ..hostile() }).collect::<Vec<_>>();
    sink.send(&batch(&["1", "2"])).await.unwrap();
    let old = dir.path().join("palisade.ndjson.1");
    std::fs::rename(&path, &old).unwrap();
    sink.send(&batch(&["3"])).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    sink.send(&batch(&["4", "5"])).await.unwrap();
    assert_eq!((ids(&old), ids(&path)), (vec!["1".into(), "2".into()], vec!["4".to_owned(), "5".into()]));
    let mut nowhere = file::File::new("file:///nonexistent/x", writer(Format::Ecs)).unwrap();
    let failure = nowhere.send(&batch(&["6"])).await.unwrap_err();
    assert!(!failure.is_final && failure.why.contains("/nonexistent/x cannot be written"), "{failure:?}");
    assert!(file::File::new("file://relative/x", writer(Format::Ecs)).is_err());
}

#[tokio::test]
async fn a_unix_socket_gets_a_datagram_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let heard = tokio::net::UnixDatagram::bind(&path).unwrap();
    let config = ExportConfig { via: Via::Syslog, ..ExportConfig::default() };
    let url = format!("unix://{}", path.display());
    let mut sink = syslog::Syslog::new(&url, &config, writer(Format::Rfc5424)).unwrap();
    sink.send(&[hostile(), ban()]).await.unwrap();
    let next = async || {
        let mut bytes = [0; 9000];
        let length = heard.recv(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let first = next().await;
    assert!(
        first.starts_with("<82>1 2026-01-05T00:00:00.123Z web-1 palisade - finding [palisade@32473 id=\"f1\""),
        "{first}"
    );
    assert!(first.contains("uri=\"/a?b=c|d\\\\e\\\"f\\]g\\\\r\\\\nh\\\\u{1b}[31m\\\\u{202e}\""), "{first}");
    assert!(!first.contains(['\n', '\r', '\u{1b}', '\u{202e}']), "{first}");
    assert!(next().await.contains(" decision [palisade@32473 id=\"d1\" what=\"ban\" action=\"active\""));
    let long = News { uri: "é".repeat(9000), user_agent: "é".repeat(9000), reason: "é".repeat(9000), ..hostile() };
    sink.send(&[long]).await.unwrap();
    assert!(next().await.len() <= 8000);
    let gone = async {
        syslog::Syslog::new("unix:///nonexistent", &config, writer(Format::Cef)).unwrap().send(&[ban()]).await
    };
    assert!(!gone.await.unwrap_err().is_final);
}

/// Paths of all values in it, those of lists as one.
fn paths(record: &serde_json::Value, at: &str, found: &mut std::collections::BTreeMap<String, serde_json::Value>) {
    match record {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                paths(value, &format!("{at}.{name}"), found);
            }
        }
        serde_json::Value::Array(items) if items.iter().any(serde_json::Value::is_object) => {
            items.iter().for_each(|item| paths(item, at, found));
        }
        value => drop(found.insert(at.trim_start_matches('.').to_owned(), value.clone())),
    }
}

fn everything() -> [News; 4] {
    let network = News { client: "198.51.100.0/24".into(), simulated: true, ..ban() };
    [hostile(), ban(), network, News { id: "d2".into(), what: What::Held, action: "held".into(), ..News::default() }]
}

/// By the field reference of ECS 8.11: what is there and of which type; what is not, below a name of our own.
#[test]
fn ecs_has_no_field_that_it_does_not_know_and_each_of_its_type() {
    const WORDS: &[&str] = &[
        "ecs.version",
        "event.id",
        "event.kind",
        "event.category",
        "event.type",
        "event.action",
        "event.reason",
        "event.provider",
        "event.dataset",
        "message",
        "host.name",
        "observer.vendor",
        "observer.product",
        "observer.type",
        "observer.version",
        "log.level",
        "log.file.path",
        "source.address",
        "url.original",
        "http.request.method",
        "user_agent.original",
        "rule.id",
        "rule.ruleset",
        "rule.category",
    ];
    const NUMBERS: &[&str] = &["event.severity", "event.risk_score", "http.response.status_code"];
    for news in everything() {
        let mut found = std::collections::BTreeMap::new();
        paths(&writer(Format::Ecs).json(&news), "", &mut found);
        for needed in ["@timestamp", "ecs.version", "event.kind", "event.category", "event.type"] {
            assert!(found.contains_key(needed), "{needed}: {found:#?}");
        }
        for (path, value) in &found {
            let is_word = |value: &serde_json::Value| value.is_string();
            let fits = match path.as_str() {
                "@timestamp" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
                "source.ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
                path if NUMBERS.contains(&path) => value.is_number(),
                path if WORDS.contains(&path) => {
                    is_word(value) || value.as_array().is_some_and(|all| all.iter().all(is_word))
                }
                path => path.starts_with("palisade."),
            };
            assert!(fits, "{path}: {value}");
        }
        // The closed sets.
        assert!(["alert", "event"].contains(&found["event.kind"].as_str().unwrap()));
        assert_eq!(found["event.category"], serde_json::json!(["intrusion_detection"]));
        assert!(["allowed", "denied", "info"].contains(&found["event.type"][0].as_str().unwrap()));
    }
}

/// By the published schema of OCSF 1.4.0: what a Detection Finding and its objects need, and what they know.
#[test]
fn ocsf_has_what_a_detection_finding_needs_and_nothing_that_it_does_not_know() {
    const NEEDED: &[(&str, &[&str])] = &[
        (
            "",
            &[
                "activity_id",
                "category_uid",
                "class_uid",
                "finding_info",
                "metadata",
                "severity_id",
                "time",
                "type_uid",
            ],
        ),
        ("/metadata", &["product", "version"]),
        ("/metadata/product", &["name", "vendor_name"]),
        ("/finding_info", &["uid"]),
        ("/finding_info/analytic", &["type_id"]),
        ("/device", &["type_id"]),
        ("/evidences/0/file", &["name", "type_id"]),
        ("/evidences/0/http_response", &["code"]),
    ];
    const KNOWN: &[(&str, &[&str])] = &[
        (
            "",
            &[
                "action_id",
                "activity_id",
                "category_uid",
                "class_uid",
                "device",
                "disposition_id",
                "evidences",
                "finding_info",
                "is_alert",
                "message",
                "metadata",
                "risk_score",
                "severity",
                "severity_id",
                "status_id",
                "time",
                "type_uid",
                "unmapped",
            ],
        ),
        ("/metadata", &["product", "profiles", "uid", "version"]),
        ("/metadata/product", &["name", "vendor_name", "version"]),
        ("/finding_info", &["analytic", "created_time", "desc", "title", "types", "uid"]),
        ("/finding_info/analytic", &["name", "type_id", "uid"]),
        ("/device", &["hostname", "type_id"]),
        ("/evidences/0", &["data", "file", "http_request", "http_response", "src_endpoint"]),
        ("/evidences/0/src_endpoint", &["ip"]),
        ("/evidences/0/http_request", &["http_method", "url", "user_agent"]),
        ("/evidences/0/http_request/url", &["url_string"]),
        ("/evidences/0/http_response", &["code"]),
        ("/evidences/0/file", &["name", "type_id"]),
    ];
    for news in everything() {
        let record = writer(Format::Ocsf).json(&news);
        for (pointer, keys) in NEEDED {
            let Some(object) = record.pointer(pointer) else { continue };
            keys.iter().for_each(|key| assert!(object.get(key).is_some(), "{pointer}/{key}: {record:#}"));
        }
        for (pointer, keys) in KNOWN {
            let Some(object) = record.pointer(pointer) else { continue };
            for (key, value) in object.as_object().unwrap() {
                assert!(keys.contains(&key.as_str()) && !value.is_null(), "{pointer}/{key}: {value}");
            }
        }
        let of = |key: &str| record[key].as_u64().unwrap();
        assert_eq!(
            (of("type_uid"), of("category_uid")),
            (of("class_uid") * 100 + of("activity_id"), of("class_uid") / 1000)
        );
        assert_eq!(
            record["metadata"]["profiles"],
            serde_json::json!(["host", "security_control"]),
            "whose fields it has"
        );
        let caption = record["severity"].as_str().unwrap();
        assert_eq!(caption, ["", "Informational", "Low", "Medium", "High", "Critical"][of("severity_id") as usize]);
        assert!(record["time"].is_i64() && record["finding_info"]["created_time"].is_i64(), "milliseconds");
    }
}
