//! What agents remember together about the past.

use ipnet::IpNet;
use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};

use super::Postgres;
use super::text::{clean, millis};
use crate::event::{DecisionState, Timestamp, shown};
use crate::record::history::{
    Answer, ClientRow, Effect, FindingFilter, History, Past, PastFilter, PastFinding, Period, Point, Step, Top, ranked,
};
use crate::record::sqlite::{RawDecision, network};
use crate::record::{AnalysisSession, Counts, DecisionChange, Dimension, FindingRow, Json, Spent, StoreError};

type Builder = QueryBuilder<sqlx::Postgres>;

const SUMS: &str =
    "sum(findings)::bigint AS findings, sum(blocks)::bigint AS blocks, sum(analysed)::bigint AS analysed";

impl History for Postgres {
    fn trend<'a>(
        &'a self,
        agent: Option<&'a str>,
        period: Period,
        dimension: Dimension,
        step: Step,
    ) -> Answer<'a, Vec<Point>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            trend(&mut query, agent, period, dimension, step);
            let point = |row: &PgRow| {
                Ok(Point { start: Timestamp(row.try_get(0)?), key: row.try_get(1)?, counts: counts(row, 2)? })
            };
            self.rows(query, point).await
        })
    }

    fn top<'a>(
        &'a self,
        agent: Option<&'a str>,
        period: Period,
        previous: Period,
        dimension: Dimension,
        limit: u32,
    ) -> Answer<'a, Vec<Top>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            top(&mut query, agent, period, previous, dimension, limit);
            let decode = |row: &PgRow| Ok((row.try_get::<Option<String>, _>(0)?, counts(row, 1)?, counts(row, 4)?));
            Ok(ranked(self.rows(query, decode).await?))
        })
    }

    fn effect<'a>(&'a self, agent: Option<&'a str>, period: Period, now: Timestamp) -> Answer<'a, Effect> {
        Box::pin(async move {
            let mut query = Builder::new("");
            effect(&mut query, agent, period, now);
            let effect = |row: &PgRow| Effect::of_columns(|column| row.try_get(column));
            Ok(self.rows(query, effect).await?.pop().unwrap_or_default())
        })
    }

    fn tiers<'a>(&'a self, agent: Option<&'a str>, period: Period) -> Answer<'a, Vec<Spent>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            tiers(&mut query, agent, period);
            let spent = |row: &PgRow| {
                let number = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
                Ok(Spent {
                    service: row.try_get(0)?,
                    model: row.try_get(1)?,
                    usd: row.try_get(2)?,
                    calls: number(3)?,
                    answered: number(4)?,
                    sent_bytes: number(5)?,
                    received_bytes: number(6)?,
                    input_tokens: number(7)?,
                    output_tokens: number(8)?,
                    millis: number(9)?,
                })
            };
            self.rows(query, spent).await
        })
    }

    fn past_findings<'a>(&'a self, filter: &'a FindingFilter) -> Answer<'a, Vec<PastFinding>> {
        Box::pin(self.ask(async |connection| {
            let mut found = vec![];
            for period in backwards(filter.period) {
                let limit = filter.limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
                if limit == 0 {
                    break;
                }
                let mut query = Builder::new("");
                findings(&mut query, &FindingFilter { period, limit, ..filter.clone() });
                let rows = query.build().persistent(false).fetch_all(&mut *connection).await?;
                for row in &rows {
                    found.push(past_finding(row)?);
                }
            }
            Ok(found)
        }))
    }

    fn past_decisions<'a>(&'a self, filter: &'a PastFilter) -> Answer<'a, Vec<Past>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            decisions(&mut query, filter);
            let mut past = vec![];
            for (agent, raw) in self.rows(query, raw_decision).await? {
                let id = raw.id.clone();
                match raw.understood() {
                    Ok(decision) => past.push(Past { agent, decision, changes: vec![] }),
                    Err(what) => tracing::error!("decision {id} is left out: {what} is unknown to this version"),
                }
            }
            let mut query = Builder::new(
                "SELECT decision_id, seq, state, (extract(epoch FROM at) * 1000)::bigint, note \
                 FROM palisade.decision_changes WHERE decision_id = ANY(",
            );
            query.push_bind(past.iter().map(|past| past.decision.id.clone()).collect::<Vec<_>>());
            query.push(") ORDER BY decision_id, seq");
            for change in self.rows(query, change).await? {
                let of_it = past.iter_mut().find(|past| past.decision.id == change.decision_id);
                of_it.into_iter().for_each(|past| past.changes.push(change.clone()));
            }
            Ok(past)
        })
    }

    fn clients<'a>(&'a self, agent: Option<&'a str>, period: Period, limit: u32) -> Answer<'a, Vec<ClientRow>> {
        Box::pin(async move {
            let mut query = Builder::new("");
            clients(&mut query, agent, period, limit);
            let client = |row: &PgRow| {
                Ok(ClientRow {
                    client: bare(row.try_get(0)?),
                    first_seen: Timestamp(row.try_get(1)?),
                    last_seen: Timestamp(row.try_get(2)?),
                    findings: row.try_get::<i64, _>(3)?.cast_unsigned(),
                    max_score: small(row, 4)?,
                    is_blocked: row.try_get(5)?,
                })
            };
            self.rows(query, client).await
        })
    }

    fn sessions(&self, limit: u32) -> Answer<'_, Vec<AnalysisSession>> {
        Box::pin(async move {
            let mut query = Builder::new(
                "SELECT id, (extract(epoch FROM at) * 1000)::bigint, source, log_count, threat_count, overall_score, \
                 health_status, compression_ratio, tokens_saved FROM palisade.analysis_sessions ORDER BY at DESC, id LIMIT ",
            );
            query.push_bind(i64::from(limit));
            let session = |row: &PgRow| {
                Ok(AnalysisSession {
                    id: row.try_get(0)?,
                    at: Timestamp(row.try_get(1)?),
                    source: row.try_get(2)?,
                    log_count: row.try_get::<i64, _>(3)?.cast_unsigned(),
                    threat_count: row.try_get::<i64, _>(4)?.cast_unsigned(),
                    overall_score: small(row, 5)?,
                    health_status: row.try_get(6)?,
                    compression_ratio: row.try_get(7)?,
                    tokens_saved: row.try_get::<i64, _>(8)?.cast_unsigned(),
                })
            };
            self.rows(query, session).await
        })
    }
}

