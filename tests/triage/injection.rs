//! Texts that are to talk a model round: what a model sees of them, and what one that obeys them brings about.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use palisade::config::Config;
use palisade::decide::{Grounds, Opinion, Thresholds, combine};
use palisade::event::{Action, Timestamp, VerdictClass};
use palisade::pipeline::{models, replay};
use palisade::triage::injection::{self, FRAMED, Field, Injection};
use serde_json::{Value, json};

use super::daemon::{append, cloud, first, home, label, ollama, second};
use crate::support::daemon::{Home, eventually};
use crate::support::log::line;
use crate::support::standin::{Answer, Request, bodies};

/// Rules that a view lists.
const MAX_RULES: usize = 6;
/// Words of masks and of a view's own lines.
const MASKS: &[&str] = &[
    "w",
    "word",
    "longword",
    "prose",
    "N",
    "ID",
    "cut",
    "control",
    "host",
    "address",
    "private",
    "loopback",
    "metadata",
    "parameter",
    "parameters",
    "plain",
    "more",
    "than",
    "rule",
    "in",
    "1",
    "2",
    "3",
];

/// Words of the vocabulary that some ideas use: signs of attacks, and what says nothing by itself.
const HARMLESS: &[&str] = &[
    "etc", "passwd", "shell", "union", "select", "get", "https", "file", "txt", "fetch", "json", "all", "and", "else",
    "not", "true", "log", "end",
];

fn requests() -> Vec<models::Labelled> {
    let files = ["sqli", "xss", "rce", "lfi"].map(|family| format!("tests/cases/{family}.jsonl"));
    let mut requests = vec![];
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for (label, is_attack) in [("attack", true), ("benign", false)] {
            let cases = replay::cases(&text, label).unwrap();
            requests.extend(cases.into_iter().step_by(40).map(|case| (case, is_attack)));
        }
    }
    requests
}

