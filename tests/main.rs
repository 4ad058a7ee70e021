//! Every test that needs more than one room, or a real server: one binary, a module each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod alloc;
mod analyze;
mod ask;
#[cfg(feature = "azure")]
mod azure;
mod compose;
mod crowdsec;
mod daemon;
mod dashboard;
mod docker;
mod docs;
mod doctor;
mod fleet;
mod import;
mod memory;
mod notify;
mod package;
mod postgres;
mod report;
mod respond;
mod store;
mod story;
mod support;
mod tidy;
mod triage;
