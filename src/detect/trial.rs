//! Rules tried on their own examples and on ordinary requests, through the engine itself.

use serde::Deserialize;

use super::DetectConfig;
use super::counter::Counter;
use super::ordinary::ORDINARY;
use super::record::{Detail, Record};
use super::rules::{Example, ExampleRequest, FLAG, Rule};
use super::ruleset::{Hit, Ruleset, Scratch, matches};
use super::window::Repeated;
use crate::event::{Auth, AuthOutcome, ClientKey, Connection, Event, Http, Kind, Message};

/// One example, and whether the rules did with it as they should.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The rule or window whose example it is; for an ordinary request all rules that matched.
    pub rule_id: String,
    pub kind: TrialKind,
    pub example: String,
    pub passed: bool,
}

/// What should happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialKind {
    /// The rule matches, or the window overflows.
    Attack,
    /// It does not.
    Benign,
    /// No rule that flags alone matches, and the weaker ones do not flag together; no window overflows.
    Ordinary,
}

impl TrialKind {
    pub fn as_str(self) -> &'static str {
        match self {
            TrialKind::Attack => "attack",
            TrialKind::Benign => "benign",
            TrialKind::Ordinary => "ordinary",
        }
    }
}

/// Tries every rule's and window's examples and the ordinary requests.
pub fn trials(rules: &Ruleset) -> Vec<Trial> {
    let mut scratch = Scratch::thorough();
    let mut all = Vec::new();
    for (index, rule) in rules.rules.iter().enumerate() {
        let mut run = |kind, example: &Example| {
            let request = example.request();
            let (_, hits) = examine(rules, &request, &mut scratch);
            let matched = hits.iter().any(|hit| usize::from(hit.rule) == index);
            let passed = matched == (kind == TrialKind::Attack);
            all.push(Trial { rule_id: rule.id.to_string(), kind, example: shown(&request), passed });
        };
        rule.spec.attack.iter().for_each(|example| run(TrialKind::Attack, example));
        rule.spec.benign.iter().for_each(|example| run(TrialKind::Benign, example));
    }
    for (index, window) in rules.windows.iter().enumerate() {
        let mut run = |kind, repeated: &Repeated| {
            let overflowed = overflowing(rules, repeated, &mut scratch);
            let passed = overflowed.contains(&index) == (kind == TrialKind::Attack);
            all.push(Trial { rule_id: window.spec.id.clone(), kind, example: shown_in_turn(repeated), passed });
        };
        window.spec.attack.iter().for_each(|repeated| run(TrialKind::Attack, repeated));
        window.spec.benign.iter().for_each(|repeated| run(TrialKind::Benign, repeated));
    }
    for request in ordinary() {
        let (score, hits) = examine(rules, &request, &mut scratch);
        let ids: Vec<&str> = hits.iter().map(|hit| &*rules.rules[usize::from(hit.rule)].id).collect();
        let (rule_id, example) = (ids.join(" "), shown(&request));
        all.push(Trial { rule_id, kind: TrialKind::Ordinary, example, passed: score < FLAG });
    }
    for Traffic { name, traffic } in ordinary_traffic() {
        let overflowed = overflowing(rules, &traffic, &mut scratch);
        let ids: Vec<&str> = overflowed.iter().map(|&index| &*rules.windows[index].spec.id).collect();
        let (rule_id, passed) = (ids.join(" "), ids.is_empty());
        all.push(Trial { rule_id, kind: TrialKind::Ordinary, example: name, passed });
    }
    all
}

/// The rules that catch nothing that no other catches: without them each attack of the rules' own
/// examples, and each of `more`, would be a finding still, or they match none.
pub fn redundant<'a>(rules: &'a Ruleset, more: &[ExampleRequest]) -> Vec<&'a str> {
    let mut scratch = Scratch::thorough();
    let mut needed = vec![false; rules.rules.len()];
    let own = rules.rules.iter().flat_map(|rule| &rule.spec.attack).map(Example::request);
    for request in own.chain(more.iter().cloned()) {
        let (_, hits) = examine(rules, &request, &mut scratch);
        let score = |hit: &Hit| u32::from(rules.rules[usize::from(hit.rule)].spec.score);
        let sum: u32 = hits.iter().map(score).sum();
        for hit in hits.iter().filter(|hit| sum - score(hit) < u32::from(FLAG)) {
            needed[usize::from(hit.rule)] = true;
        }
    }
    rules.rules.iter().zip(needed).filter(|(_, needed)| !needed).map(|(rule, _)| &*rule.id).collect()
}

