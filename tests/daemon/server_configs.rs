//! A real server logs in a format of its own, to a place of its own, and Palisade is told neither.

use std::fs;

use serde_json::Value;

use crate::support::daemon::{Home, eventually};
use crate::support::web::{Client, Software, WebServer};
use crate::support::{Namespace, namespaces_or_skip};

const NGINX: &str = r#"
log_format own '[$time_iso8601] $status "$request" '
               'agent="$http_user_agent" from=$remote_addr';
access_log logs/own.log own;
access_log logs/$host.log own;
"#;
const NGINX_FORMAT: &str = r#"[$time_iso8601] $status "$request" agent="$http_user_agent" from=$remote_addr"#;

const APACHE: &str = r#"
Define LOGS logs
LogFormat "%{%s}t\t%>s\t%r\t%{User-Agent}i\t%a" own
CustomLog ${LOGS}/own.log own
"#;
const APACHE_FORMAT: &str = r"%{%s}t\t%>s\t%r\t%{User-Agent}i\t%a";

fn understood_without_being_told(software: Software, include: &str, log: &str, format: &str) {
    if !namespaces_or_skip("formats of a server's configuration") {
        return;
    }
    let home = Home::new();
    for name in ["logs", "own"] {
        fs::create_dir(home.path(name)).unwrap();
    }
    fs::write(home.path("own/log.conf"), log).unwrap();
    let namespace = Namespace::new();
    let _server = WebServer::start_logging(include, software, home.dir(), &namespace);
    let web_conf = home.path("web.conf").display().to_string();
    home.configure(&format!("server_configs = [{web_conf:?}]"));
    let daemon = home.start();

    let client = Client { namespace: &namespace, from: "127.0.0.1", server: "127.0.0.1" };
    assert_eq!(client.get("/?id=1%27+UNION+SELECT+password+FROM+users--+-", "Mozilla/5.0", 10), Some(200));
    let own = home.path("logs/own.log").display().to_string();
    let finding = eventually("the attack is found", || {
        home.findings().into_iter().find(|finding| finding["file"] == own.as_str())
    });
    assert_eq!((&finding["source_ip"], &finding["status"]), (&"127.0.0.1".into(), &200.into()), "{finding:#}");
    let sources = home.status()["sources"].clone();
    let source = sources.as_array().unwrap().iter().find(|source| source["path"] == own.as_str()).unwrap();
    assert_eq!(source["formats"], Value::from(vec![format]));
    assert_eq!(source["unparsed"], 0, "{source:#}");
    if let Software::Nginx = software {
        assert!(daemon.said().contains("log.conf:5: the access log logs/$host.log is left out"), "{}", daemon.said());
    }

    // Offline too, and after a rotation.
    fs::rename(&own, home.path("logs/own.log.1")).unwrap();
    let parsed = home.palisade(&["parse", "logs/own.log.1", "--output", "jsonl"]).stdout;
    let line: Value = serde_json::from_str(parsed.lines().next().unwrap()).unwrap();
    assert_eq!(line["format"], format, "{parsed}");
}

#[test]
fn a_log_that_only_nginx_knows_of_is_followed_and_understood() {
    understood_without_being_told(Software::Nginx, "include own/*.conf;", NGINX, NGINX_FORMAT);
}

#[test]
fn a_log_that_only_apache_knows_of_is_followed_and_understood() {
    understood_without_being_told(Software::Apache, "IncludeOptional own/*.conf", APACHE, APACHE_FORMAT);
}
