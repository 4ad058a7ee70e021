//! The dashboard: who may do what, and what people do with it in a browser.

mod access;
mod api;
mod hostile;
mod live;
mod pages;
mod stories;

use std::path::Path;

use palisade::event::Role;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, eventually};
use crate::support::http::{Answer, request};
use crate::support::postgres::free_port;

const PASSWORD: &str = "a quite long password";

/// A daemon with a dashboard, which follows the file `access.log` of its home.
pub struct Site {
    pub home: Home,
    pub address: String,
}

impl Site {
    pub fn new() -> Site {
        let mut home = Home::new();
        let address = format!("127.0.0.1:{}", free_port());
        home.set("PALISADE__DASHBOARD__LISTEN", &address);
        home.configure(&format!(
            "[[source]]\npath = \"{}\"\nstart = \"beginning\"\n",
            home.path("access.log").display()
        ));
        std::fs::write(home.path("access.log"), "").unwrap();
        Site { home, address }
    }

    pub fn start(&self) -> Daemon {
        let daemon = self.home.start();
        eventually("the dashboard is served", || std::net::TcpStream::connect(&self.address).ok());
        daemon
    }

    fn log(&self) -> std::path::PathBuf {
        self.home.path("access.log")
    }

    pub fn ask(&self, cookie: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let cookie = format!("palisade_session={cookie}");
        let headers: &[(&str, &str)] = if cookie.ends_with('=') { &[] } else { &[("cookie", &cookie)] };
        request(&self.address, method, path, headers, body.as_ref())
    }

    /// Takes up the invitation with this link; gives the session.
    pub fn welcome(&self, link: &str) -> String {
        let (_, key) = link.split_once('#').unwrap();
        let body = json!({ "key": key, "password": PASSWORD });
        let answer = self.ask("", "POST", "/api/v1/auth/welcome", Some(body));
        assert_eq!(answer.status, 200);
        session(&answer)
    }

    fn login(&self, name: &str, password: &str) -> Answer {
        self.ask("", "POST", "/api/v1/auth/login", Some(json!({ "name": name, "password": password })))
    }
}

/// The session that an answer gives.
fn session(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie");
    let value = cookie.split(';').next().unwrap().strip_prefix("palisade_session=").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    value.to_owned()
}

/// The link of the first administrator, as the daemon says it.
pub fn first_link(daemon: &Daemon) -> String {
    eventually("the daemon says the first link", || {
        let said = daemon.said();
        let (_, rest) = said.split_once("/welcome#")?;
        Some(format!("/welcome#{}", rest.get(..64)?))
    })
}

/// Sessions of an administrator, an analyst and a viewer.
fn everybody(site: &Site, link: &str) -> [(Role, String); 3] {
    let admin = site.welcome(link);
    let invited = |name: &str, role: &str| {
        let answer = site.ask(&admin, "POST", "/api/v1/users", Some(json!({ "name": name, "role": role }))).json();
        site.welcome(answer["link"].as_str().unwrap())
    };
    let (analyst, viewer) = (invited("anna", "analyst"), invited("victor", "viewer"));
    [(Role::Admin, admin), (Role::Analyst, analyst), (Role::Viewer, viewer)]
}

fn append(log: &Path, line: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).open(log).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
