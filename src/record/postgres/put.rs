//! Takes up what an agent sends.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::PoisonError;

use foldhash::quality::RandomState;
use ipnet::IpNet;
use sqlx::{PgConnection, Row};

use super::copy::{PART, copy_findings};
use super::text::{address, clean, clean_json, day, joined, millis, network};
use super::{LOCKS, PATIENCE, Postgres, Statement, query};
use crate::event::Timestamp;
use crate::record::rollup::{Counts, Tally};
use crate::record::{FindingRow, Rows, StoreError};

/// Every plan is by index, also while a new partition has no statistics.
pub(super) const BEGIN: &str =
    "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// What is counted of rows that are there in an older version.
const KNOWN: &str = "SELECT f.id, f.flagged, f.action, f.verdict, f.decided_by, f.score \
     FROM unnest($1::text[], $2::bigint[]) AS new (id, millis) \
     JOIN palisade.findings f ON f.id = new.id AND f.time = to_timestamp(new.millis / 1000::float8) \
     WHERE f.time >= to_timestamp($3 / 1000::float8) AND f.time <= to_timestamp($4 / 1000::float8) \
     AND f.version < $5 FOR UPDATE OF f";

const FINDINGS: &str = "INSERT INTO palisade.findings (agent, version, id, time, recorded_at, source_ip, client, \
     method, uri, status, user_agent, referer, category, score, rule_ids, evidence, action, verdict, confidence, \
     decided_by, reasoning, flagged, is_system_url, case_id, file, generation, byte_offset, line_number) \
     SELECT $1, $2, id, to_timestamp(millis / 1000::float8), to_timestamp(recorded / 1000::float8), source_ip::inet, \
     client::cidr, method, uri, status, user_agent, referer, category, score, string_to_array(rule_ids, E'\\x1f'), \
     evidence::jsonb, action, verdict, confidence, decided_by, reasoning, flagged, is_system_url, case_id, file, \
     generation, byte_offset, line_number \
     FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::int[], \
     $11::text[], $12::text[], $13::text[], $14::smallint[], $15::text[], $16::text[], $17::text[], $18::text[], \
     $19::smallint[], $20::text[], $21::text[], $22::boolean[], $23::boolean[], $24::text[], $25::text[], \
     $26::bigint[], $27::bigint[], $28::bigint[]) \
     AS new (id, millis, recorded, source_ip, client, method, uri, status, user_agent, referer, category, score, \
     rule_ids, evidence, action, verdict, confidence, decided_by, reasoning, flagged, is_system_url, case_id, file, \
     generation, byte_offset, line_number) \
     ON CONFLICT (time, id) DO NOTHING RETURNING id";

const CHANGED: &str = "UPDATE palisade.findings AS f SET version = $1, score = new.score, evidence = new.evidence::jsonb, \
     action = new.action, verdict = new.verdict, confidence = new.confidence, decided_by = new.decided_by, \
     reasoning = new.reasoning, flagged = new.flagged, is_system_url = new.is_system_url, case_id = new.case_id \
     FROM unnest($2::text[], $3::bigint[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::smallint[], \
     $9::text[], $10::text[], $11::boolean[], $12::boolean[], $13::text[]) AS new (id, millis, score, evidence, action, \
     verdict, confidence, decided_by, reasoning, flagged, is_system_url, case_id) \
     WHERE f.id = new.id AND f.time = to_timestamp(new.millis / 1000::float8) \
     AND f.time >= to_timestamp($14 / 1000::float8) AND f.time <= to_timestamp($15 / 1000::float8)";

const CLIENTS: &str = "INSERT INTO palisade.clients AS old (agent, client, first_seen, last_seen, findings, max_score) \
     SELECT $1, client::cidr, to_timestamp(first / 1000::float8), to_timestamp(last / 1000::float8), findings, score \
     FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[]) \
     AS new (client, first, last, findings, score) ON CONFLICT (client, agent) DO UPDATE SET \
     first_seen = least(old.first_seen, excluded.first_seen), last_seen = greatest(old.last_seen, excluded.last_seen), \
     findings = old.findings + excluded.findings, max_score = greatest(old.max_score, excluded.max_score)";

