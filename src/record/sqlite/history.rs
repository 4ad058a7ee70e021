//! What the local database answers about the past.

use ipnet::IpNet;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

use super::insert::network_text;
use super::ledger::spent;
use super::outbox::{decision_change, session};
use super::read::{DECISION, finding_row, network, number, raw_decision};
use super::{Spent, Sqlite};
use crate::event::Timestamp;
use crate::record::history::{
    Answer, ClientRow, Effect, FindingFilter, History, Past, PastFilter, PastFinding, Period, Point, Step, Top, ranked,
};
use crate::record::{AnalysisSession, Counts, DecisionChange, Dimension, StoreError};

type Builder = QueryBuilder<sqlx::Sqlite>;

const SUMS: &str = "sum(findings) AS findings, sum(blocks) AS blocks, sum(analysed) AS analysed";

/// Clients of a network that are looked up each by itself; of more the whole period is looked through.
const EACH: usize = 500;

impl History for Sqlite {
    fn trend<'a>(
        &'a self,
        _agent: Option<&'a str>,
        period: Period,
        dimension: Dimension,
        step: Step,
    ) -> Answer<'a, Vec<Point>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            trend(&mut query, period, dimension, step);
            let point = |row: SqliteRow| {
                Ok(Point { start: Timestamp(row.try_get(0)?), key: row.try_get(1)?, counts: counts(&row, 2)? })
            };
            self.read(query, point).await
        })
    }

    fn top<'a>(
        &'a self,
        _agent: Option<&'a str>,
        period: Period,
        previous: Period,
        dimension: Dimension,
        limit: u32,
    ) -> Answer<'a, Vec<Top>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            top(&mut query, period, previous, dimension, limit);
            let rows = self
                .read(query, |row| Ok((row.try_get::<Option<String>, _>(0)?, counts(&row, 1)?, counts(&row, 4)?)))
                .await?;
            Ok(ranked(rows))
        })
    }

    fn effect<'a>(&'a self, _agent: Option<&'a str>, period: Period, now: Timestamp) -> Answer<'a, Effect> {
        Box::pin(async move {
            let mut query = Builder::new("");
            effect(&mut query, period, now);
            let rows = self.read(query, |row| Effect::of_columns(|column| row.try_get(column))).await?;
            Ok(rows.into_iter().next().unwrap_or_default())
        })
    }

    fn tiers<'a>(&'a self, _agent: Option<&'a str>, period: Period) -> Answer<'a, Vec<Spent>> {
        Box::pin(self.spent_in(period))
    }

    fn past_findings<'a>(&'a self, filter: &'a FindingFilter) -> Answer<'a, Vec<PastFinding>> {
        Box::pin(async move {
            let clients = self.of_networks(&filter.clients, "findings", "client").await?;
            let mut query = Builder::new("");
            findings(&mut query, filter, clients.as_deref());
            let finding = |row: SqliteRow| {
                let decision_id = row.try_get("decision_id")?;
                Ok(PastFinding { agent: String::new(), finding: finding_row(row)?, decision_id })
            };
            self.read(query, finding).await
        })
    }

    fn past_decisions<'a>(&'a self, filter: &'a PastFilter) -> Answer<'a, Vec<Past>> {
        Box::pin(async move {
            let targets = self.of_networks(&filter.targets, "decisions", "target").await?;
            let mut query = Builder::new("");
            decisions(&mut query, filter, targets.as_deref());
            let decisions = self.understood(self.read(query, raw_decision).await?);
            let ids: Vec<&str> = decisions.iter().map(|decision| &*decision.id).collect();
            let mut changes = self.changes_of(&ids).await?;
            let with_changes = decisions.into_iter().map(|decision| {
                let of_it = changes.extract_if(.., |change| change.decision_id == decision.id).collect();
                Past { agent: String::new(), decision, changes: of_it }
            });
            Ok(with_changes.collect())
        })
    }

    fn clients<'a>(&'a self, _agent: Option<&'a str>, period: Period, limit: u32) -> Answer<'a, Vec<ClientRow>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            clients(&mut query, period, limit);
            let client = |row: SqliteRow| {
                Ok(ClientRow {
                    client: row.try_get(0)?,
                    first_seen: Timestamp(row.try_get(1)?),
                    last_seen: Timestamp(row.try_get(2)?),
                    findings: number(&row, "findings")?,
                    max_score: row.try_get(4)?,
                    is_blocked: row.try_get(5)?,
                })
            };
            self.read(query, client).await
        })
    }

    fn sessions(&self, limit: u32) -> Answer<'_, Vec<AnalysisSession>> {
        Box::pin(async move {
            let mut query = Builder::new("SELECT * FROM analysis_sessions ORDER BY at DESC, id LIMIT ");
            query.push_bind(limit);
            self.read(query, session).await
        })
    }
}

