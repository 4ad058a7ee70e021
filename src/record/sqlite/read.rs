use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, QueryBuilder, Row};

use super::Sqlite;
use super::insert::network_text;
use crate::event::{Category, ClientKey, Decision, DecisionState, FileMark, Ground, Proposer, Timestamp, shown};
use crate::record::{FindingRow, Json, StoreError};

/// Which decisions to list; the default is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecisionFilter {
    pub state: Option<DecisionState>,
    /// Exactly this target.
    pub target: Option<IpNet>,
}

/// A network that the operator added to those never blocked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllowEntry {
    pub network: IpNet,
    pub note: String,
    pub created_at: Timestamp,
}

/// One entry of the change feed: a row was added, or a decision changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Grows by one with each change, so a reader that finds a number missing has fallen behind
    /// what is kept and must read the tables.
    pub seq: i64,
    pub kind: ChangeKind,
    /// Of the finding or decision.
    pub id: String,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Finding,
    Decision,
    /// A call of a model or service, by its number.
    Call,
    /// An operator's word on the finding of this id.
    Correction,
    Session,
    /// Clients of the network that is its id, as it is kept, are to be forgotten.
    Forgotten,
    /// The network that is its id was added to those never blocked, or taken off, or has another note.
    Allow,
}

impl Sqlite {
    /// Where reading of each file resumes, in the order in which the files came.
    pub async fn marks(&self) -> Result<Vec<FileMark>, StoreError> {
        self.read(QueryBuilder::new("SELECT * FROM marks ORDER BY id"), file_mark).await
    }

    /// The counting state that belongs to the last checkpoint.
    pub async fn snapshot(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.read(QueryBuilder::new("SELECT state FROM snapshot"), |row| row.try_get("state")).await?;
        Ok(rows.into_iter().next())
    }

    /// How many bans of each target came into force since a moment and were not lifted; of dry run, or of
    /// earnest. What other agents decided is no offence here.
    pub async fn offences(&self, since: Timestamp, simulated: bool) -> Result<HashMap<IpNet, u32>, StoreError> {
        // As one text: a start asks it of a hundred thousand.
        let mut query = QueryBuilder::new(
            "SELECT json_group_object(target, offences) AS all_of_them FROM \
             (SELECT target, count(*) AS offences FROM decisions WHERE created_at > ",
        );
        query.push_bind(since.0).push(" AND simulated = ").push_bind(simulated);
        query.push(" AND state IN ('pending', 'active', 'expired') AND origin = '' GROUP BY target)");
        let all: Vec<HashMap<String, u32>> = self.read(query, |row| json(&row, "all_of_them")).await?;
        Ok(all.into_iter().flatten().filter_map(|(target, offences)| Some((network(&target)?, offences))).collect())
    }

