//! The devices of one user.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use campanile_protocol::ids::{DeviceId, UserId};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::{Context, SMALL_BODY_BYTES_MAX, body, fields};
use crate::shard::requests::UserDevice;

#[derive(Serialize)]
pub(super) struct DevicesAnswer {
    user: String,
    devices: Vec<DeviceAnswer>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceAnswer {
    device: u32,
    generation: u64,
    subprotocol: &'static str,
    connected_at_ms: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectBody {
    #[serde(default, deserialize_with = "fields::some_device")]
    device: Option<DeviceId>,
}

#[derive(Serialize)]
pub(super) struct DisconnectAnswer {
    disconnected: u32,
}

type UserPath = Result<Path<String>, PathRejection>;

/// `GET /v2/users/{user}/devices`
pub(super) async fn devices(
    State(context): State<Arc<Context>>,
    path: UserPath,
) -> Result<Json<DevicesAnswer>, ApiError> {
    let user = user(path)?;
    let devices = context.shards.devices(&user).await?;
    Ok(Json(DevicesAnswer {
        user: user.as_str().into(),
        devices: devices.iter().map(DeviceAnswer::new).collect(),
    }))
}

/// `POST /v2/users/{user}/disconnect`
pub(super) async fn disconnect(
    State(context): State<Arc<Context>>,
    path: UserPath,
    request: Request,
) -> Result<Json<DisconnectAnswer>, ApiError> {
    let user = user(path)?;
    let body: DisconnectBody = body::json_or_default(request, SMALL_BODY_BYTES_MAX).await?;
    let disconnected = context.shards.disconnect(&user, body.device).await?;
    Ok(Json(DisconnectAnswer { disconnected }))
}

fn user(path: UserPath) -> Result<UserId, ApiError> {
    let Path(user) = path.map_err(|_| ApiError::InvalidPath)?;
    UserId::try_from(user.as_str()).map_err(ApiError::InvalidUser)
}

impl DeviceAnswer {
    fn new(device: &UserDevice) -> DeviceAnswer {
        let session = device.session.as_ref();
        DeviceAnswer {
            device: device.record.device.get(),
            generation: session.map_or(0, |session| session.generation),
            subprotocol: session.map_or("", |session| session.subprotocol),
            connected_at_ms: session.map_or(0, |session| session.connected_at_ms),
        }
    }
}
