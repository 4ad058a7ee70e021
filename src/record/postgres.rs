//! Postgres, or Supabase: what agents remember together.

use sqlx::PgPool;

/// A database that agents share.
#[derive(Debug)]
pub struct Postgres {
    #[expect(dead_code, reason = "its engine comes next")]
    pool: PgPool,
}

/// A pool on the database that `config` names.
pub async fn open_pool(config: &super::StoreConfig) -> Result<PgPool, sqlx::Error> {
    PgPool::connect(config.database_url.reveal()).await
}
