//! Statistics of this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use campanile_core::counters::ShardCounters;
use campanile_telemetry::Usage;
use serde::Serialize;

use super::AdminApi;
use crate::status::Phase;

/// A node, and each of its shards.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeAnswer {
    node: String,
    version: &'static str,
    phase: &'static str,
    uptime_seconds: u64,
    driver: String,
    shard_count: usize,
    connections_max: u32,
    resident_bytes: u64,
    cpu_seconds: f64,
    open_fds: u64,
    /// The sums over all shards.
    totals: BTreeMap<&'static str, u64>,
    shards: Vec<BTreeMap<&'static str, u64>>,
}

/// `GET /v2/node`
pub(super) async fn node(State(room): State<Arc<AdminApi>>) -> Json<NodeAnswer> {
    let shards: Vec<BTreeMap<_, _>> = room.shards.counters().map(all).collect();
    let mut totals = BTreeMap::new();
    for (name, value) in shards.iter().flatten() {
        *totals.entry(*name).or_insert(0) += value;
    }
    let usage = Usage::own();
    let node = &room.node;
    Json(NodeAnswer {
        node: node.id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        phase: match node.phase() {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        },
        uptime_seconds: node.uptime().as_secs(),
        driver: node.driver.to_string(),
        shard_count: shards.len(),
        connections_max: node.connections_max,
        resident_bytes: usage.resident_bytes,
        cpu_seconds: usage.cpu_seconds,
        open_fds: usage.open_fds,
        totals,
        shards,
    })
}

fn all(counters: &ShardCounters) -> BTreeMap<&'static str, u64> {
    counters.all().into_iter().map(|(name, _, _, value)| (name, value)).collect()
}
