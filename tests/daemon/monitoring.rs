//! What monitoring asks over HTTP.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::tool_or_skip;

/// Status and body of a GET on this host's `port`.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[test]
fn prometheus_reads_what_status_says_and_problems_make_it_not_ready() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::new();
    let log = home.path("access.log");
    fs::write(&log, attack("198.51.100.7", 1)).unwrap();
    home.configure(&format!(
        "[[source]]\npath = \"{}\"\nstart = \"beginning\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n",
        log.display()
    ));
    let daemon = home.start();
    let text = eventually("the block is counted", || {
        get(port, "/metrics").map(|(_, text)| text).filter(|text| text.contains("\npalisade_decide_blocks_total 1\n"))
    });
    assert!(text.contains(&format!("palisade_tail_source_lines_total{{path=\"{}\"}} 1\n", log.display())), "{text}");
    assert!(text.contains("palisade_respond_targets_held{responder=\"dry_run\"} 1\n"), "{text}");
    assert!(!text.contains("198.51.100"), "no client stands in metrics: {text}");
    promtool(&["check", "metrics"], &text);
    assert_eq!(get(port, "/healthz"), Some((200, "ok\n".into())));
    assert_eq!(get(port, "/readyz"), Some((200, "ok\n".into())));
    assert_eq!(get(port, "/api/v1/status").map(|(code, _)| code), Some(404), "nothing else is served there");

    // What cannot be read is wrong, and the daemon lives.
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let (_, said) = eventually("it is not ready", || get(port, "/readyz").filter(|(code, _)| *code == 503));
    assert!(said.contains("access.log"), "{said}");
    assert_eq!(get(port, "/healthz").map(|(code, _)| code), Some(200));
    daemon.stop();
}

/// Has Prometheus' own tool read something; it must find no fault.
fn promtool(arguments: &[&str], input: &str) {
    if !tool_or_skip("promtool", "prometheus") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut promtool = Command::new("promtool");
    let promtool = promtool.args(arguments).current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = promtool.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn alerts_speak_when_they_should_and_every_graph_has_a_query_that_can_be_read() {
    promtool(&["check", "config", "deploy/monitoring/prometheus.yml"], "");
    promtool(&["test", "rules", "tests/daemon/alerts.test.yml"], "");
    // Each query of the dashboard as a rule, which is checked like any other.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 10, "{queries:?}");
    let rules =
        queries.iter().enumerate().map(|(at, query)| serde_json::json!({ "record": format!("q{at}"), "expr": query }));
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    fs::write(&file, groups.to_string()).unwrap();
    promtool(&["check", "rules", &file.display().to_string()], "");
}

/// Every metric that a file names is one that is told.
#[test]
fn alerts_dashboard_and_docs_name_metrics_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |text: &str| -> BTreeSet<String> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c| !word(c)).filter(|name| name.starts_with("palisade_"));
        words.map(str::to_owned).collect()
    };
    let code = fs::read_to_string(root.join("src/show/metrics.rs")).unwrap();
    let told = names(code.split("#[cfg(test)]").next().unwrap());
    assert!(told.len() > 30, "{told:?}");
    for file in ["deploy/monitoring/alerts.yml", "deploy/monitoring/grafana.json", "docs/monitoring.md"] {
        let named = names(&fs::read_to_string(root.join(file)).unwrap());
        assert!(named.len() > 5 && named.is_subset(&told), "{file}: {:?}", named.difference(&told));
    }
    let documented = names(&fs::read_to_string(root.join("docs/monitoring.md")).unwrap());
    assert_eq!(documented, told, "docs/monitoring.md has every metric");
}
