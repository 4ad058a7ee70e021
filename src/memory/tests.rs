use std::time::Instant;

use super::*;
use crate::event::{Action, DecidedBy, samples};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn client(n: u32) -> ClientKey {
    ClientKey::of(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), 64)
}

/// A finding of client `n` that is monitored.
pub(super) fn finding(n: u32) -> Finding {
    Finding { client: Some(client(n)), score: 6, action: Action::Monitor, ..samples::finding() }
}

fn at(n: u32, offset: u64) -> Finding {
    Finding { offset, ..finding(n) }
}

/// Of a memory that answers at once.
fn now<T>(answer: Answer<'_, T>) -> T {
    let mut answer = answer;
    match answer.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn entries(memory: &InProcess) -> u64 {
    memory.state().entries.unwrap()
}

/// Waits until `reached`, at most 20 seconds.
fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_is_forgotten_after_its_last_finding_however_often_it_is_asked_for() {
    let memory = InProcess::with_times(Duration::from_millis(80), HOUR, 10);
    now(memory.remember(&finding(1)));
    assert!(now(memory.recall(client(1))).is_some());
    eventually("it is not forgotten", || now(memory.recall(client(1))).is_none());
    eventually("it still takes room", || entries(&memory) == 0);
    now(memory.remember(&finding(1)));
    assert_eq!(now(memory.recall(client(1))).unwrap().findings, 1, "and starts anew");
}

#[test]
fn findings_keep_a_client_known_but_a_flag_ends_in_its_time() {
    let memory = InProcess::with_times(Duration::from_secs(1), HOUR, 10);
    let started = Instant::now();
    now(memory.remember(&Finding { action: Action::Block, ..finding(1) }));
    assert!(now(memory.recall(client(1))).unwrap().flagged);
    let mut findings = 1;
    eventually("the flag never ends", || {
        let mut finding = Finding { action: Action::Block, ..at(1, findings) };
        finding.verdict.decided_by = DecidedBy::Cache;
        now(memory.remember(&finding));
        findings += 1;
        !now(memory.recall(client(1))).unwrap().flagged
    });
    assert!(started.elapsed() >= Duration::from_millis(900), "it ended after {:?}", started.elapsed());
    let known = now(memory.recall(client(1))).unwrap();
    assert_eq!(u64::from(known.findings), findings, "the client is known all the while");
}

#[test]
fn no_more_than_max_clients_are_known_and_the_newest_are() {
    let memory = InProcess::new(&MemoryConfig { max_clients: 100, ..MemoryConfig::default() });
    for n in 0..50 {
        now(memory.remember(&finding(n)));
        // The most asked for, which must not turn a newcomer away.
        (0..20).for_each(|_| _ = now(memory.recall(client(n))));
    }
    for n in 50..5000 {
        now(memory.remember(&finding(n)));
    }
    assert_eq!(entries(&memory), 100);
    for n in 4900..5000 {
        assert!(now(memory.recall(client(n))).is_some(), "{n}");
    }
}

#[test]
fn drawers_are_bounded_each_by_itself() {
    let memory = InProcess::new(&MemoryConfig { max_clients: 100, ..MemoryConfig::default() });
    now(memory.put(Drawer::Malicious, "first", "kept".into(), HOUR));
    for n in 0..5000 {
        now(memory.put(Drawer::Benign, &n.to_string(), n.to_string(), HOUR));
    }
    assert_eq!(entries(&memory), 101);
    assert_eq!(now(memory.get(Drawer::Malicious, "first")).as_deref(), Some("kept"), "a flood of one kind");
    assert_eq!(now(memory.get(Drawer::Benign, "4999")).as_deref(), Some("4999"));
}

#[test]
fn no_finding_is_lost_when_many_threads_remember_one_client() {
    let memory = InProcess::new(&MemoryConfig::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let memory = &memory;
            let remember = move |n: u32| now(memory.remember(&at(n % 3, thread << 32 | u64::from(n))));
            scope.spawn(move || (0..2000).for_each(remember));
        }
    });
    let findings: u32 = (0..3).map(|n| now(memory.recall(client(n))).unwrap().findings).sum();
    assert_eq!(findings, 8000);
}

#[test]
fn what_is_no_url_of_a_redis_is_told_without_its_password() {
    let check = |url: &str| MemoryConfig { redis_url: url.to_owned().into(), ..MemoryConfig::default() }.check_url();
    for good in ["", "redis://127.0.0.1", "redis://localhost:6379/3", "rediss://default:p%40ss@example.com:6380"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [
        "127.0.0.1:6379",
        "https://u:hunter2@example.com",
        "redis://:hunter2@",
        "redis:hunter2",
        "redis://:hunter2@h:99999",
        "redis://:hunter2@h:1/x",
        "unix:///run/redis.sock",
    ] {
        assert!(!check(bad).expect_err(bad).contains("hunter2"));
    }
    let config = MemoryConfig { redis_url: "redis://:hunter2@h".to_owned().into(), ..MemoryConfig::default() };
    assert!(!format!("{config:?} {}", toml::to_string(&config).unwrap()).contains("hunter2"));
}
