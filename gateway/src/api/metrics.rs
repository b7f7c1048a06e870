//! What the API counts about itself, whoever is answered.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use campanile_telemetry::registry::{Family, Histograms, SharedCounter, SharedGauge};
use campanile_telemetry::{Registry, labels};
use tonic::Code;

use super::grpc;
use super::listener::Listener;

/// Upper bounds of the request durations, in seconds.
const BUCKETS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 10.0];

/// What the API counts about itself.
pub struct ApiMetrics {
    registry: Registry,
    requests: Family<RequestLabels, SharedCounter>,
    durations: Histograms<RouteLabels>,
    keys_refused: SharedCounter,
    panics: SharedCounter,
    connections: Family<ListenerLabel, SharedGauge>,
}

labels! {
    /// What answered requests are counted by.
    RequestLabels { method: &'static str, route: String, status: u16 }
}

labels! {
    /// What requests are timed by.
    RouteLabels { route: String }
}

labels! {
    /// What connections are counted by.
    ListenerLabel { listener: &'static str }
}

impl Default for ApiMetrics {
    fn default() -> Self {
        let mut registry = Registry::new("campanile_api");
        ApiMetrics {
            requests: registry.counters("requests", "Requests answered"),
            durations: registry.histograms(
                "request_duration_seconds",
                "From a request's head to its answer",
                &BUCKETS,
            ),
            keys_refused: registry.counter("keys_refused", "Requests without a valid key"),
            panics: registry.counter("panics", "Requests and connections lost since the API panicked"),
            connections: registry.gauges("connections", "Connections, by the listener that they came to"),
            registry,
        }
    }
}

impl ApiMetrics {
    /// A request without a valid key was refused.
    pub(super) fn key_refused(&self) {
        self.keys_refused.inc();
    }

    /// A request or a connection is lost, since what served it has panicked.
    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    /// A connection of a client, until the guard is dropped.
    pub(super) fn connection(&self, listener: Listener) -> ConnectionGuard {
        let connections = self.connections.get_or_create_owned(&ListenerLabel { listener: listener.name() });
        connections.inc();
        ConnectionGuard(connections)
    }

    /// All of it, for the page that operators read.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// Counts a connection as long as it lives.
pub(super) struct ConnectionGuard(SharedGauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts and times each request by its route, never by its path, of which there is no end.
pub(super) async fn measure(
    State(metrics): State<Arc<ApiMetrics>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let route = grpc::route(request.uri().path()).unwrap_or(matched).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let response = next.run(request).await;
    let status = status(&response);
    metrics
        .durations
        .get_or_create(&RouteLabels { route: route.clone() })
        .observe(started.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    response
}

/// The status of an answer. A gRPC call that has failed is 200 for HTTP; what counts is what it would have been there.
fn status(response: &Response) -> u16 {
    let grpc = response.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    match grpc {
        None | Some(Code::Ok) => response.status().as_u16(),
        Some(Code::InvalidArgument | Code::OutOfRange) => 400,
        Some(Code::Unauthenticated) => 401,
        Some(Code::PermissionDenied) => 403,
        Some(Code::NotFound) => 404,
        Some(Code::AlreadyExists) => 409,
        Some(Code::ResourceExhausted) => 429,
        Some(Code::Unimplemented) => 501,
        Some(Code::Unavailable) => 503,
        Some(_) => 500,
    }
}