/// Labelled requests, one JSON object a line: those called attacks, or else the benign ones. What is
/// no field of an [`ExampleRequest`] is left out.
///
/// # Errors
/// The first line that is no such object.
pub fn cases(text: &str, label: &str) -> Result<Vec<ExampleRequest>, String> {
    const FIELDS: [&str; 6] = ["method", "uri", "user_agent", "referer", "status", "message"];
    let mut cases = vec![];
    for (line, text) in (1..).zip(text.lines()) {
        let wrong = |error: serde_json::Error| format!("line {line}: {error}");
        let mut case: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(wrong)?;
        let labelled = case.get("label").and_then(|label| label.as_str()).map(str::to_owned);
        case.retain(|field, value| FIELDS.contains(&field.as_str()) && !value.is_null());
        let request = serde_json::from_value(case.into()).map_err(wrong)?;
        match labelled {
            None => return Err(format!("line {line}: has no label")),
            Some(labelled) if labelled == label => cases.push(request),
            Some(_) => {}
        }
    }
    Ok(cases)
}

/// What a client, or many, do all day that no window may mind.
#[derive(Deserialize)]
struct Traffic {
    /// Who does what.
    name: String,
    #[serde(flatten)]
    traffic: Repeated,
}

const TRAFFIC: &str = include_str!("traffic.toml");

/// The ordinary traffic; none if its file is broken, which a test would show.
fn ordinary_traffic() -> Vec<Traffic> {
    #[derive(Deserialize)]
    struct File {
        traffic: Vec<Traffic>,
    }
    toml::from_str(TRAFFIC).map_or(vec![], |file: File| file.traffic)
}

/// Refuses a rule that matches an ordinary request.
///
/// # Errors
/// The request, for people.
pub fn lint(rule: &Rule) -> Result<(), String> {
    let mut scratch = Scratch::new();
    match ordinary().find(|request| matches(rule, &event(request), &mut scratch)) {
        Some(request) => Err(format!("matches an ordinary request: {}", shown(&request))),
        None => Ok(()),
    }
}

/// Ordinary requests: what browsers, crawlers, APIs and applications ask for all day.
fn ordinary() -> impl Iterator<Item = ExampleRequest> {
    ORDINARY.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (uri, user_agent) = line.split_once('\t').unwrap_or((line, ""));
        ExampleRequest { uri: Some(uri.into()), user_agent: Some(user_agent.into()), ..ExampleRequest::default() }
    })
}

fn examine(rules: &Ruleset, request: &ExampleRequest, scratch: &mut Scratch) -> (u8, Vec<Hit>) {
    let mut hits = Vec::new();
    let event = event(request);
    let score = rules.examine(&event, scratch, &mut hits);
    (score, hits)
}

/// The windows that overflow anywhere in the sequence, counted from nothing.
fn overflowing(rules: &Ruleset, repeated: &Repeated, scratch: &mut Scratch) -> Vec<usize> {
    let mut counter = Counter::new(&DetectConfig { max_clients: 1024, ..DetectConfig::default() }, FLAG);
    let requests: Vec<ExampleRequest> =
        repeated.request.iter().chain(&repeated.requests).map(Example::request).collect();
    let mut overflowed = vec![];
    for (n, request) in requests.iter().cycle().take(repeated.times as usize).enumerate() {
        let request = filled_in(request, n);
        let (score, hits) = examine(rules, &request, scratch);
        let event = event(&request);
        let client = request.client.as_deref().and_then(|text| text.parse().ok()).unwrap_or(CLIENT.into());
        let mut record = Record {
            time_secs: START_SECS + (n as f32 * repeated.every_secs) as u32,
            hits: hits.len() as u16,
            score,
            ..Record::of(&event, Some(ClientKey::of(client, ClientKey::V6_PREFIX)))
        };
        record.look_closer(&event, rules.watched.asks_paths(&record));
        if let Some(counted) = counter.count(&record, &hits, rules, || Detail::of(&event)) {
            overflowed.extend(counted.overflowed);
        }
    }
    overflowed.sort_unstable();
    overflowed.dedup();
    overflowed
}

