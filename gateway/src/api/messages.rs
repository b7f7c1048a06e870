//! The room of the mailbox of a device that polls: it lists what waits, fetches one message, and confirms.
//!
//! The device is the one of the token; nothing in a request can name another.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use bytes::Bytes;
use campanile_core::tokens::Identity;
use campanile_mailbox::Address;
use campanile_mailbox::operations::RegisterError;
use campanile_protocol::ids::MessageId;
use campanile_protocol::messages::Deliver;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::page;
use super::routes::Routes;
use crate::shards::Shards;

/// What requests about waiting messages work with.
pub(super) struct MessagesApi {
    shards: Arc<Shards>,
    /// Whether a device with a valid token is registered when it is first heard of.
    auto_register: bool,
}

/// The requests about waiting messages.
pub(super) fn routes(room: &Arc<MessagesApi>) -> Routes {
    Routes::new()
        .route("/v2/messages", get(list))
        .route("/v2/messages/{id}", delete(confirm))
        .route("/v2/messages/{id}/envelope", get(envelope))
        .route("/v2/messages/{id}/delivered", post(confirm))
        .with_state(Arc::clone(room))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EnvelopeQuery {
    #[serde(default)]
    device_id: Option<u32>,
}

/// A page of messages, oldest first.
#[derive(Serialize)]
struct PageAnswer {
    messages: Vec<Deliver>,
    /// What the next page comes after; as text, as all 64-bit numbers in messages.
    next: String,
    more: bool,
}

type IdPath = Result<Path<String>, PathRejection>;

/// `GET /v2/messages`
async fn list(
    State(room): State<Arc<MessagesApi>>,
    Extension(device): Extension<Identity>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<PageAnswer>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::InvalidField(rejection.body_text()))?;
    let limit = page::messages_max(query.limit)?;
    let page = room.shards.list(address(&device), query.after, limit).await?;
    if page.messages.is_empty() {
        // A device that never connects is heard of only here.
        room.make_known(&device).await?;
    }
    let next = page.messages.last().map_or(query.after, |last| last.seq).to_string();
    let messages = page.messages.into_iter().map(|waiting| decode(waiting.body)).collect::<Result<_, _>>()?;
    Ok(Json(PageAnswer { messages, next, more: page.more }))
}

/// `GET /v2/messages/{id}/envelope`
async fn envelope(
    State(room): State<Arc<MessagesApi>>,
    Extension(device): Extension<Identity>,
    path: IdPath,
    query: Result<Query<EnvelopeQuery>, QueryRejection>,
) -> Result<Json<Deliver>, ApiError> {
    let id = id(path)?;
    let Query(query) = query.map_err(|rejection| ApiError::InvalidField(rejection.body_text()))?;
    if query.device_id.is_some_and(|number| number != device.device.get()) {
        return Err(ApiError::OtherDevice);
    }
    let body = room.shards.fetch(address(&device), id).await?.ok_or(ApiError::UnknownMessage)?;
    decode(body).map(Json)
}

/// `POST /v2/messages/{id}/delivered` and `DELETE /v2/messages/{id}`
async fn confirm(
    State(room): State<Arc<MessagesApi>>,
    Extension(device): Extension<Identity>,
    path: IdPath,
) -> Result<StatusCode, ApiError> {
    let was_there = room.shards.confirm(address(&device), id(path)?).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::UnknownMessage) }
}

impl MessagesApi {
    pub(super) fn new(shards: Arc<Shards>, auto_register: bool) -> MessagesApi {
        MessagesApi { shards, auto_register }
    }

    /// Registers a device with a valid token, as a session of it would.
    async fn make_known(&self, device: &Identity) -> Result<(), ApiError> {
        let devices = self.shards.devices(&device.user).await?;
        if devices.iter().any(|known| known.record.device == device.device) {
            return Ok(());
        }
        if !self.auto_register {
            return Err(ApiError::NotRegistered);
        }
        match self.shards.register(&device.user, Some(device.device)).await? {
            // A session of it was faster.
            Ok(_) | Err(RegisterError::Exists) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }
}

fn address(device: &Identity) -> Address {
    Address { user: device.user.clone(), device: device.device }
}

fn id(path: IdPath) -> Result<MessageId, ApiError> {
    let Path(id) = path.map_err(|_| ApiError::InvalidPath)?;
    id.parse().map_err(ApiError::InvalidMessageId)
}

fn decode(body: Bytes) -> Result<Deliver, ApiError> {
    Deliver::decode(body).map_err(|error| {
        tracing::error!(%error, "a stored message is damaged");
        ApiError::Damaged
    })
}
