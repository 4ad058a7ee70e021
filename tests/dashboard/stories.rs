//! What people do, in a real browser.

use serde_json::json;

use super::{PASSWORD, Site, append, everybody, first_link};
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
    let samples = "return [...document.querySelector(\"[aria-label='A sample']\").options].map((one) => one.value).filter(Boolean)";
    let samples = browser.run(samples);
    assert!(samples.as_array().unwrap().len() >= 10, "{samples}");
    for sample in samples.as_array().unwrap() {
        let path = format!("/api/v1/analyze?sample={}", sample.as_str().unwrap());
        let analysed = browser.run_until_done(&format!(
            "const done = arguments[arguments.length - 1]; \
             fetch('{path}', {{ method: 'POST' }}).then((answer) => done(answer.status), (error) => done(String(error)))"
        ));
        assert_eq!(analysed, 200, "{sample}");
    }
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
    browser.sees("only you");
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
fn an_analysis_is_shared_on_its_page_and_taken_back() {
    if !browser_or_skip("an_analysis_is_shared_on_its_page_and_taken_back") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let [(_, admin), (_, anna), (_, victor)] = everybody(&site, &first_link(&daemon));
    let kept = site.ask(&anna, "POST", "/api/v1/analyze?keep=true&sample=brute-force", Some(json!({ "logs": "" })));
    let page = format!("/analysis/{}", kept.json()["id"].as_str().unwrap());
    let sees =
        |session: &str| site.ask(session, "GET", &format!("/api/v1{}", page.replace("analysis", "analyses")), None);
    eventually("it is kept", || (sees(&anna).status == 200).then_some(()));
    let browser = Browser::start();
    let open = |session: &str, path: &str| {
        browser.open(&format!("http://{}/icon", site.address));
        browser.take_session(session);
        browser.open(&format!("http://{}{path}", site.address));
    };
    let choose = |whom: &str| {
        browser.run(&format!("document.querySelector('[name=whom]').value = '{whom}'"));
        browser.press("Share");
    };

    open(&victor, &page);
    browser.sees("no analysis");
    open(&anna, "/analyze");
    browser.sees("only you");
    browser.click("tbody a.cut");
    browser.sees("Who sees it");
    browser.sees("Only you.");
    browser.sees("outcome: ");
    choose("user victor");
    browser.sees("victor Take back");
    choose("role admin");
    browser.sees("administrators Take back");
    assert_eq!([&admin, &victor].map(|session| sees(session).status), [200, 200]);
    let focused = "return document.activeElement.closest('section')?.innerText ?? ''";
    assert!(browser.run(focused).as_str().unwrap().contains("Who sees it"), "the keyboard stays where it was");

    open(&victor, &page);
    browser.sees("anna shares it with you.");
    assert_eq!(browser.run("return document.querySelectorAll('main button, main form, main select').length"), json!(0));
    open(&anna, &page);
    browser.sees("victor Take back");
    browser.run("document.querySelector(\"[aria-label='Take back from victor']\").click()");
    eventually("it is taken back", || (sees(&victor).status == 404).then_some(()));
    assert_eq!(sees(&admin).status, 200, "from nobody else");
    browser.sees("administrators Take back");
    browser.press("Take back");
    browser.sees("Only you.");
    assert_eq!(sees(&admin).status, 404);
}

#[test]
fn what_somebody_chose_stays_in_their_browser_and_blocking_is_tried_by_who_presses_twice() {
    if !browser_or_skip("what_somebody_chose_stays_in_their_browser_and_blocking_is_tried_by_who_presses_twice") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    let browser = Browser::start();
    browser.open(&format!("http://{}/icon", site.address));
    browser.take_session(&admin);
    let overview = format!("http://{}/", site.address);
    browser.open(&overview);
    browser.sees("dry run");
    let look = "return [document.documentElement.dataset.theme ?? '', document.querySelectorAll('.grid .card').length]";
    assert_eq!(browser.run(look), json!(["", 9]));
    browser.press("◐");
    browser.run("document.querySelector('summary').click(); document.querySelector('details input').click()");
    let chosen = eventually("a card is gone", || Some(browser.run(look)).filter(|now| now[1] == 8));
    assert!(chosen[0] == "dark" || chosen[0] == "light", "{chosen}");
    browser.open(&overview);
    eventually("both are as they were", || (browser.run(look) == chosen).then_some(()));

    // Here nobody is to be blocked: what the page asks for is heard and goes no further.
    browser.run(
        "window.asked = []; const fetched = window.fetch; window.fetch = (path, options) => \
         path === '/api/v1/mode' ? (window.asked.push(options.body), Promise.resolve(new Response('{}'))) : fetched(path, options);",
    );
    browser.press("Try for an hour");
    browser.sees("Block for real?");
    assert_eq!(browser.run("return window.asked"), json!([]));
    browser.press("Block for real?");
    browser.sees("Blocking for an hour");
    assert_eq!(browser.run("return window.asked"), json!([r#"{"mode":"enforce","for_secs":3600}"#]));
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