    /// Targets of bans that ended, by their time or by hand, in the last week: a backend that does not end them
    /// by itself may not have heard of it.
    pub async fn ended_lately(&self, now: Timestamp) -> Result<Vec<IpNet>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT DISTINCT target FROM decisions WHERE NOT simulated AND pseudonym <> 2 AND \
             (state IN ('pending', 'active') AND expires_at <= ",
        );
        query.push_bind(now.0).push(" OR state IN ('expired', 'lifted') AND changed_at > ");
        query.push_bind(now.0 - 7 * 86_400_000).push(")");
        let rows = self.read(query, |row| row.try_get::<String, _>("target")).await?;
        Ok(rows.iter().filter_map(|target| network(target)).collect())
    }

    /// The decision with this id.
    pub async fn decision(&self, id: &str) -> Result<Option<Decision>, StoreError> {
        let mut query = decisions_where("id = ");
        query.push_bind(id);
        let rows = self.read(query, raw_decision).await?;
        rows.into_iter().next().map(|row| self.decode(row)).transpose()
    }

    /// The newest decisions that pass `filter`. Rows that cannot be understood are logged and left
    /// out.
    pub async fn decisions(&self, filter: DecisionFilter, limit: u32) -> Result<Vec<Decision>, StoreError> {
        self.decisions_before(None, filter, limit).await
    }

    /// The same, where an id is given those that follow the decision with it.
    pub async fn decisions_before(
        &self,
        before: Option<&str>,
        filter: DecisionFilter,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let mut query = decisions_where("true");
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(target) = filter.target {
            query.push(" AND target = ").push_bind(network_text(target));
        }
        if let Some(id) = before {
            query.push(" AND (created_at, rowid) < (SELECT created_at, rowid FROM decisions WHERE id = ");
            query.push_bind(id).push(")");
        }
        query.push(" ORDER BY created_at DESC, rowid DESC LIMIT ").push_bind(limit);
        Ok(self.understood(self.read(query, raw_decision).await?))
    }

    /// The newest findings, of all clients or of one.
    pub async fn findings(&self, client: Option<ClientKey>, limit: u32) -> Result<Vec<FindingRow>, StoreError> {
        self.findings_before(None, client, limit).await
    }

    /// The same, where an id is given those that follow the finding with it.
    pub async fn findings_before(
        &self,
        before: Option<&str>,
        client: Option<ClientKey>,
        limit: u32,
    ) -> Result<Vec<FindingRow>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM findings WHERE true");
        if let Some(client) = client {
            query.push(" AND client = ").push_bind(shown(self.policy.client(client.network())));
        }
        if let Some(id) = before {
            query.push(" AND (time, rowid) < (SELECT time, rowid FROM findings WHERE id = ").push_bind(id).push(")");
        }
        query.push(" ORDER BY time DESC, rowid DESC LIMIT ").push_bind(limit);
        self.read(query, finding_row).await
    }

    /// The finding with this id.
    pub async fn finding(&self, id: &str) -> Result<Option<FindingRow>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM findings WHERE id = ");
        query.push_bind(id);
        Ok(self.read(query, finding_row).await?.into_iter().next())
    }

    /// Those of the findings with these ids that are kept.
    pub async fn findings_with(&self, ids: &BTreeSet<&str>) -> Result<Vec<FindingRow>, StoreError> {
        self.read(self.with_ids("SELECT * FROM findings WHERE id IN", ids)?, finding_row).await
    }

    /// Those of the decisions with these ids that are kept; what cannot be understood is logged and left out.
    pub async fn decisions_with(&self, ids: &BTreeSet<&str>) -> Result<Vec<Decision>, StoreError> {
        let query = self.with_ids(&format!("SELECT {DECISION} FROM decisions WHERE id IN"), ids)?;
        Ok(self.understood(self.read(query, raw_decision).await?))
    }

    /// The networks that the operator added to those never blocked.
    pub async fn allow_list(&self) -> Result<Vec<AllowEntry>, StoreError> {
        self.read(QueryBuilder::new("SELECT * FROM allow ORDER BY created_at, network"), allow_entry).await
    }

    /// Up to `limit` changes that followed the one numbered `after` (0: from the first kept).
    pub async fn changes(&self, after: i64, limit: u32) -> Result<Vec<Change>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM outbox WHERE seq > ");
        query.push_bind(after).push(" ORDER BY seq LIMIT ").push_bind(limit);
        self.read(query, change).await
    }

    /// The number of the newest change; 0 before the first.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        let query = QueryBuilder::new("SELECT coalesce(max(seq), 0) AS last FROM outbox");
        let rows = self.read(query, |row| row.try_get("last")).await?;
        Ok(rows.into_iter().next().unwrap_or(0))
    }

    pub(super) async fn read<T>(
        &self,
        mut query: QueryBuilder<sqlx::Sqlite>,
        decode: impl Fn(SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = query.build().fetch_all(&self.readers).await.map_err(|source| self.failed(source))?;
        rows.into_iter().map(|row| decode(row).map_err(|source| self.failed(source))).collect()
    }

    pub(super) fn understood(&self, rows: Vec<RawDecision>) -> Vec<Decision> {
        let decode = |row| self.decode(row).inspect_err(|error| tracing::error!("a decision is left out: {error}"));
        rows.into_iter().filter_map(|row| decode(row).ok()).collect()
    }

    pub(super) fn decode(&self, row: RawDecision) -> Result<Decision, StoreError> {
        let id = row.id.clone();
        row.understood().map_err(|what| StoreError::Row { path: self.path.clone(), id, what })
    }
}

