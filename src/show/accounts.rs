//! Signing in and out, users, tokens of programs, and who did what.

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::access::{COOKIE, Caller, Origin, SESSION_SECS};
use super::api::Answer;
use super::crowdsec::keys::{hash, random_key};
use super::http::part;
use super::{Backend, Problem, password};
use crate::event::{AccessKey, AccessKind, Audited, Role, Timestamp, digest, printable};

/// So long an invitation waits for whom it invites.
const INVITATION_SECS: u64 = 24 * 3600;
const DAY_SECS: u64 = 86_400;
const MAX_TOKEN_DAYS: u64 = 3650;
const MAX_NOTE: usize = 100;
const MAX_NAME: usize = 64;
const ROWS: u32 = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    name: String,
    password: String,
}

/// Gives a session as a cookie.
pub(super) async fn login(
    State(backend): State<Backend>,
    Extension(Origin(address)): Extension<Origin>,
    headers: HeaderMap,
    Json(LoginRequest { name, password }): Json<LoginRequest>,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let wait = throttle(&backend, |throttle| throttle.wait_secs(&name, &address, now));
    if wait > 0 {
        return Err(Problem::TooMany(format!("too many wrong passwords; wait {wait} s")));
    }
    let known = backend.store.password(&name).await?;
    if !check(&backend, password, known).await? {
        throttle(&backend, |throttle| throttle.failed(&name, &address, now));
        let shown = printable(name.as_bytes(), MAX_NAME);
        tracing::warn!(source_ip = address, user = shown, "wrong name or password at the dashboard");
        note(&backend, &shown, &address, "sign-in refused", "").await?;
        return Err(Problem::Unauthorized("wrong name or password".into()));
    }
    throttle(&backend, |throttle| throttle.succeeded(&name, &address));
    note(&backend, &name, &address, "signed in", "").await?;
    session(&backend, &name, &headers, now).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WelcomeRequest {
    key: String,
    password: String,
}

/// Takes up an invitation: sets the password and signs in.
pub(super) async fn welcome(
    State(backend): State<Backend>,
    Extension(Origin(address)): Extension<Origin>,
    headers: HeaderMap,
    Json(WelcomeRequest { key, password }): Json<WelcomeRequest>,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let found = backend.store.key_with(AccessKind::Invitation, &hash(key.as_bytes()), now).await?;
    let gone = "this link was used or is too old; `palisade user invite NAME` on the server prints another";
    let name = found.ok_or_else(|| Problem::Unauthorized(gone.into()))?.user;
    backend.store.password_set(&name, &hashed(&backend, password).await?).await?;
    note(&backend, &name, &address, "chose a password", "").await?;
    session(&backend, &name, &headers, now).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordRequest {
    old_password: String,
    password: String,
}

/// Changes one's own password; other browsers are signed out.
pub(super) async fn change_password(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(request): Json<PasswordRequest>,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let wait = throttle(&backend, |throttle| throttle.wait_secs(&caller.name, &caller.address, now));
    if wait > 0 {
        return Err(Problem::TooMany(format!("too many wrong passwords; wait {wait} s")));
    }
    let known = backend.store.password(&caller.name).await?;
    if !check(&backend, request.old_password, known).await? {
        throttle(&backend, |throttle| throttle.failed(&caller.name, &caller.address, now));
        return Err(Problem::Forbidden("the old password is another".into()));
    }
    backend.store.password_set(&caller.name, &hashed(&backend, request.password).await?).await?;
    session(&backend, &caller.name, &headers, now).await
}

pub(super) async fn logout(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    if let Some(held) = &caller.key {
        backend.store.key_remove(&held.key.id, None).await?;
    }
    let gone = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(([(header::SET_COOKIE, gone)], StatusCode::NO_CONTENT).into_response())
}

/// Who asks, and what they may.
pub(super) async fn me(Extension(caller): Extension<Caller>) -> Json<Me> {
    let session_expires_at = caller.key.as_ref().map(|held| held.key.expires_at);
    Json(Me { name: caller.name, role: caller.role, session_expires_at })
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Me {
    name: String,
    role: Role,
    session_expires_at: Option<Timestamp>,
}

pub(super) async fn users(State(backend): State<Backend>) -> Answer {
    Ok(Json(json!(backend.store.users().await?)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserRequest {
    name: String,
    role: Role,
}

/// A user, and the link by which they choose a password.
#[derive(Serialize, JsonSchema)]
pub(super) struct Invited {
    name: String,
    role: Role,
    link: String,
    expires_at: Timestamp,
}

/// Takes up a user and gives the link by which they choose a password.
pub(super) async fn add_user(
    State(backend): State<Backend>,
    Json(UserRequest { name, role }): Json<UserRequest>,
) -> Result<Json<Invited>, Problem> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-@+".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) {
        let why = format!("a name is at most {MAX_NAME} small letters, digits and . _ - @ +");
        return Err(Problem::Invalid(why));
    }
    if !backend.store.user_add(&name, role, Timestamp::now()).await? {
        return Err(Problem::Refused(format!("there is a user {name}")));
    }
    invite(&backend, &name, role).await.map(Json)
}

/// A new link, for who lost a password or the first link.
pub(super) async fn invite_again(
    State(backend): State<Backend>,
    Path(name): Path<String>,
) -> Result<Json<Invited>, Problem> {
    let user = user(&backend, &name).await?;
    invite(&backend, &user.name, user.role).await.map(Json)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    role: Option<Role>,
    is_active: Option<bool>,
}

pub(super) async fn change_user(
    State(backend): State<Backend>,
    Path(name): Path<String>,
    Json(change): Json<UserChange>,
) -> Answer {
    let known = user(&backend, &name).await?;
    let (role, is_active) = (change.role.unwrap_or(known.role), change.is_active.unwrap_or(known.is_active));
    if !backend.store.user_set(&name, role, is_active).await? {
        return Err(last_admin(&name));
    }
    Ok(Json(json!(user(&backend, &name).await?)))
}

pub(super) async fn remove_user(State(backend): State<Backend>, Path(name): Path<String>) -> Answer {
    user(&backend, &name).await?;
    if !backend.store.user_remove(&name).await? {
        return Err(last_admin(&name));
    }
    Ok(Json(json!({ "name": name })))
}

/// One's own tokens; an administrator sees everybody's.
pub(super) async fn tokens(State(backend): State<Backend>, Extension(caller): Extension<Caller>) -> Answer {
    Ok(Json(json!(backend.store.keys(AccessKind::Token, own(&caller)).await?)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    note: String,
    /// At most one's own; none: viewer.
    role: Option<Role>,
    days: Option<u64>,
}

/// A token, shown this once.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewToken {
    token: String,
    id: String,
    expires_at: Timestamp,
}

/// Gives a token, which nobody can ask for again.
pub(super) async fn add_token(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<TokenRequest>,
) -> Result<Json<NewToken>, Problem> {
    let role = request.role.unwrap_or(Role::Viewer);
    if role > caller.role {
        return Err(Problem::Forbidden(format!("you may not give what only {} may", role.as_str())));
    }
    if request.note.is_empty() || request.note.len() > MAX_NOTE {
        return Err(Problem::Invalid(format!("`note` says what the token is for, in {MAX_NOTE} bytes at most")));
    }
    user(&backend, &caller.name).await?;
    let days = request.days.unwrap_or(90).clamp(1, MAX_TOKEN_DAYS);
    let (kind, note) = (AccessKind::Token, printable(request.note.as_bytes(), MAX_NOTE));
    let (token, key) = new_key(&backend, kind, &caller.name, role, note, days * DAY_SECS).await?;
    Ok(Json(NewToken { token, id: key.id, expires_at: key.expires_at }))
}

pub(super) async fn remove_token(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    if !backend.store.key_remove(&id, own(&caller)).await? {
        return Err(Problem::NotFound(format!("there is no token {id:?}")));
    }
    Ok(Json(json!({ "id": id })))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// What was done before this entry.
    before: Option<i64>,
    limit: Option<u32>,
}

pub(super) async fn audit(
    State(backend): State<Backend>,
    uri: Uri,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(ROWS).min(1000);
    let rows = backend.store.audited(query.before.unwrap_or(i64::MAX), limit).await?;
    Ok(part(&uri, &rows, limit, "before", |row| row.id.to_string()))
}

/// The link of a first administrator, as long as nobody can sign in; none: somebody can.
///
/// # Errors
/// The database's.
pub async fn first_link(backend: &Backend) -> Result<Option<String>, Problem> {
    let users = backend.store.users().await?;
    if users.iter().any(|user| user.has_password) {
        return Ok(None);
    }
    backend.store.user_add("admin", Role::Admin, Timestamp::now()).await?;
    let invitation = invite(backend, "admin", Role::Admin).await?;
    Ok(Some(invitation.link))
}

async fn invite(backend: &Backend, name: &str, role: Role) -> Result<Invited, Problem> {
    // Of several links the last one counts.
    for old in backend.store.keys(AccessKind::Invitation, Some(name)).await? {
        backend.store.key_remove(&old.id, None).await?;
    }
    let (key, invitation) =
        new_key(backend, AccessKind::Invitation, name, role, String::new(), INVITATION_SECS).await?;
    // Behind the number sign: no server and no log sees it.
    let link = format!("{}/welcome#{key}", backend.public_url);
    Ok(Invited { name: name.to_owned(), role, link, expires_at: invitation.expires_at })
}

async fn session(backend: &Backend, name: &str, headers: &HeaderMap, now: Timestamp) -> Result<Response, Problem> {
    let user = user(backend, name).await?;
    let browser = headers.get(header::USER_AGENT).map_or(b"".as_slice(), |agent| agent.as_bytes());
    let note = printable(browser, MAX_NOTE);
    let (key, session) = new_key(backend, AccessKind::Session, name, user.role, note, SESSION_SECS).await?;
    let secure = if backend.public_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={key}; Path=/; HttpOnly; SameSite=Strict{secure}");
    let body = SignedIn { name: name.to_owned(), role: user.role, session_expires_at: session.expires_at, time: now };
    Ok(([(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

/// Who signed in, and until when.
#[derive(Serialize, JsonSchema)]
pub(super) struct SignedIn {
    name: String,
    role: Role,
    session_expires_at: Timestamp,
    time: Timestamp,
}

async fn new_key(
    backend: &Backend,
    kind: AccessKind,
    user: &str,
    role: Role,
    note: String,
    secs: u64,
) -> Result<(String, AccessKey), Problem> {
    let secret = random_key().map_err(|error| Problem::Failed(format!("no random key: {error}")))?;
    let now = Timestamp::now();
    let key = AccessKey {
        id: digest(&[b"access key", secret.as_bytes()])[..12].to_owned(),
        user: user.to_owned(),
        role,
        note,
        created_at: now,
        expires_at: now.plus_secs(secs),
        last_used: None,
    };
    backend.store.key_add(kind, &hash(secret.as_bytes()), &key).await?;
    Ok((secret, key))
}

async fn user(backend: &Backend, name: &str) -> Result<crate::event::User, Problem> {
    let found = backend.store.users().await?.into_iter().find(|user| user.name == name);
    found.ok_or_else(|| Problem::NotFound(format!("there is no user {name:?}")))
}

/// Whose keys somebody sees: their own, administrators all.
fn own(caller: &Caller) -> Option<&str> {
    (caller.role < Role::Admin).then_some(caller.name.as_str())
}

fn last_admin(name: &str) -> Problem {
    Problem::Refused(format!(
        "{name} is the last administrator who can sign in; another one must have chosen a password first"
    ))
}

fn throttle<T>(backend: &Backend, f: impl FnOnce(&mut password::Throttle) -> T) -> T {
    f(&mut backend.throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

async fn note(backend: &Backend, user: &str, address: &str, action: &str, detail: &str) -> Result<(), Problem> {
    let entry = Audited {
        id: 0,
        time: Timestamp::now(),
        user: user.to_owned(),
        address: address.to_owned(),
        action: action.to_owned(),
        detail: detail.to_owned(),
    };
    Ok(backend.store.audit(&entry).await?)
}

async fn hashed(backend: &Backend, password: String) -> Result<String, Problem> {
    if password.chars().count() < password::MIN_LETTERS {
        return Err(Problem::Invalid(format!("a password has {} letters at least", password::MIN_LETTERS)));
    }
    if password.len() > password::MAX_BYTES {
        return Err(Problem::Invalid(format!("a password has {} bytes at most", password::MAX_BYTES)));
    }
    let hash = in_turn(backend, move || password::hashed(&password)).await?;
    hash.map_err(|error| Problem::Failed(format!("cannot hash a password: {error}")))
}

async fn check(backend: &Backend, password: String, known: Option<String>) -> Result<bool, Problem> {
    if password.len() > password::MAX_BYTES {
        return Ok(false);
    }
    in_turn(backend, move || password::matches(&password, known.as_deref())).await
}

/// Hashing costs 20 MB and much of a core, by design: one at a time, and not on a thread that answers others.
async fn in_turn<T: Send + 'static>(backend: &Backend, f: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let _turn = backend.hashing.acquire().await.map_err(|error| Problem::Failed(error.to_string()))?;
    tokio::task::spawn_blocking(f).await.map_err(|error| Problem::Failed(error.to_string()))
}
