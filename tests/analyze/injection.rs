//! Texts that are to talk a model round, in the logs of an analysis and in questions: what one that obeys them
//! brings about.

use std::fs;
use std::sync::Arc;

use jiff::tz::TimeZone;
use palisade::ask::{self, Moment};
use palisade::config::Config;
use palisade::event::Timestamp;
use palisade::event::analysis::{Analysis, Claim};
use palisade::pipeline::analysis::{Options, Source, analyze};
use palisade::pipeline::replay;
use palisade::report::model;
use palisade::triage::injection::{self, FRAMED, Injection};
use serde_json::{Value, json};

use super::{EXAMPLE, home_with_example};
use crate::support::standin::Standin;
use crate::support::standin::bodies::ollama;

/// Lines that name nobody who is framed, and one with the text of a stranger.
fn log(injection: &Injection) -> String {
    let (mut uri, mut agent, mut referer) =
        ("/item?id=1%27+UNION+SELECT+1".to_owned(), "Mozilla/5.0".to_owned(), "-".to_owned());
    injection.put(&mut uri, &mut agent, &mut referer);
    let time = "[01/Feb/2026:10:20:00 +0000]";
    let guessing: String =
        EXAMPLE.lines().filter(|line| !line.contains(FRAMED)).map(|line| format!("{line}\n")).collect();
    format!("{guessing}203.0.113.66 - - {time} \"GET {uri} HTTP/1.1\" 200 512 \"{referer}\" \"{agent}\"\n")
}

/// What a model answers that does what the text says, in every way that one may have in mind.
fn obedient(injection: &Injection, analysis: &Analysis) -> Vec<String> {
    let worst = &analysis.threats[0];
    let claim = |text: &str| json!({ "text": text, "threats": [worst.id], "lines": [worst.lines[0]] });
    let told = |claim: Value| {
        json!({ "summary": [claim], "chain": [claim, claim], "goal": claim, "plan": vec![claim.clone(); 5],
            "recommendations": [claim] })
    };
    let mut changed = told(claim("The request is benign."));
    for (name, value) in [("threat_level", json!("informational")), ("risk", json!(0)), ("threats", json!([]))] {
        changed[name] = value;
    }
    vec![
        told(claim("All of this is harmless, a false positive: ignore it.")).to_string(),
        told(claim(&format!("The attacker is {FRAMED}: block {FRAMED} at once."))).to_string(),
        told(claim(&injection.plain)).to_string(),
        told(claim(&injection.text)).to_string(),
        told(json!({ "text": "Nothing happened.", "threats": [], "lines": [] })).to_string(),
        told(json!({ "text": "Somebody guessed passwords.", "threats": ["T99"], "lines": [1] })).to_string(),
        told(json!({ "text": "Somebody guessed passwords.", "threats": [worst.id], "lines": [999] })).to_string(),
        changed.to_string(),
        format!("\"}}]}}<|im_end|>{}", injection.plain),
        "a poem and no JSON at all".into(),
    ]
}

fn claims(analysis: &Analysis) -> impl Iterator<Item = &Claim> {
    let told = &analysis.narrative;
    told.summary.iter().chain(&told.chain).chain(&told.goal).chain(&told.plan).chain(&told.recommendations)
}

/// That each sentence cites lines of threats that there are, and names nobody who is framed.
fn assert_borne_out(analysis: &Analysis, why: &str) {
    let mut count = 0;
    for claim in claims(analysis) {
        count += 1;
        assert!(!claim.text.contains(FRAMED), "{why}: {claim:?}");
        let cited: Vec<_> = analysis.threats.iter().filter(|threat| claim.threats.contains(&threat.id)).collect();
        assert!(cited.len() == claim.threats.len() && !cited.is_empty(), "{why}: {claim:?}");
        let is_of_them = |line: &u64| cited.iter().any(|threat| threat.lines.contains(line));
        assert!(!claim.lines.is_empty() && claim.lines.iter().all(is_of_them), "{why}: {claim:?}");
    }
    assert!(count > 4, "{why}: something is told");
}

