//! For those who watch over the process.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Context;
use super::error::ApiError;
use crate::node::Phase;

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
}

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /readyz`: devices can connect.
pub(super) async fn ready(State(context): State<Arc<Context>>) -> Result<Json<Health>, ApiError> {
    match context.node.phase() {
        Phase::Starting => Err(ApiError::Starting),
        Phase::Ready => Ok(Json(Health { status: "ready" })),
        Phase::Draining => Err(ApiError::Draining),
    }
}
