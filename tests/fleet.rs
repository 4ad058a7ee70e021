//! Agents that share their bans, through a real Redis and a real Postgres.

mod agents;
mod bus;
mod one;

use palisade::event::{Category, Timestamp};
use palisade::fleet::{Key, Message, Signed, What};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn key() -> Key {
    Key::new(KEY.as_bytes()).unwrap()
}

/// What agent `origin` says of `target`, for an hour.
fn message(origin: &str, id: &str, what: What, target: &str) -> Message {
    let now = Timestamp::now();
    Message {
        version: 1,
        origin: origin.into(),
        id: id.into(),
        what,
        target: target.into(),
        category: Some(Category::Sqli.as_str().into()),
        score: 9,
        reason: "sqli-union-select".into(),
        created_at: now.0,
        expires_at: now.plus_secs(3600).0,
        issued_at: now.0,
    }
}

fn banned(origin: &str, id: &str, target: &str) -> Signed {
    key().sign(&message(origin, id, What::Banned, target))
}

fn lifted(origin: &str, id: &str, target: &str) -> Signed {
    key().sign(&message(origin, id, What::Lifted, target))
}
