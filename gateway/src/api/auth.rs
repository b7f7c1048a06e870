//! Who may ask: publishers and operators with a key, devices with their token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Extensions, HeaderMap};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use campanile_core::tokens::{Identity, TokenError, Verifier};

use super::clock::now_ms;
use super::error::ApiError;
use super::metrics::ApiMetrics;
use super::routes::Routes;
use crate::config::ApiKeys;

/// Tells who asks.
pub(super) struct Credentials {
    keys: ApiKeys,
    verifier: Verifier,
    metrics: Arc<ApiMetrics>,
}

impl Credentials {
    pub(super) fn new(keys: ApiKeys, verifier: Verifier, metrics: Arc<ApiMetrics>) -> Credentials {
        Credentials { keys, verifier, metrics }
    }

    fn verify(&self, token: &[u8]) -> Result<Identity, TokenError> {
        let token = str::from_utf8(token).map_err(|_| TokenError::Invalid)?;
        self.verifier.verify(token, now_ms())
    }
}

/// Whoever asks with a key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Publisher {
    /// Tells keys apart without telling them: see [`ApiKeys::fingerprint`](crate::config::ApiKeys::fingerprint).
    pub(super) fingerprint: u64,
}

impl Publisher {
    /// Who asks, by what is known of a request that [`with_key`] has let through.
    pub(super) fn of(extensions: &Extensions) -> Result<Publisher, ApiError> {
        extensions.get().copied().ok_or(ApiError::KeyMissing)
    }
}

/// Routes for those who have a key.
pub(super) fn with_key(credentials: &Arc<Credentials>, routes: Routes) -> Routes {
    let guard = middleware::from_fn_with_state(Arc::clone(credentials), require_key);
    routes.guarded(|router| router.route_layer(guard))
}

/// Routes for devices with their token.
pub(super) fn with_token(credentials: &Arc<Credentials>, routes: Routes) -> Routes {
    let guard = middleware::from_fn_with_state(Arc::clone(credentials), require_device);
    routes.guarded(|router| router.route_layer(guard))
}

/// Lets a request with a valid key through, before anything of its body is read, and adds the [`Publisher`].
async fn require_key(
    State(credentials): State<Arc<Credentials>>,
    mut request: Request,
    next: Next,
) -> Response {
    let publisher = match credential(request.headers()) {
        None => Err(ApiError::KeyMissing),
        Some(key) => match credentials.keys.fingerprint(key) {
            Some(fingerprint) => Ok(Publisher { fingerprint }),
            None if credentials.verify(key).is_ok() => Err(ApiError::KeyNeeded),
            None => Err(ApiError::KeyRefused),
        },
    };
    match publisher {
        Ok(publisher) => {
            request.extensions_mut().insert(publisher);
            next.run(request).await
        }
        Err(refused) => {
            credentials.metrics.key_refused();
            refused.into_answer(is_grpc(request.headers()))
        }
    }
}

/// Lets a request with a device's valid token through, before anything of its body is read, and adds the
/// [`Identity`].
async fn require_device(
    State(credentials): State<Arc<Credentials>>,
    mut request: Request,
    next: Next,
) -> Response {
    let identity = match credential(request.headers()) {
        None => Err(ApiError::TokenMissing),
        Some(key) if credentials.keys.fingerprint(key).is_some() => Err(ApiError::TokenNeeded),
        Some(token) => credentials.verify(token).map_err(ApiError::TokenRefused),
    };
    match identity {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(refused) => {
            credentials.metrics.key_refused();
            refused.into_response()
        }
    }
}

/// Whether the answer has to be a gRPC one.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
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
