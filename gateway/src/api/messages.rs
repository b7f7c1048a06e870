//! The mailbox of a device that polls: it lists what waits, fetches one message, and confirms.
//!
//! The device is the one of the token; nothing in a request can name another.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use campanile_protocol::ids::MessageId;
use campanile_protocol::messages::Deliver;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::Context;
use super::error::ApiError;
use super::push::invalid;
use campanile_core::tokens::Identity;
use campanile_mailbox::Address;
use campanile_mailbox::operations::RegisterError;

/// Messages that one page may have.
pub const PAGE_MESSAGES_MAX: usize = 500;
/// Messages of a page that does not say how many.
const PAGE_MESSAGES_DEFAULT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct EnvelopeQuery {
    #[serde(default)]
    device_id: Option<u32>,
}

/// A page of messages, oldest first.
#[derive(Serialize)]
pub(super) struct PageAnswer {
    messages: Vec<Deliver>,
    /// What the next page comes after; as text, as all 64-bit numbers in messages.
    next: String,
    more: bool,
}

type IdPath = Result<Path<String>, PathRejection>;

/// `GET /v2/messages`
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Extension(device): Extension<Identity>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<PageAnswer>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::InvalidField(rejection.body_text()))?;
    let limit = page_messages(query.limit)?;
    let page = context.shards.list(address(&device), query.after, limit).await?;
    if page.messages.is_empty() {
        // A device that never connects is heard of only here.
        make_known(&context, &device).await?;
    }
    let next = page.messages.last().map_or(query.after, |last| last.seq).to_string();
    let messages = page.messages.into_iter().map(|waiting| decode(waiting.body)).collect::<Result<_, _>>()?;
    Ok(Json(PageAnswer { messages, next, more: page.more }))
}

/// `GET /v2/messages/{id}/envelope`
pub(super) async fn envelope(
    State(context): State<Arc<Context>>,
    Extension(device): Extension<Identity>,
    path: IdPath,
    query: Result<Query<EnvelopeQuery>, QueryRejection>,
) -> Result<Json<Deliver>, ApiError> {
    let id = id(path)?;
    let Query(query) = query.map_err(|rejection| ApiError::InvalidField(rejection.body_text()))?;
    if query.device_id.is_some_and(|number| number != device.device.get()) {
        return Err(ApiError::OtherDevice);
    }
    let body = context.shards.fetch(address(&device), id).await?.ok_or(ApiError::UnknownMessage)?;
    decode(body).map(Json)
}

/// `POST /v2/messages/{id}/delivered` and `DELETE /v2/messages/{id}`
pub(super) async fn confirm(
    State(context): State<Arc<Context>>,
    Extension(device): Extension<Identity>,
    path: IdPath,
) -> Result<StatusCode, ApiError> {
    match context.shards.confirm(address(&device), id(path)?).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::UnknownMessage),
    }
}

/// How many messages a page has at most.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn page_messages(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(PAGE_MESSAGES_DEFAULT) {
        limit @ 1..=PAGE_MESSAGES_MAX => Ok(limit),
        limit => Err(invalid("limit", format_args!("{limit} is not between 1 and {PAGE_MESSAGES_MAX}"))),
    }
}

/// Registers a device with a valid token, as a session of it would.
async fn make_known(context: &Context, device: &Identity) -> Result<(), ApiError> {
    let devices = context.shards.devices(&device.user).await?;
    if devices.iter().any(|known| known.record.device == device.device) {
        return Ok(());
    }
    if !context.auto_register {
        return Err(ApiError::NotRegistered);
    }
    match context.shards.register(&device.user, Some(device.device)).await? {
        // A session of it was faster.
        Ok(_) | Err(RegisterError::Exists) => Ok(()),
        Err(refused) => Err(refused.into()),
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
