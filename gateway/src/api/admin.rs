//! The room of operators: what is counted, and how the node is.

mod exposition;
mod node;

use std::sync::Arc;

use axum::routing::get;
use campanile_storage::counters::StoreCounters;

use super::metrics::ApiMetrics;
use super::routes::Routes;
use crate::shards::Shards;
use crate::status::NodeStatus;

/// What requests of operators work with.
pub(super) struct AdminApi {
    shards: Arc<Shards>,
    store: Arc<StoreCounters>,
    node: Arc<NodeStatus>,
    metrics: Arc<ApiMetrics>,
}

impl AdminApi {
    pub(super) fn new(
        shards: Arc<Shards>,
        store: Arc<StoreCounters>,
        node: Arc<NodeStatus>,
        metrics: Arc<ApiMetrics>,
    ) -> AdminApi {
        AdminApi { shards, store, node, metrics }
    }
}

/// What Prometheus reads, without a key.
pub(super) fn metrics_routes(room: &Arc<AdminApi>) -> Routes {
    Routes::new().route("/metrics", get(exposition::page)).with_state(Arc::clone(room))
}

/// Statistics of the node, for those who have a key.
pub(super) fn node_routes(room: &Arc<AdminApi>) -> Routes {
    Routes::new().route("/v2/node", get(node::node)).with_state(Arc::clone(room))
}