impl Postgres {
    async fn rows<T>(
        &self,
        mut query: Builder,
        decode: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        self.ask(async |connection| {
            let rows = query.build().persistent(false).fetch_all(connection).await?;
            rows.iter().map(&decode).collect()
        })
        .await
    }
}

fn trend(query: &mut Builder, agent: Option<&str>, period: Period, dimension: Dimension, step: Step) {
    let unit = if step == Step::Hour { "hour" } else { "day" };
    query.push(format!(
        "SELECT (extract(epoch FROM date_trunc('{unit}', start, 'UTC')) * 1000)::bigint AS step, key, {SUMS} FROM ("
    ));
    counted(query, agent, period, dimension, step == Step::Day);
    // Bytes, as everywhere else.
    query.push(") AS counted GROUP BY step, key ORDER BY step, key COLLATE \"C\"");
}

fn top(query: &mut Builder, agent: Option<&str>, period: Period, previous: Period, dimension: Dimension, limit: u32) {
    query.push(format!("WITH now AS MATERIALIZED (SELECT key, {SUMS} FROM ("));
    counted(query, agent, period, dimension, true);
    query.push(format!(") AS counted GROUP BY key), earlier AS MATERIALIZED (SELECT key, {SUMS} FROM ("));
    counted(query, agent, previous, dimension, true);
    query.push(
        ") AS counted GROUP BY key), largest AS (SELECT * FROM now WHERE key <> '' \
         ORDER BY findings DESC, analysed DESC, key COLLATE \"C\" LIMIT ",
    );
    query.push_bind(i64::from(limit)).push(format!(
        ") SELECT l.key, l.findings, l.blocks, l.analysed, coalesce(e.findings, 0), coalesce(e.blocks, 0), \
         coalesce(e.analysed, 0) FROM largest l LEFT JOIN earlier e ON e.key = l.key \
         UNION ALL SELECT NULL::text, coalesce(n.findings, 0), coalesce(n.blocks, 0), coalesce(n.analysed, 0), \
         coalesce(e.findings, 0), coalesce(e.blocks, 0), coalesce(e.analysed, 0) \
         FROM (SELECT {SUMS} FROM now) n, (SELECT {SUMS} FROM earlier) e"
    ));
}

