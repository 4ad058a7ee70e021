//! Whatever clients write, wherever they write it, stays text: on every page, in what is saved, in what is told.
//! It comes through a real nginx, which logs it as it does and, as JSON, nearly as it came.

use std::process::Command;

use serde_json::json;

use super::{Site, first_link, pages};
use crate::support::browser::{Browser, browser_or_skip};
use crate::support::daemon::eventually;
use crate::support::standin::{Answer, Standin};
use crate::support::web::{Software, WebServer};
use crate::support::{Namespace, namespaces_or_skip};

/// What gets out of where text stands, each in one way.
const CONTEXTS: [&str; 20] = [
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg/onload=window.hit=1>",
    "<iframe srcdoc='<script>top.hit=1</script>'>",
    "\" autofocus onfocus=window.hit=1 x=\"",
    "' autofocus onfocus=window.hit=1 x='",
    "\";window.hit=1;//",
    "'-(window.hit=1)-'",
    "javascript:window.hit=1//",
    "</style><style>*{background:url(http://192.0.2.1/x)}</style>",
    "{{constructor.constructor('window.hit=1')()}}${window.hit=1}",
    "]]><!--&lt;script>",
    "=HYPERLINK(\"http://192.0.2.1\",\"x\")",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{202e}gpj.exe\u{2066}\u{200b}",
    "x\r\n203.0.113.99 - - [01/Jan/2026:00:00:00 +0000] \"GET /forged HTTP/1.1\" 200 1 \"-\" \"forged\"",
];

/// Where a client can write. Each is asked with an attack beside it, so that it is shown.
const SINKS: [&str; 5] = ["path", "query", "user agent", "referrer", "user"];

