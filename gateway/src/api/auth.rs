//! Who may ask: the holders of a key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

use super::Context;
use super::error::ApiError;

/// Lets a request with a valid key through, before anything of its body is read.
pub(super) async fn require_key(
    State(context): State<Arc<Context>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let result = match key(request.headers()) {
        None => Err(ApiError::KeyMissing),
        Some(key) if context.keys.contain(key) => Ok(()),
        Some(_) => Err(ApiError::KeyRefused),
    };
    if let Err(refused) = result {
        context.metrics.key_refused();
        return Err(refused);
    }
    Ok(next.run(request).await)
}

fn key(headers: &HeaderMap) -> Option<&[u8]> {
    /// The scheme and its space (RFC 6750 §2.1).
    const SCHEME: &[u8] = b"bearer ";
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(SCHEME.len())?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii()))
}
