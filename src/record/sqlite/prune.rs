//! What is old goes, and old counts become fewer: in short transactions, so that commits go on between them.

use sqlx::{AssertSqlSafe, Connection, QueryBuilder, Row};

use super::insert::json;
use super::{Sqlite, VACUUM};
use crate::event::Timestamp;
use crate::record::StoreError;

const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;
/// Rows of one transaction.
const TOGETHER: u64 = 1000;
/// Keys of one dimension that are kept of an hour or day, beside the sum of the others.
const KEYS: i64 = 1000;
/// The dimensions that are cut and folded: see `Dimension::is_small`.
const MANY_KEYS: &str = "'rule', 'client', 'network', 'path'";
/// Keys that are looked at in one transaction.
const CUT: usize = 5000;
/// Bans get longer by those of so many days before: so long decisions are needed.
pub(super) const OFFENCE_DAYS: u32 = 30;

impl Sqlite {
    /// Deletes what is older than its kind is kept (findings by their own time, decisions by when they
    /// ended; live ones stay, and so does what other agents decided until it would be over) and changes that
    /// nobody has still to read, and folds old counts; gives the number of rows deleted.
    pub async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = |days: u32| now.0.saturating_sub(i64::from(days) * DAY_MILLIS);
        let config = &self.config;
        let oldest = before(config.keep_days);
        let mut deleted = self.prune_changes().await?;
        // What is still to be sent is kept until then: an old log that is read now is not lost for others.
        let unsent = self.oldest_unsent().await?.unwrap_or(Timestamp(i64::MAX)).0;
        let findings = format!("SELECT rowid FROM findings WHERE recorded_at < {unsent} AND time < ?");
        let analysed = format!("{findings} AND flagged = 0");
        for (rows, bound) in [(findings, oldest), (analysed, before(config.keep_analysed_days))] {
            let delete = format!("DELETE FROM findings WHERE rowid IN ({rows} LIMIT 1000)");
            deleted += self.delete(&delete, bound).await?;
        }
        for (sql, bound) in [
            (
                "DELETE FROM decisions WHERE rowid IN (SELECT rowid FROM decisions \
                 WHERE state IN ('expired', 'lifted', 'refused') AND changed_at < ?1 \
                 AND (origin = '' OR expires_at < ?1) LIMIT 1000)",
                before(config.keep_days.max(OFFENCE_DAYS)),
            ),
            ("DELETE FROM model_calls WHERE id IN (SELECT id FROM model_calls WHERE at < ? LIMIT 1000)", oldest),
            (
                "DELETE FROM analysis_sessions WHERE rowid IN \
                 (SELECT rowid FROM analysis_sessions WHERE at < ? LIMIT 1000)",
                oldest,
            ),
            (
                "DELETE FROM clients WHERE rowid IN (SELECT rowid FROM clients WHERE last_seen < ? LIMIT 1000)",
                before(config.keep_totals_days),
            ),
            (
                "DELETE FROM rollups WHERE (dimension, span, start, key) IN (SELECT dimension, span, start, key \
                 FROM rollups WHERE dimension IN ('all', 'category', 'decided_by', 'severity', 'rule', 'client', 'network', 'path') \
                 AND span IN ('hour', 'day') AND start < ? LIMIT 1000)",
                before(config.keep_totals_days),
            ),
        ] {
            deleted += self.delete(sql, bound).await?;
        }
        self.fold(now).await?;
        Ok(deleted)
    }

    /// Deletes up to 1000 rows at a time.
    async fn delete(&self, sql: &str, bound: i64) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let rows = self
                .write(async |connection| {
                    let query = sqlx::query(AssertSqlSafe(sql.to_owned())).bind(bound);
                    let rows = query.execute(&mut *connection).await?.rows_affected();
                    if rows > 0 {
                        sqlx::query(VACUUM).execute(connection).await?;
                    }
                    Ok(rows)
                })
                .await?;
            deleted += rows;
            if rows < TOGETHER {
                return Ok(deleted);
            }
        }
    }

    /// Sums up what has too many keys: hours that are over, and by the day what is older than two.
    async fn fold(&self, now: Timestamp) -> Result<(), StoreError> {
        // What comes late to an hour that is over is cut the next time.
        let this_hour = now.0.div_euclid(HOUR_MILLIS) * HOUR_MILLIS;
        let two_days_ago = (now.0 - 2 * DAY_MILLIS).div_euclid(DAY_MILLIS) * DAY_MILLIS;
        for (dimension, hour) in self.crowded("hour", i64::MIN, this_hour).await? {
            self.cut(&dimension, "hour", hour).await?;
        }
        let mut query = QueryBuilder::new(format!(
            "SELECT DISTINCT dimension, start - (start % 86400000 + 86400000) % 86400000 AS day FROM rollups \
             WHERE dimension IN ({MANY_KEYS}) AND span = 'hour' AND start < "
        ));
        query.push_bind(two_days_ago).push(" ORDER BY day");
        let days = self.read(query, |row| Ok((row.try_get::<String, _>(0)?, row.try_get::<i64, _>(1)?))).await?;
        for (dimension, day) in &days {
            self.fold_day(dimension, *day).await?;
        }
        if let (Some((_, first)), Some((_, last))) = (days.first(), days.last()) {
            for (dimension, day) in self.crowded("day", *first, last + 1).await? {
                self.cut(&dimension, "day", day).await?;
            }
        }
        Ok(())
    }

    /// The hours or days with more keys than are kept.
    async fn crowded(&self, span: &str, from: i64, to: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let mut query = QueryBuilder::new(format!(
            "SELECT dimension, start FROM rollups WHERE dimension IN ({MANY_KEYS}) AND span = "
        ));
        query.push_bind(span).push(" AND start >= ").push_bind(from).push(" AND start < ").push_bind(to);
        query.push(" GROUP BY dimension, start HAVING count(*) > ").push_bind(KEYS + 1);
        self.read(query, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await
    }

    async fn fold_day(&self, dimension: &str, day: i64) -> Result<(), StoreError> {
        const FOLD: &str = "INSERT INTO rollups SELECT dimension, 'day', ?2, key, sum(findings), sum(blocks), \
             sum(analysed) FROM rollups WHERE dimension = ?1 AND span = 'hour' AND start >= ?2 AND start < ?2 + 86400000 \
             GROUP BY key ON CONFLICT DO UPDATE SET findings = findings + excluded.findings, \
             blocks = blocks + excluded.blocks, analysed = analysed + excluded.analysed";
        const DELETE: &str =
            "DELETE FROM rollups WHERE dimension = ?1 AND span = 'hour' AND start >= ?2 AND start < ?2 + 86400000";
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(FOLD).bind(dimension).bind(day).execute(&mut *tx).await?;
            sqlx::query(DELETE).bind(dimension).bind(day).execute(&mut *tx).await?;
            tx.commit().await
        })
        .await
    }

    /// Keeps the largest keys of an hour or day and sums the others up under the empty one.
    async fn cut(&self, dimension: &str, span: &str, start: i64) -> Result<(), StoreError> {
        let of = |what: &str| {
            let mut query = QueryBuilder::new(format!("SELECT {what} FROM rollups WHERE dimension = "));
            query.push_bind(dimension.to_owned()).push(" AND span = ").push_bind(span.to_owned());
            query.push(" AND key <> '' AND start = ").push_bind(start);
            query
        };
        let mut query = of("findings + analysed AS size");
        query.push(" ORDER BY size DESC LIMIT 1 OFFSET ").push_bind(KEYS);
        let Some(limit) = self.read(query, |row| row.try_get::<i64, _>("size")).await?.first().copied() else {
            return Ok(());
        };
        let mut query = of("count(*) AS larger");
        query.push(" AND findings + analysed > ").push_bind(limit);
        let larger = self.read(query, |row| row.try_get::<i64, _>("larger")).await?.first().copied().unwrap_or(0);
        // Of those as large as the first that goes, so many find room.
        let mut room = KEYS - larger;
        let mut after = String::new();
        loop {
            let (mut rest, mut sums, mut seen) = (vec![], [0i64; 3], 0);
            self.write(async |connection| {
                let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
                let mut query = of("key, findings, blocks, analysed");
                query.push(" AND key > ").push_bind(&after).push(" ORDER BY key LIMIT ").push_bind(CUT as i64);
                for row in query.build().fetch_all(&mut *tx).await? {
                    let key: String = row.try_get(0)?;
                    let counts: [i64; 3] = [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
                    let size = counts[0] + counts[2];
                    seen += 1;
                    after.clone_from(&key);
                    if size > limit {
                        continue;
                    }
                    if size == limit && room > 0 {
                        room -= 1;
                        continue;
                    }
                    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                    rest.push(key);
                }
                if rest.is_empty() {
                    return tx.rollback().await;
                }
                let delete = sqlx::query(
                    "DELETE FROM rollups WHERE dimension = ? AND span = ? AND start = ? \
                     AND key IN (SELECT value FROM json_each(?))",
                );
                delete.bind(dimension).bind(span).bind(start).bind(json(&rest)?).execute(&mut *tx).await?;
                let add = sqlx::query(
                    "INSERT INTO rollups VALUES (?, ?, ?, '', ?, ?, ?) ON CONFLICT DO UPDATE SET \
                     findings = findings + excluded.findings, blocks = blocks + excluded.blocks, \
                     analysed = analysed + excluded.analysed",
                );
                let add = add.bind(dimension).bind(span).bind(start).bind(sums[0]).bind(sums[1]).bind(sums[2]);
                add.execute(&mut *tx).await?;
                tx.commit().await
            })
            .await?;
            if seen < CUT {
                return Ok(());
            }
        }
    }
}
