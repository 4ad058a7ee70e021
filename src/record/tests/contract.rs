//! Each story gets an empty store that keeps 30 days, 7 of what is no finding and 100 of totals, and asks
//! in SQL what became of it: one text a row, in words that both engines know.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::*;
use crate::event::DecisionState::*;

/// A store, and its tables.
pub struct Engine {
    store: Box<dyn Store>,
    ask: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl Engine {
    async fn put(&self, rows: &Rows) -> u64 {
        self.store.put("agent", rows, NOW).await.unwrap()
    }

    fn ask(&self, sql: &str) -> String {
        (self.ask)(sql)
    }

    /// Counts under a key of a dimension over all time, as `findings blocks analysed`.
    fn counts(&self, dimension: &str, key: &str) -> String {
        self.ask(&format!(
            "SELECT coalesce(sum(findings), 0) || ' ' || coalesce(sum(blocks), 0) || ' ' || coalesce(sum(analysed), 0) \
             FROM rollups WHERE dimension = '{dimension}' AND key = '{key}'"
        ))
    }
}

fn config() -> StoreConfig {
    StoreConfig { keep_days: 30, keep_analysed_days: 7, keep_totals_days: 100, ..StoreConfig::default() }
}

async fn postgres() -> Option<Engine> {
    let server = server::shared("the contract of stores")?;
    let url = server.database();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let store = Postgres::connect(&StoreConfig { database_url: url.into(), ..config() }).await.unwrap().unwrap();
    store.migrate().await.unwrap();
    let ask = move |sql: &str| server.sql(&database, &format!("SET search_path = palisade; {sql}"));
    Some(Engine { store: Box::new(store), ask: Box::new(ask) })
}

async fn sqlite() -> Option<Engine> {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path(), &config()).await.unwrap();
    let ask = move |sql: &str| {
        let options = SqliteConnectOptions::new().filename(dir.path().join("palisade.db")).read_only(true);
        let ask = async {
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
            rows.join("\n")
        };
        std::thread::scope(|scope| {
            scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(ask)).join().unwrap()
        })
    };
    Some(Engine { store: Box::new(store), ask: Box::new(ask) })
}

macro_rules! on {
    ($engine:ident: $($story:ident)*) => {
        mod $engine {
            $(#[tokio::test]
            async fn $story() {
                if let Some(engine) = super::$engine().await {
                    super::$story(&engine).await;
                }
            })*
        }
    };
}

// What else SQLite must do is in its own contract: rows come to it as findings, not as those of another store.
on! { sqlite: who_was_not_seen_for_long_goes }

on! { postgres:
    who_was_not_seen_for_long_goes
    what_is_sent_again_is_there_once
    an_older_row_does_not_come_back
    a_judgement_moves_the_counts
    hostile_text_is_kept
    everything_has_its_place
    who_is_forgotten_is_gone
    what_is_old_goes
    old_counts_become_days
    keys_beyond_the_largest_are_one
    times_are_of_any_day
    thousands_go_together
    what_is_sent_at_once_is_counted_once
    many_at_once_are_as_one_by_one
}

async fn what_is_sent_again_is_there_once(engine: &Engine) {
    let rows = Rows {
        version: 5,
        findings: vec![row("a", "203.0.113.7"), row("b", "2001:db8:1:2::/64"), row("a", "203.0.113.7")],
        decisions: vec![decision("d", "203.0.113.7/32", Active)],
        changes: vec![change("d", 3, Pending), change("d", 4, Active)],
        calls: vec![(1, call(NOW)), (2, call(NOW))],
        corrections: vec![correction("a")],
        sessions: vec![session("s", NOW)],
        allowed: vec![allowance("192.0.2.0/28")],
        ..Rows::default()
    };
    assert_eq!(engine.put(&rows).await, 2);
    for version in [5, 6] {
        assert_eq!(engine.put(&Rows { version, ..rows.clone() }).await, 0);
        let tables =
            ["findings", "decisions", "decision_changes", "model_calls", "corrections", "analysis_sessions", "allow"];
        let counts = tables.map(|table| engine.ask(&format!("SELECT count(*) || '' FROM {table}")));
        assert_eq!(counts, ["2", "1", "2", "2", "1", "1", "1"]);
        assert_eq!(engine.counts("all", ""), "2 2 0");
        assert_eq!(engine.counts("rule", "913-scanner"), "2 2 0");
        assert_eq!(engine.ask("SELECT sum(findings) || ' ' || max(max_score) FROM clients"), "2 9");
    }
}