impl Sqlite {
    /// Which texts in an indexed `column` of `table` are of `wanted`: they are text there, so only this side can
    /// tell. Goes from one text to the next by the index.
    async fn of_networks(
        &self,
        wanted: &[IpNet],
        table: &str,
        column: &str,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let mut found = vec![];
        for wanted in wanted {
            if wanted.prefix_len() == wanted.max_prefix_len() {
                found.push(network_text(*wanted));
                continue;
            }
            let mut query = Builder::new("");
            each_text(&mut query, *wanted, table, column);
            let mut texts = self.read(query, |row| row.try_get::<String, _>(0)).await?;
            texts.retain(|text| network(text).is_some_and(|one| wanted.contains(&one)));
            found.append(&mut texts);
        }
        Ok((!wanted.is_empty()).then_some(found))
    }

    /// The steps in the lives of these decisions, in order.
    async fn changes_of(&self, ids: &[&str]) -> Result<Vec<DecisionChange>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, decision_id, state, at, note FROM decision_changes \
             WHERE decision_id IN (SELECT value FROM json_each(",
        );
        query.push_bind(serde_json::json!(ids).to_string()).push(")) ORDER BY seq");
        self.read(query, decision_change).await
    }

    async fn spent_in(&self, period: Period) -> Result<Vec<Spent>, StoreError> {
        let mut query = spent();
        within(&mut query, "at", period);
        self.spent_of(query).await
    }
}

fn trend(query: &mut Builder, period: Period, dimension: Dimension, step: Step) {
    // `%` is negative before 1970.
    let millis = step.millis();
    query.push(format!("SELECT start - (start % {millis} + {millis}) % {millis} AS step, key, {SUMS} FROM ("));
    counted(query, period, dimension, step == Step::Day);
    query.push(") GROUP BY step, key ORDER BY step, key");
}

fn top(query: &mut Builder, period: Period, previous: Period, dimension: Dimension, limit: u32) {
    query.push(format!("WITH now AS MATERIALIZED (SELECT key, {SUMS} FROM ("));
    counted(query, period, dimension, true);
    query.push(format!(") GROUP BY key), earlier AS MATERIALIZED (SELECT key, {SUMS} FROM ("));
    counted(query, previous, dimension, true);
    query.push(
        ") GROUP BY key), largest AS (SELECT * FROM now WHERE key <> '' \
         ORDER BY findings DESC, analysed DESC, key LIMIT ",
    );
    query.push_bind(limit).push(format!(
        ") SELECT l.key, l.findings, l.blocks, l.analysed, coalesce(e.findings, 0), coalesce(e.blocks, 0), \
         coalesce(e.analysed, 0) FROM largest l LEFT JOIN earlier e ON e.key = l.key \
         UNION ALL SELECT NULL, coalesce(n.findings, 0), coalesce(n.blocks, 0), coalesce(n.analysed, 0), \
         coalesce(e.findings, 0), coalesce(e.blocks, 0), coalesce(e.analysed, 0) \
         FROM (SELECT {SUMS} FROM now) n, (SELECT {SUMS} FROM earlier) e"
    ));
}

