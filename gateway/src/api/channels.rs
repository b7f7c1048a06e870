//! The room of channels: messages to their subscribers, and what is known of them.

mod grpc;
mod publish;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use campanile_core::namespaces::Namespaces;
use campanile_core::push::PushRules;
use campanile_core::requests::{ChannelHistory, ChannelPart};
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{ChannelMessage, Device, Position};
use serde::{Deserialize, Serialize};

pub(super) use self::publish::Published;
#[cfg(test)]
pub(super) use self::publish::from_json;
use super::body;
use super::error::{ApiError, invalid};
use super::page;
use super::routes::Routes;
use crate::shards::Shards;

/// What requests about channels work with.
pub(super) struct ChannelsApi {
    shards: Arc<Shards>,
    rules: PushRules,
    namespaces: Namespaces,
}

/// The requests about channels.
pub(super) fn routes(room: &Arc<ChannelsApi>) -> Routes {
    Routes::new()
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
        .with_state(Arc::clone(room))
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
async fn about(
    State(room): State<Arc<ChannelsApi>>,
    path: NamePath,
) -> Result<Json<ChannelAnswer>, ApiError> {
    let channel = name(path)?;
    let known = room.shards.channel(&channel).await?;
    Ok(Json(ChannelAnswer {
        channel: channel.as_str().into(),
        position: known.position.map(Into::into),
        subscribers: known.subscribers,
        history_messages: known.history_messages,
    }))
}

/// `GET /v2/channels/{name}/members`
async fn members(
    State(room): State<Arc<ChannelsApi>>,
    path: NamePath,
) -> Result<Json<MembersAnswer>, ApiError> {
    let channel = name(path)?;
    let known = room.members_of(&channel).await?;
    Ok(Json(MembersAnswer {
        channel: channel.as_str().into(),
        count: known.subscribers,
        members: known.members,
    }))
}

/// `GET /v2/channels/{name}/history`
async fn history(
    State(room): State<Arc<ChannelsApi>>,
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
    let history = room.history_of(channel.clone(), since, query.limit).await?;
    Ok(Json(HistoryAnswer {
        channel: channel.as_str().into(),
        position: history.position.map(Into::into),
        complete: history.complete,
        messages: history.messages,
    }))
}

impl ChannelsApi {
    pub(super) fn new(shards: Arc<Shards>, rules: PushRules, namespaces: Namespaces) -> ChannelsApi {
        ChannelsApi { shards, rules, namespaces }
    }

    /// The largest body of a request here, in bytes.
    fn body_bytes_max(&self) -> usize {
        body::payloads_bytes_max(&self.rules)
    }

    /// Who is subscribed to a channel.
    ///
    /// # Errors
    /// [`ApiError::MembersDisabled`], and those of busy shards.
    async fn members_of(&self, channel: &ChannelName) -> Result<ChannelPart, ApiError> {
        if !self.namespaces.of(channel).members {
            return Err(ApiError::MembersDisabled);
        }
        Ok(self.shards.channel(channel).await?)
    }

    /// Some of a channel's history, at most `limit` messages.
    ///
    /// # Errors
    /// [`ApiError::InvalidField`] for the limit, and those of a busy shard.
    async fn history_of(
        &self,
        channel: ChannelName,
        since: Option<Position>,
        limit: Option<usize>,
    ) -> Result<ChannelHistory, ApiError> {
        Ok(self.shards.history(channel, since, page::messages_max(limit)?).await?)
    }
}

fn name(path: NamePath) -> Result<ChannelName, ApiError> {
    let Path(name) = path.map_err(|_| ApiError::InvalidPath)?;
    ChannelName::try_from(name.as_str()).map_err(ApiError::InvalidChannel)
}