/// When a sequence begins: any time but 0, which stands for none.
const START_SECS: u32 = 1_767_571_200;

/// The `n`th repetition of an example.
fn filled_in(request: &ExampleRequest, n: usize) -> ExampleRequest {
    let mut request = request.clone();
    let ExampleRequest { uri, user_agent, referer, user, port, message, client, .. } = &mut request;
    for text in [uri, user_agent, referer, user, port, message, client].into_iter().flatten() {
        *text = text.replace("{n}", &n.to_string()).replace("{r}", &made_up(n));
    }
    request
}

/// Ten letters and digits, others for every number.
fn made_up(n: usize) -> String {
    const SIGNS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut state = n as u64 + 1;
    let sign = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(SIGNS[(state >> 33) as usize % SIGNS.len()])
    };
    (0..10).map(sign).collect()
}

/// A documentation address (RFC 5737).
const CLIENT: std::net::Ipv4Addr = std::net::Ipv4Addr::new(203, 0, 113, 7);

fn event(request: &ExampleRequest) -> Event<'_> {
    if let Some(user) = &request.user {
        let message = Message { user: user.as_bytes(), ..Message::default() };
        return Event::of(Kind::Auth(Auth { outcome: AuthOutcome::Failure, message }));
    }
    let text = request.message.as_deref().unwrap_or_default().as_bytes();
    let message = Message { text, ..Message::default() };
    if let Some(port) = &request.port {
        let connection = Connection { destination_port: port.parse().unwrap_or(0), message, ..Connection::default() };
        return Event::of(Kind::Connection(connection));
    }
    if request.message.is_some() {
        return Event::of(Kind::Mail(message));
    }
    let http = Http {
        method: request.method.as_deref().unwrap_or("GET").as_bytes(),
        uri: request.uri.as_deref().unwrap_or("/").as_bytes(),
        protocol: b"HTTP/1.1",
        status: Some(request.status.unwrap_or(200)),
        referer: request.referer.as_deref().unwrap_or_default().as_bytes(),
        user_agent: request.user_agent.as_deref().unwrap_or_default().as_bytes(),
        ..Http::default()
    };
    Event::of(Kind::Http(http))
}

fn shown(request: &ExampleRequest) -> String {
    let fields = [
        ("", &request.method),
        ("", &request.uri),
        ("user agent ", &request.user_agent),
        ("referer ", &request.referer),
        ("login as ", &request.user),
        ("connection to port ", &request.port),
        ("says ", &request.message),
        ("by ", &request.client),
    ];
    let given = fields
        .iter()
        .filter_map(|(name, text)| text.as_deref().filter(|text| !text.is_empty()).map(|text| format!("{name}{text}")));
    given.collect::<Vec<_>>().join(" ")
}

