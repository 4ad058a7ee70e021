//! What every answer has: a problem in words, a tag to ask again by, and where a list goes on.

use axum::Json;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::Problem;
use crate::event::digest;

/// A longer answer is not worth a tag: who asks again gets another one anyway.
const MAX_TAGGED_BYTES: u64 = 1 << 20;
/// Of the framework's own words.
const MAX_WORDS: usize = 10_000;

/// Why a request was not done, as RFC 9457 has it.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProblemDetails {
    status: u16,
    title: String,
    /// A sentence that names the way out.
    detail: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match &self {
            Problem::Invalid(_) => StatusCode::BAD_REQUEST,
            Problem::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Problem::Forbidden(_) => StatusCode::FORBIDDEN,
            Problem::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::Refused(_) => StatusCode::CONFLICT,
            Problem::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        details(status, self.to_string())
    }
}

fn details(status: StatusCode, detail: String) -> Response {
    let title = status.canonical_reason().unwrap_or_default().to_owned();
    let body = Json(ProblemDetails { status: status.as_u16(), title, detail });
    (status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response()
}

const PROBLEM: &str = "application/problem+json";

/// What the framework refuses, an unknown parameter or a method that is not there, in the same shape.
pub(super) async fn explained(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let is_refused = response.status().is_client_error() || response.status().is_server_error();
    if !is_api || !is_refused || response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM) {
        return response;
    }
    let (head, body) = response.into_parts();
    let words = to_bytes(body, MAX_WORDS).await.unwrap_or_default();
    let words = match words.is_empty() {
        true => head.status.canonical_reason().unwrap_or_default().to_owned(),
        false => String::from_utf8_lossy(&words).into_owned(),
    };
    let mut response = details(head.status, words);
    if let Some(methods) = head.headers.get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, methods.clone());
    }
    response
}

/// Gives what is asked for a tag by its content; who has it already is told so and nothing more.
pub(super) async fn tagged(request: Request, next: Next) -> Response {
    let is_asked = request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let is_short = response.body().size_hint().upper().is_some_and(|bytes| bytes <= MAX_TAGGED_BYTES);
    if !is_asked || !is_json || !is_short || response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let tag = format!("\"{}\"", digest(&[&body]));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        head.headers.insert(header::ETAG, tag);
    }
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(body))
}

/// A part of a list, the newest first. If there may be more, `Link` says where it goes on (RFC 8288): at the
/// same place, with the last row's `cursor` as the parameter called `name`.
pub(super) fn part<T: Serialize>(
    uri: &Uri,
    rows: &[T],
    limit: u32,
    name: &str,
    cursor: impl Fn(&T) -> String,
) -> Response {
    let last = rows.last().filter(|_| rows.len() >= limit as usize);
    let Some(cursor) = last.map(cursor) else { return Json(rows).into_response() };
    let others = uri.query().unwrap_or_default().split('&');
    let others = others.filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
    let query = others.map(str::to_owned).chain([format!("{name}={cursor}")]).collect::<Vec<_>>().join("&");
    ([(header::LINK, format!("<{}?{query}>; rel=\"next\"", uri.path()))], Json(rows)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_part_says_where_the_list_goes_on() {
        let next = |uri: &'static str, rows: &[u8]| {
            let response = part(&Uri::from_static(uri), rows, 2, "before", u8::to_string);
            response.headers().get(header::LINK).map(|link| link.to_str().unwrap().to_owned())
        };
        assert_eq!(next("/api/v1/x?limit=2", &[9, 8]).unwrap(), "</api/v1/x?limit=2&before=8>; rel=\"next\"");
        assert_eq!(
            next("/api/v1/x?before=9&limit=2&a=%20", &[8, 7]).unwrap(),
            "</api/v1/x?limit=2&a=%20&before=7>; rel=\"next\""
        );
        assert_eq!(next("/api/v1/x?limit=2", &[9]), None);
    }
}