const ROLLUPS: &str = "INSERT INTO palisade.rollups AS old (agent, span, dimension, start, key, findings, blocks, analysed) \
     SELECT $1, 'hour', dimension, to_timestamp(start / 1000::float8), key, findings, blocks, analysed \
     FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) \
     AS new (dimension, start, key, findings, blocks, analysed) ON CONFLICT (dimension, span, start, key, agent) DO \
     UPDATE SET findings = old.findings + excluded.findings, blocks = old.blocks + excluded.blocks, \
     analysed = old.analysed + excluded.analysed";

const DECISIONS: &str = "INSERT INTO palisade.decisions (agent, version, changed_at, id, target, proposer, finding_id, \
     category, score, reason, created_at, expires_at, simulated, offences, state, note, via_proxy, was_served, origin) \
     SELECT $1, $2, to_timestamp($3 / 1000::float8), id, target::cidr, proposer, finding_id, category, score, reason, \
     to_timestamp(created / 1000::float8), to_timestamp(expires / 1000::float8), simulated, offences, state, note, \
     via_proxy, was_served, origin FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::smallint[], \
     $10::text[], $11::bigint[], $12::bigint[], $13::boolean[], $14::int[], $15::text[], $16::text[], $17::boolean[], \
     $18::boolean[], $19::text[]) AS new (id, target, proposer, finding_id, category, score, reason, created, expires, \
     simulated, offences, state, note, via_proxy, was_served, origin) ON CONFLICT (id) DO UPDATE SET version = excluded.version, \
     changed_at = excluded.changed_at, expires_at = excluded.expires_at, state = excluded.state, note = excluded.note, \
     reason = excluded.reason, offences = excluded.offences WHERE decisions.version < excluded.version";

const CHANGES: &str = "INSERT INTO palisade.decision_changes (agent, decision_id, seq, state, at, note) \
     SELECT $1, id, seq, state, to_timestamp(at / 1000::float8), note \
     FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[]) AS new (id, seq, state, at, note) \
     ON CONFLICT (decision_id, seq) DO NOTHING";

const CALLS: &str = "INSERT INTO palisade.model_calls (agent, id, at, service, model, finding_id, outcome, millis, \
     sent_bytes, received_bytes, input_tokens, output_tokens, usd) SELECT $1, id, to_timestamp(at / 1000::float8), \
     service, model, finding_id, outcome, millis, sent, received, input, output, usd FROM unnest($2::bigint[], \
     $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], \
     $11::bigint[], $12::bigint[], $13::float8[]) \
     AS new (id, at, service, model, finding_id, outcome, millis, sent, received, input, output, usd) \
     ON CONFLICT (at, agent, id) DO NOTHING";

const CORRECTIONS: &str = "INSERT INTO palisade.corrections (agent, version, finding_id, verdict, view, at) \
     SELECT $1, $2, id, verdict, view, to_timestamp(at / 1000::float8) \
     FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[]) AS new (id, verdict, view, at) \
     ON CONFLICT (finding_id) DO UPDATE SET agent = excluded.agent, version = excluded.version, \
     verdict = excluded.verdict, view = excluded.view, at = excluded.at \
     WHERE corrections.agent <> excluded.agent OR corrections.version < excluded.version";

const SESSIONS: &str = "INSERT INTO palisade.analysis_sessions (agent, id, at, source, log_count, threat_count, \
     overall_score, health_status, compression_ratio, tokens_saved) SELECT $1, id, to_timestamp(at / 1000::float8), \
     source, logs, threats, score, health, ratio, saved FROM unnest($2::text[], $3::bigint[], $4::text[], \
     $5::bigint[], $6::bigint[], $7::smallint[], $8::text[], $9::float8[], $10::bigint[]) \
     AS new (id, at, source, logs, threats, score, health, ratio, saved) ON CONFLICT (id) DO NOTHING";

const ALLOWED: &str = "INSERT INTO palisade.allow (agent, network, note, created_at) \
     SELECT $1, network::cidr, note, to_timestamp(at / 1000::float8) \
     FROM unnest($2::text[], $3::text[], $4::bigint[]) AS new (network, note, at) \
     ON CONFLICT (agent, network) DO UPDATE SET note = excluded.note";

const DISALLOWED: &str =
    "DELETE FROM palisade.allow WHERE agent = $1 AND network IN (SELECT one::cidr FROM unnest($2::text[]) AS one)";

const AGENT: &str = "INSERT INTO palisade.agents AS old (agent, version, first_seen, last_seen) \
     SELECT $1, $2, at, at FROM to_timestamp($3 / 1000::float8) AS at ON CONFLICT (agent) DO UPDATE SET \
     version = excluded.version, last_seen = greatest(old.last_seen, excluded.last_seen)";

