//! Erasing somebody: what is kept of a client goes, and what is counted of it is nobody's any more.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;
use sqlx::{Connection, QueryBuilder, Row, SqliteConnection};

use super::Sqlite;
use super::insert::{json, network_text};
use super::read::network;
use crate::event::Timestamp;
use crate::record::StoreError;

/// What became of a request to forget.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Forgotten {
    /// Rows that are gone.
    pub rows: u64,
    /// Clients of the network that something was kept of, as they are kept.
    pub clients: Vec<IpNet>,
    /// Bans in force, which stay until they end.
    pub live: Vec<IpNet>,
}

impl Sqlite {
    /// How a client or network is kept here: as it is, or as its pseudonym.
    pub fn as_kept(&self, network: IpNet) -> IpNet {
        self.policy.network(network)
    }

    /// Puts `state` in the place of the counting state of the last checkpoint, of which nothing is left.
    pub async fn replace_snapshot(&self, state: &[u8]) -> Result<(), StoreError> {
        self.write(async |connection| {
            sqlx::query("PRAGMA secure_delete = ON").execute(&mut *connection).await?;
            sqlx::query("UPDATE snapshot SET state = ?").bind(state).execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Deletes what is kept of clients in `real`, or whose network it is in: findings, ended decisions, when they
    /// were seen; what is counted of them goes to the sum of all others. What Postgres has goes when the change is
    /// sent.
    pub async fn forget_clients(&self, real: IpNet) -> Result<Forgotten, StoreError> {
        let kept = self.as_kept(real);
        let is_meant = |client: &IpNet| kept.contains(client) || client.contains(&kept);
        let mut forgotten = Forgotten::default();
        self.write(async |connection| {
            sqlx::query("PRAGMA secure_delete = ON").execute(&mut *connection).await?;
            self.pass_on(connection, kept).await
        })
        .await?;
        let query =
            QueryBuilder::new("SELECT client FROM clients UNION SELECT client FROM findings WHERE client IS NOT NULL");
        let clients = self.read(query, |row| row.try_get::<String, _>(0)).await?;
        let clients: BTreeSet<IpNet> = clients.iter().filter_map(|client| network(client)).filter(is_meant).collect();
        let names: Vec<String> = clients.iter().map(|client| network_text(*client)).collect();
        let names = json(&names).map_err(|source| self.failed(source))?;
        const FINDINGS: &str = "DELETE FROM findings WHERE rowid IN (SELECT rowid FROM findings \
             WHERE client IN (SELECT value FROM json_each(?)) LIMIT 1000)";
        const CLIENTS: &str = "DELETE FROM clients WHERE client IN (SELECT value FROM json_each(?))";
        forgotten.rows += self.delete_all(FINDINGS, &names).await?;
        forgotten.rows += self.delete_all(CLIENTS, &names).await?;
        // Addresses that are a guess are nobody's client.
        let query =
            QueryBuilder::new("SELECT id, source_ip FROM findings WHERE client IS NULL AND source_ip IS NOT NULL");
        let guesses = self.read(query, |row| Ok((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?))).await?;
        let is_guessed = |address: &str| address.parse::<IpAddr>().is_ok_and(|address| kept.contains(&address));
        let guesses: Vec<String> =
            guesses.into_iter().filter(|(_, address)| is_guessed(address)).map(|(id, _)| id).collect();
        let guesses = json(&guesses).map_err(|source| self.failed(source))?;
        const GUESSES: &str = "DELETE FROM findings WHERE rowid IN (SELECT rowid FROM findings \
             WHERE id IN (SELECT value FROM json_each(?)) LIMIT 1000)";
        forgotten.rows += self.delete_all(GUESSES, &guesses).await?;
        forgotten.rows += self.forget_counts(&clients, kept).await?;

        let query =
            QueryBuilder::new("SELECT id, target, state IN ('pending', 'active', 'held'), pseudonym FROM decisions");
        let decisions = self
            .read(query, |row| {
                let target = network(&row.try_get::<String, _>(1)?);
                Ok((row.try_get::<String, _>(0)?, target, row.try_get::<bool, _>(2)?, row.try_get::<i64, _>(3)?))
            })
            .await?;
        let mut ended = vec![];
        for (id, target, is_live, pseudonym) in decisions {
            let Some(target) = target else { continue };
            let wanted = if pseudonym == 2 { kept } else { real };
            // A ban of a network with many clients says nothing of one of them.
            let is_its_own = target.addr().is_ipv6() && target.prefix_len() == 64 && target.contains(&wanted);
            if wanted.contains(&target) || is_its_own || clients.contains(&target) {
                if is_live { forgotten.live.push(target) } else { ended.push(id) }
            }
        }
        // Of an analysis its figures stay, which are nobody's.
        let analyses = QueryBuilder::new("SELECT id, analysis FROM analyses");
        let analyses = self.read(analyses, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?;
        let named = |(_, analysis): &(String, String)| {
            let words = analysis.split(|c: char| !c.is_ascii_hexdigit() && !matches!(c, '.' | ':'));
            // `2001:db8::` ends in a colon of its own, and in a URL a port may follow.
            let address = |word: &str| {
                let with_port = || word.parse::<SocketAddr>().map(|at| at.ip());
                word.parse::<IpAddr>().or_else(|_| with_port()).or_else(|_| word.trim_matches(['.', ':']).parse())
            };
            words.filter_map(|word| address(word).ok()).any(|address| real.contains(&address))
        };
        let analyses: Vec<String> = analyses.into_iter().filter(named).map(|(id, _)| id).collect();
        let analyses = json(&analyses).map_err(|source| self.failed(source))?;
        const ANALYSES: &str = "DELETE FROM analyses WHERE rowid IN (SELECT rowid FROM analyses \
             WHERE id IN (SELECT value FROM json_each(?)) LIMIT 1000)";
        forgotten.rows += self.delete_all(ANALYSES, &analyses).await?;
        let ended = json(&ended).map_err(|source| self.failed(source))?;
        const ENDED: &str = "DELETE FROM decisions WHERE rowid IN (SELECT rowid FROM decisions \
             WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('expired', 'lifted', 'refused') LIMIT 1000)";
        forgotten.rows += self.delete_all(ENDED, &ended).await?;
        self.cases().clear();
        self.write(async |connection| {
            // What was read of it meanwhile is sent after the first word of it.
            self.pass_on(connection, kept).await?;
            sqlx::query("PRAGMA incremental_vacuum").execute(&mut *connection).await?;
            // What the log still holds of it is over when it is written into the database; a reader may be in the way.
            // What is deleted goes on being overwritten, as the last snapshot of the counters soon will be.
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection).await?;
            Ok(())
        })
        .await?;
        forgotten.clients = clients.into_iter().collect();
        forgotten.live.sort();
        forgotten.live.dedup();
        Ok(forgotten)
    }

    /// Has Postgres, if there is one, forget it too.
    async fn pass_on(&self, connection: &mut SqliteConnection, kept: IpNet) -> Result<(), sqlx::Error> {
        if self.config.database_url.is_empty() && self.config.database_url_file.is_none() {
            return Ok(());
        }
        let query = sqlx::query("INSERT INTO outbox (kind, id, at) VALUES ('forgotten', ?, ?)");
        query.bind(network_text(kept)).bind(Timestamp::now().0).execute(connection).await?;
        Ok(())
    }

    async fn forget_counts(&self, clients: &BTreeSet<IpNet>, kept: IpNet) -> Result<u64, StoreError> {
        // One address does not make all of its network its own.
        let group = if kept.addr().is_ipv4() { 24 } else { 48 };
        let mut networks: BTreeSet<String> = BTreeSet::new();
        if kept.prefix_len() <= group {
            let query = QueryBuilder::new("SELECT DISTINCT key FROM rollups WHERE dimension = 'network' AND key <> ''");
            let keys = self.read(query, |row| row.try_get::<String, _>(0)).await?;
            networks = keys.into_iter().filter(|key| network(key).is_some_and(|key| kept.contains(&key))).collect();
        }
        let clients: BTreeSet<String> = clients.iter().map(|client| network_text(*client)).collect();
        const SUM: &str = "INSERT INTO rollups SELECT dimension, span, start, '', sum(findings), sum(blocks), \
             sum(analysed) FROM rollups WHERE dimension = ?1 AND key IN (SELECT value FROM json_each(?2)) \
             GROUP BY span, start ON CONFLICT DO UPDATE SET findings = findings + excluded.findings, \
             blocks = blocks + excluded.blocks, analysed = analysed + excluded.analysed";
        const DELETE: &str = "DELETE FROM rollups WHERE dimension = ?1 AND key IN (SELECT value FROM json_each(?2))";
        self.write(async |connection| {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut rows = 0;
            for (dimension, keys) in [("client", &clients), ("network", &networks)] {
                let keys = json(keys)?;
                sqlx::query(SUM).bind(dimension).bind(&keys).execute(&mut *tx).await?;
                rows += sqlx::query(DELETE).bind(dimension).bind(&keys).execute(&mut *tx).await?.rows_affected();
            }
            tx.commit().await?;
            Ok(rows)
        })
        .await
    }

    /// Deletes what `sql` names of `names`, up to 1000 rows at a time.
    async fn delete_all(&self, sql: &'static str, names: &str) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let rows = self
                .write(async |connection| Ok(sqlx::query(sql).bind(names).execute(connection).await?.rows_affected()))
                .await?;
            deleted += rows;
            if rows < 1000 {
                return Ok(deleted);
            }
        }
    }
}
