//! Every way to ask the daemon: one table for the router, for who may what, and for the documentation.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, patch, post};
use serde_json::{Value, json};

use super::crowdsec::keys;
use super::{Backend, Problem, access, accounts, analyze, api, ask, history, live, metrics, tunes};
use crate::event::Role::{self, Admin, Analyst, Viewer};

/// One way to ask.
pub struct Endpoint {
    pub method: &'static str,
    pub path: &'static str,
    /// Who may at least; none: everybody, without signing in.
    pub role: Option<Role>,
    /// What it does, also in the audit.
    pub summary: &'static str,
    serve: fn() -> MethodRouter<Backend>,
}

const fn open(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    serve: fn() -> MethodRouter<Backend>,
) -> Endpoint {
    Endpoint { method, path, role: None, summary, serve }
}

const fn look(role: Role, path: &'static str, summary: &'static str, serve: fn() -> MethodRouter<Backend>) -> Endpoint {
    Endpoint { method: "GET", path, role: Some(role), summary, serve }
}

const fn act(
    role: Role,
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    serve: fn() -> MethodRouter<Backend>,
) -> Endpoint {
    Endpoint { method, path, role: Some(role), summary, serve }
}

#[rustfmt::skip]
pub const ENDPOINTS: &[Endpoint] = &[
    open("GET", "/healthz", "whether the daemon answers", || get(metrics::healthz)),
    open("POST", "/api/v1/auth/login", "sign in", || post(accounts::login)),
    open("POST", "/api/v1/auth/welcome", "choose a password by an invitation", || post(accounts::welcome)),
    act(Viewer, "POST", "/api/v1/auth/logout", "sign out", || post(accounts::logout)),
    act(Viewer, "POST", "/api/v1/auth/password", "change one's own password", || post(accounts::change_password)),
    look(Viewer, "/api/v1/auth/me", "who asks, and what they may", || get(accounts::me)),
    look(Viewer, "/api/v1/auth/tokens", "tokens of programs", || get(accounts::tokens)),
    act(Viewer, "POST", "/api/v1/auth/tokens", "make a token", || post(accounts::add_token)),
    act(Viewer, "DELETE", "/api/v1/auth/tokens/{id}", "take a token away", || delete(accounts::remove_token)),
    look(Admin, "/api/v1/users", "users", || get(accounts::users)),
    act(Admin, "POST", "/api/v1/users", "add a user", || post(accounts::add_user)),
    act(Admin, "PATCH", "/api/v1/users/{name}", "change a user's role, or whether they may sign in", || patch(accounts::change_user)),
    act(Admin, "DELETE", "/api/v1/users/{name}", "remove a user", || delete(accounts::remove_user)),
    act(Admin, "POST", "/api/v1/users/{name}/invite", "make a new link to choose a password", || post(accounts::invite_again)),
    look(Admin, "/api/v1/audit", "who did what", || get(accounts::audit)),

    look(Viewer, "/metrics", "figures for Prometheus", || get(metrics::metrics)),
    look(Viewer, "/readyz", "whether nothing is wrong, and what is", || get(metrics::readyz)),
    look(Viewer, "/api/v1/ping", "whether decisions are made and logs are read", || get(api::ping)),
    look(Viewer, "/api/v1/status", "what the daemon reads, finds and suffers from", || get(api::status)),
    look(Viewer, "/api/v1/events", "what is found and decided, as it happens (server-sent events)", || get(live::events)),
    look(Viewer, "/api/v1/decisions", "decisions, the newest first", || get(api::decisions)),
    act(Analyst, "POST", "/api/v1/decisions", "ban", || post(api::ban)),
    act(Admin, "DELETE", "/api/v1/decisions", "unban everybody", || delete(api::unban_all)),
    act(Admin, "POST", "/api/v1/decisions/import", "ban a list", api::import_route),
    act(Analyst, "DELETE", "/api/v1/decisions/{*target}", "unban", || delete(api::unban)),
    look(Viewer, "/api/v1/why/{*what}", "what led to a decision", || get(api::why)),
    act(Admin, "POST", "/api/v1/mode", "enforce for a while, or stop it", || post(api::mode)),
    act(Analyst, "POST", "/api/v1/release", "let go what is held back", || post(api::release)),
    look(Viewer, "/api/v1/findings", "findings, the newest first", || get(api::findings)),
    act(Analyst, "POST", "/api/v1/findings/{id}/verdict", "correct a verdict", || post(api::verdict)),
    look(Viewer, "/api/v1/history", "findings or decisions of the past", || get(history::past)),
    look(Viewer, "/api/v1/stats", "a time in figures", || get(history::report)),
    look(Viewer, "/api/v1/ask", "a question in words, and its answer", || get(ask::asked)),
    act(Analyst, "POST", "/api/v1/analyze", "analyse a log", || post(analyze::analyze)),
    act(Analyst, "POST", "/api/v1/analyze/stream", "analyse a log, with its progress", || post(analyze::stream)),
    act(Analyst, "POST", "/api/v1/report/{format}", "write an analysis down", || post(analyze::written_down)),
    look(Viewer, "/api/v1/analyses", "analyses that were kept", || get(analyze::kept)),
    look(Viewer, "/api/v1/ledger", "what models were asked and cost", || get(api::ledger)),
    look(Viewer, "/api/v1/corrections", "operators' words on findings", || get(api::corrections)),
    act(Admin, "DELETE", "/api/v1/verdicts", "forget what models said", || delete(api::forget_verdicts)),
    look(Viewer, "/api/v1/clients/{address}", "what is known of a client", || get(api::client)),
    look(Viewer, "/api/v1/allow", "networks that are never blocked", || get(api::allow_list)),
    act(Admin, "POST", "/api/v1/allow", "never block a network", || post(api::allow)),
    act(Admin, "DELETE", "/api/v1/allow/{*network}", "take a network from those never blocked", || delete(api::disallow)),
    look(Viewer, "/api/v1/changes", "what was recorded after a cursor", || get(api::changes)),
    act(Admin, "POST", "/api/v1/forget", "erase what is kept of a client", || post(api::forget)),
    look(Viewer, "/api/v1/settings", "what can be set while the daemon runs", || get(tunes::list)),
    act(Admin, "POST", "/api/v1/settings", "set a threshold or limit", || post(tunes::set)),
    act(Admin, "DELETE", "/api/v1/settings/{key}", "set it back", || delete(tunes::reset)),
    look(Admin, "/api/v1/bouncers", "bouncers that have a key", || get(keys::list)),
    act(Admin, "POST", "/api/v1/bouncers", "give a bouncer a key", || post(keys::add)),
    act(Admin, "DELETE", "/api/v1/bouncers/{name}", "take a bouncer's key away", || delete(keys::remove)),
    look(Viewer, "/api/v1/openapi.json", "this list, as OpenAPI", || get(async || axum::Json(openapi()))),
];

