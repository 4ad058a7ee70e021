//! What is older than its kind is kept goes, and old counts are folded into fewer rows.

use sqlx::{PgConnection, Row};

use super::put::BEGIN;
use super::text::{DAY_MILLIS, day, millis};
use super::{LOCKS, LONG_PATIENCE, Postgres, query};
use crate::event::Timestamp;
use crate::record::StoreError;
use crate::record::rollup::Dimension;

const HOUR_MILLIS: i64 = 3_600_000;
/// Hours of dimensions with many keys are kept as such.
const HOURS_DAYS: i64 = 2;
/// Keys that each hour or day of such a dimension keeps.
const KEYS: i64 = 1000;
/// Rows that one statement deletes.
const ROWS: i64 = 10_000;

/// Deletes `$1` rows that are older than `$2`, in milliseconds.
macro_rules! deletion {
    ($table:literal, $condition:literal) => {
        concat!(
            "WITH old AS (SELECT ctid FROM ",
            $table,
            " WHERE ",
            $condition,
            " LIMIT $1), ",
            "gone AS (DELETE FROM ",
            $table,
            " AS this USING old WHERE this.ctid = old.ctid RETURNING 1) ",
            "SELECT count(*) FROM gone"
        )
    };
}

/// The same of findings: their table has partitions, so a place in it is not unique.
macro_rules! findings {
    ($condition:literal) => {
        concat!(
            "WITH old AS (SELECT id, time FROM palisade.findings WHERE ",
            $condition,
            " LIMIT $1), ",
            "gone AS (DELETE FROM palisade.findings AS this USING old WHERE this.id = old.id AND this.time = old.time ",
            "RETURNING 1) SELECT count(*) FROM gone"
        )
    };
}

/// Before the first day that has a partition: what the default one has.
const STRAYS: &str = findings!("time < to_timestamp($2 / 1000::float8)");
/// A row from the future waits for its day for as long as it is kept.
const FUTURE: &str =
    findings!("time >= to_timestamp($3 / 1000::float8) AND recorded_at < to_timestamp($2 / 1000::float8)");
const ANALYSED: &str = findings!("NOT flagged AND time < to_timestamp($2 / 1000::float8)");
const DECISIONS: &str = "WITH old AS (SELECT id FROM palisade.decisions WHERE state IN ('expired', 'lifted', 'refused') \
     AND created_at < to_timestamp($2 / 1000::float8) AND changed_at < to_timestamp($2 / 1000::float8) LIMIT $1), \
     changes AS (DELETE FROM palisade.decision_changes USING old WHERE decision_id = old.id), \
     gone AS (DELETE FROM palisade.decisions AS this USING old WHERE this.id = old.id RETURNING 1) \
     SELECT count(*) FROM gone";
const CALLS: &str = deletion!("palisade.model_calls", "at < to_timestamp($2 / 1000::float8)");
const SESSIONS: &str = deletion!("palisade.analysis_sessions", "at < to_timestamp($2 / 1000::float8)");
const CLIENTS: &str = deletion!(
    "palisade.clients",
    "last_day < to_timestamp($2 / 1000::float8) AND last_seen < to_timestamp($2 / 1000::float8)"
);
const COUNTS: &str = deletion!("palisade.rollups", "start < to_timestamp($2 / 1000::float8)");

/// Hours before a moment become days; gives the days that changed.
const FOLD: &str = "WITH old AS (DELETE FROM palisade.rollups WHERE dimension = ANY($1::text[]) AND span = 'hour' \
     AND start < to_timestamp($2 / 1000::float8) RETURNING *), \
     folded AS (INSERT INTO palisade.rollups AS kept (agent, dimension, span, start, key, findings, blocks, analysed) \
     SELECT agent, dimension, 'day', date_trunc('day', start, 'UTC') AS day, key, sum(findings), sum(blocks), \
     sum(analysed) FROM old GROUP BY agent, dimension, day, key ORDER BY dimension, day, key, agent \
     ON CONFLICT (dimension, span, start, key, agent) DO UPDATE SET findings = kept.findings + excluded.findings, \
     blocks = kept.blocks + excluded.blocks, analysed = kept.analysed + excluded.analysed RETURNING start) \
     SELECT DISTINCT (extract(epoch FROM start) * 1000)::bigint FROM folded";

