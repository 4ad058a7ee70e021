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