/// All of them. Who asks must be known already: see [`access`].
pub(super) fn router(backend: &Backend) -> Router<Backend> {
    ENDPOINTS.iter().fold(Router::new(), |router, endpoint| {
        let Endpoint { role, summary, .. } = *endpoint;
        let route = (endpoint.serve)();
        router.route(
            endpoint.path,
            match role {
                None => route,
                Some(role) => route.route_layer(from_fn_with_state(backend.clone(), move |state, request, next| {
                    access::require(role, summary, state, request, next)
                })),
            },
        )
    })
}

/// On the socket, whose permissions say who may use it.
pub(super) fn on_socket(backend: Backend) -> Router {
    let unknown = async || Problem::NotFound("no such path; the API is under /api/v1".into());
    router(&backend).fallback(unknown).layer(from_fn(access::of_socket)).with_state(backend)
}

/// The table for programs that make clients of it.
fn openapi() -> Value {
    let mut paths = serde_json::Map::new();
    for endpoint in ENDPOINTS {
        let names = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters: Vec<Value> = names
            .map(|name| name.trim_start_matches('*'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let mut operation = json!({
            "summary": endpoint.summary,
            "parameters": parameters,
            "responses": {
                "200": { "description": "done" },
                "default": { "description": "why not", "content": { "application/problem+json": {} } },
            },
        });
        match endpoint.role {
            None => operation["security"] = json!([]),
            Some(role) => operation["x-role"] = json!(role),
        }
        let path = paths.entry(endpoint.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[endpoint.method.to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Palisade", "version": env!("CARGO_PKG_VERSION") },
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "security": [{ "token": [] }],
        "paths": paths,
    })
}
