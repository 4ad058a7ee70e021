//! How fast the recorder is: findings and bans as they come in a flood, in a database of their own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::recorder::{Done, Recorder};
use crate::event::{
    Action, Category, ClientKey, DecidedBy, Decision, DecisionState, Evidence, Finding, Ground, Proposer, Timestamp,
    digest,
};
use crate::pipeline::sender;
use crate::record::{Sqlite, StoreConfig};
use crate::show::Services;
use crate::triage::rules_alone;

/// Findings of one report, as the decider takes them.
const REPORT: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(600);

/// Records `events` findings of a tenth as many clients, sends them to the Postgres of `config`, if it names one, then
/// records `bans` as one list, in a new database in `state_dir`, and reads them again as a start does.
///
/// # Errors
/// The directory cannot be used, or a database does not take it.
pub async fn record(state_dir: &Path, config: &StoreConfig, events: u64, bans: u32) -> anyhow::Result<Value> {
    let store = Arc::new(Sqlite::open(state_dir, config).await?);
    let recorder = Recorder::new(store.clone());
    let now = Timestamp::now();
    let reports = (0..events.div_ceil(REPORT)).map(|report| {
        let numbers = report * REPORT..((report + 1) * REPORT).min(events);
        numbers.map(|number| finding(number, events, now)).collect::<Vec<_>>()
    });
    let reports: Vec<Vec<Finding>> = reports.collect();
    let begun = Instant::now();
    for findings in reports {
        recorder.record(Done { at: now, findings, ..Done::default() });
    }
    anyhow::ensure!(recorder.flush(PATIENCE).await, "the database did not take all in time");
    let events_secs = begun.elapsed().as_secs_f64();
    let sent_secs = send(&store, config).await?;

    let decisions = (0..bans).map(|number| ban(number, now)).collect();
    let begun = Instant::now();
    recorder.record(Done { at: now, decisions, ..Done::default() });
    anyhow::ensure!(recorder.flush(PATIENCE).await, "the database did not take all in time");
    let bans_secs = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let live = store.live_decisions(now).await?.len();
    let live_secs = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    store.prune(now).await?;
    let prune_secs = begun.elapsed().as_secs_f64();
    store.close().await;
    Ok(json!({
        "events": events, "events_secs": events_secs, "events_per_sec": (events as f64 / events_secs) as u64,
        "sent_secs": sent_secs, "sent_per_sec": sent_secs.map(|secs| (events as f64 / secs) as u64),
        "bans": bans, "bans_secs": bans_secs, "live": live, "live_secs": live_secs, "prune_secs": prune_secs,
    }))
}

/// Seconds until everything is in Postgres, from the moment when it is there; none without one.
async fn send(store: &Arc<Sqlite>, config: &StoreConfig) -> anyhow::Result<Option<f64>> {
    let (services, mut said) = watch::channel(Services::new());
    let sending = tokio::spawn(sender::run(store.clone(), config.clone(), "trial".into(), services));
    let sent = async {
        while !store.has_reader(sender::NAME).await? {
            if sending.is_finished() {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let begun = Instant::now();
        // Asked itself again and again, the database would be busy with counting what waits.
        let is_all = |services: &Services| {
            let figures = services.get(sender::NAME).map(|service| &service.figures);
            figures.is_some_and(|figures| figures["healthy"] == json!(true) && figures["waiting"] == json!(0))
        };
        said.wait_for(is_all).await?;
        anyhow::Ok(Some(begun.elapsed().as_secs_f64()))
    };
    let sent = tokio::time::timeout(PATIENCE, sent).await.context("Postgres did not take all in time");
    sending.abort();
    sent?
}

/// The finding numbered so, of `events` over two hours; a case of ten findings each.
pub(super) fn finding(number: u64, events: u64, now: Timestamp) -> Finding {
    let client = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) % (events / 10).max(1);
    let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + client as u32));
    let rule: Arc<str> =
        ["sqli-union-select", "lfi-traversal", "scanner-tool", "xss-script"][number as usize % 4].into();
    let uri = format!("/shop/{}/item?id={number}&q=%27%20UNION%20SELECT%20name%20FROM%20users--", number % 5000);
    Finding {
        file: "/var/log/nginx/access.log".into(),
        generation: 1,
        offset: number * 200,
        line_number: None,
        time: Timestamp(now.0 - 7_200_000 + (number * 7_200_000 / events.max(1)) as i64),
        source_ip: Some(address),
        client: Some(ClientKey::of(address, ClientKey::V6_PREFIX)),
        via_proxy: false,
        method: "GET".into(),
        uri,
        status: 200,
        user_agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0".into(),
        referer: "https://shop.example/".into(),
        category: Category::Sqli,
        rule_ids: vec![rule.clone()],
        score: 9,
        evidence: vec![Evidence { rule_id: rule, target: "args".into(), matched: "' UNION SELECT".into(), score: 9 }],
        action: Action::Block,
        verdict: rules_alone(9, DecidedBy::Rules, "sqli-union-select +9".into()),
        flagged: true,
        is_system_url: false,
    }
}

fn ban(number: u32, now: Timestamp) -> Decision {
    Decision {
        id: digest(&[b"trial", &number.to_le_bytes()]),
        target: IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number)).into(),
        proposer: Proposer::Imported,
        ground: Ground { reason: "a list".into(), ..Ground::default() },
        created_at: now,
        expires_at: now.plus_secs(86_400),
        simulated: false,
        state: DecisionState::Active,
        note: String::new(),
        offences: 0,
        origin: String::new(),
    }
}
