//! Events to everybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use campanile_core::names::Name;
use campanile_core::push::{PushRefused, check_size};
use campanile_protocol::messages::Event;
use serde::{Deserialize, Serialize};

use super::PushApi;
use crate::api::body;
use crate::api::clock::now_ms;
use crate::api::error::ApiError;
use crate::api::fields::{self, From, PayloadField};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastBody {
    #[serde(deserialize_with = "fields::text")]
    name: Name,
    payload: PayloadField,
    #[serde(default)]
    from: Option<From>,
}

#[derive(Serialize)]
pub(super) struct BroadcastAnswer {
    sent: u64,
    skipped: u64,
}

/// `POST /v2/broadcast`
pub(super) async fn broadcast(
    State(room): State<Arc<PushApi>>,
    request: Request,
) -> Result<Json<BroadcastAnswer>, ApiError> {
    let body: BroadcastBody = body::json(request, room.body_bytes_max()).await?;
    check_size(&body.payload.0, room.rules.payload_bytes_max).map_err(PushRefused::from)?;
    let event = Event {
        name: body.name.into(),
        from: body.from.map(From::into_device),
        at_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
        payload: Some(body.payload.0),
        ..Event::default()
    };
    let (sent, skipped) = room.shards.broadcast(event).await?;
    Ok(Json(BroadcastAnswer { sent, skipped }))
}
