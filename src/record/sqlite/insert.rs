//! Rows go in here; what is there already stays as it is.

use std::os::unix::ffi::OsStrExt;

use ipnet::IpNet;
use serde::Serialize;
use sqlx::{QueryBuilder, SqliteConnection};

use crate::event::{Decision, FileMark, Finding, Timestamp};

/// Rows of one INSERT. More gain nothing, and SQLite takes at most 32,766 parameters.
const ROWS: usize = 64;

pub(super) async fn findings(
    connection: &mut SqliteConnection,
    findings: &[Finding],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut inserted = 0;
    for chunk in findings.chunks(ROWS) {
        let mut texts = Vec::with_capacity(chunk.len());
        for finding in chunk {
            texts.push((json(&finding.rule_ids)?, json(&finding.evidence)?));
        }
        let mut query = QueryBuilder::new(
            "INSERT INTO findings (id, file, generation, byte_offset, line_number, time, source_ip, client, method, \
             uri, status, user_agent, referer, category, score, rule_ids, evidence, action, verdict, confidence, \
             decided_by, reasoning, recorded_at) ",
        );
        query.push_values(chunk.iter().zip(texts), |mut row, (finding, (rule_ids, evidence))| {
            row.push_bind(finding.id())
                .push_bind(finding.file.clone())
                .push_bind(finding.generation.cast_signed())
                .push_bind(finding.offset.cast_signed())
                .push_bind(finding.line_number.map(u64::cast_signed))
                .push_bind(finding.time.0)
                .push_bind(finding.source_ip.map(|ip| ip.to_string()))
                .push_bind(finding.client.map(|client| client.to_string()))
                .push_bind(&finding.method)
                .push_bind(&finding.uri)
                .push_bind(finding.status)
                .push_bind(&finding.user_agent)
                .push_bind(&finding.referer)
                .push_bind(finding.category.as_str())
                .push_bind(finding.score)
                .push_bind(rule_ids)
                .push_bind(evidence)
                .push_bind(finding.action.as_str())
                .push_bind(finding.verdict.class.as_str())
                .push_bind(finding.verdict.confidence)
                .push_bind(finding.verdict.decided_by.as_str())
                .push_bind(&finding.verdict.reasoning)
                .push_bind(at.0);
        });
        // Not INSERT OR IGNORE, which would swallow every broken constraint.
        query.push(" ON CONFLICT (id) DO NOTHING");
        inserted += run(connection, query, chunk.len()).await?;
    }
    Ok(inserted)
}

pub(super) async fn decisions(
    connection: &mut SqliteConnection,
    decisions: &[Decision],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut inserted = 0;
    for chunk in decisions.chunks(ROWS) {
        let mut query = QueryBuilder::new(
            "INSERT INTO decisions (id, target, proposer, finding_id, category, score, reason, created_at, \
             expires_at, simulated, offences, state, note, changed_at, via_proxy, was_served, origin) ",
        );
        query.push_values(chunk, |mut row, decision| {
            row.push_bind(&decision.id)
                .push_bind(network_text(decision.target))
                .push_bind(decision.proposer.as_str())
                .push_bind(&decision.ground.finding_id)
                .push_bind(decision.ground.category.map(|category| category.as_str()))
                .push_bind(decision.ground.score)
                .push_bind(&decision.ground.reason)
                .push_bind(decision.created_at.0)
                .push_bind(decision.expires_at.0)
                .push_bind(decision.simulated)
                .push_bind(decision.offences)
                .push_bind(decision.state.as_str())
                .push_bind(&decision.note)
                .push_bind(at.0)
                .push_bind(decision.ground.via_proxy)
                .push_bind(decision.ground.was_served)
                .push_bind(&decision.origin);
        });
        query.push(" ON CONFLICT (id) DO NOTHING");
        inserted += run(connection, query, chunk.len()).await?;
    }
    Ok(inserted)
}

pub(super) async fn marks(connection: &mut SqliteConnection, marks: &[FileMark]) -> Result<(), sqlx::Error> {
    for mark in marks {
        let query = sqlx::query(
            "INSERT INTO marks (path, device, inode, generation, byte_offset, head_len, head_hash) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (generation) DO UPDATE SET \
             path = excluded.path, device = excluded.device, inode = excluded.inode, \
             byte_offset = excluded.byte_offset, head_len = excluded.head_len, head_hash = excluded.head_hash",
        );
        query
            .bind(mark.path.as_os_str().as_bytes())
            .bind(mark.device.cast_signed())
            .bind(mark.inode.cast_signed())
            .bind(mark.generation.cast_signed())
            .bind(mark.offset.cast_signed())
            .bind(mark.head_len)
            .bind(mark.head_hash.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn run(
    connection: &mut SqliteConnection,
    mut query: QueryBuilder<sqlx::Sqlite>,
    rows: usize,
) -> Result<u64, sqlx::Error> {
    // A prepared statement is kept for one row and for a full chunk only: 62 sizes between would
    // hold megabytes.
    let keep = rows == 1 || rows == ROWS;
    Ok(query.build().persistent(keep).execute(connection).await?.rows_affected())
}

pub(super) fn json(value: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// A network as the database writes it: one address bare.
pub(super) fn network_text(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.trunc().to_string()
    }
}
