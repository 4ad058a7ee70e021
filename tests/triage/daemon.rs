//! The daemon with models: what doubtful findings become, and what models cannot do.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, eventually};
use crate::support::log::line;
use crate::support::standin::{Answer, Manner, Request, Standin, bodies};

/// Rules of known scores, so that no test depends on what built-in ones are worth.
const RULES: &str = r#"
[[rule]]
id = "grey-five"
category = "sqli"
score = 5
target = ["args"]
description = "a doubtful word"
reference = "CWE-89"
pattern = '''doubtfulfive'''
attack = ["/?q=doubtfulfive"]
benign = ["/?q=doubtful"]

[[rule]]
id = "grey-eight"
category = "sqli"
score = 8
target = ["args"]
description = "a worse word"
reference = "CWE-89"
pattern = '''doubtfuleight'''
attack = ["/?q=doubtfuleight"]
benign = ["/?q=doubtful"]

[[rule]]
id = "certain-ten"
category = "sqli"
score = 10
target = ["path"]
description = "no doubt"
reference = "CWE-89"
pattern = '''withoutadoubt'''
attack = ["/withoutadoubt"]
benign = ["/?q=doubtful"]
"#;

const FIVE: &str = "GET /item?id=7&q=doubtfulfive'+or+secretword";
const EIGHT: &str = "GET /item?id=7&q=doubtfuleight'+or+secretword";
const CERTAIN: &str = "GET /withoutadoubt?id=7";

/// Log-probabilities by which the label is malicious with this probability.
pub fn label(probability: f64) -> Answer {
    bodies::ollama::label(&[("mal", probability.ln()), ("ben", (1.0 - probability).ln())])
}

fn verdict(class: &str, confidence: u8) -> String {
    json!({ "verdict": class, "confidence": confidence, "threat_type": "sqli", "reasoning": "it quotes" }).to_string()
}

