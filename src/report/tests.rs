use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::csv;
use super::narrative::SUMMARY_WORDS;
use super::*;
use crate::event::analysis::{Claim, Narrative};

#[path = "../../tests/report/fixture.rs"]
pub mod fixture;

fn analysis(of: Value) -> Analysis {
    let mut analysis: Analysis = serde_json::from_value(of).unwrap();
    analysis.narrative = narrative(&analysis);
    analysis
}

fn claims(told: &Narrative) -> impl Iterator<Item = &Claim> {
    [&told.summary, &told.chain, &told.plan, &told.recommendations].into_iter().flatten().chain(&told.goal)
}

fn words(claims: &[Claim]) -> usize {
    claims.iter().map(|claim| claim.text.split_whitespace().count()).sum()
}

#[test]
fn templates_tell_it_in_few_words_and_cite_what_is_there() {
    for analysis in [analysis(fixture::plain()), analysis(fixture::hostile())] {
        let told = &analysis.narrative;
        assert!(words(&told.summary) < SUMMARY_WORDS, "{:?}", told.summary);
        assert!((4..=6).contains(&told.plan.len()), "{:?}", told.plan);
        assert!(told.recommendations.len() > 3);
        for claim in claims(told) {
            let cited: Vec<&Threat> =
                analysis.threats.iter().filter(|threat| claim.threats.contains(&threat.id)).collect();
            assert_eq!(cited.len(), claim.threats.len(), "{claim:?}");
            let is_about_threats = !claim.text.starts_with("The format of");
            assert_eq!(!claim.threats.is_empty() && !claim.lines.is_empty(), is_about_threats, "{claim:?}");
            assert!(claim.lines.iter().all(|line| cited.iter().any(|threat| threat.lines.contains(line))), "{claim:?}");
        }
    }
}

#[test]
fn a_chain_is_what_one_actor_did_in_order() {
    let told = analysis(fixture::plain()).narrative;
    let steps: Vec<&str> = told.chain.iter().map(|claim| claim.threats[0].as_str()).collect();
    assert_eq!(steps, ["T5", "T3", "T2"], "scan, guesses, login");
    assert!(told.chain[0].text.starts_with("Reconnaissance: port scan by 203.0.113.45, 96 events"));
    assert!(told.goal.unwrap().text.contains("get into accounts"), "the furthest step was that");
    let mut others = fixture::plain();
    for (at, threat) in others["threats"].as_array_mut().unwrap().iter_mut().enumerate() {
        threat["actor"] = json!(format!("host-{at}"));
        threat["addresses"] = json!([]);
    }
    let told = analysis(others).narrative;
    assert_eq!((told.chain, told.goal), (vec![], None), "nobody did two things");
}

#[test]
fn a_plan_follows_the_kinds_that_were_found() {
    let plan_of = |kind: &str| {
        let mut one = fixture::plain();
        one["threats"].as_array_mut().unwrap().truncate(1);
        one["threats"][0]["kind"] = json!(kind);
        let plan = analysis(one).narrative.plan;
        plan.iter().map(|claim| claim.text.clone()).collect::<Vec<_>>().join("\n")
    };
    assert!(plan_of("ransomware").contains("off the network"));
    assert!(plan_of("credential_stuffing").contains("new passwords"));
    assert!(plan_of("data_exfiltration").contains("which data left"));
    assert!(!plan_of("web_scan").contains("new passwords"));
    let kinds = schema()["$defs"]["ThreatKind"].to_string();
    for kind in ["unusual_pattern", "insider_threat", "prompt_injection", "request_flood"] {
        assert!(kinds.contains(kind));
        assert!((4..=6).contains(&plan_of(kind).lines().count()), "{kind}");
    }
}

#[test]
fn where_nothing_was_found_it_says_so_and_plans_nothing() {
    let mut empty = fixture::plain();
    empty["threats"] = json!([]);
    empty["addresses"] = json!([]);
    empty["threat_level"] = json!(null);
    let empty = analysis(empty);
    let told = &empty.narrative;
    assert!(told.summary[0].text.starts_with("No threats were found in 5120 lines"));
    assert!(told.plan.is_empty() && told.recommendations.is_empty() && told.goal.is_none());
    for format in Format::ALL {
        let out = export(*format, &empty, &ReportConfig::default()).unwrap();
        assert_eq!(out.is_empty(), matches!(format, Format::Ecs | Format::Ocsf), "{format:?}");
    }
}

#[test]
fn every_format_writes_anything_and_always_the_same() {
    for analysis in [analysis(fixture::plain()), analysis(fixture::hostile())] {
        for format in Format::ALL {
            let out = export(*format, &analysis, &ReportConfig::default()).unwrap();
            assert!(out.len() > 500, "{format:?}");
            assert!(out == export(*format, &analysis, &ReportConfig::default()).unwrap(), "{format:?}");
            assert_eq!(Format::parse(format.name()), Some(*format));
        }
    }
    assert_eq!(Format::parse("docx"), None);
}

#[test]
fn what_cannot_be_read_as_a_font_is_told() {
    let analysis = analysis(fixture::plain());
    let with = |font: &str| export(Format::Pdf, &analysis, &ReportConfig { font: Some(font.into()) }).unwrap_err();
    assert!(format!("{:#}", with("/nowhere/x.ttf")).contains("report.font: /nowhere/x.ttf"));
    let no_font = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert!(format!("{:#}", with(no_font)).contains("is no TrueType or OpenType font"));
}

