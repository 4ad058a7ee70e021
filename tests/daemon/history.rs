//! What happened: `history`, `stats` and their paths of the API, beside a daemon, without one, of Postgres.

use std::fs;

use palisade::event::Timestamp;
use palisade::record::{FindingRow, Postgres, Rows, Store, StoreConfig};
use serde_json::{Value, json};

use crate::support::daemon::{Home, eventually};
use crate::support::log::{attack, line};
use crate::support::postgres;

/// A home whose log has five attacks of two clients, one with what terminals and spreadsheets obey.
fn home() -> Home {
    let home = Home::new();
    let log = home.path("access.log");
    home.configure(&format!("[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", log.display()));
    let hostile = "GET /x?a=1%27%20UNION%20SELECT%20a%20FROM%20b--&b=\x1b[2J\u{202e},;";
    let hostile = line("198.51.100.9", hostile, 200).replace("Mozilla/5.0", "=cmd|' /C calc'!A0,1");
    let lines: Vec<String> = (0..4).map(|n| attack("198.51.100.7", n)).chain([hostile]).collect();
    fs::write(&log, lines.concat()).unwrap();
    home
}

#[test]
fn history_and_stats_tell_the_same_beside_a_daemon_and_without_one() {
    let home = home();
    for verb in ["history", "stats"] {
        let ran = home.palisade(&[verb]);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("there is no") && ran.stderr.contains("`palisade run` makes it"), "{}", ran.stderr);
    }
    let daemon = home.start();
    let all = eventually("five findings", || {
        Some(home.json(&["history"])).filter(|rows| rows.as_array().unwrap().len() == 5)
    });
    let over_api = home.get("/api/v1/history?since=7d").unwrap();
    assert_eq!(over_api, all, "the API says the same");
    let stats = home.json(&["stats", "--since", "24h"]);
    let mut of_api = home.get("/api/v1/stats?since=24h").unwrap();
    // Rates are of the time that has passed.
    of_api["totals"]["findings_per_day"] = stats["totals"]["findings_per_day"].clone();
    assert_eq!(of_api, stats);
    assert_eq!((&stats["totals"]["findings"], &stats["threat_level"]), (&json!(5), &json!("critical")));
    assert_eq!((&stats["totals"]["outlook"], &stats["step"]), (&json!("no_data"), &json!("hour")));
    let sum =
        |list: &str| stats[list].as_array().unwrap().iter().map(|one| one["findings"].as_i64().unwrap()).sum::<i64>();
    for list in ["trend", "categories", "severities", "clients", "networks", "paths", "decided_by"] {
        assert_eq!(sum(list), 5, "{list}: {}", stats[list]);
    }
    assert_eq!((&stats["clients"][0]["key"], &stats["clients"][0]["findings"]), (&json!("198.51.100.7"), &json!(4)));
    assert_eq!(stats["effect"]["targets"], 2);

    let found = |arguments: &[&str]| home.json(&[&["history"], arguments].concat()).as_array().unwrap().len();
    assert_eq!(found(&["--client", "198.51.100.7"]), 4);
    assert_eq!(found(&["--client", "198.51.100.0/24", "--limit", "2"]), 2);
    assert_eq!(
        (found(&["--contains", "UNION"]), found(&["--contains", "union"]), found(&["--contains", "U%"])),
        (5, 0, 0)
    );
    assert_eq!((found(&["--min-score", "11"]), found(&["--action", "block", "--category", "sqli"])), (0, 5));
    assert_eq!((found(&["--decisions"]), found(&["--decisions", "--state", "lifted"])), (2, 0));
    assert_eq!(found(&["--until", "2020-01-01", "--since", "2019-01-01"]), 0);
    let case = all[0]["case_id"].as_str().unwrap();
    assert!((1..5).contains(&found(&["--case", case])), "findings of one client");

    let human = home.palisade(&["history", "--client", "198.51.100.9"]).stdout;
    assert!(human.contains("finding ") && !human.contains(['\x1b', '\u{202e}']), "{human:?}");
    let id = human.split("palisade why ").nth(1).unwrap().split_whitespace().next().unwrap();
    let why = home.palisade(&["why", id]).stdout;
    assert!(why.contains("198.51.100.9"), "it goes on from there: {why}");
    let csv = home.palisade(&["history", "--output", "csv", "--client", "198.51.100.9"]).stdout;
    assert_eq!(csv.matches("\r\n").count(), 2, "a head and a row: {csv:?}");
    assert!(csv.contains(",\"'=cmd|' /C calc'!A0,1\","), "{csv}");
    assert!(!csv.contains(['\x1b', '\u{202e}']), "{csv:?}");
    let csv = home.palisade(&["stats", "--output", "csv"]).stdout;
    assert!(
        csv.contains("\"totals\",\"\",\"findings\",5,0\r\n")
            && csv.contains("\"client\",\"198.51.100.7\",\"findings\",4,0\r\n"),
        "{csv}"
    );
    let human = home.palisade(&["stats"]).stdout;
    for part in ["(UTC", "this host", "5 findings", "Threat level: critical", "no data", "198.51.100.0/24", "########"]
    {
        assert!(human.contains(part), "{part} is not in\n{human}");
    }
    assert!(human.is_ascii(), "the locale has no more: {human}");
    assert!(human.lines().all(|line| line.len() <= 100), "{human}");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.json(&["history"]), all, "nobody runs");
    assert_eq!(home.start().stop(), 0, "the daemon starts after it was read");
}