fn effect(query: &mut Builder, period: Period, now: Timestamp) {
    let now = now.0;
    // Nobody has noted yet that some are over.
    let lasting = |state: &str| format!("state = '{state}' AND expires_at > {now}");
    let is_over = format!("state IN ('pending', 'active', 'held') AND expires_at <= {now}");
    let kinds = [
        lasting("pending"),
        lasting("active"),
        format!("state = 'expired' OR {is_over}"),
        "state = 'lifted'".into(),
        "state = 'refused'".into(),
        lasting("held"),
        "simulated".into(),
        "proposer = 'imported'".into(),
    ];
    let counted: Vec<String> = kinds.iter().map(|kind| format!("count({kind} OR NULL)")).collect();
    query.push(format!("SELECT * FROM (SELECT {} FROM decisions WHERE ", counted.join(", ")));
    within(query, "created_at", period.hours());
    // As groups: two counts of distinct targets took longer than all the rest.
    query.push("), (SELECT count(*), count(returned OR NULL) FROM (SELECT max(offences) > 0 AS returned ");
    query.push(format!("FROM decisions WHERE state <> 'refused' AND (state <> 'held' OR expires_at <= {now}) AND "));
    within(query, "created_at", period.hours());
    query.push(" GROUP BY target))");
}

fn findings(query: &mut Builder, filter: &FindingFilter, clients: Option<&[String]>) {
    // The decision is looked up for the rows that are given, not for all that are looked at.
    query.push(
        "SELECT f.*, (SELECT d.id FROM decisions d WHERE d.finding_id = f.id ORDER BY d.created_at DESC LIMIT 1) \
         AS decision_id FROM (SELECT * FROM findings WHERE ",
    );
    let newest = format!(" ORDER BY time DESC, id DESC LIMIT {}", filter.limit);
    let several = clients.filter(|clients| (2..=EACH).contains(&clients.len()));
    if let Some(clients) = several {
        // The newest of each: all of theirs may be hundreds of thousands of rows.
        query.push("rowid IN (SELECT one.rowid FROM json_each(").push_bind(serde_json::json!(clients).to_string());
        query.push(
            ") AS of, findings AS one WHERE one.rowid IN (SELECT rowid FROM findings WHERE client = of.value AND ",
        );
    }
    within(query, "time", filter.period);
    if let (Some(clients), None) = (clients, several) {
        one_of(query, "client", clients);
    }
    let equal = [
        ("category", &filter.category),
        ("action", &filter.action),
        ("decided_by", &filter.decided_by),
        ("case_id", &filter.case_id),
    ];
    for (column, wanted) in equal {
        if let Some(wanted) = wanted {
            query.push(format!(" AND {column} = ")).push_bind(wanted.clone());
        }
    }
    if let Some(rule) = &filter.rule {
        query.push(" AND EXISTS (SELECT 1 FROM json_each(rule_ids) WHERE value = ").push_bind(rule.clone()).push(")");
    }
    if let Some(text) = &filter.contains {
        query.push(" AND instr(uri, ").push_bind(text.clone()).push(") > 0");
    }
    if filter.min_score > 0 {
        query.push(" AND score >= ").push_bind(filter.min_score);
    }
    if !filter.analysed {
        query.push(" AND flagged");
    }
    if several.is_some() {
        query.push(&newest).push("))");
    }
    query.push(&newest).push(") f ORDER BY f.time DESC, f.id DESC");
}

fn decisions(query: &mut Builder, filter: &PastFilter, targets: Option<&[String]>) {
    query.push(format!("SELECT {DECISION} FROM decisions WHERE "));
    within(query, "created_at", filter.period);
    if let Some(targets) = targets {
        one_of(query, "target", targets);
    }
    if let Some(state) = filter.state {
        // `+`: by time, not all that ever ended so.
        query.push(" AND +state = ").push_bind(state.as_str());
    }
    query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(filter.limit);
}

fn clients(query: &mut Builder, period: Period, limit: u32) {
    query.push(
        "SELECT c.*, EXISTS (SELECT 1 FROM decisions d WHERE d.target = c.client \
         AND +d.state IN ('pending', 'active') AND NOT d.simulated) AS is_blocked FROM \
         (SELECT client, first_seen, last_seen, findings, max_score FROM clients WHERE ",
    );
    within(query, "last_seen", period);
    query.push(" ORDER BY findings DESC, client LIMIT ").push_bind(limit);
    query.push(") c ORDER BY c.findings DESC, c.client");
}

