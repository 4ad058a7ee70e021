//! Who may use the dashboard, with which keys, and what they did.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row};

use super::Sqlite;
use crate::event::{AccessKey, AccessKind, Audited, Role, Timestamp, User};
use crate::record::StoreError;

/// Rows of the audit that are kept: the newest.
const AUDIT_ROWS: i64 = 100_000;
/// Of a row of `users`: there is another administrator who can sign in, if this one can. Behind a proxy that
/// signs people in nobody needs a password.
const ANOTHER: &str = "EXISTS (SELECT 1 FROM users AS other WHERE other.name <> users.name \
                       AND other.role = 'admin' AND other.is_active = 1 \
                       AND (other.password IS NOT NULL OR users.password IS NULL))";

impl Sqlite {
    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.read(QueryBuilder::new("SELECT * FROM users ORDER BY name"), user).await
    }

    /// Takes up a user without a password; false when there is one of this name.
    pub async fn user_add(&self, name: &str, role: Role, now: Timestamp) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "INSERT INTO users (name, role, is_active, created_at) VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING",
            );
            let done = query.bind(name).bind(role.as_str()).bind(now.0).execute(connection).await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    /// Changes what somebody may do; who is not active has no session and no token any more. Whether there is
    /// such a user. Nothing changes when no administrator would be left who can sign in as they could.
    pub async fn user_set(&self, name: &str, role: Role, is_active: bool) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = format!(
                "UPDATE users SET role = ?2, is_active = ?3 \
                 WHERE name = ?1 AND (role <> 'admin' OR ?2 = 'admin' AND ?3 = 1 OR {ANOTHER})"
            );
            let query = sqlx::query(AssertSqlSafe(query)).bind(name).bind(role.as_str()).bind(is_active);
            let done = query.execute(&mut *connection).await?;
            if !is_active && done.rows_affected() > 0 {
                let query = sqlx::query("DELETE FROM access_keys WHERE user = ?").bind(name);
                query.execute(connection).await?;
            }
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    /// Removes a user with all keys, unless no administrator would be left who can sign in as they could.
    /// Whether one went.
    pub async fn user_remove(&self, name: &str) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = format!("DELETE FROM users WHERE name = ?1 AND (role <> 'admin' OR {ANOTHER})");
            let query = sqlx::query(AssertSqlSafe(query)).bind(name);
            Ok(query.execute(connection).await?.rows_affected() > 0)
        })
        .await
    }

    /// Sets a password's hash and ends every session and invitation of the user, whose other browsers sign in
    /// again.
    pub async fn password_set(&self, name: &str, hash: &str) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("UPDATE users SET password = ? WHERE name = ?").bind(hash).bind(name);
            query.execute(&mut *connection).await?;
            let query = sqlx::query("DELETE FROM access_keys WHERE user = ? AND kind <> 'token'").bind(name);
            query.execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// The hash of an active user's password.
    pub async fn password(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT password FROM users WHERE is_active = 1 AND password IS NOT NULL AND name = ");
        query.push_bind(name);
        Ok(self.read(query, |row: SqliteRow| row.try_get(0)).await?.into_iter().next())
    }

    /// Takes up a key of which this is the SHA-256; a session counts as a login.
    pub async fn key_add(&self, kind: AccessKind, hash: &[u8], key: &AccessKey) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query = sqlx::query(
                "INSERT INTO access_keys (hash, id, kind, user, role, note, created_at, expires_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            );
            let query = query.bind(hash).bind(&key.id).bind(kind.as_str()).bind(&key.user).bind(key.role.as_str());
            let query = query.bind(&key.note).bind(key.created_at.0).bind(key.expires_at.0);
            query.execute(&mut *connection).await?;
            if kind == AccessKind::Session {
                let query = sqlx::query("UPDATE users SET last_login = ? WHERE name = ?");
                query.bind(key.created_at.0).bind(&key.user).execute(&mut *connection).await?;
            }
            sqlx::query("DELETE FROM access_keys WHERE expires_at <= ?")
                .bind(key.created_at.0)
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }

    /// The key with this SHA-256, of an active user, as long as it holds. What it may is what both it and its
    /// user may.
    pub async fn key_with(
        &self,
        kind: AccessKind,
        hash: &[u8],
        now: Timestamp,
    ) -> Result<Option<AccessKey>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT access_keys.*, users.role AS user_role FROM access_keys JOIN users ON users.name = access_keys.user \
             WHERE users.is_active = 1 AND access_keys.hash = ",
        );
        query.push_bind(hash).push(" AND access_keys.kind = ").push_bind(kind.as_str());
        query.push(" AND access_keys.expires_at > ").push_bind(now.0);
        let found = self.read(query, |row: SqliteRow| {
            let user_role = role(&row, "user_role")?;
            let key = key(row)?;
            Ok(AccessKey { role: key.role.min(user_role), ..key })
        });
        Ok(found.await?.into_iter().next())
    }

    /// The keys of a kind, of one user or of all, the newest first.
    pub async fn keys(&self, kind: AccessKind, user: Option<&str>) -> Result<Vec<AccessKey>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM access_keys WHERE kind = ");
        query.push_bind(kind.as_str());
        if let Some(user) = user {
            query.push(" AND user = ").push_bind(user);
        }
        query.push(" ORDER BY created_at DESC, id");
        self.read(query, key).await
    }

    /// Notes that a key was used, and until when it holds now.
    pub async fn key_used(&self, id: &str, now: Timestamp, expires_at: Timestamp) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("UPDATE access_keys SET last_used = ?, expires_at = ? WHERE id = ?");
            query.bind(now.0).bind(expires_at.0).bind(id).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Ends a key, if it is `user`'s where one is named. Whether there was one.
    pub async fn key_remove(&self, id: &str, user: Option<&str>) -> Result<bool, StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("DELETE FROM access_keys WHERE id = ?1 AND (?2 IS NULL OR user = ?2)");
            Ok(query.bind(id).bind(user).execute(connection).await?.rows_affected() > 0)
        })
        .await
    }

    /// Writes down what somebody did.
    pub async fn audit(&self, entry: &Audited) -> Result<(), StoreError> {
        self.write(async |connection| {
            let query = sqlx::query("INSERT INTO audit (time, user, address, action, detail) VALUES (?, ?, ?, ?, ?)");
            let query = query.bind(entry.time.0).bind(&entry.user).bind(&entry.address).bind(&entry.action);
            query.bind(&entry.detail).execute(&mut *connection).await?;
            let query = sqlx::query("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?").bind(AUDIT_ROWS);
            query.execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// What was done before entry `before`, the newest first.
    pub async fn audited(&self, before: i64, limit: u32) -> Result<Vec<Audited>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM audit WHERE id < ");
        query.push_bind(before).push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        self.read(query, |row: SqliteRow| {
            Ok(Audited {
                id: row.try_get("id")?,
                time: Timestamp(row.try_get("time")?),
                user: row.try_get("user")?,
                address: row.try_get("address")?,
                action: row.try_get("action")?,
                detail: row.try_get("detail")?,
            })
        })
        .await
    }
}

fn role(row: &SqliteRow, column: &str) -> Result<Role, sqlx::Error> {
    let name: &str = row.try_get(column)?;
    Role::parse(name).ok_or_else(|| sqlx::Error::Decode(format!("{name:?} is no role").into()))
}

fn user(row: SqliteRow) -> Result<User, sqlx::Error> {
    Ok(User {
        name: row.try_get("name")?,
        role: role(&row, "role")?,
        is_active: row.try_get("is_active")?,
        has_password: row.try_get::<Option<&str>, _>("password")?.is_some(),
        created_at: Timestamp(row.try_get("created_at")?),
        last_login: row.try_get::<Option<i64>, _>("last_login")?.map(Timestamp),
    })
}

fn key(row: SqliteRow) -> Result<AccessKey, sqlx::Error> {
    Ok(AccessKey {
        id: row.try_get("id")?,
        user: row.try_get("user")?,
        role: role(&row, "role")?,
        note: row.try_get("note")?,
        created_at: Timestamp(row.try_get("created_at")?),
        expires_at: Timestamp(row.try_get("expires_at")?),
        last_used: row.try_get::<Option<i64>, _>("last_used")?.map(Timestamp),
    })
}