/// Findings from which on they are copied.
const MANY: usize = 500;

impl Postgres {
    pub(super) async fn put_rows(&self, agent: &str, rows: &Rows, now: Timestamp) -> Result<u64, StoreError> {
        let findings = each_once(&rows.findings, |row| &row.id);
        self.add_days(&findings, now).await?;
        self.transaction(BEGIN, PATIENCE, async |connection| {
            // An agent that sends again while the first time is still under way waits for its end.
            let lock = query("SELECT pg_advisory_xact_lock($1, hashtext($2))").bind(LOCKS).bind(agent);
            lock.execute(&mut *connection).await?;
            let query = query(AGENT).bind(agent).bind(env!("CARGO_PKG_VERSION")).bind(millis(now));
            query.execute(&mut *connection).await?;
            let new = put_findings(connection, agent, rows.version, &findings).await?;
            put_decisions(connection, agent, rows, now).await?;
            put_others(connection, agent, rows).await?;
            Ok(new)
        })
        .await
    }

    /// Makes the partitions of days that are kept.
    async fn add_days(&self, findings: &[&FindingRow], now: Timestamp) -> Result<(), StoreError> {
        let (today, mut last) = (day(now), None);
        for row in findings {
            let day = day(row.time);
            let is_kept = day > today - i64::from(self.config.keep_days) && day <= today + 1;
            // Findings come in the order of time, more or less.
            if last.replace(day) == Some(day) || !is_kept || self.days().contains(&day) {
                continue;
            }
            self.transaction("BEGIN", PATIENCE, async |connection| {
                // A function of dates as numbers: no type that needs a look-up.
                query("SELECT palisade.add_day(date '1970-01-01' + $1::int)::text").bind(day).execute(connection).await
            })
            .await?;
            self.days().insert(day);
        }
        Ok(())
    }