async fn an_older_row_does_not_come_back(engine: &Engine) {
    let at = |version, state, action: &str| Rows {
        version,
        findings: vec![FindingRow { action: action.into(), ..row("a", "203.0.113.7") }],
        decisions: vec![decision("d", "203.0.113.7/32", state)],
        ..Rows::default()
    };
    for (version, state, action, there) in [
        (7, Active, "block", "block active"),
        (9, Lifted, "none", "none lifted"),
        (8, Active, "block", "none lifted"),
        (9, Active, "block", "none lifted"),
        (10, Expired, "monitor", "monitor expired"),
    ] {
        engine.put(&at(version, state, action)).await;
        let found = engine.ask("SELECT action || ' ' || state FROM findings, decisions");
        assert_eq!(found, there, "{version}");
        assert_eq!(engine.counts("all", ""), if action == "block" && version < 8 { "1 1 0" } else { "1 0 0" });
    }
}

async fn a_judgement_moves_the_counts(engine: &Engine) {
    let doubtful = FindingRow { action: "monitor".into(), decided_by: "rules".into(), ..row("a", "203.0.113.7") };
    engine.put(&of_findings(1, vec![doubtful.clone()])).await;
    assert_eq!((engine.counts("all", ""), engine.counts("decided_by", "rules")), ("1 0 0".into(), "1 0 0".into()));
    let judged = FindingRow { action: "block".into(), decided_by: "tier1".into(), ..doubtful };
    engine.put(&of_findings(2, vec![judged.clone()])).await;
    assert_eq!((engine.counts("all", ""), engine.counts("decided_by", "rules")), ("1 1 0".into(), "0 0 0".into()));
    assert_eq!(engine.counts("decided_by", "tier1"), "1 1 0");
    let cleared = FindingRow { action: "none".into(), flagged: false, decided_by: "operator".into(), ..judged };
    engine.put(&of_findings(3, vec![cleared])).await;
    assert_eq!((engine.counts("all", ""), engine.counts("decided_by", "tier1")), ("0 0 1".into(), "0 0 0".into()));
    assert_eq!(engine.ask("SELECT findings || '' FROM clients"), "0");
}

async fn hostile_text_is_kept(engine: &Engine) {
    let long = "ü\u{1f4a9}".repeat(7_000);
    let texts =
        ["'; DROP TABLE findings; --", "\"\\'`%_?1$2:a@b{},\\x00", "a\0b\0", "\u{202e}\u{feff}\r\n\t\\N", &long];
    for (n, text) in (1..).zip(texts) {
        let text = text.to_owned();
        let mut hostile = row(&format!("f{n}"), "203.0.113.7");
        let fields = [&mut hostile.method, &mut hostile.uri, &mut hostile.user_agent, &mut hostile.referer];
        fields.into_iter().for_each(|field| field.clone_from(&text));
        (hostile.file, hostile.reasoning, hostile.category) = (text.clone(), text.clone(), text.clone());
        hostile.evidence = json!([{ "matched": text, text.as_str(): 1 }]).into();
        hostile.rule_ids = vec![text.clone(), "a,b".into()];
        let mut ban = decision(&format!("d{n}{text}"), "203.0.113.0/24", Held);
        (ban.ground.reason, ban.note) = (text.clone(), text.clone());
        let rows = Rows {
            changes: vec![DecisionChange { note: text.clone(), ..change(&ban.id, n, Held) }],
            decisions: vec![ban],
            calls: vec![(n, ModelCall { outcome: text.clone(), ..call(NOW) })],
            corrections: vec![Correction { view: text.clone(), ..correction(&hostile.id) }],
            sessions: vec![AnalysisSession { source: text.clone(), ..session(&text, NOW) }],
            ..of_findings(n, vec![hostile])
        };
        assert_eq!(engine.put(&rows).await, 1);
        let (id, length) = (format!("f{n}"), text.chars().count());
        let found = engine.ask(&format!(
            "SELECT length(uri) || ' ' || length(reasoning) || ' ' || length(file) FROM findings WHERE id = '{id}'"
        ));
        // SQLite's length() ends at a NUL.
        if !text.contains('\0') {
            assert_eq!(found, format!("{length} {length} {length}"));
        }
    }
    assert_eq!(engine.ask("SELECT count(*) || '' FROM findings"), "5");
}

