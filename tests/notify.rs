//! Messages to people and records to SIEMs, as services get them.

mod channels;
mod clock;
mod daemon;
mod email;
mod hostile;
#[cfg(feature = "otel")]
mod otlp;
mod outage;
mod pushover;
mod siem;
mod syslog;

use std::io::Write;
use std::path::Path;

use palisade::event::{Secret, Severity, Timestamp};
use palisade::notify::{AlertConfig, FIELDS, KINDS, Message, News, Sums};

/// What webhooks of tests are signed with.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Whether Debian's rsyslog and aiosmtpd are here.
fn real_servers_or_skip(what: &str) -> bool {
    let are_there =
        ["/usr/sbin/rsyslogd", "/usr/lib/python3/dist-packages/aiosmtpd"].iter().all(|path| Path::new(path).exists());
    there_or_skip(are_there && gtls().is_some(), what, "rsyslog, rsyslog-gnutls and python3-aiosmtpd")
}

/// Debian's libfaketime.
fn faketime_or_skip(what: &str) -> Option<String> {
    let library = glob::glob("/usr/lib/*/faketime/libfaketimeMT.so.1").unwrap().flatten().next();
    there_or_skip(library.is_some(), what, "libfaketime").then_some(library?.display().to_string())
}

/// If it is not there, says so on the real stderr, or fails when `PALISADE_REQUIRE_NOTIFY=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
fn there_or_skip(is_there: bool, what: &str, needed: &str) -> bool {
    let required = std::env::var("PALISADE_REQUIRE_NOTIFY").is_ok_and(|value| value == "1");
    assert!(is_there || !required, "{needed} is required, but {what} cannot find it");
    if !is_there {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs {needed}");
    }
    is_there
}

/// rsyslog's module for TLS.
fn gtls() -> Option<std::path::PathBuf> {
    glob::glob("/usr/lib/*/rsyslog/lmnsd_gtls.so").unwrap().flatten().next()
}

fn secret(text: impl Into<String>) -> Secret {
    Secret::from(text.into())
}

fn alert(channel: &str, url: &str) -> AlertConfig {
    AlertConfig {
        name: "ops".into(),
        channel: channel.into(),
        url: secret(url),
        timeout_secs: 2,
        ..AlertConfig::default()
    }
}

/// What a client may have written, printable as everything that is told.
const HOSTILE: &str =
    "<!channel> @everyone <b>&amp; **bold** `code` ```\n[a](http://192.0.2.1) \\r\\nBcc: x@example.com";

fn message() -> Message {
    Message {
        id: "0123456789abcdef".into(),
        at: Timestamp(1_767_571_200_123),
        severity: Severity::Critical,
        title: "web-1: critical: <@here> *sqli*".into(),
        text: HOSTILE.into(),
        url: Some("https://palisade.example.com/case/c1".into()),
        sums: Sums { findings: 3, ..Sums::default() },
    }
}

fn finding(id: &str) -> News {
    News {
        id: id.into(),
        at: Timestamp(1_767_571_200_123),
        severity: Severity::Critical,
        score: 9,
        category: "sqli".into(),
        client: "203.0.113.5".into(),
        source: "/var/log/nginx/access.log".into(),
        method: "GET".into(),
        uri: "/a?b=c|d\\e\"f]g\r\nh\u{1b}[31m".into(),
        status: 200,
        action: "block".into(),
        by: "rules".into(),
        reason: "args: union select".into(),
        ..News::default()
    }
}

#[test]
fn the_page_about_alerts_names_every_channel_and_field() {
    let page = include_str!("../docs/alerts.md");
    for (field, _) in FIELDS {
        assert!(page.contains(&format!("`{{{field}}}`")), "docs/alerts.md does not say what {{{field}}} is");
    }
    for kind in KINDS {
        assert!(page.contains(&format!("| `{}` |", kind.name)), "docs/alerts.md does not speak of {}", kind.name);
    }
}
