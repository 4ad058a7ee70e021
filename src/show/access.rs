//! Who asks, and whether they may. Over the socket the kernel says who; in a browser a session does, for
//! programs a token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use super::crowdsec::keys::hash;
use super::{Backend, Problem};
use crate::event::{AccessKey, AccessKind, Audited, Role, Timestamp, printable};
use crate::record::Sqlite;

/// What holds a browser's session.
pub(super) const COOKIE: &str = "palisade_session";
/// A session that nobody uses ends after so long.
pub(super) const SESSION_SECS: u64 = 12 * 3600;
/// Its use is noted this often.
const NOTED_SECS: u64 = 60;
/// Bodies up to this size are written into the audit.
const AUDITED_BYTES: usize = 1000;
/// What is posted there is text of logs, of which nothing is kept.
const LOGS: [&str; 2] = ["/api/v1/analyze", "/api/v1/report"];

/// Who speaks on the other end of the socket, as the kernel says.
#[derive(Clone, Debug)]
pub struct Peer(String);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        let Ok(credentials) = stream.io().peer_cred() else { return Peer("unknown".into()) };
        let uid = credentials.uid();
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
        Peer(user.map_or_else(|| format!("uid {uid}"), |user| printable(user.name.as_bytes(), 64)))
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub name: String,
    pub role: Role,
    /// Where from: an address, or `socket`.
    pub address: String,
    /// The key that let them in; none over the socket and behind a proxy that signs people in.
    pub key: Option<Arc<Held>>,
}

/// A key, and what it is found by.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub key: AccessKey,
    kind: AccessKind,
    hash: [u8; 32],
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin(pub String);

/// Over the socket: whoever its permissions let in may everything.
pub(super) async fn of_socket(
    ConnectInfo(Peer(name)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = "socket".to_owned();
    request.extensions_mut().insert(Origin(address.clone()));
    request.extensions_mut().insert(Caller { name, role: Role::Admin, address, key: None });
    next.run(request).await
}

/// Over TCP: by session, token or, where that is configured, the name that a proxy gives.
pub(super) async fn of_key(
    State(backend): State<Backend>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_proxied = peer.ip().is_loopback();
    let address = forwarded(request.headers()).filter(|_| is_proxied).unwrap_or(peer.ip()).to_string();
    match find(&backend, request.headers(), is_proxied, &address).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                if caller.key.as_ref().is_some_and(|_| is_cross_site(request.method(), request.headers())) {
                    return Problem::Forbidden("this request comes from another site's page".into()).into_response();
                }
                request.extensions_mut().insert(caller);
            }
            request.extensions_mut().insert(Origin(address));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// What a proxy on this host says of whom it speaks for: the last entry, since the others anybody can send.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get("x-forwarded-for")?.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

async fn find(
    backend: &Backend,
    headers: &HeaderMap,
    is_proxied: bool,
    address: &str,
) -> Result<Option<Caller>, Problem> {
    let address = address.to_owned();
    let name_of_proxy = || {
        let header = backend.dashboard.user_header.as_str();
        headers.get(header).filter(|_| is_proxied && !header.is_empty())?.to_str().ok().map(str::to_owned)
    };
    if let Some(name) = name_of_proxy() {
        let user = backend.store.users().await?.into_iter().find(|user| user.name == name && user.is_active);
        return Ok(user.map(|user| Caller { name, role: user.role, address, key: None }));
    }
    let (kind, key) = match (bearer(headers), cookie(headers)) {
        (Some(token), _) => (AccessKind::Token, token),
        (None, Some(session)) => (AccessKind::Session, session),
        (None, None) => return Ok(None),
    };
    let (now, hash) = (Timestamp::now(), hash(key.as_bytes()));
    let Some(key) = backend.store.key_with(kind, &hash, now).await? else { return Ok(None) };
    if key.last_used.unwrap_or(key.created_at).secs_until(now) >= NOTED_SECS {
        let expires_at = if kind == AccessKind::Session { now.plus_secs(SESSION_SECS) } else { key.expires_at };
        backend.store.key_used(&key.id, now, expires_at).await?;
    }
    let (name, role) = (key.user.clone(), key.role);
    Ok(Some(Caller { name, role, address, key: Some(Arc::new(Held { key, kind, hash })) }))
}

/// Whether the key still opens; asked again and again where an answer goes on for long.
pub(super) async fn still_holds(store: &Sqlite, caller: &Caller) -> bool {
    let Some(Held { kind, hash, .. }) = caller.key.as_deref() else { return true };
    store.key_with(*kind, hash, Timestamp::now()).await.is_ok_and(|key| key.is_some())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Whether a page of another site had the browser send this. The cookie is SameSite=Strict already; this holds
/// where a browser does not know that, and against other ports of this host.
fn is_cross_site(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return false;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let host = text("host").unwrap_or_default();
    text("origin").is_some_and(|origin| origin.split_once("://").is_none_or(|(_, of)| of != host))
}

/// Lets through who may as much as `least`, and writes down what they changed.
pub(super) async fn require(
    least: Role,
    what: &'static str,
    State(backend): State<Backend>,
    request: Request,
    next: Next,
) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Problem::Unauthorized("sign in, or send a token as `Authorization: Bearer …`".into()).into_response();
    };
    if caller.role < least {
        let why = format!("only {} may do this; {} is {}", least.as_str(), caller.name, caller.role.as_str());
        return Problem::Forbidden(why).into_response();
    }
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let path = request.uri().path().to_owned();
    let (request, body) = match LOGS.iter().any(|log| path.starts_with(log)) {
        true => (request, String::new()),
        false => match with_body(request).await {
            Ok(both) => both,
            Err(problem) => return problem.into_response(),
        },
    };
    let response = next.run(request).await;
    if response.status().is_success() {
        let detail = printable(format!("{path} {body}").trim().as_bytes(), AUDITED_BYTES + 200);
        let Caller { name: user, address, .. } = caller;
        let entry = Audited { id: 0, time: Timestamp::now(), user, address, action: what.to_owned(), detail };
        if let Err(error) = backend.store.audit(&entry).await {
            tracing::error!("cannot write down who did what: {error}");
        }
    }
    response
}

/// The request, and what of its body is worth keeping: what is small, and no secret.
async fn with_body(request: Request) -> Result<(Request, String), Problem> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(usize::MAX);
    if length > AUDITED_BYTES {
        return Ok((request, String::new()));
    }
    let (head, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, AUDITED_BYTES).await.map_err(|error| Problem::Invalid(error.to_string()))?;
    let mut shown = serde_json::from_slice(&bytes).unwrap_or(serde_json::Value::Null);
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|name, _| !["password", "old_password"].contains(&name.as_str()));
    }
    let text = if shown.is_null() { String::new() } else { shown.to_string() };
    Ok((Request::from_parts(head, axum::body::Body::from(bytes)), text))
}
