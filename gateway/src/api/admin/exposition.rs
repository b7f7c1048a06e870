//! `/metrics`: what the shards, the API and the process have counted, in the OpenMetrics text format, which
//! Prometheus reads.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use campanile_core::counters::Kind;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::AdminApi;
use crate::shards::Shards;
use crate::status::{NodeStatus, Phase};
use crate::usage::ProcessUsage;

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

/// `GET /metrics`
pub(super) async fn page(State(room): State<Arc<AdminApi>>) -> Response {
    let mut text = String::with_capacity(32 * 1024);
    match write(&room, &mut text) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        // A `String` takes everything.
        Err(fmt::Error) => unreachable!("writing to a string failed"),
    }
}

fn write(room: &AdminApi, text: &mut String) -> fmt::Result {
    let mut own = Registry::default();
    own.register_collector(Box::new(Snapshot::of(room)));
    prometheus_client::encoding::text::encode_registry(text, &own)?;
    room.metrics.encode(text)
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
    log_lines_lost: u64,
}

impl Snapshot {
    fn of(room: &AdminApi) -> Snapshot {
        let node: &NodeStatus = &room.node;
        let started_at = node.started_at().duration_since(UNIX_EPOCH).unwrap_or_default();
        Snapshot {
            shards: by_name(&room.shards),
            store: room
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
            log_lines_lost: campanile_telemetry::log::lines_lost(),
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
        let help = "Lines of the log that are lost, since nobody reads it or it cannot be written.";
        let metric = to.encode_descriptor("campanile_log_lines_lost", help, None, MetricType::Counter)?;
        ConstCounter::new(self.log_lines_lost).encode(metric)?;
        let help = "Processor time of all threads, user and system.";
        let metric = to.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(process.cpu_seconds).encode(metric)
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