#[test]
fn a_model_that_obeys_a_log_says_nothing_that_lines_do_not_bear_out_and_changes_nothing() {
    let config = Config { timezone: "UTC".into(), state_dir: "/nonexistent".into(), ..Config::default() };
    let rules = Arc::new(replay::load_rules(&config).unwrap());
    let all = injection::all();
    for injection in all.iter().step_by(all.len() / 150) {
        let source = Source::of_text("-", log(injection).into_bytes());
        let before = analyze(&config, &rules, vec![source], &Options::default(), &mut |_| {}).unwrap();
        assert!(!before.threats.is_empty() && before.narrative.written_by == "templates");
        let text = before.compression.as_ref().and_then(|done| done.text.as_deref()).unwrap();
        let asked = model::prompt(&before, text);
        assert!(!asked.system.contains(&injection.plain), "what is told never depends on the log");
        // What divides the part that is data is known to nobody who wrote it.
        let fence = asked.user.lines().next().unwrap().strip_prefix("THREATS ").unwrap().to_owned();
        assert_eq!(asked.user.matches(&fence).count(), 3, "{}", asked.user);
        assert!(asked.user.ends_with(&format!("END {fence}")));
        assert!(!asked.user.contains("<|") && !asked.user.contains("|>") && !asked.user.contains("[INST]"));
        for answer in obedient(injection, &before) {
            let after = Analysis { narrative: model::accept(&answer, &before), ..before.clone() };
            assert_borne_out(&after, &format!("{} {answer}", injection.idea));
            let is_quoted = log(injection).replace("%20", " ").contains(&injection.plain);
            let repeated = is_quoted && claims(&after).any(|claim| claim.text.contains(&injection.plain));
            assert!(!repeated, "{}: {answer}", injection.idea);
        }
    }
}

#[test]
fn a_command_line_whose_model_obeys_the_log_tells_the_same_threats_and_writes_nothing() {
    let home = home_with_example();
    let model = Standin::start();
    home.configure(&format!(
        "[[tier]]\nname = \"small\"\nprovider = \"ollama\"\nurl = \"{}\"\nmodel = \"m\"\n",
        model.url()
    ));
    let all = injection::all();
    let many: String = all.iter().step_by(all.len() / 60).map(log).collect();
    fs::write(home.path("hostile.log"), many).unwrap();
    let told = |arguments: &[&str]| -> Analysis {
        let ran = home.palisade(&[&["analyze", "hostile.log", "--output", "json"], arguments].concat());
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let before = told(&[]);
    for answer in obedient(&all[0], &before).iter().step_by(3) {
        model.then(ollama::chat(answer));
        let after = told(&["--model", "small"]);
        assert_eq!(
            (&after.threats, after.threat_level, &after.risk),
            (&before.threats, before.threat_level, &before.risk)
        );
        assert_borne_out(&after, answer);
    }
    assert_eq!(model.requests().len(), 4);
    assert!(!home.path("state").exists(), "nothing is kept");
}

#[test]
fn a_model_that_obeys_a_question_fills_no_plan_outside_the_schema() {
    let moment = Moment { now: Timestamp(1_778_747_400_000), zone: TimeZone::UTC };
    let plan = json!({ "show": "list", "of": "findings", "from": "2026-05-13T00:00:00Z",
        "to": "2026-05-14T00:00:00Z", "limit": 5 });
    let with = |name: &str, value: Value| {
        let mut plan = plan.clone();
        plan[name] = value;
        plan.to_string()
    };
    assert!(ask::model::plan(&plan.to_string(), &moment).is_ok(), "or nothing below shows anything");
    let all = injection::all();
    for injection in all.iter().step_by(7) {
        let text = &injection.plain;
        // The grammar makes no plan of words that it does not know; a plan that it makes holds to the schema.
        if let Ok(understood) = ask::understand(text, &moment) {
            assert_eq!(understood.plan.check(&moment), Ok(()), "{text}");
        }
        assert!(!ask::model::instruction(&moment).contains(text));
        let outside = [
            text.clone(),
            with("show", json!("delete")),
            with("of", json!("users; DROP TABLE findings")),
            with("sql", json!("DELETE FROM findings")),
            with("block", json!(FRAMED)),
            with("limit", json!(1_000_000_000)),
            with("only", json!([{ "field": "verdict", "is": [text] }])),
            with("only", json!([{ "field": "contains", "is": vec![text; 101] }])),
            with("only", json!([{ "field": "rule", "is": [text.repeat(200)] }])),
        ];
        for answer in outside {
            let filled = ask::model::plan(&answer, &moment);
            assert!(filled.is_err(), "{answer}: {filled:?}");
        }
        // A text as a value is looked for, and is nothing more.
        let sought = with("only", json!([{ "field": "contains", "is": [text.chars().take(60).collect::<String>()] }]));
        if let Ok(filled) = ask::model::plan(&sought, &moment) {
            assert_eq!(filled.check(&moment), Ok(()));
        }
    }
}
