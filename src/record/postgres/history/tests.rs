//! On a real server: the stories of every store, several agents, and plans.

use sqlx::Connection;

use super::*;
use crate::event::Timestamp;
use crate::record::history::tests::{self as stories, NOW, past};
use crate::record::tests::server;
use crate::record::{FindingRow, Rows, Store, StoreConfig};

/// A fresh database with this version's schema.
async fn open() -> Option<Postgres> {
    let url = server::database("history on Postgres")?;
    // Nothing is too old in these stories.
    let config = StoreConfig {
        database_url: url.into(),
        keep_days: 36_500,
        keep_analysed_days: 36_500,
        ..StoreConfig::default()
    };
    let store = Postgres::connect(&config).await.unwrap().unwrap();
    store.migrate().await.unwrap();
    Some(store)
}

/// A database that holds what every store is asked about, with days in place of hours older than two days.
async fn filled() -> Option<Postgres> {
    let store = open().await?;
    store.put("one", &past(), NOW).await.unwrap();
    store.prune(NOW).await.unwrap();
    Some(store)
}

macro_rules! on_postgres {
    ($($story:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $story() {
            if let Some(store) = filled().await {
                stories::$story(&store).await;
            }
        })*
    };
}

stories::stories!(on_postgres);

/// Rows of another agent: the same events elsewhere.
fn elsewhere() -> Rows {
    let mut rows = past();
    let other = |row: FindingRow| FindingRow { id: format!("e{}", &row.id[1..]), ..row };
    rows.findings = rows.findings.into_iter().map(other).collect();
    rows.decisions.clear();
    rows.changes.clear();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn each_agent_is_asked_about_alone_or_with_all() {
    let Some(store) = filled().await else { return };
    store.put("two", &elsewhere(), NOW).await.unwrap();
    let all = Period { from: Timestamp(NOW.0 - 30 * 86_400_000), to: NOW };
    let findings = async |agent: Option<&str>| {
        let top = store.top(agent, all, Period::default(), Dimension::All, 0).await.unwrap();
        top.first().map_or(0, |top| top.counts.findings)
    };
    let (one, both) = (findings(Some("one")).await, findings(None).await);
    assert!(one > 0 && both == 2 * one, "{one} {both}");
    assert_eq!(findings(Some("three")).await, 0);
    let filter = FindingFilter { agent: Some("two".into()), period: all, limit: 3, ..FindingFilter::default() };
    let found = store.past_findings(&filter).await.unwrap();
    assert!(found.len() == 3 && found.iter().all(|found| found.agent == "two"));
    let clients = store.clients(None, all, 1).await.unwrap();
    let of_one = store.clients(Some("one"), all, 1).await.unwrap();
    assert_eq!((clients.len(), clients[0].findings), (1, 2 * of_one[0].findings), "a client is one row");
    assert_eq!(store.effect(Some("two"), all, NOW).await.unwrap(), Effect::default());
    let tiers = store.tiers(None, all).await.unwrap();
    assert_eq!(tiers.iter().map(|spent| spent.calls).sum::<u64>(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_counted_as_they_come_change_and_go() {
    const ROWS: &str = "SELECT agent, origin = '' AS is_own, date_trunc('hour', created_at, 'UTC') AS start, state, simulated, \
         proposer = 'imported' AS imported, count(*) FROM palisade.decisions GROUP BY 1, 2, 3, 4, 5, 6";
    const COUNTED: &str =
        "SELECT agent, is_own, start, state, simulated, imported, decisions FROM palisade.decided WHERE decisions <> 0";
    let Some(store) = open().await else { return };
    let counted = async |decisions: i64| {
        let sql = format!(
            "WITH a AS ({ROWS}), b AS ({COUNTED}) SELECT (SELECT sum(count) FROM a)::bigint, \
             (SELECT count(*) FROM ((TABLE a EXCEPT TABLE b) UNION ALL (TABLE b EXCEPT TABLE a)) AS differ)"
        );
        let ask = async |connection: &mut sqlx::PgConnection| {
            Builder::new(sql).build().persistent(false).fetch_one(connection).await
        };
        let row = store.ask(ask).await.unwrap();
        let found = (row.try_get::<Option<i64>, _>(0).unwrap().unwrap_or(0), row.try_get::<i64, _>(1).unwrap());
        assert_eq!(found, (decisions, 0), "rows, and differences");
    };
    let mut rows = past();
    let all = rows.decisions.len() as i64;
    for agent in ["one", "two"] {
        // Whose row is there already keeps it.
        store.put(agent, &rows, NOW).await.unwrap();
        counted(all).await;
    }
    rows.version += 1;
    rows.decisions.iter_mut().for_each(|decision| decision.state = crate::event::DecisionState::Lifted);
    store.put("one", &rows, NOW).await.unwrap();
    counted(all).await;
    let forgotten = rows.decisions.iter().filter(|one| one.target == rows.decisions[0].target).count() as i64;
    store.forget(rows.decisions[0].target).await.unwrap();
    assert!(forgotten > 0 && forgotten < all);
    counted(all - forgotten).await;
    store.prune(Timestamp(NOW.0 + 40_000 * 86_400_000)).await.unwrap();
    counted(0).await;
    let left = async |connection: &mut sqlx::PgConnection| {
        Builder::new("SELECT count(*) FROM palisade.decided").build().persistent(false).fetch_one(connection).await
    };
    assert_eq!(store.ask(left).await.unwrap().try_get::<i64, _>(0).unwrap(), 0, "nothing of them is left");
}

/// As many rows as make one index better than another.
async fn crowd(store: &Postgres) {
    const FINDINGS: &str = "INSERT INTO palisade.findings SELECT made.* FROM palisade.findings f, generate_series(1, 20000) n, \
         jsonb_populate_record(f, jsonb_build_object('id', md5(n::text), 'time', f.time - n * interval '40 s', \
         'client', '198.51.' || n % 200 || '.' || n % 250)) made WHERE f.id = '00000000000000000000000000000000'";
    const DECISIONS: &str = "INSERT INTO palisade.decisions SELECT made.* FROM palisade.decisions d, generate_series(1, 5000) n, \
         jsonb_populate_record(d, jsonb_build_object('id', md5(n::text), 'created_at', d.created_at - n * interval '1 m', \
         'target', '198.51.' || n % 200 || '.' || n % 250)) made WHERE d.id = 'd0000000000000000000000000000000'";
    let work = async |connection: &mut sqlx::PgConnection| {
        for sql in [FINDINGS, DECISIONS, "ANALYZE palisade.findings"] {
            sqlx::raw_sql(sql).execute(&mut *connection).await?;
        }
        Ok(())
    };
    store.transaction("BEGIN", std::time::Duration::from_secs(60), work).await.unwrap();
    let mut connection = sqlx::PgConnection::connect_with(store.options()).await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE palisade.decisions").execute(&mut connection).await.unwrap();
}

/// The plan of what `ask` asks, where the planner may look at whole tables only if nothing else is there.
async fn plan(store: &Postgres, ask: impl FnOnce(&mut Builder)) -> String {
    let mut query = Builder::new("EXPLAIN ");
    ask(&mut query);
    let work = async |connection: &mut sqlx::PgConnection| {
        sqlx::raw_sql("SET LOCAL enable_seqscan = off").execute(&mut *connection).await?;
        let rows = query.build().persistent(false).fetch_all(connection).await?;
        rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()
    };
    store.ask(work).await.unwrap().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_question_is_answered_by_its_index() {
    let Some(store) = filled().await else { return };
    crowd(&store).await;
    let week = Period { from: Timestamp(NOW.0 - 7 * 86_400_000), to: NOW };
    let filter = |client: Option<&str>| FindingFilter {
        period: week,
        clients: client.iter().map(|text| text.parse().unwrap()).collect(),
        contains: Some("select".into()),
        rule: Some("x".into()),
        limit: 100,
        ..FindingFilter::default()
    };
    let past = |target: Option<&str>| PastFilter {
        period: week,
        targets: target.iter().map(|text| text.parse().unwrap()).collect(),
        limit: 100,
        ..PastFilter::default()
    };
    let no_scan = |plan: &str, wanted: &[&str]| {
        assert!(!plan.contains("Seq Scan"), "{plan}");
        wanted.iter().for_each(|part| assert!(plan.contains(part), "{part} is not in\n{plan}"));
    };
    no_scan(
        &plan(&store, |query| trend(query, None, week, Dimension::Rule, Step::Day)).await,
        &["rollups_pkey", "dimension = "],
    );
    no_scan(&plan(&store, |query| top(query, Some("one"), week, week, Dimension::Path, 10)).await, &["rollups_pkey"]);
    for agent in [None, Some("one")] {
        let indexes = ["Index Only Scan using decisions_by_target", "decisions_live", "decided_pkey"];
        no_scan(&plan(&store, |query| effect(query, agent, week, NOW)).await, &indexes);
    }
    no_scan(&plan(&store, |query| tiers(query, None, week)).await, &["model_calls_pkey"]);
    let by_time = plan(&store, |query| findings(query, &filter(None))).await;
    no_scan(&by_time, &["time_idx", "decisions_by_finding"]);
    assert!(!by_time.contains("findings_2025"), "days outside the period are not touched\n{by_time}");
    for client in ["203.0.113.7/32", "2001:db8:1:2::/64"] {
        no_scan(&plan(&store, |query| findings(query, &filter(Some(client)))).await, &["client_time_idx"]);
    }
    no_scan(&plan(&store, |query| decisions(query, &past(None))).await, &["decisions_by_time"]);
    no_scan(&plan(&store, |query| decisions(query, &past(Some("203.0.113.7/32")))).await, &["decisions_by_target"]);
    no_scan(
        &plan(&store, |query| clients(query, None, week, 10)).await,
        &["clients_by_last_day", "decisions_by_target"],
    );
}

#[test]
fn a_period_is_looked_through_from_its_end_in_longer_and_longer_parts() {
    const HOUR: i64 = 3_600_000;
    let of = |from, to| backwards(Period { from: Timestamp(from), to: Timestamp(to) }).collect::<Vec<_>>();
    let parts: Vec<_> = of(0, 30 * HOUR).iter().map(|part| (part.from.0 / HOUR, part.to.0 / HOUR)).collect();
    assert_eq!(parts, [(29, 30), (25, 29), (9, 25), (0, 9)]);
    assert!(of(5, 5).is_empty() && of(6, 5).is_empty());
    let all = of(i64::MIN, i64::MAX);
    assert!(all.len() < 30 && all.windows(2).all(|pair| pair[0].from == pair[1].to), "{all:?}");
    assert_eq!((all[0].to.0, all[all.len() - 1].from.0), (i64::MAX, i64::MIN));
}
