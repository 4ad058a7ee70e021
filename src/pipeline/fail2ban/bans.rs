//! What fail2ban holds now, from the database that it keeps for its own restarts.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row, SqliteConnection};

use crate::config::network;
use crate::event::{Timestamp, printable};

/// One ban that fail2ban holds.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveBan {
    pub jail: String,
    pub target: IpNet,
    /// None: for good.
    pub ends_at: Option<Timestamp>,
}

/// The bans that are not over at `now`, and what is banned there and is no address.
///
/// # Errors
/// The database is missing, may not be read, or is none of fail2ban's.
pub async fn live_bans(database: &Path, now: Timestamp) -> anyhow::Result<(Vec<LiveBan>, Vec<String>)> {
    let shown = database.display();
    std::fs::File::open(database).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!("may not read {shown}: ask as root"),
        _ => anyhow::anyhow!("cannot read fail2ban's database {shown}: {error}; name it with --database"),
    })?;
    let options = SqliteConnectOptions::new().filename(database).read_only(true).busy_timeout(Duration::from_secs(5));
    let read = async {
        let mut connection = SqliteConnection::connect_with(&options).await?;
        // A row for each ban that is in force or was; before version 0.11 only `bans`, without a length.
        let rows = sqlx::query("SELECT jail, ip, timeofban, bantime FROM bips WHERE bantime < 0 OR timeofban + bantime > ? ORDER BY jail, ip")
            .bind(now.secs())
            .fetch_all(&mut connection)
            .await?;
        rows.into_iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))
            .collect::<Result<Vec<(String, String, i64, i64)>, sqlx::Error>>()
    };
    let rows = read.await.with_context(|| format!("{shown} is no database of fail2ban 0.11 or later"))?;
    let (mut bans, mut others) = (vec![], vec![]);
    for (jail, ip, at, secs) in rows {
        let ends_at = u64::try_from(secs).ok().map(|secs| Timestamp(at.saturating_mul(1000)).plus_secs(secs));
        match network(&ip) {
            Some(target) => bans.push(LiveBan { jail, target, ends_at }),
            None => others.push(format!("{jail}: {}", printable(ip.as_bytes(), 60))),
        }
    }
    Ok((bans, others))
}
