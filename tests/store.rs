//! What is recorded, here and in a real Postgres: nothing lost, nothing double, whatever goes away or dies.

mod bad_places;
mod chaos;
mod clock;
mod copied;
mod damage;
mod outage;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

use crate::support::daemon::Home;
use crate::support::postgres::Server;

/// A home whose daemon follows `access.log` from its beginning, blocks in dry run, and sends what it records
/// to `url`; `more` is configuration.
fn home(url: &str, more: &str) -> Home {
    let home = Home::new();
    configure(&home, url, more);
    home
}

fn configure(home: &Home, url: &str, more: &str) {
    home.configure(&format!(
        "agent = \"web-1\"\n{more}\n[store]\ndatabase_url = \"{url}\"\n[respond]\nmax_blocks_per_min = 1000000\n\
         [[source]]\npath = \"{}\"\nstart = \"beginning\"\n",
        home.path("access.log").display()
    ));
}

fn append(home: &Home, text: &str) {
    let mut file = fs::File::options().create(true).append(true).open(home.path("access.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What one home's Postgres holds.
struct Far<'a> {
    server: &'a Server,
    database: String,
}

impl<'a> Far<'a> {
    fn new(server: &'a Server) -> (Far<'a>, String) {
        let url = server.database();
        let database = url.rsplit('/').next().unwrap().to_owned();
        (Far { server, database }, url)
    }

    fn sql(&self, sql: &str) -> Result<String, String> {
        self.server.sql_as("postgres", &self.database, sql)
    }

    /// Findings by their request; none while it cannot be asked.
    fn findings(&self) -> Vec<String> {
        let said = self.sql("SELECT uri FROM palisade.findings ORDER BY uri").unwrap_or_default();
        said.lines().map(str::to_owned).collect()
    }

    /// What is kept of each decision, and of its life.
    fn decisions(&self) -> BTreeMap<String, String> {
        let said = self.sql(
            "SELECT id, state, (SELECT string_agg(state, ',' ORDER BY seq) FROM palisade.decision_changes \
             WHERE decision_id = id) FROM palisade.decisions",
        );
        let said = said.unwrap_or_default();
        said.lines().filter_map(|line| line.split_once('|')).map(|(id, rest)| (id.into(), rest.into())).collect()
    }

    fn number(&self, sql: &str) -> i64 {
        self.sql(sql).unwrap().parse().unwrap()
    }
}

/// What `sql` counts in the local database.
fn number(home: &Home, sql: &'static str) -> i64 {
    let url = format!("sqlite:{}?mode=ro", home.path("state/palisade.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    })
}

/// Waits until here and there is the same, and that is `count` findings; then looks closely.
fn is_the_same(home: &Home, far: &Far<'_>, count: usize, patience: Duration) {
    let deadline = Instant::now() + patience;
    let here = loop {
        let here = home.findings();
        if here.len() >= count && far.findings().len() >= count || Instant::now() > deadline {
            break here;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut here: Vec<&str> = here.iter().map(|row| row["uri"].as_str().unwrap()).collect();
    here.sort_unstable();
    let said = || format!("{:#}", home.status()["services"]);
    assert_eq!(here.len(), count, "recorded here; {}", said());
    here.dedup();
    assert_eq!(here.len(), count, "each once");
    let mut there = far.findings();
    there.sort_unstable();
    assert_eq!(there.len(), count, "sent; {}", said());
    assert_eq!(there, here);
    let counted = "SELECT coalesce(sum(findings), 0)::bigint FROM palisade.rollups WHERE dimension = 'all'";
    let counted_here = "SELECT coalesce(sum(findings), 0) FROM rollups WHERE dimension = 'all'";
    let count = i64::try_from(count).unwrap();
    assert_eq!(far.number(counted), count, "counts are those of the rows");
    // Not where its state is in a mount namespace of its own.
    if home.path("state/palisade.db").exists() {
        assert_eq!(number(home, counted_here), count, "here too");
    }
    let seen = "SELECT coalesce(sum(findings), 0)::bigint FROM palisade.clients";
    assert_eq!(far.number(seen), count, "and of their clients");

    let decisions = home.decisions();
    let states = |row: &Value| (row["id"].as_str().unwrap().to_owned(), row["state"].as_str().unwrap().to_owned());
    let here: BTreeMap<String, String> = decisions.iter().map(states).collect();
    let there = loop {
        let there = far.decisions();
        let same = there.iter().map(|(id, rest)| (id.clone(), rest.split('|').next().unwrap().to_owned()));
        if same.collect::<BTreeMap<_, _>>() == here || Instant::now() > deadline {
            break there;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    for (id, state) in &here {
        let (far_state, life) = there.get(id).and_then(|rest| rest.split_once('|')).unwrap_or(("", ""));
        assert_eq!(far_state, state, "{id}: {there:#?}");
        assert!(life.split(',').next_back() == Some(state), "{id} is {state}, and its life was {life:?}");
    }
    assert_eq!(there.len(), here.len());
}