fn effect(query: &mut Builder, agent: Option<&str>, period: Period, now: Timestamp) {
    let period = period.hours();
    let decided = |query: &mut Builder, column: &str, is_own: &str| {
        within(query, column, period);
        match agent {
            Some(_) => of_agent(query, agent),
            // What one took over of another is the other's.
            None => {
                query.push(format!(" AND {is_own}"));
            }
        }
    };
    // Targets are counted from one index and no row of the table: in it a target's decisions stand together.
    query.push("WITH targets AS (SELECT bool_or(offences > 0) AS returned FROM palisade.decisions WHERE ");
    decided(query, "created_at", "origin = ''");
    query.push(" AND state <> 'refused' AND (state <> 'held' OR expires_at <= ");
    moment(query, now);
    query.push(") GROUP BY target), ended AS (SELECT state, count(*) AS decisions FROM palisade.decisions WHERE ");
    decided(query, "created_at", "origin = ''");
    query.push(" AND state IN ('pending', 'active', 'held') AND expires_at <= ");
    moment(query, now);
    query
        .push(" GROUP BY state), states AS (SELECT state, simulated, imported, decisions FROM palisade.decided WHERE ");
    decided(query, "start", "is_own");
    // Nobody has noted yet that these are over.
    query.push(
        " UNION ALL SELECT state, false, false, -decisions FROM ended \
         UNION ALL SELECT 'expired', false, false, decisions FROM ended) SELECT ",
    );
    let states = ["pending", "active", "expired", "lifted", "refused", "held"];
    let kinds = states.map(|state| format!("state = '{state}'"));
    for kind in kinds.iter().map(String::as_str).chain(["simulated", "imported"]) {
        query.push(format!("coalesce((SELECT sum(decisions)::bigint FROM states WHERE {kind}), 0), "));
    }
    query.push("(SELECT count(*) FROM targets), (SELECT count(*) FROM targets WHERE returned)");
}

fn tiers(query: &mut Builder, agent: Option<&str>, period: Period) {
    let sums = ["sent_bytes", "received_bytes", "input_tokens", "output_tokens", "millis"];
    let sums = sums.map(|column| format!("sum({column})::bigint")).join(", ");
    query.push(format!(
        "SELECT service, model, sum(usd), count(*), count(*) FILTER (WHERE outcome = 'answered'), {sums} \
         FROM palisade.model_calls WHERE "
    ));
    within(query, "at", period);
    of_agent(query, agent);
    query.push(" GROUP BY service, model ORDER BY service COLLATE \"C\", model COLLATE \"C\"");
}

fn findings(query: &mut Builder, filter: &FindingFilter) {
    query.push(
        "SELECT agent, id, file, generation, byte_offset, line_number, (extract(epoch FROM time) * 1000)::bigint, \
         host(source_ip), client::text, method, uri, status, user_agent, referer, category, score, rule_ids, \
         evidence::text, action, verdict, confidence, decided_by, reasoning, \
         (extract(epoch FROM recorded_at) * 1000)::bigint, flagged, is_system_url, case_id, \
         (SELECT d.id FROM palisade.decisions d WHERE d.finding_id = f.id ORDER BY d.origin, d.created_at DESC LIMIT 1) AS decision_id \
         FROM (SELECT * FROM palisade.findings WHERE ",
    );
    that_pass(query, filter);
    // `id` tells apart what happened in the same millisecond.
    query.push(" ORDER BY time DESC, id DESC LIMIT ").push_bind(i64::from(filter.limit));
    query.push(") AS f ORDER BY time DESC, id DESC");
}

fn decisions(query: &mut Builder, filter: &PastFilter) {
    query.push(format!("SELECT {DECISION} FROM palisade.decisions WHERE "));
    within(query, "created_at", filter.period);
    of_agent(query, filter.agent.as_deref());
    of_networks(query, "target", &filter.targets);
    if let Some(state) = filter.state {
        query.push(" AND state = ").push_bind(state.as_str());
    }
    query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(i64::from(filter.limit));
}

