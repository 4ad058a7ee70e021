//! Debian's Chromium, driven by WebDriver.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::daemon::eventually;
use super::http;
use super::postgres::free_port;

/// Whether there is a browser. If not, says that `what` is skipped, or fails when
/// `PALISADE_REQUIRE_BROWSER=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
pub fn browser_or_skip(what: &str) -> bool {
    if Path::new("/usr/bin/chromedriver").exists() && Path::new("/usr/bin/chromium").exists() {
        return true;
    }
    let required = std::env::var("PALISADE_REQUIRE_BROWSER").is_ok_and(|value| value == "1");
    assert!(!required, "a browser is required, but {what} cannot run: no chromium, no chromedriver");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs Debian's chromium and chromium-driver");
    false
}

/// The folder that `tests/tools/prepare` filled. If there is none, says that `what` is skipped, or fails when
/// `PALISADE_REQUIRE_BROWSER=1`.
#[expect(clippy::disallowed_methods, reason = "the other thing that who runs the tests may tell them")]
pub fn tools_or_skip(what: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PALISADE_TOOLS").map(PathBuf::from);
    let required = std::env::var("PALISADE_REQUIRE_BROWSER").is_ok_and(|value| value == "1");
    assert!(folder.is_some() || !required, "{what} needs PALISADE_TOOLS=$(tests/tools/prepare)");
    if folder.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs PALISADE_TOOLS=$(tests/tools/prepare)");
    }
    folder
}

/// A browser with one window and a profile of its own. Gone when dropped.
pub struct Browser {
    driver: Child,
    address: String,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let port = free_port();
        let profile = tempfile::tempdir().unwrap();
        let driver = Command::new("/usr/bin/chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        eventually("chromedriver listens", || std::net::TcpStream::connect(&address).ok());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().join("profile").display()),
        ]
        .map(str::to_owned);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer = http::request(&address, "POST", "/session", &[], Some(&wanted)).json();
        let session = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Browser { driver, address, session, _profile: profile }
    }

    fn tell(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let path = format!("/session/{}{path}", self.session);
        http::request(&self.address, method, &path, &[], body.as_ref()).json()["value"].clone()
    }

    pub fn open(&self, url: &str) {
        self.tell("POST", "/url", Some(json!({ "url": url })));
    }

    /// What a script in the page returns.
    pub fn run(&self, script: &str) -> Value {
        self.tell("POST", "/execute/sync", Some(json!({ "script": script, "args": [] })))
    }

    /// What a script gives to the callback that is its last argument.
    pub fn run_until_done(&self, script: &str) -> Value {
        self.tell("POST", "/execute/async", Some(json!({ "script": script, "args": [] })))
    }

    /// Has a command of the browser's own protocol carried out.
    fn command(&self, name: &str, parameters: Value) -> Value {
        self.tell("POST", "/goog/cdp/execute", Some(json!({ "cmd": name, "params": parameters })))
    }

    /// Shows pages as on a screen of this size.
    pub fn resize(&self, width: u32, height: u32) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", screen);
    }

    /// Runs before every script of every page that is opened from now on.
    pub fn before_each_page(&self, script: &str) {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
    }

    /// Takes up a session of the site that is open.
    pub fn take_session(&self, session: &str) {
        let cookie = json!({ "name": "palisade_session", "value": session, "httpOnly": true, "sameSite": "Strict" });
        self.tell("POST", "/cookie", Some(json!({ "cookie": cookie })));
    }

    /// What the page says, as a person sees it.
    pub fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says `text`.
    pub fn sees(&self, text: &str) {
        eventually(&format!("the page says {text:?}"), || self.text().contains(text).then_some(()));
    }

    fn element(&self, css: &str) -> String {
        eventually(&format!("there is {css}"), || {
            let found = self.tell("POST", "/element", Some(json!({ "using": "css selector", "value": css })));
            found.as_object()?.values().next()?.as_str().filter(|id| !id.contains(' ')).map(str::to_owned)
        })
    }

    pub fn fill(&self, css: &str, text: &str) {
        let id = self.element(css);
        self.tell("POST", &format!("/element/{id}/value"), Some(json!({ "text": text })));
    }

    pub fn click(&self, css: &str) {
        let id = self.element(css);
        self.tell("POST", &format!("/element/{id}/click"), Some(json!({})));
    }

    /// Clicks the first button that says `text`.
    pub fn press(&self, text: &str) {
        eventually(&format!("there is a button {text:?}"), || {
            let script = format!(
                "const button = [...document.querySelectorAll('button')].find((one) => one.textContent === {});\
                 if (button) button.click(); return !!button;",
                json!(text)
            );
            (self.run(&script) == json!(true)).then_some(())
        });
    }

    /// What the browser complained of: errors of scripts, and what the content security policy stopped.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.tell("POST", "/se/log", Some(json!({ "type": "browser" })));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    /// A picture of the window, as WebP.
    pub fn screenshot(&self) -> Vec<u8> {
        let picture = self.command("Page.captureScreenshot", json!({ "format": "webp", "quality": 40 }));
        base64(picture["data"].as_str().unwrap_or_default())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.tell("DELETE", "", None)));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let bits = four.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..].iter().copied().take(four.len() - 1).collect::<Vec<u8>>()
    });
    bytes.collect()
}