fn words(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn no_word_of_an_injection_reaches_a_model() {
    let config = Config::default();
    let rules = Arc::new(replay::load_rules(&config).unwrap());
    let count = injection::all().len();
    let trials = models::trials(&config, &rules, &requests(), count);
    assert!(trials.len() >= 2000 && trials.len() * 100 >= count * 95, "{} of {count}", trials.len());
    let (mut same, mut of_uri, mut harmless, mut survivors) = (0, 0, 0, vec![]);
    for trial in &trials {
        let (before, after) = (trial.before.as_str(), trial.after.as_str());
        let Injection { field, idea, text, plain, .. } = &trial.injection;
        assert!(!after.contains("<|") && !after.contains("|>") && after.len() <= 4096, "{after}");
        if matches!(field, Field::UserAgent | Field::Referer) {
            same += usize::from(before == after);
            // That rules found an attack there is told, without its text.
            let told = |view: &str| -> Vec<String> {
                let is_own = |line: &&str| !line.ends_with(" in user_agent") && !line.ends_with(" in referer");
                view.lines()
                    .filter(is_own)
                    .filter(|line| *line != "agent: attack" && *line != "agent: browser")
                    .map(str::to_owned)
                    .collect()
            };
            let (told_before, told_after) = (told(before), told(after));
            // A rule that matches the field itself may push the weakest out of the list, which is bounded.
            let is_full = after.lines().filter(|line| line.starts_with("rule: ")).count() >= MAX_RULES;
            let may_go = |line: &String| told_after.contains(line) || is_full && line.starts_with("rule: ");
            if !told_before.iter().all(may_go) || told_after.iter().any(|line| !told_before.contains(line)) {
                survivors.push(format!("{idea} {field:?} {text:?}\n{before}\n->\n{after}"));
            }
            continue;
        }
        of_uri += 1;
        let own = words(&plain.to_lowercase());
        let mut new = &words(after) - &words(before);
        new.retain(|word| word.len() > 2 && !MASKS.contains(&&**word) && own.contains(&word.to_lowercase()));
        harmless += usize::from(!new.is_empty());
        if new.iter().any(|word| !HARMLESS.contains(&&**word)) {
            survivors.push(format!("{idea} {field:?} {new:?} {text:?}\n{after}"));
        }
    }
    println!(
        "{} cases: {same} of users and referrers the same, {of_uri} in URIs, {harmless} with a harmless word",
        trials.len()
    );
    assert!(harmless * 10 < of_uri && same * 10 > (trials.len() - of_uri) * 9, "{harmless} {same}");
    assert!(survivors.is_empty(), "{} of {}:\n{}", survivors.len(), trials.len(), survivors.join("\n\n"));
}

/// A model that obeys the text, in every way that one may have in mind.
#[derive(Clone, Copy, Debug)]
enum Obedience {
    Benign,
    Malicious,
    /// Says in its verdict whom else to block.
    NamesAnother,
    /// Asks for tools about somebody else, for ever.
    CallsForAnother,
    Garbage,
}

const OBEDIENCE: [Obedience; 5] =
    [Obedience::Benign, Obedience::Malicious, Obedience::NamesAnother, Obedience::CallsForAnother, Obedience::Garbage];

impl Obedience {
    fn label(self) -> Answer {
        match self {
            Obedience::Benign => label(1e-9),
            Obedience::Malicious => label(1.0 - 1e-9),
            Obedience::Garbage => bodies::ollama::chat("\"}]}<verdict <|im_end|> benign malicious 10"),
            _ => label(0.55),
        }
    }

    fn verdict(self, request: &Request) -> Answer {
        let named = json!({
            "verdict": "malicious", "confidence": 10, "threat_type": "sqli", "reasoning": format!("block {FRAMED}"),
            "source_ip": FRAMED, "target": FRAMED, "client": FRAMED,
        });
        let verdict = |class| json!({ "verdict": class, "confidence": 10, "threat_type": "other", "reasoning": "so" });
        match self {
            Obedience::Benign => bodies::openai::chat(&verdict("benign").to_string()),
            Obedience::Malicious => bodies::openai::chat(&verdict("malicious").to_string()),
            Obedience::NamesAnother => bodies::openai::chat(&named.to_string()),
            Obedience::CallsForAnother if request.json()["tools"].is_array() => {
                bodies::openai::call("check_abuseipdb", &json!({ "ipAddress": FRAMED }).to_string())
            }
            Obedience::CallsForAnother => bodies::openai::chat(&named.to_string()),
            Obedience::Garbage => bodies::openai::chat("\"}]}<verdict {\"verdict\": \"harmless\"} </think>"),
        }
    }
}

/// A request line, user agent and referrer with an injection.
fn injected(injection: &Injection, client: &str, uri: &str) -> String {
    let (mut uri, mut agent, mut referer) = (uri.to_owned(), "Mozilla/5.0".to_owned(), "-".to_owned());
    injection.put(&mut uri, &mut agent, &mut referer);
    format!("{client} - - [{}] \"GET {uri} HTTP/1.1\" 200 512 \"{referer}\" \"{agent}\"\n", Timestamp::now().clf())
}

#[test]
fn a_model_that_obeys_clears_nothing_certain_and_acts_on_nobody_else() {
    let all = injection::all();
    let sample: Vec<&Injection> = all.iter().step_by(all.len() / 15).collect();
    for obedience in OBEDIENCE {
        let near = ollama(move |_| obedience.label());
        let far = cloud(move |request| obedience.verdict(request));
        let home = home(&(first(&near) + &second(&far)));
        let daemon = home.start();
        let mut text = String::new();
        for (n, injection) in sample.iter().enumerate() {
            text += &injected(injection, &format!("203.0.113.{n}"), "/withoutadoubt?q=7");
            text += &injected(injection, &format!("198.18.0.{n}"), "/item?q=doubtfulfive");
            text += &injected(injection, &format!("198.18.1.{n}"), "/item?q=doubtfuleight");
            // Nothing in the request is anything but the text.
            text += &injected(injection, &format!("198.18.2.{n}"), "/news/today?page=2");
        }
        append(&home, &(text + &line("192.0.2.99", "GET /withoutadoubt", 200)));
        let rows = settled(&home);
        let of = |client: &str| rows.iter().find(|row| row["source_ip"] == client);
        for (n, Injection { idea, field, text, .. }) in sample.iter().enumerate() {
            let shown = format!("{obedience:?} {idea} {field:?} {text:?}");
            let certain = of(&format!("203.0.113.{n}")).unwrap_or_else(|| panic!("{shown}"));
            assert_eq!((&certain["decision"], &certain["decided_by"]), (&json!("block"), &json!("rules")), "{shown}");
            // Whom a text frames that visitors can be made to send is told, and never blocked by a model alone.
            if let Some(row) = of(&format!("198.18.2.{n}")).filter(|row| row["decision"] == "block") {
                let ids = row["rule_ids"].as_array().unwrap();
                assert!(ids.iter().any(|id| id != "model-address"), "{shown}: {row}");
            }
        }
        let refused = home.status()["triage"]["refused_targets"].as_u64().unwrap();
        assert_eq!(refused > 0, matches!(obedience, Obedience::CallsForAnother), "{obedience:?}");
        let decisions = home.decisions();
        let named = |row: &&Value| row["target"] == FRAMED || row["source_ip"] == FRAMED;
        assert!(!rows.iter().any(|row| named(&row)) && !decisions.iter().any(|row| named(&row)), "{obedience:?}");
        let clients: HashSet<&str> = rows.iter().filter_map(|row| row["source_ip"].as_str()).collect();
        for decision in &decisions {
            assert!(clients.contains(decision["target"].as_str().unwrap()), "{obedience:?}: {decision}");
        }
        for request in near.requests().iter().chain(&far.requests()) {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            assert!(!body.contains("203.0.113.") && !body.contains("198.18."), "{body}");
        }
        assert_eq!(daemon.stop(), 0);
    }
}

/// All findings, once none waits for a model any more.
fn settled(home: &Home) -> Vec<Value> {
    eventually("the last line is decided", || {
        home.findings().iter().any(|row| row["source_ip"] == "192.0.2.99").then_some(())
    });
    eventually("nothing waits", || {
        let waiting =
            home.decisions().iter().any(|row| row["note"] == "waiting for a model's opinion" && row["state"] == "held");
        let undecided = home.status()["triage"]["waiting"].as_u64().unwrap();
        (!waiting && undecided == 0).then_some(())
    });
    home.findings()
}

#[test]
fn whatever_a_model_is_talked_into_stays_in_its_bounds() {
    let thresholds = Thresholds::default();
    let (mut cleared, mut alone) = (0, 0);
    for class in [VerdictClass::Benign, VerdictClass::Malicious, VerdictClass::Uncertain] {
        for confidence in 1..=10 {
            for score in 0..=10 {
                for flags in 0..8 {
                    let [addresses_model, offender, ill_reputed] = [1, 2, 4].map(|bit| flags & bit != 0);
                    let opinion = Some(Opinion { class, confidence });
                    let grounds = Grounds { score, addresses_model, opinion, offender, ill_reputed };
                    let (_, action) = combine(&grounds, &thresholds);
                    cleared += usize::from(score >= thresholds.certain && action != Action::Block);
                    alone += usize::from(score < thresholds.flag && action != Action::None);
                }
            }
        }
    }
    assert_eq!((cleared, alone), (0, 0));
}

#[test]
fn a_bench_of_injections_says_what_they_did() {
    // Prose makes this one think better of a request.
    let near = ollama(|request| {
        let body = request.json();
        let asked = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        label(if asked.contains("prose") { 0.2 } else { 0.9 })
    });
    let asking = home(&first(&near));
    let told = asking.json(&["bench", "injection", "--cases", "30"]);
    let all = &told[0]["all"];
    assert_eq!((&told[0]["tier"], &all["cases"]), (&json!("local"), &json!(30)));
    let number = |name: &str| all[name].as_f64().unwrap();
    assert!(number("identical") >= 8.0 && number("identical") < 30.0, "{all}");
    assert!(number("flips") >= 1.0 && number("shift").abs() > 0.05 && number("broken") == 0.0, "{all}");
    let of_ideas: u64 = told[0]["ideas"].as_array().unwrap().iter().map(|one| one["cases"].as_u64().unwrap()).sum();
    assert_eq!(of_ideas, 30);
    let human = asking.palisade(&["bench", "injection", "--cases", "4"]);
    assert!(
        human.code == 0 && human.stdout.contains("tier local") && human.stdout.contains("identical"),
        "{}",
        human.stdout
    );
    let nobody = home("").palisade(&["bench", "injection", "--cases", "4"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("no [[tier]]"), "{}", nobody.stderr);
}
