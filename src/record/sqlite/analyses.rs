//! Whose the analyses are that were kept, and who else may see them.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

use super::Sqlite;
use super::outbox::session;
use super::read::json;
use crate::event::Role;
use crate::record::{AnalysisSession, StoreError};

/// An analysis, and who may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedSession {
    pub session: AnalysisSession,
    pub sharing: Sharing,
}

/// Who may see an analysis.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Sharing {
    /// None: it is from before accounts, or its owner is gone.
    pub owner: Option<String>,
    /// Who has this role, or a higher one.
    pub shared_role: Option<Role>,
    /// And these.
    pub shared_users: Vec<String>,
}

impl Sqlite {
    /// The newest analyses that `name` may see: their own, and what is shared with them; an administrator also
    /// what is nobody's.
    pub async fn sessions_for(&self, name: &str, role: Role, limit: u32) -> Result<Vec<OwnedSession>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT analysis_sessions.*, owner, shared_role, coalesce(shared_users, '[]') AS shared_users \
             FROM analysis_sessions LEFT JOIN analysis_owners USING (id) WHERE ",
        );
        seen_by(&mut query, name, role);
        query.push(" ORDER BY at DESC, id LIMIT ").push_bind(limit);
        self.read(query, |row| Ok(OwnedSession { sharing: sharing(&row)?, session: session(row)? })).await
    }

    /// Who may see an analysis, if `name` may.
    pub async fn sharing_for(&self, id: &str, name: &str, role: Role) -> Result<Option<Sharing>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT owner, shared_role, coalesce(shared_users, '[]') AS shared_users \
             FROM analysis_sessions LEFT JOIN analysis_owners USING (id) WHERE id = ",
        );
        query.push_bind(id).push(" AND ");
        seen_by(&mut query, name, role);
        Ok(self.read(query, |row| sharing(&row)).await?.pop())
    }

    /// What was found in an analysis that was kept, as JSON, if `name` may see it.
    pub async fn analysis_for(&self, id: &str, name: &str, role: Role) -> Result<Option<String>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT analysis FROM analyses LEFT JOIN analysis_owners USING (id) WHERE id = ");
        query.push_bind(id).push(" AND ");
        seen_by(&mut query, name, role);
        Ok(self.read(query, |row| row.try_get(0)).await?.pop())
    }

    /// Lets others see an analysis, and nobody else than these. Whether `owner` has it.
    pub async fn session_share(
        &self,
        id: &str,
        owner: &str,
        role: Option<Role>,
        users: &[String],
    ) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query =
                sqlx::query("UPDATE analysis_owners SET shared_role = ?, shared_users = ? WHERE id = ? AND owner = ?");
            let query = query.bind(role.map(Role::as_str)).bind(serde_json::json!(users).to_string());
            Ok(query.bind(id).bind(owner).execute(connection).await?.rows_affected() > 0)
        })
        .await
    }
}

fn sharing(row: &SqliteRow) -> Result<Sharing, sqlx::Error> {
    Ok(Sharing {
        owner: row.try_get("owner")?,
        shared_role: row.try_get::<Option<&str>, _>("shared_role")?.and_then(Role::parse),
        shared_users: json(row, "shared_users")?,
    })
}

/// The condition that `name` may see an analysis, in parentheses.
fn seen_by(query: &mut QueryBuilder<sqlx::Sqlite>, name: &str, role: Role) {
    let roles: Vec<&str> = Role::ALL.iter().filter(|known| **known <= role).map(|known| known.as_str()).collect();
    query.push("(owner = ").push_bind(name.to_owned());
    query.push(" OR owner IS NULL AND ").push_bind(role == Role::Admin);
    query.push(" OR shared_role IN (SELECT value FROM json_each(").push_bind(serde_json::json!(roles).to_string());
    query.push(")) OR ").push_bind(name.to_owned()).push(" IN (SELECT value FROM json_each(shared_users)))");
}
