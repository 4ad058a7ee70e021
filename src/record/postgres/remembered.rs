//! What it knows of one agent: for a host whose local database is lost.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::text::millis;
use super::{Postgres, query};
use crate::event::{Category, Decision, DecisionState, Ground, Proposer, Timestamp, VerdictClass};
use crate::record::{Correction, Rows, StoreError};

/// Rows at most, the newest.
const MOST: i64 = 500_000;

const DECISIONS: &str = "SELECT id, origin, text(target) AS target, proposer, finding_id, category, score, reason, \
     (extract(epoch FROM created_at) * 1000)::bigint AS created, (extract(epoch FROM expires_at) * 1000)::bigint AS expires, \
     simulated, offences, state, note, via_proxy, was_served FROM palisade.decisions WHERE agent = $1 \
     AND (state IN ('pending', 'active', 'held') AND expires_at > to_timestamp($2 / 1000::float8) \
     OR created_at > to_timestamp($2 / 1000::float8)) ORDER BY created_at DESC LIMIT $3";

const CORRECTIONS: &str = "SELECT finding_id, verdict, view, (extract(epoch FROM at) * 1000)::bigint AS at \
     FROM palisade.corrections WHERE agent = $1 ORDER BY at DESC LIMIT $2";

impl Postgres {
    /// Whether it was ever sent anything of `agent`.
    pub async fn knows(&self, agent: &str) -> Result<bool, StoreError> {
        self.ask(async |connection| {
            let known = query("SELECT 1 FROM palisade.agents WHERE agent = $1").bind(agent);
            Ok(known.fetch_optional(connection).await?.is_some())
        })
        .await
    }

    /// Decisions of `agent` that live or were taken after `since`, and what its operators said of findings.
    /// Rows that cannot be understood are logged and left out.
    pub async fn remembered(&self, agent: &str, since: Timestamp) -> Result<Rows, StoreError> {
        self.ask(async |connection| {
            let decisions = query(DECISIONS).bind(agent).bind(millis(since)).bind(MOST);
            let decisions = decisions.fetch_all(&mut *connection).await?;
            let corrections = query(CORRECTIONS).bind(agent).bind(MOST).fetch_all(connection).await?;
            Ok(Rows {
                decisions: decisions.iter().filter_map(|row| understood(decision(row))).collect(),
                corrections: corrections.iter().filter_map(|row| understood(correction(row))).collect(),
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
    let category = match row.try_get::<Option<String>, _>("category")? {
        None => None,
        Some(name) => Some(known(&name, Category::parse)?),
    };
    let ground = Ground {
        finding_id: row.try_get("finding_id")?,
        category,
        score: u8::try_from(row.try_get::<i16, _>("score")?).unwrap_or(u8::MAX),
        reason: row.try_get("reason")?,
        via_proxy: row.try_get("via_proxy")?,
        was_served: row.try_get("was_served")?,
    };
    Ok(Decision {
        id: row.try_get("id")?,
        target: known(row.try_get("target")?, |text| text.parse().ok())?,
        proposer: known(row.try_get("proposer")?, Proposer::parse)?,
        ground,
        created_at: Timestamp(row.try_get("created")?),
        expires_at: Timestamp(row.try_get("expires")?),
        simulated: row.try_get("simulated")?,
        state: known(row.try_get("state")?, DecisionState::parse)?,
        note: row.try_get("note")?,
        offences: u32::try_from(row.try_get::<i32, _>("offences")?).unwrap_or(0),
        origin: row.try_get("origin")?,
    })
}

fn correction(row: &PgRow) -> Result<Correction, sqlx::Error> {
    Ok(Correction {
        finding_id: row.try_get("finding_id")?,
        verdict: known(row.try_get("verdict")?, VerdictClass::parse)?,
        view: row.try_get("view")?,
        at: Timestamp(row.try_get("at")?),
    })
}

fn known<T>(word: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    parse(word).ok_or_else(|| sqlx::Error::Decode(format!("{word:?} is not known").into()))
}
