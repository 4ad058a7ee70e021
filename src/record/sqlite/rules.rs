//! What is known of rules beside how much they found.

use sqlx::{QueryBuilder, Row};

use super::Sqlite;
use super::read::number;
use crate::event::Timestamp;
use crate::record::StoreError;

/// When a rule or window was last found, and how often people said that it was wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleNote {
    pub rule: String,
    /// The beginning of the hour, or of the day if that is long ago.
    pub last_seen: Option<Timestamp>,
    pub false_positives: u64,
}

impl Sqlite {
    /// Of each rule of which anything is kept, by name.
    pub async fn rule_notes(&self) -> Result<Vec<RuleNote>, StoreError> {
        let query = QueryBuilder::new(
            "SELECT rule, max(last) AS last, sum(wrong) AS wrong FROM ( \
                 SELECT key AS rule, max(start) AS last, 0 AS wrong FROM rollups \
                 WHERE dimension = 'rule' AND span IN ('hour', 'day') AND key <> '' AND findings > 0 GROUP BY key \
                 UNION ALL SELECT rule.value, NULL, count(*) FROM corrections \
                 JOIN findings ON findings.id = corrections.finding_id, json_each(findings.rule_ids) AS rule \
                 WHERE corrections.verdict = 'benign' GROUP BY rule.value \
             ) GROUP BY rule ORDER BY rule",
        );
        self.read(query, |row| {
            Ok(RuleNote {
                rule: row.try_get("rule")?,
                last_seen: row.try_get::<Option<i64>, _>("last")?.map(Timestamp),
                false_positives: number(&row, "wrong")?,
            })
        })
        .await
    }
}
