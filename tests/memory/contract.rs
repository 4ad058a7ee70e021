//! What holds wherever memory is.

use std::time::Duration;

use palisade::event::{Action, ClientKey, Finding};
use palisade::memory::{Drawer, MAX_VALUE_BYTES, Memory, MemoryConfig, Risk};
use serde_json::json;

use super::server::{Server, redis_or_skip};
use super::{client, config, finding, findings, open, run, settled, until};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `test` over every implementation, of the configuration that `adapt` makes.
fn each(what: &str, adapt: fn(&mut MemoryConfig), test: impl AsyncFn(&dyn Memory)) {
    let mut one = config("");
    adapt(&mut one);
    run(async { test(&*open(&one).await).await });
    if redis_or_skip(what) {
        let server = Server::start();
        let mut one = config(&server.url());
        adapt(&mut one);
        run(async { test(&*open(&one).await).await });
    }
}

#[test]
fn findings_add_up_in_any_order_and_are_forgotten() {
    each(
        "findings_add_up",
        |_| {},
        async |memory| {
            assert_eq!(memory.recall(client(1)).await, None);
            let start = finding(1, 0).time;
            let at = |offset, secs, score| Finding { time: start.plus_secs(secs), score, ..finding(1, offset) };
            let block =
                Finding { action: Action::Block, uri: "/wp-login.php".into(), method: "POST".into(), ..at(2, 90, 9) };
            for (n, finding) in [at(1, 50, 5), block, at(3, 10, 7), at(3, 10, 7)].into_iter().enumerate() {
                memory.remember(&finding).await;
                assert_eq!(findings(memory, 1).await, (n as u32 + 1).min(3), "what was told is seen at once, and once");
                if n == 1 {
                    settled(memory).await;
                }
            }
            memory.remember(&finding(2, 4)).await;
            memory.remember(&Finding { client: None, ..finding(3, 5) }).await;
            settled(memory).await;
            let summary = serde_json::to_value(memory.recall(client(1)).await).unwrap();
            let decayed = summary["decayed_score"].as_f64().unwrap();
            // Just now, or in the near future.
            assert!((20.5..=21.0).contains(&decayed), "{decayed}");
            assert_eq!(
                summary,
                json!({
                    "findings": 3, "first": start.plus_secs(10), "last": start.plus_secs(90), "highest": 9,
                    "decayed_score": decayed, "risk": "medium", "categories": ["sqli"], "methods": ["GET", "POST"],
                    "paths": ["/wp-login.php", "/products/{number}"],
                    "confidences": { "lowest": 7, "highest": 7, "mean": 7.0 }, "flagged": true,
                })
            );
            let recent = memory.recent(client(1), 2).await;
            assert_eq!(recent.iter().map(|event| event.score).collect::<Vec<_>>(), [9, 5]);
            assert_eq!((recent[0].action, recent[0].path.as_deref()), (Action::Block, Some("/wp-login.php")));
            assert_eq!(memory.recall(client(2)).await.unwrap().risk, Risk::Low);

            memory.forget(client(1)).await;
            assert_eq!(memory.recall(client(1)).await, None, "at once");
            settled(memory).await;
            assert_eq!((memory.recall(client(1)).await, memory.recent(client(1), 9).await), (None, vec![]));
            memory.remember(&at(9, 0, 5)).await;
            settled(memory).await;
            assert_eq!((findings(memory, 1).await, findings(memory, 2).await), (1, 1));
            memory.remember(&at(10, 0, 5)).await;
            memory.forget(client(1)).await;
            memory.remember(&at(11, 0, 5)).await;
            settled(memory).await;
            assert_eq!(findings(memory, 1).await, 1, "what came after it was forgotten");
        },
    );
}

#[test]
fn an_ipv6_network_is_one_client() {
    each(
        "an_ipv6_network",
        |_| {},
        async |memory| {
            let of = |text: &str| ClientKey::of(text.parse().unwrap(), 64);
            memory.remember(&Finding { client: Some(of("2001:db8:1:2::7")), ..finding(1, 1) }).await;
            memory.remember(&Finding { client: Some(of("2001:db8:1:2::8")), ..finding(1, 2) }).await;
            settled(memory).await;
            assert_eq!(memory.recall(of("2001:db8:1:2::9")).await.unwrap().findings, 2);
            assert_eq!(memory.recall(of("2001:db8:1:3::7")).await, None);
        },
    );
}

