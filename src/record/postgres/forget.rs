//! Erasure of what is kept of clients.

use ipnet::IpNet;
use sqlx::Row;

use super::{LONG_PATIENCE, Postgres, query};
use crate::record::StoreError;

/// Whoever asks for one address of a client's /64 means the client. An operator's view of a finding goes with it.
const FINDINGS: &str = "WITH gone AS (DELETE FROM palisade.findings \
     WHERE client <<= $1::inet OR source_ip <<= $1::inet OR client >>= $1::inet RETURNING id), \
     views AS (DELETE FROM palisade.corrections USING gone WHERE finding_id = gone.id RETURNING 1) \
     SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM views)";

const DECISIONS: &str = "WITH gone AS (DELETE FROM palisade.decisions \
     WHERE target <<= $1::inet AND state IN ('expired', 'lifted', 'refused') RETURNING id), \
     changes AS (DELETE FROM palisade.decision_changes USING gone WHERE decision_id = gone.id RETURNING 1) \
     SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM changes)";

const CLIENTS: &str = "WITH gone AS (DELETE FROM palisade.clients \
     WHERE client <<= $1::inet OR client >>= $1::inet RETURNING 1) SELECT count(*) FROM gone";

/// Keys are addresses as this program writes them, or empty; nothing else is cast.
const COUNTS: &str = "WITH gone AS (DELETE FROM palisade.rollups WHERE dimension IN ('client', 'network') \
     AND CASE WHEN key ~ '^([0-9]+\\.[0-9.]+|[0-9a-f]*:[0-9a-f:.]+)(/[0-9]+)?$' THEN key::inet <<= $1::inet \
     OR (dimension = 'client' AND key::inet >>= $1::inet) ELSE false END RETURNING 1) SELECT count(*) FROM gone";

impl Postgres {
    pub(super) async fn forget_network(&self, network: IpNet) -> Result<u64, StoreError> {
        let network = network.trunc().to_string();
        self.transaction("BEGIN", LONG_PATIENCE, async |connection| {
            let mut rows = 0;
            for sql in [FINDINGS, DECISIONS, CLIENTS, COUNTS] {
                let row = query(sql).bind(&network).fetch_one(&mut *connection).await?;
                rows += row.try_get::<i64, _>(0)?.cast_unsigned();
            }
            Ok(rows)
        })
        .await
    }
}
