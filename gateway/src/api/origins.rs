//! Whose pages may ask, and read the answers: the browser's rules for requests between origins (CORS, as the Fetch
//! standard has it, §3.2).
//!
//! An origin is compared with what is configured and with nothing else. In particular `Host` says nothing: a page whose
//! name an attacker points here has the right one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// What pages may send. A list of `*` would not cover `Authorization`.
const HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Content-Type");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// What pages may read beside what every answer shows.
const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After");
/// For how many seconds browsers may remember it: as long as Chromium does at most.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("7200");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Whose pages may ask: those of the origins that are listed, or any if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// These origins; none for any.
    #[must_use]
    pub fn new(origins: Vec<String>) -> AllowedOrigins {
        AllowedOrigins(origins)
    }

    /// What a page may be told, if it may ask. That any page may is told without naming it, so that no browser adds
    /// what it keeps for this site.
    fn allow(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let is = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        match &*self.0 {
            [] => Some(ANY),
            listed => listed.iter().any(is).then(|| origin.clone()),
        }
    }

    fn may_differ(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Answers what browsers ask before they send a request, refuses requests of pages that may not ask, and lets the
/// others read their answers. Requests without an `Origin` are no page's.
pub(super) async fn check(
    State(origins): State<Arc<AllowedOrigins>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match request.headers().get(ORIGIN) {
        None => next.run(request).await,
        Some(origin) => match origins.allow(origin) {
            // A page that is not let read would still have confirmed a message.
            None => ApiError::OriginForbidden.into_response(),
            Some(allowed) => {
                let mut response = if is_preflight(&request) { preflight() } else { next.run(request).await };
                add_headers(response.headers_mut(), allowed);
                response
            }
        },
    };
    if origins.may_differ() {
        response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// Whether a browser asks if it may send a request (Fetch §3.2.2).
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn add_headers(headers: &mut HeaderMap, allowed: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}