fn clients(query: &mut Builder, agent: Option<&str>, period: Period, limit: u32) {
    query.push(
        "SELECT client::text, (extract(epoch FROM first) * 1000)::bigint, (extract(epoch FROM last) * 1000)::bigint, \
         findings, score, EXISTS (SELECT 1 FROM palisade.decisions d WHERE d.target = c.client \
         AND d.state IN ('pending', 'active') AND NOT d.simulated) FROM (SELECT client, min(first_seen) AS first, \
         max(last_seen) AS last, sum(findings)::bigint AS findings, max(max_score) AS score FROM palisade.clients \
         WHERE client IN (SELECT client FROM palisade.clients WHERE ",
    );
    // The index knows days.
    within(query, "last_day", Period { from: Step::Day.floor(period.from), ..period });
    query.push(" AND ");
    within(query, "last_seen", period);
    query.push(")");
    of_agent(query, agent);
    query.push(" GROUP BY client HAVING max(last_seen) < ");
    moment(query, period.to);
    query.push(" ORDER BY findings DESC, client LIMIT ").push_bind(i64::from(limit));
    query.push(") AS c ORDER BY findings DESC, client");
}

/// The rows of `rollups` that `period` is made of: see the same of SQLite.
fn counted(query: &mut Builder, agent: Option<&str>, period: Period, dimension: Dimension, days: bool) {
    let (hour, day) = period.starts();
    let spans = [("hour", hour), ("day", day)];
    for (number, (span, from)) in spans.into_iter().take(if days { 2 } else { 1 }).enumerate() {
        query.push(if number == 0 { "" } else { " UNION ALL " });
        query.push("SELECT start, key, findings, blocks, analysed FROM palisade.rollups WHERE dimension = ");
        query.push_bind(dimension.as_str()).push(format!(" AND span = '{span}' AND "));
        within(query, "start", Period { from, ..period });
        of_agent(query, agent);
    }
}

fn that_pass(query: &mut Builder, filter: &FindingFilter) {
    within(query, "time", filter.period);
    of_agent(query, filter.agent.as_deref());
    of_networks(query, "client", &filter.clients);
    let equal = [
        ("category", &filter.category),
        ("action", &filter.action),
        ("decided_by", &filter.decided_by),
        ("case_id", &filter.case_id),
    ];
    for (column, wanted) in equal {
        if let Some(wanted) = wanted {
            query.push(format!(" AND {column} = ")).push_bind(clean(wanted).into_owned());
        }
    }
    if let Some(rule) = &filter.rule {
        query.push(" AND ").push_bind(clean(rule).into_owned()).push(" = ANY(rule_ids)");
    }
    if let Some(text) = &filter.contains {
        query.push(" AND strpos(uri, ").push_bind(clean(text).into_owned()).push(") > 0");
    }
    if filter.min_score > 0 {
        query.push(" AND score >= ").push_bind(i16::from(filter.min_score));
    }
    if !filter.analysed {
        query.push(" AND flagged");
    }
}

/// The parts of `period`, the newest first, each four times as long as the one before: the newest of many rows are
/// found without a look at all of them, whichever index the server takes.
fn backwards(period: Period) -> impl Iterator<Item = Period> {
    let (mut to, mut millis) = (period.to, Step::Hour.millis());
    std::iter::from_fn(move || {
        let part = Period { from: period.from.max(Timestamp(to.0.saturating_sub(millis))), to };
        (to, millis) = (part.from, millis.saturating_mul(4));
        (part.from < part.to).then_some(part)
    })
}

fn within(query: &mut Builder, column: &str, period: Period) {
    query.push(format!("{column} >= "));
    moment(query, period.from);
    query.push(format!(" AND {column} < "));
    moment(query, period.to);
}

fn moment(query: &mut Builder, time: Timestamp) {
    query.push("to_timestamp(").push_bind(millis(time)).push(" / 1000::float8)");
}

fn of_agent(query: &mut Builder, agent: Option<&str>) {
    if let Some(agent) = agent {
        query.push(" AND agent = ").push_bind(clean(agent).into_owned());
    }
}

/// One of `networks` itself, or what is in it. Said twice: `<<=` alone is no condition of an index for every plan.
fn of_networks(query: &mut Builder, column: &str, networks: &[IpNet]) {
    for (number, network) in networks.iter().enumerate() {
        query.push(if number == 0 { " AND (" } else { " OR " });
        let text = network.trunc().to_string();
        if network.prefix_len() == network.max_prefix_len() {
            query.push(format!("{column} = ")).push_bind(text).push("::cidr");
        } else {
            query.push(format!("{column} >= ")).push_bind(text.clone());
            query.push(format!("::cidr AND {column} <= set_masklen(broadcast(")).push_bind(text.clone());
            query.push(format!("::cidr), -1) AND {column} <<= ")).push_bind(text).push("::cidr");
        }
    }
    query.push(if networks.is_empty() { "" } else { ")" });
}

