//! What models said and cost, and where an operator knew better.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, QueryBuilder, Row, SqliteConnection};

use super::read::{finding_row, number};
use super::{Sqlite, totals};
use crate::event::{Judgement, ModelCall, Timestamp, VerdictClass};
use crate::record::rollup::Tally;
use crate::record::{AnalysisSession, FindingRow, StoreError};

/// What one service has cost since some moment.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Spent {
    pub service: String,
    pub model: String,
    pub calls: u64,
    pub answered: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub usd: f64,
    /// Of all calls together.
    pub millis: u64,
}

/// An operator's word on a finding.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Correction {
    pub finding_id: String,
    pub verdict: VerdictClass,
    /// What models were shown of it.
    pub view: String,
    pub at: Timestamp,
}

/// What became of findings that were in doubt: their rows say so, and they are counted anew. Nothing of those
/// of which no row is kept.
pub(super) async fn judgements(connection: &mut SqliteConnection, judgements: &[Judgement]) -> Result<(), sqlx::Error> {
    let mut changed = vec![];
    for Judgement { finding_id, action, verdict } in judgements {
        let found = sqlx::query("SELECT * FROM findings WHERE id = ?").bind(finding_id);
        let Some(old) = found.fetch_optional(&mut *connection).await?.map(finding_row).transpose()? else { continue };
        let query = sqlx::query(
            "UPDATE findings SET action = ?, verdict = ?, confidence = ?, decided_by = ?, reasoning = ?, \
             version = NULL WHERE id = ?",
        );
        let query = query.bind(action.as_str()).bind(verdict.class.as_str()).bind(verdict.confidence);
        let query = query.bind(verdict.decided_by.as_str()).bind(&verdict.reasoning).bind(finding_id);
        query.execute(&mut *connection).await?;
        let (action, decided_by) = (action.as_str().to_owned(), verdict.decided_by.as_str().to_owned());
        let new = FindingRow { action, decided_by, ..old.clone() };
        changed.push((old, new));
    }
    let mut tally = Tally::default();
    for (old, new) in &changed {
        tally.take(old);
        tally.add(new);
    }
    totals::add(connection, tally).await
}

pub(super) async fn calls(connection: &mut SqliteConnection, calls: &[ModelCall]) -> Result<(), sqlx::Error> {
    for one in calls {
        call(connection, None, one).await?;
    }
    Ok(())
}

/// One call, under its number or the next one.
pub(super) async fn call(
    connection: &mut SqliteConnection,
    id: Option<i64>,
    call: &ModelCall,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO model_calls (id, at, service, model, finding_id, outcome, millis, sent_bytes, received_bytes, \
         input_tokens, output_tokens, usd) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    );
    let query = query.bind(id).bind(call.at.0).bind(&call.service).bind(&call.model).bind(&call.finding_id);
    let query = query.bind(&call.outcome).bind(call.millis.cast_signed()).bind(call.sent_bytes.cast_signed());
    let query = query.bind(call.received_bytes.cast_signed()).bind(call.input_tokens.cast_signed());
    query.bind(call.output_tokens.cast_signed()).bind(call.usd).execute(connection).await?;
    Ok(())
}

impl Sqlite {
    /// What each service has cost since `from`, by name.
    pub async fn spent(&self, from: Timestamp) -> Result<Vec<Spent>, StoreError> {
        let mut query = spent();
        query.push("at >= ").push_bind(from.0);
        self.spent_of(query).await
    }

    /// What `query`, begun by [`spent`], gives.
    pub(super) async fn spent_of(&self, mut query: QueryBuilder<sqlx::Sqlite>) -> Result<Vec<Spent>, StoreError> {
        query.push(" GROUP BY service, model ORDER BY service, model");
        self.read(query, |row| {
            Ok(Spent {
                service: row.try_get("service")?,
                model: row.try_get("model")?,
                calls: number(&row, "calls")?,
                answered: number(&row, "answered")?,
                sent_bytes: number(&row, "sent_bytes")?,
                received_bytes: number(&row, "received_bytes")?,
                input_tokens: number(&row, "input_tokens")?,
                output_tokens: number(&row, "output_tokens")?,
                usd: row.try_get("usd")?,
                millis: number(&row, "millis")?,
            })
        })
        .await
    }

