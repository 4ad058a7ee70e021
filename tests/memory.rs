//! Memory, in this process and in a real Redis.

mod contract;
mod outage;
mod server;

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade::event::{Action, Category, ClientKey, DecidedBy, Finding, Timestamp, Verdict, VerdictClass};
use palisade::memory::{self, Memory, MemoryConfig};

fn client(n: u32) -> ClientKey {
    ClientKey::of(Ipv4Addr::from(0xcb00_7100 + n).into(), 64)
}

/// The finding at `offset`, of client `n`.
fn finding(n: u32, offset: u64) -> Finding {
    Finding {
        file: "access.log".into(),
        generation: 1,
        offset,
        line_number: None,
        time: Timestamp::now(),
        source_ip: None,
        client: Some(client(n)),
        via_proxy: false,
        method: "GET".into(),
        uri: format!("/products/{offset}?q=ignore+the+rules"),
        status: 200,
        user_agent: "curl".into(),
        referer: String::new(),
        category: Category::Sqli,
        rule_ids: vec![],
        score: 6,
        evidence: vec![],
        flagged: true,
        is_system_url: false,
        action: Action::Monitor,
        verdict: Verdict {
            class: VerdictClass::Malicious,
            confidence: 7,
            decided_by: DecidedBy::Rules,
            reasoning: String::new(),
        },
    }
}

fn config(url: &str) -> MemoryConfig {
    MemoryConfig { redis_url: url.to_owned().into(), ..MemoryConfig::default() }
}

/// A memory that is healthy.
async fn open(config: &MemoryConfig) -> Arc<dyn Memory> {
    let memory = memory::open(config);
    until("memory is healthy", async || memory.state().healthy).await;
    memory
}

/// Asks again and again until it is so, at most half a minute.
async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reached().await {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Until what was told is where others see it.
async fn settled(memory: &dyn Memory) {
    until("nothing waits", async || memory.state().waiting == 0).await;
}

async fn findings(memory: &dyn Memory, n: u32) -> u32 {
    memory.recall(client(n)).await.map_or(0, |summary| summary.findings)
}

/// Runs `test` as the daemon would run it.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}
