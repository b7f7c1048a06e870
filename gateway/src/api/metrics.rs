//! `/metrics`: what the shards, the API and the process have counted, in the OpenMetrics text format, which
//! Prometheus reads.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tonic::Code;

use super::{Context, grpc};
use crate::node::{NodeStatus, Phase, ProcessUsage};
use crate::shards::Shards;
use campanile_core::counters::Kind;

/// Upper bounds of the request durations, in seconds.
const BUCKETS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 10.0];

/// What the API counts about itself.
pub struct ApiMetrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    keys_refused: Counter,
    panics: Counter,
    connections: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: String,
    version: &'static str,
    driver: String,
}

impl Default for ApiMetrics {
    fn default() -> Self {
        let requests = Family::default();
        let durations = Family::<RouteLabels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let keys_refused = Counter::default();
        let panics = Counter::default();
        let connections = Gauge::default();
        let mut registry = Registry::with_prefix("campanile_api");
        registry.register("requests", "Requests answered", requests.clone());
        registry.register(
            "request_duration_seconds",
            "From a request's head to its answer",
            durations.clone(),
        );
        registry.register("keys_refused", "Requests without a valid key", keys_refused.clone());
        registry.register("panics", "Requests and connections lost since the API panicked", panics.clone());
        registry.register("connections", "Connections of publishers and operators", connections.clone());
        ApiMetrics { registry, requests, durations, keys_refused, panics, connections }
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

    /// A connection of a publisher or operator, until the guard is dropped.
    pub(super) fn connection(&self) -> ConnectionGuard {
        self.connections.inc();
        ConnectionGuard(self.connections.clone())
    }
}

/// Counts a connection as long as it lives.
pub(super) struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts and times each request by its route, never by its path, of which there is no end.
pub(super) async fn measure(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let route = grpc::route(request.uri().path()).unwrap_or(matched).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let response = next.run(request).await;
    let status = status(&response);
    let metrics = &context.metrics;
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

/// `GET /metrics`
pub(super) async fn page(State(context): State<Arc<Context>>) -> Response {
    let mut text = String::with_capacity(32 * 1024);
    match write(&context, &mut text) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        // A `String` takes everything.
        Err(fmt::Error) => unreachable!("writing to a string failed"),
    }
}

fn write(context: &Context, text: &mut String) -> fmt::Result {
    let mut own = Registry::default();
    own.register_collector(Box::new(Snapshot::of(context)));
    prometheus_client::encoding::text::encode_registry(text, &own)?;
    prometheus_client::encoding::text::encode(text, &context.metrics.registry)
}

/// The shards' and the store's counters and the process's usage at one moment.
#[derive(Debug)]
struct Snapshot {
    /// The name, the help, the kind, and the value of each shard.
    shards: Vec<(String, &'static str, Kind, Vec<u64>)>,
    /// The same of the store.
    store: Vec<(String, &'static str, Kind, u64)>,
    node: NodeLabels,
    ready: bool,
    started_at_seconds: f64,
    process: ProcessUsage,
}

impl Snapshot {
    fn of(context: &Context) -> Snapshot {
        let node: &NodeStatus = &context.node;
        let started_at = node.started_at().duration_since(UNIX_EPOCH).unwrap_or_default();
        Snapshot {
            shards: by_name(&context.shards),
            store: context
                .store
                .all()
                .into_iter()
                .map(|(name, help, kind, value)| (format!("campanile_store_{name}"), help, kind, value))
                .collect(),
            node: NodeLabels {
                node: node.id.to_string(),
                version: env!("CARGO_PKG_VERSION"),
                driver: node.driver.to_string(),
            },
            ready: node.phase() == Phase::Ready,
            started_at_seconds: started_at.as_secs_f64(),
            process: ProcessUsage::read(),
        }
    }
}

fn by_name(shards: &Shards) -> Vec<(String, &'static str, Kind, Vec<u64>)> {
    let mut all: Vec<(String, &'static str, Kind, Vec<u64>)> = Vec::new();
    for counters in shards.counters() {
        for (place, (name, help, kind, value)) in counters.all().into_iter().enumerate() {
            match all.get_mut(place) {
                Some((.., values)) => values.push(value),
                None => all.push((format!("campanile_{name}"), help, kind, vec![value])),
            }
        }
    }
    all
}

impl prometheus_client::collector::Collector for Snapshot {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, kind, values) in &self.shards {
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = to.encode_descriptor(name, help, None, kind)?;
            for (shard, &value) in values.iter().enumerate() {
                let shard = ShardLabel { shard };
                let labelled = metric.encode_family(&shard)?;
                match kind {
                    MetricType::Counter => ConstCounter::new(value).encode(labelled)?,
                    _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(labelled)?,
                }
            }
        }
        for (name, help, kind, value) in &self.store {
            match kind {
                Kind::Counter => {
                    let metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
                    ConstCounter::new(*value).encode(metric)?;
                }
                Kind::Gauge => gauge(&mut to, name, help, *value as f64)?,
            }
        }
        let info = ConstGauge::new(1i64);
        let mut metric =
            to.encode_descriptor("campanile_node", "The node; always 1.", None, MetricType::Gauge)?;
        info.encode(metric.encode_family(&self.node)?)?;
        gauge(&mut to, "campanile_ready", "Whether devices can connect.", f64::from(u8::from(self.ready)))?;
        let process = &self.process;
        let resident = process.resident_bytes as f64;
        gauge(&mut to, "process_resident_memory_bytes", "Resident memory.", resident)?;
        gauge(
            &mut to,
            "process_open_fds",
            "Open descriptors, those in rings' tables not among them.",
            process.open_fds as f64,
        )?;
        gauge(&mut to, "process_start_time_seconds", "When the node was started.", self.started_at_seconds)?;
        let help = "Processor time of all threads, user and system.";
        let metric = to.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(process.cpu_seconds).encode(metric)
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
