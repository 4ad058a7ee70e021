//! What monitoring asks over HTTP.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;

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
