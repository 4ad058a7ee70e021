//! Every way to ask the daemon: one table for the router, for who may what, and for the documentation.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, patch, post};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use super::crowdsec::keys;
use super::{
    Backend, Problem, access, accounts, analyze, api, ask, history, http, live, metrics, openapi, rules, tunes,
};
use crate::event::Role::{self, Admin, Analyst, Viewer};
use crate::event::analysis::Analysis;
use crate::event::{AccessKey, Audited, Status, User};
use crate::record::{Bouncer, Change, Correction, FindingRow, Report};

/// One way to ask.
pub struct Endpoint {
    pub method: &'static str,
    pub path: &'static str,
    /// Who may at least; none: everybody, without signing in.
    pub role: Option<Role>,
    /// What it does, also in the audit.
    pub summary: &'static str,
    serve: fn() -> MethodRouter<Backend>,
    /// What stands in the query string, ...
    pub(super) query: Option<Shape>,
    /// ... in the body ...
    pub(super) body: Content,
    /// ... and in the answer.
    pub(super) answer: Content,
}

/// Gives the schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What is sent or comes back.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Nothing,
    Json(Shape),
    /// Of this media type.
    Other(&'static str),
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn way(
    role: Option<Role>,
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    serve: fn() -> MethodRouter<Backend>,
) -> Endpoint {
    let answer = Content::Json(shape::<Map<String, Value>>);
    Endpoint { method, path, role, summary, serve, query: None, body: Content::Nothing, answer }
}

const fn open(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    serve: fn() -> MethodRouter<Backend>,
) -> Endpoint {
    way(None, method, path, summary, serve)
}

const fn look(role: Role, path: &'static str, summary: &'static str, serve: fn() -> MethodRouter<Backend>) -> Endpoint {
    way(Some(role), "GET", path, summary, serve)
}

const fn act(
    role: Role,
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    serve: fn() -> MethodRouter<Backend>,
) -> Endpoint {
    way(Some(role), method, path, summary, serve)
}

impl Endpoint {
    const fn asks<T: JsonSchema>(mut self) -> Endpoint {
        self.query = Some(shape::<T>);
        self
    }

    const fn takes<T: JsonSchema>(mut self) -> Endpoint {
        self.body = Content::Json(shape::<T>);
        self
    }

    const fn takes_other(mut self, kind: &'static str) -> Endpoint {
        self.body = Content::Other(kind);
        self
    }

    /// Unless said, an object.
    const fn gives<T: JsonSchema>(mut self) -> Endpoint {
        self.answer = Content::Json(shape::<T>);
        self
    }

    const fn gives_other(mut self, kind: &'static str) -> Endpoint {
        self.answer = Content::Other(kind);
        self
    }

    const fn gives_nothing(mut self) -> Endpoint {
        self.answer = Content::Nothing;
        self
    }
}

#[rustfmt::skip]
pub const ENDPOINTS: &[Endpoint] = &[
    open("GET", "/healthz", "whether the daemon answers", || get(metrics::healthz)).gives_other("text/plain"),
    open("POST", "/api/v1/auth/login", "sign in", || post(accounts::login)).takes::<accounts::LoginRequest>().gives::<accounts::SignedIn>(),
    open("POST", "/api/v1/auth/welcome", "choose a password by an invitation", || post(accounts::welcome)).takes::<accounts::WelcomeRequest>().gives::<accounts::SignedIn>(),
    act(Viewer, "POST", "/api/v1/auth/logout", "sign out", || post(accounts::logout)).gives_nothing(),
    act(Viewer, "POST", "/api/v1/auth/password", "change one's own password", || post(accounts::change_password)).takes::<accounts::PasswordRequest>().gives::<accounts::SignedIn>(),
    look(Viewer, "/api/v1/auth/me", "who asks, and what they may", || get(accounts::me)).gives::<accounts::Me>(),
    look(Viewer, "/api/v1/auth/tokens", "tokens of programs", || get(accounts::tokens)).gives::<Vec<AccessKey>>(),
    act(Viewer, "POST", "/api/v1/auth/tokens", "make a token", || post(accounts::add_token)).takes::<accounts::TokenRequest>().gives::<accounts::NewToken>(),
    act(Viewer, "DELETE", "/api/v1/auth/tokens/{id}", "take a token away", || delete(accounts::remove_token)),
    look(Admin, "/api/v1/users", "users", || get(accounts::users)).gives::<Vec<User>>(),
    act(Admin, "POST", "/api/v1/users", "add a user", || post(accounts::add_user)).takes::<accounts::UserRequest>().gives::<accounts::Invited>(),
    act(Admin, "PATCH", "/api/v1/users/{name}", "change a user's role, or whether they may sign in", || patch(accounts::change_user)).takes::<accounts::UserChange>().gives::<User>(),
    act(Admin, "DELETE", "/api/v1/users/{name}", "remove a user", || delete(accounts::remove_user)),
    act(Admin, "POST", "/api/v1/users/{name}/invite", "make a new link to choose a password", || post(accounts::invite_again)).gives::<accounts::Invited>(),
    look(Admin, "/api/v1/audit", "who did what", || get(accounts::audit)).asks::<accounts::AuditQuery>().gives::<Vec<Audited>>(),

    look(Viewer, "/metrics", "figures for Prometheus", || get(metrics::metrics)).gives_other("text/plain"),
    look(Viewer, "/readyz", "whether nothing is wrong, and what is", || get(metrics::readyz)).gives_other("text/plain"),
    look(Viewer, "/api/v1/ping", "whether decisions are made and logs are read", || get(api::ping)),
    look(Viewer, "/api/v1/status", "what the daemon reads, finds and suffers from", || get(api::status)).gives::<Status>(),
    look(Viewer, "/api/v1/events", "what is found and decided, as it happens (server-sent events)", || get(live::events)).gives_other("text/event-stream"),
    look(Viewer, "/api/v1/decisions", "decisions, the newest first", || get(api::decisions)).asks::<api::ListQuery>().gives::<Vec<api::DecisionRow>>(),
    act(Analyst, "POST", "/api/v1/decisions", "ban", || post(api::ban)).takes::<api::BanRequest>(),
    act(Admin, "DELETE", "/api/v1/decisions", "unban everybody", || delete(api::unban_all)),
    act(Admin, "POST", "/api/v1/decisions/import", "ban a list", api::import_route).takes::<api::ImportRequest>(),
    act(Analyst, "DELETE", "/api/v1/decisions/{*target}", "unban", || delete(api::unban)),
    look(Viewer, "/api/v1/why/{*what}", "what led to a decision", || get(api::why)).gives::<api::Why>(),
    act(Admin, "POST", "/api/v1/mode", "enforce for a while, or stop it", || post(api::mode)).takes::<api::ModeRequest>(),
    act(Analyst, "POST", "/api/v1/release", "let go what is held back", || post(api::release)),
    look(Viewer, "/api/v1/findings", "findings, the newest first", || get(api::findings)).asks::<api::FindingsQuery>().gives::<Vec<FindingRow>>(),
    act(Analyst, "POST", "/api/v1/findings/{id}/verdict", "correct a verdict", || post(api::verdict)).takes::<api::VerdictRequest>(),
    look(Viewer, "/api/v1/history", "findings or decisions of the past", || get(history::past)).asks::<history::HistoryQuery>().gives::<Vec<Map<String, Value>>>(),
    look(Viewer, "/api/v1/stats", "a time in figures", || get(history::report)).asks::<history::StatsQuery>().gives::<Report>(),
    look(Viewer, "/api/v1/countries", "where the clients of a time are", || get(history::countries)).asks::<history::StatsQuery>().gives::<Vec<history::InCountry>>(),
    look(Viewer, "/api/v1/ask", "a question in words, and its answer", || get(ask::asked)).asks::<ask::AskQuery>(),
    act(Analyst, "POST", "/api/v1/analyze", "analyse a log", || post(analyze::analyze)).asks::<analyze::AnalysisQuery>().takes_other("application/octet-stream").gives::<Analysis>(),
    act(Analyst, "POST", "/api/v1/analyze/stream", "analyse a log, with its progress", || post(analyze::stream)).asks::<analyze::AnalysisQuery>().takes_other("application/octet-stream").gives_other("text/event-stream"),
    act(Analyst, "POST", "/api/v1/report/{format}", "write an analysis down", || post(analyze::written_down)).takes::<Analysis>().gives_other("*/*"),
    look(Viewer, "/api/v1/analyses", "analyses that were kept, one's own and shared ones", || get(analyze::kept)).gives::<Vec<analyze::Kept>>(),
    look(Viewer, "/api/v1/analyses/{id}/share", "who sees an analysis", || get(analyze::sharing)).gives::<analyze::SeenBy>(),
    act(Analyst, "POST", "/api/v1/analyses/{id}/share", "let others see an analysis of one's own", || post(analyze::share)).takes::<analyze::ShareRequest>(),
    look(Viewer, "/api/v1/analyses/{id}", "what was found in one that was kept", || get(analyze::one_kept)).gives::<Analysis>(),
    look(Viewer, "/api/v1/ask/saved", "questions that have a name", || get(ask::saved)),
    look(Viewer, "/api/v1/ledger", "what models were asked and cost", || get(api::ledger)).asks::<api::LedgerQuery>().gives::<api::Ledger>(),
    look(Viewer, "/api/v1/corrections", "operators' words on findings", || get(api::corrections)).gives::<Vec<Correction>>(),
    act(Admin, "DELETE", "/api/v1/verdicts", "forget what models said", || delete(api::forget_verdicts)),
    look(Viewer, "/api/v1/clients/{address}", "what is known of a client", || get(api::client)),
    look(Viewer, "/api/v1/allow", "networks that are never blocked", || get(api::allow_list)).gives::<Vec<api::Allowed>>(),
    act(Admin, "POST", "/api/v1/allow", "never block a network", || post(api::allow)).takes::<api::AllowRequest>(),
    act(Admin, "DELETE", "/api/v1/allow/{*network}", "take a network from those never blocked", || delete(api::disallow)),
    look(Viewer, "/api/v1/changes", "what was recorded after a cursor", || get(api::changes)).asks::<api::ChangesQuery>().gives::<Vec<Change>>(),
    act(Admin, "POST", "/api/v1/forget", "erase what is kept of a client", || post(api::forget)).takes::<api::ForgetRequest>(),
    look(Viewer, "/api/v1/settings", "what can be set while the daemon runs", || get(tunes::list)).gives::<Vec<Map<String, Value>>>(),
    act(Admin, "POST", "/api/v1/settings", "set a threshold or limit", || post(tunes::set)).takes::<tunes::SetRequest>(),
    act(Admin, "DELETE", "/api/v1/settings/{key}", "set it back", || delete(tunes::reset)),
    look(Viewer, "/api/v1/config", "what is in force, and where each value comes from", || get(tunes::effective)).gives::<Vec<tunes::Effective>>(),
    look(Viewer, "/api/v1/rules", "rules, what they found, and where they are switched off", || get(rules::list)).gives::<rules::Rules>(),
    act(Admin, "POST", "/api/v1/switched-off", "switch a rule off, on a path or everywhere", || post(rules::switch_off)).takes::<rules::OffRequest>().gives::<rules::SwitchedOff>(),
    act(Admin, "DELETE", "/api/v1/switched-off/{id}", "switch a rule on again", || delete(rules::switch_on)).gives::<rules::SwitchedOff>(),
    look(Admin, "/api/v1/bouncers", "bouncers that have a key", || get(keys::list)).gives::<Vec<Bouncer>>(),
    act(Admin, "POST", "/api/v1/bouncers", "give a bouncer a key", || post(keys::add)).takes::<keys::AddRequest>(),
    act(Admin, "DELETE", "/api/v1/bouncers/{name}", "take a bouncer's key away", || delete(keys::remove)),
    look(Viewer, "/api/v1/openapi.json", "this list, as OpenAPI", || get(async || axum::Json(openapi::document()))),
];

/// All of them. Who asks must be known already: see [`access`].
pub(super) fn router(backend: &Backend) -> Router<Backend> {
    let router = ENDPOINTS.iter().fold(Router::new(), |router, endpoint| {
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
    });
    router.layer(from_fn(http::tagged)).layer(from_fn(http::explained))
}

/// On the socket, whose permissions say who may use it.
pub(super) fn on_socket(backend: Backend) -> Router {
    let unknown = async || Problem::NotFound("no such path; the API is under /api/v1".into());
    router(&backend).fallback(unknown).layer(from_fn(access::of_socket)).with_state(backend)
}
