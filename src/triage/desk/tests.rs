use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Semaphore;

use super::*;
use crate::event::{Action, Evidence, Finding, Verdict, samples};
use crate::memory::{self, MemoryConfig};
use crate::triage::provider::{Answer, Chat, LlmProvider, Message, ProviderError, Reply, ToolCall};
use crate::triage::{Privacy, ReputationConfig, TierConfig, Today, Toolbox};

/// A model that says what it is told, when it is let.
struct Scripted {
    answer: Box<dyn Fn(&Chat<'_>) -> Reply + Send + Sync>,
    let_through: Arc<Semaphore>,
    asked: Arc<Mutex<Vec<String>>>,
    under_way: Arc<AtomicUsize>,
}

impl LlmProvider for Scripted {
    fn chat<'a>(&'a self, chat: &'a Chat<'a>) -> Answer<'a, Reply> {
        Box::pin(async move {
            let Some(Message::User(question)) = chat.messages.iter().rfind(|one| matches!(one, Message::User(_)))
            else {
                return Err(ProviderError::Malformed("no question".into()));
            };
            self.asked.lock().unwrap().push(question.clone());
            self.under_way.fetch_add(1, SeqCst);
            self.let_through.acquire().await.unwrap().forget();
            Ok((self.answer)(chat))
        })
    }

    fn models(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async { Ok(vec!["m".into()]) })
    }

    fn pull<'a>(&'a self, _: &'a (dyn Fn(u64, u64) + Send + Sync)) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// A label that is malicious with this probability.
fn label(probability: f64) -> Reply {
    let first_token = vec![("malicious".into(), probability.ln()), ("benign".into(), (1.0 - probability).ln())];
    Reply { first_token: Some(first_token), ..Reply::default() }
}

struct Bench {
    triage: Triage,
    memory: Arc<dyn Memory>,
    /// What each tier was asked, and how often it may answer.
    asked: Vec<Arc<Mutex<Vec<String>>>>,
    let_through: Vec<Arc<Semaphore>>,
    under_way: Vec<Arc<AtomicUsize>>,
}