impl RawDecision {
    /// # Errors
    /// Says what is unknown.
    pub fn understood(self) -> Result<Decision, String> {
        let target = network(&self.target).ok_or_else(|| format!("target {:?}", self.target))?;
        let proposer = Proposer::parse(&self.proposer).ok_or_else(|| format!("proposer {:?}", self.proposer))?;
        let state = DecisionState::parse(&self.state).ok_or_else(|| format!("state {:?}", self.state))?;
        let category = match &self.category {
            None => None,
            Some(name) => Some(Category::parse(name).ok_or_else(|| format!("category {name:?}"))?),
        };
        let (finding_id, score, reason) = (self.finding_id, self.score, self.reason);
        let (via_proxy, was_served) = (self.via_proxy, self.was_served);
        let ground = Ground { finding_id, category, score, reason, via_proxy, was_served };
        Ok(Decision {
            id: self.id,
            target,
            proposer,
            ground,
            created_at: self.created_at,
            expires_at: self.expires_at,
            simulated: self.simulated,
            state,
            note: self.note,
            offences: self.offences,
            origin: self.origin,
        })
    }
}

/// A decision whose words have not been understood yet: [`DECISION`] in its order.
#[derive(Deserialize)]
pub struct RawDecision {
    pub id: String,
    pub target: String,
    pub proposer: String,
    pub finding_id: Option<String>,
    pub category: Option<String>,
    pub score: u8,
    pub reason: String,
    #[serde(deserialize_with = "millis")]
    pub created_at: Timestamp,
    #[serde(deserialize_with = "millis")]
    pub expires_at: Timestamp,
    #[serde(deserialize_with = "flag")]
    pub simulated: bool,
    pub offences: u32,
    pub state: String,
    pub note: String,
    #[serde(deserialize_with = "flag")]
    pub via_proxy: bool,
    #[serde(deserialize_with = "flag")]
    pub was_served: bool,
    pub origin: String,
}

/// SQLite's 0 and 1.
pub fn flag<'de, D: Deserializer<'de>>(number: D) -> Result<bool, D::Error> {
    u8::deserialize(number).map(|number| number != 0)
}

/// An unsigned number, which SQLite has as the signed one with the same bits.
pub fn unsigned<'de, D: Deserializer<'de>>(number: D) -> Result<u64, D::Error> {
    i64::deserialize(number).map(i64::cast_unsigned)
}

pub fn unsigned_or_null<'de, D: Deserializer<'de>>(number: D) -> Result<Option<u64>, D::Error> {
    Option::<i64>::deserialize(number).map(|number| number.map(i64::cast_unsigned))
}

/// JSON that SQLite has as text.
pub fn text_of_json<'de, D: Deserializer<'de>, T: DeserializeOwned>(text: D) -> Result<T, D::Error> {
    let text = String::deserialize(text)?;
    serde_json::from_str(&text).map_err(serde::de::Error::custom)
}

pub fn millis<'de, D: Deserializer<'de>>(number: D) -> Result<Timestamp, D::Error> {
    i64::deserialize(number).map(Timestamp)
}

/// The columns that [`raw_decision`] takes by their places.
pub(super) const DECISION: &str = "id, target, proposer, finding_id, category, score, reason, created_at, \
     expires_at, simulated, offences, state, note, via_proxy, was_served, origin";

fn decisions_where(condition: &str) -> QueryBuilder<sqlx::Sqlite> {
    QueryBuilder::new(format!("SELECT {DECISION} FROM decisions WHERE {condition}"))
}

pub(super) fn raw_decision(row: SqliteRow) -> Result<RawDecision, sqlx::Error> {
    Ok(RawDecision {
        id: row.try_get(0)?,
        target: row.try_get(1)?,
        proposer: row.try_get(2)?,
        finding_id: row.try_get(3)?,
        category: row.try_get(4)?,
        score: row.try_get(5)?,
        reason: row.try_get(6)?,
        created_at: Timestamp(row.try_get(7)?),
        expires_at: Timestamp(row.try_get(8)?),
        simulated: row.try_get(9)?,
        offences: row.try_get(10)?,
        state: row.try_get(11)?,
        note: row.try_get(12)?,
        via_proxy: row.try_get(13)?,
        was_served: row.try_get(14)?,
        origin: row.try_get(15)?,
    })
}