    pub(super) fn days(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeSet<i64>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of rows with one id the last one: a statement takes up a row once.
fn each_once<T>(rows: &[T], id: impl Fn(&T) -> &str) -> Vec<&T> {
    let last: HashMap<&str, usize, RandomState> = rows.iter().enumerate().map(|(n, row)| (id(row), n)).collect();
    rows.iter().enumerate().filter(|(n, row)| last.get(id(row)) == Some(n)).map(|(_, row)| row).collect()
}

/// A column of `rows`.
fn all<'a, T, U>(rows: &[&'a T], column: impl Fn(&'a T) -> U) -> Vec<U> {
    rows.iter().map(|row| column(row)).collect()
}

/// Gives how many are new.
async fn put_findings(
    connection: &mut PgConnection,
    agent: &str,
    version: i64,
    rows: &[&FindingRow],
) -> Result<u64, sqlx::Error> {
    // Most times all are new: then what counts them is ready when the server is.
    let all_new: Vec<Change> = rows.iter().map(|row| (None, *row)).collect();
    let insert = insert_findings(&mut *connection, agent, version, rows);
    let (inserted, mut counting) = tokio::join!(biased; insert, counting(agent, &all_new));
    let (new, there) = inserted?;
    if !there.is_empty() {
        let changed = change_findings(connection, version, &there).await?;
        let changed = changed.iter().map(|(old, row)| (Some(old), *row));
        let changes: Vec<Change> = new.iter().map(|row| (None, *row)).chain(changed).collect();
        counting = self::counting(agent, &changes).await;
    }
    for query in counting.into_iter().flatten() {
        query.execute(&mut *connection).await?;
    }
    Ok(new.len() as u64)
}

/// A finding as it counted before, if it did, and as it is now.
type Change<'a> = (Option<&'a FindingRow>, &'a FindingRow);

/// What counts these changes: of hours, and of clients. Lets others work in between.
async fn counting(agent: &str, changes: &[Change<'_>]) -> [Option<Statement>; 2] {
    let mut tally = Tally::default();
    for part in changes.chunks(PART) {
        for (old, row) in part {
            old.iter().for_each(|old| tally.take(old));
            tally.add(row);
        }
        tokio::task::yield_now().await;
    }
    let hours = count_hours(agent, tally);
    tokio::task::yield_now().await;
    [hours, count_clients(agent, changes)]
}

/// Gives those that are new, and those that were there, which are as they were.
async fn insert_findings<'a>(
    connection: &mut PgConnection,
    agent: &str,
    version: i64,
    rows: &[&'a FindingRow],
) -> Result<(Vec<&'a FindingRow>, Vec<&'a FindingRow>), sqlx::Error> {
    if rows.len() >= MANY && copy_findings(connection, agent, version, rows).await? || rows.is_empty() {
        return Ok((rows.to_vec(), vec![]));
    }
    let insert = query(FINDINGS).bind(agent).bind(version).bind(all(rows, |row| clean(&row.id)));
    let insert = insert.bind(all(rows, |row| millis(row.time))).bind(all(rows, |row| millis(row.recorded_at)));
    let insert = insert.bind(all(rows, |row| address(row.source_ip.as_deref()).map(|address| address.to_string())));
    let insert = insert.bind(all(rows, |row| network(row.client.as_deref()).map(|client| client.to_string())));
    let insert = insert.bind(all(rows, |row| clean(&row.method))).bind(all(rows, |row| clean(&row.uri)));
    let insert = insert.bind(all(rows, |row| i32::from(row.status))).bind(all(rows, |row| clean(&row.user_agent)));
    let insert = insert.bind(all(rows, |row| clean(&row.referer))).bind(all(rows, |row| clean(&row.category)));
    let insert = insert.bind(all(rows, |row| i16::from(row.score))).bind(all(rows, |row| joined(&row.rule_ids)));
    let insert =
        insert.bind(all(rows, |row| clean_json(row.evidence.text()))).bind(all(rows, |row| clean(&row.action)));
    let insert = insert.bind(all(rows, |row| clean(&row.verdict))).bind(all(rows, |row| i16::from(row.confidence)));
    let insert = insert.bind(all(rows, |row| clean(&row.decided_by))).bind(all(rows, |row| clean(&row.reasoning)));
    let insert = insert.bind(all(rows, |row| row.flagged)).bind(all(rows, |row| row.is_system_url));
    let insert = insert.bind(all(rows, |row| clean(&row.case_id))).bind(all(rows, |row| clean(&row.file)));
    let insert = insert.bind(all(rows, |row| row.generation.cast_signed()));
    let insert = insert.bind(all(rows, |row| row.offset.cast_signed()));
    let insert = insert.bind(all(rows, |row| row.line_number.map(u64::cast_signed)));
    let inserted = insert.fetch_all(connection).await?;
    let ids: HashSet<&str> = inserted.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(rows.iter().copied().partition(|row| ids.contains(&*clean(&row.id))))
}

/// Changes findings that are there in an older version; gives each as it counted before and as it is now.
async fn change_findings<'a>(
    connection: &mut PgConnection,
    version: i64,
    rows: &[&'a FindingRow],
) -> Result<Vec<(FindingRow, &'a FindingRow)>, sqlx::Error> {
    let times = all(rows, |row| millis(row.time));
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Ok(vec![]) };
    let known = query(KNOWN).bind(all(rows, |row| clean(&row.id))).bind(&times).bind(first).bind(last).bind(version);
    let known = known.fetch_all(&mut *connection).await?;
    let mut old = HashMap::new();
    for row in &known {
        old.insert(row.try_get::<&str, _>(0)?, row);
    }
    let mut changed = vec![];
    for row in rows {
        let Some(old) = old.get(&*clean(&row.id)) else { continue };
        let old = FindingRow {
            flagged: old.try_get("flagged")?,
            action: old.try_get("action")?,
            verdict: old.try_get("verdict")?,
            decided_by: old.try_get("decided_by")?,
            score: u8::try_from(old.try_get::<i16, _>("score")?).unwrap_or_default(),
            ..(*row).clone()
        };
        changed.push((old, *row));
    }
    if changed.is_empty() {
        return Ok(changed);
    }
    let rows: Vec<&FindingRow> = changed.iter().map(|(_, row)| *row).collect();
    let update = query(CHANGED).bind(version).bind(all(&rows, |row| clean(&row.id)));
    let update = update.bind(all(&rows, |row| millis(row.time))).bind(all(&rows, |row| i16::from(row.score)));
    let update =
        update.bind(all(&rows, |row| clean_json(row.evidence.text()))).bind(all(&rows, |row| clean(&row.action)));
    let update = update.bind(all(&rows, |row| clean(&row.verdict))).bind(all(&rows, |row| i16::from(row.confidence)));
    let update = update.bind(all(&rows, |row| clean(&row.decided_by))).bind(all(&rows, |row| clean(&row.reasoning)));
    let update = update.bind(all(&rows, |row| row.flagged)).bind(all(&rows, |row| row.is_system_url));
    let update = update.bind(all(&rows, |row| clean(&row.case_id))).bind(first).bind(last);
    update.execute(connection).await?;
    Ok(changed)
}

fn count_hours(agent: &str, tally: Tally<'_>) -> Option<Statement> {
    let cleaned = |key| match key {
        Cow::Borrowed(text) => clean(text),
        Cow::Owned(text) => clean(&text).into_owned().into(),
    };
    let rows = tally
        .counts()
        .map(|((start, dimension, key), counts)| (dimension.as_str(), millis(start), cleaned(key), counts));
    let mut rows: Vec<(&str, i64, Cow<'_, str>, Counts)> = rows.collect();
    // In the order of the table's key. What differs in NUL alone is one key here.
    rows.sort_unstable_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    rows.dedup_by(|next, kept| {
        let is_same = (next.0, next.1, &next.2) == (kept.0, kept.1, &kept.2);
        if is_same {
            kept.3.add(next.3);
        }
        is_same
    });
    if rows.is_empty() {
        return None;
    }
    let rows: Vec<_> = rows.iter().collect();
    let insert = query(ROLLUPS).bind(agent.to_owned()).bind(all(&rows, |row| row.0));
    let insert = insert.bind(all(&rows, |row| row.1)).bind(all(&rows, |row| &*row.2));
    let insert = insert.bind(all(&rows, |row| row.3.findings)).bind(all(&rows, |row| row.3.blocks));
    Some(insert.bind(all(&rows, |row| row.3.analysed)))
}

fn count_clients(agent: &str, changes: &[Change<'_>]) -> Option<Statement> {
    // First and last time, findings, highest score.
    let mut seen: HashMap<&str, (i64, i64, i64, i16), RandomState> = HashMap::default();
    for (old, row) in changes {
        let findings = i64::from(row.flagged) - old.map_or(0, |old| i64::from(old.flagged));
        let Some(client) = row.client.as_ref().filter(|_| row.flagged || findings != 0) else { continue };
        let (time, score) = (millis(row.time), if row.flagged { i16::from(row.score) } else { 0 });
        let entry = seen.entry(client).or_insert((time, time, 0, 0));
        *entry = (entry.0.min(time), entry.1.max(time), entry.2 + findings, entry.3.max(score));
    }
    // In the order of the table's key. The same client may be written in two ways.
    let mut clients: BTreeMap<IpNet, (i64, i64, i64, i16)> = BTreeMap::new();
    for (client, (first, last, findings, score)) in seen {
        let Some(client) = network(Some(client)) else { continue };
        let entry = clients.entry(client).or_insert((first, last, 0, 0));
        *entry = (entry.0.min(first), entry.1.max(last), entry.2 + findings, entry.3.max(score));
    }
    if clients.is_empty() {
        return None;
    }
    let values: Vec<_> = clients.values().collect();
    let insert = query(CLIENTS).bind(agent.to_owned()).bind(clients.keys().map(IpNet::to_string).collect::<Vec<_>>());
    let insert = insert.bind(all(&values, |value| value.0)).bind(all(&values, |value| value.1));
    Some(insert.bind(all(&values, |value| value.2)).bind(all(&values, |value| value.3)))
}

async fn put_decisions(
    connection: &mut PgConnection,
    agent: &str,
    rows: &Rows,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let decisions = each_once(&rows.decisions, |decision| &decision.id);
    if !decisions.is_empty() {
        let d = &decisions;
        let insert = query(DECISIONS).bind(agent).bind(rows.version).bind(millis(now));
        let insert = insert.bind(all(d, |d| clean(&d.id))).bind(all(d, |d| d.target.trunc().to_string()));
        let insert = insert.bind(all(d, |d| d.proposer.as_str()));
        let insert = insert.bind(all(d, |d| d.ground.finding_id.as_deref().map(clean)));
        let insert = insert.bind(all(d, |d| d.ground.category.map(|category| category.as_str())));
        let insert = insert.bind(all(d, |d| i16::from(d.ground.score))).bind(all(d, |d| clean(&d.ground.reason)));
        let insert = insert.bind(all(d, |d| millis(d.created_at))).bind(all(d, |d| millis(d.expires_at)));
        let insert = insert.bind(all(d, |d| d.simulated));
        let insert = insert.bind(all(d, |d| i32::try_from(d.offences).unwrap_or(i32::MAX)));
        let insert = insert.bind(all(d, |d| d.state.as_str())).bind(all(d, |d| clean(&d.note)));
        let insert = insert.bind(all(d, |d| d.ground.via_proxy)).bind(all(d, |d| d.ground.was_served));
        let insert = insert.bind(all(d, |d| clean(&d.origin)));
        insert.execute(&mut *connection).await?;
    }
    let changes: Vec<_> = rows.changes.iter().collect();
    if !changes.is_empty() {
        let insert = query(CHANGES).bind(agent).bind(all(&changes, |change| clean(&change.decision_id)));
        let insert =
            insert.bind(all(&changes, |change| change.seq)).bind(all(&changes, |change| change.state.as_str()));
        let insert = insert.bind(all(&changes, |change| millis(change.at)));
        insert.bind(all(&changes, |change| clean(&change.note))).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn put_others(connection: &mut PgConnection, agent: &str, rows: &Rows) -> Result<(), sqlx::Error> {
    let calls: Vec<_> = rows.calls.iter().collect();
    if !calls.is_empty() {
        let c = &calls;
        let insert = query(CALLS).bind(agent).bind(all(c, |(id, _)| *id)).bind(all(c, |(_, call)| millis(call.at)));
        let insert = insert.bind(all(c, |(_, call)| clean(&call.service))).bind(all(c, |(_, call)| clean(&call.model)));
        let insert = insert.bind(all(c, |(_, call)| clean(&call.finding_id)));
        let insert = insert.bind(all(c, |(_, call)| clean(&call.outcome)));
        let insert = insert.bind(all(c, |(_, call)| call.millis.cast_signed()));
        let insert = insert.bind(all(c, |(_, call)| call.sent_bytes.cast_signed()));
        let insert = insert.bind(all(c, |(_, call)| call.received_bytes.cast_signed()));
        let insert = insert.bind(all(c, |(_, call)| call.input_tokens.cast_signed()));
        let insert = insert.bind(all(c, |(_, call)| call.output_tokens.cast_signed()));
        insert.bind(all(c, |(_, call)| call.usd)).execute(&mut *connection).await?;
    }
    let corrections = each_once(&rows.corrections, |correction| &correction.finding_id);
    if !corrections.is_empty() {
        let c = &corrections;
        let insert = query(CORRECTIONS).bind(agent).bind(rows.version).bind(all(c, |c| clean(&c.finding_id)));
        let insert = insert.bind(all(c, |c| c.verdict.as_str())).bind(all(c, |c| clean(&c.view)));
        insert.bind(all(c, |c| millis(c.at))).execute(&mut *connection).await?;
    }
    let sessions: Vec<_> = rows.sessions.iter().collect();
    if !sessions.is_empty() {
        let s = &sessions;
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let insert = query(SESSIONS).bind(agent).bind(all(s, |s| clean(&s.id))).bind(all(s, |s| millis(s.at)));
        let insert = insert.bind(all(s, |s| clean(&s.source))).bind(all(s, |s| count(s.log_count)));
        let insert = insert.bind(all(s, |s| count(s.threat_count))).bind(all(s, |s| i16::from(s.overall_score)));
        let insert = insert.bind(all(s, |s| clean(&s.health_status))).bind(all(s, |s| s.compression_ratio));
        insert.bind(all(s, |s| count(s.tokens_saved))).execute(&mut *connection).await?;
    }
    let allowed: Vec<_> = rows.allowed.iter().collect();
    if !allowed.is_empty() {
        let insert = query(ALLOWED).bind(agent).bind(all(&allowed, |entry| entry.network.trunc().to_string()));
        let insert = insert.bind(all(&allowed, |entry| clean(&entry.note)));
        insert.bind(all(&allowed, |entry| millis(entry.created_at))).execute(&mut *connection).await?;
    }
    let disallowed: Vec<_> = rows.disallowed.iter().collect();
    if !disallowed.is_empty() {
        let delete = query(DISALLOWED).bind(agent).bind(all(&disallowed, |network| network.trunc().to_string()));
        delete.execute(&mut *connection).await?;
    }
    Ok(())
}
