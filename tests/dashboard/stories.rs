//! What people do, in a real browser.

use serde_json::json;

use super::{PASSWORD, Site, append, first_link};
use crate::support::browser::{Browser, browser_or_skip};
use crate::support::daemon::eventually;
use crate::support::log;

/// What the page could have been made to do by what clients wrote.
const WATCH: &str = "window.broken = []; document.addEventListener('securitypolicyviolation', (event) => \
                     window.broken.push(event.blockedURI + event.violatedDirective));";

#[test]
fn from_the_first_link_to_undoing_a_block() {
    if !browser_or_skip("from_the_first_link_to_undoing_a_block") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let link = first_link(&daemon);
    let browser = Browser::start();
    let at = |path: &str| format!("http://{}{path}", site.address);
    browser.open(&at("/"));
    browser.sees("Sign in");
    browser.open(&at(&link));
    browser.fill("input[name=password]", PASSWORD);
    browser.fill("input[name=again]", PASSWORD);
    browser.click("button[type=submit]");
    browser.sees("Overview");
    browser.sees("dry run");

    browser.click("a[href='/live']");
    browser.sees("Nothing was found yet");
    browser.run(WATCH);
    append(&site.log(), &log::line("203.0.113.7", "GET /?file=../../../../etc/passwd", 404));
    browser.sees("203.0.113.7");
    browser.sees("path traversal");
    browser.sees("to block");

    // Whatever a client writes is text.
    let hostile = "GET /?q=<script>window.hit=1</script><img/src=x/onerror=window.hit=2>'UNION/**/SELECT/**/1,2--";
    append(&site.log(), &log::line("203.0.113.9", hostile, 404));
    browser.sees("203.0.113.9");
    browser.sees("<script>window.hit=1</script>");
    assert_eq!(browser.run("return [window.hit ?? null, window.broken]"), json!([null, []]));

    browser.open(&at("/decisions"));
    browser.sees("203.0.113.7");
    browser.click("tbody a");
    browser.sees("What led to it");
    browser.sees("What counts");
    browser.press("Let go");
    browser.sees("lifted");
    let lifted = || site.home.decisions().iter().any(|decision| decision["state"] == "lifted").then_some(());
    eventually("the ban is lifted", lifted);

    for (path, text) in [
        ("/clients", "203.0.113.9"),
        ("/rules", "lfi-"),
        ("/history", "Newest findings"),
        ("/allowed", "Never blocked"),
        ("/settings", "thresholds.block"),
        ("/users", "Invite somebody"),
        ("/audit", "unban"),
        ("/account", "Tokens of programs"),
    ] {
        browser.open(&at(path));
        browser.sees(text);
    }
    // A log that is dropped on the page, its report, and a question.
    browser.open(&at("/analyze"));
    browser.sees("A log");
    browser.run("const data = new DataTransfer(); \
                 data.items.add(new File(['Feb  1 10:26:33 web1 app: Unusual outbound traffic detected to 198.51.100.77:4444\\n'], 'night.log')); \
                 document.querySelector('textarea').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));");
    browser.sees("night.log, 82 bytes");
    browser.click("#keep");
    browser.press("Analyze");
    browser.sees("198.51.100.77");
    browser.sees("outcome: ");
    browser.run("const save = document.querySelector(\"select[aria-label='Save as']\"); save.value = 'pdf'; \
                 window.saved = []; URL.createObjectURL = (blob) => { window.saved.push([blob.size, blob.type]); return '#'; }; \
                 save.dispatchEvent(new Event('change'));");
    let saved = || Some(browser.run("return window.saved")).filter(|saved| *saved != json!([]));
    let saved = eventually("the report is saved", saved);
    assert!(saved[0][0].as_u64() > Some(1000) && saved[0][1] == "application/pdf", "{saved}");
    browser.open(&at("/analyze"));
    browser.sees("only me");
    browser.open(&at("/rules"));
    browser.press("Off");
    browser.fill("input[name=reason]", "a story");
    browser.press("Switch off");
    browser.sees("Switched off");
    browser.press("Switch on");
    browser.sees("is on again");
    browser.open(&at("/ask?q=how+many+attacks+today"));
    browser.sees("Taken for");

    // Of 401 before anybody signed in the browser complains too.
    let complaints: Vec<String> = browser.complaints().into_iter().filter(|one| !one.contains("401")).collect();
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn an_open_page_outlives_a_restart_and_shows_viewers_no_buttons() {
    if !browser_or_skip("an_open_page_outlives_a_restart_and_shows_viewers_no_buttons") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    let victor = site.ask(&admin, "POST", "/api/v1/users", Some(json!({ "name": "victor", "role": "viewer" }))).json();
    site.welcome(victor["link"].as_str().unwrap());
    let browser = Browser::start();
    browser.open(&format!("http://{}/live", site.address));
    browser.fill("input[name=name]", "victor");
    browser.fill("input[name=password]", PASSWORD);
    browser.click("button[type=submit]");
    browser.sees("live");
    append(&site.log(), &log::line("203.0.113.7", "GET /?file=../../../../etc/passwd", 404));
    browser.sees("203.0.113.7");
    assert_eq!(browser.run("return document.querySelectorAll('.row button').length"), json!(0));
    assert_eq!(browser.run("return !!document.querySelector(\"a[href='/users']\")"), json!(false));
    for (path, text, what) in [
        ("/users", "Only admins may look at this", "button:not(.quiet), form"),
        ("/rules", "What matched in thirty days", "main button, main form"),
        ("/settings", "What is in force", "main button, main form"),
        ("/analyze", "you see what they share", "main button, main textarea"),
        ("/live", "203.0.113.7", ".row button"),
    ] {
        browser.open(&format!("http://{}{path}", site.address));
        browser.sees(text);
        assert_eq!(browser.run(&format!("return document.querySelectorAll('{what}').length")), json!(0), "{path}");
    }

    assert_eq!(daemon.stop(), 0);
    browser.sees("the daemon does not answer");
    let _daemon = site.start();
    append(&site.log(), &log::line("203.0.113.8", "GET /?file=../../../../etc/shadow", 404));
    eventually("the page hears of what comes after the restart", || {
        // What came before the page was connected again is not told anew; more comes.
        append(&site.log(), &log::line("203.0.113.10", "GET /?file=../../../../etc/group", 404));
        browser.text().contains("203.0.113.10").then_some(())
    });
}
