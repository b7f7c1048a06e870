//! The control plane: what publishers and operators ask over HTTP and gRPC, and devices that poll over HTTP.
//!
//! [`router`] answers requests by asking the shards; [`server::serve`] brings it onto a socket. Everything below
//! `/v2` and the gRPC service need a key, or for `/v2/messages` a device's token, checked before any of the body is
//! read. Every body, header, connection and answer has a limit in size or time. A request over gRPC becomes what its
//! sibling over HTTP becomes: what is checked, done and answered exists once.

mod auth;
mod batch;
mod body;
mod broadcast;
mod channels;
mod containment;
mod error;
mod fields;
mod grpc;
mod health;
mod messages;
pub mod metrics;
mod nodes;
mod push;
mod receipts;
pub mod server;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};

pub use self::batch::BATCH_ITEMS_MAX;
pub use self::error::{ApiError, CODE_METADATA};
pub use self::fields::{DEDUP_ID_BYTES_MAX, NAME_BYTES_MAX};
pub use self::messages::PAGE_MESSAGES_MAX;
pub use self::push::{DEVICES_LISTED_MAX, PUSH_BODY_BYTES_MAX, PushRules};
pub use self::receipts::{RECEIPT_ID_BYTES_MAX, RECEIPT_MESSAGES_MAX};

use self::metrics::ApiMetrics;
use crate::config::ApiKeys;
use crate::node::NodeStatus;
use crate::shards::Shards;
use campanile_core::namespaces::Namespaces;
use campanile_core::tokens::Verifier;
use campanile_mailbox::store::StoreCounters;

/// From the head of a request to the head of its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body of a request that carries no payload.
const SMALL_BODY_BYTES_MAX: usize = 4_096;

/// What the handlers work with.
pub struct Context {
    /// Who is asked.
    pub shards: Arc<Shards>,
    /// What the store has counted.
    pub store: Arc<StoreCounters>,
    /// Which publishers and operators may ask.
    pub keys: ApiKeys,
    /// Which devices may ask for their mail.
    pub verifier: Verifier,
    /// Whether a device with a valid token is registered when it is first heard of: `devices.auto_register`.
    pub auto_register: bool,
    /// What holds for channels.
    pub namespaces: Namespaces,
    /// What pushes and publishes are held to.
    pub rules: PushRules,
    /// The node.
    pub node: Arc<NodeStatus>,
    /// What is counted here.
    pub metrics: ApiMetrics,
}

impl Context {
    /// The largest body with payloads, in bytes. One payload always fits: base64 and escapes take up to twice the
    /// payload's size; text of nothing but control characters takes more, and is refused.
    fn push_body_bytes_max(&self) -> usize {
        PUSH_BODY_BYTES_MAX.max(2 * self.rules.payload_bytes_max + SMALL_BODY_BYTES_MAX)
    }
}

/// The whole API, HTTP and gRPC.
pub fn router(context: Arc<Context>) -> Router {
    let with_key = Router::new()
        .route("/v2/push", post(push::push))
        .route("/v2/push/batch", post(push::batch))
        .route("/v2/receipts", post(receipts::receipt))
        .route("/v2/broadcast", post(broadcast::broadcast))
        .merge(channels::routes())
        .route("/v2/users/{user}/devices", get(users::devices).post(users::register))
        .route("/v2/users/{user}/disconnect", post(users::disconnect))
        .route("/v2/node", get(nodes::node))
        .merge(grpc::with_key(&context))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&context), auth::require_key));
    let with_token = Router::new()
        .route("/v2/messages", get(messages::list))
        .route("/v2/messages/{id}", delete(messages::confirm))
        .route("/v2/messages/{id}/envelope", get(messages::envelope))
        .route("/v2/messages/{id}/delivered", post(messages::confirm))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&context), auth::require_device));
    let routes = Router::new()
        .merge(with_key)
        .merge(with_token)
        .merge(grpc::without_key(&context))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::page))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async |headers: HeaderMap| ApiError::NotFound.into_answer(auth::is_grpc(&headers)));
    layered(routes, context)
}

/// What every request goes through, from the inside out.
fn layered(routes: Router<Arc<Context>>, context: Arc<Context>) -> Router {
    routes
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&context), containment::contain))
        .layer(middleware::from_fn_with_state(Arc::clone(&context), metrics::measure))
        .with_state(context)
}

/// Ends a request that takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    let grpc = auth::is_grpc(request.headers());
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout.into_answer(grpc),
    }
}

#[cfg(test)]
mod tests;
