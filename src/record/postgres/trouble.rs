//! Why Postgres does not do what it is asked, and what to do about it. Never holds the password.

use std::time::Duration;

use super::Place;
use crate::event::printable;
use crate::record::StoreError;

/// Bytes of a server's own words that are repeated.
const SAID_BYTES: usize = 300;

/// Why Postgres does not do what it is asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    Config(String),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("does not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("does not take the user and password of store.database_url: {0}")]
    Credentials(String),
    #[error("has no such database: {0}; make it with `CREATE DATABASE`")]
    NoDatabase(String),
    #[error("the connection is not safe: {0}")]
    Tls(String),
    #[error("permission is missing: {0}")]
    NotPermitted(String),
    #[error(
        "takes no changes: {0}; store.database_url must name the primary, and the project must not be over its quota"
    )]
    ReadOnly(String),
    #[error("has no space left: {0}; free some on the server's disk")]
    Full(String),
    #[error("takes no more connections: {0}; this agent needs up to 4: raise max_connections, or go through a pooler")]
    TooMany(String),
    #[error("somebody else was in the way: {0}")]
    Conflict(String),
    #[error("lacks Palisade's tables, or has those of another version: {0}; run `palisade migrate`")]
    NotMigrated(String),
    #[error("the schema is a newer palisade's ({version}, this one knows {known}); update this palisade")]
    TooNew { version: i64, known: i64 },
    #[error("migration {0} is not what was applied; this is a development version's database: start a new one")]
    Changed(i64),
    /// One of the rows: SQLSTATE classes 22 and 23.
    #[error("does not take a row: {0}")]
    Row(String),
    #[error("refuses: {0}")]
    Refused(String),
}

impl Trouble {
    /// Whether the same call may succeed later with nothing changed in palisade.
    pub fn is_retryable(&self) -> bool {
        use Trouble::*;
        matches!(self, Unreachable(_) | TimedOut(_) | ReadOnly(_) | Full(_) | TooMany(_) | Conflict(_))
    }

    pub fn at(self, place: &Place) -> StoreError {
        let place = match &self {
            Trouble::Config(_) => String::new(),
            _ => format!("{place}: "),
        };
        StoreError::Postgres { place, trouble: self }
    }

    pub fn of(error: &sqlx::Error) -> Trouble {
        use Trouble::*;
        let text = printable(error.to_string().as_bytes(), SAID_BYTES);
        let database = match error {
            sqlx::Error::Database(database) => database,
            sqlx::Error::Io(error) if is_certificate(&text) => return Tls(certificate(&error.to_string())),
            sqlx::Error::Io(error) => return Unreachable(printable(error.to_string().as_bytes(), SAID_BYTES)),
            sqlx::Error::Tls(_) if text.contains("does not support") => {
                return Tls("the server does not speak TLS; where the network between is trusted, `?sslmode=disable` \
                     at the end of store.database_url goes without"
                    .into());
            }
            sqlx::Error::Tls(_) => return Tls(certificate(&text)),
            sqlx::Error::Configuration(_) => return Config(format!("store.database_url cannot be used: {text}")),
            sqlx::Error::Protocol(_) => return Unreachable(format!("what answers there is no Postgres: {text}")),
            _ => return Refused(text),
        };
        let text = printable(database.message().as_bytes(), SAID_BYTES);
        // https://www.postgresql.org/docs/current/errcodes-appendix.html
        match database.code().as_deref().unwrap_or_default() {
            // Poolers have words of their own.
            _ if text.contains("Tenant or user not found") => Credentials(format!(
                "{text}; at Supabase's pooler the user is `postgres.REFERENCE`, with the project's reference"
            )),
            _ if text.contains("no such database") => NoDatabase(text),
            _ if text.contains("no such user") => Credentials(text),
            "28P01" => Credentials(text),
            "28000" => Credentials(format!("{text}; pg_hba.conf of the server says who may come from where")),
            "3D000" => NoDatabase(text),
            "42501" => NotPermitted(format!(
                "{text}; run `palisade migrate` with the URL of an administrator, or `GRANT CREATE ON DATABASE` \
                 to this user so that the schema `palisade` is its own"
            )),
            "25006" => ReadOnly(text),
            "53100" => Full(text),
            "53300" | "53400" => TooMany(text),
            "53200" | "40001" | "40P01" | "55P03" => Conflict(text),
            "57014" => Conflict(format!("{text}: it took too long")),
            "42P01" | "42703" | "42883" | "3F000" | "42P10" => NotMigrated(text),
            code if code.starts_with("57P") || code.starts_with("08") => Unreachable(text),
            code if code.starts_with("22") || code.starts_with("23") => Row(format!("{text} ({code})")),
            code => Refused(format!("{text} ({code})")),
        }
    }
}

fn is_certificate(text: &str) -> bool {
    text.contains("certificate") || text.contains("handshake") || text.contains("InvalidContentType")
}

fn certificate(text: &str) -> String {
    let text = printable(text.as_bytes(), SAID_BYTES);
    format!(
        "{text}; store.database_ca_file names who signed the server's certificate, in PEM, and the host in the URL must be the one in it"
    )
}