/// The rest of the keys becomes one, the empty key.
const CAP: &str = "WITH ranked AS (SELECT dimension, span, start, key, row_number() OVER (PARTITION BY dimension, start \
     ORDER BY sum(findings + analysed) DESC, key) AS rank FROM palisade.rollups WHERE dimension = ANY($1::text[]) \
     AND span = $2 AND start >= to_timestamp($3 / 1000::float8) AND start < to_timestamp($4 / 1000::float8) \
     AND key <> '' GROUP BY dimension, span, start, key), \
     rest AS (DELETE FROM palisade.rollups AS this USING ranked WHERE ranked.rank > $5 \
     AND this.dimension = ranked.dimension AND this.span = ranked.span AND this.start = ranked.start \
     AND this.key = ranked.key RETURNING this.*) \
     INSERT INTO palisade.rollups AS kept (agent, dimension, span, start, key, findings, blocks, analysed) \
     SELECT agent, dimension, span, start, '', sum(findings), sum(blocks), sum(analysed) FROM rest \
     GROUP BY agent, dimension, span, start ON CONFLICT (dimension, span, start, key, agent) DO UPDATE \
     SET findings = kept.findings + excluded.findings, blocks = kept.blocks + excluded.blocks, \
     analysed = kept.analysed + excluded.analysed";

/// What is left of decisions that changed or went.
const DECIDED: &str = deletion!("palisade.decided", "decisions = 0 AND start < to_timestamp($2 / 1000::float8)");

impl Postgres {
    /// An agent that finds another one at it leaves it to that one. Of days that are dropped whole the server
    /// knows about how many rows they had.
    pub(super) async fn prune_old(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = |days: u32| millis(Timestamp(now.0.saturating_sub(i64::from(days).saturating_mul(DAY_MILLIS))));
        let (kept, analysed) = (before(self.config.keep_days), before(self.config.keep_analysed_days));
        let totals = before(self.config.keep_totals_days);
        let mut rows = self
            .alone(async |connection| {
                // It waits for readers of old days; those who come later must not wait behind it for long.
                query("SELECT set_config('lock_timeout', '5s', true)").execute(&mut *connection).await?;
                let sql = "SELECT palisade.drop_days(date '1970-01-01' + $1::int)";
                let row = query(sql).bind(day(Timestamp(kept))).fetch_one(connection).await?;
                Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
            })
            .await?;
        self.days().retain(|other| *other >= day(Timestamp(kept)));
        let first_day = day(Timestamp(kept)) * DAY_MILLIS;
        let tomorrow = (day(now) + 2) * DAY_MILLIS;
        for (sql, moments) in [
            (STRAYS, &[first_day][..]),
            (FUTURE, &[kept, tomorrow]),
            (ANALYSED, &[analysed]),
            (DECISIONS, &[kept]),
            (DECIDED, &[millis(now)]),
            (CALLS, &[kept]),
            (SESSIONS, &[kept]),
            (CLIENTS, &[totals]),
            (COUNTS, &[totals]),
        ] {
            loop {
                let gone = self
                    .alone(async |connection| {
                        let deletion = moments.iter().fold(query(sql).bind(ROWS), |query, moment| query.bind(*moment));
                        let row = deletion.fetch_one(connection).await?;
                        Ok(row.try_get::<i64, _>(0)?.cast_unsigned())
                    })
                    .await?;
                rows += gone;
                if gone < ROWS.cast_unsigned() {
                    break;
                }
            }
        }
        self.alone(async |connection| fold(connection, now).await).await?;
        Ok(rows)
    }

    /// Does `work`, unless another agent is at it: then nothing.
    async fn alone<T: Default>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.transaction(BEGIN, LONG_PATIENCE, async |connection| {
            let lock = query("SELECT pg_try_advisory_xact_lock($1, 3)").bind(LOCKS);
            if lock.fetch_one(&mut *connection).await?.try_get(0)? { work(connection).await } else { Ok(T::default()) }
        })
        .await
    }
}

async fn fold(connection: &mut PgConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    let large: Vec<&str> = Dimension::ALL.iter().filter(|one| !one.is_small()).map(|one| one.as_str()).collect();
    let until = (day(now) - HOURS_DAYS) * DAY_MILLIS;
    let mut days = vec![];
    for row in query(FOLD).bind(&large).bind(until).fetch_all(&mut *connection).await? {
        days.push(row.try_get::<i64, _>(0)?);
    }
    let this_hour = millis(now).div_euclid(HOUR_MILLIS) * HOUR_MILLIS;
    let mut spans = vec![("hour", until, this_hour)];
    spans.extend(days.iter().map(|day| ("day", *day, day + DAY_MILLIS)));
    for (span, from, to) in spans {
        let cap = query(CAP).bind(&large).bind(span).bind(from).bind(to).bind(KEYS);
        cap.execute(&mut *connection).await?;
    }
    Ok(())
}
