mod restored;

use std::path::Path;

use super::*;
use crate::event::Severity;
use crate::event::analysis::{ThreatKind, ThreatOutcome};

fn rules() -> Arc<Ruleset> {
    static RULES: std::sync::OnceLock<Arc<Ruleset>> = std::sync::OnceLock::new();
    RULES.get_or_init(|| Arc::new(replay::load_rules(&Config::default()).unwrap())).clone()
}

fn config() -> Config {
    Config { timezone: "UTC".into(), state_dir: "/nonexistent".into(), ..Config::default() }
}

fn analysed(text: impl Into<Vec<u8>>) -> Analysis {
    analysed_by(&config(), text, &Options::default())
}

fn analysed_by(config: &Config, text: impl Into<Vec<u8>>, options: &Options) -> Analysis {
    let source = Source::of_text("-", text.into());
    analyze(config, &rules(), vec![source], options, &mut |_| {}).unwrap()
}

fn kinds(analysis: &Analysis) -> Vec<String> {
    let mut kinds: Vec<String> = analysis.threats.iter().map(|threat| name(threat.kind)).collect();
    kinds.sort();
    kinds
}

fn name(kind: ThreatKind) -> String {
    serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
}

/// The inputs of a file of cases with the kinds that each must give.
fn cases(text: &str) -> Vec<(String, Vec<String>)> {
    let mut cases: Vec<(String, Vec<String>)> = vec![];
    let mut heading: Option<(bool, Vec<String>)> = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if let Some(inner) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let mut words = inner.split(' ').map(str::to_owned);
            let each = words.next().unwrap() == "each";
            let mut expected: Vec<String> = words.filter(|word| word != "nothing").collect();
            expected.sort();
            if !each {
                cases.push((String::new(), expected.clone()));
            }
            heading = Some((each, expected));
            continue;
        }
        match heading.as_ref().unwrap() {
            (true, expected) => cases.push((format!("{line}\n"), expected.clone())),
            (false, _) => cases.last_mut().unwrap().0.push_str(&format!("{line}\n")),
        }
    }
    cases
}

#[test]
fn labelled_text_is_told_apart() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/text");
    let (mut tried, mut wrong) = (0, vec![]);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        for (input, expected) in cases(&std::fs::read_to_string(&path).unwrap()) {
            tried += 1;
            let found = kinds(&analysed(input.clone()));
            if found != expected {
                wrong.push(format!(
                    "{}: {expected:?} expected, {found:?} found in\n{input}",
                    path.file_name().unwrap().display()
                ));
            }
        }
    }
    assert!(tried > 300, "{tried} cases");
    assert!(wrong.is_empty(), "{} of {tried}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ordinary_lines_together_are_nothing_either() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/text");
    let mut all = String::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for (input, expected) in cases(&text) {
            // What several lines say together has an order of its own.
            if expected.is_empty() && input.lines().count() == 1 {
                all.push_str(&input);
            }
        }
    }
    assert_eq!(kinds(&analysed(all)), [""; 0]);
}

