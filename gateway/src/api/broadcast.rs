//! Events to everybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use campanile_protocol::messages::Event;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::fields::{self, From, Name, PayloadField};
use super::push::now_ms;
use super::{Context, body};

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
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Json<BroadcastAnswer>, ApiError> {
    let body: BroadcastBody = body::json(request, context.push_body_bytes_max()).await?;
    context.rules.check_size(&body.payload.0)?;
    let event = Event {
        name: body.name.0,
        from: body.from.map(From::into_device),
        at_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
        payload: Some(body.payload.0),
        ..Event::default()
    };
    let (sent, skipped) = context.shards.broadcast(event).await?;
    Ok(Json(BroadcastAnswer { sent, skipped }))
}