/// The columns of a [`FindingRow`] in the order of its fields.
pub(super) const FINDING: &str = "id, file, generation, byte_offset, line_number, time, source_ip, client, method, uri, \
     status, user_agent, referer, category, score, rule_ids, evidence, action, verdict, confidence, decided_by, \
     reasoning, recorded_at, flagged, is_system_url, case_id";

pub(super) fn finding_row(row: SqliteRow) -> Result<FindingRow, sqlx::Error> {
    Ok(FindingRow {
        rule_ids: json(&row, "rule_ids")?,
        evidence: Json::new(row.try_get("evidence")?).map_err(|error| sqlx::Error::Decode(error.into()))?,
        id: row.try_get("id")?,
        file: row.try_get("file")?,
        generation: row.try_get::<i64, _>("generation")?.cast_unsigned(),
        offset: row.try_get::<i64, _>("byte_offset")?.cast_unsigned(),
        line_number: row.try_get::<Option<i64>, _>("line_number")?.map(i64::cast_unsigned),
        time: Timestamp(row.try_get("time")?),
        source_ip: row.try_get("source_ip")?,
        client: row.try_get("client")?,
        method: row.try_get("method")?,
        uri: row.try_get("uri")?,
        status: row.try_get("status")?,
        user_agent: row.try_get("user_agent")?,
        referer: row.try_get("referer")?,
        category: row.try_get("category")?,
        score: row.try_get("score")?,
        action: row.try_get("action")?,
        verdict: row.try_get("verdict")?,
        confidence: row.try_get("confidence")?,
        decided_by: row.try_get("decided_by")?,
        reasoning: row.try_get("reasoning")?,
        recorded_at: Timestamp(row.try_get("recorded_at")?),
        flagged: row.try_get("flagged")?,
        is_system_url: row.try_get("is_system_url")?,
        case_id: row.try_get("case_id")?,
    })
}

pub(super) fn json<T: DeserializeOwned, C: ColumnIndex<SqliteRow>>(
    row: &SqliteRow,
    column: C,
) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// An unsigned number, which the database has as the signed one with the same bits.
pub(super) fn number(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

fn file_mark(row: SqliteRow) -> Result<FileMark, sqlx::Error> {
    Ok(FileMark {
        path: OsString::from_vec(row.try_get("path")?).into(),
        device: number(&row, "device")?,
        inode: number(&row, "inode")?,
        generation: number(&row, "generation")?,
        offset: number(&row, "byte_offset")?,
        head_len: row.try_get("head_len")?,
        head_hash: number(&row, "head_hash")?,
    })
}

pub(super) fn allow_entry(row: SqliteRow) -> Result<AllowEntry, sqlx::Error> {
    let text: String = row.try_get("network")?;
    let network = network(&text).ok_or_else(|| sqlx::Error::Decode(format!("{text:?} is no network").into()))?;
    Ok(AllowEntry { network, note: row.try_get("note")?, created_at: Timestamp(row.try_get("created_at")?) })
}

fn change(row: SqliteRow) -> Result<Change, sqlx::Error> {
    let kind = match row.try_get::<String, _>("kind")?.as_str() {
        "finding" => ChangeKind::Finding,
        "decision" => ChangeKind::Decision,
        "call" => ChangeKind::Call,
        "correction" => ChangeKind::Correction,
        "session" => ChangeKind::Session,
        "forgotten" => ChangeKind::Forgotten,
        "allow" => ChangeKind::Allow,
        other => return Err(sqlx::Error::Decode(format!("{other:?} is no kind of change").into())),
    };
    Ok(Change { seq: row.try_get("seq")?, kind, id: row.try_get("id")?, at: Timestamp(row.try_get("at")?) })
}

pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