#[test]
fn what_makes_no_sense_is_told() {
    let home = home();
    let daemon = home.start();
    for (arguments, wanted) in [
        (&["history", "--since", "yesterday"][..], "is no moment; write for example 7d"),
        (&["history", "--since", "1h", "--until", "2h"], "no time at all"),
        (&["history", "--client", "nobody"], "neither an IP address nor a network"),
        (&["history", "--category", "sqly"], "is no category; there are "),
        (&["history", "--action", "kill"], "there are none, monitor, block"),
        (&["history", "--decisions", "--state", "gone"], "is no state of a decision"),
        (&["history", "--agent", "other"], "only Postgres knows agents apart"),
        (&["stats", "--since", "1990-01-01", "--by", "hour"], "steps are too many"),
    ] {
        let ran = home.palisade(arguments);
        assert_eq!(ran.code, 1, "{arguments:?}");
        assert!(ran.stderr.contains(wanted), "{arguments:?}: {}", ran.stderr);
    }
    for arguments in [
        &["status", "--output", "csv"][..],
        &["history", "--decisions", "--rule", "x"],
        &["history", "--state", "active"],
    ] {
        assert_eq!(home.palisade(arguments).code, 2, "{arguments:?}");
    }
    let empty = home.palisade(&["stats", "--since", "2020-01-01", "--until", "2020-01-02"]).stdout;
    assert!(empty.contains("Nothing was recorded") && empty.contains("palisade scan"), "{empty}");
    assert_eq!(daemon.stop(), 0);
}