fn each_text(query: &mut Builder, wanted: IpNet, table: &str, column: &str) {
    let (first, end) = texts_of(wanted);
    query.push(format!("WITH RECURSIVE one (text) AS (SELECT min({column}) FROM {table} WHERE {column} >= "));
    query.push_bind(first).push(format!(" AND {column} < ")).push_bind(end.clone());
    let next = "UNION ALL SELECT (SELECT min";
    query.push(format!(" {next}({column}) FROM {table} WHERE {column} > one.text AND {column} < ")).push_bind(end);
    query.push(") FROM one WHERE one.text IS NOT NULL) SELECT text FROM one WHERE text IS NOT NULL");
}

/// The rows of `rollups` that `period` is made of. Each finding is counted in one of them: an hour's, or that
/// of the day which the hour became part of.
fn counted(query: &mut Builder, period: Period, dimension: Dimension, days: bool) {
    let (hour, day) = period.starts();
    let spans = [("hour", hour), ("day", day)];
    for (number, (span, from)) in spans.into_iter().take(if days { 2 } else { 1 }).enumerate() {
        query.push(if number == 0 { "" } else { " UNION ALL " });
        query.push("SELECT start, key, findings, blocks, analysed FROM rollups WHERE dimension = ");
        query.push_bind(dimension.as_str()).push(format!(" AND span = '{span}' AND start >= "));
        query.push_bind(from.0).push(" AND start < ").push_bind(period.to.0);
    }
}

/// Between which texts, in the order of bytes, all addresses of `network` are written.
fn texts_of(network: IpNet) -> (String, String) {
    // Whole numbers between dots, or the first one between colons: `::` may stand for others.
    let whole = match network {
        IpNet::V4(v4) => {
            v4.addr().octets().iter().take(usize::from(v4.prefix_len() / 8)).map(|one| format!("{one}.")).collect()
        }
        IpNet::V6(v6) if v6.prefix_len() >= 16 && v6.addr().segments()[0] != 0 => {
            format!("{:x}:", v6.addr().segments()[0])
        }
        IpNet::V6(_) => String::new(),
    };
    match whole.strip_suffix(['.', ':']) {
        // `/` follows the dot, `;` the colon.
        Some(start) => (whole.clone(), format!("{start}{}", if whole.ends_with('.') { '/' } else { ';' })),
        None => (String::new(), "~".into()),
    }
}

fn within(query: &mut Builder, column: &str, period: Period) {
    query.push(format!("{column} >= ")).push_bind(period.from.0);
    query.push(format!(" AND {column} < ")).push_bind(period.to.0);
}

fn one_of(query: &mut Builder, column: &str, texts: &[String]) {
    match texts {
        [one] => query.push(format!(" AND {column} = ")).push_bind(one.clone()),
        // `+`: by time.
        _ => {
            let plus = if texts.len() > EACH { "+" } else { "" };
            query.push(format!(" AND {plus}{column} IN (SELECT value FROM json_each("));
            query.push_bind(serde_json::json!(texts).to_string()).push("))")
        }
    };
}