async fn everything_has_its_place(engine: &Engine) {
    let finding =
        FindingRow { status: u16::MAX, source_ip: None, client: None, line_number: None, ..row("a", "1.2.3.4") };
    let rows = Rows { decisions: vec![decision("d", "2001:db8::/48", Refused)], ..of_findings(1, vec![finding]) };
    engine.put(&rows).await;
    let said = engine.ask(
        "SELECT status || ' ' || generation || ' ' || byte_offset || ' ' || coalesce(line_number, -1) FROM findings",
    );
    assert_eq!(said, "65535 -4 -1 -1");
    assert_eq!(engine.ask("SELECT count(*) || '' FROM findings WHERE source_ip IS NULL AND client IS NULL"), "1");
    assert_eq!(engine.ask("SELECT count(*) || '' FROM clients"), "0");
    assert_eq!(
        engine.ask("SELECT target || ' ' || state || ' ' || offences FROM decisions"),
        "2001:db8::/48 refused 2"
    );
}

async fn who_is_forgotten_is_gone(engine: &Engine) {
    let rows = Rows {
        findings: vec![
            row("a", "203.0.113.7"),
            row("b", "203.0.113.8"),
            row("c", "2001:db8:1:2::/64"),
            row("d", "198.51.100.1"),
        ],
        decisions: vec![
            decision("live", "203.0.113.7/32", Active),
            decision("over", "203.0.113.7/32", Expired),
            decision("other", "198.51.100.1/32", Lifted),
        ],
        changes: vec![change("over", 1, Expired), change("live", 2, Active), change("other", 3, Lifted)],
        corrections: vec![correction("a"), correction("d")],
        ..of_findings(1, vec![])
    };
    engine.put(&rows).await;
    assert!(engine.store.forget("203.0.113.0/24".parse().unwrap()).await.unwrap() > 0);
    engine.store.forget("2001:db8:1:2::9/128".parse().unwrap()).await.unwrap();
    let all = |sql: &str| engine.ask(sql).replace('\n', " ");
    assert_eq!(all("SELECT id FROM findings"), "d");
    assert_eq!(all("SELECT id FROM decisions ORDER BY id"), "live other", "what is in force stays");
    assert_eq!(all("SELECT decision_id FROM decision_changes ORDER BY 1"), "live other");
    assert_eq!(all("SELECT finding_id FROM corrections"), "d");
    assert_eq!(all("SELECT count(*) || '' FROM clients"), "1");
    let keys = "SELECT key FROM rollups WHERE dimension IN ('client', 'network') ORDER BY key";
    assert_eq!(all(keys), "198.51.100.0/24 198.51.100.1 2001:db8:1::/48");
    assert_eq!(engine.counts("all", ""), "4 4 0", "nobody is told by a sum");
}

async fn what_is_old_goes(engine: &Engine) {
    let at = |id: &str, days: i64| FindingRow { time: days_ago(days), ..row(id, "203.0.113.7") };
    let analysed = |id: &str, days| FindingRow { flagged: false, ..at(id, days) };
    let findings = vec![at("new", 29), at("old", 32), at("older", 400), analysed("seen", 6), analysed("unseen", 9)];
    let ended = |id: &str, state| Decision { created_at: days_ago(50), ..decision(id, "203.0.113.7/32", state) };
    let rows = Rows {
        findings,
        decisions: vec![ended("over", Expired), ended("live", Active), decision("later", "203.0.113.8/32", Lifted)],
        changes: vec![change("over", 1, Expired), change("live", 2, Active)],
        calls: vec![(1, call(days_ago(29))), (2, call(days_ago(31)))],
        sessions: vec![session("new", days_ago(29)), session("old", days_ago(31))],
        ..of_findings(1, vec![])
    };
    engine.store.put("agent", &rows, days_ago(45)).await.unwrap();
    engine.store.put("agent", &of_findings(1, vec![at("today", 0)]), NOW).await.unwrap();
    engine.store.prune(NOW).await.unwrap();
    let all = |sql: &str| engine.ask(sql).replace('\n', " ");
    assert_eq!(all("SELECT id FROM findings ORDER BY id"), "new seen today");
    assert_eq!(all("SELECT id FROM decisions ORDER BY id"), "later live");
    assert_eq!(all("SELECT decision_id FROM decision_changes"), "live");
    assert_eq!(all("SELECT count(*) || '' FROM model_calls"), "1");
    assert_eq!(all("SELECT id FROM analysis_sessions"), "new");
    assert_eq!(engine.counts("all", ""), "3 3 2", "totals are kept longer, but not for ever");
}

