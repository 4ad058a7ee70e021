//! `palisade why`: what led to a decision, and what would have avoided it.

use std::fs;
use std::io::Write;

use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line};

fn follow(home: &Home, more: &str) {
    let log = home.path("access.log").display().to_string();
    home.configure(&format!("{more}\n[[source]]\npath = \"{log}\"\nstart = \"beginning\"\n"));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn why_tells_what_led_to_a_ban_and_which_change_would_have_avoided_it() {
    let home = Home::new();
    follow(&home, "");
    let visitor = line("203.0.113.5", "GET /products?n=7", 200);
    append(&home, &(visitor.clone() + &attack("198.51.100.7", 1) + &visitor));
    let daemon = home.start();
    let decision = eventually("it is decided", || home.decisions().pop());

    let told = home.json(&["why", "198.51.100.7"]);
    assert!(told["advice"].to_string().contains("prepared statement"), "{}", told["advice"]);
    assert!(told["advice"].to_string().contains("it may have worked"), "it was answered 200");
    assert_eq!(told["decision"]["id"], decision["id"]);
    assert_eq!(told["findings"].as_array().unwrap().len(), 1);
    assert_eq!(told["findings"][0]["line_number"].as_u64(), None);
    assert_eq!(told["replay"]["lines"], 1, "another client's lines are not its own");
    assert_eq!(told["replay"]["blocks"], true);
    let remedies = told["replay"]["remedies"].as_array().unwrap();
    let helps = |part: &str| {
        let remedy = remedies.iter().find(|remedy| remedy["change"].as_str().unwrap().contains(part));
        remedy.unwrap_or_else(|| panic!("{part}: {remedies:#?}"))["helps"].as_bool().unwrap()
    };
    assert!(helps("[[exclusion]] path = \"^/products$\"") && helps("client.allow"));

    // By the id too, and for people.
    let id = decision["id"].as_str().unwrap();
    let said = home.palisade(&["why", id]).stdout;
    for part in [
        "198.51.100.7: active",
        "sqli-union-select +9",
        "GET /products?n=1",
        "palisade unban 198.51.100.7",
        "not blocked",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }

    // The remedy does what was said of it.
    let scan = home.palisade(&["scan", "access.log", "--output", "json"]).stdout;
    assert!(scan.contains("198.51.100.7"));
    follow(&home, "[[exclusion]]\npath = \"^/products$\"\nrules = [\"sqli-*\"]\nreason = \"tried\"\n");
    let scan = home.palisade(&["scan", "access.log", "--output", "json"]).stdout;
    assert!(!scan.contains("198.51.100.7"), "{scan}");
    assert_eq!(home.json(&["why", "198.51.100.7"])["replay"]["blocks"], false);

    // The log is gone; what was recorded is not.
    fs::rename(home.path("access.log"), home.path("elsewhere")).unwrap();
    let said = home.palisade(&["why", "198.51.100.7"]).stdout;
    assert!(said.contains("sqli-union-select") && said.contains("does not hold the line any more"), "{said}");
    fs::rename(home.path("elsewhere"), home.path("access.log.1")).unwrap();
    follow(&home, "");
    assert_eq!(home.json(&["why", "198.51.100.7"])["replay"]["blocks"], true, "rotated once, it is found");

    for (what, message) in [("203.0.113.5", "nothing was ever decided"), ("a b", "neither an address")] {
        let ran = home.palisade(&["why", what]);
        assert!(ran.code == 1 && ran.stderr.contains(message), "{}", ran.stderr);
    }
    assert_eq!(daemon.stop(), 0);
}
