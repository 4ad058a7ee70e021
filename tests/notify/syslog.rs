//! A real rsyslog, by UDP, TCP and TLS.

use std::fs;
use std::process::{Child, Command, Stdio};

use palisade::notify::{ExportConfig, Format, Via, open_sink};

use super::{finding, real_servers_or_skip, secret};
use crate::support::daemon::eventually;
use crate::support::postgres::{certificates, free_port};

pub struct Rsyslog {
    child: Option<Child>,
    dir: tempfile::TempDir,
    udp: u16,
    tcp: u16,
    tls: u16,
}

impl Rsyslog {
    /// One that does not run yet.
    pub fn away() -> Rsyslog {
        let (dir, udp, tcp, tls) = (tempfile::tempdir().unwrap(), free_port(), free_port(), free_port());
        certificates(dir.path(), "DNS:localhost");
        let shown = dir.path().display().to_string();
        let config = r#"
global(workDirectory="DIR" maxMessageSize="64k" defaultNetstreamDriverCAFile="DIR/ca.pem"
       defaultNetstreamDriverCertFile="DIR/server.pem" defaultNetstreamDriverKeyFile="DIR/server.key")
module(load="imudp") module(load="imtcp")
template(name="all" type="string" string="%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\n")
ruleset(name="udp") { action(type="omfile" file="DIR/udp" template="all" asyncWriting="off") }
ruleset(name="tcp") { action(type="omfile" file="DIR/tcp" template="all" asyncWriting="off") }
ruleset(name="tls") { action(type="omfile" file="DIR/tls" template="all" asyncWriting="off") }
input(type="imudp" address="127.0.0.1" port="UDP" ruleset="udp")
input(type="imtcp" address="127.0.0.1" port="TCP" ruleset="tcp")
input(type="imtcp" address="127.0.0.1" port="TLS" ruleset="tls" streamDriver.name="gtls" streamDriver.mode="1"
      streamDriver.authMode="anon")
"#;
        let config = config.replace("DIR", &shown).replace("UDP", &udp.to_string());
        let config = config.replace("\"TCP\"", &format!("\"{tcp}\"")).replace("\"TLS\"", &format!("\"{tls}\""));
        fs::write(dir.path().join("rsyslog.conf"), config).unwrap();
        Rsyslog { child: None, dir, udp, tcp, tls }
    }

    fn running() -> Rsyslog {
        let mut rsyslog = Rsyslog::away();
        rsyslog.start();
        rsyslog
    }

    pub fn start(&mut self) {
        let said = fs::File::options().create(true).append(true).open(self.path("said")).unwrap();
        let child = Command::new("/usr/sbin/rsyslogd")
            .args(["-n", "-f", &self.path("rsyslog.conf"), "-i", &self.path("pid")])
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        self.child = Some(child);
        for port in [self.tcp, self.tls] {
            eventually("rsyslog listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // It would not start beside what seems to be another one.
        let _ = fs::remove_file(self.path("pid"));
    }

    /// Of a file of it, such as what it wrote by `tls`.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn tls_url(&self) -> String {
        format!("tls://localhost:{}", self.tls)
    }

    pub fn ca_file(&self) -> String {
        self.path("ca.pem")
    }

    /// What it wrote by then, once it is `count` lines.
    fn wrote(&self, by: &str, count: usize) -> Vec<String> {
        eventually(&format!("rsyslog writes {count} lines by {by}"), || {
            let text = fs::read_to_string(self.dir.path().join(by)).ok()?;
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    fn config(&self, url: &str, format: Format) -> ExportConfig {
        ExportConfig {
            name: "siem".into(),
            via: Via::Syslog,
            format: Some(format),
            url: secret(url),
            ca_file: Some(self.dir.path().join("ca.pem")),
            ..ExportConfig::default()
        }
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test]
async fn rsyslog_writes_what_was_sent_by_udp_tcp_and_tls() {
    if !real_servers_or_skip("the test with a real rsyslog") {
        return;
    }
    let rsyslog = Rsyslog::running();
    for (by, url) in [
        ("udp", format!("udp://127.0.0.1:{}", rsyslog.udp)),
        ("tcp", format!("tcp://127.0.0.1:{}", rsyslog.tcp)),
        ("tls", format!("tls://localhost:{}", rsyslog.tls)),
    ] {
        let mut sink = open_sink(&rsyslog.config(&url, Format::Rfc5424), "web-1").unwrap();
        sink.send(&[finding("f1"), finding("f2")]).await.unwrap_or_else(|failure| panic!("{by}: {failure:?}"));
        // On the same connection, where there is one.
        sink.send(&[finding("f3")]).await.unwrap();
        let lines = rsyslog.wrote(by, 3);
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, id) in lines.iter().zip(["f1", "f2", "f3"]) {
            let fields: Vec<&str> = line.splitn(6, '|').collect();
            assert_eq!(fields[..5], ["82", "2026-01-05T00:00:00.123Z", "web-1", "palisade", "finding"], "{line}");
            assert!(fields[5].starts_with(&format!("[palisade@32473 id=\"{id}\"")), "{line}");
            // As a client wrote it, in one line and between its quotes.
            assert!(fields[5].contains("uri=\"/a?b=c|d\\\\e\\\"f\\]g\\\\r\\\\nh\\\\u{1b}[31m\""), "{line}");
            assert!(line.contains("|critical: sqli from 203.0.113.5, block: GET /a?b=c|d\\e\"f]g\\r\\nh"), "{line}");
        }
        let mut sink = open_sink(&rsyslog.config(&url, Format::Cef), "web-1").unwrap();
        sink.send(&[finding("f4")]).await.unwrap();
        let line = rsyslog.wrote(by, 4).pop().unwrap();
        assert!(
            line.contains("CEF:0|Palisade|palisade|") && line.contains("|sqli found|10|rt=1767571200123"),
            "{line}"
        );
        assert!(line.contains("request=/a?b\\=c|d\\\\e\"f]g"), "{line}");
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_gets_nothing_and_a_connection_that_broke_is_made_again() {
    if !real_servers_or_skip("the test with a rsyslog that goes away") {
        return;
    }
    let rsyslog = Rsyslog::running();
    let url = format!("tls://localhost:{}", rsyslog.tls);
    let other =
        ExportConfig { ca_file: Some(rsyslog.dir.path().join("other.pem")), ..rsyslog.config(&url, Format::Rfc5424) };
    let failure = open_sink(&other, "web-1").unwrap().send(&[finding("f1")]).await.unwrap_err();
    assert!(!failure.is_final && failure.why.contains("certificate"), "{failure:?}");
    assert!(!rsyslog.dir.path().join("tls").exists());

    // A receiver that closes after each message.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let mut sink = open_sink(&rsyslog.config(&url, Format::Rfc5424), "web-1").unwrap();
    for id in ["f1", "f2", "f3"] {
        sink.send(&[finding(id)]).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.unwrap();
        let length: usize = std::str::from_utf8(&head[..3]).unwrap().parse().expect("its length first");
        let mut rest = vec![0; length];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut rest).await.unwrap();
        let text = String::from_utf8(rest).unwrap();
        assert!(head[3] == b' ' && text.starts_with("<82>1 ") && text.contains(&format!("id=\"{id}\"")), "{text}");
    }
}
