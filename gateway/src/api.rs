//! The control plane: what publishers and operators ask over HTTP.
//!
//! [`router`] answers requests by asking the shards; [`server::serve`] brings it onto a socket. Everything below
//! `/v2` needs a key, checked before any of the body is read. Every body, header, connection and answer has a limit
//! in size or time.

mod auth;
mod body;
mod error;
mod fields;
mod health;
pub mod metrics;
mod nodes;
mod push;
pub mod server;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use self::error::ApiError;
pub use self::fields::NAME_BYTES_MAX;
pub use self::push::{BATCH_BYTES_MAX, BATCH_PUSHES_MAX, DEVICES_LISTED_MAX, TTL_SECONDS_MAX};

use self::metrics::ApiMetrics;
use crate::config::ApiKeys;
use crate::node::NodeStatus;
use crate::shard::link::Shards;

/// From the head of a request to its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body of a request that carries no payload.
const SMALL_BODY_BYTES_MAX: usize = 4_096;

/// What the handlers work with.
pub struct Context {
    /// Who is asked.
    pub shards: Arc<Shards>,
    /// Who may ask.
    pub keys: ApiKeys,
    /// The largest payload in bytes: `limits.push_bytes_max`.
    pub push_bytes_max: usize,
    /// The node.
    pub node: Arc<NodeStatus>,
    /// What is counted here.
    pub metrics: ApiMetrics,
}

impl Context {
    /// The largest body with one payload, in bytes: base64 and escapes take up to twice the payload's size; text of
    /// nothing but control characters takes more, and is refused.
    fn push_body_bytes_max(&self) -> usize {
        2 * self.push_bytes_max + SMALL_BODY_BYTES_MAX + 64 * DEVICES_LISTED_MAX
    }
}

/// The whole API.
pub fn router(context: Arc<Context>) -> Router {
    let with_key = Router::new()
        .route("/v2/push", post(push::push))
        .route("/v2/push/batch", post(push::batch))
        .route("/v2/broadcast", post(push::broadcast))
        .route("/v2/users/{user}/devices", get(users::devices))
        .route("/v2/users/{user}/disconnect", post(users::disconnect))
        .route("/v2/node", get(nodes::node))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&context), auth::require_key));
    Router::new()
        .merge(with_key)
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::page))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async || ApiError::NotFound)
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&context), metrics::measure))
        .with_state(context)
}

/// Ends a request that takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout.into_response(),
    }
}

#[cfg(test)]
mod tests;