#[test]
fn html_holds_no_markup_of_the_input() {
    let page = html::report(&analysis(fixture::hostile()));
    let tags: BTreeSet<&str> = page
        .split('<')
        .skip(1)
        .map(|tag| tag.trim_start_matches(['/', '!']).split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap())
        .collect();
    let own = [
        "a", "b", "body", "dd", "div", "dl", "doctype", "dt", "h1", "h2", "h3", "head", "html", "li", "meta", "ol",
        "p", "pre", "rect", "section", "span", "strong", "style", "svg", "table", "td", "text", "th", "title", "tr",
    ];
    let foreign: Vec<&&str> = tags.iter().filter(|tag| !own.contains(tag)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(page.contains("default-src 'none'") && !page.contains("src=h") && !page.contains("url("));
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"), "it is shown as text");
    assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{7}']));
}

#[test]
fn records_have_the_fields_of_their_schemas() {
    let analysis = analysis(fixture::plain());
    let read = |schema| -> Vec<Value> {
        let lines = String::from_utf8(fields::ndjson(&analysis, schema).unwrap()).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (ecs, ocsf) = (read(fields::Schema::Ecs), read(fields::Schema::Ocsf));
    assert_eq!((ecs.len(), ocsf.len()), (6, 6));
    assert_eq!(ecs[1]["source"]["ip"], json!(["203.0.113.45"]));
    assert_eq!(ecs[0]["destination"]["ip"], json!(["198.51.100.77"]), "it went there");
    assert_eq!(ecs[0]["source"], json!(null));
    assert_eq!(ecs[3]["event"]["outcome"], "failure");
    assert_eq!(ecs[3]["threat"]["technique"]["reference"][0], "https://attack.mitre.org/techniques/T1190/");
    assert_eq!((&ocsf[0]["class_uid"], &ocsf[0]["severity_id"]), (&json!(2004), &json!(5)));
    assert_eq!(ocsf[0]["time"], json!(analysis.threats[0].last_time.unwrap().0));
    assert_eq!(ocsf[0]["evidences"], json!([{ "dst_endpoint": { "ip": "198.51.100.77" } }]));
    assert_eq!(
        ocsf[2]["finding_info"]["attacks"][0],
        json!({ "technique": {
            "uid": "T1110.001", "name": "Password Guessing", "src_url": "https://attack.mitre.org/techniques/T1110/001/",
        }, "version": "16.1" })
    );
}

#[test]
fn stix_ids_are_those_of_the_standard_and_patterns_hold_text() {
    let mut hostile = fixture::plain();
    hostile["threats"][0]["indicators"] = json!([
        { "kind": "file", "value": "a' OR [x:y = '1'] \\" },
        { "kind": "domain", "value": "no host" }, { "kind": "url", "value": "javascript:alert(1)" },
        { "kind": "domain", "value": "updates.example.net" }, { "kind": "hash", "value": "12'34" },
    ]);
    let bundle = stix::bundle(&analysis(hostile));
    let objects = bundle["objects"].as_array().unwrap();
    let of = |kind: &str| objects.iter().filter(|one| one["type"] == kind).collect::<Vec<_>>();
    // uuid.uuid5(UUID("00abedb4-aa42-466c-9c01-fed23315a9b7"), '{"value":"198.51.100.77"}') in Python.
    let id = "ipv4-addr--efb3cb24-5b02-57b0-adb6-64563650dafa";
    assert!(of("ipv4-addr").iter().any(|one| one["id"] == id), "{:?}", of("ipv4-addr"));
    let patterns: Vec<&str> = of("indicator").iter().filter_map(|one| one["pattern"].as_str()).collect();
    assert!(patterns.contains(&"[ipv4-addr:value = '203.0.113.45']"));
    assert!(patterns.contains(&r"[file:name = 'a\' OR [x:y = \'1\'] \\']"), "{patterns:?}");
    assert_eq!((of("domain-name").len(), of("url").len(), of("file").len()), (1, 0, 1), "what is none is left out");
    let ids: BTreeSet<&str> = objects.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), objects.len());
    for reference in of("relationship").iter().flat_map(|one| [&one["source_ref"], &one["target_ref"]]) {
        assert!(ids.contains(reference.as_str().unwrap()));
    }
    assert_eq!(of("report").len(), 1);
}

#[test]
fn rows_of_csv_are_as_many_as_threats() {
    let out = String::from_utf8(csv::threats(&analysis(fixture::hostile())).unwrap()).unwrap();
    assert_eq!(out.matches("\r\n").count(), 7);
    assert!(!out.contains("\"=") && !out.contains(",="));
}

#[test]
fn texts_are_cut_and_lines_told_as_ranges() {
    assert_eq!(shortened("äöü", 3), "äöü");
    assert_eq!(shortened("äöüß", 2), "äö… (2 more characters)");
    assert_eq!(line_ranges(&[1, 2, 3, 7, 9, 10, u64::MAX], 3), "1–3, 7, 9–10, and 1 more");
    assert_eq!(listed::<u8>(&[], 3), "");
    assert_eq!(technique::url("T1110.001").unwrap(), "https://attack.mitre.org/techniques/T1110/001/");
    for id in ["T1", "T1110.1", "../x", "", "T", "Tä110"] {
        assert_eq!(technique::url(id), None, "{id}");
    }
}

#[test]
fn a_time_line_goes_from_the_first_to_the_last_moment() {
    let analysis = analysis(fixture::plain());
    let line = time_line(&analysis, 20).unwrap();
    assert_eq!(line.bars.len(), 6);
    assert!(line.bars.iter().all(|(_, from, to)| (0.0..=1.0).contains(from) && from <= to && *to <= 1.0));
    assert_eq!(line.bars.iter().map(|(_, _, to)| *to).fold(0.0, f64::max), 1.0);
    assert_eq!(line.first, analysis.threats[3].first_time.unwrap());
}
