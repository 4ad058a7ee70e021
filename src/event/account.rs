use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What somebody may do; each role may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks at everything but accounts.
    Viewer,
    /// Bans, lets go, corrects, analyses.
    Analyst,
    /// Settings, accounts, the allowlist, erasing.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Analyst, Role::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Analyst => "analyst",
            Role::Admin => "admin",
        }
    }

    /// The role called `name`.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// Somebody who may use the dashboard.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct User {
    pub name: String,
    pub role: Role,
    pub is_active: bool,
    /// False: the invitation was not taken up yet.
    pub has_password: bool,
    pub created_at: Timestamp,
    pub last_login: Option<Timestamp>,
}

/// What a key opens the dashboard for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// A browser, until it is closed for long.
    Session,
    /// A program.
    Token,
    /// Choosing a password, once.
    Invitation,
}

impl AccessKind {
    pub fn as_str(self) -> &'static str {
        match self {
            AccessKind::Session => "session",
            AccessKind::Token => "token",
            AccessKind::Invitation => "invitation",
        }
    }
}

/// A key that somebody has, without the key.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AccessKey {
    pub id: String,
    pub user: String,
    /// What it may at most.
    pub role: Role,
    pub note: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub last_used: Option<Timestamp>,
}

/// Something that somebody did.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Audited {
    pub id: i64,
    pub time: Timestamp,
    pub user: String,
    pub address: String,
    pub action: String,
    pub detail: String,
}