#[test]
fn samples_show_what_they_are_for() {
    let mut wrong = vec![];
    for sample in samples::SAMPLES {
        let text = sample.text();
        assert_eq!(text, sample.text(), "{} is the same at every call", sample.name);
        let analysis = analysed(text.clone());
        let mut expected: Vec<String> = sample.expected.iter().map(|kind| name(*kind)).collect();
        expected.sort();
        if kinds(&analysis) != expected {
            let told: Vec<_> = analysis.threats.iter().map(|threat| (&threat.description, &threat.rule_ids)).collect();
            wrong.push(format!("{}: {expected:?} expected, {told:#?}", sample.name));
        }
        let lines: Vec<&str> = text.lines().collect();
        for cited in analysis.threats.iter().flat_map(|threat| &threat.samples) {
            assert_eq!(lines[cited.line as usize - 1], cited.text, "what is cited is what stands there");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const EXAMPLE: &str = "2026-02-01 10:23:45 INFO User admin logged in from 192.168.1.100
2026-02-01 10:24:12 WARN Failed login attempt for user root from 203.0.113.45
2026-02-01 10:24:15 WARN Failed login attempt for user root from 203.0.113.45
2026-02-01 10:24:18 WARN Failed login attempt for user root from 203.0.113.45
2026-02-01 10:24:22 ERROR Failed login attempt for user root from 203.0.113.45 - Account locked
2026-02-01 10:25:01 INFO Database backup completed successfully
2026-02-01 10:26:33 CRITICAL Unusual outbound traffic detected to 198.51.100.77:4444
";

#[test]
fn the_example_gives_its_two_anomalies_and_nothing_else() {
    let analysis = analysed(EXAMPLE);
    let [outbound, guessing] = &analysis.threats[..] else { panic!("{:#?}", analysis.threats) };
    assert_eq!((outbound.kind, outbound.severity), (ThreatKind::SuspiciousOutbound, Severity::Critical));
    assert_eq!(outbound.actor.as_deref(), Some("198.51.100.77"));
    assert_eq!((outbound.lines.clone(), outbound.addresses.len()), (vec![7], 1));
    assert_eq!((guessing.kind, guessing.severity), (ThreatKind::BruteForce, Severity::High));
    assert_eq!(guessing.actor.as_deref(), Some("203.0.113.45"));
    assert_eq!((guessing.lines.clone(), guessing.events), (vec![2, 3, 4, 5], 4));
    assert_eq!(guessing.users, ["root"]);
    assert_eq!(guessing.outcome, ThreatOutcome::Failed);
    assert_eq!(guessing.techniques, ["T1110.001"]);
    assert_eq!(analysis.threat_level, Some(Severity::Critical));
    let named: Vec<String> = analysis.addresses.iter().map(|address| address.address.to_string()).collect();
    assert_eq!(named, ["203.0.113.45", "198.51.100.77"], "192.168.1.100 did nothing");
    assert_eq!((analysis.compliance.logins, analysis.compliance.failed_logins), (1, 4));
    assert_eq!(analysis.input.unparsed, 0);
}

#[test]
fn each_threat_names_its_own_addresses_and_nobody_is_left_out() {
    let mut text = String::new();
    for attacker in 0..199 {
        for attempt in 0..6 {
            let address = format!("198.51.100.{}", attacker + 1);
            text += &format!(
                "2026-02-01 10:{:02}:{:02} WARN Failed login attempt for user u{attacker} from {address}\n",
                attacker % 60,
                attempt
            );
        }
    }
    let analysis = analysed(text);
    assert_eq!(analysis.threats.len(), 199);
    for threat in &analysis.threats {
        assert_eq!((threat.addresses.len(), threat.users.len(), threat.events), (1, 1, 6), "{threat:#?}");
        assert_eq!(threat.actor, Some(threat.addresses[0].to_string()));
    }
    assert_eq!(analysis.addresses.len(), 199);
}

#[test]
fn more_attacks_never_lower_the_risk() {
    let mut text = EXAMPLE.to_owned();
    let mut before = analysed(text.clone()).risk.score;
    for (number, sample) in samples::SAMPLES.iter().enumerate() {
        text += &sample.text();
        let now = analysed(text.clone()).risk.score;
        assert!(now >= before, "{before} became {now} with sample {number}, {}", sample.name);
        before = now;
    }
}

#[test]
fn formats_may_be_mixed_packed_and_unrolled() {
    let mixed = format!(
        "{}{}{}",
        r#"203.0.113.66 - - [01/Feb/2026:10:20:00 +0000] "GET /item?id=1%27+UNION+SELECT+user,password+FROM+users-- HTTP/1.1" 500 612 "-" "sqlmap/1.8"
"#,
        EXAMPLE,
        r#"{"time":"2026-02-01T10:27:00Z","level":"critical","message":"Ransomware detected","host":"ws-14"}
free words, Backdoor detected on web1
"#
    );
    let analysis = analysed(mixed.clone());
    assert_eq!(kinds(&analysis), ["backdoor", "brute_force", "ransomware", "suspicious_outbound", "web_attack"]);
    assert_eq!(analysis.input.unparsed, 1, "{:?}", analysis.input.formats);
    let attack = analysis.threats.iter().find(|threat| threat.kind == ThreatKind::WebAttack).unwrap();
    assert_eq!((attack.actor.as_deref(), attack.lines.clone()), (Some("203.0.113.66"), vec![1]));
    let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    std::io::Write::write_all(&mut packed, mixed.as_bytes()).unwrap();
    assert_eq!(kinds(&analysed(packed.finish().unwrap())), kinds(&analysis));
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    assert_eq!(kinds(&analysed(ruzstd::encoding::compress_to_vec(mixed.as_bytes(), level))), kinds(&analysis));
    let strings: Vec<&str> = mixed.lines().collect();
    let unrolled = analysed(serde_json::to_vec_pretty(&strings).unwrap());
    assert_eq!(kinds(&unrolled), kinds(&analysis));
    assert_eq!(unrolled.threats[0].lines[0], analysis.threats[0].lines[0] + 1, "behind the bracket");
    let csv = "time,source_ip,method,uri,status\n2026-02-01T10:20:00Z,203.0.113.66,GET,/item?id=1%27+UNION+SELECT+user+FROM+users--,500\n";
    assert_eq!(kinds(&analysed(csv)), ["web_attack"]);
}

#[test]
fn sources_are_read_by_the_time_of_their_lines_whatever_their_order() {
    let failure = |minute: u8| {
        format!("2026-02-01 10:{minute:02}:00 WARN Failed login attempt for user root from 203.0.113.45\n")
    };
    // What was rotated away and packed, and what is written now: guessing that one of them alone does not show.
    let older: String = (0..6).map(failure).collect();
    let newer: String = (6..11).map(failure).collect::<String>()
        + "2026-02-01 10:11:00 INFO User root logged in from 203.0.113.45\n  and a line without a time\n";
    let packed = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let told = |sources: Vec<(&str, Vec<u8>)>| {
        let sources = sources.into_iter().map(|(name, text)| Source::of_text(name, text)).collect();
        analyze(&config(), &rules(), sources, &Options::default(), &mut |_| {}).unwrap()
    };
    let in_order = told(vec![("auth.log.1.gz", packed(&older)), ("auth.log", newer.clone().into())]);
    let turned = told(vec![("auth.log", newer.clone().into()), ("auth.log.1.gz", packed(&older))]);
    let facts = |analysis: &Analysis| -> Vec<_> {
        let threats = analysis.threats.iter();
        threats.map(|one| (one.kind, one.severity, one.outcome, one.events, one.first_time, one.last_time)).collect()
    };
    assert_eq!(facts(&in_order), facts(&turned));
    let compromised = turned.threats.iter().find(|threat| threat.kind == ThreatKind::AccountCompromise);
    assert!(compromised.is_some(), "the success comes after the guesses: {:#?}", turned.threats);
    assert_eq!(in_order.threats[0].lines, (1..=12).collect::<Vec<u64>>());
    assert_eq!(turned.threats[0].lines, (1..=6).chain(8..=13).collect::<Vec<u64>>(), "as they were given");
    assert!(turned.compression.unwrap().text.unwrap().contains("root"));
    let twice = told(vec![("a.log", newer.clone().into()), ("a.log.gz", packed(&newer))]);
    assert_eq!((twice.input.lines, twice.input.names), (7, vec!["a.log".to_owned()]), "the same is read once");
}

#[test]
fn an_input_that_is_too_large_or_empty_is_refused() {
    let mut config = config();
    config.analyze.max_bytes = 100;
    let source = |text: &str| vec![Source::of_text("big.log", text.as_bytes().to_vec())];
    let ask = |text| {
        analyze(&config, &rules(), source(text), &Options::default(), &mut |_| {}).err().map(|error| error.to_string())
    };
    let told = ask(EXAMPLE).unwrap();
    assert!(told.contains("big.log") && told.contains("[analyze] max_bytes"), "{told}");
    assert_eq!(ask("").unwrap(), "big.log holds no lines");
    assert_eq!(ask("one line\n"), None);
}

#[test]
fn a_baseline_is_learned_from_clean_logs_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("baseline.json");
    let learn_from = |text: String| {
        let source = Source::of_text("-", text.into_bytes());
        learn(&config(), &rules(), vec![source], &Options::default(), &mut |_| {})
    };
    let clean: String = (0..400)
        .map(|n| {
            format!(
                "2026-02-01 {:02}:{:02}:00 INFO User alice logged in from 192.168.1.{}\n",
                8 + n % 10,
                n % 60,
                n % 9 + 1
            )
        })
        .collect();
    assert!(learn_from(clean.clone() + EXAMPLE).unwrap_err().to_string().contains("not clean"));
    assert!(learn_from("2026-02-01 08:00:00 INFO x\n".into()).unwrap_err().to_string().contains("too few"));
    std::fs::write(&path, serde_json::to_vec(&learn_from(clean.clone()).unwrap()).unwrap()).unwrap();
    let options = Options { baseline: Some(path.clone()), ..Options::default() };
    assert_eq!(analysed_by(&config(), clean, &options).deviations, []);
    let later = "2026-02-02 03:12:01 INFO User mallory logged in from 198.51.100.7\n";
    let deviations = analysed_by(&config(), later, &options).deviations;
    let told: Vec<&str> = deviations.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(told, ["new_user", "new_network", "unusual_hour"]);
    std::fs::write(&path, r#"{"version":7,"lines":1,"errors":0,"users":{},"networks":{},"resources":{},"hours":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#).unwrap();
    let source = Source::of_text("-", b"x\n".to_vec());
    let refused = analyze(&config(), &rules(), vec![source], &options, &mut |_| {}).unwrap_err().to_string();
    assert!(refused.contains("no baseline of this version"), "{refused}");
}

#[test]
fn sensitivity_decides_how_much_must_speak() {
    let weak = "2026-02-02 03:12:01 audit: user=m.lee added to group Domain Admins\n";
    let with = |sensitivity| {
        let options = Options { sensitivity: Some(sensitivity), ..Options::default() };
        analysed_by(&config(), weak, &options).threats.len()
    };
    assert_eq!([with(Sensitivity::Low), with(Sensitivity::Medium), with(Sensitivity::High)], [0, 0, 1]);
}

#[test]
fn hostile_text_stays_text() {
    let text =
        "2026-02-02 03:12:01 ALERT Malware detected by user=\x1b[31mevil\u{202e} in /tmp/\x07x\n\u{0}\u{1}\n".repeat(3);
    let analysis = analysed(text);
    let written = serde_json::to_string(&analysis).unwrap();
    assert!(!written.contains('\u{1b}') && !written.contains('\u{202e}') && !written.contains("\\u001b"), "{written}");
    assert_eq!(kinds(&analysis), ["suspicious_process"]);
}

#[test]
fn the_compliance_view_says_who_did_what() {
    let analysis = analysed(
        "Feb  2 03:12:01 web1 sshd[1]: Accepted password for alice from 10.0.0.5 port 4001 ssh2
Feb  2 03:12:05 web1 sudo[2]: alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/cat /etc/shadow
Feb  2 03:13:05 web1 useradd[3]: new user: name=deploy, UID=1001, GID=1001, home=/home/deploy, shell=/bin/bash, from=pts/0
Feb  2 03:14:01 web1 sshd[1]: Failed password for bob from 10.0.0.6 port 4001 ssh2
",
    );
    let compliance = &analysis.compliance;
    assert_eq!((compliance.logins, compliance.failed_logins, compliance.left_out), (1, 1, 0));
    assert_eq!(compliance.changes.iter().map(|change| change.line).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(compliance.sensitive_access.iter().map(|entry| entry.line).collect::<Vec<_>>(), [2]);
    let users: Vec<&str> = compliance.users.iter().map(|user| user.user.as_str()).collect();
    assert!(users.contains(&"alice") && users.contains(&"bob"), "{users:?}");
}

#[tokio::test]
async fn what_is_posted_is_analysed_and_kept_only_when_asked() {
    use crate::record::{History, Sqlite};
    use crate::show::{AnalysisEvent, AnalysisQuery, AnalysisRequest};
    use crate::triage::{Advisers, Privacy, Today};
    use tokio::sync::{Semaphore, mpsc, watch};

    let dir = tempfile::tempdir().unwrap();
    let config = Config { state_dir: dir.path().into(), ..config() };
    let store = Arc::new(Sqlite::open(&config.state_dir, &config.store).await.unwrap());
    let (requests, taken) = mpsc::channel(1);
    let memory = crate::memory::open(&config.memory);
    let advisers = Advisers::open(&[], &config.reputation, Privacy::Masked, memory, &|_| Today::default()).unwrap();
    let (config, advisers) = (watch::channel(config).1, watch::channel(Arc::new(advisers)).1);
    let serving = tokio::spawn(serve(config, store.clone(), advisers, taken));
    let turns = Arc::new(Semaphore::new(1));
    let ask = async |query: AnalysisQuery| {
        let (events, mut heard) = mpsc::channel(16);
        // Given back by the analysis before: else this would wait for ever.
        let turn = turns.clone().acquire_owned().await.unwrap();
        let owner = "anna".to_owned();
        requests.send(AnalysisRequest { query, owner, log: EXAMPLE.into(), events, turn }).await.unwrap();
        let mut progress = 0;
        loop {
            match heard.recv().await.unwrap() {
                AnalysisEvent::Progress(_) => progress += 1,
                AnalysisEvent::Done(done) => break (done, progress),
            }
        }
    };
    let (done, progress) = ask(AnalysisQuery::default()).await;
    assert_eq!((done.unwrap().threats.len(), progress), (2, 1));
    assert_eq!(store.sessions(10).await.unwrap(), []);
    let (done, _) =
        ask(AnalysisQuery { keep: true, name: Some("evening.log".into()), ..AnalysisQuery::default() }).await;
    let kept = store.sessions(10).await.unwrap();
    assert_eq!(kept, [super::kept::session(&done.unwrap())]);
    let of = async |name: &str| store.sessions_for(name, crate::event::Role::Analyst, 10).await.unwrap().len();
    assert_eq!((of("anna").await, of("berta").await), (1, 0), "whoever hears of its end, it has its owner");
    assert_eq!((kept[0].source.as_str(), kept[0].log_count, kept[0].threat_count), ("evening.log", 7, 2));
    let (sample, _) = ask(AnalysisQuery { sample: Some("clean".into()), ..AnalysisQuery::default() }).await;
    assert_eq!(sample.unwrap().threats, []);
    let (refused, _) = ask(AnalysisQuery { sensitivity: Some("hi".into()), ..AnalysisQuery::default() }).await;
    assert!(refused.unwrap_err().to_string().contains("low, medium or high"));
    serving.abort();
}
