//! With `addresses = "pseudonyms"` a decision has its real target only as long as somebody must act by it.

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::Sqlite;
use super::insert::{Hiding, network_text};
use super::read::{DECISION, RawDecision, raw_decision};
use crate::event::Timestamp;

/// Decisions of one call: the next one is a second later.
const TOGETHER: i64 = 500;

impl Sqlite {
    pub(super) fn hiding(&self) -> Hiding {
        if self.policy.pseudonyms.is_some() { Hiding::Later } else { Hiding::Never }
    }

    /// Gives ended decisions pseudonyms for targets: those that nobody heard of at once, the others when every
    /// bouncer knows of the end, or would have let go by itself.
    pub(super) async fn hide_ended(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let ended = format!(
            "SELECT {DECISION} FROM decisions INDEXED BY decisions_to_hide WHERE pseudonym = 1 \
             AND (state = 'refused' OR state IN ('expired', 'lifted') AND (expires_at <= ? \
             OR changed_seq <= coalesce((SELECT min(cursor) FROM bouncers), 9223372036854775807))) LIMIT ?"
        );
        const HIDE: &str = "UPDATE decisions SET target = ?, reason = ?, note = ?, pseudonym = 2 WHERE id = ?";
        const NOTES: &str = "SELECT seq, note FROM decision_changes WHERE decision_id = ? AND note <> ''";
        if self.policy.pseudonyms.is_none() {
            return Ok(());
        }
        for row in sqlx::query(AssertSqlSafe(ended)).bind(now.0).bind(TOGETHER).fetch_all(&mut *connection).await? {
            let raw: RawDecision = raw_decision(row)?;
            // A row that cannot be understood is told where it is read.
            let Ok(decision) = self.decode(raw) else { continue };
            for change in sqlx::query(NOTES).bind(&decision.id).fetch_all(&mut *connection).await? {
                let mut said = decision.clone();
                said.note = change.try_get(1)?;
                let query = sqlx::query("UPDATE decision_changes SET note = ? WHERE seq = ?");
                let query = query.bind(self.policy.decision(said).note).bind(change.try_get::<i64, _>(0)?);
                query.execute(&mut *connection).await?;
            }
            let kept = self.policy.decision(decision);
            let query = sqlx::query(HIDE).bind(network_text(kept.target)).bind(&kept.ground.reason).bind(&kept.note);
            query.bind(&kept.id).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