fn shown_in_turn(repeated: &Repeated) -> String {
    let requests: Vec<String> =
        repeated.request.iter().chain(&repeated.requests).map(|example| shown(&example.request())).collect();
    format!("{} ({} times, every {} s)", requests.join(", "), repeated.times, repeated.every_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::rules::{self, Trust};

    #[test]
    fn the_prefilter_misses_nothing() {
        let rules = Ruleset::new(&[], &[]).unwrap();
        let mut scratch = Scratch::thorough();
        let examples = rules.rules.iter().flat_map(|rule| rule.spec.attack.iter().chain(&rule.spec.benign));
        for request in examples.map(Example::request).chain(ordinary()) {
            let (_, mut hits) = examine(&rules, &request, &mut scratch);
            hits.sort_by_key(|hit| hit.rule);
            let found: Vec<&str> = hits.iter().map(|hit| &*rules.rules[usize::from(hit.rule)].id).collect();
            let event = event(&request);
            let all = rules.rules.iter().filter(|rule| rule.spec.is_unconditional());
            let all: Vec<&str> = all.filter(|rule| matches(rule, &event, &mut scratch)).map(|rule| &*rule.id).collect();
            let missed: Vec<_> = all.iter().filter(|id| !found.contains(id)).collect();
            assert!(missed.is_empty(), "{request:?} matches {missed:?}");
        }
    }

    #[test]
    fn where_the_score_is_full_rules_are_left_out_and_the_score_is_the_same() {
        let rules = Ruleset::new(&[], &[]).unwrap();
        let (mut scratch, mut thorough) = (Scratch::new(), Scratch::thorough());
        let examples = rules.rules.iter().flat_map(|rule| rule.spec.attack.iter().chain(&rule.spec.benign));
        let (mut found, mut all) = (0, 0);
        for request in examples.map(Example::request).chain(ordinary()) {
            let ((score, hits), (expected, every)) =
                (examine(&rules, &request, &mut scratch), examine(&rules, &request, &mut thorough));
            assert_eq!(score, expected, "{request:?}");
            let is_among = |hit: &Hit| every.iter().any(|other| other.rule == hit.rule);
            assert!(hits.iter().all(is_among) && (score == 10 || hits.len() == every.len()), "{request:?}");
            (found, all) = (found + hits.len(), all + every.len());
        }
        assert!(found * 10 < all * 9 && found > 1000, "{found} of {all}");
    }

    #[test]
    fn the_built_in_rules_do_what_their_examples_say() {
        let rules = Ruleset::new(&[], &[]).unwrap();
        let trials = trials(&rules);
        let failed: Vec<_> = trials.iter().filter(|trial| !trial.passed).collect();
        assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
        assert!(trials.iter().filter(|trial| trial.kind == TrialKind::Ordinary).count() >= 300);
        assert!(trials.iter().filter(|trial| trial.kind == TrialKind::Attack).count() >= 2 * rules.windows.len());
    }

    #[test]
    fn a_wrong_example_fails() {
        let rule = |pattern: &str| {
            format!(
                "[[rule]]\nid = 'x'\ncategory = 'sqli'\nscore = 5\ndescription = 'd'\nreference = 'CWE-89'\ntarget = ['args']\npattern = '{pattern}'\nattack = ['/?a=union']\nbenign = ['/?a=other']\n"
            )
        };
        let failed = |pattern: &str| {
            let loaded = rules::load("my.toml", &rule(pattern), Trust::Foreign).unwrap();
            let trials = trials(&Ruleset::of(loaded).unwrap());
            trials
                .iter()
                .filter(|trial| !trial.passed)
                .map(|trial| (trial.kind, trial.example.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(failed("unio[n]$"), []);
        assert_eq!(failed("other"), [(TrialKind::Attack, "/?a=union".into()), (TrialKind::Benign, "/?a=other".into())]);
        assert!(failed("union").contains(&(TrialKind::Ordinary, "/search?q=union+square+hotels".into())));
    }

    #[test]
    fn a_rule_that_adds_nothing_is_named() {
        let rule = |id: &str, score: u8, pattern: &str| {
            format!(
                "[[rule]]\nid = '{id}'\ncategory = 'other'\nscore = {score}\ndescription = 'd'\nreference = 'r'\ntarget = ['args']\npattern = '{pattern}'\nattack = ['/?a=striped-horse']\nbenign = ['/']\n"
            )
        };
        let text = rule("wide", 5, "striped") + &rule("narrow", 5, "striped-horse") + &rule("weak", 3, "spotted");
        let rules = Ruleset::of(rules::load("my.toml", &text, Trust::Foreign).unwrap()).unwrap();
        assert_eq!(redundant(&rules, &[]), ["wide", "narrow", "weak"]);
        let more = "{\"id\": 1, \"label\": \"attack\", \"uri\": \"/?a=striped+cat\", \"category\": null}\n{\"label\": \"benign\", \"uri\": \"/?a=spotted\"}\n";
        let attacks = cases(more, "attack").unwrap();
        assert_eq!((attacks.len(), redundant(&rules, &attacks)), (1, vec!["narrow", "weak"]));
        assert_eq!(
            redundant(&rules, &cases(more, "benign").unwrap()),
            ["wide", "narrow"],
            "a weak signal that is alone"
        );
        assert_eq!(cases("{}", "attack").unwrap_err(), "line 1: has no label");
        assert!(cases("{\"label\": 1}\nx", "attack").is_err());
    }

    /// The labelled cases of each family: nine attacks of ten are found, one ordinary request of twenty is
    /// flagged at most (of those that quote an attack, any), and none is blocked. `tests/tidy.rs` sees that no file is forgotten.
    #[test]
    fn labelled_cases_are_told_apart() {
        macro_rules! families {
            ($($family:literal)*) => {
                [$(($family, include_str!(concat!("../../tests/cases/", $family, ".jsonl")))),*]
            };
        }
        let families = families!(
            "code" "exploit" "ldap" "lfi" "messages" "nosqli" "ordinary" "protocol" "prototype"
            "quoted" "rce" "redirect" "scanner" "sqli" "ssrf" "ssti" "xml" "xss"
        );
        let rules = Ruleset::new(&[], &[]).unwrap();
        let mut scratch = Scratch::new();
        let mut flagged = |text: &str, label: &str| {
            let all = cases(text, label).unwrap();
            let score = |request: &ExampleRequest| examine(&rules, request, &mut scratch).0;
            let scores: Vec<u8> = all.iter().map(score).collect();
            let at_least = |score: u8| scores.iter().filter(|&&given| given >= score).count();
            (all.len(), at_least(FLAG), at_least(8))
        };
        for (family, text) in families {
            let (attacks, found, _) = flagged(text, "attack");
            let (benign, disturbed, blocked) = flagged(text, "benign");
            assert!(found * 100 >= attacks * 90, "{family}: {found} of {attacks} attacks");
            assert!(
                (family == "quoted" || disturbed * 100 <= benign * 5) && blocked == 0,
                "{family}: {disturbed} of {benign}, {blocked} blocked"
            );
        }
    }

    #[test]
    fn what_was_served_weighs_more() {
        let rules = Ruleset::new(&[], &[]).unwrap();
        let mut scratch = Scratch::new();
        let mut score = |uri: &str, status: u16| {
            let request = ExampleRequest { uri: Some(uri.into()), status: Some(status), ..ExampleRequest::default() };
            examine(&rules, &request, &mut scratch).0
        };
        for (uri, refused, served) in [
            ("/index.php.bak", 6, 7),
            ("/actuator/heapdump", 5, 7),
            ("/.env", 8, 9),
            ("/server-status", 3, 3),
            ("/", 0, 0),
        ] {
            assert_eq!(
                [404, 301, 200, 206].map(|status| score(uri, status)),
                [refused, refused, served, served],
                "{uri}"
            );
        }
    }

    #[test]
    fn a_rule_that_disturbs_is_refused_with_the_request_that_shows_it() {
        let rule = |pattern: &str| {
            let text = format!(
                "[[rule]]\nid = 'x'\ncategory = 'other'\nscore = 1\ndescription = 'd'\nreference = 'r'\ntarget = ['path', 'user_agent']\npattern = '{pattern}'\nattack = ['/']\nbenign = ['/']\n"
            );
            rules::load("my.toml", &text, Trust::Foreign).unwrap().rules.remove(0)
        };
        assert_eq!(lint(&rule("/login")), Err("matches an ordinary request: /login".into()));
        assert_eq!(
            lint(&rule("googlebot")).unwrap_err().split(' ').next_back(),
            Some("+http://www.google.com/bot.html)")
        );
        assert_eq!(lint(&rule("/c99[.]php")), Ok(()));
    }
}
