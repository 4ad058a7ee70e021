//! What is Postgres' own: rights, places, poolers, what goes wrong. What every store must do is in
//! `record/tests`.

use sqlx::Row;

use super::*;
use crate::record::tests::server::{self, Pooler, Server};
use crate::record::tests::{DAY, NOW, decision, of_findings, row};
use crate::record::{FindingRow, rows::SchemaState};

fn config(url: &str) -> StoreConfig {
    StoreConfig { database_url: url.to_owned().into(), ..StoreConfig::default() }
}

async fn open(url: &str) -> Postgres {
    Postgres::connect(&config(url)).await.unwrap().unwrap()
}

async fn refused(url: &str) -> Trouble {
    trouble(Postgres::connect(&config(url)).await.map(drop))
}

fn trouble<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> Trouble {
    let error = answer.unwrap_err();
    assert!(!error.to_string().contains("w%40rd") && !error.to_string().contains("w@rd"), "{error}");
    let StoreError::Postgres { trouble, .. } = error else { panic!("{error}") };
    trouble
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn no_url_is_no_database() {
    assert!(Postgres::connect(&StoreConfig::default()).await.unwrap().is_none());
    let lacking = StoreConfig { database_url_file: Some("/nonexistent".into()), ..StoreConfig::default() };
    assert!(trouble(Postgres::connect(&lacking).await).to_string().contains("store.database_url_file /nonexistent"));
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_password_is_not() {
    let Some(server) = server::shared("what goes wrong") else { return };
    let url = server.database();
    for (url, expected) in [
        (server.url_for("postgres", "w%40rd", name(&url)), "does not take the user and password"),
        (server.url_for("nobody", "w%40rd", name(&url)), "does not take the user and password"),
        (server.url("nowhere"), "has no such database"),
        (url.replace(&server.port.to_string(), "1"), "cannot be reached"),
        (format!("{url}?sslmode=verify-full"), "does not speak TLS"),
    ] {
        let trouble = refused(&url).await;
        assert!(trouble.to_string().contains(expected), "{url}: {trouble}");
        assert_eq!(trouble.is_retryable(), expected.contains("reached"));
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("postgres://a:b@127.0.0.1:{}/d", silent.local_addr().unwrap().port());
    let start = std::time::Instant::now();
    assert!(matches!(refused(&place).await, Trouble::TimedOut(_)));
    assert!(start.elapsed() < Duration::from_secs(20));
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("postgres://a:b@127.0.0.1:{}/d", web.local_addr().unwrap().port());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = web.accept().unwrap();
        let _ = stream.read(&mut [0; 8]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    assert!(refused(&place).await.to_string().contains("no Postgres"));
}

#[tokio::test]
async fn many_may_migrate_at_once_and_a_newer_schema_is_left_alone() {
    let Some(server) = server::shared("migrations") else { return };
    let url = server.database();
    let (one, two) = (open(&url).await, open(&url).await);
    let pending = one.schema().await.unwrap();
    assert_eq!(pending.pending.len(), usize::try_from(pending.known).unwrap());
    assert!(
        trouble(one.put("a", &of_findings(1, vec![row("f", "203.0.113.7")]), NOW).await)
            .to_string()
            .contains("palisade migrate")
    );
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    let mut applied = [first.unwrap().pending.len(), second.unwrap().pending.len()];
    applied.sort_unstable();
    assert_eq!(applied, [0, pending.pending.len()], "one of them did it all");
    assert_eq!(one.schema().await.unwrap(), SchemaState { pending: vec![], ..pending.clone() });
    server.sql(name(&url), "INSERT INTO palisade.migrations VALUES (9999, 'later', now(), '')");
    assert_eq!(trouble(one.migrate().await), Trouble::TooNew { version: 9999, known: pending.known });
    server.sql(
        name(&url),
        "DELETE FROM palisade.migrations WHERE version = 9999; UPDATE palisade.migrations SET checksum = ''",
    );
    assert!(matches!(trouble(one.migrate().await), Trouble::Changed(1)));
}

#[tokio::test]
async fn a_user_without_rights_is_told_which() {
    let Some(server) = server::shared("rights") else { return };
    let url = server.database();
    server.sql(
        name(&url),
        "DO $$ BEGIN CREATE ROLE weak LOGIN PASSWORD 'w'; EXCEPTION WHEN duplicate_object THEN END $$",
    );
    let weak = open(&server.url_for("weak", "w", name(&url))).await;
    let said = trouble(weak.migrate().await).to_string();
    assert!(said.contains("palisade migrate") && said.contains("GRANT CREATE ON DATABASE"), "{said}");
    assert!(weak.examine().await.unwrap().lacking.join(" ").contains("GRANT CREATE ON DATABASE"));
    open(&url).await.migrate().await.unwrap();
    // The administrator's tables are there; a user who may not touch them is told so.
    assert!(matches!(trouble(weak.schema().await), Trouble::NotPermitted(_)));
    let admin = open(&url).await.examine().await.unwrap();
    assert_eq!((admin.lacking, admin.advice, admin.schema.pending), (vec![], vec![], vec![]));
    assert!(admin.clock_millis.abs() < 5000 && admin.server_version.starts_with(|c: char| c.is_ascii_digit()));
    server.sql(name(&url), &format!("ALTER DATABASE {} SET default_transaction_read_only = on", name(&url)));
    let strict = open(&url).await;
    assert!(strict.examine().await.unwrap().lacking.join(" ").contains("cannot write"));
    assert!(matches!(trouble(strict.put("a", &of_findings(1, vec![]), NOW).await), Trouble::ReadOnly(_)));
}

/// The roles of Supabase, as they are there.
fn supabase(server: &Server) {
    server.sql(
        "postgres",
        "DO $$ BEGIN CREATE ROLE anon NOLOGIN; CREATE ROLE authenticated NOLOGIN; \
         CREATE ROLE service_role NOLOGIN BYPASSRLS; EXCEPTION WHEN duplicate_object THEN END $$",
    );
}

#[tokio::test]
async fn anon_reads_nothing_authenticated_reads_and_service_role_writes() {
    if !server::postgres_or_skip("row-level security") {
        return;
    }
    let server = Server::start();
    let url = server.database();
    let store = open(&url).await;
    store.migrate().await.unwrap();
    supabase(&server);
    // Whoever made the schema public by a default is answered by the policies.
    store.migrate().await.unwrap();
    let doubtful = FindingRow {
        verdict: "uncertain".into(),
        uri: "/a?b?c".into(),
        decided_by: "tier1".into(),
        ..row("f", "203.0.113.7")
    };
    store.put("agent", &of_findings(1, vec![doubtful]), NOW).await.unwrap();
    let sql = |role: &str, sql: &str| server.sql_as("postgres", name(&url), &format!("SET ROLE {role}; {sql}"));
    let relations = server.sql(
        name(&url),
        "SELECT relname FROM pg_class WHERE relnamespace = 'palisade'::regnamespace AND relkind IN ('r', 'p', 'v')",
    );
    let relations: Vec<&str> = relations.lines().collect();
    assert!(relations.contains(&"logagent") && relations.contains(&"findings_20260105"), "{relations:?}");
    for relation in &relations {
        let read = format!("SELECT count(*) FROM palisade.{relation}");
        assert!(sql("anon", &read).unwrap_err().contains("permission denied"), "{relation}");
        let is_hidden = relation.starts_with("findings_") || *relation == "migrations";
        assert_eq!(sql("authenticated", &read).is_err(), is_hidden, "{relation}");
        assert!(sql("authenticated", &format!("DELETE FROM palisade.{relation}")).is_err(), "{relation}");
    }
    // Also where somebody granted what is not to be had.
    server.sql(
        name(&url),
        "GRANT USAGE ON SCHEMA palisade TO anon; GRANT ALL ON ALL TABLES IN SCHEMA palisade TO anon, authenticated",
    );
    for relation in relations.iter().filter(|relation| **relation != "clients") {
        assert_eq!(sql("anon", &format!("SELECT count(*) FROM palisade.{relation}")).unwrap(), "0", "{relation}");
    }
    assert_eq!(sql("authenticated", "SELECT count(*) FROM palisade.findings_20260105").unwrap(), "0");
    assert_eq!(sql("authenticated", "DELETE FROM palisade.findings RETURNING id").unwrap(), "");
    assert!(sql("authenticated", "INSERT INTO palisade.agents VALUES ('x', '', now(), now())").is_err());
    let seen = sql(
        "authenticated",
        "SELECT decision, llm_decision, decision_maker, url, query_string, is_blocked, tier FROM palisade.logagent",
    );
    assert_eq!(seen.unwrap(), "UNCERTAIN|UNCERTAIN|LLM|/a|b?c|t|tier1");
    store.migrate().await.unwrap();
    assert!(sql("anon", "SELECT count(*) FROM palisade.findings").is_err(), "and is taken away again");

    server.sql(name(&url), "CREATE ROLE writer LOGIN PASSWORD 'w' IN ROLE service_role");
    let writer = open(&server.url_for("writer", "w", name(&url))).await;
    assert_eq!(writer.migrate().await.unwrap().pending, vec![]);
    let tomorrow = FindingRow { time: Timestamp(NOW.0 + DAY), ..row("g", "203.0.113.7") };
    let mut rows = of_findings(2, vec![tomorrow]);
    rows.decisions.push(decision("d", "203.0.113.7/32", crate::event::DecisionState::Expired));
    assert_eq!(writer.put("writer", &rows, NOW).await.unwrap(), 1);
    assert_eq!(server.sql(name(&url), "SELECT count(*) FROM palisade.findings_20260106"), "1");
    assert!(sql("anon", "SELECT 1 FROM palisade.findings_20260106").is_err());
    let many = of_findings(3, (0..600).map(|n| row(&n.to_string(), "203.0.113.7")).collect());
    assert_eq!(writer.put("writer", &many, NOW).await.unwrap(), 600, "which COPY does not do for it");
    writer.prune(Timestamp(NOW.0 + 100 * DAY)).await.unwrap();
    assert!(writer.forget("203.0.113.7/32".parse().unwrap()).await.is_ok());
    assert_eq!(server.sql(name(&url), "SELECT count(*) FROM palisade.findings"), "0");
    assert_eq!(writer.examine().await.unwrap().lacking, Vec::<String>::new());
}

#[tokio::test]
async fn many_are_copied_unless_one_of_them_is_there() {
    let Some(server) = server::shared("copying") else { return };
    let store = open(&server.database()).await;
    store.migrate().await.unwrap();
    let copy = async |ids: std::ops::Range<u32>| {
        let rows: Vec<_> = ids.map(|id| row(&id.to_string(), "203.0.113.7")).collect();
        let copied = store.transaction("BEGIN", PATIENCE, async |connection| {
            let is_copied = copy::copy_findings(connection, "a", 1, &rows.iter().collect::<Vec<_>>()).await?;
            let there = query("SELECT count(*) FROM palisade.findings").fetch_one(connection).await?;
            Ok((is_copied, there.try_get::<i64, _>(0)?))
        });
        copied.await.unwrap()
    };
    assert_eq!(copy(0..600).await, (true, 600));
    assert_eq!(copy(599..1200).await, (false, 600), "the transaction goes on");
    assert_eq!(copy(600..1200).await, (true, 1200));
}

#[tokio::test]
async fn what_waits_in_the_default_partition_is_moved_when_its_day_comes() {
    let Some(server) = server::shared("partitions") else { return };
    let url = server.database();
    let store = open(&url).await;
    store.migrate().await.unwrap();
    let at = |id: &str, days: i64| FindingRow { time: Timestamp(NOW.0 + days * DAY), ..row(id, "203.0.113.7") };
    store.put("a", &of_findings(1, vec![at("x", 5), at("y", 6), at("now", 0)]), NOW).await.unwrap();
    let places = || {
        let sql = "SELECT id, tableoid::regclass FROM palisade.findings ORDER BY id";
        server.sql(name(&url), sql).replace('\n', " ").replace("palisade.", "")
    };
    assert_eq!(places(), "now|findings_20260105 x|findings_default y|findings_default");
    let later = Timestamp(NOW.0 + 5 * DAY);
    // Several agents at once, each with the same new days.
    let agents = [open(&url).await, open(&url).await, open(&url).await];
    let [a, b, c] = ["a", "b", "c"].map(|id| of_findings(2, vec![at(id, 4), at(&format!("{id}{id}"), 5)]));
    let done =
        tokio::join!(agents[0].put("a", &a, later), agents[1].put("b", &b, later), agents[2].put("c", &c, later));
    assert_eq!((done.0.unwrap(), done.1.unwrap(), done.2.unwrap()), (2, 2, 2));
    let found = places();
    assert!(found.contains("x|findings_20260110") && found.contains("y|findings_default"), "{found}");
    assert!(!found.contains("a|findings_default"), "{found}");
    store.prune(Timestamp(NOW.0 + 96 * DAY)).await.unwrap();
    assert!(!places().contains("20260110") && places().contains("y|"), "{}", places());
}

#[tokio::test]
async fn a_transaction_pooler_may_stand_between() {
    if !server::pooler_or_skip("a pooler") {
        return;
    }
    let server = Server::start();
    let pooler = Pooler::start(&server);
    let url = pooler.url(&server, &server.database());
    // What it would do to named statements: another client's session has them already, or not.
    let mut named = 0;
    for _ in 0..4 {
        let mut connection =
            <sqlx::PgConnection as sqlx::Connection>::connect_with(&Place::parse(&url).unwrap().options())
                .await
                .unwrap();
        let both = [sqlx::query("SELECT $1::int").bind(1), sqlx::query("SELECT $1::int + 1").bind(1)];
        for query in both {
            named += usize::from(query.persistent(true).execute(&mut connection).await.is_err());
        }
    }
    assert!(named > 0, "this pooler would not notice a named statement");

    let mut agents = vec![];
    for n in 0..6 {
        let url = url.clone();
        agents.push(tokio::spawn(async move {
            let store = open(&url).await;
            store.migrate().await.unwrap();
            let agent = format!("agent{n}");
            for batch in 0..5 {
                let at = |i: i64| FindingRow {
                    time: Timestamp(NOW.0 - i % 3 * DAY),
                    ..row(&format!("{n}-{batch}-{i}"), "203.0.113.7")
                };
                let rows = of_findings(batch, (0..40).map(at).collect());
                let both = tokio::join!(store.put(&agent, &rows, NOW), store.examine());
                assert_eq!((both.0.unwrap(), both.1.unwrap().lacking), (40, vec![]));
                store.prune(NOW).await.unwrap();
            }
        }));
    }
    for agent in agents {
        agent.await.unwrap();
    }
    let database = name(&url).to_owned();
    assert_eq!(server.sql(&database, "SELECT count(*) FROM palisade.findings"), "1200");
    assert_eq!(server.sql(&database, "SELECT sum(findings) FROM palisade.rollups WHERE dimension = 'all'"), "1200");
}

#[tokio::test]
async fn tls_is_verified() {
    if !server::postgres_or_skip("TLS") {
        return;
    }
    let server = Server::start_with_tls("IP:127.0.0.1");
    let url = server.database();
    let with = |file: &str| StoreConfig { database_ca_file: Some(server.path(file)), ..config(&url) };
    let store = Postgres::connect(&with("ca.pem")).await.unwrap().unwrap();
    store.migrate().await.unwrap();
    let said = trouble(Postgres::connect(&with("other.pem")).await).to_string();
    assert!(said.contains("store.database_ca_file"), "{said}");
    let by_name = url.replace("127.0.0.1", "localhost");
    let wrong_host = StoreConfig { database_ca_file: Some(server.path("ca.pem")), ..config(&by_name) };
    assert!(
        matches!(trouble(Postgres::connect(&wrong_host).await), Trouble::Tls(_)),
        "the certificate is another host's"
    );
    assert!(
        matches!(refused(&format!("{url}?sslmode=verify-full")).await, Trouble::Tls(_)),
        "no public authority signed it"
    );
    assert!(
        matches!(refused(&format!("{url}?sslmode=disable")).await, Trouble::Credentials(_)),
        "the server wants TLS"
    );
    open(&format!("{url}?sslmode=require")).await;
    let lacking = trouble(Postgres::connect(&with("missing.pem")).await);
    assert!(lacking.to_string().contains("database_ca_file"), "{lacking}");
}

#[tokio::test]
async fn it_goes_on_after_the_server_was_killed() {
    if !server::postgres_or_skip("a killed server") {
        return;
    }
    let mut server = Server::start();
    let store = open(&server.database()).await;
    store.migrate().await.unwrap();
    let one = of_findings(1, vec![row("a", "203.0.113.7")]);
    store.put("a", &one, NOW).await.unwrap();
    server.kill();
    let error = store.put("a", &of_findings(2, vec![row("b", "203.0.113.7")]), NOW).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    server.start_again();
    assert_eq!(store.put("a", &of_findings(2, vec![row("b", "203.0.113.7")]), NOW).await.unwrap(), 1);
    assert_eq!(store.put("a", &one, NOW).await.unwrap(), 0, "what was committed is there");
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_on_both_sides() {
    let Some(server) = server::shared("deadlines") else { return };
    let url = server.database();
    let store = open(&url).await;
    let slow = store.transaction("BEGIN", Duration::from_millis(300), async |connection| {
        query("SELECT pg_sleep(60)::text").execute(connection).await
    });
    assert!(trouble(slow.await.map(drop)).is_retryable());
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND state = 'active'";
    for _ in 0..100 {
        if server.sql(name(&url), running) == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server goes on");
}