    /// The newest calls.
    pub async fn model_calls(&self, limit: u32) -> Result<Vec<ModelCall>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM model_calls ORDER BY id DESC LIMIT ");
        query.push_bind(limit);
        self.read(query, model_call).await
    }

    /// The calls about these findings, oldest first.
    pub async fn calls_of(&self, finding_ids: &[&str]) -> Result<Vec<ModelCall>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT * FROM model_calls WHERE finding_id IN (SELECT value FROM json_each(");
        query.push_bind(serde_json::json!(finding_ids).to_string()).push(")) ORDER BY id");
        self.read(query, model_call).await
    }

    /// Keeps an operator's word on a finding; a later word replaces it.
    pub async fn correct(&self, correction: &Correction) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query =
                sqlx::query("INSERT OR REPLACE INTO corrections (finding_id, verdict, view, at) VALUES (?, ?, ?, ?)");
            let query = query.bind(&correction.finding_id).bind(correction.verdict.as_str());
            query.bind(&correction.view).bind(correction.at.0).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Keeps what came of an analysis on demand: its figures, what was found, if that is to be kept, and whose it is.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn keep_session(
        &self,
        session: &AnalysisSession,
        analysis: Option<&str>,
        owner: Option<&str>,
    ) -> Result<(), StoreError> {
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            super::put::session(&mut tx, session).await?;
            if let Some(analysis) = analysis {
                let query = sqlx::query("INSERT OR REPLACE INTO analyses (id, analysis) VALUES (?, ?)");
                query.bind(&session.id).bind(analysis).execute(&mut *tx).await?;
            }
            if let Some(owner) = owner {
                let query = sqlx::query("INSERT OR REPLACE INTO analysis_owners (id, owner) VALUES (?, ?)");
                query.bind(&session.id).bind(owner).execute(&mut *tx).await?;
            }
            tx.commit().await
        })
        .await
    }

    /// What was found in the analysis called `id`, as it was kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn analysis(&self, id: &str) -> Result<Option<String>, StoreError> {
        let mut query = QueryBuilder::new("SELECT analysis FROM analyses WHERE id = ");
        query.push_bind(id);
        Ok(self.read(query, |row| row.try_get(0)).await?.pop())
    }

    /// All corrections, oldest first.
    pub async fn corrections(&self) -> Result<Vec<Correction>, StoreError> {
        let query = QueryBuilder::new("SELECT * FROM corrections ORDER BY at, finding_id");
        self.read(query, correction).await
    }
}

pub(super) fn correction(row: SqliteRow) -> Result<Correction, sqlx::Error> {
    let verdict: String = row.try_get("verdict")?;
    let verdict = VerdictClass::parse(&verdict)
        .ok_or_else(|| sqlx::Error::Decode(format!("{verdict:?} is no verdict").into()))?;
    let (finding_id, view) = (row.try_get("finding_id")?, row.try_get("view")?);
    Ok(Correction { finding_id, verdict, view, at: Timestamp(row.try_get("at")?) })
}

/// A question for what calls cost, up to its condition.
pub(super) fn spent() -> QueryBuilder<sqlx::Sqlite> {
    QueryBuilder::new(
        "SELECT service, model, count(*) AS calls, sum(outcome = 'answered') AS answered, \
         sum(sent_bytes) AS sent_bytes, sum(received_bytes) AS received_bytes, sum(input_tokens) AS input_tokens, \
         sum(output_tokens) AS output_tokens, sum(usd) AS usd, sum(millis) AS millis FROM model_calls WHERE ",
    )
}

pub(super) fn model_call(row: SqliteRow) -> Result<ModelCall, sqlx::Error> {
    Ok(ModelCall {
        at: Timestamp(row.try_get("at")?),
        service: row.try_get("service")?,
        model: row.try_get("model")?,
        finding_id: row.try_get("finding_id")?,
        outcome: row.try_get("outcome")?,
        millis: number(&row, "millis")?,
        sent_bytes: number(&row, "sent_bytes")?,
        received_bytes: number(&row, "received_bytes")?,
        input_tokens: number(&row, "input_tokens")?,
        output_tokens: number(&row, "output_tokens")?,
        usd: row.try_get("usd")?,
    })
}
