//! Postgres, or Supabase: what agents remember together.

use super::*;
use crate::event::Timestamp;

/// A database that agents share.
#[derive(Debug)]
pub struct Postgres {}

#[expect(clippy::unused_async, reason = "its engine comes next")]
impl Postgres {
    pub async fn connect(_: &StoreConfig) -> Result<Option<Postgres>, StoreError> {
        Ok(None)
    }
    pub async fn migrate(&self) -> Result<(), StoreError> {
        Ok(())
    }
    pub async fn knows(&self, _: &str) -> Result<bool, StoreError> {
        Ok(false)
    }
    pub async fn remembered(&self, _: &str, _: Timestamp) -> Result<Remembered, StoreError> {
        Ok(Remembered::default())
    }
}
impl Store for Postgres {
    fn put<'a>(&'a self, _: &'a str, _: &'a Rows, _: Timestamp) -> Answer<'a, u64> {
        Box::pin(std::future::ready(Ok(0)))
    }
    fn forget(&self, _: ipnet::IpNet) -> Answer<'_, u64> {
        Box::pin(std::future::ready(Ok(0)))
    }
    fn prune(&self, _: Timestamp) -> Answer<'_, u64> {
        Box::pin(std::future::ready(Ok(0)))
    }
}