/// The three counts from column `first` on.
fn counts(row: &PgRow, first: usize) -> Result<Counts, sqlx::Error> {
    let (findings, blocks, analysed) = (row.try_get(first)?, row.try_get(first + 1)?, row.try_get(first + 2)?);
    Ok(Counts { findings, blocks, analysed })
}

/// A number that Rust has in a byte.
fn small(row: &PgRow, column: usize) -> Result<u8, sqlx::Error> {
    Ok(u8::try_from(row.try_get::<i16, _>(column)?).unwrap_or_default())
}

/// A network as Postgres writes it, with the length of one address left out.
fn bare(text: String) -> String {
    network(&text).map_or(text, shown)
}

fn past_finding(row: &PgRow) -> Result<PastFinding, sqlx::Error> {
    let finding = FindingRow {
        id: row.try_get(1)?,
        file: row.try_get(2)?,
        generation: row.try_get::<i64, _>(3)?.cast_unsigned(),
        offset: row.try_get::<i64, _>(4)?.cast_unsigned(),
        line_number: row.try_get::<Option<i64>, _>(5)?.map(i64::cast_unsigned),
        time: Timestamp(row.try_get(6)?),
        source_ip: row.try_get(7)?,
        client: row.try_get::<Option<String>, _>(8)?.map(bare),
        method: row.try_get(9)?,
        uri: row.try_get(10)?,
        status: u16::try_from(row.try_get::<i32, _>(11)?).unwrap_or_default(),
        user_agent: row.try_get(12)?,
        referer: row.try_get(13)?,
        category: row.try_get(14)?,
        score: small(row, 15)?,
        rule_ids: row.try_get(16)?,
        evidence: Json::new(row.try_get(17)?).map_err(|error| sqlx::Error::Decode(error.into()))?,
        action: row.try_get(18)?,
        verdict: row.try_get(19)?,
        confidence: small(row, 20)?,
        decided_by: row.try_get(21)?,
        reasoning: row.try_get(22)?,
        recorded_at: Timestamp(row.try_get(23)?),
        flagged: row.try_get(24)?,
        is_system_url: row.try_get(25)?,
        case_id: row.try_get(26)?,
    };
    Ok(PastFinding { agent: row.try_get(0)?, finding, decision_id: row.try_get(27)? })
}

/// The columns that [`raw_decision`] takes by their places.
pub(super) const DECISION: &str = "agent, id, target::text, proposer, finding_id, category, score, reason, \
     (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, \
     simulated, offences, state, note, via_proxy, was_served, origin";

/// A decision and the agent that recorded it.
pub(super) fn raw_decision(row: &PgRow) -> Result<(String, RawDecision), sqlx::Error> {
    let raw = RawDecision {
        id: row.try_get(1)?,
        target: row.try_get(2)?,
        proposer: row.try_get(3)?,
        finding_id: row.try_get(4)?,
        category: row.try_get(5)?,
        score: small(row, 6)?,
        reason: row.try_get(7)?,
        created_at: Timestamp(row.try_get(8)?),
        expires_at: Timestamp(row.try_get(9)?),
        simulated: row.try_get(10)?,
        offences: u32::try_from(row.try_get::<i32, _>(11)?).unwrap_or_default(),
        state: row.try_get(12)?,
        note: row.try_get(13)?,
        via_proxy: row.try_get(14)?,
        was_served: row.try_get(15)?,
        origin: row.try_get(16)?,
    };
    Ok((row.try_get(0)?, raw))
}

fn change(row: &PgRow) -> Result<DecisionChange, sqlx::Error> {
    let state: String = row.try_get(2)?;
    let unknown = || sqlx::Error::Decode(format!("{state:?} is no state of a decision").into());
    Ok(DecisionChange {
        decision_id: row.try_get(0)?,
        seq: row.try_get(1)?,
        state: DecisionState::parse(&state).ok_or_else(unknown)?,
        at: Timestamp(row.try_get(3)?),
        note: row.try_get(4)?,
    })
}

#[cfg(test)]
mod tests;
