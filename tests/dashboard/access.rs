//! Who may do what, at every endpoint.

use std::io::Read;

use palisade::event::Role;
use palisade::show::ENDPOINTS;
use serde_json::{Value, json};

use super::{PASSWORD, Site, everybody, first_link, session};
use crate::support::daemon::eventually;
use crate::support::http::request;

#[test]
fn each_endpoint_asks_for_the_role_that_the_table_names() {
    let site = Site::new();
    let daemon = site.start();
    let mut sessions = everybody(&site, &first_link(&daemon));
    let mut tried = 0;
    for endpoint in ENDPOINTS {
        let path = endpoint
            .path
            .replace("{*", "{")
            .split('/')
            .map(|part| if part.starts_with('{') { "nobody" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let body = (endpoint.method != "GET").then(|| json!({}));
        let what = format!("{} {path}", endpoint.method);
        let status = site.ask("", endpoint.method, &path, body.clone()).status;
        let Some(least) = endpoint.role else {
            assert!(status != 403 && status != 404, "{what}: {status}");
            continue;
        };
        assert_eq!(status, 401, "{what} by nobody");
        for (role, session_of) in &mut sessions {
            let status = site.ask(session_of, endpoint.method, &path, body.clone()).status;
            if *role < least {
                assert_eq!(status, 403, "{what} by {}", role.as_str());
            } else {
                assert!(status != 401 && status != 403 && status != 405, "{what} by {}: {status}", role.as_str());
            }
            if path.ends_with("/logout") {
                assert_eq!(site.ask(session_of, "GET", "/api/v1/auth/me", None).status, 401, "signed out is out");
                let name = match role {
                    Role::Admin => "admin",
                    Role::Analyst => "anna",
                    Role::Viewer => "victor",
                };
                *session_of = session(&site.login(name, PASSWORD));
            }
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn who_is_shut_out_is_out_at_once_and_one_administrator_stays() {
    let site = Site::new();
    let daemon = site.start();
    let link = first_link(&daemon);
    let [(_, admin), (_, analyst), _] = everybody(&site, &link);
    let used = site.ask("", "POST", "/api/v1/auth/welcome", Some(json!({ "key": &link[9..], "password": PASSWORD })));
    assert_eq!(used.status, 401, "a link works once");

    let token =
        site.ask(&analyst, "POST", "/api/v1/auth/tokens", Some(json!({ "note": "a script", "role": "analyst" })));
    let token = format!("Bearer {}", token.json()["token"].as_str().unwrap());
    let by_token = |path: &str| request(&site.address, "GET", path, &[("authorization", &token)], None).status;
    assert_eq!(by_token("/api/v1/status"), 200);
    assert_eq!(by_token("/api/v1/users"), 403);
    let more = site.ask(&analyst, "POST", "/api/v1/auth/tokens", Some(json!({ "note": "more", "role": "admin" })));
    assert_eq!(more.status, 403, "nobody gives more than they have");

    let mut watched = site.ask(&analyst, "GET", "/api/v1/events", None);
    assert_eq!((watched.status, watched.header("content-type")), (200, "text/event-stream"));
    // What somebody may counts at each request, not as it was when they signed in.
    site.ask(&admin, "PATCH", "/api/v1/users/anna", Some(json!({ "role": "viewer" })));
    assert_eq!(site.ask(&analyst, "POST", "/api/v1/release", Some(json!({}))).status, 403);
    assert_eq!(site.ask(&admin, "PATCH", "/api/v1/users/anna", Some(json!({ "is_active": false }))).status, 200);
    assert_eq!(site.ask(&analyst, "GET", "/api/v1/status", None).status, 401);
    assert_eq!(by_token("/api/v1/status"), 401);
    assert_eq!(site.login("anna", PASSWORD).status, 401);
    let mut rest = vec![];
    watched.body.read_to_end(&mut rest).unwrap();

    for change in [json!({ "role": "viewer" }), json!({ "is_active": false })] {
        assert_eq!(site.ask(&admin, "PATCH", "/api/v1/users/admin", Some(change)).status, 409);
    }
    assert_eq!(site.ask(&admin, "DELETE", "/api/v1/users/admin", None).status, 409);

    // Who is invited cannot sign in yet, and is no administrator who is left.
    let invited = site.ask(&admin, "POST", "/api/v1/users", Some(json!({ "name": "ada", "role": "admin" }))).json();
    for change in [json!({ "role": "viewer" }), json!({ "is_active": false })] {
        assert_eq!(site.ask(&admin, "PATCH", "/api/v1/users/admin", Some(change)).status, 409);
    }
    assert_eq!(site.ask(&admin, "DELETE", "/api/v1/users/admin", None).status, 409);
    let ada = site.welcome(invited["link"].as_str().unwrap());
    let set = |session: &str, role: &str| {
        site.ask(session, "PATCH", "/api/v1/users/admin", Some(json!({ "role": role }))).status
    };
    assert_eq!((set(&admin, "viewer"), set(&ada, "admin")), (200, 200));
    assert_eq!(site.ask(&admin, "DELETE", "/api/v1/users/ada", None).status, 200);

    let elsewhere = session(&site.login("admin", PASSWORD));
    let change = json!({ "old_password": PASSWORD, "password": "another long password" });
    let changed = site.ask(&admin, "POST", "/api/v1/auth/password", Some(change));
    assert_eq!(changed.status, 200);
    assert_eq!(site.ask(&elsewhere, "GET", "/api/v1/auth/me", None).status, 401, "other browsers are signed out");
    let admin = session(&changed);
    assert_eq!(site.login("admin", PASSWORD).status, 401);

    let audit = site.ask(&admin, "GET", "/api/v1/audit", None).text();
    for what in ["\"action\":\"add a user\"", "anna", "sign-in refused", "/api/v1/users/anna {\\\"is_active\\\":false}"]
    {
        assert!(audit.contains(what), "{what} in {audit}");
    }
    assert!(!audit.contains("long password"), "{audit}");

    assert_eq!(daemon.stop(), 0);
    let again = site.start();
    assert_eq!(site.ask(&admin, "GET", "/api/v1/auth/me", None).json()["name"], "admin", "a restart signs nobody out");
    assert_eq!(again.said().matches("/welcome#").count(), 1, "{}", again.said());
    let invited: Value = site.home.json(&["user", "invite", "anna"]);
    assert!(invited["link"].as_str().unwrap().contains("/welcome#"), "{invited}");
}

#[test]
fn guessing_is_slowed_and_pages_of_other_sites_get_nothing_done() {
    let site = Site::new();
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    let short = site.ask(
        &admin,
        "POST",
        "/api/v1/auth/password",
        Some(json!({ "old_password": PASSWORD, "password": "short" })),
    );
    assert_eq!(short.status, 400);
    // On a slow machine the first waits are over before the next guess; they double.
    let mut guesses = (0..20).map(|_| site.login("admin", "a wrong password").status);
    assert_eq!(guesses.by_ref().take(5).collect::<Vec<_>>(), [401; 5]);
    assert!(guesses.any(|status| status == 429));
    assert_eq!(site.login("nobody", "a wrong password").status, 401, "others may still sign in");

    let cookie = format!("palisade_session={admin}");
    let foreign: [&[(&str, &str)]; 3] = [
        &[("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "http://127.0.0.1:1"), ("sec-fetch-site", "same-site")],
    ];
    for headers in foreign {
        let headers = [&[("cookie", cookie.as_str())], headers].concat();
        let answer = request(&site.address, "POST", "/api/v1/release", &headers, Some(&json!({})));
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""), "{headers:?}");
    }
    let origin = format!("http://{}", site.address);
    let own = [("cookie", cookie.as_str()), ("origin", &origin), ("sec-fetch-site", "same-origin")];
    assert_eq!(request(&site.address, "POST", "/api/v1/release", &own, Some(&json!({}))).status, 200);

    let huge = "x".repeat(100_000);
    assert_eq!(site.login("admin", &huge).status, 429);
    eventually("the wait is over", || (site.login("admin", PASSWORD).status == 200).then_some(()));
}

#[test]
fn whom_a_proxy_names_is_signed_in_only_where_that_is_configured() {
    let mut site = Site::new();
    let daemon = site.start();
    let admin = site.welcome(&first_link(&daemon));
    site.ask(&admin, "POST", "/api/v1/users", Some(json!({ "name": "anna", "role": "viewer" })));
    let by_proxy = |site: &Site, name: &str| {
        request(&site.address, "GET", "/api/v1/auth/me", &[("x-forwarded-user", name)], None).status
    };
    assert_eq!(by_proxy(&site, "anna"), 401);
    assert_eq!(daemon.stop(), 0);
    site.home.set("PALISADE__DASHBOARD__USER_HEADER", "X-Forwarded-User");
    let _daemon = site.start();
    assert_eq!(["anna", "nobody", ""].map(|name| by_proxy(&site, name)), [200, 401, 401]);
}

#[test]
fn pages_bring_nothing_from_elsewhere_and_are_small() {
    let site = Site::new();
    let _daemon = site.start();
    let page = site.ask("", "GET", "/case/whatever", None);
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let tag = page.header("etag").to_owned();
    let known = request(&site.address, "GET", "/", &[("if-none-match", &tag)], None);
    assert_eq!((known.status, known.text()), (304, String::new()));
    let text = page.text();
    assert!(!text.contains("<style") && !text.contains("http"), "{text}");
    let mut bytes = text.len();
    let assets = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets")).unwrap();
    for asset in
        assets.map(|asset| asset.unwrap().file_name().into_string().unwrap()).filter(|name| name != "index.html")
    {
        let answer = site.ask("", "GET", &format!("/assets/{asset}"), None);
        assert_eq!(answer.status, 200, "{asset}");
        let text = answer.text();
        bytes += text.len();
        assert!(!text.contains("innerHTML") && !text.contains("eval(") && !text.contains("outerHTML"), "{asset}");
    }
    assert!(bytes < 200_000, "{bytes}");
    assert_eq!(site.ask("", "GET", "/assets/../Cargo.toml", None).status, 404);
    assert_eq!(site.ask("", "GET", "/api/v1/nonsense", None).status, 404);
    assert_eq!(site.ask("", "POST", "/", Some(json!({}))).status, 405);
}
