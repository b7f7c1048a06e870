//! For those who watch over the process; on every listener.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;

use super::error::ApiError;
use super::routes::Routes;
use crate::status::{NodeStatus, Phase};

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// What probes ask, without a key.
pub(super) fn routes(node: &Arc<NodeStatus>) -> Routes {
    Routes::new().route("/healthz", get(alive)).route("/readyz", get(ready)).with_state(Arc::clone(node))
}

/// `GET /healthz`: the process answers.
async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /readyz`: devices can connect.
async fn ready(State(node): State<Arc<NodeStatus>>) -> Result<Json<Health>, ApiError> {
    match node.phase() {
        Phase::Starting => Err(ApiError::Starting),
        Phase::Ready => Ok(Json(Health { status: "ready" })),
        Phase::Draining => Err(ApiError::Draining),
    }
}