async fn who_was_not_seen_for_long_goes(engine: &Engine) {
    const HOUR: i64 = DAY / 24;
    let seen =
        |client: &str, ago: i64| FindingRow { time: Timestamp(NOW.0 - ago), ..row(&format!("{client} {ago}"), client) };
    // To the hour, though Postgres looks for them by the day.
    let findings = vec![
        seen("203.0.113.1", 150 * DAY),
        seen("203.0.113.2", 100 * DAY + HOUR),
        seen("203.0.113.3", 100 * DAY - HOUR),
        seen("203.0.113.5", 100 * DAY - 5 * HOUR),
        seen("203.0.113.4", 150 * DAY),
        seen("2001:db8:1:2::/64", 150 * DAY),
    ];
    engine.put(&of_findings(1, findings)).await;
    engine.put(&of_findings(2, vec![seen("203.0.113.4", 99 * DAY)])).await;
    engine.store.prune(NOW).await.unwrap();
    let clients =
        "SELECT replace(client || '', '/32', '') || ' ' || findings || ' ' || max_score FROM clients ORDER BY client";
    assert_eq!(engine.ask(clients), "203.0.113.3 1 9\n203.0.113.4 2 9\n203.0.113.5 1 9");
    let since = "SELECT count(*) || '' FROM clients WHERE first_seen < last_seen";
    assert_eq!(engine.ask(since), "1", "when it was first seen is known as long as the client is");
    engine.store.prune(Timestamp(NOW.0 + 2 * HOUR)).await.unwrap();
    assert_eq!(engine.ask(clients), "203.0.113.4 2 9\n203.0.113.5 1 9");
}

async fn old_counts_become_days(engine: &Engine) {
    let hours = [1, 2, 24 * 3, 24 * 3 + 1, 24 * 5];
    let at =
        |hour: i64| FindingRow { time: Timestamp(NOW.0 - hour * 3_600_000), ..row(&format!("h{hour}"), "203.0.113.7") };
    engine.put(&of_findings(1, hours.map(at).into())).await;
    let spans = |dimension: &str| {
        let sql = format!(
            "SELECT span || ' ' || count(*) || ' ' || sum(findings) FROM rollups WHERE dimension = '{dimension}' \
             GROUP BY span ORDER BY span"
        );
        engine.ask(&sql).replace('\n', ", ")
    };
    assert_eq!(spans("path"), "hour 5 5");
    for _ in 0..2 {
        engine.store.prune(NOW).await.unwrap();
        assert_eq!(spans("path"), "day 3 3, hour 2 2");
        assert_eq!(spans("category"), "hour 5 5", "of few keys each hour is kept");
    }
    engine.put(&of_findings(2, vec![FindingRow { id: "late".into(), ..at(24 * 5) }])).await;
    engine.store.prune(NOW).await.unwrap();
    assert_eq!(spans("path"), "day 3 4, hour 2 2", "what comes late is added to its day");
}

async fn keys_beyond_the_largest_are_one(engine: &Engine) {
    let row = |n: usize, ago: i64| FindingRow {
        id: format!("{ago}-{n}"),
        uri: format!("/{}", n.min(1100)),
        time: Timestamp(NOW.0 - ago * DAY - 1),
        ..row("", "203.0.113.7")
    };
    let rows = [0, 4].iter().flat_map(|ago| (0..1200).map(|n| row(n, *ago))).collect();
    engine.put(&of_findings(1, rows)).await;
    engine.store.prune(NOW).await.unwrap();
    let sql = "SELECT span || ' ' || count(*) || ' ' || sum(findings) || ' ' || max(findings) FROM rollups \
               WHERE dimension = 'path' AND key <> '' GROUP BY span ORDER BY span";
    assert_eq!(engine.ask(sql), "day 1000 1099 100\nhour 1000 1099 100", "the largest is among them");
    let rest = "SELECT span || ' ' || findings FROM rollups WHERE dimension = 'path' AND key = '' ORDER BY span";
    assert_eq!(engine.ask(rest), "day 101\nhour 101");
}

