//! The control plane: what publishers, operators and devices that poll ask over HTTP and gRPC.
//!
//! Requests that belong together are a room: `push`, `channels`, `devices`, `messages` and `admin`. A room has its
//! routes for HTTP and gRPC, which share everything but the form, and a state of its own; none reaches into another's.
//! [`Api`] holds the rooms and says which [`Listener`] answers what; [`server::serve`] brings one listener onto a
//! socket.
//!
//! Everything below `/v2` and the gRPC service need a key, or for `/v2/messages` a device's token, checked before any
//! of the body is read. Every body, header, connection and answer has a limit in size or time. The API knows the shards
//! that it asks and the node's status, and nothing of the node that starts it.

mod admin;
mod auth;
mod batch;
mod body;
mod channels;
mod clock;
mod containment;
mod devices;
mod error;
mod fields;
mod grpc;
mod health;
mod listener;
mod messages;
pub mod metrics;
mod moved;
mod origins;
mod page;
mod push;
mod routes;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use campanile_core::namespaces::Namespaces;
use campanile_core::push::PushRules;
use campanile_core::tokens::Verifier;
use campanile_storage::counters::StoreCounters;

pub use self::batch::BATCH_ITEMS_MAX;
pub use self::body::PUSH_BODY_BYTES_MAX;
pub use self::error::{ApiError, CODE_METADATA};
pub use self::listener::Listener;
pub use self::origins::AllowedOrigins;
pub use self::page::PAGE_MESSAGES_MAX;
pub use self::push::{RECEIPT_ID_BYTES_MAX, RECEIPT_MESSAGES_MAX};

use self::admin::AdminApi;
use self::auth::Credentials;
use self::channels::ChannelsApi;
use self::devices::DevicesApi;
use self::messages::MessagesApi;
use self::metrics::ApiMetrics;
use self::push::PushApi;
use self::routes::Routes;
use crate::config::ApiKeys;
use crate::shards::Shards;
use crate::status::NodeStatus;

/// From the head of a request to the head of its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the API is made of. Each room takes what it works with.
pub struct ApiParts {
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
    /// Whose pages may read what devices are answered.
    pub origins: AllowedOrigins,
    /// The node.
    pub node: Arc<NodeStatus>,
}

/// The API of a node.
pub struct Api {
    push: Arc<PushApi>,
    channels: Arc<ChannelsApi>,
    devices: Arc<DevicesApi>,
    messages: Arc<MessagesApi>,
    admin: Arc<AdminApi>,
    credentials: Arc<Credentials>,
    origins: Arc<AllowedOrigins>,
    node: Arc<NodeStatus>,
    metrics: Arc<ApiMetrics>,
}

impl Api {
    /// Gives each room what it works with.
    #[must_use]
    pub fn new(parts: ApiParts) -> Api {
        let ApiParts { shards, store, keys, verifier, auto_register, namespaces, rules, origins, node } =
            parts;
        let metrics = Arc::new(ApiMetrics::default());
        Api {
            push: Arc::new(PushApi::new(Arc::clone(&shards), rules)),
            channels: Arc::new(ChannelsApi::new(Arc::clone(&shards), rules, namespaces)),
            devices: Arc::new(DevicesApi::new(Arc::clone(&shards))),
            messages: Arc::new(MessagesApi::new(Arc::clone(&shards), auto_register)),
            admin: Arc::new(AdminApi::new(shards, store, Arc::clone(&node), Arc::clone(&metrics))),
            credentials: Arc::new(Credentials::new(keys, verifier, Arc::clone(&metrics))),
            origins: Arc::new(origins),
            node,
            metrics,
        }
    }

    /// Everything that one listener answers.
    pub fn router(&self, listener: Listener) -> Router {
        let routes = self
            .routes(listener)
            .into_router()
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .fallback(async |headers: HeaderMap| ApiError::NotFound.into_answer(auth::is_grpc(&headers)));
        self.layered(listener, routes)
    }

    /// What every request goes through, from the inside out.
    fn layered(&self, listener: Listener, routes: Router) -> Router {
        let metrics = || Arc::clone(&self.metrics);
        let contained = routes
            .layer(middleware::from_fn(in_time))
            .layer(middleware::from_fn_with_state(metrics(), containment::contain));
        // A page is let read that its request was lost.
        let checked = match listener {
            Listener::Devices => {
                contained.layer(middleware::from_fn_with_state(Arc::clone(&self.origins), origins::check))
            }
            Listener::Api | Listener::Admin => contained,
        };
        checked.layer(middleware::from_fn_with_state(metrics(), metrics::measure))
    }

    /// Which paths one listener answers, and who may ask. `docs/operations.md` has the same as a table.
    fn routes(&self, listener: Listener) -> Routes {
        let credentials = &self.credentials;
        let metrics = || admin::metrics_routes(&self.admin);
        let node = || auth::with_key(credentials, admin::node_routes(&self.admin));
        let messages = || auth::with_token(credentials, messages::routes(&self.messages));
        let routes = health::routes(&self.node);
        match listener {
            Listener::Api => {
                let for_publishers = push::routes(&self.push)
                    .merge(channels::routes(&self.channels))
                    .merge(devices::routes(&self.devices))
                    .merge(grpc::routes(&self.push, &self.channels, &self.devices));
                routes
                    .merge(auth::with_key(credentials, for_publishers))
                    .merge(grpc::health_routes(&self.node))
                    .merge(moved::warned(messages(), Listener::Devices))
                    .merge(moved::warned(metrics(), Listener::Admin))
                    .merge(moved::warned(node(), Listener::Admin))
            }
            Listener::Admin => routes.merge(metrics()).merge(node()),
            Listener::Devices => routes.merge(messages()),
        }
    }
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
