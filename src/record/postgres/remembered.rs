//! What it knows of one agent: for a host whose local database is lost.

use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};

use super::history::{DECISION, raw_decision};
use super::text::millis;
use super::{Postgres, query};
use crate::event::{Decision, Timestamp, VerdictClass};
use crate::record::sqlite::network;
use crate::record::{AllowEntry, Correction, Rows, StoreError};

/// Rows at most, the newest.
const MOST: i64 = 500_000;

const CORRECTIONS: &str = "SELECT finding_id, verdict, view, (extract(epoch FROM at) * 1000)::bigint AS at \
     FROM palisade.corrections WHERE agent = $1 ORDER BY at DESC LIMIT $2";

const ALLOWED: &str = "SELECT network::text AS network, note, (extract(epoch FROM created_at) * 1000)::bigint AS at \
     FROM palisade.allow WHERE agent = $1 ORDER BY created_at, network";

impl Postgres {
    /// Whether it was ever sent anything of `agent`.
    pub async fn knows(&self, agent: &str) -> Result<bool, StoreError> {
        self.ask(async |connection| {
            let known = query("SELECT 1 FROM palisade.agents WHERE agent = $1").bind(agent);
            Ok(known.fetch_optional(connection).await?.is_some())
        })
        .await
    }

    /// Decisions of `agent` that live or were taken after `since`, what its operators said of findings, and whom they
    /// allow.
    /// Rows that cannot be understood are logged and left out.
    pub async fn remembered(&self, agent: &str, since: Timestamp) -> Result<Rows, StoreError> {
        self.ask(async |connection| {
            let mut decisions = QueryBuilder::new(format!("SELECT {DECISION} FROM palisade.decisions WHERE agent = "));
            decisions.push_bind(agent).push(" AND (created_at > to_timestamp(").push_bind(millis(since));
            decisions.push(" / 1000::float8) OR state IN ('pending', 'active', 'held') AND expires_at > to_timestamp(");
            decisions
                .push_bind(millis(since))
                .push(" / 1000::float8)) ORDER BY created_at DESC LIMIT ")
                .push_bind(MOST);
            let decisions = decisions.build().persistent(false).fetch_all(&mut *connection).await?;
            let corrections = query(CORRECTIONS).bind(agent).bind(MOST).fetch_all(&mut *connection).await?;
            let allowed = query(ALLOWED).bind(agent).fetch_all(connection).await?;
            Ok(Rows {
                decisions: decisions.iter().filter_map(|row| understood(decision(row))).collect(),
                corrections: corrections.iter().filter_map(|row| understood(correction(row))).collect(),
                allowed: allowed.iter().filter_map(|row| understood(allowance(row))).collect(),
                ..Rows::default()
            })
        })
        .await
    }
}

fn understood<T>(row: Result<T, sqlx::Error>) -> Option<T> {
    row.inspect_err(|error| tracing::error!("a row of Postgres is left out: {error}")).ok()
}

fn decision(row: &PgRow) -> Result<Decision, sqlx::Error> {
    raw_decision(row)?.1.understood().map_err(|what| sqlx::Error::Decode(what.into()))
}

fn correction(row: &PgRow) -> Result<Correction, sqlx::Error> {
    Ok(Correction {
        finding_id: row.try_get("finding_id")?,
        verdict: known(row.try_get("verdict")?, VerdictClass::parse)?,
        view: row.try_get("view")?,
        at: Timestamp(row.try_get("at")?),
    })
}

fn allowance(row: &PgRow) -> Result<AllowEntry, sqlx::Error> {
    Ok(AllowEntry {
        network: known(row.try_get("network")?, network)?,
        note: row.try_get("note")?,
        created_at: Timestamp(row.try_get("at")?),
    })
}

fn known<T>(word: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    parse(word).ok_or_else(|| sqlx::Error::Decode(format!("{word:?} is not known").into()))
}
