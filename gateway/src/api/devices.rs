//! The room of users' devices: which there are, and who is connected.

mod grpc;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use campanile_core::requests::{ConnectedDevice, UserDevice};
use campanile_protocol::ids::{DeviceId, UserId};
use serde::{Deserialize, Serialize};

use super::body::{self, SMALL_BODY_BYTES_MAX};
use super::clock::now_ms;
use super::error::{ApiError, invalid};
use super::fields;
use super::routes::Routes;
use crate::shards::Shards;

/// What requests about devices work with.
pub(super) struct DevicesApi {
    shards: Arc<Shards>,
}

/// The requests about devices.
pub(super) fn routes(room: &Arc<DevicesApi>) -> Routes {
    Routes::new()
        .route("/v2/users/{user}/devices", get(devices).post(register))
        .route("/v2/users/{user}/disconnect", post(disconnect))
        .with_state(Arc::clone(room))
}

#[derive(Serialize)]
struct DevicesAnswer {
    user: String,
    devices: Vec<DeviceAnswer>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceAnswer {
    device: u32,
    created_at_ms: u64,
    last_seen_at_ms: u64,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionAnswer>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionAnswer {
    generation: u64,
    subprotocol: &'static str,
    connected_at_ms: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    /// 0 for the next free one.
    #[serde(default)]
    device: u32,
}

/// A device that was registered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    device: u32,
    created_at_ms: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectBody {
    #[serde(default, deserialize_with = "fields::some_device")]
    device: Option<DeviceId>,
}

#[derive(Serialize)]
struct DisconnectAnswer {
    disconnected: u32,
}

type UserPath = Result<Path<String>, PathRejection>;

/// `GET /v2/users/{user}/devices`
async fn devices(
    State(room): State<Arc<DevicesApi>>,
    path: UserPath,
) -> Result<Json<DevicesAnswer>, ApiError> {
    let user = user(path)?;
    let devices = room.shards.devices(&user).await?;
    Ok(Json(DevicesAnswer {
        user: user.as_str().into(),
        devices: devices.iter().map(DeviceAnswer::new).collect(),
    }))
}

/// `POST /v2/users/{user}/devices`
async fn register(
    State(room): State<Arc<DevicesApi>>,
    path: UserPath,
    request: Request,
) -> Result<(StatusCode, Json<Registered>), ApiError> {
    let user = user(path)?;
    let body: RegisterBody = body::json_or_default(request, SMALL_BODY_BYTES_MAX).await?;
    let registered = room.registered(&user, body.device).await?;
    Ok((StatusCode::CREATED, Json(registered)))
}

/// `POST /v2/users/{user}/disconnect`
async fn disconnect(
    State(room): State<Arc<DevicesApi>>,
    path: UserPath,
    request: Request,
) -> Result<Json<DisconnectAnswer>, ApiError> {
    let user = user(path)?;
    let body: DisconnectBody = body::json_or_default(request, SMALL_BODY_BYTES_MAX).await?;
    let disconnected = room.shards.disconnect(&user, body.device).await?;
    Ok(Json(DisconnectAnswer { disconnected }))
}

fn user(path: UserPath) -> Result<UserId, ApiError> {
    let Path(user) = path.map_err(|_| ApiError::InvalidPath)?;
    UserId::try_from(user.as_str()).map_err(ApiError::InvalidUser)
}

impl DevicesApi {
    pub(super) fn new(shards: Arc<Shards>) -> DevicesApi {
        DevicesApi { shards }
    }

    /// Registers a device: this one, or the next free one for 0.
    ///
    /// # Errors
    /// [`ApiError::DeviceExists`], [`ApiError::DeviceLimit`], and those of a bad number and of busy shards.
    async fn registered(&self, user: &UserId, number: u32) -> Result<Registered, ApiError> {
        let wanted = match number {
            0 => None,
            number => Some(DeviceId::try_from(number).map_err(|error| invalid("device", error))?),
        };
        let device = self.shards.register(user, wanted).await??;
        // Registered it is, whatever becomes of this question.
        let devices = self.shards.devices(user).await.unwrap_or_default();
        let known = devices.iter().find(|known| known.record.device == device);
        let created_at_ms = known.map_or_else(now_ms, |known| known.record.created_at_ms);
        Ok(Registered { device: device.get(), created_at_ms })
    }
}

impl DeviceAnswer {
    fn new(device: &UserDevice) -> DeviceAnswer {
        DeviceAnswer {
            device: device.record.device.get(),
            created_at_ms: device.record.created_at_ms,
            last_seen_at_ms: device.record.last_seen_at_ms,
            connected: device.session.is_some(),
            session: device.session.as_ref().map(SessionAnswer::new),
        }
    }
}

impl SessionAnswer {
    fn new(session: &ConnectedDevice) -> SessionAnswer {
        SessionAnswer {
            generation: session.generation,
            subprotocol: session.subprotocol,
            connected_at_ms: session.connected_at_ms,
        }
    }
}
