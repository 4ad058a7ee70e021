//! The keys of bouncers, as operators give and take them over the daemon's socket.

use std::fs::File;
use std::io::Read;

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::event::Timestamp;
use crate::show::{Backend, Problem};

/// Letters of a bouncer's name at most.
const MAX_NAME: usize = 64;

/// What is kept of a key, and what it is looked up by.
///
/// A fast hash is right: a key is 256 random bits, so there is no dictionary that a slow hash would have to
/// make costly. Looking it up needs no comparison in constant time: what the time of a look-up tells is how
/// a hash begins, and nobody can make keys whose hashes begin as they wish and learn a key by that.
pub fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

pub async fn list(State(backend): State<Backend>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!(backend.store.bouncers().await?)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    name: String,
}

/// Gives a bouncer its key, which nobody can ask for again.
pub async fn add(State(backend): State<Backend>, Json(request): Json<AddRequest>) -> Result<Json<Value>, Problem> {
    let name = request.name;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    // It stands in paths, where "." and ".." are something else.
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.len() > MAX_NAME || !name.chars().all(is_plain) {
        let why = format!("a bouncer's name is at most {MAX_NAME} letters, digits, dots, dashes and underscores");
        return Err(Problem::Invalid(why));
    }
    let key = random_key().map_err(|error| Problem::Failed(format!("no random key: {error}")))?;
    if !backend.store.bouncer_add(&name, &hash(key.as_bytes()), Timestamp::now()).await? {
        return Err(Problem::Refused(format!("there is a bouncer {name}; `bouncer del {name}` takes its key away")));
    }
    tracing::info!(bouncer = name, "has a key now");
    Ok(Json(json!({ "name": name, "key": key })))
}

pub async fn remove(State(backend): State<Backend>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    if !backend.store.bouncer_remove(&name).await? {
        return Err(Problem::NotFound(format!("there is no bouncer {name:?}")));
    }
    tracing::info!(bouncer = name, "has no key any more");
    Ok(Json(json!({ "name": name })))
}

/// 32 random bytes of the kernel's, in hexadecimal.
pub fn random_key() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
