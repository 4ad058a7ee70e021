//! Many new findings at once, in the format that the server has them in: `INSERT` takes twice its time for them.

use std::net::IpAddr;

use ipnet::IpNet;
use sqlx::PgConnection;

use super::text::{address, clean, clean_json, millis, network};
use crate::event::Timestamp;
use crate::record::FindingRow;

const COPY: &str = "COPY palisade.findings (agent, version, id, time, recorded_at, source_ip, client, method, uri, \
     status, user_agent, referer, category, score, rule_ids, evidence, action, verdict, confidence, decided_by, \
     reasoning, flagged, is_system_url, case_id, file, generation, byte_offset, line_number) FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 28;
/// https://www.postgresql.org/docs/current/sql-copy.html: the signature, flags, and no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// 2000-01-01.
const EPOCH_MILLIS: i64 = 946_684_800_000;
/// Findings of one part: so many are made, or counted, at a stretch.
pub(super) const PART: usize = 1000;
/// The type `text`, of which an array says that it is made.
const TEXT: i32 = 25;

/// Copies findings of which none is there. Gives false and has done nothing where the server refuses: one of them is
/// there, or row-level security stands between, which `COPY` does not know.
pub(super) async fn copy_findings(
    connection: &mut PgConnection,
    agent: &str,
    version: i64,
    rows: &[&FindingRow],
) -> Result<bool, sqlx::Error> {
    sqlx::raw_sql("SAVEPOINT copying").execute(&mut *connection).await?;
    let copied = async {
        let mut copy = connection.copy_in_raw(COPY).await?;
        // In parts: the server is at one while the next one is made.
        let mut bytes = Row(Vec::from(HEADER));
        for part in rows.chunks(PART) {
            part.iter().for_each(|row| bytes.finding(agent, version, row));
            copy.send(&*bytes.0).await?;
            bytes.0.clear();
        }
        copy.send(&(-1i16).to_be_bytes()[..]).await?;
        copy.finish().await
    };
    let (is_copied, end) = match copied.await {
        Ok(_) => (true, "RELEASE SAVEPOINT copying"),
        Err(sqlx::Error::Database(_)) => (false, "ROLLBACK TO SAVEPOINT copying"),
        Err(error) => return Err(error),
    };
    sqlx::raw_sql(end).execute(connection).await?;
    Ok(is_copied)
}

/// Fields, each after its length.
struct Row(Vec<u8>);

impl Row {
    fn finding(&mut self, agent: &str, version: i64, row: &FindingRow) {
        self.0.extend(COLUMNS.to_be_bytes());
        self.text(agent);
        self.field(&version.to_be_bytes());
        self.text(&row.id);
        self.time(row.time);
        self.time(row.recorded_at);
        match address(row.source_ip.as_deref()) {
            Some(address) => self.inet(address.into(), false),
            None => self.null(),
        }
        match network(row.client.as_deref()) {
            Some(network) => self.inet(network, true),
            None => self.null(),
        }
        self.text(&row.method);
        self.text(&row.uri);
        self.field(&i32::from(row.status).to_be_bytes());
        self.text(&row.user_agent);
        self.text(&row.referer);
        self.text(&row.category);
        self.field(&i16::from(row.score).to_be_bytes());
        self.texts(&row.rule_ids);
        // The version of jsonb's outer form.
        self.fields(&[&[1], clean_json(row.evidence.text()).as_bytes()]);
        self.text(&row.action);
        self.text(&row.verdict);
        self.field(&i16::from(row.confidence).to_be_bytes());
        self.text(&row.decided_by);
        self.text(&row.reasoning);
        self.field(&[row.flagged.into()]);
        self.field(&[row.is_system_url.into()]);
        self.text(&row.case_id);
        self.text(&row.file);
        self.field(&row.generation.to_be_bytes());
        self.field(&row.offset.to_be_bytes());
        match row.line_number {
            Some(number) => self.field(&number.to_be_bytes()),
            None => self.null(),
        }
    }

    fn field(&mut self, bytes: &[u8]) {
        self.fields(&[bytes]);
    }

    /// One field of several parts.
    fn fields(&mut self, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.0.extend((len as i32).to_be_bytes());
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }

    fn null(&mut self) {
        self.0.extend((-1i32).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.field(clean(text).as_bytes());
    }

    fn time(&mut self, time: Timestamp) {
        self.field(&((millis(time) - EPOCH_MILLIS) * 1000).to_be_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        let dimensions = i32::from(!texts.is_empty());
        let mut array = Row(vec![]);
        for number in [dimensions, 0, TEXT] {
            array.0.extend(number.to_be_bytes());
        }
        if dimensions > 0 {
            // How many, and the number of the first.
            array.0.extend((texts.len() as i32).to_be_bytes());
            array.0.extend(1i32.to_be_bytes());
        }
        texts.iter().for_each(|text| array.text(text));
        self.field(&array.0);
    }

    /// Family, bits, whether it is a network, and the bytes with their number.
    fn inet(&mut self, network: IpNet, is_cidr: bool) {
        let head = |family, bytes| [family, network.prefix_len(), is_cidr.into(), bytes];
        match network.addr() {
            IpAddr::V4(v4) => self.fields(&[&head(2, 4), &v4.octets()]),
            IpAddr::V6(v6) => self.fields(&[&head(3, 16), &v6.octets()]),
        }
    }
}
