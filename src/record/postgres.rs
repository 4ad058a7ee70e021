//! Postgres, or Supabase: what agents remember together.

use sqlx::PgPool;

/// A database that agents share.
#[derive(Debug)]
pub struct Postgres {
    #[expect(dead_code, reason = "its engine comes next")]
    pool: PgPool,
}
