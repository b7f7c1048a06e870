//! `/metrics`: what the shards, the API and the process have counted.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use campanile_core::counters::ShardCounters;
use campanile_telemetry::{Page, Usage, log, page};

use super::AdminApi;
use crate::status::Phase;

/// `GET /metrics`
pub(super) async fn page(State(room): State<Arc<AdminApi>>) -> Response {
    let mut page = Page::default();
    page.counts_by("campanile_", "shard", room.shards.counters().map(ShardCounters::all));
    page.counts("campanile_store_", room.store.all());
    add_node(&mut page, &room);
    add_process(&mut page, &room);
    ([(CONTENT_TYPE, page::CONTENT_TYPE)], page.text(room.metrics.registry())).into_response()
}

fn add_node(page: &mut Page, room: &AdminApi) {
    let node = &room.node;
    let labels = vec![
        ("node", node.id.to_string()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("driver", node.driver.to_string()),
    ];
    page.info("campanile_node", "The node; always 1.", labels);
    let is_ready = u8::from(node.phase() == Phase::Ready);
    page.gauge("campanile_ready", "Whether devices can connect.", is_ready.into());
}

fn add_process(page: &mut Page, room: &AdminApi) {
    let process = Usage::own();
    page.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes as f64);
    let help = "Open descriptors, those in rings' tables not among them.";
    page.gauge("process_open_fds", help, process.open_fds as f64);
    let started_at = room.node.started_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    page.gauge("process_start_time_seconds", "When the node was started.", started_at.as_secs_f64());
    let help = "Lines of the log that are lost, since nobody reads it or it cannot be written.";
    page.counter("campanile_log_lines_lost", help, log::lines_lost());
    let help = "Processor time of all threads, user and system.";
    page.fraction_counter("process_cpu_seconds", help, process.cpu_seconds);
}