/// An Ollama that has the model and answers every question so.
pub fn ollama(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Standin {
    let standin = Standin::start();
    standin.otherwise(move |request| match request.path.as_str() {
        "/api/tags" => bodies::ollama::tags(&["phi3.5:3.8b"]),
        _ => answer(request),
    });
    standin
}

/// A cloud that has the model and answers every question so.
pub fn cloud(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Standin {
    let standin = Standin::start();
    standin.otherwise(move |request| match request.path.as_str() {
        "/v1/models" => bodies::openai::models(&["gpt-oss-120b"]),
        _ => answer(request),
    });
    standin
}

pub fn first(standin: &Standin) -> String {
    format!("[[tier]]\nname = \"local\"\nprovider = \"ollama\"\nurl = \"{}\"\ntimeout_secs = 5\n", standin.url())
}

pub fn second(standin: &Standin) -> String {
    format!(
        "[[tier]]\nname = \"cloud\"\nprovider = \"openai\"\nurl = \"{}/v1\"\nmodel = \"gpt-oss-120b\"\napi_key = \"sk-test\"\n\
         timeout_secs = 5\nusd_per_million_input = 1.0\n",
        standin.url()
    )
}

/// A Palisade with these tiers that follows `access.log`.
pub fn home(tiers: &str) -> Home {
    let home = Home::new();
    configure(&home, tiers);
    home
}

fn configure(home: &Home, tiers: &str) {
    fs::create_dir_all(home.path("rules")).unwrap();
    fs::write(home.path("rules/grey.toml"), RULES).unwrap();
    let (log, rules) = (home.path("access.log").display().to_string(), home.path("rules").display().to_string());
    home.configure(&format!(
        "{tiers}\n[detect]\nrules_dir = \"{rules}\"\n[[source]]\npath = \"{log}\"\nstart = \"beginning\"\n"
    ));
}

pub fn append(home: &Home, text: &str) {
    let mut file = File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The finding of this client, once it was decided by `decided_by`.
fn decided(home: &Home, client: &str, decided_by: &str) -> Value {
    eventually(&format!("{client} is decided by {decided_by}"), || {
        home.findings().into_iter().find(|row| row["source_ip"] == client && row["decided_by"] == decided_by)
    })
}

fn decision(home: &Home, client: &str, state: &str) -> Value {
    eventually(&format!("the block of {client} is {state}"), || {
        home.decisions().into_iter().find(|row| row["target"] == client && row["state"] == state)
    })
}

fn asked(standin: &Standin) -> Vec<Request> {
    // A local model is warmed up at the start.
    let is_question =
        |request: &Request| request.method == "POST" && !request.json()["options"]["num_predict"].eq(&json!(1));
    standin.requests().into_iter().filter(is_question).collect()
}

fn stop(daemon: Daemon) {
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_sure_model_blocks_what_rules_doubt_and_clears_what_they_would_block() {
    let model = ollama(|request| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let view = &text[text.rfind("request: ").unwrap()..];
        label(if view.contains("grey-five") { 0.99 } else { 0.01 })
    });
    let home = home(&first(&model));
    let daemon = home.start();
    append(&home, &(line("203.0.113.5", FIVE, 200) + &line("203.0.113.8", EIGHT, 200)));
    let raised = decided(&home, "203.0.113.5", "tier1");
    assert_eq!(
        (&raised["decision"], &raised["verdict"], &raised["score"]),
        (&json!("block"), &json!("malicious"), &json!(5))
    );
    assert!(raised["reasoning"].as_str().unwrap().contains("8 of 10"), "{raised}");
    let ban = decision(&home, "203.0.113.5", "active");
    assert_eq!(ban["finding_id"], raised["id"]);
    let cleared = decided(&home, "203.0.113.8", "tier1");
    assert_eq!((&cleared["decision"], &cleared["verdict"]), (&json!("monitor"), &json!("benign")));
    decision(&home, "203.0.113.8", "refused");
    // What left: no address, no word that the client wrote.
    for request in asked(&model) {
        let body = String::from_utf8(request.body).unwrap();
        assert!(
            !body.contains("203.0.113") && !body.contains("secretword") && !body.contains("doubtfulfive'"),
            "{body}"
        );
    }
    let ledger = home.json(&["triage", "ledger"]);
    assert_eq!((&ledger["services"][0]["service"], &ledger["services"][0]["calls"]), (&json!("local"), &json!(2)));
    assert!(ledger["services"][0]["sent_bytes"].as_u64().unwrap() > 100, "{ledger}");
    let status = home.status();
    assert_eq!(
        (&status["triage"]["tiers"][0]["malicious"], &status["triage"]["tiers"][0]["benign"]),
        (&json!(1), &json!(1))
    );
    stop(daemon);
}

#[test]
fn what_the_first_model_leaves_in_doubt_the_second_judges_with_tools_that_take_no_address() {
    let model = ollama(|_| label(0.55));
    let far = cloud(|request| {
        let body = request.json();
        let tools = body["messages"].as_array().unwrap().iter().filter(|one| one["role"] == "tool").count();
        match tools {
            0 => bodies::openai::call("check_abuseipdb", "{\"ipAddress\": \"8.8.8.8\"}"),
            1 => bodies::openai::call("recent_activity", "{}"),
            _ => bodies::openai::chat(&format!(
                "<think>{{\"verdict\": \"benign\"}}</think>\n{}",
                verdict("malicious", 9)
            )),
        }
    });
    let home = home(&(first(&model) + &second(&far)));
    let daemon = home.start();
    append(&home, &line("203.0.113.5", FIVE, 200));
    let raised = decided(&home, "203.0.113.5", "tier2");
    assert_eq!(raised["decision"], "block");
    decision(&home, "203.0.113.5", "active");
    let questions = asked(&far);
    assert_eq!(questions.len(), 3);
    let last = questions[2].json();
    let said: Vec<&str> = last["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["role"] == "tool")
        .map(|one| one["content"].as_str().unwrap())
        .collect();
    assert!(said[0].starts_with("refused"), "{said:?}");
    assert!(said[1].contains("recent"), "{said:?}");
    let first = questions[0].json()["messages"][1]["content"].as_str().unwrap().to_owned();
    assert!(first.contains("first opinion: malicious, 2 of 10"), "{first}");
    let status = home.status();
    assert_eq!(status["triage"]["refused_targets"], 1);
    assert_eq!(status["triage"]["tiers"][0]["escalated"], 1);
    let ledger = home.json(&["triage", "ledger"]);
    let cloud = ledger["services"].as_array().unwrap().iter().find(|one| one["service"] == "cloud").unwrap();
    assert!(cloud["usd"].as_f64().unwrap() > 0.0 && cloud["calls"] == 3, "{ledger}");
    stop(daemon);
}

#[test]
fn whom_nobody_would_block_costs_no_call() {
    let model = ollama(|_| label(0.99));
    let home = home(&(first(&model) + "[client]\nallow = [\"203.0.113.0/24\"]\n"));
    let daemon = home.start();
    append(
        &home,
        &(line("203.0.113.8", EIGHT, 200) + &line("10.1.2.3", EIGHT, 200) + &line("198.51.100.8", FIVE, 200)),
    );
    decided(&home, "198.51.100.8", "tier1");
    assert!(decision(&home, "203.0.113.8", "refused")["note"].as_str().unwrap().contains("allowlisted"));
    decision(&home, "10.1.2.3", "refused");
    assert_eq!(asked(&model).len(), 1);
    stop(daemon);
}

#[test]
fn requests_that_look_alike_cost_one_call() {
    let model = ollama(|_| label(0.01));
    let home = home(&first(&model));
    let daemon = home.start();
    let lines: String = (0..60)
        .map(|n| {
            line(
                &format!("203.0.113.{n}"),
                &FIVE.replace("id=7", &format!("id={n}")).replace("secretword", &format!("word{n}")),
                200,
            )
        })
        .collect();
    append(&home, &lines);
    eventually("all are judged", || {
        let rows = home.findings();
        (rows.len() == 60 && rows.iter().all(|row| row["decided_by"] == "tier1")).then_some(())
    });
    let calls = asked(&model).len();
    assert!(calls <= 2, "{calls} calls for requests that look alike");
    stop(daemon);
}

#[test]
fn a_client_that_sends_ever_other_doubtful_requests_costs_few_calls_and_is_blocked_by_one() {
    // The examples name it twice.
    let model = ollama(|request| {
        let is_sure = request.json().to_string().matches("etc").count() > 2;
        label(if is_sure { 0.99 } else { 0.5 })
    });
    let home = home(&first(&model));
    let daemon = home.start();
    const WORDS: [&str; 12] =
        ["select", "union", "script", "passwd", "php", "eval", "cat", "wget", "admin", "env", "bash", "ldap"];
    let lines: String = (0..40)
        .map(|n| {
            let (one, other) = (WORDS[n % 12], WORDS[n / 12]);
            line("203.0.113.5", &format!("GET /item?id=doubtfulfive'{one}({other})"), 200)
        })
        .collect();
    append(&home, &lines);
    eventually("all are findings", || (home.findings().len() == 40).then_some(()));
    eventually("nothing waits", || (home.status()["triage"]["waiting"] == 0).then_some(()));
    let calls = asked(&model).len();
    assert!((1..=8).contains(&calls), "{calls} calls for one client's burst");
    append(&home, &line("203.0.113.5", "GET /item?id=doubtfulfive'/etc/", 200));
    decision(&home, "203.0.113.5", "active");
    stop(daemon);
}

#[test]
fn while_models_hang_rules_decide_and_the_certain_is_blocked_at_once() {
    let model = ollama(|_| label(0.5).manner(Manner::Hang));
    let home = home(&(first(&model) + "[triage]\nmax_wait_secs = 3\n"));
    let daemon = home.start();
    append(&home, &(line("203.0.113.5", FIVE, 200) + &line("203.0.113.8", EIGHT, 200)));
    eventually("the model is asked", || (!asked(&model).is_empty()).then_some(()));
    let held = decision(&home, "203.0.113.8", "held");
    assert_eq!(held["note"], "waiting for a model's opinion");
    let started = Instant::now();
    append(&home, &line("203.0.113.9", CERTAIN, 200));
    decision(&home, "203.0.113.9", "active");
    assert!(started.elapsed() < Duration::from_secs(3), "it waited {:?}", started.elapsed());
    // Nobody answers: rules would block the one and watch the other.
    decision(&home, "203.0.113.8", "active");
    let watched = eventually("the other is left to rules", || {
        home.findings()
            .into_iter()
            .find(|row| row["source_ip"] == "203.0.113.5" && row["reasoning"].as_str().unwrap().contains("no model"))
    });
    assert_eq!((&watched["decision"], &watched["decided_by"]), (&json!("monitor"), &json!("rules")));
    stop(daemon);
}

#[test]
fn whatever_a_server_answers_rules_go_on() {
    let long = format!("{{\"verdict\": \"benign\", \"reasoning\": \"{}\"", "x".repeat(5000));
    let answers: Vec<Answer> = vec![
        bodies::ollama::error(404, "model 'phi3.5:3.8b' not found"),
        bodies::page(502),
        bodies::ollama::chat("this request is unsafe, it is benign to nobody"),
        bodies::ollama::chat("NOT MALICIOUS. **verdict: benign**"),
        bodies::ollama::cut(&long),
        bodies::ollama::label(&[("The", -0.1), ("mal", -3.0)]),
        bodies::ollama::label(&[]),
        Answer::text(200, "{}"),
        Answer::text(200, "[1, 2"),
        Answer::text(200, "").manner(Manner::Close),
        label(0.01).manner(Manner::Cut),
    ];
    for answer in answers {
        let shown = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body));
        let model = ollama(move |_| answer.clone());
        let home = home(&first(&model));
        let daemon = home.start();
        append(&home, &line("203.0.113.8", EIGHT, 200));
        decision(&home, "203.0.113.8", "active");
        let row = decided(&home, "203.0.113.8", "rules");
        assert_eq!(row["decision"], "block", "{shown}");
        stop(daemon);
    }
}

#[test]
fn an_operators_word_stands_over_models_and_rules_also_after_a_restart() {
    let model = ollama(|_| label(0.99));
    let home = home(&first(&model));
    let mut daemon = home.start();
    append(&home, &line("203.0.113.5", FIVE, 200));
    let row = decided(&home, "203.0.113.5", "tier1");
    decision(&home, "203.0.113.5", "active");
    let id = row["id"].as_str().unwrap();
    let said = home.json(&["verdict", id, "benign"]);
    assert_eq!(said["lifted"], json!(["203.0.113.5"]));
    decision(&home, "203.0.113.5", "lifted");
    append(&home, &line("203.0.113.6", FIVE, 200));
    assert_eq!(decided(&home, "203.0.113.6", "operator")["decision"], "none");
    assert_eq!(daemon.stop(), 0);
    daemon = home.start();
    append(&home, &line("203.0.113.7", FIVE, 200));
    assert_eq!(decided(&home, "203.0.113.7", "operator")["verdict"], "benign");
    assert_eq!(asked(&model).len(), 1, "what is corrected costs no call");
    let said = home.json(&["verdict", id, "malicious"]);
    assert_eq!(said["refused"], Value::Null);
    decision(&home, "203.0.113.5", "active");
    append(&home, &line("203.0.113.10", FIVE, 200));
    decision(&home, "203.0.113.10", "active");
    let wrong = home.palisade(&["verdict", "0123456789abcdef", "benign"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("no finding has the id"), "{}", wrong.stderr);
    stop(daemon);
}

#[test]
fn a_block_that_waits_for_a_model_outlives_a_crash() {
    let model = ollama(|_| label(0.5).manner(Manner::Hang));
    let home = home(&first(&model));
    let daemon = home.start();
    append(&home, &line("203.0.113.8", EIGHT, 200));
    decision(&home, "203.0.113.8", "held");
    daemon.kill();
    let daemon = home.start();
    decision(&home, "203.0.113.8", "active");
    stop(daemon);
}

#[test]
fn a_budget_that_is_spent_stops_calls_and_nothing_else() {
    let far = cloud(|_| bodies::openai::chat(&verdict("malicious", 9)));
    let home = home(&(second(&far) + "max_requests_per_day = 1\n"));
    let daemon = home.start();
    append(&home, &line("203.0.113.5", FIVE, 200));
    decision(&home, "203.0.113.5", "active");
    append(&home, &line("203.0.113.8", EIGHT, 200));
    let row = decision(&home, "203.0.113.8", "active");
    assert_eq!(row["proposer"], "rules");
    let status = home.status();
    assert!(status["problems"].to_string().contains("budget is spent"), "{status}");
    stop(daemon);
    let daemon = home.start();
    append(&home, &line("203.0.113.9", &EIGHT.replace("/item", "/other/place"), 200));
    decision(&home, "203.0.113.9", "active");
    assert_eq!(asked(&far).len(), 1, "the budget counts over restarts");
    stop(daemon);
}

#[test]
fn a_missing_model_is_said_with_the_way_out() {
    let far = Standin::start();
    far.otherwise(|_| bodies::openai::models(&["gpt-oss-120b", "qwen-3.8-27b"]));
    let home = home(&second(&far).replace("gpt-oss-120b", "qwen-3-32b"));
    let mut daemon = home.start();
    daemon.says("has no model qwen-3-32b; it has gpt-oss-120b, qwen-3.8-27b");
    let checked = home.palisade(&["triage", "check"]);
    let doctored = home.palisade(&["doctor"]);
    assert!(doctored.code == 1 && doctored.stdout.contains(checked.stdout.trim()), "{}", doctored.stdout);
    assert!(checked.code == 1 && checked.stdout.contains("set `model`"), "{}{}", checked.stdout, checked.stderr);
    stop(daemon);
}

#[test]
fn local_only_sends_nothing_out_and_what_is_not_configured_is_not_asked() {
    let home = home(
        "[[tier]]\nname = \"cloud\"\nprovider = \"openai\"\nurl = \"https://models.example.com/v1\"\nmodel = \"m\"\n\
         [triage]\nprivacy = \"local_only\"\n",
    );
    let mut daemon = home.start();
    daemon.says("is not asked: triage.privacy is");
    append(&home, &line("203.0.113.8", EIGHT, 200));
    decision(&home, "203.0.113.8", "active");
    assert_eq!(home.status()["triage"], Value::Null);
    stop(daemon);
}

#[test]
fn scan_and_the_configuration_speak_of_models_as_they_should() {
    let home = home("[[tier]]\nname = \"cloud\"\nprovider = \"openai\"\nurl = \"models.example.com\"\nmodel = \"m\"\n");
    let checked = home.palisade(&["config", "check"]);
    assert!(
        checked.code == 78 && checked.stderr.contains("tier.url") || checked.stdout.contains("tier.url"),
        "{}",
        checked.stderr
    );
    configure(
        &home,
        "[[tier]]\nname = \"cloud\"\nprovider = \"openai\"\nurl = \"http://192.0.2.1/v1\"\nmodel = \"m\"\napi_key = \"sk-secret\"\n",
    );
    append(&home, &line("203.0.113.8", EIGHT, 200));
    let rows = home.palisade(&["scan", "access.log", "--output", "jsonl"]).stdout;
    assert!(rows.contains("\"decision\":\"block\""), "models are off: {rows}");
    let shown = home.palisade(&["config", "show"]);
    assert!(!shown.stdout.contains("sk-secret") && shown.stdout.contains("***"), "{}", shown.stdout);
}

#[test]
fn samples_of_what_no_rule_minds_are_told_and_nothing_more() {
    let model = ollama(|_| label(0.99));
    let home = home(&(first(&model) + "[triage]\nsample_per_hour = 3600\n"));
    let mut daemon = home.start();
    append(&home, &line("203.0.113.3", "GET /products/7", 200));
    let row = decided(&home, "203.0.113.3", "tier1");
    assert_eq!((&row["score"], &row["decision"], &row["rule_ids"]), (&json!(0), &json!("none"), &json!([])));
    daemon.says("a model takes for an attack what no rule minds");
    assert!(home.decisions().is_empty(), "nobody is blocked by a model alone");
    stop(daemon);
}

#[test]
fn what_a_service_knows_of_an_address_is_asked_once_and_counts_a_little() {
    let service = Standin::start();
    service.otherwise(|_| bodies::abuseipdb::check("9.9.9.9", 100));
    let far = cloud(|request| {
        let body = request.json();
        let is_told = body["messages"].as_array().unwrap().iter().any(|one| one["role"] == "tool");
        match is_told {
            false => bodies::openai::call("check_abuseipdb", "{}"),
            true => bodies::openai::chat(&verdict("malicious", 6)),
        }
    });
    let reputation = format!("[reputation]\nabuseipdb_key = \"secretkey\"\nabuseipdb_url = \"{}\"\n", service.url());
    let home = home(&(second(&far) + &reputation));
    let daemon = home.start();
    // 5, by 2 for a fairly sure opinion and by 1 for the reputation: on the edge.
    append(&home, &(line("9.9.9.9", FIVE, 200) + &line("9.9.9.9", &FIVE.replace("item", "search"), 404)));
    eventually("both are judged", || {
        let rows = home.findings();
        (rows.iter().filter(|row| row["decided_by"] == "tier1").count() == 2).then_some(())
    });
    assert_eq!(service.requests().len(), 1, "the answer is remembered");
    let request = &service.requests()[0];
    assert!(request.path.starts_with("/check?ipAddress=9.9.9.9") && request.header("key") == Some("secretkey"));
    let rows = home.findings();
    assert!(rows.iter().all(|row| row["decision"] == "block"), "{rows:#?}");
    assert!(rows[0]["reasoning"].as_str().unwrap().ends_with("8 of 10"), "{}", rows[0]);
    let told: Vec<String> =
        asked(&far).iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    assert!(told.iter().all(|body| !body.contains("9.9.9.9") && !body.contains("comment")), "{told:?}");
    let ledger = home.json(&["triage", "ledger"]);
    let spent = ledger["services"].as_array().unwrap().iter().find(|one| one["service"] == "abuseipdb").unwrap();
    assert_eq!((&spent["calls"], &spent["answered"]), (&json!(1), &json!(1)));
    stop(daemon);
}

#[test]
fn a_server_that_is_busy_for_a_moment_is_asked_again() {
    let model = ollama(|_| label(0.99));
    let home = home(&first(&model));
    let daemon = home.start();
    eventually("the model is warm", || model.requests().iter().any(|one| one.method == "POST").then_some(()));
    model.then(bodies::ollama::error(503, "server busy, please try again.  maximum pending requests exceeded"));
    append(&home, &line("203.0.113.5", FIVE, 200));
    decided(&home, "203.0.113.5", "tier1");
    assert_eq!(asked(&model).len(), 2);
    let status = home.status();
    assert_eq!((&status["triage"]["tiers"][0]["errors"], &status["healthy"]), (&json!(1), &json!(true)), "{status}");
    stop(daemon);
}