/// A client under its pseudonym is found by its address.
#[test]
fn a_client_with_a_pseudonym_is_found_by_its_address() {
    let home = home();
    let text = fs::read_to_string(home.path("palisade.toml")).unwrap();
    fs::write(home.path("palisade.toml"), format!("{text}\n[store]\naddresses = \"pseudonyms\"\n")).unwrap();
    let daemon = home.start();
    let of_client = ["history", "--client", "198.51.100.7"];
    let rows =
        eventually("four findings", || Some(home.json(&of_client)).filter(|rows| rows.as_array().unwrap().len() == 4));
    assert!(rows[0]["client"].as_str().unwrap().starts_with("fd"), "{}", rows[0]);
    let of_api = home.get("/api/v1/history?client=198.51.100.7").unwrap();
    assert_eq!(of_api, rows);
    let decisions = home.json(&["history", "--decisions", "--client", "198.51.100.7"]);
    assert_eq!(decisions.as_array().unwrap().len(), 1, "live ones have the address: {decisions}");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.json(&of_client), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_asked_and_this_host_when_it_is_away() {
    let Some(url) = postgres::database("history of all agents") else { return };
    let home = home();
    let daemon = home.start();
    let own = eventually("five findings", || {
        Some(home.json(&["history"])).filter(|rows| rows.as_array().unwrap().len() == 5)
    });
    assert_eq!(daemon.stop(), 0);

    let config = StoreConfig { database_url: url.clone().into(), ..StoreConfig::default() };
    let store = Postgres::connect(&config).await.unwrap().unwrap();
    let configure = |url: &str| {
        let text = fs::read_to_string(home.path("palisade.toml")).unwrap();
        let text = text.split("\n[store]").next().unwrap().to_owned();
        fs::write(home.path("palisade.toml"), format!("{text}\n[store]\ndatabase_url = \"{url}\"\n")).unwrap();
    };
    configure(&url);
    let ran = home.palisade(&["history", "--output", "json"]);
    assert!(ran.stderr.contains("this host's own database answers"), "no tables yet: {}", ran.stderr);
    store.migrate().await.unwrap();
    let ran = home.palisade(&["history", "--output", "json"]);
    assert_eq!((ran.stdout.trim(), &*ran.stderr), ("[]", ""), "nobody has sent anything");
    for agent in ["one", "two"] {
        let row = finding(&own[0], agent);
        let rows = Rows { version: 1, findings: vec![row], ..Rows::default() };
        store.put(agent, &rows, Timestamp::now()).await.unwrap();
    }
    let rows = home.json(&["history"]);
    let agents: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["agent"].as_str().unwrap()).collect();
    assert_eq!(agents.len(), 2, "{rows}");
    let of_two = home.json(&["history", "--agent", "two"]);
    assert_eq!((of_two.as_array().unwrap().len(), &of_two[0]["agent"]), (1, &json!("two")));
    assert_eq!(home.json(&["stats"])["totals"]["findings"], 2);
    assert_eq!(home.json(&["stats", "--agent", "one"])["totals"]["findings"], 1);
    assert_eq!(home.json(&["history", "--local"]), own);
    let human = home.palisade(&["stats", "--agent", "one"]).stdout;
    assert!(human.contains("agent one"), "{human}");

    configure("postgres://palisade:secret-word@127.0.0.1:1/palisade?sslmode=disable");
    for verb in ["history", "stats"] {
        let ran = home.palisade(&[verb, "--output", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("127.0.0.1:1") && ran.stderr.contains("this host's own database answers"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("secret-word"), "{}", ran.stderr);
    }
    assert_eq!(home.palisade(&["history", "--agent", "one"]).code, 1, "this host does not know");
    assert_eq!(home.palisade(&["history", "--local"]).stderr, "");
}

fn finding(row: &Value, agent: &str) -> FindingRow {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    FindingRow {
        id: format!("{agent}{}", text("id")),
        file: text("file"),
        generation: 1,
        offset: 0,
        line_number: None,
        time: Timestamp::now(),
        source_ip: Some(text("source_ip")),
        client: Some(text("client")),
        method: text("method"),
        uri: text("uri"),
        status: 200,
        user_agent: text("user_agent"),
        referer: String::new(),
        category: text("category"),
        score: 9,
        rule_ids: vec!["sqli-union-select".into()],
        evidence: row["evidence"].clone().into(),
        action: "block".into(),
        verdict: "malicious".into(),
        confidence: 9,
        decided_by: "rules".into(),
        reasoning: text("reasoning"),
        recorded_at: Timestamp::now(),
        flagged: true,
        is_system_url: false,
        case_id: text("case_id"),
    }
}
