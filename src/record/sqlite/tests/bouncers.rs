use super::*;

const ALL: Span = Span { after: 0, upto: i64::MAX };

async fn in_force(store: &Sqlite, span: Span) -> Vec<String> {
    let mut ids = vec![];
    store.bans_in_force(span, NOW, |ban| ids.push(ban.id)).await.unwrap();
    ids
}

async fn ended(store: &Sqlite, span: Span) -> Vec<String> {
    let mut ids = vec![];
    store.bans_ended(span, NOW, |ban| ids.push(ban.id)).await.unwrap();
    ids
}

fn on(n: u8, state: DecisionState) -> Decision {
    Decision { target: format!("203.0.113.{n}/32").parse().unwrap(), ..decision(&format!("d{n}"), state) }
}

/// The numbers stay true when rows and the outbox are pruned to the last one.
#[tokio::test]
async fn a_cursor_stays_true_through_retention_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { keep_days: 1, max_outbox_rows: 1, ..StoreConfig::default() };
    let store = Sqlite::open(dir.path(), &config).await.unwrap();
    let decisions = [1, 2, 3].map(|n| on(n, DecisionState::Active));
    store.commit(&Batch { at: NOW, decisions: &decisions, ..Batch::default() }).await.unwrap();
    assert!(store.bouncer_add("one", b"hash", NOW).await.unwrap());
    assert!(!store.bouncer_add("one", b"other", NOW).await.unwrap());
    let cursor = store.last_change().await.unwrap();
    store.bouncer_pulled("one", Some(cursor), "agent/1", NOW).await.unwrap();
    store.set_state(&["d3".into()], DecisionState::Lifted, "", NOW).await.unwrap();
    let lifted = store.last_change().await.unwrap();
    store.prune(NOW.plus_secs(31 * 86_400)).await.unwrap();
    store.close().await;

    let store = Sqlite::open(dir.path(), &config).await.unwrap();
    let bouncer = store.bouncer_with(b"hash").await.unwrap().unwrap();
    assert_eq!((bouncer.cursor, &*bouncer.user_agent, bouncer.last_pull), (cursor, "agent/1", Some(NOW)));
    store.commit(&Batch { at: NOW, decisions: &[on(4, DecisionState::Active)], ..Batch::default() }).await.unwrap();
    store.set_state(&["d1".into()], DecisionState::Lifted, "", NOW).await.unwrap();
    assert!(store.last_change().await.unwrap() >= lifted + 2, "no number is given twice");
    assert_eq!(in_force(&store, Span { after: cursor, upto: i64::MAX }).await, ["d4"]);
    assert_eq!(ended(&store, Span { after: cursor, upto: i64::MAX }).await, ["d1"]);
    assert_eq!(in_force(&store, ALL).await, ["d2", "d4"]);
    // Noted without a cursor it stays where it was.
    store.bouncer_pulled("one", None, "agent/2", NOW).await.unwrap();
    assert_eq!(store.bouncer_with(b"hash").await.unwrap().unwrap().cursor, cursor);
}

#[tokio::test]
async fn a_change_after_the_head_was_read_belongs_to_the_next_span() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let decisions: Vec<Decision> = (1..=5).map(|n| on(n, DecisionState::Active)).collect();
    store.commit(&Batch { at: NOW, decisions: &decisions, ..Batch::default() }).await.unwrap();
    let upto = store.last_change().await.unwrap();
    store.set_state(&["d2".into()], DecisionState::Lifted, "", NOW).await.unwrap();
    store.commit(&Batch { at: NOW, decisions: &[on(6, DecisionState::Active)], ..Batch::default() }).await.unwrap();
    assert_eq!(in_force(&store, Span { after: 0, upto }).await, ["d1", "d3", "d4", "d5"]);
    assert_eq!(ended(&store, Span { after: 0, upto }).await, [""; 0]);
    let rest = Span { after: upto, upto: store.last_change().await.unwrap() };
    assert_eq!((in_force(&store, rest).await, ended(&store, rest).await), (vec!["d6".into()], vec!["d2".to_owned()]));
}

/// A database from before there were bouncers: every decision has a number, and none is too high.
#[tokio::test]
async fn decisions_from_before_have_their_numbers() {
    use sqlx::{Connection, Executor};
    let mut old = sqlx::SqliteConnection::connect_with(&sqlx::sqlite::SqliteConnectOptions::new().filename(":memory:"))
        .await
        .unwrap();
    for sql in [
        include_str!("../../../../migrations/sqlite/0001_record.sql"),
        "INSERT INTO decisions VALUES ('a', 't', 'rules', NULL, NULL, 9, '', 1, 2, 0, 0, 'active', '', 1)",
        "INSERT INTO decisions VALUES ('b', 'u', 'rules', NULL, NULL, 9, '', 1, 2, 0, 0, 'active', '', 1)",
        "DELETE FROM decisions WHERE id = 'a'",
        include_str!("../../../../migrations/sqlite/0003_bouncers.sql"),
        "INSERT INTO decisions (id, target, proposer, score, reason, created_at, expires_at, simulated, offences, \
         state, note, changed_at) VALUES ('c', 'v', 'rules', 9, '', 1, 2, 0, 0, 'active', '', 1)",
        "UPDATE decisions SET state = 'lifted' WHERE id = 'c'",
    ] {
        old.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
    }
    let numbers: Vec<(String, i64)> =
        sqlx::query_as("SELECT id, changed_seq FROM decisions ORDER BY changed_seq").fetch_all(&mut old).await.unwrap();
    assert_eq!(numbers, [("b".to_owned(), 2), ("c".to_owned(), 4)]);
}