/// The three counts from column `first` on.
fn counts(row: &SqliteRow, first: usize) -> Result<Counts, sqlx::Error> {
    let (findings, blocks, analysed) = (row.try_get(first)?, row.try_get(first + 1)?, row.try_get(first + 2)?);
    Ok(Counts { findings, blocks, analysed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::StoreConfig;

    async fn plan(store: &Sqlite, ask: impl FnOnce(&mut Builder)) -> String {
        let mut query = Builder::new("EXPLAIN QUERY PLAN ");
        ask(&mut query);
        store.read(query, |row| row.try_get::<String, _>(3)).await.unwrap().join("\n")
    }

    #[tokio::test]
    async fn each_question_is_answered_by_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path(), &StoreConfig::default()).await.unwrap();
        let week = Period { from: Timestamp(0), to: Timestamp(604_800_000) };
        let no_scan = |plan: &str, wanted: &[&str]| {
            let scans = ["SCAN findings", "SCAN decisions", "SCAN rollups", "SCAN model_calls", "SCAN clients"];
            scans.iter().for_each(|scan| assert!(!plan.contains(scan), "{plan}"));
            wanted.iter().for_each(|part| assert!(plan.contains(part), "{part} is not in\n{plan}"));
        };
        let rollups = "SEARCH rollups USING PRIMARY KEY (dimension=? AND span=? AND start>? AND start<?)";
        no_scan(&plan(&store, |query| trend(query, week, Dimension::Rule, Step::Day)).await, &[rollups]);
        no_scan(&plan(&store, |query| top(query, week, week, Dimension::Path, 10)).await, &[rollups]);
        no_scan(
            &plan(&store, |query| effect(query, week, week.to)).await,
            &["decisions_by_time (created_at>? AND created_at<?)"],
        );
        let tiers = plan(&store, |query| {
            query.push(spent().sql().as_str());
            within(query, "at", week);
        });
        no_scan(&tiers.await, &["model_calls_by_time (at>? AND at<?)"]);
        let filter = FindingFilter {
            period: week,
            rule: Some("x".into()),
            contains: Some("x".into()),
            ..FindingFilter::default()
        };
        let by_time = plan(&store, |query| findings(query, &filter, None)).await;
        no_scan(&by_time, &["findings_by_time (time>? AND time<?)", "decisions_by_finding (finding_id=?)"]);
        let client = ["203.0.113.7".to_owned()];
        let by_client = plan(&store, |query| findings(query, &filter, Some(&client))).await;
        no_scan(&by_client, &["findings_by_client (client=? AND time>? AND time<?)"]);
        let several = [client[0].clone(), "203.0.113.8".to_owned()];
        let by_each = plan(&store, |query| findings(query, &filter, Some(&several))).await;
        no_scan(&by_each, &["findings_by_client (client=? AND time>? AND time<?)", "INTEGER PRIMARY KEY (rowid=?)"]);
        assert!(
            by_client.contains("TEMP B-TREE FOR LAST TERM OF ORDER BY"),
            "the newest come first by the index: {by_client}"
        );
        let few: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        no_scan(&plan(&store, |query| findings(query, &filter, Some(&few))).await, &["findings_by_client (client=?"]);
        let many: Vec<String> = (0..=EACH).map(|number| number.to_string()).collect();
        no_scan(
            &plan(&store, |query| findings(query, &filter, Some(&many))).await,
            &["findings_by_time (time>? AND time<?)"],
        );
        let past =
            PastFilter { period: week, state: Some(crate::event::DecisionState::Expired), ..PastFilter::default() };
        no_scan(&plan(&store, |query| decisions(query, &past, None)).await, &["decisions_by_time (created_at>?"]);
        no_scan(
            &plan(&store, |query| decisions(query, &past, Some(&client))).await,
            &["decisions_by_target (target=?"],
        );
        let of_clients = plan(&store, |query| clients(query, week, 10)).await;
        no_scan(&of_clients, &["clients_by_last_seen (last_seen>? AND last_seen<?)", "decisions_by_target (target=?)"]);
        let network = "203.0.112.0/23".parse().unwrap();
        let texts = plan(&store, |query| each_text(query, network, "findings", "client")).await;
        no_scan(&texts, &["COVERING INDEX findings_by_client (client>? AND client<?)"]);
    }

    #[test]
    fn a_networks_addresses_stand_between_two_texts() {
        for (network, inside, outside) in [
            ("203.0.112.0/23", "203.0.113.9", "203.1.0.0"),
            ("203.0.113.0/24", "203.0.113.255", "203.0.11.3"),
            ("0.0.0.0/0", "9.9.9.9", ""),
            ("2001:db8::/32", "2001:db8:1:2::/64", "2002::"),
            ("2001:db8::/32", "2001:db8::", "20010"),
            ("::/0", "::1", ""),
            ("::/64", "::", ""),
        ] {
            let (first, end) = texts_of(network.parse().unwrap());
            let holds = |text: &str| *text >= *first && *text < *end;
            assert!(holds(inside) && (outside.is_empty() || !holds(outside)), "{network}: {first}..{end}");
        }
    }
}