async fn times_are_of_any_day(engine: &Engine) {
    let times = [0, -1, 13_569_465_600_000, i64::MIN, i64::MAX, NOW.0 - 1, NOW.0, NOW.0 + DAY, NOW.0 + 3 * DAY];
    let rows = times.iter().map(|time| FindingRow { time: Timestamp(*time), ..row(&time.to_string(), "203.0.113.7") });
    let rows = of_findings(1, rows.collect());
    assert_eq!(engine.put(&rows).await, 9);
    assert_eq!(engine.put(&rows).await, 0);
    assert_eq!(engine.counts("all", ""), "9 9 0");
    engine.store.prune(NOW).await.unwrap();
    assert_eq!(engine.ask("SELECT count(*) || '' FROM findings"), "6", "what is of the future waits");
}

async fn thousands_go_together(engine: &Engine) {
    let client = |n: u32| std::net::Ipv4Addr::from(0xc633_6400 + n % 700).to_string();
    let rows: Vec<_> = (0..5000).map(|n| row(&n.to_string(), &client(n))).collect();
    assert_eq!(engine.put(&of_findings(1, rows)).await, 5000);
    assert_eq!(engine.ask("SELECT count(*) || ' ' || sum(findings) FROM clients"), "700 5000");
}

async fn what_is_sent_at_once_is_counted_once(engine: &Engine) {
    let at = |n: i64| FindingRow { time: Timestamp(NOW.0 - n * DAY), ..row(&n.to_string(), "203.0.113.7") };
    let rows = of_findings(1, (0..8).map(at).collect());
    let put = |agent: &'static str| async {
        engine.store.put(agent, &rows, NOW).await.unwrap() + engine.store.prune(NOW).await.map(|_| 0).unwrap()
    };
    let new = tokio::join!(put("agent"), put("agent"), put("agent"), put("agent"));
    assert_eq!(new.0 + new.1 + new.2 + new.3, 8);
    assert_eq!(engine.counts("all", ""), "8 8 0");
}

async fn many_at_once_are_as_one_by_one(engine: &Engine) {
    let clients = ["203.0.113.7", "2001:db8:1:2::/64", "198.51.100.7"];
    let mut rows: Vec<_> = (0..1500).map(|n| row(&format!("{n:04}"), clients[n % 3])).collect();
    let odd = FindingRow { line_number: None, source_ip: None, client: None, rule_ids: vec![], ..row("", "192.0.2.1") };
    rows[7] =
        FindingRow { id: "0007".into(), uri: "\0\u{1f4a9}".into(), evidence: json!({"\0": [1.5, null]}).into(), ..odd };
    let all = "SELECT id || uri || status || time || recorded_at || coalesce(source_ip, '') || coalesce(client, '') \
               || rule_ids || evidence || score || generation || byte_offset || coalesce(line_number, 0) || version \
               || flagged || is_system_url || file || agent FROM findings ORDER BY id";
    let all = all.replace("source_ip, ''", "source_ip::text, ''").replace("client, ''", "client::text, ''");
    let all = all.replace("rule_ids", "array_to_string(rule_ids, ',')").replace("|| evidence", "|| evidence::text");
    for chunk in rows.chunks(100) {
        engine.put(&of_findings(1, chunk.to_vec())).await;
    }
    let one_by_one = engine.ask(&all);
    let counted = "SELECT dimension || key || findings || blocks || analysed FROM rollups ORDER BY 1";
    let counts = engine.ask(counted);
    assert_eq!((one_by_one.lines().count(), counts.lines().count()), (1500, 14));
    // Some of them are there: nothing is double, and the others come.
    let judged = |row: &FindingRow| FindingRow { score: 3, action: "none".into(), ..row.clone() };
    let mut again = rows.clone();
    again.extend((0..600).map(|n| row(&format!("new{n}"), clients[0])));
    assert_eq!(engine.put(&of_findings(1, again)).await, 600);
    assert_eq!(engine.put(&of_findings(2, rows.iter().map(judged).collect())).await, 0);
    assert_eq!((engine.counts("all", ""), engine.counts("severity", "low")), ("2100 600 0".into(), "1500 0 0".into()));

    engine.ask("DELETE FROM findings; DELETE FROM rollups; DELETE FROM clients");
    assert_eq!(engine.put(&of_findings(1, rows)).await, 1500);
    assert_eq!((engine.ask(&all), engine.ask(counted)), (one_by_one, counts));
}
