//! Who takes decisions over the CrowdSec-compatible API, how far each has come, and what it is given.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

use super::Sqlite;
use super::insert::{json, network_text};
use crate::event::Timestamp;
use crate::record::StoreError;

/// Rows that one query gives: between two of them others have their turn at the database.
const PAGE: u32 = 4096;

/// A program that enforces our decisions, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Bouncer {
    pub name: String,
    pub created_at: Timestamp,
    pub last_pull: Option<Timestamp>,
    /// Its program and version, in its own words.
    pub user_agent: String,
    /// Up to where it has every change; 0: it has nothing.
    #[serde(skip)]
    pub cursor: i64,
}

/// A decision as bouncers take it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ban {
    pub number: i64,
    pub id: String,
    /// An address, or a network with its prefix length.
    pub target: String,
    pub category: Option<String>,
    pub expires_at: Timestamp,
    changed_seq: i64,
}

/// Which decisions: those that changed after one number, not after another.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// 0: from the first.
    pub after: i64,
    pub upto: i64,
}

impl Sqlite {
    /// Takes up a bouncer whose key has this SHA-256; false when there is one of this name.
    pub async fn bouncer_add(&self, name: &str, key_hash: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "INSERT INTO bouncers (name, key_hash, created_at, user_agent, cursor) VALUES (?, ?, ?, '', 0) \
                 ON CONFLICT (name) DO NOTHING",
            );
            Ok(query.bind(name).bind(key_hash).bind(now.0).execute(connection).await?.rows_affected() > 0)
        })
        .await
    }

    /// Its key is worth nothing from now on; whether there was one.
    pub async fn bouncer_remove(&self, name: &str) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("DELETE FROM bouncers WHERE name = ?").bind(name);
            Ok(query.execute(connection).await?.rows_affected() > 0)
        })
        .await
    }

    /// All bouncers, by name.
    pub async fn bouncers(&self) -> Result<Vec<Bouncer>, StoreError> {
        self.read(QueryBuilder::new("SELECT * FROM bouncers ORDER BY name"), bouncer).await
    }

    /// Whose key has this SHA-256.
    pub async fn bouncer_with(&self, key_hash: &[u8]) -> Result<Option<Bouncer>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM bouncers WHERE key_hash = ");
        query.push_bind(key_hash);
        Ok(self.read(query, bouncer).await?.into_iter().next())
    }

    /// Notes that a bouncer asked, and up to where it now has every change, if that is known.
    pub async fn bouncer_pulled(
        &self,
        name: &str,
        cursor: Option<i64>,
        user_agent: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "UPDATE bouncers SET cursor = coalesce(?, cursor), user_agent = ?, last_pull = ? WHERE name = ?",
            );
            query.bind(cursor).bind(user_agent).bind(now.0).bind(name).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Gives `each` the bans of `span` that are in force, in the order of their changes; of several on one
    /// target the longest. Simulated ones are none.
    pub async fn bans_in_force(&self, span: Span, now: Timestamp, each: impl FnMut(Ban)) -> Result<(), StoreError> {
        let query = |after: i64| {
            let mut query = select("decisions_in_force");
            query.push("one.state IN ('pending', 'active') AND one.expires_at > ").push_bind(now.0);
            query.push(
                " AND NOT EXISTS (SELECT 1 FROM decisions AS other INDEXED BY decisions_by_target \
                 WHERE other.target = one.target \
                 AND other.simulated = 0 AND other.state IN ('pending', 'active') \
                 AND (other.expires_at, other.changed_seq) > (one.expires_at, one.changed_seq))",
            );
            page(query, after, span.upto)
        };
        self.each_page(span, query, each).await
    }

    /// Gives `each` the bans of `span` that were lifted or expired, unless another holds the target still.
    pub async fn bans_ended(&self, span: Span, now: Timestamp, each: impl FnMut(Ban)) -> Result<(), StoreError> {
        let query = |after: i64| {
            let mut query = select("decisions_ended");
            query.push(
                "one.state IN ('expired', 'lifted') \
                 AND NOT EXISTS (SELECT 1 FROM decisions AS other INDEXED BY decisions_by_target \
                 WHERE other.target = one.target \
                 AND other.simulated = 0 AND (other.state IN ('pending', 'active') AND other.expires_at > ",
            );
            query.push_bind(now.0);
            // Of several that ended the last one is told, once.
            query.push(" OR other.state IN ('expired', 'lifted') AND other.changed_seq > one.changed_seq))");
            page(query, after, span.upto)
        };
        self.each_page(span, query, each).await
    }

    /// The bans in force on exactly one of `targets`; of several on one target the longest.
    pub async fn bans_on(&self, targets: &[IpNet], now: Timestamp) -> Result<Vec<Ban>, StoreError> {
        let texts: Vec<String> = targets.iter().map(|target| network_text(*target)).collect();
        let texts = json(&texts).map_err(|source| self.failed(source))?;
        let mut query = QueryBuilder::new(
            "SELECT rowid, id, target, category, max(expires_at) AS expires_at, changed_seq FROM decisions \
             INDEXED BY decisions_by_target WHERE target IN (SELECT value FROM json_each(",
        );
        query.push_bind(texts).push(")) AND state IN ('pending', 'active') AND simulated = 0 AND expires_at > ");
        query.push_bind(now.0).push(" GROUP BY target ORDER BY rowid");
        self.read(query, ban).await
    }

    /// Reads page after page. No transaction holds them together: what changes meanwhile gets a number
    /// beyond `span`, and belongs to the next one.
    async fn each_page(
        &self,
        span: Span,
        query: impl Fn(i64) -> QueryBuilder<sqlx::Sqlite>,
        mut each: impl FnMut(Ban),
    ) -> Result<(), StoreError> {
        let mut after = span.after;
        loop {
            let rows = self.read(query(after), ban).await?;
            let is_last = rows.len() < PAGE as usize;
            after = rows.last().map_or(after, |ban| ban.changed_seq);
            rows.into_iter().for_each(&mut each);
            if is_last {
                return Ok(());
            }
        }
    }
}

/// By `index` and no other: by state alone, SQLite's own choice, each page would read all rows of a state.
fn select(index: &str) -> QueryBuilder<sqlx::Sqlite> {
    QueryBuilder::new(format!(
        "SELECT rowid, id, target, category, expires_at, changed_seq FROM decisions AS one INDEXED BY {index} \
         WHERE one.simulated = 0 AND "
    ))
}

fn page(mut query: QueryBuilder<sqlx::Sqlite>, after: i64, upto: i64) -> QueryBuilder<sqlx::Sqlite> {
    query.push(" AND one.changed_seq > ").push_bind(after).push(" AND one.changed_seq <= ").push_bind(upto);
    query.push(" ORDER BY one.changed_seq LIMIT ").push_bind(PAGE);
    query
}

fn bouncer(row: SqliteRow) -> Result<Bouncer, sqlx::Error> {
    Ok(Bouncer {
        name: row.try_get("name")?,
        created_at: Timestamp(row.try_get("created_at")?),
        last_pull: row.try_get::<Option<i64>, _>("last_pull")?.map(Timestamp),
        user_agent: row.try_get("user_agent")?,
        cursor: row.try_get("cursor")?,
    })
}

fn ban(row: SqliteRow) -> Result<Ban, sqlx::Error> {
    Ok(Ban {
        number: row.try_get("rowid")?,
        id: row.try_get("id")?,
        target: row.try_get("target")?,
        category: row.try_get("category")?,
        expires_at: Timestamp(row.try_get("expires_at")?),
        changed_seq: row.try_get("changed_seq")?,
    })
}