fn mark(sink: usize, context: usize) -> String {
    format!("zq{sink}x{context}qz")
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

/// Sends every context into every sink.
fn attack(namespace: &Namespace) {
    for (sink, place) in SINKS.iter().enumerate() {
        for (context, text) in CONTEXTS.iter().enumerate() {
            let payload = format!("{text}{}", mark(sink, context));
            let encoded = percent_encoded(&payload);
            // A header cannot hold an end of line; in a user name a colon ends the name.
            let header = payload.replace(['\r', '\n'], " ");
            let base = "http://203.0.113.1/shop?id=1%27%20UNION%20SELECT%20password%20FROM%20users--";
            let words: Vec<String> = match *place {
                "path" => {
                    vec![format!("http://203.0.113.1/{encoded}?id=1%27%20UNION%20SELECT%20password%20FROM%20users--")]
                }
                "query" => vec![format!("{base}&q={encoded}")],
                "user agent" => vec![base.into(), "--user-agent".into(), header],
                "referrer" => vec![base.into(), "--referer".into(), header],
                _ => vec![base.into(), "--user".into(), format!("{}:x", header.replace(':', ""))],
            };
            let curl = [
                "curl",
                "--silent",
                "--globoff",
                "--path-as-is",
                "--interface",
                "203.0.113.7",
                "--max-time",
                "5",
                "--output",
                "/dev/null",
            ];
            let command = namespace.command(&curl);
            let ran =
                Command::new(&command[0]).args(&command[1..]).args(&words).env("HOME", "/dev/null").status().unwrap();
            assert!(ran.success(), "{words:?}");
        }
    }
}

#[test]
fn hostile_text_is_text_on_every_page_in_exports_and_in_alerts() {
    let name = "hostile_text_is_text_on_every_page_in_exports_and_in_alerts";
    if !browser_or_skip(name) || !namespaces_or_skip(name) {
        return;
    }
    let namespace = Namespace::new();
    namespace.run("ip address add 203.0.113.1/32 dev lo");
    namespace.run("ip address add 203.0.113.7/32 dev lo");
    let dir = tempfile::tempdir().unwrap();
    let logs = format!(
        "log_format j escape=json '{{\"time\":\"$time_iso8601\",\"remote_addr\":\"$remote_addr\",\"method\":\"$request_method\",\
         \"uri\":\"$request_uri\",\"status\":$status,\"http_user_agent\":\"$http_user_agent\",\"http_referer\":\"$http_referer\",\
         \"remote_user\":\"$remote_user\"}}';\naccess_log {0}/access.log combined;\naccess_log {0}/access.json j;",
        dir.path().display()
    );
    let _server = WebServer::start_logging(&logs, Software::Nginx, dir.path(), &namespace);
    attack(&namespace);
    let sent = SINKS.len() * CONTEXTS.len();

    let told = Standin::start();
    told.otherwise(|_| Answer::text(204, ""));
    let site = Site::new();
    let home = site.home.dir().display().to_string();
    let followed =
        |file: &str| format!("[[source]]\npath = \"{}/{file}\"\nstart = \"beginning\"\n", dir.path().display());
    site.home.configure(&format!(
        "{}{}[[alert]]\nname = \"ops\"\nchannel = \"webhook\"\nurl = \"{}\"\nkey = \"0123456789abcdef0123456789abcdef\"\n\
         min_severity = \"low\"\ngroup_secs = 1\nrepeat_secs = 1\nkinds = [\"finding\", \"ban\"]\n\
         [[export]]\nname = \"cef\"\nvia = \"file\"\nurl = \"file://{home}/records.cef\"\nformat = \"cef\"\nmin_severity = \"low\"\n\
         [[export]]\nname = \"ecs\"\nvia = \"file\"\nurl = \"file://{home}/records.ecs\"\nformat = \"ecs\"\nmin_severity = \"low\"\n",
        followed("access.log"),
        followed("access.json"),
        told.url(),
    ));
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    let findings = eventually("every request is found, in both logs", || {
        Some(site.home.findings()).filter(|findings| findings.len() >= 2 * sent)
    });
    assert_eq!(findings.len(), 2 * sent, "nobody forged a line");
    let all = json!(findings).to_string();
    let hidden = |text: &str| {
        text.chars().find(|c| {
            let steers = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            steers || c.is_control() && *c != '\n'
        })
    };
    // As the text of JSON itself, escapes and all.
    assert_eq!(hidden(&all), None);
    for (sink, place) in SINKS.iter().enumerate().take(4) {
        for (context, text) in CONTEXTS.iter().enumerate() {
            assert!(all.matches(&mark(sink, context)).count() >= 2, "{place}: {text}");
        }
    }

    let browser = Browser::start();
    browser.before_each_page(pages::MEASURE);
    browser.before_each_page(
        "for (const name of ['alert', 'confirm', 'prompt']) window[name] = () => { window.hit = name; };",
    );
    let at = |path: &str| format!("http://{}{path}", site.address);
    browser.open(&at("/"));
    browser.take_session(&admin);
    let case = format!("/case/{}", findings[0]["case_id"].as_str().unwrap());
    let listed = [
        "/live",
        "/history?client=203.0.113.7",
        "/decisions",
        "/case/203.0.113.7",
        &case,
        "/ask?q=show+me+all+attacks+today",
        "/clients",
    ];
    let others = pages::PAGES.iter().map(|(path, ..)| *path).filter(|path| !path.contains("203.0.113.66"));
    for path in others.chain(listed) {
        browser.open(&at(path));
        eventually("the page is filled", || {
            (browser.run("return document.querySelector('main h1') && !document.querySelector('main > p.empty')?.textContent.startsWith('…')") == json!(true)).then_some(())
        });
        is_inert(&browser, path);
    }
    // What was in a path or a query stands there to be read.
    browser.open(&at("/history?since=24h"));
    browser.sees(&mark(1, 0));
    // The same log, dropped on the page by hand.
    let log = std::fs::read_to_string(dir.path().join("access.json")).unwrap();
    browser.open(&at("/analyze"));
    browser.sees("A log");
    browser.run(&format!("document.querySelector('textarea').value = {}", json!(log)));
    browser.press("Analyze");
    browser.sees("What it tells");
    is_inert(&browser, "/analyze with the log");

    let analysis = site.ask(&admin, "POST", "/api/v1/analyze?keep=true", Some(json!({ "logs": log }))).json();
    browser.open(&at(&format!("/analysis/{}", analysis["id"].as_str().unwrap())));
    browser.sees("What it tells");
    is_inert(&browser, "an analysis that was kept");
    let saved =
        |format: &str| site.ask(&admin, "POST", &format!("/api/v1/report/{format}"), Some(analysis.clone())).text();
    let formula = regex_automata::meta::Regex::new("(^|[,\n])\"?([=+@\t\r]|-[^0-9])").unwrap();
    for (what, csv) in [
        ("report", saved("csv")),
        ("history", site.home.palisade(&["history", "--limit", "1000", "--output", "csv"]).stdout),
    ] {
        assert!(csv.contains("zq1x0qz") || what == "report", "{what}: {csv}");
        assert!(formula.find(&csv).is_none(), "{what}: {:?}", &csv[formula.find(&csv).unwrap().start()..][..80]);
        assert_eq!(hidden(&csv.replace("\r\n", "\n")), None, "{what}");
    }
    let html = saved("html");
    for markup in ["<script>window", "<img src=x", "<svg/onload", "<iframe", "</style><style>"] {
        assert!(!html.contains(markup), "{markup}");
    }
    let shown = site.home.palisade(&["history", "--limit", "1000"]).stdout;
    assert_eq!(hidden(&shown), None, "a terminal obeys nobody");

    let config = site.ask(&admin, "GET", "/api/v1/config", None).text();
    assert!(config.contains("alert[0].key") && !config.contains("0123456789abcdef"), "{config}");
    let records = |name: &str| std::fs::read_to_string(site.home.path(name)).unwrap_or_default();
    eventually("all is exported", || {
        (records("records.cef").lines().filter(|line| line.contains("zq")).count() >= 4 * CONTEXTS.len()).then_some(())
    });
    for line in records("records.cef").lines() {
        assert!(line.starts_with("CEF:0|") && hidden(line).is_none(), "{line}");
    }
    for line in records("records.ecs").lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    let messages = eventually("somebody is told", || Some(told.requests()).filter(|requests| !requests.is_empty()));
    for message in messages {
        let message = message.json()["message"].clone();
        let text = format!("{}{}", message["title"].as_str().unwrap(), message["text"].as_str().unwrap());
        assert_eq!(hidden(&text), None, "{text}");
    }
}

/// Nothing ran, nothing was asked of anybody, and no element is there that the dashboard does not make.
fn is_inert(browser: &Browser, place: &str) {
    let foreign = browser.run(
        "const own = ['A', 'ARTICLE', 'BODY', 'BUTTON', 'CAPTION', 'CODE', 'DATALIST', 'DD', 'DETAILS', 'DIV', 'DL', 'DT', 'FIGCAPTION',
            'FIGURE', 'FORM', 'H1', 'H2', 'H3', 'HEAD', 'HEADER', 'HTML', 'INPUT', 'LABEL', 'LI', 'LINK', 'MAIN', 'META', 'NAV', 'NOSCRIPT',
            'OL', 'OPTION', 'P', 'PRE', 'PROGRESS', 'SCRIPT', 'SECTION', 'SELECT', 'SMALL', 'SPAN', 'STRONG', 'SUMMARY', 'TABLE', 'TBODY',
            'TD', 'TEXTAREA', 'TH', 'THEAD', 'TIME', 'TITLE', 'TR', 'UL', 'svg', 'g', 'rect', 'title'];
         return [...document.querySelectorAll('*')].filter((one) => !own.includes(one.tagName) || one.tagName === 'SCRIPT' && one.getAttribute('src') !== '/assets/app.js'
            || [...one.attributes].some((name) => name.name.startsWith('on') || name.name === 'style' || ['href', 'src', 'action', 'formaction'].includes(name.name) && /^\\s*javascript:/i.test(name.value)))
            .map((one) => one.outerHTML.slice(0, 200));",
    );
    assert_eq!(foreign, json!([]), "{place}");
    assert_eq!(browser.run("return [window.hit ?? null, window.broken]"), json!([null, []]), "{place}");
    let drives = browser
        .run("return /[\\u0000-\\u0008\\u000b-\\u001f\\u200b-\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]/.test(document.body.innerText)");
    assert_eq!(drives, json!(false), "{place}: something hidden is in its text");
}
