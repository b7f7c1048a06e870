//! Who may ask: publishers and operators with a key, devices with their token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Context;
use super::error::ApiError;
use super::push::now_ms;
use campanile_core::tokens::{Identity, TokenError};

/// Whoever asks with a key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Publisher {
    /// Tells keys apart without telling them: see [`ApiKeys::fingerprint`](crate::config::ApiKeys::fingerprint).
    pub(super) fingerprint: u64,
}

/// Lets a request with a valid key through, before anything of its body is read, and adds the [`Publisher`].
pub(super) async fn require_key(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    let publisher = match credential(request.headers()) {
        None => Err(ApiError::KeyMissing),
        Some(key) => match context.keys.fingerprint(key) {
            Some(fingerprint) => Ok(Publisher { fingerprint }),
            None if verify(&context, key).is_ok() => Err(ApiError::KeyNeeded),
            None => Err(ApiError::KeyRefused),
        },
    };
    match publisher {
        Ok(publisher) => {
            request.extensions_mut().insert(publisher);
            next.run(request).await
        }
        Err(refused) => {
            context.metrics.key_refused();
            refused.into_answer(is_grpc(request.headers()))
        }
    }
}

/// Lets a request with a device's valid token through, before anything of its body is read, and adds the
/// [`Identity`].
pub(super) async fn require_device(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    let identity = match credential(request.headers()) {
        None => Err(ApiError::TokenMissing),
        Some(key) if context.keys.fingerprint(key).is_some() => Err(ApiError::TokenNeeded),
        Some(token) => verify(&context, token).map_err(ApiError::TokenRefused),
    };
    match identity {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(refused) => {
            context.metrics.key_refused();
            refused.into_response()
        }
    }
}

/// Whether the answer has to be a gRPC one.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn verify(context: &Context, token: &[u8]) -> Result<Identity, TokenError> {
    let token = str::from_utf8(token).map_err(|_| TokenError::Invalid)?;
    context.verifier.verify(token, now_ms())
}

/// What the request shows: a key or a token.
fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    /// The scheme and its space (RFC 6750 §2.1).
    const SCHEME: &[u8] = b"bearer ";
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(SCHEME.len())?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii()))
}