type Script = Box<dyn Fn(&Chat<'_>) -> Reply + Send + Sync>;

/// A desk with a tier that gives labels and, maybe, one that gives verdicts.
fn desk(scripts: Vec<Script>, config: TriageConfig) -> Bench {
    desk_of(&["label", "verdict"], scripts, config)
}

/// A desk with tiers that are asked so.
fn desk_of(asks: &[&str], scripts: Vec<Script>, config: TriageConfig) -> Bench {
    let memory = memory::open(&MemoryConfig::default());
    let (mut tiers, mut asked, mut let_through, mut under_way) = (vec![], vec![], vec![], vec![]);
    for (index, (answer, ask)) in scripts.into_iter().zip(asks).enumerate() {
        let text = format!(
            "name = \"t{index}\"\nprovider = \"openai\"\nurl = \"http://127.0.0.1\"\nmodel = \"m\"\nask = \"{ask}\""
        );
        let config: TierConfig = toml::from_str(&text).unwrap();
        let provider = Scripted {
            answer,
            let_through: Arc::new(Semaphore::new(1000)),
            asked: Arc::default(),
            under_way: Arc::default(),
        };
        asked.push(provider.asked.clone());
        let_through.push(provider.let_through.clone());
        under_way.push(provider.under_way.clone());
        tiers.push(Tier::new(config, Box::new(provider), Today::default()));
    }
    let toolbox =
        Toolbox::new(&ReputationConfig::default(), Privacy::Masked, memory.clone(), &|_| Today::default()).unwrap();
    let sureness = watch::channel(Sureness { act: 8, monitor: 4 }).1;
    let advisers = Arc::new(Advisers { tiers, toolbox });
    let triage = Triage::start(&config, sureness, advisers, memory.clone(), "rules").unwrap();
    Bench { triage, memory, asked, let_through, under_way }
}

fn finding(client: u8, n: u64, uri: &str, score: u8) -> Finding {
    let address = Ipv4Addr::new(203, 0, 113, client);
    Finding {
        offset: n,
        source_ip: Some(address.into()),
        client: Some(ClientKey::of(address.into(), 64)),
        uri: uri.into(),
        user_agent: "Mozilla/5.0".into(),
        rule_ids: vec!["r".into()],
        score,
        evidence: vec![Evidence { rule_id: "r".into(), target: "args".into(), matched: String::new(), score }],
        action: Action::Monitor,
        verdict: Verdict { confidence: score, ..samples::finding().verdict },
        ..samples::finding()
    }
}

fn case(client: u8, n: u64, uri: &str, score: u8) -> Case {
    let finding = finding(client, n, uri, score);
    let client = finding.client.unwrap();
    Case {
        about: About { finding_id: finding.id(), address: finding.source_ip, client },
        score,
        view: View::of(&finding),
        since: Instant::now(),
    }
}

impl Bench {
    fn submit(&self, case: Case) {
        assert!(self.triage.submit(case), "no room");
    }

    async fn judged(&mut self) -> Judged {
        tokio::time::timeout(Duration::from_secs(20), self.triage.judged()).await.expect("in time").unwrap()
    }

    /// Waits until tier `index` was asked so often.
    async fn asked(&self, index: usize, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.under_way[index].load(SeqCst) < count {
            assert!(Instant::now() < deadline, "not asked {count} times");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn block(&self) {
        self.let_through[0].forget_permits(1000);
    }
}

#[tokio::test]
async fn what_looks_alike_is_asked_once() {
    let mut bench = desk(vec![Box::new(|_| label(0.999))], TriageConfig::default());
    bench.block();
    for client in 0..5 {
        bench.submit(case(client, u64::from(client), &format!("/item?id={client}'"), 6));
    }
    bench.asked(0, 1).await;
    bench.let_through[0].add_permits(10);
    for _ in 0..5 {
        let judged = bench.judged().await;
        assert_eq!((judged.by, judged.said.unwrap().class), (DecidedBy::Tier1, VerdictClass::Malicious));
    }
    // Later too, of anybody.
    bench.submit(case(9, 9, "/item?id=77'", 5));
    assert_eq!(bench.judged().await.note, "as decided before");
    assert_eq!(bench.asked[0].lock().unwrap().len(), 1);
}

#[tokio::test]
async fn who_answered_without_a_verdict_is_not_asked_the_same_again() {
    let nothing = || -> Script { Box::new(|_| Reply { text: "I cannot tell".into(), ..Reply::default() }) };
    let mut bench = desk(vec![nothing(), nothing()], TriageConfig::default());
    let mut asked = vec![];
    for client in 1..4 {
        bench.submit(case(client, u64::from(client), "/item?id=1'", 6));
        let judged = bench.judged().await;
        assert_eq!((judged.by, judged.said), (DecidedBy::Rules, None));
        assert!(judged.note.contains("no verdict"), "{}", judged.note);
        asked.push((bench.asked[0].lock().unwrap().len(), bench.asked[1].lock().unwrap().len()));
    }
    assert!(asked[0].0 > 0 && asked[0].1 > 0 && asked[0] == asked[2], "{asked:?}");
}

#[tokio::test]
async fn what_was_counted_over_many_lines_looks_alike_whichever_was_the_last() {
    let mut bench = desk(vec![Box::new(|_| label(0.999))], TriageConfig::default());
    for (client, uri) in [(1, "/a/page"), (2, "/another?id=1'")] {
        let evidence = vec![];
        let finding = Finding { evidence, ..finding(client, u64::from(client), uri, 6) };
        let case = Case { view: View::of(&finding), ..case(client, u64::from(client), uri, 6) };
        bench.submit(case);
        bench.judged().await;
    }
    assert_eq!(bench.asked[0].lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_worst_goes_first_and_the_weakest_is_left_to_rules() {
    let config = TriageConfig { max_waiting: 2, ..TriageConfig::default() };
    let mut bench = desk(vec![Box::new(|_| label(0.999))], config);
    bench.block();
    bench.submit(case(1, 1, "/asked/first", 5));
    bench.asked(0, 1).await;
    // Three more while two may wait: the oldest of the weakest has to go.
    for (client, uri, score) in [(2, "/search?q=5", 5), (3, "/login?q=7", 7), (4, "/cart?q=5", 5)] {
        bench.submit(case(client, u64::from(client), uri, score));
    }
    let left = bench.judged().await;
    assert_eq!((left.said.is_none(), left.note.as_str()), (true, "too many cases wait for a model"));
    assert_eq!(left.case.about.client, case(2, 2, "/", 5).about.client);
    bench.let_through[0].add_permits(10);
    for _ in 0..3 {
        bench.judged().await;
    }
    let asked = bench.asked[0].lock().unwrap().clone();
    assert!(asked[1].contains("/login") && asked[2].contains("/cart"), "{asked:?}");
}

#[tokio::test]
async fn what_waits_too_long_is_left_to_rules() {
    let config = TriageConfig { max_wait_secs: 1, ..TriageConfig::default() };
    let mut bench = desk(vec![Box::new(|_| label(0.999))], config);
    bench.block();
    bench.submit(case(1, 1, "/a", 8));
    let left = bench.judged().await;
    assert_eq!((left.said, left.note.as_str()), (None, "no model answered in time"));
    // The answer comes late and serves the next.
    bench.let_through[0].add_permits(10);
    bench.submit(case(2, 2, "/a", 8));
    assert_eq!(bench.judged().await.said.unwrap().class, VerdictClass::Malicious);
    assert_eq!(bench.asked[0].lock().unwrap().len(), 1);
}

#[tokio::test]
async fn who_is_known_is_shown_to_the_next_tier_and_who_is_not_is_watched() {
    let verdict = |_: &Chat<'_>| Reply {
        text: "{\"verdict\": \"benign\", \"confidence\": 9, \"threat_type\": \"other\", \"reasoning\": \"\"}".into(),
        ..Reply::default()
    };
    // 5 of 10 sure.
    let mut bench = desk(vec![Box::new(|_| label(0.79)), Box::new(verdict)], TriageConfig::default());
    bench.submit(case(1, 1, "/a", 6));
    let judged = bench.judged().await;
    assert_eq!((judged.by, judged.said.unwrap().confidence), (DecidedBy::Tier1, 6));
    for n in 10..16 {
        bench.memory.remember(&finding(2, n, "/b", 6)).await;
    }
    bench.submit(case(2, 2, "/a", 6));
    let judged = bench.judged().await;
    assert_eq!((judged.by, judged.offender), (DecidedBy::Tier2, true));
    let question = bench.asked[1].lock().unwrap()[0].clone();
    assert!(question.contains("first opinion: malicious, 6 of 10"), "{question}");
    assert!(question.contains("this client had 4 or more findings lately, none of them grave"), "{question}");
    assert_eq!(bench.asked[0].lock().unwrap().len(), 1, "the first opinion is the same for all");
}

#[tokio::test]
async fn what_was_looked_up_of_one_client_is_of_no_other() {
    let talk = |chat: &Chat<'_>| match chat.messages.iter().any(|one| matches!(one, Message::Tool { .. })) {
        false => Reply {
            calls: vec![ToolCall { id: "1".into(), name: "recent_activity".into(), arguments: serde_json::json!({}) }],
            ..Reply::default()
        },
        true => Reply { text: "{\"verdict\": \"malicious\", \"confidence\": 9}".into(), ..Reply::default() },
    };
    // A tier that is alone shares no more.
    let mut alone = desk_of(&["verdict"], vec![Box::new(talk)], TriageConfig::default());
    for client in [1, 2, 1] {
        alone.submit(case(client, u64::from(client), "/a", 6));
        assert_eq!(alone.judged().await.by, DecidedBy::Tier1);
    }
    assert_eq!(alone.asked[0].lock().unwrap().len(), 4);
    let mut bench = desk(vec![Box::new(|_| label(0.5)), Box::new(talk)], TriageConfig::default());
    bench.block();
    bench.submit(case(1, 1, "/a", 6));
    bench.submit(case(2, 2, "/a", 6));
    bench.asked(0, 1).await;
    bench.let_through[0].add_permits(10);
    for _ in 0..2 {
        assert_eq!(bench.judged().await.by, DecidedBy::Tier2);
    }
    assert_eq!(bench.asked[1].lock().unwrap().len(), 4, "each was looked up");
    bench.submit(case(1, 3, "/a", 6));
    assert_eq!(bench.judged().await.note, "as decided before; the first tier said malicious, 1 of 10");
    assert_eq!(bench.asked[1].lock().unwrap().len(), 4, "and is not again");
}

#[tokio::test]
async fn a_label_without_its_probability_is_watched_and_never_acted_on() {
    // A server that gives no log-probabilities is asked by a schema, in which there is no confidence.
    let plain = |chat: &Chat<'_>| {
        let text = if chat.schema.is_some() { "{ \"verdict\": \"malicious\" }" } else { "malicious" };
        Reply { text: text.into(), ..Reply::default() }
    };
    let mut bench = desk(vec![Box::new(plain)], TriageConfig::default());
    bench.submit(case(1, 1, "/a", 7));
    let said = bench.judged().await.said.unwrap();
    assert_eq!((said.class, said.confidence), (VerdictClass::Malicious, 5));
}
