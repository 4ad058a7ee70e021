//! The dashboard's pages: what stands in `assets/`, a part of the binary. Nothing comes from elsewhere, and
//! nothing is made of what clients wrote: scripts fetch that from the API and show it as text.

use std::net::SocketAddr;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Request;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::{Backend, Problem, access, endpoints};
use crate::event::digest;

/// Nothing but what this server gives, no script or style within a page, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; \
                      frame-ancestors 'none'";

struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal: $kind:literal),* $(,)?) => {
        const ASSETS: &[Asset] = &[$(Asset {
            path: concat!("/assets/", $name),
            kind: $kind,
            bytes: include_bytes!(concat!("../../assets/", $name)),
        }),*];
    };
}

assets! {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "overview.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "case.js": "text/javascript; charset=utf-8",
    "lists.js": "text/javascript; charset=utf-8",
    "rules.js": "text/javascript; charset=utf-8",
    "health.js": "text/javascript; charset=utf-8",
    "reference.js": "text/javascript; charset=utf-8",
    "history.js": "text/javascript; charset=utf-8",
    "analyze.js": "text/javascript; charset=utf-8",
    "ask.js": "text/javascript; charset=utf-8",
    "admin.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

/// The one page, which its script fills.
const PAGE: &[u8] = include_bytes!("../../assets/index.html");

/// Changes when any asset does, so that a browser asks once for each version.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let all: Vec<&[u8]> = ASSETS.iter().map(|asset| asset.bytes).chain([PAGE]).collect();
    format!("\"{}\"", digest(&all))
});

/// The dashboard and the API, for browsers and programs that sign in.
pub fn dashboard(backend: Backend) -> IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
    endpoints::router(&backend)
        .layer(from_fn_with_state(backend.clone(), access::of_key))
        .fallback(page)
        .layer(from_fn(guarded))
        .with_state(backend)
        .into_make_service_with_connect_info()
}

async fn page(request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/api/") {
        return Problem::NotFound("no such path; the API is under /api/v1".into()).into_response();
    }
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if path.starts_with("/assets/") {
        return match ASSETS.iter().find(|asset| asset.path == path) {
            Some(asset) => unless_known(request.headers(), asset.kind, asset.bytes),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    // Every page has an address; which it is the script sees.
    unless_known(request.headers(), "text/html; charset=utf-8", PAGE)
}

fn unless_known(headers: &HeaderMap, kind: &'static str, bytes: &'static [u8]) -> Response {
    let caching = [(header::ETAG, TAG.as_str()), (header::CACHE_CONTROL, "no-cache")];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == TAG.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, kind)], bytes).into_response()
}

/// What browsers are told with every answer.
async fn guarded(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set =
        |name: header::HeaderName, value: &'static str| headers.insert(name, header::HeaderValue::from_static(value));
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    if is_api {
        set(header::CACHE_CONTROL, "no-store");
    }
    response
}