#[test]
fn drawers_keep_values_apart_until_they_are_over() {
    each(
        "drawers_keep_values",
        |_| {},
        async |memory| {
            let get = async |drawer, key| memory.get(drawer, key).await;
            // The first puts are asked for while they wait, the second when they are settled.
            for round in 0..2 {
                memory.put(Drawer::Malicious, "a1", "yes".into(), HOUR).await;
                memory.put(Drawer::Malicious, "a2", "gone".into(), HOUR).await;
                memory.put(Drawer::Benign, "a1", "no".into(), HOUR).await;
                memory.put(Drawer::Benign, "a1", "no \u{e9}\0\n".into(), HOUR).await;
                memory.put(Drawer::Reputation, "*? [x]\r\nDEL", "odd".into(), HOUR).await;
                memory.put(Drawer::Escalations, "long", "x".repeat(MAX_VALUE_BYTES + 1), HOUR).await;
                memory.discard(Drawer::Malicious, "a2").await;
                if round == 1 {
                    settled(memory).await;
                }
                assert_eq!(get(Drawer::Malicious, "a1").await.as_deref(), Some("yes"));
                assert_eq!(get(Drawer::Malicious, "a2").await, None);
                assert_eq!(get(Drawer::Benign, "a1").await.as_deref(), Some("no \u{e9}\0\n"));
                assert_eq!(get(Drawer::Benign, "a").await, None);
                assert_eq!(get(Drawer::Reputation, "*? [x]\r\nDEL").await.as_deref(), Some("odd"));
                assert_eq!(get(Drawer::Escalations, "long").await, None);
                memory.clear(Drawer::Benign).await;
                memory.put(Drawer::Benign, "b", "after".into(), HOUR).await;
                assert_eq!(get(Drawer::Benign, "a1").await, None, "at once");
                settled(memory).await;
                assert_eq!(get(Drawer::Benign, "a1").await, None);
                assert_eq!(get(Drawer::Benign, "b").await.as_deref(), Some("after"));
                assert_eq!(get(Drawer::Malicious, "a1").await.as_deref(), Some("yes"), "another drawer");
            }
            let state = memory.state();
            assert_eq!((state.hits, state.misses, state.last_error), (10, 10, None));

            memory.put(Drawer::Reputation, "soon", "x".into(), Duration::from_millis(60)).await;
            assert_eq!(get(Drawer::Reputation, "soon").await.as_deref(), Some("x"));
            until("a value is over", async || get(Drawer::Reputation, "soon").await.is_none()).await;
            memory.put(Drawer::Reputation, "never", "x".into(), Duration::MAX).await;
            settled(memory).await;
            assert_eq!(get(Drawer::Reputation, "never").await.as_deref(), Some("x"));
        },
    );
}

#[test]
fn a_thousand_values_are_cleared_and_nothing_else() {
    each(
        "a_thousand_values",
        |config| config.redis_prefix = "odd*[a-z]?".into(),
        async |memory| {
            for n in 0..1000 {
                memory.put(Drawer::Benign, &n.to_string(), "x".into(), HOUR).await;
            }
            memory.put(Drawer::Malicious, "1", "x".into(), HOUR).await;
            settled(memory).await;
            assert!(memory.get(Drawer::Benign, "999").await.is_some());
            memory.clear(Drawer::Benign).await;
            settled(memory).await;
            for n in 0..1000 {
                assert_eq!(memory.get(Drawer::Benign, &n.to_string()).await, None, "{n}");
            }
            assert!(memory.get(Drawer::Malicious, "1").await.is_some());
        },
    );
}

#[test]
fn a_client_is_forgotten_ttl_secs_after_its_last_finding() {
    each(
        "a_client_is_forgotten",
        |config| config.ttl_secs = 1,
        async |memory| {
            memory.remember(&Finding { action: Action::Block, ..finding(1, 1) }).await;
            settled(memory).await;
            let summary = memory.recall(client(1)).await.unwrap();
            assert!(summary.flagged);
            until("the client is forgotten", async || memory.recall(client(1)).await.is_none()).await;
            memory.remember(&finding(1, 2)).await;
            settled(memory).await;
            let summary = memory.recall(client(1)).await.unwrap();
            assert_eq!((summary.findings, summary.flagged), (1, false), "and starts anew");
        },
    );
}

#[test]
fn no_finding_is_lost_when_many_tasks_remember_the_same_clients() {
    each(
        "no_finding_is_lost",
        |_| {},
        async |memory| {
            let tasks = (0..4).map(|task| async move {
                for n in 0..500 {
                    memory.remember(&finding(n as u32 % 3, task * 1000 + n)).await;
                    tokio::task::yield_now().await;
                }
            });
            let mut tasks: Vec<_> = tasks.map(Box::pin).collect();
            // Side by side: each is polled until all are done.
            std::future::poll_fn(|context| {
                tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
                if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            settled(memory).await;
            assert_eq!(findings(memory, 0).await + findings(memory, 1).await + findings(memory, 2).await, 2000);
        },
    );
}
