//! Channels: messages to their subscribers, and what is known of them.

mod publish;

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{ChannelMessage, Device, Position};
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(super) use self::publish::from_json;
pub(super) use self::publish::{PublishRequest, Published, many, one};
use super::Context;
use super::error::ApiError;
use super::messages::page_messages;
use super::push::invalid;
use campanile_core::requests::{ChannelHistory, ChannelPart};

/// The requests about channels.
pub(super) fn routes() -> Router<Arc<Context>> {
    Router::new()
        // A channel may have this name, too.
        .route(
            "/v2/channels/publish",
            post(publish::to_many).get(async |state| about(state, publish_itself()).await),
        )
        .route("/v2/channels/publish/batch", post(publish::batch))
        .route("/v2/channels/{name}", get(about))
        .route("/v2/channels/{name}/publish", post(publish::publish))
        .route("/v2/channels/{name}/members", get(members))
        .route("/v2/channels/{name}/history", get(history))
}

fn publish_itself() -> NamePath {
    Ok(Path("publish".into()))
}

/// A place in a channel's messages; 64-bit numbers as text, as in messages.
#[derive(Serialize)]
struct PositionAnswer {
    epoch: String,
    offset: String,
}

impl From<Position> for PositionAnswer {
    fn from(position: Position) -> PositionAnswer {
        PositionAnswer { epoch: position.epoch.to_string(), offset: position.offset.to_string() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChannelAnswer {
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<PositionAnswer>,
    subscribers: u32,
    history_messages: u32,
}

#[derive(Serialize)]
struct MembersAnswer {
    channel: String,
    count: u32,
    members: Vec<Device>,
}

#[derive(Serialize)]
struct HistoryAnswer {
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<PositionAnswer>,
    complete: bool,
    messages: Vec<ChannelMessage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HistoryQuery {
    #[serde(default)]
    since_epoch: Option<u64>,
    #[serde(default)]
    since_offset: Option<u64>,
    #[serde(default)]
    limit: Option<usize>,
}

type NamePath = Result<Path<String>, PathRejection>;

/// `GET /v2/channels/{name}`
async fn about(State(context): State<Arc<Context>>, path: NamePath) -> Result<Json<ChannelAnswer>, ApiError> {
    let channel = name(path)?;
    let known = context.shards.channel(&channel).await?;
    Ok(Json(ChannelAnswer {
        channel: channel.as_str().into(),
        position: known.position.map(Into::into),
        subscribers: known.subscribers,
        history_messages: known.history_messages,
    }))
}

/// `GET /v2/channels/{name}/members`
async fn members(
    State(context): State<Arc<Context>>,
    path: NamePath,
) -> Result<Json<MembersAnswer>, ApiError> {
    let channel = name(path)?;
    let known = members_of(&context, &channel).await?;
    Ok(Json(MembersAnswer {
        channel: channel.as_str().into(),
        count: known.subscribers,
        members: known.members,
    }))
}

/// `GET /v2/channels/{name}/history`
async fn history(
    State(context): State<Arc<Context>>,
    path: NamePath,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<HistoryAnswer>, ApiError> {
    let channel = name(path)?;
    let Query(query) = query.map_err(|rejection| ApiError::InvalidField(rejection.body_text()))?;
    let since = match (query.since_epoch, query.since_offset) {
        (Some(epoch), Some(offset)) => Some(Position { epoch, offset }),
        (None, None) => None,
        (Some(_), None) => return Err(invalid("sinceOffset", "is missing: it goes with `sinceEpoch`")),
        (None, Some(_)) => return Err(invalid("sinceEpoch", "is missing: it goes with `sinceOffset`")),
    };
    let history = history_of(&context, channel.clone(), since, query.limit).await?;
    Ok(Json(HistoryAnswer {
        channel: channel.as_str().into(),
        position: history.position.map(Into::into),
        complete: history.complete,
        messages: history.messages,
    }))
}

/// Who is subscribed to a channel.
///
/// # Errors
/// [`ApiError::MembersDisabled`], and those of busy shards.
pub(super) async fn members_of(context: &Context, channel: &ChannelName) -> Result<ChannelPart, ApiError> {
    match context.namespaces.of(channel).members {
        true => Ok(context.shards.channel(channel).await?),
        false => Err(ApiError::MembersDisabled),
    }
}

/// Some of a channel's history, at most `limit` messages.
///
/// # Errors
/// [`ApiError::InvalidField`] for the limit, and those of a busy shard.
pub(super) async fn history_of(
    context: &Context,
    channel: ChannelName,
    since: Option<Position>,
    limit: Option<usize>,
) -> Result<ChannelHistory, ApiError> {
    Ok(context.shards.history(channel, since, page_messages(limit)?).await?)
}

fn name(path: NamePath) -> Result<ChannelName, ApiError> {
    let Path(name) = path.map_err(|_| ApiError::InvalidPath)?;
    ChannelName::try_from(name.as_str()).map_err(ApiError::InvalidChannel)
}
